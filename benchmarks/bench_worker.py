"""
What we claim about workers, measured: `python benchmarks/bench_worker.py [LINE …] [--messages N]`.

It starts a redis-server of its own (no persistence) and real workers, and prints each line with its target and with its ratio
to a ceiling of the same minute: `PING` one by one, and for what workers drain `benchmarks/raw_worker.py`, the least that a worker
can do. Beside each drain stands what it cost: µs of processor time for each task, of the workers and of Redis; a busy machine
changes these far less than it changes the rates. `--against TREE` runs another checkout of the project alternately.
Lines: solo, prefork, two, enqueue, latency, eta, memory, ready, idle, kill.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

import msgspec

from scheduler.app import App
from scheduler.config import Config
from scheduler.store import Store, open_store
from scheduler.store.queues import NewMessage
from scheduler.wire import Header, Payload, encode_body, new_id

TASKS = """
import os, time
from scheduler import task

@task
def noop():
    pass

@task
def stamp():
    return time.monotonic_ns()

@task
def wall():
    return time.time()

@task
def mark(path, seconds):
    with open(path, "a") as file:
        file.write(f"{time.monotonic()}\\n")
    time.sleep(seconds)
"""
BATCH = 1000
ROUNDS = 3
IDLE_S = 10


class Drained(NamedTuple):
    """
    How fast a queue was emptied, and what it cost.

    Attributes:
        worker_us: Processor time of all processes of the workers, for each task.
    """

    per_s: float
    worker_us: float
    redis_us: float


class Bench:
    """A server, a folder of tasks, and the lines."""

    def __init__(self, messages: int, against: Path | None = None) -> None:
        self.messages = messages
        self.trees: tuple[Path | None, ...] = (None,) if against is None else (None, against)
        self.folder = Path(tempfile.mkdtemp(prefix="sb-bench-"))
        (self.folder / "schedules").mkdir()
        (self.folder / "schedules" / "bench.py").write_text(TASKS)
        self.url = f"unix://{self.folder}/r.sock"
        binary = shutil.which("redis-server") or shutil.which("valkey-server")
        if binary is None:
            raise SystemExit("redis-server is not installed (apt-get install redis-server)")
        self.server = subprocess.Popen(
            [binary, "--port", "0", "--unixsocket", f"{self.folder}/r.sock", "--save", "", "--dir", str(self.folder)],
            stdout=subprocess.DEVNULL,
        )
        self.store = self._new_store()
        self.ceiling = self._ping()
        self.tree: Path | None = None
        """The checkout whose workers are started; None for the one that is installed."""

    def close(self) -> None:
        """Stop the server and remove its folder."""
        self.server.kill()
        self.server.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def fresh(self) -> None:
        """A namespace of its own for the next line."""
        self.store.connection.call("FLUSHALL")
        self.store = self._new_store()

    def _new_store(self) -> Store:
        self.namespace = f"b{uuid4().hex[:8]}"
        config = Config(redis_url=self.url, namespace=self.namespace)
        return open_store(config, role="bench")

    def _ping(self) -> float:
        call = self.store.connection.call
        call("PING")
        began, count = time.perf_counter(), 20_000
        for _ in range(count):
            call("PING")
        return count / (time.perf_counter() - began)

    @contextlib.contextmanager
    def worker(self, *flags: str) -> Iterator[subprocess.Popen[bytes]]:
        """A worker, ready."""
        process = self.start(*flags)
        try:
            self.wait_ready(process)
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(5)
            process.kill()

    def start(self, *flags: str) -> subprocess.Popen[bytes]:
        """A worker, just started."""
        env = os.environ | {"SCHED_REDIS_URL": self.url, "SCHED_NAMESPACE": self.namespace}
        if self.tree is not None:
            env["PYTHONPATH"] = str(self.tree)
        log = open(self.folder / f"worker-{uuid4().hex[:6]}.log", "wb")  # noqa: SIM115 - the process has it
        with log:
            return subprocess.Popen(
                [sys.executable, "-m", "scheduler.cli", "worker", *flags], cwd=self.folder, env=env, stderr=log
            )

    def wait_ready(self, process: subprocess.Popen[bytes]) -> None:
        """Until its session is open."""
        while not any(worker.info.pid == process.pid for worker in self.store.sessions.workers()):
            assert process.poll() is None, "the worker ended"
            time.sleep(0.002)

    def enqueue(self, task: str, count: int, args: Sequence[object] = (), at_ms: Sequence[int] = ()) -> list[str]:
        """*count* messages, in batches."""
        now_ms = int(time.time() * 1000)
        header = Header(task=task, queue="default", enqueued_ms=now_ms)
        body = encode_body(header, Payload(args=msgspec.Raw(msgspec.json.encode(list(args)))))
        ids = [new_id() for _ in range(count)]
        for at in range(0, count, BATCH):
            messages = [
                NewMessage(id_, body, "default", at_ms[at + i] if at_ms else 0)
                for i, id_ in enumerate(ids[at : at + BATCH])
            ]
            self.store.queues.enqueue(messages, call_id=new_id())
        return ids

    def results(self, ids: Sequence[str]) -> list[bytes | None]:
        """The records of *ids*."""
        found: list[bytes | None] = []
        for at in range(0, len(ids), BATCH):
            commands = [("GET", self.store.keys.result(id_)) for id_ in ids[at : at + BATCH]]
            found += self.store.connection.pipeline(commands)
        return found

    def drain(self, *flags: str, workers: int = 1) -> Drained:
        """From the first take of workers that are ready to the last result; every task verified."""
        self.fresh()
        with contextlib.ExitStack() as stack:
            processes = [stack.enter_context(self.worker(*flags)) for _ in range(workers)]
            warm = self.enqueue("bench.noop", 2_000)
            self._wait_gone()
            assert all(self.results(warm))
            return self._drained([pid for process in processes for pid in family(process.pid)])

    def drain_raw(self) -> Drained:
        """The same by the least that a worker can do."""
        self.fresh()
        keys = self.store.keys
        command = [sys.executable, "-m", "benchmarks.raw_worker", self.url, keys.prefix, "default"]
        process = subprocess.Popen(command, cwd=Path(__file__).parent.parent)
        try:
            self._enqueue_at_once(2_000)
            self._wait_gone()
            return self._drained([process.pid])
        finally:
            process.kill()
            process.wait()

    def _drained(self, pids: Sequence[int]) -> Drained:
        ids = self._enqueue_at_once(self.messages)
        before_s, redis_before_s = sum(map(processor_s, pids)), processor_s(self.server.pid)
        began = time.perf_counter()
        self._wait_gone()
        took_s = time.perf_counter() - began
        spent_s, redis_spent_s = sum(map(processor_s, pids)) - before_s, processor_s(self.server.pid) - redis_before_s
        records = self.results(ids)
        assert all(record is not None and b'"SUCCESS"' in record for record in records), "a task has not run"
        each_us = 1e6 / self.messages
        return Drained(self.messages / took_s, spent_s * each_us, redis_spent_s * each_us)

    def _enqueue_at_once(self, count: int) -> list[str]:
        """Into another queue, which then takes the name of the real one: so that all of it is there before the clock runs."""
        header = Header(task="bench.noop", queue="default", enqueued_ms=int(time.time() * 1000))
        body = encode_body(header, Payload())
        keys = self.store.keys
        ids = [new_id() for _ in range(count)]
        for at in range(0, count, BATCH):
            some = ids[at : at + BATCH]
            flat = [part for id_ in some for part in (id_, body)]
            self.store.connection.pipeline([("HSET", keys.messages, *flat), ("RPUSH", f"{keys.prefix}staged", *some)])
        self.store.connection.pipeline(
            [("RENAME", f"{keys.prefix}staged", keys.ready("default")), ("RPUSH", keys.wake("default"), "1")]
        )
        return ids

    def _wait_gone(self) -> None:
        while self.store.connection.call("EXISTS", self.store.keys.messages):
            time.sleep(0.005)


def rate(bench: Bench, name: str, value: float, target: float) -> None:
    """Print a line for a rate."""
    verdict = "ok" if value >= target else "SHORT"
    print(f"{name:34} {value:10,.0f}/s   target ≥ {target:,.0f}/s   {value / bench.ceiling:5.2f} × PING   {verdict}")


def time_line(name: str, value: float, target: float, unit: str) -> None:
    """Print a line for something that should be small."""
    print(f"{name:34} {value:10.2f} {unit}   target ≤ {target:g} {unit}   {'ok' if value <= target else 'SHORT'}")


def drain_lines(bench: Bench, name: str, target: float, *flags: str, workers: int = 1) -> None:
    """Drain thrice, each checkout and the raw loop in turn; print the medians."""
    found: dict[Path | None, list[Drained]] = {tree: [] for tree in bench.trees}
    raw: list[Drained] = []
    for _ in range(ROUNDS):
        raw.append(bench.drain_raw())
        for tree in bench.trees:
            bench.tree = tree
            found[tree].append(bench.drain(*flags, workers=workers))
    bench.tree = None
    raw_per_s = statistics.median(drained.per_s for drained in raw)
    for tree, all_drained in found.items():
        value = statistics.median(drained.per_s for drained in all_drained)
        rate(bench, name if tree is None else f"  {tree.name}", value, target)
        print(f"{'':12} {value / raw_per_s:5.2f} × the raw loop's rate · {costs(all_drained)}")
    print(f"{'':12} the raw loop: {raw_per_s:,.0f}/s · {costs(raw)}")


def costs(all_drained: Sequence[Drained]) -> str:
    """What tasks cost, for people."""
    worker_us = statistics.median(drained.worker_us for drained in all_drained)
    redis_us = statistics.median(drained.redis_us for drained in all_drained)
    return f"{worker_us:.1f} µs of worker + {redis_us:.1f} µs of Redis a task"


def solo(bench: Bench) -> None:
    """One process, one slot."""
    drain_lines(bench, "drain, solo", 80_000, "--pool", "solo")


def prefork(bench: Bench) -> None:
    """A supervisor and one child."""
    drain_lines(bench, "drain, prefork, 1 child", 40_000, "-c", "1")


def two(bench: Bench) -> None:
    """Two busy processes, best settings found."""
    drain_lines(bench, "drain, two busy processes (solo)", 70_000, "--pool", "solo", workers=2)
    drain_lines(bench, "drain, prefork, 2 children", 70_000, "-c", "2")


def enqueue(bench: Bench) -> None:
    """One call a task, and a thousand calls in a round trip; nobody takes them."""
    bench.fresh()
    app = App("bench", redis_url=bench.url, namespace=bench.namespace)
    add: Any = app.task(name="bench.add")(lambda a, b: a + b)
    add.delay(1, 2)
    count = bench.messages // 10
    best_s, began_s = float("inf"), time.perf_counter()
    for _ in range(count):
        one_s = time.perf_counter()
        add.delay(1, 2)
        best_s = min(best_s, time.perf_counter() - one_s)
    value = count / (time.perf_counter() - began_s)
    rate(bench, "enqueue, one call a task", value, 12_600)
    print(f"{'':12} {best_s * 1e6:.1f} µs undisturbed")
    best_s, began_s = float("inf"), time.perf_counter()
    for at in range(0, bench.messages, BATCH):
        some_s = time.perf_counter()
        add.apply_many([(n, 2) for n in range(at, at + BATCH)])
        best_s = min(best_s, time.perf_counter() - some_s)
    rate(bench, "enqueue, in bulk", bench.messages / (time.perf_counter() - began_s), 150_000)
    print(f"{'':12} {BATCH / best_s:,.0f}/s undisturbed")


def latency(bench: Bench) -> None:
    """Send → start at an idle worker."""
    for flags in (("--pool", "solo"), ("-c", "1")):
        bench.fresh()
        with bench.worker(*flags):
            delays = []
            for i in range(500):
                began_ns = time.monotonic_ns()
                ids = bench.enqueue("bench.stamp", 1)
                while (record := bench.results(ids)[0]) is None:
                    time.sleep(0.002)
                if i >= 20:
                    started_ns = msgspec.json.decode(record)["result"]
                    delays.append((started_ns - began_ns) / 1e6)
                time.sleep(0.004)
        delays.sort()
        name = f"send → start, {'solo' if 'solo' in flags else 'prefork'}"
        time_line(f"{name}, p50", statistics.median(delays), 0.27, "ms")
        time_line(f"{name}, p99", delays[int(len(delays) * 0.99)], 0.65, "ms")


def eta(bench: Bench) -> None:
    """2,000 messages with an ETA within 10 s: how late they start, and that none is early."""
    for flags in (("--pool", "solo"), ("-c", "1")):
        bench.fresh()
        with bench.worker(*flags):
            begin_ms = int(time.time() * 1000) + 1000
            moments = [begin_ms + i * 5 for i in range(2000)]
            ids = bench.enqueue("bench.wall", len(moments), at_ms=moments)
            time.sleep(12)
            records = bench.results(ids)
        late = sorted(
            msgspec.json.decode(record)["result"] * 1000 - at
            for record, at in zip(records, moments, strict=True)
            if record
        )
        name = f"ETA lateness, {'solo' if 'solo' in flags else 'prefork'}"
        assert len(late) == len(moments), f"{len(moments) - len(late)} did not run"
        time_line(f"{name}, p50", statistics.median(late), 0.9, "ms")
        time_line(f"{name}, p99", late[int(len(late) * 0.99)], 1.5, "ms")
        print(f"{name}, earliest{'':6} {late[0]:10.2f} ms   target ≥ 0 ms   {'ok' if late[0] >= 0 else 'SHORT'}")


def family(pid: int) -> list[int]:
    """A process and its descendants."""
    found = [pid]
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            found += family(int(child))
    return found


def processor_s(pid: int) -> float:
    """The processor time that a process has used, all its threads, to the nanosecond."""
    threads = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((thread / "schedstat").read_text().split()[0]) for thread in threads) / 1e9


def pss_mb(pid: int) -> float:
    """Memory, shared pages counted once."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("Pss:")).split()[1]) / 1024


