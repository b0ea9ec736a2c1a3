"""
What people declare about the ways of messages: `Queue`, `Exchange`, `binding`.

    Queue("video", Exchange("media", type="topic"), routing_key="video.*", max_length=1000, concurrency=2)

Nothing of this stands on Redis but the limits of queues: an exchange is a rule by which the caller finds the queues that a message
goes to (`scheduler.routing`), and those are the declared queues of its own settings.

The keywords of kombu are taken too, so that what was written for Celery can stay: those that mean something here are used, those that
tune a broker are passed over, and those that ask for what this version does not do are refused (`AMQP_KEYWORDS`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from scheduler.errors import ConfigError
from scheduler.nearest import nearest

QUEUE_PATTERN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:@-]{0,127}")
QUEUE_WORDS = "use 1–128 letters, digits, '_', '.', ':', '@' or '-', not starting with a sign"
EXCHANGE_TYPES = ("direct", "topic", "fanout")
OVERFLOWS = ("refuse", "drop_oldest")
KEY_CHARS_MAX = 255
"""As in AMQP."""
MAX_LENGTH_MAX = 1_000_000_000
CONCURRENCY_MAX = 1_000_000


def queue_complaint(name: object) -> str | None:
    """Why *name* cannot be the name of a queue, or None if it can."""
    if isinstance(name, str) and QUEUE_PATTERN.fullmatch(name):
        return None
    return f"queue {name!r}: {QUEUE_WORDS}"


def key_complaint(key: object) -> str | None:
    """Why *key* cannot be a routing key, or None if it can."""
    if isinstance(key, str) and len(key) <= KEY_CHARS_MAX and key.isprintable():
        return None
    return f"routing_key {key!r}: expected at most {KEY_CHARS_MAX} printable characters, as in 'video.compress'"


def exchange_complaint(name: object) -> str | None:
    """Why *name* cannot be the name of an exchange, or None if it can; the empty one knows every queue by its name."""
    if isinstance(name, str) and (not name or QUEUE_PATTERN.fullmatch(name)):
        return None
    return f"exchange {name!r}: {QUEUE_WORDS}"


@dataclass(frozen=True, init=False, slots=True)
class Exchange:
    """
    A rule by which a message finds its queues.

    Args:
        type: ``direct``: the queues that are bound by just this routing key. ``topic``: those whose pattern matches it, in
            which ``*`` stands for one word and ``#`` for any number of them, between dots. ``fanout``: all that are bound.
        amqp: Keywords of kombu, see `AMQP_KEYWORDS`.

    Raises:
        ConfigError: It cannot be made; all complaints at once.
    """

    name: str
    type: str

    def __init__(self, name: str = "", type: str = "direct", **amqp: Any) -> None:
        what = f"Exchange({name!r})"
        if complaint := exchange_complaint(name):
            raise ConfigError(complaint)
        complaints = _amqp_complaints(amqp, EXCHANGE_KEYWORDS)
        if complaint := type_complaint(type or "direct"):
            complaints.append(complaint)
        if complaints:
            raise ConfigError([f"{what}: {complaint}" for complaint in complaints])
        object.__setattr__(self, "name", name)
        object.__setattr__(self, "type", type or "direct")

    def __str__(self) -> str:
        return f"{self.name} ({self.type})"


@dataclass(frozen=True, init=False, slots=True)
class Binding:
    """One way from an exchange to a queue. kombu's name for it, `binding`, is the same."""

    exchange: Exchange | None
    routing_key: str | None

    def __init__(self, exchange: Exchange | str | None = None, routing_key: str | None = None, **amqp: Any) -> None:
        complaints = _amqp_complaints(amqp, BINDING_KEYWORDS)
        if routing_key and (complaint := key_complaint(routing_key)):
            complaints.append(complaint)
        if complaints:
            raise ConfigError([f"binding: {complaint}" for complaint in complaints])
        object.__setattr__(self, "exchange", as_exchange(exchange))
        object.__setattr__(self, "routing_key", routing_key or None)


binding = Binding


