"""
Where a message goes: to the queue that is named, or through an exchange to the queues that are bound to it.

Whoever says something counts in this order: the call, the entry, the task, the routes, the settings. The strongest place that
names a queue or an exchange decides; routes are asked only where nobody above them did. A routing key and a priority are each taken
from the strongest place that says one. Where a queue and an exchange are named in one place, the queue counts: a message whose queue
is named goes to that queue and nowhere else.

An exchange is looked up here, by the caller, in the declared queues of the settings (`scheduler.bindings`). If several are bound, each
gets a message; if none is, the message is refused, as it would be lost otherwise.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

from scheduler.config import Config
from scheduler.errors import ConfigError, UnroutableError
from scheduler.exchange import queue_complaint
from scheduler.nearest import nearest
from scheduler.routes import Asked, Said, read_routes

if TYPE_CHECKING:
    from scheduler.model import Entry
    from scheduler.options import TaskOptions
    from scheduler.task import Task

TASKS_REMEMBERED = 4_096
_NOTHING = Said()
_NO_ARGUMENTS: Mapping[str, Any] = {}


class Destination(NamedTuple):
    """
    Where a message goes.

    Attributes:
        queues: In the order of their declarations; at least one.
        exchange: What led there; empty where the queue was named.
        routing_key: With it; else the name of the queue.
        priority: None: nobody said one.
    """

    queues: tuple[str, ...]
    exchange: str = ""
    routing_key: str = ""
    priority: int | None = None


class Router:
    """
    The routes and bindings of one config, read once.

    Raises:
        ConfigError: They cannot be read.
    """

    def __init__(self, config: Config) -> None:
        self._default = config.default_queue
        self._bindings = config.bindings()
        self._strict = not config.create_missing_queues
        self._rules = read_routes(config.routes)
        self.asks_callables = any(rule.looks_at_calls for rule in self._rules)
        """Whether where a message goes may depend on more than the task's name and options."""
        if self._strict:
            self._check_routes()
        self._settled = lru_cache(TASKS_REMEMBERED)(self._settle)

    def destination(
        self,
        task: str,
        said: Iterable[Said] = (),
        *,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        options: Mapping[str, Any] = _NO_ARGUMENTS,
        made: Task | None = None,
    ) -> Destination:
        """
        Where a call of *task* goes.

        Args:
            said: By the call, the entry, the task: the strongest first.
            args, kwargs, options, made: For routes that look at them.

        Raises:
            UnroutableError: No queue is bound, or the one that is named is not declared and must be.
            ConfigError: A callable among the routes raised, or answered something that is no way.
        """
        merged = _merged(said)
        if merged.names_a_place or not self.asks_callables:
            return self._settled(task, merged)
        return self._resolve(task, merged, self._asked(Asked(task, args, kwargs or _NO_ARGUMENTS, options, made)))

    def checked(self, queue: str) -> str:
        """
        *queue*, if it may be named.

        Raises:
            UnroutableError: It is not declared, and must be.
        """
        declared = self._bindings.declared
        if self._strict and queue not in declared:
            raise UnroutableError(
                f"queue {queue!r} is not declared, and create_missing_queues is off{nearest(queue, declared) or '.'} "
                f"Declared are {', '.join(declared)}"
            )
        return queue

    def _settle(self, task: str, said: Said) -> Destination:
        """Where no callable has a say."""
        route = None if said.names_a_place else self._asked(Asked(task, (), _NO_ARGUMENTS, _NO_ARGUMENTS, None))
        return self._resolve(task, said, route)

    def _asked(self, asked: Asked) -> Said | None:
        return next((said for rule in self._rules if (said := rule.answer(asked)) is not None), None)

    def _resolve(self, task: str, said: Said, route: Said | None) -> Destination:
        if route is not None:
            said = _merged((said, route))
        if said.queue is not None:
            return Destination((self.checked(said.queue),), "", said.queue, said.priority)
        if said.exchange is None and said.routing_key is None:
            return Destination((self.checked(self._default),), "", self._default, said.priority)
        bindings = self._bindings
        exchange = bindings.default_exchange if said.exchange is None else said.exchange
        key = bindings.default_routing_key if said.routing_key is None else said.routing_key
        queues = bindings.queues(exchange, key)
        if not queues:
            raise UnroutableError(self._lost(task, exchange, key))
        return Destination(tuple(map(self.checked, queues)), exchange, key, said.priority)

    def _lost(self, task: str, exchange: str, key: str) -> str:
        bindings = self._bindings
        if not exchange:
            return f"task {task!r}: routing_key {key!r}: the exchange without a name takes the name of a queue"
        kind = bindings.type_of(exchange)
        if kind is None:
            what, near = f"exchange {exchange!r}", nearest(exchange, [bound.exchange for bound in bindings.bound])
        else:
            keys = [bound.routing_key for bound in bindings.bound if bound.exchange == exchange]
            what, near = f"exchange {exchange!r} ({kind}) for routing_key {key!r}", nearest(key, keys)
        return (
            f"task {task!r}: no declared queue is bound to {what}, and the message would be lost{near or '.'} "
            f"Bound are: {bindings.told()}"
        )

    def _check_routes(self) -> None:
        complaints = []
        for rule in self._rules:
            for said in rule.named:
                try:
                    if said.queue is not None:
                        self.checked(said.queue)
                except UnroutableError as error:
                    complaints.append(f"routes: {error}")
        if complaints:
            raise ConfigError(list(dict.fromkeys(complaints)))


