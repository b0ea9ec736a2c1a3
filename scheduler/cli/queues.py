"""`sched queues` and `sched purge`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import click
import msgspec

from scheduler.bindings import Bound
from scheduler.cli.exits import Exit
from scheduler.cli.group import Command
from scheduler.cli.invocation import Invocation, say, who
from scheduler.cli.names import not_found
from scheduler.cli.output import Column
from scheduler.store.limits import FREE, Limit, limit_of


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


class QueueShown(msgspec.Struct, frozen=True):
    """
    All that is known of a queue.

    Attributes:
        limit: What is in force.
        wanted: What the settings here declare, which may be something else; None where they do not declare it.
        bindings: By what exchanges and routing keys the settings here reach it.
    """

    view: QueueView
    limit: Limit
    wanted: Limit | None
    bindings: tuple[Bound, ...]


def queue_views(sched: Invocation) -> list[QueueView]:
    """Every queue that ever held a message, by name."""
    depths = sched.store.queues.depths()
    return [QueueView(name, depth.ready, depth.delayed, depth.in_flight) for name, depth in sorted(depths.items())]


def queues_shown(sched: Invocation) -> list[QueueShown]:
    """Every queue that ever held a message, has a limit in force, or is declared here; by name."""
    bindings, limits = sched.config.bindings(), sched.store.limits.all()
    held = {view.name: view for view in queue_views(sched)}
    declared = bindings.declared if sched.config.queues else {}
    return [
        QueueShown(
            view=held.get(name) or QueueView(name, 0, 0, 0),
            limit=limits.get(name, FREE),
            wanted=limit_of(declared[name]) if name in declared else None,
            bindings=tuple(bound for bound in bindings.bound if bound.queue == name) if name in declared else (),
        )
        for name in sorted({*held, *limits, *declared})
    ]


def queue_data(queue: QueueShown) -> dict[str, Any]:
    """``{name, ready, delayed, in_flight, max_length, overflow, concurrency, declared, bindings}``."""
    return {
        **msgspec.structs.asdict(queue.view),
        **queue.limit._asdict(),
        "overflow": None if queue.limit.max_length is None else queue.limit.overflow,
        "declared": queue.wanted is not None,
        "bindings": [
            {
                "exchange": bound.exchange,
                "type": bound.type,
                "routing_key": None if bound.type == "fanout" else bound.routing_key,
            }
            for bound in queue.bindings
        ],
    }


def _columns(found: Sequence[QueueShown]) -> list[Column[QueueShown]]:
    """Where no queue is limited or declared, there is nothing to say of that."""
    columns: list[Column[QueueShown]] = [_of_view(column) for column in QUEUE_COLUMNS]
    if any(queue.limit != FREE for queue in found):
        columns += [Column("MAX LENGTH", lambda queue: length_text(queue.limit)),
                    Column("CONCURRENCY", lambda queue: str(queue.limit.concurrency or ""))]  # fmt: skip
    if any(queue.bindings for queue in found):
        columns.append(Column("BOUND TO", lambda queue: ", ".join(map(_bound_text, queue.bindings)), wide=True))
    return columns


def _of_view(column: Column[QueueView]) -> Column[QueueShown]:
    return Column(column.title, lambda queue: column.cell(queue.view))


def length_text(limit: Limit) -> str:
    """``1000, drops the oldest``."""
    if limit.max_length is None:
        return ""
    return str(limit.max_length) + (", drops the oldest" if limit.overflow == "drop_oldest" else "")


def _bound_text(bound: Bound) -> str:
    return f"{bound.exchange} ({bound.type})" + ("" if bound.type == "fanout" else f" {bound.routing_key}")


def _limit_text(limit: Limit) -> str:
    said = [f"max_length {length_text(limit)}"] if limit.max_length is not None else []
    said += [f"concurrency {limit.concurrency}"] if limit.concurrency is not None else []
    return ", ".join(said) or "no limit"


@click.command("queues", cls=Command)
@click.pass_obj
def queues(sched: Invocation) -> None:
    """The queues and how full they are.

    Ready: free workers would take it now. Delayed: armed fires, and calls for later. In flight: with a worker. Limits are those in
    force; bindings are those that the settings here declare.
    """
    found = queues_shown(sched)
    if not found:
        say("sched: no queue has held a message yet, and none is declared")
    for queue in found:
        if queue.wanted is not None and queue.wanted != queue.limit:
            say(
                f"sched: queue {queue.view.name!r}: in force is {_limit_text(queue.limit)}, the settings here say "
                f"{_limit_text(queue.wanted)}: they come into force when a beat or worker starts with them"
            )
    sched.out.many(found, data=queue_data, columns=_columns(found))


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
