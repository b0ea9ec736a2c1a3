"""Messages found by what their headers say: for people who cancel many. Reads every message of the namespace, in slices."""

from __future__ import annotations

from collections.abc import Iterator
from fnmatch import fnmatchcase
from typing import NamedTuple

from scheduler.errors import UndecodableMessageError
from scheduler.store.connection import Connection
from scheduler.store.keys import Keys
from scheduler.wire import FLAG_FIRE, Header, decode_header

SLICE = 500


class Wanted(NamedTuple):
    """Which messages: each given text is a name or a glob; empty ones say nothing."""

    task: str = ""
    entry: str = ""
    queue: str = ""

    def fits(self, header: Header) -> bool:
        """Whether the message with *header* is among them."""
        pairs = ((self.task, header.task), (self.entry, header.entry), (self.queue, header.queue))
        return all(not pattern or fnmatchcase(name, pattern) for pattern, name in pairs)


def find(connection: Connection, keys: Keys, wanted: Wanted, *, now_ms: int) -> Iterator[tuple[str, Header]]:
    """
    The messages that are *wanted*, each once, in no order; they may have moved on when they come.

    Fires that are armed for a moment after *now_ms* are not among them: they are skipped or paused with their entries.
    """
    seen: set[str] = set()
    cursor = b"0"
    while True:
        cursor, pairs = connection.call("HSCAN", keys.messages, cursor, "COUNT", SLICE)
        for id_, body in zip(pairs[::2], pairs[1::2], strict=True):
            name = id_.decode()
            try:
                header = decode_header(body)[0]
            except UndecodableMessageError:
                continue
            is_to_come = header.flags & FLAG_FIRE and header.due_ms > now_ms
            if name not in seen and not is_to_come and wanted.fits(header):
                seen.add(name)
                yield name, header
        if cursor == b"0":
            return
