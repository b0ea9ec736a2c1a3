"""When to look for work, and whether we still hear of it. Pure: handed answers and the monotonic clock."""

from __future__ import annotations

from scheduler.store.sessions import Taken

LOOK_S_MAX = 2.0
"""After so long we look without a reason: a wake connection may have died without telling anybody."""
DEAF_S_MIN = 4.0
"""A worker that should take, and has had no answer to a take for a whole lease and for so long at least, may be deaf: an idle one
takes once a second."""


class Intake:
    """
    Remembers whether there is reason to believe that work waits.

    Reasons are: nobody has looked yet; the last look left some behind; a wake token came, or a second passed without
    one; the next delayed message is due; nothing of all this has come for `LOOK_S_MAX`.
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
        self._due_mono_s = got_mono_s + LOOK_S_MAX
        if taken.next_due_ms is not None:
            passed_s = (got_mono_s - sent_mono_s) / 2
            due_mono_s = got_mono_s - passed_s + max(0.0, taken.next_due_ms - taken.now_ms) / 1000
            self._due_mono_s = min(self._due_mono_s, due_mono_s)

    def wants(self, now_mono_s: float) -> bool:
        """Whether to look now."""
        return self._reason or (self._due_mono_s is not None and now_mono_s >= self._due_mono_s)

    @property
    def due_mono_s(self) -> float | None:
        """When to look even if nothing comes; None before the first answer."""
        return self._due_mono_s


class Hearing:
    """
    Notices that a worker takes nothing though it should: its queues have messages, and no take is answered.

        well → it should take, and none was answered from one look to the next → suspect → for a lease → deaf
             → a take is answered → well
    """

    def __init__(self) -> None:
        self._takes = 0
        self._takes_seen = -1
        self._since_mono_s: float | None = None
        self.is_deaf = False

    def took(self) -> None:
        """A take was answered."""
        self._takes += 1

    def silent_s(self, now_mono_s: float, *, should_take: bool) -> float:
        """For how long it has taken nothing though it should; to be asked about once a second."""
        if not should_take or self._takes != self._takes_seen:
            self._takes_seen = self._takes
            self._since_mono_s = None
            self.is_deaf = False
            return 0.0
        if self._since_mono_s is None:
            self._since_mono_s = now_mono_s
        return now_mono_s - self._since_mono_s
