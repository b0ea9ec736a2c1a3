"""
Puts what is due on its ready list, at its time.

Promotion is under no lease: Redis decides what is due and settles each fire once, whoever asks. The leader asks at each due time;
the followers a moment later, and mostly find it done. So a leader that dies, hangs or is busy with a large load makes no
fire late as long as another beat lives (P4); workers help in the same way whenever they take.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence

from scheduler.log import event
from scheduler.model import Fire
from scheduler.server_clock import ServerClock
from scheduler.store import Store
from scheduler.store.queues import Promoted

PROMOTE_BATCH = 500
LOOK_MS_MAX = 1_000
"""A message that somebody else delayed is noticed this late at most (workers notice it at once)."""
GAP_MS = 2
"""Two calls are at least so far apart: where something is due in every millisecond, a call for each would only cost."""
FOLLOWER_LAG_MS = 20
"""So much later than the leader a follower looks; it bounds its calls as well, to fifty a second."""

log = logging.getLogger("scheduler.beat")


class Promoter:
    """
    Promotes for one beat.

    Args:
        default_queue: Promoted besides the queues that are in use.
        lag_ms: How long after a due time to look.
    """

    def __init__(self, store: Store, clock: ServerClock, *, default_queue: str, lag_ms: int = 0) -> None:
        self._store = store
        self._clock = clock
        self._default_queue = default_queue
        self._lag_ms = lag_ms
        self._gap_ms = max(lag_ms, GAP_MS)
        self._at_ms = 0.0
        self._queues: tuple[str, ...] = ()
        self._queues_read_mono_s = 0.0

    def expect(self, fires: Sequence[Fire]) -> None:
        """*fires* were armed: the next moment to promote may come sooner, or in a queue that is new."""
        if fires:
            self._queues = tuple(sorted({*self._queues, *(fire.queue for fire in fires)}))
            self._at_ms = min(self._at_ms, *(fire.at_ms + self._lag_ms for fire in fires))

    def promote(self) -> bool:
        """Promote a batch if it is time; whether more is due."""
        if self.pause_s() > 0:
            return False
        sent_mono_s = time.monotonic()
        tell = log.isEnabledFor(logging.DEBUG)
        answer = self._store.queues.promote(self._all_queues(), limit=PROMOTE_BATCH, tell=tell)
        self._clock.learn(answer.now_ms, sent_mono_s)
        self._at_ms = answer.now_ms + LOOK_MS_MAX
        if answer.next_due_ms is not None and not answer.more:
            self._at_ms = min(self._at_ms, max(answer.next_due_ms + self._lag_ms, answer.now_ms + self._gap_ms))
        elif answer.more:
            self._at_ms = answer.now_ms
        _say_fires(answer)
        return answer.more

    def pause_s(self) -> float:
        """Seconds until it is time to promote; 0 if it is."""
        left_ms = self._at_ms - self._clock.now_ms()
        # Never further away than a look: else Redis' clock was set back meanwhile, and what we waited for is not the next.
        return left_ms / 1000 if 0 < left_ms <= LOOK_MS_MAX + 1 else 0.0

    def _all_queues(self) -> tuple[str, ...]:
        now_mono_s = time.monotonic()
        if not self._queues or (now_mono_s - self._queues_read_mono_s) * 1000 > LOOK_MS_MAX:
            self._queues = tuple(sorted({*self._store.queues.names(), self._default_queue}))
            self._queues_read_mono_s = now_mono_s
        return self._queues


def _say_fires(answer: Promoted) -> None:
    for fire in answer.fires:
        if fire.reason:
            event(log, "fire.skipped", level=logging.DEBUG, entry=fire.entry, due_ms=fire.due_ms, reason=fire.reason)
        else:
            event(
                log, "fire.promoted", level=logging.DEBUG, entry=fire.entry, due_ms=fire.due_ms, late_ms=fire.late_ms,
                id=fire.id, queue=fire.queue,
            )  # fmt: skip
