"""
The lines of TARGETS for very many entries: ``python -m benchmarks.bench_scale [LINE …] [--entries N]``.

    million    a beat starts on a registry that stands on Redis: when it is in force, memory, idle processor, one edit
    reload     one entry among many changes in its file: from SIGHUP, and from `sched reload`, until it is armed
    publish    very many new entries from a file: until they are published, and until they are planned
    midnight   very many entries due in one instant: armed before it, ready after it
    look       `sched list` and `sched status` with very many entries

Real beats (``sched beat``) in processes of their own. Without ``--entries`` each line has the size that the targets name.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import msgspec

from benchmarks.bench_beat import Bench, bench
from benchmarks.common import Line, Server, main, median
from scheduler.model import Entry, Origin
from scheduler.timing import crontab, every
from scheduler.wire import encode_entry
from tests.support.processes import CLOCK_TICKS_S, Process, environment
from tests.support.wait import wait_until

MILLION, HUNDRED_THOUSAND = 1_000_000, 100_000
SEEDED_AT_ONCE = 5_000
PER_SCHEDULE = 10
"""A million entries have 100,000 distinct schedules."""


# ── a registry that stands on Redis ─────────────────────────────────────────────────────────────────────────────────


def quiet_schedules(n: int) -> Iterator[dict[str, object]]:
    """*n* distinct crontabs, none of which fires within the hours next to now."""
    now_hour = time.gmtime().tm_hour
    hours = [hour for hour in range(24) if hour not in {(now_hour + d) % 24 for d in (-1, 0, 1)}]
    for k in range(n):
        second, minute, hour, weekday = k % 60, k // 60 % 60, hours[k // 3600 % len(hours)], k // 3600 // len(hours) % 7
        yield crontab(f"{second} {minute} {hour} * * {weekday}", tz="UTC").as_data()


def seed(made: Bench, n: int) -> None:
    """Put *n* entries on Redis as if they had been added by hand; directly, as what is measured comes after it."""
    call, keys = made.store.connection.pipeline, made.store.keys
    now_ms = int(made.now_ms())
    schedules = list(quiet_schedules(max(1, n // PER_SCHEDULE)))
    for start in range(0, n, SEEDED_AT_ONCE):
        numbers = range(start, min(n, start + SEEDED_AT_ONCE))
        definitions: list[bytes | str | int] = []
        marks: list[bytes | str | int] = []
        changes: list[bytes | str | int] = []
        for i in numbers:
            name = f"customer-{i:07}-report"
            entry = Entry(
                name=name, task="reports.monthly", schedule=schedules[i % len(schedules)], queue="default",
                args=msgspec.Raw(b"[%d]" % i), description="What this customer has used.", origin=Origin.HAND,
            )  # fmt: skip
            definitions += (name, encode_entry(entry))
            marks += (name, f"{i + 1} {now_ms}")
            changes += (i + 1, name)
        call(
            [
                ("HSET", keys.registry, *definitions),
                ("HSET", keys.marks, *marks),
                ("ZADD", keys.changes, *changes),
                ("HSET", keys.meta, "revision", numbers[-1] + 1),
            ]
        )


def memory_mb(pid: int) -> tuple[float, float]:
    """What process *pid* has resident now, and at most so far."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    now, most = (int(re.search(rf"{name}:\s+(\d+)", status).group(1)) for name in ("VmRSS", "VmHWM"))  # type: ignore[union-attr]
    return now / 1024, most / 1024


def log_time(made: Bench, text: str, *, nth: int = 1, timeout_s: float = 120.0) -> float:
    """Wait for the *nth* line with *text* in the beats' log; our monotonic clock when it was seen."""
    path = made.path / "log"
    wait_until(
        lambda: path.exists() and path.read_text(encoding="utf-8").count(text) >= nth, timeout_s=timeout_s, what=text
    )
    return time.monotonic()


