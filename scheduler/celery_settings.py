"""
Celery's settings in our words, so that a program written for it runs after changing its import.

Each of them is one of three. It has a counterpart: `COUNTERPARTS` says which, and how the value is converted. It has no meaning here:
it says what is so anyway, or tunes a machinery that we do not have; `PASSED` says why, in one line that a worker or beat logs when it
starts and `sched check` shows. Or its value asks for something that cannot be: a complaint. Nothing is dropped without a word.

The names are those of Celery 5.7: today's in lower case, and the old capitals (``CELERYD_CONCURRENCY``). Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

from scheduler.celery_options import PASSED as OPTIONS_PASSED
from scheduler.celery_options import Passed
from scheduler.config import SETTINGS
from scheduler.sentinel_url import SCHEME as SENTINEL_SCHEME

BEAT_SCHEDULE = "beat_schedule"
"""Entries; `App` declares them."""

NEVER = "3650d"
"""What is to be kept for ever is kept for ten years."""


class Means(NamedTuple):
    """
    A counterpart.

    Attributes:
        ours: Our setting.
        read: Celery's value → ours; None: nothing is said by it. Raises ValueError if it cannot be met.
    """

    ours: str
    read: Callable[[Any], Any] = lambda value: value


# ── how values are converted ────────────────────────────────────────────────────────────────────────────────────────


_SENTINEL = "sentinel://"


def _url(value: Any) -> Any:
    """Celery's spellings of a Redis URL: ``redis+socket://``, ``socket://``, one in a list."""
    if isinstance(value, list | tuple):
        if value and all(isinstance(one, str) and one.startswith(_SENTINEL) for one in value):
            return ";".join(value)
        if len(value) != 1:
            raise ValueError(
                "one address is expected; where another one takes over is for Redis Sentinel or Cluster to say"
            )
        value = value[0]
    if not isinstance(value, str):
        return value
    if ";" in value and not value.startswith(_SENTINEL):
        raise ValueError(
            "one address is expected; where another one takes over is for Redis Sentinel or Cluster to say"
        )
    for spelling in ("redis+socket://", "socket://"):
        if value.startswith(spelling):
            path, _, query = value.removeprefix(spelling).partition("?")
            base = dict(parse_qsl(query))
            database = base.get("virtual_host") or base.get("db")
            return f"unix://{path}" + (f"?db={database}" if database else "")
    return value


def _pool(value: Any) -> Any:
    name = str(value).rpartition(":")[0].rpartition(".")[2] if ":" in str(value) else str(value)
    if name in ("gevent", "eventlet"):
        raise ValueError(f"{name} patches Python's own modules; take pool 'threads', or 'async' for coroutines")
    return {"processes": "prefork", "thread": "threads", "asyncio": "async"}.get(name, name)


def _concurrency(value: Any) -> Any:
    return None if value in (None, 0, "auto") else value


def _ack(value: Any) -> Any:
    if value is None:
        return None
    if not isinstance(value, bool):
        raise ValueError(f"{value!r}: expected True or False")
    return "late" if value else "early"


def _kept(value: Any) -> Any:
    return value or NEVER


def _limit(value: Any) -> Any:
    """None or 0 stand for no limit."""
    return value or 0


CONTENT_TYPES = {
    "application/json": "json",
    "application/x-msgpack": "msgpack",
    "application/x-python-serialize": "pickle",
    "application/msgpack": "msgpack",
}


def _serializer(value: Any) -> Any:
    if value in ("yaml", "application/x-yaml"):
        raise ValueError("yaml is not spoken here; json carries dates, UUIDs, Decimals, bytes and sets too")
    return CONTENT_TYPES.get(value, value) if isinstance(value, str) else value


def _serializers(value: Any) -> Any:
    if value is None:
        return None
    if not isinstance(value, list | tuple | set | frozenset):
        raise ValueError(f"{value!r}: expected a list, as in ['json']")
    return [_serializer(one) for one in sorted(value, key=str)]


def _compression(value: Any) -> Any:
    if value in ("gzip", "zlib", "application/x-gzip"):
        return "zlib"
    if value in (None, "", "none"):
        return "none"
    raise ValueError(f"{value!r}: this version compresses results with 'zlib'")


