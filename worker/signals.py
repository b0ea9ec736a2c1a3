"""Signals as something a loop can wait for: a pipe that becomes readable, and how urgent the wish to stop is."""

from __future__ import annotations

import contextlib
import os
import signal
from enum import IntEnum
from types import FrameType, TracebackType
from typing import Any, Self


class Stop(IntEnum):
    """How a worker is asked to stop: not at all; let what runs end, within the grace; at once."""

    NO = 0
    WARM = 1
    NOW = 2


WARM_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
NOW_SIGNALS = (signal.SIGQUIT,)


class Signals:
    """
    Takes over the signals that stop a process, for as long as it is entered.

    SIGTERM, SIGINT and SIGHUP stop warmly, SIGQUIT at once; so does a second SIGINT, from somebody who loses patience.

    Attributes:
        stop: What was asked for so far.
        last: The signal that asked last, as ``"SIGTERM"``; empty before.
    """

    def __init__(self) -> None:
        self.stop = Stop.NO
        self.last = ""
        self._interrupts = 0
        self._reader, self._writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._before: dict[int, Any] = {}
        self._wakeup_before = -1

    def __enter__(self) -> Self:
        for number in (*WARM_SIGNALS, *NOW_SIGNALS):
            self._before[number] = signal.signal(number, self.note)
        self._wakeup_before = signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        signal.set_wakeup_fd(self._wakeup_before)
        for number, handler in self._before.items():
            signal.signal(number, handler)
        os.close(self._reader)
        os.close(self._writer)

    def fileno(self) -> int:
        """Readable after a signal."""
        return self._reader

    def drain(self) -> None:
        """Forget the bytes in the pipe; `stop` remembers."""
        with contextlib.suppress(BlockingIOError):
            while os.read(self._reader, 512):
                pass

    def note(self, number: int, _frame: FrameType | None) -> None:
        """The handler: take note of signal *number*."""
        self.last = signal.Signals(number).name
        self._interrupts += number == signal.SIGINT
        now = number in NOW_SIGNALS or self._interrupts > 1
        self.stop = max(self.stop, Stop.NOW if now else Stop.WARM)


def leave_to_supervisor() -> None:
    """
    In a child: its supervisor decides when it stops, also when a terminal or systemd signals all processes.

    Functions rather than SIG_IGN, which programs that a task starts would inherit.
    """
    signal.set_wakeup_fd(-1)
    for number in (*WARM_SIGNALS, *NOW_SIGNALS):
        signal.signal(number, _ignore)


def _ignore(_number: int, _frame: FrameType | None) -> None:
    pass
