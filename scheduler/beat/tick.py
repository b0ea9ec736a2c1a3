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

import logging
from collections import deque
from contextlib import suppress

from scheduler.beat.plan import Batch, Plan
from scheduler.beat.promoter import LOOK_MS_MAX, Promoter
from scheduler.beat.reign import Reign
from scheduler.errors import NotFoundError
from scheduler.log import event
from scheduler.model import EntryRecord
from scheduler.server_clock import ServerClock
from scheduler.store import Store

ARM_BATCH = 250
ARM_PAUSE_MS = 250
"""Fires that come within the horizon are gathered this long: a tick for each would cost more than it is worth."""
PUT_BATCH = 200
"""So many entries are planned between two looks at what is due: large registries are taken in while work goes on."""
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
        self._revision = 0
        self._pending: Batch | None = None
        self._arm_again_ms = 0.0
        self._unplanned: deque[EntryRecord] = deque()
        self._told_broken = True
        self._stale: list[str] = []
        self._resuming: list[tuple[str, int]] = []
        self._ticked_ms = clock.now_ms()
        self.armed_count = 0

    @property
    def entries(self) -> int:
        """How many entries are in force."""
        return len(self._plan)

    def load(self) -> None:
        """Read the whole registry, marks included, and plan from it."""
        self._revision, self._reign.went_back = 0, False
        self._revision, records = self._store.registry.changed_since(0)
        self._pending = None
        self._unplanned = deque(records)
        self._arm_again_ms = 0

    def tick(self) -> float:
        """Do what is to be done now; seconds until there is more."""
        if self._reign.went_back:
            event(log, "marks.reread", reason="Redis lost a suffix of its writes", level=logging.WARNING)
            self.load()
        if self._revision == 0 or self._clock.now_ms() - self._ticked_ms > self._away_ms:
            # Redis was away, or we were: what was missed is to be settled as stretches, as a new leader does it.
            self.load()
        if self._reign.revision > self._revision:
            self.refresh()
        self._reread()
        self._resume()
        # Arming may wait: it has the horizon.
        busy = self._promoter.promote() or self._put() | self._arm()
        self._ticked_ms = self._clock.now_ms()
        return 0.0 if busy else self._pause_s()

    def refresh(self) -> None:
        """Take note of the entries that changed."""
        self._revision, records = self._store.registry.changed_since(self._revision)
        if records:
            self._unplanned.extend(records)
            self._arm_again_ms = 0

    def _put(self) -> bool:
        """Plan some of the entries that were read; whether there are more. Those planned so far are armed meanwhile."""
        now_ms = int(self._clock.now_ms())
        for _ in range(min(PUT_BATCH, len(self._unplanned))):
            self._plan.put(self._unplanned.popleft(), now_ms)
            self._told_broken = False
        if not self._unplanned and not self._told_broken:
            self._told_broken = True
            self._say_broken()
        return bool(self._unplanned)

    def _reread(self) -> None:
        """Plan anew what had changed when we wanted to arm it."""
        while self._stale:
            record = self._store.registry.state(self._stale[-1])
            self._plan.put(record, int(self._clock.now_ms()))
            self._stale.pop()

    def _resume(self) -> None:
        """End the pauses that end by themselves."""
        self._resuming += self._plan.resumes(int(self._clock.now_ms()))
        while self._resuming:
            name, until_ms = self._resuming[-1]
            record = self._store.registry.get(name)
            if record is not None and record.pause is not None and record.pause.until_ms == until_ms:
                with suppress(NotFoundError):  # removed in this moment
                    self._store.registry.resume(name, until_ms=until_ms)
                    event(log, "entry.resumed", entry=name)
                self.refresh()
            self._resuming.pop()

    def _arm(self) -> bool:
        now_ms = self._clock.now_ms()
        if self._pending is None:
            due_ms = self._plan.next_due_ms()
            # At most so far ahead: else Redis' clock was set back meanwhile.
            gathering = 0 < self._arm_again_ms - now_ms <= ARM_PAUSE_MS
            if gathering or due_ms is None or due_ms > now_ms + self._plan.horizon_ms:
                return False
            self._pending = self._plan.take(int(now_ms), ARM_BATCH)
            if not self._pending:
                self._pending = None
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
        if len(batch.fires) + len(batch.skips) < ARM_BATCH and not answer.stale:
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

    def _say_broken(self) -> None:
        for name, why in self._plan.broken.items():
            event(log, "entry.broken", entry=name, error=why, level=logging.ERROR)
