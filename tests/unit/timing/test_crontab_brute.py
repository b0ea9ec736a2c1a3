"""The engine against a walk through real time, around the days on which clocks are changed."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from scheduler.errors import InvalidScheduleError
from scheduler.timing import Schedule, crontab
from tests.unit.timing.brute import ZONES, Brute, transitions, zone_info

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def ms(moment: datetime) -> int:
    return (moment - EPOCH) // timedelta(milliseconds=1)


def walk(schedule: Schedule, start: datetime, end: datetime) -> list[int]:
    found, at = [], ms(start)
    while (following := schedule.next_ms(at)) is not None and following <= ms(end):
        assert following > at
        found.append(following)
        at = following
    return found


def walk_back(schedule: Schedule, start: datetime, end: datetime) -> list[int]:
    found, at = [], ms(end) + 1
    while (before := schedule.previous_ms(at)) is not None and before > ms(start):
        assert before < at
        found.append(before)
        at = before
    return found[::-1]


def _list_of(term: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.lists(term, min_size=1, max_size=3).map(",".join)


def _plain(low: int, high: int) -> st.SearchStrategy[str]:
    number = st.integers(low, high).map(str)
    step = st.integers(1, high + 3).map(lambda n: f"/{n}")
    return st.one_of(
        number,
        st.tuples(number, number).map("-".join),
        st.tuples(number, number, step).map(lambda p: f"{p[0]}-{p[1]}{p[2]}"),
        st.tuples(number, step).map("".join),
        step.map("*".__add__),
        st.just("*"),
    )


def _field(low: int, high: int) -> st.SearchStrategy[str]:
    return st.one_of(st.just("*"), _plain(low, high), _list_of(_plain(low, high)))


MINUTES = _field(0, 59)
# Clocks are changed at night, so that most of the hours drawn are those.
HOURS = st.one_of(_field(0, 23), st.sampled_from(["0", "1", "2", "3", "0-3", "1,2", "23", "22-4/3", "0-4/2", "*"]))
DATES = st.one_of(
    st.just("*"), _field(1, 31), st.sampled_from(["L", "LW", "15W", "1W", "31W", "?", "L,1", "*/2", "28-3"])
)
MONTHS = st.one_of(st.just("*"), st.just("*"), _field(1, 12), st.sampled_from(["mar-nov", "oct", "nov-mar"]))
WEEKDAYS = st.one_of(
    st.just("*"), _field(0, 7), st.sampled_from(["sun", "mon-fri", "5L", "0#1", "sun#2", "7", "?", "sat-mon", "0L,3#2"])
)
EXPRESSIONS = st.tuples(MINUTES, HOURS, DATES, MONTHS, WEEKDAYS).map(" ".join)


@settings(max_examples=300, deadline=None)
@given(
    expr=EXPRESSIONS,
    zone=st.sampled_from(ZONES),
    which=st.integers(0, 200),
    before_min=st.integers(0, 600),
    gap=st.sampled_from(["run", "skip"]),
    fold=st.sampled_from(["first", "both"]),
    day_match=st.sampled_from(["vixie", "and"]),
)
@example("30 1 * * *", "America/New_York", 3, 300, "run", "first", "vixie")
@example("0 0 * * *", "America/Sao_Paulo", 0, 300, "run", "first", "vixie")
@example("*/7 */2 * * *", "Australia/Lord_Howe", 5, 100, "run", "first", "vixie")
@example("0-50/10 0-4 * * *", "Antarctica/Casey", 1, 300, "run", "first", "vixie")
def test_engine_agrees_with_a_walk_through_real_time(  # noqa: PLR0917
    expr: str, zone: str, which: int, before_min: int, gap: str, fold: str, day_match: str
) -> None:
    """Debian's rule, minute by minute, in zones with every kind of change; forwards and backwards."""
    moments = transitions(zone)
    moment = moments[which % len(moments)]
    start = moment.replace(second=0) - timedelta(minutes=before_min)
    end = start + timedelta(hours=36)
    try:
        schedule = crontab(expr, tz=zone, gap=gap, fold=fold, day_match=day_match)
    except InvalidScheduleError as error:
        assume("never meet" not in str(error))
        raise
    expected = [ms(fire) for fire in Brute(expr, zone, gap=gap, fold=fold, day_match=day_match).fires(start, end)]
    assert expected == walk(schedule, start, end)
    assert expected == walk_back(schedule, start, end)


