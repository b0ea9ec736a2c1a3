"""`trigger.lua`, `cancel.lua`, `purge.lua`: what people do."""

from __future__ import annotations

import pytest

from scheduler.beat.plan import Plan
from scheduler.model import Overlap
from scheduler.store.audit import Note
from scheduler.store.change import Change
from scheduler.store.queues import CancelReply, TriggerReply
from scheduler.wire import fire_id, new_id
from tests.support.bench import HOUR_MS, Bench

pytestmark = pytest.mark.redis


def trigger(
    bench: Bench, *, force: bool = False, in_ms: int = 0, call_id: str = "", **header: object
) -> tuple[str, TriggerReply]:
    """Trigger `e`; the id and the reply."""
    record = bench.store.registry.get("e")
    assert record is not None
    assert record.entry is not None
    message = bench.message(entry="e", overlap=record.entry.overlap, in_ms=in_ms)
    return message.id, bench.store.queues.trigger(message, entry="e", force=force, call_id=call_id or new_id())


def test_a_trigger_takes_the_slot_and_moves_no_mark(bench: Bench) -> None:
    """It consumes no due time."""
    mark_ms = bench.put().mark_ms
    id_, reply = trigger(bench)
    assert reply.ok
    assert bench.hash(bench.keys.slots) == {"e": id_}
    assert bench.store.registry.state("e").mark_ms == mark_ms
    assert bench.store.registry.counts("e") == {"promoted": 0}
    assert bench.take(bench.open()) == [id_]


def test_a_trigger_is_refused_while_the_slot_is_held(bench: Bench) -> None:
    """And says by whom."""
    bench.put()
    first, _ = trigger(bench)
    before = bench.dump()
    _, reply = trigger(bench)
    assert (reply.ok, reply.holder) == (False, first)
    assert bench.dump() == before


def test_a_trigger_waits_for_nobody_under_allow(bench: Bench) -> None:
    """There is no slot."""
    bench.put(overlap=Overlap.ALLOW)
    assert [trigger(bench)[1].ok, trigger(bench)[1].ok] == [True, True]


@pytest.mark.parametrize("in_ms", [0, -1])
def test_a_forced_trigger_runs_beside_the_holder(bench: Bench, in_ms: int) -> None:
    """Also when it has a moment of its own: promotion must not take it for a fire that overlaps."""
    bench.put()
    first, _ = trigger(bench)
    forced, reply = trigger(bench, force=True, in_ms=in_ms)
    assert reply.ok
    assert sorted(bench.take(bench.open())) == sorted([first, forced])
    assert bench.hash(bench.keys.slots) == {"e": first}
    bench.check_places()


def test_a_forced_run_may_be_retried_beside_the_holder(bench: Bench) -> None:
    """It was accepted; coming back from a delay it is not refused."""
    bench.put()
    first, _ = trigger(bench)
    forced, _ = trigger(bench, force=True)
    session = bench.open()
    bench.take(session)
    body = bench.store.queues.body(forced)
    assert body
    session.retry(forced, body, delay_ms=-1, attempt=2)
    assert bench.take(session) == [forced]
    assert bench.hash(bench.keys.slots) == {"e": first}


def test_whoever_else_uses_a_call_id_is_told_so(bench: Bench) -> None:
    """A caller's own key: never a second run, whatever became of the first; a repeat after a lost reply is no such thing."""
    bench.put()
    first = bench.message(entry="e", overlap=Overlap.SKIP)

    def ask() -> TriggerReply:
        return bench.store.queues.trigger(first, entry="e", force=False, call_id="key", remembered_ms=HOUR_MS)

    assert ask() == TriggerReply(True, "")
    assert ask() == TriggerReply(True, "", repeated=True)
    session = bench.open()
    assert bench.take(session) == [first.id]
    bench.finish(session, first.id, entry="e")
    assert ask() == TriggerReply(True, "", repeated=True)
    assert bench.live() == set()
    assert HOUR_MS - 60_000 < bench.call_redis("PTTL", bench.keys.call("key")) <= HOUR_MS


