"""
What a load of the schedule files would change on Redis: the diff that `Loads.publish` would carry out, worked out and not carried out.

Pure: it is handed the files' entries and the registry as it stands. The two go by the same rules: entries made by hand are not
touched and win over a file's of the same name, and only a clean load removes. What differs in nothing but its line is no change.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from scheduler.model import Entry, EntryRecord, Origin
from scheduler.store.audit import Difference, differences
from scheduler.store.loads import clash, with_good_tables
from scheduler.wire import encode_entry


class Changed(NamedTuple):
    """
    An entry that the files declare otherwise.

    Attributes:
        differences: None of them where a newer version wrote the one in force: this version cannot read that.
    """

    record: EntryRecord
    entry: Entry
    differences: tuple[Difference, ...]


class Diff(NamedTuple):
    """
    What a load would do, each in the order of names.

    Attributes:
        kept: In force and not in the files, which cannot be read as a whole (or a newer version wrote them).
        clashes: For the name of an entry that was made by hand and that a file declares too, what is said of that.
        unchanged: How many stay as they are.
        by_hand: How many were made by hand; no load touches them.
    """

    added: list[Entry]
    changed: list[Changed]
    removed: list[EntryRecord]
    kept: list[EntryRecord]
    clashes: dict[str, str]
    unchanged: int
    by_hand: int

    def __bool__(self) -> bool:
        return bool(self.added or self.changed or self.removed)


def diff(entries: Mapping[str, Entry], records: Iterable[EntryRecord], *, clean: bool, now_ms: int) -> Diff:
    """
    What making *entries* the files' part of the registry would change.

    Args:
        records: What is in force.
        clean: All files could be read, so that what is not in *entries* was removed.
    """
    found = Diff([], [], [], [], {}, 0, 0)
    unchanged = by_hand = 0
    live: set[str] = set()
    for record in sorted(records, key=lambda record: record.name):
        if record.entry is None:
            continue
        live.add(record.name)
        entry = entries.get(record.name)
        if record.entry.origin is Origin.HAND:
            by_hand += 1
            if entry is not None:
                found.clashes[record.name] = clash(record.entry, entry)
        elif entry is None:
            (found.removed if clean and record.entry.is_readable else found.kept).append(record)
        elif (change := _change(record, record.entry, entry, now_ms)) is not None:
            found.changed.append(change)
        else:
            unchanged += 1
    found.added.extend(entries[name] for name in sorted(entries.keys() - live))
    return found._replace(unchanged=unchanged, by_hand=by_hand)


def _change(record: EntryRecord, live: Entry, entry: Entry, now_ms: int) -> Changed | None:
    if not live.is_readable:
        return Changed(record, entry, ())
    entry = with_good_tables(live, entry, now_ms)
    if encode_entry(live) == encode_entry(entry):
        return None
    found = differences(live, entry)
    return Changed(record, entry, found) if found else None
