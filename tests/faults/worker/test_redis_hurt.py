"""Redis is paused, cut off, failed over, or answers one thing and not the other: a worker goes on, and runs nothing twice."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from scheduler.config import Config
from scheduler.store.connection import Connection
from scheduler.store.scripts import script
from tests.integration.worker.lab import Lab
from tests.support.notified import Notified
from tests.support.processes import Process
from tests.support.proxy import Proxy
from tests.support.server import DebianRedis, ValkeyServer
from tests.support.wait import wait_until

BACK_S_MAX = 10.0
"""A worker is back within a second of Redis; the box may be much slower than that."""

TASKS = """
    @task
    def note(path, n):
        mark(path, str(n))
        return n
"""


@pytest.fixture
def proxy(server: ValkeyServer) -> Iterator[Proxy]:
    """A wire to the shared server."""
    with Proxy(server.url) as proxy:
        yield proxy


def behind(lab: Lab, proxy: Proxy, *flags: str) -> Process:
    """A worker that reaches Redis through *proxy*."""
    lab.write(TASKS)
    return lab.worker(*flags, config=_through(lab, proxy))


def _through(lab: Lab, proxy: Proxy) -> Config:
    return msgspec.structs.replace(lab.config, redis_url=proxy.url, store_timeout_ms=500)


def test_a_paused_redis_is_waited_for_and_nothing_is_lost(own_lab: Lab, own_server: ValkeyServer) -> None:
    """SIGSTOP for longer than a call waits: what runs goes on, and its outcome is told afterwards."""
    own_lab.write(TASKS)
    worker = own_lab.worker("-c", "2", config=msgspec.structs.replace(own_lab.config, store_timeout_ms=500))
    running = own_lab.send("hold", own_lab.path("held"), own_lab.path("go"))
    own_lab.wait_lines("held", 1)
    own_server.pause()
    try:
        worker.told.wait("store.lost", timeout_s=20)
        own_lab.let_go()
    finally:
        own_server.resume()
    resumed = time.monotonic()
    assert own_lab.value(running) == "held"
    ids = own_lab.send_all([own_lab.message("note", own_lab.path("notes"), n) for n in range(20)])
    assert [own_lab.value(id_) for id_ in ids] == list(range(20))
    assert time.monotonic() - resumed < BACK_S_MAX
    assert sorted(map(int, own_lab.lines("notes"))) == list(range(20)), "none ran twice"
    assert own_lab.lines("held") == ["x"]


@pytest.mark.parametrize(
    "lost",
    [pytest.param(True, id="connections lost", marks=pytest.mark.long), pytest.param(False, id="delivered late")],
)
def test_a_worker_that_was_cut_off_beyond_its_lease_stops_what_is_no_longer_its_own(
    lab: Lab, proxy: Proxy, lost: bool
) -> None:
    """Others have taken over: its children die when it learns so, and what they did counts for nothing (P6, P9)."""
    cut = behind(lab, proxy, "-n", "cut")
    id_ = lab.send("hold", lab.path("held"), lab.path("go"))
    lab.wait_lines("held", 1)
    other = lab.worker("-n", "other")
    proxy.hold()
    other.told.wait("session.reclaimed", timeout_s=20)
    lab.wait_lines("held", 2)
    cut.told.wait("store.lost", timeout_s=20)
    proxy.let_go(lost=lost)
    cut.told.wait("session.lost", timeout_s=BACK_S_MAX)
    lab.let_go()
    assert lab.value(id_) == "held"
    assert lab.run(id_).worker == "other"
    wait_until(lab.is_empty)
    assert lab.lines("held") == ["x", "x"]
    other.terminate()
    other.wait()
    assert lab.value(lab.send("add", 1, 1)) == 2, "and it works again"


@pytest.mark.long
def test_a_cut_shorter_than_the_lease_costs_nothing(own_lab: Lab, own_server: ValkeyServer) -> None:
    """Nobody else runs what it runs, and it takes up where it was."""
    config = msgspec.structs.replace(own_lab.config, worker_lease_ms=60_000, store_timeout_ms=500)
    with Proxy(own_server.url) as proxy:
        own_lab.write(TASKS)
        worker = own_lab.worker("-n", "cut", config=msgspec.structs.replace(config, redis_url=proxy.url))
        own_lab.worker("-n", "other", "-Q", "elsewhere", config=config)
        id_ = own_lab.send("hold", own_lab.path("held"), own_lab.path("go"))
        own_lab.wait_lines("held", 1)
        for _ in range(2):
            proxy.hold()
            lost = worker.told.wait("store.lost", after=worker.told.all()[-1], timeout_s=20)
            proxy.let_go(lost=True)
            worker.told.wait("store.back", after=lost, timeout_s=BACK_S_MAX)
        own_lab.let_go()
        assert own_lab.value(id_) == "held"
        assert own_lab.lines("held") == ["x"]
        assert own_lab.value(own_lab.send("add", 1, 1)) == 2
        assert not worker.told.all("session.lost")


@pytest.mark.long
@pytest.mark.timeout(480)
def test_a_cut_of_five_minutes_is_survived(lab: Lab, proxy: Proxy) -> None:
    """As long as it takes: nothing gives up, nothing grows, and the work of before is told or thrown away."""
    worker = behind(lab, proxy, "-n", "cut")
    lab.value(lab.send("note", lab.path("notes"), 0))
    proxy.hold()
    worker.told.wait("store.lost", timeout_s=20)
    time.sleep(300)  # what is tried here is the length
    said = len(worker.told.all())
    proxy.let_go(lost=True)
    began = time.monotonic()
    assert lab.value(lab.send("note", lab.path("notes"), 1)) == 1
    assert time.monotonic() - began < BACK_S_MAX
    assert said < 20, "an outage is told once"
    assert lab.lines("notes") == ["0", "1"]


@pytest.mark.long
def test_a_failover_to_a_replica_is_followed(tmp_path: Path) -> None:
    """The old primary answers READONLY, or its connections break: the worker asks again where the address leads now."""
    if not DebianRedis.installed():
        pytest.skip("Debian's redis-server is not installed (apt-get install redis-server)")
    with _Pair() as (primary, replica), Proxy(primary.url) as proxy:
        lab = Lab(primary.url, tmp_path)
        try:
            worker = behind(lab, proxy)
            running = lab.send("hold", lab.path("held"), lab.path("go"))
            lab.wait_lines("held", 1)
            wait_until(lambda: _offset(primary) == _offset(replica) != "", what="the replica to have it all")
            proxy.upstream = replica.url
            _tell(replica, "REPLICAOF", "NO", "ONE")
            _tell(primary, "REPLICAOF", "127.0.0.1", "1")  # demoted: it refuses writes, and keeps its connections
            moved = Lab(replica.url, tmp_path)
            moved.config = msgspec.structs.replace(lab.config, redis_url=replica.url)
            moved.store.close()
            moved.store = type(moved.store)(Connection(replica.url), lab.store.keys)
            lab.let_go()
            assert moved.value(running) == "held"
            assert moved.value(moved.send("note", lab.path("notes"), 7)) == 7
            assert lab.lines("held") == ["x"]
            assert worker.running
            moved.store.close()
        finally:
            lab.close()


def test_a_wake_connection_that_died_silently_keeps_nobody_from_working(lab: Lab, proxy: Proxy) -> None:
    """celery/celery#8030: alive, and no longer consuming. The pop is lost on the way, and no answer ever comes."""
    proxy.loses = lambda data: b"BLPOP" in data
    worker = behind(lab, proxy)
    for n in range(2):
        assert lab.value(lab.send("note", lab.path("notes"), n)) == n
    assert not worker.told.all("worker.deaf"), "it does not come to that"


