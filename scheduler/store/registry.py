"""
The registry on Redis: definitions, marks, pauses; and how it changes.

Redis holds the truth. A load of files is published as a diff under a load number: the newest load wins, and a load whose files
are broken keeps what those files had declared. Each change names the ``"revision mark"`` that it was made from; if somebody
else was faster (a leader that armed, another editor), the answer is the state found, and the change is worked out anew.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import NamedTuple

import msgspec

from scheduler.errors import NotFoundError, RefusedError, ScheduleError, StoreUnavailableError
from scheduler.fires import NO_STRETCH, FireMaker, Stretch, schedule_of, stretch
from scheduler.model import Entry, EntryRecord, Origin, Pause
from scheduler.store.connection import Argument, Connection
from scheduler.store.keys import Keys
from scheduler.wire import decode_entry, encode_entry

CHANGE_BATCH = 200
CHANGE_ROUNDS_MAX = 20
CLOCK_SLACK_MS = 2_000
"""How far back armed fires are looked for: more than a read of the clock and the call may take."""

SCHEDULE_FIELDS = ("schedule", "start_ms", "until_ms", "enabled")
"""A change of these withdraws what is armed; a change of anything else gives it a new body."""


class LoadInfo(NamedTuple):
    """The newest load: its number, which beat made it, when, and the mistakes in its files."""

    number: int
    by: str
    at_ms: int
    mistakes: tuple[str, ...]


class Published(NamedTuple):
    """
    What publishing a load changed, as names of entries.

    Attributes:
        kept: Not in the load, which was not clean; they stay as they were.
        clashes: Refused, because an entry of that name was made by hand.
        superseded: A newer load was published meanwhile; ours changes nothing.
    """

    load: int
    added: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()
    clashes: tuple[str, ...] = ()
    superseded: bool = False


class _Change(NamedTuple):
    """One change, from what was read."""

    record: EntryRecord
    definition: Entry | str | None
    """An entry, None to remove it, "=" to keep it."""
    pause: Pause | str | None = "="
    limit_ms: int = 0


class RegistryStore:
    """The registry of a namespace."""

    def __init__(self, connection: Connection, keys: Keys, *, late_limit_ms: int) -> None:
        self._connection = connection
        self._keys = keys
        self._late_limit_ms = late_limit_ms

    def all(self) -> list[EntryRecord]:
        """Every entry in force, by name."""
        return [record for record in self.changed_since(0)[1] if record.entry is not None]

    def state(self, name: str) -> EntryRecord:
        """What stands under *name*, be it only the mark of a removed entry."""
        return self._read([name])[0]

    def get(self, name: str) -> EntryRecord | None:
        """The entry called *name*, or None."""
        record = self.state(name)
        return record if record.entry is not None else None

    def revision(self) -> int:
        """The registry's revision: it grows with each change."""
        return int(self._connection.call("HGET", self._keys.meta, "revision") or 0)

    def changed_since(self, revision: int) -> tuple[int, list[EntryRecord]]:
        """The registry's revision, and the entries that changed after *revision*, removed ones included. 0: all of them."""
        keys = self._keys
        if revision == 0:
            meta, definitions, marks, pauses = self._connection.pipeline(
                [
                    ("HGET", keys.meta, "revision"),
                    ("HGETALL", keys.registry),
                    ("HGETALL", keys.marks),
                    ("HGETALL", keys.paused),
                ]
            )
            by_name, paused = _pairs(definitions), _pairs(pauses)
            records = [
                _record(name, by_name.get(name), state, paused.get(name))
                for name, state in sorted(_pairs(marks).items())
            ]
            return int(meta or 0), records
        meta, names = self._connection.pipeline(
            [("HGET", keys.meta, "revision"), ("ZRANGE", keys.changes, f"({revision}", "+inf", "BYSCORE")]
        )
        return int(meta or 0), self._read([name.decode() for name in names])

    def load_info(self) -> LoadInfo:
        """What is known of the newest load."""
        number, by, at_ms, mistakes = self._connection.call(
            "HMGET", self._keys.meta, "load", "load_by", "load_ms", "mistakes"
        )
        lines = tuple(msgspec.json.decode(mistakes)) if mistakes else ()
        return LoadInfo(int(number or 0), (by or b"").decode(), int(at_ms or 0), lines)

    def publish(
        self,
        entries: Mapping[str, Entry],
        *,
        clean: bool,
        mistakes: Sequence[str],
        by: str,
    ) -> Published:
        """
        Make *entries* the ones in force, as a diff under a new load number.

        Entries disappear only through a *clean* load: one with broken files cannot tell what was removed from what could not be
        read. Those made by hand are not touched, and win over a file's of the same name.

        Args:
            clean: All files were read, without a mistake.
            mistakes: Kept for `sched status`.
        """
        load = int(self._connection.call("HINCRBY", self._keys.meta, "loads", 1))
        # Claimed before we look: an older load that is being published cannot slip in between our look and our change.
        if self._apply((), load=load) is None:
            return Published(load, superseded=True)
        # Names as keys, in order: a later round works out anew only what somebody else had changed meanwhile.
        added: dict[str, None] = {}
        changed: dict[str, None] = {}
        removed: dict[str, None] = {}
        for _ in range(CHANGE_ROUNDS_MAX):
            live = {record.name: record for record in self.changed_since(0)[1]}
            changes: list[_Change] = []
            kept, clashes = [], []
            for name, entry in entries.items():
                record = live.get(name) or EntryRecord(name, None, "")
                if record.entry is None:
                    added[name] = None
                elif record.entry.origin is Origin.HAND:
                    clashes.append(name)
                    continue
                elif encode_entry(record.entry) != encode_entry(entry):
                    changed[name] = None
                else:
                    continue
                changes.append(_Change(record, entry))
            for name, record in live.items():
                if name in entries or record.entry is None or record.entry.origin is Origin.HAND:
                    continue
                if not clean:
                    kept.append(name)
                    continue
                removed[name] = None
                changes.append(_Change(record, None))
            stale = self._apply(changes, load=load)
            if stale is None:
                return Published(load, superseded=True)
            if not stale:
                self._note_load(by, mistakes)
                return Published(load, tuple(added), tuple(changed), tuple(removed), tuple(kept), tuple(clashes))
        raise StoreUnavailableError("the registry kept changing while the files were published; try again")

    def pause(self, name: str, *, reason: str = "", until_ms: int | None = None, by: str = "") -> EntryRecord:
        """Withdraw what *name* has armed, and arm nothing until it is resumed or *until_ms* has come."""
        now_ms = self._now_ms()
        if until_ms is not None and until_ms <= now_ms:
            raise RefusedError(f"entry {name!r}: the pause would end before it begins; give a later --until")

        def change(record: EntryRecord) -> _Change:
            since_ms = record.pause.since_ms if record.pause else now_ms
            return _Change(record, "=", Pause(since_ms, until_ms, reason, by))

        return self._change_one(name, change)

    def resume(self, name: str, *, until_ms: int = 0) -> EntryRecord:
        """
        End the pause of *name*. What lay inside it is not fired.

        Args:
            until_ms: When the pause ended, if it ended by itself: what came due since then is.
        """
        limit_ms = until_ms - 1 if until_ms else 0
        return self._change_one(name, lambda record: _Change(record, "=", None, limit_ms))

    def put(self, entry: Entry) -> EntryRecord:
        """Make *entry* the one in force under its name, whatever stood there."""
        return self._change_one(entry.name, lambda record: _Change(record, entry), must_exist=False)

    def request_reload(self) -> int:
        """Ask every beat to load its files again; the number of the request."""
        return int(self._connection.call("HINCRBY", self._keys.meta, "reloads", 1))

    def reload_requests(self) -> int:
        """How many times a reload was asked for."""
        return int(self._connection.call("HGET", self._keys.meta, "reloads") or 0)

    def last(self) -> dict[str, tuple[str, int]]:
        """For each entry that ever ran: the state of its last run, and when it ended."""
        found = _pairs(self._connection.call("HGETALL", self._keys.last))
        return {name: (state, int(at)) for name, (state, at) in ((n, v.decode().split(" ")) for n, v in found.items())}

    def promoted(self) -> dict[str, tuple[int, int]]:
        """For each entry that ever fired: its last promoted due time, and how many were promoted."""
        found = _pairs(self._connection.call("HGETALL", self._keys.promoted))
        return {name: (int(due), int(n)) for name, (due, n) in ((k, v.decode().split(" ")) for k, v in found.items())}

    def counts(self, name: str) -> dict[str, int]:
        """How many due times of *name* had which outcome; never capped."""
        found, promoted = self._connection.pipeline(
            [("HGETALL", self._keys.entry_counts(name)), ("HGET", self._keys.promoted, name)]
        )
        counts = {outcome: int(n) for outcome, n in _pairs(found).items()}
        counts["promoted"] = int(promoted.split(b" ")[1]) if promoted else 0
        return counts

    def marks(self) -> dict[str, str]:
        """The ``"revision mark"`` of every entry, removed ones included."""
        return {
            name: state.decode() for name, state in _pairs(self._connection.call("HGETALL", self._keys.marks)).items()
        }

    def _change_one(
        self, name: str, change: Callable[[EntryRecord], _Change], *, must_exist: bool = True
    ) -> EntryRecord:
        for _ in range(CHANGE_ROUNDS_MAX):
            record = self._read([name])[0]
            if record.entry is None and must_exist:
                raise NotFoundError(f"there is no entry called {name!r}; `sched list` shows them all")
            if not self._apply([change(record)], load=0):
                return self._read([name])[0]
        raise StoreUnavailableError(f"entry {name!r} kept changing; try again")

    def _apply(self, changes: Sequence[_Change], *, load: int) -> list[str] | None:
        """Carry *changes* out; the names of those whose entry had changed meanwhile, None if a newer load was published."""
        keys = self._keys
        all_keys = (*keys.core, keys.registry, keys.marks, keys.meta, keys.changes, keys.paused, keys.nudge)
        stale: list[str] = []
        now_ms = self._now_ms()
        for start in range(0, max(1, len(changes)), CHANGE_BATCH):
            batch = changes[start : start + CHANGE_BATCH]
            args: list[Argument] = [load]
            for change in batch:
                args += self._encode(change, now_ms)
            reply = self._connection.run("change", all_keys, args)
            if reply[0] == b"SUPERSEDED":
                return None
            for change, answer in zip(batch, reply[1:], strict=True):
                if answer.startswith(b"!"):
                    stale.append(change.record.name)
        return stale

    def _encode(self, change: _Change, now_ms: int) -> list[Argument]:
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

    def _paused_stretch(self, record: EntryRecord, change: _Change, now_ms: int) -> Stretch:
        """The due times that lay in the pause of *record*, which ends with *change*."""
        if record.entry is None or record.pause is None:
            return NO_STRETCH
        until_ms = min(change.limit_ms, now_ms) if change.limit_ms else now_ms
        with suppress(ScheduleError):
            return stretch(schedule_of(record.entry), record.pause.since_ms, until_ms)
        return NO_STRETCH

    def _maker(self, entry: Entry) -> FireMaker:
        return FireMaker(entry, schedule_of(entry), namespace=self._keys.namespace, late_limit_ms=self._late_limit_ms)

    def _note_load(self, by: str, mistakes: Sequence[str]) -> None:
        self._connection.call(
            "HSET",
            self._keys.meta,
            "load_by",
            by,
            "load_ms",
            self._now_ms(),
            "mistakes",
            msgspec.json.encode(list(mistakes)),
        )

    def _read(self, names: Sequence[str]) -> list[EntryRecord]:
        if not names:
            return []
        keys = self._keys
        definitions, marks, pauses = self._connection.pipeline(
            [("HMGET", keys.registry, *names), ("HMGET", keys.marks, *names), ("HMGET", keys.paused, *names)]
        )
        return [_record(*parts) for parts in zip(names, definitions, (m or b"" for m in marks), pauses, strict=True)]

    def _now_ms(self) -> int:
        seconds, micros = self._connection.call("TIME")
        return int(seconds) * 1000 + int(micros) // 1000


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


def _record(name: str, definition: bytes | None, state: bytes, pause: bytes | None) -> EntryRecord:
    return EntryRecord(
        name,
        None if definition is None else decode_entry(definition),
        state.decode(),
        None if pause is None else _decode_pause(pause),
    )


def _pairs(flat: Sequence[bytes]) -> dict[str, bytes]:
    return {name.decode(): value for name, value in zip(flat[::2], flat[1::2], strict=True)}


_decode_pause = msgspec.json.Decoder(Pause).decode
