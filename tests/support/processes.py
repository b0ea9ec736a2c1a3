"""
Real beats and workers for tests: `sched` in processes of their own, whose events can be waited for.

A test starts a process, waits until it *says* that something has happened (see `scheduler/events.py`), sends a signal, and
waits for what must follow. Nothing here sleeps for a guessed time.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from scheduler.config import SETTINGS, Config
from scheduler.exchange import Queue

CLOCK_TICKS_S = 1 / os.sysconf("SC_CLK_TCK")


class Event(NamedTuple):
    """One line that a process told. `nth`: its place among them; `at_s`: its own wall clock."""

    nth: int
    at_s: float
    name: str
    fields: Mapping[str, Any]
    level: str
    pid: int


class Told:
    """The events of a process, read by a thread as they come."""

    def __init__(self, fd: int) -> None:
        self._events: list[Event] = []
        self._changed = threading.Condition()
        self._ended = False
        self._thread = threading.Thread(target=self._read, args=(fd,), daemon=True)
        self._thread.start()

    def all(self, name: str = "") -> list[Event]:
        """What was told so far, of the events called *name*."""
        with self._changed:
            return [event for event in self._events if not name or event.name == name]

    def wait(
        self,
        name: str,
        where: Callable[[Mapping[str, Any]], bool] = lambda _: True,
        *,
        after: Event | None = None,
        timeout_s: float = 15.0,
    ) -> Event:
        """
        The first event called *name* that fits *where*, told already (later than *after*) or within *timeout_s*.

        Raises:
            AssertionError: It was not told; says what was.
        """
        deadline = time.monotonic() + timeout_s
        start = 0 if after is None else after.nth + 1
        with self._changed:
            while True:
                for event in self._events[start:]:
                    if event.name == name and where(event.fields):
                        return event
                start = max(start, len(self._events))
                left_s = deadline - time.monotonic()
                if left_s <= 0 or (self._ended and left_s < timeout_s - 1):
                    told = ", ".join(f"{event.name} {dict(event.fields)}" for event in self._events[-12:])
                    raise AssertionError(f"no {name} within {timeout_s:g} s; the last that was told: {told}")
                self._changed.wait(min(left_s, 1.0))

    def _read(self, fd: int) -> None:
        with os.fdopen(fd, "rb") as lines:
            for line in lines:
                try:
                    said = msgspec.json.decode(line)
                except msgspec.DecodeError:
                    continue
                name, fields = said.get("event") or said.get("message", ""), said.get("fields", {})
                with self._changed:
                    self._events.append(
                        Event(len(self._events), said["time"], name, fields, said["level"], said["pid"])
                    )
                    self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()


class Process:
    """
    ``sched ARGUMENTS`` as users run it, with *config* in its environment.

    Args:
        command: Run this instead of ``python -m scheduler.cli``.
        tell: Collect its events. Without it the process logs to *log_path*, and spends nothing on telling.
        log_path: Its stderr; without one it is ours.
    """

    def __init__(
        self,
        *arguments: str,
        config: Config,
        cwd: Path,
        environ: Mapping[str, str] | None = None,
        command: tuple[str, ...] = (sys.executable, "-P", "-m", "scheduler.cli"),
        tell: bool = True,
        log_path: Path | None = None,
    ) -> None:
        env = {name: value for name, value in os.environ.items() if not name.startswith(("SCHED_", "NOTIFY_"))}
        env |= environment(config) | dict(environ or {})
        pass_fds: tuple[int, ...] = ()
        read_fd = write_fd = -1
        if tell:
            read_fd, write_fd = os.pipe()
            env["SCHED_EVENTS_FD"] = str(write_fd)
            pass_fds = (write_fd,)
        self.started_mono_s = time.monotonic()
        with (log_path or Path(os.devnull)).open("ab") as log:
            self._popen = subprocess.Popen(
                [*command, *arguments], env=env, cwd=cwd, pass_fds=pass_fds, stdin=subprocess.DEVNULL,
                stderr=log if log_path is not None else None, start_new_session=True,
            )  # fmt: skip
        if tell:
            os.close(write_fd)
            self.told = Told(read_fd)

    @property
    def pid(self) -> int:
        """Its process."""
        return self._popen.pid

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return self._popen.poll() is None

    @property
    def cpu_s(self) -> float:
        """Processor seconds of the process itself so far, of its children not."""
        fields = Path(f"/proc/{self.pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) * CLOCK_TICKS_S

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the process itself."""
        os.kill(self.pid, number)

    def terminate(self) -> None:
        """SIGTERM: as systemd stops it."""
        self.signal(signal.SIGTERM)

    def pause(self) -> None:
        """SIGSTOP: it stands still and knows nothing of it."""
        self.signal(signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT."""
        self.signal(signal.SIGCONT)

    def wait(self, timeout_s: float = 10.0) -> int:
        """Its exit code, once it has ended."""
        return self._popen.wait(timeout_s)

    def kill(self) -> None:
        """SIGKILL for the process, at once, and then for whatever it has left behind in its session."""
        if self.running:
            self._popen.kill()
        self._popen.wait()
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            return


def _written(queue: Queue) -> dict[str, object]:
    """*queue* as files write it."""
    ways = [
        {"routing_key": way.routing_key}
        | ({"exchange": way.exchange.name, "type": way.exchange.type} if way.exchange else {})
        for way in queue.bindings
    ]
    limits = {"max_length": queue.max_length, "overflow": queue.overflow, "concurrency": queue.concurrency}
    return {"name": queue.name, "bindings": ways} | limits


def environment(config: Config) -> dict[str, str]:
    """*config* as the variables that `load_config` reads: what differs from the defaults, and where Redis is."""
    usual = Config(redis_url=config.redis_url)
    found = {"SCHED_REDIS_URL": config.redis_url}
    for name, (field, _) in SETTINGS.items():
        value = getattr(config, field)
        # The late limit follows the horizon where it is not given.
        if name == "redis_url" or (value == getattr(usual, field) and name != "late_limit"):
            continue
        if field.endswith("_ms"):
            found[f"SCHED_{name.upper()}"] = f"{value}ms"
        elif field == "queues":
            found["SCHED_QUEUES"] = msgspec.json.encode([_written(queue) for queue in value]).decode()
        elif field == "max_memory_per_child":
            found["SCHED_MAX_MEMORY_PER_CHILD"] = f"{value}B"  # a bare number would be KiB
        elif isinstance(value, tuple):
            found[f"SCHED_{name.upper()}"] = ",".join(value)
        elif isinstance(value, dict):
            found[f"SCHED_{name.upper()}"] = msgspec.json.encode(value).decode()
        else:
            found[f"SCHED_{name.upper()}"] = str(value)
    return found
