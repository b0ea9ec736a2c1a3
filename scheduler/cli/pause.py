"""`sched pause` and `sched resume`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

import click

from scheduler.cli.group import Command
from scheduler.cli.invocation import Invocation, who
from scheduler.cli.moments import InvalidMomentError, read_moment, show_moment
from scheduler.cli.names import not_found
from scheduler.cli.view import EntryView, entry_data, pause_data, views
from scheduler.clock import iso
from scheduler.errors import NotFoundError
from scheduler.model import EntryRecord

if TYPE_CHECKING:
    from scheduler.store.registry import Many

SHOWN_MAX = 5


_ALL = click.option("--all", "all_", is_flag=True, help="Every entry.")
_TAG = click.option("--tag", metavar="WORD", help="With --all: only those with this tag.")
_REASON = click.option("--reason", "-r", default="", metavar="TEXT", help="Why, for the others.")


@click.command("pause", cls=Command)
@click.argument("name", required=False)
@_ALL
@_TAG
@_REASON
@click.option("--until", metavar="TIME", help="Resume by itself then: '2026-11-21 09:00', '2h'.")
@click.pass_obj
def pause(
    sched: Invocation, /, name: str | None, *, all_: bool, tag: str | None, reason: str, until: str | None
) -> None:
    """Stop an entry from firing, until a time or until resumed; or with --all every entry.

    What runs or waits already goes on. Fires that fall into the pause are not made up for.

    --all leaves alone what was paused by its name, and `resume --all` ends just the pauses that --all began. An entry that is
    added afterwards is not paused.
    """
    store = sched.store
    _check_whom(name, all_, tag)
    until_ms = None
    if until is not None:
        now_ms = int(store.queues.time_ms())
        until_ms = read_moment(until, what="--until", tz=sched.zone, now_ms=now_ms)
        if until_ms <= now_ms:
            raise InvalidMomentError(f"--until {until!r}: {iso(until_ms)} is past already")
    if name is None:
        many = store.registry.pause_all(reason=reason, until_ms=until_ms, by=who(), tag=tag)
        _show_many(sched, many, done="paused", left="paused by name, left so", until_ms=until_ms, reason=reason)
        return
    try:
        record = store.registry.pause(name, reason=reason, until_ms=until_ms, by=who())
    except NotFoundError:
        _nobody(sched, name)
    _show(sched, record)


@click.command("resume", cls=Command)
@click.argument("name", required=False)
@_ALL
@_TAG
@_REASON
@click.pass_obj
def resume(sched: Invocation, /, name: str | None, *, all_: bool, tag: str | None, reason: str) -> None:
    """Let a paused entry fire again, from its next due time on; or with --all every one that `pause --all` has paused.

    --all leaves alone what was paused by its name: `sched resume NAME` ends that.
    """
    registry = sched.store.registry
    _check_whom(name, all_, tag)
    if name is None:
        many = registry.resume_all(reason=reason, by=who(), tag=tag)
        _show_many(sched, many, done="resumed", left="paused by name, left so", until_ms=None, reason=reason)
        return
    try:
        record = registry.resume(name, by=who(), reason=reason)
    except NotFoundError:
        _nobody(sched, name)
    _show(sched, record)


def _check_whom(name: str | None, all_: bool, tag: str | None) -> None:
    if (name is None) == (not all_):
        raise click.UsageError("give the name of an entry, or --all")
    if tag is not None and not all_:
        raise click.UsageError("--tag chooses among all entries; give --all with it")


def _show_many(sched: Invocation, many: Many, *, done: str, left: str, until_ms: int | None, reason: str) -> None:
    def facts(many: Many) -> Iterator[tuple[str, str]]:
        yield done, _names(many.changed) or "none"
        yield left, _names(many.left)
        yield "until", show_moment(until_ms, sched.zone)
        yield "reason", reason

    def data(many: Many) -> dict[str, Any]:
        return {done: many.changed, "left": many.left, "until": iso(until_ms), "reason": reason}

    sched.out.one(many, data=data, facts=facts)


def _names(names: Sequence[str]) -> str:
    """How many they are, and the first of them."""
    if not names:
        return ""
    more = ", …" if len(names) > SHOWN_MAX else ""
    return f"{len(names)} {'entry' if len(names) == 1 else 'entries'} ({', '.join(names[:SHOWN_MAX])}{more})"


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
