"""
What a child does: parcels in, reports out, and a note in shared memory about what it runs.

Reports are sent in batches: at the end of a parcel, every `FLUSH_S`, and before a task that is not known to be short. So what
may repeat after a crash is one flush of finished work.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable

from scheduler.model import Outcome
from worker.execute import Executor
from worker.frames import Frames, Hello, Parcel, Released, Report, Retried, encode
from worker.prefetch import task_of
from worker.shared import CLAIMED, HARD, LIMIT, STARTED, WORDS, Slots

FLUSH_S = 0.01
SHORT_S = 0.005
"""Tasks that took less than that, last time, need no flush before them."""
READ_BYTES = 1 << 20


class Child:
    """
    One child's loop.

    Args:
        number: Of its slot in shared memory.
        make_executor: Given a function that tells Redis' time.
    """

    def __init__(
        self,
        sock: socket.socket,
        number: int,
        slots: Slots,
        make_executor: Callable[[Callable[[], float]], Executor],
    ) -> None:
        self._sock = sock
        self._words = slots.words[number * WORDS : (number + 1) * WORDS]
        self._clock_ms = time.time() * 1000 - time.monotonic() * 1000
        self._executor = make_executor(self._server_ms)
        self._pid = os.getpid()
        self._last_s: dict[str, float] = {}
        self._clear()
        self._flushed_mono_s = 0.0

    def run(self) -> None:
        """Work until the supervisor hangs up."""
        frames = Frames(Parcel)
        self._sock.sendall(encode(Hello()))
        while data := self._sock.recv(READ_BYTES):
            for parcel in frames.feed(data):
                self._work(parcel)

    def _work(self, parcel: Parcel) -> None:
        words, execute, last_s, monotonic_ns = self._words, self._executor.run, self._last_s, time.monotonic_ns
        hard_limit_ms = self._executor.hard_limit_ms
        self._clock_ms = parcel.clock_ms
        self._executor.session = parcel.session
        self._flushed_mono_s = time.monotonic()
        unstarted, told_ms = 0, words[HARD]
        number = parcel.first - 1
        for message in parcel.messages:
            number += 1
            task = task_of(message.body)
            if self._outcomes and last_s.get(task, SHORT_S) >= SHORT_S:
                self._flush(number - 1)
            # Claim, then look whether it was taken back meanwhile: in this order, see `worker.shared`.
            words[CLAIMED] = number
            if number > words[LIMIT]:
                words[CLAIMED] = number - 1
                unstarted = number
                break
            limit_ms = hard_limit_ms(task, message.body)
            if limit_ms != told_ms:
                words[HARD] = told_ms = limit_ms
            start_ns = monotonic_ns()
            words[STARTED] = start_ns
            became = execute(message)
            words[STARTED] = 0
            end_ns = monotonic_ns()
            took_s = (end_ns - start_ns) / 1e9
            last_s[task] = took_s
            count, total_s = self._spent.get(task, _NOTHING)
            self._spent[task] = (count + 1, total_s + took_s)
            if isinstance(became, Outcome):
                self._outcomes.append(became)
            elif isinstance(became, Retried):
                self._retried.append(became)
            else:
                self._released.append(became)
            if end_ns / 1e9 - self._flushed_mono_s >= FLUSH_S:
                self._flush(number)
        self._flush(parcel.last, unstarted)

    def _flush(self, done: int, unstarted: int = 0) -> None:
        if os.getpid() != self._pid:
            os._exit(0)  # a task has forked, and its copy came back from it
        report = Report(done, unstarted, self._outcomes, self._retried, self._released, self._spent)
        self._sock.sendall(encode(report))
        self._clear()
        self._flushed_mono_s = time.monotonic()

    def _clear(self) -> None:
        self._outcomes: list[Outcome] = []
        self._retried: list[Retried] = []
        self._released: list[Released] = []
        self._spent: dict[str, tuple[int, float]] = {}

    def _server_ms(self) -> float:
        return time.monotonic() * 1000 + self._clock_ms


_NOTHING = (0, 0.0)
