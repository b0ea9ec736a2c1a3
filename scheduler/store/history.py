"""What has run, for people: two bounded rings (the namespace's and each entry's own) and what is in flight."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from itertools import chain
from typing import NamedTuple

import msgspec

from scheduler.errors import StoreRefusedError, UndecodableMessageError
from scheduler.model import Run, State
from scheduler.store.connection import Connection
from scheduler.store.keys import Keys
from scheduler.wire import decode_header

RUNS_MAX = 10_000
ENTRY_RUNS_MIN = 20
"""An entry's ring with fewer runs than this, or than are kept of each, has all that there were."""
SCAN_CHUNK = 500
DISORDER_MS = 3_600_000
"""The rings are in the order in which ends were written; a worker that was cut off from Redis writes them later."""
ASKED_EARLY_MS = 86_400_000
"""A fire may be cancelled before its due time, but it is armed not so long before."""


class Choice(NamedTuple):
    """
    Which runs somebody wants to see; what is None does not matter.

    Attributes:
        outcome: Of their due times.
        since_ms: No older ones: a run stands at its due time, or where it has none, when it began. Of a stretch of due times that
            were skipped one is enough.
        until_ms: No run at this moment or later.
    """

    entry: str | None = None
    state: str | None = None
    outcome: str | None = None
    task: str | None = None
    since_ms: int | None = None
    until_ms: int | None = None
    backfill: str | None = None

    def fits(self, run: Run) -> bool:
        """Whether *run* is one of them."""
        when_ms = run.when_ms
        return (
            (self.entry is None or run.entry == self.entry)
            and (self.state is None or run.state == self.state)
            and (self.outcome is None or run.outcome == self.outcome)
            and (self.task is None or run.task == self.task)
            and (self.since_ms is None or max(when_ms, run.to_ms) >= self.since_ms)
            and (self.until_ms is None or when_ms < self.until_ms)
            and (self.backfill is None or run.backfill == self.backfill)
        )


class Found(NamedTuple):
    """
    What the history knows of one due time.

    Attributes:
        run: The run that it became, in flight or ended, or the stretch in which it was skipped.
        later: Runs that repeated it or ran it again, oldest first.
        known_since_ms: What happened to the entry before that is no longer in the history; 0: it has all.
    """

    run: Run | None
    later: tuple[Run, ...]
    known_since_ms: int


