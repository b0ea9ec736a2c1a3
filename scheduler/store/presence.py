"""Which beats live: for people, and for the rule that a beat with older timezone data does not stand. No lease hangs on it."""

from __future__ import annotations

import msgspec

from scheduler.store.connection import Connection
from scheduler.store.keys import Keys

LIVE_MS = 10_000
FORGOTTEN_MS = 60_000


class BeatInfo(msgspec.Struct, frozen=True, kw_only=True):
    """
    What a beat says of itself, once a second.

    Attributes:
        load: The number of its newest load; 0 as long as it has published none.
        files: Of what its files said then, a digest: two beats that differ in it have different files.
        entries: How many entries they declared.
        overdue: Entries whose tables are half used up and could not be asked for again, some of them.
    """

    id: str
    name: str
    host: str
    pid: int
    version: str
    tzdata: str
    role: str
    load: int
    files: str = ""
    entries: int = 0
    overdue: tuple[str, ...] = ()
    seen_ms: int = 0


class Presence:
    """The beats of a namespace."""

    def __init__(self, connection: Connection, keys: Keys) -> None:
        self._connection = connection
        self._keys = keys

    def show(self, info: BeatInfo) -> None:
        """Say that this beat lives."""
        seconds, micros = self._connection.call("TIME")
        now_ms = int(seconds) * 1000 + int(micros) // 1000
        data = msgspec.json.encode(msgspec.structs.replace(info, seen_ms=now_ms))
        self._connection.run("show", (self._keys.beats,), (info.id, data))

    def leave(self, id_: str) -> None:
        """Say that this beat has gone."""
        self._connection.call("HDEL", self._keys.beats, id_, timeout_s=1.0)

    def beats(self) -> list[BeatInfo]:
        """The beats seen within the last ten seconds of Redis' clock; those not seen for a minute are forgotten on the way."""
        time_, found = self._connection.pipeline([("TIME",), ("HGETALL", self._keys.beats)])
        now_ms = int(time_[0]) * 1000 + int(time_[1]) // 1000
        infos = [_decode(data) for data in found[1::2]]
        gone = [info.id for info in infos if abs(now_ms - info.seen_ms) > FORGOTTEN_MS]
        if gone:
            self._connection.call("HDEL", self._keys.beats, *gone)
        return sorted((info for info in infos if abs(now_ms - info.seen_ms) <= LIVE_MS), key=lambda info: info.name)


_decode = msgspec.json.Decoder(BeatInfo).decode
