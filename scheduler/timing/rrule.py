"""
`rrule`: recurrence rules as calendars write them (RFC 5545).

Yearly, monthly, weekly and daily rules name local times. One that a zone's clocks skip is no occurrence and does not
count (section 3.3.10); of one that comes twice the first is meant. Hourly, minutely and secondly rules are elapsed time
from the start on, as `every` with a duration is; what limits them (``BYHOUR=9``) looks at the clock on the wall.

A set has several rules and dates, and exceptions: ``RRULE``, ``RDATE``, ``EXRULE`` and ``EXDATE`` on lines of their own.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable
from datetime import date, datetime
from functools import cache, lru_cache
from itertools import pairwise
from typing import Any, Final, Protocol

from scheduler.errors import InvalidScheduleError
from scheduler.timing.base import UTC_S_MAX, UTC_S_MIN, Schedule
from scheduler.timing.cron_pattern import CronPattern
from scheduler.timing.cron_sets import EVERY_HOUR, EVERY_MINUTE, EVERY_MONTH, EVERY_SECOND, Fill, days_matching
from scheduler.timing.moment import Moment, read_moment, shown_ms, times_shown
from scheduler.timing.months import DAY_S
from scheduler.timing.rrule_days import DayRule, Days, days_of
from scheduler.timing.rrule_pattern import DayTimes, Phase, SetPositions, chosen_times
from scheduler.timing.rrule_text import (
    CACHED_MAX,
    DAILY,
    HOURLY,
    MINUTELY,
    MONTHLY,
    SECONDLY,
    WEEKLY,
    YEARLY,
    Recurrence,
    Rule,
    read_recurrence,
)
from scheduler.timing.rrule_ticks import Ticks
from scheduler.timing.rrule_words import rule_words
from scheduler.timing.steps import Steps
from scheduler.timing.wall import first_fire_s, last_fire_s
from scheduler.timing.wording import shown
from scheduler.timing.zone_table import FOREVER_S, Zone
from scheduler.timing.zones import zone_name, zone_table

DAY_MS: Final = DAY_S * 1000

# How many exceptions in a row a search passes over before it gives up, about 15 ms; and how many moments of a day a rule
# of exceptions may have, so that this is enough for months.
EXCEPTIONS_MAX: Final = 3_000
EXCEPTIONS_OF_DAY_MAX: Final = 24

# How often a rule of hours, minutes or seconds is looked at to count it, about 30 ms.
TRIES_TO_COUNT_MAX: Final = 12_000

_EPOCH: Final = Moment(0, is_date=True)


def rrule(text: str, *, start: datetime | date | str | None = None, tz: Any = None) -> RRule:
    """
    Return the schedule of a recurrence rule, or of a set of lines.

    Args:
        text: ``FREQ=MONTHLY;BYDAY=-1FR``, or lines of ``DTSTART``, ``RRULE``, ``RDATE``, ``EXRULE`` and ``EXDATE``. A
            date alone as UNTIL or EXDATE is that whole local day, as RDATE it has the start's time of day.
        start: Nothing fires before it, and what the rule leaves open it says: the time of day, the weekday, the day of
            the month, which weeks ``INTERVAL=2`` means. An aware datetime, or a naive one or a date, which are local to
            the zone; or ISO text of those. It fires only where the rule says so. Without one, every period begins at
            its beginning: the year on 1 January, the month on the 1st, the week on WKST (Monday), the day at 00:00;
            and INTERVAL counts from 1970.
        tz: A zone by name, a `ZoneInfo` or a pytz zone. Without one, that of DTSTART, else the entry's.

    Raises:
        InvalidScheduleError: Something cannot be read, is out of range, contradicts something else, or never fires.
    """
    read = read_recurrence(text)
    zone = None if tz is None else zone_name(tz)
    if start is not None and read.start is not None:
        raise InvalidScheduleError(f"rrule {shown(text)}: start stands beside DTSTART; give one of them")
    # DTSTART in UTC with a zone of our own is a moment like any other; the rule is local to the zone.
    if zone is not None and read.zone is not None and zone != read.zone and not (read.start and read.start.is_utc):
        raise InvalidScheduleError(
            f"rrule: tz {zone!r} contradicts the TZID {read.zone!r} of DTSTART; give one of them"
        )
    begin = read.start if start is None else read_moment(start, what="rrule: start")
    return _made(read.without_start(), begin, zone or read.zone)


@lru_cache(maxsize=CACHED_MAX)
def _made(recurrence: Recurrence, start: Moment | None, zone: str | None) -> RRule:
    """Return the one `RRule` of these: files with many entries say the same thing again and again."""
    return RRule(recurrence, start=start, zone=zone)


class RRule(Schedule):
    """A recurrence that has been read. Users make it with `rrule`."""

    __slots__ = (
        "_exception_days",
        "_exception_rules",
        "_exceptions_ms",
        "_moments_ms",
        "_recurrence",
        "_rules",
        "_start",
        "_zone",
    )

    STEP_COST = 3

    _recurrence: Recurrence
    _start: Moment | None
    _zone: Zone
    _rules: tuple[_Occurrences, ...]
    _moments_ms: list[int]
    _exception_rules: tuple[_Occurrences, ...]
    _exceptions_ms: frozenset[int]
    # Local days without an occurrence, counted from 1970-01-01.
    _exception_days: frozenset[int]

    def __init__(self, recurrence: Recurrence, *, start: Moment | None, zone: str | None) -> None:
        table = zone_table(zone or "UTC")
        lines = recurrence.lines()
        super().__init__(
            text=" ".join(lines) + ("" if start is None else f" from {start.iso()}"),
            zone=zone,
            meaning=("rrule", recurrence, start, zone),
        )
        self._set("_recurrence", recurrence)
        self._set("_start", start)
        self._set("_zone", table)
        self._set("_rules", tuple(_Occurrences(rule, start, table) for rule in recurrence.rules))
        for rule in recurrence.exrules:
            if rule.freq >= HOURLY or _times_of_day(rule) > EXCEPTIONS_OF_DAY_MAX:
                raise InvalidScheduleError(
                    f"rrule EXRULE:{rule.text()}: more than {EXCEPTIONS_OF_DAY_MAX} moments a day are outside what a rule of "
                    "exceptions may have; limit the rule itself, with BYDAY, BYMONTH or BYHOUR"
                )
        self._set("_exception_rules", tuple(_Occurrences(rule, start, table) for rule in recurrence.exrules))
        time_ms = 0 if start is None else _local_ms(start, table) % DAY_MS
        moments_ms = [_rdate_ms(moment, time_ms, table) for moment in recurrence.rdates]
        self._set("_moments_ms", sorted(ms for ms in moments_ms if ms is not None))
        dates = [moment.ms // DAY_MS for moment in recurrence.exdates if moment.is_date]
        self._set("_exception_days", frozenset(dates))
        times = [moment for moment in recurrence.exdates if not moment.is_date]
        instants_ms = [_rdate_ms(moment, 0, table) for moment in times]
        self._set("_exceptions_ms", frozenset(ms for ms in instants_ms if ms is not None))
        first_ms = self.next_ms(UTC_S_MIN * 1000 - 1)
        if first_ms is None:
            raise InvalidScheduleError(f"rrule {shown(' '.join(lines))}: {self._why_never(table)}")

    def next_ms(self, after_ms: int) -> int | None:
        for _ in range(EXCEPTIONS_MAX):
            fire_ms = self._included_after_ms(after_ms)
            if fire_ms is None or not self._has_exceptions:
                return fire_ms
            passed_ms = self._exception_end_ms(fire_ms)
            if passed_ms is None:
                return fire_ms
            after_ms = passed_ms
        return None

    def previous_ms(self, before_ms: int) -> int | None:
        for _ in range(EXCEPTIONS_MAX):
            fire_ms = self._included_before_ms(before_ms)
            if fire_ms is None or not self._has_exceptions:
                return fire_ms
            passed_ms = self._exception_start_ms(fire_ms)
            if passed_ms is None:
                return fire_ms
            before_ms = passed_ms
        return None

    def next_within(self, after_ms: int, steps: Steps) -> int | None:
        return self._charged(self.next_ms, after_ms, steps)

    def previous_within(self, before_ms: int, steps: Steps) -> int | None:
        return self._charged(self.previous_ms, before_ms, steps)

    def has_within(self, at_ms: int, steps: Steps) -> bool:
        return self._charged(self.next_ms, at_ms - 1, steps) == at_ms

    def in_zone(self, name: str) -> Schedule:
        if self.zone is not None:
            return self
        return _made(self._recurrence, self._start, zone_name(name))

    def warnings(self) -> tuple[str, ...]:
        notes: list[str] = []
        for rule in self._recurrence.rules:
            if rule.interval > 1 and self._start is None and not (rule.freq >= HOURLY and DAY_S % rule.interval == 0):
                notes.append(
                    f"{rule.text()}: INTERVAL={rule.interval} counts from 1970-01-01; start= says from when else"
                )
            late = [day for day in rule.bymonthday if day > 28]
            given = self._start is not None and not (rule.bymonthday or rule.byday or rule.byyearday or rule.byweekno)
            if rule.freq == MONTHLY and given:
                assert self._start is not None
                day = int(self._start.iso()[8:10])
                late = [day] if day > 28 else []
            if rule.freq == MONTHLY and late and not rule.bysetpos and len(rule.bymonthday) <= 1:
                notes.append(
                    f"{rule.text()}: a month without a day {late[0]} has no occurrence; BYMONTHDAY=-1 is its last day"
                )
        return tuple(dict.fromkeys(notes))

    def words(self) -> str:
        recurrence, start = self._recurrence, self._start
        begin = _EPOCH if start is None else start
        time_s = _local_ms(begin, self._zone) // 1000
        words = [rule_words(rule, time_s, has_start=start is not None) for rule in recurrence.rules]
        if recurrence.rdates:
            words.append(f"{_counted(len(recurrence.rdates), 'date')}")
        text = "; and ".join(words)
        exceptions = [rule_words(rule, time_s, has_start=start is not None) for rule in recurrence.exrules]
        if recurrence.exdates:
            exceptions.append(_counted(len(recurrence.exdates), "exception"))
        return text if not exceptions else f"{text}; except {'; and '.join(exceptions)}"

    def as_data(self) -> dict[str, Any]:
        return {
            "kind": "rrule",
            "text": "\n".join(self._recurrence.lines()),
            "start": None if self._start is None else self._start.iso(),
            "tz": self.zone,
        }

    def __repr__(self) -> str:
        data = self.as_data()
        options = [f", {name}={data[name]!r}" for name in ("start", "tz") if data[name] is not None]
        return f"rrule({data['text']!r}{''.join(options)})"

    def _charged(self, ask: Callable[[int], int | None], at_ms: int, steps: Steps) -> int | None:
        """Ask, and count what it took: a rule that occurs rarely looks at many moments or years for one answer."""
        tries = sum(rule.tries for rule in self._rules)
        answer = ask(at_ms)
        steps.spend(self.STEP_COST + (sum(rule.tries for rule in self._rules) - tries) // 2)
        return answer

    @property
    def fill(self) -> Fill | None:
        """The local times that it names, if they are a crontab's in all but name: nothing is counted, chosen or left out."""
        rules = self._recurrence.rules
        if len(rules) != 1 or self._recurrence.exrules or self._recurrence.exdates:
            return None
        rule = rules[0]
        is_plain = not (rule.bysetpos or rule.byweekno or rule.byyearday or any(n for n, _ in rule.byday))
        if not is_plain or rule.count is not None or rule.until is not None:
            return None
        begin_s = 0 if self._start is None else _local_ms(self._start, self._zone) // 1000
        masks = _masks(rule, begin_s, has_start=self._start is not None)
        if masks is None:
            return None
        seconds, minutes, hours = masks
        days = days_matching(rule.bymonthday, [day for _, day in rule.byday])
        months = sum(1 << month for month in rule.bymonth) or EVERY_MONTH
        floors_s = _first_passes_s(self._zone)
        if rule.freq >= HOURLY:
            floors_s = self._zone.floors_s(run_gaps=False, fold_once=False)
        return Fill(CronPattern(seconds, minutes, hours, days, months), self._zone, floors_s)

    @property
    def _has_exceptions(self) -> bool:
        return bool(self._exceptions_ms or self._exception_days or self._exception_rules)

    def _included_after_ms(self, after_ms: int) -> int | None:
        first_ms = None
        for rule in self._rules:
            fire_ms = rule.next_ms(after_ms)
            if fire_ms is not None and (first_ms is None or fire_ms < first_ms):
                first_ms = fire_ms
        if self._moments_ms:
            index = bisect_right(self._moments_ms, after_ms)
            if index < len(self._moments_ms) and (first_ms is None or self._moments_ms[index] < first_ms):
                first_ms = self._moments_ms[index]
        return first_ms

    def _included_before_ms(self, before_ms: int) -> int | None:
        last_ms = None
        for rule in self._rules:
            fire_ms = rule.previous_ms(before_ms)
            if fire_ms is not None and (last_ms is None or fire_ms > last_ms):
                last_ms = fire_ms
        if self._moments_ms:
            index = bisect_left(self._moments_ms, before_ms) - 1
            if index >= 0 and (last_ms is None or self._moments_ms[index] > last_ms):
                last_ms = self._moments_ms[index]
        return last_ms

    def _exception_end_ms(self, fire_ms: int) -> int | None:
        """Return up to when nothing is to be looked for, if *fire_ms* is an exception, else None."""
        if self._exception_days:
            offset_ms = self._zone.offset_s(fire_ms // 1000) * 1000
            day = (fire_ms + offset_ms) // DAY_MS
            if day in self._exception_days:
                # To the end of the day, but not past a change of clocks that may have brought another day's times.
                end_ms = (day + 1) * DAY_MS - offset_ms - 1
                return end_ms if self._zone.offset_s(end_ms // 1000) * 1000 == offset_ms else fire_ms
        return fire_ms if self._is_exception(fire_ms) else None

    def _exception_start_ms(self, fire_ms: int) -> int | None:
        """Return from when on nothing is to be looked for, if *fire_ms* is an exception, else None."""
        if self._exception_days:
            offset_ms = self._zone.offset_s(fire_ms // 1000) * 1000
            day = (fire_ms + offset_ms) // DAY_MS
            if day in self._exception_days:
                start_ms = day * DAY_MS - offset_ms
                return start_ms if self._zone.offset_s(start_ms // 1000) * 1000 == offset_ms else fire_ms
        return fire_ms if self._is_exception(fire_ms) else None

    def _is_exception(self, fire_ms: int) -> bool:
        return fire_ms in self._exceptions_ms or any(
            rule.next_ms(fire_ms - 1) == fire_ms for rule in self._exception_rules
        )

    def _why_never(self, table: Zone) -> str:
        begin = "1970-01-01" if self._start is None else self._start.iso()
        for rule in self._rules:
            if rule.count is None and rule.last_ms < rule.first_ms:
                return f"UNTIL lies before the start, {begin}, so that it never fires"
            if rule.next_ms(UTC_S_MIN * 1000 - 1) is not None:
                return "the exceptions leave nothing of it, so that it never fires"
        return f"no moment from {begin} on ({table.name}) matches all its parts, so that it never fires"


class _Search(Protocol):
    """Instants in whole seconds."""

    @property
    def tries(self) -> int:
        """How far all searches have gone so far, in moments or years looked at."""

    def next_s(self, after_s: int) -> int | None:
        """Return the first after *after_s*, or None."""

    def previous_s(self, before_s: int) -> int | None:
        """Return the last before *before_s*, or None."""


class _OnTheWall:
    """The instants at which a zone first shows the local times of a pattern."""

    __slots__ = ("_floors_s", "_pattern", "_zone")

    def __init__(self, pattern: DayTimes | SetPositions, zone: Zone) -> None:
        self._pattern = pattern
        self._zone = zone
        self._floors_s = _first_passes_s(zone)

    @property
    def tries(self) -> int:
        return self._pattern.tries

    def next_s(self, after_s: int) -> int | None:
        return first_fire_s(self._pattern, self._zone, self._floors_s, after_s)

    def previous_s(self, before_s: int) -> int | None:
        return last_fire_s(self._pattern, self._zone, self._floors_s, before_s)


class _Occurrences:
    """
    One rule in a zone, from its start to its UNTIL or COUNT.

    Attributes:
        first_ms: Nothing occurs before.
        count: The COUNT, None without one.
    """

    __slots__ = ("_after", "_before", "_last_ms", "_search", "count", "first_ms")

    def __init__(self, rule: Rule, start: Moment | None, zone: Zone) -> None:
        begin = _EPOCH if start is None else start
        if begin.ms % 1000:
            raise InvalidScheduleError(
                f"rrule: start {begin.iso()} has a fraction of a second, which a rule has not; "
                "use start.replace(microsecond=0)"
            )
        if rule.count is not None and start is None:
            raise InvalidScheduleError(
                f"rrule {rule.text()}: COUNT counts from the start, and there is none; give start="
            )
        self.first_ms = _instant_ms(begin, zone)
        if start is None and rule.freq >= HOURLY:
            self.first_ms = -_standard_offset_s(zone) * 1000
        self.count = rule.count
        # The last answer each way, and from where on it holds. Where occurrences are centuries apart, a combination asks
        # for the same one again and again, and each search goes through all the years between.
        self._after: tuple[int, int, int | None] = (0, 0, None)
        self._before: tuple[int, int, int | None] = (0, 0, None)
        # Worked out when it is first needed; UNTIL is known at once.
        self._last_ms = None if rule.count is not None else _until_ms(rule.until, zone)
        try:
            self._search = _search(rule, begin, zone, has_start=start is not None)
        except InvalidScheduleError as error:
            raise InvalidScheduleError(f"rrule {rule.text()}: {error}") from None
        if rule.count is not None and isinstance(self._search, Ticks):
            self._last_ms = self._counted_ms(rule.count)
            if self._search.tries > TRIES_TO_COUNT_MAX:
                raise InvalidScheduleError(
                    f"rrule {rule.text()}: COUNT {rule.count} takes more than {TRIES_TO_COUNT_MAX} tries to count; give UNTIL"
                )

    @property
    def tries(self) -> int:
        """How far all searches have gone so far."""
        return self._search.tries

    @property
    def last_ms(self) -> int:
        """Nothing occurs after."""
        if self._last_ms is None:
            self._last_ms = self._counted_ms(self.count or 0)
        return self._last_ms

    def next_ms(self, after_ms: int) -> int | None:
        """Return the first occurrence after *after_ms*, or None."""
        after_ms = max(after_ms, self.first_ms - 1)
        low_ms, high_ms, answer = self._after
        if low_ms <= after_ms < high_ms:
            return answer
        if after_ms >= self.last_ms:
            return None
        fire_s = self._search.next_s(after_ms // 1000)
        if fire_s is None or fire_s > UTC_S_MAX or fire_s * 1000 > self.last_ms:
            self._after = (after_ms, self.last_ms, None)
            return None
        self._after = (after_ms, fire_s * 1000, fire_s * 1000)
        return fire_s * 1000

    def previous_ms(self, before_ms: int) -> int | None:
        """Return the last occurrence before *before_ms*, or None."""
        before_ms = min(before_ms, self.last_ms + 1)
        low_ms, high_ms, answer = self._before
        if low_ms < before_ms <= high_ms:
            return answer
        if before_ms <= self.first_ms:
            return None
        fire_s = self._search.previous_s(-(-before_ms // 1000))
        if fire_s is None or fire_s * 1000 < self.first_ms:
            self._before = (self.first_ms, before_ms, None)
            return None
        self._before = (fire_s * 1000, before_ms, fire_s * 1000)
        return fire_s * 1000

    def _counted_ms(self, count: int) -> int:
        """Return the last of *count* occurrences: they are counted as they happen, so that a skipped time is none."""
        last_s = self.first_ms // 1000 - 1
        for _ in range(count):
            if isinstance(self._search, Ticks) and self._search.tries > TRIES_TO_COUNT_MAX:
                break
            fire_s = self._search.next_s(last_s)
            if fire_s is None or fire_s > UTC_S_MAX:
                break
            last_s = fire_s
        return last_s * 1000


def _search(rule: Rule, begin: Moment, zone: Zone, *, has_start: bool) -> _Search:
    """Return what finds the instants of *rule*, with everything that it leaves open taken from its beginning."""
    local_s = _local_ms(begin, zone) // 1000
    if rule.freq >= HOURLY:
        names_days = rule.bymonth or rule.bymonthday or rule.byyearday or rule.byday
        days = _days(rule, rule.bymonthday, rule.byday, rule.bymonth) if names_days else None
        if not has_start:
            offset_s = _standard_offset_s(zone)
            return Ticks(rule, days, zone, -offset_s, offset_s)
        start_s = _instant_ms(begin, zone) // 1000
        return Ticks(rule, days, zone, start_s, zone.offset_s(start_s))
    hours = rule.byhour or (local_s // 3600 % 24,)
    minutes = rule.byminute or (local_s // 60 % 60,)
    seconds = rule.bysecond or (local_s % 60,)
    times_s = tuple(hour * 3600 + minute * 60 + second for hour in hours for minute in minutes for second in seconds)
    phase = Phase(rule, local_s // DAY_S)
    days = _default_days(rule, local_s, has_start=has_start)
    if rule.bysetpos and rule.freq < DAILY:
        return _OnTheWall(SetPositions(days, times_s, phase, local_s, rule.bysetpos), zone)
    if rule.bysetpos:
        of_day = len(times_s)
        times_s = chosen_times(times_s, rule.bysetpos)
        if not times_s:
            raise InvalidScheduleError(f"BYSETPOS chooses none of the {of_day} moments of each day")
    return _OnTheWall(DayTimes(days, times_s, phase, local_s), zone)


def _masks(rule: Rule, begin_s: int, *, has_start: bool) -> tuple[int, int, int] | None:
    """Return the seconds, minutes and hours of each day that *rule* names, or None where they differ from day to day."""
    named = (
        rule.freq == DAILY
        or (rule.freq == WEEKLY and rule.byday)
        or (rule.freq == MONTHLY and (rule.byday or rule.bymonthday))
    )
    if rule.freq < HOURLY:
        if rule.interval > 1 or not named:
            return None
        hours, minutes, seconds = (begin_s // 3600 % 24,), (begin_s // 60 % 60,), (begin_s % 60,)
        return _bits(rule.bysecond or seconds), _bits(rule.byminute or minutes), _bits(rule.byhour or hours)
    if has_start or rule.interval > 1:
        # The grid of a start may lie anywhere, and shifts where clocks do.
        return None
    seconds_of_minute = _bits(rule.bysecond) or (EVERY_SECOND if rule.freq == SECONDLY else 1)
    minutes_of_hour = _bits(rule.byminute) or (EVERY_MINUTE if rule.freq >= MINUTELY else 1)
    return seconds_of_minute, minutes_of_hour, _bits(rule.byhour) or EVERY_HOUR


def _bits(values: tuple[int, ...]) -> int:
    return sum(1 << value for value in values)


def _times_of_day(rule: Rule) -> int:
    return max(1, len(rule.byhour)) * max(1, len(rule.byminute)) * max(1, len(rule.bysecond))


def _default_days(rule: Rule, local_s: int, *, has_start: bool) -> Days:
    """Return the days of a yearly, monthly, weekly or daily rule; the start names them where the rule does not."""
    day = local_s // DAY_S
    weekday = (day + 3) % 7 if has_start else rule.wkst
    names_none = not (rule.byweekno or rule.byyearday or rule.bymonthday or rule.byday)
    moment = date.fromordinal(day + date(1970, 1, 1).toordinal())
    if rule.freq == WEEKLY and not rule.byday:
        return _days(rule, (), ((0, weekday),), rule.bymonth)
    if rule.byweekno and not (rule.byday or rule.bymonthday or rule.byyearday):
        return _days(rule, (), ((0, weekday),), rule.bymonth)
    if rule.freq in (YEARLY, MONTHLY) and names_none:
        months = rule.bymonth or ((moment.month,) if rule.freq == YEARLY else ())
        return _days(rule, (moment.day,), (), months)
    return _days(rule, rule.bymonthday, rule.byday, rule.bymonth)


def _days(
    rule: Rule, bymonthday: tuple[int, ...], byday: tuple[tuple[int, int], ...], bymonth: tuple[int, ...]
) -> Days:
    return days_of(
        DayRule(
            bymonth=bymonth,
            byweekno=rule.byweekno,
            byyearday=rule.byyearday,
            bymonthday=bymonthday,
            byday=byday,
            wkst=rule.wkst,
            of_months=rule.freq == MONTHLY or bool(rule.bymonth),
        )
    )


@cache
def _first_passes_s(zone: Zone) -> list[int]:
    """
    Return for each tile the local time from which on it answers (see `zone_table`): what was shown before is done.

    Unlike a crontab, a rule knows no corrections: however far a clock is put back, a local time occurs once.
    """
    floors_s = zone.local_starts_s[:1]
    reached_s = -FOREVER_S
    for (_, left_s), (start_s, _) in pairwise(zip(zone.local_starts_s, zone.local_ends_s, strict=True)):
        reached_s = max(reached_s, left_s)
        floors_s.append(max(reached_s, start_s))
    return floors_s


def _standard_offset_s(zone: Zone) -> int:
    """
    Return the offset from UTC that *zone* has for good, daylight saving aside.

    The grid of a rule without a start is laid by it, so that "every hour" is at the full hour in Singapore too, which in
    1970 was half an hour behind.
    """
    return min(zone.offsets_s[-2:]) if zone.wrap_s != FOREVER_S else zone.offsets_s[-1]


def _local_ms(moment: Moment, zone: Zone) -> int:
    return moment.ms + zone.offset_s(moment.ms // 1000) * 1000 if moment.is_utc else moment.ms


def _instant_ms(moment: Moment, zone: Zone) -> int:
    return moment.ms if moment.is_utc else shown_ms(zone, moment.ms)


def _rdate_ms(moment: Moment, time_ms: int, zone: Zone) -> int | None:
    """Return the instant of an RDATE or EXDATE, or None where the zone's clocks never show it."""
    if moment.is_utc:
        return moment.ms
    local_ms = moment.ms + time_ms if moment.is_date else moment.ms
    return shown_ms(zone, local_ms) if times_shown(zone, local_ms // 1000) else None


def _until_ms(until: Moment | None, zone: Zone) -> int:
    if until is None:
        return UTC_S_MAX * 1000
    if until.is_utc:
        return until.ms
    if until.is_date:
        return shown_ms(zone, until.ms + DAY_MS) - 1
    # A local time that is skipped lies before the first one after the gap.
    return shown_ms(zone, until.ms) - (0 if times_shown(zone, until.ms // 1000) else 1)


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"
