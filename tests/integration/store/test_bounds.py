"""Queues with a bound (`max_length`) refuse what does not fit, or drop their oldest; what was accepted always fits (P5)."""

from __future__ import annotations

import pytest

from scheduler.exchange import Queue
from scheduler.model import Overlap
from scheduler.store.queues import Full
from scheduler.wire import new_id
from tests.support.bench import HOUR_MS, Bench

pytestmark = pytest.mark.redis


def bounded(bench: Bench, max_length: int, overflow: str = "refuse") -> None:
    """Give the queue a bound."""
    bench.store.limits.tell([Queue("q", max_length=max_length, overflow=overflow)])


def counts(bench: Bench) -> dict[str, int]:
    """How often each outcome has happened."""
    return {outcome: n for outcome, n in bench.store.registry.counts("e").items() if n}


def test_a_full_queue_refuses_and_says_how_full_it_is(bench: Bench) -> None:
    """Of one call those that fit are accepted; a repeat is answered as before."""
    bounded(bench, 3)
    messages = [bench.message() for _ in range(5)]
    call_id = new_id()
    for _ in range(2):
        answer = bench.store.queues.enqueue(messages, call_id=call_id)
        assert answer == [True] * 3 + [False] * 2
        assert answer.refusals == {3: Full(3, 3), 4: Full(3, 3)}
    assert len(bench.live()) == 3
    session = bench.open()
    bench.take(session, 1)
    assert bench.store.queues.enqueue([bench.message(), bench.message()], call_id=new_id()) == [True, False]
    bench.check_places()


def test_what_is_not_a_message_of_ours_is_bounded_like_any(bench: Bench) -> None:
    """P12: a worker records it; nothing breaks on the way."""
    bounded(bench, 1)
    garbage = bench.message()._replace(body=b"\x01" + b"\xff" * 90)
    assert bench.store.queues.enqueue([garbage, garbage._replace(id="other")], call_id=new_id()) == [True, False]


def test_other_queues_and_a_limit_of_another_kind_refuse_nobody(bench: Bench) -> None:
    """A concurrency is no bound."""
    bounded(bench, 1)
    bench.store.limits.tell([Queue("other", concurrency=1)])
    bench.calls(1)
    for _ in range(5):
        bench.call(queue="other")
        bench.call(queue="third")


def test_calls_for_later_are_bounded_together_with_what_is_ready(bench: Bench) -> None:
    """… and fires that are armed ahead keep no call out that is to start at once."""
    bounded(bench, 3)
    bench.calls(1)
    assert bench.store.queues.enqueue([bench.message(in_ms=HOUR_MS) for _ in range(4)], call_id=new_id()) == [
        True, True, False, False,
    ]  # fmt: skip
    assert bench.store.queues.enqueue([bench.message() for _ in range(3)], call_id=new_id()) == [True, True, False]


def test_what_was_accepted_fits_when_it_comes_back(bench: Bench) -> None:
    """P5: a retry, what is given back, what is lost."""
    bounded(bench, 2)
    ids = bench.calls(2)
    session = bench.open()
    assert bench.take(session) == ids
    bench.calls(2)
    body = bench.store.queues.body(ids[0])
    assert body is not None
    assert session.retry(ids[0], body, delay_ms=-1, attempt=2)
    session.release([ids[1]])
    bench.promote()
    assert bench.store.queues.depths(["q"])["q"].ready == 4
    bench.check_places()


def test_a_queue_that_drops_its_oldest_takes_everything(bench: Bench) -> None:
    """The oldest of the least urgent ends as revoked, with its reason, for people to see."""
    bounded(bench, 3, "drop_oldest")
    urgent = bench.calls(1, priority=5)
    first = bench.calls(2)
    assert bench.store.queues.enqueue([bench.message() for _ in range(2)], call_id=new_id()) == [True, True]
    assert len(bench.live()) == 3
    assert urgent[0] in bench.live()
    for id_ in first:
        run = bench.store.history.run(id_)
        assert run is not None
        assert (run.state, run.error) == (
            "REVOKED",
            "dropped: queue q was full (max_length 3), and newer messages came",
        )
    bench.calls(7)
    assert len(bench.live()) == 3
    bench.check_places()


def test_a_fire_that_finds_its_queue_full_is_skipped(bench: Bench) -> None:
    """P2: with an outcome of its own. Its slot stays free."""
    bounded(bench, 2)
    term = bench.win()
    bench.put(overlap=Overlap.SKIP)
    bench.calls(2)
    bench.fired(term)
    bench.promote()
    assert counts(bench) == {"queue_full": 1}
    assert bench.call_redis("HEXISTS", bench.keys.slots, "e") == 0
    bench.take(bench.open(), 1)
    bench.fired(term)
    bench.promote()
    assert counts(bench) == {"queue_full": 1, "promoted": 1}
    bench.check_places()


def test_fires_push_out_the_oldest_where_the_queue_drops_them(bench: Bench) -> None:
    """As calls do."""
    bounded(bench, 1, "drop_oldest")
    term = bench.win()
    bench.put(overlap=Overlap.ALLOW)
    old = bench.call()
    fire = bench.fired(term)
    bench.promote()
    assert bench.live() == {fire.id}
    run = bench.store.history.run(old)
    assert run is not None
    assert run.state == "REVOKED"


def test_a_run_by_hand_is_refused_unless_forced(bench: Bench) -> None:
    """Whoever forces it knows."""
    bounded(bench, 1)
    bench.put(overlap=Overlap.ALLOW)
    bench.calls(1)
    trigger = bench.store.queues.trigger
    reply = trigger(bench.message(entry="e"), entry="e", force=False, call_id=new_id())
    assert (reply.ok, reply.refusal) == (False, Full(1, 1))
    assert trigger(bench.message(entry="e"), entry="e", force=True, call_id=new_id()).ok
