"""
A year of every zone against a walk through it, minute by minute.

The walk is the letter of Debian's cron(8), over what `zoneinfo` says the clock shows; it shares no code with the engine. Some
hours away from any change, where the clock on the wall runs evenly, it takes the local times as they are.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from functools import cache
from itertools import product
from typing import NamedTuple

import pytest

from scheduler.timing import Schedule, crontab, every, rrule
from scheduler.timing.zones import known_names
from tests.unit.timing.brute import Brute, zone_info

DAY_MIN = 24 * 60
NEAR_MIN = 4 * 60
EDGE_MIN = 4 * DAY_MIN
"""So long before and after a year its zone is looked at."""
CORRECTION_MIN = 3 * 60
EPOCH = datetime(1970, 1, 1)
LONG_AGO = date(1961, 1, 1)
"""A Sunday."""

FIXED = ("30 2 * * *", "0 0 * * *", "59 23 * * 6,0", "0 1 1-7 * 0", "30 3 L * *", "15,45 0-3 * * *")
WILDCARD = ("*/15 1 * * *", "7 */6 * * *", "*/30 0 * * sun", "*/20 * * * *")
"""Those with many fires last."""
OPTIONS = tuple(product(("run", "skip"), ("first", "both")))

ODD_YEARS = (
    ("Pacific/Apia", 2010), ("Pacific/Apia", 2011), ("Pacific/Kwajalein", 1993), ("Pacific/Kiritimati", 1994),
    ("America/Caracas", 2007), ("America/Caracas", 2016), ("Asia/Pyongyang", 2015), ("Asia/Pyongyang", 2018),
    ("Australia/Lord_Howe", 1981), ("Australia/Lord_Howe", 1985), ("America/Sao_Paulo", 2018), ("America/Santiago", 2022),
    ("Atlantic/Azores", 1992), ("Africa/Casablanca", 2018), ("Africa/Cairo", 2014), ("Europe/Dublin", 1971),
    ("Europe/Istanbul", 2016), ("Europe/Lisbon", 1992), ("Europe/London", 1968), ("America/Nuuk", 2023),
    ("America/Nuuk", 2024), ("America/St_Johns", 1988), ("America/St_Johns", 2007), ("Antarctica/Casey", 2018),
    ("Antarctica/Casey", 2020), ("Antarctica/Troll", 2014), ("Asia/Gaza", 2016), ("Asia/Tehran", 2022),
    ("Asia/Kathmandu", 1986), ("Asia/Colombo", 1996), ("Asia/Ho_Chi_Minh", 1975), ("Africa/Juba", 2021),
    ("America/Argentina/San_Luis", 2008), ("America/Juneau", 1983), ("Asia/Manila", 1978), ("Europe/Moscow", 1991),
    ("Europe/Volgograd", 2018), ("America/Vancouver", 2026), ("Asia/Singapore", 1982), ("Asia/Riyadh", 2026),
)  # fmt: skip
"""Skipped and repeated days, jumps of 20, 30, 40 and 120 minutes, clocks changed at midnight, twice a month, or for good."""


class Change(NamedTuple):
    """A change of a zone's clock: minute zero of the new offset, and the offsets, all in minutes."""

    at: int
    before: int
    after: int


class Year(NamedTuple):
    """A year of a zone: how its clock stands at the beginning, and its changes."""

    year: int
    offset: int
    changes: tuple[Change, ...]

    @property
    def bounds(self) -> tuple[int, int]:
        """From which UTC minute to which fires are compared; the days beside them are there to search through."""
        return minute(datetime(self.year, 1, 1)), minute(datetime(self.year + 1, 1, 1))


