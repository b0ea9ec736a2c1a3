"""Results: what is kept of a run, and waiting for it."""

from __future__ import annotations

import threading
import time
from functools import partial

import pytest

from scheduler.config import Config
from scheduler.errors import ResultTimeoutError
from scheduler.model import ResultRecord
from scheduler.store import Store, open_store
from tests.support.bench import HOUR_MS, Bench
from tests.support.wait import wait_until

pytestmark = pytest.mark.redis


class Waiting:
    """`wait` in a thread, on a store of its own; `record` and how long it took."""

    def __init__(self, config: Config, id_: str, timeout_s: float = 20) -> None:
        self.record: ResultRecord | None = None
        self.done_mono_s = 0.0
        self._store: Store = open_store(config)
        self._thread = threading.Thread(target=self._wait, args=(id_, timeout_s))
        self._thread.start()

    def _wait(self, id_: str, timeout_s: float) -> None:
        self.record = self._store.results.wait(id_, timeout_s)
        self.done_mono_s = time.monotonic()

    def join(self) -> ResultRecord:
        """What it got."""
        self._thread.join(20)
        self._store.close()
        assert self.record is not None
        return self.record


def is_awaited(bench: Bench, id_: str) -> bool:
    """Whether somebody has announced that it waits."""
    return bench.call_redis("ZSCORE", bench.keys.waited, id_) is not None


def test_states_follow_the_run(bench: Bench) -> None:
    """As Celery's."""
    id_ = bench.call()
    assert bench.store.results.state(id_) == "PENDING"
    session = bench.open()
    bench.take(session)
    assert bench.store.results.state(id_) == "STARTED"
    bench.store.results.put_state(id_, "PROGRESS", b'{"done":3}', 60_000)
    record = bench.store.results.get(id_)
    assert record is not None
    assert (record.state, bytes(record.meta)) == ("PROGRESS", b'{"done":3}')
    bench.finish(session, id_)
    assert bench.store.results.state(id_) == "SUCCESS"
    bench.store.results.forget(id_)
    assert bench.store.results.state(id_) == "PENDING"


def test_a_waiter_is_woken_by_the_end_of_the_run(bench: Bench, config: Config) -> None:
    """Without looking again: within a fraction of the second between two looks."""
    session = bench.open()
    took_s = []
    for _ in range(5):
        id_ = bench.call()
        bench.take(session)
        waiting = Waiting(config, id_)
        wait_until(partial(is_awaited, bench, id_))
        ended_mono_s = time.monotonic()
        bench.finish(session, id_)
        assert waiting.join().state == "SUCCESS"
        took_s.append(waiting.done_mono_s - ended_mono_s)
    assert sorted(took_s)[2] < 0.5
    assert bench.call_redis("EXISTS", bench.keys.waited) == 0, "nothing is left behind"


@pytest.mark.parametrize("ending", ["cancel", "purge", "expire", "lost"])
def test_every_ending_wakes_the_waiter(bench: Bench, config: Config, ending: str) -> None:
    """P5: whoever waits for a run learns how it ended."""
    expires_ms = bench.now_ms + 500 if ending == "expire" else 0
    id_ = bench.call(expires_ms=expires_ms)
    waiting = Waiting(config, id_)
    wait_until(lambda: is_awaited(bench, id_))
    session = bench.open()
    if ending == "cancel":
        bench.store.queues.cancel(id_)
    elif ending == "purge":
        bench.store.queues.purge("q")
    elif ending == "expire":
        wait_until(lambda: bench.now_ms > expires_ms)
        bench.take(session)
    else:
        for _ in range(5):
            bench.take(session)
            session.release([id_], lost=True)
    states = {"cancel": "REVOKED", "purge": "REVOKED", "expire": "EXPIRED", "lost": "FAILURE"}
    assert waiting.join().state == states[ending]


def test_a_run_that_is_over_is_told_at_once(bench: Bench) -> None:
    """No subscription is needed."""
    id_ = bench.call()
    session = bench.open()
    bench.take(session)
    bench.finish(session, id_)
    assert bench.store.results.wait(id_, 0).state == "SUCCESS"


def test_a_wait_ends_in_time(bench: Bench) -> None:
    """And says that the run goes on; it leaves no key."""
    id_ = bench.call(in_ms=HOUR_MS)
    began_mono_s = time.monotonic()
    with pytest.raises(ResultTimeoutError, match=r"after 0\.3 s; it goes on"):
        bench.store.results.wait(id_, 0.3)
    assert 0.3 <= time.monotonic() - began_mono_s < 1.5
    assert bench.call_redis("EXISTS", bench.keys.waited) == 0


def test_a_state_of_the_tasks_own_ends_no_wait(bench: Bench) -> None:
    """Nor does RETRY."""
    id_ = bench.call()
    for state in ("PROGRESS", "RETRY"):
        bench.store.results.put_state(id_, state, b"null", 60_000)
        with pytest.raises(ResultTimeoutError):
            bench.store.results.wait(id_, 0.05)


def test_a_waiter_whose_subscription_breaks_still_learns_the_end(bench: Bench, config: Config) -> None:
    """A lost connection costs a second, not the answer."""
    id_ = bench.call()
    session = bench.open()
    bench.take(session)
    waiting = Waiting(config, id_)
    wait_until(lambda: is_awaited(bench, id_))
    wait_until(lambda: bench.call_redis("CLIENT", "KILL", "TYPE", "pubsub") >= 1)
    bench.finish(session, id_)
    assert waiting.join().state == "SUCCESS"


def test_what_a_killed_waiter_left_goes_by_itself(bench: Bench) -> None:
    """The announcements have a lifetime."""
    bench.call_redis("ZADD", bench.keys.waited, bench.now_ms - 1, "dead")
    id_ = bench.call()
    session = bench.open()
    bench.take(session)
    bench.finish(session, id_)
    assert bench.call_redis("EXISTS", bench.keys.waited) == 0
