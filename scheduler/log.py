"""One line per event: a noun and a verb in the past tense, then its facts."""

from __future__ import annotations

import logging
import sys
from typing import Any


def event(
    logger: logging.Logger,
    name: str,
    /,
    *,
    level: int = logging.INFO,
    exc_info: BaseException | None = None,
    **fields: Any,
) -> None:
    """
    Log *name* (``"run.finished"``) with its facts; with the traceback of *exc_info*, if that is given.

    The record carries `event` and `fields`, so that a handler can show them in its own way (`sched dev` does).
    """
    if logger.isEnabledFor(level):
        text = name + "".join(f" {key}={_text(value)}" for key, value in fields.items() if value is not None)
        logger.log(level, "%s", text, exc_info=exc_info, extra={"event": name, "fields": fields})


def configure(level: str = "info") -> None:
    """
    Send events to stderr: with a time for people, without one under systemd, whose journal has its own.

    Journald reads the ``<n>`` in front of a line as its priority (sd-daemon(3)).
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Journal() if _under_journald() else logging.Formatter(_LINE, "%H:%M:%S"))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())


def _under_journald() -> bool:
    import os  # noqa: PLC0415 - read only when a process starts

    return "JOURNAL_STREAM" in os.environ


class _Journal(logging.Formatter):
    """A line with the priority that journald understands."""

    _PRIORITIES = ((logging.CRITICAL, 2), (logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6))

    def format(self, record: logging.LogRecord) -> str:
        priority = next((number for level, number in self._PRIORITIES if record.levelno >= level), 7)
        return f"<{priority}>" + super().format(record)


def _text(value: Any) -> str:
    text = f"{value:.3f}" if isinstance(value, float) else str(value)
    return repr(text) if not text or any(c.isspace() or c in "\"'=" for c in text) else text


_LINE = "%(asctime)s.%(msecs)03d %(levelname).1s %(message)s"
