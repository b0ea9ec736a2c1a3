"""A task with a rate limit starts no more often than that, over all workers; and whoever waits for its turn is looked at once."""

from __future__ import annotations

import time

import pytest

from scheduler.rate import Rate, read_rate
from scheduler.store.sessions import Session, Way, WorkerInfo
from tests.support.bench import HOUR_MS, Bench
from tests.support.wait import wait_until

pytestmark = pytest.mark.redis

SLOW = {"t.x": Rate(1, 3_600)}


def opened(bench: Bench, rates: dict[str, Rate]) -> Session:
    """A worker whose tasks have these limits."""
    return bench.store.sessions.open(WorkerInfo(name="w"), way=Way(rates=rates))


def test_one_starts_and_the_others_wait_for_their_turn(bench: Bench) -> None:
    """They count as ready, and the worker is told when to come again: the next turn."""
    ids = bench.calls(5)
    one, two = opened(bench, SLOW), opened(bench, SLOW)
    taken = one.take(("q",), 10)
    assert [message.id for message in taken.messages] == ids[:1]
    assert not taken.more
    assert taken.next_due_ms is not None
    assert HOUR_MS - 5_000 < taken.next_due_ms - taken.now_ms <= HOUR_MS + 1
    assert bench.take(two) == []
    assert bench.store.queues.depths(["q"])["q"] == (4, 0, 1)
    bench.check_places()


def test_another_task_of_the_queue_does_not_wait_behind_them(bench: Bench) -> None:
    """However many of them there are before it."""
    limited = bench.calls(800)
    other = bench.call(task="t.other")
    session = opened(bench, SLOW)
    assert bench.take(session, 1) == limited[:1]
    taken = session.take(("q",), 1)
    assert (taken.messages, taken.more) == ([], True), "so many are put in line in one call; it comes again at once"
    assert bench.take(session, 1) == [other]
    bench.check_places()


def test_each_message_is_put_in_line_once(bench: Bench) -> None:
    """Takes that find nobody whose turn has come leave everything as it is: nothing spins."""
    bench.calls(5)
    session = opened(bench, SLOW)
    bench.take(session)
    line = bench.call_redis("LRANGE", bench.keys.turn("q", "t.x"), 0, -1)
    for _ in range(3):
        assert bench.take(session) == []
    assert bench.call_redis("LRANGE", bench.keys.turn("q", "t.x"), 0, -1) == line


def test_the_line_keeps_its_order_whatever_comes_back(bench: Bench) -> None:
    """What was taken and not started goes back before those that wait."""
    ids = bench.calls(4)
    session = opened(bench, SLOW)
    assert bench.take(session) == ids[:1]
    session.release(ids[:1])
    bench.call_redis("DEL", f"{bench.keys.prefix}rate:t.x")
    late = bench.call()
    fast = opened(bench, {"t.x": Rate(1000)})
    assert bench.take(fast) == [*ids, late]
    assert bench.call_redis("EXISTS", bench.keys.turns) == 0, "nothing is left of the line"


def test_a_limit_that_was_taken_away_holds_nobody(bench: Bench) -> None:
    """The next version of the worker knows no limit: those in line are taken like all others."""
    ids = bench.calls(5)
    assert bench.take(opened(bench, SLOW)) == ids[:1]
    assert bench.take(bench.open()) == ids[1:]
    assert bench.take(bench.open()) == []
    assert bench.call_redis("EXISTS", bench.keys.turns) == 0


def test_what_expires_in_line_ends_before_its_turn(bench: Bench) -> None:
    """Whoever waits for its result is told then, and not hours later."""
    bench.call()
    expiring = bench.calls(3, expires_ms=bench.now_ms + 30)
    last = bench.call()
    session = opened(bench, SLOW)
    assert len(bench.take(session)) == 1
    time.sleep(0.04)
    assert bench.take(session, 0) == []
    assert {run.id for run in bench.store.history.ended()} == set(expiring)
    assert bench.call_redis("LRANGE", bench.keys.turn("q", "t.x"), 0, -1) == [last.encode()]


