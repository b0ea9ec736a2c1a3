"""
Dead letters: messages that were given up, kept for people with their story.

A message dies when its task rejects it, when it cannot be read, or when `max_deliveries` workers (or children) have died with
it. Its run has ended then, as FAILURE; what is kept here are its bytes, to be looked at and put back, and what is known of its death.
The newest 10,000 are kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import msgspec

from scheduler.model import Run
from scheduler.store.connection import Connection
from scheduler.store.keys import Keys
from scheduler.wire import new_id

if TYPE_CHECKING:
    from scheduler.store.audit import Note

LETTERS_MAX = 10_000
SCAN_CHUNK = 500
FORGET_CHUNK = 500


class Loss(msgspec.Struct, frozen=True, omit_defaults=True):
    """That a worker, or its child, died with a message: when, whose, and how."""

    at_ms: int
    worker: str = ""
    how: str = ""


class Death(msgspec.Struct, frozen=True):
    """
    A dead letter, without its bytes.

    Attributes:
        id: The message's, which is its run's.
        run: Its run as the history has it: what died, why, when, by which worker.
        traceback: Where it was rejected, or None.
        losses: Who died with it in its last attempt, the first one first.
    """

    id: str
    died_ms: int
    run: Run
    traceback: str | None = None
    losses: tuple[Loss, ...] = ()


class DeadLetters:
    """The dead letters of a namespace."""

    def __init__(self, connection: Connection, keys: Keys) -> None:
        self._connection = connection
        self._keys = keys

    def newest(self, *, since_ms: int = 0, until_ms: int | None = None) -> Iterator[Death]:
        """The dead letters that died from *since_ms* on and before *until_ms*, the newest first."""
        keys, at = self._keys, 0
        newest = "+inf" if until_ms is None else f"({until_ms}"
        while True:
            found = self._connection.call(
                "ZRANGE", keys.dead, newest, since_ms, "BYSCORE", "REV", "LIMIT", at, SCAN_CHUNK, "WITHSCORES"
            )
            ids = found[::2]
            if ids:
                stories = self._connection.call("HMGET", keys.dead_stories, *ids)
                for id_, score, story in zip(ids, found[1::2], stories, strict=True):
                    yield _death(id_.decode(), int(float(score)), story)
            if len(ids) < SCAN_CHUNK:
                return
            at += SCAN_CHUNK

    def get(self, id_: str) -> tuple[Death, bytes] | None:
        """One dead letter with its bytes; None if there is none of that id."""
        keys = self._keys
        score, body, story = self._connection.pipeline(
            [("ZSCORE", keys.dead, id_), ("HGET", keys.dead_messages, id_), ("HGET", keys.dead_stories, id_)]
        )
        return None if score is None else (_death(id_, int(float(score)), story), body or b"")

    def count(self) -> int:
        """How many there are."""
        return int(self._connection.call("ZCARD", self._keys.dead))

    def forget(self, ids: Iterable[str], *, note: Note | None = None) -> int:
        """
        Keep these no longer; how many of them there were.

        Args:
            note: The line in the audit log; how many is added there.
        """
        if note is not None:
            note = msgspec.structs.replace(note, group=new_id())
        line = b"" if note is None else msgspec.json.encode(note)
        all_ids, gone = list(ids), 0
        for at in range(0, len(all_ids), FORGET_CHUNK):
            gone += self._connection.run("forget", self._keys.core, (line, *all_ids[at : at + FORGET_CHUNK]))
        return gone


class _Story(msgspec.Struct):
    run: Run
    traceback: str | None = None
    losses: tuple[Loss, ...] = ()


def _death(id_: str, died_ms: int, data: bytes | None) -> Death:
    """A dead letter from what is kept; of one that an earlier version buried, that is little."""
    if data is None:
        return Death(id_, died_ms, Run(id=id_, state="FAILURE", finished_ms=died_ms))
    try:
        story = _decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError):
        try:
            # Names in a message that is not ours need not be text.
            story = _decode(data.decode(errors="replace"))
        except msgspec.DecodeError:
            error = f"its story cannot be read ({len(data)} bytes)"
            return Death(id_, died_ms, Run(id=id_, state="FAILURE", finished_ms=died_ms, error=error))
    return Death(id_, died_ms, story.run, story.traceback, story.losses)


_decode = msgspec.json.Decoder(_Story).decode
