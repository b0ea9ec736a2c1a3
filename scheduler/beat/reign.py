"""
One reign: the term while we hold it, kept alive by a thread of its own.

Renewal does not wait for a long tick, but it stops when no tick has completed for `stall`: a leader that hangs lets go. What the
thread learns (the term is lost, the registry has changed, we are asked to step down) it leaves here for the main loop.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from scheduler.beat.election import Won
from scheduler.errors import FencedError, StoreError
from scheduler.server_clock import ServerClock
from scheduler.store import Store

RENEWALS_PER_LEASE = 5
TRUST_MARGIN = 0.1
"""This part of the lease we do not use ourselves: clocks tick differently, and we may be held up between a look and an act."""


class Reign:
    """
    The term that we hold.

    Args:
        on_change: Called from the thread when the main loop should look.
    """

    def __init__(
        self,
        store: Store,
        won: Won,
        *,
        holder: str,
        lease_s: float,
        stall_s: float,
        clock: ServerClock,
        on_change: Callable[[], None],
    ) -> None:
        self.number = won.number
        self.holder = holder
        self.gap_ms = won.gap_ms
        self.lost: str | None = None
        """Why the term is no longer ours."""
        self.revision = 0
        """The registry's revision, as the last renewal told."""
        self.step_down = False
        self.went_back = False
        """Redis returned a lower counter than we knew: it lost a suffix of its writes. Read the marks again."""
        self.caught_up: int | None = None
        """For the history, once it is known."""
        self._store = store
        self._lease_s = lease_s
        self._stall_s = stall_s
        self._clock = clock
        self._on_change = on_change
        self._lock = threading.Lock()
        self._counter = won.counter
        self._trusted_until_mono_s = won.attempt_mono_s + lease_s * (1 - TRUST_MARGIN)
        self._ticked_mono_s = time.monotonic()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="renewal", daemon=True)

    def start(self) -> None:
        """Begin to renew."""
        self._thread.start()

    def stop(self) -> None:
        """Stop renewing; the term on Redis stays as it is."""
        self._end.set()
        self._thread.join(timeout=5)

    @property
    def trusted(self) -> bool:
        """Whether nobody else can lead yet, as far as our own clock tells."""
        return self.lost is None and time.monotonic() < self._trusted_until_mono_s

    def ticked(self) -> None:
        """A tick has completed (one that found Redis away included: the loop lives)."""
        self._ticked_mono_s = time.monotonic()

    def before_call(self) -> tuple[float, int]:
        """To be handed to `after_call`: when the call was sent, and the counter known then."""
        return time.monotonic(), self._counter

    def after_call(self, sent: tuple[float, int], counter: int, server_ms: float) -> None:
        """A script under our term answered: the lease is renewed, measured from before the call."""
        sent_mono_s, known = sent
        self._clock.learn(server_ms, sent_mono_s)
        with self._lock:
            if counter <= known:
                self.went_back = True
                self._counter = counter
            else:
                self._counter = max(self._counter, counter)
            self._trusted_until_mono_s = max(
                self._trusted_until_mono_s, sent_mono_s + self._lease_s * (1 - TRUST_MARGIN)
            )

    def renew(self) -> None:
        """Raise the counter now."""
        sent = self.before_call()
        age_ms = int((time.monotonic() - self._ticked_mono_s) * 1000)
        caught_up, self.caught_up = self.caught_up, None
        answer = self._store.leadership.renew(self.number, self.holder, tick_age_ms=age_ms, caught_up=caught_up)
        self.after_call(sent, answer.counter, answer.now_ms)
        self.revision, self.step_down = answer.revision, answer.step_down

    def _run(self) -> None:
        while not self._end.wait(self._lease_s / RENEWALS_PER_LEASE):
            if time.monotonic() - self._ticked_mono_s > self._stall_s:
                self._lose(f"no tick completed for {self._stall_s:g} s")
                return
            try:
                self.renew()
            except FencedError as error:
                self._lose(str(error))
                return
            except StoreError:
                continue  # the main loop says so; whether the term outlives the outage is for Redis to tell
            self._on_change()

    def _lose(self, reason: str) -> None:
        self.lost = reason
        self._on_change()