@dataclass(frozen=True, init=False, slots=True)
class Queue:
    """
    A queue, how messages find it, and its limits.

    Args:
        exchange: Whose messages it gets; None: those of the default exchange. Several: a list of `binding`.
        routing_key: Which of them; None: those with its own name, and the default queue those with the default routing key.
        max_length: At most so many messages wait in it; None: any number.
        overflow: What happens to one more: ``refuse`` it, or ``drop_oldest``.
        concurrency: At most so many of its runs at once, over all workers; None: as many as there are workers.
        queue_arguments: Of these ``x-max-length`` and ``x-overflow`` mean the same as above.
        amqp: Keywords of kombu, see `AMQP_KEYWORDS`.

    Raises:
        ConfigError: It cannot be made; all complaints at once.
    """

    name: str
    bindings: tuple[Binding, ...]
    max_length: int | None
    overflow: str
    concurrency: int | None

    def __init__(
        self,
        name: str,
        exchange: Exchange | str | Iterable[Binding] | None = None,
        routing_key: str | None = None,
        *,
        bindings: Iterable[Binding] | None = None,
        max_length: int | None = None,
        overflow: str | None = None,
        concurrency: int | None = None,
        queue_arguments: Mapping[str, Any] | None = None,
        **amqp: Any,
    ) -> None:
        if complaint := queue_complaint(name):
            raise ConfigError(complaint)
        complaints = _amqp_complaints(amqp, QUEUE_KEYWORDS)
        said = _arguments(queue_arguments, complaints)
        max_length = said.get("max_length") if max_length is None else max_length
        overflow = (said.get("overflow") if overflow is None else overflow) or "refuse"
        found: tuple[Binding, ...] = ()
        try:
            found = _bindings(exchange, routing_key, bindings)
        except ConfigError as error:
            complaints += error.complaints
        complaints += _limit_complaints(max_length, overflow, concurrency)
        if complaints:
            raise ConfigError([f"Queue({name!r}): {complaint}" for complaint in dict.fromkeys(complaints)])
        for field, value in (
            ("name", name), ("bindings", found), ("max_length", max_length), ("overflow", overflow), ("concurrency", concurrency),
        ):  # fmt: skip
            object.__setattr__(self, field, value)

    @property
    def exchange(self) -> Exchange | None:
        """The first exchange that it is bound to; None: the default one."""
        return self.bindings[0].exchange

    @property
    def routing_key(self) -> str | None:
        """The routing key by which it is bound there."""
        return self.bindings[0].routing_key

    @property
    def is_limited(self) -> bool:
        """Whether anything is said that Redis must know."""
        return self.max_length is not None or self.concurrency is not None

    def __str__(self) -> str:
        return self.name


def as_exchange(given: Exchange | str | None, type_: str | None = None) -> Exchange | None:
    """
    *given* as an exchange; None where nothing is said.

    Raises:
        ConfigError: It is none.
    """
    if given is None or isinstance(given, Exchange):
        if given is not None and type_ and type_ != given.type:
            raise ConfigError(f"exchange {given.name!r} is of type {given.type!r}, not {type_!r}")
        return given
    if not isinstance(given, str):
        raise ConfigError(f"exchange {given!r}: expected an Exchange, or the name of one")
    if not given and not type_:
        return None
    return Exchange(given, type_ or "direct")


def type_complaint(type_: object) -> str | None:
    """Why *type_* cannot be the type of an exchange, or None if it can."""
    if type_ in EXCHANGE_TYPES:
        return None
    return f"type {type_!r}: expected {', '.join(map(repr, EXCHANGE_TYPES))}"


