"""`sched queues` and `sched purge`."""

from __future__ import annotations

import sys
from typing import Any

import click
import msgspec

from scheduler.cli.exits import Exit
from scheduler.cli.group import Command
from scheduler.cli.invocation import Invocation, say, who
from scheduler.cli.names import not_found
from scheduler.cli.output import Column


class QueueView(msgspec.Struct, frozen=True):
    """A queue and how full it is."""

    name: str
    ready: int
    delayed: int
    in_flight: int


QUEUE_COLUMNS: list[Column[QueueView]] = [
    Column("QUEUE", lambda queue: queue.name),
    Column("READY", lambda queue: str(queue.ready)),
    Column("DELAYED", lambda queue: str(queue.delayed)),
    Column("IN FLIGHT", lambda queue: str(queue.in_flight)),
]


def queue_views(sched: Invocation) -> list[QueueView]:
    """Every queue that ever held a message, by name."""
    depths = sched.store.queues.depths()
    return [QueueView(name, depth.ready, depth.delayed, depth.in_flight) for name, depth in sorted(depths.items())]


def queue_data(queue: QueueView) -> dict[str, Any]:
    """``{name, ready, delayed, in_flight}``."""
    return msgspec.structs.asdict(queue)


@click.command("queues", cls=Command)
@click.pass_obj
def queues(sched: Invocation) -> None:
    """The queues and how full they are.

    Ready: free workers would take it now. Delayed: armed fires, and calls for later. In flight: with a worker.
    """
    found = queue_views(sched)
    if not found:
        say("sched: no queue has held a message yet")
    sched.out.many(found, data=queue_data, columns=QUEUE_COLUMNS)


@click.command("purge", cls=Command)
@click.argument("queue")
@click.option("--yes", "-y", "-f", "--force", is_flag=True, help="Do not ask.")
@click.option("--reason", "-r", default="", metavar="TEXT", help="Why, for the audit log.")
@click.pass_obj
def purge(sched: Invocation, queue: str, yes: bool, reason: str) -> int:
    """End every call that waits in a queue.

    Armed fires stay: pause their entries to withdraw them. What workers hold stays too: cancel it.
    """
    store = sched.store
    known = store.queues.names()
    if queue not in known:
        not_found(queue, known, what="queue")
    if not yes and not _agreed(sched, queue):
        say("sched: nothing was purged")
        return Exit.FAILED
    from scheduler.store.audit import Note  # noqa: PLC0415

    purged = store.queues.purge(queue, note=Note(verb="purge", by=who(), reason=reason, what=f"queue {queue}"))
    sched.out.one(
        {"queue": queue, "purged": purged},
        data=lambda done: done,
        facts=lambda done: [(label, str(value)) for label, value in done.items()],
    )
    return Exit.OK


def _agreed(sched: Invocation, queue: str) -> bool:
    """Whether a person says yes; where nobody can be asked, the command must have said so."""
    if not sys.stdin.isatty():
        raise click.UsageError("purge ends messages for good and nobody is here to be asked; confirm with --yes")
    depth = sched.store.queues.depths([queue])[queue]
    return click.confirm(f"End {depth.ready} ready and up to {depth.delayed} delayed messages of {queue}?", err=True)
