"""
Loads of the schedule files: each is published as a diff under a number of its own.

The newest load wins, and one whose files are broken keeps what those files had declared.

    claiming ─▶ comparing ─▶ correcting ─▶ removing ─▶ done
        └────────────┴───────────┴────────────┴──────▶ done: superseded by a newer load

A load is published step by step, so that whoever does it can do something else in between: a million new entries take a while,
and what is due does not wait. Definitions are compared as bytes where they stand, and only those that differ are decoded.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import islice
from typing import Final, NamedTuple

import msgspec
from msgspec.structs import replace

from scheduler.errors import StoreUnavailableError
from scheduler.model import Entry, Origin
from scheduler.store.change import CHANGE_ROUNDS_MAX, LINES_MAX, Change, Changer, Load
from scheduler.store.connection import Connection
from scheduler.store.keys import Keys
from scheduler.store.reading import StoredEntry
from scheduler.store.registry import RegistryStore
from scheduler.timing.table import known_until_ms, renew_at_ms, renews, same_rule
from scheduler.wire import decode_entry, encode_entry

STEP: Final = 500
"""So many entries are compared, and changed if they differ, in one step."""
RENEW_AGAIN_MS_MIN: Final = 60_000
RENEW_AGAIN_MS_MAX: Final = 3_600_000
"""A table that could not be renewed is tried again after half of what is left of it, within these limits."""

CLASHES_MAX = 100
"""So many clashes of names are told one by one."""


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
        overdue: The entries whose tables are half used up, and still the old ones.
        again_at_ms: When the next table is to be renewed; None: never.
    """

    names: tuple[str, ...]
    overdue: tuple[str, ...]
    again_at_ms: int | None


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
        read. Those made by hand are not touched, and win over a file's of the same name. One that only a newer version can read is
        kept as it is, unless this load declares it: then that is in force, or a rollback would leave it dead.

        Args:
            clean: All files were read, without a mistake.
            mistakes: Kept for `sched status`.
        """
        publishing = self.publishing(list(map(encode_entry, entries.values())), clean=clean, mistakes=mistakes, by=by)
        while (published := publishing.step()) is None:
            pass
        return published

    def publishing(self, definitions: Iterable[bytes], *, clean: bool, mistakes: Sequence[str], by: str) -> Publishing:
        """The same, step by step; *definitions*: as `encode_entry` makes them, each name once. They may be gone through twice."""
        return Publishing(
            self._connection, self._keys, self._registry, self._changer, definitions, clean=clean,
            load=Load(0, by, tuple(mistakes)),
        )  # fmt: skip

    def renew(self, names: Collection[str], entries: Mapping[str, Entry]) -> Renewed:
        """
        Give those of *names* whose tables are half used up the tables of *entries*, and change nothing else.

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
            overdue: list[str] = []
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
                    if not renewal and again_at_ms != renew_at_ms(live.schedule):
                        overdue.append(record.name)
            if not self._changer.apply(changes):
                return Renewed(tuple(renewed), tuple(overdue), min(again_ms, default=None))
        raise StoreUnavailableError("the registry kept changing while tables were renewed; try again")

    def request_reload(self) -> int:
        """Ask every beat to load its files again; the number of the request."""
        return int(self._connection.call("HINCRBY", self._keys.meta, "reloads", 1))

    def reload_requests(self) -> int:
        """How many times a reload was asked for."""
        return int(self._connection.call("HGET", self._keys.meta, "reloads") or 0)


