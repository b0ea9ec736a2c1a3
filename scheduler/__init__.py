"""
Steadybeat: a cron-style periodic scheduler service that fires every entry exactly once, whoever leads.

    from scheduler import crontab, schedule

    @schedule(crontab("10 9 * * 1-5", tz="Asia/Shanghai"))
    def report(): ...

Importing this package costs next to nothing: each public name is loaded when it is first asked for (PEP 562).
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from scheduler.app import App, Celery
    from scheduler.context import Request
    from scheduler.declare import entry, schedule, task
    from scheduler.errors import Ignore, Reject, Retry, SchedError, SoftTimeLimitExceeded, TimeLimitExceeded
    from scheduler.exchange import Exchange, Queue, binding
    from scheduler.log import get_task_logger
    from scheduler.proxies import current_app, current_task, shared_task
    from scheduler.result import AsyncResult
    from scheduler.signatures import Signature, signature
    from scheduler.task import MaxRetriesExceededError, Task
    from scheduler.timing import between, crontab, every, holidays, once, rrule, sun

__all__ = [
    "App",
    "AsyncResult",
    "Celery",
    "Exchange",
    "Ignore",
    "MaxRetriesExceededError",
    "Queue",
    "Reject",
    "Request",
    "Retry",
    "SchedError",
    "Signature",
    "SoftTimeLimitExceeded",
    "Task",
    "TimeLimitExceeded",
    "between",
    "binding",
    "crontab",
    "current_app",
    "current_task",
    "entry",
    "every",
    "get_task_logger",
    "holidays",
    "once",
    "rrule",
    "schedule",
    "shared_task",
    "signature",
    "sun",
    "task",
]

_HOMES = {
    "App": "scheduler.app",
    "AsyncResult": "scheduler.result",
    "Celery": "scheduler.app",
    "Exchange": "scheduler.exchange",
    "Ignore": "scheduler.errors",
    "MaxRetriesExceededError": "scheduler.task",
    "Queue": "scheduler.exchange",
    "Reject": "scheduler.errors",
    "Request": "scheduler.context",
    "Retry": "scheduler.errors",
    "SchedError": "scheduler.errors",
    "Signature": "scheduler.signatures",
    "SoftTimeLimitExceeded": "scheduler.errors",
    "Task": "scheduler.task",
    "TimeLimitExceeded": "scheduler.errors",
    "between": "scheduler.timing",
    "binding": "scheduler.exchange",
    "crontab": "scheduler.timing",
    "current_app": "scheduler.proxies",
    "current_task": "scheduler.proxies",
    "entry": "scheduler.declare",
    "every": "scheduler.timing",
    "get_task_logger": "scheduler.log",
    "holidays": "scheduler.timing",
    "once": "scheduler.timing",
    "rrule": "scheduler.timing",
    "schedule": "scheduler.declare",
    "shared_task": "scheduler.proxies",
    "signature": "scheduler.signatures",
    "sun": "scheduler.timing",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_HOMES[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


class _Package(ModuleType):
    """
    This package, in which `task` is the decorator, always.

    There is a module `scheduler.task` too, and Python sets a package's attribute to a submodule as soon as that is
    imported. A property of the class stands above it; the module is found by `from scheduler.task import Task`.
    """

    @property
    def task(self) -> Any:
        return import_module("scheduler.declare").task

    @task.setter
    def task(self, module: ModuleType) -> None:
        """The import of the submodule; see above."""


sys.modules[__name__].__class__ = _Package