@settings(max_examples=25, deadline=None)
@given(
    seconds=_field(0, 59),
    minutes=MINUTES,
    hours=HOURS,
    zone=st.sampled_from(ZONES),
    which=st.integers(0, 200),
    gap=st.sampled_from(["run", "skip"]),
    fold=st.sampled_from(["first", "both"]),
)
def test_engine_agrees_with_a_walk_by_seconds(  # noqa: PLR0917
    seconds: str, minutes: str, hours: str, zone: str, which: int, gap: str, fold: str
) -> None:
    """Six fields follow the same rule: wildcard by minute and hour, whatever the second says."""
    moments = transitions(zone)
    moment = moments[which % len(moments)]
    start, end = moment - timedelta(minutes=10), moment + timedelta(minutes=70)
    expr = f"{seconds} {minutes} {hours} * * *"
    brute = Brute(expr, zone, gap=gap, fold=fold)
    schedule = crontab(expr, tz=zone, gap=gap, fold=fold)
    expected = [ms(fire) for fire in brute.fires(start, end)]
    assert expected == walk(schedule, start, end)
    assert expected == walk_back(schedule, start, end)


@settings(max_examples=150, deadline=None)
@given(
    dom=DATES,
    month=MONTHS,
    dow=WEEKDAYS,
    day_match=st.sampled_from(["vixie", "and"]),
    first=st.dates(date(1890, 1, 1), date(2110, 1, 1)),
)
def test_dates_agree_with_a_walk_over_days(dom: str, month: str, dow: str, day_match: str, first: date) -> None:
    """L, LW, nW, d#n, dL, wraps and both day rules, against counting each month out."""
    expr = f"0 0 {dom} {month} {dow}"
    brute = Brute(expr, "UTC", day_match=day_match)
    try:
        schedule = crontab(expr, day_match=day_match)
    except InvalidScheduleError:
        days = (date(2000, 1, 1) + timedelta(days=index) for index in range(28 * 366))
        assert not any(brute.day(day) for day in days if day.month in brute.values[4])
        return
    start = datetime(first.year, first.month, first.day, tzinfo=UTC)
    end = start + timedelta(days=400)
    days = (first + timedelta(days=index) for index in range(1, 401))
    expected = [ms(datetime(day.year, day.month, day.day, tzinfo=UTC)) for day in days if brute.day(day)]
    assert expected == walk(schedule, start, end)
    assert expected == walk_back(schedule, start, end)


@settings(max_examples=200, deadline=None)
@given(
    expr=EXPRESSIONS,
    zone=st.sampled_from(ZONES),
    at_s=st.integers(-3_000_000_000, 200_000_000_000),
    fold=st.sampled_from(["first", "both"]),
)
def test_next_and_previous_are_inverse(expr: str, zone: str, at_s: int, fold: str) -> None:
    """From any moment until the year 8307: the fire after it has the same fire before it as the moment has."""
    try:
        schedule = crontab(expr, tz=zone, fold=fold)
    except InvalidScheduleError:
        assume(False)
    at_ms = at_s * 1000
    following = schedule.next_ms(at_ms)
    before = schedule.previous_ms(at_ms)
    if following is not None:
        assert following > at_ms
        last_until = schedule.previous_ms(following)
        assert last_until is None or last_until <= at_ms
        assert schedule.previous_ms(following + 1) == following
        assert schedule.next_ms(following - 1) == following
    if before is not None:
        assert before < at_ms
        first_since = schedule.next_ms(before)
        assert first_since is None or first_since >= at_ms
        assert schedule.next_ms(before - 1) == before
        assert schedule.previous_ms(before + 1) == before


