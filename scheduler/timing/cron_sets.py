"""Patterns of crontabs as sets: what two share, and what one has that the other lacks. Both are exact, and no search."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from scheduler.timing.cron_pattern import CronPattern, cron_pattern
from scheduler.timing.months import KINDS, kind_days, kind_weekday
from scheduler.timing.zone_table import Zone

EVERY_SECOND: Final = (1 << 60) - 1
EVERY_MINUTE: Final = EVERY_SECOND
EVERY_HOUR: Final = (1 << 24) - 1
EVERY_MONTH: Final = (1 << 13) - 2
EVERY_DAY: Final = tuple((1 << kind_days(kind) + 1) - 2 for kind in range(KINDS))


def shared(one: CronPattern, other: CronPattern) -> CronPattern | None:
    """Return the times of day and dates that both patterns match, or None if there are none."""
    (a_seconds, a_minutes, a_hours, a_days, a_months) = one.meaning
    (b_seconds, b_minutes, b_hours, b_days, b_months) = other.meaning
    days = tuple(a & b for a, b in zip(a_days, b_days, strict=True))
    return _pattern(a_seconds & b_seconds, a_minutes & b_minutes, a_hours & b_hours, days, a_months & b_months)


def remainder(one: CronPattern, other: CronPattern) -> list[CronPattern]:
    """
    Return what *one* matches and *other* does not, as up to five patterns that share nothing.

    Field by field, from the month down: either *other* lacks the value, and everything below it remains; or both have
    it, and the next field decides.
    """
    seconds, minutes, hours, days, months = one.meaning
    b_seconds, b_minutes, b_hours, b_days, b_months = other.meaning
    both_days = tuple(a & b for a, b in zip(days, b_days, strict=True))
    only_days = tuple(a & ~b for a, b in zip(days, b_days, strict=True))
    both_months, both_hours, both_minutes = months & b_months, hours & b_hours, minutes & b_minutes
    found = (
        _pattern(seconds, minutes, hours, days, months & ~b_months),
        _pattern(seconds, minutes, hours, only_days, both_months),
        _pattern(seconds, minutes, hours & ~b_hours, both_days, both_months),
        _pattern(seconds, minutes & ~b_minutes, both_hours, both_days, both_months),
        _pattern(seconds & ~b_seconds, both_minutes, both_hours, both_days, both_months),
    )
    return [pattern for pattern in found if pattern is not None]


class Fill(NamedTuple):
    """
    Local times at every one of which something fires, wherever its zone shows them.

    Attributes:
        pattern: The local times.
        table: The zone.
        floors_s: Its rule for gaps and folds, see `Zone.floors_s`.
    """

    pattern: CronPattern
    table: Zone
    floors_s: list[int]


class AnyOf:
    """The times that at least one of some patterns matches."""

    __slots__ = ("_patterns", "repeats")

    def __init__(self, patterns: Sequence[CronPattern]) -> None:
        self._patterns = tuple(patterns)
        self.repeats = True

    def at_or_after(self, local_s: int) -> int | None:
        """Return the first match that is not before *local_s*, or None if it lies beyond the year 9999."""
        found = [pattern.at_or_after(local_s) for pattern in self._patterns]
        return min((match_s for match_s in found if match_s is not None), default=None)

    def at_or_before(self, local_s: int) -> int | None:
        """Return the last match that is not after *local_s*, or None if there is none."""
        found = [pattern.at_or_before(local_s) for pattern in self._patterns]
        return max((match_s for match_s in found if match_s is not None), default=None)


def days_matching(month_days: Sequence[int], weekdays: Sequence[int]) -> tuple[int, ...]:
    """
    Return for each kind of month which of its days match both, as `CronPattern` takes them.

    Args:
        month_days: Days of the month, negative ones from its end; none: all.
        weekdays: 0 is Monday; none: all.
    """
    masks = []
    for kind in range(KINDS):
        length = kind_days(kind)
        numbers = [day if day > 0 else length + 1 + day for day in month_days] or range(1, length + 1)
        matching = [
            day
            for day in numbers
            if 1 <= day <= length and (not weekdays or (kind_weekday(kind, day) - 1) % 7 in weekdays)
        ]
        masks.append(sum(1 << day for day in set(matching)))
    return tuple(masks)


def _pattern(seconds: int, minutes: int, hours: int, days: tuple[int, ...], months: int) -> CronPattern | None:
    if not (seconds and minutes and hours and months):
        return None
    pattern = cron_pattern(seconds, minutes, hours, days, months)
    return None if pattern.is_empty else pattern
