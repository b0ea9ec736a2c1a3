"""A dead letter, as people and programs see it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import tzinfo
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from scheduler.cli.moments import show_moment
from scheduler.cli.output import Column
from scheduler.cli.run_view import moment
from scheduler.clock import iso
from scheduler.errors import UndecodableMessageError
from scheduler.wire import SERIALIZER_NAMES, Header, Payload, decode_header, decode_payload

if TYPE_CHECKING:
    from scheduler.store.dead import Death

ARGUMENTS_CHARS_MAX = 2_000
"""What is shown of arguments to people; programs get `ARGUMENTS_BYTES_MAX`."""
ARGUMENTS_BYTES_MAX = 65_536
RAW_BYTES_SHOWN = 96


class Letter(NamedTuple):
    """A dead letter with its bytes."""

    death: Death
    body: bytes

    def opened(self) -> Opened:
        """What the bytes say, as far as they can be read."""
        try:
            header, at = decode_header(self.body)
        except UndecodableMessageError as error:
            return Opened(None, None, str(error))
        try:
            return Opened(header, decode_payload(self.body, at), "")
        except UndecodableMessageError as error:
            return Opened(header, None, str(error))


class Opened(NamedTuple):
    """
    The parts of a message that could be read.

    Attributes:
        problem: Why not all of it, or empty.
    """

    header: Header | None
    payload: Payload | None
    problem: str


def death_columns(tz: tzinfo) -> list[Column[Death]]:
    """The table of `sched dead list`."""
    return [
        Column("DIED", lambda death: show_moment(death.died_ms // 1000 * 1000, tz)),
        Column("TASK", lambda death: death.run.task or "?"),
        Column("ENTRY", lambda death: death.run.entry, spare=True),
        Column("QUEUE", lambda death: death.run.queue, spare=True),
        Column("LOST", lambda death: str(len(death.losses) or ""), spare=True),
        Column("ID", lambda death: death.id),
        Column("WHY", lambda death: death.run.error, wide=True),
    ]


def death_data(death: Death) -> dict[str, Any]:
    """``{id, died_at, task, entry, queue, error, attempt, worker, losses}``."""
    run = death.run
    return {
        "id": death.id,
        "died_at": iso(death.died_ms),
        "task": run.task or None,
        "entry": run.entry or None,
        "queue": run.queue or None,
        "error": run.error,
        "attempt": run.attempt or None,
        "worker": run.worker or None,
        "losses": [{"at": iso(loss.at_ms), "worker": loss.worker, "how": loss.how} for loss in death.losses],
    }


def letter_data(letter: Letter) -> dict[str, Any]:
    """That, with what the message was to do; `args` and `kwargs` are None where they are too large, or cannot be read here."""
    run, opened = letter.death.run, letter.opened()
    header, payload = opened.header, opened.payload
    args, kwargs, arguments_note = _arguments(opened)
    return {
        **death_data(letter.death),
        "scheduled_for": moment(run.due_ms),
        "enqueued_at": moment(run.enqueued_ms),
        "started_at": moment(run.started_ms),
        "finished_at": moment(run.finished_ms),
        "traceback": letter.death.traceback,
        "bytes": len(letter.body),
        "readable": not opened.problem,
        "problem": opened.problem or None,
        "raw": None if header is not None else _raw(letter.body),
        "args": args,
        "kwargs": kwargs,
        "arguments_note": arguments_note or None,
        "headers": payload.headers if payload else None,
        "eta": moment(payload.eta_ms or 0) if payload else None,
        "expires": moment(header.expires_ms) if header else None,
        "priority": header.priority if header else None,
        "back_to": header.queue if header else None,
        "root_id": (payload.root_id or letter.death.id) if payload else None,
        "parent_id": (payload.parent_id or None) if payload else None,
        "retry_of": run.retry_of or None,
        "by": run.by or None,
        "reason": run.reason or None,
    }


def letter_facts(letter: Letter, tz: tzinfo) -> Iterator[tuple[str, str]]:
    """The same for people."""
    death, run, opened = letter.death, letter.death.run, letter.opened()
    header, payload = opened.header, opened.payload
    yield "id", death.id
    yield "task", run.task
    yield "entry", run.entry
    yield "died", show_moment(death.died_ms, tz)
    yield "why", run.error
    yield (
        "lost by",
        "\n".join(
            f"{show_moment(loss.at_ms, tz)}  {loss.worker or '?'}{f': {loss.how}' if loss.how else ''}"
            for loss in death.losses
        ),
    )
    yield "attempt", str(run.attempt or "")
    yield "worker", run.worker
    yield "scheduled for", show_moment(run.due_ms, tz)
    yield "enqueued", show_moment(run.enqueued_ms, tz)
    yield "started", show_moment(run.started_ms, tz)
    yield "retry of", run.retry_of
    yield "asked for by", run.by
    yield "reason", run.reason
    args, kwargs, note = _arguments(opened)
    yield "args", _short(args) if args is not None and bytes(args) != b"[]" else ""
    yield "kwargs", _short(kwargs) if kwargs is not None and bytes(kwargs) != b"{}" else ""
    yield "arguments", note
    yield "headers", _short(msgspec.json.encode(payload.headers)) if payload and payload.headers else ""
    yield "expires", show_moment(header.expires_ms, tz) if header and header.expires_ms else ""
    yield "message", f"{len(letter.body):,} bytes" + (f"; {opened.problem}" if opened.problem else "")
    yield "raw", _raw(letter.body) if header is None else ""
    yield "traceback", death.traceback or ""
    yield "back to", _way_back(death, header)


def _way_back(death: Death, header: Header | None) -> str:
    if header is None:
        return f"nowhere: it would die again; `sched dead purge {death.id}` removes it"
    priority = f", priority {header.priority}" if header.priority else ""
    slot = f", in the overlap slot of {header.entry}" if header.entry and header.overlap else ""
    return f"queue {header.queue}{priority}{slot}: sched dead requeue {death.id}"


def _arguments(opened: Opened) -> tuple[msgspec.Raw | None, msgspec.Raw | None, str]:
    """`args` and `kwargs` as JSON, or None and why."""
    header, payload = opened.header, opened.payload
    if header is None or payload is None:
        return None, None, ""
    if header.serializer:
        name = SERIALIZER_NAMES.get(header.serializer, str(header.serializer))
        return None, None, f"in {name}, which is not read here"
    size = len(bytes(payload.args)) + len(bytes(payload.kwargs))
    if size > ARGUMENTS_BYTES_MAX:
        return None, None, f"{size:,} bytes, too many to be shown"
    return payload.args, payload.kwargs, ""


def _short(data: bytes | msgspec.Raw) -> str:
    text = bytes(data).decode(errors="replace")
    if len(text) <= ARGUMENTS_CHARS_MAX:
        return text
    return f"{text[:ARGUMENTS_CHARS_MAX]}… ({len(text) - ARGUMENTS_CHARS_MAX:,} characters more)"


def _raw(body: bytes) -> str:
    """The first bytes, safe on any terminal."""
    more = f"… ({len(body) - RAW_BYTES_SHOWN:,} more)" if len(body) > RAW_BYTES_SHOWN else ""
    return f"{body[:RAW_BYTES_SHOWN]!r}{more}"