def test_a_refused_call_id_is_not_remembered(bench: Bench) -> None:
    """It has started nothing; when the slot is free it does."""
    bench.put()
    holder, _ = trigger(bench)
    assert not trigger(bench, call_id="key")[1].ok
    session = bench.open()
    bench.take(session)
    bench.finish(session, holder, entry="e")
    assert trigger(bench, call_id="key")[1] == TriggerReply(True, "")


def test_a_repeated_trigger_adds_nothing(bench: Bench) -> None:
    """P5: after a lost reply it is no refusal either."""
    bench.put()
    message = bench.message(entry="e", overlap=Overlap.SKIP)
    for _ in range(2):
        assert bench.store.queues.trigger(message, entry="e", force=False, call_id="c").ok
    assert bench.take(bench.open()) == [message.id]


def test_a_fire_that_comes_while_a_triggered_run_lives_overlaps(bench: Bench) -> None:
    """The slot is the same."""
    bench.put()
    id_, _ = trigger(bench)
    bench.fired(bench.win())
    bench.promote()
    assert bench.store.registry.counts("e") == {"promoted": 0, "overlap": 1}
    assert bench.live() == {id_}


class TestCancel:
    """A run is cancelled wherever it is."""

    @pytest.mark.parametrize("in_ms", [0, HOUR_MS])
    def test_where_it_waits_it_ends(self, bench: Bench, in_ms: int) -> None:
        """P5."""
        id_ = bench.call(in_ms=in_ms, priority=3)
        assert bench.store.queues.cancel(id_) is CancelReply.REVOKED
        assert bench.store.results.state(id_) == "REVOKED"
        assert bench.store.queues.cancel(id_) is CancelReply.ENDED
        bench.check_places()

    @pytest.mark.parametrize("terminate", [False, True])
    def test_where_it_is_held_its_worker_is_asked(self, bench: Bench, terminate: bool) -> None:
        """At each renewal, until the message is held no longer."""
        id_ = bench.call()
        session = bench.open()
        bench.take(session)
        assert bench.store.queues.cancel(id_, terminate=terminate) is CancelReply.REQUESTED
        assert session.renew().cancels == {id_: terminate}
        assert session.renew().cancels == {id_: terminate}
        bench.finish(session, id_)
        assert session.renew().cancels == {}

    def test_an_armed_fire_is_revoked_at_once_and_withdrawn_when_its_moment_has_come(self, bench: Bench) -> None:
        """P2: its due time has one outcome."""
        bench.put()
        term = bench.win()
        fire = bench.fire(in_ms=100)
        bench.arm(term, [fire])
        note = Note(verb="cancel", by="ada@h", reason="wrong", what="run x")
        assert bench.store.queues.cancel(fire.id, by="ada@h", reason="wrong", note=note) is CancelReply.REVOKED
        assert bench.store.results.state(fire.id) == "REVOKED"
        assert bench.store.queues.cancel(fire.id) is CancelReply.ENDED
        assert [(line.verb, line.entry, line.reason) for line in bench.store.audit.notes(n=1)] == [
            ("cancel", "e", "wrong")
        ]
        bench.check_places()
        while not bench.promote():
            pass
        assert bench.store.registry.counts("e") == {"withdrawn": 1, "promoted": 0}
        [run] = bench.store.history.runs("e")
        assert (run.outcome, run.error) == ("withdrawn", "skipped by ada@h: wrong")
        assert bench.arm(term, [fire]).armed == 0
        assert bench.live() == set()

    @pytest.mark.parametrize("change", ["pause and resume", "schedule", "a change that was worked out before"])
    def test_a_cancelled_fire_does_not_come_back(self, bench: Bench, change: str) -> None:
        """P2: the mark may go back behind it; the order to skip stays with the entry."""
        bench.put(period="1s")
        due_ms = (bench.now_ms // 1_000 + 2) * 1_000
        bench.move_mark("e", bench.now_ms - due_ms + 1_000)  # up to the due time before it

        def lead() -> list[int]:
            plan = Plan(namespace=bench.keys.namespace, horizon_ms=5_000, late_limit_ms=15_000)
            plan.put(bench.store.registry.state("e"), bench.now_ms)
            fires = plan.take(bench.now_ms, 10).fires
            assert bench.arm(bench.win(), fires).stale == []
            return [fire.due_ms for fire in fires]

        assert lead()[0] == due_ms
        id_ = fire_id(bench.keys.namespace, "e", due_ms)
        before = bench.store.registry.state("e")
        assert bench.store.queues.cancel(id_) is CancelReply.REVOKED
        if change == "pause and resume":
            bench.store.registry.pause("e")
            bench.store.registry.resume("e")
        elif change == "schedule":
            bench.put(period="500ms")
        else:
            stale = Change(before, bench.entry(period="1s", priority=7))
            assert bench.store.changer.apply([stale]) == ["e"]
        lead()
        while bench.now_ms <= due_ms:
            pass
        bench.promote()
        assert [run.due_ms for run in bench.store.history.runs("e") if run.outcome == "withdrawn"] == [due_ms]
        assert id_ not in bench.live()
        bench.check_places()

    def test_one_that_waits_for_its_slot_is_withdrawn(self, bench: Bench) -> None:
        """P2."""
        bench.put(overlap=Overlap.QUEUE)
        term = bench.win()
        bench.fired(term, in_ms=-4_000)
        bench.promote()
        waiting = bench.fired(term, in_ms=-2_000)
        bench.promote()
        assert bench.store.queues.cancel(waiting.id) is CancelReply.REVOKED
        assert bench.store.registry.counts("e") == {"withdrawn": 1, "promoted": 1}
        assert bench.hash(bench.keys.waiting) == {}
        bench.check_places()

    def test_an_id_that_nobody_knows_is_told(self, bench: Bench) -> None:
        """It may never have been, or long be over."""
        assert bench.store.queues.cancel("nobody") is CancelReply.UNKNOWN


class TestPurge:
    """Ends what waits in a queue."""

    def test_ready_and_delayed_calls_end_and_armed_fires_stay(self, bench: Bench) -> None:
        """Pause their entries instead. What is in flight goes on."""
        bench.put()
        armed = bench.fire(in_ms=60_000)
        bench.arm(bench.win(), [armed])
        session = bench.open()
        held = bench.call()
        bench.take(session)
        bench.calls(3)
        bench.calls(2, priority=4)
        bench.calls(4, in_ms=HOUR_MS)
        other = bench.call(queue="other")
        assert bench.store.queues.purge("q") == 9
        assert bench.live() == {armed.id, held, other}
        assert len(bench.store.history.runs(state="REVOKED")) == 9
        bench.check_places()

    def test_thousands_end_a_chunk_at_a_time(self, bench: Bench) -> None:
        """Fires among them are stepped over."""
        for i in range(3):
            bench.put(f"e{i}")
        bench.arm(bench.win(), [bench.fire(f"e{i}", in_ms=60_000) for i in range(3)])
        bench.calls(1_500)
        bench.calls(1_500, in_ms=30_000)
        bench.calls(700, in_ms=HOUR_MS)
        assert bench.store.queues.purge("q") == 3_700
        assert len(bench.live()) == 3
        bench.check_places()

    def test_ids_without_a_body_do_not_stop_it(self, bench: Bench) -> None:
        """P11: a failover may leave some."""
        bench.call_redis("RPUSH", bench.keys.ready("q"), *[f"gone{i}" for i in range(600)])
        bench.calls(2)
        assert bench.store.queues.purge("q") == 2
        assert bench.call_redis("EXISTS", bench.keys.ready("q")) == 0
