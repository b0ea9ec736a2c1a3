"""
What log lines look like, and where they go: set up once by `sched beat` and `sched worker`.

Every line that is logged while a task runs says by which run: its id, task, entry and attempt, in each pool. The formats
(`log_format`):

    text      for people:  10:31:02.120 I [3fa9c1d2 shop.pay] charging 7 EUR
    json      one object a line, its tracebacks within; times are ISO 8601 in UTC
    journald  the journal's own protocol, with fields: journalctl SCHED_RUN_ID=…  SCHED_TASK=…  SCHED_ENTRY=…
    auto      journald where stderr is the journal, else text

What people set up themselves is respected: a receiver of `setup_logging` has logging to itself, and with `hijack_root_logger =
false` only our own lines come from here. `RunFilter` gives their handlers what ours know.
"""

from __future__ import annotations

import io
import logging
import os
import sys
import threading
import time
from typing import Any, TextIO

import msgspec

from scheduler import signals
from scheduler.config import Config
from scheduler.context import Request, current_request, pop_request, push_request
from scheduler.log import TASK_LOGGER
from scheduler.sinks import Journal, Stream

ID_CHARS_SHOWN = 8
"""Of a run's id, on a terminal: `sched result` takes the whole one, which the other formats have."""
OURS = ("scheduler", "worker", TASK_LOGGER)
"""The loggers of our own lines, and that of `get_task_logger`."""

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "event", "fields", "run"}


