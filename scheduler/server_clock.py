"""Redis' time without asking: the server's clock, carried on by our monotonic one between replies."""

from __future__ import annotations

import time

DRIFT_MS_PER_S = 0.5
"""So fast two clocks may drift apart: NTP slews by this much at most (adjtime(3))."""


class ServerClock:
    """
    What Redis' `TIME` says now, within half a round trip.

    Good for waking up and for records; what is due is decided by Redis itself. Steps of Redis' clock are taken at face value.
    """

    def __init__(self) -> None:
        self._offset_ms: float | None = None
        self._error_ms = float("inf")
        self._learned_mono_s = 0.0

    @property
    def known(self) -> bool:
        """Whether there was a reply yet."""
        return self._offset_ms is not None

    def learn(self, server_ms: float, sent_mono_s: float) -> None:
        """A reply that carries *server_ms* has just come; its request was sent at *sent_mono_s*."""
        now_mono_s = time.monotonic()
        error_ms = (now_mono_s - sent_mono_s) * 500
        offset_ms = server_ms - (now_mono_s + sent_mono_s) * 500
        # An old sample ages: clocks drift apart.
        known_error_ms = self._error_ms + (now_mono_s - self._learned_mono_s) * DRIFT_MS_PER_S
        moved = self._offset_ms is None or abs(offset_ms - self._offset_ms) > known_error_ms + error_ms
        if moved or error_ms <= known_error_ms:
            self._offset_ms, self._error_ms, self._learned_mono_s = offset_ms, error_ms, now_mono_s

    def now_ms(self) -> float:
        """Redis' time now; before the first reply, this host's."""
        if self._offset_ms is None:
            return time.time() * 1000
        return time.monotonic() * 1000 + self._offset_ms
