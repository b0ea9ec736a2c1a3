"""
Pool `threads`: the child that runs tasks in threads.

The main thread reads what the supervisor sends. Threads are started as they are first needed and share one line of messages.
A run is broken off (soft limit, terminate) by an exception that Python raises in its thread between two instructions: not while it
waits in C, in `time.sleep`, a socket, or a regular expression. Nothing but the end of the process could do that: there is no
hard limit here.
"""

from __future__ import annotations

import ctypes
import heapq
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import lru_cache
from types import TracebackType
from typing import Any

from scheduler.errors import SoftTimeLimitExceeded
from scheduler.model import Message
from worker.coroutine import Awaited, KeptLoops, soft_error, terminated_error
from worker.execute import Executor
from worker.limits import soft_limit_text
from worker.manychild import READ_BYTES, ManyChild
from worker.terminated import Terminated

_raise_in: Any = ctypes.pythonapi.PyThreadState_SetAsyncExc
_raise_in.argtypes = (ctypes.c_ulong, ctypes.py_object)


class ThreadsChild(ManyChild):
    """One child's life."""

    def _make(self, make_executor: Callable[..., Executor]) -> Executor:
        self._threads = Threads(self, self._concurrency)
        return self._threads.make_executor(make_executor)

    def run(self) -> None:
        """Work until the supervisor hangs up."""
        self._hello()
        while data := self._sock.recv(READ_BYTES):
            self._feed(data)

    def _begin(self, given: list[tuple[int, Message]]) -> None:
        self._threads.begin(given)

    def _interrupt(self, cells: list[int]) -> None:
        self._threads.interrupt(cells)

    def _sweep(self) -> None:
        self._threads.sweep()

    def _resize(self, concurrency: int) -> None:
        self._threads.resize(concurrency)


class Threads:
    """
    Threads that share a line of messages.

    Args:
        child: Whose cells, executor and tidings they use.
        most: How many there are at most.
    """

    def __init__(self, child: ManyChild, most: int) -> None:
        self._child = child
        self._most = most
        self._line: deque[tuple[int, Message]] = deque()
        self._changed = threading.Condition(threading.Lock())
        self._threads = 0
        self._idle = 0
        self._runs: dict[int, _Run] = {}
        self._interrupter = _Interrupter()
        self._own = _OfThread()
        self._loops = KeptLoops()

    def make_executor(self, make_executor: Callable[..., Executor]) -> Executor:
        """An executor whose runs can be broken off."""
        return make_executor(self._child._server_ms, guard=self._guard, wait_for=self._wait_for)

    def begin(self, given: list[tuple[int, Message]]) -> None:
        """Run these."""
        with self._changed:
            self._line.extend(given)
            for _ in range(min(len(self._line) - self._idle, self._most - self._threads)):
                self._threads += 1
                threading.Thread(target=self._live, name=f"task-{self._threads}", daemon=True).start()
            self._changed.notify(len(given))

    def resize(self, most: int) -> None:
        """So many threads from now on; who is too many ends after what it runs."""
        with self._changed:
            self._most = most
            self._changed.notify_all()
        self.begin([])

    def sweep(self) -> None:
        """Pass over what was withdrawn, although no thread is free."""
        with self._changed:
            gone = {cell for cell, _ in self._line if self._child._is_withdrawn(cell)}
            left = [each for each in self._line if each[0] not in gone]
            self._line.clear()
            self._line.extend(left)
        for cell in gone:
            self._child._claim(cell)

    def interrupt(self, cells: list[int]) -> None:
        """Break off these runs."""
        for cell in cells:
            run = self._runs.get(cell)
            if run is not None:
                run.interrupt(Terminated)

    # ── a thread ────────────────────────────────────────────────────────────────────────────────────────────────────

    def _live(self) -> None:
        while (found := self._next()) is not None:
            self._one(*found)

    def _next(self) -> tuple[int, Message] | None:
        with self._changed:
            while not self._line:
                if self._threads > self._most:
                    break
                self._idle += 1
                try:
                    self._changed.wait()
                finally:
                    self._idle -= 1
            if self._threads > self._most:
                self._threads -= 1
                return None
            return self._line.popleft()

    def _one(self, cell: int, message: Message) -> None:
        child = self._child
        started_ns = child._claim(cell)
        if not started_ns:
            return
        self._own.run = self._runs[cell] = run = _Run()
        try:
            became = child._executor.run(message)
        except BaseException as error:
            became = child._executor.broken(message, error)
        while True:
            try:
                run.end()
                break
            except (SoftTimeLimitExceeded, Terminated):
                continue  # it arrived here: the task has ended already
        del self._runs[cell]
        self._own.run = None
        child._ended(cell, message, started_ns, became)

    def _guard(self, soft_ms: int | None) -> AbstractContextManager[None]:
        run = self._own.run
        assert run is not None, "only its own threads run messages"
        if soft_ms is not None:
            self._interrupter.later(run, soft_ms)
        return run

    def _wait_for(self, inner: Any) -> Any:
        """Run a coroutine on the thread's own loop."""
        run = self._own.run
        assert run is not None, "only its own threads run messages"
        return self._loops.run(inner, run.awaits)


