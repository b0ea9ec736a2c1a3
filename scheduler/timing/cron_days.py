"""Which days of a month a crontab names: one mask for each of the 28 kinds of months (see `months`)."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from scheduler.timing.cron_field import Field
from scheduler.timing.months import KINDS, kind_days, kind_weekday

SUNDAY: Final = 0
SATURDAY: Final = 6


@lru_cache(maxsize=1024)
def day_masks(day_of_month: Field, day_of_week: Field, *, both: bool) -> tuple[int, ...]:
    """
    Return for each kind of month a mask whose bit ``d`` says that the ``d``-th matches.

    Args:
        both: Whether a day has to match both fields. If not, either is enough.
    """
    if both and day_of_week.is_star and day_of_week.mask == 0x7F:
        return tuple(_days_of_month(day_of_month, kind) for kind in range(KINDS))
    masks = []
    for kind in range(KINDS):
        by_date, by_weekday = _days_of_month(day_of_month, kind), _days_of_week(day_of_week, kind)
        masks.append(by_date & by_weekday if both else by_date | by_weekday)
    return tuple(masks)


def _days_of_month(field: Field, kind: int) -> int:
    days = kind_days(kind)
    mask = field.mask & ((1 << days + 1) - 1)
    if field.last_day:
        mask |= 1 << days
    if field.last_working_day:
        mask |= 1 << _nearest_working_day(kind, days, days)
    for day in field.near:
        if day <= days:
            mask |= 1 << _nearest_working_day(kind, days, day)
    return mask


def _nearest_working_day(kind: int, days: int, day: int) -> int:
    """Return the Monday to Friday nearest to *day*, within the same month."""
    weekday = kind_weekday(kind, day)
    if weekday == SATURDAY:
        return day - 1 if day > 1 else day + 2
    if weekday == SUNDAY:
        return day + 1 if day < days else day - 2
    return day


def _days_of_week(field: Field, kind: int) -> int:
    days = kind_days(kind)
    by_weekday = _DAYS_BY_WEEKDAY[kind]
    mask = 0
    for weekday in range(7):
        if field.mask >> weekday & 1:
            mask |= by_weekday[weekday]
    for weekday in field.last:
        mask |= by_weekday[weekday] & _days_between(days - 6, days)
    for weekday, nth in field.nth:
        mask |= by_weekday[weekday] & _days_between(7 * nth - 6, 7 * nth)
    return mask


def _days_between(first: int, last: int) -> int:
    return (1 << last + 1) - (1 << first)


# For each kind of month, and each weekday, the days on which it falls.
_DAYS_BY_WEEKDAY: Final = tuple(
    tuple(
        sum(1 << day for day in range(1, kind_days(kind) + 1) if kind_weekday(kind, day) == weekday)
        for weekday in range(7)
    )
    for kind in range(KINDS)
)
