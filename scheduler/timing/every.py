"""
`every`: anchor + k · period, never last run + period.

So nothing drifts, a restart moves nothing, and what is triggered by hand leaves the rhythm alone. Two kinds share the
name. A duration is elapsed time: so many milliseconds, whatever clocks do. The keywords ``days weeks months years``
keep the wall clock: 09:00 stays 09:00 when daylight saving begins, by the rules of a fixed crontab entry.
"""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from typing import Any, Final

from scheduler.errors import InvalidDurationError, InvalidScheduleError
from scheduler.timing.base import UTC_S_MAX, UTC_S_MIN, Schedule
from scheduler.timing.duration import format_duration, parse_duration_ms
from scheduler.timing.every_pattern import DayPattern, MonthPattern
from scheduler.timing.moment import Moment, clock_text, read_clock, read_moment, shown_ms
from scheduler.timing.months import DAY_S
from scheduler.timing.wall import Pattern, first_fire_s, last_fire_s
from scheduler.timing.wording import shown
from scheduler.timing.zone_table import Zone
from scheduler.timing.zones import zone_name, zone_table

PERIOD_MS_MIN: Final = 100
GAPS: Final = ("run", "skip")
FOLDS: Final = ("first", "both")
MONTH_ENDS: Final = ("clamp", "skip")

# The calendar has 9,999 years; a period beyond that never comes round.
DAYS_MAX: Final = 3_652_059
MONTHS_MAX: Final = 9_999 * 12


def every(
    period: int | float | str | timedelta | None = None,
    *,
    seconds: float | None = None,
    minutes: float | None = None,
    hours: float | None = None,
    days: int | None = None,
    weeks: int | None = None,
    months: int | None = None,
    years: int | None = None,
    at: str | time | None = None,
    anchor: datetime | date | str | None = None,
    tz: Any = None,
    month_end: str = "clamp",
    gap: str = "run",
    fold: str = "first",
) -> Schedule:
    """
    Return the schedule that fires at *anchor* and once in each period after it.

    Args:
        period: Elapsed time: seconds, a `timedelta`, or text such as ``30s``. At least 100 ms.
        seconds, minutes, hours: The same in parts, which add up.
        days, weeks, months, years: A period on the wall clock; days and weeks add up, and so do months and years.
        at: The time of day (``09:00`` or ``09:00:30``) of a period on the wall clock.
        anchor: The first fire: an aware datetime, or a naive one or a date, which are local to the zone; or ISO text
            of those. Without one it is the Unix epoch, on the wall clock in the zone.
        tz: A zone by name, a `ZoneInfo` or a pytz zone. Without one, the entry's.
        month_end: Where a month lacks the anchor's day: ``clamp`` to its last day, or ``skip`` it.
        gap: What becomes of a time that daylight saving skips: it runs right after, or is skipped.
        fold: Whether a time that comes twice runs in the first pass or in both.

    Raises:
        InvalidScheduleError: Something cannot be read, is out of range, or contradicts something else.
    """
    _choice("month_end", month_end, MONTH_ENDS)
    _choice("gap", gap, GAPS)
    _choice("fold", fold, FOLDS)
    zone = None if tz is None else zone_name(tz)
    elapsed = {"seconds": seconds, "minutes": minutes, "hours": hours}
    wall = {"days": days, "weeks": weeks, "months": months, "years": years}
    given = [name for name, value in {"period": period, **elapsed, **wall}.items() if value is not None]
    if not given:
        raise InvalidScheduleError("every: no period; give a duration such as '30s', or days=, weeks=, months=, years=")
    wall_given = [name for name in given if name in wall]
    if len(wall_given) < len(given) and (wall_given or ("period" in given and len(given) > 1)):
        raise InvalidScheduleError(
            f"every: {' and '.join(given)} do not go together; "
            "elapsed time and the wall clock differ whenever clocks are changed, so give one of them"
        )
    read_anchor = None if anchor is None else read_moment(anchor, what="every: anchor")
    if not wall_given:
        _refuse_for_elapsed(at=at, month_end=month_end, gap=gap, fold=fold)
        return Every(_elapsed_ms(period, elapsed), anchor=read_anchor, zone=zone)
    counts = {name: _count(name, value) for name, value in wall.items() if value is not None}
    total_days = counts.get("days", 0) + 7 * counts.get("weeks", 0)
    total_months = counts.get("months", 0) + 12 * counts.get("years", 0)
    if total_days and total_months:
        raise InvalidScheduleError(
            f"every: {' and '.join(given)} do not go together; a month has no fixed number of days"
        )
    if total_days and month_end != "clamp":
        raise InvalidScheduleError(f"every: month_end is {shown(month_end)}, but stands only with months= and years=")
    if total_days > DAYS_MAX or total_months > MONTHS_MAX:
        raise InvalidScheduleError(f"every: {' and '.join(given)} is longer than the calendar's 9,999 years")
    return WallEvery(
        days=total_days,
        months=total_months,
        at_s=None if at is None else read_clock(at, what="every: at"),
        anchor=read_anchor,
        zone=zone,
        month_end=month_end,
        gap=gap,
        fold=fold,
    )