COUNTERPARTS: Mapping[str, Means] = {
    "result_accept_content": Means("", lambda value: _serializers(value) and None),
    "broker_url": Means("redis_url", _url),
    "include": Means("imports"),
    "task_acks_late": Means("task_ack", _ack),
    "task_create_missing_queues": Means("create_missing_queues"),
    "task_default_exchange": Means("default_exchange"),
    "task_default_exchange_type": Means("default_exchange_type"),
    "task_default_priority": Means("task_priority"),
    "task_default_queue": Means("default_queue"),
    "task_default_rate_limit": Means("task_rate_limit"),
    "task_default_routing_key": Means("default_routing_key"),
    "task_queues": Means("queues"),
    "task_routes": Means("routes", lambda value: value or {}),
    "worker_concurrency": Means("concurrency", _concurrency),
    "worker_disable_rate_limits": Means("disable_rate_limits"),
    "worker_hijack_root_logger": Means("hijack_root_logger"),
    "worker_log_level": Means("log_level"),
    "worker_max_memory_per_child": Means("max_memory_per_child", _limit),
    "worker_max_tasks_per_child": Means("max_tasks_per_child", _limit),
    "worker_pool": Means("pool", _pool),
    "worker_redirect_stdouts": Means("redirect_stdouts"),
}
"""Celery's name → what it means here. Names that are also ours are in `SAME`."""

SAME: Mapping[str, Callable[[Any], Any]] = {
    "accept_content": _serializers,
    "result_compression": _compression,
    "result_serializer": _serializer,
    "imports": lambda value: value,
    "result_expires": _kept,
    "task_always_eager": lambda value: value,
    "task_annotations": lambda value: value or {},
    "task_eager_propagates": lambda value: value,
    "task_ignore_result": lambda value: value,
    "task_serializer": _serializer,
    "task_soft_time_limit": _limit,
    "task_time_limit": _limit,
    "timezone": lambda value: value or None,
}
"""Settings that both have under one name, and how Celery's values are read."""

# ── what has no meaning here ────────────────────────────────────────────────────────────────────────────────────────

_BACKEND = "results stand on the same Redis as the messages"
_CONNECTION = (
    "a connection that is lost is made again, without end, in workers and beats; callers wait for store_timeout"
)
_AMQP = "there is no AMQP broker: queues are Redis' own"
_PREFETCH = "prefetch counts milliseconds of work, not messages: behind a long task nothing waits"
_EVENTS = "what workers do is on Redis, for `sched runs`, `sched workers`, `sched inspect`; no events are sent"
_CONTROL = "orders to workers go through Redis: `sched worker …`, app.control"
_SUPERVISOR = "whoever starts the process (systemd, a container) says so; units are in systemd/"
_PARTS = "the parts of a worker or beat are not to be replaced"
_LOGS = "log_format says how logs look; signals of scheduler.signals are for more"
_CANVAS = "chords are not in this version"
_SIGNING = "messages are signed by signing_key_file"
_LATE = "late_limit and an entry's catchup say what becomes of fires that were missed"


def _each(why: str, *names: str, true_here: Any = ...) -> dict[str, Passed]:
    return {name: Passed(true_here, why) for name in names}


