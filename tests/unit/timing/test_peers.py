"""
Second opinions: croniter and cronsim, where they and we mean the same, and the list of where we do not.

The random comparison keeps to what all agree on (UTC, no wrapped ranges, one day field restricted). `KNOWN` holds
every difference we know of, with the answers of both sides, so that a release that changes one of them is noticed.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from croniter import croniter
from cronsim import CronSim, CronSimError
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from scheduler.errors import InvalidScheduleError
from scheduler.timing import crontab
from scheduler.timing.zones import get_zone

START = datetime(2026, 1, 1, tzinfo=UTC)


def _field(low: int, high: int) -> st.SearchStrategy[str]:
    number = st.integers(low, high)
    rising = st.tuples(number, number).filter(lambda pair: pair[0] < pair[1]).map(lambda pair: f"{pair[0]}-{pair[1]}")
    step = st.integers(1, max(2, (high - low) // 3)).map(lambda n: f"/{n}")
    term = st.one_of(number.map(str), rising, st.tuples(rising, step).map("".join), step.map("*".__add__))
    return st.one_of(st.just("*"), term, st.lists(number.map(str), min_size=2, max_size=4).map(",".join))


DAYS = st.one_of(
    st.tuples(_field(1, 31), _field(1, 12), st.just("*")),
    st.tuples(st.just("*"), _field(1, 12), _field(0, 6)),
    st.tuples(st.just("L"), _field(1, 12), st.just("*")),
)
MOMENTS = st.datetimes(datetime(1971, 1, 1), datetime(2090, 1, 1)).map(lambda d: d.replace(microsecond=0, tzinfo=UTC))


@settings(max_examples=250, deadline=None)
@given(_field(0, 59), _field(0, 23), DAYS, MOMENTS)
def test_croniter_and_cronsim_agree_in_utc(minute: str, hour: str, days: tuple[str, str, str], start: datetime) -> None:
    expr = " ".join((minute, hour, *days))
    try:
        schedule = crontab(expr)
    except InvalidScheduleError:
        assume(False)
    ours = schedule.upcoming(start, 5)
    sim = CronSim(expr, start)
    assert [next(sim) for _ in range(5)] == ours
    iterator = croniter(expr, start, ret_type=datetime)
    assert [iterator.get_next() for _ in range(5)] == ours
    back = croniter(expr, start, ret_type=datetime)
    assert back.get_prev() == schedule.previous(start)


@settings(max_examples=100, deadline=None)
@given(
    st.sampled_from(["0", "5,35", "30", "59"]),
    st.sampled_from(["0", "1", "2", "3", "1,2", "0-3"]),
    st.sampled_from(["America/New_York", "Europe/Berlin", "America/Sao_Paulo", "Africa/Casablanca", "Europe/Dublin"]),
    MOMENTS.filter(lambda moment: moment.year < 2037),
)
def test_cronsim_agrees_on_fixed_times_across_changes(minute: str, hour: str, zone: str, start: datetime) -> None:
    """Both claim Debian's rule; starts inside a second pass apart, the fires of a year are the same."""
    expr = f"{minute} {hour} * * *"
    local = start.astimezone(get_zone(zone)).replace(hour=12)
    sim = CronSim(expr, local)
    ours = crontab(expr, tz=zone).upcoming(local, 400)
    assert [next(sim).astimezone(UTC) for _ in range(400)] == ours


def from_croniter(expr: str, zone: str, start: datetime, n: int) -> list[str]:
    try:
        iterator = croniter(expr, start.astimezone(get_zone(zone)), ret_type=datetime)
        return [f"{iterator.get_next():%m-%d %H:%M%z}" for _ in range(n)]
    except Exception as error:
        return [type(error).__name__]


def from_cronsim(expr: str, zone: str, start: datetime, n: int) -> list[str]:
    try:
        sim = CronSim(expr, start.astimezone(get_zone(zone)))
        return [f"{next(sim):%m-%d %H:%M%z}" for _ in range(n)]
    except CronSimError as error:
        return [type(error).__name__]


def from_us(expr: str, zone: str, start: datetime, n: int) -> list[str]:
    try:
        fires = crontab(expr, tz=zone).upcoming(start, n)
    except InvalidScheduleError as error:
        return [type(error).__name__]
    return [f"{fire.astimezone(get_zone(zone)):%m-%d %H:%M%z}" for fire in fires]


NEW_YORK = "America/New_York"
NOVEMBER = datetime(2026, 11, 1, 4, tzinfo=UTC)
MARCH = datetime(2026, 3, 8, 5, tzinfo=UTC)

