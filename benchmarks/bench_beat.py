"""
The lines of TARGETS for the beat: ``python -m benchmarks.bench_beat [LINE …]``.

Real beats (``sched beat``) in processes of their own, on real schedule files; a probe stands at the ready list.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from uuid import uuid4

import redis

from benchmarks.common import Line, Server, folder, main, median, percentile
from scheduler.beat.plan import Plan
from scheduler.config import Config
from scheduler.model import Entry, EntryRecord, Overlap
from scheduler.store import Store, open_store
from scheduler.store.queues import NewMessage
from scheduler.timing import every
from scheduler.wire import Header, Payload, encode_body, new_id
from tests.support.noise import Noise
from tests.support.probe import Probe
from tests.support.processes import Process
from tests.support.wait import wait_until

HEAD = "from scheduler import crontab, entry, every, task\n\n@task\ndef noop(): ...\n\n"


class Bench:
    """A namespace, its schedule file, its beats."""

    def __init__(self, measured: Server, path: Path, lines: str) -> None:
        (path / "schedules").mkdir()
        (path / "schedules" / "bench.py").write_text(HEAD + lines + "\n")
        self.path = path
        self.config = Config(redis_url=measured.url, namespace=f"bench-{uuid4().hex[:8]}", state_dir=path)
        self.store: Store = open_store(self.config, role="bench")
        self.beats: list[Process] = []

    def start(self, name: str = "beat") -> Process:
        """One more beat."""
        beat = Process("beat", "-n", name, config=self.config, cwd=self.path, tell=False, log_path=self.path / "log")
        self.beats.append(beat)
        return beat

    def close(self) -> None:
        """End everything."""
        for beat in self.beats:
            beat.kill()
        self.store.close()

    def now_ms(self) -> float:
        """Redis' time."""
        return self.store.queues.time_ms()

    def holder(self) -> str:
        """The name of the leader, or nothing."""
        term = self.store.leadership.observe()
        return term.name if term is not None and term.holder else ""

    def wait_for_other(self, leader: str) -> None:
        """Until somebody else than *leader* leads."""
        wait_until(lambda: self.holder() not in ("", leader), timeout_s=20, what="a new leader")

    def wait_for_ready(self) -> None:
        """Until a first message is ready."""
        key = self.store.keys.ready("default")
        wait_until(lambda: self.store.connection.call("LLEN", key), timeout_s=60, what="a first fire")

    def wait_until_armed(self, n: int) -> None:
        """Until at least *n* fires stand on Redis, and no more come within a second."""
        key = self.store.keys.delayed("default")
        wait_until(lambda: self.store.connection.call("ZCARD", key) >= n, timeout_s=60, what=f"{n} fires armed")


@contextmanager
def bench(measured: Server, lines: str) -> Iterator[Bench]:
    """A `Bench` that is gone afterwards."""
    with folder() as path:
        made = Bench(measured, path, lines)
        try:
            yield made
        finally:
            made.close()


def sleep_until(made: Bench, at_ms: float) -> None:
    """Until *at_ms* by Redis' clock."""
    time.sleep(max(0.0, (at_ms - made.now_ms()) / 1000))


