"""
The children, as their supervisor sees them: what each holds, what it runs, and taking back what it has not started.

    free → has a parcel → (a second one, if the first is quick) → free
         → its task takes long: the unstarted rest is withdrawn, and nothing more is sent until the task is over
         → killed or dead: what it held is sorted into what ran and what did not; a new child takes its slot
"""

from __future__ import annotations

import contextlib
import math
import os
import signal
import socket
from collections import deque
from collections.abc import Callable, Iterator
from typing import NamedTuple

from scheduler.model import Message
from worker.frames import Frames, Parcel, Report, encode
from worker.shared import SETTLE_S, UNLIMITED, Slots
from worker.zygote import Zygote

READ_BYTES = 1 << 20
PARCELS_MAX = 2


class Running(NamedTuple):
    """
    The message that a child runs.

    Attributes:
        since_mono_s: When it was started.
        limit_s: How long it may take, or None.
    """

    message: Message
    since_mono_s: float
    limit_s: float | None

    @property
    def until_mono_s(self) -> float:
        """When it has run for too long."""
        return math.inf if self.limit_s is None else self.since_mono_s + self.limit_s


class Fall(NamedTuple):
    """
    What a dead child leaves behind.

    Attributes:
        running: What it ran when it died, if it ran anything.
        unstarted: What goes back as if nothing had happened (finished, but not reported, included).
        killed_for: Why we killed it and for which message; None if it died by itself.
    """

    running: Running | None
    unstarted: list[Message]
    killed_for: Killed | None


class Killed(NamedTuple):
    """Why a child was killed: ``"time_limit"``, ``"cancel"``, ``"abandoned"`` or ``"stop"``; and over which message."""

    why: str
    id: str = ""


