"""
One turn of the leader: take note of changes, arm a batch, promote a batch; and when to come back.

Each step is bounded, so that a burst of arming never holds promotion up by more than a few milliseconds. A crash after any step
loses nothing: what was armed is known by its mark, what was not is armed by whoever leads next.

    plan.take ─▶ store.arm ─┬─ armed, duplicate ─▶ next batch
                            ├─ stale            ─▶ read those entries again, plan them anew
                            ├─ no answer        ─▶ the same batch again (it may have been written: then it is a duplicate)
                            └─ fenced           ─▶ the reign is over
"""

from __future__ import annotations

import logging
import time

from scheduler.beat.plan import Batch, Plan
from scheduler.beat.reign import Reign
from scheduler.log import event
from scheduler.server_clock import ServerClock
from scheduler.store import Store
from scheduler.store.queues import Promoted

ARM_BATCH = 250
PROMOTE_BATCH = 500
ARM_PAUSE_MS = 250
"""Fires that come within the horizon are gathered this long: a tick for each would cost more than it is worth."""
LOOK_MS_MAX = 1_000
"""A message that somebody else delayed is noticed this late at most (workers notice it at once)."""

log = logging.getLogger("scheduler.beat")


class Ticker:
    """
    What a leader does.

    Args:
        default_queue: Promoted besides the queues that are in use.
    """

    def __init__(self, store: Store, reign: Reign, plan: Plan, clock: ServerClock, *, default_queue: str) -> None:
        self._store = store
        self._reign = reign
        self._plan = plan
        self._clock = clock
        self._default_queue = default_queue
        self._revision = 0
        self._pending: Batch | None = None
        self._arm_again_ms = 0.0
        self._promote_at_ms = 0.0
        self._queues: tuple[str, ...] = ()
        self._queues_read_ms = 0.0
        self.armed_count = 0

    def load(self) -> None:
        """Read the whole registry, marks included, and plan from it."""
        self._revision, records = self._store.registry.changed_since(0)
        self._reign.went_back = False
        now_ms = int(self._clock.now_ms())
        self._pending = None
        for record in records:
            self._plan.put(record, now_ms)
        self._say_broken()

    def tick(self) -> float:
        """Do what is to be done now; seconds until there is more."""
        if self._reign.went_back:
            event(log, "marks.reread", reason="Redis lost a suffix of its writes", level=logging.WARNING)
            self.load()
        if self._reign.revision > self._revision:
            self.refresh()
        self._resume()
        busy = self._arm()
        busy = self._promote() or busy
        return 0.0 if busy else self._pause_s()

    def refresh(self) -> None:
        """Take note of the entries that changed."""
        self._revision, records = self._store.registry.changed_since(self._revision)
        now_ms = int(self._clock.now_ms())
        for record in records:
            self._plan.put(record, now_ms)
        if records:
            self._arm_again_ms = 0
            self._say_broken()

    def _resume(self) -> None:
        for name, until_ms in self._plan.resumes(int(self._clock.now_ms())):
            record = self._store.registry.get(name)
            if record is not None and record.pause is not None and record.pause.until_ms == until_ms:
                self._store.registry.resume(name, until_ms=until_ms)
                event(log, "entry.resumed", entry=name)
                self.refresh()

    def _arm(self) -> bool:
        now_ms = self._clock.now_ms()
        if self._pending is None:
            due_ms = self._plan.next_due_ms()
            gathering = now_ms < self._arm_again_ms
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
        for name in answer.stale:
            record = self._store.registry.state(name)
            self._plan.put(record, int(now_ms))
        if batch.fires:
            self._queues = tuple(sorted({*self._queues, *(fire.queue for fire in batch.fires)}))
            self._promote_at_ms = min(self._promote_at_ms, *(fire.at_ms for fire in batch.fires))
        if len(batch.fires) + len(batch.skips) < ARM_BATCH and not answer.stale:
            self._arm_again_ms = now_ms + ARM_PAUSE_MS
            return False
        return True

    def _promote(self) -> bool:
        if self._clock.now_ms() < self._promote_at_ms:
            return False
        sent_mono_s = time.monotonic()
        tell = log.isEnabledFor(logging.DEBUG)
        answer = self._store.queues.promote(self._all_queues(), limit=PROMOTE_BATCH, tell=tell)
        self._clock.learn(answer.now_ms, sent_mono_s)
        self._promote_at_ms = answer.now_ms + LOOK_MS_MAX
        if answer.next_due_ms is not None:
            self._promote_at_ms = min(self._promote_at_ms, answer.next_due_ms)
        _say_fires(answer)
        return answer.more

    def _all_queues(self) -> tuple[str, ...]:
        now_ms = self._clock.now_ms()
        if not self._queues or now_ms - self._queues_read_ms > LOOK_MS_MAX:
            self._queues_read_ms = now_ms
            self._queues = tuple(sorted({*self._store.queues.names(), self._default_queue}))
        return self._queues

    def _pause_s(self) -> float:
        now_ms = self._clock.now_ms()
        until_ms = min(now_ms + LOOK_MS_MAX, self._promote_at_ms)
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


def _say_fires(answer: Promoted) -> None:
    for fire in answer.fires:
        if fire.reason:
            event(log, "fire.skipped", level=logging.DEBUG, entry=fire.entry, due_ms=fire.due_ms, reason=fire.reason)
        else:
            event(
                log, "fire.promoted", level=logging.DEBUG, entry=fire.entry, due_ms=fire.due_ms, late_ms=fire.late_ms,
                id=fire.id, queue=fire.queue,
            )  # fmt: skip