def memory(bench: Bench) -> None:
    """Supervisor, zygote and one child, together, after some work."""
    bench.fresh()
    with bench.worker("-c", "1") as process:
        bench.enqueue("bench.noop", 5_000)
        bench._wait_gone()
        sizes = [pss_mb(pid) for pid in family(process.pid)]
    time_line(f"memory of {len(sizes)} processes (PSS)", sum(sizes), 60, "MB")


def ready(bench: Bench) -> None:
    """From the start of the process to an open session with its children up."""
    times = []
    for _ in range(5):
        bench.fresh()
        began = time.perf_counter()
        process = bench.start("-c", "1")
        bench.wait_ready(process)
        times.append(time.perf_counter() - began)
        process.terminate()
        process.wait()
    time_line("time to ready", statistics.median(times), 0.5, "s")


def idle(bench: Bench) -> None:
    """What a worker costs that has nothing to do."""
    bench.fresh()
    for flags in (("--pool", "solo"), ("-c", "2")):
        with bench.worker(*flags) as process:
            pids = family(process.pid)
            time.sleep(1)
            before_s = sum(map(processor_s, pids))
            time.sleep(IDLE_S)
            percent = (sum(map(processor_s, pids)) - before_s) / IDLE_S * 100
        time_line(f"idle, {' '.join(flags)}", percent, 0.3, "% of a core")


