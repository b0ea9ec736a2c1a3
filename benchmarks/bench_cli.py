"""
How long people wait for `sched`: wall-clock time of whole processes, medians, against the targets.

    python benchmarks/bench_cli.py [--rounds 7]

Starts an embedded Valkey in a temporary folder and fills two namespaces, of 10 and of 10,000 entries (1,440 distinct
schedules in two zones). `python -c pass` is measured beside it, in turn: what the interpreter alone costs on this machine.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from scheduler.config import Config
from scheduler.embedded import EmbeddedServer
from scheduler.model import Entry
from scheduler.store import open_store
from scheduler.timing import crontab

LINES = (
    # what, arguments, target in seconds
    ("interpreter alone", None, None),
    ("sched --help", ["--help"], 0.15),
    ("sched next --cron", ["next", "--cron", "30 9 * * mon-fri"], None),
    ("sched list, 10 entries", ["list", "--namespace", "few"], 0.3),
    ("sched list, 10,000 entries", ["list", "--namespace", "many"], 0.5),
    ("sched list -o json, 10,000 entries", ["list", "--namespace", "many", "-o", "json"], None),
    ("sched show", ["show", "entry-00003", "--namespace", "many"], None),
    ("sched status", ["status", "--namespace", "many"], None),
)


def fill(url: str, namespace: str, count: int) -> None:
    """Publish *count* entries, as a beat does."""
    store = open_store(Config(redis_url=url, namespace=namespace))
    entries = {}
    for number in range(count):
        name, zone = f"entry-{number:05d}", ("Europe/Berlin", "America/New_York")[number % 2]
        when = crontab(f"{number % 60} {number // 60 % 24} * * *", tz=zone)
        entries[name] = Entry(name=name, task="reports.daily", schedule=when.as_data(), queue=f"q{number % 5}")
    store.loads.publish(entries, clean=True, mistakes=[], by="bench")
    store.close()


def once_s(arguments: list[str] | None, environment: dict[str, str]) -> float:
    """One whole process, from fork to exit."""
    command = (
        [sys.executable, "-c", "pass"] if arguments is None else [sys.executable, "-m", "scheduler.cli", *arguments]
    )
    began = time.perf_counter()
    subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment, check=False)
    return time.perf_counter() - began


def main() -> None:
    """Measure each line in turn, several rounds, and print the medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory(prefix="sb-") as folder, EmbeddedServer(Path(folder)) as server:
        fill(server.url, "few", 10)
        fill(server.url, "many", 10_000)
        environment = {**os.environ, "SCHED_REDIS_URL": server.url}
        taken: dict[str, list[float]] = {what: [] for what, _, _ in LINES}
        for number in range(rounds + 1):
            for what, arguments, _ in LINES:
                seconds = once_s(arguments, environment)
                if number:  # the first round warms the caches
                    taken[what].append(seconds)
    print(f"{'':36} {'median':>8} {'min':>8} {'target':>8}")
    for what, _, target_s in LINES:
        target = f"{target_s:.2f} s" if target_s else ""
        print(f"{what:36} {statistics.median(taken[what]):6.3f} s {min(taken[what]):6.3f} s {target:>8}")


if __name__ == "__main__":
    main()
