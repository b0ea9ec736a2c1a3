"""How a run's end is written down."""

from __future__ import annotations

import msgspec

from scheduler.model import ResultRecord, Run, State
from scheduler.wire import FLAG_IGNORE_RESULT, Header
from worker.outcome import ERROR_CHARS_MAX, TRACEBACK_CHARS_MAX, Written, ended, error_line, failed, trace_text

RUN = Written("id", "w", 2, 100, 150)


def test_an_outcome_carries_record_and_history() -> None:
    """Encoded once, in the child."""
    outcome = ended(Header(entry="e", task="t", queue="q", due_ms=90, result_ttl_s=7), RUN, "SUCCESS", result=b"[1]")
    record = msgspec.json.decode(outcome.result, type=ResultRecord)
    assert (record.state, bytes(record.result), record.done_ms) == ("SUCCESS", b"[1]", 150)
    run = msgspec.json.decode(outcome.run, type=Run)
    assert (run.entry, run.due_ms, run.outcome, run.worker, run.attempt) == ("e", 90, "promoted", "w", 2)
    assert (outcome.ttl_ms, outcome.entry, outcome.state, outcome.dead) == (7_000, "e", "SUCCESS", False)


def test_everything_stands_under_its_own_name() -> None:
    """Histories are made by position: each field of the header and of the attempt must get where it belongs."""
    header = Header(
        task="t", queue="q", entry="e", due_ms=1, enqueued_ms=2, retry_of="r", backfill="b", by="me", reason="why"
    )
    outcome = ended(header, RUN, State.FAILURE, error="no")
    assert msgspec.json.decode(outcome.run) == {
        "id": "id", "entry": "e", "task": "t", "queue": "q", "state": "FAILURE", "due_ms": 1, "enqueued_ms": 2,
        "started_ms": 100, "finished_ms": 150, "worker": "w", "attempt": 2, "error": "no", "retry_of": "r", "backfill": "b",
        "by": "me", "reason": "why",
    }  # fmt: skip


def test_an_ignored_result_is_empty() -> None:
    """And history is kept all the same."""
    outcome = ended(Header(task="t", queue="q", flags=FLAG_IGNORE_RESULT), RUN, "SUCCESS")
    assert outcome.result == b""
    assert outcome.run


def test_errors_are_one_short_line() -> None:
    """Whatever the exception's own methods do."""

    class Rude(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    assert error_line(ValueError("a\n  b")) == "ValueError: a b"
    assert error_line(KeyError()) == "KeyError"
    assert "RuntimeError" in error_line(Rude())
    assert len(error_line(ValueError("x" * 10_000))) == ERROR_CHARS_MAX
    assert "\ud800" not in error_line(ValueError("\ud800"))


def test_a_long_traceback_is_cut_in_the_middle() -> None:
    """Its beginning and its end say most."""
    try:
        raise ValueError("x" * 100_000)
    except ValueError as error:
        text = trace_text(error, frozenset())
    assert len(text) < TRACEBACK_CHARS_MAX + 100
    assert "characters left out" in text
    assert failed(Header(task="t", queue="q"), RUN, ValueError("no"), trace=text).state == "FAILURE"