def _merged(places: Iterable[Said]) -> Said:
    """What *places* say together, the strongest first."""
    merged = _NOTHING
    for said in places:
        if merged is _NOTHING or said is _NOTHING:
            merged = said if merged is _NOTHING else merged
            continue
        names = merged if merged.names_a_place else said
        merged = Said(
            names.queue,
            names.exchange,
            said.routing_key if merged.routing_key is None else merged.routing_key,
            said.priority if merged.priority is None else merged.priority,
        )
    return merged


def said_by(options: TaskOptions | None) -> Said:
    """What a task says of its messages; None where its code is not here."""
    if options is None:
        return _NOTHING
    if options.queue is None and options.exchange is None and options.routing_key is None and options.priority is None:
        return _NOTHING
    return Said(options.queue, options.exchange, options.routing_key, options.priority)


# ── what a worker takes from ────────────────────────────────────────────────────────────────────────────────────────────


def chosen_queues(
    config: Config,
    *,
    take: Sequence[str] | str | None = None,
    exclude: Sequence[str] | str = (),
    tasks: Mapping[str, Task] = _NO_ARGUMENTS,
    entries: Iterable[Entry] = (),
) -> tuple[str, ...]:
    """
    What a worker takes from, each once, in the order in which it was said.

    Args:
        take: ``-Q``. Nothing: the declared queues; if there are none the default queue and each queue that *tasks*, *entries* and
            routes name.
        exclude: ``-X``: not from these, whoever named them.

    Raises:
        ConfigError: A name cannot be used, is not declared and must be, or nothing is left.
    """
    named = queue_names(config, take, flag="-Q")
    without = queue_names(config, exclude, flag="-X")
    found = named or config.queue_names or _named_queues(config, tasks, entries)
    left = tuple(name for name in dict.fromkeys(found) if name not in without)
    if not left:
        raise ConfigError(
            f"no queue is left to take from: of {', '.join(found)} all are excluded (-X {','.join(without)})"
        )
    return left


def queue_names(config: Config, given: Sequence[str] | str | None, *, flag: str = "") -> tuple[str, ...]:
    """
    The names that somebody wrote, ``"a,b"`` or a list, each once.

    Args:
        flag: Where; begins each complaint.

    Raises:
        ConfigError: A name cannot be one of a queue, or is not declared and must be; all complaints at once.
    """
    parts = given.split(",") if isinstance(given, str) else given or ()
    names = tuple(dict.fromkeys(part.strip() for part in parts if part.strip()))
    complaints = [complaint for name in names if (complaint := queue_complaint(name))]
    if not complaints and not config.create_missing_queues:
        router = Router(config)
        for name in names:
            try:
                router.checked(name)
            except UnroutableError as error:
                complaints.append(str(error))
    if complaints:
        raise ConfigError([f"{flag}: {complaint}" if flag else complaint for complaint in complaints])
    return names


def _named_queues(config: Config, tasks: Mapping[str, Task], entries: Iterable[Entry]) -> list[str]:
    """The default queue and every queue that what is loaded names, so that a lone worker serves all of it."""
    router = Router(config)
    named = {entry.queue for entry in entries}
    for name, task in tasks.items():
        # A route may look at arguments that nobody has given, or lead nowhere: then it names no queue of its own accord.
        with contextlib.suppress(Exception):
            named.update(router.destination(name, (said_by(task.options),), made=task).queues)
    return [config.default_queue, *sorted(named - {config.default_queue})]
