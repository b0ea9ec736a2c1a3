"""One line per event: a noun and a verb in the past tense, then its facts. What lines look like: `scheduler.logs`."""

from __future__ import annotations

import logging
from typing import Any

TASK_LOGGER = "sched.task"
"""The parent of what `get_task_logger` gives."""


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
        logger.log(level, "%s", text, exc_info=exc_info, stacklevel=2, extra={"event": name, "fields": fields})


def get_task_logger(name: str) -> logging.Logger:
    """
    The logger called *name*, for a module of tasks: Celery's way to get one.

    What any logger writes while a task runs says by which run. Those of this function are all below one parent, which is given to
    the receivers of `after_setup_task_logger`.
    """
    logger = logging.getLogger(name)
    parent = logging.getLogger(TASK_LOGGER)
    if logger is not parent and logger.parent is logger.root:
        logger.parent = parent
    return logger


def _text(value: Any) -> str:
    text = f"{value:.3f}" if isinstance(value, float) else str(value)
    return repr(text) if not text or any(c.isspace() or c in "\"'=" for c in text) else text
