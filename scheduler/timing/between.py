"""
`between`: the stretches of time from one moment to another, both included.

Given times of day it is a part of every day (or of some weekdays), across midnight where the end comes before the
start. Given datetimes or dates it is one span.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from datetime import date, datetime, time
from typing import Any, Final

from scheduler.errors import InvalidScheduleError
from scheduler.timing.cron_field import DAY_OF_WEEK, parse_field
from scheduler.timing.moment import Moment, clock_text, read_clock, read_moment, shown_ms
from scheduler.timing.months import DAY_S
from scheduler.timing.window import DAY_MS, UTC_MS_MAX, UTC_MS_MIN, LocalWindow, Window
from scheduler.timing.wording import shown
from scheduler.timing.zones import zone_name, zone_table

WEEK_MS: Final = 7 * DAY_MS
DAYS_CHARS_MAX: Final = 64

_EVERY_DAY: Final = 0b1111111
_DAY_NAMES: Final = ("Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday")

# 1970-01-04 was a Sunday.
_SUNDAY_MS: Final = 3 * DAY_MS


def between(
    start: str | time | date | datetime, end: str | time | date | datetime, *, days: str | None = None, tz: Any = None
) -> Window:
    """
    Return the window from *start* to *end*; both belong to it.

    ``every("15m") & between("09:00", "17:30")`` fires at 09:00, 09:15, … 17:30.

    Args:
        start, end: Two times of day (``09:00``; the end may be ``24:00``), or two moments: datetimes or dates, or ISO
            text of those. A date as the end is that whole day. What is naive is local to the zone.
        days: The weekdays of a window of times of day, as in a crontab: ``mon-fri``. One that crosses midnight belongs
            to the day on which it begins.
        tz: A zone by name, a `ZoneInfo` or a pytz zone. Without one, that of the schedule it is combined with, else
            the entry's.

    Raises:
        InvalidScheduleError: Something cannot be read, or the end does not come after the start.
    """
    zone = None if tz is None else zone_name(tz)
    if _is_clock(start) and _is_clock(end):
        start_s = read_clock(start, what="between: start")
        end_s = DAY_S if end in ("24:00", "24:00:00") else read_clock(end, what="between: end")
        if start_s == end_s:
            raise InvalidScheduleError(
                f"between: start and end are both {clock_text(start_s)}; for the whole day write '00:00' and '24:00'"
            )
        return DailyWindow(start_s, end_s, weekdays=_read_days(days), zone=zone)
    if _is_clock(start) or _is_clock(end):
        raise InvalidScheduleError(
            f"between: {shown(start)} and {shown(end)} do not go together; give two times of day or two moments"
        )
    if days is not None:
        raise InvalidScheduleError(f"between: days is {shown(days)}, but stands only with times of day such as '09:00'")
    return SpanWindow(read_moment(start, what="between: start"), read_moment(end, what="between: end"), zone=zone)


class DailyWindow(LocalWindow):
    """The same hours of every day, or of some weekdays. Users make it with `between`."""

    __slots__ = ("_end_s", "_ends_ms", "_start_s", "_starts_ms", "_weekdays")

    _start_s: int
    _end_s: int
    _weekdays: int
    # The stretches of a week from Sunday 00:00 on and of those beside it, as first and last milliseconds.
    _starts_ms: list[int]
    _ends_ms: list[int]

    def __init__(self, start_s: int, end_s: int, *, weekdays: int, zone: str | None) -> None:
        text = f"between {clock_text(start_s)} and {'24:00' if end_s == DAY_S else clock_text(end_s)}"
        super().__init__(
            text=text if weekdays == _EVERY_DAY else f"{text} on {_days_text(weekdays)}",
            zone=zone,
            meaning=("between", start_s, end_s, weekdays, zone),
        )
        self._set("_start_s", start_s)
        self._set("_end_s", end_s)
        self._set("_weekdays", weekdays)
        # The end belongs to the window; that of the day does not, as it is the next one's beginning.
        last_ms = (
            end_s * 1000 if start_s < end_s < DAY_S else end_s * 1000 - 1 if end_s == DAY_S else end_s * 1000 + DAY_MS
        )
        stretches = [
            (day * DAY_MS + start_s * 1000, day * DAY_MS + last_ms) for day in range(-7, 14) if weekdays >> day % 7 & 1
        ]
        starts_ms, ends_ms = _merged(stretches)
        self._set("_starts_ms", starts_ms)
        self._set("_ends_ms", ends_ms)

    @property
    def is_of_minutes(self) -> bool:
        """Whether it begins and ends at whole minutes."""
        return self._start_s % 60 == self._end_s % 60 == 0

    def local_inside_from(self, local_ms: int) -> int | None:
        week_ms = (local_ms - _SUNDAY_MS) % WEEK_MS
        index = bisect_left(self._ends_ms, week_ms)
        return local_ms + max(0, self._starts_ms[index] - week_ms)

    def local_outside_from(self, local_ms: int) -> int | None:
        week_ms = (local_ms - _SUNDAY_MS) % WEEK_MS
        index = bisect_right(self._starts_ms, week_ms) - 1
        if index < 0 or self._ends_ms[index] < week_ms:
            return local_ms
        if self._ends_ms[index] - self._starts_ms[index] >= WEEK_MS:
            return None
        return local_ms + self._ends_ms[index] + 1 - week_ms

    def local_inside_upto(self, local_ms: int) -> int | None:
        week_ms = (local_ms - _SUNDAY_MS) % WEEK_MS
        index = bisect_right(self._starts_ms, week_ms) - 1
        return local_ms - max(0, week_ms - self._ends_ms[index])

    def local_outside_upto(self, local_ms: int) -> int | None:
        week_ms = (local_ms - _SUNDAY_MS) % WEEK_MS
        index = bisect_right(self._starts_ms, week_ms) - 1
        if index < 0 or self._ends_ms[index] < week_ms:
            return local_ms
        if self._ends_ms[index] - self._starts_ms[index] >= WEEK_MS:
            return None
        return local_ms - (week_ms - self._starts_ms[index] + 1)

    def in_zone(self, name: str) -> Window:
        if self.zone is not None:
            return self
        return DailyWindow(self._start_s, self._end_s, weekdays=self._weekdays, zone=zone_name(name))

    def words(self) -> str:
        if self._weekdays == _EVERY_DAY:
            return self.text
        names = [_DAY_NAMES[day % 7] for day in range(1, 8) if self._weekdays >> day % 7 & 1]
        days = f"{names[0]} through {names[-1]}" if "-" in _days_text(self._weekdays) else _listed(names)
        return f"{self.text.partition(' on ')[0]} on {days}"

    def as_data(self) -> dict[str, Any]:
        return {
            "kind": "between",
            "start": clock_text(self._start_s),
            "end": "24:00" if self._end_s == DAY_S else clock_text(self._end_s),
            "days": None if self._weekdays == _EVERY_DAY else _days_text(self._weekdays),
            "tz": self.zone,
        }

    def __repr__(self) -> str:
        return _repr(self.as_data())


class SpanWindow(Window):
    """One span from a moment to another. Users make it with `between`."""

    __slots__ = ("_end", "_end_ms", "_start", "_start_ms")

    _start: Moment
    _end: Moment
    _start_ms: int
    _end_ms: int

    def __init__(self, start: Moment, end: Moment, *, zone: str | None) -> None:
        table = zone_table(zone or "UTC")
        start_ms = start.ms if start.is_utc else shown_ms(table, start.ms)
        if end.is_utc:
            end_ms = end.ms
        elif end.is_date:
            end_ms = shown_ms(table, end.ms + DAY_MS) - 1
        else:
            end_ms = shown_ms(table, end.ms)
        # Without a zone, two moments of which one is aware cannot be compared to the hour.
        is_known = zone is not None or start.is_utc == end.is_utc
        if is_known and end_ms <= start_ms:
            raise InvalidScheduleError(f"between: end {end.iso()} does not come after start {start.iso()}")
        super().__init__(
            text=f"between {start.iso()} and {end.iso()}",
            zone=zone,
            meaning=("between", start_ms, end_ms, zone, zone is None and (start.is_utc, end.is_utc)),
        )
        self._set("_start", start)
        self._set("_end", end)
        self._set("_start_ms", max(start_ms, UTC_MS_MIN))
        self._set("_end_ms", min(end_ms, UTC_MS_MAX))

    def next_inside_ms(self, at_ms: int) -> int | None:
        return max(at_ms, self._start_ms) if at_ms <= self._end_ms else None

    def next_outside_ms(self, at_ms: int) -> int | None:
        return self._end_ms + 1 if self._start_ms <= at_ms <= self._end_ms else at_ms

    def last_inside_ms(self, at_ms: int) -> int | None:
        return min(at_ms, self._end_ms) if at_ms >= self._start_ms else None

    def last_outside_ms(self, at_ms: int) -> int | None:
        return self._start_ms - 1 if self._start_ms <= at_ms <= self._end_ms else at_ms

    def in_zone(self, name: str) -> Window:
        return self if self.zone is not None else SpanWindow(self._start, self._end, zone=zone_name(name))

    def words(self) -> str:
        return self.text

    def as_data(self) -> dict[str, Any]:
        return {"kind": "between", "start": self._start.iso(), "end": self._end.iso(), "tz": self.zone}

    def __repr__(self) -> str:
        return _repr(self.as_data())


def _is_clock(value: object) -> bool:
    return isinstance(value, time) or (isinstance(value, str) and len(value) <= 8 and ":" in value[:3])


def _read_days(days: object) -> int:
    if days is None:
        return _EVERY_DAY
    if not isinstance(days, str) or not 1 <= len(days) <= DAYS_CHARS_MAX or set(days) & set("#LlHh?"):
        raise InvalidScheduleError(f"between: days is {shown(days)}; give weekdays as in a crontab, such as 'mon-fri'")
    try:
        mask = parse_field(DAY_OF_WEEK, days.replace(" ", "")).mask
    except InvalidScheduleError as error:
        raise InvalidScheduleError(f"between: days {shown(days)}: {error}") from None
    return (mask | mask >> 7) & _EVERY_DAY


def _days_text(weekdays: int) -> str:
    """Return *weekdays* (bit 0 is Sunday) as a crontab has them, Monday first; a run of three or more as a range."""
    numbers = [day for day in range(1, 8) if weekdays >> day % 7 & 1]
    names = [_DAY_NAMES[day % 7][:3].lower() for day in numbers]
    if len(numbers) > 2 and numbers[-1] - numbers[0] == len(numbers) - 1:
        return f"{names[0]}-{names[-1]}"
    return ",".join(names)


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _merged(stretches: list[tuple[int, int]]) -> tuple[list[int], list[int]]:
    """Return the starts and ends of *stretches*, in order, with those joined that touch or overlap."""
    starts_ms, ends_ms = [stretches[0][0]], [stretches[0][1]]
    for start_ms, end_ms in stretches[1:]:
        if start_ms <= ends_ms[-1] + 1:
            ends_ms[-1] = max(ends_ms[-1], end_ms)
        else:
            starts_ms.append(start_ms)
            ends_ms.append(end_ms)
    return starts_ms, ends_ms


def _repr(data: dict[str, Any]) -> str:
    options = [f", {name}={data[name]!r}" for name in ("days", "tz") if data.get(name) is not None]
    return f"between({data['start']!r}, {data['end']!r}{''.join(options)})"
