"""`sched simulate`: how much will start when, where it crowds, and what jitter would make of it. Nothing is run."""

from __future__ import annotations

import shutil
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import tzinfo
from pathlib import Path
from typing import Any

import click
import msgspec

from scheduler import clock
from scheduler.cli.group import Command
from scheduler.cli.invocation import Invocation, say
from scheduler.cli.moments import read_moment, show_moment
from scheduler.cli.output import Column, write
from scheduler.clock import from_ms, iso
from scheduler.errors import NotFoundError
from scheduler.foresee.due import MINUTE_MS, Foresight, Span
from scheduler.foresee.load import (
    Bucket,
    Crowd,
    Load,
    Spread,
    crowds,
    load_of,
    reach_ms,
    spread,
    starts_of_each,
)
from scheduler.model import Entry, EntryRecord
from scheduler.timing.duration import format_duration

FOREVER_MS = 1 << 62
CROWDS_SHOWN = 3
NAMES_SHOWN = 5
RULES_SHOWN = 3
BUSIEST_SHOWN = 10
WORST_SHOWN = 5
HEIGHT = 8
WIDTH_MIN = 20
BUCKETS_OF_DATA = 1_000
"""Into how many buckets a span is cut for programs, at most."""
_BLOCKS = " ▁▂▃▄▅▆▇█"
_PLAIN_BLOCKS = "    #####"
_DAY_MS = 86_400_000


class Simulated(msgspec.Struct, frozen=True):
    """
    What a simulation of the load found.

    Attributes:
        names: The entries that were looked at.
        counts: How many runs each of them starts.
    """

    load: Load
    names: list[str]
    counts: dict[str, int]
    crowds: list[tuple[Crowd, Spread | None]]
    foresight: Foresight


@click.command("simulate", cls=Command)
@click.argument("path", required=False)
@click.option("--from", "from_", metavar="TIME", help="From this time on (default: now).")
@click.option("--to", metavar="TIME", help="Up to this time, or so long after --from, as in 7d (default: 1d).")
@click.option("-Q", "--queue", metavar="NAME", help="Only the entries of this queue.")
@click.option(
    "--live",
    is_flag=True,
    help="The entries in force on Redis instead of those of the files, pauses and skips included.",
)
@click.pass_obj
def simulate(  # noqa: PLR0917 - click hands everything over in order
    sched: Invocation, path: str | None, from_: str | None, to: str | None, queue: str | None, live: bool
) -> None:
    """The load that the schedule files will make: starts by minute, the worst minutes, and which entries to spread.

    \b
    sched simulate --from 2026-12-01 --to 31d
    sched simulate --live --queue reports

    PATH is a folder of schedule files instead of the setting's. Nothing is run; the files are imported, as a beat would. Runs that
    overlap will skip are counted too, as nobody knows how long runs take.
    """
    if live and path is not None:
        raise click.UsageError("--live looks at Redis, and PATH at files; give one of them")
    now_ms = int(sched.store.queues.time_ms()) if live else clock.now_ms()
    from_at_ms = now_ms if from_ is None else read_moment(from_, what="--from", tz=sched.zone, now_ms=now_ms)
    to_at_ms = read_moment(to or "1d", what="--to", tz=sched.zone, now_ms=from_at_ms)
    if to_at_ms <= from_at_ms:
        raise click.UsageError(f"--to {to} is not after --from {from_ or 'now'}")
    span = Span(from_at_ms, to_at_ms)
    foresight = _of_redis(sched, span) if live else _of_files(sched, path, span)
    names = _names(foresight, queue)
    _say_unknown(foresight, names)
    found = simulated(foresight, span, names)
    if sched.wants_json:
        sched.out.data(simulated_data(found, sched.zone, queue))
    else:
        _print(found, sched)


def simulated(foresight: Foresight, span: Span, names: list[str]) -> Simulated:
    """Everything about the load of *names* within *span*."""
    load = load_of(foresight, span, names)
    found = [(crowd, spread(foresight, crowd, names)) for crowd in crowds(foresight, load, names, n=CROWDS_SHOWN)]
    return Simulated(load, names, starts_of_each(foresight, names, span), found, foresight)


def _of_files(sched: Invocation, path: str | None, span: Span) -> Foresight:
    if path is not None and not Path(path).is_dir():
        raise NotFoundError(f"there is no folder {path!r}")
    loaded = sched.load(Path(path).absolute() if path is not None else None, at_ms=span.from_ms - 1)
    if loaded.mistakes:
        say(
            f"sched: the files have mistakes ({len(loaded.mistakes)}), and what the broken ones declare is missing here; "
            "`sched check` shows them"
        )
    return _foresight(list(loaded.registry.entries.values()), span)


