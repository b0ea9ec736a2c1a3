"""`sched explain`: an expression in words, field by field, its next fires, and how croniter and Celery would read it."""

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
from scheduler.cli.names import nearest
from scheduler.cli.output import Column, write
from scheduler.clock import iso
from scheduler.errors import InvalidScheduleError, NotFoundError
from scheduler.fires import schedule_of
from scheduler.foresee.peers import Reading, readings
from scheduler.foresee.warnings import clock_changes, warnings_of
from scheduler.model import Entry
from scheduler.timing import Schedule, crontab
from scheduler.timing.cron_words import field_words

FIRES_MAX = 10_000


class Explained(msgspec.Struct, frozen=True):
    """
    What there is to say about a schedule.

    Attributes:
        entry: Its name, where an entry was asked for.
        settled: Whether it can be computed: `H` needs the name of an entry.
        fields: Name, text and words of each field of a crontab; empty for other schedules.
        readings: How others read it; empty for what is no crontab.
    """

    entry: str | None
    schedule: Schedule
    settled: bool
    fields: list[tuple[str, str, str]]
    warnings: list[str]
    fires: list[int]
    readings: list[Reading]


@click.command("explain", cls=Command)
@click.argument("expression", nargs=-1, required=True, metavar="EXPR|ENTRY")
@click.option("--from", "from_", metavar="TIME", help="The fires after this time instead of now.")
@click.option(
    "-n", "--number", "n", type=click.IntRange(1, FIRES_MAX), default=5, show_default=True, help="How many fires."
)
@click.option(
    "--dialect", type=click.Choice(["croniter"]), help="Read the expression as croniter does: the second last."
)
@click.option("--for", "name", metavar="ENTRY", help="What H gives to the entry of this name.")
@click.pass_obj
def explain(  # noqa: PLR0917 - click hands everything over in order
    sched: Invocation, expression: tuple[str, ...], from_: str | None, n: int, dialect: str | None, name: str | None
) -> None:
    """A crontab expression in words, field by field, with its next fires, what is odd about it, and how croniter and
    Celery would read it. Its zone is --tz.

    \b
    sched explain '30 2 * * *' --tz Europe/Berlin
    sched explain nightly-backup

    A single word is the name of an entry of the schedule files. Redis is not asked.
    """
    text = " ".join(expression)
    entry = _entry(sched, text) if _is_name(text) else None
    schedule = _schedule(sched, text, dialect, name) if entry is None else schedule_of(entry)
    tz = sched.zone if "tz" in sched.told else zone(schedule.zone or "UTC")
    now_ms = clock.now_ms()
    after_ms = now_ms if from_ is None else read_moment(from_, what="--from", tz=tz, now_ms=now_ms)
    written = text if entry is None and name is None else None
    found = explained(schedule, entry, after_ms=after_ms, n=n, written=written)
    if sched.wants_json:
        sched.out.data(explained_data(found))
    else:
        _print(found, sched, tz, now_ms)


def _is_name(text: str) -> bool:
    return len(text.split()) == 1 and not text.startswith("@")


def _schedule(sched: Invocation, text: str, dialect: str | None, name: str | None) -> Schedule:
    schedule = crontab(text, tz=sched.told.get("tz") or sched.config.timezone, dialect=dialect)
    return schedule if name is None else schedule.for_entry(name)


def _entry(sched: Invocation, name: str) -> Entry:
    """
    The entry of the files called *name*.

    Raises:
        NotFoundError: There is none; the message names the nearest.
    """
    loaded = sched.load()
    entry = loaded.registry.entries.get(name)
    if entry is None:
        if loaded.mistakes:
            say(
                "sched: the schedule files have mistakes, which `sched check` shows; entries of broken files are not known"
            )
        near = nearest(name, loaded.registry.entries)
        hint = f"; did you mean {' or '.join(near)}?" if near else ""
        raise NotFoundError(f"{name!r} is neither a crontab expression nor an entry of the schedule files{hint}")
    return entry


