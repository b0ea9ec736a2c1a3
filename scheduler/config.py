"""
The settings: one frozen `Config`, read once and handed down.

They come from ``sched.toml`` (or ``[tool.sched]`` in ``pyproject.toml``), then from ``SCHED_*`` variables, then from
flags. People write durations as they like ("15s"); here each is whole milliseconds and says so in its name. Every
complaint is told at once, in one `ConfigError`.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit, urlunsplit

import msgspec

from scheduler.bindings import Bindings
from scheduler.errors import ConfigError, ScheduleError
from scheduler.exchange import (
    EXCHANGE_TYPES,
    QUEUE_PATTERN,
    QUEUE_WORDS,
    Exchange,
    Queue,
    exchange_complaint,
    key_complaint,
    read_queue,
)
from scheduler.nearest import nearest
from scheduler.rate import Rate, read_rate
from scheduler.routes import read_routes
from scheduler.sentinel_url import SCHEME as SENTINEL_SCHEME
from scheduler.sentinel_url import read_sentinel_url

NAMESPACE_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:-]{0,63}")
URL_SCHEMES = ("redis", "rediss", "unix", SENTINEL_SCHEME)
CALLABLE_PATTERN = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")
"""``schedules.ops:page``"""
ALERT_HOOKS_MAX = 20
MEMORY_BYTES_MIN = 16 << 20
THREADS_DEFAULT = 10
COROUTINES_DEFAULT = 1000
QUEUE_ORDERS = ("fair", "strict")
POOLS = ("prefork", "threads", "async", "solo")
SERIALIZERS = ("json", "msgpack", "pickle")
COMPRESSIONS = ("none", "zlib")
SIGNING_KEY_BYTES_MIN = 16
LOG_FORMATS = ("auto", "text", "json", "journald")
LOG_LEVELS = ("debug", "info", "warning", "error", "critical")

ENVIRONMENT_PREFIX = "SCHED_"
CONFIG_FILE_VARIABLE = "SCHED_CONFIG"
APP_VARIABLE = "SCHED_APP"
_NOT_SETTINGS = frozenset({CONFIG_FILE_VARIABLE, APP_VARIABLE, "SCHED_EVENTS_FD"})
_SECOND_MS = 1000
_DAY_MS = 86_400_000


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """
    Every setting, checked. Relations between them are checked whenever one is made, by `msgspec.structs.replace` too.

    Raises:
        ConfigError: Settings contradict each other; all contradictions at once.
    """

    redis_url: str = ""
    """Empty: the embedded server in the state directory. It may hold a password: show `redacted_url` instead."""
    redis_password_file: str | None = None
    namespace: str = "sched"
    schedules: Path = Path("schedules")
    timezone: str = "UTC"
    default_queue: str = "default"
    default_exchange: str = ""
    """Of queues and calls that name none. Empty: called as the default queue."""
    default_exchange_type: str = "direct"
    default_routing_key: str = ""
    """Of calls that name an exchange alone; the default queue is bound by it. Empty: the default queue's name."""
    queues: tuple[Queue, ...] = ()
    """The declared ones: what a worker without ``-Q`` takes from. Empty: the default queue and all that are named."""
    create_missing_queues: bool = True
    """Whether a queue that is not declared may be named."""
    routes: Any = msgspec.field(default_factory=dict)
    """Task name or glob → queue: a mapping, pairs, a callable, or a list of those. See `scheduler.routing`."""
    imports: tuple[str, ...] = ()
    horizon_ms: int = 15_000
    """How far ahead the leader arms."""
    leader_lease_ms: int = 5_000
    worker_lease_ms: int = 5_000
    stall_ms: int = 4_000
    """A leader without a completed tick for this long stops renewing its term."""
    takeover_ms: int = 1_000
    """What a follower needs, after the lease, to lead."""
    late_limit_ms: int = 0
    """A fire later than this is missed. 0: the horizon."""
    grace_ms: int = 30_000
    """How long a stopping worker lets running tasks go on."""
    result_expires_ms: int = _DAY_MS
    message_bytes_max: int = 262_144
    result_bytes_max: int = 1_048_576
    store_timeout_ms: int = 5_000
    unknown_task_grace_ms: int = 300_000
    max_deliveries: int = 5
    history: int = 20
    queue_order: str = "fair"
    """Which queues a worker takes from first: ``fair``, each gives its share; ``strict``, in the order given."""
    priority_turns: int = 0
    """Every so many takes begin with another priority, each in its turn, so that none starves. 0: the most urgent first, always."""
    concurrency: int = 0
    """How many tasks a worker runs at once. 0: what suits its pool, see `default_concurrency`."""
    pool: str = "prefork"
    max_tasks_per_child: int = 0
    """A child that was given so many messages is replaced. 0: never."""
    max_memory_per_child: int = 0
    """A child with more bytes of resident memory is replaced after what it runs. 0: never."""
    state_dir: Path = Path(".steadybeat")
    log_level: str = "info"
    log_format: str = "auto"
    """``text``, ``json``, ``journald``; ``auto``: journald where stderr is the journal, else text. See `scheduler.logs`."""
    hijack_root_logger: bool = True
    """Whether all logging of a worker comes with ours. False: only our own lines do, and the rest is the user's."""
    redirect_stdouts: bool = True
    """Whether what tasks print comes with the log, line by line and with its run."""
    task_serializer: str = "json"
    accept_content: tuple[str, ...] = ("json", "msgpack")
    """What workers decode of messages, and readers of results. Who names pickle trusts everybody who can write to this Redis."""
    result_serializer: str = "json"
    result_compression: str = "none"
    signing_key_file: str | None = None
    """Keys, one a line: the first signs messages and results, and what was signed with none of them is refused."""
    task_time_limit_ms: int = 0
    """For tasks that say nothing of it themselves, as all settings that begin with `task_`. 0: none."""
    task_soft_time_limit_ms: int = 0
    task_ack: str = "late"
    task_ignore_result: bool = False
    task_priority: int = 0
    task_rate_limit: Rate | None = None
    disable_rate_limits: bool = False
    """No task is held back by its rate_limit, whoever said it."""
    task_always_eager: bool = False
    """Calls run at once in the process that makes them, as in `scheduler.testing.eager`; for development."""
    task_eager_propagates: bool = False
    task_annotations: Any = msgspec.field(default_factory=dict)
    """Task name or glob → options, which weigh more than what the task says itself. See `scheduler.defaults`."""
    alert_hooks: tuple[str, ...] = ()
    """Who is told when something is wrong: addresses (``https://…``) and callables (``schedules.ops:page``). Addresses may hold
    secrets: show `redact_address` of them."""
    alert_outage_ms: int = 60_000
    """Without a leader, or without Redis, for so long: an alert of the service itself. 0: none."""

    def __post_init__(self) -> None:
        if not self.redis_url:
            msgspec.structs.force_setattr(self, "redis_url", f"unix://{(self.state_dir / 'valkey.sock').absolute()}")
        if not self.late_limit_ms:
            msgspec.structs.force_setattr(self, "late_limit_ms", self.horizon_ms)
        if not self.default_exchange:
            msgspec.structs.force_setattr(self, "default_exchange", self.default_queue)
        if not self.default_routing_key:
            msgspec.structs.force_setattr(self, "default_routing_key", self.default_queue)
        if not self.concurrency:
            msgspec.structs.force_setattr(self, "concurrency", default_concurrency(self.pool))
        if complaints := _contradictions(self):
            raise ConfigError(complaints)

    @property
    def redacted_url(self) -> str:
        """The URL without its password: for messages, logs and tables."""
        return redact_url(self.redis_url)

    @property
    def queue_names(self) -> tuple[str, ...]:
        """The names of the declared queues, in their order."""
        return tuple(queue.name for queue in self.queues)

    def bindings(self) -> Bindings:
        """From exchanges to the declared queues."""
        return Bindings(
            self.queues,
            default_queue=self.default_queue,
            default_exchange=Exchange(self.default_exchange, self.default_exchange_type),
            default_routing_key=self.default_routing_key,
        )

    def redis_password(self) -> str | None:
        """
        The password in `redis_password_file`, read now so that a changed secret is found; None without a file.

        Raises:
            ConfigError: The file cannot be read.
        """
        if self.redis_password_file is None:
            return None
        try:
            return Path(self.redis_password_file).read_text(encoding="utf-8").rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(
                f"redis_password_file {self.redis_password_file!r} cannot be read: {_reason(error)}"
            ) from None

    def signing_keys(self) -> tuple[bytes, ...]:
        """
        The keys in `signing_key_file`, the one that signs first; none without a file.

        Raises:
            ConfigError: The file cannot be read, or is no file of keys.
        """
        if self.signing_key_file is None:
            return ()
        what = f"signing_key_file {self.signing_key_file!r}"
        try:
            lines = Path(self.signing_key_file).read_bytes().splitlines()
        except OSError as error:
            raise ConfigError(f"{what} cannot be read: {_reason(error)}") from None
        keys = tuple(line.strip() for line in lines if line.strip() and not line.startswith(b"#"))
        if not keys:
            raise ConfigError(f"{what} holds no key: write one a line (`openssl rand -hex 32`)")
        if short := [number for number, key in enumerate(keys, 1) if len(key) < SIGNING_KEY_BYTES_MIN]:
            raise ConfigError(
                f"{what}: key {short[0]} has fewer than {SIGNING_KEY_BYTES_MIN} characters; make one with `openssl rand -hex 32`"
            )
        return keys

    def open_secrets(self) -> list[tuple[str, str]]:
        """For each file of a secret that others than its owner may read: what is wrong, and the remedy."""
        files = (("signing_key_file", self.signing_key_file), ("redis_password_file", self.redis_password_file))
        return [
            (f"{name} {path!r} can be read by others than its owner", f"chmod 600 {path}")
            for name, path in files
            if path is not None and _others_may_read(path)
        ]

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}={value!r}" for name, value in self.__rich_repr__())
        return f"Config({shown})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        shown: dict[str, Any] = {
            "redis_url": self.redacted_url,
            "alert_hooks": tuple(map(redact_address, self.alert_hooks)),
        }
        return [(name, shown.get(name, getattr(self, name))) for name in self.__struct_fields__]


