"""
The session: opened, renewed every second, reconciled; and the sessions of others, watched.

    away     Redis does not answer; nothing is asked of it but a short question now and then
    holding  the session is ours as far as we know

Who learns that the session is lost opens a new one: what the old one held is somebody else's.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Sequence
from typing import NamedTuple

from scheduler.config import Config
from scheduler.errors import StoreError, StoreRefusedError
from scheduler.log import event
from scheduler.server_clock import ServerClock
from scheduler.store import Store
from scheduler.store.orders import Answer, Order
from scheduler.store.sessions import Session, Taken, Way, WorkerInfo
from scheduler.watch import Watch
from worker.intake import DEAF_S_MIN, Hearing

RENEW_S = 1.0
RECONCILE_S = 5.0
"""How long a take whose answer was lost on the way may keep its messages from everybody."""
PROBE_S = 0.3
PROBE_TIMEOUT_S = 0.25
PROBE_S_MAX = 0.5
RING_S = 0.02
"""However often somebody rings, a renewal comes at most so often."""

_logger = logging.getLogger("worker")


class Kept(NamedTuple):
    """
    What a look at the session brought.

    Attributes:
        renewed: Whether the session was renewed, and we are not deaf: the worker is well.
        cancels: Cancel requests (id → terminate), if it was renewed.
        abandoned: Ids that are no longer ours.
        orders: What we are told to do.
        look_now: We may have missed something: look for work.
    """

    renewed: bool
    cancels: dict[str, bool] | None
    abandoned: list[str]
    orders: list[Order]
    look_now: bool


class Keeper:
    """
    Keeps one worker's session.

    Args:
        watch: Ask each take what became of the fires it promoted.
        way: How its sessions take messages.
    """

    def __init__(self, store: Store, config: Config, info: WorkerInfo, *, watch: bool, way: Way) -> None:
        self.clock = ServerClock()
        self.away = False
        self._store = store
        self._info = info
        self._queues = config.queues
        self._watch_fires = watch
        self._way = way
        self._session: Session | None = None
        self._others: Watch[str, int] = Watch(config.worker_lease_ms / 1000)
        self._hearing = Hearing()
        self._deaf_s = max(DEAF_S_MIN, config.worker_lease_ms / 1000)
        self._cures = 0
        self._orders: list[Order] = []
        self._deaf_since_mono_s = 0.0
        self._renew_s = min(RENEW_S, config.worker_lease_ms / 5000)
        self._renew_mono_s = 0.0
        self._renewed_mono_s = 0.0
        self._reconcile_mono_s = 0.0
        self._probe_mono_s = 0.0
        self._probe_s = PROBE_S
        self._away_since_mono_s = 0.0

    @property
    def session(self) -> Session:
        """The session that we hold, or believe we do."""
        assert self._session is not None, "open() comes first"
        return self._session

    @property
    def is_open(self) -> bool:
        """Whether there is a session."""
        return self._session is not None

    def open(self) -> None:
        """Open a new session. Raises `StoreError`."""
        if self._session is not None:
            self._hang_up()
        self._store.limits.tell(self._queues)
        self._session = self._store.sessions.open(self._info, watch=self._watch_fires, way=self._way)
        self._others.forget()
        now = time.monotonic()
        self._renew_mono_s = now
        self._reconcile_mono_s = now + RECONCILE_S

    def close(self) -> None:
        """Give back what was not started, and end the session. Raises `StoreError`, `LeaseLostError`."""
        if self._session is not None:
            session, self._session = self._session, None
            session.close()

    # ── Redis comes and goes ────────────────────────────────────────────────────────────────────────────────────────

    def lost(self, error: StoreError) -> None:
        """Redis does not answer. Said once; what runs goes on."""
        now = time.monotonic()
        if not self.away:
            self.away, self._away_since_mono_s, self._probe_s = True, now, PROBE_S
            refused = isinstance(error, StoreRefusedError)
            event(_logger, "store.lost", level=logging.ERROR if refused else logging.WARNING, error=str(error))
            if self._session is not None:
                self._hang_up()
        self._probe_mono_s = now + self._probe_s
        self._probe_s = min(PROBE_S_MAX, self._probe_s * 1.2)

    def probe(self) -> bool:
        """Ask, at most every so often, whether Redis is back; True if it just came back. Raises `StoreRefusedError`."""
        if time.monotonic() < self._probe_mono_s:
            return False
        try:
            self._store.connection.call("PING", timeout_s=PROBE_TIMEOUT_S)
        except StoreRefusedError:
            raise
        except StoreError as error:
            self.lost(error)
            return False
        self.away = False
        self._others.forget()
        self._renew_mono_s = self._reconcile_mono_s = 0.0
        event(_logger, "store.back", away_s=time.monotonic() - self._away_since_mono_s)
        return True

    # ── while it is there ───────────────────────────────────────────────────────────────────────────────────────────

    def learn(self, taken: Taken, sent_mono_s: float) -> None:
        """A take was answered; it carries Redis' time."""
        self._hearing.took()
        self.clock.learn(taken.now_ms, sent_mono_s)

    def due(self, now_mono_s: float) -> bool:
        """Whether `look_after` has something to do."""
        return now_mono_s >= min(self._renew_mono_s, self._reconcile_mono_s)

    @property
    def next_mono_s(self) -> float:
        """When to come back."""
        return self._probe_mono_s if self.away else min(self._renew_mono_s, self._reconcile_mono_s)

    def ring(self) -> None:
        """The bell is readable: if somebody rang, the next renewal is due."""
        if self.session.bell.heard():
            self.renew_within(0.0)

    def renew_within(self, seconds: float) -> None:
        """Let the next renewal come after *seconds* at the latest."""
        at_mono_s = max(time.monotonic() + seconds, self._renewed_mono_s + RING_S)
        self._renew_mono_s = min(self._renew_mono_s, at_mono_s)

    def answer(self, order: Order, answer: Answer) -> None:
        """Say what became of *order*. Raises `StoreError`."""
        self._store.orders.answer(order, self.session.id, answer)

    def server_version(self) -> str:
        """Of Redis or Valkey, as it was found when it was first asked."""
        return self._store.connection.server

    def deaf_s(self, now_mono_s: float) -> float:
        """For how long the worker has taken nothing though there is work; 0.0 if it is well."""
        return now_mono_s - self._deaf_since_mono_s if self.is_deaf else 0.0

    @property
    def is_deaf(self) -> bool:
        """Whether the worker takes nothing though there is work."""
        return self._hearing.is_deaf

    def look_after(
        self,
        known: Callable[[], Collection[str]],
        *,
        state: Callable[[str], bytes] = lambda _: b"",
        should_take: Sequence[str] = (),
    ) -> Kept:
        """
        Renew, reconcile and watch the others, whatever is due. Raises `StoreError`, `LeaseLostError`.

        Args:
            known: All that we hold, outcomes that were not sent yet included.
            state: Given the session, what there is to be said of the worker (see `WorkerState`), encoded, or nothing.
            should_take: The queues that we should be taking from now; none, if we should not.
        """
        now = time.monotonic()
        cancels: dict[str, bool] | None = None
        abandoned: list[str] = []
        look_now = self.session.wake.drop_if_overdue(now)
        if now >= self._renew_mono_s:
            renewed = self.session.renew(state(self.session.id))
            self.clock.learn(renewed.now_ms, now)
            self._renewed_mono_s = now
            self._renew_mono_s = now + self._renew_s
            cancels = renewed.cancels
            self._orders += renewed.orders  # told once: kept even if what follows fails
            self.session.bell.arm()
            look_now |= self._listen(now, should_take)
            if renewed.went_back:
                event(_logger, "store.went_back", level=logging.WARNING)
                self._reconcile_mono_s = 0.0
            self._reclaim_others()
        if now >= self._reconcile_mono_s:
            reconciled = self.session.reconcile(known())
            self._reconcile_mono_s = now + RECONCILE_S
            abandoned = reconciled.abandoned
            if reconciled.adopted or abandoned or reconciled.released:
                event(
                    _logger,
                    "session.reconciled",
                    adopted=len(reconciled.adopted),
                    abandoned=len(abandoned),
                    released=len(reconciled.released),
                )
        orders, self._orders = self._orders, []
        return Kept(cancels is not None and not self.is_deaf, cancels, abandoned, orders, look_now)

    def _listen(self, now: float, should_take: Sequence[str]) -> bool:
        """Whether we may be deaf: then everything that we hear with was dropped, and opens anew."""
        silent_s = self._hearing.silent_s(now, should_take=bool(should_take))
        if not silent_s:
            if self._cures and should_take:
                event(_logger, "worker.hears", queues=",".join(should_take))
            self._cures = 0
        if silent_s < self._deaf_s * 2**self._cures:
            return False
        ready = sum(depth.ready for depth in self._store.queues.depths(should_take).values())
        if not ready and not self.is_deaf:
            return True
        if not self.is_deaf:
            self._hearing.is_deaf, self._deaf_since_mono_s = True, now - silent_s
        self._cures += 1
        event(
            _logger,
            "worker.deaf",
            level=logging.ERROR,
            for_s=silent_s,
            ready=ready,
            queues=",".join(should_take),
            note="it takes nothing though messages wait; its connections are opened anew"
            if self._cures == 1
            else "it still takes nothing; restart it, and tell us how it came about",
        )
        self._hang_up()
        self._store.connection.close()
        return True

    def _hang_up(self) -> None:
        self.session.wake.close()
        self.session.bell.close()

    def _reclaim_others(self) -> None:
        counters = self._store.sessions.observe()
        counters.pop(self.session.id, None)
        for session in self._others.look(counters, time.monotonic()):
            count = self._store.sessions.reclaim(session, counters[session])
            if count is not None:
                event(_logger, "session.reclaimed", level=logging.WARNING, session=session, messages=count)