class RunFilter(logging.Filter):
    """
    Lets every record pass, and says in it by which run it was logged: `run`, a `Request` or None; and for format strings
    `task_id`, `task_name`, `entry` and `attempt`, empty outside of any run.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        request = current_request()
        run = None if request.called_directly else request
        record.run = run
        record.task_id = run.id if run else ""
        record.task_name = run.task if run else ""
        record.entry = (run.entry if run else "") or ""
        record.attempt = run.attempt if run else ""
        return True


# ── what they look like ─────────────────────────────────────────────────────────────────────────────────────────────


class TextFormatter(logging.Formatter):
    """For people. *with_time*: the journal has its own."""

    def __init__(self, *, with_time: bool = True) -> None:
        super().__init__()
        self._with_time = with_time

    def format(self, record: logging.LogRecord) -> str:
        head = ""
        if self._with_time:
            moment = time.strftime("%H:%M:%S", time.localtime(record.created))
            head = f"{moment}.{int(record.msecs):03d} {record.levelname[0]} "
        text = f"{head}{_run_text(getattr(record, 'run', None))}{record.getMessage()}"
        for more in (_traceback(record), record.stack_info):
            if more:
                text += f"\n{more}"
        return text


class PriorityFormatter(TextFormatter):
    """For a journal that can only be reached through stderr: ``<n>`` in front of each line is its priority (sd-daemon(3))."""

    def __init__(self) -> None:
        super().__init__(with_time=False)

    def format(self, record: logging.LogRecord) -> str:
        prefix = f"<{priority(record.levelno)}>"
        return "\n".join(prefix + line for line in super().format(record).split("\n"))


class JsonFormatter(logging.Formatter):
    """
    One object: ``{"time", "level", "logger", "pid", "message"}``; of an event ``event`` and ``fields``; of a line by a run or
    about one ``run_id``, ``task``, ``entry`` and ``attempt``; ``exception`` and ``stack`` as text, and what was given as `extra`.
    """

    def format(self, record: logging.LogRecord) -> str:
        created = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        line: dict[str, Any] = {
            "time": f"{created}.{int(record.msecs):03d}Z",
            "level": record.levelname,
            "logger": record.name,
            "pid": record.process,
            "message": record.getMessage(),
        }
        told = _about_run(record)
        if told.get("id"):
            line |= {"run_id": told["id"], **{name: told.get(name) for name in ("task", "entry", "attempt")}}
        if (name := getattr(record, "event", None)) is not None:
            line |= {"event": name, "fields": getattr(record, "fields", {})}
        if text := _traceback(record):
            line["exception"] = text
        if record.stack_info:
            line["stack"] = record.stack_info
        if extra := _extra(record):
            line["extra"] = extra
        return _json(line)


def journal_fields(record: logging.LogRecord, identifier: str) -> list[tuple[str, str]]:
    """*record* as fields of the journal."""
    text = record.getMessage()
    for more in (_traceback(record), record.stack_info):
        if more:
            text += f"\n{more}"
    found = [
        ("MESSAGE", text),
        ("PRIORITY", str(priority(record.levelno))),
        ("SYSLOG_IDENTIFIER", identifier),
        ("LOGGER", record.name),
        ("CODE_FILE", record.pathname),
        ("CODE_LINE", str(record.lineno)),
        ("CODE_FUNC", record.funcName or ""),
    ]
    if (name := getattr(record, "event", None)) is not None:
        found.append(("SCHED_EVENT", name))
    told = _about_run(record)
    for field, name in _JOURNAL_NAMES.items():
        if told.get(field) is not None:
            found.append((name, str(told[field])))
    return found


_JOURNAL_NAMES = {
    "id": "SCHED_RUN_ID", "task": "SCHED_TASK", "entry": "SCHED_ENTRY", "attempt": "SCHED_ATTEMPT",
    "queue": "SCHED_QUEUE", "state": "SCHED_STATE", "signal": "SCHED_SIGNAL", "name": "SCHED_NAME",
}  # fmt: skip


def _about_run(record: logging.LogRecord) -> dict[str, Any]:
    """The facts of an event, with the run in which the record was logged: that weighs more."""
    told: dict[str, Any] = getattr(record, "fields", {})
    run: Request | None = getattr(record, "run", None)
    if run is None:
        return told
    return {**told, "id": run.id, "task": run.task, "entry": run.entry, "attempt": run.attempt}


def priority(level: int) -> int:
    """What syslog calls *level*."""
    return next((number for least, number in _PRIORITIES if level >= least), 7)


_PRIORITIES = ((logging.CRITICAL, 2), (logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6))


def _run_text(run: Request | None) -> str:
    if run is None:
        return ""
    entry = f" {run.entry}" if run.entry and run.entry != run.task else ""
    attempt = f" #{run.attempt}" if run.attempt > 1 else ""
    return f"[{run.id[:ID_CHARS_SHOWN]} {run.task}{entry}{attempt}] "


def _traceback(record: logging.LogRecord) -> str:
    if record.exc_info and record.exc_info[1] is not None and not record.exc_text:
        try:
            record.exc_text = logging.Formatter().formatException(record.exc_info)
        except Exception as error:
            record.exc_text = f"{record.exc_info[0]}: its traceback cannot be shown: {type(error).__name__}"
    return record.exc_text or ""


def _extra(record: logging.LogRecord) -> dict[str, Any]:
    known = _STANDARD | {"task_id", "task_name", "entry", "attempt"}
    return {name: value for name, value in vars(record).items() if name not in known}


def _json(line: dict[str, Any]) -> str:
    try:
        return msgspec.json.encode(line, enc_hook=repr).decode()
    except Exception:
        plain = {name: value if isinstance(value, int) else _text(value) for name, value in line.items()}
        return msgspec.json.encode(plain).decode("utf-8", "replace")


def _text(value: Any) -> str:
    try:
        return str(value).encode("utf-8", "replace").decode()
    except Exception as error:
        return f"(its text cannot be had: {type(error).__name__})"


# ── where they go ───────────────────────────────────────────────────────────────────────────────────────────────────


class _Ours(logging.Handler):
    """
    What our handlers have in common.

    Attributes:
        takes_prints: Whether what tasks print comes here too.
    """

    takes_prints = False


class Lines(_Ours):
    """Writes to stderr, or what *stream* is."""

    def __init__(self, stream: Stream, formatter: logging.Formatter) -> None:
        super().__init__()
        self._stream = stream
        self.setFormatter(formatter)
        self.addFilter(RunFilter())

    def emit(self, record: logging.LogRecord) -> None:
        self._stream.write(self._bytes(record))
        if not self._stream.is_stalled and (lost := self._stream.lost()):
            self._stream.write(self._bytes(_lost(lost)))

    def _bytes(self, record: logging.LogRecord) -> bytes:
        try:
            text = self.format(record)
        except Exception as error:
            text = f"a line of {record.name} ({record.pathname}:{record.lineno}) cannot be shown: {type(error).__name__}: {error}"
        return text.encode("utf-8", "replace") + b"\n"


class JournalLines(_Ours):
    """Writes to the journal; to stderr, with priorities, where it does not take an entry."""

    def __init__(self, journal: Journal, fallback: Lines, identifier: str) -> None:
        super().__init__()
        self._journal = journal
        self._fallback = fallback
        self._identifier = identifier
        self.addFilter(RunFilter())

    def emit(self, record: logging.LogRecord) -> None:
        try:
            fields = journal_fields(record, self._identifier)
        except Exception:
            self._fallback.emit(record)  # it says what is wrong with the line
            return
        if not self._journal.send(fields):
            self._fallback.emit(record)


def _lost(count: int) -> logging.LogRecord:
    text = f"log.lost lines={count} why='nobody has read them'"
    return logging.makeLogRecord({"name": __name__, "levelno": logging.WARNING, "levelname": "WARNING", "msg": text})


# ── setting it up ───────────────────────────────────────────────────────────────────────────────────────────────────


def configure(config: Config, *, identifier: str = "sched") -> None:
    """
    Set logging up as the settings say, before the user's modules are imported; `settle` follows when they are.

    Args:
        identifier: What the journal calls us.
    """
    _remove_ours()
    handler = _handler(config.log_format, identifier)
    if handler is None:
        return  # there is no stderr, so nobody to tell
    level = config.log_level.upper()
    handler.takes_prints = config.redirect_stdouts and config.hijack_root_logger
    if config.hijack_root_logger:
        root = logging.getLogger()
        root.handlers[:] = [handler]
        root.setLevel(level)
        return
    for name in OURS:
        logger = logging.getLogger(name)
        logger.handlers[:] = [handler]
        logger.setLevel(level)
        logger.propagate = False


def settle(config: Config) -> None:
    """
    The user's modules are imported: let them have their say.

    Whoever is connected to `setup_logging` has logging to itself. Else what a module did to the root logger on the way is undone,
    unless `hijack_root_logger` is off; and the receivers of `after_setup_logger` may add to it.
    """
    told = {"loglevel": getattr(logging, config.log_level.upper()), "logfile": None, "format": config.log_format,
            "colorize": False}  # fmt: skip
    root, handler = logging.getLogger(), _ours()
    if signals.setup_logging.receivers:
        _remove_ours()
        signals.setup_logging.send(**told)
        return
    if handler is not None and config.hijack_root_logger:
        root.handlers[:] = [handler]
        root.setLevel(config.log_level.upper())
    signals.after_setup_logger.send(logger=root, **told)
    signals.after_setup_task_logger.send(logger=logging.getLogger(TASK_LOGGER), **told)


def is_under_journal(fd: int = 2) -> bool:
    """Whether *fd* leads to the journal: systemd says so, and which file that is."""
    device, _, inode = os.environ.get("JOURNAL_STREAM", "").partition(":")
    try:
        found = os.fstat(fd)
    except OSError:
        return False
    return (device, inode) == (str(found.st_dev), str(found.st_ino))


def _handler(form: str, identifier: str) -> _Ours | None:
    try:
        stream = Stream()
    except OSError:
        return None
    if form == "auto":
        form = "journald" if is_under_journal() else "text"
    if form == "json":
        return Lines(stream, JsonFormatter())
    if form == "text":
        return Lines(stream, TextFormatter())
    fallback = Lines(stream, PriorityFormatter())
    try:
        return JournalLines(Journal(), fallback, identifier)
    except OSError:
        return fallback


def _ours() -> _Ours | None:
    for name in (None, *OURS):
        for handler in logging.getLogger(name).handlers:
            if isinstance(handler, _Ours):
                return handler
    return None


def _remove_ours() -> None:
    for name in (None, *OURS):
        logger = logging.getLogger(name)
        logger.handlers[:] = [h for h in logger.handlers if not isinstance(h, _Ours)]


# ── what tasks print ────────────────────────────────────────────────────────────────────────────────────────────────


class Printed(io.TextIOBase):
    """
    A stand-in for stdout or stderr in a process that runs tasks: each line that is printed is logged, with its run.

    Whatever `log_level` is: who prints wants to see it. A line that is begun is kept for its thread; what another run prints
    there does not join it.
    """

    def __init__(self, real: TextIO, logger: logging.Logger, level: int) -> None:
        super().__init__()
        self.real = real
        self._logger = logger
        self._level = level
        self._own = _Own()

    def write(self, text: str) -> int:
        own, request = self._own, current_request()
        if own.is_logging:
            return len(text)  # a handler of the user's prints what it is to log: once is enough
        if own.begun and own.request is not request:
            self.flush()
        *lines, own.begun = (own.begun + str(text)).split("\n")
        own.request = request
        for line in lines:
            self._log(line, request)
        return len(text)

    def flush(self) -> None:
        if begun := self._own.begun:
            self._own.begun = ""
            self._log(begun, self._own.request)

    def _log(self, line: str, request: Request | None) -> None:
        if not line.strip():
            return
        record = self._logger.makeRecord(self._logger.name, self._level, "(print)", 0, "%s", (line,), None)
        token = push_request(request or current_request())
        self._own.is_logging = True
        try:
            self._logger.handle(record)
        finally:
            self._own.is_logging = False
            pop_request(token)

    def fileno(self) -> int:
        return self.real.fileno()

    def isatty(self) -> bool:
        return False

    def writable(self) -> bool:
        return True

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """Of the real stream."""
        return self.real.encoding

    @property
    def buffer(self) -> Any:
        """The bytes below the real stream: what is written there is not logged."""
        return self.real.buffer


class _Own(threading.local):
    """What a thread has begun to print, and in which run."""

    begun = ""
    request: Request | None = None
    is_logging = False


def redirect_prints() -> None:
    """
    In a process that is to run tasks: let what they print come with the log, line by line and with its run.

    Where people have set logging up themselves, or said so (`redirect_stdouts`), stdout stays as it is, but no line waits in a
    buffer: a child that is killed would take it along.
    """
    handler = _ours()
    for name, level in (("stdout", logging.INFO), ("stderr", logging.WARNING)):
        real = getattr(sys, name)
        if not isinstance(real, io.TextIOWrapper):
            continue
        real.reconfigure(line_buffering=True)
        if handler is not None and handler.takes_prints:
            setattr(sys, name, Printed(real, logging.getLogger(f"{TASK_LOGGER}.{name}"), level))


def restore_prints() -> None:
    """Undo `redirect_prints`."""
    for name in ("stdout", "stderr"):
        printed = getattr(sys, name)
        if isinstance(printed, Printed):
            printed.flush()
            setattr(sys, name, printed.real)