def read_queue(given: object, *, name: str | None = None) -> Queue:
    """
    A queue as settings write it: its name, a `Queue`, or a mapping such as
    ``{name="video", exchange="media", type="topic", routing_key="video.*", max_length=1000, concurrency=2}``.

    Args:
        name: The one that stands before it, where queues are written as a mapping by name (Celery's dict form).

    Raises:
        ConfigError: It is none.
    """
    if isinstance(given, Queue):
        if name is not None and name != given.name:
            raise ConfigError(f"queue {name!r}: what stands there is Queue({given.name!r})")
        return given
    if isinstance(given, str) and name is None:
        return Queue(given)
    if not isinstance(given, Mapping):
        raise ConfigError(
            f"queue {given!r}: expected a name, a Queue, or a mapping such as "
            "{name='video', exchange='media', routing_key='video'}"
        )
    said = dict(given)
    own = said.pop("name", name)
    if own is None:
        raise ConfigError(f"queue {given!r}: its name is missing, as in {{name='video'}}")
    if name is not None and own != name:
        raise ConfigError(f"queue {name!r}: what stands there is called {own!r}")
    what = f"queue {own!r}"
    type_ = said.pop("exchange_type", None) or said.pop("type", None)
    said.pop("type", None)
    if type_ is not None and (complaint := type_complaint(type_)):
        raise ConfigError(f"{what}: {complaint}")
    if (key := said.pop("binding_key", None)) and not said.get("routing_key"):
        said["routing_key"] = key
    if unknown := [word for word in said if word not in _WRITTEN]:
        raise ConfigError(
            [f"{what}: unknown {word!r}{nearest(str(word), [*_OWN, 'type'])}" for word in map(str, unknown)]
        )
    ways = said.pop("bindings", None)
    if ways is not None:
        said["bindings"] = [_read_binding(way, what) for way in (ways if isinstance(ways, list | tuple) else [ways])]
    exchange = said.pop("exchange", None)
    if type_ and not exchange and ways is None:
        raise ConfigError(
            f"{what}: type {type_!r} is said of no exchange; give exchange= too (or set default_exchange_type)"
        )
    return Queue(own, exchange=as_exchange(exchange, type_), **said)


def _read_binding(given: object, what: str) -> Binding:
    if isinstance(given, Binding):
        return given
    if not isinstance(given, Mapping) or (
        unknown := sorted(
            str(word) for word in given if word not in ("exchange", "type", "exchange_type", "routing_key")
        )
    ):
        raise ConfigError(
            f"{what}: binding {given!r}: expected {{exchange='media', type='topic', routing_key='video.*'}}"
            + (f", not {', '.join(unknown)}" if isinstance(given, Mapping) else "")
        )
    exchange = as_exchange(given.get("exchange"), given.get("type") or given.get("exchange_type"))
    return Binding(exchange, given.get("routing_key"))


def _bindings(
    exchange: Exchange | str | Iterable[Binding] | None, routing_key: str | None, bindings: Iterable[Binding] | None
) -> tuple[Binding, ...]:
    if exchange is not None and not isinstance(exchange, Exchange | str):
        if bindings is not None or not isinstance(exchange, Iterable):
            raise ConfigError(f"exchange {exchange!r}: expected an Exchange, its name, or a list of bindings")
        bindings, exchange = exchange, None
    if bindings is None:
        return (Binding(exchange, routing_key),)
    found = tuple(bindings)
    for one in found:
        if not isinstance(one, Binding):
            raise ConfigError(f"bindings: {one!r}: expected binding(exchange, routing_key=…)")
    if not found:
        return (Binding(exchange, routing_key),)
    # As in kombu: what a binding leaves open is as the queue says.
    default = as_exchange(exchange)
    return tuple(
        dict.fromkeys(Binding(one.exchange or default, one.routing_key or routing_key or None) for one in found)
    )


def _limit_complaints(max_length: object, overflow: object, concurrency: object) -> list[str]:
    complaints = []
    for name, value, high in (
        ("max_length", max_length, MAX_LENGTH_MAX),
        ("concurrency", concurrency, CONCURRENCY_MAX),
    ):
        if value is None:
            continue
        if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= high:
            complaints.append(f"{name} {value!r}: expected a whole number from 1 to {high:,}")
    if overflow not in OVERFLOWS:
        complaints.append(f"overflow {overflow!r}: expected {' or '.join(map(repr, OVERFLOWS))}")
    elif overflow != "refuse" and max_length is None:
        complaints.append(f"overflow {overflow!r} without max_length: it never overflows")
    return complaints


# ── kombu's keywords ────────────────────────────────────────────────────────────────────────────────────────────────────