class _Run(AbstractContextManager[None]):
    """One run, which can be broken off from another thread as long as it is entered."""

    def __init__(self) -> None:
        self._thread = threading.get_ident()
        self._lock = threading.Lock()
        self._is_open = False
        self._is_sent = False
        self._awaited: Awaited | None = None

    def __enter__(self) -> None:
        with self._lock:
            self._is_open = True

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        self.end()

    def awaits(self, awaited: Awaited | None) -> None:
        """From now on it is inside this coroutine."""
        self._awaited = awaited

    def interrupt(self, error: type[BaseException], text: str = "") -> None:
        """Raise *error* in it, if it has not ended."""
        with self._lock:
            if not self._is_open:
                return
            if self._awaited is not None:
                self._awaited.interrupt_soon(terminated_error() if error is Terminated else soft_error(text))
            else:
                self._is_sent = True
                _raise_in(self._thread, error if error is Terminated else _saying(text))

    def end(self) -> None:
        """It can no longer be broken off; what was sent and has not arrived is taken back."""
        with self._lock:
            self._is_open = False
            if self._is_sent:
                self._is_sent = False
                _raise_in(self._thread, ctypes.py_object())  # NULL: nothing


class _Interrupter:
    """Raises `SoftTimeLimitExceeded` in runs when their time is over, from a thread of its own."""

    def __init__(self) -> None:
        self._due: list[tuple[float, int, _Run, int]] = []
        self._changed = threading.Condition()
        self._count = 0

    def later(self, run: _Run, limit_ms: int) -> None:
        """After that long, unless the run has ended."""
        with self._changed:
            self._count += 1
            if self._count == 1:
                threading.Thread(target=self._live, name="soft-limits", daemon=True).start()
            heapq.heappush(self._due, (time.monotonic() + limit_ms / 1000, self._count, run, limit_ms))
            if self._due[0][1] == self._count:
                self._changed.notify()

    def _live(self) -> None:
        while True:
            with self._changed:
                while not self._due or self._due[0][0] > time.monotonic():
                    self._changed.wait(self._due[0][0] - time.monotonic() if self._due else None)
                _, _, run, limit_ms = heapq.heappop(self._due)
            run.interrupt(SoftTimeLimitExceeded, soft_limit_text(limit_ms))


@lru_cache(maxsize=256)
def _saying(text: str) -> type[SoftTimeLimitExceeded]:
    """The class whose instances say *text*: what is raised in a thread is a class, and Python makes the instance."""
    kind = SoftTimeLimitExceeded

    def init(self: SoftTimeLimitExceeded, *args: object) -> None:
        kind.__init__(self, *(args or (text,)))

    named = {"__module__": kind.__module__, "__qualname__": kind.__qualname__, "__init__": init}
    return type(kind.__name__, (kind,), named)


class _OfThread(threading.local):
    run: _Run | None = None
