"""
How entries change: each change names the ``"revision mark"`` that it was made from, and is carried out by `change.lua`.

If somebody else was faster (a leader that armed, another editor), that change is refused and worked out anew by whoever
wanted it. What may stand armed is computed here from the old definition and the mark (ids are deterministic); the script
withdraws it, or gives it a new body (ADR 0003).
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import NamedTuple

import msgspec

from scheduler.errors import ScheduleError
from scheduler.fires import NO_STRETCH, FireMaker, Stretch, schedule_of, stretch
from scheduler.model import Entry, EntryRecord, Pause
from scheduler.store.connection import Argument, Connection
from scheduler.store.keys import Keys
from scheduler.wire import encode_entry

CHANGE_BATCH = 200
CHANGE_ROUNDS_MAX = 20
CLOCK_SLACK_MS = 2_000
"""How far back armed fires are looked for: more than a read of the clock and the call may take."""

SCHEDULE_FIELDS = ("schedule", "start_ms", "until_ms", "enabled")
"""A change of these withdraws what is armed; a change of anything else gives it a new body."""


class Change(NamedTuple):
    """
    One change, from what was read.

    Attributes:
        definition: An entry, None to remove it, "=" to keep it.
        limit_ms: A mark that moves is put to this moment at most; 0: to now.
    """

    record: EntryRecord
    definition: Entry | str | None
    pause: Pause | str | None = "="
    limit_ms: int = 0


class Load(NamedTuple):
    """The load that a change belongs to: its number, which beat made it, and the mistakes in its files."""

    number: int
    by: str
    mistakes: tuple[str, ...]


BY_HAND = Load(0, "", ())
"""Of a change that belongs to no load."""


class Changer:
    """Carries changes out."""

    def __init__(self, connection: Connection, keys: Keys, *, late_limit_ms: int) -> None:
        self._connection = connection
        self._keys = keys
        self._late_limit_ms = late_limit_ms

    def apply(self, changes: Sequence[Change], *, load: Load = BY_HAND) -> list[str] | None:
        """Carry *changes* out; the names of those whose entry had changed meanwhile, None if a newer load was published."""
        keys = self._keys
        all_keys = (*keys.core, keys.registry, keys.marks, keys.meta, keys.changes, keys.paused, keys.nudge)
        stale: list[str] = []
        now_ms = self.now_ms()
        mistakes = msgspec.json.encode(load.mistakes)
        for start in range(0, max(1, len(changes)), CHANGE_BATCH):
            batch = changes[start : start + CHANGE_BATCH]
            args: list[Argument] = [load.number, load.by, mistakes]
            for change in batch:
                args += self._encode(change, now_ms)
            reply = self._connection.run("change", all_keys, args)
            if reply[0] == b"SUPERSEDED":
                return None
            for change, answer in zip(batch, reply[1:], strict=True):
                if answer.startswith(b"!"):
                    stale.append(change.record.name)
        return stale

    def now_ms(self) -> int:
        """Redis' time."""
        seconds, micros = self._connection.call("TIME")
        return int(seconds) * 1000 + int(micros) // 1000

    def _encode(self, change: Change, now_ms: int) -> list[Argument]:
        record, new, pause = change.record, change.definition, change.pause
        old = record.entry
        will_be = old if isinstance(new, str) else new
        reschedules = pause != "=" or old is None or will_be is None or _reschedules(old, will_be)
        armed: list[Argument] = []
        if old is not None:
            # A schedule that cannot be computed here has nothing that we could name.
            with suppress(ScheduleError):
                keeper = None if reschedules or will_be is None else self._maker(will_be)
                armed = _armed(record, self._maker(old), keeper, now_ms)
        definition = new if isinstance(new, str) else "" if new is None else encode_entry(new)
        pause_data = pause if isinstance(pause, str) else "" if pause is None else msgspec.json.encode(pause)
        head = (record.name, record.state, definition, pause_data, int(reschedules), change.limit_ms)
        paused = self._paused_stretch(record, change, now_ms) if pause is None else NO_STRETCH
        return [*head, *paused, len(armed) // 6, *armed]

    def _paused_stretch(self, record: EntryRecord, change: Change, now_ms: int) -> Stretch:
        """The due times that lay in the pause of *record*, which ends with *change*."""
        if record.entry is None or record.pause is None:
            return NO_STRETCH
        until_ms = min(change.limit_ms, now_ms) if change.limit_ms else now_ms
        with suppress(ScheduleError):
            return stretch(schedule_of(record.entry), record.pause.since_ms, until_ms)
        return NO_STRETCH

    def _maker(self, entry: Entry) -> FireMaker:
        return FireMaker(entry, schedule_of(entry), namespace=self._keys.namespace, late_limit_ms=self._late_limit_ms)


def _reschedules(old: Entry, new: Entry) -> bool:
    return any(getattr(old, field) != getattr(new, field) for field in SCHEDULE_FIELDS)


def _armed(record: EntryRecord, maker: FireMaker, keeper: FireMaker | None, now_ms: int) -> list[Argument]:
    """What may stand armed after now: to be withdrawn, or (by *keeper*) to get a new body."""
    armed: list[Argument] = []
    due_ms = maker.schedule.next_ms(now_ms - CLOCK_SLACK_MS)
    while due_ms is not None and due_ms <= record.mark_ms:
        next_ms = maker.schedule.next_ms(due_ms)
        fire = maker.fire(due_ms, next_ms, state="", now_ms=now_ms)
        if keeper is None:
            armed += (fire.id, due_ms, fire.queue, b"", "", 0)
        else:
            renewed = keeper.fire(due_ms, next_ms, state="", now_ms=now_ms)
            armed += (fire.id, due_ms, fire.queue, renewed.body, renewed.queue, renewed.at_ms)
        due_ms = next_ms
    return armed
