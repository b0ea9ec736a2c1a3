"""
The least that a worker can do, as a ceiling: `python -m benchmarks.raw_worker URL PREFIX QUEUE`.

One client and two scripts: lease a hundred messages; then decode each, call a function, encode what it returned, and acknowledge
all of them with their results. No attempts, expiry, history, slots, cancelling, limits; nobody notices if it dies.
"""

from __future__ import annotations

import sys
import time
from typing import Any

import msgspec
import redis

from scheduler.wire import HEADER

LEASE = """
local ids = redis.call('LPOP', KEYS[1], ARGV[1])
if not ids then return {} end
local bodies = redis.call('HMGET', KEYS[2], unpack(ids))
local held = {}
for i, id in ipairs(ids) do
    held[2 * i - 1], held[2 * i] = id, bodies[i]
end
redis.call('HSET', KEYS[3], unpack(held))
return held
"""
ACK = """
local ids = {}
for i = 2, #ARGV, 2 do
    ids[#ids + 1] = ARGV[i]
    redis.call('SET', KEYS[1] .. ARGV[i], ARGV[i + 1], 'PX', ARGV[1])
end
redis.call('HDEL', KEYS[3], unpack(ids))
redis.call('HDEL', KEYS[2], unpack(ids))
"""
BATCH = 100
TTL_MS = "86400000"


def noop() -> None:
    """The task."""


def main(url: str, prefix: str, queue: str) -> None:
    """Work until killed."""
    client = redis.Redis.from_url(url)
    connection: Any = client.connection_pool.get_connection()
    lease, ack = client.script_load(LEASE), client.script_load(ACK)
    ready, messages, held = f"{prefix}q:{queue}:ready", f"{prefix}messages", f"{prefix}raw"
    decode, encode = msgspec.json.decode, msgspec.json.encode

    def call(*command: Any) -> Any:
        connection.send_command(*command)
        return connection.read_response()

    while True:
        leased = call("EVALSHA", lease, 3, ready, messages, held, BATCH)
        done: list[bytes] = []
        for at in range(0, len(leased), 2):
            body = leased[at + 1]
            names = sum(HEADER.unpack_from(body)[-3:])
            payload = decode(memoryview(body)[HEADER.size + names :])
            value = noop(*payload.get("args", ()))  # type: ignore[func-returns-value]
            done += (leased[at], encode({"state": "SUCCESS", "result": value, "done_ms": time.time_ns() // 1_000_000}))
        if done:
            call("EVALSHA", ack, 3, f"{prefix}r:", messages, held, TTL_MS, *done)
        else:
            time.sleep(0.001)


if __name__ == "__main__":
    main(*sys.argv[1:4])
