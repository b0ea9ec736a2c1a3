"""`sched audit`: who changed what, when and why."""

from __future__ import annotations

from typing import Any

import click
import msgspec

from scheduler.cli.group import Command
from scheduler.cli.invocation import Invocation, say
from scheduler.cli.moments import read_moment, show_moment
from scheduler.cli.output import Column
from scheduler.clock import iso
from scheduler.store.audit import Note, note_text

NOTES_MAX = 10_000


@click.command("audit", cls=Command)
@click.argument("name", required=False)
@click.option("-n", "--number", "n", type=click.IntRange(1, NOTES_MAX), default=20, show_default=True, help="How many.")
@click.option("--since", metavar="TIME", help="What was changed since: '2026-11-21 09:00', '09:00', '2h' (ago).")
@click.pass_obj
def audit(sched: Invocation, name: str | None, n: int, since: str | None) -> None:
    """Who changed what, when and why; the newest first.

    NAME shows the changes of one entry, be it removed by now. The log keeps the newest 10,000 changes.
    """
    store = sched.store
    since_ms = 0 if since is None else _since_ms(sched, since)
    notes = store.audit.notes(name, n=n, since_ms=since_ms)
    if not notes:
        about = f" of {name!r}" if name else ""
        say(f"sched: no change{about} is noted{' since then' if since else ''}")
    sched.out.many(notes, data=note_data, columns=_columns(sched))


def _since_ms(sched: Invocation, text: str) -> int:
    now_ms = int(sched.store.queues.time_ms())
    return read_moment(text, what="--since", tz=sched.zone, now_ms=now_ms, past=True)


def note_data(note: Note) -> dict[str, Any]:
    """``{at, verb, entry, by, reason, what, differences, counts, revision}``."""
    return {
        "at": iso(note.at_ms),
        "verb": note.verb,
        "entry": note.entry or None,
        "by": note.by or None,
        "reason": note.reason or None,
        "what": note.what or None,
        "differences": [msgspec.structs.asdict(difference) for difference in note.differences],
        "counts": note.counts,
        "revision": note.revision or None,
    }


def _columns(sched: Invocation) -> list[Column[Note]]:
    return [
        Column("WHEN", lambda note: show_moment(note.at_ms // 1000 * 1000, sched.zone)),
        Column("WHO", lambda note: note.by),
        Column("DID", lambda note: note.verb),
        Column("ENTRY", lambda note: note.entry),
        Column("WHAT", note_text, wide=True),
        Column("WHY", lambda note: note.reason, wide=True),
    ]
