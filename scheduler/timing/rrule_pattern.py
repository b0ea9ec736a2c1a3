"""
The local times of a yearly, monthly, weekly or daily rule.

Days come as the bits of a year (`rrule_days`), and times of day as a list; what INTERVAL leaves of a year depends only
on the kind of the year and on where the first period that counts begins in it, so that it is worked out once for each
such pair. BYSETPOS chooses among the days and times of one period, and gives a list for each year.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from datetime import date
from typing import Final

from scheduler.timing.months import DAY_S, EPOCH_ORDINAL, LOCAL_S_MAX, LOCAL_S_MIN
from scheduler.timing.rrule_days import KINDS, MONTH_STARTS, YEARS, YEARS_DAYS, Days, year_days, year_start
from scheduler.timing.rrule_text import DAILY, MONTHLY, WEEKLY, YEARLY, Rule

YEAR_MAX: Final = 9_999
MEMO_MAX: Final = 1_024

_day_of = date.fromordinal


class Phase:
    """Which periods of a rule count: every *interval*-th from the one that holds the first day."""

    __slots__ = ("_first", "_wkst", "freq", "interval", "repeats")

    def __init__(self, rule: Rule, first_day: int) -> None:
        self.freq = rule.freq
        self.interval = rule.interval
        self._wkst = rule.wkst
        first = _day_of(first_day + EPOCH_ORDINAL)
        # 1970-01-01 was a Thursday; weeks are counted by the day on which they begin.
        week = first_day - (first_day + 3 - rule.wkst) % 7
        self._first = {YEARLY: first.year, MONTHLY: first.year * 12 + first.month - 1, WEEKLY: week, DAILY: first_day}[
            rule.freq
        ]
        cycle = {YEARLY: YEARS, MONTHLY: YEARS * 12, WEEKLY: YEARS_DAYS // 7, DAILY: YEARS_DAYS}[rule.freq]
        self.repeats = cycle % rule.interval == 0

    def offset(self, year: int) -> int:
        """Return where in *year* the first period that counts begins: in years, months or days; it may lie beyond it."""
        if self.freq == YEARLY:
            return (self._first - year) % self.interval
        if self.freq == MONTHLY:
            return (self._first - year * 12) % self.interval
        if self.freq == DAILY:
            return (self._first - year_start(year)) % self.interval
        # The week that holds 1 January begins up to six days before it.
        return (self._first - year_start(year) + 6) % (7 * self.interval) - 6

    def days(self, offset: int, kind: int) -> int:
        """Return the days of a year of *kind* that lie in periods that count, as bits."""
        starts = MONTH_STARTS[bool(kind & 4)]
        length = starts[12]
        everything = (1 << length) - 1
        if self.interval == 1:
            return everything
        if self.freq == YEARLY:
            return 0 if offset else everything
        found = 0
        if self.freq == MONTHLY:
            for month in range(offset, 12, self.interval):
                found |= (1 << starts[month + 1]) - (1 << starts[month])
            return found
        if self.freq == DAILY:
            for day in range(offset, length, self.interval):
                found |= 1 << day
            return found
        for day in range(offset, length, 7 * self.interval):
            found |= 0b1111111 << day if day >= 0 else 0b1111111 >> -day
        return found & everything

    def periods(self, offset: int, kind: int) -> Iterator[tuple[int, int]]:
        """Yield the periods that count and begin in a year of *kind*, as first day and the day after the last."""
        starts = MONTH_STARTS[bool(kind & 4)]
        if self.freq == YEARLY:
            if offset == 0:
                yield 0, starts[12]
        elif self.freq == MONTHLY:
            for month in range(offset, 12, self.interval):
                yield starts[month], starts[month + 1]
        else:
            for day in range(offset if offset >= 0 else offset + 7 * self.interval, starts[12], 7 * self.interval):
                yield day, day + 7


class DayTimes:
    """Days, and the same times on each of them: a rule without BYSETPOS."""

    __slots__ = ("_days", "_first_s", "_memo", "_phase", "_times_s", "repeats", "tries")

    def __init__(self, days: Days, times_s: tuple[int, ...], phase: Phase, first_s: int) -> None:
        """Take the times of a day in order; nothing matches before *first_s*, a local time."""
        self._days = days
        self._times_s = times_s
        self._phase = phase
        self._first_s = first_s
        self._memo: dict[tuple[int, int], int] = {}
        self.repeats = phase.repeats
        self.tries = 0
        """How many years were gone through so far."""

    def at_or_after(self, local_s: int) -> int | None:
        """Return the first match that is not before *local_s*, or None if there is none to the year 9999."""
        local_s = max(local_s, self._first_s)
        if local_s > LOCAL_S_MAX:
            return None
        day, second = divmod(local_s, DAY_S)
        year = _day_of(day + EPOCH_ORDINAL).year
        start = year_start(year)
        days = self._days_of(year) >> (day - start)
        if days & 1:
            index = bisect_left(self._times_s, second)
            if index < len(self._times_s):
                return local_s - second + self._times_s[index]
            days ^= 1
        if days:
            return (day + (days & -days).bit_length() - 1) * DAY_S + self._times_s[0]
        for later in _years_on(year, self._phase):
            self.tries += 1
            days = self._days_of(later)
            if days:
                return (year_start(later) + (days & -days).bit_length() - 1) * DAY_S + self._times_s[0]
        return None

    def at_or_before(self, local_s: int) -> int | None:
        """Return the last match that is not after *local_s*, or None if the first is later."""
        local_s = min(local_s, LOCAL_S_MAX)
        if local_s < self._first_s:
            return None
        day, second = divmod(local_s, DAY_S)
        year = _day_of(day + EPOCH_ORDINAL).year
        start = year_start(year)
        days = self._days_of(year) & ((2 << (day - start)) - 1)
        found_s = None
        if days >> (day - start):
            index = bisect_right(self._times_s, second) - 1
            if index >= 0:
                found_s = local_s - second + self._times_s[index]
            days ^= 1 << (day - start)
        if found_s is None and days:
            found_s = (start + days.bit_length() - 1) * DAY_S + self._times_s[-1]
        if found_s is None:
            for earlier in _years_back(year, self._first_s, self._phase):
                self.tries += 1
                days = self._days_of(earlier)
                if days:
                    found_s = (year_start(earlier) + days.bit_length() - 1) * DAY_S + self._times_s[-1]
                    break
        return found_s if found_s is not None and found_s >= self._first_s else None

    def _days_of(self, year: int) -> int:
        days = self._days.of(year)
        if self._phase.interval == 1 or not days:
            return days
        offset, kind = self._phase.offset(year), KINDS[year % YEARS]
        found = self._memo.get((offset, kind))
        if found is None:
            if len(self._memo) >= MEMO_MAX:
                self._memo.clear()
            found = self._memo[offset, kind] = days & self._phase.days(offset, kind)
        return found


class SetPositions:
    """A yearly, monthly or weekly rule with BYSETPOS: of each period's days and times those at the positions given."""

    __slots__ = ("_days", "_first_s", "_memo", "_phase", "_positions", "_times_s", "repeats", "tries")

    def __init__(
        self, days: Days, times_s: tuple[int, ...], phase: Phase, first_s: int, positions: tuple[int, ...]
    ) -> None:
        self._days = days
        self._times_s = times_s
        self._phase = phase
        self._first_s = first_s
        self._positions = positions
        self._memo: dict[tuple[int, int, int], list[int]] = {}
        self.repeats = phase.repeats
        self.tries = 0
        """How many years were gone through so far."""

    def at_or_after(self, local_s: int) -> int | None:
        """Return the first match that is not before *local_s*, or None if there is none to the year 9999."""
        local_s = max(local_s, self._first_s)
        if local_s > LOCAL_S_MAX:
            return None
        year = _day_of(local_s // DAY_S + EPOCH_ORDINAL).year
        # The last week of a year may end in the next one.
        for near in (year - 1, year):
            start_s = year_start(near) * DAY_S
            seconds = self._seconds_of(near)
            index = bisect_left(seconds, local_s - start_s)
            if index < len(seconds):
                return start_s + seconds[index]
        for later in _years_on(year, self._phase):
            self.tries += 1
            seconds = self._seconds_of(later)
            if seconds:
                return year_start(later) * DAY_S + seconds[0]
        return None

    def at_or_before(self, local_s: int) -> int | None:
        """Return the last match that is not after *local_s*, or None if the first is later."""
        local_s = min(local_s, LOCAL_S_MAX)
        if local_s < self._first_s:
            return None
        year = _day_of(local_s // DAY_S + EPOCH_ORDINAL).year
        found_s = None
        for near in (year, year - 1, *_years_back(year - 1, self._first_s, self._phase)):
            self.tries += 1
            start_s = year_start(near) * DAY_S
            seconds = self._seconds_of(near)
            index = bisect_right(seconds, local_s - start_s) - 1
            if index >= 0:
                found_s = start_s + seconds[index]
                break
        return found_s if found_s is not None and found_s >= self._first_s else None

    def _seconds_of(self, year: int) -> list[int]:
        """Return the matches of the periods that begin in *year*, in seconds since its beginning."""
        offset, kind, following = self._phase.offset(year), KINDS[year % YEARS], KINDS[(year + 1) % YEARS]
        found = self._memo.get((offset, kind, following))
        if found is None:
            if len(self._memo) >= MEMO_MAX:
                self._memo.clear()
            found = self._memo[offset, kind, following] = self._chosen(year, offset, kind)
        return found

    def _chosen(self, year: int, offset: int, kind: int) -> list[int]:
        days = self._days.of(year)
        if self._phase.freq == WEEKLY:
            days |= self._days.of(year + 1) << year_days(year)
        chosen: list[int] = []
        for low, high in self._phase.periods(offset, kind):
            inside = _numbers(days >> low & ((1 << (high - low)) - 1))
            count = len(inside) * len(self._times_s)
            indexes = {p - 1 if p > 0 else count + p for p in self._positions if abs(p) <= count}
            for index in sorted(indexes):
                day, time = divmod(index, len(self._times_s))
                chosen.append((low + inside[day]) * DAY_S + self._times_s[time])
        return chosen


def chosen_times(times_s: tuple[int, ...], positions: tuple[int, ...]) -> tuple[int, ...]:
    """Return those of a day's times that BYSETPOS leaves of a daily rule; it may be none."""
    count = len(times_s)
    indexes = {p - 1 if p > 0 else count + p for p in positions if abs(p) <= count}
    return tuple(times_s[index] for index in sorted(indexes))


def _years_on(year: int, phase: Phase) -> range:
    """The years after *year* in which a match is looked for: to the end, or until the calendar repeats."""
    end = min(YEAR_MAX, year + YEARS + 1 if phase.repeats else YEAR_MAX) + 1
    if phase.freq == YEARLY:
        return range(year + 1 + phase.offset(year + 1), end, phase.interval)
    return range(year + 1, end)


def _years_back(year: int, first_s: int, phase: Phase) -> range:
    """The years before *year* in which a match is looked for: to the first, or until the calendar repeats."""
    first = _day_of(max(first_s, LOCAL_S_MIN) // DAY_S + EPOCH_ORDINAL).year - 1
    end = max(first, year - YEARS - 2 if phase.repeats else first, 0) - 1
    if phase.freq == YEARLY:
        return range(year - 1 - (-phase.offset(year - 1)) % phase.interval, end, -phase.interval)
    return range(year - 1, end, -1)


def _numbers(bits: int) -> list[int]:
    """Return which bits are set, in order."""
    found = []
    while bits:
        low = bits & -bits
        found.append(low.bit_length() - 1)
        bits ^= low
    return found