def load_config(
    *,
    config_file: str | os.PathLike[str] | None = None,
    overrides: Mapping[str, object] | None = None,
    environ: Mapping[str, str] | None = None,
    cwd: str | os.PathLike[str] | None = None,
) -> Config:
    """
    The settings in force.

    Args:
        config_file: Read this file rather than those in *cwd*. ``SCHED_CONFIG`` does the same.
        overrides: What flags said, under the names that files use. A None is a flag that was not given.
        environ: Instead of the process's own environment.
        cwd: Where files are looked for, and what relative paths from variables and flags start from.

    Raises:
        ConfigError: All complaints at once, one line each, each with the place that said it.
    """
    environ = os.environ if environ is None else environ
    folder = Path.cwd() if cwd is None else Path(cwd).absolute()
    reading = _Reading()
    named = config_file if config_file is not None else environ.get(CONFIG_FILE_VARIABLE) or None
    file = (folder / named) if named is not None else _find_file(folder, reading)
    if file is not None:
        reading.read_all(_file_settings(file, reading), origin=str(named or file.name), folder=file.parent)
    for variable, text in environ.items():
        if variable.startswith(ENVIRONMENT_PREFIX) and variable not in _NOT_SETTINGS and text:
            reading.read(variable.removeprefix(ENVIRONMENT_PREFIX).lower(), text, origin=variable, folder=folder)
    reading.read_all({k: v for k, v in (overrides or {}).items() if v is not None}, origin="", folder=folder)
    reading.add_defaults(environ, folder)
    return reading.config()


