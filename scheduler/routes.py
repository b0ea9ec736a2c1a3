"""
The setting `routes`, read: rules that are asked one after another, the first that has an answer counts.

    routes = {"reports.*": "reports", "re:^video\\.": {"queue": "video", "priority": 5}, "mail.send": {"exchange": "mail"}}

A mapping is one rule: an exact name first, then globs and regular expressions in their order. Pairs are the same. A callable gets
``(name, args, kwargs, options, task=None)``, as in Celery; where settings are text it is written ``module:function``. An object with
`route_for_task` is asked by that, as Celery's older routers are. And a list of any of these.

A rule answers a queue (its name or a `Queue`), or a mapping with some of `queue`, `exchange`, `routing_key` and `priority`. After
None the next one is asked.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Mapping, Sequence
from fnmatch import translate
from typing import Any, NamedTuple

from scheduler.errors import ConfigError
from scheduler.exchange import (
    Exchange,
    Queue,
    exchange_complaint,
    key_complaint,
    queue_complaint,
    type_complaint,
)
from scheduler.nearest import nearest

REGULAR = "re:"
"""In front of a regular expression where settings are text. It is looked for from the beginning of a task's name."""
PRIORITIES = range(10)


class Said(NamedTuple):
    """What one place (a call, an entry, a task, a route) says of where a message goes; None where it says nothing."""

    queue: str | None = None
    exchange: str | None = None
    routing_key: str | None = None
    priority: int | None = None

    @property
    def names_a_place(self) -> bool:
        """Whether it says a queue or an exchange."""
        return self.queue is not None or self.exchange is not None


class Asked(NamedTuple):
    """What a rule is asked about: a call of *task*; `options` are the keywords that it was given."""

    name: str
    args: Sequence[Any]
    kwargs: Mapping[str, Any]
    options: Mapping[str, Any]
    task: Any


class Rule(NamedTuple):
    """One rule. `looks_at_calls`: its answer may depend on more than the task's name."""

    answer: Callable[[Asked], Said | None]
    looks_at_calls: bool = False
    named: tuple[Said, ...] = ()
    """All that it can answer, where that is known beforehand."""


def read_routes(routes: object, *, importing: bool = True) -> list[Rule]:
    """
    The rules that *routes* means, in the order in which they are asked.

    Args:
        importing: False: callables that are written as text are taken for granted.

    Raises:
        ConfigError: They cannot be read, all complaints about a mapping at once.
    """
    if routes is None:
        return []
    if isinstance(routes, Mapping):
        return [_table(list(routes.items()))] if routes else []
    if isinstance(routes, str):
        return read_routes(_imported(routes)) if importing else _written(routes)
    if isinstance(routes, list | tuple):
        if _is_pair(routes):
            return [_table([(routes[0], routes[1])])]
        pairs = [route for route in routes if _is_pair(route)]
        if pairs and len(pairs) == len(routes):
            return [_table([(route[0], route[1]) for route in pairs])]
        return [found for route in routes for found in read_routes(route, importing=importing)]
    if hasattr(routes, "route_for_task"):
        return [_router(routes() if isinstance(routes, type) else routes)]
    if callable(routes):
        return [_callable(routes)]
    raise ConfigError(
        f"routes {routes!r}: expected task names or globs with their queues, as in {{'reports.*': 'reports'}}, pairs, a callable, "
        "or a list of those"
    )


def read_said(target: object, what: str) -> Said:
    """
    A route's answer: a queue, or a mapping.

    Raises:
        ConfigError: It is something else; *what* begins each complaint.
    """
    if not isinstance(target, Mapping):
        target = {"queue": target}
    said: dict[str, Any] = {}
    complaints: list[str] = []
    for word, value in target.items():
        if word not in _WORDS:
            complaints.append(f"{str(word)!r} says nothing of a way{nearest(str(word), _WORDS)}")
            continue
        if value is None and len(target) > 1:
            continue
        given = value.name if isinstance(value, Queue | Exchange) else value
        if complaint := _WORDS[word](given):
            complaints.append(complaint)
        elif word != "exchange_type":
            said[word] = given
    if not said and not complaints:
        complaints.append("expected a queue, an exchange or a routing key")
    if complaints:
        raise ConfigError([f"{what}: {complaint}" for complaint in complaints])
    return Said(**said)


def _priority_complaint(value: object) -> str | None:
    if isinstance(value, int) and not isinstance(value, bool) and value in PRIORITIES:
        return None
    return f"priority {value!r}: expected a whole number from 0 to {PRIORITIES[-1]}"


