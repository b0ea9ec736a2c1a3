"""
From an entry and a due time to a fire: its id, its moment, its bytes. Pure.

A fire carries whatever promotion needs to decide about it without the registry: the due time after it (so that a missed one
knows whether a newer one stands for it), the limits, the policies.
"""

from __future__ import annotations

import struct
from collections.abc import Collection
from typing import NamedTuple

import msgspec

from scheduler.errors import InvalidEntryError
from scheduler.model import Catchup, Entry, Fire
from scheduler.timing import Schedule, schedule_from_data
from scheduler.timing.jitter import jitter_ms
from scheduler.wire import (
    EXPIRES_AT,
    EXPIRES_SKIPPED,
    FLAG_FIRE,
    HEADER,
    LENGTH,
    SERIALIZERS,
    UNIQUE,
    VERSION,
    Payload,
    encode_payload,
    fire_id,
    flags_of,
)

_MOMENT = struct.Struct("<d")
NO_ARGS, NO_KWARGS = b"[]", b"{}"
"""The arguments of most entries, encoded."""


class Recipe:
    """
    What the fires of many entries have in common: all but the name, the arguments and the moments.

    Kept by the planner once for all entries that share it; what an entry does not share is encoded when its fire is made.

    Args:
        namespace: Part of every id, so that two namespaces on one Redis never meet.
        late_limit_ms: From when on a fire counts as missed.
    """

    __slots__ = (
        "_bare",
        "_entry",
        "_fixed",
        "_name_bytes",
        "_names",
        "_namespace",
        "_numbers",
        "_ttl_s",
        "catchup",
        "catchup_window_ms",
        "countdown_ms",
        "jitter_ms",
        "queue",
        "start_ms",
        "until_ms",
    )  # fmt: skip

    def __init__(self, entry: Entry, *, namespace: str, late_limit_ms: int) -> None:
        self.queue = entry.queue
        self.countdown_ms = entry.countdown_ms
        self.jitter_ms = entry.jitter_ms
        self.catchup = entry.catchup
        self.catchup_window_ms = entry.catchup_window_ms
        self.start_ms = entry.start_ms
        self.until_ms = entry.until_ms
        self._entry = entry
        self._namespace = namespace
        flags = FLAG_FIRE | flags_of(entry)
        task, queue = entry.task.encode(), entry.queue.encode()
        self._fixed = (VERSION, entry.priority, flags, int(entry.overlap), int(entry.catchup), SERIALIZERS["json"])
        self._ttl_s = max(1, entry.result_expires_ms // 1000)
        self._numbers = (
            late_limit_ms,
            entry.catchup_window_ms // 1000 if entry.catchup is Catchup.ALL else 0,
            entry.max_runs or 0,
        )
        self._name_bytes = (len(task), len(queue))
        self._names = task + queue
        if entry.unique:
            told = entry.unique.encode()
            self._names += LENGTH.pack(len(told)) + told
            self._fixed = (*self._fixed[:-1], SERIALIZERS["json"] | UNIQUE)
        self._bare = self._encode(NO_ARGS, NO_KWARGS)

    def fire(
        self,
        name: str,
        args: bytes,
        kwargs: bytes,
        due_ms: int,
        next_due_ms: int | None,
        *,
        state: str,
        now_ms: int,
    ) -> Fire:
        """The fire of the entry *name* for *due_ms*; see `FireMaker.fire`."""
        at_ms = due_ms + self.countdown_ms
        if self.jitter_ms:
            at_ms += jitter_ms(name, due_ms, self.jitter_ms, next_due_ms)
        text = name.encode()
        header = HEADER.pack(
            *self._fixed, due_ms, next_due_ms or 0, self._expires_ms(due_ms, next_due_ms), now_ms, self._ttl_s, *self._numbers,
            len(text), *self._name_bytes,
        )  # fmt: skip
        body = header + text + self._names + self._payload(args, kwargs)
        return Fire(name, state, due_ms, at_ms, fire_id(self._namespace, name, due_ms), body, self.queue)

    def _goes_on(self, due_ms: int) -> bool:
        return self.until_ms is None or due_ms <= self.until_ms

    def _payload(self, args: bytes, kwargs: bytes) -> bytes:
        if args == NO_ARGS and kwargs == NO_KWARGS:
            return self._bare
        return self._encode(args, kwargs)

    def _encode(self, args: bytes, kwargs: bytes) -> bytes:
        entry = self._entry
        return encode_payload(
            Payload(args=msgspec.Raw(args), kwargs=msgspec.Raw(kwargs), headers=entry.headers, run=entry.run)
        )

    def _expires_ms(self, due_ms: int, next_due_ms: int | None) -> int:
        if self._entry.expires_next:
            # When its successor is to start: jitter never reaches that far, so it can be met. The last one has none.
            return next_due_ms + self.countdown_ms if next_due_ms is not None and self._goes_on(next_due_ms) else 0
        after, at = self._entry.expires_after_ms, self._entry.expires_at_ms
        if after is None:
            return at or 0
        return min(due_ms + after, at) if at else due_ms + after


class FireMaker:
    """
    Makes the fires of one entry.

    Args:
        namespace: Part of every id, so that two namespaces on one Redis never meet.
        late_limit_ms: From when on a fire counts as missed.
    """

    __slots__ = ("_args", "_kwargs", "_recipe", "entry", "schedule")

    def __init__(self, entry: Entry, schedule: Schedule, *, namespace: str, late_limit_ms: int) -> None:
        self.entry = entry
        self.schedule = schedule
        self._recipe = Recipe(entry, namespace=namespace, late_limit_ms=late_limit_ms)
        self._args, self._kwargs = bytes(entry.args), bytes(entry.kwargs)

    def fire(self, due_ms: int, next_due_ms: int | None, *, state: str, now_ms: int) -> Fire:
        """The fire for *due_ms*; *next_due_ms* is the due time after it, *state* what the planner knows of the entry."""
        return self._recipe.fire(
            self.entry.name, self._args, self._kwargs, due_ms, next_due_ms, state=state, now_ms=now_ms
        )


def to_skip(fire: Fire) -> Fire:
    """*fire* as one that somebody has ordered to be skipped: at its due time promotion settles it as withdrawn."""
    body = fire.body[:EXPIRES_AT] + _MOMENT.pack(EXPIRES_SKIPPED) + fire.body[EXPIRES_AT + _MOMENT.size :]
    return msgspec.structs.replace(fire, body=body, at_ms=fire.due_ms)


def next_kept_ms(schedule: Schedule, after_ms: int, skipped_ms: Collection[int]) -> int | None:
    """The first due time after *after_ms* that is not among *skipped_ms*."""
    due_ms = schedule.next_ms(after_ms)
    while due_ms is not None and due_ms in skipped_ms:
        due_ms = schedule.next_ms(due_ms)
    return due_ms


class Stretch(NamedTuple):
    """Due times in a row: `length` of them, or at least that many where counting was cut short."""

    from_ms: int
    to_ms: int
    length: int


NO_STRETCH = Stretch(0, 0, 0)
COUNT_MAX = 10_000
"""A stretch is counted exactly up to here."""


def stretch(schedule: Schedule, after_ms: int, until_ms: int, *, count_max: int = COUNT_MAX) -> Stretch:
    """The due times in (*after_ms*, *until_ms*]; counted exactly up to *count_max*, however long it is."""
    first_ms, last_ms = schedule.next_ms(after_ms), schedule.previous_ms(until_ms + 1)
    if first_ms is None or last_ms is None or first_ms > last_ms:
        return NO_STRETCH
    length, due_ms = 1, schedule.next_ms(first_ms)
    while due_ms is not None and due_ms <= last_ms and length < count_max:
        length, due_ms = length + 1, schedule.next_ms(due_ms)
    return Stretch(first_ms, last_ms, length)


def newer(entry: Entry) -> str:
    """Why nothing can be done with an *entry* that is not readable."""
    return (
        f"entry {entry.name!r} was written by a newer version of Steadybeat, and this one cannot read it: upgrade here, or declare "
        f"it anew"
    )


def schedule_of(entry: Entry) -> Schedule:
    """The entry's schedule, ready to compute. Raises `ScheduleError` where this version does not understand it."""
    if not entry.is_readable:
        raise InvalidEntryError(newer(entry))
    return schedule_from_data(entry.schedule).for_entry(entry.name)
