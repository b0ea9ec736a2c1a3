"""
What is legal in an entry and rarely meant, seen in the light of its zone, its options and the coming year. Pure.

What a rule alone shows (`Schedule.warnings`) is not repeated here. Each sentence can stand behind ``entry 'name': ``.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from functools import lru_cache
from itertools import islice, pairwise
from typing import Any, Final

import msgspec

from scheduler.clock import from_ms
from scheduler.errors import ScheduleError
from scheduler.fires import schedule_of
from scheduler.foresee.due import Span, due_times
from scheduler.model import Entry, Overlap
from scheduler.timing import Schedule, schedule_from_data
from scheduler.timing.duration import format_duration, parse_duration_ms
from scheduler.timing.zone_table import Zone
from scheduler.timing.zones import zone_table

DAY_MS: Final = 86_400_000
AHEAD_MS: Final = 366 * DAY_MS
"""How far we look: every yearly change of the clocks comes by once."""
LOOKED_AT: Final = 60
"""From how many fires the distance between two is learned."""
TIMES_SHOWN: Final = 3

POLLING_MS: Final = 600_000
"""What fires more often than that polls: there people give limits that are generous on purpose."""


def warnings_of(
    entry: Entry, *, now_ms: int, time_limit_ms: int | None = None, queues: Collection[str] = ()
) -> list[str]:
    """
    What is odd about *entry*, one sentence each.

    Args:
        time_limit_ms: Of its runs, be it said by the entry or by its task; None: none.
        queues: Those that workers take from, where the settings say so.
    """
    try:
        schedule = schedule_of(entry)
    except ScheduleError:
        return []
    if not entry.enabled:
        return []
    found = [*_about_its_end(entry, schedule, now_ms)]
    if found:
        return found
    found += _about_clocks(entry, now_ms)
    found += _about_distances(entry, schedule, now_ms, time_limit_ms)
    if queues and entry.queue not in queues:
        found.append(
            f"queue {entry.queue!r} is not among the setting queues ({', '.join(queues)}): "
            "a worker takes from it only if -Q says so"
        )
    return found


def twins(entries: Iterable[Entry]) -> dict[str, str]:
    """Entries that do the same as another one at the same times, each with that other, by name."""
    first: dict[object, str] = {}
    found = {}
    for entry in entries:
        if entry.enabled:
            when = (_schedule_or_none(entry), entry.start_ms, entry.until_ms)
            what = (bytes(entry.args), bytes(entry.kwargs), msgspec.json.encode(entry.headers, order="sorted"))
            same = (entry.task, what, entry.queue, when)
            other = first.setdefault(same, entry.name)
            if other != entry.name:
                found[entry.name] = other
    return found


def _schedule_or_none(entry: Entry) -> Schedule | None:
    try:
        return schedule_of(entry)
    except ScheduleError:
        return None


def _about_its_end(entry: Entry, schedule: Schedule, now_ms: int) -> Iterator[str]:
    after_ms = now_ms if entry.start_ms is None else max(now_ms, entry.start_ms - 1)
    next_ms = schedule.next_ms(after_ms)
    if next_ms is None or (entry.until_ms is not None and next_ms > entry.until_ms):
        yield "it will not fire any more: its schedule or its until lies behind us"
    elif next_ms - now_ms > AHEAD_MS:
        yield f"it fires next on {from_ms(next_ms):%Y-%m-%d}, more than a year from now"
    elif entry.expires_at_ms is not None and next_ms + entry.countdown_ms >= entry.expires_at_ms:
        yield f"each of its runs has expired before it can start: expires is {from_ms(entry.expires_at_ms):%Y-%m-%d %H:%M}Z"


def _about_distances(entry: Entry, schedule: Schedule, now_ms: int, time_limit_ms: int | None) -> Iterator[str]:
    """Options that reach beyond the next fire."""
    piles_up_ms = entry.expires_after_ms if entry.overlap is Overlap.ALLOW else None
    if not (time_limit_ms or entry.countdown_ms or entry.jitter_ms or piles_up_ms):
        return
    shortest_ms = _shortest_ms(schedule, now_ms - now_ms % DAY_MS)
    if shortest_ms is None:
        return
    apart = f"the {format_duration(shortest_ms)} to the next fire"
    if entry.countdown_ms >= shortest_ms:
        yield f"countdown {format_duration(entry.countdown_ms)} is not shorter than {apart}: runs start in the time of later ones"
    if entry.jitter_ms > shortest_ms:
        yield f"jitter {format_duration(entry.jitter_ms)} is longer than {apart}, and is cut to that"
    if time_limit_ms is not None and time_limit_ms > shortest_ms >= POLLING_MS and entry.overlap is Overlap.SKIP:
        yield (
            f"time_limit {format_duration(time_limit_ms)} is longer than {apart}: "
            "a run that takes so long lets overlap='skip' skip that one"
        )
    if piles_up_ms is not None and piles_up_ms > shortest_ms:
        yield (
            f"expires {format_duration(piles_up_ms)} is longer than {apart}, and overlap='allow' keeps none back: "
            f"while no worker is there, up to {piles_up_ms // shortest_ms} runs pile up"
        )


@lru_cache(maxsize=4096)
def _shortest_ms(schedule: Schedule, after_ms: int) -> int | None:
    """The shortest distance between two of the next fires."""
    fires = list(islice(due_times(schedule, Span(after_ms, after_ms + 2 * AHEAD_MS)), LOOKED_AT))
    return min((later - earlier for earlier, later in pairwise(fires)), default=None)


# ── clocks that change ──────────────────────────────────────────────────────────────────────────────────────────────


def _about_clocks(entry: Entry, now_ms: int) -> Iterator[str]:
    changes = clock_changes(entry.schedule, now_ms)
    if changes:
        yield f"the clocks change: {'; '.join(changes)}"
    yield from _about_elapsed_days(entry.schedule, now_ms)


def clock_changes(data: Mapping[str, Any], now_ms: int) -> list[str]:
    """
    What changes of the clock within a year from *now_ms* do to the schedule *data*: a clause for each day on which a time of it
    does not exist or comes twice. A rule that goes on through the hours around does not mind.
    """
    found: dict[str, None] = {}
    for leaf in _on_the_wall(data):
        try:
            schedule, naive = schedule_from_data(leaf), schedule_from_data({**leaf, "tz": "UTC"})
            found.update(dict.fromkeys(_changes(schedule, naive, zone_table(str(leaf["tz"])), now_ms)))
        except ScheduleError:
            continue
    return list(found)


def change_moments(zone: str, now_ms: int) -> list[int]:
    """When the clocks of *zone* change within a year from *now_ms*."""
    table = zone_table(zone)
    return [table.starts_s[tile] * 1000 for tile in _tiles_ahead(table, now_ms)]


def _on_the_wall(data: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The parts of a schedule that follow the clock on the wall and make it fire."""
    kind, parts = data.get("kind"), data.get("parts")
    if isinstance(parts, list | tuple):
        # Of `a & b` and `a - b` the first says when; of `a | b` each does.
        for part in parts if kind == "or" else parts[:1]:
            yield from _on_the_wall(part)
    elif (kind in ("crontab", "rrule") or _counts_days(data)) and data.get("tz") not in (None, "UTC"):
        yield data