def default_concurrency(pool: str) -> int:
    """How many tasks a worker of *pool* runs at once where nobody says."""
    if pool == "threads":
        return THREADS_DEFAULT
    if pool == "async":
        return COROUTINES_DEFAULT
    return 1 if pool == "solo" else len(os.sched_getaffinity(0))


def redact_url(url: str) -> str:
    """*url* with ``***`` in place of a password, wherever one may stand in it."""
    try:
        parts = urlsplit(url)
        netloc = parts.netloc
        if "@" in netloc:
            login, _, host = netloc.rpartition("@")
            user, colon, _ = login.partition(":")
            netloc = f"{user}{colon}{'***' if colon else ''}@{host}"
        query = [(k, "***" if "pass" in k.lower() else v) for k, v in parse_qsl(parts.query, keep_blank_values=True)]
        shown = urlunsplit((parts.scheme, netloc, parts.path, urlencode(query, safe="/*"), parts.fragment))
        # urlunsplit leaves out an empty host with its slashes: unix:///path
        return shown if netloc or not url.startswith(f"{parts.scheme}://") else shown.replace(":", "://", 1)
    except ValueError:
        return "(a URL that cannot be read)"


def redact_address(text: str) -> str:
    """The web address *text* as far as its host: what follows (a webhook's path, a token) is a secret. Other texts as they are."""
    if "://" not in text:
        return text
    try:
        parts = urlsplit(text)
        port = "" if parts.port is None else f":{parts.port}"
        return f"{parts.scheme}://{parts.hostname or ''}{port}/…"
    except ValueError:
        return "(an address that cannot be read)"


