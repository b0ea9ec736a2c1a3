"""
Events as JSON lines on a pipe: how `sched dev` hears what its beat and its worker do.

Whoever starts a process with `SCHED_EVENTS_FD=<descriptor>` gets one object per log record on it:

    {"time": 1795233600.123, "level": "INFO", "pid": 4711, "event": "run.finished", "fields": {"task": "mail.send", …}}
    {"time": …, "level": "WARNING", "pid": 4712, "message": "a line that a task logged"}

A watcher must never hold up the work: a line that finds the pipe full is dropped, and a reader that is gone, forgotten.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
from collections.abc import Mapping
from typing import Any

import msgspec

FD_VARIABLE = "SCHED_EVENTS_FD"
LINE_BYTES_MAX = 4096
"""A pipe takes a write of so many bytes whole or not at all, whoever else writes (PIPE_BUF in pipe(7))."""

OURS = ("scheduler", "worker")
"""The loggers that events come from."""

_TEXT_MAX = 600
_SHORT_TEXT_MAX = 300
"""Two of these fit on a line even if JSON needs six bytes for each character."""


class EventPipe(logging.Handler):
    """
    A log handler that writes each record to *fd* as one line of JSON.

    Lines of several processes that share the descriptor (a worker and its children) do not mix.
    """

    def __init__(self, fd: int) -> None:
        super().__init__()
        self._fd = fd
        # Not ours to pass on: a program that a task starts would keep the pipe open after we are gone.
        os.set_inheritable(fd, False)
        fcntl.fcntl(fd, fcntl.F_SETFL, fcntl.fcntl(fd, fcntl.F_GETFL) | os.O_NONBLOCK)

    def emit(self, record: logging.LogRecord) -> None:
        # Full, or nobody reads any more: the watcher's loss, and none of ours.
        with contextlib.suppress(OSError):
            os.write(self._fd, encode(record))


def configure_events(level: str = "info", *, environ: Mapping[str, str] | None = None) -> bool:
    """
    Send this process's log records to the pipe of `SCHED_EVENTS_FD` instead of stderr: its own events all, what others
    log from *level* on.

    Returns:
        False where the variable is not set, or names no open descriptor: then log as usual (`scheduler.log.configure`).
    """
    text = (os.environ if environ is None else environ).get(FD_VARIABLE, "")
    if not text.isdigit():
        return False
    try:
        pipe = EventPipe(int(text))
    except OSError:
        return False
    root = logging.getLogger()
    root.handlers[:] = [pipe]
    root.setLevel(level.upper())
    for ours in OURS:
        # Every event: what is worth a line on the screen is for the watcher to say.
        logging.getLogger(ours).setLevel(logging.DEBUG)
    return True


def encode(record: logging.LogRecord) -> bytes:
    """*record* as a line of at most `LINE_BYTES_MAX` bytes; long texts are cut."""
    line: dict[str, Any] = {
        "time": record.created,
        "level": record.levelname,
        "pid": record.process,
    }
    if (name := getattr(record, "event", None)) is not None:
        line["event"] = str(name)
        line["fields"] = {str(key): _value(value) for key, value in getattr(record, "fields", {}).items()}
    else:
        line["message"] = _cut(record.getMessage())
    if record.exc_info and record.exc_info[1] is not None:
        line["error"] = _cut(f"{type(record.exc_info[1]).__name__}: {record.exc_info[1]}")
    text = msgspec.json.encode(line) + b"\n"
    if len(text) > LINE_BYTES_MAX:
        line.pop("fields", None)
        short = {"message": record.getMessage()} | ({"error": line["error"]} if "error" in line else {})
        text = msgspec.json.encode(line | {key: _cut(value, _SHORT_TEXT_MAX) for key, value in short.items()}) + b"\n"
    return text


def _value(value: Any) -> Any:
    if value is None or isinstance(value, bool | int | float):
        return value
    return _cut(str(value))


def _cut(text: str, length_max: int = _TEXT_MAX) -> str:
    return text if len(text) <= length_max else text[: length_max - 1] + "…"
