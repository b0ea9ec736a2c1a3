"""When to look for work."""

from __future__ import annotations

from scheduler.store.sessions import Taken
from worker.intake import Intake


def taken(*, more: bool = False, due_ms: float | None = None) -> Taken:
    return Taken(1_000_000.0, [], due_ms, more, [])


def test_the_first_look_is_at_once_and_then_there_is_no_reason() -> None:
    """An idle worker asks nothing."""
    intake = Intake()
    assert intake.wants(0.0)
    intake.took(taken(), sent_mono_s=0.0, got_mono_s=0.0)
    assert not intake.wants(10**9)


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