def rhythm(
    measured: Server,
    *,
    name: str,
    lines: str,
    entries: int,
    period_ms: int,
    periods: int,
    p99_ms: float,
    cpu_counts: bool = False,
) -> list[Line]:
    """Entries of one period: the share of the demand, how late they are ready, what the beat spends on them."""
    with bench(measured, lines) as made, Probe(measured.url, made.config.namespace) as probe:
        beat = made.start()
        made.wait_until_armed(entries)
        wait_until(lambda: len(probe.seen) >= entries, timeout_s=60, what="a first round")
        from_ms = (made.now_ms() // period_ms + 1) * period_ms + period_ms // 2
        to_ms = from_ms + periods * period_ms
        sleep_until(made, from_ms)
        cpu_s = beat.cpu_s
        sleep_until(made, to_ms)
        cpu_s = beat.cpu_s - cpu_s
        time.sleep(0.3)
        seen = probe.between(from_ms, to_ms)
    late = [one.late_ms for one in seen]
    share = len({(one.entry, one.due_ms) for one in seen}) / (entries * periods)
    twice = len(seen) - len({(one.entry, one.due_ms) for one in seen})
    p50, p99, worst = percentile(late, 50), percentile(late, 99), max(late, default=0.0)
    per_1000 = cpu_s / max(1, len(seen)) * 1000
    return [
        Line(f"{name}: share of the demand", f"{share:.2%}, {twice} twice", "100 %", share == 1 and not twice),
        Line(
            f"{name}: ready after due",
            f"p50 {p50:.1f} · p99 {p99:.1f} · max {worst:.1f} ms",
            f"p99 ≤ {p99_ms:g} ms",
            p99 <= p99_ms,
        ),
        Line(
            f"{name}: CPU of the beat per 1,000 fires",
            f"{per_1000:.3f} s",
            "≤ 0.05 s" if cpu_counts else "",
            per_1000 <= 0.05 if cpu_counts else None,
        ),
    ]


def every_1s(measured: Server) -> list[Line]:
    """1,000 entries every second, all in the same instant."""
    lines = "for i in range(1_000):\n    entry(f'e{i}', noop, every('1s'))"
    return rhythm(
        measured,
        name="1,000 every 1 s",
        lines=lines,
        entries=1_000,
        period_ms=1_000,
        periods=15,
        p99_ms=5,
        cpu_counts=True,
    )


def every_10s(measured: Server) -> list[Line]:
    """10,000 entries every ten seconds, each with an anchor of its own."""
    lines = (
        "from datetime import datetime, timedelta, UTC\n"
        "for i in range(10_000):\n"
        "    at = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(milliseconds=i)\n"
        "    entry(f'e{i}', noop, every('10s', anchor=at))"
    )
    return rhythm(
        measured, name="10,000 every 10 s, spread", lines=lines, entries=10_000, period_ms=10_000, periods=2, p99_ms=10
    )


def every_10s_together(measured: Server) -> list[Line]:
    """The same, all of them in one instant."""
    lines = "for i in range(10_000):\n    entry(f'e{i}', noop, every('10s'))"
    return rhythm(
        measured,
        name="10,000 every 10 s, in one instant",
        lines=lines,
        entries=10_000,
        period_ms=10_000,
        periods=2,
        p99_ms=10,
    )


def crontab_instant(measured: Server) -> list[Line]:
    """10,000 crontab entries due in one minute's first instant."""
    lines = "for i in range(10_000):\n    entry(f'e{i}', noop, crontab('* * * * *'))"
    with bench(measured, lines) as made, Probe(measured.url, made.config.namespace) as probe:
        made.start()
        made.wait_until_armed(10_000)
        wait_until(lambda: len(probe.seen) >= 10_000, timeout_s=90, what="the minute")
        seen = list(probe.seen)
    last = max(one.late_ms for one in seen)
    return [Line("10,000 crontab entries in one instant: all ready", f"{last:.0f} ms after due", "≤ 50 ms", last <= 50)]


def sustained(measured: Server) -> list[Line]:
    """Fires a second through plan, arm and promote, in this process."""
    store = open_store(Config(redis_url=measured.url, namespace=f"bench-{uuid4().hex[:8]}"))
    entries, seconds = 5_000, 4
    now_ms = int(store.queues.time_ms())
    from_ms = now_ms // 1_000 * 1_000 - 60_000
    won = store.leadership.elect("bench", "bench", stood_still=None, known=0, reason="bench")
    plan = Plan(namespace="bench", horizon_ms=0, late_limit_ms=86_400_000)
    schedule = every("100ms").as_data()
    put = [
        Entry(name=f"e{i}", task="bench.noop", schedule=schedule, queue="default", overlap=Overlap.ALLOW)
        for i in range(entries)
    ]
    store.loads.publish({entry.name: entry for entry in put}, clean=True, mistakes=(), by="bench")
    marks = {name: f"{state.split(' ')[0]} {from_ms}" for name, state in store.registry.marks().items()}
    store.connection.call("HSET", store.keys.marks, *[part for pair in marks.items() for part in pair])
    for entry in put:
        plan.put(EntryRecord(entry.name, entry, marks[entry.name]), from_ms)
    spent = {"plan": 0.0, "arm": 0.0, "promote": 0.0}
    fires = 0
    for step in range(1, seconds * 10 // 2 + 1):
        while True:
            began = time.perf_counter()
            batch = plan.take(from_ms + step * 100, 500)
            spent["plan"] += time.perf_counter() - began
            if not batch:
                break
            began = time.perf_counter()
            answer = store.leadership.arm(batch.fires, batch.skips, number=won.number, holder="bench")
            spent["arm"] += time.perf_counter() - began
            assert answer.armed == len(batch.fires), answer
            began = time.perf_counter()
            moved = store.queues.promote(["default"], limit=500).moved
            spent["promote"] += time.perf_counter() - began
            assert moved == len(batch.fires)
            fires += moved
        store.connection.call("DEL", store.keys.ready("default"), store.keys.messages)
    store.close()
    parts = " · ".join(f"{name} {fires / took:,.0f}/s" for name, took in spent.items())
    rate = fires / sum(spent.values())
    return [
        Line(
            "most fires a second",
            f"{rate:,.0f}/s = {rate / measured.ping_per_s:.1f} × PING ({parts})",
            "≥ 50,000/s",
            rate >= 50_000,
        )
    ]


def killed(measured: Server) -> list[Line]:
    """Three beats; the leader is killed with -9, several times."""
    lines = (
        "for i in range(100):\n    entry(f's{i}', noop, every('1s'), overlap='allow')\n"
        "for i in range(20):\n    entry(f'f{i}', noop, every('200ms'), overlap='allow')"
    )
    takeovers: list[float] = []
    with ExitStack() as stack:
        made = stack.enter_context(bench(measured, lines))
        probe = stack.enter_context(Probe(measured.url, made.config.namespace))
        noise = stack.enter_context(Noise())
        by_name = {name: made.start(name) for name in ("a", "b", "c")}
        made.wait_until_armed(100 * 14)
        time.sleep(2)
        from_ms = (made.now_ms() // 1_000 + 1) * 1_000
        for _ in range(4):
            leader = made.holder()
            by_name[leader].kill()
            began = time.monotonic()
            made.wait_for_other(leader)
            takeovers.append(time.monotonic() - began)
            by_name[leader] = made.start(leader)
            time.sleep(3)
        to_ms = made.now_ms() // 1_000 * 1_000
        time.sleep(1)
        seen = probe.between(from_ms, to_ms)
        worst_noise_ms = noise.max_ms
    seconds = int((to_ms - from_ms) // 1_000)
    due = {(one.entry, one.due_ms) for one in seen}
    lost, twice = seconds * (100 + 20 * 5) - len(due), len(seen) - len(due)
    worst = max(one.late_ms for one in seen)
    return [
        Line(
            "leader killed -9: latest fire",
            f"{worst:.0f} ms (this machine wakes up {worst_noise_ms:.0f} ms late at worst), "
            f"{lost} lost, {twice} twice of {len(seen):,}",
            "≤ 50 ms, none lost",
            worst <= 50 + worst_noise_ms and not lost and not twice,
        ),
        Line(
            "leader killed -9: new leader after",
            " · ".join(f"{took:.2f}" for took in takeovers) + " s",
            "≤ lease + 1 s = 6 s",
            max(takeovers) <= 6,
        ),
    ]


def terminated(measured: Server) -> list[Line]:
    """Two beats; the leader is stopped with SIGTERM, several times."""
    took_ms: list[float] = []
    with bench(measured, "for i in range(100):\n    entry(f'e{i}', noop, every('1s'))") as made:
        by_name = {name: made.start(name) for name in ("a", "b")}
        wait_until(lambda: len(made.store.presence.beats()) == 2 and made.holder(), timeout_s=20)
        for _ in range(7):
            wait_until(
                lambda: len(made.store.presence.beats()) == 2 and all(b.load for b in made.store.presence.beats()),
                timeout_s=20,
            )
            time.sleep(1.2)
            leader = made.holder()
            by_name[leader].terminate()
            began = time.monotonic()
            while made.holder() in ("", leader):
                time.sleep(0.0005)
            took_ms.append((time.monotonic() - began) * 1000)
            by_name[leader].wait()
            by_name[leader] = made.start(leader)
    typical = median(took_ms)
    shown = " · ".join(f"{took:.0f}" for took in took_ms)
    return [Line("leader stopped: new leader after", f"median {typical:.0f} ms ({shown})", "≤ 100 ms", typical <= 100)]


def idle(measured: Server) -> list[Line]:
    """10,000 daily entries, none of them due."""
    now = time.gmtime()
    hours = [hour for hour in range(24) if hour not in {(now.tm_hour + d) % 24 for d in (0, 1)}]
    lines = (
        f"hours = {hours}\nfor i in range(10_000):\n"
        "    entry(f'e{i}', noop, crontab(f'{i % 60} {hours[i // 60 % len(hours)]} * * *'))"
    )
    with bench(measured, lines) as made:
        beat = made.start()
        wait_until(lambda: made.holder() and len(made.store.registry.marks()) >= 10_000, timeout_s=60)
        time.sleep(5)
        cpu_s, began = beat.cpu_s, time.monotonic()
        time.sleep(20)
        used = (beat.cpu_s - cpu_s) / (time.monotonic() - began)
        rss = int(Path(f"/proc/{beat.pid}/statm").read_text().split()[1]) * 4096 / 1e6
    return [Line("idle, 10,000 daily entries", f"{used:.2%} of a processor, {rss:.0f} MB", "< 0.5 %", used < 0.005)]


def start_to_fire(measured: Server) -> list[Line]:
    """From the start of the process to the first fire in its queue; 10,000 entries, one of them due at each moment."""
    lines = (
        "from datetime import datetime, timedelta, UTC\n"
        "for i in range(10_000):\n"
        "    at = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(milliseconds=i)\n"
        "    entry(f'e{i}', noop, every('10s', anchor=at))"
    )
    first: list[float] = []
    again: list[float] = []
    for _ in range(3):
        with bench(measured, lines) as made:
            for found in (first, again):
                ready = made.store.keys.ready("default")
                made.store.connection.call("DEL", ready)
                beat = made.start()
                made.wait_for_ready()
                found.append(time.monotonic() - beat.started_mono_s)
                beat.terminate()
                beat.wait()
    return [
        Line("start to first fire, 10,000 new entries", f"{median(first):.2f} s", "≤ 1 s", median(first) <= 1),
        Line("start to first fire, 10,000 known entries", f"{median(again):.2f} s", "≤ 1 s", median(again) <= 1),
    ]


def bytes_delayed(measured: Server) -> list[Line]:
    """What a delayed message costs on Redis beyond its body."""
    store = open_store(Config(redis_url=measured.url, namespace=f"bench-{uuid4().hex[:8]}"))
    client = redis.Redis.from_url(measured.url)
    body = encode_body(Header(task="bench.noop", queue="default", enqueued_ms=1), Payload())
    n, at_ms = 50_000, int(store.queues.time_ms()) + 86_400_000
    store.queues.enqueue([NewMessage(new_id(), body, "default", at_ms)], call_id=new_id())
    before = client.info("memory")["used_memory"]
    for start in range(0, n, 1_000):
        batch = [NewMessage(new_id(), body, "default", at_ms + start + i) for i in range(1_000)]
        store.queues.enqueue(batch, call_id=new_id())
    each = (client.info("memory")["used_memory"] - before) / n - len(body)
    store.close()
    client.close()
    return [Line("a delayed message beyond its body", f"{each:.0f} B (body {len(body)} B)", "≤ 200 B", each <= 200)]


LINES = {
    "every-1s": every_1s,
    "every-10s": every_10s,
    "every-10s-together": every_10s_together,
    "crontab-instant": crontab_instant,
    "sustained": sustained,
    "killed": killed,
    "terminated": terminated,
    "idle": idle,
    "start": start_to_fire,
    "bytes": bytes_delayed,
}

if __name__ == "__main__":
    sys.exit(main(LINES, sys.argv[1:], title="The beat"))
