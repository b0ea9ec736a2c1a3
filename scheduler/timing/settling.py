"""
Settling: asking what exists only as a Python object (a trigger, a function) for what it says, as data.

It happens once in a load, in the process that has the object. Whoever plans later has the answers alone. What is asked here is
users' code, so each question is bounded in time.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Final, NamedTuple

from scheduler.errors import InvalidScheduleError

if TYPE_CHECKING:
    from scheduler.timing.base import Schedule

ANSWER_S_MAX: Final = 2.0
"""What answers no sooner counts as hung, and is a mistake of its entry."""
LOAD_S: Final = 10.0
"""What all rules of one load should take together; a load may take six times as long."""
ASK_S: Final = 0.3
"""So long is one rule asked for more; then what it has said has to do. Each gets a fiftieth of what is left at most."""
HURRIED_S: Final = 0.002
RING_AGAIN_S: Final = 0.1


class Patience:
    """
    How much time the rules of one load have taken so far, and what they have answered.

    Attributes:
        answers: By what tells one question from another, with the notes that were made; nobody is asked twice.
    """

    __slots__ = ("answers", "spent_s")

    def __init__(self) -> None:
        self.spent_s = 0.0
        self.answers: dict[Hashable, tuple[Schedule, tuple[str, ...]]] = {}

    @property
    def ask_s(self) -> float:
        """So long may the next one be asked for more."""
        return max(HURRIED_S, min(ASK_S, (LOAD_S - self.spent_s) / 50))


class Settling(NamedTuple):
    """
    What settling an entry's schedule needs to know.

    Attributes:
        now_ms: The moment of the load, the same for all its entries.
        patience: Shared by all entries of the load.
        notes: Warnings that only the asking has brought to light; they are added here, one sentence each.
        timezone: The zone that the entry's author may have had in mind, for warnings; None: nobody knows.
    """

    now_ms: int
    patience: Patience
    notes: list[str]
    timezone: str | None = None

    @contextmanager
    def asking(self, what: str) -> Iterator[None]:
        """
        Run users' code for `ANSWER_S_MAX` at most, and count the time.

        Only the main thread can be interrupted; elsewhere nothing is bounded. Code that is stuck inside a C function is
        not interrupted either: then the whole load is ended from outside.

        Raises:
            InvalidScheduleError: *what* did not answer in time.
        """
        began_mono_s = time.monotonic()
        try:
            with _alarm(what):
                yield
        finally:
            self.patience.spent_s += time.monotonic() - began_mono_s


class _Overdue(BaseException):
    """Raised into users' code; no `except Exception` of theirs stops it."""


@contextmanager
def _alarm(what: str) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    armed = True

    def ring(_number: int, _frame: FrameType | None) -> None:
        if armed:
            raise _Overdue

    handler_before = signal.signal(signal.SIGALRM, ring)
    began_mono_s = time.monotonic()
    # Again and again: a bare `except:` in a loop swallows one.
    left_s, interval_s = signal.setitimer(signal.ITIMER_REAL, ANSWER_S_MAX, RING_AGAIN_S)
    try:
        yield
        armed = False
    except _Overdue:
        armed = False
        raise InvalidScheduleError(
            f"{what} did not answer within {ANSWER_S_MAX:g} s; it may never: mend it, or use a schedule of our own"
        ) from None
    finally:
        armed = False
        signal.signal(signal.SIGALRM, handler_before)
        if left_s:
            # Somebody else's alarm, which we have put off.
            left_s = max(0.001, left_s - (time.monotonic() - began_mono_s))
        signal.setitimer(signal.ITIMER_REAL, left_s, interval_s)
