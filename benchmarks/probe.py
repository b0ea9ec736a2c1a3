"""
Watches a ready list from outside, and deletes what arrives there, as if workers had finished it at once.

When a fire became ready is read off Redis' own clock by the call that finds it, so what is measured includes our own waking up:
the figures are upper bounds. The probe promotes nothing; a real worker does.
"""

from __future__ import annotations

import struct
import threading
from typing import Any, NamedTuple

import redis

from scheduler.store.keys import Keys
from scheduler.wire import HEADER

_DRAIN = """
local ids = redis.call('LRANGE', KEYS[1], 0, 499)
local t = redis.call('TIME')
local reply = { t[1] * 1000000 + t[2] }
if #ARGV > 0 then table.insert(ids, 1, ARGV[1]) end
if #ids == 0 then return reply end
redis.call('LTRIM', KEYS[1], 500, -1)
for i, body in ipairs(redis.call('HMGET', KEYS[2], unpack(ids))) do
    if body then reply[#reply + 1] = string.sub(body, 1, 124) end
end
redis.call('HDEL', KEYS[2], unpack(ids))
return reply
"""


class Seen(NamedTuple):
    """A fire that was found ready: its entry, its due time, and Redis' time when it was found; ms."""

    entry: str
    due_ms: float
    at_ms: float

    @property
    def late_ms(self) -> float:
        """How long after its due time."""
        return self.at_ms - self.due_ms


class Probe:
    """A context manager; `seen` grows meanwhile."""

    def __init__(self, url: str, namespace: str, queue: str = "default") -> None:
        keys = Keys(namespace)
        self.seen: list[Seen] = []
        self._client: Any = redis.Redis.from_url(url, protocol=2)
        self._keys = (keys.ready(queue), keys.messages)
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

    def _run(self) -> None:
        while not self._end.is_set():
            found = self._client.blpop(self._keys[0], timeout=0.5)
            args = [found[1]] if found else []
            while args:
                at_us, *heads = self._drain(keys=self._keys, args=args)
                self.seen += [_seen(head, at_us / 1000) for head in heads]
                args = [] if len(heads) < 100 else [b""]


def _seen(head: bytes, at_ms: float) -> Seen:
    fields = HEADER.unpack_from(head)
    size: int = fields[14]
    return Seen(head[HEADER.size : HEADER.size + size].decode(), fields[6], at_ms)


assert struct.calcsize(HEADER.format) == HEADER.size
