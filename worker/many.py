"""
A child that runs many messages at once, as its supervisor sees it, and taking back what it has not started.

    given → started → over, in any order, each by itself
    given → not started 100 ms later, and nothing else has ended (all are busy, or the child is stuck); or half a second later
          → withdrawn, with all else that has not started
          → passed over by the child, which then is given work again; not more than it ran, at first

The truth about a message is its cell in shared memory (`worker.cells`) until the child has reported it.

Crash points. The child dies before a message is started: it goes back. After that, and before its report is read: it counts as
lost, also if it was finished. Between claiming a message and finding it withdrawn: it is given back by the report that passes it
over, or by its death, once.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from scheduler.model import Message
from worker.cells import STARTED, WITHDRAWN, WORDS, Cells
from worker.frames import Batch, Interrupt, Resize, Sweep, Tidings
from worker.hand import LOOK_S, WAIT_S_MAX, WITHDRAW_AFTER_S, Hand, Running
from worker.shared import SETTLE_S
from worker.zygote import Zygote

WINDOW_MAX = 1 << 30


class _Fresh(NamedTuple):
    """A batch of which not everything was seen to start."""

    given_mono_s: float
    messages: list[tuple[int, Message]]


class Many(Hand):
    """
    One child, and what it holds.

    Attributes:
        window: How many messages it may hold: few after some were not started in time, then twice as many each time all are.
    """

    def __init__(self, number: int, cells: Cells, zygote: Zygote) -> None:
        self.window = WINDOW_MAX
        self._words = cells.of(number)
        self._cells = cells.each
        self._used = 0
        self._free: list[int] = []
        self._messages: dict[int, Message] = {}
        self._fresh: deque[_Fresh] = deque()
        self._ended_mono_s = 0.0
        self._settling: list[int] = []
        self._settle_mono_s = 0.0
        self._withdrawn: set[int] = set()
        self._interrupted: set[int] = set()
        super().__init__(number, zygote, time.monotonic(), Tidings)

    # ── what it has ─────────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def outstanding(self) -> int:
        """How many messages it holds and has not reported."""
        return len(self._messages)

    @property
    def room(self) -> int:
        """For how many more there are cells, and for how many it may be trusted."""
        return min(self._cells - self._used + len(self._free), self.window - len(self._messages))

    @property
    def is_free(self) -> bool:
        """Whether more can be given to it: it has found all that was withdrawn."""
        return self.can_work and not self._settle_mono_s and not self._withdrawn and self.room > 0

    def held(self) -> Iterator[Message]:
        """What it holds and has not reported, in the order in which it was given."""
        return iter(self._messages.values())

    def running(self) -> list[Running]:
        """What it runs now, or has finished and not reported."""
        found = ((message, self._started_ns(cell)) for cell, message in self._messages.items())
        return [Running(message, started_ns / 1e9, None) for message, started_ns in found if started_ns]

    # ── giving, and taking back ─────────────────────────────────────────────────────────────────────────────────────

    def give(self, messages: list[Message], clock_ms: float, session: str = "") -> None:
        """Send a batch of *messages*, for which there is `room`."""
        cells = [self._cell() for _ in messages]
        for cell, message in zip(cells, messages, strict=True):
            self._words[cell * WORDS + STARTED] = self._words[cell * WORDS + WITHDRAWN] = 0
            self._messages[cell] = message
        self.given += len(messages)
        self._fresh.append(_Fresh(time.monotonic(), list(zip(cells, messages, strict=True))))
        self._send(Batch(clock_ms, cells, messages, session))

    def resize(self, concurrency: int) -> None:
        """Have it run so many at once."""
        self._send(Resize(concurrency))

    def withdraw(self, now: float) -> None:
        """Begin to take back what it has not started."""
        if self._settle_mono_s:
            return
        self._settling = [cell for cell in self._messages if not self._started_ns(cell)]
        if self._settling:
            for cell in self._settling:
                self._words[cell * WORDS + WITHDRAWN] = 1
            self._settle_mono_s = now + SETTLE_S
            self._send(Sweep())

    def next_mono_s(self, now: float, *, is_cancelling: bool) -> float:
        """When `look` has something to do."""
        if self._settle_mono_s:
            return self._settle_mono_s
        if is_cancelling:
            return now + LOOK_S
        if not self._fresh:
            return math.inf
        due_mono_s = self._fresh[0].given_mono_s + WITHDRAW_AFTER_S
        return due_mono_s if now < due_mono_s else max(now, self._patience_mono_s())

    def look(self, now: float, cancels: Mapping[str, bool]) -> list[Message]:
        """Mind cancel requests, and what was not started in time; what was taken back."""
        if cancels:
            self._interrupt([c for c, message in self._messages.items() if cancels.get(message.id)])
        if self._settle_mono_s:
            return self._settle() if now >= self._settle_mono_s else []
        while self._fresh and now >= self._fresh[0].given_mono_s + WITHDRAW_AFTER_S:
            if any(self._messages.get(c) is m and not self._started_ns(c) for c, m in self._fresh[0].messages):
                if now >= self._patience_mono_s():
                    self.withdraw(now)
                break
            self._fresh.popleft()
            self.window = min(WINDOW_MAX, 2 * self.window)
        return []

    def abandon(self, ids: set[str]) -> None:
        """These are no longer ours: those that run are broken off, as far as the pool can; nobody settles them."""
        self._interrupt([cell for cell, message in self._messages.items() if message.id in ids])

    # ── inside ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def _patience_mono_s(self) -> float:
        """Until when the oldest batch may wait: for as long as others get on, within bounds."""
        return min(self._ended_mono_s + WITHDRAW_AFTER_S, self._fresh[0].given_mono_s + WAIT_S_MAX)

    def _started_ns(self, cell: int) -> int:
        return self._words[cell * WORDS + STARTED]

    def _cell(self) -> int:
        if self._free:
            return self._free.pop()
        self._used += 1
        return self._used - 1

    def _settle(self) -> list[Message]:
        """What was withdrawn and is not started now is ours again."""
        self._settle_mono_s = 0.0
        back = []
        for cell in self._settling:
            if cell in self._messages and not self._started_ns(cell):
                back.append(self._messages.pop(cell))
                self._withdrawn.add(cell)
        self._settling = []
        self._fresh.clear()
        if back:
            self.given -= len(back)
            runs = len(self._messages)
            self.window = runs + 1 + runs // 10
        return back

    def _interrupt(self, cells: list[int]) -> None:
        """Break off what runs of these, once."""
        new = [cell for cell in cells if cell not in self._interrupted and self._started_ns(cell)]
        if new:
            self._interrupted.update(new)
            self._send(Interrupt(new))

    def _note(self, report: Tidings) -> list[Message]:
        if report.done:
            self._ended_mono_s = time.monotonic()
        for cell in report.done:
            self._messages.pop(cell, None)
        back = []
        for cell in report.passed:
            message = self._messages.pop(cell, None)
            if message is not None:
                back.append(message)
                self.given -= 1
        if not self._messages:
            self._settling, self._settle_mono_s = (
                [],
                0.0,
            )  # nothing is left to be settled, and nobody looks at an idle child
        over = [*report.done, *report.passed]
        self._withdrawn.difference_update(over)
        self._interrupted.difference_update(over)
        self._free += over
        return back

    def _forget(self) -> None:
        self._messages.clear()
