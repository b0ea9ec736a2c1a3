"""History: what people read of runs."""

from __future__ import annotations

from typing import Any

import pytest

from scheduler.config import Config
from scheduler.model import Catchup, Overlap
from scheduler.store import open_store
from scheduler.store.history import Choice
from tests.support.bench import Bench, Term
from tests.support.server import ValkeyServer

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


def test_how_many_runs_an_entry_keeps_is_a_setting(bench: Bench) -> None:
    """The leader's; whoever has a million entries keeps few, whoever has ten keeps many."""
    bench.put(overlap=Overlap.ALLOW)
    history = bench.store.history
    assert history.kept() == 20
    ran(bench, 30, entry="e")
    history.keep(50)
    newest = ran(bench, 40, entry="e")
    assert bench.call_redis("LLEN", bench.keys.entry_runs("e")) == 50
    assert [run.id for run in history.runs("e", n=10)] == list(reversed(newest))[:10]
    history.keep(3)
    last = ran(bench, 1, entry="e")
    assert bench.call_redis("LLEN", bench.keys.entry_runs("e")) == 3
    assert len(history.runs("e", n=100)) == 71, "the common ring has the others"
    assert history.runs("e", n=1)[0].id == last[0]


def test_history_and_counters_survive_a_restart(own_config: Config, own_server: ValkeyServer) -> None:
    """They are on Redis, and what Redis keeps they keep."""
    store = open_store(own_config, role="test")
    bench = Bench(store)
    bench.put(overlap=Overlap.SKIP)
    term = bench.win()
    first = bench.fired(term, in_ms=-60_000, late_limit_ms=HOUR)
    bench.promote()
    skip_each_second(bench, term, 5)
    session = bench.open()
    bench.take(session)
    bench.finish(session, first.id, entry="e", due_ms=first.due_ms, outcome="promoted")
    before = (store.history.runs("e"), store.registry.counts("e"), store.history.of_due("e", first.due_ms))
    store.close()
    own_server.stop()
    own_server.start()
    store = open_store(own_config, role="test")
    assert before == (store.history.runs("e"), store.registry.counts("e"), store.history.of_due("e", first.due_ms))
    assert before[1] == {"promoted": 1, "overlap": 5}
    store.close()


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
    skip_each_second(bench, term, 30)
    session = bench.open()
    bench.take(session)
    bench.finish(session, first.id, entry="e")
    newest, skipped = bench.store.history.runs("e")
    assert newest.id == first.id
    assert (skipped.outcome, skipped.count, skipped.holder) == ("overlap", 30, first.id)
    assert skipped.to_ms - skipped.due_ms == 29_000
    assert bench.call_redis("LLEN", bench.keys.runs) == 31, "the ring of the namespace has each"


def test_a_due_time_that_ran_meanwhile_parts_what_was_skipped(bench: Bench) -> None:
    """P2: each due time within a record has the outcome that the record says."""
    bench.put(overlap=Overlap.ALLOW, catchup=Catchup.NONE)
    term, now_ms = bench.win(), bench.now_ms
    for in_ms, late_limit_ms in ((-9_000, 1), (-8_000, 1), (-7_000, HOUR), (-6_000, 1)):
        bench.fired(term, in_ms=in_ms, next_in_ms=in_ms + 1_000, now_ms=now_ms, late_limit_ms=late_limit_ms)
        bench.promote()
    skipped = [(run.due_ms - now_ms, run.count) for run in bench.store.history.runs("e")]
    assert skipped == [(-6_000, 1), (-9_000, 2)], "the run of the one between them has not ended"


def test_of_an_entry_whose_runs_are_used_up_the_common_ring_tells_once(bench: Bench) -> None:
    """It goes on for ever, and would push the runs of all others out."""
    bench.put(overlap=Overlap.ALLOW, max_runs=1)
    term = bench.win()
    bench.fired(term, in_ms=-60_000, late_limit_ms=HOUR)
    bench.promote()
    skip_each_second(bench, term, 5)
    (skipped,) = bench.store.history.runs("e", n=1)
    assert (skipped.outcome, skipped.count) == ("max_runs", 5)
    assert bench.store.registry.counts("e") == {"promoted": 1, "max_runs": 5}
    assert bench.call_redis("LLEN", bench.keys.runs) == 1


def skip_each_second(bench: Bench, term: Term, n: int) -> None:
    """Fires of "e" that follow each other and that promotion refuses."""
    now_ms = bench.now_ms
    for i in range(n):
        at_ms = -50_000 + i * 1_000
        bench.fired(term, in_ms=at_ms, next_in_ms=at_ms + 1_000, now_ms=now_ms, late_limit_ms=HOUR)
        bench.promote()


def test_runs_are_chosen_by_time_task_and_outcome(bench: Bench) -> None:
    """A run stands at its due time; a skipped stretch wherever one of its due times does."""
    bench.put("e", overlap=Overlap.SKIP)
    term = bench.win()
    now_ms = bench.now_ms
    first = bench.fired(term, in_ms=-60_000, now_ms=now_ms, late_limit_ms=HOUR)
    bench.promote()
    skip_each_second(bench, term, 10)
    session = bench.open()
    bench.take(session)
    bench.finish(session, first.id, entry="e", task="t.x", due_ms=first.due_ms, finished_ms=now_ms, outcome="promoted")
    called = ran(bench, 3)
    history = bench.store.history

    def chosen(**choice: Any) -> list[str]:
        return [run.outcome or run.id for run in history.chosen(Choice(**choice), 50)]

    assert chosen(outcome="promoted") == ["promoted"]
    assert chosen(entry="e", outcome="overlap", since_ms=now_ms - 42_000) == ["overlap"], "it ends after that"
    assert chosen(entry="e", since_ms=now_ms - 40_000) == []
    assert chosen(entry="e", until_ms=now_ms - 55_000) == ["promoted"]
    assert chosen(entry="e", until_ms=now_ms - 60_000) == [], "not at that moment"
    assert chosen(task="t.x", state="SUCCESS") == ["promoted"]
    assert chosen(since_ms=now_ms) == list(reversed(called))


def test_a_search_stops_at_what_ended_before(bench: Bench) -> None:
    """The ring is about in the order of ends: whoever asks for the last hour does not read 10,000 runs."""
    now_ms = bench.now_ms
    old = [b'{"id":"%d","finished_ms":%d}' % (i, now_ms - 2 * HOUR) for i in range(9_000)]
    bench.call_redis("RPUSH", bench.keys.runs, *old)
    ids = ran(bench, 3)
    bench.call_redis("LSET", bench.keys.runs, 0, b'{"id":"odd","finished_ms":%d}' % (now_ms + 1))
    assert [run.id for run in bench.store.history.chosen(Choice(since_ms=now_ms), 50)] == list(reversed(ids))
    bench.call_redis("LSET", bench.keys.runs, -4, b'{"id":"late","finished_ms":%d}' % (now_ms - HOUR // 2))
    bench.call_redis("LSET", bench.keys.runs, -5, b'{"id":"meant","finished_ms":%d}' % (now_ms + 1))
    found = [run.id for run in bench.store.history.chosen(Choice(since_ms=now_ms), 50)]
    assert found == [*reversed(ids), "meant"], "one whose end was written late does not hide it"


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