class Every(Schedule):
    """A period of elapsed time that has been read. Users make it with `every`."""

    __slots__ = ("_anchor", "_anchor_ms", "_period_ms")

    _period_ms: int
    _anchor: Moment | None
    _anchor_ms: int

    @property
    def period_ms(self) -> int:
        """The period."""
        return self._period_ms

    @property
    def anchor_ms(self) -> int:
        """The first fire; without an anchor the epoch, from which the grid is counted both ways."""
        return self._anchor_ms

    @property
    def is_settled(self) -> bool:
        """Whether the grid is known: an anchor that is local to a zone needs it."""
        return self._anchor is None or self._anchor.is_utc or self.zone is not None

    def __init__(self, period_ms: int, *, anchor: Moment | None, zone: str | None) -> None:
        # A zone matters only to an anchor that is local to it; without one, two zones mean the same.
        is_local = anchor is not None and not anchor.is_utc
        if anchor is None:
            anchor_ms = 0
        elif anchor.is_utc:
            anchor_ms = anchor.ms
        else:
            anchor_ms = shown_ms(zone_table(zone or "UTC"), anchor.ms)
        text = f"every {format_duration(period_ms)}"
        super().__init__(
            text=text if anchor is None else f"{text} from {anchor.iso()}",
            zone=zone,
            meaning=("every", period_ms, anchor_ms, zone, is_local and zone is None),
        )
        self._set("_period_ms", period_ms)
        self._set("_anchor", anchor)
        self._set("_anchor_ms", anchor_ms)

    def next_ms(self, after_ms: int) -> int | None:
        anchor_ms = self._anchor_ms
        if after_ms < anchor_ms:
            return anchor_ms
        fire_ms = after_ms + self._period_ms - (after_ms - anchor_ms) % self._period_ms
        return fire_ms if fire_ms < (UTC_S_MAX + 1) * 1000 else None

    def previous_ms(self, before_ms: int) -> int | None:
        upto_ms = min(before_ms, (UTC_S_MAX + 1) * 1000) - 1
        if upto_ms < self._anchor_ms:
            return None
        return upto_ms - (upto_ms - self._anchor_ms) % self._period_ms

    def in_zone(self, name: str) -> Schedule:
        if self.zone is not None:
            return self
        return Every(self._period_ms, anchor=self._anchor, zone=zone_name(name))

    def words(self) -> str:
        return (
            self.text
            if self._period_ms % 1000
            else f"every {_spelled(self._period_ms // 1000)}"
            + ("" if self._anchor is None else f", from {self._anchor.iso()}")
        )

    def as_data(self) -> dict[str, Any]:
        return {
            "kind": "every",
            "period": format_duration(self._period_ms),
            "anchor": None if self._anchor is None else self._anchor.iso(),
            "tz": self.zone,
        }

    def __repr__(self) -> str:
        options = [f"{name}={value!r}" for name, value in list(self.as_data().items())[2:] if value is not None]
        return f"every({', '.join([repr(format_duration(self._period_ms)), *options])})"


