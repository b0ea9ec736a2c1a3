"""
Loads of the schedule files: each is published as a diff under a number of its own.

The newest load wins, and one whose files are broken keeps what those files had declared.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec

from scheduler.errors import StoreUnavailableError
from scheduler.model import Entry, EntryRecord, Origin
from scheduler.store.change import CHANGE_ROUNDS_MAX, Change, Changer, Load
from scheduler.store.connection import Connection
from scheduler.store.keys import Keys
from scheduler.store.registry import RegistryStore
from scheduler.wire import encode_entry


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


class Loads:
    """The loads of a namespace."""

    def __init__(self, connection: Connection, keys: Keys, registry: RegistryStore, changer: Changer) -> None:
        self._connection = connection
        self._keys = keys
        self._registry = registry
        self._changer = changer

    def info(self) -> LoadInfo:
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
        number = int(self._connection.call("HINCRBY", self._keys.meta, "loads", 1))
        load = Load(number, by, tuple(mistakes))
        # Claimed before we look: an older load that is being published cannot slip in between our look and our change.
        if self._changer.apply((), load=load) is None:
            return Published(number, superseded=True)
        # Names as keys, in order: a later round works out anew only what somebody else had changed meanwhile.
        added: dict[str, None] = {}
        changed: dict[str, None] = {}
        removed: dict[str, None] = {}
        for _ in range(CHANGE_ROUNDS_MAX):
            live = {record.name: record for record in self._registry.changed_since(0)[1]}
            changes: list[Change] = []
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
                changes.append(Change(record, entry))
            for name, record in live.items():
                if name in entries or record.entry is None or record.entry.origin is Origin.HAND:
                    continue
                if not clean:
                    kept.append(name)
                    continue
                removed[name] = None
                changes.append(Change(record, None))
            stale = self._changer.apply(changes, load=load)
            if stale is None:
                return Published(number, superseded=True)
            if not stale:
                return Published(number, tuple(added), tuple(changed), tuple(removed), tuple(kept), tuple(clashes))
        raise StoreUnavailableError("the registry kept changing while the files were published; try again")

    def request_reload(self) -> int:
        """Ask every beat to load its files again; the number of the request."""
        return int(self._connection.call("HINCRBY", self._keys.meta, "reloads", 1))

    def reload_requests(self) -> int:
        """How many times a reload was asked for."""
        return int(self._connection.call("HGET", self._keys.meta, "reloads") or 0)
