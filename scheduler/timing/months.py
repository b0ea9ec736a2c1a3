"""
The 4,800 months after which the Gregorian calendar repeats.

A month is known by its *kind*: how many days it has and on which weekday it begins, 28 kinds in all. Rules about days
are worked out once for each kind, and which of the 4,800 months have a day that matches is one integer of 4,800 bits.
So the next matching date is found without a loop, be it tomorrow or, for a Monday 29 February, in 40 years.

Months are numbered ``year * 12 + month - 1``; bit ``d`` of a mask of days is the ``d``-th of the month.
"""

from __future__ import annotations

from datetime import date
from typing import Final

EPOCH_ORDINAL: Final = 719_163
DAY_S: Final = 86_400
MONTHS: Final = 4_800
MONTHS_DAYS: Final = 146_097
KINDS: Final = 28

# The whole calendar of `datetime`, in local seconds since 1970-01-01T00:00 on the same clock.
LOCAL_S_MIN: Final = (1 - EPOCH_ORDINAL) * DAY_S
LOCAL_S_MAX: Final = (date.max.toordinal() + 1 - EPOCH_ORDINAL) * DAY_S - 1

_LENGTHS = (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)


def kind_of(days: int, first_weekday: int) -> int:
    """Return the kind of a month of *days* days that begins on *first_weekday* (0 is Sunday)."""
    return (days - 28) * 7 + first_weekday


def kind_days(kind: int) -> int:
    """Return how many days months of *kind* have."""
    return 28 + kind // 7


def kind_weekday(kind: int, day: int) -> int:
    """Return the weekday (0 is Sunday) of the *day*-th in months of *kind*."""
    return (kind + day - 1) % 7


def month_length(month_number: int) -> int:
    """Return how many days the month *month_number* has."""
    return 28 + MONTH_KINDS[month_number % MONTHS] // 7


def first_day(month_number: int) -> int:
    """Return the first day of the month *month_number*, as days since 1970-01-01."""
    era, index = divmod(month_number, MONTHS)
    return era * MONTHS_DAYS + MONTH_STARTS[index]


def _calendar() -> tuple[bytes, tuple[int, ...]]:
    kinds, starts = bytearray(), []
    day = 1 - 366 - EPOCH_ORDINAL  # 0000-01-01; the year 0 has 366 days.
    for year in range(400):
        leap = year % 4 == 0 and (year % 100 != 0 or year == 0)
        for month, length in enumerate(_LENGTHS):
            days = 29 if leap and month == 1 else length
            starts.append(day)
            kinds.append((days - 28) * 7 + (day + 4) % 7)  # 1970-01-01 was a Thursday.
            day += days
    return bytes(kinds), tuple(starts)


# For each of the 4,800 months its kind, and its first day in days since 1970-01-01.
MONTH_KINDS, MONTH_STARTS = _calendar()


def _bits(selected: bytes) -> int:
    """Return the integer whose bit ``i`` is set where byte ``i`` of *selected* is ``b"1"``."""
    return int(selected[::-1], 2)


def _bits_by_kind() -> tuple[int, ...]:
    zeros = b"0" * 256
    return tuple(_bits(MONTH_KINDS.translate(zeros[:kind] + b"1" + zeros[kind + 1 :])) for kind in range(KINDS))


# For each kind, and for each month of the year (1 to 12; 0 is empty), which of the 4,800 months it is.
MONTHS_OF_KIND: Final = _bits_by_kind()
MONTHS_OF_YEAR: Final = (
    0,
    *(_bits((b"0" * month + b"1" + b"0" * (11 - month)) * 400) for month in range(12)),
)
