"""Durations: seconds, a `timedelta`, or text such as ``1h30m``; inside the product, whole milliseconds."""

from __future__ import annotations

import math
import re
from datetime import timedelta
from typing import Final

from scheduler.errors import InvalidDurationError
from scheduler.timing.wording import shown

FORM: Final = "seconds as a number, a timedelta, or text such as '90s', '5m', '1h30m', '2d', '1w' or '250ms'"

# Longer than the calendar, so that no sum of a moment and a duration is cut short, and short enough for 64 bits.
DURATION_MS_MAX: Final = 10_000 * 366 * 86_400_000

TEXT_CHARS_MAX: Final = 64

UNIT_MS: Final = {"w": 604_800_000, "d": 86_400_000, "h": 3_600_000, "m": 60_000, "s": 1_000, "ms": 1}

# Largest unit first, each at most once: `30m1h` is more often a slip than a wish.
_TEXT = re.compile("".join(rf"(?:([0-9]{{1,15}})(\.[0-9]{{1,9}})?{unit}(?![a-z]))?" for unit in UNIT_MS))


def parse_duration_ms(value: object, *, what: str = "duration") -> int:
    """
    Return *value* in whole milliseconds, rounded half to even; zero is allowed.

    Args:
        value: Seconds as an int or a float, a `timedelta`, or text: whole or decimal numbers with the units
            ``w d h m s ms``, largest first.
        what: How the caller calls this duration; the message begins with it.

    Raises:
        InvalidDurationError: It is something else, or is negative, infinite, not a number, or beyond 10,000 years.
    """
    if isinstance(value, str):
        ms = _text_ms(value, what)
    elif isinstance(value, timedelta):
        ms = (
            round(value / timedelta(milliseconds=1))
            if value.microseconds % 1000
            else value // timedelta(milliseconds=1)
        )
    elif isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidDurationError(f"{what} {shown(value)} is not a duration; give {FORM}")
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise InvalidDurationError(f"{what} {value} is not a finite number; give {FORM}")
        ms = round(value * 1000) if abs(value) < DURATION_MS_MAX else _too_long(value, what)
    else:
        ms = value * 1000
    if ms < 0:
        raise InvalidDurationError(f"{what} {shown(value)} is negative; give {FORM}")
    if ms > DURATION_MS_MAX:
        _too_long(value, what)
    return ms


def format_duration(ms: int) -> str:
    """Return *ms* (not negative) as `parse_duration_ms` reads it: ``1h30m``, ``250ms``, ``0s``. Weeks are days."""
    assert ms >= 0, ms
    if ms == 0:
        return "0s"
    parts = []
    for unit in ("d", "h", "m", "s", "ms"):
        count, ms = divmod(ms, UNIT_MS[unit])
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts)


def _text_ms(text: str, what: str) -> int:
    """Return what *text* says, exactly: decimals are scaled as integers, so that ``0.1s`` is 100 ms and not 99."""
    match = _TEXT.fullmatch(text) if 0 < len(text) <= TEXT_CHARS_MAX else None
    if match is None:
        sign = " is negative" if text.startswith("-") and len(text) > 1 and text[1].isdigit() else " is not a duration"
        raise InvalidDurationError(f"{what} {shown(text)}{sign}; give {FORM}")
    nanoseconds = 0
    for index, unit_ms in enumerate(UNIT_MS.values()):
        whole, fraction = match.group(2 * index + 1), match.group(2 * index + 2)
        if whole is not None:
            nanoseconds += int(whole) * unit_ms * 1_000_000_000
        if fraction is not None:
            nanoseconds += int(fraction[1:].ljust(9, "0")) * unit_ms
    ms, rest = divmod(nanoseconds, 1_000_000_000)
    half = 500_000_000
    return ms + (rest > half or (rest == half and ms % 2 == 1))


def _too_long(value: object, what: str) -> int:
    if isinstance(value, int | float) and value < 0:
        raise InvalidDurationError(f"{what} {shown(value)} is negative; give {FORM}")
    raise InvalidDurationError(f"{what} {shown(value)} is longer than 10,000 years; give {FORM}")
