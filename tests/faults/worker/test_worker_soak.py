"""
A long flow of short tasks leaves nothing behind: memory of workers and of Redis, keys and file descriptors stay flat, and each task
has run exactly once.

Two workers (`prefork` with two children, and `solo`) empty a queue that is filled all the while, some ten thousand messages ahead.
Each task counts itself in a file of one byte for each, which all processes have mapped. Results are kept for a second, so that what
Redis holds is the flow and not the past.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import msgspec
import pytest

from scheduler.store.connection import Connection
from scheduler.store.queues import NewMessage
from scheduler.wire import FLAG_IGNORE_RESULT, Header, Payload, encode_header, encode_payload, new_id
from tests.integration.worker.lab import Lab, family
from tests.support.processes import Process
from tests.support.wait import wait_until

TASK = """
    import mmap

    counts = None

    @task
    def count(n):
        global counts
        if counts is None:
            with open(PATH, "r+b") as file:
                counts = mmap.mmap(file.fileno(), 0)
        counts[n] += 1
"""
BATCH = 1_000
AHEAD = 20_000
"""So many messages wait at most."""
WARM_PART = 0.25
"""The beginning of the flow, in which caches fill, is not looked at."""

MB = 1 << 20


class Limit(NamedTuple):
    """How much something may grow from the warm beginning to the end: *part* of where it began, or *least*, if that is more."""

    part: float
    least: float


LIMITS = {
    "memory": Limit(0.05, 3 * MB),
    "descriptors": Limit(0.0, 2),
}
KEPT_S_MAX = 5.0
"""Redis has the results of a second, forgets them by chance, and so has never more than of so many seconds of the fastest flow."""
LEFT_KEYS_MAX = 200
"""When all is over: histories, queues, sessions. The ids of calls, one for each thousand messages, are remembered for a minute."""
LEFT_BYTES_MAX = 16 * MB
"""… and what they take, the last ten thousand runs included, beyond an empty server."""


class Samples:
    """
    What processes and Redis have, looked at again and again.

    Attributes:
        keys_max: The most keys that Redis ever had.
    """

    def __init__(self, connection: Connection, pids: dict[str, int]) -> None:
        self._connection = connection
        self._pids = pids
        self._began = time.monotonic()
        self._found: dict[tuple[str, str], list[tuple[float, float]]] = {}
        self.keys_max = 0

    def take(self) -> None:
        """Look."""
        now = time.monotonic() - self._began
        for name, pid in self._pids.items():
            self._note(name, "memory", now, anonymous_bytes(pid))
            self._note(name, "descriptors", now, len(os.listdir(f"/proc/{pid}/fd")))
        self.keys_max = max(self.keys_max, self._connection.call("DBSIZE"))

    def forget(self) -> None:
        """The flow is warm: what was seen before does not count."""
        self._found.clear()

    def story(self) -> Iterator[tuple[str, list[float], float, bool]]:
        """Of each figure: its name, its mean in each quarter, by how much it has grown (regression), and whether that is too much."""
        for (who, what), points in sorted(self._found.items()):
            values = [value for _, value in points]
            cuts = [len(values) * i // 4 for i in range(5)]
            quarters = [sum(values[a:b]) / (b - a) for a, b in pairwise(cuts) if b > a]
            growth, limit = growth_of(points), LIMITS[what]
            yield f"{what} of {who}", quarters, growth, growth > max(limit.least, limit.part * quarters[0])

    def _note(self, who: str, what: str, at_s: float, value: float) -> None:
        self._found.setdefault((who, what), []).append((at_s, value))


def growth_of(points: list[tuple[float, float]]) -> float:
    """By how much a line through *points* (moment, value) rises from the first to the last."""
    n = len(points)
    mean_at, mean = sum(at for at, _ in points) / n, sum(value for _, value in points) / n
    spread = sum((at - mean_at) ** 2 for at, _ in points)
    slope = sum((at - mean_at) * (value - mean) for at, value in points) / spread if spread else 0.0
    return slope * (points[-1][0] - points[0][0])


def used_bytes(connection: Connection) -> int:
    """The memory that Redis uses."""
    info = connection.call("INFO", "memory").decode()
    return int(next(line for line in info.splitlines() if line.startswith("used_memory:")).partition(":")[2])


def anonymous_bytes(pid: int) -> int:
    """The memory that a process has for itself, without files that it has mapped."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    return int(next(line for line in lines if line.startswith("RssAnon:")).split()[1]) * 1024


