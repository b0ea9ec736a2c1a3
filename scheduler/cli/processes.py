"""`sched beat` and `sched worker`: settings, logging and the schedule files, wired to the process that runs."""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from scheduler.cli.celery_flags import (
    Flags,
    beat_options,
    expand,
    files_of,
    read_concurrency,
    read_flags,
    read_log_level,
    read_pool,
    worker_options,
)
from scheduler.cli.commands import WORKER_COMMANDS
from scheduler.cli.exits import report
from scheduler.cli.group import Command, CommandGroup
from scheduler.cli.invocation import Invocation, say, who
from scheduler.cli.together import run_together
from scheduler.log import event

if TYPE_CHECKING:
    from scheduler.model import Entry
    from scheduler.task import Task

_logger = logging.getLogger("scheduler.cli")

_LOG_LEVEL = click.option(
    "-l", "--loglevel", "log_level", metavar="LEVEL", help="debug, info, warning, error or critical."
)


@click.command("beat", cls=Command)
@click.option("-n", "--name", "--hostname", metavar="NAME", help="What others call it (default: this host's name).")
@_LOG_LEVEL
@click.pass_obj
@beat_options
def beat(sched: Invocation, name: str | None, log_level: str | None, flags: Mapping[str, Any]) -> int:
    """Run a beat: one of them leads and arms the fires, the others stand by.

    SIGTERM stops it, SIGHUP loads the schedule files again. Run one on each of two or three hosts.
    """
    read = read_flags(flags)
    chosen = _name(name)
    _override(sched, log_level=read_log_level(log_level), **read.settings)
    with files_of(read, name=chosen):
        _configure_log(sched)
        _tell_notes(sched)
        return _beat(sched, chosen)


def _beat(sched: Invocation, name: str) -> int:
    from scheduler.beat.load import LoadRequest  # noqa: PLC0415
    from scheduler.beat.process import run_beat  # noqa: PLC0415

    request = LoadRequest(config_file=sched.told.get("config_file"), overrides=sched.flags, app=sched.app_spec)
    return run_beat(sched.config, name=name, load=request)


def _override(sched: Invocation, **settings: object) -> None:
    sched.settings |= {name: value for name, value in settings.items() if value is not None}


def _configure_log(sched: Invocation) -> bool:
    """Set logging up; whether somebody listens to our events (`sched dev`)."""
    from scheduler.events import configure_events  # noqa: PLC0415
    from scheduler.logs import configure  # noqa: PLC0415

    told = configure_events(sched.config.log_level)
    if not told:
        configure(sched.config)
    return told


def _tell_notes(sched: Invocation, notes: Iterable[str] = ()) -> None:
    """One line for each thing that was said and has no meaning here."""
    for note in (*(() if sched.app is None else sched.app.notes), *notes):
        event(_logger, "setting.unused", note=note)


def _name(given: str | None) -> str:
    """*given* with Celery's abbreviations, or the name of this host."""
    return expand(given) if given else socket.gethostname()


@click.command("worker", cls=CommandGroup, table=WORKER_COMMANDS)
@click.option(
    "-Q",
    "--queues",
    metavar="A,B",
    help="Take from these, in this order (default: the declared ones, or all that are named).",
)
@click.option("-X", "--exclude-queues", "exclude", metavar="A,B", help="Never take from these.")
@click.option("-c", "--concurrency", metavar="N", help="How many tasks at once (default: one for each processor).")
@click.option("-n", "--name", "--hostname", metavar="NAME", help="What others call it (default: host and process).")
@click.option("-P", "--pool", metavar="POOL", help="prefork (default), threads, async or solo.")
@click.option("-B", "--beat", "with_beat", is_flag=True, help="Run a beat beside it, stopped with it.")
@_LOG_LEVEL
@click.pass_obj
@worker_options
def worker(  # noqa: PLR0917 - click's
    sched: Invocation,
    /,
    queues: str | None,
    exclude: str | None,
    name: str | None,
    with_beat: bool,
    concurrency: str | None,
    pool: str | None,
    log_level: str | None,
    flags: Mapping[str, Any],
) -> int:
    """Run a worker: it takes messages from its queues, runs them, and records the results.

    SIGTERM stops it after the running tasks, SIGQUIT at once.
    """
    read = read_flags(flags)
    settings = {
        "concurrency": read_concurrency(concurrency),
        "pool": read_pool(pool),
        "log_level": read_log_level(log_level),
    }
    _override(sched, **(read.settings | {name: value for name, value in settings.items() if value is not None}))
    chosen = None if name is None else _name(name)
    with files_of(read, name=chosen or socket.gethostname()):
        told = _configure_log(sched)
        work = partial(_worker, sched, chosen, told, read, queues=queues or "", exclude=exclude or "")
        if not with_beat:
            return work()
        return run_together([_guarded(sched, work), _guarded(sched, partial(_beat, sched, chosen or _name(None)))])


def _worker(sched: Invocation, name: str | None, told: bool, flags: Flags, *, queues: str, exclude: str) -> int:
    from scheduler.logs import settle  # noqa: PLC0415
    from worker.process import run_worker  # noqa: PLC0415

    loaded = sched.load(imports=flags.include)
    for mistake in loaded.mistakes:
        say(f"sched: {mistake}")
    if not told:
        settle(sched.config)
    _tell_notes(sched, (f"task {task.name!r}: {note}" for task in loaded.tasks.values() for note in task.notes))
    entries = tuple(loaded.registry.entries.values())
    _hint_at_default_queue(sched, queues)
    if flags.purge:
        _purge(sched, loaded.tasks, entries, queues=queues, exclude=exclude)
    return run_worker(
        sched.config, loaded.tasks, name=name, queues=queues, exclude=exclude, entries=entries, show_runs=told
    )


def _hint_at_default_queue(sched: Invocation, queues: str) -> None:
    """Who writes ``-Q celery`` means the default queue, which is Celery's name for it and not ours."""
    named = {name.strip() for name in queues.split(",")}
    config = sched.config
    if "celery" in named - {config.default_queue, *config.queue_names} and config.default_queue not in named:
        say(
            f"sched: -Q celery: the default queue is called {config.default_queue!r} here, and this worker does not take from it; "
            "default_queue = 'celery' calls it so"
        )


def _purge(
    sched: Invocation, tasks: Mapping[str, Task], entries: Iterable[Entry], *, queues: str, exclude: str
) -> None:
    """End every call that waits in the queues that the worker is to take from. Redis is let go of again: children are forked later."""
    from scheduler.routing import chosen_queues  # noqa: PLC0415
    from scheduler.store.audit import Note  # noqa: PLC0415

    for queue in chosen_queues(sched.config, take=queues, exclude=exclude, tasks=tasks, entries=entries):
        note = Note(verb="purge", by=who(), what=f"queue {queue}", reason="sched worker --purge")
        event(_logger, "queue.purged", queue=queue, messages=sched.store.queues.purge(queue, note=note))
    sched.home.close()


def _guarded(sched: Invocation, service: Callable[[], int]) -> Callable[[], int]:
    """*service*, with its errors told to people: it runs in a process of its own."""

    def guarded() -> int:
        try:
            return service()
        except Exception as error:
            return report(error, url=sched.url)

    return guarded
