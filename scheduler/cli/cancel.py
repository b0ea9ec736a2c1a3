"""`sched cancel`: ending runs that wait, and stopping those that run."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click
import msgspec

from scheduler.cli.exits import Exit
from scheduler.cli.group import Command
from scheduler.cli.invocation import Invocation, say, who
from scheduler.cli.output import Column
from scheduler.cli.runs import Story, story_data, story_facts, story_of
from scheduler.errors import NotFoundError, RefusedError
from scheduler.model import READY_STATES

if TYPE_CHECKING:
    from scheduler.store.queues import CancelReply
    from scheduler.store.sessions import LiveWorker

STOPPED_S_MAX = 1.0
"""A worker that is asked to stop a run does so within milliseconds, if it can."""
LOOK_S = 0.01


class Cancelled(msgspec.Struct, frozen=True):
    """A run that was to be cancelled, and what came of that: ``revoked requested ended unknown``."""

    id: str
    task: str
    reply: str


@click.command("cancel", cls=Command)
@click.argument("ids", metavar="[ID]…", nargs=-1)
@click.option("--terminate", is_flag=True, help="Also stop what runs already.")
@click.option("--task", default="", metavar="TASK", help="All runs of this task that have not ended; a name or a glob.")
@click.option("--entry", default="", metavar="ENTRY", help="All of this entry; fires to come are not touched.")
@click.option("--queue", default="", metavar="QUEUE", help="All of this queue.")
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@click.option("--reason", "-r", default="", metavar="TEXT", help="Why, for the others.")
@click.pass_obj
def cancel(  # noqa: PLR0917 - click's signature
    sched: Invocation,
    ids: tuple[str, ...],
    terminate: bool,
    task: str,
    entry: str,
    queue: str,
    yes: bool,
    reason: str,
) -> int:
    """Cancel runs that wait; with --terminate also those that run.

    A run that a worker holds is asked to end. What has not started is dropped; what runs is stopped with --terminate, if its pool
    can do that: prefork at once, async where it awaits, threads between two instructions of Python, solo never.

    --task, --entry and --queue choose all that fit every one of them. `sched skip` and `sched pause` are for fires to come.
    """
    if bool(ids) == bool(task or entry or queue):
        raise click.UsageError("give IDs of runs, or choose them with --task, --entry and --queue")
    if ids:
        return _cancel_ids(sched, ids, terminate=terminate, reason=reason)
    return _cancel_chosen(sched, task, entry, queue, terminate=terminate, yes=yes, reason=reason)


def _cancel_ids(sched: Invocation, ids: Sequence[str], *, terminate: bool, reason: str) -> int:
    from scheduler.store.audit import Note  # noqa: PLC0415

    by = who()
    replies = {
        id_: _ask(sched, id_, terminate, reason, Note(verb="cancel", by=by, reason=reason, what=f"run {id_}"))
        for id_ in dict.fromkeys(ids)
    }
    _tell_held(sched, [id_ for id_, reply in replies.items() if reply == "requested"], terminate)
    if len(replies) == 1:
        ((id_, reply),) = replies.items()
        return _show_one(sched, id_, reply)
    found = [Cancelled(id_, _task_of(sched, id_), str(reply)) for id_, reply in replies.items()]
    _show(sched, found)
    if any(reply == "unknown" for reply in replies.values()):
        return Exit.NOT_FOUND
    return Exit.REFUSED if any(reply == "ended" for reply in replies.values()) else Exit.OK


def _cancel_chosen(
    sched: Invocation, task: str, entry: str, queue: str, *, terminate: bool, yes: bool, reason: str
) -> int:
    from scheduler.store.audit import Note  # noqa: PLC0415
    from scheduler.store.search import Wanted, find  # noqa: PLC0415

    store = sched.store
    wanted = Wanted(task, entry, queue)
    chosen = dict(find(store.connection, store.keys, wanted, now_ms=int(store.queues.time_ms())))
    words = ", ".join(f"{name} {text}" for name, text in zip(Wanted._fields, wanted, strict=True) if text)
    if not chosen:
        say(f"sched: no run of {words} waits or runs")
        sched.out.many([], data=_data, columns=_COLUMNS)
        return Exit.OK
    count = f"{len(chosen):,} {'run' if len(chosen) == 1 else 'runs'} of {words}"
    if not _agreed(f"Cancel {count}{', also those that run' if terminate else ''}?", yes):
        return Exit.FAILED
    note: Note | None = Note(verb="cancel", by=who(), reason=reason, what=count)
    found = []
    for id_, header in chosen.items():
        reply = _ask(sched, id_, terminate, reason, note)
        if reply in {"revoked", "requested"}:
            note = None  # one line for all of them
        found.append(Cancelled(id_, header.task, str(reply)))
    _tell_held(sched, [each.id for each in found if each.reply == "requested"], terminate)
    _show(sched, found)
    return Exit.OK


def _ask(sched: Invocation, id_: str, terminate: bool, reason: str, note: Any) -> CancelReply:
    return sched.store.queues.cancel(id_, terminate=terminate, by=who(), reason=reason, note=note)


def _tell_held(sched: Invocation, held: Sequence[str], terminate: bool) -> None:
    """Wait a moment for the workers that hold these; say what becomes of those that have not ended by then."""
    if not held:
        return
    left = set(held)
    if terminate:
        deadline = time.monotonic() + STOPPED_S_MAX
        while left and time.monotonic() < deadline:
            left = {id_ for id_ in left if not _is_over(sched, id_)}
            time.sleep(LOOK_S if left else 0.0)
    if not left:
        return
    workers = sched.store.sessions.workers()
    for id_ in sorted(left):
        worker = next((worker for worker in workers if id_ in worker.held), None)
        if worker is not None:
            say(f"sched: run {id_} is with worker {worker.info.name!r}, {_what_now(worker, terminate)}")


def _what_now(worker: LiveWorker, terminate: bool) -> str:
    from worker.pools import POOLS, Can  # noqa: PLC0415

    if not terminate:
        return "which drops it, if it has not started it (--terminate stops it in any case)"
    pool = POOLS.get(worker.info.pool)
    can = pool.terminate if pool is not None else Can.YES
    if can is Can.YES:
        return "which was asked to stop it and has not done so yet; `sched workers` shows whether it is well"
    if can is Can.NO:
        return f"whose pool {worker.info.pool} cannot stop what runs: it ends by itself, and is not tried again"
    return f"whose pool {worker.info.pool} stops it {can}: it goes on until then"


def _is_over(sched: Invocation, id_: str) -> bool:
    record = sched.store.results.get(id_)
    return (record is not None and record.state in READY_STATES) or sched.store.queues.body(id_) is None


def _show_one(sched: Invocation, id_: str, reply: CancelReply) -> int:
    if reply == "unknown":
        raise NotFoundError(f"there is no run {id_!r}; its record may have expired (`sched runs` shows the last ones)")
    if reply == "ended":
        raise RefusedError(f"run {id_} is over already; `sched result {id_}` shows how it ended")

    def data(story: Story) -> dict[str, Any]:
        return {**story_data(story), "cancel": str(reply)}

    sched.out.one(story_of(sched, id_), data=data, facts=lambda story: story_facts(story, sched))
    return Exit.OK


def _show(sched: Invocation, found: Sequence[Cancelled]) -> None:
    sched.out.many(found, data=_data, columns=_COLUMNS)


def _data(each: Cancelled) -> dict[str, str | None]:
    return {"id": each.id, "task": each.task or None, "cancel": each.reply}


def _task_of(sched: Invocation, id_: str) -> str:
    try:
        return story_of(sched, id_).run.task
    except NotFoundError:
        return ""


def _agreed(question: str, yes: bool) -> bool:
    """Whether a person says yes; where nobody can be asked, the command must have said so."""
    if yes:
        return True
    if not sys.stdin.isatty():
        raise click.UsageError("it concerns many runs, and nobody is here to be asked; confirm with --yes")
    if click.confirm(question, err=True):
        return True
    say("sched: nothing was cancelled")
    return False


_WORDS: dict[str, str] = {
    "revoked": "cancelled",
    "requested": "its worker was asked",
    "ended": "over already",
    "unknown": "there is no such run",
}
_COLUMNS: list[Column[Cancelled]] = [
    Column("ID", lambda each: each.id),
    Column("TASK", lambda each: each.task),
    Column("BECAME", lambda each: _WORDS[each.reply]),
]
