"""What a worker tells about runs. At 40,000 a second nobody reads: then it tells of a few, and counts the others."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence

import msgspec

from scheduler.log import event
from scheduler.model import Outcome, Run, State
from scheduler.store.queues import FireEvent
from worker.frames import Released, Retried

RUNS_TOLD_S = 20
"""How many runs that ended well are told in a second."""

_logger = logging.getLogger("worker")
_decode_run = msgspec.json.Decoder(Run).decode


class Teller:
    """
    Logs and counts what became of runs.

    Failures are told one by one. Of those that ended well, the first `RUNS_TOLD_S` of a second are, and the rest of that second
    is told as one number.

    Attributes:
        show_runs: Whether all that ended well are told.
        finished_count: How many runs have ended, in whatever way; `failed_count` of them in failure.
        retried_count: How many attempts were followed by another.
    """

    def __init__(self, *, show_runs: bool) -> None:
        self.show_runs = show_runs
        self.finished_count = self.failed_count = self.retried_count = 0
        self._room = 0
        self._untold = 0
        self._second_mono_s = 0.0

    def finished(self, outcomes: Sequence[Outcome]) -> None:
        """These runs have ended."""
        self.finished_count += len(outcomes)
        self.tick()
        for outcome in outcomes:
            if outcome.state == State.FAILURE:
                self.failed_count += 1
                _tell(outcome, logging.WARNING)
            elif self.show_runs:
                _tell(outcome, logging.INFO)
            elif self._room:
                self._room -= 1
                _tell(outcome, logging.INFO)
            else:
                self._untold += 1

    def tick(self) -> None:
        """Tell, once a second, how many runs of the last one were not told one by one. Also to be called when nothing ends."""
        now = time.monotonic()
        if now < self._second_mono_s + 1.0:
            return
        untold, self._untold = self._untold, 0
        self._second_mono_s = now
        if not _logger.isEnabledFor(logging.INFO):
            self._room = 0
            return
        self._room = RUNS_TOLD_S
        if untold:
            event(_logger, "runs.finished", count=untold, note="beside those above, in a second")

    def retried(self, retried: Retried) -> None:
        """This attempt is followed by another."""
        self.retried_count += 1
        event(
            _logger,
            "run.retried",
            id=retried.id,
            task=retried.task,
            attempt=retried.attempt,
            delay_s=retried.delay_ms / 1000,
            error=retried.error,
        )

    def released(self, released: Released) -> None:
        """This message goes back for a while."""
        event(
            _logger,
            "run.released",
            level=logging.WARNING,
            id=released.id,
            delay_s=released.delay_ms / 1000,
            reason=released.reason,
        )

    def fires(self, fires: Sequence[FireEvent]) -> None:
        """What became of fires that a take promoted."""
        for fire in fires:
            if fire.reason:
                event(_logger, "fire.skipped", entry=fire.entry, due_ms=fire.due_ms, reason=fire.reason)
            else:
                event(
                    _logger,
                    "fire.promoted",
                    entry=fire.entry,
                    due_ms=fire.due_ms,
                    late_ms=fire.late_ms,
                    id=fire.id,
                    queue=fire.queue,
                )


def _tell(outcome: Outcome, level: int) -> None:
    run = _decode_run(outcome.run)
    began_ms = run.started_ms or run.finished_ms
    since_ms = (run.due_ms if run.of_schedule else 0) or run.enqueued_ms or began_ms
    # A backfill is as late as people asked for.
    late_s = None if run.backfill else max(0, began_ms - since_ms) / 1000
    event(
        _logger,
        "run.finished",
        level=level,
        id=run.id,
        task=run.task,
        entry=run.entry or None,
        state=run.state,
        lateness_s=late_s,
        duration_s=(run.finished_ms - began_ms) / 1000,
        attempt=run.attempt,
        error=run.error or None,
    )
