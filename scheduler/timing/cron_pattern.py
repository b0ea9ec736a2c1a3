"""
The local times a crontab names, as bit masks: no step of a search depends on how rare they are.

The minutes of the day are one integer of 1,440 bits, the seconds of a minute one of 60, the days of each kind of month
one of 32, and the months that have a matching day one of 4,800 (see `months`). "The next one from here" is always the
same move: shift away what lies behind, and take the lowest bit of what is left.
"""

from __future__ import annotations

from datetime import date
from functools import lru_cache
from typing import Final

from scheduler.timing.months import (
    DAY_S,
    EPOCH_ORDINAL,
    KINDS,
    LOCAL_S_MAX,
    LOCAL_S_MIN,
    MONTH_KINDS,
    MONTH_STARTS,
    MONTHS,
    MONTHS_DAYS,
    MONTHS_OF_KIND,
    MONTHS_OF_YEAR,
)

NO_DAYS: Final = (0,) * KINDS

_day_of = date.fromordinal


class CronPattern:
    """
    Local times by masks; immutable, and shared between crontabs that name the same times.

    Attributes:
        meaning: The masks; two patterns with the same meaning match the same times.
    """

    __slots__ = (
        "_days",
        "_days_by_month",
        "_first_s",
        "_last_s",
        "_minutes",
        "_months",
        "_seconds",
        "meaning",
        "repeats",
    )

    def __init__(self, seconds: int, minutes: int, hours: int, days: tuple[int, ...], months: int) -> None:
        """Take the masks of the six fields: *days* for each kind of month, *months* with the bits 1 to 12."""
        self.meaning = (seconds, minutes, hours, days, months)
        self.repeats = True
        self._seconds = seconds
        self._minutes = _minutes_of_day(minutes, hours)
        self._days = days
        self._days_by_month = _days_by_month(days, months)
        self._months = _months_with_days(days, months)
        self._first_s = _lowest(self._minutes) * 60 + _lowest(seconds)
        self._last_s = (self._minutes.bit_length() - 1) * 60 + seconds.bit_length() - 1

    @property
    def is_empty(self) -> bool:
        """Whether no date of the whole calendar matches."""
        return self._months == 0

    def at_or_after(self, local_s: int) -> int | None:
        """Return the first match that is not before *local_s*, or None if it lies beyond the year 9999."""
        if local_s < LOCAL_S_MIN:
            local_s = LOCAL_S_MIN
        elif local_s > LOCAL_S_MAX:
            return None
        day, second = divmod(local_s, DAY_S)
        moment = _day_of(day + EPOCH_ORDINAL)
        day_of_month = moment.day
        month = moment.month
        month_number = moment.year * 12 + month - 1
        days = self._days_by_month[month][MONTH_KINDS[month_number % MONTHS]]

        # 1. Today, at or after this second?
        if days >> day_of_month & 1:
            minute, second = divmod(second, 60)
            rest = self._minutes >> minute
            if rest & 1:
                if (seconds := self._seconds >> second) != 0:
                    return local_s if seconds & 1 else local_s + _lowest(seconds)
                rest ^= 1
            if rest:
                minute += (rest & -rest).bit_length() - 1
                return day * DAY_S + minute * 60 + _lowest(self._seconds)

        # 2. A later day of this month?
        if (rest := days >> day_of_month >> 1) != 0:
            return (day + (rest & -rest).bit_length()) * DAY_S + self._first_s

        # 3. The first day of the next month that has one.
        index = month_number % MONTHS
        if (rest := self._months >> index >> 1) != 0:
            month_number += (rest & -rest).bit_length()
        else:
            month_number += MONTHS - index + _lowest(self._months)
        era, index = divmod(month_number, MONTHS)
        day = era * MONTHS_DAYS + MONTH_STARTS[index] + _lowest(self._days[MONTH_KINDS[index]]) - 1
        found_s = day * DAY_S + self._first_s
        return found_s if found_s <= LOCAL_S_MAX else None

    def at_or_before(self, local_s: int) -> int | None:
        """Return the last match that is not after *local_s*, or None if it lies before the year 1."""
        if local_s > LOCAL_S_MAX:
            local_s = LOCAL_S_MAX
        elif local_s < LOCAL_S_MIN:
            return None
        day, second = divmod(local_s, DAY_S)
        moment = _day_of(day + EPOCH_ORDINAL)
        day_of_month = moment.day
        month = moment.month
        month_number = moment.year * 12 + month - 1
        days = self._days_by_month[month][MONTH_KINDS[month_number % MONTHS]]

        # 1. Today, at or before this second?
        if days >> day_of_month & 1:
            minute, second = divmod(second, 60)
            rest = self._minutes & ((2 << minute) - 1)
            if rest >> minute:
                if (seconds := self._seconds & ((2 << second) - 1)) != 0:
                    return local_s - second + seconds.bit_length() - 1
                rest ^= 1 << minute
            if rest:
                return day * DAY_S + (rest.bit_length() - 1) * 60 + self._seconds.bit_length() - 1

        # 2. An earlier day of this month?
        if (rest := days & ((1 << day_of_month) - 1)) != 0:
            return (day - day_of_month + rest.bit_length() - 1) * DAY_S + self._last_s

        # 3. The last day of the nearest earlier month that has one.
        index = month_number % MONTHS
        if (rest := self._months & ((1 << index) - 1)) != 0:
            month_number += rest.bit_length() - 1 - index
        else:
            month_number += self._months.bit_length() - 1 - index - MONTHS
        era, index = divmod(month_number, MONTHS)
        day = era * MONTHS_DAYS + MONTH_STARTS[index] + self._days[MONTH_KINDS[index]].bit_length() - 2
        found_s = day * DAY_S + self._last_s
        return found_s if found_s >= LOCAL_S_MIN else None


@lru_cache(maxsize=32_768)
def cron_pattern(seconds: int, minutes: int, hours: int, days: tuple[int, ...], months: int) -> CronPattern:
    """Return the one `CronPattern` of these masks."""
    return CronPattern(seconds, minutes, hours, days, months)


@lru_cache(maxsize=4096)
def _minutes_of_day(minutes: int, hours: int) -> int:
    return sum(minutes << 60 * hour for hour in range(24) if hours >> hour & 1)


@lru_cache(maxsize=1024)
def _days_by_month(days: tuple[int, ...], months: int) -> tuple[tuple[int, ...], ...]:
    return tuple(days if months >> month & 1 else NO_DAYS for month in range(13))


@lru_cache(maxsize=1024)
def _months_with_days(days: tuple[int, ...], months: int) -> int:
    with_days = 0
    for kind in range(KINDS):
        if days[kind]:
            with_days |= MONTHS_OF_KIND[kind]
    selected = 0
    for month in range(1, 13):
        if months >> month & 1:
            selected |= MONTHS_OF_YEAR[month]
    return with_days & selected


def _lowest(mask: int) -> int:
    """Return the number of the lowest bit set, -1 if there is none."""
    return (mask & -mask).bit_length() - 1
