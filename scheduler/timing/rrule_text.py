"""
Reading recurrence rules as RFC 5545 writes them, part by part, so that each mistake names its part and the allowed range.

What is read is canonical: parts in a fixed order, lists sorted, numbers without signs they do not need. Two rules that
say the same are equal.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any, Final

from scheduler.errors import InvalidScheduleError
from scheduler.timing.moment import Moment, shown_ms, times_shown
from scheduler.timing.wording import shown
from scheduler.timing.zones import zone_name, zone_table

TEXT_CHARS_MAX: Final = 65_536
LINES_MAX: Final = 200
RULES_MAX: Final = 16
DATES_MAX: Final = 2_000
INTERVAL_MAX: Final = 1_000_000
COUNT_MAX: Final = 10_000

# What was read is kept, as very many entries may say the same.
CACHED_MAX: Final = 4_096

YEARLY, MONTHLY, WEEKLY, DAILY, HOURLY, MINUTELY, SECONDLY = range(7)
FREQUENCIES: Final = ("YEARLY", "MONTHLY", "WEEKLY", "DAILY", "HOURLY", "MINUTELY", "SECONDLY")
WEEKDAYS: Final = ("MO", "TU", "WE", "TH", "FR", "SA", "SU")

LINE_NAMES: Final = ("DTSTART", "RRULE", "RDATE", "EXDATE", "EXRULE")

_STAMP = re.compile(r"([0-9]{4})([0-9]{2})([0-9]{2})(?:T([0-9]{2})([0-9]{2})([0-9]{2})(Z)?)?")
_DAY = re.compile(r"([+-]?[0-9]{1,2})?([A-Z]{2})")
_NUMBER = re.compile(r"[+-]?[0-9]{1,7}")
_NAIVE_EPOCH: Final = datetime(1970, 1, 1)


@dataclass(frozen=True, slots=True)
class Rule:
    """
    One rule, as it was given. Tuples are sorted; an empty one means that the part is not there.

    Attributes:
        byday: Pairs of a number (0: every such day) and a weekday (0 is Monday).
    """

    freq: int
    interval: int = 1
    count: int | None = None
    until: Moment | None = None
    wkst: int = 0
    bymonth: tuple[int, ...] = ()
    byweekno: tuple[int, ...] = ()
    byyearday: tuple[int, ...] = ()
    bymonthday: tuple[int, ...] = ()
    byday: tuple[tuple[int, int], ...] = ()
    byhour: tuple[int, ...] = ()
    byminute: tuple[int, ...] = ()
    bysecond: tuple[int, ...] = ()
    bysetpos: tuple[int, ...] = ()

    def text(self) -> str:
        """Return the rule as RFC 5545 writes it."""
        parts = [f"FREQ={FREQUENCIES[self.freq]}"]
        if self.interval != 1:
            parts.append(f"INTERVAL={self.interval}")
        if self.count is not None:
            parts.append(f"COUNT={self.count}")
        if self.until is not None:
            parts.append(f"UNTIL={stamp_text(self.until)}")
        if self.wkst:
            parts.append(f"WKST={WEEKDAYS[self.wkst]}")
        for name in _LISTS:
            values = getattr(self, name.lower())
            if values:
                parts.append(f"{name}={','.join(map(str, values))}")
            if name == "BYMONTHDAY" and self.byday:
                parts.append("BYDAY=" + ",".join(f"{n or ''}{WEEKDAYS[day]}" for n, day in self.byday))
        return ";".join(parts)


@dataclass(frozen=True, slots=True)
class Recurrence:
    """All that a text says: rules, single moments, and exceptions; and where it begins, and in which zone."""

    rules: tuple[Rule, ...]
    rdates: tuple[Moment, ...] = ()
    exrules: tuple[Rule, ...] = ()
    exdates: tuple[Moment, ...] = ()
    start: Moment | None = None
    zone: str | None = None

    def without_start(self) -> Recurrence:
        """Return the rules and dates alone."""
        return Recurrence(self.rules, self.rdates, self.exrules, self.exdates)

    def lines(self) -> list[str]:
        """Return it as canonical lines, without the start; a single rule stands without its name."""
        if len(self.rules) == 1 and not (self.rdates or self.exrules or self.exdates):
            return [self.rules[0].text()]
        return [
            *(f"RRULE:{rule.text()}" for rule in self.rules),
            *_date_lines("RDATE", self.rdates),
            *(f"EXRULE:{rule.text()}" for rule in self.exrules),
            *_date_lines("EXDATE", self.exdates),
        ]


def read_recurrence(text: object) -> Recurrence:
    """
    Return what *text* says: the value of an RRULE alone, or lines of DTSTART, RRULE, RDATE, EXDATE and EXRULE.

    Raises:
        InvalidScheduleError: A part cannot be read, is unknown, twice there, out of range, or contradicts another.
    """
    if not isinstance(text, str):
        raise InvalidScheduleError(f"rrule: the rule is {shown(text)}; give text such as 'FREQ=MONTHLY;BYDAY=-1FR'")
    if not 1 <= len(text) <= TEXT_CHARS_MAX:
        raise InvalidScheduleError(f"rrule: {len(text)} characters are outside 1–{TEXT_CHARS_MAX}")
    return _read(text)


@lru_cache(maxsize=CACHED_MAX)
def _read(text: str) -> Recurrence:
    if not text.isascii():
        raise InvalidScheduleError(f"rrule {shown(text)}: only ASCII characters are allowed")
    unfolded = re.sub(r"\r?\n[ \t]", "", text.strip()) if "\n" in text else text
    lines = [line.strip() for line in unfolded.upper().splitlines() if line.strip()]
    if not 1 <= len(lines) <= LINES_MAX:
        raise InvalidScheduleError(f"rrule {shown(text)}: {len(lines)} lines are outside 1–{LINES_MAX}")
    # Zones are the one thing whose case matters.
    given = [line.strip() for line in unfolded.splitlines() if line.strip()]
    found = _Lines()
    for upper, line in zip(lines, given, strict=True):
        found.read(upper, line)
    return found.recurrence(text)


def stamp_text(moment: Moment) -> str:
    """Return *moment* as RFC 5545 writes it: ``20261231T090000Z``, local without the Z, or ``20261231``."""
    return moment.iso().replace("-", "").replace(":", "")


class _Lines:
    """What the lines read so far have said."""

    def __init__(self) -> None:
        self.start: Moment | None = None
        self.zone: str | None = None
        self.rules: list[Rule] = []
        self.exrules: list[Rule] = []
        self.rdates: set[Moment] = set()
        self.exdates: set[Moment] = set()

    def read(self, line: str, as_given: str) -> None:
        head, colon, value = line.partition(":")
        if not colon:
            head, value = "RRULE", line
        name, *parameters = head.split(";")
        if name not in LINE_NAMES:
            raise InvalidScheduleError(
                f"rrule: the line {shown(as_given)} is not known; known: {', '.join(LINE_NAMES)}, each with a colon"
            )
        if name in ("RRULE", "EXRULE"):
            if parameters:
                raise InvalidScheduleError(f"rrule: {name} takes no parameter, and has {shown(parameters[0])}")
            self._add_rule(name, value)
            return
        zone = _zone_of(name, parameters, as_given)
        if name == "DTSTART":
            if self.start is not None:
                raise InvalidScheduleError("rrule: DTSTART is there twice")
            self.start = _read_stamp("DTSTART", value)
            self.zone = "UTC" if self.start.is_utc else zone
            return
        values = value.split(",")
        kept = self.rdates if name == "RDATE" else self.exdates
        if len(values) + len(kept) > DATES_MAX:
            raise InvalidScheduleError(f"rrule: {name} has {len(values)} dates, which is outside 1–{DATES_MAX}")
        for text in values:
            moment = _in_utc(_read_stamp(name, text), zone)
            if moment is not None:
                kept.add(moment)

    def _add_rule(self, name: str, value: str) -> None:
        kept = self.rules if name == "RRULE" else self.exrules
        rule = read_rule(value)
        if rule not in kept:
            kept.append(rule)
        if len(kept) > RULES_MAX:
            raise InvalidScheduleError(f"rrule: more than {RULES_MAX} lines {name} are outside what one schedule takes")

    def recurrence(self, text: str) -> Recurrence:
        if not self.rules and not self.rdates:
            raise InvalidScheduleError(f"rrule {shown(text)}: it says no moment; give an RRULE or an RDATE")
        return Recurrence(
            rules=tuple(sorted(self.rules, key=Rule.text)),
            rdates=_sorted(self.rdates),
            exrules=tuple(sorted(self.exrules, key=Rule.text)),
            exdates=_sorted(self.exdates),
            start=self.start,
            zone=self.zone,
        )


def read_rule(text: str) -> Rule:
    """Return the rule that *text* (upper case) is: ``FREQ=MONTHLY;BYDAY=-1FR``."""
    given: dict[str, str] = {}
    for part in text.rstrip(";").split(";"):
        name, equals, value = part.strip().partition("=")
        if not equals or name not in _READERS:
            what = f"part {shown(name)}" if equals else shown(part)
            raise InvalidScheduleError(f"rrule {shown(text)}: {what} is not known; known: {', '.join(_READERS)}")
        if name in given:
            raise InvalidScheduleError(f"rrule {shown(text)}: {name} is there twice")
        given[name] = value.strip()
    if "FREQ" not in given:
        raise InvalidScheduleError(f"rrule {shown(text)}: FREQ is missing; give one of {', '.join(FREQUENCIES)}")
    try:
        read: dict[str, Any] = {name.lower(): _READERS[name](value) for name, value in given.items()}
        rule = Rule(**read)
        _check(rule)
    except InvalidScheduleError as error:
        raise InvalidScheduleError(f"rrule {shown(text)}: {error}") from None
    return rule


def _check(rule: Rule) -> None:
    """Refuse what RFC 5545 forbids to stand together."""
    freq = FREQUENCIES[rule.freq]
    if rule.count is not None and rule.until is not None:
        raise InvalidScheduleError("COUNT and UNTIL do not go together; each ends the rule")
    if rule.byweekno and rule.freq != YEARLY:
        raise InvalidScheduleError(f"BYWEEKNO stands only with FREQ=YEARLY, and not with FREQ={freq}")
    if rule.byyearday and rule.freq in (MONTHLY, WEEKLY, DAILY):
        raise InvalidScheduleError(f"BYYEARDAY does not go with FREQ={freq}; use FREQ=YEARLY")
    if rule.bymonthday and rule.freq == WEEKLY:
        raise InvalidScheduleError(
            "BYMONTHDAY does not go with FREQ=WEEKLY; use FREQ=MONTHLY with BYMONTHDAY and BYDAY"
        )
    numbers = [n for n, _ in rule.byday if n]
    if numbers and (rule.freq not in (YEARLY, MONTHLY) or rule.byweekno):
        beside = "BYWEEKNO" if rule.byweekno else f"FREQ={freq}"
        raise InvalidScheduleError(
            f"BYDAY with a number, such as {numbers[0]}{WEEKDAYS[dict(rule.byday)[numbers[0]]]}, does not go with "
            f"{beside}; use FREQ=MONTHLY or FREQ=YEARLY"
        )
    if numbers and rule.freq == MONTHLY and not -5 <= min(numbers) <= max(numbers) <= 5:
        raise InvalidScheduleError("BYDAY: the number of a weekday in a month is outside 1–5 and -5–-1")
    by_days = rule.bymonth or rule.byweekno or rule.byyearday or rule.bymonthday or rule.byday
    if rule.bysetpos and not (by_days or rule.byhour or rule.byminute or rule.bysecond):
        raise InvalidScheduleError("BYSETPOS chooses among what other BY… parts give, and there is none")


def _read_freq(text: str) -> int:
    if text not in FREQUENCIES:
        raise InvalidScheduleError(f"FREQ {shown(text)} is not known; known: {', '.join(FREQUENCIES)}")
    return FREQUENCIES.index(text)


def _whole(name: str, high: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        if not text.isdigit() or len(text) > 12 or not 1 <= int(text) <= high:
            raise InvalidScheduleError(f"{name} {shown(text)} is outside 1–{high}")
        return int(text)

    return read


def _read_until(text: str) -> Moment:
    return _read_stamp("UNTIL", text)


def _read_wkst(text: str) -> int:
    if text not in WEEKDAYS:
        raise InvalidScheduleError(f"WKST {shown(text)} is not known; known: {', '.join(WEEKDAYS)}")
    return WEEKDAYS.index(text)


def _numbers(name: str, low: int, high: int, *, signed: bool = False) -> Callable[[str], tuple[int, ...]]:
    bounds = f"{low}–{high} and -{high}–-{low}" if signed else f"{low}–{high}"

    def read(text: str) -> tuple[int, ...]:
        values = set()
        for item in _items(name, text):
            value = int(item) if _NUMBER.fullmatch(item) else None
            if value is None or not low <= (abs(value) if signed else value) <= high:
                raise InvalidScheduleError(f"{name} {shown(item)} is outside {bounds}")
            values.add(value)
        # From the beginning on, and then from the end.
        return tuple(sorted(values, key=lambda value: (value < 0, value)))

    return read


def _read_days(text: str) -> tuple[tuple[int, int], ...]:
    days = set()
    for item in _items("BYDAY", text):
        match = _DAY.fullmatch(item)
        if match is None or match.group(2) not in WEEKDAYS:
            raise InvalidScheduleError(
                f"BYDAY {shown(item)} is no weekday; give {', '.join(WEEKDAYS)}, with a number as in 2TU or -1FR"
            )
        number = int(match.group(1) or 0)
        if match.group(1) and not 1 <= abs(number) <= 53:
            raise InvalidScheduleError(f"BYDAY {shown(item)}: the number is outside 1–53 and -53–-1")
        days.add((number, WEEKDAYS.index(match.group(2))))
    return tuple(sorted(days, key=lambda day: (day[0] < 0, day)))


def _items(name: str, text: str) -> list[str]:
    items = text.split(",")
    if len(items) > 732:
        raise InvalidScheduleError(f"{name} has {len(items)} values, which is outside 1–732")
    return [item.strip() for item in items]


_LISTS: Final = {
    "BYMONTH": _numbers("BYMONTH", 1, 12),
    "BYWEEKNO": _numbers("BYWEEKNO", 1, 53, signed=True),
    "BYYEARDAY": _numbers("BYYEARDAY", 1, 366, signed=True),
    "BYMONTHDAY": _numbers("BYMONTHDAY", 1, 31, signed=True),
    "BYHOUR": _numbers("BYHOUR", 0, 23),
    "BYMINUTE": _numbers("BYMINUTE", 0, 59),
    "BYSECOND": _numbers("BYSECOND", 0, 59),
    "BYSETPOS": _numbers("BYSETPOS", 1, 366, signed=True),
}

_READERS: Final[dict[str, Callable[[str], object]]] = {
    "FREQ": _read_freq,
    "INTERVAL": _whole("INTERVAL", INTERVAL_MAX),
    "COUNT": _whole("COUNT", COUNT_MAX),
    "UNTIL": _read_until,
    "WKST": _read_wkst,
    "BYDAY": _read_days,
    **_LISTS,
}


def _read_stamp(name: str, text: str) -> Moment:
    text = text.strip()
    match = _STAMP.fullmatch(text)
    if match is None:
        raise InvalidScheduleError(
            f"rrule: {name} {shown(text)} is no moment; give 20261231T090000 (local), 20261231T090000Z (UTC) or 20261231"
        )
    try:
        year, month, day, hour, minute, second = (int(group or 0) for group in match.groups()[:6])
        moment = datetime(year, month, day, hour, minute, second)
    except ValueError as error:
        raise InvalidScheduleError(f"rrule: {name} {shown(text)} is no moment: {error}") from None
    seconds = (moment - _NAIVE_EPOCH).days * 86_400 + (moment - _NAIVE_EPOCH).seconds
    return Moment(seconds * 1000, is_utc=match.group(7) is not None, is_date=match.group(4) is None)


def _zone_of(name: str, parameters: list[str], as_given: str) -> str | None:
    zone = None
    for index, parameter in enumerate(parameters):
        key, _, value = parameter.partition("=")
        if key == "TZID":
            given = as_given.partition(":")[0].split(";")[index + 1].partition("=")[2]
            zone = zone_name(given.strip('"').removeprefix("/"))
        elif key != "VALUE" or value not in ("DATE", "DATE-TIME"):
            hint = "; give the beginning of each period as a DATE-TIME" if value == "PERIOD" else ""
            raise InvalidScheduleError(f"rrule: {name}: parameter {shown(parameter)} is not known{hint}")
    return zone


def _in_utc(moment: Moment, zone: str | None) -> Moment | None:
    """Return a moment of a line with its own zone as an instant; None where that zone's clocks never show it."""
    if zone is None or moment.is_utc or moment.is_date:
        return moment
    table = zone_table(zone)
    if times_shown(table, moment.ms // 1000) == 0:
        return None
    return Moment(shown_ms(table, moment.ms), is_utc=True)


def _sorted(moments: set[Moment]) -> tuple[Moment, ...]:
    return tuple(sorted(moments, key=lambda moment: (moment.ms, moment.is_utc, moment.is_date)))


def _date_lines(name: str, moments: tuple[Moment, ...]) -> list[str]:
    return [f"{name}:{','.join(map(stamp_text, moments))}"] if moments else []
