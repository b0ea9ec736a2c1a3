"""`sched add`: an entry made at run time."""

from __future__ import annotations

from typing import Any

import click

from scheduler.cli.edit_options import Said, entries_of, entry_options, show_entry
from scheduler.cli.group import Command
from scheduler.cli.invocation import Invocation, who


@click.command("add", cls=Command)
@click.argument("name")
@click.argument("task")
@entry_options
@click.pass_obj
def add(sched: Invocation, /, name: str, task: str, reason: str, **given: Any) -> None:
    """Add an entry called NAME that runs TASK, without a schedule file.

    \b
    sched add report-7 reports.send --crontab '0 8 * * mon' --tz Europe/Berlin --args '[7]'
    sched add warm-up cache.fill --every 10m --jitter 30s --queue slow

    It is checked as one in a file is, in force at once, and stays until `sched remove`; files never change it. A name that a file
    declares is refused.
    """
    said = Said(sched, given)
    if said.when is None:
        raise click.UsageError("say when: --crontab, --every, --rrule or --once")
    record = entries_of(sched, task).put(
        name, task, said.when, args=said.args or (), kwargs=said.kwargs, must_be_new=True, by=who(), reason=reason,
        place="sched add", **said.options,
    )  # fmt: skip
    show_entry(sched, record, None)