def test_what_expires_in_line_never_starts_and_takes_nobody_s_turn(bench: Bench) -> None:
    """P8."""
    first = bench.call()
    bench.calls(3, expires_ms=bench.now_ms + 30)
    last = bench.call()
    session = opened(bench, SLOW)
    assert bench.take(session) == [first]
    time.sleep(0.04)
    bench.call_redis("DEL", f"{bench.keys.prefix}rate:t.x")
    assert bench.take(session) == [last]
    assert [run.state for run in bench.store.history.ended()] == ["EXPIRED"] * 3
    bench.check_places()


@pytest.mark.parametrize("what", ["cancel", "purge"])
def test_who_waits_for_its_turn_can_be_cancelled_and_purged(bench: Bench, what: str) -> None:
    """P5: it is ready, so all that holds for ready messages holds for it."""
    ids = bench.calls(3)
    session = opened(bench, SLOW)
    bench.take(session)
    if what == "cancel":
        for id_ in ids[1:]:
            bench.store.queues.cancel(id_)
    else:
        assert bench.store.queues.purge("q") == 2
    assert bench.live() == set(ids[:1])
    bench.check_places()


def test_redis_that_lost_the_line_heals(bench: Bench) -> None:
    """P11: a take whose write was lost is adopted; a rate that was lost begins anew."""
    ids = bench.calls(3)
    session = opened(bench, SLOW)
    bench.take(session)
    assert session.reconcile([ids[0], ids[2]]).adopted == [ids[2]]
    bench.check_places()


def test_a_clock_that_steps_back_stops_nobody(bench: Bench) -> None:
    """P10: it is taken at face value. A turn further ahead than any can be counts for nothing."""
    bench.calls(2)
    session = opened(bench, {"t.x": Rate(1000)})
    bench.call_redis("SET", f"{bench.keys.prefix}rate:t.x", (bench.now_ms + HOUR_MS) * 1000)
    assert len(bench.take(session)) == 2


def test_two_workers_together_keep_to_the_limit(bench: Bench) -> None:
    """On Redis' clock, in each stretch of time: what the limit allows, and what may come together."""
    rate = read_rate("40/s", "rate_limit")
    assert rate is not None
    sessions = [opened(bench, {"t.x": rate}) for _ in range(2)]
    bench.calls(60)
    starts: list[float] = []

    def take_some() -> bool:
        for session in sessions:
            taken = session.take(("q",), 50)
            starts.extend([taken.now_ms] * len(taken.messages))
        return len(starts) >= 60

    wait_until(take_some, timeout_s=20, what="all of them")
    burst = 1 + rate.early_us // rate.interval_us
    for i, first in enumerate(starts):
        for j in range(i + burst, len(starts)):
            span_ms = starts[j] - first
            assert j - i + 1 <= burst + span_ms * 1000 / rate.interval_us + 1e-6, (i, j, span_ms)
    assert starts[-1] - starts[0] < 10_000, "and the limit was used: 60 of them take 1.4 s"


def test_a_retry_waits_for_another_turn(bench: Bench) -> None:
    """An attempt is a start."""
    id_ = bench.call()
    session = opened(bench, SLOW)
    assert bench.take(session) == [id_]
    body = bench.store.queues.body(id_)
    assert body is not None
    session.retry(id_, body, delay_ms=0, attempt=2)
    time.sleep(0.005)
    assert bench.take(session) == []
    assert bench.store.queues.depths(["q"])["q"].ready == 1


@pytest.mark.parametrize(
    ("said", "interval_us"),
    [("10/s", 100_000), ("100/m", 600_000), ("1000/h", 3_600_000), (5, 200_000), (0.5, 2_000_000), ("20", 50_000)],
)
def test_celery_s_forms_are_read(said: object, interval_us: int) -> None:
    """A number in a second, or text."""
    rate = read_rate(said, "rate_limit")
    assert rate is not None
    assert rate.interval_us == interval_us


@pytest.mark.parametrize("said", [None, 0, "0", "0/m"])
def test_nothing_and_0_are_no_limit(said: object) -> None:
    """As in Celery."""
    assert read_rate(said, "rate_limit") is None


@pytest.mark.parametrize("said", ["fast", "10/w", -1, True, "1e9/s", 10**9])
def test_what_is_no_rate_is_refused(said: object) -> None:
    """With the forms that are allowed."""
    with pytest.raises(ValueError, match="rate_limit"):
        read_rate(said, "rate_limit")