def http_url_complaint(value: object) -> str | None:
    """Why *value* cannot be called as a web address, or None if it can. The answer repeats nothing of it."""
    if not isinstance(value, str):
        return "expected an address, as in https://example.com/…"
    try:
        parts = urlsplit(value)
        _ = parts.port
    except ValueError as error:
        return str(error)
    if parts.scheme not in ("http", "https"):
        return "an address begins with http:// or https://"
    if not parts.hostname:
        return "its host is missing, as in https://example.com/…"
    if not value.isascii() or not value.isprintable() or " " in value:
        return "an address has neither blanks nor characters beyond ASCII; encode them as %20 and the like"
    return None


# ── how each setting is read ────────────────────────────────────────────────────────────────────────────────────────


class _Place(msgspec.Struct, frozen=True):
    """Where a value comes from: the name it has there, and what its relative paths start from."""

    name: str
    folder: Path


_Reader = Callable[[Any, _Place], Any]


def _text(value: Any, place: _Place) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError(f"{place.name} {value!r}: expected text")
    return value


def _path(value: Any, place: _Place) -> Path:
    if not isinstance(value, str | os.PathLike) or not str(value):
        raise ValueError(f"{place.name} {value!r}: expected a path")
    return place.folder / Path(value).expanduser()


def _others_may_read(path: str) -> bool:
    try:
        return bool(os.stat(path).st_mode & 0o044)
    except OSError:
        return False


def _accepted(value: Any, place: _Place) -> tuple[str, ...]:
    names = _names(sorted(value) if isinstance(value, set | frozenset) else value, place)
    if not names:
        raise ValueError(f"{place.name} {value!r}: nothing would be accepted; name some of {', '.join(SERIALIZERS)}")
    for name in names:
        if name not in SERIALIZERS:
            raise ValueError(f"{place.name} {name!r}: this version knows {', '.join(SERIALIZERS)}")
    return tuple(dict.fromkeys(names))


def _password_file(value: Any, place: _Place) -> str:
    path = _path(value, place)
    try:
        path.read_bytes()
    except OSError as error:
        raise ValueError(f"{place.name} '{path}' cannot be read: {_reason(error)}") from None
    return str(path)


def _url(value: Any, place: _Place) -> str:
    text = _text(value, place)
    shown = f"{place.name} '{redact_url(text)}'"
    try:
        parts = urlsplit(text)
        if parts.scheme == SENTINEL_SCHEME:
            read_sentinel_url(text)
            return text
        _ = parts.port
    except ValueError as error:
        raise ValueError(f"{shown}: {error}") from None
    if parts.scheme not in URL_SCHEMES:
        known = ", ".join(f"{scheme}://" for scheme in URL_SCHEMES)
        raise ValueError(f"{shown}: this version speaks {known}")
    if parts.scheme == "unix" and not parts.path.strip("/"):
        raise ValueError(f"{shown}: a socket's path is missing, as in unix:///run/redis/redis.sock")
    if parts.scheme == "unix" and parts.netloc.rpartition("@")[2]:
        raise ValueError(f"{shown}: a socket's path is absolute: three slashes, as in unix:///run/redis/redis.sock")
    database = parts.path.strip("/")
    if parts.scheme != "unix" and database and not database.isdecimal():
        raise ValueError(f"{shown}: the database after the host is a number, not {unquote(database)!r}")
    return text


def _matching(pattern: re.Pattern[str], allowed: str) -> _Reader:
    def read(value: Any, place: _Place) -> str:
        if not isinstance(value, str) or not pattern.fullmatch(value):
            raise ValueError(f"{place.name} {value!r}: {allowed}")
        return value

    return read