PASSED: Mapping[str, Passed] = {
    # the broker
    **_each(
        _CONNECTION, "broker_connection_retry", "broker_connection_retry_on_startup", "broker_channel_error_retry", true_here=True
    ),
    **_each(_CONNECTION, "broker_connection_max_retries", true_here=None),
    **_each(_CONNECTION, "broker_connection_timeout", "broker_failover_strategy"),
    **_each(
        "a process needs one connection, or two", "broker_pool_limit", "broker_pool_acquire_timeout", "redis_max_connections"
    ),
    **_each(_AMQP, "broker_heartbeat", "broker_heartbeat_checkrate", "broker_login_method",
            "broker_native_delayed_delivery_queue_type", "task_create_missing_queue_type",
            "task_create_missing_queue_exchange_type", "task_default_delivery_mode", "task_default_queue_type",
            "worker_detect_quorum_queues"),
    **_each("one Redis is read and written", "broker_read_url", "broker_write_url", true_here=None),
    # results
    **_each(_BACKEND, "result_backend_transport_options", "result_exchange", "result_exchange_type", "override_backends",
            "redis_backend_use_ssl", "redis_host", "redis_port", "redis_db", "redis_username", "redis_password",
            "redis_backend_credential_provider", "redis_client_name", "result_cache_max"),
    **_each(_CONNECTION, "redis_socket_timeout", "redis_socket_connect_timeout", "redis_backend_health_check_interval",
            "result_backend_base_sleep_between_retries_ms", "result_backend_max_sleep_between_retries_ms",
            "result_backend_max_retries"),
    **_each(_CONNECTION, "redis_retry_on_timeout", "redis_socket_keepalive", "result_backend_always_retry", true_here=True),
    **_each("a connection may be used by several threads", "result_backend_thread_safe", true_here=True),
    **_each("a run's name, worker, attempt and queue are always recorded: `sched result`", "result_extended", true_here=True),
    **_each("results are as lasting as Redis itself", "result_persistent", true_here=True),
    **_each("failures are kept as long as results: result_expires", "result_failure_expires", true_here=None),
    **_each(_CANVAS, "result_chord_expires", "result_chord_join_timeout", "result_chord_retry_interval",
            "task_allow_error_cb_on_chord_header"),
    # tasks
    **{f"task_{name}": OPTIONS_PASSED[name] for name in (
        "acks_on_failure", "acks_on_failure_or_timeout", "acks_on_timeout", "reject_on_worker_lost", "retry_on_worker_lost",
        "store_errors_even_if_ignored", "track_started")},
    **_each("messages are not compressed: pass a reference to what is large", "task_compression", true_here=None),
    **_each("the results of eager calls stay in the process", "task_store_eager_result", true_here=False),
    **_each("every failure carries its traceback in the worker", "task_remote_tracebacks", true_here=True),
    **_each("logs do not show arguments", "task_repr_maxlevels", "task_args_repr_function", "task_kwargs_repr_function"),
    **_each("there is one protocol", "task_protocol", true_here=2),
    **_each("a call is repeated until store_timeout; retry_policy= of a call says more", "task_publish_retry", true_here=True),
    **_each("a call is repeated until store_timeout; retry_policy= of a call says more", "task_publish_retry_policy"),
    **_each(_EVENTS, "task_send_sent_event", "worker_send_task_events", "event_queue_expires", "event_queue_ttl",
            "event_queue_prefix", "event_queue_durable", "event_queue_exclusive", "event_exchange", "event_serializer",
            "events_logfile", "events_pidfile", "events_uid", "events_gid", "events_umask", "events_executable", true_here=False),
    **_each("priorities are always 0–9", "task_queue_max_priority"),
    **_each("a run that is called from another one has its own priority", "task_inherit_parent_priority", true_here=False),
    # workers
    **_each(_PREFETCH, "worker_prefetch_multiplier", "worker_disable_prefetch", "worker_enable_prefetch_count_reduction"),
    **_each("what has a far ETA waits on Redis, not in a worker", "worker_eta_task_limit", true_here=None),
    **_each("a worker that cannot renew its lease stops what it no longer holds, and only that",
            "worker_cancel_long_running_tasks_on_connection_loss", true_here=True),
    **_each("grace says how long a stopping worker lets its runs go on", "worker_soft_shutdown_timeout",
            "worker_enable_soft_shutdown_on_idle"),
    **_each("a result is written once, by the holder of the lease", "worker_deduplicate_successful_tasks"),
    **_each(_PARTS, "worker_agent", "worker_autoscaler", "worker_consumer", "worker_timer", "worker_pool_putlocks"),
    **_each("a delayed message is woken for to the millisecond", "worker_timer_precision"),
    **_each("a child that dies is noticed at once, and one that cannot start is tried again", "worker_lost_wait",
            "worker_proc_alive_timeout"),
    **_each("children are forked from a process without threads", "worker_pool_start_method", true_here="fork"),
    **_each("cancelled runs are remembered on Redis", "worker_state_db", true_here=None),
    **_each("give a worker a queue of its own: -Q", "worker_direct", true_here=False),
    **_each(_CONTROL, "worker_enable_remote_control", "beat_enable_remote_control", "worker_pool_restarts", true_here=True),
    **_each(_CONTROL, "beat_remote_control_max_tick_age", "control_queue_ttl", "control_queue_expires", "control_queue_durable",
            "control_queue_exclusive", "control_exchange"),
    **_each(_LOGS, "worker_log_color", "worker_log_datefmt", "worker_log_format", "worker_task_log_datefmt",
            "worker_task_log_format"),
    **_each("what tasks print is logged as information, what they write to stderr as a warning (redirect_stdouts)",
            "worker_redirect_stdouts_level", true_here="WARNING"),
    # the beat
    **_each("beats elect a leader, and entries stand on Redis: of files, beat_schedule and `sched add`, not of a database",
            "beat_scheduler", true_here="celery.beat:PersistentScheduler"),
    **_each("what has fired is remembered on Redis", "beat_schedule_filename", "beat_sync_every"),
    **_each("a beat sleeps until something is due", "beat_max_loop_interval"),
    **_each(_LATE, "beat_cron_starting_deadline", true_here=None),
    **_each(_SIGNING, "security_certificate", "security_cert_store", "security_key", "security_key_password", "security_digest"),
    **{f"{process}_{name}": Passed(None, _SUPERVISOR)
       for process in ("worker", "beat")
       for name in ("logfile", "pidfile", "uid", "gid", "umask", "executable")},
}  # fmt: skip
"""Celery's name → what is so here anyway."""

