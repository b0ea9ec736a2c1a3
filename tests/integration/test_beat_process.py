"""The process of a beat, as systemd and operators meet it."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from tests.support.notified import Notified
from tests.support.server import ValkeyServer
from tests.support.site import Site
from tests.support.wait import wait_until


@pytest.fixture
def site(server: ValkeyServer, tmp_path: Path) -> Iterator[Site]:
    """An installation without beats."""
    site = Site(server.url, tmp_path, namespace=f"p{uuid4().hex[:12]}")
    site.write('entry("second", noop, every("1s"), overlap="allow")')
    yield site
    site.close()


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[Notified]:
    """Who listens on NOTIFY_SOCKET."""
    with Notified(tmp_path) as systemd:
        yield systemd


def test_burst_of_more_than_a_batch_is_armed_as_a_whole(site: Site) -> None:
    """P2: a schedule that many entries share, and whose next due time but one lies beyond the horizon."""
    site.write(
        """
        from datetime import UTC, datetime, timedelta
        soon = datetime.now(UTC) + timedelta(seconds=2)
        for i in range(1_100):
            entry(f"e{i}", noop, every("1h", anchor=soon), overlap="allow")
        """
    )
    site.led("a")
    site.wait_until_armed(1_100)


def test_systemd_hears_of_start_work_and_stop(site: Site, systemd: Notified) -> None:
    """`Type=notify`: ready once signals are taken, a status for people, and STOPPING before it leaves."""
    beat = site.beat("a", environ=systemd.environ(watchdog_s=1.0))
    wait_until(lambda: systemd.got("STATUS=leading, term 1, 1 entries"), what="the status of a leader")
    assert systemd.got()[0] == "READY=1"
    beat.terminate()
    assert beat.wait() == 0
    assert systemd.got()[-1] == "STOPPING=1" or "STOPPING=1" in systemd.got()


def test_watchdog_is_fed_by_leader_and_follower_and_while_redis_is_away(
    own_server: ValkeyServer, tmp_path: Path
) -> None:
    """A process that does its best is not to be killed for an outage of Redis."""
    site = Site(own_server.url, tmp_path, namespace="fed")
    site.write('entry("second", noop, every("1s"), overlap="allow")')
    (tmp_path / "leader").mkdir()
    (tmp_path / "follower").mkdir()
    try:
        with Notified(tmp_path / "leader") as one, Notified(tmp_path / "follower") as two:
            leader = site.beat("a", environ=one.environ(watchdog_s=1.0))
            leader.told.wait("term.won")
            site.beat("b", environ=two.environ(watchdog_s=1.0))
            for ear in (one, two):
                wait_until(lambda ear=ear: len(ear.got("WATCHDOG=1")) >= 3, timeout_s=5, what="food")  # type: ignore[misc]
            own_server.pause()
            leader.told.wait("store.lost")
            for ear in (one, two):
                fed = len(ear.got("WATCHDOG=1"))
                wait_until(lambda ear=ear, fed=fed: len(ear.got("WATCHDOG=1")) >= fed + 2, timeout_s=5)  # type: ignore[misc]
            own_server.resume()
            leader.told.wait("store.back")
            assert any("waiting for Redis" in line for line in one.got("STATUS="))
    finally:
        own_server.resume()
        site.close()


def test_watchdog_is_not_fed_by_a_process_that_stands_still(site: Site, systemd: Notified) -> None:
    """What does not turn does not eat."""
    beat = site.beat("a", environ=systemd.environ(watchdog_s=0.4))
    wait_until(lambda: len(systemd.got("WATCHDOG=1")) >= 3, what="food")
    beat.pause()
    fed = len(systemd.got("WATCHDOG=1"))
    site.wait_for_clock(site.now_ms() + 1_200)
    assert len(systemd.got("WATCHDOG=1")) <= fed + 1
    beat.resume()
    wait_until(lambda: len(systemd.got("WATCHDOG=1")) >= fed + 3, what="food again")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_that_stop_it_end_it_with_exit_code_0(site: Site, number: signal.Signals) -> None:
    """In the middle of its start as well as later."""
    beat = site.beat("a")
    beat.told.wait("beat.ready")
    beat.signal(number)
    assert beat.wait(timeout_s=5) == 0


def test_follower_shows_itself_and_its_load(site: Site) -> None:
    """`sched status` shows who stands by, and with which load."""
    leader = site.led("a", "b")
    shown = {beat.name: beat for beat in site.store.presence.beats()}
    assert shown.keys() == {"a", "b"}
    wait_until(
        lambda: sorted(beat.role for beat in site.store.presence.beats()) == ["follower", "leader"], what="the roles"
    )
    assert {beat.pid for beat in shown.values()} == {process.pid for process in site.processes}
    assert leader.pid in {beat.pid for beat in shown.values()}
    assert max(beat.load for beat in site.store.presence.beats()) == site.store.loads.info().number
