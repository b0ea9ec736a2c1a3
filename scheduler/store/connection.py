"""
URL → connection: the one place that knows how Redis is reached, and what its failures mean.

States of a call: sent → answered · refused (`StoreRefusedError`: password, memory, version; not repeated) · broken (connection
lost, LOADING, READONLY, TRYAGAIN, MASTERDOWN, no script): repeated with full-jitter backoff until the deadline, then
`StoreUnavailableError`. A broken call may have been carried out, so every script is written to be repeated.

Sentinel (`store.sentinel`) enters in `_pool`: everything else asks it for a connection to the current primary.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Sequence
from contextvars import ContextVar
from typing import Any
from urllib.parse import urlsplit

import redis
from hiredis import pack_command
from redis import exceptions as failures

from scheduler.config import URL_SCHEMES, redact_url
from scheduler.errors import ConfigError, StoreRefusedError, StoreUnavailableError
from scheduler.sentinel_url import SCHEME as SENTINEL_SCHEME
from scheduler.store.scripts import Script, script

Argument = bytes | str | int | float
Reply = Any

VERSION_MIN = (6, 2)
BACKOFF_FIRST_S = 0.01
BACKOFF_MAX_S = 0.5
TIMEOUT_MIN_S = 0.05
FRESH_S = 0.5
"""A connection that was used so short a time ago is used again without a look."""

_REFUSED = (
    failures.AuthenticationError,
    failures.AuthorizationError,
    failures.NoPermissionError,
    failures.OutOfMemoryError,
)
_BROKEN = (
    failures.ConnectionError,
    failures.TimeoutError,
    failures.ReadOnlyError,
    failures.TryAgainError,
    failures.ClusterDownError,
    failures.MasterDownError,
    OSError,
)


_limit_s: ContextVar[float | None] = ContextVar("limit_s", default=None)
"""What the attempt that is connecting may take."""


class _Limited:
    """Mixed into redis-py's connections: connecting, too, takes no longer than the attempt that needs it may."""

    socket_timeout: float
    socket_connect_timeout: float

    def connect(self) -> None:
        limit_s = _limit_s.get()
        if limit_s is not None:
            self.socket_timeout = self.socket_connect_timeout = limit_s
        super().connect()  # type: ignore[misc]