def explained(
    schedule: Schedule, entry: Entry | None, *, after_ms: int, n: int, written: str | None = None
) -> Explained:
    """
    Everything about *schedule*, which is that of *entry* if there is one, as of *after_ms*.

    Args:
        written: The expression as it was written; others read that, and perhaps no ``@daily``.
    """
    data = schedule.as_data()
    fields, peers, fires = [], [], []
    settled = True
    try:
        fires = _fires(schedule, entry, after_ms, n)
    except InvalidScheduleError:
        settled = False  # an H without a name
    if data["kind"] == "crontab":
        fields = field_words(tuple(schedule.text.split())) if not data.get("dialect") else []
        peers = readings(written or schedule.text, schedule, after_ms) if settled else []
    warnings = list(schedule.warnings())
    if entry is not None:
        warnings += warnings_of(entry, now_ms=after_ms)
    elif settled and (changes := clock_changes(data, after_ms)):
        warnings.append(f"the clocks change: {'; '.join(changes)}")
    return Explained(None if entry is None else entry.name, schedule, settled, fields, warnings, fires, peers)


def _fires(schedule: Schedule, entry: Entry | None, after_ms: int, n: int) -> list[int]:
    """The next *n* fires, within the entry's start and end."""
    start_ms, until_ms = (None, None) if entry is None else (entry.start_ms, entry.until_ms)
    at_ms: int | None = after_ms if start_ms is None else max(after_ms, start_ms - 1)
    fires: list[int] = []
    while len(fires) < n and at_ms is not None:
        at_ms = schedule.next_ms(at_ms)
        if at_ms is None or (until_ms is not None and at_ms > until_ms):
            break
        fires.append(at_ms)
    return fires


# ── for programs ────────────────────────────────────────────────────────────────────────────────────────────────────


def explained_data(found: Explained) -> dict[str, Any]:
    """Everything, for programs."""
    return {
        "entry": found.entry,
        "schedule": found.schedule.text,
        "words": found.schedule.words(),
        "timezone": found.schedule.zone or "UTC",
        "fields": {name: {"text": text, "words": words} for name, text, words in found.fields},
        "warnings": found.warnings,
        "fires": [iso(fire) for fire in found.fires],
        "readings": {reading.name.lower(): reading_data(reading) for reading in found.readings},
    }


def reading_data(reading: Reading) -> dict[str, Any]:
    """How a peer reads it; `same` is None where it refuses to."""
    difference = reading.difference
    return {
        "version": reading.version,
        "asked": reading.asked,
        "refusal": reading.refusal or None,
        "same": None if reading.refusal else difference is None,
        "fires_compared": reading.fires,
        "first_difference": None
        if difference is None
        else {"at": iso(difference.at_ms), "fires_here": difference.we_fire},
    }


# ── for people ──────────────────────────────────────────────────────────────────────────────────────────────────────


def _print(found: Explained, sched: Invocation, tz: tzinfo, now_ms: int) -> None:
    sched.out.one(found, data=lambda _: None, facts=_facts)
    if found.warnings:
        write("")
    for warning in found.warnings:
        write(f"warning: {warning}")
    if found.fires:
        write("")
        sched.out.many(found.fires, data=iso, columns=_columns(tz, now_ms))
    elif not found.settled:
        say("sched: H gives each entry a value of its own; --for ENTRY shows what it gives to that one")
    else:
        say("sched: it does not fire after that")
    if found.readings:
        write("")
    for reading in found.readings:
        write(told(reading, tz))


def _facts(found: Explained) -> Iterator[tuple[str, str]]:
    yield "entry", found.entry or ""
    yield "schedule", found.schedule.text
    words = found.schedule.words()
    yield "in words", words if words != found.schedule.text else ""
    yield "timezone", found.schedule.zone or "UTC"
    width = max((len(text) for _, text, _ in found.fields), default=0)
    for name, text, meaning in found.fields:
        yield name, f"{text:<{width}}  {meaning}"


def told(reading: Reading, tz: tzinfo) -> str:
    """A peer's reading as a sentence."""
    who = f"{reading.name} {reading.version}"
    difference = reading.difference
    would = "" if reading.asked else " would"
    if reading.refusal:
        return f"{who}{would or ' '}{' refuse' if would else 'refuses'} it: {reading.refusal}"
    if difference is None:
        return f"{who}{' would fire' if would else ' fires'} alike: no difference in {reading.fires:,} fires, clock changes included"
    at = show_moment(difference.at_ms, tz)
    they = "would not" if would else "does not"
    we = f"we fire and it {they}" if difference.we_fire else f"it {'would fire' if would else 'fires'} and we do not"
    return f"{who}{' would read' if would else ' reads'} it otherwise: on {at} {we}"


def _columns(tz: tzinfo, now_ms: int) -> list[Column[int]]:
    return [
        Column("FIRES", lambda fire: show_moment(fire, tz)),
        Column("UTC", lambda fire: iso(fire) or ""),
        Column("IN", lambda fire: show_span(fire - now_ms)),
    ]
