"""
`sched result ID --follow`: a run as it goes on, until it is over.

On a terminal a bar on stderr, in a pipe a line for each step on stdout, with ``-o jsonl`` a value for each step; then the run with its
result, as without --follow. Nothing is polled and nothing is left behind, by Ctrl-C neither.
"""

from __future__ import annotations

import sys
from collections.abc import Generator, Iterator
from contextlib import closing
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from scheduler.cli.moments import show_moment
from scheduler.cli.output import one_line, write
from scheduler.clock import iso
from scheduler.model import READY_STATES, ResultRecord

if TYPE_CHECKING:
    from scheduler.cli.invocation import Invocation


class Step(NamedTuple):
    """
    What the run said.

    Attributes:
        at_ms: When we learned of it, on Redis' clock.
        meta: What it reported; None where it only changed its state.
    """

    at_ms: int
    state: str
    meta: Any = None


def follow(sched: Invocation, id_: str, timeout_s: float | None) -> None:
    """
    Show run *id_* until it is over.

    Raises:
        ResultTimeoutError: Not over within *timeout_s*.
    """
    with closing(_steps(sched, id_, timeout_s)) as steps:
        if sched.wants_json:
            for step in steps:
                if sched.output_format == "jsonl":
                    sched.out.data({"id": id_, "at": iso(step.at_ms), "state": step.state, "meta": step.meta})
                    sys.stdout.flush()
        elif sys.stdout.isatty() and sys.stderr.isatty():
            _draw(steps, id_)
        else:
            for step in steps:
                write(f"{show_moment(step.at_ms, sched.zone)}  {step.state:<8}  {words(step.meta)}".rstrip())
                sys.stdout.flush()


def _steps(sched: Invocation, id_: str, timeout_s: float | None) -> Generator[Step, None, None]:
    """Each change of the run, its end left out: that is the result."""
    results, queues, last = sched.store.results, sched.store.queues, Step(0, "")
    with closing(results.looks(id_, timeout_s)) as looks:
        for record in looks:
            step = _step(record, results.state_without_record(id_) if record is None else record.state)
            if step.state not in READY_STATES and step[1:] != last[1:]:
                last = step._replace(at_ms=int(queues.time_ms()))
                yield last


def _step(record: ResultRecord | None, state: str) -> Step:
    return Step(0, state, None if record is None else msgspec.json.decode(record.meta))


def words(meta: Any) -> str:
    """``3/10 30 % letters`` of what `Task.progress` says, else the data itself on one line."""
    if meta is None:
        return ""
    known = _known(meta)
    if known is None:
        return one_line(meta if isinstance(meta, str) else msgspec.json.encode(meta).decode())
    current, total, note = known
    counted = f"{current:g}/{total:g}  {100 * current / total:.0f} %" if total else f"{current:g}"
    return f"{counted}  {one_line(note)}".rstrip()


def _known(meta: Any) -> tuple[float, float | None, str] | None:
    """Current, total and note, where *meta* is ``{"current": …, "total": …}``, as in the tutorials; None where it is not."""
    if not isinstance(meta, dict) or (current := _number(meta.get("current"))) is None:
        return None
    note = meta.get("note", meta.get("status", ""))
    return current, _number(meta.get("total")) or None, str(note or "")


def _number(value: object) -> float | None:
    return value if isinstance(value, int | float) and not isinstance(value, bool) and value >= 0 else None


def _draw(steps: Iterator[Step], id_: str) -> None:
    from rich.console import Console  # noqa: PLC0415 - slow, and needed on terminals only
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn  # noqa: PLC0415

    columns = (
        SpinnerColumn(), TextColumn("{task.description}", markup=False), BarColumn(),
        TextColumn("{task.fields[words]}", markup=False), TimeElapsedColumn(),
    )  # fmt: skip
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        bar = progress.add_task(f"run {id_[:8]}", total=None, words="")
        for step in steps:
            known = _known(step.meta)
            progress.update(
                bar,
                description=f"run {id_[:8]}  {one_line(step.state)}",
                words=words(step.meta),
                completed=known[0] if known else 0,
                total=known[1] if known else None,
            )
