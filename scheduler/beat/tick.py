"""
One turn of the leader: take note of changes, promote what is due, arm a batch; and when to come back.

Promotion comes first, and arming is done in small batches between promotions: what is armed has the whole horizon, what is due has
no time at all. A crash after any step loses nothing: what was armed is known by its mark, what was not is armed by whoever
leads next.

    plan.take ─▶ store.arm ─┬─ armed, duplicate ─▶ next batch
                            ├─ stale            ─▶ read those entries again, plan them anew
                            ├─ no answer        ─▶ the same batch again (it may have been written: then it is a duplicate)
                            └─ fenced           ─▶ the reign is over
"""

from __future__ import annotations

import gc
import logging
import time
from collections.abc import Iterable

from scheduler.beat.plan import Batch, Plan
from scheduler.beat.promoter import LOOK_MS_MAX, Promoter
from scheduler.beat.reign import Reign
from scheduler.log import event
from scheduler.server_clock import ServerClock
from scheduler.store import Store
from scheduler.store.reading import StoredEntry

ARM_BATCH = 250
RESUME_BATCH = 200
ARM_PAUSE_MS = 250
"""Fires that come within the horizon are gathered this long: a tick for each would cost more than it is worth."""
AWAY_MS_MIN = 10_000
"""After so long without a tick (or the late limit, if that is longer) the registry is read anew."""

log = logging.getLogger("scheduler.beat")


class Ticker:
    """What a leader does."""

    def __init__(
        self, store: Store, reign: Reign, plan: Plan, clock: ServerClock, promoter: Promoter, *, late_limit_ms: int
    ) -> None:
        self._store = store
        self._reign = reign
        self._plan = plan
        self._clock = clock
        self._promoter = promoter
        self._away_ms = max(late_limit_ms, AWAY_MS_MIN)
        self._reading = store.registry.reading()
        self._read_all = False
        """The registry has been read to its end since it was last read from its beginning."""
        self._up_to_date = False
        self._began_mono_s = time.monotonic()
        self._pending: Batch | None = None
        self._arm_again_ms = 0.0
        self._stale: list[str] = []
        self._resuming: list[tuple[str, int]] = []
        self._ticked_ms = clock.now_ms()
        self.armed_count = 0

    @property
    def entries(self) -> int:
        """How many entries are in force."""
        return len(self._plan)

    def load(self) -> None:
        """Read the whole registry, marks included, and plan from it: slice by slice, in the ticks that follow."""
        self._reign.went_back = False
        self._reading = self._store.registry.reading()
        self._read_all = self._up_to_date = False
        self._began_mono_s = time.monotonic()
        self._pending = None
        self._arm_again_ms = 0

    def tick(self) -> float:
        """Do what is to be done now; seconds until there is more."""
        if self._reign.went_back:
            event(log, "marks.reread", reason="Redis lost a suffix of its writes", level=logging.WARNING)
            self._plan.distrust()
            self.load()
        if self._clock.now_ms() - self._ticked_ms > self._away_ms:
            # Redis was away, or we were: what was missed is to be settled as stretches, as a new leader does it.
            self.load()
        if self._reign.revision > self._reading.revision:
            self.refresh()
        self._reread()
        more = self._resume()
        # Arming may wait: it has the horizon.
        busy = self._promoter.promote() or more | self._read() | self._arm()
        self._ticked_ms = self._clock.now_ms()
        return 0.0 if busy else self._pause_s()

    def refresh(self) -> None:
        """Take note of the entries that changed."""
        self._up_to_date = False

    def _read(self) -> bool:
        """Plan a slice of what is to be read; whether there is more. Those planned so far are armed meanwhile."""
        if self._up_to_date:
            return False
        entries = self._reading.next()
        self._put(entries)
        if entries:
            return True
        self._up_to_date = True
        if not self._read_all:
            self._read_all = True
            self._settle()
        return False

    def _settle(self) -> None:
        """The whole registry has been read."""
        self._plan.settled()
        # A million entries are a million objects that stay: to look through them for garbage would only hold up what is due.
        gc.freeze()
        event(log, "registry.read", entries=len(self._plan), took_s=time.monotonic() - self._began_mono_s)

    def _put(self, entries: Iterable[StoredEntry]) -> None:
        now_ms = int(self._clock.now_ms())
        broken = self._plan.broken
        for found in entries:
            self._plan.put_stored(found, now_ms)
            if found.name in broken:
                event(log, "entry.broken", entry=found.name, error=broken[found.name], level=logging.ERROR)
            self._arm_again_ms = 0

    def _reread(self) -> None:
        """Plan anew what had changed when we wanted to arm it."""
        while self._stale:
            batch = self._stale[-ARM_BATCH:]
            self._put(self._store.registry.stored(batch))
            del self._stale[-len(batch) :]

    def _resume(self) -> bool:
        """End some of the pauses that end by themselves; whether there are more: many may end at once."""
        self._resuming += self._plan.resumes(int(self._clock.now_ms()))
        if not self._resuming:
            return False
        batch = self._resuming[-RESUME_BATCH:]
        for name in self._store.registry.resume_ended(batch):
            event(log, "entry.resumed", entry=name)
        del self._resuming[-len(batch) :]
        self.refresh()
        return bool(self._resuming)

    def _arm(self) -> bool:
        now_ms = self._clock.now_ms()
        again = self._pending is not None  # nobody answered: what has changed meanwhile is not in it
        if self._pending is None:
            due_ms = self._plan.next_due_ms()
            # At most so far ahead: else Redis' clock was set back meanwhile.
            gathering = 0 < self._arm_again_ms - now_ms <= ARM_PAUSE_MS
            if gathering or due_ms is None or due_ms > now_ms + self._plan.horizon_ms:
                return False
            self._pending = self._plan.take(int(now_ms), ARM_BATCH)
            self._stale += self._plan.behind
            self._plan.behind.clear()
            if not self._pending:
                self._pending = None
                if self._stale:
                    return True
                self._arm_again_ms = now_ms + ARM_PAUSE_MS
                return False
        batch = self._pending
        sent = self._reign.before_call()
        answer = self._store.leadership.arm(
            batch.fires, batch.skips, number=self._reign.number, holder=self._reign.holder
        )
        self._reign.after_call(sent, answer.counter, answer.now_ms)
        self._pending = None
        self.armed_count += answer.armed
        for skip in batch.skips:
            event(log, "fire.skipped", entry=skip.entry, reason=skip.reason, count=skip.count)
        self._stale += answer.stale
        self._promoter.expect(batch.fires)
        if len(batch.fires) + len(batch.skips) < ARM_BATCH and not answer.stale and not again:
            self._arm_again_ms = now_ms + ARM_PAUSE_MS
            return False
        return True

    def _pause_s(self) -> float:
        now_ms = self._clock.now_ms()
        until_ms = now_ms + min(LOOK_MS_MAX, self._promoter.pause_s() * 1000)
        due_ms = self._plan.next_due_ms()
        if due_ms is not None:
            until_ms = min(until_ms, max(due_ms - self._plan.horizon_ms, self._arm_again_ms))
        resume_ms = self._plan.next_resume_ms()
        if resume_ms is not None:
            until_ms = min(until_ms, resume_ms)
        return max(0.0, (until_ms - now_ms) / 1000)
