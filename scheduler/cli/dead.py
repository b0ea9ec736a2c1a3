"""`sched dead`: messages that were given up, to be listed, looked at, put back and purged. No task code is needed here."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

import click
import msgspec

from scheduler.cli.commands import DEAD_COMMANDS
from scheduler.cli.exits import Exit
from scheduler.cli.group import Command, CommandGroup
from scheduler.cli.invocation import Invocation, say, who
from scheduler.cli.letter import Letter, death_columns, death_data, letter_data, letter_facts
from scheduler.cli.moments import read_moment, read_span_ms
from scheduler.cli.output import Column
from scheduler.cli.retry import repeat
from scheduler.errors import NotFoundError, RefusedError
from scheduler.wire import new_id

if TYPE_CHECKING:
    from scheduler.store.dead import Death

LETTERS_MAX = 10_000
_reason = click.option("--reason", "-r", default="", metavar="TEXT", help="Why, for the audit log.")
_yes = click.option("--yes", "-y", is_flag=True, help="Do not ask.")


def _dead_list(
    sched: Invocation, *, task: str | None, entry: str | None, queue: str | None, since: str | None, n: int
) -> None:
    since_ms = 0
    if since is not None:
        now_ms = int(sched.store.queues.time_ms())
        since_ms = read_moment(since, what="--since", tz=sched.zone, now_ms=now_ms, past=True)
    choice = {"task": task, "entry": entry, "queue": queue}
    found = list(islice(_chosen(sched, choice, since_ms=since_ms), n))
    if not found:
        narrowed = since or any(choice.values())
        say(f"sched: no dead letter{' like that' if narrowed and sched.store.dead.count() else ''}")
    sched.out.many(found, data=death_data, columns=death_columns(sched.zone))
    if len(found) == n and (more := sched.store.dead.count() - n) > 0 and not any(choice.values()) and not since:
        say(f"sched: {more:,} older ones are not shown; see more with -n")


def _with_list_options(callback: Any) -> Any:
    for option in (
        click.option("-n", "--number", "n", type=click.IntRange(1, LETTERS_MAX), default=50, show_default=True,
                     help="How many."),
        click.option("--since", metavar="TIME", help="Who died since: '2026-11-21 09:00', '09:00', '2h' (ago)."),
        click.option("--queue", metavar="QUEUE", help="Only those that came from this queue."),
        click.option("--entry", metavar="NAME", help="Only those of this entry."),
        click.option("--task", metavar="TASK", help="Only those of this task."),
    ):  # fmt: skip
        callback = option(callback)
    return callback


@_with_list_options
@click.pass_obj
def _alone(sched: Invocation, /, **options: Any) -> None:
    """Messages that were given up, the newest first: rejected by their task, unreadable, or the death of too many workers.

    Their runs have ended as FAILURE. The messages are kept (the newest 10,000) to be looked at, put back or purged.
    """
    _dead_list(sched, **options)


dead = click.command("dead", cls=CommandGroup, table=DEAD_COMMANDS)(_alone)


@click.command("list", cls=Command)
@_with_list_options
@click.pass_obj
def list_dead(sched: Invocation, /, **options: Any) -> None:
    """Messages that were given up, the newest first: rejected by their task, unreadable, or the death of too many workers."""
    _dead_list(sched, **options)


@click.command("show", cls=Command)
@click.argument("id", metavar="ID")
@click.pass_obj
def show(sched: Invocation, id: str) -> None:
    """One dead letter with its whole story: what died, why and when, who died with it, what it was to do, and where it would go
    back to."""
    death, body = _found(sched, id)
    sched.out.one(Letter(death, body), data=letter_data, facts=lambda letter: letter_facts(letter, sched.zone))


@click.command("requeue", cls=Command)
@click.argument("ids", nargs=-1, metavar="[ID]…")
@click.option("--all", "everything", is_flag=True, help="All of them.")
@click.option("--task", metavar="TASK", help="All of this task.")
@click.option("--queue", metavar="QUEUE", help="All that came from this queue.")
@click.option("--force", is_flag=True, help="Even while another run of its entry has not ended.")
@_reason
@_yes
@click.pass_obj
def requeue(
    sched: Invocation,
    *,
    ids: tuple[str, ...],
    everything: bool,
    task: str | None,
    queue: str | None,
    force: bool,
    reason: str,
    yes: bool,
) -> int:
    """Put dead letters back on their queues, oldest first.

    Each becomes a new run that names the old one (whose result and history stay as they are), with no losses counted yet, and is a
    dead letter no more: both in one moment. What cannot be put back stays: unreadable ones, and those of an entry whose overlap slot
    is held (--force: beside it).
    """
    from scheduler.store.audit import Note  # noqa: PLC0415

    chosen = _meant(sched, ids, everything=everything, task=task, queue=queue)
    if not ids and chosen and not _agreed(f"Put {_letters(len(chosen))} back on their queues?", yes, "put back"):
        return Exit.FAILED
    what = "" if len(chosen) == 1 else f"dead letters{f' of task {task}' if task else ''}"
    note = Note(verb="requeue", by=who(), reason=reason, what=what, group=new_id())
    done = [_put_back(sched, id_, note=note, force=force) for id_ in chosen]
    sched.out.many(done, data=msgspec.structs.asdict, columns=_DONE_COLUMNS)
    refused = [each for each in done if not each.run]
    if not chosen:
        say("sched: there is nothing to put back")
    elif refused and len(done) > 1:
        say(f"sched: {len(done) - len(refused)} put back, {len(refused)} stay dead letters")
    if any(each.error.startswith(_UNKNOWN) for each in refused):
        return Exit.NOT_FOUND
    return Exit.REFUSED if refused else Exit.OK


@click.command("purge", cls=Command)
@click.argument("ids", nargs=-1, metavar="[ID]…")
@click.option("--all", "everything", is_flag=True, help="All of them.")
@click.option("--older-than", metavar="SPAN", help="All that died longer ago than '7d', '12h', …")
@click.option("--task", metavar="TASK", help="All of this task.")
@click.option("--queue", metavar="QUEUE", help="All that came from this queue.")
@_reason
@_yes
@click.pass_obj
def purge(
    sched: Invocation,
    *,
    ids: tuple[str, ...],
    everything: bool,
    older_than: str | None,
    task: str | None,
    queue: str | None,
    reason: str,
    yes: bool,
) -> int:
    """Keep dead letters no longer. Their runs stay in the history; the messages are gone for good."""
    from scheduler.store.audit import Note  # noqa: PLC0415

    until_ms = None
    if older_than is not None:
        until_ms = int(sched.store.queues.time_ms()) - read_span_ms(older_than, what="--older-than")
    chosen = _meant(sched, ids, everything=everything, task=task, queue=queue, until_ms=until_ms)
    for id_ in ids:
        _found(sched, id_)
    if chosen and not _agreed(f"Purge {_letters(len(chosen))} for good?", yes or bool(ids), "purged"):
        return Exit.FAILED
    note = Note(
        verb="purge", by=who(), reason=reason, what="dead letters" if len(chosen) != 1 else f"dead letter {chosen[0]}"
    )
    gone = sched.store.dead.forget(chosen, note=note) if chosen else 0
    if not chosen:
        say("sched: there is nothing to purge")
    sched.out.one({"purged": gone}, data=lambda done: done, facts=lambda done: [("purged", str(done["purged"]))])
    return Exit.OK


# ── which ones ──────────────────────────────────────────────────────────────────────────────────────────────────────


def _chosen(
    sched: Invocation, choice: dict[str, str | None], *, since_ms: int = 0, until_ms: int | None = None
) -> Iterator[Death]:
    """Those whose run has these values, the newest first."""
    wanted = {field: value for field, value in choice.items() if value is not None}
    for death in sched.store.dead.newest(since_ms=since_ms, until_ms=until_ms):
        if all(getattr(death.run, field) == value for field, value in wanted.items()):
            yield death


def _meant(
    sched: Invocation,
    ids: Sequence[str],
    *,
    everything: bool,
    task: str | None,
    queue: str | None,
    until_ms: int | None = None,
) -> list[str]:
    """
    The ids that a command is about, the oldest death first.

    Raises:
        click.UsageError: It says both which and all, or neither.
    """
    narrowed = task is not None or queue is not None or until_ms is not None
    if bool(ids) == (everything or narrowed):
        raise click.UsageError(
            "say which: the ids, or all of them (--all, --task, …)"
            if not ids
            else "ids and --all (--task, …) are two ways to say which; give one of them"
        )
    if ids:
        return list(dict.fromkeys(ids))
    found = [death.id for death in _chosen(sched, {"task": task, "queue": queue}, until_ms=until_ms)]
    return found[::-1]


def _found(sched: Invocation, id: str) -> tuple[Death, bytes]:
    """
    The dead letter *id* with its bytes.

    Raises:
        NotFoundError: There is none.
    """
    found = sched.store.dead.get(id)
    if found is None:
        raise NotFoundError(
            f"{_UNKNOWN} {id!r} (`sched dead list` shows them; `sched result {id}` what became of a run)"
        )
    return found


def _agreed(question: str, yes: bool, verb: str) -> bool:
    """Whether a person says yes; where nobody can be asked, the command must have said so."""
    if yes:
        return True
    if not sys.stdin.isatty():
        raise click.UsageError("it concerns many messages, and nobody is here to be asked; confirm with --yes")
    if click.confirm(question, err=True):
        return True
    say(f"sched: nothing was {verb}")
    return False


def _letters(n: int) -> str:
    return "1 dead letter" if n == 1 else f"{n:,} dead letters"


# ── putting back ────────────────────────────────────────────────────────────────────────────────────────────────────


class PutBack(msgspec.Struct, frozen=True):
    """What became of the wish to put a dead letter back: its new run, or why there is none."""

    id: str
    run: str | None
    task: str
    entry: str | None
    queue: str
    error: str = ""


_UNKNOWN = "there is no dead letter"
_DONE_COLUMNS: list[Column[PutBack]] = [
    Column("DEAD LETTER", lambda done: done.id),
    Column("NEW RUN", lambda done: done.run or "–"),
    Column("TASK", lambda done: done.task, spare=True),
    Column("QUEUE", lambda done: done.queue, spare=True),
    Column("NOTE", lambda done: done.error, wide=True),
]


def _put_back(sched: Invocation, id: str, *, note: Any, force: bool) -> PutBack:
    try:
        death, body = _found(sched, id)
    except NotFoundError as error:
        return PutBack(id, None, "", None, "", str(error))
    run = death.run
    try:
        new = repeat(sched, id, body, note=note, force=force, dead=True)
    except RefusedError as error:
        return PutBack(id, None, run.task, run.entry or None, run.queue, str(error))
    return PutBack(id, new, run.task, run.entry or None, run.queue)
