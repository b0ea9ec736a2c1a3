"""
The days that a rule's BYMONTH, BYWEEKNO, BYYEARDAY, BYMONTHDAY and BYDAY name, a year at a time.

The days of a year are one integer: bit ``d`` is the day ``d`` after 1 January. Which of them are named depends only on
the *kind* of the year: on which weekday it begins, and whether it, the year before or the year after is a leap year
(weeks reach across the turn of the year). So at most 28 years are ever worked out for a rule; all others are looked up.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Final, NamedTuple

from scheduler.timing.months import EPOCH_ORDINAL

YEARS: Final = 400
YEARS_DAYS: Final = 146_097

_LENGTHS = (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)


def is_leap(year: int) -> bool:
    """Return whether *year* has a 29 February."""
    return year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)


def _starts() -> tuple[int, ...]:
    day, starts = 1 - 366 - EPOCH_ORDINAL, []  # 0000-01-01, in days since 1970-01-01.
    for year in range(YEARS):
        starts.append(day)
        day += 366 if is_leap(year) else 365
    return tuple(starts)


_YEAR_STARTS: Final = _starts()

# For each of 400 years its kind: the weekday of 1 January (0 is Monday) times 8, and 4, 2, 1 for a leap year here, the
# year before, the year after.
KINDS: Final = bytes(
    (_YEAR_STARTS[year] + 3) % 7 * 8 + is_leap(year) * 4 + is_leap(year + YEARS - 1) * 2 + is_leap(year + 1)
    for year in range(YEARS)
)


def year_start(year: int) -> int:
    """Return 1 January of *year* in days since 1970-01-01."""
    era, index = divmod(year, YEARS)
    return era * YEARS_DAYS + _YEAR_STARTS[index]


def year_days(year: int) -> int:
    """Return how many days *year* has."""
    return 365 + (KINDS[year % YEARS] >> 2 & 1)


def month_starts(leap: bool) -> tuple[int, ...]:
    """Return for each month the day of the year on which it begins, and the length of the year."""
    starts, day = [], 0
    for month, length in enumerate(_LENGTHS):
        starts.append(day)
        day += length + (leap and month == 1)
    return (*starts, day)


MONTH_STARTS: Final = (month_starts(False), month_starts(True))


class DayRule(NamedTuple):
    """
    What names the days, every default filled in. All parts that are there must match; of one part, any value.

    Attributes:
        of_months: A numbered weekday counts within its month, and not within the year.
    """

    bymonth: tuple[int, ...]
    byweekno: tuple[int, ...]
    byyearday: tuple[int, ...]
    bymonthday: tuple[int, ...]
    byday: tuple[tuple[int, int], ...]
    wkst: int
    of_months: bool


class Days:
    """The days of a `DayRule`; each kind of year is worked out when it is first asked for."""

    __slots__ = ("_by_kind", "_rule")

    def __init__(self, rule: DayRule) -> None:
        self._rule = rule
        self._by_kind: dict[int, int] = {}

    def of(self, year: int) -> int:
        """Return the days of *year* as bits."""
        kind = KINDS[year % YEARS]
        days = self._by_kind.get(kind)
        if days is None:
            days = self._by_kind[kind] = _days_of_kind(self._rule, kind)
        return days


@lru_cache(maxsize=4096)
def days_of(rule: DayRule) -> Days:
    """Return the one `Days` of *rule*."""
    return Days(rule)


def _days_of_kind(rule: DayRule, kind: int) -> int:
    starts = MONTH_STARTS[bool(kind & 4)]
    weekday = kind >> 3
    days = (1 << starts[12]) - 1
    if rule.bymonth:
        days &= _union(_stretch(starts[month - 1], starts[month]) for month in rule.bymonth)
    if rule.byweekno:
        lengths = (starts[12], 365 + bool(kind & 2), 365 + (kind & 1))
        days &= _weeks(rule.byweekno, rule.wkst, weekday, lengths)
    if rule.byyearday:
        days &= _union(_bit(number, 0, starts[12]) for number in rule.byyearday)
    if rule.bymonthday:
        days &= _union(
            _bit(number, starts[month], starts[month + 1]) for month in range(12) for number in rule.bymonthday
        )
    if rule.byday:
        months = rule.bymonth or range(1, 13)
        ranges = [(starts[month - 1], starts[month]) for month in months] if rule.of_months else [(0, starts[12])]
        days &= _union(
            _weekdays(number, (day - weekday) % 7, low, high) for number, day in rule.byday for low, high in ranges
        )
    return days


def _weekdays(number: int, first: int, low: int, high: int) -> int:
    """Return the *number*-th day (0: each) in [*low*, *high*) that is a whole number of weeks from the day *first*."""
    first = low + (first - low) % 7
    if number > 0:
        day = first + 7 * (number - 1)
        return 1 << day if day < high else 0
    last = high - 1 - (high - 1 - first) % 7
    if number < 0:
        day = last + 7 * (number + 1)
        return 1 << day if day >= low else 0
    return _union(1 << day for day in range(first, high, 7))


def _weeks(numbers: tuple[int, ...], wkst: int, weekday: int, lengths: tuple[int, int, int]) -> int:
    """
    Return the days of the weeks *numbers*, of a year that begins on *weekday*.

    A week belongs to the year that has four of its days. So a year's first days may lie in the last week of the year
    before, and its last days in the first of the year after.

    Args:
        lengths: How many days this year, the one before and the one after have.
    """
    length, before, after = lengths
    found = 0
    for start in range(-((weekday - wkst) % 7), length, 7):
        # The day in the middle of the week says whose it is; counted from the beginning of that year.
        middle, days = start + 3, length
        if middle < 0:
            middle, days = middle + before, before
        elif middle >= length:
            middle, days = middle - length, after
        number = middle // 7 + 1
        total = number + (days - 1 - middle) // 7
        if number in numbers or number - total - 1 in numbers:
            found |= _stretch(max(start, 0), min(start + 7, length))
    return found


def _bit(number: int, low: int, high: int) -> int:
    """Return the *number*-th day of [*low*, *high*), from its end if negative, or nothing where there are fewer."""
    day = low + number - 1 if number > 0 else high + number
    return 1 << day if low <= day < high else 0


def _stretch(low: int, high: int) -> int:
    return (1 << high) - (1 << low)


def _union(masks: Iterable[int]) -> int:
    found = 0
    for mask in masks:
        found |= mask
    return found