class Connection:
    """
    A pool of connections to the primary, with one deadline for each call.

    Thread-safe. After a fork the child opens connections of its own.

    Args:
        url: ``redis://``, ``rediss://``, ``unix://`` or ``redis+sentinel://``.
        password: Used instead of one in *url*.
        timeout_s: How long a call may take altogether, repeats included.
        patience_s: How long a call that finds nobody is repeated; a person at a prompt has less than a service.
        name: What ``CLIENT LIST`` shows.

    Attributes:
        server: Which program answers, and its version; empty before the first call.
    """

    def __init__(
        self,
        url: str,
        *,
        password: str | None = None,
        timeout_s: float = 5.0,
        patience_s: float = 5.0,
        name: str = "sched",
    ) -> None:
        self.timeout_s = timeout_s
        self.patience_s = patience_s
        self.where = redact_url(url)
        self.server = ""
        self._pool = _pool(url, password=password, timeout_s=timeout_s, name=name)
        self._checked = False
        self._idle: list[tuple[Any, float]] = []
        """Connections that nobody uses, and since when; the last one that was used is the first to be used again."""
        self._pid = os.getpid()

    def call(self, *command: Argument, timeout_s: float | None = None) -> Reply:
        """The reply to one command, as Redis sends it (bytes, integers, lists)."""
        return self._attempt(lambda connection: _exchange(connection, command), timeout_s)

    def run(self, name: str, keys: Sequence[str], args: Sequence[Argument], *, timeout_s: float | None = None) -> Reply:
        """The reply of the script ``lua/<name>.lua``."""
        wanted = script(name)
        command = ("EVALSHA", wanted.sha, len(keys), *keys, *args)
        return self._attempt(lambda connection: _evaluate(connection, wanted, command), timeout_s)

    def send(self, name: str, keys: Sequence[str], args: Sequence[Argument]) -> Pending:
        """
        Send the script ``lua/<name>.lua`` and go on without its reply; read it with `Pending.reply`.

        Never fails: what could not be sent is sent when its reply is asked for.
        """
        return Pending(self, name, keys, args)

    def pipeline(self, commands: Sequence[Sequence[Argument]], *, timeout_s: float | None = None) -> list[Reply]:
        """The replies to many commands in one round trip; no transaction."""
        return list(self._attempt(lambda connection: _exchange_all(connection, commands), timeout_s))

    def dedicated(self) -> Any:
        """A connection outside the pool, for a blocking command or a subscription. Its owner closes it."""
        self.check()
        try:
            connection: Any = self._pool.make_connection()
            connection.connect()
        except _REFUSED as error:
            raise self._refused(error) from None
        except _BROKEN as error:
            raise self._unavailable(error) from None
        return connection

    def check(self) -> None:
        """
        Make sure once that this server can be worked with.

        Raises:
            StoreRefusedError: It is too old, or may evict keys under memory pressure.
        """
        if not self._checked:
            self._attempt(lambda _: None, None)

    def close(self) -> None:
        """Close what is open. The next call opens it again."""
        while self._idle:
            self._let_go(self._idle.pop()[0], in_step=False)
        self._pool.disconnect()

    def _sent(self, command: Sequence[Argument]) -> Any:
        """The connection on which *command* was sent; None if that failed."""
        connection: Any = None
        in_step = False
        try:
            connection = self._connected(self.timeout_s / 2)
            if not self._checked:
                self._check_server(connection)
            _send(connection, command)
            in_step = True
        except (failures.RedisError, OSError, StoreRefusedError):
            return None
        finally:
            if connection is not None and not in_step:
                self._let_go(connection, in_step=False)
        return connection

    def _let_go(self, connection: Any, *, in_step: bool) -> None:
        """
        Keep *connection* for the next call; or hang up, and back to the pool with it.

        Whatever interrupted us between request and reply (a signal handler that raises) leaves a reply that the next caller would
        take for its own. redis-py itself hangs up only while it reads.
        """
        if in_step:
            self._idle.append((connection, time.monotonic()))
        else:
            connection.disconnect()
            self._pool.release(connection)

    def _attempt(self, exchange: Any, timeout_s: float | None) -> Reply:
        deadline = time.monotonic() + min(self.patience_s, self.timeout_s if timeout_s is None else timeout_s)
        backoff_s = BACKOFF_FIRST_S
        while True:
            connection: Any = None
            in_step = False
            try:
                connection = self._connected(self._limit_s(deadline))
                if not self._checked:
                    self._check_server(connection)
                reply = exchange(connection)
                in_step = True
                return reply
            except _REFUSED as error:
                in_step = not isinstance(error, failures.ConnectionError)
                raise self._refused(error) from None
            except _BROKEN as error:
                broken: Exception = error
            except failures.ResponseError as error:
                in_step = True
                if _says(error, "OOM"):
                    raise self._refused(error) from None
                if not _says(error, "LOADING", "MASTERDOWN", "READONLY", "MISCONF", "BUSY"):
                    raise
                in_step = not _says(error, "READONLY", "MASTERDOWN")  # no primary (any more): ask the pool for another
                broken = error
            finally:
                if connection is not None:
                    self._let_go(connection, in_step=in_step)
            pause_s = random.uniform(0, backoff_s)  # full jitter
            if time.monotonic() + pause_s >= deadline:
                raise self._unavailable(broken) from None
            time.sleep(pause_s)
            backoff_s = min(2 * backoff_s, BACKOFF_MAX_S)

    def _connected(self, limit_s: float) -> Any:
        """
        A connection for one attempt that may take *limit_s*, connecting included.

        One that was used a moment ago is taken from our own stack: going through redis-py's pool costs as much as Redis needs to
        put a message on its queue. One that has been idle for longer is looked at first, as its other end may be gone.
        """
        if self._pid != (pid := os.getpid()):
            self._pid = pid
            self._idle.clear()  # those are the parent's
        while True:
            try:
                connection, since_mono_s = self._idle.pop()
            except IndexError:
                return self._of_pool(limit_s)
            if time.monotonic() - since_mono_s < FRESH_S or not _is_stale(connection):
                if connection._sock.gettimeout() != limit_s:
                    connection._sock.settimeout(limit_s)
                return connection
            self._let_go(connection, in_step=False)

    def _of_pool(self, limit_s: float) -> Any:
        token = _limit_s.set(limit_s)
        try:
            connection: Any = self._pool.get_connection()
        finally:
            _limit_s.reset(token)
        connection._sock.settimeout(limit_s)
        return connection

    def _limit_s(self, deadline: float) -> float:
        """An attempt gets what is left, and at most half of the whole: a hanging connection leaves time for a second one."""
        return min(max(TIMEOUT_MIN_S, deadline - time.monotonic()), self.timeout_s / 2)

    def _check_server(self, connection: Any) -> None:
        info = _parse_info(_exchange(connection, ("INFO",)))
        version = info.get("valkey_version") or info.get("redis_version", "0")
        self.server = f"{'Valkey' if 'valkey_version' in info else 'Redis'} {version}"
        if tuple(int(part) for part in info.get("redis_version", "0").split(".")[:2]) < VERSION_MIN:
            raise StoreRefusedError(
                f"Redis at {self.where} is version {version}; Steadybeat needs 6.2 or later, or any Valkey"
            )
        policy = info.get("maxmemory_policy", "noeviction")
        if policy != "noeviction" and info.get("maxmemory", "0") != "0":
            raise StoreRefusedError(
                f"Redis at {self.where} has maxmemory-policy {policy}: it would silently drop fires and messages when memory "
                f"is short; set `maxmemory-policy noeviction`"
            )
        self._checked = True

    def _refused(self, error: Exception) -> StoreRefusedError:
        if isinstance(error, failures.AuthenticationError):
            return StoreRefusedError(
                f"Redis at {self.where} refuses this user or password ({error}); set it in redis_url, in the file named by "
                f"redis_password_file, or as the systemd credential redis-password"
            )
        if _says(error, "OOM") or isinstance(error, failures.OutOfMemoryError):
            return StoreRefusedError(
                f"Redis at {self.where} is out of memory (maxmemory) and refuses to store more; raise maxmemory or purge a queue"
            )
        return StoreRefusedError(f"Redis at {self.where} refuses: {error}")

    def _unavailable(self, error: Exception) -> StoreUnavailableError:
        return StoreUnavailableError(f"no answer from Redis at {self.where}: {error}")


