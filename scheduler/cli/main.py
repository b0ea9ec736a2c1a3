"""From argv to an exit code: data to stdout, messages to stderr, never a traceback unless `SCHED_DEBUG=1`."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from scheduler.cli.exits import Exit, report
from scheduler.cli.group import Sched
from scheduler.cli.invocation import Invocation

if TYPE_CHECKING:
    from scheduler.app import App


def main(argv: Sequence[str] | None = None, *, app: App | None = None) -> int:
    """
    Run `sched` with *argv* (default: the process' own) and return its exit code.

    Args:
        app: Work for this one, as with `-A`; a process that this one starts finds it by its module.

    Raises:
        Exception: Whatever went wrong, as it was raised, if `SCHED_DEBUG` is set.
    """
    _take_closed_streams()
    sched = Sched()
    if "_SCHED_COMPLETE" in os.environ:
        sched.main(prog_name="sched")
    # Not a setting, unlike its siblings: gone before the settings are read.
    debug = os.environ.pop("SCHED_DEBUG", "")
    invocation = Invocation(app)
    try:
        try:
            return _run(sched, list(sys.argv[1:] if argv is None else argv), invocation)
        finally:
            invocation.close()
    except (click.exceptions.Exit, click.Abort, KeyboardInterrupt, BrokenPipeError) as error:
        return _ended(error)
    except Exception as error:
        if debug:
            raise
        return report(error, url=invocation.url)


def _take_closed_streams() -> None:
    """
    Who was started without stdin, stdout or stderr (``2>&-``) gets /dev/null there, before anything else can get its number: what
    is written to stderr must not end up in a file or on a connection.
    """
    for fd, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            null = os.open(os.devnull, os.O_RDWR)
            if null != fd:
                os.dup2(null, fd)
                os.close(null)
            setattr(sys, name, open(fd, "w" if fd else "r", encoding="utf-8", closefd=False))  # noqa: SIM115


def _run(sched: Sched, args: list[str], invocation: Invocation) -> int:
    with sched.make_context("sched", args, obj=invocation) as context:
        code = sched.invoke(context)
    # Flushed here: a pipe that was closed early is then an exception that we see.
    sys.stdout.flush()
    return int(code or 0)


def _ended(error: BaseException) -> int:
    """The exit code of a call that was ended rather than failed."""
    if isinstance(error, click.exceptions.Exit):
        return error.exit_code
    if isinstance(error, BrokenPipeError):
        # The reader (`| head`) has what it wanted. Python flushes stdout once more at exit: give it somewhere to go.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Exit.OK
    return Exit.INTERRUPTED