def _of_redis(sched: Invocation, span: Span) -> Foresight:
    registry = sched.store.registry
    records = registry.all()
    fired = {name: n for name, (_, n) in registry.promoted().items()}
    pauses = {record.name: list(_silent(record)) for record in records if record.pause is not None or record.skips}
    return _foresight(
        [record.entry for record in records if record.entry is not None], span, pauses=pauses, fired=fired
    )


def _silent(record: EntryRecord) -> Iterator[Span]:
    """When the entry does not fire: while it is paused, and where a fire is to be skipped."""
    if record.pause is not None:
        yield Span(record.pause.since_ms, record.pause.until_ms or FOREVER_MS)
    for order in record.skips:
        yield Span(order.due_ms, order.due_ms + 1)


def _foresight(entries: Sequence[Entry], span: Span, **known: Any) -> Foresight:
    # What is due before the span and starts within it belongs to the load.
    return Foresight(entries, Span(span.from_ms - reach_ms(entries), span.to_ms), **known)


def _say_unknown(foresight: Foresight, names: Sequence[str]) -> None:
    """A rule that exists only as an object was asked for so many fires; what it would say later nobody knows here."""
    for name in names:
        if (known_ms := foresight.known_until_ms(name)) is not None:
            say(f"sched: entry {name!r}: its fires are known until {iso(known_ms)}; what comes later is missing here")


def _names(foresight: Foresight, queue: str | None) -> list[str]:
    """
    The entries to look at.

    Raises:
        NotFoundError: No entry goes to *queue*.
    """
    names = sorted(foresight.entries)
    if queue is None:
        return names
    chosen = [name for name in names if foresight.entries[name].queue == queue]
    if not chosen:
        known = sorted({entry.queue for entry in foresight.entries.values()})
        raise NotFoundError(f"no entry goes to queue {queue!r}; the entries' queues are {', '.join(known) or 'none'}")
    return chosen


# ── for programs ────────────────────────────────────────────────────────────────────────────────────────────────────


def simulated_data(found: Simulated, tz: tzinfo, queue: str | None) -> dict[str, Any]:
    """Everything, in UTC."""
    load = found.load
    buckets = load.buckets(BUCKETS_OF_DATA)
    return {
        "from": iso(load.span.from_ms),
        "to": iso(load.span.to_ms),
        "timezone": str(tz),
        "queue": queue,
        "entries": len(found.names),
        "starts": load.starts,
        "bucket_s": buckets[0].width_ms // 1000,
        "buckets": [
            {"from": iso(bucket.from_ms), "starts": bucket.starts, "worst_minute": bucket.peak} for bucket in buckets
        ],
        "worst_minutes": [{"at": iso(at_ms), "starts": starts} for at_ms, starts in load.worst(WORST_SHOWN)],
        "crowds": [crowd_data(*pair) for pair in found.crowds],
        "busiest": [{"name": name, "starts": found.counts[name]} for name in _busiest(found)],
    }


def crowd_data(crowd: Crowd, spaced: Spread | None) -> dict[str, Any]:
    """A crowd, and what jitter would make of its day."""
    jitter = None
    if spaced is not None:
        jitter = {
            "jitter_s": spaced.jitter_ms // 1000,
            "worst_second": {"now": spaced.second_before, "then": spaced.second_after},
            "worst_minute": {"now": spaced.minute_before, "then": spaced.minute_after},
        }
    return {"at": iso(crowd.at_ms), "entries": crowd.names, "with_jitter": jitter}


# ── for people ──────────────────────────────────────────────────────────────────────────────────────────────────────


def _print(found: Simulated, sched: Invocation) -> None:
    load, tz = found.load, sched.zone
    sched.out.one(found, data=lambda _: None, facts=lambda _: _facts(found, tz))
    if not load.starts:
        say("sched: nothing starts in that time")
        return
    write("")
    width = max(WIDTH_MIN, shutil.get_terminal_size().columns)
    for text in histogram(load, tz, width=width, blocks=_blocks()):
        write(text)
    for crowd, spaced in found.crowds:
        write("")
        for text in _told(found, crowd, spaced, tz):
            write(text)
    write("")
    names = _busiest(found)
    sched.out.many(names, data=str, columns=_columns(found))


