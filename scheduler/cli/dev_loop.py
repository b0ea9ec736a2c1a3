"""
The life of `sched dev`: a beat and a worker kept alive, heard, and renewed when the schedule files change.

    starting ──the files are loaded──▶ running ──signal──▶ stopping ──all have ended, or STOP_S──▶ over

One thread, one `select`; the children do the work. A change of the files: the beat loads them (SIGHUP). When it has, a new
worker takes over and the old one drains. If a file broke that was sound before, beat and worker go on with what they have.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from scheduler.cli.dev_child import STEADY_S, Child, restart_pause_s
from scheduler.cli.dev_lines import Line, Lines
from scheduler.config import Config
from scheduler.embedded import EmbeddedServer
from scheduler.errors import StoreError
from scheduler.store import Store

POLL_S = 0.4
"""How often we look at the files, at the queues and at the server."""
FIRST_LOAD_S = 5.0
"""How long the first worker waits for the beat to load the files; without them it takes from the known queues."""
WORKER_GRACE_S = 2
STOP_S = 3.5
"""After Ctrl-C: what has not ended by itself by then is killed, so that all is over within 5 s."""
RETIRE_S = 30.0
SUFFIXES = (".py", ".ics")
"""What a load reads: schedule files, and calendars of holidays that they name."""

_LOADED = ("registry.published", "files.unloadable")


class Dev:
    """
    Everything that runs.

    Args:
        arguments: The global options to hand on to beat and worker.
        concurrency: The worker's children.
        server: The embedded server, started; None where the settings name a Redis.
        show: Prints a line.
    """

    def __init__(
        self, config: Config, store: Store, *, arguments: Sequence[str], concurrency: int,
        server: EmbeddedServer | None, show: Callable[[Line], None],
    ) -> None:  # fmt: skip
        self._config = config
        self._store = store
        self._arguments = tuple(arguments)
        self._concurrency = concurrency
        self._server = server
        self._show = show
        self._lines = Lines()
        self._files = Files(config.schedules)
        self._running: dict[str, Child] = {}
        self._retiring: list[tuple[Child, float]] = []
        self._failures = {"beat": 0, "worker": 0}
        self._start_mono_s: dict[str, float] = {}
        self._queues: frozenset[str] = frozenset((config.default_queue, *config.queue_names))
        self._broken: set[str] = set()
        self._worker_broken: set[str] | None = None
        self._stops = 0
        self._pipe_out, self._pipe_in = os.pipe()
        os.set_blocking(self._pipe_out, False)
        os.set_blocking(self._pipe_in, False)

    def listen(self) -> None:
        """Take signals. To be called in the main thread."""
        signal.set_wakeup_fd(self._pipe_in, warn_on_full_buffer=False)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._on_stop)
        # Only to wake us up: who has ended is asked of each child.
        signal.signal(signal.SIGCHLD, lambda *_: None)

    def run(self) -> int:
        """Until a signal; the exit code: 0, or 130 where a second one forbade us to wait."""
        try:
            self._start("beat")
            self._start_mono_s["worker"] = time.monotonic() + FIRST_LOAD_S
            next_poll_mono_s = time.monotonic() + POLL_S
            while not self._stops:
                self._hear(min(POLL_S, self._pause_s()))
                self._mourn()
                self._start_due()
                if time.monotonic() >= next_poll_mono_s:
                    next_poll_mono_s = time.monotonic() + POLL_S
                    self._look()
            self._stop()
            return 0 if self._stops == 1 else 130
        finally:
            for child in self._children():
                child.kill()

    # ── starting ────────────────────────────────────────────────────────────────────────────────────────────────────

    def _start(self, name: str) -> None:
        self._start_mono_s.pop(name, None)
        environ = os.environ | {"PYTHONUNBUFFERED": "1"}
        arguments = [*self._arguments, name, "-n", "dev"]
        if name == "worker":
            environ["SCHED_GRACE"] = f"{WORKER_GRACE_S}s"
            arguments += ["-c", str(self._concurrency), "-Q", ",".join(sorted(self._queues))]
            self._worker_broken = set(self._broken)
        self._running[name] = Child(name, arguments, environ)

    def _start_due(self) -> None:
        for name, when_mono_s in list(self._start_mono_s.items()):
            if time.monotonic() >= when_mono_s:
                self._start(name)

    def _pause_s(self) -> float:
        return max(0.0, min([POLL_S, *(when - time.monotonic() for when in self._start_mono_s.values())]))

    def _renew_worker(self) -> None:
        """A new worker with the new code at once, while the old one ends what it runs."""
        old = self._running.pop("worker", None)
        self._start("worker")
        if old is not None:
            old.tell(signal.SIGTERM)
            self._retiring.append((old, time.monotonic() + RETIRE_S))

    # ── hearing ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def _hear(self, timeout_s: float) -> None:
        """Wait for something to happen, and print what the children say."""
        children = {fd: child for child in self._children() for fd in child.descriptors}
        readable, _, _ = select.select([self._pipe_out, *children], [], [], timeout_s)
        with contextlib.suppress(BlockingIOError):
            while os.read(self._pipe_out, 4096):
                pass
        for child in {children[fd].pid: children[fd] for fd in readable if fd in children}.values():
            self._listen_to(child)

    def _listen_to(self, child: Child) -> None:
        for text in child.output():
            self._say(child.name, text, "dim")
        for said in child.events():
            for line in self._lines.of(said):
                self._show(line)
            if child.name == "beat":
                self._follow(said)

    def _follow(self, said: Mapping[str, Any]) -> None:
        """What the beat's loading of the files means for the worker."""
        event, fields = said.get("event"), said.get("fields") or {}
        if event == "file.broken":
            self._broken.add(str(fields.get("mistake", "")).partition(":")[0])
        if event not in _LOADED:
            return
        self._ask_queues(of_entries=True)
        if self._worker_broken is None:
            self._start("worker")
        elif self._files.loading:
            if event == "registry.published" and self._broken <= self._worker_broken:
                self._renew_worker()
            else:
                self._say("broken", "beat and worker go on with what they have, until the files are mended", "bold red")
        self._files.loading = False

    # ── looking after things ────────────────────────────────────────────────────────────────────────────────────────

    def _look(self) -> None:
        """What nobody tells us of: changed files, new queues, a server that died."""
        if self._server is not None and not self._server.answers:
            self._say("redis", "the embedded server died; starting it again", "bold red")
            self._server.kill()
            try:
                self._server.start()
            except StoreError as error:
                self._say("redis", str(error), "bold red")
            return
        if changed := self._files.changed():
            self._say("changed", ", ".join(changed), "blue")
            self._broken.clear()
            self._files.loading = True
            for name in self._failures:
                self._failures[name] = 0
            if "beat" in self._running:
                self._running["beat"].tell(signal.SIGHUP)
        if self._ask_queues() and "worker" in self._running:
            self._renew_worker()

    def _ask_queues(self, *, of_entries: bool = False) -> bool:
        """
        Learn of queues that the worker does not take from yet: those that hold messages, or ever did.

        Args:
            of_entries: Also those of entries that have not fired yet.
        """
        try:
            queues = self._queues.union(self._store.queues.names())
            if of_entries:
                queues |= {record.entry.queue for record in self._store.registry.all() if record.entry is not None}
        except StoreError:
            return False  # beat and worker say that it is away
        new, self._queues = queues - self._queues, queues
        return bool(new)

    def _mourn(self) -> None:
        """Whoever has ended: let go of the retired, start the others again."""
        for name, child in list(self._running.items()):
            code = child.ended()
            if code is not None:
                del self._running[name]
                self._forget(child)
                lived_s = time.monotonic() - child.started_mono_s
                self._failures[name] = 1 if lived_s > STEADY_S else self._failures[name] + 1
                pause_s = restart_pause_s(self._failures[name])
                self._start_mono_s[name] = time.monotonic() + pause_s
                self._say(name, f"{how_it_ended(code)}; starting it again in {pause_s:g} s", "bold red", loud=True)
        for child, until_mono_s in list(self._retiring):
            if time.monotonic() > until_mono_s:
                child.kill()
            if child.ended() is not None:
                self._retiring.remove((child, until_mono_s))
                self._forget(child)

    def _forget(self, child: Child) -> None:
        self._listen_to(child)
        child.close()

    # ── stopping ────────────────────────────────────────────────────────────────────────────────────────────────────

    def _stop(self) -> None:
        """Everybody at once; the server last, since the others still need it."""
        self._say("stopping", "Ctrl-C again stops at once", "bold")
        deadline_mono_s = time.monotonic() + STOP_S
        for child in self._children():
            child.tell(signal.SIGTERM)
        while self._stops == 1 and time.monotonic() < deadline_mono_s and any(self._living()):
            self._hear(max(0.0, min(0.1, deadline_mono_s - time.monotonic())))
        for child in list(self._living()):
            child.kill()
            if self._stops == 1:
                self._say(child.name, "did not end in time and was killed; what it ran will run again", "yellow")
        for child in self._children():
            self._forget(child)
        self._running.clear()
        self._retiring.clear()

    def _living(self) -> Iterator[Child]:
        return (child for child in self._children() if child.ended() is None)

    def _children(self) -> list[Child]:
        return [*self._running.values(), *(child for child, _ in self._retiring)]

    def _on_stop(self, _number: int, _frame: object) -> None:
        self._stops += 1

    def _say(self, badge: str, text: str, style: str, *, loud: bool = False) -> None:
        self._show(Line.now(badge, style, text, loud=loud))