def minute(moment: datetime) -> int:
    """*moment* in minutes since 1970, on its own clock."""
    return int((moment.replace(tzinfo=None) - EPOCH) // timedelta(minutes=1))


@cache
def year_of(zone: str, year: int) -> Year | None:
    """The year of a zone, found by asking four times a day, then for every minute; None if its offsets have seconds."""
    info = zone_info(zone)

    def offset(at: int) -> float:
        shown = (EPOCH + timedelta(minutes=at)).replace(tzinfo=UTC).astimezone(info).utcoffset()
        assert shown is not None
        return shown.total_seconds() / 60

    first, last = minute(datetime(year, 1, 1)) - EDGE_MIN, minute(datetime(year + 1, 1, 1)) + EDGE_MIN
    changes = []
    before = start = offset(first)
    for quarter in range(first, last, 360):
        if offset(quarter + 360) == before:
            continue
        for at in range(quarter + 1, quarter + 361):
            after = offset(at)
            if after != before:
                changes.append((at, before, after))
                before = after
    if any(value % 1 for value in (start, *(value for change in changes for value in change))):
        return None
    return Year(year, int(start), tuple(Change(int(at), int(b), int(a)) for at, b, a in changes))


@cache
def matches(expr: str, year: int) -> tuple[int, ...]:
    """The local minutes of a year, and some days around it, that *expr* names: looked at one by one."""
    brute = Brute(expr, "UTC")
    found = []
    day = date(year - 1, 12, 20)
    hours, minutes = sorted(brute.values[2]), sorted(brute.values[1])
    while day < date(year + 1, 1, 13):
        if brute.day(day):
            start = minute(datetime(day.year, day.month, day.day))
            found += [start + hour * 60 + one for hour in hours for one in minutes]
        day += timedelta(days=1)
    return tuple(found)


def walked(year: Year, local: tuple[int, ...], *, is_wildcard: bool, gap: str, fold: str) -> list[int]:
    """The UTC minutes of *year* at which the rule of cron(8) starts what is due at the *local* minutes."""
    wanted, found = frozenset(local), []
    first, last = year.bounds
    at, offset = first - EDGE_MIN, year.offset
    # Virtual time: how far the clock has come for jobs that have a fixed time.
    virtual = at + offset
    for change in (*year.changes, None):
        near = last if change is None else change.at - NEAR_MIN
        if near > at:
            found += [one - offset for one in _between(local, at + offset + 1, near + offset)]
            at, virtual = near, near + offset
        if change is None:
            break
        until = change.at + NEAR_MIN
        following = [later.at for later in year.changes if change.at < later.at]
        until = min([until, *(moment - 1 for moment in following)])
        while at < until:
            at += 1
            if at == change.at:
                offset = change.after
            shown = at + offset
            jump = change.after - change.before if at == change.at else 0
            if is_wildcard or abs(jump) >= CORRECTION_MIN or (jump < 0 and fold == "both"):
                virtual = shown
                due = shown in wanted
            elif shown <= virtual:
                due = False
            else:
                due = shown in wanted or (gap == "run" and any(one in wanted for one in range(virtual + 1, shown)))
                virtual = shown
            if due:
                found.append(at)
    return [at for at in found if first <= at < last]


def first_shown(year: Year, local: tuple[int, ...]) -> list[int]:
    """The UTC minutes of *year* at which its clock shows each of *local* for the first time; RFC 5545's reading."""
    first, last = year.bounds
    stretches = []
    at, offset = first - EDGE_MIN, year.offset
    for change in (*year.changes, None):
        end = last + EDGE_MIN if change is None else change.at
        stretches.append((at, end, offset))
        if change is not None:
            at, offset = change.at, change.after
    found = []
    for one in local:
        moments = [one - offset for start, end, offset in stretches if start <= one - offset < end]
        found += moments[:1]
    return sorted(at for at in set(found) if first <= at < last)


def _between(local: tuple[int, ...], low: int, high: int) -> tuple[int, ...]:
    return local[bisect_left(local, low) : bisect_left(local, high + 1)]


def fires(schedule: Schedule, year: Year) -> list[int]:
    """The UTC minutes of *year* at which *schedule* fires, found forwards; and found backwards too."""
    first, last = (at * 60_000 for at in year.bounds)
    found, at = [], first - 1
    while (following := schedule.next_ms(at)) is not None and following < last:
        assert at < following
        found.append(following)
        at = following
    back, at = [], last
    while (before := schedule.previous_ms(at)) is not None and before >= first:
        assert before < at
        back.append(before)
        at = before
    assert found == back[::-1]
    return [at // 60_000 for at in found]


def check(zone: str, year: Year, *, dense: bool) -> None:
    """Compare everything that follows the clock on the wall with the walk; what fires often only if *dense*."""
    for expr, (gap, fold) in product(FIXED if dense else FIXED[:-1], OPTIONS):
        expected = walked(year, matches(expr, year.year), is_wildcard=False, gap=gap, fold=fold)
        assert expected == fires(crontab(expr, tz=zone, gap=gap, fold=fold), year), (zone, expr, gap, fold)
    for expr in WILDCARD if dense else WILDCARD[:-1]:
        expected = walked(year, matches(expr, year.year), is_wildcard=True, gap="run", fold="first")
        assert expected == fires(crontab(expr, tz=zone), year), (zone, expr)
    for gap, fold in OPTIONS:
        expected = walked(year, matches("30 2 * * *", year.year), is_wildcard=False, gap=gap, fold=fold)
        assert expected == fires(every(days=1, at="02:30", anchor=LONG_AGO, tz=zone, gap=gap, fold=fold), year), (
            zone,
            gap,
            fold,
        )
    expected = walked(year, matches("0 0 1 * *", year.year), is_wildcard=False, gap="run", fold="first")
    assert expected == fires(every(months=1, anchor=LONG_AGO, tz=zone), year), zone
    expected = walked(year, matches("15 1 * * sun", year.year), is_wildcard=False, gap="run", fold="first")
    assert expected == fires(every(weeks=1, at="01:15", anchor=LONG_AGO, tz=zone), year), zone
    expected = first_shown(year, matches("30 0-3 * * *", year.year))
    rule = rrule("FREQ=DAILY;BYHOUR=0,1,2,3;BYMINUTE=30;BYSECOND=0", start=datetime(LONG_AGO.year, 1, 1), tz=zone)
    assert expected == fires(rule, year), zone


def alike(year: int) -> Iterator[tuple[str, Year]]:
    """One zone for each set of changes in *year*."""
    seen = set()
    for zone in known_names():
        found = year_of(zone, year)
        if found is not None and found not in seen:
            seen.add(found)
            yield zone, found


def test_a_year_of_every_zone() -> None:
    """Present rules: each kind of crontab, `every` on the wall clock and `rrule`, in one zone of each kind."""
    zones = list(alike(2026))
    assert len(zones) > 60
    for zone, year in zones:
        check(zone, year, dense=False)


@pytest.mark.parametrize(("zone", "number"), ODD_YEARS, ids=lambda value: str(value).rpartition("/")[2])
def test_odd_years(zone: str, number: int) -> None:
    """Years in which somebody did something unusual to a clock."""
    year = year_of(zone, number)
    assert year is not None
    check(zone, year, dense=False)


@pytest.mark.long
@pytest.mark.timeout(1_800)
@pytest.mark.parametrize("number", [1969, 1974, 1983, 1991, 1996, 2007, 2011, 2016, 2019, 2026, 2037, 2050])
def test_a_year_of_all_zones(number: int) -> None:
    """All zones whose offsets are whole minutes, in years with many changes; what fires often in one zone of each kind."""
    zones = [(zone, found) for zone in known_names() if (found := year_of(zone, number)) is not None]
    assert len(zones) > 550
    first = {year: zone for zone, year in reversed(zones)}
    for zone, year in zones:
        check(zone, year, dense=zone == first[year])
