"""
A child as its supervisor sees it: a process, a socket, and what it holds. `worker.single` and `worker.many` know the latter.

    born → said hello → is given work ... → let go of (given nothing more) → idle → hung up on → dead
         → killed or dead at any time: what it held is sorted into what ran and what did not
"""

from __future__ import annotations

import contextlib
import math
import os
import signal
import socket
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from scheduler.model import Message
from worker.frames import Frame, Frames, Hello, Report, Tidings, encode
from worker.zygote import Zygote

READ_BYTES = 1 << 20
WITHDRAW_AFTER_S = 0.1
"""Behind a task that takes longer, nothing waits."""
WAIT_S_MAX = 0.5
"""And nothing waits for longer, however quickly the child gets through what is before it."""
LOOK_S = 0.05
"""How often a busy child that has work behind what it runs is looked at."""


class Running(NamedTuple):
    """
    A message that a child runs.

    Attributes:
        since_mono_s: When it was started.
        limit_s: How long it may take before its child is killed, or None.
    """

    message: Message
    since_mono_s: float
    limit_s: float | None

    @property
    def until_mono_s(self) -> float:
        """When it has run for too long."""
        return math.inf if self.limit_s is None else self.since_mono_s + self.limit_s


class Killed(NamedTuple):
    """Why a child was killed: ``"time_limit"``, ``"cancel"``, ``"abandoned"`` or ``"stop"``; and over which message."""

    why: str
    id: str = ""


class Fall(NamedTuple):
    """
    What a dead child leaves behind.

    Attributes:
        running: What it ran when it died.
        unstarted: What goes back as if nothing had happened.
        killed_for: Why we killed it and for which message; None if it died by itself.
    """

    running: list[Running]
    unstarted: list[Message]
    killed_for: Killed | None


class Hand(ABC):
    """
    One child.

    Attributes:
        is_ready: Whether it has said hello.
        given: How many messages it was given so far (and did not give back).
        is_let_go: Whether it is to be given nothing more.
        memory_bytes: Its resident memory, as last measured.
    """

    def __init__(self, number: int, zygote: Zygote, now: float, reports: Any) -> None:
        self.number = number
        self.born_mono_s = now
        self.is_ready = False
        self.is_let_go = False
        self.hung_up_mono_s = 0.0
        self.given = 0
        self.memory_bytes = 0
        self.measured_mono_s = 0.0
        self.killed_for: Killed | None = None
        self._outbox = bytearray()
        self._frames = Frames(Hello | reports)
        self._sock, theirs = socket.socketpair()
        with theirs:
            born = zygote.spawn(number, theirs)
        self.pid, self._pidfd = born
        self._sock.setblocking(False)

    # ── what it has ─────────────────────────────────────────────────────────────────────────────────────────────────

    @property
    @abstractmethod
    def outstanding(self) -> int:
        """How many messages it holds and has not reported."""

    @property
    def is_idle(self) -> bool:
        """Whether it holds nothing."""
        return not self.outstanding

    @property
    @abstractmethod
    def is_free(self) -> bool:
        """Whether more can be given to it, as far as it is concerned."""

    @abstractmethod
    def held(self) -> Iterator[Message]:
        """What it holds and has not reported."""

    @abstractmethod
    def running(self) -> list[Running]:
        """What it runs now."""

    @property
    def can_work(self) -> bool:
        """Whether it is there to be given anything."""
        return self.is_ready and not self.is_let_go and self.killed_for is None

    # ── giving, and taking back ─────────────────────────────────────────────────────────────────────────────────────

    @abstractmethod
    def give(self, messages: list[Message], clock_ms: float, session: str = "") -> None:
        """
        Have it run *messages*.

        Args:
            clock_ms: Redis' clock minus the monotonic one.
            session: Under whose lease they stand.
        """

    @abstractmethod
    def withdraw(self, now: float) -> None:
        """Begin to take back what it has not started; `look` has it soon after."""

    @abstractmethod
    def next_mono_s(self, now: float, *, is_cancelling: bool) -> float:
        """When `look` has something to do."""

    @abstractmethod
    def look(self, now: float, cancels: Mapping[str, bool]) -> list[Message]:
        """
        Mind limits, cancel requests, and what waits behind something long.

        Returns:
            What was taken back.
        """

    @abstractmethod
    def abandon(self, ids: set[str]) -> None:
        """These are no longer ours: stop what runs them."""

    def cancel(self, cancels: Mapping[str, bool], now: float) -> dict[str, bool]:
        """
        Deal with cancel requests for what it holds; those that are still open.

        What runs is terminated (see `look`) or left alone: should it want another attempt, `retry` ends it, as its request
        stands there until then. What has not started is withdrawn with all the rest.
        """
        open_: dict[str, bool] = {}
        running = {each.message.id for each in self.running()}
        for message in self.held():
            terminate = cancels.get(message.id)
            if terminate is None:
                continue
            if message.id not in running:
                self.withdraw(now)
            elif not terminate:
                continue
            open_[message.id] = terminate
        return open_

    # ── its socket ──────────────────────────────────────────────────────────────────────────────────────────────────

    def fileno(self) -> int:
        """Readable when there are reports, writable when more of a parcel can be sent."""
        return self._sock.fileno()

    @property
    def wants_to_write(self) -> bool:
        """Whether a part of a frame is not sent yet."""
        return bool(self._outbox)

    def write(self) -> None:
        """Send what the socket takes. Whether the child is dead is the zygote's to say."""
        with contextlib.suppress(BlockingIOError, BrokenPipeError, ConnectionResetError):
            while self._outbox:
                sent = self._sock.send(self._outbox)
                del self._outbox[:sent]

    def read(self) -> Iterator[tuple[Report | Tidings, list[Message]]]:
        """The reports that have come, each with the messages that the child did not start (and that nobody has taken back yet)."""
        while True:
            try:
                data = self._sock.recv(READ_BYTES)
            except (BlockingIOError, ConnectionResetError):
                return
            if not data:
                return
            for report in self._frames.feed(data):
                if isinstance(report, Hello):
                    self.is_ready = True
                else:
                    yield report, self._note(report)
            if len(data) < READ_BYTES:
                return

    def _send(self, frame: Frame) -> None:
        self._outbox += encode(frame)
        self.write()

    @abstractmethod
    def _note(self, report: Any) -> list[Message]:
        """Take note of *report*; what has to go back because of it."""

    # ── its end ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def hang_up(self, now: float) -> None:
        """It holds nothing, and will be given nothing: let it end by itself."""
        if not self.hung_up_mono_s:
            self.is_let_go = True
            self.hung_up_mono_s = now
            with contextlib.suppress(OSError):
                self._sock.shutdown(socket.SHUT_WR)

    def kill(self, killed: Killed) -> None:
        """Kill it. The zygote will tell of its death."""
        if self.killed_for is None:
            self.killed_for = killed
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)

    def fall(self) -> Fall:
        """It is dead, and its last reports were read: what it leaves behind. Ends this object."""
        running = self.running()
        ran = {each.message.id for each in running}
        unstarted = [held for held in self.held() if held.id not in ran]
        os.close(self._pidfd)
        self._sock.close()
        self._forget()
        return Fall(running, unstarted, self.killed_for)

    @abstractmethod
    def _forget(self) -> None:
        """It holds nothing any more."""
