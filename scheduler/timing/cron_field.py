"""
One field of a crontab: its grammar, and what it stands for.

    term    = "*" | "*/n" | a | a "-" b | a "-" b "/n" | a "/n" | hashed
    hashed  = "H" | "H/n" | "H(a-b)" | "H(a-b)/n"
    day     = "L" | "LW" | n "W"           (day-of-month)
    weekday = d "#" n | d "L"              (day-of-week)
    field   = term { "," term } | "?"      ("?" in the two day fields)

A reversed range wraps, and its step runs along the wrapped sequence: ``22-4/3`` is 22, 1, 4. ``a/n`` runs from ``a``
to the maximum. Weekday 7 is Sunday, as 0 is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

from scheduler.errors import InvalidScheduleError
from scheduler.timing.jitter import stable_hash
from scheduler.timing.wording import shown

DIGITS_MAX: Final = 4
NTH_MAX: Final = 5


@dataclass(frozen=True, slots=True, eq=False)
class FieldKind:
    """
    One of the six fields.

    Attributes:
        wrap_max: The highest value of a wrapped range; one less than *high* where *high* is another word for *low*.
        hash_max: The highest value that ``H`` picks; every month has it.
    """

    name: str
    low: int
    high: int
    names: tuple[str, ...] = ()
    wrap_max: int = 0
    hash_max: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "wrap_max", self.wrap_max or self.high)
        object.__setattr__(self, "hash_max", self.hash_max or self.wrap_max)

    @property
    def is_day(self) -> bool:
        return self is DAY_OF_MONTH or self is DAY_OF_WEEK

    @property
    def bounds(self) -> str:
        return f"{self.low}–{self.high}"


SECOND: Final = FieldKind("second", 0, 59)
MINUTE: Final = FieldKind("minute", 0, 59)
HOUR: Final = FieldKind("hour", 0, 23)
DAY_OF_MONTH: Final = FieldKind("day-of-month", 1, 31, hash_max=28)
MONTH: Final = FieldKind(
    "month", 1, 12, ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
)
DAY_OF_WEEK: Final = FieldKind("day-of-week", 0, 7, ("sun", "mon", "tue", "wed", "thu", "fri", "sat"), wrap_max=6)

FIVE: Final = (MINUTE, HOUR, DAY_OF_MONTH, MONTH, DAY_OF_WEEK)
SIX: Final = (SECOND, *FIVE)


@dataclass(slots=True, eq=False)
class Field:
    """
    What one field says. Once read it is shared by all that say the same, and not changed any more.

    Attributes:
        text: The field in canonical spelling: names in lower case, ``L W H`` in upper case.
        mask: Bit ``v`` is set where the value ``v`` is named outright.
        is_star: It starts with ``*``, or is ``?``.
        is_hashed: It has an ``H``, so that *mask* is not the whole truth before the entry's name is known.
        last_day, last_working_day: ``L`` and ``LW`` of the day of the month.
        near: The days ``n`` of each ``nW``.
        nth: The (weekday, n) of each ``d#n``.
        last: The weekdays of each ``dL``.
        oddities: What is legal but rarely meant.
    """

    text: str = ""
    mask: int = 0
    is_star: bool = False
    is_hashed: bool = False
    last_day: bool = False
    last_working_day: bool = False
    near: list[int] = field(default_factory=list)
    nth: list[tuple[int, int]] = field(default_factory=list)
    last: list[int] = field(default_factory=list)
    oddities: list[str] = field(default_factory=list)


_VALUE = r"([0-9]+|[a-z]{3})"
_TERM = re.compile(rf"(?:(\*)|{_VALUE}(?:-{_VALUE})?)(?:/([0-9]+))?")
_HASHED = re.compile(rf"h(?:\({_VALUE}-{_VALUE}\))?(?:/([0-9]+))?")
_NEAR = re.compile(r"([0-9]+)w")
_NTH = re.compile(rf"{_VALUE}#([0-9]+)")
_LAST = re.compile(rf"{_VALUE}l")


@lru_cache(maxsize=4096)
def parse_field(kind: FieldKind, text: str) -> Field:
    """
    Read *text* as a field of *kind*.

    Raises:
        InvalidScheduleError: It is none. The message names the field, the value and the range, and not the whole
            expression, which the caller knows.
    """
    parsed = Field(is_star=text.startswith("*"))
    if text == "?":
        if not kind.is_day:
            raise InvalidScheduleError(f"{kind.name} '?' has no meaning; '?' stands only in a day field, write '*'")
        parsed.text, parsed.is_star, parsed.mask = "?", True, _range_mask(kind, kind.low, kind.high, 1)
        return parsed
    terms = []
    for term in text.lower().split(","):
        if not term:
            raise InvalidScheduleError(f"{kind.name} {shown(text)} has an empty part; check its commas")
        terms.append(_add_term(parsed, kind, term))
    parsed.text = ",".join(terms)
    return parsed


def resolve_field(kind: FieldKind, text: str, entry_name: str) -> str:
    """Return the canonical field *text* with each ``H`` replaced by what *entry_name* hashes to in this field."""
    if "H" not in text:
        return text
    terms = []
    for position, term in enumerate(text.split(",")):
        match = _HASHED.fullmatch(term.lower())
        if match is None:
            terms.append(term)
            continue
        low, high, step = _hashed_parts(kind, match)
        # The field's name takes part, so that `H H * * *` does not run at 7:07 or 8:08 wherever the name leads it.
        number = stable_hash(f"{kind.name}:{position}:{entry_name}")
        if step is None:
            terms.append(str(low + number % (high - low + 1)))
        else:
            terms.append(f"{low + number % min(step, high - low + 1)}-{high}/{step}")
    return ",".join(terms)


def _add_term(parsed: Field, kind: FieldKind, term: str) -> str:
    """Add what *term* (in lower case) says to *parsed*, and return its canonical spelling."""
    match = _TERM.fullmatch(term)
    if match is not None:
        _add_range(parsed, kind, match)
        return term
    if kind.is_day and _add_day_term(parsed, kind, term):
        return term.upper() if kind is DAY_OF_MONTH else term[:-1] + term[-1].upper()
    match = _HASHED.fullmatch(term)
    if match is not None:
        low, high, step_value = _hashed_parts(kind, match)
        if step_value is not None:
            _note_step(parsed, kind, step_value, low, high)
        parsed.is_hashed = True
        return "H" + term[1:]
    raise InvalidScheduleError(_not_understood(kind, term))


def _add_range(parsed: Field, kind: FieldKind, match: re.Match[str]) -> None:
    star, first, last, step = match.groups()
    step_value = 1 if step is None else _step(kind, step)
    if star is not None or first is None:
        low, high = kind.low, kind.wrap_max
    else:
        low = _value(kind, first)
        high = _value(kind, last) if last is not None else low if step is None else kind.high
    if step is not None:
        span = high - low if low <= high else high - low + kind.wrap_max - kind.low + 1
        _note_step(parsed, kind, step_value, low, low + span, shown_as=match.group())
    parsed.mask |= _range_mask(kind, low, high, step_value)


def _range_mask(kind: FieldKind, low: int, high: int, step: int) -> int:
    mask = 0
    for value in _values(kind, low, high, step):
        mask |= 1 << value
    if kind is DAY_OF_WEEK and mask >> 7:
        mask = mask & 0x7F | 1
    return mask


def _values(kind: FieldKind, low: int, high: int, step: int) -> Iterator[int]:
    if low <= high:
        yield from range(low, high + 1, step)
        return
    if low > kind.wrap_max:
        yield from range(kind.low, high + 1, step)  # From Sunday, written as 7: it is the 0 that follows Saturday.
        return
    around = [*range(low, kind.wrap_max + 1), *range(kind.low, high + 1)]
    yield from around[::step]


def _add_day_term(parsed: Field, kind: FieldKind, term: str) -> bool:
    """Add *term* if it is one of those that only a day field knows, and say whether it was."""
    if kind is DAY_OF_MONTH:
        if term == "l":
            parsed.last_day = True
        elif term == "lw":
            parsed.last_working_day = True
        elif (match := _NEAR.fullmatch(term)) is not None:
            parsed.near.append(_value(kind, match.group(1)))
        else:
            return False
        return True
    if (match := _NTH.fullmatch(term)) is not None:
        weekday, nth = _value(kind, match.group(1)) % 7, _number(kind, match.group(2))
        if not 1 <= nth <= NTH_MAX:
            raise InvalidScheduleError(f"{kind.name} '{term}': {nth} after '#' is outside 1–{NTH_MAX}")
        parsed.nth.append((weekday, nth))
        return True
    if (match := _LAST.fullmatch(term)) is not None:
        parsed.last.append(_value(kind, match.group(1)) % 7)
        return True
    return False


def _hashed_parts(kind: FieldKind, match: re.Match[str]) -> tuple[int, int, int | None]:
    first, last, step = match.groups()
    low, high = (kind.low, kind.hash_max) if first is None else (_value(kind, first), _value(kind, last))
    if low > high:
        raise InvalidScheduleError(
            f"{kind.name} '{match.group().upper()}': {low} is above {high}; H takes no wrapped range"
        )
    return low, high, None if step is None else _step(kind, step)


def _value(kind: FieldKind, text: str) -> int:
    if text[0].isdigit():
        value = _number(kind, text)
        if not kind.low <= value <= kind.high:
            raise InvalidScheduleError(f"{kind.name} {value} is outside {kind.bounds}")
        return value
    if text in kind.names:
        return kind.names.index(text) + kind.low
    if kind.names:
        raise InvalidScheduleError(
            f"{kind.name} '{text}' is outside {kind.bounds}, and no name; the names are {' '.join(kind.names)}"
        )
    raise InvalidScheduleError(f"{kind.name} '{text}' is not a number within {kind.bounds}")


def _step(kind: FieldKind, text: str) -> int:
    step = _number(kind, text)
    if step == 0:
        raise InvalidScheduleError(f"{kind.name} step 0 is outside 1–{10**DIGITS_MAX - 1}")
    return step


def _number(kind: FieldKind, text: str) -> int:
    if len(text) > DIGITS_MAX:
        raise InvalidScheduleError(
            f"{kind.name} {shown(text)} is outside {kind.bounds}; a number has at most {DIGITS_MAX} digits"
        )
    return int(text)


def _note_step(parsed: Field, kind: FieldKind, step: int, low: int, high: int, *, shown_as: str = "") -> None:
    if step > high - low:
        parsed.oddities.append(
            f"{kind.name} '{shown_as or f'H/{step}'}': step {step} is larger than the range; one value matches"
        )


def _not_understood(kind: FieldKind, term: str) -> str:
    if kind is DAY_OF_WEEK and term == "l":
        return f"{kind.name} 'L' alone is ambiguous; write 5L for the last Friday, or L as the day-of-month"
    if kind is not DAY_OF_WEEK and "#" in term:
        return f"{kind.name} {shown(term)} is not within {kind.bounds}; '#' stands only in day-of-week"
    if kind is not DAY_OF_MONTH and term in ("l", "lw"):
        return f"{kind.name} '{term.upper()}' is not within {kind.bounds}; it stands only in day-of-month"
    if kind.is_day and "?" in term:
        return f"{kind.name} {shown(term)} is not within {kind.bounds}; '?' stands alone"
    return (
        f"{kind.name} {shown(term)} is not within {kind.bounds}; "
        "write numbers, ranges, steps or lists, such as 1-5, */10 or 1,15"
    )
