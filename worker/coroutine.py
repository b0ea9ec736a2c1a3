"""
Coroutines, awaited so that they can be broken off with an exception of ours, on event loops that are kept between tasks.

What a task connects or caches on its loop (a client, a pool of connections) is there for the next one. Between two tasks a kept
loop stands still: what a task left running in the background goes on when the next coroutine runs.
"""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Awaitable, Callable, Generator
from types import CoroutineType
from typing import Any

from scheduler.errors import SoftTimeLimitExceeded
from worker.terminated import Terminated


class _SoftLimit(SoftTimeLimitExceeded, asyncio.CancelledError):
    """
    What is raised at the `await` of a coroutine. Being a cancellation too, it is understood by whatever awaits on behalf of the
    task: a `TaskGroup` cancels its children and lets it through.
    """


# One word for one thing: in tracebacks, results and `retry_for` it is what the user imports.
_SoftLimit.__name__, _SoftLimit.__qualname__ = SoftTimeLimitExceeded.__name__, SoftTimeLimitExceeded.__qualname__
_SoftLimit.__module__ = SoftTimeLimitExceeded.__module__


class _Terminated(Terminated, asyncio.CancelledError):
    """The same for a run that is broken off."""


def terminated_error() -> Terminated:
    """`Terminated` for a coroutine."""
    return _Terminated()


def soft_error(text: str) -> SoftTimeLimitExceeded:
    """`SoftTimeLimitExceeded` for a coroutine."""
    return _SoftLimit(text)


class Awaited:
    """
    An awaitable around *inner*, of which `interrupt` breaks off whatever it waits for.

    A task of asyncio can only be cancelled. So we cancel it, and on its way to the coroutine the cancellation becomes the error.

    Attributes:
        inner: What is awaited.
    """

    def __init__(self, inner: Awaitable[Any]) -> None:
        self.inner = inner
        self._error: BaseException | None = None
        self._task: asyncio.Task[Any] | None = None

    def interrupt(self, error: BaseException) -> None:
        """Raise *error* where the coroutine waits. In the thread of its loop."""
        if self._task is not None and not self._task.done():
            self._error = error
            self._task.cancel()

    def is_current(self) -> bool:
        """Whether its own code is running in this moment, in this thread."""
        task = self._task
        return task is not None and asyncio.current_task(task.get_loop()) is task

    def interrupt_soon(self, error: BaseException) -> None:
        """The same, from another thread or a signal handler."""
        if self._task is not None:
            self._task.get_loop().call_soon_threadsafe(self.interrupt, error)

    def __await__(self) -> Generator[Any, Any, Any]:
        self._task = task = asyncio.current_task()
        steps = self.inner.__await__()
        thrown: BaseException | None = None
        try:
            while True:
                try:
                    waits_for = steps.send(None) if thrown is None else steps.throw(thrown)
                    thrown = None
                    yield waits_for
                except StopIteration as stop:
                    return stop.value
                except BaseException as error:
                    if not _is_suspended(self.inner):
                        raise  # it came out of the coroutine
                    thrown = error
                    if isinstance(error, asyncio.CancelledError) and self._error is not None and task is not None:
                        thrown, self._error = self._error, None
                        task.uncancel()
        finally:
            self._task = None
            if isinstance(steps, Generator) or hasattr(steps, "close"):
                steps.close()


def _is_suspended(inner: Awaitable[Any]) -> bool:
    return isinstance(inner, CoroutineType) and inspect.getcoroutinestate(inner) == inspect.CORO_SUSPENDED


class KeptLoops:
    """One event loop for each thread that runs coroutines."""

    def __init__(self) -> None:
        self._local = _OfThread()

    @property
    def awaited(self) -> Awaited | None:
        """What this thread is running, if it is a coroutine."""
        return self._local.awaited

    def run(self, inner: Any, tell: Callable[[Awaited | None], None] = lambda _: None) -> Any:
        """
        Run *inner* to its end in this thread; what is no awaitable is the value already.

        Args:
            tell: Is told what may be interrupted from now on; None once that is over.
        """
        if not inspect.isawaitable(inner):
            return inner
        local = self._local
        if local.loop is None or local.loop.is_closed():
            local.loop = asyncio.new_event_loop()
        local.awaited = awaited = Awaited(inner)
        tell(awaited)
        try:
            return local.loop.run_until_complete(_awaiting(awaited))
        finally:
            local.awaited = None
            tell(None)


class _OfThread(threading.local):
    loop: asyncio.AbstractEventLoop | None = None
    awaited: Awaited | None = None


async def _awaiting(awaited: Awaited) -> Any:
    return await awaited
