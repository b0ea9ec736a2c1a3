"""Redis is restarted, killed, paused or not there at all: the beats say so, wait, and go on by themselves."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import msgspec
import pytest

from scheduler.config import Config
from tests.support.probe import Probe
from tests.support.server import DebianRedis, ValkeyServer
from tests.support.site import Site
from tests.support.wait import wait_until

ENTRIES = {"second": 1_000, "fast": 200}
FILE = """
    entry("second", noop, every("1s"), overlap="allow")
    entry("fast", noop, every("200ms"), overlap="allow")
"""


@pytest.mark.parametrize("how", ["SIGTERM", "SIGKILL"])
def test_redis_restarted_with_its_file_goes_on_by_itself(own_site: Site, own_server: ValkeyServer, how: str) -> None:
    """
    P2, P11: what the file remembers is promoted, what it has lost is armed again; nothing waits for a person.

    After SIGKILL the last second of writes may be gone, so a fire may come again: then, and only then.
    """
    site = own_site
    site.write(FILE)
    with Probe(site.config.redis_url, site.config.namespace) as probe:
        leader = site.led("a", "b")
        site.wait_for_clock(site.now_ms() + site.config.horizon_ms)
        from_ms = int(site.now_ms())
        own_server.stop() if how == "SIGTERM" else own_server.kill()
        lost = leader.told.wait("store.lost")
        own_server.start()
        leader.told.wait("store.back", after=lost)
        back_ms = int(site.now_ms())
        site.wait_for_clock(back_ms + 3_000)
        account = probe.account(ENTRIES, from_ms, back_ms + 2_000)
    assert account.lost == []
    assert how == "SIGKILL" or account.twice == []
    assert all(process.running for process in site.processes)


def test_what_redis_has_lost_is_armed_again(own_site: Site, own_server: ValkeyServer) -> None:
    """P11, P2: two seconds of writes are gone, as after a failover; the leader notices by its own counter."""
    site = own_site
    site.write(FILE)
    data = Path(own_server.url.removeprefix("unix://")).parent / "appendonlydir"
    with Probe(site.config.redis_url, site.config.namespace) as probe:
        leader = site.led("a", "b")
        site.wait_for_clock(site.now_ms() + site.config.horizon_ms)
        shutil.copytree(data, site.folder / "earlier")
        from_ms = int(site.now_ms())
        site.wait_for_clock(from_ms + 2_000)
        own_server.kill()
        shutil.rmtree(data)
        shutil.copytree(site.folder / "earlier", data)
        lost = leader.told.wait("store.lost")
        own_server.start()
        leader.told.wait("marks.reread", after=lost)
        to_ms = int(site.now_ms()) + 2_000
        site.wait_for_clock(to_ms + 500)
        account = probe.account(ENTRIES, from_ms, to_ms)
        again = [due_ms for _, due_ms in account.twice if due_ms < from_ms - 1_000]
    assert account.lost == []
    assert again == []


def test_redis_that_lost_the_load_gets_it_again(own_site: Site, own_server: ValkeyServer) -> None:
    """P11: definitions are part of the lost suffix too; here all of it is lost."""
    site = own_site
    site.write(FILE)
    leader = site.led("a", "b")
    site.store.connection.call("FLUSHALL")
    leader.told.wait("load.lost")
    wait_until(lambda: {record.name for record in site.store.registry.all()} == ENTRIES.keys())
    site.leader()
    site.wait_until_armed(10)


def test_redis_paused_expires_no_term_and_doubles_no_fire(own_site: Site, own_server: ValkeyServer) -> None:
    """P1, P2, P10: an outage is nobody's fault; nobody is judged by it, and it costs at most one change of leader."""
    site = own_site
    site.write(FILE)
    with Probe(site.config.redis_url, site.config.namespace) as probe:
        leader = site.led("a", "b", "c")
        site.wait_for_clock(site.now_ms() + site.config.horizon_ms)
        before = site.term()
        from_ms = int(site.now_ms())
        own_server.pause()
        lost = leader.told.wait("store.lost")
        for follower in site.processes:
            follower.told.wait("store.lost", after=None)
        own_server.resume()
        leader.told.wait("store.back", after=lost)
        back_ms = int(site.now_ms())
        site.wait_for_clock(back_ms + 3_000)
        account = probe.account(ENTRIES, from_ms, back_ms + 2_000)
        after = site.term()
    assert account.lost == []
    assert account.twice == []
    assert before is not None
    assert after is not None
    assert after.number <= before.number + 1


@pytest.mark.long
@pytest.mark.timeout(120)
def test_redis_paused_for_ten_seconds_at_the_usual_leases(own_site: Site, own_server: ValkeyServer) -> None:
    """P1, P2, P10: twice the lease."""
    site = Site(own_server.url, own_site.folder, namespace="paused", horizon_ms=15_000)
    site.write(FILE)
    try:
        with Probe(site.config.redis_url, site.config.namespace) as probe:
            leader = site.led("a", "b", "c")
            site.wait_for_clock(site.now_ms() + site.config.horizon_ms)
            before, from_ms = site.term(), int(site.now_ms())
            own_server.pause()
            began = leader.told.wait("store.lost").at_s
            wait_until(lambda: time.time() - began > 10, timeout_s=20)
            own_server.resume()
            leader.told.wait("store.back")
            back_ms = int(site.now_ms())
            site.wait_for_clock(back_ms + 8_000)
            account = probe.account(ENTRIES, from_ms, back_ms + 7_000)
            after = site.term()
    finally:
        site.close()
    assert account.lost == []
    assert account.twice == []
    assert before is not None
    assert after is not None
    assert after.number <= before.number + 1


def test_beat_that_starts_without_redis_waits_and_says_so(own_site: Site, own_server: ValkeyServer) -> None:
    """P12: order of start does not matter."""
    site = own_site
    site.write(FILE)
    own_server.stop()
    beat = site.beat("a")
    lost = beat.told.wait("store.lost")
    assert str(site.config.redacted_url) in lost.fields["error"]
    beat.told.wait("beat.ready", after=lost)
    own_server.start()
    beat.told.wait("store.back", after=lost)
    beat.told.wait("term.won", after=lost)
    site.wait_until_armed(10)
    assert [event.name for event in beat.told.all()].count("store.lost") == 1


def test_wrong_password_ends_a_beat_at_once_with_one_line(site: Site) -> None:
    """P12: waiting cannot mend it. Exit code 69; the password itself is not told."""
    if not DebianRedis.installed():
        pytest.skip("Debian's redis-server is not installed (apt-get install redis-server)")
    redis = DebianRedis("--requirepass", "right")
    redis.start()
    try:
        site.write(FILE)
        log = site.folder / "log"
        config: Config = msgspec.structs.replace(
            site.config, redis_url=redis.url.replace("unix://", "unix://:sesame-wrong@")
        )
        beat = site.beat("a", config=config, tell=False, log_path=log)
        assert beat.wait() == 69
        lines = log.read_text().splitlines()
        assert len(lines) == 1, lines
        assert "password" in lines[0]
        assert "sesame-wrong" not in lines[0]
    finally:
        redis.remove()