def _counts_days(data: Mapping[str, Any]) -> bool:
    """Whether it is an `every` on the wall clock. An anchor in UTC is an instant, whose wall time the zone decides: left out."""
    on_the_wall = data.get("kind") == "every" and (data.get("days") or data.get("months"))
    return bool(on_the_wall) and not str(data.get("anchor") or "").endswith("Z")


def _changes(schedule: Schedule, naive: Schedule, zone: Zone, now_ms: int) -> Iterator[str]:
    """As `clock_changes`; *naive* is the same rule in UTC, so that its fires are the local times it names."""
    for tile in _tiles_ahead(zone, now_ms):
        start_s = zone.starts_s[tile]
        jump_ms = (zone.offsets_s[tile] - zone.offsets_s[tile - 1]) * 1000
        edges = (zone.local_ends_s[tile - 1] * 1000, zone.local_starts_s[tile] * 1000)
        local = Span(min(edges), max(edges))
        times = list(islice(due_times(naive, local), 1000))
        if not times or all(_fires_at(naive, at + jump_ms) and _fires_at(naive, at - jump_ms) for at in times):
            continue
        day = f"{_wall(times[0]):%a %Y-%m-%d}"
        if jump_ms > 0:
            what = _skipped(schedule, start_s * 1000, edges[1], many=len(times) > 1)
            yield f"{day} has no {_listed(times)} in {zone.name}, {what}"
        else:
            what = _repeated(schedule, start_s * 1000, -jump_ms, many=len(times) > 1)
            yield f"{day} has {_listed(times)} twice in {zone.name}, {what}"


def _tiles_ahead(zone: Zone, now_ms: int) -> range:
    """The changes of the clock within a year from *now_ms*, by the number of the tile that begins there."""
    return range(bisect_right(zone.starts_s, now_ms // 1000), bisect_right(zone.starts_s, (now_ms + AHEAD_MS) // 1000))


def _skipped(schedule: Schedule, start_ms: int, local_ms: int, *, many: bool) -> str:
    it, runs = ("they", "run") if many else ("it", "runs")
    if _fires_at(schedule, start_ms):
        return f"{it} {runs} once, at {_clock(local_ms)}"
    return f"{it} {'are' if many else 'is'} left out"


def _repeated(schedule: Schedule, start_ms: int, length_ms: int, *, many: bool) -> str:
    it, runs = ("they", "run") if many else ("it", "runs")
    passes = [Span(start_ms - length_ms, start_ms), Span(start_ms, start_ms + length_ms)]
    first, second = (next(iter(due_times(schedule, span)), None) is not None for span in passes)
    which = "both times" if first and second else "the first time only" if first else "the second time only"
    return f"{it} {runs} {which}"


def _about_elapsed_days(data: Mapping[str, Any], now_ms: int) -> Iterator[str]:
    """A day of 24 hours moves on the wall twice a year."""
    period, zone = data.get("period"), data.get("tz")
    if data.get("kind") != "every" or period is None or zone in (None, "UTC"):
        return
    days, rest = divmod(parse_duration_ms(period), DAY_MS)
    if days and not rest and _tiles_ahead(zone_table(str(zone)), now_ms):
        yield (
            f"every {period} counts hours, so its time of day in {zone} moves when the clocks change; "
            f"every(days={days}, at='…') keeps it"
        )


def _fires_at(schedule: Schedule, at_ms: int) -> bool:
    return schedule.next_ms(at_ms - 1) == at_ms


def _listed(times: list[int]) -> str:
    more = f", … ({len(times)} times)" if len(times) > TIMES_SHOWN else ""
    return ", ".join(_clock(at) for at in times[:TIMES_SHOWN]) + more


def _clock(local_ms: int) -> str:
    moment = _wall(local_ms)
    return f"{moment:%H:%M:%S}" if moment.second else f"{moment:%H:%M}"


def _wall(local_ms: int) -> datetime:
    """A local time as it stands on the wall."""
    return datetime(1970, 1, 1) + timedelta(milliseconds=local_ms)
