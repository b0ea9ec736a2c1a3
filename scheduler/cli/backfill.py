"""`sched backfill`: an entry runs for due times that are past. No task code is needed here."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click
import msgspec

from scheduler.cli.exits import Exit
from scheduler.cli.group import Command
from scheduler.cli.invocation import Invocation, say
from scheduler.cli.moments import read_moment, show_moment, show_span
from scheduler.cli.names import not_found
from scheduler.cli.output import Column
from scheduler.clock import iso
from scheduler.errors import NotFoundError, RefusedError
from scheduler.model import Entry, Overlap
from scheduler.who import who

if TYPE_CHECKING:
    from scheduler.byhand import Span
    from scheduler.store.backfill import Backfill, Progress

ASK_FROM = 100
"""So many runs are worth a question on a terminal."""
SHOWN_DUES = 10
_RATE = re.compile(r"(\d+(?:\.\d+)?)(?:/(s|m|h))?")
_UNIT_S = {"s": 1, "m": 60, "h": 3600}


class Rate(click.ParamType[float]):
    """``10/s``, ``30/m``, ``100/h``; a bare number is for a second. Runs in a second inside."""

    name = "rate"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:  # noqa: ARG002 - click's
        """*value* in runs for a second."""
        if isinstance(value, float):
            return value
        match = _RATE.fullmatch(str(value))
        if match is None:
            raise click.UsageError(f"--rate {value!r}: write it as 10/s, 30/m or 100/h", ctx)
        return float(match[1]) / _UNIT_S[match[2] or "s"]


class Planned(msgspec.Struct, frozen=True):
    """What a backfill would run."""

    entry: Entry
    span: Span
    dues_ms: list[int]

    @property
    def takes_ms(self) -> int:
        """From the start of the first run to that of the last."""
        return round((len(self.dues_ms) - 1) * 1000 / self.span.rate_s)


@click.command("backfill", cls=Command)
@click.argument("name", required=False)
@click.option("--from", "since", metavar="TIME", help="The first due time to run: '2026-11-01', '3d' (ago).")
@click.option("--to", "until", metavar="TIME", default="now", show_default=True, help="Due times before this one.")
@click.option(
    "--overlap",
    type=click.Choice(["allow", "queue", "skip"]),
    default="allow",
    show_default=True,
    help="Beside the entry's overlap slot; in it, one after another; or in it, and given up where it is held.",
)
@click.option(
    "--rate", type=Rate(), default="1/s", show_default=True, metavar="N/s", help="So many runs start: 10/s, 30/m."
)
@click.option(
    "--limit", type=click.IntRange(min=1), default=1_000, show_default=True, help="Refuse to start more runs than this."
)
@click.option("--outside", is_flag=True, help="Also due times before the entry's start and after its until.")
@click.option("--reason", "-r", default="", metavar="TEXT", help="Why, for the others.")
@click.option("--dry-run", is_flag=True, help="Say what would run, and start nothing.")
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@click.option("--list", "shows_all", is_flag=True, help="The backfills there are, and how far they have come.")
@click.option("--cancel", "cancelled", metavar="ID", help="Cancel what a backfill has not run yet.")
@click.option("--terminate", is_flag=True, help="With --cancel: also stop what runs already.")
@click.pass_obj
def backfill(
    sched: Invocation, /, *, name: str | None, shows_all: bool, cancelled: str | None, terminate: bool, **asked: Any
) -> int:
    """Run an entry for due times that are past: one run for each in [--from, --to).

    The runs get the due time they are for, and the arguments and queue of the entry as it is now. They are put on the queue at once,
    to start at the given rate: nothing here has to wait for them. No due time is settled by them, the entry may be paused, they do not
    expire, and max_runs does not count them. Asking again for what has not ended yet starts nothing twice.

    `sched runs --backfill ID` shows the runs of one, `sched cancel` ends a single one.
    """
    if shows_all:
        found = sched.store.backfills.all()
        if not found:
            say("sched: no backfill is known; `sched backfill NAME --from TIME` starts one")
        sched.out.many(found, data=progress_data, columns=_columns(sched))
        return Exit.OK
    if cancelled is not None:
        return _cancel(sched, cancelled, terminate)
    if name is None:
        raise click.UsageError("say which entry, or --list, or --cancel ID")
    return _start(sched, _planned(sched, name, asked), dry_run=asked["dry_run"], yes=asked["yes"])


def _planned(sched: Invocation, name: str, asked: dict[str, Any]) -> Planned:
    from scheduler.byhand import Span, due_times  # noqa: PLC0415

    store = sched.store
    if asked["since"] is None:
        raise click.UsageError("--from says where it begins: '2026-11-01', '3d' (ago)")
    record = store.registry.get(name)
    if record is None or record.entry is None:
        not_found(name, [record.name for record in store.registry.all()])
    now_ms = int(store.queues.time_ms())
    span = Span(
        from_ms=read_moment(asked["since"], what="--from", tz=sched.zone, now_ms=now_ms, past=True),
        to_ms=read_moment(asked["until"], what="--to", tz=sched.zone, now_ms=now_ms, past=True),
        by=who(),
        reason=asked["reason"],
        overlap=Overlap[asked["overlap"].upper()],
        rate_s=asked["rate"],
        limit=asked["limit"],
        outside=asked["outside"],
    )
    try:
        return Planned(record.entry, span, due_times(record.entry, span, now_ms=now_ms))
    except ValueError as error:
        raise click.UsageError(str(error)) from None


def _start(sched: Invocation, planned: Planned, *, dry_run: bool, yes: bool) -> int:
    from scheduler.byhand import backfill as start  # noqa: PLC0415

    n = len(planned.dues_ms)
    if dry_run:
        sched.out.one(planned, data=planned_data, facts=lambda planned: _planned_facts(planned, sched))
        return Exit.OK
    if n >= ASK_FROM and not yes and sys.stdin.isatty():
        question = f"Start {n:,} runs of {planned.entry.name!r}, the last of them in {show_span(planned.takes_ms)}?"
        if not click.confirm(question, err=True):
            say("sched: nothing was started")
            return Exit.REFUSED
    made, started = start(
        sched.store, planned.entry, planned.span, planned.dues_ms, bytes_max=sched.config.message_bytes_max
    )
    if not started:
        raise RefusedError(
            ("its due time" if n == 1 else f"each of these {n:,} due times")
            + " has a run of an earlier backfill that has not ended; `sched backfill --list` shows them"
        )
    if started < n:
        say(
            f"sched: {n - started:,} due times have a run of an earlier backfill that has not ended; they are left alone"
        )
    sched.out.one(
        made, data=lambda made: {**made_data(made), "started": started}, facts=lambda made: _facts(made, started, sched)
    )
    return Exit.OK


def _cancel(sched: Invocation, id: str, terminate: bool) -> int:
    from scheduler.store.audit import Note  # noqa: PLC0415

    store = sched.store
    known = store.backfills.get(id)
    if known is None:
        raise NotFoundError(f"there is no backfill {id!r}; `sched backfill --list` shows what there is")
    if not known.left:
        raise RefusedError(f"backfill {id} is over already: none of its {known.runs:,} runs is left")
    what = f"backfill {id}, of which {known.left:,} runs were left"
    note: Note | None = Note(verb="cancel", by=who(), what=what)
    replies: dict[str, int] = {}
    # The last first: what stands in line is gone before the slot passes to it.
    for run in reversed(store.backfills.living(id)):
        reply = str(store.queues.cancel(run, terminate=terminate, note=note))
        replies[reply], note = replies.get(reply, 0) + 1, None
    requested = replies.get("requested", 0)
    if requested:
        asked = "stop them" if terminate else "drop those that it has not started (--terminate stops the others too)"
        say(
            f"sched: {requested:,} of its runs {'is' if requested == 1 else 'are'} with a worker, which was asked to {asked}"
        )
    progress = store.backfills.get(id)
    assert progress is not None, id
    sched.out.one(
        progress,
        data=lambda progress: {
            **progress_data(progress),
            "cancelled": replies.get("revoked", 0),
            "requested": requested,
        },
        facts=lambda progress: _cancelled_facts(progress, replies.get("revoked", 0)),
    )
    return Exit.OK


def planned_data(planned: Planned) -> dict[str, Any]:
    """What would run, for programs."""
    return {
        "entry": planned.entry.name,
        "from": iso(planned.span.from_ms),
        "to": iso(planned.span.to_ms),
        "count": len(planned.dues_ms),
        "rate_s": planned.span.rate_s,
        "takes_s": planned.takes_ms / 1000,
        "overlap": planned.span.overlap.name.lower(),
        "fires": [iso(due_ms) for due_ms in planned.dues_ms],
    }


def made_data(made: Backfill) -> dict[str, Any]:
    """A backfill for programs."""
    return {
        "id": made.id,
        "entry": made.entry,
        "queue": made.queue,
        "from": iso(made.from_ms),
        "to": iso(made.to_ms),
        "count": made.count,
        "overlap": made.overlap.name.lower(),
        "rate_s": made.rate_s,
        "asked_at": iso(made.asked_ms),
        "last_starts_at": iso(made.ends_ms),
        "by": made.by or None,
        "reason": made.reason or None,
    }


def progress_data(progress: Progress) -> dict[str, Any]:
    """A backfill and how far it has come; the shape of `sched backfill --list -o json`."""
    return {**made_data(progress.backfill), "runs": progress.runs, "left": progress.left}


def _planned_facts(planned: Planned, sched: Invocation) -> Iterator[tuple[str, str]]:
    dues_ms, tz = planned.dues_ms, sched.zone
    yield "entry", planned.entry.name
    yield "due times", f"{len(dues_ms):,}"
    shown = [show_moment(due_ms, tz) for due_ms in dues_ms[:SHOWN_DUES]]
    if len(dues_ms) > SHOWN_DUES:
        shown[-1:] = ["…", show_moment(dues_ms[-1], tz)]
    yield "they are", "\n".join(shown)
    yield "overlap", planned.span.overlap.name.lower()
    yield "takes", f"{show_span(planned.takes_ms)} until the last one starts"
    yield "dry run", "nothing was started"


def _facts(made: Backfill, started: int, sched: Invocation) -> Iterator[tuple[str, str]]:
    yield "backfill", made.id
    yield "entry", made.entry
    yield "runs", f"{started:,}"
    yield "overlap", made.overlap.name.lower()
    yield "last starts", show_moment(made.ends_ms // 1000 * 1000, sched.zone)
    yield "look", f"sched runs --backfill {made.id}"
    yield "cancel", f"sched backfill --cancel {made.id}"


def _cancelled_facts(progress: Progress, cancelled: int) -> Iterator[tuple[str, str]]:
    yield "backfill", progress.backfill.id
    yield "entry", progress.backfill.entry
    yield "cancelled", f"{cancelled:,}"
    yield "left", f"{progress.left:,} of {progress.runs:,}"


def _columns(sched: Invocation) -> list[Column[Progress]]:
    def moment(ms: int) -> str:
        return show_moment(ms // 1000 * 1000, sched.zone)

    return [
        Column("ID", lambda each: each.backfill.id),
        Column("ENTRY", lambda each: each.backfill.entry),
        Column("FROM", lambda each: moment(each.backfill.from_ms)),
        Column("TO", lambda each: moment(each.backfill.to_ms)),
        Column("RUNS", lambda each: f"{each.runs:,}"),
        Column("LEFT", lambda each: f"{each.left:,}"),
        Column("ASKED", lambda each: moment(each.backfill.asked_ms), spare=True),
        Column("BY", lambda each: each.backfill.by, spare=True),
        Column("REASON", lambda each: each.backfill.reason, wide=True, spare=True),
    ]
