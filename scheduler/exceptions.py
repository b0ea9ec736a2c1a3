"""
The exceptions of `scheduler.errors` and of workers under the names of Celery's module.

    from scheduler.exceptions import Ignore, MaxRetriesExceededError, Reject, SoftTimeLimitExceeded

Each is what is really raised here where Celery raises its own of that name; those that nothing here raises are left out.
"""

from __future__ import annotations

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
    TimeLimitExceeded,
    UnknownTaskError,
)
from scheduler.task import MaxRetriesExceededError

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
