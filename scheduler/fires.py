"""
From an entry and a due time to a fire: its id, its moment, its bytes. Pure.

A fire carries whatever promotion needs to decide about it without the registry: the due time after it (so that a missed one
knows whether a newer one stands for it), the limits, the policies.
"""

from __future__ import annotations

from typing import NamedTuple

from scheduler.model import Catchup, Entry, Fire
from scheduler.timing import Schedule, schedule_from_data
from scheduler.timing.jitter import jitter_ms
from scheduler.wire import (
    FLAG_FIRE,
    HEADER,
    SERIALIZERS,
    VERSION,
    Payload,
    encode_payload,
    fire_id,
    flags_of,
)


class FireMaker:
    """
    Makes the fires of one entry; what all of them share is encoded once.

    Args:
        namespace: Part of every id, so that two namespaces on one Redis never meet.
        late_limit_ms: From when on a fire counts as missed.
    """

    __slots__ = ("_fixed", "_namespace", "_tail", "_ttl_s", "entry", "late_limit_ms", "schedule")

    def __init__(self, entry: Entry, schedule: Schedule, *, namespace: str, late_limit_ms: int) -> None:
        self.entry = entry
        self.schedule = schedule
        self.late_limit_ms = late_limit_ms
        self._namespace = namespace
        flags = FLAG_FIRE | flags_of(entry)
        payload = Payload(args=entry.args, kwargs=entry.kwargs, headers=entry.headers, run=entry.run)
        name, task, queue = entry.name.encode(), entry.task.encode(), entry.queue.encode()
        self._fixed = (VERSION, entry.priority, flags, int(entry.overlap), int(entry.catchup), SERIALIZERS["json"])
        self._ttl_s = max(1, entry.result_expires_ms // 1000)
        self._tail = (
            (
                late_limit_ms,
                entry.catchup_window_ms // 1000 if entry.catchup is Catchup.ALL else 0,
                entry.max_runs or 0,
                len(name),
                len(task),
                len(queue),
            ),
            name + task + queue + encode_payload(payload),
        )

    def fire(self, due_ms: int, next_due_ms: int | None, *, state: str, now_ms: int) -> Fire:
        """The fire for *due_ms*; *next_due_ms* is the due time after it, *state* what the planner knows of the entry."""
        entry = self.entry
        at_ms = due_ms + entry.countdown_ms
        if entry.jitter_ms:
            at_ms += jitter_ms(entry.name, due_ms, entry.jitter_ms, next_due_ms)
        expires_ms = self._expires_ms(due_ms)
        numbers, rest = self._tail
        body = HEADER.pack(*self._fixed, due_ms, next_due_ms or 0, expires_ms, now_ms, self._ttl_s, *numbers) + rest
        return Fire(entry.name, state, due_ms, at_ms, fire_id(self._namespace, entry.name, due_ms), body, entry.queue)

    def _expires_ms(self, due_ms: int) -> int:
        after, at = self.entry.expires_after_ms, self.entry.expires_at_ms
        if after is None:
            return at or 0
        return min(due_ms + after, at) if at else due_ms + after


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


def schedule_of(entry: Entry) -> Schedule:
    """The entry's schedule, ready to compute."""
    return schedule_from_data(entry.schedule).for_entry(entry.name)
