"""The only code that speaks to Redis. `open_store(config)` is the door; each noun has a file."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from scheduler.store.connection import Connection
from scheduler.store.keys import Keys

RESULT_BYTES_MAX = 1_048_576

if TYPE_CHECKING:
    from scheduler.config import Config
    from scheduler.seal import Seal
    from scheduler.store.alerts import Alerts
    from scheduler.store.audit import Audit
    from scheduler.store.backfill import Backfills
    from scheduler.store.change import Changer
    from scheduler.store.dead import DeadLetters
    from scheduler.store.history import History
    from scheduler.store.leadership import Leadership
    from scheduler.store.limits import Limits
    from scheduler.store.loads import Loads
    from scheduler.store.orders import Orders
    from scheduler.store.presence import Presence
    from scheduler.store.queues import Queues
    from scheduler.store.registry import RegistryStore
    from scheduler.store.results import Results
    from scheduler.store.sessions import Sessions


class Store:
    """
    A namespace on Redis.

    Thread-safe, and safe to use after a fork. Nothing is sent before the first call.

    Every method may raise `StoreUnavailableError` (no answer in time; calling again is safe) and `StoreRefusedError` (Redis
    answers, and will not do it). The parts are loaded when they are first used: a command line that lists entries need not
    import what runs them.
    """

    def __init__(
        self,
        connection: Connection,
        keys: Keys,
        *,
        losses_max: int = 5,
        late_limit_ms: int = 15_000,
        seal: Seal | None = None,
        result_bytes_max: int = RESULT_BYTES_MAX,
    ) -> None:
        self.connection = connection
        self.keys = keys
        self.seal = seal
        """Signs what is written, and says whether what is read was signed; None: nothing is."""
        self._result_bytes_max = result_bytes_max
        self._losses_max = losses_max
        self._late_limit_ms = late_limit_ms

    @cached_property
    def registry(self) -> RegistryStore:
        """The entries, their marks and pauses."""
        from scheduler.store.registry import RegistryStore  # noqa: PLC0415

        return RegistryStore(self.connection, self.keys, self.changer, self.audit)

    @cached_property
    def changer(self) -> Changer:
        """How entries change."""
        from scheduler.store.change import Changer  # noqa: PLC0415

        return Changer(self.connection, self.keys, late_limit_ms=self._late_limit_ms)

    @cached_property
    def audit(self) -> Audit:
        """Who changed what."""
        from scheduler.store.audit import Audit  # noqa: PLC0415

        return Audit(self.connection, self.keys)

    @cached_property
    def loads(self) -> Loads:
        """What the schedule files said, and asking for them to be read again."""
        from scheduler.store.loads import Loads  # noqa: PLC0415

        return Loads(self.connection, self.keys, self.registry, self.changer)

    @cached_property
    def leadership(self) -> Leadership:
        """The term, and what only its holder may do."""
        from scheduler.store.leadership import Leadership  # noqa: PLC0415

        return Leadership(self.connection, self.keys, self.seal)

    @cached_property
    def presence(self) -> Presence:
        """Which beats live."""
        from scheduler.store.presence import Presence  # noqa: PLC0415

        return Presence(self.connection, self.keys)

    @cached_property
    def queues(self) -> Queues:
        """Messages that wait."""
        from scheduler.store.queues import Queues  # noqa: PLC0415

        return Queues(self.connection, self.keys, self.seal)

    @cached_property
    def dead(self) -> DeadLetters:
        """Messages that were given up."""
        from scheduler.store.dead import DeadLetters  # noqa: PLC0415

        return DeadLetters(self.connection, self.keys)

    @cached_property
    def sessions(self) -> Sessions:
        """Workers' leases, and messages under them."""
        from scheduler.store.sessions import Sessions  # noqa: PLC0415

        return Sessions(self.connection, self.keys, losses_max=self._losses_max, seal=self.seal)

    @cached_property
    def orders(self) -> Orders:
        """Orders to workers."""
        from scheduler.store.orders import Orders  # noqa: PLC0415

        return Orders(self.connection, self.keys)

    @cached_property
    def results(self) -> Results:
        """What tasks returned."""
        from scheduler.store.results import Results  # noqa: PLC0415

        return Results(self.connection, self.keys, self.seal, bytes_max=self._result_bytes_max)

    @cached_property
    def history(self) -> History:
        """What has run, for people."""
        from scheduler.store.history import History  # noqa: PLC0415

        return History(self.connection, self.keys)

    @cached_property
    def alerts(self) -> Alerts:
        """What is wrong now, and what is to be sent about it."""
        from scheduler.store.alerts import Alerts  # noqa: PLC0415

        return Alerts(self.connection, self.keys)

    @cached_property
    def limits(self) -> Limits:
        """How many messages queues may hold, and how many runs of theirs may go on at once."""
        from scheduler.store.limits import Limits  # noqa: PLC0415

        return Limits(self.connection, self.keys)

    @cached_property
    def backfills(self) -> Backfills:
        """Runs for past due times, asked for by hand."""
        from scheduler.store.backfill import Backfills  # noqa: PLC0415

        return Backfills(self.connection, self.keys, self.seal)

    def close(self) -> None:
        """Close the connections. The next call opens them again."""
        self.connection.close()


def open_store(config: Config, *, role: str = "cli") -> Store:
    """
    The store that *config* names; *role* is shown in Redis' list of clients.

    Raises:
        ConfigError: The URL, the namespace or the file of keys cannot be used.
    """
    connection = Connection(
        config.redis_url,
        password=config.redis_password(),
        timeout_s=config.store_timeout_ms / 1000,
        patience_s=1.0 if role == "cli" else config.store_timeout_ms / 1000,
        name=f"sched-{role}",
    )
    return Store(
        connection,
        Keys(config.namespace),
        losses_max=config.max_deliveries,
        late_limit_ms=config.late_limit_ms,
        seal=seal_of(config),
        result_bytes_max=config.result_bytes_max,
    )


def seal_of(config: Config) -> Seal | None:
    """
    What signs and verifies under *config*; None where nothing is signed.

    Raises:
        ConfigError: The file of keys cannot be used.
    """
    keys = config.signing_keys()
    if not keys:
        return None
    from scheduler.seal import Seal  # noqa: PLC0415 - most namespaces sign nothing

    return Seal(keys, config.namespace)
