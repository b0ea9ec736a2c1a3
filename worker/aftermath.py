"""
What becomes of messages whose runs did not end in their child: those that come back unstarted, were cancelled, or lost their child.

    not started                      back to the head of its queue, or REVOKED if it was to be cancelled
    ran when its child died by itself      lost: counted, and taken alone next time
    ran when we killed its child ...
        over its time limit          TimeLimitExceeded: another attempt, or FAILURE
        because it was cancelled     REVOKED
        to stop, or over another     back, uncounted; acknowledged early: ended as lost
        as it was no longer ours     nothing
"""

from __future__ import annotations

import time

from scheduler.model import Message, State
from scheduler.server_clock import ServerClock
from scheduler.wire import FLAG_EARLY, FLAG_IGNORE_RESULT, run_options
from worker.execute import header_of
from worker.frames import Retried
from worker.hand import Killed, Running
from worker.limits import over_limit
from worker.outcome import Written, ended, error_line, failed, retry_record
from worker.process import Setting
from worker.retry import decide
from worker.settle import Settlement


class Aftermath:
    """
    Decides, and has it settled.

    Attributes:
        cancels: The cancel requests for what we hold: id → whether to terminate it if it runs.
    """

    def __init__(self, setting: Setting, settlement: Settlement, clock: ServerClock) -> None:
        self.cancels: dict[str, bool] = {}
        self._setting = setting
        self._settlement = settlement
        self._clock = clock

    def back(self, messages: list[Message]) -> None:
        """These were not started: they go back, but one that was to be cancelled ends here."""
        ids = []
        for message in messages:
            if message.id in self.cancels:
                self._revoke(message, started_ms=0, now_ms=int(self._clock.now_ms()))
            else:
                ids.append(message.id)
        self._settlement.back(ids)

    def died(self, running: Running, killed: Killed | None, how: str) -> None:
        """The child that ran this is dead; *killed*: by us; *how*, for people."""
        message = running.message
        if killed is None:
            self._settlement.back([message.id], lost=True, how=how)
        elif killed.id != message.id:
            # We killed the child over another message, or to stop. What was acknowledged early must not run twice.
            lost = bool(header_of(message).flags & FLAG_EARLY)
            self._settlement.back([message.id], lost=lost, how=f"it was killed ({killed.why})")
        elif killed.why == "time_limit":
            self._over_limit(running)
        elif killed.why == "cancel":
            run = self._written(running)
            self._revoke(message, started_ms=run.started_ms, now_ms=run.finished_ms)

    def _revoke(self, message: Message, *, started_ms: int, now_ms: int) -> None:
        run = Written(message.id, self._setting.name, message.attempt, started_ms, now_ms)
        self._settlement.ended([ended(header_of(message), run, State.REVOKED)])

    def _over_limit(self, running: Running) -> None:
        message = running.message
        header = header_of(message)
        options = self._setting.tasks[header.task].options.merged(run_options(message.body))
        error = over_limit(header.task, options.time_limit_ms or 0)
        again = decide(error, options, attempt=message.attempt, chance=1.0)
        if again is None:
            self._settlement.ended([failed(header, self._written(running), error)])
        else:
            self._settlement.later(
                [
                    Retried(
                        message.id, message.body, again.delay_ms, message.attempt + 1,
                        b"" if header.flags & FLAG_IGNORE_RESULT else retry_record(error, None),
                        header.result_ttl_s * 1000, header.task, error_line(error),
                    )
                ]
            )  # fmt: skip

    def _written(self, running: Running) -> Written:
        now_ms = self._clock.now_ms()
        started_ms = now_ms - (time.monotonic() - running.since_mono_s) * 1000
        return Written(running.message.id, self._setting.name, running.message.attempt, int(started_ms), int(now_ms))
