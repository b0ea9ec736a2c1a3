"""Moments as people write and read them. Inside they are whole milliseconds of UTC."""

from __future__ import annotations

import re
import warnings
from datetime import UTC, datetime, timedelta, tzinfo
from functools import cache, lru_cache

from scheduler.clock import from_ms, to_ms
from scheduler.errors import ScheduleError

FORM = "write a date and time like '2026-11-21 09:00', a time of day like '09:00', or a span from now like '10m'"

_DAYS = {"yesterday": -1, "today": 0, "tomorrow": 1}
_DAY = re.compile(r"(yesterday|today|tomorrow)\b[ ,]*(?:at )?")
_ISO_DATE = re.compile(r"\d{4}-\d\d-\d\d(?!\d)")
_SLASHED = re.compile(r"(\d{1,2})[/.-](\d{1,2})[/.-](?:\d{4}|\d{2})(?!\d)")
_HAS_TIME = re.compile(r"\d:\d|\d *[ap]m\b|T\d", re.IGNORECASE)
_HAS_DATE = re.compile(r"\d{4}|\d[/.-]\d|[A-Za-z]{3}")


class InvalidMomentError(ScheduleError, ValueError):
    """A date or a time that cannot be read; the message says what can."""


def zone(name: str) -> tzinfo:
    """
    The zone called *name*.

    Raises:
        UnknownZoneError: Nobody knows it; the message names the nearest.
    """
    if name == "UTC":
        return UTC
    from scheduler.timing.zones import get_zone  # noqa: PLC0415 - most calls show UTC

    return get_zone(name)


def read_moment(text: str, *, what: str, tz: tzinfo, now_ms: int, past: bool = False) -> int:
    """
    The moment that *text* means, in ms of UTC.

    Args:
        text: ISO 8601, a date as people write it, a time of day (today), ``tomorrow 09:00``, ``yesterday``, a span from now
            (``10m``), a span back (``-10m``, ``10m ago``), or ``now``.
        what: How the caller calls it; the message begins with it.
        tz: The zone of what names none.
        past: It is asked for something past: ``10m`` is ten minutes ago.

    Raises:
        InvalidMomentError: It cannot be read, or has more than one meaning.
    """
    moment_ms = _read_ms(text.strip(), what, tz, now_ms, past)
    try:
        from_ms(moment_ms)
    except OverflowError:
        raise InvalidMomentError(f"{what} {text!r} lies outside the calendar; {FORM}") from None
    return moment_ms


def _read_ms(text: str, what: str, tz: tzinfo, now_ms: int, past: bool) -> int:
    if text == "now":
        return now_ms
    back = text.startswith("-") or text.endswith(" ago")
    span_ms = _span_ms(text.removeprefix("-").removesuffix(" ago") if back else text, what)
    if span_ms is not None:
        return now_ms - span_ms if back or (past and not text.startswith(("+", "in "))) else now_ms + span_ms
    moment = _iso(text) or _free(text, what, datetime.fromtimestamp(now_ms / 1000, tz))
    return to_ms(moment if moment.tzinfo is not None else moment.replace(tzinfo=tz))


def read_span_ms(text: str, *, what: str) -> int:
    """
    A duration as people type it, in ms; a bare number is seconds.

    Raises:
        InvalidDurationError: It cannot be read, or is negative.
    """
    from scheduler.timing.duration import parse_duration_ms  # noqa: PLC0415

    return parse_duration_ms(float(text) if _NUMBER.fullmatch(text) else text, what=what)


@lru_cache(maxsize=10_000)
def show_moment(ms: int | None, tz: tzinfo) -> str:
    """``Sat 2026-11-21 09:00:00 CET``; with milliseconds where there are any; empty for none."""
    if not ms:
        return ""
    seconds, rest = divmod(ms, 1000)
    moment = datetime.fromtimestamp(seconds, tz)
    fraction = f".{rest:03d}" if rest else ""
    return f"{moment:%a %Y-%m-%d %H:%M:%S}{fraction} {_abbreviation(moment)}"


def show_span(ms: int) -> str:
    """
    A length of time to two units, as one reads it at a glance: ``3d 4h``, ``1m 5s``, ``2.5s``, ``40ms``.
    """
    sign, ms = ("-", -ms) if ms < 0 else ("", ms)
    if ms < 1000:
        return f"{sign}{ms}ms"
    if ms < 10_000:
        return f"{sign}{ms / 1000:.3g}s"
    seconds = ms // 1000
    units = ((seconds // 86_400, "d"), (seconds // 3600 % 24, "h"), (seconds // 60 % 60, "m"), (seconds % 60, "s"))
    first = next(index for index, (count, _) in enumerate(units) if count)
    return sign + " ".join(f"{count}{unit}" for count, unit in units[first : first + 2] if count)


def _iso(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text) if _ISO_DATE.match(text) else None
    except ValueError:
        return None


def _span_ms(text: str, what: str) -> int | None:
    body = text.removeprefix("+").removeprefix("in ").replace(" ", "")
    if not _SPAN.fullmatch(body):
        return None
    from scheduler.timing.duration import parse_duration_ms  # noqa: PLC0415

    return parse_duration_ms(body, what=what)


def _free(text: str, what: str, now: datetime) -> datetime:
    """Read *text* with dateutil, and refuse what dateutil would guess."""
    from dateutil import parser  # noqa: PLC0415 - 30 ms, and needed for few dates

    slashed = _SLASHED.search(text)
    if (
        slashed
        and not _ISO_DATE.search(text)
        and max(int(slashed[1]), int(slashed[2])) <= 12
        and slashed[1] != slashed[2]
    ):
        raise InvalidMomentError(f"{what} {text!r} could be two dates; write it as 2026-11-21")
    if day := _DAY.match(text):
        now, text = now + timedelta(days=_DAYS[day[1]]), text[day.end() :] or "00:00"
    elif not _HAS_TIME.search(text) and not _HAS_DATE.search(text):
        raise InvalidMomentError(f"{what} {text!r} is not a moment; {FORM}")
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0, tzinfo=None)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            moment = parser.parse(text, default=midnight)
    except parser.UnknownTimezoneWarning as error:
        raise InvalidMomentError(f"{what} {text!r}: {_first_line(error)}; name the zone with --tz") from None
    except (ValueError, OverflowError):
        raise InvalidMomentError(f"{what} {text!r} is not a moment; {FORM}") from None
    if (iso := _ISO_DATE.match(text)) and f"{moment:%Y-%m-%d}" != iso[0]:
        raise InvalidMomentError(f"{what} {text!r}: {iso[0]} is not a day of the calendar")
    return moment


def _first_line(error: Warning) -> str:
    return re.sub(r"^tzname (\w+) identified.*", r"the zone \1 has no one meaning", str(error).splitlines()[0])


def _abbreviation(moment: datetime) -> str:
    return _named(moment.tzname() or "")


@cache
def _named(name: str) -> str:
    return f"UTC{name}" if name[:1] in "+-" else name


_NUMBER = re.compile(r"\d+(\.\d+)?")
_SPAN = re.compile(r"(\d+(\.\d+)?(w|d|h|ms|m|s))+")
