"""
Who stands still: the rule behind every lease.

No lease has a time to live on Redis. A holder raises a counter; an observer that sees it stand still for the whole lease, on the
observer's own monotonic clock, may take over by compare-and-set on that counter. Pure: handed counters and time.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V", bound=Hashable)


class Watch(Generic[K, V]):
    """
    Watches counters.

    Only what was watched counts: whoever could not look for a while (Redis away, this process paused) starts anew, so an outage
    expires nobody.

    Args:
        lease_s: How long a counter must stand still.
    """

    def __init__(self, lease_s: float) -> None:
        self.lease_s = lease_s
        self._since: dict[K, tuple[V, float]] = {}
        self._looked_mono_s: float | None = None

    def look(self, counters: Mapping[K, V], now_mono_s: float) -> list[K]:
        """Take note of *counters*, seen at *now_mono_s*; the keys whose counter has stood still for the whole lease."""
        if self._looked_mono_s is not None and now_mono_s - self._looked_mono_s > self.lease_s / 2:
            self._since.clear()
        self._looked_mono_s = now_mono_s
        for gone in self._since.keys() - counters.keys():
            del self._since[gone]
        still = []
        for key, counter in counters.items():
            seen = self._since.get(key)
            if seen is None or seen[0] != counter:
                self._since[key] = (counter, now_mono_s)
            elif now_mono_s - seen[1] >= self.lease_s:
                still.append(key)
        return still

    def forget(self) -> None:
        """Start anew: we could not look."""
        self._since.clear()
        self._looked_mono_s = None
