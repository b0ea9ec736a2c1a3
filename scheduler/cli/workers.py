"""`sched workers`: the live workers, what each runs and how it is. All of it is read from Redis; nobody is asked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import click

from scheduler.cli.group import Command
from scheduler.cli.invocation import Invocation, say
from scheduler.cli.moments import show_moment, show_span
from scheduler.cli.names import matching
from scheduler.cli.output import Column, state_style
from scheduler.clock import iso

if TYPE_CHECKING:
    from scheduler.store.orders import Slot, WorkerState
    from scheduler.store.sessions import LiveWorker

SILENT_MS = 3_000
"""A worker renews once a second; one that has not for so long is shown as silent."""
RUNNING_SHOWN_MAX = 3

GONE, SILENT, DEAF, STARTING = "gone", "silent", "deaf", "starting"


@click.command("workers", cls=Command)
@click.argument("pattern", required=False)
@click.pass_obj
def workers(sched: Invocation, pattern: str | None) -> None:
    """The live workers: what they run and since when, how full they are, and how they are.

    PATTERN is a glob such as 'mail-*', or a part of a name.

    running: takes messages. draining: takes none until it is resumed. stopping: ends when what runs has ended. silent: has not
    renewed its lease for seconds. gone: its lease has run out, and the next worker that looks puts back what it held. deaf: takes
    nothing though messages wait; restart it.
    """
    found = sched.store.sessions.workers()
    if not found:
        say("sched: no worker lives; start one with `sched worker`")
    chosen = set(matching(pattern, [worker.info.name for worker in found]))
    shown = [worker for worker in found if worker.info.name in chosen]
    if found and not shown:
        say(f"sched: no worker's name fits {pattern!r}; there are {', '.join(sorted({w.info.name for w in found}))}")
    look = Looked(sched, shown)
    sched.out.many(look.found, data=look.data, columns=look.columns())


class Looked:
    """
    Workers, as they are shown at one moment.

    Args:
        now_ms: Redis' clock now; asked for where it is not known.

    Attributes:
        found: They, by name.
    """

    def __init__(self, sched: Invocation, found: Sequence[LiveWorker], now_ms: int | None = None) -> None:
        self._sched = sched
        self.found = sorted(found, key=lambda worker: (worker.info.name, worker.info.started_ms))
        self._now_ms = int(sched.store.queues.time_ms()) if now_ms is None else now_ms
        self._lease_ms = sched.config.worker_lease_ms

    def condition(self, worker: LiveWorker) -> str:
        """In a word, how *worker* is."""
        if worker.silent_ms > self._lease_ms:
            return GONE
        if worker.silent_ms > SILENT_MS:
            return SILENT
        if worker.state is None:
            return STARTING
        return DEAF if worker.state.deaf_s else str(worker.state.stage)

    def data(self, worker: LiveWorker) -> dict[str, Any]:
        """*worker*, for programs; `held` counts the messages under its lease."""
        info, state = worker.info, worker.state
        told: dict[str, Any] = {
            "name": info.name,
            "host": info.host,
            "pid": info.pid,
            "queues": list(state.queues if state else info.queues),
            "concurrency": state.concurrency if state else info.concurrency,
            "pool": info.pool,
            "version": info.version,
            "started_at": iso(info.started_ms) if info.started_ms else None,
            "held": len(worker.held),
            "session": worker.session,
            "state": self.condition(worker),
            "seen_ago_s": worker.silent_ms / 1000,
        }
        return told | (self._state_data(state) if state else {})

    def _state_data(self, state: WorkerState) -> dict[str, Any]:
        supervisor_kib, children_kib = state.memory_kib
        return {
            "stage": str(state.stage),
            "busy": state.busy,
            "running": [
                {
                    "id": slot.id,
                    "task": slot.task,
                    "entry": slot.entry or None,
                    "attempt": slot.attempt,
                    "since": iso(slot.since_ms),
                    "for_s": max(0, self._now_ms - slot.since_ms) / 1000,
                    "pid": slot.pid or None,
                }
                for slot in state.slots
            ],
            "unstarted": state.unstarted,
            "finished": state.finished,
            "failed": state.failed,
            "retried": state.retried,
            "memory": {"supervisor_kib": supervisor_kib, "children_kib": children_kib},
            "children": state.children,
            "log_level": state.log_level or None,
            "deaf_s": state.deaf_s or None,
        }

    def columns(self) -> list[Column[LiveWorker]]:
        """For people; on a narrow terminal those at the end are left out."""
        return [
            Column("WORKER", lambda worker: worker.info.name),
            Column("STATE", self.condition, style=_style),
            Column("BUSY", _busy),
            Column("RUNS", self._runs, wide=True),
            Column("QUEUES", _queues, wide=True),
            Column("DONE", _done, spare=True),
            Column("MEMORY", _memory, spare=True),
            Column("SEEN", lambda worker: f"{show_span(worker.silent_ms)} ago", spare=True),
            Column("HOST", lambda worker: f"{worker.info.host}:{worker.info.pid}", spare=True),
            Column("POOL", lambda worker: worker.info.pool, spare=True),
            Column("VERSION", lambda worker: worker.info.version, spare=True),
            Column(
                "SINCE", lambda worker: show_moment(worker.info.started_ms // 1000 * 1000, self._sched.zone), spare=True
            ),
        ]

    def _runs(self, worker: LiveWorker) -> str:
        """The tasks that have run for longest, and how many more."""
        slots = worker.state.slots if worker.state else ()
        shown = ", ".join(map(self.slot_text, slots[:RUNNING_SHOWN_MAX]))
        more = (worker.state.busy if worker.state else 0) - RUNNING_SHOWN_MAX
        return f"{shown}, {more} more" if more > 0 else shown

    def slot_text(self, slot: Slot) -> str:
        """``reports.build 12s``"""
        return f"{slot.entry or slot.task} {show_span(max(0, self._now_ms - slot.since_ms))}"

    def facts(self) -> Iterator[tuple[str, str]]:
        """All of them in a line, and what is wrong with any."""
        conditions = Counter(map(self.condition, self.found))
        states = [worker.state for worker in self.found if worker.state is not None]
        busy, slots = sum(state.busy for state in states), sum(state.concurrency for state in states)
        if self.found:
            counted = ", ".join(f"{count} {condition}" for condition, count in conditions.most_common())
            yield "workers", f"{counted}; {busy} of {slots} slots busy" if slots else counted
        yield (
            "deaf",
            "\n".join(
                f"{worker.info.name} has taken nothing for {show_span(int(worker.state.deaf_s * 1000))} though messages wait; "
                f"restart it (`sched worker stop {worker.info.name}`)"
                for worker in self.found
                if worker.state is not None and self.condition(worker) == DEAF
            ),
        )


def _busy(worker: LiveWorker) -> str:
    state = worker.state
    return f"{state.busy}/{state.concurrency}" if state else f"?/{worker.info.concurrency}"


def _queues(worker: LiveWorker) -> str:
    return ",".join(worker.state.queues if worker.state else worker.info.queues)


def _done(worker: LiveWorker) -> str:
    state = worker.state
    if state is None:
        return ""
    return f"{state.finished:,} ({state.failed:,} failed)" if state.failed else f"{state.finished:,}"


def _memory(worker: LiveWorker) -> str:
    """Of the supervisor, and of its children."""
    if worker.state is None or not worker.state.memory_kib[0]:
        return ""
    supervisor, children = (f"{kib / 1024:.0f}" for kib in worker.state.memory_kib)
    return f"{supervisor}+{children} MB" if worker.state.children else f"{supervisor} MB"


def _style(text: str) -> str:
    return _STYLES.get(text) or state_style(text)


_STYLES = {
    "running": "green",
    "draining": "yellow",
    "stopping": "yellow",
    SILENT: "yellow",
    GONE: "red",
    DEAF: "bold red",
}
