"""
iCalendar files (RFC 5545) as days.

The `icalendar` library parses, python-dateutil expands recurring events. Only all-day events count: a holiday has no time of day.
Cancelled ones do not; whether an event is marked as busy or free says nothing about holidays.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from datetime import date, datetime
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any, Final, cast

from dateutil.rrule import rrule, rruleset, rrulestr

from scheduler.errors import InvalidScheduleError
from scheduler.timing.calendar import DAY_MAX, EPOCH_DAY, day_number
from scheduler.timing.table import FIRES_MAX

BYTES_MAX: Final = 2_000_000
EVENT_DAYS_MAX: Final = 400
"""A longer event is a mistake in the file, rather than a holiday."""

_UNTIL: Final = re.compile(r"(UNTIL=\d{8})T\d{6}Z?")


class CalendarFile:
    """
    What a file says.

    Attributes:
        is_finite: No event recurs; `days` of any span are all there are in it.
        notes: What was passed over, one sentence each.
    """

    __slots__ = ("_days", "_rules", "is_finite", "notes")

    def __init__(self, days: Iterable[int], rules: list[tuple[rruleset, int]], notes: Iterable[str]) -> None:
        self._days = sorted(set(days))
        # Each with the number of days that an event lasts.
        self._rules = rules
        self.is_finite = not rules
        self.notes = tuple(notes)

    def days(self, from_day: int, until_day: int) -> list[int]:
        """Return the days from *from_day* to *until_day*, in order; all there are, if no event recurs."""
        if self.is_finite:
            return self._days
        found = set(self._days[bisect_left(self._days, from_day) : bisect_right(self._days, until_day)])
        for rule, length in self._rules:
            first = datetime.fromordinal(max(1, EPOCH_DAY + from_day - length))
            last = datetime.fromordinal(EPOCH_DAY + min(until_day, DAY_MAX))
            for start in islice(rule.xafter(first, inc=True), FIRES_MAX):
                if start > last:
                    break
                found.update(range(day_number(start.date()), day_number(start.date()) + length))
        return sorted(day for day in found if from_day <= day <= until_day)


def read_calendar(path: Path) -> CalendarFile:
    """
    Return what the file at *path* says now.

    Raises:
        InvalidScheduleError: It cannot be read, or the library is missing.
    """
    try:
        stat = path.stat()
        if stat.st_size > BYTES_MAX:
            raise InvalidScheduleError(f"holidays: {path} has {stat.st_size:,} bytes, which is over {BYTES_MAX:,}")
        return _read(path, stat.st_mtime_ns, stat.st_size)
    except OSError as error:
        raise InvalidScheduleError(f"holidays: {path}: {error.strerror or error}") from None


@lru_cache(maxsize=16)
def _read(path: Path, _mtime_ns: int, _size: int) -> CalendarFile:
    """Read *path* once, however many entries use it; the time and the size tell when it has changed."""
    try:
        from icalendar import Calendar  # noqa: PLC0415 - an extra
    except ImportError:
        raise InvalidScheduleError(
            f"holidays: {path.name}: iCalendar files need the icalendar library; pip install 'steadybeat[calendars]'"
        ) from None
    data = path.read_bytes()
    try:
        calendars: Any = Calendar.from_ical(data, multiple=True)
        events = [event for calendar in calendars for event in calendar.walk("VEVENT")]
    except Exception as error:
        raise InvalidScheduleError(f"holidays: {path} is no iCalendar file: {_line(error)}") from None
    if not calendars:
        raise InvalidScheduleError(f"holidays: {path} is no iCalendar file: there is no VCALENDAR in it")
    return _collected(path, events)


def _collected(path: Path, events: list[Any]) -> CalendarFile:
    """
    Return the days of *events*.

    An event with a RECURRENCE-ID stands for one occurrence of the recurring event with its UID, which it replaces.
    """
    replaced: dict[str, set[date]] = {}
    for event in events:
        if "RECURRENCE-ID" in event and (day := _date(event["RECURRENCE-ID"].dt)) is not None:
            replaced.setdefault(str(event.get("UID", "")), set()).add(day)
    days: list[int] = []
    rules: list[tuple[rruleset, int]] = []
    timed = 0
    for event in events:
        try:
            start = getattr(event.get("DTSTART"), "dt", None)
            if str(event.get("STATUS", "")).upper() == "CANCELLED" or start is None:
                continue
            if isinstance(start, datetime):
                timed += 1
                continue
            length = _length(event, start)
            if "RRULE" in event or "RDATE" in event:
                gone = replaced.get(str(event.get("UID", "")), set()) if "RECURRENCE-ID" not in event else set()
                rules.append((_rules(event, start, gone), length))
            else:
                days.extend(range(day_number(start), day_number(start) + length))
        except InvalidScheduleError:
            raise
        except Exception as error:
            name = str(event.get("SUMMARY", "")) or "an event without a name"
            raise InvalidScheduleError(f"holidays: {path.name}: {name[:60]!r}: {_line(error)}") from None
    notes = []
    if timed:
        notes.append(
            f"{timed} event{'' if timed == 1 else 's'} with a time of day passed over; only all-day events count"
        )
    return CalendarFile(days, rules, notes)


def _length(event: Any, start: date) -> int:
    """Return how many days *event* lasts; its end is the day after."""
    if "DTEND" in event:
        end = _date(event["DTEND"].dt) or start
        length = (end - start).days
    elif "DURATION" in event:
        length = event["DURATION"].dt.days
    else:
        length = 1
    if length > EVENT_DAYS_MAX:
        raise ValueError(f"it lasts {length:,} days, which is over {EVENT_DAYS_MAX}")
    return max(1, int(length))  # Some programs write the first day as the end of an event of one day.


def _rules(event: Any, start: date, gone: set[date]) -> rruleset:
    """Return the first days of a recurring event, without those that are excluded or stand elsewhere."""
    found = rruleset(cache=False)
    first = datetime.combine(start, datetime.min.time())
    for said in _several(event.get("RRULE")):
        # Days have no zone, but some programs write the end of the rule as a moment.
        text = _UNTIL.sub(r"\1", said.to_ical().decode())
        found.rrule(cast(rrule, rrulestr(text, dtstart=first)))
    found.rdate(first)
    for day in _listed(event.get("RDATE")):
        found.rdate(datetime.combine(day, first.time()))
    for day in (*_listed(event.get("EXDATE")), *gone):
        found.exdate(datetime.combine(day, first.time()))
    return found


def _listed(values: Any) -> Iterator[date]:
    for value in _several(values):
        for item in value.dts:
            if (day := _date(item.dt)) is not None:
                yield day


def _several(value: Any) -> list[Any]:
    """Return a property that may be absent, be there once, or more often."""
    if value is None:
        return []
    return value if isinstance(value, list) else [value]


def _date(value: object) -> date | None:
    if isinstance(value, tuple):
        value = value[0]  # A period, by its beginning.
    if isinstance(value, datetime):
        return value.date()
    return value if isinstance(value, date) else None


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
