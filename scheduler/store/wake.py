"""
How an idle worker learns of work: a blocking pop for a wake token, on a connection of its own, inside an event loop.

A token may get lost with the process that popped it, so the pop blocks for a second at most; after that the caller looks for
itself.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from redis import exceptions as failures

from scheduler.errors import StoreUnavailableError
from scheduler.store.connection import Connection

BLOCK_S = 1
OVERDUE_S = 3.0
"""A pop that was not answered for so long never will be: its connection died without telling us."""


class Wake:
    """
    At most one blocking pop is out at a time: `arm`, wait until `fileno` is readable, `read`, and again.

    Args:
        key_of: The key that holds the token of a name.
    """

    def __init__(self, connection: Connection, key_of: Callable[[str], str]) -> None:
        self._source = connection
        self._key_of = key_of
        self._connection: Any = None
        self.armed = False
        self._armed_mono_s = 0.0

    def arm(self, names: Sequence[str]) -> None:
        """Send the pop for the tokens of *names* (queues). Raises `StoreUnavailableError` if Redis cannot be reached."""
        if self.armed:
            return
        if self._connection is None:
            self._connection = self._source.dedicated()
        try:
            self._connection.send_command("BLPOP", *map(self._key_of, names), BLOCK_S)
        except (failures.RedisError, OSError) as error:
            self._broken(error)
        self.armed = True
        self._armed_mono_s = time.monotonic()

    def drop_if_overdue(self, now_mono_s: float) -> bool:
        """Drop the connection if its answer is long overdue; whether it was."""
        overdue = self.armed and now_mono_s - self._armed_mono_s >= OVERDUE_S
        if overdue:
            self.close()
        return overdue

    def fileno(self) -> int:
        """The socket to wait on."""
        descriptor: int = self._connection._sock.fileno()
        return descriptor

    def read(self) -> bool:
        """The answer: True for a token, False after a second without one."""
        self.armed = False
        try:
            return self._connection.read_response() is not None
        except (failures.RedisError, OSError) as error:
            self._broken(error)

    def close(self) -> None:
        """Drop the connection."""
        self.armed = False
        if self._connection is not None:
            self._connection.disconnect()
            self._connection = None

    def _broken(self, error: Exception) -> NoReturn:
        self.close()
        raise StoreUnavailableError(f"no answer from Redis at {self._source.where}: {error}") from None
