"""`sched beat` and `sched worker`: settings, logging and the schedule files, wired to the process that runs."""

from __future__ import annotations

import socket
from collections.abc import Callable
from functools import partial

import click

from scheduler.cli.commands import WORKER_COMMANDS
from scheduler.cli.exits import report
from scheduler.cli.group import Command, CommandGroup
from scheduler.cli.invocation import Invocation, say
from scheduler.cli.together import run_together

_LOG_LEVEL = click.option(
    "-l", "--loglevel", "log_level", metavar="LEVEL", help="debug, info, warning, error or critical."
)


@click.command("beat", cls=Command)
@click.option("-n", "--name", "--hostname", metavar="NAME", help="What others call it (default: this host's name).")
@_LOG_LEVEL
@click.pass_obj
def beat(sched: Invocation, name: str | None, log_level: str | None) -> int:
    """Run a beat: one of them leads and arms the fires, the others stand by.

    SIGTERM stops it, SIGHUP loads the schedule files again. Run one on each of two or three hosts.
    """
    _override(sched, log_level=log_level)
    _configure_log(sched)
    return _beat(sched, _name(name))


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


def _name(given: str | None) -> str:
    """*given* with Celery's `%h`, or the name of this host."""
    host = socket.gethostname()
    return given.replace("%h", host) if given else host


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
@click.option("-P", "--pool", metavar="POOL", help="prefork (default) or solo.")
@click.option("-B", "--beat", "with_beat", is_flag=True, help="Run a beat beside it, stopped with it.")
@_LOG_LEVEL
@click.pass_obj
def worker(
    sched: Invocation,
    /,
    queues: str | None,
    exclude: str | None,
    name: str | None,
    with_beat: bool,
    **settings: str | None,
) -> int:
    """Run a worker: it takes messages from its queues, runs them, and records the results.

    SIGTERM stops it after the running tasks, SIGQUIT at once.
    """
    _override(sched, **settings)
    told = _configure_log(sched)
    work = partial(
        _worker, sched, None if name is None else _name(name), told, queues=queues or "", exclude=exclude or ""
    )
    if not with_beat:
        return work()
    return run_together([_guarded(sched, work), _guarded(sched, partial(_beat, sched, _name(name)))])


def _worker(sched: Invocation, name: str | None, told: bool, *, queues: str, exclude: str) -> int:
    from scheduler.logs import settle  # noqa: PLC0415
    from worker.process import run_worker  # noqa: PLC0415

    loaded = sched.load()
    for mistake in loaded.mistakes:
        say(f"sched: {mistake}")
    if not told:
        settle(sched.config)
    return run_worker(
        sched.config, loaded.tasks, name=name, queues=queues, exclude=exclude,
        entries=loaded.registry.entries.values(), show_runs=told,
    )  # fmt: skip


def _guarded(sched: Invocation, service: Callable[[], int]) -> Callable[[], int]:
    """*service*, with its errors told to people: it runs in a process of its own."""

    def guarded() -> int:
        try:
            return service()
        except Exception as error:
            return report(error, url=sched.url)

    return guarded
