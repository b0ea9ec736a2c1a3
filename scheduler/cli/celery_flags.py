"""
The flags of `celery worker` and `celery beat`, so that the lines in unit files and containers need not be written anew.

Those with a counterpart become settings, or do what they did. Those without a meaning here are accepted, hidden in the help, and told
in one line. Those that ask for something else than a process in the foreground are refused: whoever starts it has to know.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, TypeVar

import click

from scheduler.celery_settings import COUNTERPARTS, PASSED
from scheduler.cli.invocation import say
from scheduler.errors import RefusedError

F = TypeVar("F", bound=Callable[..., Any])

_SUPERVISED = "run it in the foreground, under systemd (units are in systemd/) or in a container"
_REFUSED: Mapping[str, str] = {
    "--detach": _SUPERVISED,
    "--uid": f"{_SUPERVISED}, with User= there",
    "--gid": f"{_SUPERVISED}, with Group= there",
    "--executable": "the interpreter is that of this command",
}

_WORKERS_PASSED: Mapping[str, str] = {
    "--without-gossip": "workers do not talk to each other",
    "--without-mingle": "workers do not talk to each other",
    "--without-heartbeat": "a worker renews its lease, or its messages are another's",
    "--heartbeat-interval": "a worker renews its lease, each second",
    "--task-events": PASSED["worker_send_task_events"].why,
    "--optimization": PASSED["worker_prefetch_multiplier"].why,
    "--prefetch-multiplier": PASSED["worker_prefetch_multiplier"].why,
    "--disable-prefetch": PASSED["worker_disable_prefetch"].why,
    "--statedb": PASSED["worker_state_db"].why,
    "--pool-start-method": PASSED["worker_pool_start_method"].why,
}
_BEATS_PASSED: Mapping[str, str] = {
    "--schedule": PASSED["beat_schedule_filename"].why,
    "--scheduler": PASSED["beat_scheduler"].why,
    "--max-interval": PASSED["beat_max_loop_interval"].why,
}
_SHORT = {
    "--task-events": ("-E", "--events"),
    "--optimization": ("-O",),
    "--schedule": ("-s", "--schedule-filename"),
    "--detach": ("-D",),
    "--statedb": ("-S",),
}
_FLAGS = frozenset(
    {"--without-gossip", "--without-mingle", "--without-heartbeat", "--task-events", "--disable-prefetch", "--detach"}
)


def _hidden(flag: str, *, short: tuple[str, ...] = ()) -> Callable[[F], F]:
    names = (flag, *_SHORT.get(flag, ()), *short, _field(flag))
    return click.option(*names, is_flag=True, hidden=True) if flag in _FLAGS else click.option(*names, hidden=True)


def _field(flag: str) -> str:
    return f"celery_{flag.removeprefix('--').replace('-', '_')}"


def _with(command: F, *options: Callable[[F], F]) -> F:
    for option in reversed(options):
        command = option(command)
    return command


def _process_options() -> tuple[Callable[[F], F], ...]:
    """What both kinds of process take."""
    return (
        click.option("-f", "--logfile", metavar="FILE", help="Write the log there (default: stderr)."),
        click.option(
            "--pidfile", metavar="FILE", help="Write the process' number there; refuse to start beside another."
        ),
        click.option("--umask", metavar="OCTAL", help="Of files that are made."),
        click.option("--workdir", metavar="FOLDER", help="Change to it first."),
        *(_hidden(flag) for flag in _REFUSED),
    )


def worker_options(command: F) -> F:
    """Celery's options of a worker, gathered: *command* gets them as one `flags`, for `read_flags`."""
    return _with(
        _gathering(command),
        click.option("--max-tasks-per-child", metavar="N", help="Replace a child after so many tasks."),
        click.option("--max-memory-per-child", metavar="SIZE", help="Replace a child above that: KiB, or as in 200MB."),
        click.option("--time-limit", "task_time_limit", metavar="D", help="Of tasks that have none of their own."),
        click.option("--soft-time-limit", "task_soft_time_limit", metavar="D", help="The same, of soft limits."),
        click.option("-I", "--include", "include", metavar="A,B", help="Import these modules too."),
        click.option(
            "--purge", "--discard", "purge", is_flag=True, help="First end every call that waits in the queues."
        ),
        click.option("--autoscale", "autoscale", metavar="MAX,MIN", hidden=True),
        *_process_options(),
        *(_hidden(flag) for flag in (*_WORKERS_PASSED, "--schedule", "--scheduler")),
    )


def beat_options(command: F) -> F:
    """Celery's options of a beat; see `worker_options`."""
    return _with(
        _gathering(command),
        *_process_options(),
        *(_hidden(flag, short=("-S",) if flag == "--scheduler" else ()) for flag in _BEATS_PASSED),
    )


def _gathering(command: F) -> F:
    names = {
        "autoscale", "include", "logfile", "max_memory_per_child", "max_tasks_per_child", "pidfile", "purge", "task_soft_time_limit",
        "task_time_limit", "umask", "workdir", *map(_field, (*_REFUSED, *_WORKERS_PASSED, *_BEATS_PASSED)),
    }  # fmt: skip

    def gathered(*args: Any, **options: Any) -> Any:
        flags = {name: options.pop(name) for name in list(options) if name in names}
        return command(*args, flags=flags, **options)

    gathered.__name__, gathered.__doc__ = command.__name__, command.__doc__
    gathered.__dict__.update(command.__dict__)
    return gathered  # type: ignore[return-value]


