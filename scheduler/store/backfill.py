"""Backfills: runs for due times that are past, asked for by hand; written at once, and started one after another by their moments."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from scheduler.model import Overlap, Run, State
from scheduler.store.connection import Argument, Connection
from scheduler.store.keys import Keys
from scheduler.store.queues import CALL_REMEMBERED_MS
from scheduler.wire import decode_header, new_id

if TYPE_CHECKING:
    from scheduler.seal import Seal
    from scheduler.store.audit import Note

BATCH_MAX = 500
KEPT_MS = 30 * 86_400_000
"""How long after its last moment a backfill is known."""
BACKFILLS_MAX = 1_000
LOOK_BATCH = 1_000


class Backfill(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """
    One backfill, as it was asked for.

    Attributes:
        from_ms, to_ms: Due times in [from, to).
        count: How many of these there are.
        rate_s: How many runs start in a second.
        starts_ms, ends_ms: The moments of the first and of the last run.
    """

    id: str
    entry: str
    queue: str
    from_ms: int
    to_ms: int
    count: int
    overlap: Overlap
    rate_s: float
    asked_ms: int
    starts_ms: int
    ends_ms: int
    by: str = ""
    reason: str = ""


class BackfillRun(NamedTuple):
    """A run of a backfill, ready to be put on its queue."""

    id: str
    body: bytes
    due_ms: int
    at_ms: int


class Progress(NamedTuple):
    """A backfill, how many of its due times it has a run for, and how many of these have not ended."""

    backfill: Backfill
    runs: int
    left: int


class Backfills:
    """The backfills of a namespace."""

    def __init__(self, connection: Connection, keys: Keys, seal: Seal | None = None) -> None:
        self._connection = connection
        self._keys = keys
        self._seal = seal

    def start(self, backfill: Backfill, runs: Sequence[BackfillRun], *, note: Note | None = None) -> int:
        """
        Put *runs* on their queue, in batches; how many were started.

        A run of the same due time that has not ended is left alone. Whoever is interrupted may ask again: what is there already is not
        doubled.
        """
        if self._seal is not None:
            runs = [run._replace(body=self._seal.sign_message(run.id, run.body)) for run in runs]
        keys = self._keys
        all_keys = (keys.backfills, keys.backfill(backfill.id), keys.backfill_runs(backfill.id))
        known = msgspec.json.encode(backfill)
        started = 0
        for first in range(0, len(runs), BATCH_MAX):
            line = b"" if note is None or started else msgspec.json.encode(note)
            args: list[Argument] = [
                CALL_REMEMBERED_MS, backfill.id, known, backfill.ends_ms + KEPT_MS, BACKFILLS_MAX, line, backfill.queue,
            ]  # fmt: skip
            for run in runs[first : first + BATCH_MAX]:
                args += run
            reply = self._connection.run("backfill", (*keys.core, keys.call(new_id()), *all_keys), args)
            started += reply.count(b"1")
        return started

    def all(self) -> list[Progress]:
        """Every backfill that is known, the newest first."""
        ids = [id_.decode() for id_ in self._connection.call("ZRANGE", self._keys.backfills, 0, -1)]
        found = [progress for id_ in ids if (progress := self.get(id_)) is not None]
        return sorted(found, key=lambda progress: progress.backfill.asked_ms, reverse=True)

    def get(self, id_: str) -> Progress | None:
        """The backfill *id_*, None if it is not known (any more)."""
        known = self._connection.call("GET", self._keys.backfill(id_))
        if known is None:
            return None
        ids = self._ids(id_)
        return Progress(_decode(known), len(ids), len(self._living(ids)))

    def living(self, id_: str) -> list[str]:
        """The runs of backfill *id_* that have not ended, the earliest due time first."""
        return self._living(self._ids(id_))

    def waiting(self, id_: str) -> list[Run]:
        """Its runs that have not ended, as their messages tell them, the latest due time first. Workers may hold some of them."""
        ids = self._ids(id_)
        runs = []
        for first in range(0, len(ids), LOOK_BATCH):
            some = ids[first : first + LOOK_BATCH]
            bodies = self._connection.call("HMGET", self._keys.messages, *some)
            for run, body in zip(some, bodies, strict=True):
                header = None if body is None else decode_header(body)[0]
                if header is not None and header.backfill == id_:
                    runs.append(
                        Run(
                            id=run,
                            entry=header.entry,
                            task=header.task,
                            queue=header.queue,
                            state=State.PENDING,
                            due_ms=header.due_ms,
                            enqueued_ms=header.enqueued_ms,
                            backfill=id_,
                            by=header.by,
                            reason=header.reason,
                        )
                    )
        return runs[::-1]

    def _ids(self, id_: str) -> list[str]:
        return [run.decode() for run in self._connection.call("ZRANGE", self._keys.backfill_runs(id_), 0, -1)]

    def _living(self, ids: Sequence[str]) -> list[str]:
        living = []
        for first in range(0, len(ids), LOOK_BATCH):
            some = ids[first : first + LOOK_BATCH]
            bodies = self._connection.pipeline([("HEXISTS", self._keys.messages, id_) for id_ in some])
            living += [id_ for id_, is_there in zip(some, bodies, strict=True) if is_there]
        return living


_decode = msgspec.json.Decoder(Backfill).decode