class Publishing:
    """
    One load on its way to Redis.

    A step that fails (Redis is away) can be repeated: what it had changed already is found as it should be.
    """

    def __init__(
        self,
        connection: Connection,
        keys: Keys,
        registry: RegistryStore,
        changer: Changer,
        definitions: Iterable[bytes],
        *,
        clean: bool,
        load: Load,
    ) -> None:
        self._connection = connection
        self._keys = keys
        self._registry = registry
        self._changer = changer
        self._all = definitions
        self._definitions = iter(definitions)
        self._moved: bool | None = False
        """Whether there are entries that have only moved in their files; None: these are what we are at."""
        self._clean = clean
        self._load = load
        self._work = self._claim
        self._slice: list[bytes] | None = None
        self._again: dict[str, Entry | None] = {}
        self._rounds_left = CHANGE_ROUNDS_MAX
        self._lines_left = LINES_MAX
        self._names: set[bytes] = set()
        self._cursor: bytes = b"0"
        # Names as keys, in order: an entry may come twice.
        self._added: dict[str, None] = {}
        self._changed: dict[str, None] = {}
        self._removed: dict[str, None] = {}
        self._kept: dict[str, None] = {}
        self._clashes: dict[str, str] = {}
        """Names of entries that were made by hand, each with what is said of it."""

    def step(self) -> Published | None:
        """
        Go on for some milliseconds; what was published, once it is.

        Raises:
            StoreUnavailableError: No answer, or others kept changing the registry; a further step goes on.
        """
        return self._work()

    def _claim(self) -> Published | None:
        """Take a number before we look: an older load that is being published cannot slip in between our look and our change."""
        if not self._load.number:
            number = int(self._connection.call("HINCRBY", self._keys.meta, "loads", 1))
            self._load = self._load._replace(number=number)
        self._work = self._compare
        return self._carry_out([])

    def _compare(self) -> Published | None:
        """Take note of the next definitions, and change what differs from them."""
        if self._slice is None:
            self._slice = list(islice(self._definitions, STEP))
        if not self._slice:
            self._work = self._correct
            return None
        names = [_decode_name(definition).name.encode() for definition in self._slice]
        live = self._connection.call("HMGET", self._keys.registry, *names)
        differing: dict[str, Entry | None] = {}
        for name, definition, found in zip(names, self._slice, live, strict=True):
            if found == definition:
                continue
            # A line inserted above a thousand entries moves them all: what is to be in force does not wait for that.
            if self._moved is not None and found is not None and _is_moved(found, definition):
                self._moved = True
            else:
                differing[name.decode()] = decode_entry(definition)
        published = self._change(differing)
        self._names.update(names)
        self._slice = None
        return published

    def _correct(self) -> Published | None:
        """Work out anew what somebody else had changed meanwhile."""
        if not self._again:
            self._work = self._look_for_others
            if self._moved:
                self._moved, self._slice, self._work = None, None, self._compare
                self._definitions = iter(self._all)
            return None
        if self._rounds_left == 0:
            self._rounds_left = CHANGE_ROUNDS_MAX
            raise StoreUnavailableError("the registry kept changing while the files were published; try again")
        before = len(self._again)
        published = self._change(dict(islice(self._again.items(), STEP)))
        self._rounds_left = CHANGE_ROUNDS_MAX if len(self._again) < before else self._rounds_left - 1
        return published

    def _look_for_others(self) -> Published | None:
        """Remove what the files do not declare any more. Mostly the numbers tell that there is nothing else."""
        if self._connection.call("HLEN", self._keys.registry) <= len(self._names):
            return self._done()
        self._work = self._remove
        return None

    def _remove(self) -> Published | None:
        cursor, flat = self._connection.call("HSCAN", self._keys.registry, self._cursor, "COUNT", STEP)
        others: dict[str, Entry | None] = {}
        for name, definition in zip(flat[::2], flat[1::2], strict=True):
            if name in self._names:
                continue
            entry = StoredEntry(name.decode(), definition, "").record().entry
            assert entry is not None, name
            if entry.origin is Origin.HAND:
                continue
            if self._clean and entry.is_readable:
                others[entry.name] = None
            else:
                self._kept[entry.name] = None
        published = self._change(others)
        self._cursor = cursor
        if cursor == b"0":
            self._work = self._finish
        return published

    def _finish(self) -> Published | None:
        return self._correct() if self._again else self._done()

    def _change(self, wanted: Mapping[str, Entry | None]) -> Published | None:
        """Put *wanted* in force (None: removed) where something else is; what is refused is looked at again."""
        now_ms = self._changer.now_ms()
        changes: list[Change] = []
        for stored in self._registry.stored(list(wanted)):
            record, entry = stored.record(), wanted[stored.name]
            self._again.pop(record.name, None)
            if record.entry is None and entry is None:
                continue
            if record.entry is None:
                self._added[record.name] = None
            elif record.entry.origin is Origin.HAND:
                if entry is not None:
                    self._clashes[record.name] = clash(record.entry, entry)
                continue
            elif entry is None:
                self._removed[record.name] = None
            elif encode_entry(record.entry) != encode_entry(entry := with_good_tables(record.entry, entry, now_ms)):
                if replace(record.entry, source=entry.source) != entry:
                    self._changed[record.name] = None
            else:
                continue
            changes.append(Change(record, entry))
        return self._carry_out(changes, wanted)

    def _carry_out(
        self, changes: Sequence[Change], wanted: Mapping[str, Entry | None] | None = None
    ) -> Published | None:
        if wanted is not None and not changes:
            return None
        stale = self._changer.apply(changes, load=self._load, lines_max=self._lines_left)
        if stale is None:
            return Published(self._load.number, superseded=True)
        self._lines_left = max(0, self._lines_left - len(changes))
        if wanted is not None:
            self._again |= {name: wanted[name] for name in stale}
        return None

    def _done(self) -> Published:
        if self._clashes:
            # Known only now: that a name is taken is a mistake of this load as any other.
            clashes = list(self._clashes.values())[:CLASHES_MAX]
            load = self._load._replace(mistakes=(*self._load.mistakes, *clashes))
            if self._changer.apply((), load=load) is None:
                return Published(self._load.number, superseded=True)
        return Published(
            self._load.number,
            tuple(self._added),
            tuple(self._changed),
            tuple(self._removed),
            tuple(self._kept),
            tuple(self._clashes),
        )