def soak(lab: Lab, *, tasks: int, every_s: float, flags: int = 0) -> None:
    """Let *tasks* flow, as messages with *flags*, and look every *every_s* seconds."""
    connection = lab.store.connection
    connection.call("CONFIG", "SET", "appendonly", "no")  # or the disk would be part of it
    path = Path(lab.path("counts"))
    with path.open("wb") as file:
        file.truncate(tasks)
    lab.write(TASK.replace("PATH", repr(str(path))))
    pids: dict[str, int] = {}
    for name, count, *options in (("prefork", 4, "-c", "2"), ("solo", 1, "--pool", "solo", "-c", "1")):
        # They tell nothing: a line for each run would be kept here.
        worker = Process("worker", *options, config=lab.config, cwd=lab.folder, tell=False, log_path=lab.folder / name)
        lab.processes.append(worker)
        wait_until(lambda pid=worker.pid, count=count: len(family(pid)) == count, timeout_s=30)  # type: ignore[misc]
        pids |= {f"{name} {i}": pid for i, pid in enumerate(family(worker.pid))}
    wait_until(lambda: len(lab.store.sessions.workers()) == 2, timeout_s=30)
    samples = Samples(connection, pids)
    ready = lab.store.keys.ready("default")
    head = encode_header(Header(task="t.count", queue="default", flags=flags, result_ttl_s=1))
    empty_bytes = used_bytes(connection)
    looked = began = time.monotonic()
    is_warm, looked_at, fastest_per_s = False, 0, 0.0
    for at in range(0, tasks, BATCH):
        batch = [
            NewMessage(new_id(), head + encode_payload(Payload(args=msgspec.Raw(b"[%d]" % n))), "default")
            for n in range(at, min(at + BATCH, tasks))
        ]
        lab.store.queues.enqueue(batch, call_id=batch[0].id)
        while connection.call("LLEN", ready) > AHEAD:
            time.sleep(0.005)
        if not is_warm and at >= WARM_PART * tasks:
            is_warm = True
            samples.forget()
        if time.monotonic() - looked >= every_s:
            now = time.monotonic()
            fastest_per_s = max(fastest_per_s, (at - looked_at) / (now - looked))
            looked, looked_at = now, at
            samples.take()
    samples.take()
    wait_until(lab.is_empty, timeout_s=60)
    per_s = tasks / (time.monotonic() - began)
    fastest_per_s = max(fastest_per_s, per_s)
    figures = list(samples.story())
    print(f"\n{tasks:,} tasks, {per_s:,.0f} a second, {fastest_per_s:,.0f} at best; at most {samples.keys_max:,} keys")
    for name, quarters, growth, _ in figures:
        print(f"  {name:28} {' '.join(f'{value:12,.0f}' for value in quarters)}   grew by {growth:12,.0f}")
    counts = path.read_bytes()
    assert counts.count(1) == tasks, f"{counts.count(0)} have not run, the others more than once"
    assert [name for name, _, _, is_much in figures if is_much] == []
    assert samples.keys_max <= KEPT_S_MAX * fastest_per_s + LEFT_KEYS_MAX
    assert not any(worker.held for worker in lab.store.sessions.workers())
    assert not connection.call("EXISTS", lab.store.keys.tries, lab.store.keys.slots, lab.store.keys.waiting)
    wait_until(
        lambda: not connection.call("KEYS", f"{lab.store.keys.prefix}r:*"), timeout_s=30, what="results are forgotten"
    )
    calls = len(connection.call("KEYS", f"{lab.store.keys.prefix}c:*"))
    # DBSIZE would count what has expired and was not found yet.
    assert len(connection.call("KEYS", "*")) - calls <= LEFT_KEYS_MAX
    assert used_bytes(connection) - empty_bytes <= LEFT_BYTES_MAX


def test_a_flow_of_short_tasks_leaves_nothing_behind(own_lab: Lab) -> None:
    """P5, P7, P9: the short form. It keeps no results, as it is over before the first of them are forgotten."""
    soak(own_lab, tasks=40_000, every_s=0.1, flags=FLAG_IGNORE_RESULT)


@pytest.mark.long
@pytest.mark.timeout(7_200)
def test_ten_million_short_tasks_leave_nothing_behind(own_lab: Lab) -> None:
    """P5, P7, P9."""
    soak(own_lab, tasks=int(os.environ.get("SOAK_TASKS", "10_000_000")), every_s=2.0)