def test_a_worker_that_takes_nothing_though_there_is_work_notices_says_so_and_is_restarted(
    lab: Lab, proxy: Proxy, tmp_path: Path
) -> None:
    """
    Redis answers all but takes: no lease is lost, and nothing is done.

    Said in the log and in `sched workers`; systemd's watchdog hears nothing any more. If it passes by, all is well again.
    """
    lost = [script(name).sha.encode() for name in ("take", "finish")]
    lab.write(TASKS)
    with Notified(tmp_path) as systemd:
        worker = Process(
            "worker", "-c", "1", "-n", "deaf", config=_through(lab, proxy), cwd=lab.folder,
            environ=systemd.environ(watchdog_s=30.0),
        )  # fmt: skip
        lab.processes.append(worker)
        worker.told.wait("worker.ready")
        wait_until(lambda: systemd.got("WATCHDOG"), what="the watchdog to be fed")
        proxy.loses = lambda data: any(sha in data for sha in lost)
        id_ = lab.send("note", lab.path("notes"), 1)
        deaf = worker.told.wait("worker.deaf", timeout_s=40)
        assert (deaf.level, deaf.fields["ready"], deaf.fields["queues"]) == ("ERROR", 1, "default")
        state = wait_until(lambda: (w := lab.store.sessions.workers()[0].state) and w.deaf_s and w, timeout_s=20)
        assert state.deaf_s >= 2
        wait_until(lambda: "takes nothing though messages wait" in systemd.got("STATUS")[-1], timeout_s=20)
        fed = len(systemd.got("WATCHDOG"))
        for _ in range(3):
            worker.told.wait("store.back", after=worker.told.all()[-1], timeout_s=20)
        assert len(systemd.got("WATCHDOG")) == fed, "a restart is what helps now"
        proxy.loses = lambda _: False
        assert lab.value(id_) == 1
        worker.told.wait("worker.hears", timeout_s=20)
        wait_until(lambda: len(systemd.got("WATCHDOG")) > fed, what="the watchdog to be fed again")


DEAFENED = """
    import worker.intake
    worker.intake.Intake.wants = lambda self, now: os.path.exists(HEAR)
"""


def test_a_deaf_loop_is_noticed_as_well(lab: Lab) -> None:
    """Whatever makes it so: here the loop itself never asks."""
    lab.write(f"    HEAR = {lab.path('hear')!r}\n{DEAFENED}")
    worker = lab.worker("-n", "deaf")
    id_ = lab.send("add", 1, 1)
    worker.told.wait("worker.deaf", timeout_s=40)
    Path(lab.path("hear")).touch()
    assert lab.value(id_) == 2
    assert os.path.exists(lab.path("hear"))
    worker.told.wait("worker.hears", timeout_s=20)


class _Pair:
    """A primary and its replica, on TCP."""

    def __enter__(self) -> tuple[DebianRedis, DebianRedis]:
        self.primary = DebianRedis("--port", str(_port()), "--repl-diskless-sync-delay", "0")
        self.primary.start()
        port = str(self.primary._settings[1])
        self.replica = DebianRedis("--replicaof", "127.0.0.1", port)
        self.replica.start()
        return self.primary, self.replica

    def __exit__(self, *_: object) -> None:
        self.primary.remove()
        self.replica.remove()


def _port() -> int:
    import socket  # noqa: PLC0415

    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def _tell(server: DebianRedis, *command: str) -> str:
    connection = Connection(server.url)
    try:
        return bytes(connection.call(*command)).decode()
    finally:
        connection.close()


def _offset(server: DebianRedis) -> str:
    info = _tell(server, "INFO", "replication")
    if "master_link_status:down" in info or ("role:master" in info and "connected_slaves:0" in info):
        return ""
    return next(line for line in info.splitlines() if line.startswith("master_repl_offset:"))
