"""`enqueue.lua`: calls, once per call id."""

from __future__ import annotations

import pytest

from tests.support.bench import HOUR_MS, Bench

pytestmark = pytest.mark.redis


def test_a_repeated_call_adds_nothing(bench: Bench) -> None:
    """P5, trap 8: also after the message has ended."""
    message = bench.message()
    assert bench.store.queues.enqueue([message], call_id="c") == [True]
    assert bench.store.queues.enqueue([message], call_id="c") == [True]
    session = bench.open()
    assert bench.take(session) == [message.id]
    bench.finish(session, message.id)
    bench.store.queues.enqueue([message], call_id="c")
    assert bench.live() == set()


def test_the_call_id_is_remembered_longer_than_a_call_may_take_and_no_longer(bench: Bench) -> None:
    """Every key has a lifetime."""
    bench.store.queues.enqueue([bench.message()], call_id="c")
    assert 10_000 < bench.call_redis("PTTL", bench.keys.call("c")) <= 60_000


def test_a_live_id_is_refused_and_keeps_its_bytes(bench: Bench) -> None:
    """P5: `task_id` of a caller may meet one that has not ended."""
    message = bench.message()
    bench.store.queues.enqueue([message], call_id="1")
    other = bench.message(id_=message.id, task="other")
    assert bench.store.queues.enqueue([other, bench.message()], call_id="2") == [False, True]
    assert bench.store.queues.body(message.id) == message.body
    bench.check_places()


def test_an_id_named_twice_is_accepted_once(bench: Bench) -> None:
    """P5: within one call too."""
    message = bench.message()
    assert bench.store.queues.enqueue([message, message], call_id="1") == [True, False]
    bench.check_places()


def test_a_repeat_answers_as_the_first_call_did(bench: Bench) -> None:
    """The caller must not take a refused id for an accepted one because the first reply was lost."""
    message = bench.message()
    bench.store.queues.enqueue([message], call_id="1")
    batch = [message, bench.message()]
    assert bench.store.queues.enqueue(batch, call_id="2") == [False, True]
    assert bench.store.queues.enqueue(batch, call_id="2") == [False, True]


def test_messages_of_one_call_keep_their_order(bench: Bench) -> None:
    """Oldest first."""
    messages = [bench.message() for _ in range(1_000)]
    assert all(bench.store.queues.enqueue(messages, call_id="1"))
    assert bench.take(bench.open(), 1_000) == [message.id for message in messages]


def test_one_call_serves_many_queues_and_moments(bench: Bench) -> None:
    """Ready and delayed, urgent and not, in one round trip."""
    messages = [
        bench.message(queue="a"),
        bench.message(queue="a", priority=3),
        bench.message(queue="a", in_ms=HOUR_MS),
        bench.message(queue="b", in_ms=HOUR_MS),
    ]
    bench.store.queues.enqueue(messages, call_id="1")
    depths = bench.store.queues.depths()
    assert {name: depth[:2] for name, depth in depths.items()} == {"a": (2, 1), "b": (0, 1)}
    bench.check_places()


def test_ready_work_leaves_one_token(bench: Bench) -> None:
    """One is enough: a taker that leaves work behind pushes the next."""
    bench.calls(3)
    assert bench.call_redis("LLEN", bench.keys.wake("q")) == 1


@pytest.mark.parametrize(("in_ms", "tokens"), [(300, 1), (HOUR_MS, 0)])
def test_a_moment_sooner_than_a_taker_looks_by_itself_leaves_a_token(bench: Bench, in_ms: int, tokens: int) -> None:
    """P10: nobody oversleeps it."""
    bench.call(in_ms=in_ms)
    assert bench.call_redis("LLEN", bench.keys.wake("q")) == tokens


def test_a_far_moment_stays_on_redis(bench: Bench) -> None:
    """P7."""
    bench.call(in_ms=400 * 24 * HOUR_MS)
    assert bench.take(bench.open()) == []
    assert bench.store.queues.depths()["q"].delayed == 1