def kill(bench: Bench) -> None:
    """kill -9 of a worker: when its task starts again on another one."""
    bench.fresh()
    path = bench.folder / "marks"
    path.write_text("")
    first = bench.start("-c", "1")
    bench.wait_ready(first)
    bench.enqueue("bench.mark", 1, args=(str(path), 20))
    while not path.read_text():
        time.sleep(0.01)
    with bench.worker("-c", "1"):
        time.sleep(6)  # it watches for a lease before it may reclaim: as in a running service
        killed = time.monotonic()
        first.kill()
        first.wait()
        while len(path.read_text().splitlines()) < 2:
            time.sleep(0.01)
        again = float(path.read_text().splitlines()[1])
    time_line("killed with -9: starts again after", again - killed, 6.5, "s")


LINES: dict[str, Callable[[Bench], None]] = {
    "solo": solo, "prefork": prefork, "two": two, "enqueue": enqueue, "latency": latency, "eta": eta, "memory": memory, "ready": ready,
    "idle": idle, "kill": kill,
}  # fmt: skip


def main() -> None:
    """Measure the lines named on the command line, or all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("lines", nargs="*", metavar="LINE", help=", ".join(LINES))
    parser.add_argument("--messages", type=int, default=100_000, help="for each drain")
    parser.add_argument("--against", type=Path, metavar="TREE", help="another checkout, run alternately in each drain")
    args = parser.parse_args()
    if unknown := set(args.lines) - LINES.keys():
        parser.error(f"no such line: {', '.join(sorted(unknown))}; there are {', '.join(LINES)}")
    bench = Bench(args.messages, args.against)
    try:
        print(f"{'ceiling: PING one by one':34} {bench.ceiling:10,.0f}/s")
        for name in args.lines or LINES:
            LINES[name](bench)
    finally:
        bench.close()


if __name__ == "__main__":
    main()
