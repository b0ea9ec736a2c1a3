"""
The registry on Redis: definitions, marks and pauses, read and changed one by one.

Redis holds the truth. How a change is carried out, and what a second editor is told, is in `change`; how a load of files is
published, in `loads`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import msgspec

from scheduler.alarm import Health, read_health
from scheduler.clock import iso
from scheduler.errors import NotFoundError, RefusedError, ScheduleError, StoreUnavailableError
from scheduler.fires import next_kept_ms, schedule_of
from scheduler.model import Entry, EntryRecord, Origin, Pause, SkipOrder
from scheduler.store.audit import ITS_END, Audit, Note, note_text
from scheduler.store.change import CHANGE_ROUNDS_MAX, LINES_MAX, Change, Changer, definition_note
from scheduler.store.connection import Connection
from scheduler.store.keys import Keys
from scheduler.store.reading import SLICE, Reading, StoredEntry, read_entries, read_names
from scheduler.wire import encode_entry, new_id

_DONE = {"add": "it anew", "edit": "a change", "remove": "an end to it"}
ORDER_KEPT_MS = 86_400_000
"""So long after its moment an order to skip is kept, if its fire was never promoted: it may have lain in a pause."""
SKIPS_MAX = 100
"""So many fires of an entry may be ordered to be skipped; more is a pause."""


class Many(NamedTuple):
    """
    What became of a change of many entries, as names.

    Attributes:
        left: Those that were paused by their name: they are as they were.
    """

    changed: tuple[str, ...]
    left: tuple[str, ...]


class RegistryStore:
    """The registry of a namespace."""

    def __init__(self, connection: Connection, keys: Keys, changer: Changer, audit: Audit) -> None:
        self._connection = connection
        self._keys = keys
        self._changer = changer
        self._audit = audit

    def all(self) -> list[EntryRecord]:
        """Every entry in force, by name."""
        return [record for record in self.changed_since(0)[1] if record.entry is not None]

    def reading(self) -> Reading:
        """A way through the whole registry, slice by slice."""
        return Reading(self._connection, self._keys)

    def names(self, glob: str = "*") -> list[str]:
        """The names of entries that fit *glob* (Redis' own kind), in order; those of removed ones included."""
        return read_names(self._connection, self._keys, glob)

    def is_any(self) -> bool:
        """Whether there is an entry at all."""
        return bool(self._connection.call("HLEN", self._keys.registry))

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

    def paused_count(self) -> int:
        """How many entries are paused."""
        return int(self._connection.call("HLEN", self._keys.paused))

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
        pause = Pause(now_ms, until_ms, reason, by)
        return self._change_one(name, lambda record: _pausing(record, pause))

    def pause_as_it_stands(self, record: EntryRecord, *, reason: str, by: str) -> bool:
        """Pause *record* if it stands as it was read, and is not paused; whether that was so."""
        if record.entry is None or record.pause is not None:
            return False
        pause = Pause(self._changer.now_ms(), None, reason, by)
        return not self._changer.apply([_pausing(record, pause)])

    def resume(self, name: str, *, until_ms: int = 0, by: str = "", reason: str = "") -> EntryRecord:
        """
        End the pause of *name*, if it is paused. What lay inside it is not fired.

        Args:
            until_ms: When the pause ended, if it ended by itself: what came due since then is.
        """
        limit_ms = until_ms - 1 if until_ms else 0

        def change(record: EntryRecord) -> Change | None:
            if record.pause is None:
                return None
            note = Note(verb="resume", entry=name, by=ITS_END if until_ms else by, reason=reason)
            return Change(record, "=", None, limit_ms, note=note)

        return self._change_one(name, change)

    def pause_all(self, *, reason: str = "", until_ms: int | None = None, by: str = "", tag: str | None = None) -> Many:
        """
        Pause every entry, or every one with *tag*; `resume_all` ends just these pauses.

        What was paused by its name stays as it is; an earlier pause of all gives way. Entries that are added while it goes on are
        paused too, those that are added later are not.
        """
        now_ms = self._changer.now_ms()
        if until_ms is not None and until_ms <= now_ms:
            raise RefusedError("the pause would end before it begins; give a later --until")
        pause = Pause(now_ms, until_ms, reason, by, group=new_id())

        def change(record: EntryRecord) -> Change | None:
            stays = record.pause is not None and record.pause.group in ("", pause.group)
            return None if stays else _pausing(record, pause)

        note = Note(verb="pause", by=by, reason=reason, what=_all_of(tag), group=pause.group)
        return self._change_many(change, note, tag=tag)

    def resume_all(self, *, reason: str = "", by: str = "", tag: str | None = None) -> Many:
        """Resume every entry, or every one with *tag*, that `pause_all` has paused; what was paused by itself stays so."""

        def change(record: EntryRecord) -> Change | None:
            if record.pause is None or not record.pause.group:
                return None
            return Change(record, "=", None, note=Note(verb="resume", entry=record.name, by=by, reason=reason))

        note = Note(verb="resume", by=by, reason=reason, what=_all_of(tag), group=new_id())
        return self._change_many(change, note, tag=tag)

    def resume_ended(self, ended: Sequence[tuple[str, int]]) -> list[str]:
        """
        End the pauses that have ended by themselves, given as entries and when that was; those that were resumed now.

        What has another pause by now, or none, stays as it is. An entry that changed in this very moment is read anew by whoever
        plans it, its pause with it.
        """
        asked = set(ended)  # of a pause that was made shorter, both ends may have come
        groups: dict[str, list[Change]] = {}
        for record in self._read(list(dict(ended))):
            pause = record.pause
            if (
                record.entry is None
                or pause is None
                or pause.until_ms is None
                or (record.name, pause.until_ms) not in asked
            ):
                continue
            note = None if pause.group else Note(verb="resume", entry=record.name, by=ITS_END)
            groups.setdefault(pause.group, []).append(Change(record, "=", None, pause.until_ms - 1, note=note))
        resumed: list[str] = []
        for group, changes in groups.items():
            many = Note(verb="resume", by=ITS_END, what="all that were paused at once", group=f"end of {group}")
            stale = self._changer.apply(changes, many=many if group else None, lines_max=len(changes))
            resumed += [change.record.name for change in changes if change.record.name not in (stale or ())]
        return resumed

    def skip(self, name: str, *, reason: str = "", by: str = "") -> tuple[EntryRecord, int]:
        """
        Order that the next fire of *name* be skipped; the one after it, if that was ordered already.

        The fire goes on being armed, as one that promotion settles as withdrawn: so whatever becomes of the entry until then,
        its due time has one outcome. The order stays with the entry until its moment has passed.

        Returns:
            The entry, and the due time that is skipped now.

        Raises:
            NotFoundError: There is no such entry.
            RefusedError: There is no next fire, its moment has come meanwhile, or `SKIPS_MAX` are ordered already.
        """
        chosen: list[int] = []

        def change(record: EntryRecord) -> Change:
            now_ms = self._changer.now_ms()
            promoted = self._connection.call("HGET", self._keys.promoted, name)
            due_ms = next_to_skip_ms(record, now_ms, promoted_ms=int(promoted.split(b" ")[0]) if promoted else 0)
            if chosen and chosen[-1] <= now_ms:
                raise RefusedError(
                    f"entry {name!r}: its fire of {iso(chosen[-1])} is due by now and goes on; the next one is due "
                    f"{iso(due_ms)}: ask again to skip that"
                )
            chosen.append(due_ms)
            # A fire that is due may not have been promoted yet: then its order is still to be carried out.
            kept = tuple(order for order in record.skips if order.due_ms > now_ms - ORDER_KEPT_MS)
            if sum(order.due_ms > now_ms for order in kept) >= SKIPS_MAX:
                raise RefusedError(
                    f"entry {name!r}: its next {SKIPS_MAX} fires are to be skipped already; pause it instead"
                )
            orders = (*kept, SkipOrder(due_ms, now_ms, by, reason))
            note = Note(verb="skip", entry=name, by=by, reason=reason, what=f"the fire of {iso(due_ms)}")
            return Change(record, "=", skips=orders, before_ms=due_ms, note=note)

        record = self._change_one(name, change)
        return record, chosen[-1]

    def put(self, entry: Entry, *, by: str = "", reason: str = "") -> EntryRecord:
        """Make *entry* the one in force under its name, whatever stood there."""

        def change(record: EntryRecord) -> Change:
            return Change(record, entry, note=definition_note(record.entry, entry, by=by, reason=reason))

        return self._change_one(entry.name, change, must_exist=False)

    def redefine(
        self,
        name: str,
        make: Callable[[EntryRecord], Entry | None],
        *,
        by: str = "",
        reason: str = "",
        revision: int | None = None,
    ) -> EntryRecord:
        """
        Define the entry *name* by hand.

        Args:
            make: Gives the definition, from what stands there; None to remove it. It may raise to refuse.
            revision: The one of which *make* has seen the definition; None: the present one. Fires that were armed, pauses and
                skips since then do not matter.

        Raises:
            RefusedError: The entry is declared in a file, or its definition is a newer one; the message says who made it.
        """
        seen = revision

        def change(record: EntryRecord) -> Change | None:
            nonlocal seen
            old = record.entry
            if old is not None and old.origin is Origin.FILE:
                raise RefusedError(
                    f"entry {name!r} is declared in {old.source or 'a schedule file'}; change it there and reload. "
                    "Here it can be paused, skipped and triggered"
                )
            if seen is None:
                seen = record.revision if record.state else 0
            if record.state and record.revision > seen:
                self._refuse_older(name, seen, record.revision)
            if record.state and seen > record.revision:
                raise RefusedError(f"entry {name!r} has never had revision {seen}; it is at {record.revision}")
            new = make(record)
            if new is None:
                return Change(record, None, note=Note(verb="remove", entry=name, by=by, reason=reason)) if old else None
            if old is not None and encode_entry(old) == encode_entry(new):
                return None
            return Change(record, new, note=definition_note(old, new, by=by, reason=reason))

        return self._change_one(name, change, must_exist=False)

    def _refuse_older(self, name: str, seen: int, revision: int) -> None:
        """Refuse a change of *name* that was made from revision *seen*, if the definition has changed since."""
        note = self._audit.redefined(name, seen)
        if note is None:
            return
        if not note.verb:
            raise RefusedError(f"entry {name!r} is at revision {revision}; what it was at {seen} is not known any more")
        what = note_text(note)
        raise RefusedError(
            f"entry {name!r}: {note.by or 'somebody'} has made {_DONE[note.verb]} at {iso(note.at_ms)}"
            f"{f' ({what})' if what else ''}{f', because: {note.reason}' if note.reason else ''}; your change was made from an older "
            f"state (revision {seen}): look at `sched show {name}` and make it again"
        )

    def last(self, names: Sequence[str] | None = None) -> dict[str, Health]:
        """How the runs of each entry went that ever ran, of *names* or of all."""
        found = self._fields(self._keys.last, names)
        return {name: read_health(value) for name, value in found.items()}

    def promoted(self, names: Sequence[str] | None = None) -> dict[str, tuple[int, int]]:
        """For each entry that ever fired, of *names* or of all: its last promoted due time, and how many were promoted."""
        found = self._fields(self._keys.promoted, names)
        return {name: (int(due), int(n)) for name, (due, n) in ((k, v.decode().split(" ")) for k, v in found.items())}

    def _fields(self, key: str, names: Sequence[str] | None) -> dict[str, bytes]:
        if names is None:
            return _pairs(self._connection.call("HGETALL", key))
        values = self._connection.call("HMGET", key, *names) if names else ()
        return {name: value for name, value in zip(names, values, strict=True) if value is not None}

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
        self, name: str, change: Callable[[EntryRecord], Change | None], *, must_exist: bool = True
    ) -> EntryRecord:
        """Carry out what *change* makes of the entry as it stands, anew if it has changed meanwhile; None: it may stay so."""
        for _ in range(CHANGE_ROUNDS_MAX):
            record = self._read([name])[0]
            if record.entry is None and must_exist:
                raise NotFoundError(f"there is no entry called {name!r}; `sched list` shows them all")
            wanted = change(record)
            if wanted is None:
                return record
            if not self._changer.apply([wanted]):
                return self._read([name])[0]
        raise StoreUnavailableError(f"entry {name!r} kept changing; try again")

    def _change_many(self, change: Callable[[EntryRecord], Change | None], note: Note, *, tag: str | None) -> Many:
        """Carry out what *change* makes of each entry, slice by slice; what was paused by its name is left."""
        changed: dict[str, None] = {}
        left: dict[str, None] = {}
        reading = self.reading()
        while slice_ := reading.next():
            records = [record for record in (found.record() for found in slice_) if _is_meant(record, tag)]
            for _ in range(CHANGE_ROUNDS_MAX):
                wanted = [made for record in records if (made := change(record)) is not None]
                left |= {record.name: None for record in records if record.pause and not record.pause.group}
                stale = self._changer.apply(wanted, many=note, lines_max=max(0, LINES_MAX - len(changed)))
                again = set(stale or ())
                changed |= {made.record.name: None for made in wanted if made.record.name not in again}
                if not again:
                    break
                records = [record for record in self._read(sorted(again)) if _is_meant(record, tag)]
            else:
                raise StoreUnavailableError("the registry kept changing; try again")
        return Many(tuple(changed), tuple(name for name in left if name not in changed))

    def _read(self, names: Sequence[str]) -> list[EntryRecord]:
        return [entry.record() for entry in self.stored(names)]


