"""
From an exchange and a routing key to the queues that a message goes to: the declared queues of the settings, as a table.

What a declaration leaves open is settled as in Celery: a queue without an exchange is bound to the default one. A queue without a
routing key is bound by its own name, the default queue by the default routing key. The exchange without a name knows every queue:
its routing key is the queue's name, declared or not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import NamedTuple

from scheduler.errors import ConfigError
from scheduler.exchange import Exchange, Queue, queue_complaint

KEYS_REMEMBERED = 4_096
"""Of how many routing keys the answer is kept: some programs make them of what they send (``user.123``)."""


class Bound(NamedTuple):
    """One binding, complete."""

    queue: str
    exchange: str
    type: str
    routing_key: str

    def __str__(self) -> str:
        key = "" if self.type == "fanout" else f" by {self.routing_key!r}"
        return f"{self.queue} to {self.exchange!r} ({self.type}){key}"


class Bindings:
    """
    The bindings of all declared queues.

    Args:
        queues: The declared ones; none: the default queue alone.

    Raises:
        ConfigError: They contradict each other; all complaints at once.
    """

    def __init__(
        self, queues: Sequence[Queue], *, default_queue: str, default_exchange: Exchange, default_routing_key: str
    ) -> None:
        self.default_exchange = default_exchange.name
        self.default_routing_key = default_routing_key
        self.declared: dict[str, Queue] = {}
        self.bound: list[Bound] = []
        """In the order of the declarations, which is the order of a message's queues."""
        self._types: dict[str, tuple[str, str]] = {}
        complaints: list[str] = []
        for queue in queues or (Queue(default_queue),):
            if queue.name in self.declared:
                complaints.append(
                    f"queue {queue.name!r} is declared twice; declare it once, with bindings=[binding(exchange, key), …]"
                )
                continue
            self.declared[queue.name] = queue
            for way in queue.bindings:
                exchange = way.exchange if way.exchange is not None and way.exchange.name else default_exchange
                own = default_routing_key if queue.name == default_queue else queue.name
                bound = Bound(queue.name, exchange.name, exchange.type, way.routing_key or own)
                complaints += self._add(bound, by=f"queue {queue.name!r}")
        if (said := self._types.get(default_exchange.name)) and said[0] != default_exchange.type:
            complaints.append(
                f"exchange {default_exchange.name!r} is {said[0]} for {said[1]}, and default_exchange_type is "
                f"{default_exchange.type}: say the same in both places"
            )
        self._types.setdefault(default_exchange.name, (default_exchange.type, "the settings"))
        if complaints:
            raise ConfigError(complaints)
        self._by_exchange: dict[str, list[Bound]] = {name: [] for name in self._types}
        for bound in self.bound:
            self._by_exchange[bound.exchange].append(bound)
        self.queues: Callable[[str, str], tuple[str, ...]] = lru_cache(KEYS_REMEMBERED)(self._queues)
        """Exchange and routing key → the names of the queues, each once; none: nobody would get the message."""

    def type_of(self, exchange: str) -> str | None:
        """The type of *exchange*, None where no declared queue is bound to it."""
        found = self._types.get(exchange)
        return None if found is None else found[0]

    def told(self) -> str:
        """All bindings in a line, for people who wonder why theirs is not among them."""
        return "; ".join(map(str, self.bound))

    def _queues(self, exchange: str, routing_key: str) -> tuple[str, ...]:
        if not exchange:
            return (routing_key,) if queue_complaint(routing_key) is None else ()
        return tuple(
            dict.fromkeys(bound.queue for bound in self._by_exchange.get(exchange, ()) if is_match(bound, routing_key))
        )

    def _add(self, bound: Bound, *, by: str) -> list[str]:
        complaints = []
        type_, first = self._types.setdefault(bound.exchange, (bound.type, by))
        if type_ != bound.type:
            complaints.append(
                f"exchange {bound.exchange!r} is {type_} for {first} and {bound.type} for {by}: say the same in both places"
            )
        if bound.type == "topic" and (word := _odd_word(bound.routing_key)):
            complaints.append(
                f"{by}: routing_key {bound.routing_key!r}: in {word!r} the sign stands for no word; '*' is one whole word and "
                "'#' any number of them, as in 'video.*' or 'video.#'"
            )
        self.bound.append(bound)
        return complaints


def is_match(bound: Bound, routing_key: str) -> bool:
    """Whether a message with *routing_key*, given to the exchange of *bound*, goes to its queue."""
    if bound.type == "fanout":
        return True
    if bound.type == "topic":
        return is_topic_match(bound.routing_key, routing_key)
    return bound.routing_key == routing_key


def is_topic_match(pattern: str, key: str) -> bool:
    """
    Whether *key* is of *pattern*: ``*`` in it is one word, ``#`` any number of them, none too; words are parted by dots.

    We keep how many words of the key the pattern so far may have used up. Both an empty key and an empty pattern have no words.
    """
    words = key.split(".") if key else []
    used = {0}
    for part in pattern.split(".") if pattern else ():
        if part == "#":
            used = set(range(min(used), len(words) + 1))
        else:
            used = {n + 1 for n in used if n < len(words) and part in ("*", words[n])}
        if not used:
            return False
    return len(words) in used


def _odd_word(pattern: str) -> str | None:
    """A word of *pattern* in which a sign stands beside something else. To AMQP it is a plain word; nobody means that."""
    return next((word for word in pattern.split(".") if len(word) > 1 and ("*" in word or "#" in word)), None)