def _one_of(allowed: tuple[str, ...]) -> _Reader:
    def read(value: Any, place: _Place) -> str:
        text = value.lower() if isinstance(value, str) else value
        if text not in allowed:
            raise ValueError(f"{place.name} {value!r}: this version knows {', '.join(allowed)}")
        return str(text)

    return read


def _integer(low: int, high: int) -> _Reader:
    def read(value: Any, place: _Place) -> int:
        if isinstance(value, str) and re.fullmatch(r"[+-]?[0-9]{1,18}", value.strip()):
            value = int(value)
        if not isinstance(value, int) or isinstance(value, bool):
            raise ValueError(f"{place.name} {value!r}: expected a whole number")
        if not low <= value <= high:
            raise ValueError(f"{place.name} {value}: outside {low}–{high}")
        return value

    return read


def _memory(value: Any, place: _Place) -> int:
    """Bytes: text with a unit, or a number of KiB as in Celery."""
    if isinstance(value, str):
        match = re.fullmatch(r"\s*([0-9]{1,12}(?:\.[0-9]{1,3})?)\s*(?:([KMGT]?)(I?)B)?\s*", value.upper())
        if match is None:
            raise ValueError(f"{place.name} {value!r}: expected a size such as 200MB, or a number of KiB")
        number, unit, binary = match.groups()
        power = 1 if unit is None else " KMGT".index(unit or " ")
        size: float = float(number) * (1024 if unit is None or binary else 1000) ** power
    elif isinstance(value, int | float) and not isinstance(value, bool):
        size = value * 1024.0
    else:
        raise ValueError(f"{place.name} {value!r}: expected a size such as 200MB, or a number of KiB")
    if size and not MEMORY_BYTES_MIN <= size <= 1 << 50:
        raise ValueError(
            f"{place.name} {value!r}: a child needs {MEMORY_BYTES_MIN >> 20} MiB to begin with; 0 for no limit"
        )
    return round(size)


def _duration(low_ms: int, high_ms: int) -> _Reader:
    def read(value: Any, place: _Place) -> int:
        from scheduler.timing.duration import format_duration, parse_duration_ms  # noqa: PLC0415 - see _zone

        if isinstance(value, str) and re.fullmatch(r"[0-9]{1,12}(\.[0-9]{1,6})?", value.strip()):
            value = float(value)  # a variable cannot say that it is a number
        span_ms = parse_duration_ms(value, what=place.name)
        if not low_ms <= span_ms <= high_ms:
            raise ValueError(f"{place.name} {value!r}: outside {format_duration(low_ms)}–{format_duration(high_ms)}")
        return span_ms

    return read


def _zone(value: Any, place: _Place) -> str:
    # Imported here: a command that only looks at Redis starts without the calendar.
    from scheduler.timing.zones import zone_name  # noqa: PLC0415

    try:
        return zone_name(value)
    except ScheduleError as error:
        raise ValueError(f"{place.name}: {error}") from None


def _flag(value: Any, place: _Place) -> bool:
    words = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}
    found = value if isinstance(value, bool) else words.get(value.strip().lower()) if isinstance(value, str) else None
    if found is None:
        raise ValueError(f"{place.name} {value!r}: expected true or false")
    return found


def _annotations(value: Any, place: _Place) -> Any:
    if isinstance(value, str) and value.lstrip()[:1] == "{":
        try:
            value = msgspec.json.decode(value)
        except msgspec.DecodeError as error:
            raise ValueError(f"{place.name}: not JSON: {error}") from None
    listed = value if isinstance(value, list | tuple) else [value or {}]
    for one in listed:
        if callable(getattr(one, "annotate", None)):
            continue
        if not isinstance(one, Mapping):
            raise ValueError(f"{place.name} {one!r}: expected task names or globs with options, {_ANNOTATED}")
        for pattern, options in one.items():
            if not isinstance(pattern, str) or not isinstance(options, Mapping):
                raise ValueError(f"{place.name}: {pattern!r}: {options!r}: expected options, {_ANNOTATED}")
    return value


def _names(value: Any, place: _Place) -> tuple[str, ...]:
    parts = value.split(",") if isinstance(value, str) else value
    if not isinstance(parts, list | tuple) or not all(isinstance(part, str) for part in parts):
        raise ValueError(f"{place.name} {value!r}: expected a list of names")
    return tuple(part.strip() for part in parts if part.strip())


