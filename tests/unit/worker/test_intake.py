"""When to look for work."""

from __future__ import annotations

from scheduler.store.sessions import Taken
from worker.intake import LOOK_S_MAX, Hearing, Intake


def taken(*, more: bool = False, due_ms: float | None = None) -> Taken:
    return Taken(1_000_000.0, [], due_ms, more, [])


def test_the_first_look_is_at_once_and_then_there_is_no_reason() -> None:
    """An idle worker waits for a token; but who waits on a dead connection would wait for ever."""
    intake = Intake()
    assert intake.wants(0.0)
    intake.took(taken(), sent_mono_s=0.0, got_mono_s=0.0)
    assert not intake.wants(LOOK_S_MAX - 0.01)
    assert intake.wants(LOOK_S_MAX)
    intake.took(taken(due_ms=2_000_000.0), sent_mono_s=5.0, got_mono_s=5.0)
    assert intake.due_mono_s == 5.0 + LOOK_S_MAX


def test_a_token_or_work_left_behind_is_a_reason() -> None:
    """Nothing sleeps while work is known."""
    intake = Intake()
    intake.took(taken(more=True), sent_mono_s=0.0, got_mono_s=0.0)
    assert intake.wants(0.0)
    intake.took(taken(), sent_mono_s=0.0, got_mono_s=0.0)
    intake.look_now()
    assert intake.wants(0.0)


def test_the_next_delayed_message_is_looked_for_when_it_is_due() -> None:
    """Redis' moment, carried over to our clock from the middle of the round trip."""
    intake = Intake()
    intake.took(taken(due_ms=1_000_500.0), sent_mono_s=10.0, got_mono_s=10.2)
    assert intake.due_mono_s == 10.6
    assert not intake.wants(10.59)
    assert intake.wants(10.6)


def test_a_worker_is_silent_from_the_look_at_which_a_take_should_have_been_answered() -> None:
    """A long task in `solo`, or an outage, is no deafness: only takes that were due count."""
    hearing = Hearing()
    hearing.took()
    assert hearing.silent_s(0.0, should_take=True) == 0.0
    assert hearing.silent_s(600.0, should_take=True) == 0.0, "the first look at which nothing was heard"
    assert hearing.silent_s(604.0, should_take=True) == 4.0
    hearing.is_deaf = True
    hearing.took()
    assert hearing.silent_s(605.0, should_take=True) == 0.0
    assert not hearing.is_deaf


def test_a_worker_that_should_not_take_is_never_deaf() -> None:
    """It drains, or stops."""
    hearing = Hearing()
    for now in range(100):
        assert hearing.silent_s(now, should_take=False) == 0.0
    assert hearing.silent_s(100, should_take=True) == 0.0