class History:
    """The runs of a namespace."""

    def __init__(self, connection: Connection, keys: Keys) -> None:
        self._connection = connection
        self._keys = keys

    def keep(self, n: int) -> None:
        """Keep the last *n* runs of each entry from now on: about 300 bytes each. A Redis that is full keeps what it kept."""
        known = self._connection.call("HGET", self._keys.meta, "history")
        if known != b"%d" % n:
            with suppress(StoreRefusedError):
                self._connection.call("HSET", self._keys.meta, "history", n)

    def kept(self) -> int:
        """How many runs of each entry are kept."""
        return int(self._connection.call("HGET", self._keys.meta, "history") or ENTRY_RUNS_MIN)

    def runs(self, entry: str | None = None, n: int = 50, state: str | None = None) -> list[Run]:
        """The newest *n* runs, those in flight first; of *entry*, in *state*."""
        return self.chosen(Choice(entry=entry, state=state), n)

    def chosen(self, choice: Choice, n: int) -> list[Run]:
        """
        The newest *n* runs that *choice* wants, those in flight first.

        The ring of one entry keeps its last 20 (the `history` setting), that of the namespace the last 10,000; a long search goes
        through both.
        """
        found = [run for run in self.in_flight() if choice.fits(run)]
        for run in self.ended(choice.entry):
            if len(found) >= n or (choice.since_ms is not None and 0 < run.finished_ms < choice.since_ms - DISORDER_MS):
                break  # what ended before that moment stands before it, and so does all that ended earlier
            if choice.fits(run):
                found.append(run)
        return found[:n]

    def ended(self, entry: str | None = None) -> Iterator[Run]:
        """What has ended or was skipped, the newest end first, as far back as the rings go; of *entry*, or (None) of all."""
        before_ms: int | None = None
        known: set[str] = set()
        if entry is not None:
            own = [
                _decode(data) for data in reversed(self._connection.call("LRANGE", self._keys.entry_runs(entry), 0, -1))
            ]
            yield from own
            if len(own) < min(ENTRY_RUNS_MIN, self.kept()):
                return
            before_ms, known = own[-1].finished_ms, {run.id for run in own}
        end = -1
        while True:
            chunk = self._connection.call("LRANGE", self._keys.runs, end - SCAN_CHUNK + 1, end)
            for run in map(_decode, reversed(chunk)):
                if entry is None or (run.entry == entry and (before_ms is None or _is_older(run, before_ms, known))):
                    yield run
            if len(chunk) < SCAN_CHUNK:
                return
            end -= SCAN_CHUNK

    def of_due(self, entry: str, due_ms: int) -> Found:
        """What the history knows of the due time *due_ms* of *entry*."""
        run: Run | None = None
        later = []
        for each in chain((each for each in self.in_flight() if each.entry == entry), self.ended(entry)):
            if 0 < each.finished_ms < due_ms - ASKED_EARLY_MS:
                break
            if not each.due_ms <= due_ms <= max(each.due_ms, each.to_ms):
                continue
            if not each.of_schedule:
                later.append(each)
            elif run is None:
                run = each
        return Found(run, tuple(reversed(later)), self._known_since_ms(entry))

    def _known_since_ms(self, entry: str) -> int:
        """Since when everything that happened to *entry* is in the history; 0: since ever."""
        own, common = self._keys.entry_runs(entry), self._keys.runs
        own_n, common_n, own_oldest, common_oldest = self._connection.pipeline(
            [("LLEN", own), ("LLEN", common), ("LINDEX", own, 0), ("LINDEX", common, 0)]
        )
        if own_n < min(ENTRY_RUNS_MIN, self.kept()) or common_n < RUNS_MAX:
            return 0
        return min(_decode(own_oldest).finished_ms, _decode(common_oldest).finished_ms)

    def run(self, id_: str) -> Run | None:
        """The run with this id, in flight or among the last 10,000."""
        for run in self.in_flight():
            if run.id == id_:
                return run
        needle = f'"id":"{id_}"'.encode()
        end = -1
        while True:
            chunk = self._connection.call("LRANGE", self._keys.runs, end - SCAN_CHUNK + 1, end)
            for data in reversed(chunk):
                if needle in data:
                    run = _decode(data)
                    if run.id == id_:
                        return run
            if len(chunk) < SCAN_CHUNK:
                return None
            end -= SCAN_CHUNK

    def in_flight(self) -> list[Run]:
        """What workers hold at this moment."""
        sessions = [session.decode() for session in self._connection.call("HKEYS", self._keys.sessions)]
        commands: list[tuple[str, ...]] = []
        for session in sessions:
            commands += [("HGET", self._keys.session_info(session), "info"), ("HGETALL", self._keys.held(session))]
        replies = self._connection.pipeline(commands)
        runs = []
        for i in range(len(sessions)):
            info, held = replies[2 * i], replies[2 * i + 1]
            ids = held[::2]
            if not ids:
                continue
            worker = str(msgspec.json.decode(info).get("name", "")) if info else ""
            bodies = self._connection.call("HMGET", self._keys.messages, *ids)
            for id_, place, body in zip(ids, held[1::2], bodies, strict=True):
                if body is None:
                    continue
                try:
                    header, _ = decode_header(body)
                except UndecodableMessageError:
                    continue
                runs.append(
                    Run(
                        id=id_.decode(),
                        entry=header.entry,
                        task=header.task,
                        queue=header.queue,
                        state=State.STARTED,
                        outcome="promoted" if header.of_schedule else "",
                        due_ms=header.due_ms,
                        enqueued_ms=header.enqueued_ms,
                        started_ms=int(place.decode().partition(" ")[2] or 0),
                        worker=worker,
                        retry_of=header.retry_of,
                        backfill=header.backfill,
                        by=header.by,
                        reason=header.reason,
                    )
                )
        return runs


def _is_older(run: Run, before_ms: int, known: set[str]) -> bool:
    """Whether *run* lies before what is *known* of an entry: many end in one millisecond."""
    return run.finished_ms < before_ms or (run.finished_ms == before_ms and bool(run.state) and run.id not in known)


def _decode(data: bytes) -> Run:
    """A run from its bytes; where a message that is not ours has left bytes that are not text, without these."""
    try:
        return _decode_run(data)
    except (msgspec.DecodeError, UnicodeDecodeError):
        try:
            return _decode_run(data.decode(errors="replace"))
        except msgspec.DecodeError:
            return Run(error=f"{len(data)} bytes that are not a run of ours")


_decode_run = msgspec.json.Decoder(Run).decode
