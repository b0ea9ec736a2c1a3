"""
The registry on Redis: definitions, marks and pauses, read and changed one by one.

Redis holds the truth. How a change is carried out, and what a second editor is told, is in `change`; how a load of files is
published, in `loads`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from scheduler.errors import NotFoundError, RefusedError, StoreUnavailableError
from scheduler.model import Entry, EntryRecord, Pause
from scheduler.store.change import CHANGE_ROUNDS_MAX, Change, Changer
from scheduler.store.connection import Connection
from scheduler.store.keys import Keys
from scheduler.store.reading import SLICE, Reading, StoredEntry, read_entries


class RegistryStore:
    """The registry of a namespace."""

    def __init__(self, connection: Connection, keys: Keys, changer: Changer) -> None:
        self._connection = connection
        self._keys = keys
        self._changer = changer

    def all(self) -> list[EntryRecord]:
        """Every entry in force, by name."""
        return [record for record in self.changed_since(0)[1] if record.entry is not None]

    def reading(self) -> Reading:
        """A way through the whole registry, slice by slice."""
        return Reading(self._connection, self._keys)

    def stored(self, names: Sequence[str]) -> list[StoredEntry]:
        """What stands under each of *names*, undecoded."""
        return read_entries(self._connection, self._keys, names)

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
        reading = Reading(self._connection, self._keys, revision=revision)
        found: dict[str, StoredEntry] = {}
        while slice_ := reading.next():
            found |= {entry.name: entry for entry in slice_}
            if reading.scanned and len(slice_) < SLICE:
                break  # what changes just now is the next call's
        entries = [found[name] for name in sorted(found)] if revision == 0 else found.values()
        return reading.revision, [entry.record() for entry in entries]

    def pause(self, name: str, *, reason: str = "", until_ms: int | None = None, by: str = "") -> EntryRecord:
        """Withdraw what *name* has armed, and arm nothing until it is resumed or *until_ms* has come."""
        now_ms = self._changer.now_ms()
        if until_ms is not None and until_ms <= now_ms:
            raise RefusedError(f"entry {name!r}: the pause would end before it begins; give a later --until")

        def change(record: EntryRecord) -> Change:
            since_ms = record.pause.since_ms if record.pause else now_ms
            return Change(record, "=", Pause(since_ms, until_ms, reason, by))

        return self._change_one(name, change)

    def resume(self, name: str, *, until_ms: int = 0) -> EntryRecord:
        """
        End the pause of *name*. What lay inside it is not fired.

        Args:
            until_ms: When the pause ended, if it ended by itself: what came due since then is.
        """
        limit_ms = until_ms - 1 if until_ms else 0
        return self._change_one(name, lambda record: Change(record, "=", None, limit_ms))

    def put(self, entry: Entry) -> EntryRecord:
        """Make *entry* the one in force under its name, whatever stood there."""
        return self._change_one(entry.name, lambda record: Change(record, entry), must_exist=False)

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
        self, name: str, change: Callable[[EntryRecord], Change], *, must_exist: bool = True
    ) -> EntryRecord:
        for _ in range(CHANGE_ROUNDS_MAX):
            record = self._read([name])[0]
            if record.entry is None and must_exist:
                raise NotFoundError(f"there is no entry called {name!r}; `sched list` shows them all")
            if not self._changer.apply([change(record)]):
                return self._read([name])[0]
        raise StoreUnavailableError(f"entry {name!r} kept changing; try again")

    def _read(self, names: Sequence[str]) -> list[EntryRecord]:
        return [entry.record() for entry in self.stored(names)]


def _pairs(flat: Sequence[bytes]) -> dict[str, bytes]:
    return {name.decode(): value for name, value in zip(flat[::2], flat[1::2], strict=True)}
