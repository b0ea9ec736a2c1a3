"""Whose messages are taken first: queues have shares, priorities their turns, and of a queue with a limit only so many run at once."""

from __future__ import annotations

from collections import Counter

import pytest

from scheduler.exchange import Queue
from scheduler.store.sessions import Session, Way, WorkerInfo
from tests.support.bench import Bench

pytestmark = pytest.mark.redis


def opened(bench: Bench, **way: object) -> Session:
    """A session that takes so."""
    return bench.store.sessions.open(WorkerInfo(name="w"), way=Way(**way))  # type: ignore[arg-type]


def queues_of(bench: Bench, session: Session, n: int, queues: tuple[str, ...]) -> list[str]:
    """The queues of what it takes."""
    ids = [message.id for message in session.take(queues, n).messages]
    return [bench.hash(bench.keys.held(session.id))[id_].split()[0] for id_ in ids]


def test_a_full_queue_does_not_starve_the_others(bench: Bench) -> None:
    """Each gives its share of a batch; what is left over goes to those that have more."""
    for queue, n in (("a", 100), ("b", 5), ("c", 100)):
        bench.calls(n, queue=queue)
    took = Counter(queues_of(bench, opened(bench), 60, ("a", "b", "c")))
    assert took["b"] == 5
    assert took["a"] + took["c"] == 55
    assert min(took["a"], took["c"]) >= 20


def test_one_at_a_time_the_queues_come_in_turn(bench: Bench) -> None:
    """Long tasks are taken singly: then shares are kept over several takes, and an empty queue gives its own to all others."""
    for queue in ("a", "c"):
        bench.calls(20, queue=queue)
    session = opened(bench)
    took = [queues_of(bench, session, 1, ("a", "b", "c"))[0] for _ in range(10)]
    assert Counter(took) == {"a": 5, "c": 5}


def test_finish_keeps_the_turns_too(bench: Bench) -> None:
    """It takes as `take` does."""
    for queue in ("a", "b"):
        bench.calls(5, queue=queue)
    session = opened(bench)
    took = []
    for _ in range(6):
        taken = session.finish([], take=1, queues=("a", "b")).taken
        assert taken is not None
        took += [bench.hash(bench.keys.held(session.id))[message.id].split()[0] for message in taken.messages]
    assert Counter(took) == {"a": 3, "b": 3}


def test_strictly_the_first_queue_is_emptied_first(bench: Bench) -> None:
    """`queue_order = "strict"`."""
    for queue in ("a", "b"):
        bench.calls(10, queue=queue)
    session = opened(bench, strict=True)
    assert queues_of(bench, session, 6, ("b", "a")) == ["b"] * 6
    assert queues_of(bench, session, 6, ("b", "a")) == ["b"] * 4 + ["a"] * 2


def test_urgent_messages_go_first_unless_others_have_their_turns(bench: Bench) -> None:
    """`priority_turns = 3`: every third take begins with another priority, each in its turn."""
    for priority in (0, 5, 9):
        bench.calls(30, priority=priority)
    strictly, fairly = opened(bench), opened(bench, priority_turns=3)
    assert priorities(bench, strictly, 6) == [9] * 6
    assert priorities(bench, fairly, 9) == [9, 9, 0, 9, 9, 5, 9, 9, 9]


def priorities(bench: Bench, session: Session, n: int) -> list[int]:
    """The priorities of what it takes, one at a time."""
    return [session.take(("q",), 1).messages[0].body[1] for _ in range(n)]


def test_no_more_run_at_once_than_the_queue_allows(bench: Bench) -> None:
    """Over all sessions; what is beyond stays ready, and the end of one run lets the next one start."""
    bench.store.limits.tell([Queue("q", concurrency=3)])
    ids = bench.calls(10)
    one, two = opened(bench), opened(bench)
    assert bench.take(one, 2) == ids[:2]
    assert bench.take(two, 5) == ids[2:3]
    taken = one.take(("q",), 5)
    assert (taken.messages, taken.more) == ([], False), "nobody comes again at once: that would be a spin"
    bench.call_redis("DEL", bench.keys.wake("q"))
    bench.finish(two, ids[2])
    assert bench.call_redis("LLEN", bench.keys.wake("q")) == 1, "somebody is told"
    assert bench.take(one, 5) == ids[3:4]
    bench.check_places()


@pytest.mark.parametrize("end", ["retry", "release", "later", "reclaim", "close"])
def test_whatever_becomes_of_a_run_its_place_is_free(bench: Bench, end: str) -> None:
    """Nothing is counted that could leak: what sessions hold is what counts."""
    bench.store.limits.tell([Queue("q", concurrency=1)])
    id_, other = bench.calls(2)
    session, next_ = opened(bench), opened(bench)
    assert bench.take(session) == [id_]
    assert bench.take(next_) == []
    body = bench.store.queues.body(id_)
    assert body is not None
    if end == "retry":
        session.retry(id_, body, delay_ms=60_000, attempt=2)
    elif end == "release":
        session.release([id_])
    elif end == "later":
        session.release([id_], delay_ms=60_000)
    elif end == "reclaim":
        bench.store.sessions.reclaim(session.id, bench.store.sessions.observe()[session.id])
    else:
        session.close()
    assert bench.call_redis("LLEN", bench.keys.wake("q")) == 1
    assert bench.take(next_) in ([id_], [other])
    assert bench.take(next_) == []


def test_a_session_that_is_dead_and_not_yet_emptied_still_counts(bench: Bench) -> None:
    """Its children may still run."""
    bench.store.limits.tell([Queue("q", concurrency=1)])
    bench.calls(2)
    dying, other = opened(bench), opened(bench)
    assert len(bench.take(dying)) == 1
    bench.call_redis("HDEL", bench.keys.sessions, dying.id)
    bench.call_redis("SADD", bench.keys.dead_sessions, dying.id)
    assert bench.take(other) == []


def test_other_queues_are_not_held_up_by_one_that_is_at_its_limit(bench: Bench) -> None:
    """Its share goes to them."""
    bench.store.limits.tell([Queue("a", concurrency=1)])
    bench.calls(5, queue="a")
    bench.calls(20, queue="b")
    took = Counter(queues_of(bench, opened(bench), 10, ("a", "b")))
    assert took == {"a": 1, "b": 9}
