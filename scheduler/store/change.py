"""
How entries change: each change names the ``"revision mark"`` that it was made from, and is carried out by `change.lua`.

If somebody else was faster (a leader that armed, another editor), that change is refused and worked out anew by whoever
wanted it. What may stand armed is computed here from the old definition and the mark (ids are deterministic); the script
withdraws it, or gives it a new body (ADR 0003).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from contextlib import suppress
from typing import NamedTuple

import msgspec
from msgspec.structs import replace

from scheduler.errors import ScheduleError
from scheduler.fires import NO_STRETCH, FireMaker, Stretch, next_kept_ms, schedule_of, stretch, to_skip
from scheduler.model import Entry, EntryRecord, OutcomeReason, Pause, SkipOrder
from scheduler.store.audit import ITS_END, Note, differences, encode_note, shown
from scheduler.store.connection import Argument, Connection
from scheduler.store.keys import Keys
from scheduler.timing import Schedule
from scheduler.timing.once import Once
from scheduler.timing.table import renews
from scheduler.wire import encode_entry

CHANGE_BATCH = 200
CHANGE_ROUNDS_MAX = 20
CLOCK_SLACK_MS = 2_000
"""How far back armed fires are looked for: more than a read of the clock and the call may take."""

LINES_MAX = 50
"""So many changes of one call are noted one by one; the rest is counted."""

SCHEDULE_FIELDS = ("schedule", "start_ms", "until_ms", "enabled")
"""A change of these withdraws what is armed; a change of anything else gives it a new body."""


class Change(NamedTuple):
    """
    One change, from what was read.

    Attributes:
        definition: An entry, None to remove it, "=" to keep it.
        limit_ms: A mark that moves is put to this moment at most; 0: to now.
        skips: The fires that are to be skipped, None to keep those that are ordered.
        before_ms: From this moment on it is too late; 0: never.
        note: Its line in the audit log. A change that a load makes gets one of its own.
    """

    record: EntryRecord
    definition: Entry | str | None
    pause: Pause | str | None = "="
    limit_ms: int = 0
    skips: tuple[SkipOrder, ...] | None = None
    before_ms: int = 0
    note: Note | None = None


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

    def apply(
        self,
        changes: Sequence[Change],
        *,
        load: Load = BY_HAND,
        many: Note | None = None,
        lines_max: int = LINES_MAX,
    ) -> list[str] | None:
        """
        Carry *changes* out.

        Args:
            many: What the audit log says of all of them together, with their number; a load has a line of its own. Of single
                changes at most *lines_max* are noted.

        Returns:
            The names of those that were not carried out: their entry had changed meanwhile (or its pause had ended, which is
            now taken note of), or their moment has come. None if a newer load was published.
        """
        keys = self._keys
        all_keys = (*keys.core, keys.registry, keys.marks, keys.meta, keys.changes, keys.paused, keys.nudge)
        stale: list[str] = []
        now_ms = self.now_ms()
        mistakes = msgspec.json.encode(load.mistakes)
        group = encode_note(many or _load_note(load))
        lines_left = lines_max
        for start in range(0, max(1, len(changes)), CHANGE_BATCH):
            asked = changes[start : start + CHANGE_BATCH]
            batch = [_end_first(change, now_ms) for change in asked]
            args: list[Argument] = [load.number, load.by, mistakes, group]
            for change in batch:
                note = change.note if lines_left > 0 else None
                if note is None and lines_left > 0 and load.number:
                    note = _note_of(change, by=load.by)
                lines_left -= note is not None
                args += self._encode(change, note, now_ms)
            reply = self._connection.run("change", all_keys, args)
            if reply[0] == b"SUPERSEDED":
                return None
            for change, sent, answer in zip(asked, batch, reply[1:], strict=True):
                if sent is not change or answer.startswith((b"!", b"LATE")):
                    stale.append(change.record.name)
        return stale

    def now_ms(self) -> int:
        """Redis' time."""
        seconds, micros = self._connection.call("TIME")
        return int(seconds) * 1000 + int(micros) // 1000

    def _encode(self, change: Change, note: Note | None, now_ms: int) -> list[Argument]:
        record, new, pause = change.record, change.definition, change.pause
        old = record.entry
        will_be = old if isinstance(new, str) else new
        orders = record.skips if change.skips is None else change.skips
        if new is None:
            # What is due goes on as it was, also a fire that is to be skipped: whoever promotes it tells by whose order.
            orders = tuple(order for order in orders if order.due_ms <= now_ms)
        reschedules = pause != "=" or old is None or will_be is None or _reschedules(old, will_be)
        quiet = not reschedules and change.skips is None and _says_the_same(old, will_be)
        armed: list[Argument] = []
        passed, before_ms = NO_STRETCH, 0
        if old is not None and not quiet:
            # A schedule that cannot be computed here has nothing that we could name.
            with suppress(ScheduleError):
                maker = self._maker(old)
                if reschedules:
                    passed, before_ms = _passed(record, maker.schedule, change.limit_ms, now_ms)
                keeper = None if reschedules or will_be is None else self._maker(will_be)
                armed = _armed(record, maker, keeper, {order.due_ms for order in orders}, now_ms)
        definition = new if isinstance(new, str) else "" if new is None else encode_entry(new)
        pause_data = pause if isinstance(pause, str) else "" if pause is None else msgspec.json.encode(pause)
        skips = "=" if orders == record.skips else msgspec.json.encode(orders) if orders else ""
        how = "quiet" if quiet else int(reschedules)
        reason = OutcomeReason.WITHDRAWN if record.pause is None else OutcomeReason.PAUSED
        before_ms = min(before_ms, change.before_ms) or max(before_ms, change.before_ms)
        limit_ms = change.limit_ms or _first_mark_ms(record, new, now_ms)
        head = (record.name, record.state, definition, pause_data, skips, how, limit_ms, before_ms)
        return [*head, *passed, reason, encode_note(None if quiet else note), len(armed) // 6, *armed]

    def _maker(self, entry: Entry) -> FireMaker:
        return FireMaker(entry, schedule_of(entry), namespace=self._keys.namespace, late_limit_ms=self._late_limit_ms)


def _first_mark_ms(record: EntryRecord, new: Entry | str | None, now_ms: int) -> int:
    """
    The mark that an entry which was never there starts from; 0: now. What recurs has missed nothing before it was there, but a
    single moment that has just passed is missed, and the entry's catch-up policy decides about it.
    """
    if record.state or not isinstance(new, Entry) or new.schedule.get("kind") != Once.KIND:
        return 0
    schedule = schedule_of(new)
    assert isinstance(schedule, Once)
    mark_ms = schedule.first_mark_ms(now_ms, new.catchup_window_ms)
    return mark_ms if mark_ms < now_ms else 0


def _end_first(change: Change, now_ms: int) -> Change:
    """
    *change*; or, if its entry's pause has ended by itself and no leader has taken note of it, that end: what has come due since
    then lay in no pause, and the change is to be made of an entry that has none.
    """
    pause = change.record.pause
    if pause is None or pause.until_ms is None or pause.until_ms > now_ms or change.limit_ms:
        return change
    note = Note(verb="resume", entry=change.record.name, by=ITS_END)
    return Change(change.record, "=", None, pause.until_ms - 1, note=note)


def _passed(record: EntryRecord, schedule: Schedule, limit_ms: int, now_ms: int) -> tuple[Stretch, int]:
    """
    The due times of *record* that nobody has armed, and that its mark passes when it moves to now (to *limit_ms* at most): they
    lay in its pause, or no beat led. And the next one after them: when that has come, the answer is another one (0: never).
    """
    entry = record.entry
    if entry is None or not entry.enabled:
        return NO_STRETCH, 0
    until_ms = min(limit_ms, now_ms) if limit_ms else now_ms
    is_open = until_ms == now_ms
    after_ms = record.mark_ms if entry.start_ms is None else max(record.mark_ms, entry.start_ms - 1)
    last_ms = until_ms if entry.until_ms is None else min(until_ms, entry.until_ms)
    passed, next_ms = NO_STRETCH, schedule.next_ms(after_ms)
    if next_ms is not None and next_ms <= last_ms:
        passed, next_ms = stretch(schedule, after_ms, last_ms), schedule.next_ms(last_ms)
    if not is_open or next_ms is None or (entry.until_ms is not None and next_ms > entry.until_ms):
        return passed, 0
    return passed, next_ms


def _reschedules(old: Entry, new: Entry) -> bool:
    changed = [field for field in SCHEDULE_FIELDS if getattr(old, field) != getattr(new, field)]
    return bool(changed) and (changed != ["schedule"] or not renews(old.schedule, new.schedule))


def _says_the_same(old: Entry | None, new: Entry | None) -> bool:
    """Whether *new* is *old* but for the line of its file, or for how its author put it (``30`` or ``"30s"``)."""
    if old is None or new is None or old == new:
        return False
    return replace(old, source=new.source, said=new.said) == new


def only_renews(old: Entry, new: Entry) -> bool:
    """Whether *new* is *old*, of whose schedule a table was asked anew, and says nothing else."""
    return (
        old.schedule != new.schedule
        and replace(old, schedule=new.schedule) == new
        and renews(old.schedule, new.schedule)
    )


def _load_note(load: Load) -> Note | None:
    """The line of a load, which counts what it changed."""
    return (
        Note(verb="load", by=load.by, what=f"load {load.number}", group=f"load {load.number}") if load.number else None
    )


def _note_of(change: Change, *, by: str) -> Note | None:
    """The line of a change that a load makes."""
    old, new = change.record.entry, change.definition
    if isinstance(new, str):
        return None
    if new is None:
        return Note(verb="remove", entry=change.record.name, by=by)
    if old is not None and only_renews(old, new):
        return None
    return definition_note(old, new, by=by)


def definition_note(old: Entry | None, new: Entry, *, by: str, reason: str = "") -> Note:
    """The line of a definition that was added or edited."""
    if old is None:
        what = f"{shown('schedule', new.schedule)} → {new.task}"
        return Note(verb="add", entry=new.name, by=by, reason=reason, what=what)
    return Note(verb="edit", entry=new.name, by=by, reason=reason, differences=differences(old, new))


def _armed(
    record: EntryRecord, maker: FireMaker, keeper: FireMaker | None, skipped_ms: Collection[int], now_ms: int
) -> list[Argument]:
    """What may stand armed after now: to be withdrawn, or (by *keeper*) to get a new body."""
    armed: list[Argument] = []
    due_ms = maker.schedule.next_ms(now_ms - CLOCK_SLACK_MS)
    while due_ms is not None and due_ms <= record.mark_ms:
        next_ms = maker.schedule.next_ms(due_ms)
        fire = maker.fire(due_ms, next_ms, state="", now_ms=now_ms)
        if keeper is None:
            armed += (fire.id, due_ms, fire.queue, b"", "", 0)
        else:
            stands_for_ms = next_kept_ms(keeper.schedule, due_ms, skipped_ms) if skipped_ms else next_ms
            renewed = keeper.fire(due_ms, stands_for_ms, state="", now_ms=now_ms)
            if due_ms in skipped_ms:
                renewed = to_skip(renewed)
            armed += (fire.id, due_ms, fire.queue, renewed.body, renewed.queue, renewed.at_ms)
        due_ms = next_ms
    return armed
