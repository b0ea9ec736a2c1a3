"""
Where a task's time goes: `python -m benchmarks.bench_parts [BATCH …]`.

Each station that a no-op task passes is timed by itself, many times, and the fastest time counts: what it takes when nobody disturbs.
So these figures hold on a busy machine too, and small changes show. For Redis, its own `commandstats` say how long a script ran; what
it takes to read the call and to write the answer comes on top.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from benchmarks.common import Line, machine, server, show
from scheduler.config import Config
from scheduler.declare import task
from scheduler.model import Message, Outcome
from scheduler.store import Store, open_store
from scheduler.store.queues import NewMessage
from scheduler.store.sessions import WorkerInfo
from scheduler.wire import Header, Payload, decode_header, encode_body, new_id
from worker.execute import Executor
from worker.frames import Frames, Parcel, Report, encode
from worker.prefetch import Pace

BATCHES = (400, 20, 1)
ROUNDS = 300
QUEUE = "default"


@task(name="bench.noop")
def noop() -> None:
    """The task."""


def fastest_us(work: Callable[[], Any], each: int, *, rounds: int = ROUNDS) -> float:
    """The fastest of many runs of *work*, which does *each* of something, in µs for one."""
    best_s = float("inf")
    for _ in range(rounds):
        began_s = time.perf_counter()
        work()
        best_s = min(best_s, time.perf_counter() - began_s)
    return best_s * 1e6 / each


def worker_parts(batch: int) -> list[Line]:
    """What Python does for each of *batch* messages."""
    body = encode_body(Header(task="bench.noop", queue=QUEUE, enqueued_ms=int(time.time() * 1000)), Payload())
    messages = [Message(new_id(), bytes(bytearray(body))) for _ in range(batch)]
    offset_ms = time.time() * 1000 - time.monotonic() * 1000
    executor = Executor(
        {"bench.noop": noop}, Config(), worker="bench-1", server_ms=lambda: time.monotonic() * 1000 + offset_ms
    )
    outcomes = [became for message in messages if isinstance(became := executor.run(message), Outcome)]
    pace = Pace()
    pace.learn({"bench.noop": (batch, batch * 1e-5)})
    report, parcel = (
        Report(batch, 0, outcomes, [], [], {"bench.noop": (batch, 1e-3)}),
        Parcel(1, offset_ms, messages),
    )
    parcel_bytes, report_bytes = bytes(encode(parcel)), bytes(encode(report))
    parts: list[tuple[str, Callable[[], Any]]] = [
        ("execute: decode, call, encode", lambda: [executor.run(message) for message in messages]),
        ("  of which the header", lambda: [decode_header(message.body) for message in messages]),
        ("prefork: deal into parcels", lambda: (pace.deal(messages, 2), pace.is_quick(messages))),
        ("prefork: parcel, both ends", lambda: (encode(parcel), list(Frames(Parcel).feed(parcel_bytes)))),
        ("prefork: report, both ends", lambda: (encode(report), list(Frames(Report).feed(report_bytes)))),
    ]
    return [Line(f"worker, {name}", f"{fastest_us(work, batch):.2f} µs") for name, work in parts]


def redis_parts(store: Store, batch: int) -> list[Line]:
    """What Redis does in the scripts, for each of *batch* messages; and the whole round trip of each."""
    session = store.sessions.open(WorkerInfo(name="bench", queues=(QUEUE,)))
    body = encode_body(Header(task="bench.noop", queue=QUEUE), Payload())
    result = b'{"state":"SUCCESS","result":null,"done_ms":1795257071326}'
    run = b"x" * 200
    best: dict[str, tuple[float, float]] = {}
    for _ in range(ROUNDS if batch > 1 else 10 * ROUNDS):
        ids = [new_id() for _ in range(batch)]
        messages = [NewMessage(id_, body, QUEUE) for id_ in ids]
        outcomes = [Outcome(id_, result, 1_000, run, "", "SUCCESS") for id_ in ids]
        for name, call in (
            ("enqueue", partial(store.queues.enqueue, messages, call_id=ids[0])),
            ("take", partial(session.take, (QUEUE,), batch)),
            ("finish", partial(session.finish, outcomes)),
        ):
            before_us, began_s = script_us(store), time.perf_counter()
            call()
            took_us = (time.perf_counter() - began_s) * 1e6
            spent_us = script_us(store) - before_us
            known = best.get(name, (float("inf"), float("inf")))
            best[name] = min(known[0], spent_us), min(known[1], took_us)
    return [
        Line(
            f"redis, {name}", f"{spent_us / batch:.2f} µs", note=f"{took_us / batch:.2f} µs with the way there and back"
        )
        for name, (spent_us, took_us) in best.items()
    ]


def script_us(store: Store) -> int:
    """How long scripts have run so far, by Redis' own count."""
    stats = store.connection.call("INFO", "commandstats").decode()
    line = next((line for line in stats.splitlines() if line.startswith("cmdstat_evalsha:")), "usec=0,")
    return int(line.partition("usec=")[2].partition(",")[0])


def main(arguments: Sequence[str]) -> int:
    """Print the table for each size of batch."""
    print(f"where a no-op task's time goes, for each task, undisturbed · {machine()}")
    with server() as measured:
        print(measured.what)
        for batch in map(int, arguments or BATCHES):
            store = open_store(Config(redis_url=measured.url, namespace=f"parts{batch}"), role="bench")
            print(f"\n== batches of {batch}")
            show([*worker_parts(batch), *redis_parts(store, batch)])
            store.close()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
