"""
The accountant of an entry: which due times it had while it was in force, and what became of each (P2).

It works the due times out from the definitions, and is told what Redis says of them; whatever does not fit is an error there
and then.
"""

from __future__ import annotations

from collections.abc import Iterator

from scheduler.fires import schedule_of
from scheduler.model import Entry, Pause, Run


class Life:
    """
    What the accountant knows of one entry.

    Attributes:
        expected: Each due time that came while it was in force → whether it lay in a pause.
        outcomes: Each due time → its one outcome.
        ordered: The due times that somebody has asked to skip.
        cancelled: Those whose message was cancelled before its promotion.
        delays: Countdown and jitter of each definition that it had, in ms.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.entry: Entry | None = None
        self.pause: Pause | None = None
        self.expected: dict[int, bool] = {}
        self.outcomes: dict[int, str] = {}
        self.ordered: set[int] = set()
        self.cancelled: set[int] = set()
        self.delays: set[tuple[int, int]] = set()
        self.runs_max = 0
        self._until_ms = 0

    def pass_to(self, now_ms: int) -> None:
        """Take note of the due times up to *now_ms*."""
        for due_ms in self._due(self._until_ms, now_ms):
            pause = self.pause
            is_paused = pause is not None and (pause.until_ms is None or due_ms < pause.until_ms)
            self.expected[due_ms] = is_paused
        self._until_ms = max(self._until_ms, now_ms)
        if self.pause is not None and self.pause.until_ms is not None and self.pause.until_ms <= now_ms:
            self.pause = None  # whether anybody has taken note of that or not

    def _due(self, after_ms: int, until_ms: int) -> Iterator[int]:
        entry = self.entry
        if entry is None or not entry.enabled:
            return
        schedule = schedule_of(entry)
        due_ms = schedule.next_ms(max(after_ms, (entry.start_ms or 0) - 1))
        while due_ms is not None and due_ms <= min(until_ms, entry.until_ms or until_ms):
            yield due_ms
            due_ms = schedule.next_ms(due_ms)

    def settle(self, due_ms: int, outcome: str) -> None:
        """P2: one outcome, for a due time that it had."""
        assert due_ms in self.expected or due_ms in self.cancelled, (
            f"{self.name}: {outcome} at {due_ms}, which was no due time of it while it was in force"
        )
        known = self.outcomes.setdefault(due_ms, outcome)
        assert known == outcome, f"{self.name}: two outcomes at {due_ms}: {known} and {outcome}"

    def settle_stretch(self, run: Run) -> None:
        """The same for a record that may cover many."""
        last_ms = run.to_ms or run.due_ms
        covered = [due_ms for due_ms in self.expected if run.due_ms <= due_ms <= last_ms]
        assert len(covered) == run.count, f"{self.name}: {run} covers {len(covered)} due times"
        for due_ms in covered:
            assert due_ms not in self.outcomes, (
                f"{self.name}: {due_ms} is {self.outcomes[due_ms]}, and now {run.outcome}"
            )
            self.settle(due_ms, run.outcome)
