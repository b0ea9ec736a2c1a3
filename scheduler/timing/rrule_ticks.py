"""
The instants of an hourly, minutely or secondly rule.

They are elapsed time: a grid of hours, minutes or seconds from the start on, every INTERVAL-th of them, through both
passes of a repeated hour. The grid is arithmetic, so that a start long ago costs nothing. The BY… parts that limit it
look at the clock on the wall; what they forbid is leapt over, and not stepped through.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from math import gcd
from typing import Final

from scheduler.errors import InvalidScheduleError
from scheduler.timing.base import UTC_S_MAX, UTC_S_MIN
from scheduler.timing.months import DAY_S, LOCAL_S_MAX, LOCAL_S_MIN
from scheduler.timing.rrule_days import Days, year_days, year_start
from scheduler.timing.rrule_pattern import YEAR_MAX, chosen_times
from scheduler.timing.rrule_text import FREQUENCIES, HOURLY, MINUTELY, SECONDLY, Rule
from scheduler.timing.wall import OFFSET_S_MAX
from scheduler.timing.zone_table import FOREVER_S, PERIOD_S, Zone

UNITS_S: Final = {HOURLY: 3600, MINUTELY: 60, SECONDLY: 1}

# How often a search leaps before it gives up, about 5 ms; and after how many days at most grid and filter meet again.
TRIES_MAX: Final = 2_000
ROUND_DAYS_MAX: Final = 1_000


class Ticks:
    """An hourly, minutely or secondly rule in a zone."""

    __slots__ = (
        "_days",
        "_hours",
        "_minutes",
        "_offsets_s",
        "_origin_offset_s",
        "_origin_s",
        "_period_s",
        "_positions",
        "_seconds",
        "_turned",
        "_turns",
        "_unit_s",
        "_zone",
        "tries",
    )

    def __init__(self, rule: Rule, days: Days | None, zone: Zone, start_s: int, offset_s: int) -> None:
        """
        Begin at the instant *start_s*, at which the zone is *offset_s* from UTC.

        Args:
            days: Those that the rule allows, None for all.

        Raises:
            InvalidScheduleError: The grid meets the hours allowed too rarely to be searched, or BYSETPOS leaves nothing.
        """
        unit_s = UNITS_S[rule.freq]
        local_s = start_s + offset_s
        self._zone = zone
        self.tries = 0
        """How many moments of the grid were looked at so far."""
        self._days = days
        self._unit_s = unit_s
        self._period_s = unit_s * rule.interval
        self._origin_s = start_s - local_s % unit_s
        self._origin_offset_s = offset_s
        # What limits the grid: which hours, minutes and seconds of the clock on the wall. None: all of them.
        self._hours = rule.byhour or None
        self._minutes = (rule.byminute or None) if rule.freq > HOURLY else None
        self._seconds = (rule.bysecond or None) if rule.freq > MINUTELY else None
        # What expands it: the moments of one hour or minute, from its beginning on.
        minutes = (rule.byminute or (local_s // 60 % 60,)) if rule.freq == HOURLY else (0,)
        seconds = (rule.bysecond or (local_s % 60,)) if rule.freq < SECONDLY else (0,)
        self._offsets_s = tuple(minute * 60 + second for minute in minutes for second in seconds)
        self._positions = rule.bysetpos
        # Minutes that were named are those on the wall, also where a zone shifts by half an hour (Lord Howe).
        self._turns = bool(rule.byminute if rule.freq == HOURLY else rule.bysecond and rule.freq == MINUTELY)
        self._turned: dict[int, tuple[int, ...]] = {}
        if not self._moments_s(start_s):
            raise InvalidScheduleError(f"BYSETPOS chooses none of the {len(self._offsets_s)} moments of each period")
        round_days = self._period_s // gcd(self._period_s, DAY_S)
        if (self._hours or self._minutes or self._seconds) and round_days > ROUND_DAYS_MAX:
            raise InvalidScheduleError(
                f"INTERVAL {rule.interval} of FREQ={FREQUENCIES[rule.freq]} meets a time of day only every "
                f"{round_days} days, which is outside 1–{ROUND_DAYS_MAX}; leave out BYHOUR, BYMINUTE and BYSECOND, "
                "or choose an INTERVAL that divides the day"
            )

    def next_s(self, after_s: int) -> int | None:
        """Return the first instant after *after_s*, not before the start, or None if none is found."""
        low_s = max(after_s + 1, self._origin_s)
        for _ in range(TRIES_MAX):
            self.tries += 1
            if low_s > UTC_S_MAX:
                return None
            tick_s = self._tick_from(low_s)
            offset_s, _, end_s = _tile(self._zone, tick_s)
            local_s = tick_s + offset_s
            allowed_s = self._allowed_from(local_s)
            if allowed_s == local_s:
                return tick_s
            if allowed_s is None:
                return None
            low_s = allowed_s - offset_s
            if low_s >= end_s:
                # Clocks may be put back in between, so that a time allowed comes again; but by less than a day.
                low_s = max(end_s, allowed_s - OFFSET_S_MAX) if end_s - tick_s > OFFSET_S_MAX else end_s
        return None

    def previous_s(self, before_s: int) -> int | None:
        """Return the last instant before *before_s*, not before the start, or None if none is found."""
        high_s = min(before_s, UTC_S_MAX + 1) - 1
        for _ in range(TRIES_MAX):
            self.tries += 1
            tick_s = self._tick_upto(high_s)
            if tick_s is None:
                return None
            offset_s, start_s, _ = _tile(self._zone, tick_s)
            local_s = tick_s + offset_s
            allowed_s = self._allowed_upto(local_s)
            if allowed_s == local_s:
                return tick_s
            if allowed_s is None:
                return None
            high_s = allowed_s - offset_s
            if high_s < start_s:
                far = tick_s - start_s > OFFSET_S_MAX
                high_s = min(start_s - 1, allowed_s + OFFSET_S_MAX) if far else start_s - 1
        return None

    def _tick_from(self, low_s: int) -> int:
        index, within_s = divmod(low_s - self._origin_s, self._period_s)
        base_s = self._origin_s + index * self._period_s
        if within_s < self._unit_s:
            moments_s = self._moments_s(base_s)
            found = bisect_left(moments_s, within_s)
            if found < len(moments_s):
                return base_s + moments_s[found]
        base_s += self._period_s
        return base_s + self._moments_s(base_s)[0]

    def _tick_upto(self, high_s: int) -> int | None:
        index, within_s = divmod(high_s - self._origin_s, self._period_s)
        base_s = self._origin_s + index * self._period_s
        if index >= 0:
            moments_s = self._moments_s(base_s)
            found = bisect_right(moments_s, within_s) - 1
            if found >= 0:
                return base_s + moments_s[found]
        if index <= 0:
            return None
        base_s -= self._period_s
        return base_s + self._moments_s(base_s)[-1]

    def _moments_s(self, base_s: int) -> tuple[int, ...]:
        """Return the moments of the hour or minute that begins at *base_s*, counted from there."""
        turn_s = 0
        if self._turns:
            turn_s = (self._zone.offset_s(base_s) - self._origin_offset_s) % self._unit_s
        found = self._turned.get(turn_s)
        if found is None:
            turned = sorted((offset_s - turn_s) % self._unit_s for offset_s in self._offsets_s)
            found = tuple(turned) if not self._positions else chosen_times(tuple(turned), self._positions)
            self._turned[turn_s] = found
        return found

    def _allowed_from(self, local_s: int) -> int | None:
        """Return the first local time from *local_s* on that day, hour, minute and second allow."""
        if self._days is None and self._hours is None and self._minutes is None and self._seconds is None:
            return local_s
        day, second = divmod(local_s, DAY_S)
        found_day = self._day_from(day)
        if found_day == day:
            time_s = self._time_from(second)
            if time_s is not None:
                return day * DAY_S + time_s
            found_day = self._day_from(day + 1)
        return None if found_day is None else found_day * DAY_S + (self._time_from(0) or 0)

    def _allowed_upto(self, local_s: int) -> int | None:
        """Return the last local time up to *local_s* that day, hour, minute and second allow."""
        if self._days is None and self._hours is None and self._minutes is None and self._seconds is None:
            return local_s
        day, second = divmod(local_s, DAY_S)
        found_day = self._day_upto(day)
        if found_day == day:
            time_s = self._time_upto(second)
            if time_s is not None:
                return day * DAY_S + time_s
            found_day = self._day_upto(day - 1)
        return None if found_day is None else found_day * DAY_S + (self._time_upto(DAY_S - 1) or 0)

    def _day_from(self, day: int) -> int | None:
        if self._days is None:
            return day
        if not LOCAL_S_MIN <= day * DAY_S <= LOCAL_S_MAX:
            return None
        year = _year_of(day)
        rest = self._days.of(year) >> (day - year_start(year))
        if rest:
            return day + (rest & -rest).bit_length() - 1
        for later in range(year + 1, min(YEAR_MAX, year + 401) + 1):
            days = self._days.of(later)
            if days:
                return year_start(later) + (days & -days).bit_length() - 1
        return None

    def _day_upto(self, day: int) -> int | None:
        if self._days is None:
            return day
        if day * DAY_S < LOCAL_S_MIN:
            return None
        year = _year_of(day)
        rest = self._days.of(year) & ((2 << (day - year_start(year))) - 1)
        if rest:
            return year_start(year) + rest.bit_length() - 1
        for earlier in range(year - 1, max(0, year - 401), -1):
            days = self._days.of(earlier)
            if days:
                return year_start(earlier) + days.bit_length() - 1
        return None

    def _time_from(self, second: int) -> int | None:
        """Return the first allowed time of day from *second* on, in seconds, or None."""
        hour, minute, second = second // 3600, second // 60 % 60, second % 60
        at_hour = _first(self._hours, hour, 24)
        if at_hour == hour:
            at_minute = _first(self._minutes, minute, 60)
            if at_minute == minute:
                at_second = _first(self._seconds, second, 60)
                if at_second is not None:
                    return hour * 3600 + minute * 60 + at_second
                at_minute = _first(self._minutes, minute + 1, 60)
            if at_minute is not None:
                return hour * 3600 + at_minute * 60 + (self._seconds or (0,))[0]
            at_hour = _first(self._hours, hour + 1, 24)
        if at_hour is None:
            return None
        return at_hour * 3600 + (self._minutes or (0,))[0] * 60 + (self._seconds or (0,))[0]

    def _time_upto(self, second: int) -> int | None:
        """Return the last allowed time of day up to *second*, in seconds, or None."""
        hour, minute, second = second // 3600, second // 60 % 60, second % 60
        last_minute, last_second = (self._minutes or (59,))[-1], (self._seconds or (59,))[-1]
        at_hour = _last(self._hours, hour)
        if at_hour == hour:
            at_minute = _last(self._minutes, minute)
            if at_minute == minute:
                at_second = _last(self._seconds, second)
                if at_second is not None:
                    return hour * 3600 + minute * 60 + at_second
                at_minute = _last(self._minutes, minute - 1)
            if at_minute is not None:
                return hour * 3600 + at_minute * 60 + last_second
            at_hour = _last(self._hours, hour - 1)
        if at_hour is None:
            return None
        return at_hour * 3600 + last_minute * 60 + last_second


def _first(allowed: tuple[int, ...] | None, value: int, end: int) -> int | None:
    """Return the first value from *value* on, below *end*, that is allowed; None allows all."""
    if allowed is None:
        return value if value < end else None
    index = bisect_left(allowed, value)
    return allowed[index] if index < len(allowed) else None


def _last(allowed: tuple[int, ...] | None, value: int) -> int | None:
    """Return the last value up to *value* that is allowed; None allows all."""
    if allowed is None:
        return value if value >= 0 else None
    index = bisect_right(allowed, value) - 1
    return allowed[index] if index >= 0 else None


def _tile(zone: Zone, utc_s: int) -> tuple[int, int, int]:
    """Return the offset at *utc_s*, and from when to when it holds."""
    shift_s = 0
    if utc_s >= zone.wrap_s:
        shift_s = (utc_s - zone.wrap_s) // PERIOD_S * PERIOD_S + PERIOD_S
    tile = bisect_right(zone.starts_s, utc_s - shift_s) - 1
    end_s = zone.starts_s[tile + 1] if tile + 1 < len(zone.starts_s) else min(zone.wrap_s, FOREVER_S)
    return zone.offsets_s[tile], max(zone.starts_s[tile], 2 * UTC_S_MIN) + shift_s, end_s + shift_s


def _year_of(day: int) -> int:
    """Return the year of *day*, counted from 1970-01-01: nearly 365.2425 days each."""
    year = 1970 + day * 400 // 146_097
    start = year_start(year)
    if day < start:
        return year - 1
    return year + 1 if day >= start + year_days(year) else year
