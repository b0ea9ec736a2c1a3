"""
What can be said of a combination without a search, and what makes its search short.

Crontabs of one zone that treat daylight saving alike are sets of local times, and periods of elapsed time are grids: so
their intersections and differences are worked out when they are declared, and one that is empty is refused. Where a
dense crontab is taken from something else, long stretches of it are leapt over.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from math import gcd, lcm
from typing import Final, Protocol

from scheduler.errors import InvalidScheduleError
from scheduler.timing.base import UTC_S_MAX, UTC_S_MIN, Schedule
from scheduler.timing.between import DailyWindow
from scheduler.timing.cron_pattern import CronPattern
from scheduler.timing.cron_sets import (
    EVERY_DAY,
    EVERY_HOUR,
    EVERY_MINUTE,
    EVERY_MONTH,
    EVERY_SECOND,
    AnyOf,
    Fill,
    remainder,
    shared,
)
from scheduler.timing.crontab import Crontab
from scheduler.timing.every import Every, WallEvery
from scheduler.timing.moment import Moment
from scheduler.timing.months import DAY_S
from scheduler.timing.rrule import RRule
from scheduler.timing.steps import Steps
from scheduler.timing.wall import Pattern, first_fire_s, last_fire_s
from scheduler.timing.window import Window
from scheduler.timing.zone_table import PERIOD_S, Zone

PATTERNS_MAX: Final = 64
EACH_SECOND: Final = Every(1000, anchor=None, zone=None)


class Searched(Protocol):
    """What a combination asks: a schedule, or what several of its parts have been worked out to."""

    def next_within(self, after_ms: int, steps: Steps) -> int | None:
        """Return the first moment after *after_ms*, or None."""

    def previous_within(self, before_ms: int, steps: Steps) -> int | None:
        """Return the last moment before *before_ms*, or None."""


class OnTheWall:
    """Local times, and what a zone makes of them."""

    __slots__ = ("_floors_s", "_pattern", "_zone")

    def __init__(self, pattern: Pattern, zone: Zone, floors_s: list[int]) -> None:
        self._pattern = pattern
        self._zone = zone
        self._floors_s = floors_s

    def next_within(self, after_ms: int, steps: Steps) -> int | None:
        steps.spend(1)
        after_s = max(after_ms // 1000, UTC_S_MIN - 1)
        fire_s = first_fire_s(self._pattern, self._zone, self._floors_s, after_s)
        return None if fire_s is None or fire_s > UTC_S_MAX else fire_s * 1000

    def previous_within(self, before_ms: int, steps: Steps) -> int | None:
        steps.spend(1)
        before_s = min(-(-before_ms // 1000), UTC_S_MAX + 1)
        fire_s = last_fire_s(self._pattern, self._zone, self._floors_s, before_s)
        return None if fire_s is None or fire_s < UTC_S_MIN else fire_s * 1000


def met(parts: Sequence[Schedule]) -> tuple[Searched, ...]:
    """
    Return what an intersection of *parts* has to ask: crontabs that are alike as one, and all grids as one.

    Raises:
        InvalidScheduleError: Two of them can never meet.
    """
    found: list[Searched] = []
    crontabs: dict[object, list[Crontab]] = {}
    grids: list[Every] = []
    for part in parts:
        if isinstance(part, Crontab) and part.pattern is not None:
            crontabs.setdefault(_alike(part), []).append(part)
        elif isinstance(part, Every) and part.is_settled:
            grids.append(part)
        else:
            found.append(part)
    _refuse_strangers([crontab for alike in crontabs.values() for crontab in alike])
    found.extend(_met_crontabs(alike) for alike in crontabs.values())
    if grids:
        grid = grids[0]
        for other in grids[1:]:
            grid = _met_grids(grid, other)
        found.append(grid)
    return tuple(found)


def refuse_other_hours(schedule: Schedule, window: Window, *, inside: bool) -> None:
    """
    Refuse a schedule whose times of day all lie on the wrong side of a window of times of day.

    Raises:
        InvalidScheduleError: None of them is *inside* (or outside) on any weekday.
    """
    if schedule.zone != window.zone or not isinstance(window, DailyWindow) or not window.is_of_minutes:
        return
    if isinstance(schedule, WallEvery):
        times_s = [schedule.time_s]
    elif isinstance(schedule, Crontab) and schedule.pattern is not None:
        times_s = _times_of(schedule.pattern)
    else:
        return
    for time_s in times_s:
        for weekday in range(7):
            local_ms = (weekday * DAY_S + time_s) * 1000
            found_ms = window.local_inside_from(local_ms) if inside else window.local_outside_from(local_ms)
            if found_ms == local_ms:
                return
    where = "inside" if inside else "outside"
    raise InvalidScheduleError(
        f"combination: {schedule.text} has no time of day {where} the window {window.text}, so that it never fires"
    )


def _times_of(pattern: CronPattern) -> list[int]:
    """Return the first and the last second of each minute of the day that *pattern* names."""
    seconds, minutes, hours, _, _ = pattern.meaning
    ends = sorted({(seconds & -seconds).bit_length() - 1, seconds.bit_length() - 1})
    return [
        hour * 3600 + minute * 60 + second
        for hour in range(24)
        if hours >> hour & 1
        for minute in range(60)
        if minutes >> minute & 1
        for second in ends
    ]


class Rest:
    """
    A difference: what is asked for moments, what they must not be, and how to get past a long row of exceptions.

    Attributes:
        of: Gives the moments.
        what: None of these may have them.
    """

    __slots__ = ("_gaps", "of", "what")

    def __init__(self, of: Schedule, what: Sequence[Schedule]) -> None:
        """
        Work out what is left of *of* without all of *what*.

        Raises:
            InvalidScheduleError: Nothing is left.
        """
        self.of: Searched = of
        left: list[Schedule] = []
        patterns = [of.pattern] if isinstance(of, Crontab) and of.pattern is not None else []
        for part in what:
            if isinstance(of, Every) and isinstance(part, Every) and _covers(part, of):
                raise InvalidScheduleError(_nothing_left(of, part))
            fewer = _fewer(patterns, of, part)
            if fewer is None or len(fewer) > PATTERNS_MAX:
                left.append(part)
                continue
            if not fewer:
                raise InvalidScheduleError(_nothing_left(of, part))
            patterns = fewer
        if isinstance(of, Crontab) and len(left) < len(what):
            self.of = OnTheWall(AnyOf(patterns), of.table, of.floors_s)
        self.what: tuple[Schedule, ...] = tuple(left)
        grain = grain_of(of)
        self._gaps: dict[int, _Gaps] = {}
        for part in left:
            fill = _fill_of(part)
            if fill is not None and grain is not None:
                self._gaps[id(part)] = _Gaps(grain, fill)

    def leap_from_ms(self, part: Schedule, fire_ms: int) -> int:
        """Return up to which moment *part* has all that could come after *fire_ms*, which it has."""
        gaps = self._gaps.get(id(part))
        return fire_ms if gaps is None else gaps.last_full_ms(fire_ms)

    def leap_back_from_ms(self, part: Schedule, fire_ms: int) -> int:
        """Return from which moment on *part* has all that could come before *fire_ms*, which it has."""
        gaps = self._gaps.get(id(part))
        return fire_ms if gaps is None else gaps.first_full_ms(fire_ms)


class _Gaps:
    """
    Where a dense crontab (or a rule like one) leaves room: the local times that something else has and it has not.

    After a moment that it has, and up to the next change of clocks, it fires exactly at the times it names; so the first
    time that it leaves out is where to look on.
    """

    __slots__ = ("_by_offset", "_fill", "_of")

    def __init__(self, of: Schedule, fill: Fill) -> None:
        self._of = of
        self._fill = fill
        self._by_offset: dict[int, AnyOf] = {}

    def last_full_ms(self, fire_ms: int) -> int:
        table = self._fill.table
        tile, shift_s = _tile(table, fire_ms // 1000)
        offset_s = table.offsets_s[tile]
        end_s = (table.starts_s[tile + 1] if tile + 1 < len(table.starts_s) else table.wrap_s) + shift_s
        free_s = self._free(offset_s).at_or_after(fire_ms // 1000 + offset_s + 1)
        return min(end_s, UTC_S_MAX + 1 if free_s is None else free_s - offset_s) * 1000 - 1

    def first_full_ms(self, fire_ms: int) -> int:
        table = self._fill.table
        tile, shift_s = _tile(table, fire_ms // 1000)
        offset_s = table.offsets_s[tile]
        # Below its floor a tile shows times that have passed already, and are not repeated.
        start_s = max(table.starts_s[tile], self._fill.floors_s[tile] - offset_s) + shift_s
        free_s = self._free(offset_s).at_or_before(fire_ms // 1000 + offset_s - 1)
        first_s = max(start_s, UTC_S_MIN, UTC_S_MIN if free_s is None else free_s - offset_s + 1)
        return min(first_s * 1000, fire_ms)

    def _free(self, offset_s: int) -> AnyOf:
        found = self._by_offset.get(offset_s)
        if found is None:
            base = _base(self._of, self._fill.table, offset_s)
            found = self._by_offset[offset_s] = AnyOf(remainder(base, self._fill.pattern))
        return found


def _fill_of(part: Schedule) -> Fill | None:
    """Return the local times that *part* fires at, if it is a crontab or like one."""
    if isinstance(part, RRule):
        return part.fill
    if isinstance(part, Crontab) and part.pattern is not None:
        return Fill(part.pattern, part.table, part.floors_s)
    return None


def grain_of(schedule: Schedule) -> Schedule | None:
    """
    Return a crontab or a period that has every moment of *schedule*, and maybe more; None where we know of none.

    Only whole seconds are of use: between two of them a crontab has no moment to leave room for.
    """
    if isinstance(schedule, Crontab):
        return schedule
    if isinstance(schedule, Every):
        return schedule if schedule.period_ms % 1000 == 0 and schedule.anchor_ms % 1000 == 0 else None
    if isinstance(schedule, WallEvery | RRule):
        return EACH_SECOND
    found: Schedule | None = getattr(schedule, "grain", None)
    return found


def _base(of: Schedule, table: Zone, offset_s: int) -> CronPattern:
    """Return local times among which all moments of *of* are, as long as the zone *table* is *offset_s* from UTC."""
    seconds, minutes, hours = EVERY_SECOND, EVERY_MINUTE, EVERY_HOUR
    if isinstance(of, Every):
        period_s, local_s = of.period_ms // 1000, (of.anchor_ms // 1000 + offset_s) % DAY_S
        if 60 % period_s == 0:
            seconds = _grid(local_s % 60, period_s, 60)
        elif period_s % 60 == 0:
            seconds = 1 << local_s % 60
            if 3600 % period_s == 0:
                minutes = _grid(local_s // 60 % 60, period_s // 60, 60)
            elif period_s % 3600 == 0:
                minutes = 1 << local_s // 60 % 60
                hours = _grid(local_s // 3600, period_s // 3600, 24) if DAY_S % period_s == 0 else EVERY_HOUR
    elif isinstance(of, Crontab) and of.pattern is not None and of.table is table:
        return of.pattern
    return CronPattern(seconds, minutes, hours, EVERY_DAY, EVERY_MONTH)


def _grid(first: int, step: int, size: int) -> int:
    return sum(1 << value for value in range(first % step, size, step))


def _fewer(patterns: list[CronPattern], of: Schedule, part: Schedule) -> list[CronPattern] | None:
    """Return what is left of the *patterns* of *of* without *part*; None where they are not sets of the same times."""
    if not isinstance(of, Crontab) or not isinstance(part, Crontab) or of.pattern is None or part.pattern is None:
        return None
    if _alike(of) != _alike(part):
        return None
    return [rest for pattern in patterns for rest in remainder(pattern, part.pattern)]


def _alike(crontab: Crontab) -> object:
    """Return what two crontabs share that are sets of the same local times: the zone, and the rule for its changes."""
    return crontab.zone, id(crontab.floors_s)


def _refuse_strangers(crontabs: Sequence[Crontab]) -> None:
    """
    Refuse crontabs of one zone that have no local time in common.

    At the end of a gap, where several skipped times run at once, two of them might still meet by chance; nobody means that.
    """
    for zone in {crontab.zone for crontab in crontabs}:
        those = [crontab for crontab in crontabs if crontab.zone == zone]
        pattern = those[0].pattern
        for other in those[1:]:
            pattern = None if pattern is None or other.pattern is None else shared(pattern, other.pattern)
        if pattern is None:
            texts = " & ".join(crontab.text for crontab in those)
            raise InvalidScheduleError(f"combination {texts}: these crontabs never meet, so that it never fires")


def _met_crontabs(alike: Sequence[Crontab]) -> Searched:
    if len(alike) == 1:
        return alike[0]
    first = alike[0]
    pattern = first.pattern
    for other in alike[1:]:
        assert pattern is not None
        assert other.pattern is not None
        pattern = shared(pattern, other.pattern)
    assert pattern is not None
    return OnTheWall(pattern, first.table, first.floors_s)


def _met_grids(one: Every, other: Every) -> Every:
    """Return the grid of the moments that two grids share (the Chinese remainder theorem)."""
    p, q = one.period_ms, other.period_ms
    common = gcd(p, q)
    distance = other.anchor_ms - one.anchor_ms
    if distance % common:
        raise InvalidScheduleError(
            f"combination {one.text} & {other.text}: these never meet, as they are {distance % common} ms apart at least"
        )
    steps = distance // common * pow(p // common, -1, q // common) % (q // common) if q != common else 0
    period_ms = lcm(p, q)
    first_ms = one.anchor_ms + steps * p
    latest_ms = max(one.anchor_ms, other.anchor_ms)
    first_ms += -(-(latest_ms - first_ms) // period_ms) * period_ms
    return Every(period_ms, anchor=Moment(first_ms, is_utc=True), zone=None)


def _covers(what: Every, of: Every) -> bool:
    return (
        what.is_settled
        and of.is_settled
        and of.period_ms % what.period_ms == 0
        and (of.anchor_ms - what.anchor_ms) % what.period_ms == 0
        and what.anchor_ms <= of.anchor_ms
    )


def _nothing_left(of: Schedule, what: Schedule) -> str:
    return f"combination {of.text} - {what.text}: the second has every moment of the first, so that it never fires"


def _tile(zone: Zone, utc_s: int) -> tuple[int, int]:
    """Return the tile of an instant, and by how much the table is shifted there."""
    shift_s = 0
    if utc_s >= zone.wrap_s:
        shift_s = (utc_s - zone.wrap_s) // PERIOD_S * PERIOD_S + PERIOD_S
    return bisect_right(zone.starts_s, utc_s - shift_s) - 1, shift_s
