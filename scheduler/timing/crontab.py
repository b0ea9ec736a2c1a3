"""
`crontab`: cron's expressions, with the daylight-saving rule of Debian's cron(8).

An entry whose minute or hour field starts with ``*`` is a *wildcard*: it follows real time, runs in both passes of a
repeated hour, and not at all in a gap. Every other entry is *fixed*: a time in a gap runs right after the gap, a time
in a repeated stretch runs in the first pass only. Jumps of three hours and more are corrections of the clock, to which
nobody reacts. `wall` and `zone_table` carry this out.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from functools import lru_cache
from typing import Any, Final

from scheduler.errors import InvalidScheduleError
from scheduler.timing.base import UTC_S_MAX, UTC_S_MIN, Schedule
from scheduler.timing.cron_days import day_masks
from scheduler.timing.cron_field import (
    DAY_OF_WEEK,
    FIVE,
    MONTH,
    SIX,
    Field,
    FieldKind,
    parse_field,
    resolve_field,
)
from scheduler.timing.cron_odd import misleads, oddities
from scheduler.timing.cron_pattern import CronPattern, cron_pattern
from scheduler.timing.wall import first_fire_s, last_fire_s
from scheduler.timing.wording import shown
from scheduler.timing.zone_table import Zone
from scheduler.timing.zones import zone_name, zone_table

EXPRESSION_CHARS_MAX: Final = 1_024
ITEMS_MAX: Final = 256
CACHED_MAX: Final = 32_768

ALIASES: Final = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}

GAPS: Final = ("run", "skip")
FOLDS: Final = ("first", "both")
DAY_MATCHES: Final = ("vixie", "and")
DIALECTS: Final = ("croniter",)

# So that `crontab()` is Celery's every minute, and `crontab(None)` the mistake it looks like.
_NOT_GIVEN: Final[Any] = object()

_FULL_WEEKDAYS: Final = ("sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday")
_FULL_MONTHS: Final = (
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
)
_FULL_NAMES: Final = {DAY_OF_WEEK.name: _FULL_WEEKDAYS, MONTH.name: _FULL_MONTHS}


def crontab(
    expr: str = _NOT_GIVEN,
    *,
    minute: Any = _NOT_GIVEN,
    hour: Any = _NOT_GIVEN,
    day_of_month: Any = _NOT_GIVEN,
    month_of_year: Any = _NOT_GIVEN,
    day_of_week: Any = _NOT_GIVEN,
    tz: Any = None,
    gap: str = "run",
    fold: str = "first",
    day_match: str | None = None,
    dialect: str | None = None,
) -> Schedule:
    """
    Return the schedule of a cron expression, or of Celery's keywords.

    Args:
        expr: Five fields (minute hour day-of-month month day-of-week), or six with seconds first, or an alias such as
            ``@daily``.
        minute, hour, day_of_month, month_of_year, day_of_week: Instead of *expr*, as Celery takes them: text, a
            number, or a list, tuple, set or range of those. What is left out is ``*``.
        tz: A zone by name, a `ZoneInfo` or a pytz zone. Without one, the entry's.
        gap: What becomes of a fixed time that daylight saving skips: it runs right after, or is skipped.
        fold: Whether a fixed time that comes twice runs in the first pass or in both.
        day_match: ``vixie`` (a day has to match both day fields if one starts with ``*``, else either), or ``and``
            (always both; the rule of Celery, and of the keywords).
        dialect: None for the grammar above; ``croniter`` to read *expr* as croniter does: six fields with the second
            last, ``L5``, ``R``, and its own rule for two restricted day fields unless *day_match* says another.

    Raises:
        InvalidScheduleError: Something cannot be read, is out of range, or can never fire.
    """
    has_keywords = not (minute is hour is day_of_month is month_of_year is day_of_week is _NOT_GIVEN)
    if dialect is not None:
        _choice("dialect", dialect, DIALECTS)
        return _in_dialect(expr, has_keywords, tz=tz, gap=gap, fold=fold, day_match=day_match)
    if type(expr) is str and not has_keywords and tz is day_match is None and gap == "run" and fold == "first":
        return _usual(expr)
    if expr is _NOT_GIVEN or has_keywords:
        if expr is not _NOT_GIVEN:
            raise InvalidScheduleError(
                f"crontab {shown(expr)}: give an expression or the keywords minute, hour, …, not both"
            )
        given = zip(FIVE, (minute, hour, day_of_month, month_of_year, day_of_week), strict=True)
        fields = tuple(_keyword_text(kind, value) for kind, value in given)
        default_match = "and"
    else:
        fields = _split(expr)
        default_match = "vixie"
    _choice("gap", gap, GAPS)
    _choice("fold", fold, FOLDS)
    _choice("day_match", day_match, (None, *DAY_MATCHES))
    zone = None if tz is None else zone_name(tz)
    named = f"crontab {shown(expr)}"
    if expr is _NOT_GIVEN:
        named = f"crontab({' '.join(fields)!r})" if sum(map(len, fields)) < 60 else "crontab"
    return _named(named, fields, zone, gap=gap, fold=fold, day_match=day_match or default_match)


@lru_cache(maxsize=CACHED_MAX)
def _usual(expr: str) -> Crontab:
    """Return the crontab of *expr* without any option, as files with very many entries say it again and again."""
    return _named(f"crontab {shown(expr)}", _split(expr), None, gap="run", fold="first", day_match="vixie")


def _named(named: str, fields: tuple[str, ...], zone: str | None, *, gap: str, fold: str, day_match: str) -> Crontab:
    """Return the crontab; what is wrong with it is told under the name *named*."""
    try:
        return _made(fields, zone, gap, fold, day_match)
    except InvalidScheduleError as error:
        raise InvalidScheduleError(f"{named}: {error}{_order_hint(fields, error)}") from None


def _in_dialect(expr: object, has_keywords: bool, *, tz: Any, gap: str, fold: str, day_match: str | None) -> Schedule:
    from scheduler.timing.dialect import croniter_crontab  # noqa: PLC0415 - slow to import, and rarely needed

    if expr is _NOT_GIVEN or has_keywords:
        raise InvalidScheduleError("crontab: dialect='croniter' stands with an expression; keywords have no dialect")
    _choice("gap", gap, GAPS)
    _choice("fold", fold, FOLDS)
    _choice("day_match", day_match, (None, *DAY_MATCHES))
    zone = None if tz is None else zone_name(tz)
    return croniter_crontab(expr, zone=zone, gap=gap, fold=fold, day_match=day_match)


class Crontab(Schedule):
    """A crontab that has been read. Users make it with `crontab`."""

    __slots__ = ("_both", "_day_match", "_fields", "_floors_s", "_fold", "_gap", "_pattern", "_zone")

    _fields: tuple[str, ...]
    _gap: str
    _fold: str
    _day_match: str
    _both: bool
    _pattern: CronPattern | None
    _zone: Zone
    _floors_s: list[int]

    def __init__(self, fields: tuple[str, ...], *, zone: str | None, gap: str, fold: str, day_match: str) -> None:
        read = _read(fields, day_match)
        options: Hashable = None if read.is_wildcard else (gap, fold)
        meaning: Hashable = (
            ("crontab", " ".join(read.fields), day_match, options, zone)
            if read.pattern is None
            else ("crontab", read.pattern.meaning, options, zone)
        )
        super().__init__(text=" ".join(read.fields), zone=zone, meaning=meaning)
        table = zone_table(zone or "UTC")
        self._set("_fields", read.fields)
        self._set("_gap", gap)
        self._set("_fold", fold)
        self._set("_day_match", day_match)
        self._set("_both", read.both)
        self._set("_pattern", read.pattern)
        self._set("_zone", table)
        floors_s = (
            table.floors_s(run_gaps=False, fold_once=False)
            if read.is_wildcard
            else table.floors_s(run_gaps=gap == "run", fold_once=fold == "first")
        )
        self._set("_floors_s", floors_s)

    @property
    def pattern(self) -> CronPattern | None:
        """The local times it names; None before an entry's name has settled an ``H``."""
        return self._pattern

    @property
    def table(self) -> Zone:
        """The zone it computes in."""
        return self._zone

    @property
    def floors_s(self) -> list[int]:
        """Its rule for gaps and folds; the same list for all crontabs of a zone that have the same rule."""
        return self._floors_s

    def next_ms(self, after_ms: int) -> int | None:
        after_s = after_ms // 1000
        if after_s < UTC_S_MIN:
            after_s = UTC_S_MIN - 1
        fire_s = first_fire_s(self._pattern or self._unsettled(), self._zone, self._floors_s, after_s)
        return None if fire_s is None or fire_s > UTC_S_MAX else fire_s * 1000

    def previous_ms(self, before_ms: int) -> int | None:
        before_s = -(-before_ms // 1000)
        if before_s > UTC_S_MAX:
            before_s = UTC_S_MAX + 1
        fire_s = last_fire_s(self._pattern or self._unsettled(), self._zone, self._floors_s, before_s)
        return None if fire_s is None or fire_s < UTC_S_MIN else fire_s * 1000

    def in_zone(self, name: str) -> Schedule:
        if self.zone is not None:
            return self
        return _made(self._fields, zone_name(name), self._gap, self._fold, self._day_match)

    def for_entry(self, name: str) -> Schedule:
        if self._pattern is not None:
            return self
        kinds = SIX if len(self._fields) == 6 else FIVE
        fields = tuple(resolve_field(kind, text, name) for kind, text in zip(kinds, self._fields, strict=True))
        try:
            return _made(fields, self.zone, self._gap, self._fold, self._day_match)
        except InvalidScheduleError as error:
            raise InvalidScheduleError(f"crontab {shown(self.text)}, for the entry {shown(name)}: {error}") from None

    def warnings(self) -> tuple[str, ...]:
        return oddities(self._fields, self._day_match)

    def words(self) -> str:
        if misleads(self._fields):
            return self.text  # Of `*/90` the describer says "every 90 minutes", and it is every hour.
        described = _described(self.text)
        return described.replace(", or on ", ", and only on ") if self._both else described

    def as_data(self) -> dict[str, Any]:
        return {
            "kind": "crontab",
            "expr": self.text,
            "tz": self.zone,
            "gap": self._gap,
            "fold": self._fold,
            "day_match": self._day_match,
        }

    def __repr__(self) -> str:
        options = [
            f", {name}={value!r}"
            for name, value, default in (
                ("tz", self.zone, None),
                ("gap", self._gap, "run"),
                ("fold", self._fold, "first"),
                ("day_match", self._day_match, "vixie"),
            )
            if value != default
        ]
        return f"crontab({self.text!r}{''.join(options)})"

    def _unsettled(self) -> CronPattern:
        raise InvalidScheduleError(
            f"crontab {shown(self.text)}: H is hashed from an entry's name, and no entry has been named; "
            "use it in an entry, or ask for_entry(name)"
        )


class _Reading:
    """What the fields of a crontab come to; shared, since many entries have the same."""

    __slots__ = ("both", "fields", "is_wildcard", "pattern")

    def __init__(self, fields: tuple[str, ...], day_match: str) -> None:
        kinds = SIX if len(fields) == 6 else FIVE
        parsed = [parse_field(kind, text) for kind, text in zip(kinds, fields, strict=True)]
        seconds = parsed[0].mask if len(parsed) == 6 else 1
        minute, hour, day_of_month, month, day_of_week = parsed[-5:]
        self.fields = tuple(field.text for field in parsed)
        self.is_wildcard = minute.is_star or hour.is_star
        self.both = day_match == "and" or day_of_month.is_star or day_of_week.is_star
        self.pattern: CronPattern | None = None
        if any(field.is_hashed for field in parsed):
            return
        days = day_masks(day_of_month, day_of_week, both=self.both)
        self.pattern = cron_pattern(seconds, minute.mask, hour.mask, days, month.mask)
        if self.pattern.is_empty:
            raise InvalidScheduleError(_never(day_of_month, month, day_of_week))


@lru_cache(maxsize=CACHED_MAX)
def _made(fields: tuple[str, ...], zone: str | None, gap: str, fold: str, day_match: str) -> Crontab:
    """Return the one `Crontab` of these: files with many entries say the same thing again and again."""
    return Crontab(fields, zone=zone, gap=gap, fold=fold, day_match=day_match)


@lru_cache(maxsize=CACHED_MAX)
def _read(fields: tuple[str, ...], day_match: str) -> _Reading:
    return _Reading(fields, day_match)


def _split(expr: object) -> tuple[str, ...]:
    """Return the five or six fields of *expr* as they stand, aliases replaced."""
    if not isinstance(expr, str):
        raise InvalidScheduleError(
            f"crontab: the expression is {shown(expr)}; give text of five or six fields, such as '*/5 * * * *'"
        )
    if len(expr) > EXPRESSION_CHARS_MAX:
        raise InvalidScheduleError(
            f"crontab {shown(expr)}: {len(expr)} characters are outside 1–{EXPRESSION_CHARS_MAX}"
        )
    return _fields_of(expr)


@lru_cache(maxsize=CACHED_MAX)
def _fields_of(expr: str) -> tuple[str, ...]:
    for position, char in enumerate(expr):
        if not (" " <= char <= "~" or char == "\t"):
            raise InvalidScheduleError(
                f"crontab {shown(expr)}: character {position + 1}, {char!a}, is outside printable ASCII; "
                "only blanks and tabs separate fields"
            )
    fields = tuple(expr.split())
    if len(fields) == 1 and fields[0].startswith("@"):
        alias = fields[0].lower()
        if alias == "@reboot":
            raise InvalidScheduleError(
                "crontab '@reboot': a schedule knows no boot; start the command from systemd, or use once(…)"
            )
        if alias not in ALIASES:
            raise InvalidScheduleError(f"crontab {shown(expr)}: the aliases are {' '.join(ALIASES)}")
        return tuple(ALIASES[alias].split())
    if len(fields) not in (5, 6):
        number = {0: "no field", 1: "1 field"}.get(len(fields), f"{len(fields)} fields")
        hint = "; for one field alone write minute='…' or hour='…'" if len(fields) == 1 else ""
        raise InvalidScheduleError(
            f"crontab {shown(expr)}: {number} where five are needed (minute hour day-of-month month day-of-week), "
            f"or six with the second first{hint}"
        )
    return fields


def _keyword_text(kind: FieldKind, value: object) -> str:
    """Return one of Celery's keywords as the text of a field."""
    if value is _NOT_GIVEN:
        return "*"
    if isinstance(value, list | tuple | set | frozenset | range):
        if not 1 <= len(value) <= ITEMS_MAX:
            raise InvalidScheduleError(f"crontab: {kind.name} has {len(value)} items, which is outside 1–{ITEMS_MAX}")
        return ",".join(_keyword_items(kind, value))
    return _keyword_item(kind, value)


def _keyword_items(kind: FieldKind, values: Iterable[object]) -> list[str]:
    items = [_keyword_item(kind, value) for value in values]
    # A set has no order of its own; sorted, the same set has the same text in every process.
    return sorted(items, key=lambda item: (len(item), item)) if isinstance(values, set | frozenset) else items


def _keyword_item(kind: FieldKind, value: object) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        if not kind.low <= value <= kind.high:
            raise InvalidScheduleError(f"crontab: {kind.name} {shown(value)} is outside {kind.bounds}")
        return str(int(value))
    if not isinstance(value, str):
        raise InvalidScheduleError(
            f"crontab: {kind.name} is {shown(value)}; give text, a number within {kind.bounds}, or a list of those"
        )
    text = value if len(value) <= EXPRESSION_CHARS_MAX else ""
    if not text or not all(" " <= char <= "~" for char in text):
        raise InvalidScheduleError(
            f"crontab: {kind.name} {shown(value)} is not within {kind.bounds}; "
            f"give 1 to {EXPRESSION_CHARS_MAX} characters of printable ASCII"
        )
    text = ",".join(part.strip(" ") for part in text.lower().split(","))
    if " " in text:
        raise InvalidScheduleError(f"crontab: {kind.name} {shown(value)} has a blank inside; one field has none")
    for full_name in _FULL_NAMES.get(kind.name, ()):
        text = text.replace(full_name, full_name[:3])
    return text


def _choice(what: str, value: object, allowed: tuple[str | None, ...]) -> None:
    if value is None and None in allowed:
        return
    if not isinstance(value, str) or value not in allowed:
        known = ", ".join(repr(choice) for choice in allowed)
        raise InvalidScheduleError(f"crontab: {what} is {shown(value)}; known: {known}")


def _order_hint(fields: tuple[str, ...], error: InvalidScheduleError) -> str:
    """Return a hint where six fields cannot be read, but could be with the second last."""
    if len(fields) != 6 or "never" in str(error):
        return ""
    try:
        for kind, text in zip(SIX, (fields[-1], *fields[:-1]), strict=True):
            parse_field(kind, text)
    except InvalidScheduleError:
        return ""
    return "; six fields put the second first"


def _never(day_of_month: Field, month: Field, day_of_week: Field) -> str:
    return (
        f"day-of-month {shown(day_of_month.text)}, month {shown(month.text)} and day-of-week {shown(day_of_week.text)} "
        "never meet in the 400 years after which the calendar repeats"
    )


@lru_cache(maxsize=1024)
def _described(text: str) -> str:
    """Return *text* in plain English, or as it is where the describer gives up (``H``, wrapped ranges)."""
    try:
        from cron_descriptor import Options, get_description  # noqa: PLC0415 - slow to import, and rarely needed

        options = Options()
        options.use_24hour_time_format = True
        options.locale_code = "en_US"
        return str(get_description(text, options))
    except Exception:
        return text
