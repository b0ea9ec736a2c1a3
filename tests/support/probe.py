"""
Watches a ready list from outside, and deletes what arrives there, slot and all, as if workers had finished it at once.

When fires became ready is read off Redis' own clock, together with the length of the list, again and again while it grows; what they
are is read when it has come to rest, so that the probe costs a burst next to nothing. Its own waking up is part of the figures:
they are upper bounds. It promotes nothing; a real worker does.
"""

from __future__ import annotations

import struct
import threading
from collections import Counter
from collections.abc import Mapping
from typing import Any, NamedTuple

import redis

from scheduler.store.keys import Keys
from scheduler.wire import HEADER

_DRAIN = """
-- Deletes the messages ARGV, which were seen, and reads what is ready now.
local entries = {}
if #ARGV > 0 then
    for i, body in ipairs(redis.call('HMGET', KEYS[2], unpack(ARGV))) do
        redis.call('LREM', KEYS[1], 1, ARGV[i])
        if body then entries[#entries + 1] = string.sub(body, 61, 60 + struct.unpack('<I2', body, 55)) end
    end
    redis.call('HDEL', KEYS[2], unpack(ARGV))
    if #entries > 0 then redis.call('HDEL', KEYS[3], unpack(entries)) end
end
local t = redis.call('TIME')
local reply = { t[1] * 1000000 + t[2] }
local ids = redis.call('LRANGE', KEYS[1], 0, 499)
if #ids == 0 then return reply end
for i, body in ipairs(redis.call('HMGET', KEYS[2], unpack(ids))) do
    reply[#reply + 1] = ids[i]
    reply[#reply + 1] = body and string.sub(body, 1, 60 + struct.unpack('<I2', body, 55)) or ''
end
return reply
"""


REST_US = 3_000
"""The list is at rest when it has not grown for so long."""


class Seen(NamedTuple):
    """A fire that was found ready: its entry, its due time, and Redis' time when it was found; ms."""

    entry: str
    due_ms: float
    at_ms: float

    @property
    def late_ms(self) -> float:
        """How long after its due time."""
        return self.at_ms - self.due_ms


class Account(NamedTuple):
    """What became of the due times of a stretch: (entry, due time) that never came, that came twice, and the worst lateness."""

    lost: list[tuple[str, int]]
    twice: list[tuple[str, int]]
    late_ms_max: float
    fires: int


class Probe:
    """A context manager; `seen` grows meanwhile."""

    def __init__(self, url: str, namespace: str, queue: str = "default") -> None:
        keys = Keys(namespace)
        self.seen: list[Seen] = []
        self._client: Any = redis.Redis.from_url(url, protocol=2)
        self._keys = (keys.ready(queue), keys.messages, keys.slots)
        self._wake = keys.wake(queue)
        self._drain = self._client.register_script(_DRAIN)
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Probe:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()
        self._client.close()

    def between(self, from_ms: float, to_ms: float) -> list[Seen]:
        """What was due in that stretch."""
        return [seen for seen in self.seen if from_ms <= seen.due_ms < to_ms]

    def account(self, periods_ms: Mapping[str, int], from_ms: int, to_ms: int) -> Account:
        """Every due time in ``[from_ms, to_ms)`` of entries that fire at each multiple of their period."""
        count = Counter((seen.entry, int(seen.due_ms)) for seen in list(self.seen))
        wanted = [
            (entry, due_ms)
            for entry, period_ms in periods_ms.items()
            for due_ms in range(-(-from_ms // period_ms) * period_ms, to_ms, period_ms)
        ]
        seen = self.between(from_ms, to_ms)
        return Account(
            lost=[fire for fire in wanted if not count[fire]],
            twice=[fire for fire, n in count.items() if n > 1],
            late_ms_max=max((one.late_ms for one in seen), default=0.0),
            fires=len(seen),
        )

    def _run(self) -> None:
        unconfirmed: dict[bytes, None] = {}
        moments: list[tuple[int, int]] = []
        while not self._end.is_set():
            try:
                if not unconfirmed:
                    moments = self._watch()
                at_us, *found = self._drain(keys=self._keys, args=list(unconfirmed))
            except redis.RedisError:
                # It may have been carried out or not: what is still there is asked for again, and not counted again.
                self._end.wait(0.02)
                continue
            # What was confirmed is deleted; if it is there again, it was fired again.
            moments = self._take(found, moments, at_us)
            unconfirmed = dict.fromkeys(found[::2])

    def _watch(self) -> list[tuple[int, int]]:
        """Wait for something, then until nothing more comes: how long the list was, and when first, in µs."""
        self._client.blpop(self._wake, timeout=0.5)
        moments: list[tuple[int, int]] = []
        while True:
            (seconds, micros), length = self._client.pipeline(transaction=False).time().llen(self._keys[0]).execute()
            now_us = seconds * 1_000_000 + micros
            if length and (not moments or length > moments[-1][0]):
                moments.append((length, now_us))
            elif not moments or now_us - moments[-1][1] > REST_US:
                return moments

    def _take(self, found: list[bytes], moments: list[tuple[int, int]], at_us: int) -> list[tuple[int, int]]:
        """Note *found*, each at the moment when the list had grown so long; the moments of those behind them."""
        heads = found[1::2]
        for place, head in enumerate(heads, start=1):
            came_us = next((came_us for length, came_us in moments if length >= place), at_us)
            if head:
                self.seen.append(_seen(head, came_us / 1000))
        return [(length - len(heads), came_us) for length, came_us in moments if length > len(heads)]


def _seen(head: bytes, at_ms: float) -> Seen:
    fields = HEADER.unpack_from(head)
    size: int = fields[14]
    return Seen(head[HEADER.size : HEADER.size + size].decode(), fields[6], at_ms)


assert struct.calcsize(HEADER.format) == HEADER.size
