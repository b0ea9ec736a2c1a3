"""
Runs that people ask for, beside the schedule: `sched trigger`, `sched backfill`, `app.entries.trigger`, `app.entries.backfill`.

They never move a mark and never consume a due time. Who asked for them and why goes with the message, into the history and into the
audit log.

- A *trigger* is one run. It takes the overlap slot of its entry like any other; while that is held it is refused, unless forced.
- A *backfill* is one run for each due time of the schedule in a stretch of the past, under ids of its own. All are written at once, to
  start one after another at a bounded rate; so it depends on no terminal, survives a restart, and can be looked at and cancelled.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

import msgspec

from scheduler.clock import iso
from scheduler.errors import NotFoundError, OversizedMessageError, QueueFullError, RefusedError
from scheduler.fires import COUNT_MAX, newer, schedule_of, stretch
from scheduler.model import Entry, Overlap
from scheduler.unique import key_shown
from scheduler.wire import FLAG_IGNORE_RESULT, Header, Payload, decode_header, encode_body, flags_of, keyed_id, new_id

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scheduler.store import Store
    from scheduler.store.backfill import Backfill, BackfillRun
    from scheduler.store.queues import NewMessage, TriggerReply
    from scheduler.timing import Schedule

KEY_REMEMBERED_MS = 86_400_000
"""How long a key of the caller's own stands for the run that it was first given with."""
KEY_CHARS_MAX = 256
REASON_CHARS_MAX = 1_000
BACKFILL_LIMIT = 1_000
"""So many runs a backfill has at most, unless somebody says otherwise."""
BACKFILL_RATE_S = 1.0
RATE_S_MAX = 1_000.0
BACKFILL_OVERLAPS = (Overlap.ALLOW, Overlap.QUEUE, Overlap.SKIP)


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
        remembered_ms=KEY_REMEMBERED_MS if asked.key else None,
        note=Note(verb="trigger", entry=entry.name, by=asked.by, reason=asked.reason, what=what),
    )
    if not reply.ok:
        raise refused(message, entry.name, reply)
    return message, reply


def refused(message: NewMessage, entry: str, reply: TriggerReply) -> RefusedError:
    """Why *message*, a run of *entry*, was not accepted, and what can be done about it."""
    from scheduler.store.queues import Full, Unique  # noqa: PLC0415

    match reply.refusal:
        case Full(length, length_max):
            return QueueFullError(message.queue, length, length_max)
        case Unique(holder):
            key, of = key_shown(decode_header(message.body)[0].unique), f"entry {entry!r}: " if entry else ""
            return RefusedError(
                f"{of}run {holder} has its unique key ({key}) and has not ended; wait for it, cancel it "
                f"(`sched cancel {holder}`), or run this one beside it (--force, force=True)"
            )
        case _:
            return RefusedError(held(entry, reply.holder))


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
        unique="" if asked.force else entry.unique,
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


# ── backfill ────────────────────────────────────────────────────────────────────────────────────────────────────────────


class Span(msgspec.Struct, frozen=True, kw_only=True):
    """
    Which due times are to run, and how.

    Attributes:
        from_ms, to_ms: Due times in [from, to).
        overlap: ``ALLOW``: beside the overlap slot. ``QUEUE``: in the slot, one after another in the order of their due times; each
            waits until it is free, and fires go first. ``SKIP``: in the slot, and given up where it is held.
        rate_s: So many start in a second, at most.
        limit: More are refused.
        outside: Also due times before the entry's `start` and after its `until`.
    """

    from_ms: int
    to_ms: int
    by: str
    reason: str = ""
    overlap: Overlap = Overlap.ALLOW
    rate_s: float = BACKFILL_RATE_S
    limit: int = BACKFILL_LIMIT
    outside: bool = False


def due_times(entry: Entry, span: Span, *, now_ms: int) -> list[int]:
    """
    The due times of *entry* in *span*. Pure; counts no further than it must.

    Raises:
        ValueError: The span ends before it begins, or lies ahead; or rate, limit or reason cannot be used.
        NotFoundError: It has none.
        RefusedError: It has more than `limit`; or a newer version wrote the entry.
    """
    if not entry.is_readable:
        raise RefusedError(newer(entry))
    _check(span, now_ms)
    first_ms, last_ms = span.from_ms, span.to_ms - 1
    if not span.outside:
        first_ms = first_ms if entry.start_ms is None else max(first_ms, entry.start_ms)
        last_ms = last_ms if entry.until_ms is None else min(last_ms, entry.until_ms)
    schedule = schedule_of(entry)
    found = list(islice(_between(schedule_of(entry), first_ms, last_ms), span.limit + 1))
    if not found:
        cut = (
            ""
            if stretch(schedule, span.from_ms - 1, span.to_ms - 1, count_max=1).length == 0
            else ("; some lie outside its start and until, and can be asked for all the same (--outside, outside=True)")
        )
        raise NotFoundError(
            f"entry {entry.name!r} has no due time from {iso(span.from_ms)} to {iso(span.to_ms)} in which it was in force{cut}"
        )
    if len(found) > span.limit:
        n = stretch(schedule, first_ms - 1, last_ms, count_max=max(COUNT_MAX, span.limit + 1)).length
        count = f"{n:,}" if n < COUNT_MAX else f"{n:,} or more"
        raise RefusedError(
            f"entry {entry.name!r} has {count} due times from {iso(span.from_ms)} to {iso(span.to_ms)}; a backfill runs at most "
            f"{span.limit:,} unless its limit is raised"
        )
    return found