KNOWN: list[tuple[str, Any, str, str, datetime, list[str], list[str]]] = [
    (
        "what follows a half-hour gap is lost",
        from_cronsim,
        "*/10 3 * * *",
        "America/Caracas",
        datetime(2016, 4, 30, 12, 0, tzinfo=UTC),
        ["05-01 03:30-0400", "05-01 03:40-0400"],
        ["05-01 03:00-0400", "05-01 03:10-0400"],
    ),
    (
        "the second pass of a repeated hour runs again",
        from_croniter,
        "30 1 * * *",
        "America/New_York",
        NOVEMBER,
        ["11-01 01:30-0400", "11-01 01:30-0500"],
        ["11-01 01:30-0400", "11-02 01:30-0500"],
    ),
    (
        "a wildcard runs for what lies in a gap",
        from_croniter,
        "*/10 2 * * *",
        "America/New_York",
        MARCH,
        ["03-08 03:00-0400", "03-09 02:00-0400"],
        ["03-09 02:00-0400", "03-09 02:10-0400"],
    ),
    (
        "a day field with a step counts as restricted, so that either matches",
        from_croniter,
        "0 0 */2 * 1",
        "UTC",
        START,
        ["01-03 00:00+0000", "01-05 00:00+0000", "01-07 00:00+0000"],
        ["01-05 00:00+0000", "01-19 00:00+0000", "02-09 00:00+0000"],
    ),
    (
        "a range of one value is the whole field",
        from_croniter,
        "0 5-5 * * *",
        "UTC",
        START,
        ["01-01 01:00+0000", "01-01 02:00+0000", "01-01 03:00+0000"],
        ["01-01 05:00+0000", "01-02 05:00+0000", "01-03 05:00+0000"],
    ),
    (
        "the step of a wrapped range starts anew",
        from_croniter,
        "0 22-4/3 * * *",
        "UTC",
        START,
        ["01-01 02:00+0000", "01-01 22:00+0000", "01-02 02:00+0000", "01-02 22:00+0000"],
        ["01-01 01:00+0000", "01-01 04:00+0000", "01-01 22:00+0000", "01-02 01:00+0000"],
    ),
    (
        "the day of the month is dropped beside d#n",
        from_croniter,
        "0 0 13 * 5#2",
        "UTC",
        START,
        ["01-09 00:00+0000", "02-13 00:00+0000", "03-13 00:00+0000"],
        ["01-09 00:00+0000", "01-13 00:00+0000", "02-13 00:00+0000"],
    ),
    (
        "six fields have the second last",
        from_croniter,
        "0 30 9 * * *",
        "UTC",
        START,
        ["CroniterBadCronError"],
        ["01-01 09:30+0000", "01-02 09:30+0000"],
    ),
    (
        "the start lies in the second pass, and the answer before it",
        from_cronsim,
        "30 1 * * *",
        "America/New_York",
        datetime(2026, 11, 1, 6, 15, tzinfo=UTC),
        ["11-01 01:30-0400"],
        ["11-02 01:30-0500"],
    ),
    ("reversed ranges are refused", from_cronsim, "0 22-4 * * *", "UTC", START, ["CronSimError"], ["01-01 01:00+0000"]),
    ("W other than LW is refused", from_cronsim, "0 0 15W * *", "UTC", START, ["CronSimError"], ["01-15 00:00+0000"]),
    ("? is refused", from_cronsim, "0 0 ? * mon", "UTC", START, ["CronSimError"], ["01-05 00:00+0000"]),
    (
        "no-break spaces separate fields",
        from_cronsim,
        "0\xa00 * * *",
        "UTC",
        START,
        ["01-02 00:00+0000"],
        ["InvalidScheduleError"],
    ),
    (
        "six fields follow real time only",
        from_cronsim,
        "0 30 2 * * *",
        "America/New_York",
        MARCH,
        ["03-09 02:30-0400"],
        ["03-08 03:00-0400"],
    ),
    (
        "a fixed time in a correction runs after it",
        from_cronsim,
        "0 9 30 12 *",
        "Pacific/Apia",
        datetime(2011, 12, 29, 20, 0, tzinfo=UTC),
        ["12-31 00:00+1400"],
        ["12-30 09:00+1400"],
    ),
    (
        "a/n on a weekday ends with Saturday, and not with Sunday as 7",
        from_croniter,
        "0 0 * * 1/2",
        "UTC",
        START,
        ["01-02 00:00+0000", "01-05 00:00+0000", "01-07 00:00+0000", "01-09 00:00+0000"],
        ["01-02 00:00+0000", "01-04 00:00+0000", "01-05 00:00+0000", "01-07 00:00+0000"],
    ),
]


@pytest.mark.parametrize(("why", "peer", "expr", "zone", "start", "theirs", "ours"), KNOWN)
def test_known_differences(  # noqa: PLR0917
    why: str, peer: Any, expr: str, zone: str, start: datetime, theirs: list[str], ours: list[str]
) -> None:
    assert why
    assert theirs != ours
    assert peer(expr, zone, start, max(len(theirs), len(ours)))[: len(theirs)] == theirs
    assert from_us(expr, zone, start, max(len(theirs), len(ours)))[: len(ours)] == ours
