"""
The options of tasks and entries: read once, when they are declared, with every complaint at once.

People write what they like ("5m", 300, a timedelta); here each is a typed value whose name says its unit. None stands
for "not said", so that an entry can fall back on its task and a task on the settings.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any

import msgspec

from scheduler.config import SERIALIZERS, http_url_complaint, redact_address
from scheduler.errors import InvalidEntryError, InvalidTaskError, SchedError, ScheduleError
from scheduler.exchange import Exchange, Queue, exchange_complaint, key_complaint, queue_complaint
from scheduler.model import Ack, Catchup, Overlap, RunOptions, Watch
from scheduler.nearest import nearest
from scheduler.rate import Rate, read_rate
from scheduler.timing.duration import format_duration, parse_duration_ms
from scheduler.unique import UniqueRule, read_rule
from scheduler.wire import encode_json

PRIORITY_MAX = 9
MAX_RETRIES_MAX = 100_000
FAILURES_MAX = 10_000
NAME_CHARS_MAX = 200
DESCRIPTION_CHARS_MAX = 2_000
HEADERS_BYTES_MAX = 16_384
_DAY_MS = 86_400_000
_YEAR_MS = 366 * _DAY_MS
_PLAIN = frozenset({str, int, float, bool, type(None)})
"""Two values of one of these types that are equal say the same (two datetimes need not)."""


class Expires(msgspec.Struct, frozen=True):
    """`expires` in one of its three forms: so long after the due time, a moment (naive: see who reads it), or when the next is due."""

    after_ms: int | None = None
    at: datetime | None = None
    at_next: bool = False
    """Of fires: when the run of the due time after it is to start. A call has none after it, and does not expire."""


class TaskOptions(msgspec.Struct, frozen=True, kw_only=True):
    """
    What `@task` was told.

    Attributes:
        queue: None: by the routes; so with `exchange` and `routing_key`.
        priority: None: by the routes, else what the settings say.
        max_retries: None: without limit.
        retry_for: Exceptions after which the run is tried again.
        dont_retry_for: Those among them after which it is not.
        retry_backoff_ms: The pause before the first retry; each further one is twice as long.
        retry_backoff_max_ms: Where that ends; the first pause may be longer, and then all of them are.
        retry_jitter: Whether that pause is drawn at random from nothing to its length.
        time_limit_ms: None: none. The child that runs it is killed.
        soft_time_limit_ms: None: none. `SoftTimeLimitExceeded` is raised in the task.
        serializer: What calls are sent in; None: what the settings say. Fires of entries are JSON, as definitions are.
        result_expires_ms: None: what the settings say.
        unique: What makes two runs the same: of these, only one is alive at a time, from the moment when it is asked for (of a
            fire: when it is promoted) until it has ended, retries included. A call for a key that is held is answered with the
            run that holds it, a fire is skipped. None: nothing.
        rate_limit: How often it may start, over all workers. None: as often as it likes.
        unique_for_ms: How long a key may be held at most, from when the run may start.
    """

    queue: str | None = None
    exchange: str | None = None
    routing_key: str | None = None
    priority: int | None = None
    serializer: str | None = None
    max_retries: int | None = 3
    retry_for: tuple[type[Exception], ...] = ()
    dont_retry_for: tuple[type[Exception], ...] = ()
    retry_backoff_ms: int = 1_000
    retry_backoff_max_ms: int = 600_000
    retry_jitter: bool = True
    time_limit_ms: int | None = None
    soft_time_limit_ms: int | None = None
    ack: Ack = Ack.LATE
    ignore_result: bool = False
    result_expires_ms: int | None = None
    expires: Expires | None = None
    unique: UniqueRule | None = None
    unique_for_ms: int = _DAY_MS
    rate_limit: Rate | None = None

    @property
    def expires_ms(self) -> int | None:
        """`expires` as a span after the due time, where it was given so."""
        return None if self.expires is None else self.expires.after_ms

    def merged(self, run: RunOptions | None) -> TaskOptions:
        """These options for a run whose entry says *run*."""
        return self if run is None else msgspec.structs.replace(self, **_said(run))


class EntryOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What `@schedule` or `entry` was told. Naive moments are local to the entry's zone. None: not said."""

    queue: str | None = None
    exchange: str | None = None
    routing_key: str | None = None
    priority: int | None = None
    tz: str | None = None
    countdown_ms: int = 0
    expires: Expires | None = None
    jitter_ms: int = 0
    overlap: Overlap = Overlap.SKIP
    catchup: Catchup = Catchup.LATEST
    catchup_window_ms: int = _DAY_MS
    start: datetime | None = None
    until: datetime | None = None
    max_runs: int | None = None
    enabled: bool = True
    tags: tuple[str, ...] = ()
    description: str = ""
    headers: Mapping[str, Any] = msgspec.field(default_factory=dict)
    ack: Ack | None = None
    ignore_result: bool | None = None
    result_expires_ms: int | None = None
    unique: UniqueRule | bool | None = None
    """False: none, whatever the task says."""
    unique_for_ms: int | None = None
    run: RunOptions | None = None
    watch: Watch | None = None