_WORDS: Mapping[str, Callable[[object], str | None]] = {
    "queue": queue_complaint,
    "exchange": exchange_complaint,
    "exchange_type": type_complaint,
    "routing_key": key_complaint,
    "priority": _priority_complaint,
}


def _is_pair(route: object) -> bool:
    """``("reports.*", "reports")`` or ``("reports.*", {"queue": "reports"})``, and not two names of callables."""
    return (
        isinstance(route, list | tuple)
        and len(route) == 2
        and isinstance(route[0], str | re.Pattern)
        and (
            isinstance(route[1], Mapping | Queue)
            or (isinstance(route[1], str) and (":" not in str(route[0]) or str(route[0]).startswith(REGULAR)))
        )
    )


def _table(pairs: Sequence[tuple[Any, Any]]) -> Rule:
    """Exact names first; then globs and regular expressions, in their order."""
    exact: dict[str, Said] = {}
    patterns: list[tuple[re.Pattern[str], Said]] = []
    complaints: list[str] = []
    for key, target in pairs:
        try:
            said = read_said(target, f"routes: {_shown(key)}")
            pattern = _pattern(key)
        except ConfigError as error:
            complaints += error.complaints
            continue
        if pattern is not None:
            patterns.append((pattern, said))
        else:
            exact[key] = said
    if complaints:
        raise ConfigError(complaints)

    def answer(asked: Asked) -> Said | None:
        if (said := exact.get(asked.name)) is not None:
            return said
        return next((said for pattern, said in patterns if pattern.match(asked.name)), None)

    return Rule(answer, named=(*exact.values(), *(said for _, said in patterns)))


def _pattern(key: object) -> re.Pattern[str] | None:
    """The expression that *key* means; None for an exact name."""
    if isinstance(key, re.Pattern):
        if isinstance(key.pattern, bytes):
            raise ConfigError(f"routes: {_shown(key)}: an expression for text is expected, not for bytes")
        return key
    if not isinstance(key, str) or not key:
        raise ConfigError(f"routes: {key!r} is no task name and no glob")
    if key.startswith(REGULAR):
        try:
            return re.compile(key.removeprefix(REGULAR))
        except re.error as error:
            raise ConfigError(f"routes: {key!r} is no regular expression: {error}") from None
    return re.compile(translate(key)) if any(sign in key for sign in "*?[") else None


def _shown(key: object) -> str:
    return repr(f"{REGULAR}{key.pattern}" if isinstance(key, re.Pattern) else key)


def _callable(function: Callable[..., object]) -> Rule:
    name = getattr(function, "__name__", type(function).__name__)

    def answer(asked: Asked) -> Said | None:
        what = f"routes: {name} for task {asked.name!r}"
        given = _answered(
            lambda: function(asked.name, asked.args, asked.kwargs, dict(asked.options), task=asked.task), what
        )
        return read_said(given, what) if given else None

    return Rule(answer, looks_at_calls=True)


def _router(router: Any) -> Rule:
    """Of an object as Celery had them before version 4."""
    name = f"{type(router).__name__}.route_for_task"

    def answer(asked: Asked) -> Said | None:
        what = f"routes: {name} for task {asked.name!r}"
        given = _answered(lambda: router.route_for_task(asked.name, asked.args, asked.kwargs), what)
        return read_said(given, what) if given else None

    return Rule(answer, looks_at_calls=True)


def _answered(ask: Callable[[], object], what: str) -> object:
    try:
        return ask()
    except Exception as error:
        raise ConfigError(f"{what} raised {type(error).__name__}: {error}; mend the callable") from error


def _written(spec: str) -> list[Rule]:
    """In place of the callable that *spec* names."""
    if not re.fullmatch(r"[A-Za-z_][\w.]*[.:][A-Za-z_][\w.]*", spec):
        raise ConfigError(f"routes {spec!r}: expected a callable, written as module:function")
    return [Rule(lambda _: None, looks_at_calls=True)]


def _imported(spec: str) -> object:
    module, colon, name = spec.partition(":")
    if not colon:
        module, _, name = spec.rpartition(".")
    try:
        found: Any = importlib.import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(f"routes {spec!r}: cannot be imported as module:function: {error}") from None
    if isinstance(found, str):
        raise ConfigError(f"routes {spec!r}: is the text {found!r}; expected a callable or routes")
    return found