BACKEND_FAMILIES = (
    "arangodb_", "azureblockblob_", "cache_", "cassandra_", "consul_", "cosmosdbsql_", "couchbase_", "couchdb_", "database_",
    "dynamodb_", "elasticsearch_", "filesystem_", "gcs_", "mongodb_", "s3_",
)  # fmt: skip
"""What these begin with are settings of other stores for results."""

_BROKER_PARTS = ("broker_transport", "broker_host", "broker_port", "broker_user", "broker_password", "broker_vhost")
"""How the URL was said before it was one."""

SPECIAL = frozenset(
    {BEAT_SCHEDULE, "broker_transport_options", "broker_use_ssl", "enable_utc", "result_backend", *_BROKER_PARTS}
)
"""What says something together with others."""

_TRANSPORT_OPTIONS = {
    "visibility_timeout": "there is none: a worker keeps a message for as long as it renews its lease, however long the run takes",
    "priority_steps": "priorities are 0–9, each for itself",
    "sep": "priorities are 0–9, each for itself",
    "queue_order_strategy": "a worker takes from its queues in the order of -Q, and each gets its share",
}

KNOWN = frozenset(SETTINGS) | frozenset(COUNTERPARTS) | frozenset(PASSED) | frozenset(SAME) | SPECIAL
"""Every name that can be set, in lower case; besides, what begins with one of `BACKEND_FAMILIES`."""

# ── names ───────────────────────────────────────────────────────────────────────────────────────────────────────────

