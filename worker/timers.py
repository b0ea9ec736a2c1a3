"""How exactly the thread that waits for moments is woken up."""

from __future__ import annotations

import ctypes
from contextlib import suppress

_PR_SET_TIMERSLACK = 29
SLACK_NS = 1_000
"""The kernel may put off a timeout by 50 µs, to wake up for several at once: half of what an idle worker is late by."""


def wake_exactly() -> None:
    """From now on timeouts of the calling thread (and of what it forks later) are kept to the microsecond, where Linux lets us."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_TIMERSLACK, SLACK_NS, 0, 0, 0)
