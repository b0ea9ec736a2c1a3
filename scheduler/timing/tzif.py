"""
Reading compiled timezones: the TZif format (RFC 9636) and the POSIX rule in its footer.

Pure: bytes and text in, transitions out. What is done with them is `zone_table`'s business.
"""

from __future__ import annotations

import re
import struct
from calendar import monthrange
from dataclasses import dataclass
from datetime import date

EPOCH_ORDINAL = 719_163
DAY_S = 86_400


@dataclass(frozen=True, slots=True)
class RuleDate:
    """One of the two dates of a footer: ``Mm.w.d``, ``Jn`` or ``n``, with a time of day that may leave its day."""

    kind: str
    month: int
    week: int
    day: int
    time_s: int

    def local_s(self, year: int) -> int:
        """Return this date's local time in *year*, as seconds since 1970-01-01T00:00 on the same clock."""
        if self.kind == "M":
            first = date(year, self.month, 1).toordinal()
            # Ordinal 7 is a Sunday, so that an ordinal modulo 7 is cron's weekday.
            ordinal = first + (self.day - first) % 7 + 7 * (self.week - 1)
            if ordinal >= first + monthrange(year, self.month)[1]:
                ordinal -= 7  # Week 5 is the last one, which may be the fourth.
        else:
            ordinal = date(year, 1, 1).toordinal() + self.day
            leap_day_passed = self.kind == "J" and self.day >= 59 and _is_leap(year)
            ordinal += leap_day_passed
        return (ordinal - EPOCH_ORDINAL) * DAY_S + self.time_s


@dataclass(frozen=True, slots=True)
class Footer:
    """The rule for all time after the last transition. ``dst_offset_s`` is None where no clock is changed any more."""

    std_offset_s: int
    dst_offset_s: int | None = None
    dst_start: RuleDate | None = None
    dst_end: RuleDate | None = None

    def transitions(self, year: int) -> list[tuple[int, int]]:
        """Return the (UTC second, new offset) pairs of *year*, in order; none where no clock is changed."""
        if self.dst_offset_s is None or self.dst_start is None or self.dst_end is None:
            return []
        start = (self.dst_start.local_s(year) - self.std_offset_s, self.dst_offset_s)
        end = (self.dst_end.local_s(year) - self.dst_offset_s, self.std_offset_s)
        return [start, end] if start[0] < end[0] else [end, start]


@dataclass(frozen=True, slots=True)
class CompiledZone:
    """A TZif file: the offset before all transitions, the (UTC second, new offset) pairs, and the rule after them."""

    first_offset_s: int
    transitions: tuple[tuple[int, int], ...]
    footer: Footer | None


def parse_tzif(data: bytes) -> CompiledZone:
    """
    Read a compiled timezone.

    Raises:
        ValueError: This is not a TZif file, or it is cut short.
    """
    try:
        return _parse(data)
    except (struct.error, IndexError, UnicodeDecodeError) as error:
        raise ValueError(f"not a compiled timezone: {error}") from error


def _parse(data: bytes) -> CompiledZone:
    if data[:4] != b"TZif":
        raise ValueError("not a compiled timezone: the first four bytes are not TZif")
    is_v1 = data[4:5] == b"\0"
    at = 0
    counts = struct.unpack_from(">6l", data, at + 20)
    if not is_v1:
        # The first block repeats everything in 32 bits for readers of 1986; the second one follows it.
        at += 44 + _block_bytes(counts, time_bytes=4)
        counts = struct.unpack_from(">6l", data, at + 20)
    _, _, _, time_count, type_count, _ = counts
    time_bytes = 4 if is_v1 else 8
    body = at + 44
    times = struct.unpack_from(f">{time_count}{'l' if is_v1 else 'q'}", data, body)
    types = data[body + time_count * time_bytes :][:time_count]
    types_at = body + time_count * (time_bytes + 1)
    offsets = [struct.unpack_from(">l", data, types_at + 6 * index)[0] for index in range(type_count)]
    footer_text = "" if is_v1 else data[body + _block_bytes(counts, time_bytes=8) :].decode("ascii").strip("\n")
    return CompiledZone(
        first_offset_s=offsets[0],
        transitions=tuple((time, offsets[kind]) for time, kind in zip(times, types, strict=True)),
        footer=parse_footer(footer_text) if footer_text else None,
    )


def _block_bytes(counts: tuple[int, ...], *, time_bytes: int) -> int:
    ut_count, std_count, leap_count, time_count, type_count, char_count = counts
    return (
        time_count * (time_bytes + 1)
        + type_count * 6
        + char_count
        + leap_count * (time_bytes + 4)
        + std_count
        + ut_count
    )


_NAME = r"(?:[A-Za-z]{3,}|<[A-Za-z0-9+-]+>)"
_TIME = r"[+-]?\d{1,3}(?::\d{1,2}){0,2}"
_FOOTER = re.compile(rf"{_NAME}({_TIME})(?:{_NAME}({_TIME})?(?:,([^,]+),([^,]+))?)?", re.ASCII)
_DATE = re.compile(rf"(?:(M)(\d+)\.(\d)\.(\d)|(J?)(\d+))(?:/({_TIME}))?", re.ASCII)


def parse_footer(text: str) -> Footer:
    """
    Read a POSIX ``TZ`` string such as ``EST5EDT,M3.2.0,M11.1.0``.

    Raises:
        ValueError: It cannot be read.
    """
    match = _FOOTER.fullmatch(text)
    if match is None:
        raise ValueError(f"timezone rule {text!r} cannot be read")
    std, dst, start, end = match.groups()
    std_offset_s = -_seconds(std)  # POSIX counts westwards.
    if start is None or end is None:
        return Footer(std_offset_s)
    dst_offset_s = std_offset_s + 3600 if dst is None else -_seconds(dst)
    return Footer(std_offset_s, dst_offset_s, _rule_date(start), _rule_date(end))


def _rule_date(text: str) -> RuleDate:
    match = _DATE.fullmatch(text)
    if match is None:
        raise ValueError(f"timezone rule date {text!r} cannot be read")
    m, month, week, weekday, julian, day, time = match.groups()
    time_s = 7200 if time is None else _seconds(time)
    if m:
        return RuleDate("M", int(month), int(week), int(weekday), time_s)
    return RuleDate("J" if julian else "n", 0, 0, int(day) - (1 if julian else 0), time_s)


def _seconds(text: str) -> int:
    sign = -1 if text.startswith("-") else 1
    parts = [int(part) for part in text.lstrip("+-").split(":")]
    hours, minutes, seconds = parts + [0] * (3 - len(parts))
    return sign * (hours * 3600 + minutes * 60 + seconds)


def _is_leap(year: int) -> bool:
    return year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
