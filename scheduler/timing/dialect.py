"""
``crontab(…, dialect="croniter")``: expressions as croniter reads them.

croniter itself says which local times match, stepping in naive local time where it knows no clock changes; our search (`wall`) says
when a zone shows them, under the same daylight-saving rule as our own crontabs. So what an expression means is croniter's, and its
mistakes at changes of clocks are not.

What croniter draws at random (``R``) is settled like ``H``: hashed from the entry's name, so that every process finds the same.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from typing import Any, Final

from croniter import CroniterBadDateError, CroniterNotAlphaError, croniter

from scheduler.errors import InvalidScheduleError
from scheduler.timing.base import UTC_S_MAX, UTC_S_MIN, Schedule
from scheduler.timing.wall import first_fire_s, last_fire_s
from scheduler.timing.wording import shown
from scheduler.timing.zone_table import Zone
from scheduler.timing.zones import zone_name, zone_table

EXPRESSION_CHARS_MAX: Final = 1_024
YEARS_MAX: Final = 50
"""No date recurs more rarely than each 40 years, as 29 February on one weekday does; longer searches are in vain."""

# When croniter's search for a first match begins: with a year field it reaches back to 1970.
_START_S: Final = 946_684_800 - 1
_START_OF_YEARS_S: Final = -1

_DRAWN: Final = re.compile(r"[hr](\(\d+-\d+\))?(/\d+)?", re.ASCII | re.IGNORECASE)
_LONG_NUMBER: Final = re.compile(r"\d{5}", re.ASCII)
_FIELDS: Final = (
    "five fields (minute hour day-of-month month day-of-week), six with the second last, or seven with the year"
)

# How croniter's own options call our rules for two restricted day fields; None is its default, that either may match.
_DAY_MATCHES: Final[dict[str | None, dict[str, Any]]] = {
    None: {},
    "and": {"day_or": False},
    "vixie": {"implement_cron_bug": True},
}


def croniter_crontab(expr: object, *, zone: str | None, gap: str, fold: str, day_match: str | None) -> CroniterCrontab:
    """
    Return the schedule of *expr*, as croniter reads it; the options are those of `crontab`.

    Raises:
        InvalidScheduleError: croniter cannot read it, or it can never fire.
    """
    text = _checked(expr)
    try:
        return CroniterCrontab(text, zone=zone, gap=gap, fold=fold, day_match=day_match)
    except InvalidScheduleError as error:
        raise InvalidScheduleError(f"crontab {shown(expr)}: {error}") from None


class CroniterCrontab(Schedule):
    """A crontab in croniter's dialect. Users make it with `crontab`."""

    __slots__ = ("_day_match", "_floors_s", "_fold", "_gap", "_pattern", "_zone")

    STEP_COST = 30

    _gap: str
    _fold: str
    _day_match: str | None
    _pattern: _Pattern | None
    _zone: Zone
    _floors_s: list[int]

    def __init__(self, text: str, *, zone: str | None, gap: str, fold: str, day_match: str | None) -> None:
        fields = text.split()
        is_wildcard = any(field.startswith("*") for field in fields[:2])
        is_drawn = any(_DRAWN.fullmatch(field) for field in fields)
        pattern = _Pattern(text, day_match, hash_id=b"" if is_drawn else None)
        super().__init__(
            text=text,
            zone=zone,
            meaning=("croniter", text.lower(), day_match, None if is_wildcard else (gap, fold), zone),
        )
        table = zone_table(zone or "UTC")
        floors_s = (
            table.floors_s(run_gaps=False, fold_once=False)
            if is_wildcard
            else table.floors_s(run_gaps=gap == "run", fold_once=fold == "first")
        )
        self._set("_gap", gap)
        self._set("_fold", fold)
        self._set("_day_match", day_match)
        self._set("_pattern", None if is_drawn else pattern)
        self._set("_zone", table)
        self._set("_floors_s", floors_s)

    def next_ms(self, after_ms: int) -> int | None:
        after_s = max(after_ms // 1000, UTC_S_MIN - 1)
        fire_s = first_fire_s(self._pattern or self._unsettled(), self._zone, self._floors_s, after_s)
        return None if fire_s is None or fire_s > UTC_S_MAX else fire_s * 1000

    def previous_ms(self, before_ms: int) -> int | None:
        before_s = min(-(-before_ms // 1000), UTC_S_MAX + 1)
        fire_s = last_fire_s(self._pattern or self._unsettled(), self._zone, self._floors_s, before_s)
        return None if fire_s is None or fire_s < UTC_S_MIN else fire_s * 1000

    def in_zone(self, name: str) -> Schedule:
        if self.zone is not None:
            return self
        return CroniterCrontab(
            self.text, zone=zone_name(name), gap=self._gap, fold=self._fold, day_match=self._day_match
        )

    def for_entry(self, name: str) -> Schedule:
        if self._pattern is not None:
            return self
        return CroniterCrontab(
            _drawn_for(self.text, name), zone=self.zone, gap=self._gap, fold=self._fold, day_match=self._day_match
        )

    def words(self) -> str:
        return f"{self.text}, as croniter reads it"

    def as_data(self) -> dict[str, Any]:
        return {
            "kind": "crontab",
            "expr": self.text,
            "tz": self.zone,
            "gap": self._gap,
            "fold": self._fold,
            "day_match": self._day_match,
            "dialect": "croniter",
        }

    def __repr__(self) -> str:
        defaults = {"tz": None, "gap": "run", "fold": "first", "day_match": None, "dialect": None}
        data = self.as_data()
        options = [f", {name}={data[name]!r}" for name, default in defaults.items() if data[name] != default]
        return f"crontab({self.text!r}{''.join(options)})"

    def _unsettled(self) -> _Pattern:
        raise InvalidScheduleError(
            f"crontab {shown(self.text)}: H and R are drawn by an entry's name, and no entry has been named; "
            "use it in an entry, or ask for_entry(name)"
        )


class _Pattern:
    """
    The local times that match, as croniter finds them. See `scheduler.timing.wall.Pattern`.

    Raises:
        InvalidScheduleError: croniter cannot read *text*, or finds no match at all.
    """

    __slots__ = ("_croniter", "repeats")

    def __init__(self, text: str, day_match: str | None, *, hash_id: bytes | None) -> None:
        has_years = len(text.split()) > 6
        start_s = _START_OF_YEARS_S if has_years else _START_S
        try:
            self._croniter = croniter(
                text, start_s, max_years_between_matches=130 if has_years else YEARS_MAX, hash_id=hash_id,
                **_DAY_MATCHES[day_match],
            )  # fmt: skip
            copy.copy(self._croniter).get_next(float)
        except CroniterBadDateError:
            raise InvalidScheduleError("it never fires, as croniter reads it: no date matches") from None
        except (ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
            raise InvalidScheduleError(f"croniter cannot read it: {_reason(error)}") from None
        self.repeats = not has_years

    def at_or_after(self, local_s: int) -> int | None:
        """Return the first match that is not before *local_s*, or None."""
        return self._found(local_s - 1, croniter.get_next)

    def at_or_before(self, local_s: int) -> int | None:
        """Return the last match that is not after *local_s*, or None."""
        return self._found(local_s + 1, croniter.get_prev)

    def _found(self, start_s: int, find: Callable[..., float]) -> int | None:
        try:
            # A copy, since croniter keeps its place in itself.
            return int(find(copy.copy(self._croniter), float, start_s))
        except (CroniterBadDateError, OverflowError, ValueError):
            return None  # None in the time it looks at, or beyond the years 1–9999.


def _checked(expr: object) -> str:
    """Return *expr* with single blanks between its fields, aliases as they are."""
    if not isinstance(expr, str):
        raise InvalidScheduleError(f"crontab: the expression is {shown(expr)}; give text of {_FIELDS}")
    if not 1 <= len(expr) <= EXPRESSION_CHARS_MAX:
        raise InvalidScheduleError(
            f"crontab {shown(expr)}: {len(expr)} characters are outside 1–{EXPRESSION_CHARS_MAX}"
        )
    for position, char in enumerate(expr):
        if not (" " <= char <= "~" or char == "\t"):
            raise InvalidScheduleError(
                f"crontab {shown(expr)}: character {position + 1}, {char!a}, is outside printable ASCII; "
                "only blanks and tabs separate fields"
            )
    if _LONG_NUMBER.search(expr):
        raise InvalidScheduleError(f"crontab {shown(expr)}: a number of more than 4 digits is outside every field")
    fields = expr.split()
    is_alias = len(fields) == 1 and fields[0].startswith("@")
    if not is_alias and len(fields) not in (5, 6, 7):
        raise InvalidScheduleError(f"crontab {shown(expr)}: {len(fields)} fields; croniter reads {_FIELDS}")
    return " ".join(fields)


def _drawn_for(text: str, name: str) -> str:
    """Return *text* with the values of its drawn fields (``H``, ``R(0-29)``, ``H/15``) for the entry *name*."""
    fields = text.split()
    hashed = [f"h{field[1:]}" if _DRAWN.fullmatch(field) else field for field in fields]
    values = {}
    for kind, prefix in (("h", b""), ("r", b"random ")):
        expanded, _ = croniter.expand(" ".join(hashed), hash_id=prefix + name.encode())
        values[kind] = expanded
    return " ".join(
        ",".join(str(value) for value in values[field[0].lower()][index]) if _DRAWN.fullmatch(field) else field
        for index, field in enumerate(fields)
    )


def _reason(error: Exception) -> str:
    """Return why croniter refuses, on one short line and without the expression, which stands before it already."""
    if isinstance(error, CroniterNotAlphaError):
        return "it has letters or signs where a number, a month or a weekday should be"
    text = re.sub(r"^\[.*?\] (is not acceptable[.,:]? ?)?", "", " ".join(str(error).split()))
    return text[:200] or type(error).__name__