def read_options(given: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """The fields of `TaskOptions` that *given* speaks of, and the complaints."""
    values, complaints = _read(given, TASK_OPTIONS, _NOT_OF_TASKS)
    if complaint := limits_complaint(values.get("time_limit_ms"), values.get("soft_time_limit_ms")):
        complaints.append(complaint)
    if values.get("ack") is Ack.EARLY and values.get("retry_for"):
        complaints.append("ack 'early' runs at most once, so retry_for cannot stand beside it")
    if values.get("dont_retry_for") and not values.get("retry_for"):
        complaints.append("dont_retry_for names exceptions among those of retry_for; without that it has no meaning")
    if complaint := _backoff_complaint(values):
        complaints.append(complaint)
    return values, complaints


def read_task_options(given: Mapping[str, Any], *, what: str, complaints: Sequence[str] = ()) -> dict[str, Any]:
    """
    The fields of `TaskOptions` that the keywords of a declaration speak of; *what* begins each complaint.

    Args:
        complaints: What is wrong already.

    Raises:
        InvalidTaskError: One line for each complaint.
    """
    values, found = read_options(given)
    complaints = [*complaints, *found]
    if complaints:
        raise InvalidTaskError("\n".join(f"{what}: {complaint}" for complaint in complaints))
    return values


def read_entry_options(given: Mapping[str, Any], *, what: str) -> EntryOptions:
    """
    The options of an entry from the keywords of its declaration; *what* begins each complaint.

    Raises:
        InvalidEntryError: One line for each complaint.
    """
    plain = all(type(value) in _PLAIN for value in given.values())
    options, complaints = _plain_entry_options(**given) if plain else _entry_options(given)
    if complaints:
        raise InvalidEntryError("\n".join(f"{what}: {complaint}" for complaint in complaints))
    return options


@lru_cache(maxsize=1024, typed=True)
def _plain_entry_options(**given: Any) -> tuple[EntryOptions, tuple[str, ...]]:
    """As `_entry_options`, once for all entries that say the same: of very many, most do."""
    return _entry_options(given)


def _entry_options(given: Mapping[str, Any]) -> tuple[EntryOptions, tuple[str, ...]]:
    values, complaints = _read(given, ENTRY_OPTIONS, _NOT_OF_ENTRIES)
    run = {field: values.pop(field) for field in RunOptions.__struct_fields__ if field in values}
    watch = {field: values.pop(field) for field in Watch.__struct_fields__ if field in values}
    watch = {field: value for field, value in watch.items() if value is not None}
    options = EntryOptions(**values, run=RunOptions(**run) if run else None, watch=Watch(**watch) if watch else None)
    if complaint := limits_complaint(run.get("time_limit_ms"), run.get("soft_time_limit_ms")):
        complaints.append(complaint)
    if complaint := _backoff_complaint(run):
        complaints.append(complaint)
    if options.catchup is Catchup.ALL and options.overlap is not Overlap.ALLOW:
        complaints.append(
            f"catchup 'all' needs overlap='allow' (it is '{options.overlap.name.lower()}'): "
            "runs that make up for missed ones would skip each other"
        )
    if "catchup_window_ms" in values and options.catchup is not Catchup.ALL:
        complaints.append("catchup_window is how far catchup='all' looks back; without that it has no meaning")
    if complaint := _watch_complaint(options):
        complaints.append(complaint)
    start, until = options.start, options.until
    if start and until and (start.tzinfo is None) == (until.tzinfo is None) and until <= start:
        complaints.append(f"until {until.isoformat()} is not after start {start.isoformat()}")
    return options, tuple(complaints)


def _backoff_complaint(said: Mapping[str, Any]) -> str | None:
    """Why what was said of the pauses between attempts does not go together, or None if it does."""
    first_ms, longest_ms = said.get("retry_backoff_ms"), said.get("retry_backoff_max_ms")
    if first_ms is None or longest_ms is None or first_ms <= longest_ms:
        return None
    return (
        f"retry_backoff {format_duration(first_ms)}, the first pause, is longer than "
        f"retry_backoff_max {format_duration(longest_ms)}, the longest"
    )


def early_complaint(ack: Ack | None, task: TaskOptions) -> str | None:
    """Why an entry that says *ack* does not go together with its *task*, or None if it does."""
    if ack is not Ack.EARLY or not task.retry_for:
        return None
    return (
        "ack 'early' runs at most once, and its task has retry_for; leave the ack to the task, or take a task without"
    )


def limits_complaint(hard_ms: int | None, soft_ms: int | None, *, of_hard: str = "", of_soft: str = "") -> str | None:
    """Why these two limits do not go together, or None if they do. *of_hard*, *of_soft*: who said it."""
    if hard_ms is None or soft_ms is None or soft_ms < hard_ms:
        return None
    return (
        f"soft_time_limit {format_duration(soft_ms)}{of_soft} must be shorter than "
        f"time_limit {format_duration(hard_ms)}{of_hard}"
    )


def merged_complaint(run: RunOptions | None, task: TaskOptions) -> str | None:
    """Why what an entry says of limits does not go together with what its *task* says, or None if it does."""
    if run is None:
        return None
    said = _said(run)
    merged = task.merged(run)
    whose = {name: "the entry" if name in said else "the task" for name in ("time_limit_ms", "soft_time_limit_ms")}
    if len(set(whose.values())) == 1:
        return None  # it was looked at when that one was declared
    complaint = limits_complaint(
        merged.time_limit_ms,
        merged.soft_time_limit_ms,
        of_hard=f" of {whose['time_limit_ms']}",
        of_soft=f" of {whose['soft_time_limit_ms']}",
    )
    other = "soft_time_limit" if whose["time_limit_ms"] == "the entry" else "time_limit"
    return complaint and f"{complaint}; give the entry a {other} of its own (None: none)"


def _said(run: RunOptions) -> dict[str, Any]:
    """The fields of *run* that say something."""
    return {name: value for name, value in msgspec.structs.asdict(run).items() if value is not msgspec.UNSET}


def expires_complaint(expires: Expires | None, *, countdown_ms: int, jitter_ms: int) -> str | None:
    """Why *expires* cannot be met, or None. A moment is looked at when the time comes."""
    delay_ms = countdown_ms + jitter_ms
    if expires is None or expires.after_ms is None or expires.after_ms > delay_ms:
        return None
    return (
        f"expires {format_duration(expires.after_ms)} cannot be met: a run starts up to {format_duration(delay_ms)} "
        "after the due time (countdown + jitter)"
    )


def expires_next_complaint(expires: Expires | None, catchup: Catchup) -> str | None:
    """Why *expires* does not go together with *catchup*, or None if it does."""
    if expires is None or not expires.at_next or catchup is not Catchup.ALL:
        return None
    return "expires 'next' would end every run that catchup='all' makes up for but the newest; use catchup='latest'"


def _watch_complaint(options: EntryOptions) -> str | None:
    """Why an entry would be reported late before its runs may even start, or None."""
    delay_ms = options.countdown_ms + options.jitter_ms
    after_ms = None if options.watch is None else options.watch.alert_after_ms
    if after_ms is None or after_ms > delay_ms:
        return None
    return (
        f"alert_after {format_duration(after_ms)} cannot be met: a run starts up to {format_duration(delay_ms)} "
        "after the due time (countdown + jitter)"
    )


def name_complaint(name: object, *, what: str) -> str | None:
    """Why *name* cannot be the name of a task or an entry, or None if it can."""
    if not isinstance(name, str) or not name:
        return f"{what} {name!r}: expected text"
    if len(name) > NAME_CHARS_MAX:
        return f"{what} {name[:40]!r}…: {len(name)} characters, {NAME_CHARS_MAX} at most"
    if not name.isprintable() or name != name.strip() or name.startswith("-"):
        return f"{what} {name!r}: use printable characters, no blank at either end and no '-' in front"
    return None


# ── how each option is read ─────────────────────────────────────────────────────────────────────────────────────────

_Reader = Callable[[Any, str], Any]


def _read(
    given: Mapping[str, Any], known: Mapping[str, tuple[str, _Reader]], refused: Mapping[str, str]
) -> tuple[dict[str, Any], list[str]]:
    values: dict[str, Any] = {}
    complaints: list[str] = []
    for name, value in given.items():
        if name not in known:
            why = refused.get(name)
            complaints.append(f"{name}: {why}" if why else f"unknown option {name!r}{nearest(name, known)}")
            continue
        field, reader = known[name]
        try:
            values[field] = reader(value, name)
        except (ValueError, TypeError, SchedError) as error:
            complaints.append(str(error))
    return values, complaints


def _queue(value: Any, name: str) -> str | None:
    return _named(value.name if isinstance(value, Queue) else value, queue_complaint, name)


def _exchange(value: Any, name: str) -> str | None:
    return _named(value.name if isinstance(value, Exchange) else value, exchange_complaint, name)


def _routing_key(value: Any, name: str) -> str | None:
    return _named(value, key_complaint, name)


def _named(value: Any, complaint_about: Callable[[object], str | None], name: str) -> str | None:
    if value is None:
        return None
    if complaint := complaint_about(value):
        raise ValueError(complaint)
    assert name
    return str(value)


def _integer(low: int, high: int, *, none: bool = False) -> _Reader:
    def read(value: Any, name: str) -> int | None:
        if value is None and none:
            return None
        if not isinstance(value, int) or isinstance(value, bool):
            raise ValueError(f"{name} {value!r}: expected a whole number from {low} to {high}")
        if not low <= value <= high:
            raise ValueError(f"{name} {value}: outside {low}–{high}")
        return value

    return read


def _duration(low_ms: int, high_ms: int = 100 * _YEAR_MS, *, none: bool = False) -> _Reader:
    def read(value: Any, name: str) -> int | None:
        if value is None and none:
            return None
        span_ms = parse_duration_ms(value, what=name)
        if not low_ms <= span_ms <= high_ms:
            raise ValueError(f"{name} {value!r}: outside {format_duration(low_ms)}–{format_duration(high_ms)}")
        return span_ms

    return read


def _backoff(value: Any, name: str) -> int:
    """A duration; True (Celery's) is one second, False is none."""
    return int(value) * 1_000 if isinstance(value, bool) else int(_duration(0, _DAY_MS)(value, name))


def _flag(value: Any, name: str) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"{name} {value!r}: expected True or False")
    return value


