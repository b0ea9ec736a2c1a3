"""
The audit log: who changed what, when and why.

A line is written by the script that makes the change (`note.lua`), so there is no change without its line and no line without
its change. It keeps the newest 10,000.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import msgspec

from scheduler.clock import iso
from scheduler.config import redact_address
from scheduler.errors import ScheduleError
from scheduler.model import Entry, RunOptions, Watch
from scheduler.store.connection import Connection
from scheduler.store.keys import Keys
from scheduler.timing import schedule_from_data
from scheduler.timing.duration import format_duration

SCAN_CHUNK = 500
SHOWN_CHARS_MAX = 200
"""A value in a line is cut here: arguments may be large, and the log holds thousands of lines."""

NOT_NOTED = frozenset({"source", "origin", "said"})
"""Fields of an entry that say where a definition comes from, not what it does."""

ITS_END = "its end"
"""Who resumes an entry whose pause is over by itself."""


class Difference(msgspec.Struct, frozen=True, array_like=True):
    """A field of an entry that a change gave another value; both values as people read them, cut to `SHOWN_CHARS_MAX`."""

    field: str
    old: str
    new: str


class Note(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """
    A line of the audit log.

    Attributes:
        verb: ``add edit remove pause resume skip load trigger cancel …``: what was done.
        entry: The entry it concerns; empty where it concerns many, or none.
        by: Who did it: ``user@host``, or the name of a beat.
        reason: Why, in their words.
        what: What was done, where verb and entry do not say all.
        differences: Of an edit.
        counts: Of a change of many entries: what was done → to how many.
        group: What the lines of such a change have in common.
        at_ms: When, by Redis' clock; the script writes it.
        revision: The registry's after the change; 0 where it did not change. The script writes it.
    """

    verb: str
    entry: str = ""
    by: str = ""
    reason: str = ""
    what: str = ""
    differences: tuple[Difference, ...] = ()
    counts: dict[str, int] = {}
    group: str = ""
    at_ms: int = 0
    revision: int = 0


class Audit:
    """The audit log of a namespace."""

    def __init__(self, connection: Connection, keys: Keys) -> None:
        self._connection = connection
        self._keys = keys

    def notes(self, entry: str | None = None, *, n: int, since_ms: int = 0) -> list[Note]:
        """The newest *n* lines, newest first; those of *entry*, not older than *since_ms*."""
        found: list[Note] = []
        for note in self._newest_first():
            if len(found) >= n or note.at_ms < since_ms:
                break
            if entry is None or note.entry == entry:
                found.append(note)
        return found

    def redefined(self, entry: str, revision: int) -> Note | None:
        """
        The newest line that says that the definition of *entry* changed after *revision*; None if none does.

        A line without a verb stands for what can no longer be known: the log begins later than *revision*.
        """
        for note in self._newest_first():
            if 0 < note.revision <= revision:
                return None
            if note.entry == entry and note.verb in REDEFINING:
                return note
        return None if self._connection.call("LLEN", self._keys.audit) < AUDIT_MAX else Note(verb="", entry=entry)

    def _newest_first(self) -> Iterator[Note]:
        end = -1
        while True:
            chunk = self._connection.call("LRANGE", self._keys.audit, end - SCAN_CHUNK + 1, end)
            yield from (_decode(line) for line in reversed(chunk))
            if len(chunk) < SCAN_CHUNK:
                return
            end -= SCAN_CHUNK


AUDIT_MAX = 10_000
"""As `note.lua` has it."""

REDEFINING = frozenset({"add", "edit", "remove"})
"""What changes a definition; whoever edits one must have seen it."""


def encode_note(note: Note | None) -> bytes:
    """*note* as an argument of a script that notes it; empty for none."""
    return b"" if note is None else msgspec.json.encode(note)


def note_text(note: Note) -> str:
    """What was done, in a line: ``queue: default → mail``, ``load 7, 2 added, 1 removed``."""
    parts = [note.what] if note.what else []
    parts += [f"{difference.field}: {difference.old} → {difference.new}" for difference in note.differences]
    parts += [f"{count} {what}" for what, count in note.counts.items()]
    return ", ".join(parts)


def differences(old: Entry, new: Entry) -> tuple[Difference, ...]:
    """What *new* has otherwise than *old*, in the order of an entry's fields."""
    found: list[Difference] = []
    for field in Entry.__struct_fields__:
        was, is_ = getattr(old, field), getattr(new, field)
        if field in NOT_NOTED or was == is_:
            continue
        kind = _OF_PARTS.get(field)
        if kind is None:
            found.append(_difference(field, was, is_))
            continue
        was, is_ = was or kind(), is_ or kind()
        found += [
            _difference(part, getattr(was, part), getattr(is_, part))
            for part in kind.__struct_fields__
            if getattr(was, part) != getattr(is_, part)
        ]
    return tuple(found)


def _difference(field: str, was: Any, is_: Any) -> Difference:
    return Difference(_word(field), shown(field, was), shown(field, is_))


def shown(field: str, value: Any) -> str:
    """The value of an entry's *field* as people read it."""
    text = _shown(field, value)
    return text if len(text) <= SHOWN_CHARS_MAX else f"{text[: SHOWN_CHARS_MAX - 1]}…"


def _shown(field: str, value: Any) -> str:
    if value is None:
        return "none"
    if value is msgspec.UNSET:
        return "as its task says"
    if field == "ping_url":
        return redact_address(value) or "none"
    if field == "schedule":
        with suppress(ScheduleError):
            schedule = schedule_from_data(value)
            return schedule.text if schedule.zone in (None, "UTC") else f"{schedule.text} {schedule.zone}"
    if field in _MOMENTS:
        return iso(value) or ""
    if field.endswith("_ms"):
        return format_duration(value)
    if isinstance(value, msgspec.Raw):
        return bytes(value).decode(errors="replace")
    if isinstance(value, str):
        return str(value) or "none"
    if hasattr(value, "name") and hasattr(value, "value"):
        return str(value.name).lower()
    return msgspec.json.encode(value).decode()


def _word(field: str) -> str:
    """An entry's field as its author calls it."""
    return _WORDS.get(field, field.removesuffix("_ms"))


_OF_PARTS: dict[str, type[RunOptions] | type[Watch]] = {"run": RunOptions, "watch": Watch}
_MOMENTS = frozenset({"start_ms", "until_ms", "expires_at_ms"})
_WORDS = {
    "expires_after_ms": "expires",
    "expires_at_ms": "expires",
    "expires_next": "expires at the next due time",
    "pause_failures": "pause_after_failures",
}

_decode = msgspec.json.Decoder(Note).decode
