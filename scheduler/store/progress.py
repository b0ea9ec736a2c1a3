"""
What running tasks report of themselves, at a bounded rate.

    report ──▶ nothing written for this run within `PAUSE_S`: written at once, and the caller waits for it
          └──▶ else the newest is kept, and a timer writes it when the pause is over

So however often a task reports, each run writes ten times a second at most, and what it reported last is seen. A report is no reason
to fail: while Redis is away it is dropped, and said so once. What is written late cannot hide a result: the script refuses it.

A coroutine must not keep its loop waiting for Redis: from a loop everything is written by the timer.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from typing import NamedTuple

from scheduler.errors import StoreError
from scheduler.log import event
from scheduler.store.connection import Connection
from scheduler.store.keys import Keys

PAUSE_S = 0.1
"""A run's reports are at least so far apart on Redis."""
AWAY_S = 5.0
"""After a failure nothing is tried for so long: a task must not spend its time on waiting for Redis."""
TIMEOUT_S = 1.0
KNOWN_MAX = 1_000
"""So many runs are remembered before those are forgotten that reported longest ago."""

_logger = logging.getLogger("scheduler.progress")


class Report(NamedTuple):
    """A record of a run's own state; *session* is the one that must hold it."""

    id: str
    record: bytes
    ttl_ms: int
    session: str


class Progress:
    """The reports of one process. Thread-safe, and safe after a fork."""

    def __init__(self, connection: Connection, keys: Keys) -> None:
        self._connection = connection
        self._keys = keys
        self._begin()

    def _begin(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._written_mono_s: dict[str, float] = {}
        self._newest: dict[str, Report] = {}
        self._timer: threading.Timer | None = None
        self._away_until_mono_s = 0.0

    def report(self, report: Report) -> None:
        """Write *report*, now or soon."""
        if self._pid != os.getpid():
            self._begin()  # neither the timer nor whoever held the lock is here
        now = time.monotonic()
        with self._lock:
            due = self._written_mono_s.get(report.id, -PAUSE_S) + PAUSE_S
            at_once = now >= due and report.id not in self._newest and not _in_loop()
            if at_once:
                self._note(report.id, now)
            else:
                self._newest[report.id] = report
                self._wake_at(max(due, now), now)
        if at_once:
            self._write(report)

    def tell(self, report: Report, *, timeout_s: float | None = None) -> bool:
        """
        Write *report* now; whether its run was there to be written about.

        Raises:
            StoreError: It was not written, or nobody knows.
        """
        keys = self._keys
        names = (keys.messages, keys.waited, keys.result(report.id))
        args = (report.session, report.id, report.record, report.ttl_ms)
        return bool(self._connection.run("progress", names, args, timeout_s=timeout_s))

    def _note(self, id_: str, now: float) -> None:
        self._written_mono_s.pop(id_, None)
        self._written_mono_s[id_] = now  # the newest last
        while len(self._written_mono_s) > KNOWN_MAX:
            del self._written_mono_s[next(iter(self._written_mono_s))]

    def _wake_at(self, due: float, now: float) -> None:
        if self._timer is None:
            self._timer = threading.Timer(max(0.0, due - now), self._write_newest)
            self._timer.daemon = True
            self._timer.start()

    def _write_newest(self) -> None:
        """What the timer does: write what is due, and come again for the rest."""
        now = time.monotonic()
        with self._lock:
            due = {id_: self._written_mono_s.get(id_, -PAUSE_S) + PAUSE_S for id_ in self._newest}
            reports = [self._newest.pop(id_) for id_, at in due.items() if at <= now]
            for report in reports:
                self._note(report.id, now)
            self._timer = None
            if self._newest:
                self._wake_at(min(due[id_] for id_ in self._newest), now)
        for report in reports:
            self._write(report)

    def _write(self, report: Report) -> None:
        now = time.monotonic()
        if now < self._away_until_mono_s:
            return
        try:
            self.tell(report, timeout_s=TIMEOUT_S)
        except StoreError as error:
            self._away_until_mono_s = time.monotonic() + AWAY_S
            event(_logger, "progress.dropped", level=logging.WARNING, run=report.id, error=str(error))


def _in_loop() -> bool:
    """Whether a coroutine calls us. Who has not imported asyncio runs none."""
    asyncio = sys.modules.get("asyncio")
    return asyncio is not None and asyncio._get_running_loop() is not None
