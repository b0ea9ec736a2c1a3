"""`sched runs` and `sched result`: what became of messages."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click
import msgspec

from scheduler.cli.arguments import Span
from scheduler.cli.exits import Exit
from scheduler.cli.group import Command
from scheduler.cli.invocation import Invocation, say
from scheduler.cli.moments import read_moment, show_moment
from scheduler.cli.names import resolve
from scheduler.cli.run_result import result_data, result_text
from scheduler.cli.run_view import duration_s, lateness_s, run_columns, run_data
from scheduler.clock import iso
from scheduler.errors import NotFoundError, UndecodableMessageError
from scheduler.model import READY_STATES, OutcomeReason, ResultRecord, Run, State
from scheduler.store.history import Choice
from scheduler.wire import decode_header

RUNS_MAX = 10_000


@click.command("runs", cls=Command)
@click.argument("name", required=False)
@click.option("--state", metavar="STATE", help="Only those in this state: SUCCESS, FAILURE, STARTED, …")
@click.option(
    "--outcome",
    type=click.Choice([str(reason) for reason in OutcomeReason], case_sensitive=False),
    metavar="OUTCOME",
    help="Only due times with this outcome: promoted, overlap, paused, missed, …",
)
@click.option("--task", metavar="TASK", help="Only runs of this task.")
@click.option("--since", metavar="TIME", help="None before this time: '2026-11-21 09:00', '09:00', '2h' (ago).")
@click.option("--until", metavar="TIME", help="None at this time or after it.")
@click.option("--backfill", metavar="ID", help="Only those of this backfill (`sched backfill --list`).")
@click.option("-n", "--number", "n", type=click.IntRange(1, RUNS_MAX), default=50, show_default=True, help="How many.")
@click.pass_obj
def runs(
    sched: Invocation,
    *,
    name: str | None,
    state: str | None,
    outcome: str | None,
    task: str | None,
    since: str | None,
    until: str | None,
    backfill: str | None,
    n: int,
) -> None:
    """What ran, what runs, and what was skipped and why; newest first.

    NAME is an entry; it may be shortened, as long as it means one. A run stands at its due time, or where it has none, when it
    began. The last 10,000 runs are kept. Of a backfill those are shown too that wait.
    """
    store = sched.store
    if name is not None and store.registry.get(name) is None and next(store.history.ended(name), None) is None:
        name = resolve(name, {record.name for record in store.registry.all()})
    choice = Choice(
        entry=name,
        state=None if state is None else state.upper(),
        outcome=outcome,
        task=task,
        since_ms=_moment_ms(sched, since, "--since"),
        until_ms=_moment_ms(sched, until, "--until"),
        backfill=backfill,
    )
    if choice.since_ms is not None and choice.until_ms is not None and choice.since_ms >= choice.until_ms:
        raise click.UsageError(f"--since {since}: {iso(choice.since_ms)} is not before --until, {iso(choice.until_ms)}")
    found = store.history.chosen(choice, n)
    if backfill is not None:
        known = {run.id for run in found if not run.finished_ms}
        waiting = (run for run in store.backfills.waiting(backfill) if run.id not in known and choice.fits(run))
        found = [*waiting, *found][:n]
    if not found:
        say(f"sched: no runs{_in_words(choice)} among the last {RUNS_MAX:,}")
    sched.out.many(found, data=run_data, columns=run_columns(sched.zone, entry=name is None))


def _moment_ms(sched: Invocation, text: str | None, what: str) -> int | None:
    return (
        None
        if text is None
        else read_moment(text, what=what, tz=sched.zone, now_ms=int(sched.store.queues.time_ms()), past=True)
    )


def _in_words(choice: Choice) -> str:
    return "".join(
        (
            f" of {choice.entry!r}" if choice.entry else "",
            f" of task {choice.task}" if choice.task else "",
            f" of backfill {choice.backfill}" if choice.backfill else "",
            f" in state {choice.state}" if choice.state else "",
            f" with outcome {choice.outcome}" if choice.outcome else "",
            f" since {iso(choice.since_ms)}" if choice.since_ms is not None else "",
            f" until {iso(choice.until_ms)}" if choice.until_ms is not None else "",
        )
    )


class Story(msgspec.Struct, frozen=True):
    """A run with what it gave."""

    run: Run
    result: ResultRecord | None


@click.command("result", cls=Command)
@click.argument("id", metavar="ID")
@click.option(
    "--follow", "-f", is_flag=True, help="Show how far it is until it is over; exit 1 if it failed, 5 on a timeout."
)
@click.option("--timeout", "timeout_ms", type=Span(), metavar="DURATION", help="Follow it no longer; implies --follow.")
@click.pass_obj
def result(sched: Invocation, id: str, follow: bool, timeout_ms: int | None) -> int:
    """One run, with its result or traceback.

    With --follow a run that has not ended is followed: its progress is drawn as a bar, in a pipe told in lines, with -o jsonl as a
    value for each step. Ctrl-C ends that, not the run.
    """
    story = story_of(sched, id)
    follows = follow or timeout_ms is not None
    if follows and (story.result is None or story.result.state not in READY_STATES) and not story.run.finished_ms:
        from scheduler.cli.follow import follow as show  # noqa: PLC0415

        show(sched, id, None if timeout_ms is None else timeout_ms / 1000)
        story = story_of(sched, id)
    sched.out.one(story, data=story_data, facts=lambda story: story_facts(story, sched))
    return Exit.FAILED if follows and story.result is not None and story.result.state != State.SUCCESS else Exit.OK


def story_of(sched: Invocation, id: str) -> Story:
    """
    All that is known of run *id*: from history, its result, or the message that still waits.

    Asked for in the order opposite to that in which they come: a run that ends meanwhile is found where it has gone.

    Raises:
        NotFoundError: Redis knows nothing of it.
    """
    store = sched.store
    body, record = store.queues.body(id), store.results.get(id)
    run = store.history.run(id) or _waiting(id, body, record)
    if run is None:
        raise NotFoundError(f"there is no run {id!r}; its record may have expired (`sched runs` shows the last ones)")
    return Story(run=run, result=record)


def _waiting(id: str, body: bytes | None, record: ResultRecord | None) -> Run | None:
    """The run as its message or its result tells it, where history has none."""
    if body is not None:
        try:
            header, _ = decode_header(body)
        except UndecodableMessageError as error:
            return Run(id=id, state="PENDING", error=str(error))
        return Run(
            id=id,
            entry=header.entry,
            task=header.task,
            queue=header.queue,
            state=record.state if record else "PENDING",
            due_ms=header.due_ms,
            enqueued_ms=header.enqueued_ms,
            retry_of=header.retry_of,
            backfill=header.backfill,
            by=header.by,
            reason=header.reason,
        )
    return None if record is None else Run(id=id, state=record.state, finished_ms=record.done_ms)


def story_data(story: Story) -> dict[str, Any]:
    """A run with its result, for programs; on failure the result is None and `exception` says what was raised."""
    return {**run_data(story.run), **result_data(story.result)}


def story_facts(story: Story, sched: Invocation) -> Iterator[tuple[str, str]]:
    run, record, tz = story.run, story.result, sched.zone
    yield "id", run.id
    yield "entry", run.entry
    yield "task", run.task
    yield "queue", run.queue
    yield "retry of", run.retry_of
    yield "backfill", run.backfill
    yield "asked for by", run.by
    yield "reason", run.reason
    yield "state", run.state or f"skipped: {run.outcome}"
    yield "scheduled for", show_moment(run.due_ms, tz)
    yield "enqueued", show_moment(run.enqueued_ms, tz)
    late = lateness_s(run)
    yield "started", show_moment(run.started_ms, tz) + (f", {late:.3f} s late" if late is not None else "")
    took = duration_s(run)
    yield "finished", show_moment(run.finished_ms, tz) + (f", after {took:.3f} s" if took is not None else "")
    yield "worker", run.worker
    yield "attempt", str(run.attempt or "")
    yield "error", run.error
    if record is None:
        yield "result", "" if run.state in {"PENDING", "STARTED", "RETRY"} else "not kept, or expired"
    elif record.state not in READY_STATES and record.state != State.RETRY:
        from scheduler.cli.follow import words  # noqa: PLC0415

        yield "progress", f"{record.state}  {words(msgspec.json.decode(record.meta))}".rstrip()
    else:
        yield "result", result_text(record)
        yield "traceback", record.traceback or ""