def backfill(store: Store, entry: Entry, span: Span, dues_ms: list[int], *, bytes_max: int) -> tuple[Backfill, int]:
    """
    Start a run of *entry* for each of *dues_ms* (see `due_times`); the backfill, and how many of them it started: a run of the same
    due time that an earlier backfill asked for and that has not ended is left alone.

    The entry may be paused or disabled: who backfills knows. Nothing expires, and `max_runs` does not count these runs.

    Raises:
        OversizedMessageError: A message has more than *bytes_max* bytes.
    """
    from scheduler.store.audit import Note  # noqa: PLC0415
    from scheduler.store.backfill import Backfill  # noqa: PLC0415

    now_ms = int(store.queues.time_ms())
    asked = Backfill(
        id=new_id()[:12],
        entry=entry.name,
        queue=entry.queue,
        from_ms=span.from_ms,
        to_ms=span.to_ms,
        count=len(dues_ms),
        overlap=span.overlap,
        rate_s=span.rate_s,
        asked_ms=now_ms,
        starts_ms=now_ms,
        ends_ms=_moment_ms(now_ms, len(dues_ms) - 1, span.rate_s),
        by=span.by,
        reason=span.reason,
    )
    runs = backfill_runs(entry, asked, dues_ms, namespace=store.keys.namespace)
    if (size := max(len(run.body) for run in runs)) > bytes_max:
        raise OversizedMessageError(f"a message has {size} bytes, message_bytes_max allows {bytes_max}")
    what = f"backfill {asked.id}: {len(runs):,} due times from {iso(dues_ms[0])} to {iso(dues_ms[-1])}"
    note = Note(verb="backfill", entry=entry.name, by=span.by, reason=span.reason, what=what)
    return asked, store.backfills.start(asked, runs, note=note)


def backfill_runs(entry: Entry, asked: Backfill, dues_ms: list[int], *, namespace: str) -> list[BackfillRun]:
    """The runs of *asked*, spaced by its rate. Pure."""
    from scheduler.store.backfill import BackfillRun  # noqa: PLC0415

    runs = []
    for nth, due_ms in enumerate(dues_ms):
        at_ms = _moment_ms(asked.starts_ms, nth, asked.rate_s)
        header = Header(
            entry=entry.name,
            task=entry.task,
            queue=entry.queue,
            priority=entry.priority,
            flags=flags_of(entry),
            overlap=asked.overlap,
            due_ms=due_ms,
            enqueued_ms=asked.asked_ms,
            result_ttl_s=max(1, entry.result_expires_ms // 1000),
            backfill=asked.id,
            by=asked.by,
            reason=asked.reason,
        )
        payload = Payload(args=entry.args, kwargs=entry.kwargs, eta_ms=at_ms, headers=entry.headers, run=entry.run)
        id_ = keyed_id(namespace, entry.name, "backfill", str(due_ms))
        runs.append(BackfillRun(id_, encode_body(header, payload), due_ms, at_ms))
    return runs


def _check(span: Span, now_ms: int) -> None:
    if span.to_ms > now_ms:
        raise ValueError(f"a backfill is for due times that are past: its end, {iso(span.to_ms)}, lies ahead")
    if span.from_ms >= span.to_ms:
        raise ValueError(f"it ends before it begins: from {iso(span.from_ms)} to {iso(span.to_ms)}")
    if not 0 < span.rate_s <= RATE_S_MAX:
        raise ValueError(f"rate {span.rate_s:g}: expected more than 0 and at most {RATE_S_MAX:g} in a second")
    if span.limit < 1:
        raise ValueError(f"limit {span.limit}: expected at least 1")
    if span.overlap not in BACKFILL_OVERLAPS:
        raise ValueError(f"overlap {span.overlap.name.lower()!r}: expected allow, queue or skip")
    if len(span.reason) > REASON_CHARS_MAX:
        raise ValueError(f"the reason has {len(span.reason)} characters; at most {REASON_CHARS_MAX} are kept")


def _between(schedule: Schedule, first_ms: int, last_ms: int) -> Iterator[int]:
    due_ms = schedule.next_ms(first_ms - 1)
    while due_ms is not None and due_ms <= last_ms:
        yield due_ms
        due_ms = schedule.next_ms(due_ms)


def _moment_ms(starts_ms: int, nth: int, rate_s: float) -> int:
    return starts_ms + round(nth * 1000 / rate_s)
