"""`sched plan`: what a load of the schedule files would change, before it does. Redis is read, and nothing is written."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import msgspec
from msgspec.structs import replace

from scheduler.cli.exits import Exit
from scheduler.cli.group import Command
from scheduler.cli.invocation import Invocation, say
from scheduler.cli.moments import show_moment
from scheduler.cli.output import one_line, write
from scheduler.cli.view import EntryView, views
from scheduler.clock import iso
from scheduler.errors import NotFoundError
from scheduler.foresee.plan import Changed, Diff, diff
from scheduler.loader import Loaded
from scheduler.model import Entry, EntryRecord
from scheduler.store.audit import Difference

WHEN = frozenset({"schedule", "start", "until", "enabled"})
"""Differences in these change when an entry fires next."""


class Planned(msgspec.Struct, frozen=True):
    """
    A diff, with what is needed to tell it.

    Attributes:
        mistakes: Of the files, one line each; clashes are mistakes too.
        views: Of what is in force now, by name: of everything that changes or goes.
        after: Of what would be in force then: of everything that is new or changes.
        broken_files: Those with mistakes.
    """

    diff: Diff
    mistakes: list[str]
    views: dict[str, EntryView]
    after: dict[str, EntryView]
    broken_files: frozenset[str]


@click.command("plan", cls=Command)
@click.argument("path", required=False)
@click.option(
    "--exit-code", is_flag=True, help=f"Exit with {Exit.CHANGES.value} if there is anything to change, for CI."
)
@click.pass_obj
def plan(sched: Invocation, path: str | None, exit_code: bool) -> int:
    """What a load of the schedule files would change: entries added, changed and removed, with their next fires before and after.

    PATH is a folder of schedule files instead of the setting's. Redis is read, and nothing is written. The exit code is 1 if there are
    mistakes in the files or clashes with entries made by hand, else 0; with --exit-code it is 6 if there is anything to change.
    """
    if path is not None and not Path(path).is_dir():
        raise NotFoundError(f"there is no folder {path!r}")
    loaded = sched.load(Path(path).absolute() if path is not None else None)
    found = planned(sched, loaded)
    for mistake in found.mistakes:
        say(f"sched: {mistake}")
    if sched.wants_json:
        sched.out.data(planned_data(found))
    else:
        for line in lines(found, sched):
            write(line)
        say(f"sched: {summary(found.diff)}")
    if found.mistakes:
        return Exit.FAILED
    return Exit.CHANGES if exit_code and found.diff else Exit.OK


def planned(sched: Invocation, loaded: Loaded) -> Planned:
    """The diff of *loaded* against what is in force."""
    store = sched.store
    clean = loaded.complete and not loaded.broken_files
    found = diff(loaded.registry.entries, store.registry.all(), clean=clean, now_ms=int(store.queues.time_ms()))
    view = views(store)
    before = [*(change.record for change in found.changed), *found.removed, *found.kept]
    after = [
        *(EntryRecord(entry.name, entry, "0 0") for entry in found.added),
        *(replace(change.record, entry=change.entry) for change in found.changed),
    ]
    return Planned(
        found,
        [*map(str, loaded.mistakes), *found.clashes.values()],
        {record.name: view(record) for record in before},
        {record.name: view(record) for record in after},
        loaded.broken_files,
    )


def summary(found: Diff) -> str:
    """All of it in a line."""
    parts = [
        f"{len(those)} to {what}"
        for those, what in ((found.added, "add"), (found.changed, "change"), (found.removed, "remove"))
        if those
    ]
    if found.kept:
        parts.append(f"{len(found.kept)} kept")
    if found.clashes:
        parts.append("1 clash" if len(found.clashes) == 1 else f"{len(found.clashes)} clashes")
    parts.append(f"{found.unchanged} unchanged")
    if found.by_hand:
        parts.append(f"{found.by_hand} made by hand")
    return ", ".join(parts) if found else f"nothing to change: {', '.join(parts)}"


# ── for programs ────────────────────────────────────────────────────────────────────────────────────────────────────


def planned_data(found: Planned) -> dict[str, Any]:
    """Everything, for programs."""
    difference = found.diff
    return {
        "changes": bool(difference),
        "mistakes": found.mistakes,
        "added": [_data(found.after[entry.name], entry) for entry in difference.added],
        "changed": [_changed_data(found, change) for change in difference.changed],
        "removed": [_data(found.views[record.name], record.entry) for record in difference.removed],
        "kept": [record.name for record in difference.kept],
        "clashes": [{"name": name, "what": what} for name, what in difference.clashes.items()],
        "unchanged": difference.unchanged,
        "by_hand": difference.by_hand,
    }


def _data(view: EntryView, entry: Entry | None) -> dict[str, Any]:
    return {
        "name": view.entry.name,
        "schedule": view.text,
        "timezone": view.zone,
        "queue": view.entry.queue,
        "next_fire": iso(view.next_ms),
        "source": entry.source or None if entry is not None else None,
    }


def _changed_data(found: Planned, change: Changed) -> dict[str, Any]:
    before, after = found.views[change.record.name], found.after[change.record.name]
    return {
        "name": change.record.name,
        "fields": [{"field": one.field, "before": one.old, "after": one.new} for one in change.differences],
        "next_fire": {"before": iso(before.next_ms), "after": iso(after.next_ms)},
        "source": change.entry.source or None,
    }


# ── for people ──────────────────────────────────────────────────────────────────────────────────────────────────────


def lines(found: Planned, sched: Invocation) -> Iterator[str]:
    """A line for each entry, and one below it for each field that changes."""
    for entry in found.diff.added:
        view = found.after[entry.name]
        yield f"+ {entry.name}: {_rule(view)} → {entry.queue}, {_next(view, sched)}  ({entry.source})"
    for change in found.diff.changed:
        yield f"~ {change.record.name}  ({change.entry.source})"
        for text in _fields(found, change, sched):
            yield f"    {text}"
    for record in found.diff.removed:
        view = found.views[record.name]
        fires = "" if view.next_ms is None else f", would fire next {_moment(view, sched)}"
        yield f"- {record.name}: {_rule(view)}{fires}"
    for record in found.diff.kept:
        yield f"= {record.name}: kept; {_why_kept(record, found.broken_files)}"
    for name in found.diff.clashes:
        yield f"! {name}: not taken from the files; an entry of this name was made by hand"


def _fields(found: Planned, change: Changed, sched: Invocation) -> Iterator[str]:
    if not change.differences:
        yield "a newer version wrote the one in force, and the files' takes its place"
    for difference in change.differences:
        yield f"{difference.field}: {one_line(difference.old)} → {one_line(difference.new)}"
    if _moves(change.differences):
        before, after = found.views[change.record.name], found.after[change.record.name]
        yield f"next fire: {_moment(before, sched)} → {_moment(after, sched)}"


def _moves(found: tuple[Difference, ...]) -> bool:
    return not found or any(difference.field in WHEN for difference in found)


def _why_kept(record: EntryRecord, broken_files: frozenset[str]) -> str:
    assert record.entry is not None, record.name
    file = record.entry.source.rpartition(":")[0]
    if not record.entry.is_readable:
        return "a newer version wrote it"
    if file in broken_files:
        return f"{file} has a mistake"
    return "nothing is removed while a file has a mistake" if broken_files else "the folder could not be read"


def _rule(view: EntryView) -> str:
    return view.text if view.zone == "UTC" else f"{view.text} {view.zone}"


def _next(view: EntryView, sched: Invocation) -> str:
    return f"next {_moment(view, sched)}" if view.next_ms is not None else _moment(view, sched)


def _moment(view: EntryView, sched: Invocation) -> str:
    if view.next_ms is not None:
        return show_moment(view.next_ms, sched.zone)
    return "disabled" if not view.entry.enabled else "paused" if view.pause is not None else "never fires"
