"""`sched trigger` and `sched call`: a run asked for by hand. No task code is needed here."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click
import msgspec

from scheduler.cli.arguments import Sending, When, read_when, sending_options
from scheduler.cli.exits import Exit
from scheduler.cli.group import Command
from scheduler.cli.invocation import Invocation, say
from scheduler.cli.names import not_found
from scheduler.cli.run_result import result_data, result_text
from scheduler.clock import from_ms, iso
from scheduler.errors import OversizedMessageError, RefusedError, ResultTimeoutError
from scheduler.fires import newer
from scheduler.model import Entry, ResultRecord, State
from scheduler.wire import FLAG_IGNORE_RESULT, Header, Payload, encode_body, flags_of, new_id

if TYPE_CHECKING:
    from scheduler.store.queues import NewMessage


class Sent(msgspec.Struct, frozen=True):
    """A run that was accepted; `result` once it was waited for."""

    id: str
    entry: str
    task: str
    queue: str
    at_ms: int
    result: ResultRecord | None = None


@click.command("trigger", cls=Command)
@click.argument("name")
@sending_options
@click.option("--force", is_flag=True, help="Run it even while another run of the entry has not ended.")
@click.pass_obj
def trigger(sched: Invocation, name: str, sending: Sending, force: bool) -> int:
    """Run an entry now, or at a time, beside its schedule.

    --args and --kwargs replace the entry's own. The run takes the entry's overlap slot: while another run has not
    ended, it is refused with exit code 4, unless forced.
    """
    store = sched.store
    record = store.registry.get(name)
    if record is None or record.entry is None:
        not_found(name, [record.name for record in store.registry.all()])
    entry = record.entry
    if not entry.is_readable:
        raise RefusedError(newer(entry))
    now_ms = int(store.queues.time_ms())
    when = read_when(sched, sending, now_ms=now_ms)
    header = Header(
        entry=entry.name,
        task=entry.task,
        queue=_queue(sending.queue) or entry.queue,
        priority=entry.priority,
        flags=flags_of(entry) & ~FLAG_IGNORE_RESULT if sending.waits else flags_of(entry),
        overlap=entry.overlap,
        expires_ms=when.expires_ms or _own_expiry_ms(entry, when.at_ms or now_ms),
        enqueued_ms=now_ms,
        result_ttl_s=max(1, entry.result_expires_ms // 1000),
    )
    payload = Payload(
        args=entry.args if sending.args is None else sending.args,
        kwargs=entry.kwargs if sending.kwargs is None else sending.kwargs,
        eta_ms=when.at_ms or None,
        headers=entry.headers,
        run=entry.run,
    )
    message = _message(sched, header, payload, when)
    submit(sched, message, entry=entry.name, force=force)
    sent = Sent(id=message.id, entry=entry.name, task=entry.task, queue=message.queue, at_ms=message.at_ms)
    return _finish(sched, sending, sent)


@click.command("call", cls=Command)
@click.argument("task")
@sending_options
@click.option(
    "--priority", type=click.IntRange(0, 9), default=0, show_default=True, help="A higher one is taken first."
)
@click.pass_obj
def call(sched: Invocation, task: str, sending: Sending, priority: int) -> int:
    """Run a task by its name, such as reports.multiply.

    The name is not checked here: workers know the tasks. The queue is --queue, else what the routes setting says.
    """
    from scheduler.calls import Call, make_message  # noqa: PLC0415
    from scheduler.options import name_complaint  # noqa: PLC0415

    if complaint := name_complaint(task, what="task"):
        raise click.UsageError(complaint)
    when = read_when(sched, sending, now_ms=int(sched.store.queues.time_ms()))
    asked = Call(
        args=() if sending.args is None else msgspec.json.decode(sending.args),
        kwargs=None if sending.kwargs is None else msgspec.json.decode(sending.kwargs),
        eta=from_ms(when.at_ms) if when.at_ms else None,
        expires=from_ms(when.expires_ms) if when.expires_ms else None,
        queue=_queue(sending.queue),
        priority=priority,
    )
    message = make_message(task, asked, sched.home)
    submit(sched, message, entry="", force=False)
    sent = Sent(id=message.id, entry="", task=task, queue=message.queue, at_ms=message.at_ms)
    return _finish(sched, sending, sent)


def submit(sched: Invocation, message: NewMessage, *, entry: str, force: bool) -> None:
    """
    Put *message* on its queue; one of an *entry* in the entry's overlap slot.

    Raises:
        RefusedError: Another run holds the slot, and nobody forces it.
    """
    queues = sched.store.queues
    if not entry:
        queues.enqueue([message], call_id=new_id())
        return
    reply = queues.trigger(message, entry=entry, force=force, call_id=new_id())
    if not reply.ok:
        raise RefusedError(
            f"entry {entry!r}: run {reply.holder} has not ended; wait for it, cancel it "
            f"(`sched cancel {reply.holder}`), or --force"
        )


def _queue(name: str | None) -> str | None:
    """
    *name*, if a queue can be called so.

    Raises:
        click.UsageError: It cannot.
    """
    from scheduler.config import queue_complaint  # noqa: PLC0415

    if name is not None and (complaint := queue_complaint(name)):
        raise click.UsageError(complaint)
    return name


def _own_expiry_ms(entry: Entry, start_ms: int) -> int:
    """
    The entry's own `expires`, counted from when this run may start; 0 for none.

    A moment that is past already was meant for the fires of the schedule.
    """
    moments = []
    if entry.expires_after_ms is not None:
        moments.append(start_ms + entry.expires_after_ms)
    if entry.expires_at_ms is not None and entry.expires_at_ms > start_ms:
        moments.append(entry.expires_at_ms)
    return min(moments, default=0)


def _message(sched: Invocation, header: Header, payload: Payload, when: When) -> NewMessage:
    """
    The message as it goes on its queue.

    Raises:
        OversizedMessageError: It has more bytes than `message_bytes_max`.
    """
    from scheduler.store.queues import NewMessage  # noqa: PLC0415

    body, limit = encode_body(header, payload), sched.config.message_bytes_max
    if len(body) > limit:
        raise OversizedMessageError(
            f"the message has {len(body)} bytes, message_bytes_max allows {limit}; send a reference instead of the data"
        )
    return NewMessage(id=new_id(), body=body, queue=header.queue, at_ms=when.at_ms, priority=header.priority)


def _finish(sched: Invocation, sending: Sending, sent: Sent) -> int:
    """Print what was sent; first wait for its result if that was asked for."""
    if sending.waits:
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
    if sent.result is not None:
        data |= {"state": sent.result.state, **result_data(sent.result)}
    return data


def _facts(sent: Sent) -> Iterator[tuple[str, str]]:
    yield "id", sent.id
    yield "entry", sent.entry
    yield "task", sent.task
    yield "queue", sent.queue
    yield "starts", iso(sent.at_ms) or "" if sent.at_ms else ""
    if sent.result is not None:
        yield "state", sent.result.state
        yield "result", result_text(sent.result)
        yield "traceback", sent.result.traceback or ""
