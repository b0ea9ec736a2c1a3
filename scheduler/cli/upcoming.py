"""`sched next`: when an entry fires next, or when an expression would."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import tzinfo
from typing import Any

import click
import msgspec

from scheduler import clock
from scheduler.cli.group import Command
from scheduler.cli.invocation import Invocation, say
from scheduler.cli.moments import read_moment, show_moment, show_span, zone
from scheduler.cli.names import resolve
from scheduler.cli.output import Column
from scheduler.clock import iso
from scheduler.fires import schedule_of
from scheduler.model import EntryRecord
from scheduler.timing import Schedule, crontab

FIRES_MAX = 10_000


class Upcoming(msgspec.Struct, frozen=True):
    """A schedule with its next fires, in ms."""

    schedule: Schedule
    fires: list[int]


@click.command("next", cls=Command)
@click.argument("name", required=False)
@click.option(
    "--cron", metavar="EXPR", help="A crontab expression instead of an entry; needs no Redis. Its zone is --tz."
)
@click.option("--from", "from_", metavar="TIME", help="The fires after this time instead of now.")
@click.option("-n", "--number", "n", type=click.IntRange(1, FIRES_MAX), default=5, show_default=True, help="How many.")
@click.pass_obj
def upcoming(sched: Invocation, name: str | None, cron: str | None, from_: str | None, n: int) -> None:
    """The next fires of an entry, or of a crontab expression.

    \b
    sched next nightly-backup
    sched next --cron '30 9 * * mon-fri' --tz Asia/Shanghai -n 3
    """
    if (name is None) == (cron is None):
        raise click.UsageError("give the name of an entry, or an expression with --cron")
    if cron is not None:
        schedule, now_ms = _from_text(sched, cron), clock.now_ms()
        first_ms, until_ms = None, None
    else:
        record, now_ms = _record(sched, str(name)), int(sched.store.queues.time_ms())
        assert record.entry is not None
        schedule, first_ms, until_ms = schedule_of(record.entry), record.entry.start_ms, record.entry.until_ms
        _warn(sched, record)
    tz = sched.zone if "tz" in sched.told else zone(schedule.zone or "UTC")
    after_ms = now_ms if from_ is None else read_moment(from_, what="--from", tz=tz, now_ms=now_ms)
    if first_ms is not None:
        after_ms = max(after_ms, first_ms - 1)
    found = Upcoming(schedule, _fires(schedule, after_ms, until_ms, n))
    sched.out.one(found, data=upcoming_data, facts=_facts)
    if not sched.wants_json and found.fires:
        sched.out.gap()
        sched.out.many(found.fires, data=iso, columns=_columns(tz, now_ms))
    if not found.fires:
        say("sched: it does not fire after that")


def _from_text(sched: Invocation, text: str) -> Schedule:
    schedule = crontab(text, tz=sched.told.get("tz") or sched.config.timezone)
    for warning in schedule.warnings():
        say(f"sched: {warning}")
    return schedule


def _record(sched: Invocation, name: str) -> EntryRecord:
    registry = sched.store.registry
    record = registry.get(name)
    if record is not None:
        return record
    records = {record.name: record for record in registry.all()}
    return records[resolve(name, records)]


def _warn(sched: Invocation, record: EntryRecord) -> None:
    """Say what keeps these fires from happening: they are what the schedule says, and the entry may be paused."""
    assert record.entry is not None
    state = "disabled" if not record.entry.enabled else ""
    if record.pause is not None and not state:
        until = show_moment(record.pause.until_ms, sched.zone)
        state = f"paused until {until}" if until else "paused"
    if state:
        say(f"sched: entry {record.name!r} is {state}; this is what its schedule says")


def _fires(schedule: Schedule, after_ms: int, until_ms: int | None, n: int) -> list[int]:
    fires: list[int] = []
    next_ms = schedule.next_ms(after_ms)
    while next_ms is not None and len(fires) < n and (until_ms is None or next_ms <= until_ms):
        fires.append(next_ms)
        next_ms = schedule.next_ms(next_ms)
    return fires


def upcoming_data(found: Upcoming) -> dict[str, Any]:
    """``{schedule, timezone, fires}``."""
    return {
        "schedule": found.schedule.text,
        "words": found.schedule.words(),
        "timezone": found.schedule.zone or "UTC",
        "fires": [iso(fire) for fire in found.fires],
    }


def _facts(found: Upcoming) -> Iterator[tuple[str, str]]:
    yield "schedule", found.schedule.text
    yield "in words", found.schedule.words()
    yield "timezone", found.schedule.zone or "UTC"


def _columns(tz: tzinfo, now_ms: int) -> list[Column[int]]:
    return [
        Column("FIRES", lambda fire: show_moment(fire, tz)),
        Column("UTC", lambda fire: iso(fire) or ""),
        Column("IN", lambda fire: show_span(fire - now_ms)),
    ]
