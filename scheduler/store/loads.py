"""
Loads of the schedule files: each is published as a diff under a number of its own.

The newest load wins, and one whose files are broken keeps what those files had declared.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Final, NamedTuple

import msgspec
from msgspec.structs import replace

from scheduler.errors import StoreUnavailableError
from scheduler.model import Entry, EntryRecord, Origin
from scheduler.store.change import CHANGE_ROUNDS_MAX, Change, Changer, Load
from scheduler.store.connection import Connection
from scheduler.store.keys import Keys
from scheduler.store.registry import RegistryStore
from scheduler.timing.table import known_until_ms, renew_at_ms, renews, same_rule
from scheduler.wire import encode_entry

RENEW_AGAIN_MS_MIN: Final = 60_000
"""A table that could not be renewed is tried again after so long, or after half of what is left of it."""


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
        kept: Not in the load, which was not clean (or a newer version wrote them); they stay as they were.
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


class Renewed(NamedTuple):
    """
    What renewing tables changed.

    Attributes:
        names: The entries whose tables are new.
        again_at_ms: When the next table is to be renewed; None: never.
    """

    names: tuple[str, ...]
    again_at_ms: int | None


class Loads:
    """The loads of a namespace."""
        overdue: The entries whose tables are half used up, and still the old ones.

    def __init__(self, connection: Connection, keys: Keys, registry: RegistryStore, changer: Changer) -> None:
        self._connection = connection
        self._keys = keys
    overdue: tuple[str, ...]
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
        read. Those made by hand are not touched, and win over a file's of the same name. One that only a newer version can read is
        kept as it is, unless this load declares it: then that is in force, or a rollback would leave it dead.

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
        now_ms = self._changer.now_ms()
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
                elif encode_entry(record.entry) != encode_entry(
                    entry := _with_good_tables(record.entry, entry, now_ms)
                ):
                    changed[name] = None
                else:
                    continue
                changes.append(Change(record, entry))
            for name, record in live.items():
                if name in entries or record.entry is None or record.entry.origin is Origin.HAND:
                    continue
                if not clean or not record.entry.is_readable:
                    kept.append(name)
                    continue
                removed[name] = None
                changes.append(Change(record, None))
            overdue: list[str] = []
            stale = self._changer.apply(changes, load=load)
            if stale is None:
                return Published(number, superseded=True)
            if not stale:
                return Published(number, tuple(added), tuple(changed), tuple(removed), tuple(kept), tuple(clashes))
        raise StoreUnavailableError("the registry kept changing while the files were published; try again")

    def renew(self, names: Collection[str], entries: Mapping[str, Entry]) -> Renewed:
        """
        Give those of *names* whose tables are half used up the tables of *entries*, and change nothing else.

                    if not renewal and again_at_ms != renew_at_ms(live.schedule):
                        overdue.append(record.name)
        This is no load: it takes no number, and what has been edited in the files meanwhile waits for one. So any beat may do
        it, whatever its files say.

        Args:
            names: Entries that hold tables, also those that could not be loaded this time.
        """
        renewed: dict[str, None] = {}
        now_ms = self._changer.now_ms()
        for _ in range(CHANGE_ROUNDS_MAX):
            records = [stored.record() for stored in self._registry.stored(list(names))]
            changes: list[Change] = []
            again_ms: list[int] = []
            for record in records:
                live, entry = record.entry, entries.get(record.name)
                if live is None or live.origin is Origin.HAND:
                    continue
                renewal = entry and _renewal(live, entry, now_ms)
                if renewal:
                    renewed[record.name] = None
                    changes.append(Change(record, renewal))
                if (again_at_ms := _ask_again_ms(renewal or live, now_ms)) is not None:
                    again_ms.append(again_at_ms)
            if not self._changer.apply(changes):
                return Renewed(tuple(renewed), tuple(overdue), min(again_ms, default=None))
        raise StoreUnavailableError("the registry kept changing while tables were renewed; try again")

    def request_reload(self) -> int:
        """Ask every beat to load its files again; the number of the request."""
        return int(self._connection.call("HINCRBY", self._keys.meta, "reloads", 1))

    def reload_requests(self) -> int:
        """How many times a reload was asked for."""
        return int(self._connection.call("HGET", self._keys.meta, "reloads") or 0)


def _with_good_tables(live: Entry, entry: Entry, now_ms: int) -> Entry:
    """
    *entry*, with the tables of *live* as long as they say the same and are not half used up.

    So a load that changes nothing changes nothing, although each one asks anew.
    """
    renew_ms = renew_at_ms(live.schedule)
    if renew_ms is None or renew_ms <= now_ms or not renews(live.schedule, entry.schedule):
        return entry
    return replace(entry, schedule=live.schedule)


def _renewal(live: Entry, entry: Entry, now_ms: int) -> Entry | None:
    """*live* with the tables of *entry*, if those reach farther and it is time."""
    renew_ms, until_ms = renew_at_ms(live.schedule), known_until_ms(live.schedule)
    if renew_ms is None or until_ms is None or renew_ms > now_ms or not same_rule(live.schedule, entry.schedule):
        return None
    new_until_ms = known_until_ms(entry.schedule)
    if new_until_ms is not None and new_until_ms <= until_ms:
        return None
    return replace(live, schedule=entry.schedule)


def _ask_again_ms(entry: Entry, now_ms: int) -> int | None:
    """When the tables of *entry* are to be renewed; if that could not be done now, ever more rarely."""
    renew_ms, until_ms = renew_at_ms(entry.schedule), known_until_ms(entry.schedule)
    if renew_ms is None or until_ms is None:
        return None
    return renew_ms if renew_ms > now_ms else now_ms + max(RENEW_AGAIN_MS_MIN, abs(until_ms - now_ms) // 2)