_IRREGULAR = {
    "BROKER_BACKEND": "broker_transport",
    "CASSANDRA_COLUMN_FAMILY": "cassandra_table",
    "CELERYBEAT_LOG_FILE": "beat_logfile",
    "CELERYBEAT_PID_FILE": "beat_pidfile",
    "CELERYD_LOG_FILE": "worker_logfile",
    "CELERYD_LOG_LEVEL": "worker_log_level",
    "CELERYD_PID_FILE": "worker_pidfile",
    "CELERYD_SOFT_TIME_LIMIT": "task_soft_time_limit",
    "CELERYD_TASK_SOFT_TIME_LIMIT": "task_soft_time_limit",
    "CELERYD_TASK_TIME_LIMIT": "task_time_limit",
    "CELERYD_TIME_LIMIT": "task_time_limit",
    "CELERYD_WORKER_LOST_WAIT": "worker_lost_wait",
    "CELERY_AMQP_TASK_RESULT_EXPIRES": "result_expires",
    "CELERY_DISABLE_RATE_LIMITS": "worker_disable_rate_limits",
    "CELERY_EAGER_PROPAGATES_EXCEPTIONS": "task_eager_propagates",
    "CELERY_ENABLE_REMOTE_CONTROL": "worker_enable_remote_control",
    "CELERY_MAX_CACHED_RESULTS": "result_cache_max",
    "CELERY_MESSAGE_COMPRESSION": "task_compression",
    "CELERY_REDIRECT_STDOUTS": "worker_redirect_stdouts",
    "CELERY_REDIRECT_STDOUTS_LEVEL": "worker_redirect_stdouts_level",
    "CELERY_RESULT_DBURI": "database_url",
    "CELERY_RESULT_DB_SHORT_LIVED_SESSIONS": "database_short_lived_sessions",
    "CELERY_RESULT_DB_TABLENAMES": "database_table_names",
    "CELERY_RESULT_ENGINE_OPTIONS": "database_engine_options",
    "CELERY_SEND_EVENTS": "worker_send_task_events",
    "CELERY_SEND_TASK_SENT_EVENT": "task_send_sent_event",
    "CELERY_TASK_RESULT_EXPIRES": "result_expires",
}
"""Old names that no rule gives."""

_OLD_PREFIXES = (("task_", "CELERY_"), ("worker_", "CELERYD_"), ("beat_", "CELERYBEAT_"))


def _old_names() -> dict[str, str]:
    """Every name in capitals → today's."""
    found: dict[str, str] = {}
    celerys = sorted({*COUNTERPARTS, *SAME, *PASSED, *SPECIAL})
    for name in celerys:
        found[f"CELERY_{name.upper()}"] = name
        if not name.startswith(("task_", "worker_", "beat_")):
            found[name.upper()] = name
    for name in celerys:
        for prefix, old in _OLD_PREFIXES:
            if name.startswith(prefix):
                found.setdefault(old + name.removeprefix(prefix).upper(), name)
    return found | _IRREGULAR


OLD_NAMES = _old_names()


def todays(name: str) -> str:
    """Celery's name of today for *name* in old capitals; other names as they are."""
    if name in OLD_NAMES:
        return OLD_NAMES[name]
    lower = name.removeprefix("CELERY_").lower()
    return lower if name.isupper() and lower.startswith(BACKEND_FAMILIES) else name


def modern(name: str) -> str:
    """
    The one name under which a setting is kept, whichever of its names this is: ours, if it has a counterpart.

    `include` is kept beside `imports`, to which it adds.
    """
    name = todays(name)
    return COUNTERPARTS[name].ours or name if name in COUNTERPARTS and name != "include" else name


def is_known(name: str) -> bool:
    """Whether *name*, in lower case, can be set."""
    return name in KNOWN or name.startswith(BACKEND_FAMILIES)


# ── values ──────────────────────────────────────────────────────────────────────────────────────────────────────────


class Translated(NamedTuple):
    """
    What a program's settings come to.

    Attributes:
        ours: By our names, for `load_config`; what is unknown among them, that complains of.
        complaints: What cannot be met.
        notes: One line for each setting that has no meaning here.
    """

    ours: dict[str, Any]
    complaints: list[str]
    notes: list[str]


def translate(said: Mapping[str, Any]) -> Translated:
    """
    What *said* comes to.

    Args:
        said: Under the names in which it was said: ours, or Celery's of today (`todays`).
    """
    found = Translated({}, [], [])
    for name, value in said.items():
        if name in SPECIAL:
            continue
        if name in PASSED or name.startswith(BACKEND_FAMILIES):
            passed = PASSED.get(name, Passed(..., _BACKEND))
            if passed.true_here is ... or value != passed.true_here:
                found.notes.append(f"{name} has no meaning here: {passed.why}")
            continue
        means = COUNTERPARTS.get(name) or Means(name, SAME.get(name, lambda value: value))
        try:
            meant = means.read(value)
        except ValueError as error:
            found.complaints.append(f"{name}: {error}")
            continue
        if meant is None:
            continue
        if means.ours == "imports" and "imports" in found.ours:
            meant = [*_names(found.ours["imports"]), *_names(meant)]
        found.ours[means.ours] = meant
    _read_broker(said, found)
    _read_backend(said, found)
    if said.get("enable_utc") is False and "timezone" not in found.ours:
        from tzlocal import get_localzone_name  # noqa: PLC0415 - hardly anybody asks for it

        found.ours["timezone"] = get_localzone_name()
    return found


