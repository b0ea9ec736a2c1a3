"""A bound on how far a combination searches, shared by all that is nested in it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

# About 15 ms: no answer takes more than 50 ms, however the parts are nested.
STEPS_MAX: Final = 3_000

# With fewer steps than these, a part that finds nothing has shown nothing.
SHARE_MIN: Final = 50


class OutOfStepsError(Exception):
    """The search has used up its steps; whoever began it answers that nothing was found."""


class Steps:
    """
    How many questions a search may still ask. It counts and does not time, so that every beat finds the same.

    Attributes:
        left: So many. A step is about 3 µs.
    """

    __slots__ = ("_answered", "_given_up", "left")

    def __init__(self, left: int = STEPS_MAX) -> None:
        self.left = left
        self._given_up: set[int] = set()
        self._answered: set[int] = set()

    def spend(self, cost: int) -> None:
        """Count *cost* steps."""
        self.left -= cost
        if self.left < 0:
            raise OutOfStepsError

    def spare(self, part: object, sharers: int, ask: Callable[[], int | None]) -> int | None:
        """
        Return what *part* answers when it is *asked* with its share of the steps; None if that was not enough.

        So a part that never finds anything does not silence those beside it. A search goes one way only: who gave up
        once is not asked again. Who has answered before, or gets too few steps, is not dropped: then the whole search is
        at its end, as nobody may be passed over.

        Args:
            sharers: How many parts, this one included, are still to be asked.
        """
        if id(part) in self._given_up:
            return None
        # One more share is kept for the search around them, which may have to come back.
        share = self.left // (sharers + 1)
        rest, self.left = self.left - share, share
        try:
            answer = ask()
        except OutOfStepsError:
            if share < SHARE_MIN or id(part) in self._answered:
                raise
            self._given_up.add(id(part))
            self.left = 0
            answer = None
        else:
            self._answered.add(id(part))
        self.left += rest
        return answer
