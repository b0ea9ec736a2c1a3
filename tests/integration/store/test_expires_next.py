"""`expires="next"`: a run that could not start gives way when its successor is to start."""

from __future__ import annotations

import pytest

from tests.support.bench import Bench
from tests.support.wait import wait_until

pytestmark = pytest.mark.redis


def test_run_that_waits_for_a_worker_expires_when_its_successor_is_due(bench: Bench) -> None:
    """P8: not a millisecond before, and never after."""
    bench.put(expires_next=True)
    term, session = bench.win(), bench.open()
    first = bench.fired(term, in_ms=-5, next_in_ms=60_000)
    bench.promote()
    assert bench.take(session) == [first.id]
    bench.finish(session, first.id, entry="e")
    second = bench.fired(term, in_ms=-1, next_in_ms=150)
    bench.promote()
    wait_until(lambda: bench.now_ms >= second.due_ms + 151, what="its successor to be due")
    assert bench.take(session) == []
    assert [(run.id, run.state) for run in bench.store.history.runs("e")] == [
        (second.id, "EXPIRED"),
        (first.id, "SUCCESS"),
    ]


def test_missed_fire_whose_successor_is_due_has_expired(bench: Bench) -> None:
    """Whatever the reason for its being late."""
    bench.put(expires_next=True, catchup=0)
    bench.fired(bench.win(), in_ms=-2_000, next_in_ms=-1_000)
    bench.promote()
    assert bench.store.registry.counts("e") == {"expired": 1, "promoted": 0}