class Flags(NamedTuple):
    """
    What Celery's flags come to.

    Attributes:
        settings: That they override, under the names that files use.
        include: Modules to import besides.
        purge: Whether to empty the queues first.
        logfile, pidfile: With Celery's `%n %h %d %i` in them, or None.
    """

    settings: dict[str, object]
    include: tuple[str, ...]
    purge: bool
    logfile: str | None
    pidfile: str | None


def read_flags(given: Mapping[str, Any]) -> Flags:
    """
    What *given* comes to. Lines about what has no meaning are told; `--workdir` and `--umask` are carried out.

    Raises:
        click.UsageError: Something cannot be had here, or cannot be read.
    """
    for flag, why in _REFUSED.items():
        if given.get(_field(flag)):
            raise click.UsageError(f"{flag}: {why}")
    for flag, why in {**_WORKERS_PASSED, **_BEATS_PASSED}.items():
        if given.get(_field(flag)) not in (None, False):
            say(f"sched: {flag} has no meaning here: {why}")
    if given.get("workdir"):
        _change_to(given["workdir"])
    if given.get("umask"):
        _set_umask(given["umask"])
    settings: dict[str, object] = {
        name: given[name]
        for name in ("max_tasks_per_child", "max_memory_per_child", "task_time_limit", "task_soft_time_limit")
        if given.get(name) is not None
    }
    if given.get("autoscale"):
        settings["concurrency"] = _largest(given["autoscale"])
        say(
            f"sched: --autoscale: a worker does not change its size by itself; it runs {settings['concurrency']} tasks at once"
        )
    include = tuple(part.strip() for part in (given.get("include") or "").split(",") if part.strip())
    return Flags(settings, include, bool(given.get("purge")), given.get("logfile"), given.get("pidfile"))


def read_pool(text: str | None) -> str | None:
    """
    The pool that Celery's *text* names.

    Raises:
        click.UsageError: There is no such one here.
    """
    return _read("worker_pool", "--pool", text)


def read_concurrency(text: str | None) -> str | None:
    """*text*, or None where it says that we may choose."""
    return None if text in (None, "0", "auto") else text


def read_log_level(text: str | None) -> str | None:
    """*text* in our words."""
    return None if text is None else {"fatal": "critical", "warn": "warning"}.get(text.lower(), text)


def _read(setting: str, flag: str, text: str | None) -> str | None:
    try:
        return None if text is None else str(COUNTERPARTS[setting].read(text))
    except ValueError as error:
        raise click.UsageError(f"{flag}: {error}") from None


def expand(text: str, *, name: str = "") -> str:
    """
    *text* with Celery's abbreviations: `%h` this host, `%n` the part of *name* before the @ (or this host's without its domain),
    `%d` the domain, `%p` *name*, `%i` and `%I` nothing (all children write where their worker does), `%%` a percent sign.
    """
    host = socket.gethostname()
    short, _, domain = host.partition(".")
    words = {
        "h": host,
        "n": name.partition("@")[0] or short,
        "d": domain,
        "p": name or host,
        "i": "0",
        "I": "",
        "%": "%",
    }
    parts = text.split("%")
    found, at = parts[0], 1
    while at < len(parts):
        part = parts[at]
        if not part and at + 1 < len(parts):  # two signs in a row
            found += f"%{parts[at + 1]}"
            at += 2
            continue
        found += words[part[0]] + part[1:] if part[:1] in words else f"%{part}"
        at += 1
    return found


@contextlib.contextmanager
def files_of(flags: Flags, *, name: str) -> Iterator[None]:
    """
    Within it, stderr and stdout go to the log file, and the pid file says who we are.

    Raises:
        RefusedError: A process that the pid file names is alive.
        OSError: A file cannot be written.
    """
    if flags.logfile:
        descriptor = os.open(expand(flags.logfile, name=name), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        os.dup2(descriptor, 1)
        os.dup2(descriptor, 2)
        os.close(descriptor)
    if not flags.pidfile:
        yield
        return
    path = expand(flags.pidfile, name=name)
    _claim(path)
    mine = os.getpid()
    try:
        yield
    finally:
        if os.getpid() == mine:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)


def _claim(path: str) -> None:
    """Write our number into *path*, unless a living process stands there."""
    while True:
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        except FileExistsError:
            with contextlib.suppress(FileNotFoundError):
                with open(path, encoding="ascii", errors="replace") as file:
                    text = file.read().strip()
                if text.isdigit() and int(text) != os.getpid() and _lives(int(text)):
                    raise RefusedError(f"--pidfile {path}: process {text} is running; stop it first") from None
                os.unlink(path)  # who wrote it has ended without having been asked to
            continue
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(f"{os.getpid()}\n")
        return


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _change_to(folder: str) -> None:
    try:
        os.chdir(folder)
    except OSError as error:
        raise click.UsageError(f"--workdir {folder}: {error.strerror}") from None


def _set_umask(text: str) -> None:
    try:
        os.umask(int(text, 8))
    except (ValueError, OverflowError):
        raise click.UsageError(f"--umask {text!r}: expected an octal number, as in 022") from None


def _largest(text: str) -> int:
    parts = text.split(",")
    if not 1 <= len(parts) <= 2 or not all(part.strip().isdecimal() for part in parts) or not any(map(int, parts)):
        raise click.UsageError(f"--autoscale {text!r}: expected MAX,MIN, as in 10,3")
    return max(map(int, parts))
