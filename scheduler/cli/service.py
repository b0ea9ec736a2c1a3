"""`sched status` and `sched reload`: the service as a whole."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import click
import msgspec

from scheduler.cli.exits import Exit
from scheduler.cli.group import Command
from scheduler.cli.invocation import Invocation, say
from scheduler.cli.leadership import Leader, leader_data, leader_facts, leader_of, why_none
from scheduler.cli.moments import show_moment, show_span
from scheduler.cli.output import Column, state_style
from scheduler.cli.queues import QUEUE_COLUMNS, QueueView, queue_views
from scheduler.cli.workers import Looked
from scheduler.clock import iso

if TYPE_CHECKING:
    from scheduler.alarm import Alert
    from scheduler.store.loads import LoadInfo
    from scheduler.store.presence import BeatInfo
    from scheduler.store.sessions import LiveWorker

ALERTS_SHOWN = 5
SKEW_SHOWN_S = 0.1
"""From here on a skew is worth a line for people: it is above what a round trip explains."""


class Status(msgspec.Struct, frozen=True):
    """The service at one moment of Redis' clock."""

    now_ms: int
    leader: Leader | None
    trouble: str
    beats: list[BeatInfo]
    workers: list[LiveWorker]
    queues: list[QueueView]
    load: LoadInfo
    paused: int
    clock_skew_s: float
    alerts: list[Alert]


@click.command("status", cls=Command)
@click.pass_obj
def status(sched: Invocation) -> int:
    """Leader, beats, workers and queues at a glance; exit code 1 without a leader."""
    found = _look(sched)
    look = Looked(sched, found.workers, found.now_ms)
    sched.out.one(
        found, data=lambda status: status_data(status, look), facts=lambda status: _facts(status, sched, look)
    )
    if not sched.wants_json:
        _tables(sched, found, look)
    if found.leader is None:
        say(f"sched: {found.trouble}")
    return Exit.FAILED if found.leader is None else Exit.OK


def _look(sched: Invocation) -> Status:
    store = sched.store
    skew_s = store.queues.clock_skew_s()
    term, now_ms = store.leadership.observe(), int(store.queues.time_ms())
    return Status(
        now_ms=now_ms,
        leader=leader_of(term, now_ms=now_ms, lease_ms=sched.config.leader_lease_ms),
        trouble=why_none(term, now_ms=now_ms),
        beats=store.presence.beats(),
        workers=store.sessions.workers(),
        queues=queue_views(sched),
        load=store.loads.info(),
        paused=store.registry.paused_count(),
        clock_skew_s=skew_s,
        alerts=store.alerts.open(),
    )


def status_data(status: Status, look: Looked) -> dict[str, Any]:
    """``{leader, beats, workers, queues, clock_skew_s}`` and the newest load of the schedule files."""
    return {
        "leader": leader_data(status.leader),
        "beats": [_beat_data(beat) for beat in status.beats],
        "workers": [look.data(worker) for worker in status.workers],
        "queues": {
            queue.name: {"ready": queue.ready, "delayed": queue.delayed, "in_flight": queue.in_flight}
            for queue in status.queues
        },
        "clock_skew_s": round(status.clock_skew_s, 6),
        "paused": status.paused,
        "alerts": [
            {"kind": str(alert.kind), "entry": alert.entry or None, "text": alert.text} for alert in status.alerts
        ],
        "load": {
            "number": status.load.number,
            "by": status.load.by or None,
            "at": iso(status.load.at_ms) if status.load.at_ms else None,
            "mistakes": list(status.load.mistakes),
            "files_differ": different_files(status.beats),
        },
    }


def different_files(beats: Sequence[BeatInfo]) -> bool:
    """Whether the live beats have loaded different files."""
    return len({beat.files for beat in beats if beat.files}) > 1


def _files_text(status: Status) -> str:
    """Which beats have which files, whose are in force, and what to do."""
    if not different_files(status.beats):
        return ""
    groups: dict[str, list[BeatInfo]] = {}
    for beat in status.beats:
        if beat.files:
            groups.setdefault(beat.files, []).append(beat)
    lines = [
        f"{', '.join(beat.name for beat in beats)}: {beats[0].entries} entries (files {files})"
        for files, beats in groups.items()
    ]
    in_force = next((beat for beat in status.beats if beat.load == status.load.number), None)
    whose = f"those of {status.load.by}, the newest load" + ("" if in_force else "; no live beat has them")
    return "\n".join(
        ["the beats have loaded different files", *lines, f"in force: {whose}",
         "remedy: bring the same files to every host, then `sched reload`"]
    )  # fmt: skip