class Pending:
    """
    A script that was sent, whose reply has not been read.

    Its connection is ours until then. A reply that does not come, or that is no answer, makes it an ordinary call: it is repeated,
    as every script may be.
    """

    def __init__(self, source: Connection, name: str, keys: Sequence[str], args: Sequence[Argument]) -> None:
        self._source = source
        self._call = (name, keys, args)
        self._connection = source._sent(("EVALSHA", script(name).sha, len(keys), *keys, *args))

    def reply(self) -> Reply:
        """What the script answers; to be asked for once. Raises as `Connection.run` does."""
        connection, self._connection = self._connection, None
        if connection is not None:
            in_step = False
            try:
                reply = connection.read_response()
                in_step = True
                return reply
            except failures.ResponseError:
                in_step = True
            except _BROKEN:
                pass
            finally:
                self._source._let_go(connection, in_step=in_step)
        return self._source.run(*self._call)

    def drop(self) -> None:
        """Never mind the reply."""
        connection, self._connection = self._connection, None
        if connection is not None:
            self._source._let_go(connection, in_step=False)


def _pool(url: str, *, password: str | None, timeout_s: float, name: str) -> redis.ConnectionPool:
    scheme = urlsplit(url).scheme
    if scheme not in URL_SCHEMES:
        raise ConfigError(f"redis_url {redact_url(url)!r}: use {', '.join(f'{known}://' for known in URL_SCHEMES)}")
    options: dict[str, Any] = {
        "protocol": 2,
        "client_name": name,
        "socket_timeout": timeout_s / 2,
        "socket_connect_timeout": timeout_s / 2,
        "retry": None,
        "max_connections": 2**31,
    }
    if password is not None:
        options["password"] = password
    if scheme != "unix":
        options["socket_keepalive"] = True
    try:
        if scheme == SENTINEL_SCHEME:
            from scheduler.store.sentinel import sentinel_pool  # noqa: PLC0415 - a client more, for those who have them

            pool = sentinel_pool(url, options)
        else:
            pool = redis.ConnectionPool.from_url(url, **options)
    except ValueError as error:
        raise ConfigError(f"redis_url {redact_url(url)!r}: {error}") from None
    pool.connection_class = type("Limited", (_Limited, pool.connection_class), {})
    if password is not None:
        # A password in the URL wins over the keyword in redis-py; the file's is the newer one.
        pool.connection_kwargs["password"] = password
    return pool


def _is_stale(connection: Any) -> bool:
    """Whether the other end has hung up, or has said something that nobody asked for."""
    try:
        return bool(connection.can_read())
    except (failures.RedisError, OSError):
        return True


def _says(error: Exception, *codes: str) -> bool:
    """Whether Redis answered with one of *codes*; Redis 6.2 wraps what a command inside a script was refused with."""
    text = str(error)
    return text.startswith(codes) or any(f"-{code} " in text for code in codes)


def _send(connection: Any, command: Sequence[Argument]) -> None:
    """As redis-py's `send_command`, without its look at each argument: a batch has thousands."""
    packed: Any = tuple(command)  # hiredis says "of one item", and means of any number
    connection.send_packed_command((pack_command(packed),), check_health=False)


def _exchange(connection: Any, command: Sequence[Argument]) -> Reply:
    _send(connection, command)
    return connection.read_response()


def _evaluate(connection: Any, wanted: Script, command: Sequence[Argument]) -> Reply:
    try:
        return _exchange(connection, command)
    except failures.NoScriptError:
        _exchange(connection, ("SCRIPT", "LOAD", wanted.text))
        return _exchange(connection, command)


def _exchange_all(connection: Any, commands: Sequence[Sequence[Argument]]) -> list[Reply]:
    if not commands:
        return []
    connection.send_packed_command(connection.pack_commands(commands), check_health=False)
    replies: list[Reply] = []
    error: Exception | None = None
    for _ in commands:
        try:
            replies.append(connection.read_response())
        except failures.ResponseError as failure:
            error = error or failure
    if error is not None:
        raise error
    return replies


def _parse_info(reply: bytes) -> dict[str, str]:
    lines = (line.partition(":") for line in reply.decode().splitlines() if not line.startswith("#"))
    return {key: value for key, _, value in lines}