def _names(value: Any) -> list[str]:
    return value.split(",") if isinstance(value, str) else list(value)


def _read_broker(said: Mapping[str, Any], found: Translated) -> None:
    """The URL from its parts, its encryption, and the options of the transport."""
    parts = {name.removeprefix("broker_"): said[name] for name in _BROKER_PARTS if said.get(name) not in (None, "")}
    url = found.ours.get("redis_url")
    if parts and url is None:
        transport = parts.get("transport", "amqp")
        if transport not in ("redis", "rediss"):
            found.complaints.append(f"broker_transport {transport!r}: this version speaks redis; say redis_url")
            return
        login = ""
        if "password" in parts:
            login = f"{quote(str(parts.get('user', '')), safe='')}:{quote(str(parts['password']), safe='')}@"
        database = str(parts.get("vhost", "")).strip("/")
        url = f"{transport}://{login}{parts.get('host', 'localhost')}:{parts.get('port', 6379)}/{database}"
        found.ours["redis_url"] = url
    elif parts:
        found.notes.append(f"{', '.join(f'broker_{name}' for name in parts)}: the URL says it")
    if (secured := said.get("broker_use_ssl")) and isinstance(url, str):
        found.ours["redis_url"] = _encrypted(url, secured)
    options = said.get("broker_transport_options") or {}
    if not isinstance(options, Mapping):
        found.complaints.append(f"broker_transport_options {options!r}: expected a mapping")
        return
    if isinstance(url, str) and url.startswith(_SENTINEL):
        _read_sentinels(url, options, found)
        options = {name: value for name, value in options.items() if name not in ("master_name", "sentinel_kwargs")}
    for name, value in options.items():
        if name == "global_keyprefix":
            found.ours.setdefault("namespace", str(value).rstrip("_:.-") or "sched")
        else:
            why = _TRANSPORT_OPTIONS.get(name, _CONNECTION)
            found.notes.append(f"broker_transport_options: {name} has no meaning here: {why}")


def _read_sentinels(url: str, options: Mapping[str, Any], found: Translated) -> None:
    """``sentinel://a:26379;sentinel://b:26379`` with its `master_name` as one address."""
    service = options.get("master_name")
    if not service:
        found.complaints.append("broker_transport_options: master_name is missing: what the Sentinels call the primary")
        return
    parts = [urlsplit(one) for one in url.split(";") if one]
    logins = [part.netloc.rpartition("@")[0] for part in parts]
    login = next((f"{login}@" for login in logins if login), "")
    hosts = ",".join(part.netloc.rpartition("@")[2] for part in parts)
    database = next((path for part in parts if (path := part.path.strip("/"))), "")
    secret = (options.get("sentinel_kwargs") or {}).get("password")
    found.ours["redis_url"] = (
        f"{SENTINEL_SCHEME}://{login}{hosts}/{quote(str(service), safe='')}"
        + (f"/{database}" if database else "")
        + (f"?{urlencode({'sentinel_password': secret})}" if secret else "")
    )


def _encrypted(url: str, secured: Any) -> str:
    """*url* over TLS, with the files that a mapping names."""
    parts = urlsplit(url)
    query = dict(parse_qsl(parts.query))
    for name, value in secured.items() if isinstance(secured, Mapping) else ():
        requirement = str(getattr(value, "name", value)).removeprefix("CERT_").lower()
        query[name] = requirement if name == "ssl_cert_reqs" else str(value)
    return urlunsplit(("rediss", parts.netloc, parts.path, urlencode(query), parts.fragment))


def _read_backend(said: Mapping[str, Any], found: Translated) -> None:
    backend = said.get("result_backend")
    if backend and _url(backend) != found.ours.get("redis_url"):
        found.notes.append(f"result_backend has no meaning here: {_BACKEND}")
