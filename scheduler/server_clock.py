"""Redis' time without asking: the server's clock, carried on by our monotonic one between replies."""

from __future__ import annotations

import time


class ServerClock:
    """
    What Redis' `TIME` says now, within half a round trip.

    Good for waking up and for records; what is due is decided by Redis itself. Steps of Redis' clock are taken at face value.
    """

    def __init__(self) -> None:
        self._offset_ms: float | None = None
        self._error_ms = float("inf")

    @property
    def known(self) -> bool:
        """Whether there was a reply yet."""
        return self._offset_ms is not None

    def learn(self, server_ms: float, sent_mono_s: float) -> None:
        """A reply that carries *server_ms* has just come; its request was sent at *sent_mono_s*."""
        now_mono_s = time.monotonic()
        error_ms = (now_mono_s - sent_mono_s) * 500
        offset_ms = server_ms - (now_mono_s + sent_mono_s) * 500
        moved = self._offset_ms is None or abs(offset_ms - self._offset_ms) > self._error_ms + error_ms
        if moved or error_ms <= self._error_ms:
            self._offset_ms, self._error_ms = offset_ms, error_ms
        else:
            self._error_ms += 0.05  # an old good sample ages: clocks drift apart

    def now_ms(self) -> float:
        """Redis' time now; before the first reply, this host's."""
        if self._offset_ms is None:
            return time.time() * 1000
        return time.monotonic() * 1000 + self._offset_ms
