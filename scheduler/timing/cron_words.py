"""Each field of a crontab in words: which values it names."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from scheduler.timing.cron_field import DAY_OF_MONTH, DAY_OF_WEEK, FIVE, MONTH, SIX, Field, FieldKind, parse_field

WEEKDAYS: Final = ("Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday")
MONTHS: Final = ("", "January", "February", "March", "April", "May", "June", "July", "August", "September", "October",
                 "November", "December")  # fmt: skip
SHOWN: Final = 12
"""So many values are listed; of more the first ones and the last."""


def field_words(fields: tuple[str, ...]) -> list[tuple[str, str, str]]:
    """Return name, text and words of each of five or six *fields*, which can be read."""
    kinds = SIX if len(fields) == 6 else FIVE
    return [(kind.name, text, _words(kind, parse_field(kind, text))) for kind, text in zip(kinds, fields, strict=True)]


def _words(kind: FieldKind, field: Field) -> str:
    if field.is_hashed:
        return "hashed from the entry's name"
    if field.text in ("*", "?"):
        return "every day" if kind.is_day else f"every {kind.name}"
    return ", ".join([*_values(kind, field.mask), *_special(kind, field)])


def _values(kind: FieldKind, mask: int) -> list[str]:
    """The values of *mask*, three and more in a row as a range."""
    values = [value for value in range(kind.low, kind.high + 1) if mask >> value & 1]
    runs: list[list[int]] = []
    for value in values:
        if runs and runs[-1][-1] == value - 1:
            runs[-1].append(value)
        else:
            runs.append([value])
    shown = [
        text
        for run in runs
        for text in (
            [f"{_value(kind, run[0])}–{_value(kind, run[-1])}"] if len(run) > 2 else [_value(kind, v) for v in run]
        )
    ]
    if len(shown) > SHOWN:
        shown = [*shown[:3], "…", f"{shown[-1]} ({len(values)} values)"]
    return shown


def _value(kind: FieldKind, value: int) -> str:
    if kind is DAY_OF_WEEK:
        return WEEKDAYS[value % 7]
    return MONTHS[value] if kind is MONTH else str(value)


def _special(kind: FieldKind, field: Field) -> Iterator[str]:
    if field.last_day:
        yield "the last day of the month"
    if field.last_working_day:
        yield "the last working day of the month"
    for day in field.near:
        yield f"the working day nearest to the {_nth(day)}"
    for weekday, nth in field.nth:
        yield f"the {_nth(nth)} {WEEKDAYS[weekday % 7]} of the month"
    for weekday in field.last:
        yield f"the last {WEEKDAYS[weekday % 7]} of the month"
    assert kind in (DAY_OF_MONTH, DAY_OF_WEEK) or not (field.last_day or field.near or field.nth or field.last)


def _nth(n: int) -> str:
    ending = "th" if 10 < n % 100 < 14 else {1: "st", 2: "nd", 3: "rd"}.get(n % 10, "th")
    return f"{n}{ending}"