def million(measured: Server, n: int = MILLION) -> list[Line]:
    """A beat starts on *n* entries that stand on Redis."""
    with bench(measured, "") as made:
        began = time.monotonic()
        seed(made, n)
        seeded_s = time.monotonic() - began
        redis_mb = int(made.store.connection.call("INFO", "memory").split(b"used_memory:")[1].split(b"\r")[0]) / 1e6
        beat = made.start()
        in_force_s = log_time(made, "registry.read", timeout_s=300) - beat.started_mono_s
        in_force_cpu_s = beat.cpu_s
        time.sleep(2)
        rss_mb, most_mb = memory_mb(beat.pid)
        cpu_s, began = beat.cpu_s, time.monotonic()
        time.sleep(15)
        idle = (beat.cpu_s - cpu_s) / (time.monotonic() - began)
        edits = [edit(made, f"customer-{i:07}-report") for i in range(0, 5 * n // 10, n // 10)]
        follower = made.start("follower")
        wait_for_rest(follower)
        took_over_s = take_over(made, beat)
        most_mb_follower = memory_mb(follower.pid)[1]
    size = f"{n:,} entries"
    return [
        Line(
            f"{size}: in force after the start",
            f"{in_force_s:.1f} s",
            "≤ 30 s",
            in_force_s <= 30,
            note=f"{in_force_cpu_s:.1f} s of processor",
        ),
        Line(f"{size}: memory of the beat", f"{rss_mb:.0f} MB, at most {most_mb:.0f} MB", "≤ 1 GB", most_mb <= 1024),
        Line(f"{size}: idle", f"{idle:.2%} of a processor", "< 1 %", idle < 0.01),
        Line(
            f"{size}: one edit armed after",
            f"{median(edits) * 1000:.0f} ms, at most {max(edits) * 1000:.0f} ms",
            "≤ 1 s",
            max(edits) <= 1,
        ),
        Line(
            f"{size}: the leader stops, an edit is armed by the next after",
            f"{took_over_s * 1000:.0f} ms",
            note=f"{most_mb_follower:.0f} MB",
        ),
        Line(f"{size} on Redis", f"{redis_mb:.0f} MB", note=f"seeded in {seeded_s:.0f} s"),
    ]


def edit(made: Bench, name: str) -> float:
    """Give *name* another schedule; seconds until a fire of it stands armed."""
    record = made.store.registry.get(name)
    assert record is not None
    assert record.entry is not None
    changed = Entry(name=name, task=record.entry.task, queue="edited", schedule=every("5s").as_data())
    began = time.monotonic()
    made.store.registry.put(changed)
    key = made.store.keys.delayed("edited")
    before = made.store.connection.call("ZCARD", key)
    wait_until(lambda: made.store.connection.call("ZCARD", key) > before, timeout_s=30, what="the edit armed")
    return time.monotonic() - began


def wait_for_rest(process: Process) -> None:
    """Until *process* has next to nothing to do: a follower has read the registry."""
    while True:
        cpu_s = process.cpu_s
        time.sleep(2)
        if process.cpu_s - cpu_s < 0.1:
            return


def take_over(made: Bench, leader: Process) -> float:
    """Stop *leader*; seconds until its successor has armed an entry that it did not know yet."""
    leader.terminate()
    began = time.monotonic()
    leader.wait()
    edit(made, "customer-0000007-report")
    return time.monotonic() - began


# ── from files ──────────────────────────────────────────────────────────────────────────────────────────────────────

MANY = """
@task
def report(customer): ...

hours = [hour for hour in range(24) if hour not in {skipped}]
for i in range({n}):
    k = i % {distinct}
    when = crontab(f"{{k % 60}} {{k // 60 % 60}} {{hours[k // 3600 % len(hours)]}} * * {{k // 3600 // len(hours) % 7}}")
    entry(f"customer-{{i:07}}-report", report, when, args=(i,))
"""


def many(n: int) -> str:
    """A schedule file's lines: *n* entries that do not fire now."""
    now_hour = time.gmtime().tm_hour
    skipped = {(now_hour + d) % 24 for d in (-1, 0, 1)}
    return MANY.format(n=n, distinct=max(1, n // PER_SCHEDULE), skipped=skipped)


def reload(measured: Server, n: int = HUNDRED_THOUSAND) -> list[Line]:
    """One entry among *n* changes."""
    with bench(measured, many(n)) as made:
        beat = made.start()
        log_time(made, f"entries={n}", timeout_s=300)
        cpu_s = family_cpu_s(beat)
        by_signal = [reloaded(made, beat, i, command=False) for i in range(5)]
        cpu_s = (family_cpu_s(beat) - cpu_s) / 5
        by_command = [reloaded(made, beat, 5 + i, command=True) for i in range(3)]
    return [
        Line(
            f"one of {n:,} entries changes: armed after {how}",
            f"{median(took) * 1000:.0f} ms ({' · '.join(f'{each * 1000:.0f}' for each in took)})",
            "≤ 1 s",
            median(took) <= 1,
            note=f"{cpu_s:.2f} s of processor each, the load's included" if how == "SIGHUP" else "",
        )
        for how, took in (("SIGHUP", by_signal), ("`sched reload`", by_command))
    ]


def family_cpu_s(process: Process) -> float:
    """Processor seconds of *process* and of its children that have ended."""
    fields = Path(f"/proc/{process.pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return sum(int(field) for field in fields[11:15]) * CLOCK_TICKS_S


def reloaded(made: Bench, beat: Process, nth: int, *, command: bool) -> float:
    """Change one entry in the file, and ask for a reload; seconds until its fires stand armed."""
    file = made.path / "schedules" / "bench.py"
    text = file.read_text(encoding="utf-8").partition("\n# changed")[0]
    # Another queue each time: there its fires are counted.
    changed = f"entry('changed', noop, every('5s', anchor='2026-01-01T00:00:0{nth % 5}Z'), queue='changed-{nth}')"
    file.write_text(f"{text}\n# changed\n{changed}\n", encoding="utf-8")
    key = made.store.keys.delayed(f"changed-{nth}")
    began = time.monotonic()
    if command:
        made.store.loads.request_reload()
    else:
        beat.signal(signal.SIGHUP)
    while not made.store.connection.call("ZCARD", key):
        time.sleep(0.005)
        assert time.monotonic() - began < 120, "not armed"
    took_s = time.monotonic() - began
    time.sleep(1)
    return took_s


def publish(measured: Server, n: int = MILLION) -> list[Line]:
    """*n* new entries in one file."""
    with bench(measured, many(n)) as made:
        beat = made.start()
        published_s = log_time(made, "registry.published", timeout_s=600) - beat.started_mono_s
        planned_s = log_time(made, "registry.read", timeout_s=600) - beat.started_mono_s
        most_mb = memory_mb(beat.pid)[1]
    return [
        Line(f"{n:,} new entries from files: published after", f"{published_s:.1f} s"),
        Line(f"{n:,} new entries from files: in force after", f"{planned_s:.1f} s", note=f"the beat: {most_mb:.0f} MB"),
    ]


# ── midnight ────────────────────────────────────────────────────────────────────────────────────────────────────────


def midnight(measured: Server, n: int = HUNDRED_THOUSAND) -> list[Line]:
    """*n* entries due in the first instant of a minute."""
    with bench(measured, f"for i in range({n}):\n    entry(f'e{{i}}', noop, crontab('* * * * *'))") as made:
        call, keys = made.store.connection.call, made.store.keys
        made.start()
        log_time(made, "registry.read", timeout_s=120)
        log_time(made, "registry.published", timeout_s=120)
        minute_ms = 60_000
        due_ms = (int(made.now_ms()) // minute_ms + 1) * minute_ms
        while due_ms - made.now_ms() < 20_000:
            due_ms += minute_ms
        empty(made, until_ms=due_ms - 16_000)
        armed: list[tuple[float, int]] = []
        while made.now_ms() < due_ms - 50:
            armed.append((made.now_ms(), call("ZCOUNT", keys.delayed("default"), due_ms, due_ms)))
            time.sleep(0.05)
        ready: list[tuple[float, int]] = []
        while not ready or (ready[-1][1] < n and made.now_ms() < due_ms + 30_000):
            length, (seconds, micros) = made.store.connection.pipeline([("LLEN", keys.ready("default")), ("TIME",)])
            ready.append((int(seconds) * 1000 + int(micros) / 1000 - due_ms, length))
    first = next((due_ms - at for at, count in armed if count), 0.0) / 1000
    last = next((due_ms - at for at, count in armed if count >= n), 0.0) / 1000
    waited = [next((at for at, count in ready if count >= n * share), float("inf")) for share in (0.5, 0.99, 1)]
    return [
        Line(
            f"{n:,} entries at one midnight: armed",
            f"from {first:.1f} s to {last:.1f} s before it",
            "all before it",
            last > 0,
        ),
        Line(
            f"{n:,} entries at one midnight: ready after it",
            f"p50 {waited[0]:.0f} · p99 {waited[1]:.0f} · last {waited[2]:.0f} ms",
        ),
    ]


def empty(made: Bench, *, until_ms: float) -> None:
    """Throw away what becomes ready, until *until_ms*."""
    call, keys = made.store.connection.call, made.store.keys
    while made.now_ms() < until_ms:
        if ids := call("LRANGE", keys.ready("default"), 0, 999):
            call("LTRIM", keys.ready("default"), len(ids), -1)
            call("HDEL", keys.messages, *ids)
            call("DEL", keys.slots)
        else:
            time.sleep(0.2)


# ── looking ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def look(measured: Server, n: int = MILLION) -> list[Line]:
    """What a person waits for, with *n* entries."""
    lines = []
    with bench(measured, "") as made:
        seed(made, n)
        for words in ("list *-0000042-*", "list", "list -o jsonl", "status", "show customer-0000042-report"):
            arguments = words.split()
            took_s, first_s, most_mb = command(made, *arguments)
            lines.append(
                Line(
                    f"{n:,} entries: sched {words}",
                    f"{took_s:.1f} s, first byte after {first_s:.1f} s, {most_mb:.0f} MB",
                )
            )
    return lines


def command(made: Bench, *arguments: str) -> tuple[float, float, float]:
    """Run ``sched ARGUMENTS``; seconds until its end, until its first byte, and its memory."""
    began = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "scheduler.cli", *arguments],
        env=environment(made.config) | {"PATH": "/usr/bin:/bin"}, cwd=made.path, stdout=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    process.stdout.read(1)
    first_s = time.monotonic() - began
    while process.stdout.read(1 << 20):
        pass
    _, _, used = os.wait4(process.pid, 0)
    return time.monotonic() - began, first_s, used.ru_maxrss / 1024


LINES = {"million": million, "reload": reload, "publish": publish, "midnight": midnight, "look": look}


def sized(arguments: Sequence[str]) -> int:
    """Run the lines named in *arguments*, in the size that ``--entries`` gives."""
    names = list(arguments)
    lines: dict[str, Callable[..., list[Line]]] = dict(LINES)
    if "--entries" in names:
        at = names.index("--entries")
        n = int(names[at + 1])
        del names[at : at + 2]
        lines = {name: partial(line, n=n) for name, line in lines.items()}
    return main(lines, names, title="Very many entries")


if __name__ == "__main__":
    sys.exit(sized(sys.argv[1:]))
