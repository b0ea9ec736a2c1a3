"""`sched trigger` and `sched call`: a run asked for by hand. No task code is needed here."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click
import msgspec

from scheduler.cli.arguments import Sending, read_when, sending_options
from scheduler.cli.exits import Exit
from scheduler.cli.group import Command
from scheduler.cli.invocation import Invocation, say
from scheduler.cli.names import not_found
from scheduler.cli.run_result import result_data, result_text
from scheduler.clock import from_ms, iso
from scheduler.content import JSON
from scheduler.errors import NotFoundError, RefusedError, ResultTimeoutError
from scheduler.model import ResultRecord, State
from scheduler.who import who
from scheduler.wire import new_id

if TYPE_CHECKING:
    from scheduler.store.audit import Note
    from scheduler.store.queues import NewMessage


class Sent(msgspec.Struct, frozen=True):
    """A run that was accepted; `result` once it was waited for."""

    id: str
    entry: str
    task: str
    queue: str
    at_ms: int
    repeated: bool = False
    result: ResultRecord | None = None


@click.command("trigger", cls=Command)
@click.argument("name")
@sending_options
@click.option("--force", is_flag=True, help="Run it even while another run of the entry has not ended.")
@click.option(
    "--reason",
    "-r",
    default="",
    metavar="TEXT",
    help="Why, for the others: it stands with the run, and in the audit log.",
)
@click.option(
    "--key",
    default="",
    metavar="TEXT",
    help="A name for this request: within a day, asking again starts no second run.",
)
@click.pass_obj
def trigger(sched: Invocation, *, name: str, sending: Sending, force: bool, reason: str, key: str) -> int:
    """Run an entry now, or at a time, beside its schedule.

    --args and --kwargs replace the entry's own. The run takes the entry's overlap slot: while another run has not
    ended, it is refused with exit code 4, unless forced.

    With --key the request may be repeated: whoever asks again under that key within a day is given the same run, however it has
    ended, and nothing new is started.
    """
    from scheduler.byhand import Asked, complaint_about  # noqa: PLC0415
    from scheduler.byhand import trigger as ask  # noqa: PLC0415

    store = sched.store
    record = store.registry.get(name)
    if record is None or record.entry is None:
        not_found(name, [record.name for record in store.registry.all()])
    entry = record.entry
    when = read_when(sched, sending, now_ms=int(store.queues.time_ms()))
    asked = Asked(
        by=who(),
        reason=reason,
        args=sending.args,
        kwargs=sending.kwargs,
        queue=_queue(sched, sending.queue),
        at_ms=when.at_ms,
        expires_ms=when.expires_ms,
        force=force,
        key=key,
        keeps_result=sending.waits,
    )
    if complaint := complaint_about(asked):
        raise click.UsageError(complaint)
    message, reply = ask(store, entry, asked, bytes_max=sched.config.message_bytes_max)
    if reply.repeated:
        say(f"sched: run {message.id} was asked for with key {key!r} before; nothing new was started")
    sent = Sent(
        id=message.id,
        entry=entry.name,
        task=entry.task,
        queue=message.queue,
        at_ms=message.at_ms,
        repeated=reply.repeated,
    )
    return _finish(sched, sending, sent)


@click.command("call", cls=Command)
@click.argument("task")
@sending_options
@click.option(
    "--priority",
    type=click.IntRange(0, 9),
    help="A higher one is taken first (default: what the settings say, else 0).",
)
@click.option("--unique", metavar="KEY", help="Refuse it while another run of the task has this key (see `unique`).")
@click.option("--exchange", metavar="NAME", help="Send it to the queues that are bound to this exchange.")
@click.option("--routing-key", metavar="KEY", help="… by this key, as in video.compress.")
@click.pass_obj
def call(
    sched: Invocation,
    task: str,
    *,
    sending: Sending,
    priority: int | None,
    unique: str | None,
    exchange: str | None,
    routing_key: str | None,
) -> int:
    """Run a task by its name, such as reports.multiply.

    The name is not checked here: workers know the tasks. The queue is --queue, else those of --exchange and --routing-key, else
    what the settings routes and default_queue say. If an exchange leads to several queues, each gets a copy.
    """
    from scheduler.calls import Call, make_messages, send  # noqa: PLC0415
    from scheduler.options import name_complaint  # noqa: PLC0415

    if complaint := name_complaint(task, what="task"):
        raise click.UsageError(complaint)
    when = read_when(sched, sending, now_ms=int(sched.store.queues.time_ms()))
    asked = Call(
        args=() if sending.args is None else JSON.decode(sending.args, what="--args"),
        kwargs=None if sending.kwargs is None else JSON.decode(sending.kwargs, what="--kwargs"),
        eta=from_ms(when.at_ms) if when.at_ms else None,
        expires=from_ms(when.expires_ms) if when.expires_ms else None,
        queue=_queue(sched, sending.queue),
        priority=priority,
        exchange=exchange,
        routing_key=routing_key,
        unique=unique,
    )
    messages = make_messages(task, asked, sched.home)
    message = messages[0]
    if (run := send(messages, sched.home)[0]).id != message.id:
        raise RefusedError(f"{_has_the_key(run.id)}, or leave out --unique")
    for other in messages[1:]:
        say(f"sched: a copy of it is run {other.id}, on queue {other.queue}")
    sent = Sent(id=message.id, entry="", task=task, queue=message.queue, at_ms=message.at_ms)
    return _finish(sched, sending, sent)


def submit(
    sched: Invocation, message: NewMessage, *, entry: str, force: bool, note: Note | None = None, instead_of: str = ""
) -> None:
    """
    Put *message* on its queue; one of an *entry* in the entry's overlap slot, with *note* for the audit log.

    Args:
        instead_of: The dead letter whose place it takes.

    Raises:
        RefusedError: Another run holds the slot, and nobody forces it; or that dead letter is there no more.
    """
    from scheduler.byhand import refused  # noqa: PLC0415
    from scheduler.calls import send  # noqa: PLC0415

    queues = sched.store.queues
    if not entry and not instead_of:
        [run] = send((message,), sched.home)
        if run.id != message.id:
            raise RefusedError(f"{_has_the_key(run.id)}, or run this one beside it (--force)")
        return
    reply = queues.trigger(message, entry=entry, force=force, call_id=new_id(), note=note, instead_of=instead_of)
    if reply.gone:
        raise RefusedError(f"dead letter {instead_of} was put back or purged meanwhile (`sched audit` says by whom)")
    if not reply.ok:
        raise refused(message, entry, reply)


def _has_the_key(id_: str) -> str:
    return f"run {id_} has its unique key and has not ended; wait for it, cancel it (`sched cancel {id_}`)"


def _queue(sched: Invocation, name: str | None) -> str | None:
    """
    *name*, if a queue can be called so.

    Raises:
        click.UsageError: It cannot.
        UnroutableError: It is not declared, and must be.
    """
    from scheduler.exchange import queue_complaint  # noqa: PLC0415

    if name is not None and (complaint := queue_complaint(name)):
        raise click.UsageError(complaint)
    return name if name is None else sched.home.router.checked(name)


def _finish(sched: Invocation, sending: Sending, sent: Sent) -> int:
    """Print what was sent; first wait for its result if that was asked for."""
    if sending.waits:
        if sent.repeated and sched.store.results.get(sent.id) is None and sched.store.queues.body(sent.id) is None:
            raise NotFoundError(f"run {sent.id} is over, and its result is no longer kept (`sched result {sent.id}`)")
        say(f"sched: run {sent.id} is on queue {sent.queue}, waiting for its result (Ctrl-C leaves it to go on)")
        timeout_s = None if sending.timeout_ms is None else sending.timeout_ms / 1000
        try:
            record = sched.store.results.wait(sent.id, timeout_s)
        except ResultTimeoutError:
            sched.out.one(sent, data=sent_data, facts=_facts)
            raise
        sent = msgspec.structs.replace(sent, result=record)
    sched.out.one(sent, data=sent_data, facts=_facts)
    return Exit.OK if sent.result is None or sent.result.state == State.SUCCESS else Exit.FAILED


def sent_data(sent: Sent) -> dict[str, Any]:
    """``{id, entry, queue}``, and with a result also ``{state, result, traceback}``."""
    data: dict[str, Any] = {"id": sent.id, "entry": sent.entry or None, "task": sent.task, "queue": sent.queue}
    if sent.at_ms:
        data["eta"] = iso(sent.at_ms)
    if sent.repeated:
        data["repeated"] = True
    if sent.result is not None:
        data |= {"state": sent.result.state, **result_data(sent.result)}
    return data


def _facts(sent: Sent) -> Iterator[tuple[str, str]]:
    yield "id", sent.id
    yield "entry", sent.entry
    yield "task", sent.task
    yield "queue", sent.queue
    yield "repeated", "yes: it was asked for before" if sent.repeated else ""
    yield "starts", iso(sent.at_ms) or "" if sent.at_ms else ""
    if sent.result is not None:
        yield "state", sent.result.state
        yield "result", result_text(sent.result)
        yield "traceback", sent.result.traceback or ""