class Files:
    """
    The schedule files of a folder, and the calendars beside them, looked at from time to time.

    Attributes:
        loading: The beat was told to load them again and has not answered yet.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._known = self._last = self._read()
        self.loading = False

    def changed(self) -> list[str]:
        """
        The files that were written, added or removed since the last answer; empty while somebody is still at it.

        An editor writes in several steps: only what stood still from one look to the next is a change.
        """
        now = self._read()
        if now != self._last:
            self._last = now
            return []
        names = sorted(
            name for name in now.keys() | self._known.keys() if now.get(name) != self._known.get(name)
        )  # fmt: skip
        self._known = now
        return names

    def _read(self) -> dict[str, tuple[int, int]]:
        found = {}
        for root, folders, names in os.walk(self._folder):
            folders[:] = [name for name in folders if not name.startswith((".", "__pycache__"))]
            for name in names:
                if name.endswith(SUFFIXES) and not name.startswith("."):
                    path = Path(root, name)
                    with contextlib.suppress(OSError):
                        facts = path.stat()
                        found[str(path.relative_to(self._folder.parent))] = (facts.st_mtime_ns, facts.st_size)
        return found


def how_it_ended(code: int) -> str:
    """An exit code in words: ``ended with code 1``, ``was killed by SIGKILL``."""
    if code >= 0:
        return f"ended with code {code}"
    with contextlib.suppress(ValueError):
        return f"was killed by {signal.Signals(-code).name}"
    return f"was killed by signal {-code}"
