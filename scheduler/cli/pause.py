"""`sched pause` and `sched resume`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NoReturn

import click

from scheduler.cli.group import Command
from scheduler.cli.invocation import Invocation, who
from scheduler.cli.moments import InvalidMomentError, read_moment, show_moment
from scheduler.cli.names import not_found
from scheduler.cli.view import EntryView, entry_data, pause_data, views
from scheduler.clock import iso
from scheduler.errors import NotFoundError
from scheduler.model import EntryRecord


@click.command("pause", cls=Command)
@click.argument("name")
@click.option("--reason", "-r", default="", metavar="TEXT", help="Why, for the others.")
@click.option("--until", metavar="TIME", help="Resume by itself then: '2026-11-21 09:00', '2h'.")
@click.pass_obj
def pause(sched: Invocation, name: str, reason: str, until: str | None) -> None:
    """Stop an entry from firing, until a time or until resumed.

    What runs or waits already goes on. Fires that fall into the pause are not made up for.
    """
    store = sched.store
    until_ms = None
    if until is not None:
        now_ms = int(store.queues.time_ms())
        until_ms = read_moment(until, what="--until", tz=sched.zone, now_ms=now_ms)
        if until_ms <= now_ms:
            raise InvalidMomentError(f"--until {until!r}: {iso(until_ms)} is past already")
    try:
        record = store.registry.pause(name, reason=reason, until_ms=until_ms, by=who())
    except NotFoundError:
        _nobody(sched, name)
    _show(sched, record)


@click.command("resume", cls=Command)
@click.argument("name")
@click.option("--reason", "-r", default="", metavar="TEXT", help="Why, for the others.")
@click.pass_obj
def resume(sched: Invocation, name: str, reason: str) -> None:
    """Let a paused entry fire again, from its next due time on."""
    try:
        record = sched.store.registry.resume(name, by=who(), reason=reason)
    except NotFoundError:
        _nobody(sched, name)
    _show(sched, record)


def _nobody(sched: Invocation, name: str) -> NoReturn:
    not_found(name, [record.name for record in sched.store.registry.all()])


def _show(sched: Invocation, record: EntryRecord) -> None:
    def data(view: EntryView) -> dict[str, Any]:
        return {**entry_data(view), "pause": pause_data(view.pause)}

    def facts(view: EntryView) -> Iterator[tuple[str, str]]:
        yield "name", view.entry.name
        until_ms = view.pause.until_ms if view.pause else None
        until = f"until {show_moment(until_ms, sched.zone)}" if until_ms else "until it is resumed"
        yield "paused", until if view.pause else "no"
        yield "reason", view.pause.reason if view.pause else ""
        yield "next fire", show_moment(view.next_ms, sched.zone) or "none"

    sched.out.one(views(sched.store)(record), data=data, facts=facts)
