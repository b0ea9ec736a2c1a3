"""
Runs that people ask for, beside the schedule: `sched trigger`, `app.entries.trigger`.

They never move a mark and never consume a due time. A run takes the overlap slot of its entry like any other; while that is held it is
refused, unless forced. Who asked for it and why goes with the message, into the history and into the audit log.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from scheduler.errors import OversizedMessageError, RefusedError
from scheduler.fires import newer
from scheduler.model import Entry
from scheduler.wire import FLAG_IGNORE_RESULT, Header, Payload, encode_body, flags_of, keyed_id, new_id

if TYPE_CHECKING:
    from scheduler.store import Store
    from scheduler.store.queues import NewMessage, TriggerReply

KEY_REMEMBERED_MS = 86_400_000
"""How long a key of the caller's own stands for the run that it was first given with."""
KEY_CHARS_MAX = 256
REASON_CHARS_MAX = 1_000


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """
    What somebody asks of an entry; None where it is as the entry says.

    Attributes:
        at_ms: When it is to start; 0: now.
        expires_ms: When it may not start any more; 0: as the entry says, counted from its start.
        key: The caller's own name for it: whoever asks again under it within a day gets the same run. Empty: none.
        keeps_result: Somebody waits for the result, whatever the entry says.
    """

    by: str
    reason: str = ""
    args: msgspec.Raw | None = None
    kwargs: msgspec.Raw | None = None
    queue: str | None = None
    at_ms: int = 0
    expires_ms: int = 0
    force: bool = False
    key: str = ""
    keeps_result: bool = False


def trigger(store: Store, entry: Entry, asked: Asked, *, bytes_max: int) -> tuple[NewMessage, TriggerReply]:
    """
    Put one run of *entry* on its queue.

    Raises:
        RefusedError: Another run holds the overlap slot, and nobody forces it; or a newer version wrote the entry.
        OversizedMessageError: Its message has more than *bytes_max* bytes.
        ValueError: Key or reason cannot be used.
    """
    from scheduler.store.audit import Note  # noqa: PLC0415 - most commands need no log

    if complaint := complaint_about(asked):
        raise ValueError(complaint)
    if not entry.is_readable:
        raise RefusedError(newer(entry))
    message = triggered(entry, asked, namespace=store.keys.namespace, now_ms=int(store.queues.time_ms()))
    if len(message.body) > bytes_max:
        raise OversizedMessageError(
            f"the message has {len(message.body)} bytes, message_bytes_max allows {bytes_max}; "
            "send a reference instead of the data"
        )
    what = f"run {message.id}" + (", beside the slot" if asked.force else "")
    reply = store.queues.trigger(
        message,
        entry=entry.name,
        force=asked.force,
        # A fresh id may stand for the call too.
        call_id=message.id,
        **({"remembered_ms": KEY_REMEMBERED_MS} if asked.key else {}),
        note=Note(verb="trigger", entry=entry.name, by=asked.by, reason=asked.reason, what=what),
    )
    if not reply.ok:
        raise RefusedError(held(entry.name, reply.holder))
    return message, reply


def held(entry: str, holder: str) -> str:
    """That the slot is taken, and what can be done about it."""
    return (
        f"entry {entry!r}: run {holder} has not ended; wait for it, cancel it (`sched cancel {holder}`), or run this one "
        "beside it (--force, force=True)"
    )


def complaint_about(asked: Asked) -> str | None:
    """What is wrong with the words in *asked*, if anything."""
    if asked.key and (len(asked.key) > KEY_CHARS_MAX or not asked.key.isprintable()):
        return f"key {asked.key[:40]!r}: use 1–{KEY_CHARS_MAX} printable characters"
    if len(asked.reason) > REASON_CHARS_MAX:
        return f"the reason has {len(asked.reason)} characters; at most {REASON_CHARS_MAX} are kept"
    return None


def triggered(entry: Entry, asked: Asked, *, namespace: str, now_ms: int) -> NewMessage:
    """The message that *asked* means. Pure."""
    from scheduler.store.queues import NewMessage  # noqa: PLC0415 - whoever only declares needs no Redis client

    flags = flags_of(entry)
    header = Header(
        entry=entry.name,
        task=entry.task,
        queue=asked.queue or entry.queue,
        priority=entry.priority,
        flags=flags & ~FLAG_IGNORE_RESULT if asked.keeps_result else flags,
        overlap=entry.overlap,
        expires_ms=asked.expires_ms or _own_expiry_ms(entry, asked.at_ms or now_ms),
        enqueued_ms=now_ms,
        result_ttl_s=max(1, entry.result_expires_ms // 1000),
        by=asked.by,
        reason=asked.reason,
    )
    payload = Payload(
        args=entry.args if asked.args is None else asked.args,
        kwargs=entry.kwargs if asked.kwargs is None else asked.kwargs,
        eta_ms=asked.at_ms or None,
        headers=entry.headers,
        run=entry.run,
    )
    id_ = keyed_id(namespace, entry.name, "key", asked.key) if asked.key else new_id()
    return NewMessage(id_, encode_body(header, payload), header.queue, asked.at_ms, header.priority)


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
