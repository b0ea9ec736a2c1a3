"""What a running task reports of itself: fenced, at a bounded rate, and heard without polling."""

from __future__ import annotations

import asyncio
import threading
import time
from contextlib import closing
from functools import partial

import pytest

from scheduler.config import Config
from scheduler.errors import RefusedError, ResultTimeoutError
from scheduler.model import ResultRecord
from scheduler.store import open_store
from scheduler.store.progress import PAUSE_S
from scheduler.store.results import Results
from tests.support.bench import Bench
from tests.support.server import ValkeyServer
from tests.support.wait import wait_until

pytestmark = pytest.mark.redis


def kept(bench: Bench, id_: str) -> ResultRecord:
    record = bench.store.results.get(id_)
    assert record is not None
    return record


def test_a_report_after_the_end_changes_nothing(bench: Bench) -> None:
    """P9: what led to a result never overwrites it."""
    session, id_ = bench.open(), bench.call()
    bench.take(session)
    bench.finish(session, id_)
    bench.store.results.put_state(id_, "PROGRESS", b"1", 60_000, session=session.id)
    assert kept(bench, id_).state == "SUCCESS"
    with pytest.raises(RefusedError, match="is over, or there is none"):
        bench.store.results.put_state(id_, "PROGRESS", b"1", 60_000)
    assert kept(bench, id_).state == "SUCCESS"


def test_a_report_under_a_lost_lease_changes_nothing(bench: Bench) -> None:
    """P9: the run belongs to another session by now, and that one reports."""
    slow, id_ = bench.open(), bench.call()
    bench.take(slow)
    slow.release([id_])
    quick = bench.open()
    bench.take(quick)
    results = bench.store.results
    results.put_state(id_, "PROGRESS", b'"quick"', 60_000, session=quick.id)
    Results(bench.store.connection, bench.keys).put_state(id_, "PROGRESS", b'"slow"', 60_000, session=slow.id)
    assert bytes(kept(bench, id_).meta) == b'"quick"'


def test_reports_are_bounded_and_the_last_one_is_seen(bench: Bench) -> None:
    """However often a task reports, Redis hears of it some times a second."""
    session, id_ = bench.open(), bench.call()
    bench.take(session)
    calls = partial(bench.call_redis, "INFO", "commandstats")

    def scripts() -> int:
        line = next(line for line in calls().decode().splitlines() if line.startswith("cmdstat_evalsha:"))
        return int(line.partition("calls=")[2].partition(",")[0])

    bench.store.results.put_state(id_, "PROGRESS", b"0", 60_000, session=session.id)
    before, began = scripts(), time.monotonic()
    for n in range(2_000):
        bench.store.results.put_state(id_, "PROGRESS", b"%d" % n, 60_000, session=session.id)
    wait_until(lambda: bytes(kept(bench, id_).meta) == b"1999", what="the last report")
    assert scripts() - before <= (time.monotonic() - began) / PAUSE_S + 2


def test_a_waiter_hears_of_progress(bench: Bench, config: Config) -> None:
    """Without looking again: `get(on_message=…)` and `--follow` live on it."""
    session, id_ = bench.open(), bench.call()
    bench.take(session)
    store, heard = open_store(config), []

    def follow() -> None:
        with closing(store.results.looks(id_, 20, look_s=5)) as looks:
            heard.extend(record.meta for record in looks if record is not None)

    thread = threading.Thread(target=follow)
    thread.start()
    wait_until(lambda: bench.call_redis("ZSCORE", bench.keys.waited, id_) is not None)
    began = time.monotonic()
    for n in (1, 2):
        bench.store.results.put_state(id_, "PROGRESS", b"%d" % n, 60_000, session=session.id)
        wait_until(lambda n=n: any(bytes(meta) == b"%d" % n for meta in heard), what="the report")
    bench.finish(session, id_)
    thread.join(20)
    assert not thread.is_alive()
    assert time.monotonic() - began < 4.5, "it was woken, and did not look by itself"
    store.close()


