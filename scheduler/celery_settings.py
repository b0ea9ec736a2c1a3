"""
Celery's settings in our words, so that a program written for it runs after changing its import.

Three kinds: those that have a counterpart; those that are true here anyway, or tune a machinery that we do not have, and are
passed over; and those that ask for something this version does not do, which are complaints.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from scheduler.config import SETTINGS

COUNTERPARTS = {
    "broker_url": "redis_url",
    "task_default_queue": "default_queue",
    "task_routes": "routes",
    "include": "imports",
    "worker_concurrency": "concurrency",
    "worker_pool": "pool",
    "worker_log_level": "log_level",
}

BEAT_SCHEDULE = "beat_schedule"
"""Entries; `App` declares them."""

PASSED_OVER = frozenset(
    {
        "beat_max_loop_interval", "beat_schedule_filename", "beat_scheduler", "beat_sync_every",
        "broker_connection_max_retries", "broker_connection_retry", "broker_connection_retry_on_startup",
        "broker_connection_timeout", "broker_heartbeat", "broker_pool_limit", "broker_transport_options",
        "enable_utc", "redis_backend_health_check_interval", "redis_max_connections", "redis_retry_on_timeout",
        "redis_socket_connect_timeout", "redis_socket_keepalive", "redis_socket_timeout", "result_backend",
        "result_backend_always_retry", "result_backend_max_retries", "result_backend_transport_options",
        "result_extended", "result_persistent", "task_acks_on_failure_or_timeout", "task_create_missing_queues",
        "task_publish_retry", "task_reject_on_worker_lost", "task_send_sent_event", "task_track_started",
        "worker_cancel_long_running_tasks_on_connection_loss", "worker_disable_rate_limits", "worker_enable_remote_control",
        "worker_hijack_root_logger", "worker_lost_wait", "worker_prefetch_multiplier", "worker_proc_alive_timeout",
        "worker_redirect_stdouts", "worker_send_task_events", "worker_timer", "worker_timer_precision",
    }
)  # fmt: skip

_ONLY_WITH: Mapping[str, tuple[tuple[Any, ...], str]] = {
    "result_serializer": (("json",), "this version speaks 'json'"),
    "accept_content": ((("json",), ("application/json",)), "this version speaks 'json'"),
    "result_accept_content": ((None, ("json",), ("application/json",)), "this version speaks 'json'"),
    "task_acks_late": ((True,), "late is the default here; for at most once give the tasks ack='early'"),
    "task_always_eager": ((False,), "call the task like a function instead"),
    "task_store_errors_even_if_ignored": ((False,), "this version keeps no result where it is ignored"),
}
"""Those that can be met with some values only."""

_OLD_NAMES = {
    "BROKER_URL": "broker_url", "BROKER_POOL_LIMIT": "broker_pool_limit", "BROKER_HEARTBEAT": "broker_heartbeat",
    "BROKER_TRANSPORT_OPTIONS": "broker_transport_options", "BROKER_CONNECTION_TIMEOUT": "broker_connection_timeout",
    "BROKER_CONNECTION_RETRY": "broker_connection_retry",
    "BROKER_CONNECTION_MAX_RETRIES": "broker_connection_max_retries",
    "CELERYBEAT_SCHEDULE": "beat_schedule", "CELERYBEAT_SCHEDULER": "beat_scheduler",
    "CELERYBEAT_SCHEDULE_FILENAME": "beat_schedule_filename", "CELERYBEAT_MAX_LOOP_INTERVAL": "beat_max_loop_interval",
    "CELERYD_CONCURRENCY": "worker_concurrency", "CELERYD_POOL": "worker_pool",
    "CELERYD_PREFETCH_MULTIPLIER": "worker_prefetch_multiplier", "CELERYD_LOG_LEVEL": "worker_log_level",
    "CELERYD_HIJACK_ROOT_LOGGER": "worker_hijack_root_logger",
    "CELERY_ACCEPT_CONTENT": "accept_content", "CELERY_ACKS_LATE": "task_acks_late",
    "CELERY_ALWAYS_EAGER": "task_always_eager", "CELERY_CREATE_MISSING_QUEUES": "task_create_missing_queues",
    "CELERY_DEFAULT_QUEUE": "task_default_queue", "CELERY_ENABLE_UTC": "enable_utc",
    "CELERY_IGNORE_RESULT": "task_ignore_result", "CELERY_IMPORTS": "imports", "CELERY_INCLUDE": "include",
    "CELERY_RESULT_BACKEND": "result_backend", "CELERY_RESULT_SERIALIZER": "result_serializer",
    "CELERY_ROUTES": "task_routes", "CELERY_SEND_TASK_SENT_EVENT": "task_send_sent_event",
    "CELERY_TASK_RESULT_EXPIRES": "result_expires", "CELERY_TASK_SERIALIZER": "task_serializer",
    "CELERY_TIMEZONE": "timezone", "CELERY_TRACK_STARTED": "task_track_started",
}  # fmt: skip

KNOWN = frozenset(SETTINGS) | frozenset(COUNTERPARTS) | PASSED_OVER | frozenset(_ONLY_WITH) | {BEAT_SCHEDULE}
"""Every name that can be set, in lower case."""

NOT_DONE = frozenset({"task_queues"})
_NOT_DONE_REMEDY = {
    "task_queues": "queues need no declaration: name them in routes, or with queue=",
}


def modern(name: str) -> str:
    """Our word for *name*, be it Celery's of today or one of its old capitals; other names as they are."""
    name = _OLD_NAMES.get(name, name)
    return COUNTERPARTS.get(name, name)


def translate(settings: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """
    Those of *settings* that say something here, and the complaints about those that cannot be met.

    Args:
        settings: Under the names that `modern` gives.

    Unknown names are left as they are: whoever reads the settings says what is wrong with them.
    """
    ours: dict[str, Any] = {}
    complaints: list[str] = []
    for name, value in settings.items():
        if name in PASSED_OVER or name == BEAT_SCHEDULE:
            continue
        if name in NOT_DONE:
            complaints.append(f"{name}: not in this version; {_NOT_DONE_REMEDY[name]}")
        elif name in _ONLY_WITH:
            allowed, remedy = _ONLY_WITH[name]
            if (tuple(value) if isinstance(value, list | set) else value) not in allowed:
                complaints.append(f"{name} {value!r}: {remedy}")
        else:
            ours[name] = value
    return ours, complaints
