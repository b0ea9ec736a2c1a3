"""Where the tasks of a process send to: its settings and its store, each made when it is first needed."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from scheduler.clock import now_ms
from scheduler.config import Config, load_config
from scheduler.routing import Router

if TYPE_CHECKING:
    from scheduler.store import Store

CLOCK_TRUSTED_S = 60.0
"""How long a reading of Redis' clock is carried on by our monotonic one before it is taken again."""
CLOCK_ROUND_TRIP_S = 0.002
CLOCK_READINGS_MAX = 3


class Home:
    """
    Settings, routes, store and Redis' clock, for all tasks declared together. Thread-safe, and safe after a fork.

    Args:
        load: Reads the settings, once.
        role: What Redis' list of clients shows.
        connect: Makes the store for settings, once; None: `open_store`.
        app: Whose home it is; None: nobody's.
    """

    def __init__(
        self,
        load: Callable[[], Config] = load_config,
        *,
        role: str = "app",
        connect: Callable[[Config], Store] | None = None,
        app: Any = None,
    ) -> None:
        self._load = load
        self._role = role
        self._connect = connect
        self.app = app
        self._lock = threading.RLock()
        self._config: Config | None = None
        self._router: Router | None = None
        self._store: Store | None = None
        self._clock: tuple[float, float] | None = None
        self._told: list[Callable[[Config], None]] = []
        self.envelopes: dict[str, Any] = {}
        """What `scheduler.calls` keeps encoded for each task, as long as the settings stand."""
        self.options: dict[str, Any] = {}
        """What the settings say of tasks whose code is not here, by name."""

    @property
    def config(self) -> Config:
        """
        The settings.

        Raises:
            ConfigError: They cannot be used; all complaints at once.
        """
        if self._config is None:
            with self._lock:
                if self._config is None:
                    config = self._load()
                    for tell in self._told:
                        tell(config)
                    self._config = config
        return self._config

    @property
    def is_configured(self) -> bool:
        """Whether the settings were read."""
        return self._config is not None

    def when_configured(self, tell: Callable[[Config], None]) -> None:
        """Call *tell* with the settings whenever they are read; what it raises stands for a setting that cannot be used."""
        self._told.append(tell)

    @property
    def router(self) -> Router:
        """The routes of the settings."""
        if self._router is None:
            self._router = Router(self.config)
        return self._router

    @property
    def store(self) -> Store:
        """The store. It connects at its first call."""
        if self._store is None:
            from scheduler.store import open_store  # noqa: PLC0415 - whoever only declares needs no Redis client

            with self._lock:
                if self._store is None:
                    config = self.config
                    self._store = self._connect(config) if self._connect else open_store(config, role=self._role)
        return self._store

    @property
    def is_open(self) -> bool:
        """Whether the store was used: from then on the settings stand."""
        return self._store is not None

    def server_now_ms(self) -> int:
        """
        Redis' time, never behind it: what a `countdown` starts from, whatever this host's clock says (P10).

        One round trip a minute; in between our monotonic clock carries the last reading on.
        """
        now_mono_s = time.monotonic()
        clock = self._clock
        if clock is None or now_mono_s - clock[0] > CLOCK_TRUSTED_S:
            clock = self._clock = self._read_clock()
            now_mono_s = time.monotonic()
        return int(clock[1] + (now_mono_s - clock[0]) * 1000) + 1

    def _read_clock(self) -> tuple[float, float]:
        """
        Our monotonic clock and Redis' at one moment.

        Measured from before the question: rather late by a round trip than early by one. A long one (the first
        connects) is asked again, as its length would be in every `countdown` until the next reading.
        """
        best: tuple[float, float, float] | None = None
        for _ in range(CLOCK_READINGS_MAX):
            asked_mono_s = time.monotonic()
            server_ms = self.store.queues.time_ms()
            took_s = time.monotonic() - asked_mono_s
            if best is None or took_s < best[0]:
                best = (took_s, asked_mono_s, server_ms)
            if took_s <= CLOCK_ROUND_TRIP_S:
                break
        assert best is not None
        return best[1], best[2]

    def clocked_here(self) -> Home:
        """These settings with this host's clock: for what runs here, and asks no Redis."""
        return _Here(lambda: self.config, app=self.app)

    def forget_config(self) -> None:
        """Read the settings again when they are next needed: they were changed before anything was sent."""
        with self._lock:
            self._config = self._router = None
            self.envelopes.clear()
            self.options.clear()

    def close(self) -> None:
        """Let go of Redis. The next use opens it again."""
        with self._lock:
            store, self._store, self._clock = self._store, None, None
        if store is not None:
            store.close()


class _Here(Home):
    """See `Home.clocked_here`."""

    def server_now_ms(self) -> int:
        """This host's clock."""
        return now_ms()
