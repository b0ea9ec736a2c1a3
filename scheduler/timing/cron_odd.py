"""
What is legal in a crontab and rarely meant: the slips that people make again and again, one sentence each.

Only what the expression itself shows. What depends on its zone and the coming year is in `scheduler.foresee.warnings`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Final

from scheduler.timing.cron_field import (
    DAY_OF_MONTH,
    DAY_OF_WEEK,
    FIVE,
    HOUR,
    MINUTE,
    MONTH,
    SECOND,
    SIX,
    Field,
    FieldKind,
    parse_field,
)

# How many values a field has, what it begins anew with, and how `every` would say the same distance.
_CYCLES: Final[dict[FieldKind, tuple[int, str, str]]] = {
    SECOND: (60, "minute", "every('{}s')"),
    MINUTE: (60, "hour", "every('{}m')"),
    HOUR: (24, "day", "every('{}h')"),
    MONTH: (12, "year", "every(months={})"),
    DAY_OF_WEEK: (7, "Sunday", "every(days={})"),
    DAY_OF_MONTH: (0, "month", "every(days={})"),
}
_UNITS: Final = {SECOND: "second", MINUTE: "minute", HOUR: "hour", MONTH: "month", DAY_OF_WEEK: "day"}
_STEP: Final = re.compile(r"\*/(\d+)")
_MOMENTS: Final = re.compile(r"[0-9,]+")
_LATE_DAYS: Final = {"29": "in most years not in February", "30": "not in February", "31": "not in five of the months"}


@lru_cache(maxsize=4096)
def oddities(fields: tuple[str, ...], day_match: str) -> tuple[str, ...]:
    """Return what is odd about the crontab of *fields*, five or six of them, which can be read."""
    kinds = SIX if len(fields) == 6 else FIVE
    parsed = [parse_field(kind, text) for kind, text in zip(kinds, fields, strict=True)]
    return (
        *(note for field in parsed for note in field.oddities),
        *_about_days(parsed, day_match),
        *_about_order(parsed),
        *_about_stars(parsed),
        *_about_steps(kinds, parsed),
    )


def misleads(fields: tuple[str, ...]) -> bool:
    """Return whether a description of *fields* in words would be wrong: of ``*/90`` it says "every 90 minutes"."""
    kinds = SIX if len(fields) == 6 else FIVE
    return any(parse_field(kind, text).oddities for kind, text in zip(kinds, fields, strict=True))


def _about_days(parsed: list[Field], day_match: str) -> Iterator[str]:
    day_of_month, month, day_of_week = parsed[-3:]
    stars = [field for field in (day_of_month, day_of_week) if field.is_star]
    if day_match == "vixie" and not stars:
        yield (
            f"day-of-month {day_of_month.text} and day-of-week {day_of_week.text} are both restricted: "
            "a day that matches either of them fires; day_match='and' asks for both"
        )
    elif day_match == "vixie" and all(field.text not in ("*", "?") for field in (day_of_month, day_of_week)):
        yield (
            f"day-of-month {day_of_month.text} and day-of-week {day_of_week.text}: as one of them begins with '*', "
            "a day has to match both; some other crons would take either"
        )
    lost = _LATE_DAYS.get(day_of_month.text)
    if lost and month.text == "*" and day_of_week.text in ("*", "?"):
        yield f"day-of-month {day_of_month.text} is {lost}; L is the last day of every month"


def _about_order(parsed: list[Field]) -> Iterator[str]:
    if len(parsed) == 6 and _looks_like_seconds_last(parsed):
        yield (
            "six fields put the second first; this looks like croniter's order with the second last, "
            f"which would be '{parsed[-1].text} {' '.join(field.text for field in parsed[:-1])}'"
        )


def _looks_like_seconds_last(parsed: list[Field]) -> bool:
    """
    Return whether six fields make more sense with the second last.

    Seconds last, the last field is nearly always ``0`` or a step, and the first one, then the minute, is often ``*``;
    seconds first, that would be every second of all Sundays.
    """
    first, last = parsed[0].text, parsed[-1].text
    return last == "0" or last.startswith("*/") or (parsed[0].is_star and not parsed[-1].is_star and first != last)


def _about_stars(parsed: list[Field]) -> Iterator[str]:
    minute, hour = parsed[-5], parsed[-4]
    if minute.text == "*" and _MOMENTS.fullmatch(hour.text):
        yield (
            f"minute * beside hour {hour.text} fires in each minute of it, 60 times; "
            f"'0 {hour.text} …' fires at its beginning"
        )
    if len(parsed) == 6 and parsed[0].text == "*" and _MOMENTS.fullmatch(minute.text):
        yield f"second * beside minute {minute.text} fires in each second of it, 60 times; second 0 fires once"


def _about_steps(kinds: tuple[FieldKind, ...], parsed: list[Field]) -> Iterator[str]:
    for index, (kind, field) in enumerate(zip(kinds, parsed, strict=True)):
        match = _STEP.fullmatch(field.text)
        size, cycle, rule = _CYCLES[kind]
        step = int(match.group(1)) if match else 1
        if step == 1 or field.oddities:
            continue
        instead = f"{rule.format(step)} keeps the distance"
        if kind is DAY_OF_MONTH and parsed[-1].text not in ("*", "?"):
            continue
        if kind is DAY_OF_MONTH:
            yield f"{kind.name} {field.text} begins anew with each month, whatever its length; {instead}"
        elif size % step and (kind not in (SECOND, MINUTE) or parsed[index + 1].text == "*"):
            rest = size % step
            unit = _UNITS[kind] if rest == 1 else f"{_UNITS[kind]}s"
            yield f"{kind.name} {field.text} begins anew with each {cycle}, {rest} {unit} after the last; {instead}"