def _choice(kind: Any) -> _Reader:
    """One of the words of an enum: the values of a text one, the names of a numbered one in lower case."""
    words = {(choice.value if isinstance(choice.value, str) else choice.name.lower()): choice for choice in kind}

    def read(value: Any, name: str) -> Any:
        if isinstance(value, kind):
            return value
        if not isinstance(value, str) or value not in words:
            raise ValueError(f"{name} {value!r}: expected one of {', '.join(map(repr, words))}")
        return words[value]

    return read


def serializer_complaint(value: object) -> str | None:
    """Why nothing can be sent in *value*, or None if it can."""
    if value in SERIALIZERS:
        return None
    yaml = (
        "; YAML is not spoken here: json carries dates, UUIDs, Decimals, bytes and sets too" if value == "yaml" else ""
    )
    return f"serializer {value!r}: expected {', '.join(map(repr, SERIALIZERS))}{yaml}"


def _serializer(value: Any, name: str) -> str | None:
    if value is None:
        return None
    if complaint := serializer_complaint(value):
        raise ValueError(complaint)
    assert name
    return str(value)


def _exceptions(value: Any, name: str) -> tuple[type[Exception], ...]:
    kinds = (value,) if isinstance(value, type) else value
    if not isinstance(kinds, Iterable) or isinstance(kinds, str):
        raise ValueError(f"{name} {value!r}: expected exception classes")
    kinds = tuple(kinds)
    for kind in kinds:
        if not isinstance(kind, type) or not issubclass(kind, Exception):
            raise ValueError(f"{name} {kind!r}: expected exception classes (subclasses of Exception)")
    return kinds


