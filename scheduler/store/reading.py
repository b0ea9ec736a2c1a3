"""
The registry read in slices, and then followed, while others change it.

    scanning ──the last slice──▶ following ⇄ (something has changed)

No slice keeps Redis, or the reader, for longer than some milliseconds, however many entries there are. What is handed out is
what stands on Redis, undecoded: a planner of a million entries keeps little of it.

An entry's state is always read before its definition. So whatever happens between the two, its state is no newer than its
definition, and what is planned from such a pair is refused when it is armed (trap 1), instead of arming what was replaced. What
has changed since the scan began is read again after it; some entries come twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec

from scheduler.model import UNREADABLE, Entry, EntryRecord, Origin, Pause, SkipOrder
from scheduler.store.connection import Connection
from scheduler.store.keys import Keys
from scheduler.wire import decode_entry, encode_entry

SLICE = 500
"""About so many entries are read at once."""


class StoredEntry(NamedTuple):
    """
    An entry as it stands on Redis, undecoded.

    Attributes:
        definition: See `scheduler.wire.encode_entry`; None once it was removed.
        state: ``"<revision> <mark_ms>"``, empty for a name that never was one's.
        pause: A `Pause` as JSON.
        skips: The `SkipOrder`s, as JSON.
    """

    name: str
    definition: bytes | None
    state: str
    pause: bytes | None = None
    skips: bytes | None = None

    def record(self) -> EntryRecord:
        """The same, decoded; an entry that only a newer version understands is not `Entry.is_readable`."""
        return EntryRecord(
            self.name,
            None if self.definition is None else _entry(self.name, self.definition),
            self.state,
            None if self.pause is None else _decode_pause(self.pause),
            decode_skips(self.skips),
        )


def _entry(name: str, definition: bytes) -> Entry:
    try:
        return decode_entry(definition)
    except msgspec.MsgspecError:
        return _unreadable(name, definition)


def _unreadable(name: str, definition: bytes) -> Entry:
    """What can be shown of an entry that does not decode. One bad entry must not hide, or stop, all others."""
    try:
        said = msgspec.json.decode(definition, type=dict[str, Any])
    except msgspec.MsgspecError:
        said = {}
    task, queue, source = (said[field] if isinstance(said.get(field), str) else "" for field in _SHOWN)
    origin = Origin.HAND if said.get("origin") == Origin.HAND else Origin.FILE
    return Entry(name=name, task=task, schedule={"kind": UNREADABLE}, queue=queue, source=source, origin=origin)


def stored(record: EntryRecord) -> StoredEntry:
    """*record* as it would stand on Redis."""
    return StoredEntry(
        record.name,
        None if record.entry is None else encode_entry(record.entry),
        record.state,
        None if record.pause is None else msgspec.json.encode(record.pause),
        msgspec.json.encode(record.skips) if record.skips else None,
    )


def decode_skips(data: bytes | None) -> tuple[SkipOrder, ...]:
    """The orders to skip fires of an entry, from what stands on Redis."""
    return () if data is None else _decode_skips(data)


def read_entries(connection: Connection, keys: Keys, names: Sequence[str]) -> list[StoredEntry]:
    """What stands under each of *names*, be it only the mark of a removed entry."""
    if not names:
        return []
    # Marks first: see the top of this file.
    states, *rest = connection.pipeline(
        [("HMGET", key, *names) for key in (keys.marks, keys.registry, keys.paused, keys.skipped)]
    )
    return [
        StoredEntry(name, definition, (state or b"").decode(), pause, skips)
        for name, state, definition, pause, skips in zip(names, states, *rest, strict=True)
    ]


def read_names(connection: Connection, keys: Keys, glob: str) -> list[str]:
    """The names that fit *glob*, in order, those of removed entries included."""
    found: set[bytes] = set()
    cursor = b"0"
    while True:
        # Marks are much shorter than definitions.
        cursor, flat = connection.call("HSCAN", keys.marks, cursor, "MATCH", glob, "COUNT", 10 * SLICE)
        found.update(flat[::2])
        if cursor == b"0":
            return sorted(name.decode() for name in found)


class Reading:
    """
    One reader's way through the registry.

    Args:
        revision: Follow from there on; 0: read everything first.
    """

    def __init__(self, connection: Connection, keys: Keys, *, revision: int = 0) -> None:
        self.revision = revision
        """Whatever changed up to here has been handed out, once `scanned`."""
        self.scanned = revision > 0
        self._connection = connection
        self._keys = keys
        self._cursor: bytes | None = None
        self._states: list[tuple[str, str]] = []

    def next(self) -> list[StoredEntry]:
        """The next slice, removed entries included; empty when there is nothing more for now."""
        while not self.scanned:
            if found := self._scan():
                return found
        return self._follow()

    def _scan(self) -> list[StoredEntry]:
        """
        The entries whose states came with the slice before; together with the states of the next.

        1. The revision is read, and the first states.
        2. Definitions, pauses and skips of these, and the next states; and so on.
        """
        connection, keys = self._connection, self._keys
        names = [name for name, _ in self._states]
        commands: list[tuple[str | int | bytes, ...]] = []
        if self._cursor is None:
            commands.append(("HGET", keys.meta, "revision"))
        if names:
            commands += [("HMGET", keys.registry, *names), ("HLEN", keys.paused), ("HLEN", keys.skipped)]
        if self._cursor != b"0":
            commands.append(("HSCAN", keys.marks, self._cursor or b"0", "COUNT", SLICE))
        replies = connection.pipeline(commands)
        first, last = self._cursor is None, self._cursor == b"0"
        found: list[StoredEntry] = []
        if names:
            definitions, paused, skipped = replies[:3]
            # Nothing is paused or skipped, mostly: then nobody need ask who is.
            pauses = connection.call("HMGET", keys.paused, *names) if paused else [None] * len(names)
            skips = connection.call("HMGET", keys.skipped, *names) if skipped else [None] * len(names)
            found = [
                StoredEntry(name, definition, state, pause, orders)
                for (name, state), definition, pause, orders in zip(
                    self._states, definitions, pauses, skips, strict=True
                )
            ]
        if first:
            self.revision = int(replies[0] or 0)
        if last:
            self.scanned, self._states = True, []
        else:
            self._cursor, flat = replies[-1]
            self._states = [(name.decode(), state.decode()) for name, state in zip(flat[::2], flat[1::2], strict=True)]
        return found

    def _follow(self) -> list[StoredEntry]:
        """The entries that have changed since, the oldest change first."""
        connection, keys = self._connection, self._keys
        newest, found = connection.pipeline(
            [
                ("HGET", keys.meta, "revision"),
                ("ZRANGE", keys.changes, f"({self.revision}", "+inf", "BYSCORE", "LIMIT", 0, SLICE, "WITHSCORES"),
            ]
        )
        entries = read_entries(connection, keys, [name.decode() for name in found[::2]])
        # Taken note of only now: a read that fails is repeated.
        self.revision = int(float(found[-1])) if len(found) == 2 * SLICE else int(newest or 0)
        return entries


_SHOWN = ("task", "queue", "source")
_decode_pause = msgspec.json.Decoder(Pause).decode
_decode_skips = msgspec.json.Decoder(tuple[SkipOrder, ...]).decode
