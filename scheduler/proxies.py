"""
What Celery's programs ask of the process they run in: `current_app`, `current_task`, `shared_task`.

    from scheduler import current_app, current_task, shared_task

The first two are looked up each time something is asked of them, so they may be imported before there is an app or a run.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from scheduler.context import current_request
from scheduler.declare import current, task


class _Current:
    """Stands for what *find* answers now."""

    __slots__ = ("_find", "_what")

    def __init__(self, find: Callable[[], Any], what: str) -> None:
        object.__setattr__(self, "_find", find)
        object.__setattr__(self, "_what", what)

    def _get_current_object(self) -> Any:
        """
        What it stands for now (Celery's name for this).

        Raises:
            AttributeError: There is none.
        """
        found = self._find()
        if found is None:
            raise AttributeError(self._what)
        return found

    def __getattr__(self, name: str) -> Any:
        return getattr(self._get_current_object(), name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._get_current_object(), name, value)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._get_current_object()(*args, **kwargs)

    def __bool__(self) -> bool:
        return self._find() is not None

    def __eq__(self, other: object) -> bool:
        return bool(self._find() == other)

    def __hash__(self) -> int:
        return hash(self._find())

    def __repr__(self) -> str:
        return repr(self._find())


def _app() -> Any:
    return current().home.app


def _task() -> Any:
    name = current_request().task
    return current().tasks.get(name) if name else None


current_app: Any = _Current(_app, "current_app: no App was made in this process")
"""The App that is the process' own: the first one that was made, or that which `set_current` was called of."""
current_task: Any = _Current(_task, "current_task: no task is running here")
"""The task that is running here; false outside of any."""

shared_task = task
"""`@shared_task`: of whatever app this process will have. It is the bare `@task` itself."""
