"""Exit codes, and how an error becomes lines that a person can act on."""

from __future__ import annotations

import re
from enum import IntEnum

import click

from scheduler.errors import (
    ConfigError,
    NotEncodableError,
    NotFoundError,
    OversizedMessageError,
    RefusedError,
    ResultTimeoutError,
    SchedError,
    ScheduleError,
    StoreError,
    StoreUnavailableError,
    UnroutableError,
)


class Exit(IntEnum):
    """What the exit codes of `sched` mean."""

    OK = 0
    FAILED = 1
    USAGE = 2
    NOT_FOUND = 3
    REFUSED = 4
    TIMED_OUT = 5
    CHANGES = 6
    """`sched plan --exit-code`: the files would change what is in force."""
    NO_REDIS = 69
    INTERRUPTED = 130


_CODES: tuple[tuple[type[SchedError], Exit], ...] = (
    (ConfigError, Exit.USAGE),
    (ScheduleError, Exit.USAGE),
    (NotEncodableError, Exit.USAGE),
    (OversizedMessageError, Exit.USAGE),
    (UnroutableError, Exit.USAGE),
    (NotFoundError, Exit.NOT_FOUND),
    (RefusedError, Exit.REFUSED),
    (ResultTimeoutError, Exit.TIMED_OUT),
    (StoreError, Exit.NO_REDIS),
)

_NO_REDIS_REMEDY = (
    "is it running? Its address is --redis-url or SCHED_REDIS_URL, else the embedded server that `sched dev` starts"
)
_PASSWORD = re.compile(r"(\w://[^\s/@:]*:)\S*@")


def report(error: Exception, *, url: str) -> int:
    """
    Tell people what went wrong, a line for each complaint, and return the exit code.

    Args:
        url: Redis' address without its password, for errors that concern it; empty where no config was read.
    """
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        click.echo(error.format_message(), err=True)
        return Exit.USAGE
    if isinstance(error, click.ClickException):
        lines, code = [explain_usage(error)], Exit.USAGE if isinstance(error, click.UsageError) else Exit.FAILED
    elif isinstance(error, SchedError):
        lines, code = explain(error, url=url), exit_code(error)
    else:
        what = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        lines = [f"this should not happen: {' '.join(what.split())}; SCHED_DEBUG=1 shows where"]
        code = Exit.FAILED
    for line in lines:
        click.echo(redact(f"sched: {line}"), err=True)
    return code


def exit_code(error: SchedError) -> Exit:
    """The exit code for *error*; 1 where no other fits."""
    return next((code for kind, code in _CODES if isinstance(error, kind)), Exit.FAILED)


def explain(error: SchedError, *, url: str) -> list[str]:
    """*error* as lines for people, each complete in itself; *url* as in `report`."""
    if isinstance(error, ConfigError):
        return list(error.complaints)
    text = str(error)
    if isinstance(error, StoreUnavailableError):
        where = "" if not url or url in text else f" ({url})"
        return [f"{text.rstrip('.')}{where}; {_NO_REDIS_REMEDY}"]
    return text.splitlines() or [type(error).__name__]


def explain_usage(error: click.ClickException) -> str:
    """click's complaint as one line in our voice, with the way to the help."""
    if isinstance(error, click.NoSuchOption):
        near = " or ".join(sorted(error.possibilities or ()))
        text = f"there is no option {error.option_name}{f'; did you mean {near}?' if near else ''}"
    else:
        text = " ".join(error.format_message().split()).rstrip(".")
    text = text[:1].lower() + text[1:]
    path = error.ctx.command_path if isinstance(error, click.UsageError) and error.ctx is not None else "sched"
    return f"{text} (see `{path} --help`)"


def redact(text: str) -> str:
    """*text* with the password of every URL in it hidden: the last guard before a line is printed."""
    return _PASSWORD.sub(r"\1***@", text)