def _overdue_text(beats: Sequence[BeatInfo]) -> str:
    """Which entries hold answers that run out, unless a beat that has their files asks again."""
    names = sorted({name for beat in beats for name in beat.overdue})
    if not names:
        return ""
    return (
        f"{', '.join(names)}: their triggers or calendars could not be asked again; mend their files and `sched reload` "
        "(`sched show` tells until when the fires are known)"
    )


def _alerts_text(alerts: Sequence[Alert]) -> str:
    """What is wrong, the oldest first; the rest is counted."""
    lines = [alert.text for alert in alerts[:ALERTS_SHOWN]]
    if len(alerts) > ALERTS_SHOWN:
        lines.append(f"and {len(alerts) - ALERTS_SHOWN} more: see `sched alerts`")
    return "\n".join(lines)


def _facts(status: Status, sched: Invocation, look: Looked) -> Iterator[tuple[str, str]]:
    yield from leader_facts(status.leader, sched) if status.leader else (("leader", "none"),)
    load = status.load
    yield "schedules", f"loaded {show_moment(load.at_ms, sched.zone)} by {load.by}" if load.at_ms else "never loaded"
    yield "mistakes", "\n".join(load.mistakes)
    yield "alerts", _alerts_text(status.alerts)
    yield "need files", _overdue_text(status.beats)
    yield "differing", _files_text(status)
    yield from look.facts()
    yield "paused", f"{status.paused} {'entry' if status.paused == 1 else 'entries'}" if status.paused else ""
    if abs(status.clock_skew_s) >= SKEW_SHOWN_S:
        where = "ahead of" if status.clock_skew_s > 0 else "behind"
        yield "clock", f"this host is {abs(status.clock_skew_s):.3f} s {where} Redis, whose clock decides"


def _tables(sched: Invocation, status: Status, look: Looked) -> None:
    if status.beats:
        sched.out.gap()
        sched.out.many(status.beats, data=_beat_data, columns=_beat_columns(status.now_ms))
    sched.out.gap()
    if status.workers:
        sched.out.many(look.found, data=look.data, columns=look.columns())
    else:
        say("sched: no worker lives: what is promoted waits")
    if status.queues:
        sched.out.gap()
        sched.out.many(status.queues, data=msgspec.structs.asdict, columns=QUEUE_COLUMNS)


def _beat_data(beat: BeatInfo) -> dict[str, Any]:
    return {
        "name": beat.name,
        "role": beat.role,
        "host": beat.host,
        "pid": beat.pid,
        "version": beat.version,
        "tzdata": beat.tzdata,
        "load": beat.load,
        "files": beat.files or None,
        "entries": beat.entries,
        "overdue": list(beat.overdue),
        "seen_at": iso(beat.seen_ms),
        "id": beat.id,
    }


def _beat_columns(now_ms: int) -> list[Column[BeatInfo]]:
    return [
        Column("BEAT", lambda beat: beat.name),
        Column("ROLE", lambda beat: beat.role, style=state_style),
        Column("HOST", lambda beat: f"{beat.host}:{beat.pid}"),
        Column("VERSION", lambda beat: beat.version, spare=True),
        Column("TZDATA", lambda beat: beat.tzdata, spare=True),
        Column("SEEN", lambda beat: f"{show_span(max(0, now_ms - beat.seen_ms))} ago"),
    ]


@click.command("reload", cls=Command)
@click.pass_obj
def reload(sched: Invocation) -> None:
    """Ask the beats to load the schedule files again.

    They do so within about a second; `sched status` shows the newest load and the mistakes in it.
    """
    store = sched.store
    beats = [beat.name for beat in store.presence.beats()]
    number = store.loads.request_reload()
    if not beats:
        say("sched: no beat lives now; one that starts loads its files anyway")
    sched.out.one(
        {"request": number, "beats": beats},
        data=lambda asked: asked,
        facts=lambda _: [("asked", ", ".join(beats) or "nobody")],
    )
