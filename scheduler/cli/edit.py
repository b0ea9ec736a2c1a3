"""`sched edit` and `sched remove`: entries that were made at run time."""

from __future__ import annotations

from typing import Any, NoReturn

import click

from scheduler.cli.edit_options import Said, entries_of, entry_options, read_unset, show_entry, zone_of
from scheduler.cli.group import Command
from scheduler.cli.invocation import Invocation, say, who
from scheduler.cli.names import not_found
from scheduler.errors import NotFoundError

_REVISION = click.option(
    "--revision", type=click.IntRange(min=1), metavar="N",
    help="The revision this was made from, as `sched show` told it: refused if somebody has edited the entry since.",
)  # fmt: skip


@click.command("edit", cls=Command)
@click.argument("name")
@click.option("--task", metavar="NAME", help="Run this task instead.")
@entry_options
@click.option(
    "--unset", multiple=True, metavar="OPTION", help="Take an option back to its default; several times for several."
)
@_REVISION
@click.pass_obj
def edit(
    sched: Invocation, /, name: str, *, task: str | None, unset: tuple[str, ...], revision: int | None, reason: str,
    **given: Any,
) -> None:  # fmt: skip
    """Change an entry that was made with `sched add` or `app.entries`.

    \b
    sched edit report-7 --crontab '0 9 * * mon' --reason 'later is fine'
    sched edit report-7 --unset tz --args '[8]'

    Only what is said here changes. What is armed ahead follows within milliseconds; what is due goes on as it was. An entry of a file
    is changed in its file.
    """
    taken_back = read_unset(unset)
    before = sched.store.registry.state(name)
    if before.entry is None:
        _nobody(sched, name)
    said = Said(sched, given, tz=None if "tz" in sched.told else zone_of(before.entry))
    if said.is_empty and not taken_back and task is None:
        raise click.UsageError("say what is to change; `sched edit --help` lists it")
    record = entries_of(sched, task).edit(
        name, task=task, when=said.when, args=said.args, kwargs=said.kwargs, unset=taken_back,
        revision=before.revision if revision is None else revision, by=who(), reason=reason, **said.options,
    )  # fmt: skip
    from scheduler.store.audit import Note, differences  # noqa: PLC0415

    assert record.entry is not None
    changed = differences(before.entry, record.entry)
    if not changed:
        say("sched: that is how it was; nothing has changed")
    show_entry(sched, record, Note(verb="edit", differences=changed))


@click.command("remove", cls=Command)
@click.argument("name")
@click.option("--reason", "-r", default="", metavar="TEXT", help="Why, for the audit log.")
@_REVISION
@click.pass_obj
def remove(sched: Invocation, name: str, reason: str, revision: int | None) -> None:
    """Remove an entry that was made with `sched add` or `app.entries`.

    What is due goes on, what was armed ahead is withdrawn. An entry of a file is removed from its file.
    """
    from scheduler.entries import Entries  # noqa: PLC0415

    try:
        Entries(sched.home, {}).remove(name, revision=revision, by=who(), reason=reason)
    except NotFoundError:
        _nobody(sched, name)
    sched.out.one(
        {"name": name, "removed": True},
        data=lambda removed: removed,
        facts=lambda _: [("removed", name), ("reason", reason)],
    )


def _nobody(sched: Invocation, name: str) -> NoReturn:
    not_found(name, [record.name for record in sched.store.registry.all()])
