"""The local times of `every` on the wall clock: an anchor, and every so many days or months from it."""

from __future__ import annotations

from datetime import date

from scheduler.timing.months import DAY_S, EPOCH_ORDINAL, LOCAL_S_MAX, first_day, month_length


class DayPattern:
    """Every *days* days from *anchor_s*, a local time."""

    __slots__ = ("_anchor_s", "_period_s", "repeats")

    def __init__(self, anchor_s: int, days: int) -> None:
        self._anchor_s = anchor_s
        self._period_s = days * DAY_S
        self.repeats = False

    def at_or_after(self, local_s: int) -> int | None:
        """Return the first match that is not before *local_s*, or None if it lies beyond the year 9999."""
        if local_s <= self._anchor_s:
            return self._anchor_s
        found_s = local_s + (self._anchor_s - local_s) % self._period_s
        return found_s if found_s <= LOCAL_S_MAX else None

    def at_or_before(self, local_s: int) -> int | None:
        """Return the last match that is not after *local_s*, or None if the anchor is later."""
        if local_s < self._anchor_s:
            return None
        return local_s - (local_s - self._anchor_s) % self._period_s


class MonthPattern:
    """
    Every *months* months from *anchor_s*, a local time.

    Months are counted from the anchor and not from the fire before: the 31st becomes the 30th in April, and is the
    31st again in May. With *skip* there is no fire in a month that lacks the day.
    """

    __slots__ = ("_anchor_s", "_day", "_month", "_months", "_skip", "_time_s", "repeats")

    def __init__(self, anchor_s: int, months: int, *, skip: bool) -> None:
        day_number, self._time_s = divmod(anchor_s, DAY_S)
        self._anchor_s = anchor_s
        self._month, self._day = month_and_day(day_number)
        self._months = months
        self._skip = skip
        self.repeats = False

    def at_or_after(self, local_s: int) -> int | None:
        """Return the first match that is not before *local_s*, or None if it lies beyond the year 9999."""
        if local_s <= self._anchor_s:
            return self._anchor_s
        if local_s > LOCAL_S_MAX:
            return None
        month, _ = month_and_day(local_s // DAY_S)
        month += (self._month - month) % self._months
        # Three steps at most, or where days are skipped, as far as the next leap year that is counted.
        while (found_s := self._in_month(month)) is None or found_s < local_s:
            month += self._months
            if month >= 10_000 * 12:
                return None
        return found_s if found_s <= LOCAL_S_MAX else None

    def at_or_before(self, local_s: int) -> int | None:
        """Return the last match that is not after *local_s*, or None if the anchor is later."""
        if local_s < self._anchor_s:
            return None
        month, _ = month_and_day(min(local_s, LOCAL_S_MAX) // DAY_S)
        month -= (month - self._month) % self._months
        while (found_s := self._in_month(month)) is None or found_s > local_s:
            month -= self._months
        return found_s  # The anchor is one, so that the loop ends there at the latest.

    def _in_month(self, month: int) -> int | None:
        length = month_length(month)
        if self._day > length and self._skip:
            return None
        return (first_day(month) + min(self._day, length) - 1) * DAY_S + self._time_s


def month_and_day(day_number: int) -> tuple[int, int]:
    """Return the number of the month (see `months`) and the day of the month, of a day since 1970-01-01."""
    moment = date.fromordinal(day_number + EPOCH_ORDINAL)
    return moment.year * 12 + moment.month - 1, moment.day