class WallEvery(Schedule):
    """A period on the wall clock that has been read. Users make it with `every`."""

    __slots__ = (
        "_anchor",
        "_at_s",
        "_days",
        "_first_ms",
        "_floors_s",
        "_fold",
        "_gap",
        "_month_end",
        "_months",
        "_pattern",
        "_refusal",
        "_time_s",
        "_zone",
    )

    _days: int
    _months: int
    _at_s: int | None
    _anchor: Moment | None
    _month_end: str
    _gap: str
    _fold: str
    _pattern: Pattern
    _zone: Zone
    _floors_s: list[int]
    _first_ms: int | None
    _time_s: int
    # Why this cannot be computed without a zone: in UTC the anchor's time of day is not that of `at`.
    _refusal: str | None

    def __init__(
        self,
        *,
        days: int,
        months: int,
        at_s: int | None,
        anchor: Moment | None,
        zone: str | None,
        month_end: str,
        gap: str,
        fold: str,
    ) -> None:
        table = zone_table(zone or "UTC")
        local_s = _local_anchor_s(anchor, table)
        refusal = None if at_s is None or anchor is None or anchor.is_date else _at_refusal(at_s, local_s, anchor)
        if refusal is not None and (zone is not None or (anchor is not None and not anchor.is_utc)):
            raise InvalidScheduleError(refusal)
        if at_s is not None:
            local_s = local_s // DAY_S * DAY_S + at_s
        super().__init__(
            text=_wall_text(days, months, local_s % DAY_S, anchor),
            zone=zone,
            # An aware anchor fixes an instant. It may also differ from a naive one in a fold, or once a zone is known.
            meaning=(
                "every",
                days,
                months,
                local_s,
                anchor.ms if anchor is not None and anchor.is_utc else None,
                at_s if zone is None and anchor is not None and anchor.is_utc else None,
                zone,
                month_end,
                gap,
                fold,
            ),
        )
        self._set("_refusal", refusal)
        self._set("_time_s", local_s % DAY_S)
        self._set("_days", days)
        self._set("_months", months)
        self._set("_at_s", at_s)
        self._set("_anchor", anchor)
        self._set("_month_end", month_end)
        self._set("_gap", gap)
        self._set("_fold", fold)
        self._set(
            "_pattern", DayPattern(local_s, days) if days else MonthPattern(local_s, months, skip=month_end == "skip")
        )
        self._set("_zone", table)
        self._set("_floors_s", table.floors_s(run_gaps=gap == "run", fold_once=fold == "first"))
        self._set("_first_ms", anchor.ms if anchor is not None and anchor.is_utc else None)

    @property
    def time_s(self) -> int:
        """The time of day, in seconds."""
        return self._time_s

    def next_ms(self, after_ms: int) -> int | None:
        if self._refusal is not None:
            raise InvalidScheduleError(self._refusal)
        first_ms = self._first_ms
        if first_ms is not None and after_ms < first_ms:
            return first_ms
        fire_s = first_fire_s(self._pattern, self._zone, self._floors_s, max(after_ms // 1000, UTC_S_MIN - 1))
        return None if fire_s is None or fire_s > UTC_S_MAX else fire_s * 1000

    def previous_ms(self, before_ms: int) -> int | None:
        if self._refusal is not None:
            raise InvalidScheduleError(self._refusal)
        first_ms = self._first_ms
        if first_ms is not None and before_ms <= first_ms:
            return None
        fire_s = last_fire_s(self._pattern, self._zone, self._floors_s, min(-(-before_ms // 1000), UTC_S_MAX + 1))
        if first_ms is not None and (fire_s is None or fire_s * 1000 < first_ms):
            return first_ms
        return None if fire_s is None or fire_s < UTC_S_MIN else fire_s * 1000

    def in_zone(self, name: str) -> Schedule:
        if self.zone is not None:
            return self
        return WallEvery(
            days=self._days,
            months=self._months,
            at_s=self._at_s,
            anchor=self._anchor,
            zone=zone_name(name),
            month_end=self._month_end,
            gap=self._gap,
            fold=self._fold,
        )

    def words(self) -> str:
        return f"{self.text}, on the wall clock"

    def as_data(self) -> dict[str, Any]:
        return {
            "kind": "every",
            "days": self._days or None,
            "months": self._months or None,
            "at": None if self._at_s is None else clock_text(self._at_s),
            "anchor": None if self._anchor is None else self._anchor.iso(),
            "tz": self.zone,
            "month_end": self._month_end,
            "gap": self._gap,
            "fold": self._fold,
        }

    def __repr__(self) -> str:
        defaults = {"month_end": "clamp", "gap": "run", "fold": "first"}
        options = [
            f"{name}={value!r}"
            for name, value in list(self.as_data().items())[1:]
            if value is not None and defaults.get(name) != value
        ]
        return f"every({', '.join(options)})"


def _local_anchor_s(anchor: Moment | None, zone: Zone) -> int:
    if anchor is None:
        return 0
    if anchor.ms % 1000:
        raise InvalidScheduleError(
            f"every: anchor {anchor.iso()} has a fraction of a second, which a period on the wall clock has not; "
            "use anchor.replace(microsecond=0)"
        )
    anchor_s = anchor.ms // 1000
    return anchor_s + zone.offset_s(anchor_s) if anchor.is_utc else anchor_s


def _at_refusal(at_s: int, local_s: int, anchor: Moment) -> str | None:
    if local_s % DAY_S == at_s:
        return None
    return (
        f"every: at {clock_text(at_s)} stands beside the anchor {anchor.iso()}, whose time of day is "
        f"{clock_text(local_s % DAY_S)}; give one of them, or a date as the anchor"
    )


def _refuse_for_elapsed(**options: Any) -> None:
    defaults = {"at": None, "month_end": "clamp", "gap": "run", "fold": "first"}
    for name, value in options.items():
        if value != defaults[name]:
            raise InvalidScheduleError(
                f"every: {name} is {shown(value)}, but stands only with days=, weeks=, months= and years=; "
                "a duration is elapsed time, which no clock can change"
            )


def _elapsed_ms(period: object, parts: dict[str, float | None]) -> int:
    if period is not None:
        period_ms = _duration_ms("period", period)
    else:
        scale = {"seconds": 1, "minutes": 60, "hours": 3600}
        period_ms = 0
        for name, value in parts.items():
            if value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise InvalidScheduleError(f"every: {name} is {shown(value)}; give a number above 0")
            period_ms += _duration_ms(name, value) * scale[name]
    if period_ms < PERIOD_MS_MIN:
        raise InvalidScheduleError(
            f"every: a period of {format_duration(period_ms)} is outside {PERIOD_MS_MIN}ms–10,000 years"
        )
    return period_ms


def _duration_ms(name: str, value: object) -> int:
    try:
        return parse_duration_ms(value, what=f"every: {name}")
    except InvalidDurationError as error:
        raise InvalidScheduleError(str(error)) from None  # A schedule is refused with one class of error.


def _count(name: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= DAYS_MAX:
        raise InvalidScheduleError(
            f"every: {name} is {shown(value)}; give a whole number within 1–{DAYS_MAX}, as the wall clock has no half days"
        )
    return int(value)


def _choice(what: str, value: object, allowed: tuple[str, ...]) -> None:
    if not isinstance(value, str) or value not in allowed:
        known = ", ".join(repr(choice) for choice in allowed)
        raise InvalidScheduleError(f"every: {what} is {shown(value)}; known: {known}")


def _wall_text(days: int, months: int, time_s: int, anchor: Moment | None) -> str:
    for count, size, unit in ((months, 12, "year"), (months, 1, "month"), (days, 7, "week"), (days, 1, "day")):
        if count and count % size == 0:
            number = count // size
            period = f"every {unit}" if number == 1 else f"every {number} {unit}s"
            break
    if anchor is not None and not anchor.is_date:
        return f"{period} from {anchor.iso()}"
    text = f"{period} at {clock_text(time_s)}"
    return text if anchor is None else f"{text} from {anchor.iso()}"


def _spelled(seconds: int) -> str:
    """Return a number of seconds in words: ``1 hour and 30 minutes``; one unit stands without its number."""
    parts = []
    for unit, size in (("day", 86_400), ("hour", 3600), ("minute", 60), ("second", 1)):
        count, seconds = divmod(seconds, size)
        if count:
            parts.append((count, unit))
    if len(parts) == 1 and parts[0][0] == 1:
        return parts[0][1]
    return " and ".join(f"{count} {unit}{'' if count == 1 else 's'}" for count, unit in parts)
