"""
Which queue a message goes to: the call's own, else the entry's, else the task's, else what the routes setting says,
else the default queue.

Routes are a mapping from task names or globs to queues, pairs of the same, a callable, or a list of any of these. A
callable gets ``(name, args, kwargs, options, task=None)``, as in Celery, and answers a queue, ``{"queue": …}`` or None.
Where settings are text, a callable is named as ``module:function``.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Mapping, Sequence
from fnmatch import translate
from typing import TYPE_CHECKING, Any

from scheduler.config import Config
from scheduler.errors import ConfigError
from scheduler.exchange import queue_complaint

if TYPE_CHECKING:
    from scheduler.options import TaskOptions

Route = Callable[[str, Sequence[Any], Mapping[str, Any]], str | None]
"""Name, args and kwargs → a queue, or None for "not mine"."""


class Router:
    """
    The routes of one config, read once.

    Raises:
        ConfigError: They cannot be read.
    """

    def __init__(self, config: Config) -> None:
        self._default = config.default_queue
        self._routes = _read(config.routes)
        self.asks_callables = any(getattr(route, "asks_callable", False) for route in self._routes)
        """Whether the queue may depend on more than the task's name."""

    def queue(self, task: str, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None) -> str:
        """
        The queue for *task*, where nobody named one.

        Raises:
            ConfigError: A callable answered something that is no queue.
        """
        for route in self._routes:
            if (queue := route(task, args, kwargs or {})) is not None:
                return queue
        return self._default


def resolve_queue(
    task: str,
    options: TaskOptions | None,
    config: Config,
    *,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
) -> str:
    """The queue for *task*, where neither call nor entry named one; *options* are its own, None if its code is not here."""
    own = None if options is None else options.queue
    return own or Router(config).queue(task, args, kwargs)


def _read(routes: object) -> list[Route]:
    """One `Route` for each rule, in the order in which they are asked."""
    if isinstance(routes, Mapping):
        return [_table(list(routes.items()))] if routes else []
    if isinstance(routes, str):
        return _read(_imported(routes))
    if callable(routes):
        return [_callable(routes)]
    if isinstance(routes, list | tuple):
        if _is_pair(routes):
            return [_table([(routes[0], routes[1])])]
        pairs = [route for route in routes if _is_pair(route)]
        if pairs and len(pairs) == len(routes):
            return [_table([(route[0], route[1]) for route in pairs])]
        return [found for route in routes for found in _read(route)]
    raise ConfigError(f"routes {routes!r}: expected a mapping, pairs, a callable, or a list of those")


def _is_pair(route: object) -> bool:
    """``("reports.*", "reports")`` or ``("reports.*", {"queue": "reports"})``, and not two names of callables."""
    return (
        isinstance(route, list | tuple)
        and len(route) == 2
        and isinstance(route[0], str | re.Pattern)
        and (isinstance(route[1], Mapping) or (isinstance(route[1], str) and ":" not in str(route[0])))
    )


def _table(pairs: Sequence[tuple[Any, Any]]) -> Route:
    """Exact names first; then globs and regular expressions, in their order."""
    exact: dict[str, str] = {}
    patterns: list[tuple[re.Pattern[str], str]] = []
    for key, target in pairs:
        queue = _target(target, f"routes: {key!r}")
        if isinstance(key, re.Pattern):
            patterns.append((key, queue))
        elif not isinstance(key, str) or not key:
            raise ConfigError(f"routes: {key!r} is no task name and no glob")
        elif any(sign in key for sign in "*?["):
            patterns.append((re.compile(translate(key)), queue))
        else:
            exact[key] = queue

    def route(task: str, _args: Sequence[Any], _kwargs: Mapping[str, Any]) -> str | None:
        if (queue := exact.get(task)) is not None:
            return queue
        return next((queue for pattern, queue in patterns if pattern.match(task)), None)

    return route


def _callable(function: Callable[..., object]) -> Route:
    name = getattr(function, "__qualname__", repr(function))

    def route(task: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> str | None:
        answer = function(task, args, kwargs, {}, task=None)
        return None if answer is None else _target(answer, f"routes: {name} for task {task!r}")

    route.asks_callable = True  # type: ignore[attr-defined]
    return route


def _target(target: object, where: str) -> str:
    if isinstance(target, Mapping):
        if unknown := sorted(str(key) for key in target if key != "queue"):
            raise ConfigError(f"{where}: {', '.join(unknown)}: this version routes by the name of a queue only")
        target = target.get("queue")
    if complaint := queue_complaint(target):
        raise ConfigError(f"{where}: {complaint}")
    return str(target)


def _imported(spec: str) -> object:
    module, colon, name = spec.partition(":")
    if not colon:
        module, _, name = spec.rpartition(".")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(f"routes {spec!r}: cannot be imported as module:function: {error}") from None