def _queues(value: Any, place: _Place) -> tuple[Queue, ...]:
    """Names, `Queue` values, mappings, or Celery's form: a mapping from names to mappings."""
    value = _decoded(value, place)
    listed: list[tuple[Any, str | None]]
    if isinstance(value, Mapping) and not isinstance(value.get("name"), str):
        listed = [(said or {}, name) for name, said in value.items()]
    elif isinstance(value, Mapping | Queue):
        listed = [(value, None)]
    elif isinstance(value, str):
        listed = [(name, None) for name in dict.fromkeys(_names(value, place))]
    elif isinstance(value, Iterable):
        listed = [(one.strip() if isinstance(one, str) else one, None) for one in value]
    elif value is None:
        listed = []
    else:
        raise ValueError(
            f"{place.name} {value!r}: expected names, or queues such as {{name = 'video', max_length = 1000}}"
        )
    found, complaints = [], []
    for one, name in listed:
        try:
            found.append(read_queue(one, name=name))
        except ConfigError as error:
            complaints += [f"{place.name}: {complaint}" for complaint in error.complaints]
    if complaints:
        raise ConfigError(complaints)
    # Said twice in the same words it is said once; two that differ are a contradiction, told with the others.
    return tuple(dict.fromkeys(found))


def _decoded(value: Any, place: _Place) -> Any:
    """*value*; of a variable the data that its JSON means."""
    if isinstance(value, str) and value.lstrip()[:1] in ("{", "["):
        try:
            return msgspec.json.decode(value)
        except msgspec.DecodeError as error:
            raise ValueError(f"{place.name}: not JSON: {error}") from None
    return value


def _exchange(value: Any, place: _Place) -> str:
    name = value.name if isinstance(value, Exchange) else value
    if complaint := exchange_complaint(name):
        raise ValueError(f"{place.name}: {complaint}")
    return str(name)


def _routing_key(value: Any, place: _Place) -> str:
    if complaint := key_complaint(value):
        raise ValueError(f"{place.name}: {complaint}")
    return str(value)


def _routes(value: Any, place: _Place) -> Any:
    """As they are, if they can be read: `scheduler.routing` imports what is written as text, and asks them."""
    value = _decoded(value, place)
    if value is None:
        return {}
    try:
        read_routes(value, importing=False)
    except ConfigError as error:
        raise ConfigError([f"{place.name}{line.removeprefix('routes')}" for line in error.complaints]) from None
    return value


def _hooks(value: Any, place: _Place) -> tuple[str, ...]:
    hooks = _names(value, place)
    for hook in hooks:
        # A callable has no slash; whatever has one is meant as an address, and what it holds may be a secret.
        complaint = http_url_complaint(hook) if "/" in hook else None
        if "/" not in hook and not CALLABLE_PATTERN.fullmatch(hook):
            complaint = "expected an address (https://…) or a callable (schedules.ops:page)"
        if complaint:
            raise ValueError(f"{place.name} {redact_address(hook)!r}: {complaint}")
    if len(hooks) > ALERT_HOOKS_MAX:
        raise ValueError(f"{place.name}: {len(hooks)} hooks, {ALERT_HOOKS_MAX} at most")
    return tuple(dict.fromkeys(hooks))


