"""
A child that runs one message at a time, as its supervisor sees it, and taking back what it has not started.

    free → has a parcel → (a second one, if the first is quick) → free
         → its task takes long, or they do together: the unstarted rest is withdrawn, and nothing more is sent until the task is over

Messages are numbered in the order in which they are run, so one number says what is done, and one what is claimed.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping

from scheduler.model import Message
from worker.frames import Parcel, Report
from worker.hand import LOOK_S, WAIT_S_MAX, WITHDRAW_AFTER_S, Hand, Killed, Running
from worker.shared import SETTLE_S, UNLIMITED, Slots
from worker.zygote import Zygote

PARCELS_MAX = 2


class Single(Hand):
    """
    One child, and what it holds.

    Args:
        is_quick: Whether another parcel may wait behind these messages.
    """

    def __init__(self, number: int, slots: Slots, zygote: Zygote, is_quick: Callable[[list[Message]], bool]) -> None:
        self._slots = slots
        self._is_quick = is_quick
        self._parcels: deque[Parcel] = deque()
        self._done = 0
        self._sent = 0
        self._withdrawn_from = 0
        self._settle_mono_s = 0.0
        self._quick = True
        self._given_mono_s = 0.0
        slots.reset(number)
        super().__init__(number, zygote, time.monotonic(), Report)

    # ── what it has ─────────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def outstanding(self) -> int:
        """How many messages it holds and has not reported."""
        return sum(len(parcel.messages) - max(0, self._done + 1 - parcel.first) for parcel in self._parcels)

    @property
    def is_idle(self) -> bool:
        """Whether it holds nothing."""
        return not self._parcels

    @property
    def is_free(self) -> bool:
        """Whether it can be given a parcel."""
        if not self.can_work or self._withdrawn_from or self._settle_mono_s:
            return False
        return not self._parcels or (len(self._parcels) < PARCELS_MAX and self._quick)

    def held(self) -> Iterator[Message]:
        """What it holds and has not reported, in order."""
        for parcel in self._parcels:
            yield from parcel.messages[max(0, self._done + 1 - parcel.first) :]

    def running(self) -> list[Running]:
        """What it runs now: one message at most."""
        running = self.running_now()
        return [] if running is None else [running]

    def running_now(self) -> Running | None:
        """The same, without a list."""
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

    def give(self, messages: list[Message], clock_ms: float, session: str = "") -> None:
        """Send a parcel of *messages*."""
        parcel = Parcel(self._sent + 1, clock_ms, messages, session)
        self._sent = parcel.last
        if not self._parcels:
            self._given_mono_s = time.monotonic()
        self.given += len(messages)
        self._quick = self._is_quick(messages)
        self._parcels.append(parcel)
        self._send(parcel)

    def next_mono_s(self, now: float, *, is_cancelling: bool) -> float:
        """When `look` has something to do."""
        if self._settle_mono_s:
            return self._settle_mono_s
        if is_cancelling:
            return now + LOOK_S
        running = self.running_now()
        return now + LOOK_S if running is None or self.has_unstarted() else running.until_mono_s

    def look(self, now: float, cancels: Mapping[str, bool]) -> list[Message]:
        """Mind its time limit, cancel requests, and what waits behind a long task; what was taken back."""
        if self._settle_mono_s:
            return self.settle() if now >= self._settle_mono_s else []
        running = self.running_now()
        if running is not None:
            if now >= running.until_mono_s:
                self.kill(Killed("time_limit", running.message.id))
            elif cancels.get(running.message.id):
                self.kill(Killed("cancel", running.message.id))
            elif (
                now >= min(running.since_mono_s + WITHDRAW_AFTER_S, self._given_mono_s + WAIT_S_MAX)
                and self.has_unstarted()
            ):
                self.withdraw(now)
        return []

    def abandon(self, ids: set[str]) -> None:
        """These are no longer ours: it is killed if it holds one of them."""
        for message in self.held():
            if message.id in ids:
                self.kill(Killed("abandoned", message.id))

    def withdraw(self, now: float) -> None:
        """Begin to take back what it has not started; `settle` has it after `SETTLE_S`."""
        if not self._settle_mono_s and not self._withdrawn_from:
            self._slots.limit(self.number, self._slots.claimed(self.number))
            self._settle_mono_s = now + SETTLE_S

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
            self._given_mono_s = time.monotonic()  # the next one's turn has come
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
                kept.append(Parcel(parcel.first, parcel.clock_ms, parcel.messages[:stay], parcel.session))
        self._parcels = kept
        self.given -= len(back)
        return back

    def _reopen(self) -> None:
        """Once the child has passed over all that was withdrawn, it may be given work again; even before we looked what that was."""
        if (self._withdrawn_from or self._settle_mono_s) and self._done >= self._sent:
            self._withdrawn_from, self._settle_mono_s = 0, 0.0
            self._slots.limit(self.number, UNLIMITED)

    def _forget(self) -> None:
        self._parcels.clear()
