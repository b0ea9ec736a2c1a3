"""What every benchmark needs: a server, the ceiling of this machine, its noise, and a table."""

from __future__ import annotations

import contextlib
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import redis

from tests.support.noise import Noise
from tests.support.server import DebianRedis, ValkeyServer


class Line(NamedTuple):
    """
    One line of the table.

    Attributes:
        ours: What was measured, as text.
        target: What TARGETS asks for, as text.
        ok: Whether it was reached; None where there is nothing to reach.
    """

    name: str
    ours: str
    target: str = ""
    ok: bool | None = None
    note: str = ""


class Server(NamedTuple):
    """The server that is measured against; *what* says which it is."""

    url: str
    what: str
    pid: int
    ping_per_s: float = 0.0
    """The ceiling just before: PING, one by one."""


@contextlib.contextmanager
def server() -> Iterator[Server]:
    """
    A server of our own, on a unix socket and without persistence: Debian's redis-server, or else the embedded Valkey.

    ``BENCH_REDIS_URL`` names another one; its database is used and not emptied.
    """
    if url := os.environ.get("BENCH_REDIS_URL"):
        info = redis.Redis.from_url(url).info("server")
        yield Server(url, f"redis {info['redis_version']} at {url.rpartition('@')[2]}", 0)
        return
    own: DebianRedis | ValkeyServer = DebianRedis() if DebianRedis.installed() else ValkeyServer()
    own.start()
    try:
        client = redis.Redis.from_url(own.url)
        if isinstance(own, ValkeyServer):
            client.config_set("appendonly", "no")
        info = client.info("server")
        name = f"valkey {info['valkey_version']}" if "valkey_version" in info else f"redis {info['redis_version']}"
        yield Server(own.url, f"{name}, unix socket, no persistence", int(info["process_id"]))
    finally:
        own.remove()


class Ceiling(NamedTuple):
    """What the rawest Python client does with this server, in this run."""

    ping_per_s: float
    rpush_per_s: float

    def lines(self) -> list[Line]:
        """For the table."""
        return [
            Line("ceiling: PING, one by one", f"{self.ping_per_s:,.0f}/s"),
            Line("ceiling: RPUSH, pipelined ×100", f"{self.rpush_per_s:,.0f}/s"),
        ]


def ceiling(url: str, *, seconds: float = 1.0) -> Ceiling:
    """Measure it: redis-py with hiredis on one connection."""
    connection: Any = redis.ConnectionPool.from_url(url, protocol=2).get_connection()

    def ping() -> int:
        connection.send_command("PING")
        connection.read_response()
        return 1

    push = connection.pack_commands([("RPUSH", "bench:ceiling", b"x" * 32)] * 100)

    def rpush() -> int:
        connection.send_packed_command(push)
        for _ in range(100):
            connection.read_response()
        return 100

    found = Ceiling(rate(ping, seconds=seconds), rate(rpush, seconds=seconds))
    connection.send_command("DEL", "bench:ceiling")
    connection.read_response()
    connection.disconnect()
    return found


def rate(work: Callable[[], int], *, seconds: float) -> float:
    """How many units of *work* (it returns how many it did) are done in a second."""
    done, began = 0, time.perf_counter()
    while (took := time.perf_counter() - began) < seconds:
        done += work()
    return done / took


def noise_line(noise: Noise, ticks_before: tuple[int, int]) -> Line:
    """What the machine did meanwhile, for the table: read every lateness beside it."""
    busy, stolen = (now - then for now, then in zip(processor_ticks(), ticks_before, strict=True))
    late = noise.late_ms
    return Line(
        "this machine meanwhile",
        f"wakes up late: p50 {percentile(late, 50):.2f} · p99 {percentile(late, 99):.2f} · max {noise.max_ms:.1f} ms",
        note=f"nice + steal: {stolen / max(1, busy):.0%} of the time it was busy",
    )


def processor_ticks() -> tuple[int, int]:
    """Ticks in which a processor was busy, and those of them that were nice or stolen."""
    user, nice, system, _, _, irq, softirq, steal = map(int, Path("/proc/stat").read_text().split("\n")[0].split()[1:9])
    return user + nice + system + irq + softirq + steal, nice + steal


def percentile(values: Sequence[float], p: float) -> float:
    """The *p*-th percentile of *values*, 0 without any."""
    if not values:
        return 0.0
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * p / 100))]


def median(values: Sequence[float]) -> float:
    """The median."""
    return percentile(values, 50)


@contextlib.contextmanager
def folder() -> Iterator[Path]:
    """A folder that is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="bench-") as path:
        yield Path(path)


def show(lines: Sequence[Line]) -> None:
    """Print the table to stdout."""
    width = max(len(line.name) for line in lines)
    for line in lines:
        verdict = {True: "ok   ", False: "SHORT", None: "     "}[line.ok]
        target = f"   (target: {line.target})" if line.target else ""
        note = f"   [{line.note}]" if line.note else ""
        print(f"{verdict} {line.name:<{width}}  {line.ours}{target}{note}", flush=True)


def machine() -> str:
    """This machine in a line."""
    cores = len(os.sched_getaffinity(0))
    return f"{cores} cores, load {os.getloadavg()[0]:.1f}, Python {platform.python_version()}, {platform.platform()}"


def main(lines: dict[str, Callable[..., list[Line]]], arguments: Sequence[str], *, title: str) -> int:
    """
    Run the named lines, or all, each against a fresh server.

    A line gets the server and gives lines for the table. Exit code 1 if one is short, 2 for an unknown name.
    """
    if unknown := set(arguments) - lines.keys():
        print(f"no such line: {', '.join(sorted(unknown))}; there are: {', '.join(lines)}", file=sys.stderr)
        return 2
    print(f"{title} · {machine()}")
    with server() as measured:
        print(measured.what)
        found = ceiling(measured.url).lines()
    show(found)
    for name in arguments or lines:
        with server() as fresh, Noise() as noise:
            measured = fresh._replace(ping_per_s=ceiling(fresh.url, seconds=0.3).ping_per_s)
            print(f"\n== {name} · ceiling now: PING {measured.ping_per_s:,.0f}/s", flush=True)
            ticks = processor_ticks()
            part = lines[name](measured)
            show([*part, noise_line(noise, ticks)])
            found += part
    return int(any(line.ok is False for line in found))
