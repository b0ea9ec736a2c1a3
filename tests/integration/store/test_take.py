"""`take.lua`: a batch under a session's lease."""

from __future__ import annotations

import pytest

from scheduler.wire import FLAG_EARLY
from tests.support.bench import Bench

pytestmark = pytest.mark.redis


def test_what_is_taken_is_held_and_nowhere_else(bench: Bench) -> None:
    """P5."""
    ids = bench.calls(3)
    session = bench.open()
    assert bench.take(session, 2) == ids[:2]
    assert set(bench.hash(bench.keys.held(session.id))) == set(ids[:2])
    bench.check_places()
    assert bench.take(bench.open(), 2) == ids[2:]


def test_the_urgent_come_first_within_a_queue(bench: Bench) -> None:
    """Priorities are strict; equal ones keep their order, whether they came ready or became due."""
    plain, urgent, most = bench.call(), bench.call(priority=5), bench.call(priority=9, in_ms=-5)
    assert bench.take(bench.open()) == [most, urgent, plain]


def test_the_first_queue_comes_first(bench: Bench) -> None:
    """In the order in which the worker names them, whatever their priorities."""
    second, first = bench.call(queue="b", priority=9), bench.call(queue="a")
    assert bench.take(bench.open(), 10, "a", "b") == [first, second]


def test_what_has_expired_is_ended_and_never_returned(bench: Bench) -> None:
    """P8."""
    bench.calls(3, expires_ms=bench.now_ms - 1)
    fresh = bench.call()
    assert bench.take(bench.open()) == [fresh]
    assert [run.state for run in bench.store.history.runs(state="EXPIRED")] == ["EXPIRED"] * 3
    bench.check_places()


def test_a_heap_of_expired_messages_is_ended_in_several_calls(bench: Bench) -> None:
    """No script runs for long, however much has expired; what is left behind is told."""
    bench.calls(1_200, expires_ms=bench.now_ms - 1)
    fresh = bench.call()
    session = bench.open()
    rounds, taken = 0, session.take(["q"], 5)
    while not taken.messages:
        assert taken.more
        rounds += 1
        taken = session.take(["q"], 5)
    assert [message.id for message in taken.messages] == [fresh]
    assert rounds >= 2
    bench.check_places()


def test_the_bytes_of_a_batch_are_bounded(bench: Bench) -> None:
    """P7: a worker's memory does not grow with what is pending; the order is kept."""
    ids = bench.calls(5)
    session = bench.open()
    first = session.take(["q"], 5, bytes_max=1)
    assert ([message.id for message in first.messages], first.more) == (ids[:1], True)
    assert bench.take(session) == ids[1:]


def test_an_early_acknowledged_message_comes_alone(bench: Bench) -> None:
    """At most once is known for one message at a time."""
    plain, early, after = bench.call(), bench.call(flags=FLAG_EARLY), bench.call()
    session = bench.open()
    assert [bench.take(session), bench.take(session), bench.take(session)] == [[plain], [early], [after]]


def test_a_message_lost_before_comes_alone(bench: Bench) -> None:
    """Trap 12: poison does not take its batch to the grave."""
    ids = bench.calls(3)
    session = bench.open()
    bench.take(session)
    session.release(ids[1:2], lost=True)
    session.release([ids[0], ids[2]])
    batches = [bench.take(session) for _ in range(3)]
    assert sorted(batches) == sorted([[ids[0], ids[2]], [ids[1]], []]) or all(len(batch) <= 1 for batch in batches)
    assert [ids[1]] in batches


def test_a_take_says_when_the_next_message_comes(bench: Bench) -> None:
    """So that a worker sleeps until then."""
    message = bench.message(in_ms=30_000)
    bench.store.queues.enqueue([message], call_id="c")
    taken = bench.open().take(["q", "other"], 5)
    assert (taken.messages, taken.next_due_ms, taken.more) == ([], message.at_ms, False)


def test_a_take_that_leaves_work_behind_leaves_a_token(bench: Bench) -> None:
    """Other workers sleep until they hear of it."""
    bench.calls(3)
    bench.call_redis("DEL", bench.keys.wake("q"))
    assert bench.open().take(["q"], 2).more
    assert bench.call_redis("LLEN", bench.keys.wake("q")) == 1


def test_a_take_of_nothing_still_promotes(bench: Bench) -> None:
    """A busy worker keeps the others punctual."""
    id_ = bench.call(in_ms=-5)
    taken = bench.open().take(["q"], 0)
    assert (taken.messages, taken.more) == ([], True)
    assert bench.call_redis("LRANGE", bench.keys.ready("q"), 0, -1) == [id_.encode()]


def test_a_thousand_messages_come_in_one_call(bench: Bench) -> None:
    """The largest batch that the scripts promise."""
    ids = bench.calls(1_000)
    session = bench.open()
    assert bench.take(session, 1_000) == ids
    finished = session.finish([bench.outcome(id_) for id_ in ids], take=1, queues=["q"])
    assert finished.refused == []
    assert bench.live() == set()


def test_a_watching_session_is_told_of_the_fires_that_it_promoted(bench: Bench) -> None:
    """What `sched dev` prints."""
    bench.put()
    fire = bench.fired(bench.win())
    from scheduler.store.sessions import WorkerInfo  # noqa: PLC0415

    session = bench.store.sessions.open(WorkerInfo(name="w"), watch=True)
    assert [event.id for event in session.take(["q"], 5).fires] == [fire.id]


@pytest.mark.parametrize("in_ms", [0, -5])
@pytest.mark.parametrize(
    "body",
    [b"", b"{}", b"\x01", b"\x01" + b"\xff" * 59, b"\x01" + b"\xff" * 200, b"\x01" + b"\x00" * 58, b"\x02" * 100],
    ids=["empty", "json", "one", "nan", "long", "short", "version"],
)
def test_bytes_that_are_not_ours_reach_a_worker(bench: Bench, body: bytes, in_ms: int) -> None:
    """P12: a script that stumbled over them would block the queue for ever."""
    message = bench.message(in_ms=in_ms)._replace(body=body)
    good = bench.message(in_ms=in_ms and in_ms + 1)
    bench.store.queues.enqueue([message, good], call_id="c")
    session = bench.open()
    got = bench.take(session) + bench.take(session) + bench.take(session)
    assert sorted(got) == sorted([message.id, good.id])
    assert session.finish([bench.outcome(message.id, state="FAILURE", dead=True)]).refused == []
    assert [letter.body for letter in bench.store.queues.dead()] == [body]
    bench.check_places()


@pytest.mark.parametrize("what", ["cancel", "purge", "reclaim", "release"])
def test_bytes_that_are_not_ours_can_be_got_rid_of(bench: Bench, what: str) -> None:
    """P12."""
    message = bench.message()._replace(body=b"\x01" + b"\xff" * 200)
    bench.store.queues.enqueue([message], call_id="c")
    if what == "purge":
        assert bench.store.queues.purge("q") == 1
    elif what == "cancel":
        bench.store.queues.cancel(message.id)
        bench.take(bench.open())
    else:
        session = bench.open()
        bench.take(session)
        if what == "release":
            session.release([message.id])
        else:
            bench.store.sessions.reclaim(session.id, bench.store.sessions.observe()[session.id])
        assert [letter.id for letter in bench.store.queues.dead()] == [message.id]
    assert bench.live() == set()
    assert [run.id for run in bench.store.history.runs()] == [message.id]
    bench.check_places()