def clash(live: Entry, entry: Entry) -> str:
    """The mistake of a file that declares the name of an entry made by hand."""
    return (
        f"{entry.source}: entry {entry.name!r} is not in force: another one of this name was "
        f"{live.source or 'made by hand'}; give one of them another name, or `sched remove {entry.name}` and `sched reload`"
    )


def _is_moved(live: bytes, definition: bytes) -> bool:
    """Whether two definitions are the same but for their place in a file."""
    return _without_source(live) == _without_source(definition)


def _without_source(definition: bytes) -> bytes:
    # The last one: what may be called so in arguments and headers comes before it, as fields are in order.
    start = definition.rfind(b'"source":"')
    end = definition.find(b'"', start + len(b'"source":"'))
    # A place with a quotation mark in it is cut short, which takes less for the same, never more.
    return definition if start < 0 else definition[:start] + definition[end:]


class _Named(msgspec.Struct):
    """An `Entry` of which the rest is passed over."""

    name: str


_decode_name = msgspec.json.Decoder(_Named).decode


def with_good_tables(live: Entry, entry: Entry, now_ms: int) -> Entry:
    """
    *entry*, with the tables of *live* as long as they say the same and are not half used up.

    So a load that changes nothing changes nothing, although each one asks anew.
    """
    renew_ms = renew_at_ms(live.schedule)
    if live.schedule == entry.schedule or (renew_ms is not None and renew_ms <= now_ms):
        return entry
    if not renews(live.schedule, entry.schedule):
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
    """When the tables of *entry* are to be renewed; if that could not be done now, when to try again."""
    renew_ms, until_ms = renew_at_ms(entry.schedule), known_until_ms(entry.schedule)
    if renew_ms is None or until_ms is None:
        return None
    if renew_ms > now_ms:
        return renew_ms
    return now_ms + max(RENEW_AGAIN_MS_MIN, min(RENEW_AGAIN_MS_MAX, (until_ms - now_ms) // 2))
