"""A run as people and programs see it."""

from __future__ import annotations

from datetime import tzinfo
from typing import Any

from scheduler.cli.moments import show_moment, show_span
from scheduler.cli.output import Column, state_style
from scheduler.clock import iso
from scheduler.model import OutcomeReason, Run


def run_data(run: Run) -> dict[str, Any]:
    """
    A run for programs; the shape of `sched runs -o json`.

    A stretch of due times that were skipped has no state; it covers `count` due times from `scheduled_for` to
    `scheduled_to`, for the reason `outcome`.
    """
    return {
        "id": run.id or None,
        "entry": run.entry or None,
        "task": run.task or None,
        "scheduled_for": moment(run.due_ms),
        "enqueued_at": moment(run.enqueued_ms),
        "started_at": moment(run.started_ms),
        "finished_at": moment(run.finished_ms),
        "state": run.state or None,
        "outcome": run.outcome or None,
        "worker": run.worker or None,
        "attempt": run.attempt or None,
        "lateness_s": lateness_s(run),
        "duration_s": duration_s(run),
        "queue": run.queue or None,
        "error": run.error or None,
        "count": run.count,
        "scheduled_to": moment(run.to_ms),
        "retry_of": run.retry_of or None,
        "backfill": run.backfill or None,
        "by": run.by or None,
        "reason": run.reason or None,
        "holder": run.holder or None,
    }


def moment(ms: int) -> str | None:
    """ISO 8601 of *ms*; None for 0, which means none in a run."""
    return iso(ms) if ms else None


def lateness_s(run: Run) -> float | None:
    """Seconds from the due time to the start; None where there is no start, or no due time that it settles."""
    return (run.started_ms - run.due_ms) / 1000 if run.of_schedule and run.started_ms else None


def duration_s(run: Run) -> float | None:
    """Seconds that the last attempt took."""
    return (run.finished_ms - run.started_ms) / 1000 if run.finished_ms and run.started_ms else None


def run_columns(tz: tzinfo, *, entry: bool = True) -> list[Column[Run]]:
    """The table of runs; without the entry where all are of one."""
    columns: list[Column[Run]] = [
        Column("WHEN", lambda run: show_moment(_when_ms(run), tz)),
        Column("ENTRY", lambda run: run.entry or run.task),
        Column("STATE", _state, style=state_style),
        Column("LATE", lambda run: _seconds(lateness_s(run)), spare=True),
        Column("TOOK", lambda run: _seconds(duration_s(run)), spare=True),
        Column("WORKER", lambda run: run.worker, spare=True),
        Column("ID", lambda run: run.id),
        Column("NOTE", lambda run: _note(run, tz), wide=True, spare=True),
    ]
    return columns if entry else [column for column in columns if column.title != "ENTRY"]


def _when_ms(run: Run) -> int:
    return run.when_ms if run.of_schedule else run.when_ms // 1000 * 1000


def _state(run: Run) -> str:
    return run.state or f"skipped {run.outcome}"


def _seconds(seconds: float | None) -> str:
    return "" if seconds is None else show_span(round(seconds * 1000))


def _note(run: Run, tz: tzinfo) -> str:
    parts = []
    if run.count > 1:
        parts.append(f"{run.count:,} due times until {show_moment(run.to_ms, tz)}")
    if run.holder:
        parts.append(f"run {run.holder} had {'its unique key' if run.outcome == OutcomeReason.UNIQUE else 'not ended'}")
    if run.attempt > 1:
        parts.append(f"attempt {run.attempt}")
    if run.retry_of:
        parts.append(f"retry of {run.retry_of}")
    if run.backfill:
        parts.append(f"backfill {run.backfill} for {show_moment(run.due_ms, tz)}")
    elif run.by:
        parts.append(f"by {run.by}")
    if run.reason:
        parts.append(run.reason)
    if run.error:
        parts.append(run.error)
    return ", ".join(parts)
