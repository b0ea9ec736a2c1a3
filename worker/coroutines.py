"""
Pool `async`: the child that runs coroutines, many at once on one event loop, and other functions in a few threads beside it.

The loop reads what the supervisor sends and starts coroutines until there are as many as may run. A run is broken off where it
awaits something: the soft limit raises `SoftTimeLimitExceeded` there, the hard one and a terminating cancel cancel it. One that
catches the cancellation is cancelled again every second. One that never awaits keeps the loop, and with it all others; nothing in
this process can help that, so a thread watches the loop and says which task holds it.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import socket
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from types import FrameType
from typing import Any

from scheduler.log import event
from scheduler.model import Message
from worker.coroutine import Awaited, soft_error, terminated_error
from worker.execute import Executor
from worker.limits import over_limit, soft_limit_text
from worker.manychild import READ_BYTES, ManyChild
from worker.prefetch import task_of
from worker.threads import Threads

THREADS_MAX = 32
"""For functions that are no coroutines."""
AGAIN_S = 1.0
"""A coroutine that caught its cancellation is cancelled again after so long."""
BLOCKED_S = 1.0
"""A loop that has not come round for so long is told of."""

_logger = logging.getLogger("worker.coroutines")


class AsyncChild(ManyChild):
    """One child's life."""

    def _make(self, make_executor: Callable[..., Executor]) -> Executor:
        self._loop = asyncio.new_event_loop()
        self._threads = Threads(self, min(THREADS_MAX, self._concurrency))
        self._waiting: deque[tuple[int, Message]] = deque()
        self._runs: dict[int, _Run] = {}
        self._watch = _Watch(self._loop)
        return self._threads.make_executor(make_executor)

    def run(self) -> None:
        """Work until the supervisor hangs up."""
        asyncio.set_event_loop(self._loop)
        self._loop.add_reader(self._sock.fileno(), self._read)
        self._hello()
        self._loop.run_forever()

    def stacks(self) -> str:
        """Where each coroutine waits."""
        return "".join(
            f"\nCoroutine of {run.name} (most recent call first):\n{run.stack()}" for run in self._runs.values()
        )

    def _read(self) -> None:
        with suppress(BlockingIOError):
            # Only this call does not wait: the thread that writes shares the socket.
            data = self._sock.recv(READ_BYTES, socket.MSG_DONTWAIT)
            if data:
                self._feed(data)
            else:
                self._loop.stop()

    def _begin(self, given: list[tuple[int, Message]]) -> None:
        functions = []
        for each in given:
            if self._executor.is_async(task_of(each[1].body)):
                self._waiting.append(each)
            else:
                functions.append(each)
        if functions:
            self._threads.begin(functions)
        self._start()

    def _start(self) -> None:
        """Start what waits, as far as there is room."""
        waiting = self._waiting
        while waiting and len(self._runs) < self._concurrency:
            cell, message = waiting.popleft()
            task = task_of(message.body)
            self._runs[cell] = run = _Run(self._loop, task, self._executor.hard_limit_ms(task, message.body))
            run.task = self._loop.create_task(self._one(cell, message, run), name=task)
        self._watch.is_busy.set()

    async def _one(self, cell: int, message: Message, run: _Run) -> None:
        try:
            started_ns = self._claim(cell)
            if started_ns:
                try:
                    became = await self._executor.run_async(message, run.perform)
                except BaseException as error:
                    became = self._executor.broken(message, error)
                self._ended(cell, message, started_ns, became)
        finally:
            del self._runs[cell]
            if self._waiting:
                self._start()
            elif not self._runs:
                self._watch.is_busy.clear()

    def _interrupt(self, cells: list[int]) -> None:
        for cell in cells:
            if cell in self._runs:
                self._runs[cell].break_off(terminated_error())
        self._threads.interrupt(cells)

    def _sweep(self) -> None:
        gone = {cell for cell, _ in self._waiting if self._is_withdrawn(cell)}
        left = [each for each in self._waiting if each[0] not in gone]
        for cell in gone:
            self._claim(cell)
        self._waiting.clear()
        self._waiting.extend(left)
        self._threads.sweep()

    def _resize(self, concurrency: int) -> None:
        self._concurrency = concurrency
        self._threads.resize(min(THREADS_MAX, concurrency))
        self._start()