_ANNOTATED = "as in {'reports.*': {'time_limit': '5m'}}"
SETTINGS: Mapping[str, tuple[str, _Reader]] = {
    "redis_url": ("redis_url", _url),
    "redis_password_file": ("redis_password_file", _password_file),
    "namespace": ("namespace", _matching(NAMESPACE_PATTERN, "use 1–64 letters, digits, '_', '.', ':' or '-'")),
    "schedules": ("schedules", _path),
    "timezone": ("timezone", _zone),
    "default_queue": ("default_queue", _matching(QUEUE_PATTERN, QUEUE_WORDS)),
    "default_exchange": ("default_exchange", _exchange),
    "default_exchange_type": ("default_exchange_type", _one_of(EXCHANGE_TYPES)),
    "default_routing_key": ("default_routing_key", _routing_key),
    "queues": ("queues", _queues),
    "create_missing_queues": ("create_missing_queues", _flag),
    "routes": ("routes", _routes),
    "imports": ("imports", _names),
    "horizon": ("horizon_ms", _duration(_SECOND_MS, _DAY_MS)),
    "leader_lease": ("leader_lease_ms", _duration(200, 600_000)),
    "worker_lease": ("worker_lease_ms", _duration(200, 600_000)),
    "stall": ("stall_ms", _duration(100, 600_000)),
    "takeover": ("takeover_ms", _duration(10, 600_000)),
    "late_limit": ("late_limit_ms", _duration(100, 49 * _DAY_MS)),  # it travels in 32 bits
    "grace": ("grace_ms", _duration(0, _DAY_MS)),
    "result_expires": ("result_expires_ms", _duration(_SECOND_MS, 3650 * _DAY_MS)),
    "message_bytes_max": ("message_bytes_max", _integer(1024, 512 * 1024 * 1024)),
    "result_bytes_max": ("result_bytes_max", _integer(1024, 512 * 1024 * 1024)),
    "store_timeout": ("store_timeout_ms", _duration(100, 600_000)),
    "unknown_task_grace": ("unknown_task_grace_ms", _duration(0, 365 * _DAY_MS)),
    "max_deliveries": ("max_deliveries", _integer(1, 1000)),
    "history": ("history", _integer(1, 1000)),
    "queue_order": ("queue_order", _one_of(QUEUE_ORDERS)),
    "priority_turns": ("priority_turns", _integer(0, 1000)),
    "concurrency": ("concurrency", _integer(1, 10_000)),
    "pool": ("pool", _one_of(POOLS)),
    "max_tasks_per_child": ("max_tasks_per_child", _integer(0, 1_000_000_000)),
    "max_memory_per_child": ("max_memory_per_child", _memory),
    "state_dir": ("state_dir", _path),
    "log_level": ("log_level", _one_of(LOG_LEVELS)),
    "log_format": ("log_format", _one_of(LOG_FORMATS)),
    "hijack_root_logger": ("hijack_root_logger", _flag),
    "redirect_stdouts": ("redirect_stdouts", _flag),
    "task_serializer": ("task_serializer", _one_of(SERIALIZERS)),
    "accept_content": ("accept_content", _accepted),
    "result_serializer": ("result_serializer", _one_of(SERIALIZERS)),
    "result_compression": ("result_compression", _one_of(COMPRESSIONS)),
    "signing_key_file": ("signing_key_file", _password_file),
    "task_time_limit": ("task_time_limit_ms", _duration(0, 365 * _DAY_MS)),
    "task_soft_time_limit": ("task_soft_time_limit_ms", _duration(0, 365 * _DAY_MS)),
    "task_ack": ("task_ack", _one_of(("late", "each", "early"))),
    "task_ignore_result": ("task_ignore_result", _flag),
    "task_priority": ("task_priority", _integer(0, 9)),
    "task_always_eager": ("task_always_eager", _flag),
    "task_eager_propagates": ("task_eager_propagates", _flag),
    "task_rate_limit": ("task_rate_limit", lambda value, place: read_rate(value, place.name)),
    "disable_rate_limits": ("disable_rate_limits", _flag),
    "task_annotations": ("task_annotations", _annotations),
    "alert_hooks": ("alert_hooks", _hooks),
    "alert_outage": ("alert_outage_ms", _duration(0, _DAY_MS)),
}
"""The name that people write → the field of `Config`, and how its value is read."""


