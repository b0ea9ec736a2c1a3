"""
The exceptions of `scheduler.errors` and of workers under the names of Celery's module.

    from scheduler.exceptions import Ignore, MaxRetriesExceededError, Reject, SoftTimeLimitExceeded

Each is what is really raised here where Celery raises its own of that name; those that nothing here raises are left out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from scheduler.errors import (
    ConfigError,
    Ignore,
    Reject,
    ResultTimeoutError,
    Retry,
    RevokedError,
    SchedError,
    SoftTimeLimitExceeded,
    StoreUnavailableError,
    TaskSignal,
    UnknownTaskError,
)
from scheduler.task import MaxRetriesExceededError

if TYPE_CHECKING:
    from worker.limits import TimeLimitExceeded

__all__ = [
    "CeleryError",
    "Ignore",
    "ImproperlyConfigured",
    "MaxRetriesExceededError",
    "NotRegistered",
    "OperationalError",
    "Reject",
    "Retry",
    "SoftTimeLimitExceeded",
    "TaskError",
    "TaskPredicate",
    "TaskRevokedError",
    "TimeLimitExceeded",
    "TimeoutError",
]

CeleryError = SchedError
ImproperlyConfigured = ConfigError
NotRegistered = UnknownTaskError
OperationalError = StoreUnavailableError
TaskError = SchedError
TaskPredicate = TaskSignal
TaskRevokedError = RevokedError
TimeoutError = ResultTimeoutError


def __getattr__(name: str) -> Any:
    if name == "TimeLimitExceeded":
        # A package beside ours, which whoever only calls tasks need not load.
        from importlib import import_module  # noqa: PLC0415

        return import_module("worker.limits").TimeLimitExceeded
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
