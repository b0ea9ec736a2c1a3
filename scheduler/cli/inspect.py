"""`sched inspect`: a worker tells what it is: its tasks, its settings, what it runs, and where in their code its tasks are."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import takewhile
from typing import TYPE_CHECKING, Any

import click

from scheduler.cli.commands import CELERYS_INSPECT
from scheduler.cli.exits import Exit
from scheduler.cli.group import Command
from scheduler.cli.invocation import Invocation, say, who
from scheduler.cli.moments import read_span_ms, show_moment, show_span
from scheduler.cli.output import Column, write
from scheduler.cli.steer import ANSWER_S, Reply, find, give, tell_missing
from scheduler.cli.workers import Looked
from scheduler.errors import NotFoundError

if TYPE_CHECKING:
    from scheduler.store.sessions import LiveWorker


@click.command("inspect", cls=Command)
@click.argument("name")
@click.option("--stacks", is_flag=True, help="Where the running tasks are: the stacks of all threads of each child.")
@click.option("--timeout", metavar="D", help=f"How long to wait for the answer (default {ANSWER_S:g}s).")
@click.pass_obj
def inspect(sched: Invocation, name: str, *, stacks: bool, timeout: str | None) -> int:
    """Ask a worker what it is: its tasks with their options, its settings, what it holds, the versions of what it runs on.

    NAME is the name of a worker, the beginning of just one, or a glob such as 'mail-*'. Secrets are not among the settings.
    """
    from scheduler.store.orders import Verb, new_order  # noqa: PLC0415

    timeout_s = ANSWER_S if timeout is None else read_span_ms(timeout, what="--timeout") / 1000
    try:
        found = find(sched, [name])
    except NotFoundError as error:
        if name not in CELERYS_INSPECT:
            raise
        raise NotFoundError(f"{error}; for Celery's `inspect {name}` there is {CELERYS_INSPECT[name]}") from None
    verb = Verb.STACKS if stacks else Verb.INSPECT
    replies = give(sched, new_order(verb, by=who()), found, timeout_s, noted=False)
    look = Looked(sched, found)
    if sched.wants_json:
        sched.out.data([_data(reply, look, stacks=stacks) for reply in replies if reply.answer is not None])
    else:
        for at, reply in enumerate(reply for reply in replies if reply.answer is not None):
            if at:
                sched.out.gap()
            (_print_stacks if stacks else _print)(sched, reply, look)
    tell_missing(replies)
    return Exit.TIMED_OUT if any(reply.answer is None for reply in replies) else Exit.OK


def _data(reply: Reply, look: Looked, *, stacks: bool) -> dict[str, Any]:
    assert reply.answer is not None
    worker, told = look.data(reply.worker), reply.answer.data
    if stacks:
        return {"name": worker["name"], "host": worker["host"], "pid": worker["pid"], "children": told or []}
    return worker | {key: told[key] for key in ("tasks", "settings", "queues", "system") if told}


def _print(sched: Invocation, reply: Reply, look: Looked) -> None:
    assert reply.answer is not None
    if reply.answer.data is None:
        say(f"sched: worker {reply.worker.info.name!r}: {reply.answer.text}")
        return
    told: dict[str, Any] = reply.answer.data
    sched.out.one(reply.worker, data=look.data, facts=lambda worker: _facts(sched, worker, told, look))
    sched.out.gap()
    sched.out.many(told["tasks"], data=dict, columns=_TASKS)
    sched.out.gap()
    sched.out.many(list(told["settings"].items()), data=dict, columns=_SETTINGS)


def _facts(sched: Invocation, worker: LiveWorker, told: dict[str, Any], look: Looked) -> Iterator[tuple[str, str]]:
    info, state, system = worker.info, worker.state, told["system"]
    yield "worker", f"{info.name} on {info.host}, process {info.pid}"
    yield "state", look.condition(worker)
    yield "since", show_moment(info.started_ms // 1000 * 1000, sched.zone)
    yield "pool", f"{info.pool}, {state.concurrency if state else info.concurrency} at once"
    yield "queues", ", ".join(told["queues"])
    if state is not None:
        slots = [
            f"{look.slot_text(slot)} ({slot.id}{f', process {slot.pid}' if slot.pid else ''})" for slot in state.slots
        ]
        yield "running", "\n".join(slots) or "nothing"
        yield "unstarted", str(told["reserved"] or "")
        yield "finished", f"{state.finished:,}, {state.failed:,} of them failed; {state.retried:,} tried again"
        yield "memory", f"{state.memory_kib[0] / 1024:.0f} MB, and {state.memory_kib[1] / 1024:.0f} MB in its children"
    yield "seen", f"{show_span(worker.silent_ms)} ago"
    yield "versions", f"Steadybeat {system['steadybeat']}, Python {system['python']}, {system['redis']}"
    yield "runs on", system["os"]
    yield "started by", system["executable"]


def _print_stacks(sched: Invocation, reply: Reply, look: Looked) -> None:
    assert reply.answer is not None
    info, children = reply.worker.info, reply.answer.data or []
    write(f"worker {info.name} on {info.host}, process {info.pid}: {look.condition(reply.worker)}")
    for child in children:
        sched.out.gap()
        runs = ", ".join(f"{run['task']} ({run['id']})" for run in child["running"])
        write(f"process {child['pid']} runs {runs or 'nothing'}")
        nothing = "(waits for work)" if child["stacks"] else "(nothing was written)"
        write("\n".join(f"    {line}" for line in _user_frames(child["stacks"]) or [nothing]))
    if reply.answer.text:
        say(f"sched: worker {info.name!r}: {reply.answer.text}")


def _user_frames(text: str) -> list[str]:
    """The stacks in *text* as far as they are not our own: what is below a task, and threads that only wait for one."""
    lines: list[str] = []
    for block in text.strip().split("\n\n"):
        head, *frames = block.splitlines()
        theirs = list(takewhile(lambda frame: not _OUR_FRAME.search(frame), frames))
        if theirs:
            lines += ["", head, *theirs] if lines else [head, *theirs]
    return lines


def _options(task: dict[str, Any]) -> str:
    return ", ".join(f"{name}={value}" for name, value in task["options"].items())


_OUR_FRAME = re.compile(r'"[^"]*/worker/(execute|child|coroutines?|threads|manychild|cells|kinds)\.py", line')
_TASKS: list[Column[dict[str, Any]]] = [
    Column("TASK", lambda task: task["name"]),
    Column("OPTIONS", _options, wide=True),
    Column("DECLARED", lambda task: task["place"], wide=True, spare=True),
]
_SETTINGS: list[Column[tuple[str, Any]]] = [
    Column("SETTING", lambda setting: setting[0]),
    Column("VALUE", lambda setting: _text(setting[1]), wide=True),
]


def _text(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(_text, value))
    if isinstance(value, dict):
        return ", ".join(f"{key}={_text(each)}" for key, each in value.items())
    return "" if value is None else str(value)