class _Run:
    """
    One coroutine.

    Attributes:
        name: Of the task.
        task: The task of asyncio that it runs in.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, name: str, hard_limit_ms: int) -> None:
        self.name = name
        self.task: asyncio.Task[None] | None = None
        self._loop = loop
        self._hard_limit_ms = hard_limit_ms
        self._why: BaseException | None = None
        self._awaited: Awaited | None = None
        self._timers: list[asyncio.TimerHandle] = []

    async def perform(self, inner: Any, soft_ms: int | None) -> Any:
        """Await *inner* within its limits. What ends after it was broken off was broken off, whatever it says."""
        if not inspect.isawaitable(inner):
            return inner
        self._awaited = awaited = Awaited(inner)
        self._set_timers(awaited, soft_ms)
        try:
            value = await awaited
        except BaseException:
            if self._why is not None:
                raise self._why from None
            raise
        finally:
            self._awaited = None
            for timer in self._timers:
                timer.cancel()
        if self._why is not None:
            raise self._why
        return value

    def stack(self) -> str:
        """The lines on which it waits, the innermost first."""
        return "".join(f'  File "{file}", line {line} in {name}\n' for file, line, name in self._frames())

    def _frames(self) -> list[tuple[str, int, str]]:
        found = []
        step: Any = self._awaited.inner if self._awaited is not None else None
        while inspect.iscoroutine(step) and step.cr_frame is not None:
            code = step.cr_frame.f_code
            found.append((code.co_filename, step.cr_frame.f_lineno, code.co_qualname))
            step = step.cr_await
        return found[::-1]

    def break_off(self, error: BaseException) -> None:
        """Cancel it, again and again until it is over; *error* is what became of it."""
        if self._awaited is None:
            return
        self._why = self._why or error
        self._awaited.interrupt(asyncio.CancelledError())
        self._timers.append(self._loop.call_later(AGAIN_S, self.break_off, error))

    def _set_timers(self, awaited: Awaited, soft_ms: int | None) -> None:
        if soft_ms is not None:
            error = soft_error(soft_limit_text(soft_ms))
            self._timers.append(self._loop.call_later(soft_ms / 1000, awaited.interrupt, error))
        if self._hard_limit_ms:
            over = over_limit(self.name, self._hard_limit_ms)
            self._timers.append(self._loop.call_later(self._hard_limit_ms / 1000, self.break_off, over))


class _Watch:
    """
    Notices a loop that does not come round, from a thread of its own.

    Attributes:
        is_busy: Set while coroutines run; without them nothing is looked at.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.is_busy = threading.Event()
        self._loop = loop
        self._thread = threading.get_ident()
        threading.Thread(target=self._live, name="watch", daemon=True).start()

    def _live(self) -> None:
        while True:
            self.is_busy.wait()
            came_round = threading.Event()
            asked_mono_s = time.monotonic()
            self._loop.call_soon_threadsafe(came_round.set)
            if not came_round.wait(BLOCKED_S):
                self._tell(sys._current_frames().get(self._thread))
                came_round.wait()
                event(_logger, "loop.free", after_s=time.monotonic() - asked_mono_s)
            time.sleep(BLOCKED_S / 2)

    def _tell(self, frame: FrameType | None) -> None:
        task = asyncio.current_task(self._loop)
        where = traceback.extract_stack(frame)[-1] if frame is not None else None
        event(
            _logger,
            "loop.blocked",
            level=logging.WARNING,
            task=task.get_name() if task is not None else None,
            where=f"{where.filename}:{where.lineno}" if where is not None else None,
            note="a coroutine keeps the event loop and awaits nothing: no other one can run, and no limit reaches it; "
            "move its work into a function that is no coroutine, or to pool prefork",
        )
