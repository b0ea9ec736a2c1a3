"""What has run, for people: two bounded rings (the namespace's and each entry's own) and what is in flight."""

from __future__ import annotations

import msgspec

from scheduler.errors import UndecodableMessageError
from scheduler.model import Run, State
from scheduler.store.connection import Connection
from scheduler.store.keys import Keys
from scheduler.wire import decode_header

RUNS_MAX = 10_000
ENTRY_RUNS_MAX = 20
SCAN_CHUNK = 500


class History:
    """The runs of a namespace."""

    def __init__(self, connection: Connection, keys: Keys) -> None:
        self._connection = connection
        self._keys = keys

    def runs(self, entry: str | None = None, n: int = 50, state: str | None = None) -> list[Run]:
        """
        The newest *n* runs, those in flight first; of *entry*, in *state*.

        The ring of one entry keeps its last 20, that of the namespace the last 10,000; a long search goes through both.
        """
        chosen = [run for run in self.in_flight() if _matches(run, entry, state)]
        before_ms: int | None = None
        known: set[str] = set()
        if entry is not None:
            own = [
                _decode(data) for data in reversed(self._connection.call("LRANGE", self._keys.entry_runs(entry), 0, -1))
            ]
            chosen += [run for run in own if _matches(run, entry, state)]
            if len(own) < ENTRY_RUNS_MAX:
                return chosen[:n]
            before_ms, known = own[-1].finished_ms, {run.id for run in own}
        end = -1
        while len(chosen) < n:
            chunk = self._connection.call("LRANGE", self._keys.runs, end - SCAN_CHUNK + 1, end)
            runs = (_decode(data) for data in reversed(chunk))
            chosen += [
                run
                for run in runs
                if _matches(run, entry, state) and (before_ms is None or _is_older(run, before_ms, known))
            ]
            if len(chunk) < SCAN_CHUNK:
                break
            end -= SCAN_CHUNK
        return chosen[:n]

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
                        outcome="promoted" if header.due_ms and not header.retry_of else "",
                        due_ms=header.due_ms,
                        enqueued_ms=header.enqueued_ms,
                        started_ms=int(place.decode().partition(" ")[2] or 0),
                        worker=worker,
                        retry_of=header.retry_of,
                    )
                )
        return runs


def _is_older(run: Run, before_ms: int, known: set[str]) -> bool:
    """Whether *run* lies before what is *known* of an entry: many end in one millisecond."""
    return run.finished_ms < before_ms or (run.finished_ms == before_ms and bool(run.state) and run.id not in known)


def _matches(run: Run, entry: str | None, state: str | None) -> bool:
    return (entry is None or run.entry == entry) and (state is None or run.state == state)


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