class Single:
    """
    One child, and what it holds.

    Args:
        is_quick: Whether another parcel may wait behind these messages.
    """

    def __init__(self, number: int, slots: Slots, zygote: Zygote, is_quick: Callable[[list[Message]], bool]) -> None:
        self.number = number
        self.killed_for: Killed | None = None
        self._slots = slots
        self._is_quick = is_quick
        self._parcels: deque[Parcel] = deque()
        self._done = 0
        self._sent = 0
        self._withdrawn_from = 0
        self._settle_mono_s = 0.0
        self._quick = True
        self._outbox = bytearray()
        self._frames = Frames(Report)
        slots.reset(number)
        self._sock, theirs = socket.socketpair()
        with theirs:
            born = zygote.spawn(number, theirs)
        self.pid, self._pidfd = born
        self._sock.setblocking(False)

    def fileno(self) -> int:
        """Readable when there are reports, writable when more of a parcel can be sent."""
        return self._sock.fileno()

    # ── what it has ─────────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def is_idle(self) -> bool:
        """Whether it holds nothing."""
        return not self._parcels

    @property
    def is_free(self) -> bool:
        """Whether it can be given a parcel."""
        if self.killed_for is not None or self._withdrawn_from or self._settle_mono_s:
            return False
        return not self._parcels or (len(self._parcels) < PARCELS_MAX and self._quick)

    @property
    def wants_to_write(self) -> bool:
        """Whether a part of a parcel is not sent yet."""
        return bool(self._outbox)

    def held(self) -> Iterator[Message]:
        """What it holds and has not reported, in order."""
        for parcel in self._parcels:
            yield from parcel.messages[max(0, self._done + 1 - parcel.first) :]

    def running(self) -> Running | None:
        """What it runs now."""
        slots, number = self._slots, self.number
        since_mono_s = slots.started_mono_s(number)
        claimed, limit_s = slots.claimed(number), slots.hard_limit_s(number)
        if not since_mono_s or slots.started_mono_s(number) != since_mono_s:
            return None  # it has gone on meanwhile: these may belong to two messages
        message = self._message(claimed)
        return None if message is None else Running(message, since_mono_s, limit_s)

    def has_unstarted(self) -> bool:
        """Whether it holds something behind what it runs."""
        last = self._parcels[-1].last if self._parcels else 0
        return last > max(self._done, self._slots.claimed(self.number))

    # ── giving, and taking back ─────────────────────────────────────────────────────────────────────────────────────

    def give(self, messages: list[Message], clock_ms: float) -> None:
        """Send a parcel of *messages*."""
        parcel = Parcel(self._sent + 1, clock_ms, messages)
        self._sent = parcel.last
        self._quick = self._is_quick(messages)
        self._parcels.append(parcel)
        self._outbox += encode(parcel)
        self.write()

    def write(self) -> None:
        """Send what the socket takes. Whether the child is dead is the zygote's to say."""
        with contextlib.suppress(BlockingIOError, BrokenPipeError, ConnectionResetError):
            while self._outbox:
                sent = self._sock.send(self._outbox)
                del self._outbox[:sent]

    def read(self) -> Iterator[tuple[Report, list[Message]]]:
        """The reports that have come, each with the messages that the child did not start (and that nobody has taken back yet)."""
        while True:
            try:
                data = self._sock.recv(READ_BYTES)
            except (BlockingIOError, ConnectionResetError):
                return
            if not data:
                return
            for report in self._frames.feed(data):
                yield report, self._note(report)
            if len(data) < READ_BYTES:
                return

    def withdraw(self, now_mono_s: float) -> None:
        """Begin to take back what it has not started; `settle` has it after `SETTLE_S`."""
        if not self._settle_mono_s and not self._withdrawn_from:
            self._slots.limit(self.number, self._slots.claimed(self.number))
            self._settle_mono_s = now_mono_s + SETTLE_S

    @property
    def settle_mono_s(self) -> float:
        """When to call `settle`; 0.0 for never."""
        return self._settle_mono_s

    def settle(self) -> list[Message]:
        """The messages that were taken back by `withdraw`."""
        self._settle_mono_s = 0.0
        first = max(self._slots.claimed(self.number), self._done) + 1
        self._withdrawn_from = first
        back = self._cut(first)
        self._reopen()
        return back

    # ── its end ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def kill(self, killed: Killed) -> None:
        """Kill it. The zygote will tell of its death."""
        if self.killed_for is None:
            self.killed_for = killed
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)

    def fall(self) -> Fall:
        """It is dead, and its last reports were read: what it leaves behind. Ends this object."""
        running = self.running()
        message = running.message if running is not None else None
        unstarted = [held for held in self.held() if held is not message]
        os.close(self._pidfd)
        self._sock.close()
        self._parcels.clear()
        return Fall(running, unstarted, self.killed_for)

    # ── inside ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def _message(self, number: int) -> Message | None:
        if number > self._done:
            for parcel in self._parcels:
                if parcel.first <= number <= parcel.last:
                    return parcel.messages[number - parcel.first]
        return None

    def _note(self, report: Report) -> list[Message]:
        back = self._cut(report.unstarted) if report.unstarted else []
        self._done = report.done
        while self._parcels and self._parcels[0].last <= report.done:
            self._parcels.popleft()
        self._reopen()
        return back

    def _cut(self, first: int) -> list[Message]:
        """Everything from number *first* on, which is no longer the child's."""
        back: list[Message] = []
        kept: deque[Parcel] = deque()
        for parcel in self._parcels:
            stay = max(0, first - parcel.first)
            back += parcel.messages[stay:]
            if stay:
                kept.append(Parcel(parcel.first, parcel.clock_ms, parcel.messages[:stay]))
        self._parcels = kept
        return back

    def _reopen(self) -> None:
        """Once the child has passed over all that was withdrawn, it may be given work again."""
        if self._withdrawn_from and self._done >= self._sent:
            self._withdrawn_from = 0
            self._slots.limit(self.number, UNLIMITED)
