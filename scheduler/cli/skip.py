"""`sched skip`: leave out the next fire of an entry, and only that."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click

from scheduler.cli.group import Command
from scheduler.cli.invocation import Invocation, who
from scheduler.cli.moments import show_moment
from scheduler.cli.names import not_found
from scheduler.cli.view import EntryView, entry_data, views
from scheduler.clock import iso
from scheduler.errors import NotFoundError


@click.command("skip", cls=Command)
@click.argument("name")
@click.option("--reason", "-r", default="", metavar="TEXT", help="Why, for the others.")
@click.pass_obj
def skip(sched: Invocation, name: str, reason: str) -> None:
    """Leave out the next fire of an entry, and only that.

    Asked for twice, the next two are left out. What is due already goes on; `sched cancel` ends that. A skipped fire stays skipped
    when the entry is paused, resumed or edited meanwhile, and is recorded as withdrawn.
    """
    registry = sched.store.registry
    try:
        record, due_ms = registry.skip(name, reason=reason, by=who())
    except NotFoundError:
        not_found(name, [record.name for record in registry.all()])

    def data(view: EntryView) -> dict[str, Any]:
        return {**entry_data(view), "skips": iso(due_ms)}

    def facts(view: EntryView) -> Iterator[tuple[str, str]]:
        yield "name", view.entry.name
        yield "skips", show_moment(due_ms, sched.zone)
        yield "reason", reason
        yield "next fire", show_moment(view.next_ms, sched.zone) or "none"

    sched.out.one(views(sched.store)(record), data=data, facts=facts)