def next_to_skip_ms(record: EntryRecord, now_ms: int, *, promoted_ms: int) -> int:
    """
    The due time of *record* that fires next, as things stand.

    Raises:
        RefusedError: There is none, and why.
    """
    entry, what = record.entry, f"entry {record.name!r}"
    assert entry is not None, record.name
    if not entry.enabled:
        raise RefusedError(f"{what} is disabled: it has no next fire to skip")
    pause = record.pause
    if pause is not None and (pause.until_ms is None or pause.until_ms > now_ms):
        raise RefusedError(f"{what} is paused: it has no next fire to skip; `sched resume {record.name}` first")
    try:
        schedule = schedule_of(entry)
    except ScheduleError as error:
        raise RefusedError(f"{what}: its schedule cannot be read here: {error}") from None
    # A due time that was promoted already does not come again, though Redis' clock was set back.
    after_ms = max(now_ms, promoted_ms, (entry.start_ms or 0) - 1)
    due_ms = next_kept_ms(schedule, after_ms, {order.due_ms for order in record.skips})
    if due_ms is None or (entry.until_ms is not None and due_ms > entry.until_ms):
        raise RefusedError(f"{what} has no next fire to skip: its schedule has no more")
    return due_ms


def _is_meant(record: EntryRecord, tag: str | None) -> bool:
    return record.entry is not None and (tag is None or tag in record.entry.tags)


def _all_of(tag: str | None) -> str:
    return "all entries" if tag is None else f"all entries with tag {tag}"


def _pausing(record: EntryRecord, pause: Pause) -> Change:
    """What pauses *record*; one that is paused already stays so since then."""
    if record.pause is not None:
        pause = msgspec.structs.replace(pause, since_ms=record.pause.since_ms)
    until = f"until {iso(pause.until_ms)}" if pause.until_ms else ""
    note = Note(verb="pause", entry=record.name, by=pause.by, reason=pause.reason, what=until)
    return Change(record, "=", pause, note=note)


def _pairs(flat: Sequence[bytes]) -> dict[str, bytes]:
    return {name.decode(): value for name, value in zip(flat[::2], flat[1::2], strict=True)}
