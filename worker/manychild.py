"""
What children of `threads` and `async` have in common: batches in, tidings out, and a note in shared memory about what has started.

One thread reads and one writes, beside those that run tasks: what is finished is told at once, whatever else is running. Each
message is claimed before it starts (`worker.cells`); who finds it withdrawn passes over it.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Any, NamedTuple

from scheduler.model import Message, Outcome
from worker.cells import STARTED, WITHDRAWN, WORDS
from worker.execute import Became, Executor
from worker.frames import Batch, Frames, Hello, Interrupt, Released, Resize, Retried, Sweep, Tidings, ToMany, encode
from worker.prefetch import task_of

READ_BYTES = 1 << 20
TIDINGS_MAX = 500


class Over(NamedTuple):
    """A message that the child is done with; *became* is None if it was passed over."""

    cell: int
    task: str
    took_s: float
    became: Became | None


class ManyChild(ABC):
    """
    One child's life.

    Args:
        words: Its cells in shared memory.
        make_executor: Given a function that tells Redis' time, and collaborators of the executor.
        concurrency: How many to run at once.
    """

    def __init__(
        self, sock: socket.socket, words: memoryview, make_executor: Callable[..., Executor], concurrency: int
    ) -> None:
        self._sock = sock
        self._words = words
        self._concurrency = concurrency
        self._clock_ms = time.time() * 1000 - time.monotonic() * 1000
        self._pid = os.getpid()
        self._over: SimpleQueue[Over] = SimpleQueue()
        self._frames = Frames(ToMany)
        self._executor = self._make(make_executor)

    @abstractmethod
    def _make(self, make_executor: Callable[..., Executor]) -> Executor: ...

    @abstractmethod
    def run(self) -> None:
        """Work until the supervisor hangs up."""

    # ── reading ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def _hello(self) -> None:
        threading.Thread(target=self._write, name="reports", daemon=True).start()
        self._sock.sendall(encode(Hello()))

    def _feed(self, data: bytes) -> None:
        """Act on what the supervisor has sent."""
        for frame in self._frames.feed(data):
            match frame:
                case Batch(clock_ms, cells, messages, session):
                    self._clock_ms = clock_ms
                    self._executor.session = session
                    self._begin(list(zip(cells, messages, strict=True)))
                case Interrupt(cells):
                    self._interrupt(cells)
                case Sweep():
                    self._sweep()
                case Resize(concurrency):
                    self._resize(concurrency)

    @abstractmethod
    def _begin(self, given: list[tuple[int, Message]]) -> None:
        """Run these, each as soon as it can be."""

    @abstractmethod
    def _interrupt(self, cells: list[int]) -> None:
        """Break off what runs under *cells*."""

    @abstractmethod
    def _sweep(self) -> None:
        """Pass over what was withdrawn, now."""

    @abstractmethod
    def _resize(self, concurrency: int) -> None:
        """Run so many at once."""

    # ── running ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def _claim(self, cell: int) -> int:
        """Claim a message; when it started, in ns, or 0 if it was withdrawn (then it was passed over)."""
        at = cell * WORDS
        started_ns = time.monotonic_ns()
        # Claim, then look whether it was taken back meanwhile: in this order, see `worker.cells`.
        self._words[at + STARTED] = started_ns
        if self._words[at + WITHDRAWN]:
            self._words[at + STARTED] = 0
            self._over.put(Over(cell, "", 0.0, None))
            return 0
        return started_ns

    def _is_withdrawn(self, cell: int) -> bool:
        return bool(self._words[cell * WORDS + WITHDRAWN])

    def _ended(self, cell: int, message: Message, started_ns: int, became: Became) -> None:
        if os.getpid() != self._pid:
            os._exit(0)  # a task has forked, and its copy came back from it
        self._over.put(Over(cell, task_of(message.body), (time.monotonic_ns() - started_ns) / 1e9, became))

    def _server_ms(self) -> float:
        return time.monotonic() * 1000 + self._clock_ms

    # ── writing ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def _write(self) -> None:
        """Tell what is over, as it comes; what comes meanwhile travels together."""
        over = self._over
        while True:
            batch = [over.get()]
            try:
                while len(batch) < TIDINGS_MAX:
                    batch.append(over.get_nowait())
            except Empty:
                pass
            try:
                self._sock.sendall(encode(_tidings(batch)))
            except OSError:
                return  # the supervisor is gone, and so will we be


def _tidings(batch: list[Over]) -> Tidings:
    done: list[int] = []
    passed: list[int] = []
    sorted_: dict[type[Any], list[Any]] = {Outcome: [], Retried: [], Released: []}
    spent: dict[str, tuple[int, float]] = {}
    for cell, task, took_s, became in batch:
        if became is None:
            passed.append(cell)
            continue
        done.append(cell)
        sorted_[type(became)].append(became)
        count, total_s = spent.get(task, (0, 0.0))
        spent[task] = (count + 1, total_s + took_s)
    return Tidings(done, passed, sorted_[Outcome], sorted_[Retried], sorted_[Released], spent)