_PASSED_OVER = "tunes a broker; queues here survive a restart and cost nothing while they are empty"
_EXPIRY = "messages expire where their task or call says so: expires="

QUEUE_KEYWORDS: Mapping[str, str | None] = {
    **dict.fromkeys(
        ("durable", "auto_delete", "passive", "no_declare", "alias", "channel", "on_declared", "expires", "max_priority",
         "consumer_arguments", "binding_arguments", "delivery_mode")
    ),
    "exclusive": "a queue here may be taken from by every worker that names it",
    "no_ack": "at most once is said of the task: ack='early'",
    "message_ttl": _EXPIRY,
    "max_length_bytes": "this version bounds a queue by its messages: max_length=",
}  # fmt: skip
EXCHANGE_KEYWORDS: Mapping[str, str | None] = dict.fromkeys(
    ("durable", "auto_delete", "passive", "no_declare", "delivery_mode", "channel", "arguments")
)
BINDING_KEYWORDS: Mapping[str, str | None] = dict.fromkeys(("arguments", "unbind_arguments"))
QUEUE_ARGUMENTS: Mapping[str, str | None] = {
    **dict.fromkeys(
        ("x-max-priority", "x-expires", "x-queue-mode", "x-queue-type", "x-queue-master-locator", "x-queue-version",
         "x-quorum-initial-group-size", "x-dead-letter-exchange", "x-dead-letter-routing-key", "x-dead-letter-strategy",
         "x-delivery-limit", "x-max-in-memory-length", "x-max-in-memory-bytes")
    ),
    "x-message-ttl": _EXPIRY,
    "x-max-length-bytes": "this version bounds a queue by its messages: x-max-length",
    "x-single-active-consumer": "say how many of its runs may go on at once: concurrency=1",
}  # fmt: skip
"""
Each with None where it is passed over, else with why it is refused when it is set. What is passed over is true here anyway
(priorities 0–9 in every queue, dead letters kept, everything durable) or tunes what we do not have.
"""
AMQP_KEYWORDS = (EXCHANGE_KEYWORDS, BINDING_KEYWORDS, QUEUE_KEYWORDS, QUEUE_ARGUMENTS)

_OWN = ("name", "exchange", "routing_key", "bindings", "max_length", "overflow", "concurrency")
_WRITTEN = frozenset({*_OWN, "queue_arguments", *QUEUE_KEYWORDS})
_OVERFLOW_WORDS = {"drop-head": "drop_oldest", "reject-publish": "refuse", "reject-publish-dlx": "refuse"}


def _amqp_complaints(given: Mapping[str, Any], known: Mapping[str, str | None]) -> list[str]:
    complaints = []
    for word, value in given.items():
        if word not in known:
            complaints.append(f"unknown keyword {word!r}{nearest(word, [*_OWN, 'type', *known])}")
        elif (why := known[word]) is not None and value not in (None, False):
            complaints.append(f"{word}={value!r}: {why}")
    return complaints


def _arguments(given: Mapping[str, Any] | None, complaints: list[str]) -> dict[str, Any]:
    """What ``queue_arguments`` says in our words; what is wrong with it is added to *complaints*."""
    said: dict[str, Any] = {}
    if given is not None and not isinstance(given, Mapping):
        complaints.append(f"queue_arguments {given!r}: expected a mapping such as {{'x-max-length': 1000}}")
        return said
    for word, value in (given or {}).items():
        if word == "x-max-length":
            said["max_length"] = value
        elif word == "x-overflow":
            said["overflow"] = _OVERFLOW_WORDS.get(value, value)
        elif word not in QUEUE_ARGUMENTS:
            hint = nearest(str(word), ["x-max-length", "x-overflow", *QUEUE_ARGUMENTS])
            complaints.append(f"queue_arguments: unknown {word!r}{hint}")
        elif (why := QUEUE_ARGUMENTS[word]) is not None and value not in (None, False):
            complaints.append(f"queue_arguments: {word}={value!r}: {why}")
    return said


def names_of(queues: Sequence[Queue]) -> tuple[str, ...]:
    """Their names."""
    return tuple(queue.name for queue in queues)
