"""When to look for work. Pure: handed answers and the monotonic clock."""

from __future__ import annotations

from scheduler.store.sessions import Taken


class Intake:
    """
    Remembers whether there is reason to believe that work waits.

    Reasons are: nobody has looked yet; the last look left some behind; a wake token came, or a second passed without
    one; the next delayed message is due.
    """

    def __init__(self) -> None:
        self._reason = True
        self._due_mono_s: float | None = None

    def look_now(self) -> None:
        """A token came, or a second has passed, or everything may have changed."""
        self._reason = True

    def took(self, taken: Taken, *, sent_mono_s: float, got_mono_s: float) -> None:
        """
        An answer came.

        The moment of the next delayed message is carried over to the monotonic clock as late as the round trip allows:
        who asks too early only has to ask again.
        """
        self._reason = taken.more
        self._due_mono_s = None
        if taken.next_due_ms is not None:
            passed_s = (got_mono_s - sent_mono_s) / 2
            self._due_mono_s = got_mono_s - passed_s + max(0.0, taken.next_due_ms - taken.now_ms) / 1000

    def wants(self, now_mono_s: float) -> bool:
        """Whether to look now."""
        return self._reason or (self._due_mono_s is not None and now_mono_s >= self._due_mono_s)

    @property
    def due_mono_s(self) -> float | None:
        """When the next delayed message is due, as far as we know."""
        return self._due_mono_s
