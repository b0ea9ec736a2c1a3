"""`reclaim.lua`, `reconcile.lua`: what a dead session held, and what two sides disagree about (P5, P6, P11)."""

from __future__ import annotations

import pytest

from scheduler.errors import LeaseLostError
from scheduler.model import Overlap
from tests.support.bench import HOUR_MS, Bench

pytestmark = pytest.mark.redis


def test_a_session_is_reclaimed_by_compare_and_set(bench: Bench) -> None:
    """P6: one that has renewed meanwhile keeps its messages."""
    id_ = bench.call()
    session = bench.open()
    bench.take(session)
    seen = bench.store.sessions.observe()[session.id]
    session.renew()
    assert bench.store.sessions.reclaim(session.id, seen) is None
    assert set(bench.hash(bench.keys.held(session.id))) == {id_}


def test_what_a_dead_session_held_runs_again_alone(bench: Bench) -> None:
    """P5, and trap 12: each counts a loss."""
    ids = bench.calls(3)
    session = bench.open()
    bench.take(session)
    assert bench.store.sessions.reclaim(session.id, bench.store.sessions.observe()[session.id]) == 3
    other = bench.open()
    for _ in ids:
        (message,) = other.take(["q"], 5).messages
        assert message.losses == 1
    bench.check_places()


def test_a_reclaim_that_was_broken_off_is_finished_by_another(bench: Bench) -> None:
    """P5: a session that is fenced and not emptied is seen by whoever observes."""
    ids = bench.calls(3)
    session = bench.open()
    bench.take(session)
    # As after the first chunk of a reclaim, whose caller died.
    bench.call_redis("HDEL", bench.keys.sessions, session.id)
    bench.call_redis("SADD", bench.keys.dead_sessions, session.id)
    assert bench.store.sessions.observe() == {session.id: -1}
    with pytest.raises(LeaseLostError):
        session.renew()
    assert bench.store.sessions.reclaim(session.id, -1) == 3
    assert bench.store.sessions.observe() == {}
    assert bench.live() == set(ids)
    bench.check_places()


def test_reclaiming_twice_does_nothing(bench: Bench) -> None:
    """Two observers may see the same session stand still."""
    bench.calls(2)
    session = bench.open()
    bench.take(session)
    counter = bench.store.sessions.observe()[session.id]
    assert bench.store.sessions.reclaim(session.id, counter) == 2
    assert bench.store.sessions.reclaim(session.id, counter) == 0
    bench.check_places()


def test_a_request_to_cancel_outlives_the_worker_that_was_asked(bench: Bench) -> None:
    """Revocations are not forgotten."""
    id_ = bench.call()
    session = bench.open()
    bench.take(session)
    bench.store.queues.cancel(id_)
    bench.store.sessions.reclaim(session.id, bench.store.sessions.observe()[session.id])
    assert bench.store.results.state(id_) == "REVOKED"
    assert bench.take(bench.open()) == []


def test_a_take_whose_reply_was_lost_is_given_back(bench: Bench) -> None:
    """P5: leased here, unknown to the worker. The next renewal tells it to look."""
    ids = bench.calls(2)
    session = bench.open()
    keys = (*bench.keys.core,)
    bench.store.connection.run("take", keys, (session.id, 5, 1 << 20, 0, "fair", 0, 0, "q"))  # its reply never arrives
    assert session.renew().went_back
    answer = session.reconcile([])
    assert sorted(answer.released) == sorted(ids)
    assert sorted(bench.take(session)) == sorted(ids)
    bench.check_places()


def test_renewals_that_follow_each_other_ask_for_nothing(bench: Bench) -> None:
    """A worker reconciles when it must."""
    session = bench.open()
    bench.take(session)
    assert [session.renew().went_back for _ in range(3)] == [False] * 3


def test_a_take_that_redis_lost_is_adopted(bench: Bench) -> None:
    """P11, trap 6: held by us, but ready or delayed there."""
    ready, delayed = bench.call(), bench.call(in_ms=HOUR_MS)
    session = bench.open()
    answer = session.reconcile([ready, delayed])
    assert answer.adopted == [ready, delayed]
    assert set(bench.hash(bench.keys.held(session.id))) == {ready, delayed}
    bench.check_places()


def test_a_promotion_that_redis_lost_is_made_up_for(bench: Bench) -> None:
    """P2 and P11: the fire runs already, so its due time is settled and its slot is taken."""
    bench.put(overlap=Overlap.SKIP)
    fire = bench.fired(bench.win())
    session = bench.open()
    assert session.reconcile([fire.id]).adopted == [fire.id]
    assert bench.store.registry.counts("e") == {"promoted": 1}
    assert bench.hash(bench.keys.slots) == {"e": fire.id}
    bench.finish(session, fire.id, entry="e")
    assert bench.hash(bench.keys.slots) == {}


def test_what_is_somebody_elses_is_abandoned(bench: Bench) -> None:
    """P9: so is what is over."""
    theirs, over = bench.calls(2)
    other, session = bench.open(), bench.open()
    bench.take(other)
    bench.finish(other, over)
    assert session.reconcile([theirs, over]).abandoned == [theirs, over]
    bench.check_places()


def test_a_finish_that_redis_lost_does_not_block_its_slot(bench: Bench) -> None:
    """Trap 6: the worker thinks that it is over; it is released, and runs again or ends."""
    bench.put(overlap=Overlap.SKIP)
    fire = bench.fired(bench.win())
    session = bench.open()
    bench.take(session)
    assert session.reconcile([]).released == [fire.id]
    assert bench.take(session) == [fire.id]
    bench.finish(session, fire.id, entry="e")
    assert bench.hash(bench.keys.slots) == {}
    bench.check_places()


class TestPoison:
    """Trap 12: a message that takes its whole worker to the grave does not take along what ran beside it, nor blame it."""

    def test_only_the_poison_is_buried(self, bench: Bench) -> None:
        """All of them come back to the head of the queue and meet in the next worker, five times over."""
        poison = bench.call()
        innocent = set(bench.calls(4))
        deaths, ended = 0, set[str]()
        while innocent - ended:
            session = bench.open()
            held: set[str] = set()
            while len(held) < 5 and (some := bench.take(session, 5)):  # five children
                held |= set(some)
            if poison not in held:
                for id_ in held:
                    bench.finish(session, id_)
                ended |= held
                session.close()
                continue
            deaths += 1
            assert deaths <= 5
            bench.store.sessions.reclaim(session.id, bench.store.sessions.observe()[session.id])
        assert ended == innocent
        assert [letter.id for letter in bench.store.queues.dead()] == [poison]

    def test_suspects_are_kept_apart_and_hold_up_nobody(self, bench: Bench) -> None:
        """A session has one of them at a time; what is behind them passes, and nobody is told to look again at once."""
        suspects = bench.calls(3)
        for _ in range(2):
            session = bench.open()
            while bench.take(session):
                pass
            bench.store.sessions.reclaim(session.id, bench.store.sessions.observe()[session.id])
        others = bench.calls(3)
        first, second = bench.open(), bench.open()
        assert bench.take(first) == suspects[:1]
        assert bench.take(first) == others, "what was never lost is not held up"
        taken = first.take(["q"], 10)
        assert not taken.messages
        assert not taken.more, "or a worker with a free child would ask without end"
        assert bench.take(second) == suspects[1:2], "in their order"
        bench.finish(first, suspects[0])
        assert bench.take(first) == suspects[2:]
        bench.check_places()