class _Reading:
    """The values and complaints gathered so far; later places win over earlier ones."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}
        self.complaints: list[str] = []
        self.broken: set[str] = set()

    def read_all(self, settings: Mapping[str, object], *, origin: str, folder: Path) -> None:
        for name, value in settings.items():
            self.read(name, value, origin=origin, folder=folder)

    def read(self, name: str, value: object, *, origin: str, folder: Path) -> None:
        prefix = f"{origin}: " if origin else ""
        if name not in SETTINGS:
            self.complaints.append(f"{prefix}unknown setting {name!r}{nearest(name, SETTINGS)}")
            return
        field, reader = SETTINGS[name]
        try:
            self.values[field] = reader(value, _Place(name, folder))
            self.broken.discard(field)
        except (ValueError, ScheduleError, ConfigError) as error:
            self.complaints += [f"{prefix}{line}" for line in str(error).splitlines()]
            self.broken.add(field)

    def add_defaults(self, environ: Mapping[str, str], folder: Path) -> None:
        """What depends on where we run: under systemd the state directory and the credentials are given to us."""
        state = environ.get("STATE_DIRECTORY", "").split(":")[0]
        self.values.setdefault("state_dir", Path(state) if state else folder / ".steadybeat")
        self.values.setdefault("schedules", folder / "schedules")
        credentials = environ.get("CREDENTIALS_DIRECTORY")
        if credentials and (secret := Path(credentials) / "redis-password").is_file():
            self.values.setdefault("redis_password_file", str(secret))
        if credentials and (key := Path(credentials) / "signing-key").is_file():
            self.values.setdefault("signing_key_file", str(key))

    def config(self) -> Config:
        try:
            config = Config(**self.values)
        except ConfigError as error:
            # A value that could not be read stands at its default here: blame no relation on it.
            told = [line for line in error.complaints if not any(f in line for f in map(_public_name, self.broken))]
            raise ConfigError([*self.complaints, *(told if self.complaints else error.complaints)]) from None
        if self.complaints:
            raise ConfigError(self.complaints)
        return config


def _public_name(field: str) -> str:
    return field.removesuffix("_ms")


def _contradictions(config: Config) -> list[str]:
    """The relations between settings that do not hold, one line each."""
    complaints = []
    needed_ms = config.stall_ms + config.leader_lease_ms + config.takeover_ms
    if config.horizon_ms <= needed_ms:
        complaints.append(
            f"horizon {config.horizon_ms} ms must be longer than stall {config.stall_ms} + leader_lease "
            f"{config.leader_lease_ms} + takeover {config.takeover_ms} = {needed_ms} ms, "
            "or fires would be late when a leader dies"
        )
    if 0 < config.task_time_limit_ms <= config.task_soft_time_limit_ms:
        complaints.append(
            f"task_soft_time_limit {config.task_soft_time_limit_ms} ms must be shorter than task_time_limit "
            f"{config.task_time_limit_ms} ms, or no task could clean up in between"
        )
    takeover_ms = config.leader_lease_ms + config.takeover_ms
    if 0 < config.alert_outage_ms <= takeover_ms:
        complaints.append(
            f"alert_outage {config.alert_outage_ms} ms must be longer than leader_lease {config.leader_lease_ms} + takeover "
            f"{config.takeover_ms} = {takeover_ms} ms, or 0, or every change of leaders would be told"
        )
    return complaints + _queue_contradictions(config)


def _queue_contradictions(config: Config) -> list[str]:
    try:
        declared = config.bindings().declared
    except ConfigError as error:
        return list(error.complaints)
    if config.create_missing_queues or config.default_queue in declared:
        return []
    return [
        f"default_queue {config.default_queue!r} is not declared, and create_missing_queues is off"
        f"{nearest(config.default_queue, declared)}; declare it in queues, or name one of {', '.join(declared)}"
    ]


def _find_file(folder: Path, reading: _Reading) -> Path | None:
    """``sched.toml`` in *folder*, or its ``pyproject.toml`` if that has our table; both is a contradiction."""
    own, shared = folder / "sched.toml", folder / "pyproject.toml"
    has_table = shared.is_file() and "[tool.sched" in shared.read_text(encoding="utf-8", errors="replace")
    if own.is_file() and has_table:
        reading.complaints.append("settings in sched.toml and in [tool.sched] of pyproject.toml: keep one of the two")
    return own if own.is_file() else shared if has_table else None


def _file_settings(file: Path, reading: _Reading) -> Mapping[str, object]:
    """What *file* says, or nothing and a complaint."""
    try:
        data: Any = tomllib.loads(file.read_text(encoding="utf-8"))
        if file.name == "pyproject.toml":
            data = data.get("tool", {}).get("sched", {})
        if isinstance(data, dict):
            return data
        reading.complaints.append(f"{file}: [tool.sched] is not a table")
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        reading.complaints.append(f"{file}: cannot be read: {_reason(error)}")
    return {}


def _reason(error: Exception) -> str:
    """What the system says, without its number and without repeating the path."""
    return (error.strerror or str(error)) if isinstance(error, OSError) else str(error)