@settings(max_examples=150, deadline=None)
@given(
    minute=st.integers(0, 59),
    hour=st.integers(0, 23),
    star=st.booleans(),
    zone=st.sampled_from(ZONES),
    which=st.integers(0, 200),
    days_off=st.integers(-1, 1),
    fold=st.sampled_from(["first", "both"]),
)
def test_a_leap_over_half_a_year_lands_in_the_right_tile(  # noqa: PLR0917
    minute: int, hour: int, star: bool, zone: str, which: int, days_off: int, fold: str
) -> None:
    """One date a year, on the day of a change, is found from 170 days before and after it."""
    moments = transitions(zone)
    moment = moments[which % len(moments)].replace(second=0)
    day = moment.astimezone(zone_info(zone)).date() + timedelta(days=days_off)
    expr = f"{'*/7' if star else minute} {hour} {day.day} {day.month} *"
    start, end = moment - timedelta(days=3), moment + timedelta(days=3)
    expected = [ms(fire) for fire in Brute(expr, zone, fold=fold).fires(start, end)]
    schedule = crontab(expr, tz=zone, fold=fold)
    before, after = ms(start - timedelta(days=167)), ms(end + timedelta(days=167))
    if expected:
        assert schedule.next_ms(before) == expected[0]
        assert schedule.previous_ms(after) == expected[-1]
    else:
        assert (schedule.next_ms(before) or after) > ms(end)
        assert (schedule.previous_ms(after) or before) <= ms(start)


@pytest.mark.parametrize("zone", ["America/New_York", "Europe/Dublin", "Australia/Lord_Howe", "America/Nuuk", "UTC"])
@pytest.mark.parametrize("expr", ["30 2 * * *", "*/20 * * 3,10 *", "0 0 29 2 *", "15 1 8-14 3 *"])
def test_far_centuries_repeat_the_near_ones(expr: str, zone: str) -> None:
    """The calendar and the rule of a zone repeat after 400 years, also where the table of the zone ends."""
    schedule = crontab(expr, tz=zone)
    period = 146_097 * 86_400_000
    start = ms(datetime(2100, 1, 1, tzinfo=UTC))
    for offset in range(0, 400 * 366, 4001):
        at = start + offset * 86_400_000
        fire = schedule.next_ms(at)
        assert fire is not None
        for times in (1, 5, 18):
            assert schedule.next_ms(at + times * period) == fire + times * period
            assert schedule.previous_ms(fire + times * period + 1) == fire + times * period


@pytest.mark.parametrize("zone", ["America/New_York", "Europe/Berlin", "Australia/Lord_Howe", "America/Nuuk"])
@pytest.mark.parametrize("month", [1, 4, 7, 12])
def test_nothing_is_lost_where_the_table_of_a_zone_ends(zone: str, month: int) -> None:
    """The table ends some 400 years after the last change of a law, and a search has to cross that year."""
    schedule = crontab(f"30 12 8 {month} *", tz=zone)
    days = [datetime(year, month, 8, 12, 30, tzinfo=zone_info(zone)) for year in range(2390, 2450)]
    assert walk(schedule, datetime(2390, 1, 1, tzinfo=UTC), datetime(2449, 12, 31, tzinfo=UTC)) == [ms(d) for d in days]
    assert walk_back(schedule, datetime(2390, 1, 1, tzinfo=UTC), datetime(2449, 12, 31, tzinfo=UTC)) == [
        ms(d) for d in days
    ]


@pytest.mark.parametrize("zone", ["America/New_York", "Europe/Berlin", "Australia/Lord_Howe"])
def test_fires_run_up_to_the_end_of_the_calendar(zone: str) -> None:
    """The last years have their fires too, in order, and then there are none."""
    schedule = crontab("30 2 * * sun", tz=zone)
    at = ms(datetime(9999, 3, 1, tzinfo=UTC))
    fires = []
    while (following := schedule.next_ms(at)) is not None:
        fires.append(following)
        at = following
    assert all(0 < later - earlier <= 8 * 86_400_000 for earlier, later in pairwise(fires))
    assert len(fires) in (43, 44)
    brute = Brute("30 2 * * sun", zone).fires(datetime(9999, 3, 1, tzinfo=UTC), datetime(9999, 4, 15, tzinfo=UTC))
    assert [ms(fire) for fire in brute] == fires[: len(brute)]
