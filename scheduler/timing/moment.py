"""Moments and times of day as people give them: aware, local to a zone that is not known yet, or only a date."""

from __future__ import annotations

import re
from bisect import bisect_right
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import Final

from scheduler.errors import InvalidScheduleError
from scheduler.timing.base import EPOCH, MILLISECOND, UTC_S_MAX, UTC_S_MIN
from scheduler.timing.every_pattern import DayPattern
from scheduler.timing.months import DAY_S
from scheduler.timing.wall import first_fire_s
from scheduler.timing.wording import shown
from scheduler.timing.zone_table import Zone

_NAIVE_EPOCH: Final = datetime(1970, 1, 1)
_CLOCK = re.compile(r"([0-9]{1,2}):([0-9]{2})(?::([0-9]{2}))?")

# Beyond the calendar's 9,999 years: a pattern with this period matches once.
_ONCE_DAYS: Final = 3_652_059


@dataclass(frozen=True, slots=True)
class Moment:
    """
    A moment as it was given.

    Attributes:
        ms: Milliseconds since the epoch: in UTC where *is_utc*, else on the local clock of a zone.
        is_date: It was a date, and leaves the time of day open.
    """

    ms: int
    is_utc: bool = False
    is_date: bool = False

    def iso(self) -> str:
        """Return the moment as ISO text, which `read_moment` reads back."""
        moment = _NAIVE_EPOCH + timedelta(milliseconds=self.ms)
        if self.is_date:
            return moment.date().isoformat()
        return moment.isoformat(timespec="milliseconds" if self.ms % 1000 else "seconds") + ("Z" if self.is_utc else "")


def read_moment(value: object, *, what: str) -> Moment:
    """
    Return the moment that *value* is: an aware or a naive datetime, a date, or ISO text of one.

    Args:
        what: How the caller calls it (``every: anchor``); a message begins with it.

    Raises:
        InvalidScheduleError: It is something else, or lies outside the years 1–9999 of UTC.
    """
    if isinstance(value, str):
        value = _read_iso(value, what)
    if isinstance(value, datetime):
        try:
            is_naive = value.utcoffset() is None
            if is_naive:
                return Moment((value.replace(tzinfo=None) - _NAIVE_EPOCH) // MILLISECOND)
            utc_ms = (value - EPOCH) // MILLISECOND
        except Exception as error:
            raise InvalidScheduleError(f"{what} {value.replace(tzinfo=None)}: {error}") from error
        if not UTC_S_MIN * 1000 <= utc_ms < (UTC_S_MAX + 1) * 1000:
            raise InvalidScheduleError(f"{what} {value} is outside the years 1–9999 of UTC")
        return Moment(utc_ms, is_utc=True)
    if isinstance(value, date):
        return Moment((value.toordinal() - date(1970, 1, 1).toordinal()) * DAY_S * 1000, is_date=True)
    raise InvalidScheduleError(f"{what} is {shown(value)}; give a datetime, a date, or ISO text of one")


def shown_ms(zone: Zone, local_ms: int) -> int:
    """Return the instant at which *zone* first shows *local_ms*; right after the gap if it never does."""
    local_s, rest_ms = divmod(local_ms, 1000)
    floors_s = zone.floors_s(run_gaps=True, fold_once=True)
    fire_s = first_fire_s(DayPattern(local_s, _ONCE_DAYS), zone, floors_s, local_s - 2 * DAY_S)
    # A local time that a correction skipped (Samoa's 30 December 2011) is the same distance after the jump.
    return (fire_s if fire_s is not None else local_s - zone.offset_s(local_s)) * 1000 + rest_ms


def times_shown(zone: Zone, local_s: int) -> int:
    """Return how many times *zone* shows *local_s*: 0 in a gap, 2 where clocks are put back, else 1."""
    tile = bisect_right(zone.starts_s, local_s) - 1
    tiles = range(max(0, tile - 2), min(len(zone.starts_s), tile + 3))  # Two transitions in two days are possible.
    return sum(zone.local_starts_s[near] <= local_s < zone.local_ends_s[near] for near in tiles)


def read_clock(value: object, *, what: str) -> int:
    """
    Return the time of day *value* (``09:00``, ``09:00:30`` or a naive `time`) in seconds.

    Raises:
        InvalidScheduleError: It is something else, or outside 00:00–23:59:59.
    """
    if isinstance(value, time):
        if value.tzinfo is None and not value.microsecond:
            return value.hour * 3600 + value.minute * 60 + value.second
        raise InvalidScheduleError(f"{what} is a time with a zone or a fraction of a second; give HH:MM and use tz=")
    match = _CLOCK.fullmatch(value) if isinstance(value, str) and len(value) <= 8 else None
    if match is None:
        raise InvalidScheduleError(f"{what} is {shown(value)}; give HH:MM or HH:MM:SS within 00:00–23:59:59")
    hour, minute, second = int(match.group(1)), int(match.group(2)), int(match.group(3) or 0)
    if hour > 23 or minute > 59 or second > 59:
        raise InvalidScheduleError(f"{what} {shown(value)} is outside 00:00–23:59:59")
    return hour * 3600 + minute * 60 + second


def clock_text(time_s: int) -> str:
    """Return a time of day as `read_clock` reads it."""
    hours, rest = divmod(time_s, 3600)
    minutes, seconds = divmod(rest, 60)
    return f"{hours:02}:{minutes:02}" + (f":{seconds:02}" if seconds else "")


def _read_iso(text: str, what: str) -> datetime | date:
    if len(text) <= 40 and text.isascii():
        try:
            return date.fromisoformat(text) if len(text) <= 10 else datetime.fromisoformat(text)
        except ValueError:
            pass
    raise InvalidScheduleError(f"{what} {shown(text)} is no ISO date or datetime, such as 2026-01-31T09:00")
