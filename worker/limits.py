"""
Time limits.

The soft one is an alarm in the process that runs the task: it raises `SoftTimeLimitExceeded` there, between two
instructions of Python. The hard one is kept by the supervisor, which kills the child.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from scheduler.errors import SoftTimeLimitExceeded, TimeLimitExceeded
from scheduler.timing.duration import format_duration
from worker.coroutine import KeptLoops, soft_error


class StopNow(BaseException):
    """In `solo`: the process was told to stop at once, in the middle of a task."""


class Alarm:
    """
    Soft limits in a main thread, by SIGALRM.

    Args:
        loops: Where coroutines of this thread run: one that waits is interrupted where it waits.
    """

    def __init__(self, loops: KeptLoops) -> None:
        self._loops = loops

    @contextmanager
    def __call__(self, limit_ms: int | None) -> Iterator[None]:
        """Within it, `SoftTimeLimitExceeded` is raised once *limit_ms* have passed."""
        if limit_ms is None:
            yield
            return
        running = True

        def ring(_number: int, _frame: FrameType | None) -> None:
            if not running:
                return
            awaited = self._loops.awaited
            if awaited is None or awaited.is_current():
                raise SoftTimeLimitExceeded(soft_limit_text(limit_ms))
            awaited.interrupt_soon(soft_error(soft_limit_text(limit_ms)))

        before = signal.signal(signal.SIGALRM, ring)
        try:
            signal.setitimer(signal.ITIMER_REAL, limit_ms / 1000)
            yield
        finally:
            running = False
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)


def over_limit(task: str, limit_ms: int) -> TimeLimitExceeded:
    """What a run of *task* ends with that was ended after *limit_ms*."""
    return TimeLimitExceeded(f"task {task!r}: time limit of {format_duration(limit_ms)} exceeded")


def soft_limit_text(limit_ms: int) -> str:
    """What `SoftTimeLimitExceeded` says."""
    return f"soft time limit of {format_duration(limit_ms)} exceeded"
