"""What workers say of themselves, and orders to them: read once, answered, withdrawn, gone with the session."""

from __future__ import annotations

import select
import threading

import pytest

from scheduler.store.audit import Note, encode_note
from scheduler.store.orders import Answer, Fate, Slot, Stage, Verb, WorkerState, encode_state, new_order
from tests.support.bench import Bench
from tests.support.wait import wait_until

pytestmark = pytest.mark.redis


def test_an_order_is_read_once_and_its_giver_learns_what_became_of_it(bench: Bench) -> None:
    """Those who answer are told apart from those who do not, and an order that nobody has read is withdrawn."""
    answering, silent = bench.open("answers"), bench.open("silent")
    note = encode_note(Note(verb="drain", by="me@here", what="2 workers"))
    given = bench.store.orders.give(new_order(Verb.DRAIN), [answering.id, silent.id, "nobody"], note=note)
    assert given.sessions == (answering.id, silent.id)
    assert given.refused == {"nobody": Fate.GONE}

    (order,) = answering.renew().orders
    assert order == given.order
    assert answering.renew().orders == []
    bench.store.orders.answer(order, answering.id, Answer(done=True, text="draining", running=3))

    replies = bench.store.orders.wait(given, 0.05)
    assert replies.answers == {answering.id: Answer(done=True, text="draining", running=3)}
    assert replies.missing == {silent.id: Fate.WITHDRAWN, "nobody": Fate.GONE}
    assert silent.renew().orders == [], "it was withdrawn"
    assert [(line.verb, line.by, line.what) for line in bench.store.audit.notes(n=5)] == [
        ("drain", "me@here", "2 workers")
    ]


def test_an_order_that_was_read_and_not_answered_is_told_apart_from_one_that_ended_with_its_session(
    bench: Bench,
) -> None:
    """After the first nobody knows; after the second nothing needs to be done."""
    reads, ends = bench.open(), bench.open()
    given = bench.store.orders.give(new_order(Verb.STOP), [reads.id, ends.id])
    reads.renew()
    ends.close()
    assert bench.store.orders.wait(given, 0.05).missing == {reads.id: Fate.TAKEN, ends.id: Fate.ENDED}


def test_nothing_is_noted_of_an_order_that_nobody_was_given(bench: Bench) -> None:
    """The audit log says what was done."""
    given = bench.store.orders.give(new_order(Verb.STOP), ["nobody"], note=encode_note(Note(verb="stop")))
    assert given.sessions == ()
    assert bench.store.audit.notes(n=5) == []
    assert bench.store.orders.wait(given, 5.0).missing == {"nobody": Fate.GONE}, "without waiting for anybody"


def test_a_worker_that_reads_none_holds_a_hundred_at_most(bench: Bench) -> None:
    """Its list is bounded, and goes with its session."""
    deaf = bench.open()
    for _ in range(100):
        assert bench.store.orders.give(new_order(Verb.RESUME), [deaf.id]).sessions == (deaf.id,)
    assert bench.store.orders.give(new_order(Verb.RESUME), [deaf.id]).refused == {deaf.id: Fate.FULL}
    bench.store.sessions.reclaim(deaf.id, bench.store.sessions.observe()[deaf.id])
    assert not bench.call_redis("EXISTS", bench.keys.orders(deaf.id))


def test_a_state_is_kept_until_the_next_one_comes_and_renewals_tell_the_age(bench: Bench) -> None:
    """`sched workers` reads Redis and asks nobody; what a newer version writes is no error."""
    session = bench.open("w")
    (worker,) = bench.store.sessions.workers()
    assert worker.state is None
    assert worker.silent_ms < 5_000
    state = WorkerState(stage=Stage.DRAINING, busy=1, slots=(Slot("1", "t.x", 5),), queues=("q",))
    session.renew(encode_state(state))
    session.renew()
    (worker,) = bench.store.sessions.workers()
    assert worker.state == state
    bench.call_redis("HSET", bench.keys.session_info(session.id), "state", '{"stage": "flying"}', "seen", 1_000)
    (worker,) = bench.store.sessions.workers()
    assert worker.state is None
    assert worker.silent_ms > 1_000_000


def test_an_order_and_a_cancellation_ring_at_once(bench: Bench) -> None:
    """The holder need not wait for its next renewal."""
    session = bench.open()
    session.bell.arm()
    select.select([session.bell], [], [], 10)
    assert not session.bell.heard(), "the answer to the subscription is no ring"
    id_ = bench.call()
    bench.take(session)
    for ring in (
        lambda: bench.store.queues.cancel(id_, terminate=True),
        lambda: bench.store.orders.give(new_order(Verb.RESUME), [session.id]),
    ):
        ring()
        assert select.select([session.bell], [], [], 10)[0]
        assert session.bell.heard()
    bench.call_redis("CLIENT", "KILL", "TYPE", "pubsub")
    wait_until(lambda: not session.bell.heard() and not session.bell.armed, what="the loss of the connection")
    session.bell.arm()
    assert session.bell.armed


def test_who_waits_hears_the_answer_when_it_comes(bench: Bench) -> None:
    """Not only at the end of the time limit."""
    session = bench.open()
    given = bench.store.orders.give(new_order(Verb.RESUME), [session.id])

    def answer() -> None:
        (order,) = session.renew().orders
        bench.store.orders.answer(order, session.id, Answer(done=False, text="x" * (2 << 20)))

    worker = threading.Thread(target=answer)
    worker.start()
    replies = bench.store.orders.wait(given, 60.0)
    worker.join()
    assert "too long" in replies.answers[session.id].text
    assert 0 < bench.call_redis("PTTL", bench.keys.answers(given.order.id)) <= 600_000
