"""
The limits of queues, as scripts read them: how many messages may wait, and how many runs may go on at once.

They are declared in the settings of each process, and what counts is one hash on Redis: every beat and worker writes the limits of the
queues that it declares when it starts. So with two versions of the settings the newest start wins, for each queue by itself. A queue
that is declared without limits loses those it had; one that is not declared is left alone, as others may declare it.

Whoever finds Redis again after an outage only adds what is missing: a Redis that lost the hash does not leave the queues without
limits, and an old process does not bring its settings back.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from scheduler.exchange import OVERFLOWS, Queue
from scheduler.store.connection import Connection
from scheduler.store.keys import Keys

NONE = "-"


class Limit(NamedTuple):
    """The limits of one queue in force; None where there is none."""

    max_length: int | None = None
    overflow: str = OVERFLOWS[0]
    concurrency: int | None = None


FREE = Limit()


def limit_of(queue: Queue) -> Limit:
    """What the declaration of *queue* says."""
    return Limit(queue.max_length, queue.overflow, queue.concurrency)


class Limits:
    """The limits of the queues of a namespace."""

    def __init__(self, connection: Connection, keys: Keys) -> None:
        self._connection = connection
        self._keys = keys
        self._told = False

    def tell(self, queues: Sequence[Queue]) -> None:
        """
        Put the limits of the declared *queues* in force; after the first time only those that are missing.

        Calling it again is safe. Nothing is sent where nothing is declared.
        """
        if queues:
            rows = (text for queue in queues for text in (queue.name, _written(queue)))
            self._connection.run("limit", (self._keys.queue_limits,), (int(self._told), *rows))
        self._told = True

    def all(self) -> dict[str, Limit]:
        """What is in force, by queue."""
        found = self._connection.call("HGETALL", self._keys.queue_limits)
        return {name.decode(): _read(text.decode()) for name, text in zip(found[::2], found[1::2], strict=True)}


def _written(queue: Queue) -> str:
    """``"max_length overflow concurrency"``, as scripts read it; nothing where there is no limit."""
    if not queue.is_limited:
        return ""
    return f"{queue.max_length or NONE} {queue.overflow} {queue.concurrency or NONE}"


def _read(text: str) -> Limit:
    """What a newer version added is passed over."""
    max_length, overflow, concurrency = text.split(" ")[:3]
    return Limit(
        None if max_length == NONE else int(max_length), overflow, None if concurrency == NONE else int(concurrency)
    )
