"""One execution, without a worker around it."""

from __future__ import annotations

from pathlib import Path

from scheduler.config import Config
from scheduler.model import Message, Outcome
from scheduler.wire import Header, Payload, encode_body
from worker.execute import Executor
from worker.frames import Released

NOW_MS = 1_000_000.0


def executor() -> Executor:
    return Executor({}, Config(state_dir=Path("/nowhere")), worker="w", server_ms=lambda: NOW_MS)


def message(*, expires_ms: int = 0, enqueued_ms: int = 0) -> Message:
    header = Header(task="t", queue="q", expires_ms=expires_ms, enqueued_ms=enqueued_ms)
    return Message("id", encode_body(header, Payload()))


def test_what_expired_behind_others_in_its_batch_does_not_start() -> None:
    """P8: expiry is looked at again when a message would start."""
    became = executor().run(message(expires_ms=int(NOW_MS)))
    assert isinstance(became, Outcome)
    assert became.state == "EXPIRED"
    became = executor().run(message(expires_ms=int(NOW_MS) + 1, enqueued_ms=int(NOW_MS)))
    assert isinstance(became, Released)


def test_an_unknown_task_is_looked_at_again_ever_more_rarely() -> None:
    """After half its age, from one second to fifteen, and never beyond its grace."""
    delays = []
    for age_ms in (0, 10_000, 200_000, 299_900):
        became = executor().run(message(enqueued_ms=int(NOW_MS) - age_ms))
        assert isinstance(became, Released)
        delays.append(became.delay_ms)
    assert delays == [1_000, 5_000, 15_000, 100]


def test_bytes_that_are_no_message_are_a_dead_letter() -> None:
    """P12."""
    became = executor().run(Message("id", b"\x00\x01"))
    assert isinstance(became, Outcome)
    assert (became.state, became.dead) == ("FAILURE", True)