def _expires(value: Any, name: str) -> Expires | None:
    if value is None:
        return None
    if value == "next":
        return Expires(at_next=True)
    if isinstance(value, datetime):
        return Expires(at=value)
    after_ms = parse_duration_ms(value, what=name)
    if after_ms < 1:
        raise ValueError(f"{name} {value!r}: a run that expires at once never starts; give a longer time")
    return Expires(after_ms=after_ms)


def _ping_url(value: Any, name: str) -> str | None:
    """The address that is called; what it may hold besides its host is a secret, so no complaint repeats it."""
    if value is None:
        return None
    if complaint := http_url_complaint(value):
        raise ValueError(f"{name} {redact_address(str(value))!r}: {complaint}")
    return str(value)


def _moment(value: Any, name: str) -> datetime | None:
    if value is None or isinstance(value, datetime):
        return value
    if isinstance(value, str):
        try:
            return datetime.fromisoformat(value)
        except ValueError:
            pass
    raise ValueError(f"{name} {value!r}: expected a datetime, or text as in '2026-12-01T09:00'")


def _zone(value: Any, name: str) -> str | None:
    if value is None:
        return None
    from scheduler.timing.zones import zone_name  # noqa: PLC0415 - most entries name no zone of their own

    try:
        return zone_name(value)
    except ScheduleError as error:
        raise ValueError(f"{name}: {error}") from None


