"""
What a follower keeps ready: the plan that it would lead with.

    reading ──the whole registry has been read──▶ following ⇄ (something has changed)
       ▲──────────Redis could not be reached, or has gone back──────────┘

A leader that first had to read a million entries would be late for what is due meanwhile (P4). So each follower reads the registry
and follows its changes; its marks are those of the moment in which it read an entry. When it leads, it has the plan at once,
reads the entries that are due anew before it arms them, and all others in the ticks after that.
"""

from __future__ import annotations

import gc

from scheduler.beat.plan import Plan
from scheduler.config import Config
from scheduler.server_clock import ServerClock
from scheduler.store import Store


class Standby:
    """The plan of a beat that does not lead."""

    def __init__(self, store: Store, clock: ServerClock, config: Config) -> None:
        self._store = store
        self._clock = clock
        self._config = config
        self.forget()

    def forget(self) -> None:
        """Begin anew: what was read may not be what stands on Redis now."""
        config = self._config
        self._plan = Plan(namespace=config.namespace, horizon_ms=config.horizon_ms, late_limit_ms=config.late_limit_ms)
        self._reading = self._store.registry.reading()
        self._revision = 0
        self._up_to_date = False
        self._has_settled = False

    def look(self) -> None:
        """Something may have changed."""
        self._up_to_date = False

    def step(self) -> bool:
        """Read a slice; whether there is more."""
        if self._up_to_date:
            return False
        found = self._reading.next()
        if self._reading.revision < self._revision:
            self.forget()
            return True
        self._revision = self._reading.revision
        now_ms = int(self._clock.now_ms())
        for entry in found:
            self._plan.put_stored(entry, now_ms)
        if found:
            return True
        self._up_to_date = True
        self._plan.pass_by(now_ms)
        if not self._has_settled:
            self._has_settled = True
            self._plan.settled()
            gc.freeze()
        return False

    def take_plan(self) -> Plan:
        """The plan, for the one who leads with it; from then on we begin anew."""
        plan = self._plan
        plan.pass_by(int(self._clock.now_ms()))
        self.forget()
        return plan