def test_a_coroutine_does_not_wait_for_redis(bench: Bench) -> None:
    """Its loop has others to serve; what it reports is written by another thread."""
    session, id_ = bench.open(), bench.call()
    bench.take(session)
    results = Results(bench.store.connection, bench.keys)
    here, wrote = threading.get_ident(), []
    tell = results._progress.tell
    results._progress.tell = lambda *args, **kwargs: (wrote.append(threading.get_ident()), tell(*args, **kwargs))[1]  # type: ignore[method-assign]

    async def task() -> None:
        results.put_state(id_, "PROGRESS", b"7", 60_000, session=session.id)

    asyncio.run(task())
    wait_until(lambda: bench.store.results.get(id_) is not None, what="the report")
    assert wrote
    assert here not in wrote


@pytest.mark.faults
def test_progress_is_no_reason_to_fail(own_server: ValkeyServer, own_config: Config) -> None:
    """While Redis is away, reports are dropped at once, so that the task gets on with its work."""
    store = open_store(own_config)
    own_server.stop()
    began = time.monotonic()
    for n in range(1000):
        store.results.put_state("some-run", "PROGRESS", b"%d" % n, 60_000, session="s")
    assert time.monotonic() - began < 5
    own_server.start()


@pytest.mark.faults
def test_a_restart_of_redis_ends_no_wait(own_server: ValkeyServer, own_config: Config) -> None:
    """Who waits goes on waiting, and learns the end from the new server."""
    store, other = open_store(own_config, role="waiter"), open_store(own_config, role="other")
    bench = Bench(other)
    session, id_ = bench.open(), bench.call()
    bench.take(session)
    with closing(store.results.looks(id_, 20)) as looks:
        next(looks)
        next(looks)
        other.connection.call("SAVE")
        own_server.stop()
        own_server.start()
        bench.finish(session, id_)
        *_, record = looks
    assert record is not None
    assert record.state == "SUCCESS"
    wait_until(lambda: not traces(bench, "waiter"), what="nothing is left")
    store.close()
    other.close()


# ── what a waiter leaves behind ─────────────────────────────────────────────────────────────────────────────────────


def traces(bench: Bench, name: str) -> list[str]:
    """Clients of *name*, channels that somebody listens to, and keys about waiting."""
    clients = bench.call_redis("CLIENT", "LIST").decode().splitlines()
    found = [line for line in clients if f"name=sched-{name} " in line and " sub=0 " not in line]
    found += [channel.decode() for channel in bench.call_redis("PUBSUB", "CHANNELS", f"{bench.keys.prefix}done:*")]
    return found + [bench.keys.waited] * int(bench.call_redis("EXISTS", bench.keys.waited))


def test_a_wait_leaves_nothing_behind_however_it_ends(bench: Bench, config: Config) -> None:
    """No connection, no channel, no key: after success, a timeout, Ctrl-C, and a lost connection."""
    store = open_store(config, role="waiter")
    session = bench.open()

    def ended() -> None:
        id_ = bench.call()
        bench.take(session)
        threading.Timer(0.1, bench.finish, (session, id_)).start()
        assert store.results.wait(id_, 10).state == "SUCCESS"

    def timed_out() -> None:
        with pytest.raises(ResultTimeoutError):
            store.results.wait(bench.call(), 0.1)

    def interrupted() -> None:
        with closing(store.results.looks(bench.call(), 10)) as looks:
            next(looks)
            next(looks)
            assert traces(bench, "waiter"), "while it waits there is something to be seen"
            with pytest.raises(KeyboardInterrupt):
                looks.throw(KeyboardInterrupt)

    def cut_off() -> None:
        with closing(store.results.looks(bench.call(), 10)) as looks:
            next(looks)
            for _ in range(3):
                next(looks)
                bench.call_redis("CLIENT", "KILL", "TYPE", "pubsub")

    for end in (ended, timed_out, interrupted, cut_off):
        end()
        wait_until(lambda: not traces(bench, "waiter"), what=f"nothing is left ({traces(bench, 'waiter')})")
        bench.store.queues.purge("q")
    store.close()