def _facts(found: Simulated, tz: tzinfo) -> Iterator[tuple[str, str]]:
    load = found.load
    minutes = (load.span.to_ms - load.span.from_ms) / MINUTE_MS
    at_ms, peak = load.peak
    yield "from", show_moment(load.span.from_ms // 1000 * 1000, tz)
    yield "to", show_moment(load.span.to_ms // 1000 * 1000, tz)
    yield "entries", f"{len(found.names):,}"
    yield "starts", f"{load.starts:,}, {load.starts / minutes:.3g} a minute"
    yield "worst minute", f"{show_moment(at_ms, tz)}: {peak:,} starts" if peak else ""


def histogram(load: Load, tz: tzinfo, *, width: int, blocks: str = _BLOCKS) -> list[str]:
    """*load* as bars side by side, at most *width* characters: each is as high as its worst minute."""
    peak = load.peak[1]
    label = len(f"{peak:,}")
    buckets = load.buckets(width - label - 2)
    rows = []
    for row in range(HEIGHT, 0, -1):
        figure = f"{peak:,}" if row == HEIGHT else f"{peak // 2:,}" if row == HEIGHT // 2 and peak % 2 == 0 else ""
        rows.append(
            f"{figure:>{label}} │{''.join(_cell(bucket.peak, peak, row, blocks) for bucket in buckets)}".rstrip()
        )
    rows.append(f"{0:>{label}} └{'─' * len(buckets)}")
    rows.append(" " * (label + 2) + _ticks(buckets, tz))
    span = format_duration(buckets[0].width_ms)
    what = "a minute" if buckets[0].width_ms == MINUTE_MS else f"{span}, and as high as its worst minute"
    rows.append(f"{'':>{label}}  starts a minute; each column is {what}")
    return [row.rstrip() for row in rows]


def _cell(value: int, peak: int, row: int, blocks: str) -> str:
    """What one bar shows in one row; whatever is there is seen, be it ever so little."""
    eighths = -(-value * HEIGHT * 8 // peak) - (row - 1) * 8
    return blocks[min(8, max(0, eighths))]


def _ticks(buckets: Sequence[Bucket], tz: tzinfo) -> str:
    """The times below the bars, as many as fit."""
    length_ms = buckets[-1].from_ms - buckets[0].from_ms
    form = "%H:%M" if length_ms <= 2 * _DAY_MS else "%m-%d" if length_ms <= 400 * _DAY_MS else "%Y-%m"
    text, shown = "", ""
    for index, bucket in enumerate(buckets):
        tick = from_ms(bucket.from_ms).astimezone(tz).strftime(form)
        if (index == 0 or index >= len(text) + 3) and tick != shown and index + len(tick) <= len(buckets):
            text, shown = f"{text:<{index}}{tick}", tick
    return text


def _blocks() -> str:
    try:
        _BLOCKS.encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        return _PLAIN_BLOCKS
    return _BLOCKS


def _told(found: Simulated, crowd: Crowd, spaced: Spread | None, tz: tzinfo) -> Iterator[str]:
    foresight, names = found.foresight, crowd.names
    texts = Counter(foresight.schedule(name).text for name in names)
    # Those of the commonest schedule first: they are what to change.
    ordered = sorted(names, key=lambda name: -texts[foresight.schedule(name).text])
    rules = [f"{count} with {text!r}" for text, count in texts.most_common(RULES_SHOWN)]
    yield (
        f"{len(names)} entries start at {show_moment(crowd.at_ms, tz)}: "
        f"{', '.join(rules)}{' and others' if len(texts) > RULES_SHOWN else ''}"
    )
    more = f" and {len(names) - NAMES_SHOWN} more" if len(names) > NAMES_SHOWN else ""
    yield f"  {', '.join(ordered[:NAMES_SHOWN])}{more}"
    if spaced is not None:
        yield (
            f"  With jitter='{format_duration(spaced.jitter_ms)}' for these, the worst second of that day would have "
            f"{_starts(spaced.second_after)} instead of {spaced.second_before}, "
            f"the worst minute {spaced.minute_after} instead of {spaced.minute_before}."
        )
    example = next((text for name in ordered if (text := _with_h(foresight.entries[name]))), None)
    if example:
        yield f"  Where the minute does not matter, H gives each entry one of its own: crontab('{example}')."


def _starts(n: int) -> str:
    return f"{n} start" if n == 1 else f"{n} starts"


def _with_h(entry: Entry) -> str | None:
    """The entry's crontab with its one fixed minute left to `H`; None where it has none."""
    fields = str(entry.schedule.get("expr", "")).split()
    if entry.schedule.get("kind") != "crontab" or len(fields) != 5 or not fields[0].isdigit():
        return None
    return " ".join(["H", *fields[1:]])


def _busiest(found: Simulated) -> list[str]:
    names = sorted(found.names, key=lambda name: (-found.counts[name], name))
    return [name for name in names[:BUSIEST_SHOWN] if found.counts[name]]


def _columns(found: Simulated) -> list[Column[str]]:
    entries, schedule = found.foresight.entries, found.foresight.schedule
    return [
        Column("BUSIEST", lambda name: name),
        Column("STARTS", lambda name: f"{found.counts[name]:,}"),
        Column("SCHEDULE", lambda name: schedule(name).text, wide=True),
        Column("QUEUE", lambda name: entries[name].queue, spare=True),
    ]
