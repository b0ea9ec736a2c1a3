"""`sched retry`: what has failed runs again, as a new run. No task code is needed here."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NoReturn

import click
import msgspec

from scheduler.cli.exits import Exit
from scheduler.cli.group import Command
from scheduler.cli.invocation import Invocation
from scheduler.cli.runs import story_data, story_facts, story_of
from scheduler.cli.send import submit
from scheduler.errors import RefusedError, UndecodableMessageError
from scheduler.model import Overlap, Run, State
from scheduler.seal import unsealed
from scheduler.who import who
from scheduler.wire import FLAG_FIRE, Header, decode_header, encode_header, new_id

if TYPE_CHECKING:
    from scheduler.store.audit import Note


@click.command("retry", cls=Command)
@click.argument("id", metavar="ID")
@click.option("--force", is_flag=True, help="Run it even while another run of its entry has not ended.")
@click.option("--reason", "-r", default="", metavar="TEXT", help="Why, for the others.")
@click.pass_obj
def retry(sched: Invocation, id: str, force: bool, reason: str) -> int:
    """Run again what has failed, as a new run with the same arguments.

    The old run stays as it is; the new one names it. A dead letter gives way to it, as with `sched dead requeue`. A run of an
    entry takes the entry's overlap slot: while another run has not ended, it is refused with exit code 4, unless forced.
    """
    from scheduler.store.audit import Note  # noqa: PLC0415

    store = sched.store
    body = store.queues.failed_body(id)
    if body is None or store.queues.body(id) is not None or _ended_well(store.history.run(id)):
        _refuse(sched, id)

    note = Note(verb="retry", by=who(), reason=reason, group=new_id())
    new = repeat(sched, id, body, note=note, force=force, dead=store.dead.get(id) is not None)
    sched.out.one(story_of(sched, new), data=story_data, facts=lambda story: story_facts(story, sched))
    return Exit.OK


def repeat(sched: Invocation, id: str, body: bytes, *, note: Note, force: bool, dead: bool) -> str:
    """
    Put *body*, the message of the ended run *id*, back on its queue as a new run; the id of that.

    Args:
        note: For the audit log: verb, by whom and why; the rest is added here.
        dead: It is a dead letter, and gives way to the new run.

    Raises:
        RefusedError: It would fail again as it is no message; or its entry's overlap slot is held, and nobody forces it.
    """
    from scheduler.store.queues import NewMessage  # noqa: PLC0415

    store = sched.store

    def in_force(entry: str) -> bool:
        record = store.registry.get(entry)
        return record is not None and record.entry is not None

    now_ms = int(store.queues.time_ms())
    try:
        body = unsealed(id, body, sched.store.seal)
        header, body = repeated(
            body, id=id, by=note.by, reason=note.reason, now_ms=now_ms, in_force=in_force, force=force
        )
    except UndecodableMessageError as error:
        raise RefusedError(f"run {id} would fail again: {error}") from None
    message = NewMessage(
        id=new_id(), body=body, queue=header.queue, priority=header.priority, unique=bool(header.unique)
    )
    if not note.what:
        note = msgspec.structs.replace(note, entry=header.entry, what=f"run {message.id} repeats {id}")
    submit(sched, message, entry=header.entry, force=force, note=note, instead_of=id if dead else "")
    return message.id


def repeated(
    body: bytes,
    *,
    id: str,
    by: str,
    now_ms: int,
    in_force: Callable[[str], bool],
    reason: str = "",
    force: bool = False,
) -> tuple[Header, bytes]:
    """
    The message that asks for the same as *body*, that of run *id*, once more; with its header. Pure.

    The payload is the same, byte for byte, and so is the due time: a report is made for the day that it failed for. But it
    is a fire no more, so promotion lets it pass, and if it could expire, it may wait for as long as the old one might.

    Args:
        by: Who asks for it, and *reason* why.
        in_force: Whether there is an entry of that name. A run of one that was removed is repeated as a call of its task.
        force: It stands beside the overlap slot, and beside the run that has its unique key.

    Raises:
        UndecodableMessageError: *body* is no message of ours.
    """
    old, at = decode_header(body)
    assert not old.signed, "what is signed is unsealed first"
    entry = old.entry if old.entry and in_force(old.entry) else ""
    expires_ms = now_ms + old.expires_ms - max(old.due_ms, old.enqueued_ms) if old.expires_ms else 0
    header = Header(
        entry=entry,
        task=old.task,
        queue=old.queue,
        priority=old.priority,
        flags=old.flags & ~FLAG_FIRE,
        overlap=old.overlap if entry else Overlap.ALLOW,
        serializer=old.serializer,
        due_ms=old.due_ms,
        expires_ms=expires_ms,
        enqueued_ms=now_ms,
        result_ttl_s=old.result_ttl_s,
        retry_of=id,
        by=by,
        reason=reason,
        unique="" if force else old.unique,
    )
    return header, encode_header(header) + body[at:]


def _ended_well(run: Run | None) -> bool:
    """Whether the newest run of this id, which may be somebody's own, is known to have ended otherwise than by failing."""
    return run is not None and run.state != State.FAILURE


def _refuse(sched: Invocation, id: str) -> NoReturn:
    """
    Say why *id* cannot be repeated, and what can be done instead.

    Raises:
        NotFoundError: There is no such run.
        RefusedError: It has not ended, has not failed, or failed too long ago.
    """
    run = story_of(sched, id).run
    if sched.store.queues.body(id) is not None:
        raise RefusedError(f"run {id} has not ended ({run.state}); wait for it, or cancel it (`sched cancel {id}`)")
    if run.state == State.FAILURE:
        why = "failed, but its message is no longer kept: only the last ones are, 10,000 or 64 MiB of them"
    else:
        why = f"ended as {run.state or f'skipped ({run.outcome})'}, and only failed runs can be repeated"
    if run.entry:
        remedy = f"`sched trigger {run.entry}` runs its entry"
    else:
        remedy = f"`sched call {run.task or 'TASK'} --args … --kwargs …` runs its task"
    raise RefusedError(f"run {id} {why}; {remedy}")