def _tags(value: Any, name: str) -> tuple[str, ...]:
    if isinstance(value, str) or not isinstance(value, Sequence | set | frozenset):
        raise ValueError(f"{name} {value!r}: expected a list of words")
    words = sorted(value) if isinstance(value, set | frozenset) else list(value)
    for word in words:
        if not isinstance(word, str) or not word or not word.isprintable() or len(word) > 64:
            raise ValueError(f"{name} {word!r}: a tag is a word of at most 64 printable characters")
    return tuple(dict.fromkeys(words))


def _description(value: Any, name: str) -> str:
    if not isinstance(value, str) or len(value) > DESCRIPTION_CHARS_MAX:
        raise ValueError(f"{name} {str(value)[:40]!r}: expected text of at most {DESCRIPTION_CHARS_MAX} characters")
    return value


def read_headers(value: Any, name: str = "headers") -> Mapping[str, Any]:
    """
    Headers of a message: names to plain data.

    Raises:
        ValueError: They are something else, or more than `HEADERS_BYTES_MAX`.
        NotEncodableError: JSON cannot carry them.
    """
    if value is None:
        return {}
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise ValueError(f"{name} {value!r}: expected a mapping from names to plain data")
    size = len(encode_json(value, what=name))
    if size > HEADERS_BYTES_MAX:
        raise ValueError(f"{name}: {size} bytes, {HEADERS_BYTES_MAX} at most")
    return dict(value)


