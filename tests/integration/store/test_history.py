"""History: what people read of runs."""

from __future__ import annotations

import pytest

from scheduler.model import Overlap
from tests.support.bench import Bench

pytestmark = pytest.mark.redis


def ran(bench: Bench, n: int, *, entry: str = "", state: str = "SUCCESS") -> list[str]:
    """Runs that ended, oldest first."""
    ids = bench.calls(n, entry=entry)
    session = bench.open()
    for start in range(0, n, 1_000):
        taken = bench.take(session, 1_000)
        now_ms = bench.now_ms
        outcomes = [bench.outcome(id_, entry=entry, state=state, finished_ms=now_ms) for id_ in taken]
        assert session.finish(outcomes).refused == []
        assert taken == ids[start : start + 1_000]
    return ids


def test_the_newest_come_first_and_those_in_flight_before_all(bench: Bench) -> None:
    """With who runs them."""
    ids = ran(bench, 3)
    running = bench.call(entry="e")
    session = bench.open("host-a")
    bench.take(session)
    runs = bench.store.history.runs(n=3)
    assert [run.id for run in runs] == [running, ids[2], ids[1]]
    assert (runs[0].state, runs[0].worker, runs[0].entry) == ("STARTED", "host-a", "e")
    assert runs[0].started_ms > 0
    assert bench.store.history.run(running) == runs[0]


def test_a_run_is_found_by_its_id(bench: Bench) -> None:
    """However long ago, within the ring."""
    ids = ran(bench, 1_200)
    found = bench.store.history.run(ids[0])
    assert found is not None
    assert found.id == ids[0]
    assert bench.store.history.run("nobody") is None


def test_runs_are_chosen_by_entry_and_state(bench: Bench) -> None:
    """Beyond what the entry's own ring keeps."""
    bench.put(overlap=Overlap.ALLOW)
    failed = ran(bench, 30, entry="e", state="FAILURE")
    ran(bench, 600)
    fine = ran(bench, 25, entry="e")
    newest_first = [*reversed(fine), *reversed(failed)]
    assert [run.id for run in bench.store.history.runs("e", n=40)] == newest_first[:40]
    assert [run.id for run in bench.store.history.runs("e", n=40, state="FAILURE")] == newest_first[25:]
    assert len(bench.store.history.runs(state="SUCCESS", n=1_000)) == 625


def test_the_rings_are_bounded(bench: Bench) -> None:
    """Memory does not grow with what has run."""
    bench.put(overlap=Overlap.ALLOW)
    bench.call_redis("RPUSH", bench.keys.runs, *[b'{"id":"%d"}' % i for i in range(9_990)])
    ran(bench, 50, entry="e")
    assert bench.call_redis("LLEN", bench.keys.runs) == 10_000
    assert bench.call_redis("LLEN", bench.keys.entry_runs("e")) == 20


def test_the_dead_letters_are_bounded(bench: Bench) -> None:
    """The oldest go, with their bytes."""
    for i in range(10_000):
        if i % 1_000 == 0:
            bench.call_redis("ZADD", bench.keys.dead, *[v for j in range(1_000) for v in (j + i, f"d{j + i}")])
            bench.call_redis("HSET", bench.keys.dead_messages, *[v for j in range(1_000) for v in (f"d{j + i}", b"x")])
    id_ = bench.call()
    session = bench.open()
    bench.take(session)
    bench.finish(session, id_, state="FAILURE", dead=True)
    assert bench.call_redis("ZCARD", bench.keys.dead) == bench.call_redis("HLEN", bench.keys.dead_messages) == 10_000
    assert bench.store.queues.dead(1)[0].id == id_


def test_neighbours_that_were_skipped_for_one_reason_share_a_record(bench: Bench) -> None:
    """P2: an hour of overlap does not push the last real run out of the entry's ring."""
    bench.put(overlap=Overlap.SKIP)
    term = bench.win()
    first = bench.fired(term, in_ms=-60_000, late_limit_ms=HOUR)
    bench.promote()
    for i in range(30):
        bench.fired(term, in_ms=-50_000 + i * 1_000, late_limit_ms=HOUR)
        bench.promote()
    session = bench.open()
    bench.take(session)
    bench.finish(session, first.id, entry="e")
    newest, skipped = bench.store.history.runs("e")
    assert newest.id == first.id
    assert (skipped.outcome, skipped.count) == ("overlap", 30)
    assert skipped.to_ms - skipped.due_ms >= 29_000


def test_a_message_that_is_not_ours_does_not_hide_the_others(bench: Bench) -> None:
    """P12: its names may be no text."""
    header = bytearray(bench.message(entry="\x7f\x7f", task="t").body)
    body = bytes(header).replace(b"\x7f\x7f", b"\xff\xfe")
    message = bench.message()._replace(body=body)
    bench.store.queues.enqueue([message], call_id="c")
    session = bench.open()
    bench.take(session)
    bench.store.history.in_flight()
    session.release([message.id])
    bench.store.queues.purge("q")
    ids = ran(bench, 2)
    assert [run.id for run in bench.store.history.runs()] == [ids[1], ids[0], message.id]


HOUR = 3_600_000