_OF_A_RUN: Mapping[str, tuple[str, _Reader]] = {
    "queue": ("queue", _queue),
    "exchange": ("exchange", _exchange),
    "routing_key": ("routing_key", _routing_key),
    "priority": ("priority", _integer(0, PRIORITY_MAX)),
    "expires": ("expires", _expires),
    "ack": ("ack", _choice(Ack)),
    "ignore_result": ("ignore_result", _flag),
    "result_expires": ("result_expires_ms", _duration(1_000, none=True)),
    "unique": ("unique", read_rule),
    "unique_for": ("unique_for_ms", _duration(1_000, _YEAR_MS)),
}
"""What both a task and one of its entries may say; the entry's word weighs more."""

_OF_THE_FUNCTION: Mapping[str, tuple[str, _Reader]] = {
    "max_retries": ("max_retries", _integer(0, MAX_RETRIES_MAX, none=True)),
    "retry_backoff": ("retry_backoff_ms", _backoff),
    "retry_backoff_max": ("retry_backoff_max_ms", _duration(0, _DAY_MS)),
    "retry_jitter": ("retry_jitter", _flag),
    "time_limit": ("time_limit_ms", _duration(1, none=True)),
    "soft_time_limit": ("soft_time_limit_ms", _duration(1, none=True)),
}
"""The same, in `RunOptions`: how a run is repeated and limited, whoever asks for it, unless its entry says otherwise."""

TASK_OPTIONS: Mapping[str, tuple[str, _Reader]] = {
    **_OF_A_RUN,
    **_OF_THE_FUNCTION,
    "serializer": ("serializer", _serializer),
    "rate_limit": ("rate_limit", read_rate),
    "retry_for": ("retry_for", _exceptions),
    "dont_retry_for": ("dont_retry_for", _exceptions),
}

ENTRY_OPTIONS: Mapping[str, tuple[str, _Reader]] = {
    **_OF_A_RUN,
    **_OF_THE_FUNCTION,
    "unique": ("unique", lambda value, name: False if value is False else read_rule(value, name)),
    "tz": ("tz", _zone),
    "countdown": ("countdown_ms", _duration(0)),
    "jitter": ("jitter_ms", _duration(0)),
    "overlap": ("overlap", _choice(Overlap)),
    "catchup": ("catchup", _choice(Catchup)),
    "catchup_window": ("catchup_window_ms", _duration(1_000)),
    "start": ("start", _moment),
    "until": ("until", _moment),
    "max_runs": ("max_runs", _integer(1, 2**32 - 1, none=True)),
    "enabled": ("enabled", _flag),
    "alert_after": ("alert_after_ms", _duration(1_000, none=True)),
    "alert_failures": ("alert_failures", _integer(1, FAILURES_MAX, none=True)),
    "pause_after_failures": ("pause_failures", _integer(1, FAILURES_MAX, none=True)),
    "ping_url": ("ping_url", _ping_url),
    "tags": ("tags", _tags),
    "description": ("description", _description),
    "headers": ("headers", read_headers),
}

OF_THE_FUNCTION = frozenset(TASK_OPTIONS) - frozenset(_OF_A_RUN)
"""What says how the function is run: the `@schedule` that makes the task gives this to the task alone."""

_NOT_OF_TASKS = {
    "routes": "a setting, not an option of a task",
    **dict.fromkeys(set(ENTRY_OPTIONS) - set(TASK_OPTIONS), "belongs to an entry: give it to @schedule or entry()"),
}
_NOT_OF_ENTRIES = {
    **dict.fromkeys(
        ("bind", "base", "retry_for", "dont_retry_for", "serializer", "rate_limit"),
        "belongs to the task: give it to @task",
    ),
}
