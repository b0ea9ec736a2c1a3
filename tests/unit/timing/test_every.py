"""`every`: anchor + k · period, in elapsed time or on the wall clock."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler.errors import InvalidScheduleError
from scheduler.timing import Schedule, every
from scheduler.timing.zones import get_zone
from tests.unit.timing.brute import EPOCH, ZONES, wall, zone_info

START = datetime(2026, 1, 15, 12, tzinfo=UTC)
SHANGHAI = "Asia/Shanghai"


def local(schedule: Schedule, n: int, start: datetime = START) -> list[str]:
    zone = get_zone(schedule.zone or "UTC")
    return [f"{fire.astimezone(zone):%y-%m-%d %H:%M}" for fire in schedule.upcoming(start, n)]


class TestElapsed:
    """A duration is elapsed time, whatever clocks do."""

    @pytest.mark.parametrize(
        ("schedule", "period_ms"),
        [
            (every("30s"), 30_000),
            (every(30), 30_000),
            (every(0.25), 250),
            (every(timedelta(minutes=5)), 300_000),
            (every("1h30m"), 5_400_000),
            (every(hours=1, minutes=30), 5_400_000),
            (every(seconds=0.1), 100),
            (every(timedelta(days=1)), 86_400_000),
            (every("1w"), 604_800_000),
        ],
    )
    def test_period(self, schedule: Schedule, period_ms: int) -> None:
        first = schedule.next_ms(1_000_000_000_000)
        assert first is not None
        assert first % period_ms == 0
        assert schedule.next_ms(first) == first + period_ms
        assert schedule.previous_ms(first) == first - period_ms

    def test_it_does_not_drift_however_late_it_is_asked(self) -> None:
        """Trap 4: Celery's 10 s interval, woken 0.2 s late each time, drifts 10.2, 20.4, 30.6."""
        schedule, asked, fires = every("10s"), START, []
        for _ in range(5):
            fire = schedule.next(asked)
            assert fire is not None
            fires.append((fire - START).total_seconds())
            asked = fire + timedelta(milliseconds=200)
        assert fires == [10.0, 20.0, 30.0, 40.0, 50.0]

    def test_the_anchor_is_the_first_fire(self) -> None:
        anchor = datetime(2027, 1, 1, 0, 0, 7, tzinfo=UTC)
        schedule = every("1h", anchor=anchor)
        assert schedule.next(START) == anchor
        assert schedule.next(anchor) == anchor + timedelta(hours=1)
        assert schedule.previous(anchor) is None
        assert schedule.previous(anchor + timedelta(microseconds=1)) == anchor

    def test_a_naive_anchor_is_local_to_the_zone(self) -> None:
        schedule = every("1h", anchor=datetime(2027, 1, 1))
        assert schedule.next(START) == datetime(2027, 1, 1, tzinfo=UTC)
        assert schedule.in_zone(SHANGHAI).next(START) == datetime(2026, 12, 31, 16, tzinfo=UTC)

    def test_a_naive_anchor_in_a_gap_is_right_after_it(self) -> None:
        schedule = every("24h", anchor="2026-03-08T02:30", tz="America/New_York")
        assert local(schedule, 2) == ["26-03-08 03:00", "26-03-09 03:00"]

    @settings(max_examples=200, deadline=None)
    @given(
        period_ms=st.integers(100, 10**10),
        anchor_ms=st.integers(-(10**12), 4 * 10**12),
        at_ms=st.integers(-(10**13), 10**13),
    )
    def test_against_counting(self, period_ms: int, anchor_ms: int, at_ms: int) -> None:
        epoch = EPOCH.replace(tzinfo=UTC)
        schedule = every(timedelta(milliseconds=period_ms), anchor=epoch + timedelta(milliseconds=anchor_ms))
        k = max(0, (at_ms - anchor_ms) // period_ms - 2)
        near = [anchor_ms + (k + i) * period_ms for i in range(6)]
        assert schedule.next_ms(at_ms) == min(fire for fire in near if fire > at_ms)
        assert schedule.previous_ms(at_ms) == max((fire for fire in near if fire < at_ms), default=None)

    def test_it_ends_with_the_calendar(self) -> None:
        schedule = every("1w")
        last = schedule.previous_ms(10**18)
        assert last is not None
        assert schedule.next_ms(last) is None
        assert schedule.previous(datetime.max.replace(tzinfo=UTC)) is not None


class TestWallClock:
    """Days, weeks, months and years keep the time of day."""

    def test_days_keep_the_time_of_day(self) -> None:
        schedule = every(days=1, at="09:00", tz="America/New_York")
        fires = schedule.upcoming(datetime(2026, 3, 6, 20, tzinfo=UTC), 3)
        assert [fire.hour for fire in fires] == [14, 13, 13]

    def test_without_an_anchor_they_count_from_the_epoch(self) -> None:
        assert local(every(days=2), 2) == ["26-01-17 00:00", "26-01-19 00:00"]
        assert local(every(weeks=1, at="08:30", tz=SHANGHAI), 2) == ["26-01-22 08:30", "26-01-29 08:30"]
        assert local(every(months=3), 2) == ["26-04-01 00:00", "26-07-01 00:00"]
        assert local(every(years=1, at=time(6)), 2) == ["27-01-01 06:00", "28-01-01 06:00"]

    def test_the_31st_stays_the_31st(self) -> None:
        schedule = every(months=1, anchor="2026-01-31T09:00")
        expected = ["26-01-31 09:00", "26-02-28 09:00", "26-03-31 09:00", "26-04-30 09:00", "26-05-31 09:00"]
        assert local(schedule, 5) == expected

    def test_or_is_skipped_where_a_month_has_none(self) -> None:
        schedule = every(months=1, anchor=date(2026, 1, 31), month_end="skip")
        assert local(schedule, 3) == ["26-01-31 00:00", "26-03-31 00:00", "26-05-31 00:00"]

    def test_leap_days(self) -> None:
        start = datetime(2096, 1, 1, tzinfo=UTC)
        clamped = every(years=1, anchor=date(2024, 2, 29))
        skipped = every(years=1, anchor=date(2024, 2, 29), month_end="skip")
        assert local(clamped, 2, start) == ["96-02-29 00:00", "97-02-28 00:00"]
        assert local(skipped, 2, start) == ["96-02-29 00:00", "04-02-29 00:00"]

    def test_weeks_and_days_add_up_and_so_do_years_and_months(self) -> None:
        assert every(weeks=1, days=3) == every(days=10)
        assert every(years=1, months=6) == every(months=18)

    def test_at_may_stand_beside_a_date_or_the_same_time_of_day(self) -> None:
        by_date = every(days=1, at="09:00", anchor=date(2026, 2, 1))
        assert local(by_date, 1) == ["26-02-01 09:00"]
        assert by_date.next_ms(0) == every(days=1, at="09:00", anchor="2026-02-01T09:00").next_ms(0)

    def test_an_aware_anchor_in_a_second_pass_is_still_the_first_fire(self) -> None:
        anchor = datetime(2026, 11, 1, 1, 30, fold=1, tzinfo=ZoneInfo("America/New_York"))
        schedule = every(days=1, anchor=anchor, tz="America/New_York")
        assert schedule.upcoming(START, 2) == [
            datetime(2026, 11, 1, 6, 30, tzinfo=UTC),
            datetime(2026, 11, 2, 6, 30, tzinfo=UTC),
        ]
        assert schedule.previous(datetime(2026, 11, 2, tzinfo=UTC)) == anchor.astimezone(UTC)
        assert schedule.previous(anchor.astimezone(UTC)) is None

    def test_at_beside_an_aware_anchor_is_compared_in_the_zone(self) -> None:
        """Before the zone is known it cannot be told; computing without one is an error, as 09:00 is not in UTC."""
        schedule = every(days=1, at="09:00", anchor=datetime(2026, 2, 1, 9, tzinfo=ZoneInfo(SHANGHAI)))
        assert local(schedule.in_zone(SHANGHAI), 1) == ["26-02-01 09:00"]
        for refused in (lambda: schedule.next(START), lambda: schedule.in_zone("Europe/Berlin")):
            with pytest.raises(InvalidScheduleError, match="at 09:00 stands beside the anchor"):
                refused()

    @settings(max_examples=200, deadline=None)
    @given(
        anchor=st.datetimes(datetime(1990, 1, 1), datetime(2035, 1, 1)).map(lambda d: d.replace(microsecond=0)),
        days=st.integers(1, 40),
        months=st.integers(0, 20),
        skip=st.booleans(),
        zone=st.sampled_from(ZONES),
        at=st.datetimes(datetime(1985, 1, 1), datetime(2040, 1, 1)),
        fold=st.sampled_from(["first", "both"]),
        gap=st.sampled_from(["run", "skip"]),
    )
    def test_against_counting(  # noqa: PLR0917
        self, anchor: datetime, days: int, months: int, skip: bool, zone: str, at: datetime, fold: str, gap: str
    ) -> None:
        """Each occurrence counted out from the anchor and looked up in the zone by trying offsets."""
        month_end = "skip" if skip and months else "clamp"
        period: dict[str, Any] = {"months": months, "month_end": month_end} if months else {"days": days}
        schedule = every(anchor=anchor, tz=zone, fold=fold, gap=gap, **period)
        months_between = (at.year - anchor.year) * 12 + at.month - anchor.month
        k = max(0, (months_between // months if months else (at - anchor).days // days) - 6)
        fires: list[int] = []
        for step in range(k, k + 14):
            moment = add_months(anchor, step * months, month_end) if months else anchor + timedelta(days=step * days)
            if moment is not None:
                fires += instants(moment, zone, gap, fold)
        at_ms = int((at.replace(microsecond=0) - EPOCH).total_seconds()) * 1000
        later = sorted({fire for fire in fires if fire > at_ms})
        earlier = sorted({fire for fire in fires if fire < at_ms})
        if later:
            assert schedule.next_ms(at_ms) == later[0]
        if earlier:
            assert schedule.previous_ms(at_ms) == earlier[-1]


def add_months(anchor: datetime, count: int, month_end: str) -> datetime | None:
    year, month = divmod(anchor.year * 12 + anchor.month - 1 + count, 12)
    for day in range(anchor.day, 27, -1) if anchor.day > 28 else [anchor.day]:
        try:
            return anchor.replace(year=year, month=month + 1, day=day)
        except ValueError:
            if month_end == "skip":
                return None
    return None


def instants(moment: datetime, zone: str, gap: str, fold: str) -> list[int]:
    """Return when *zone* shows *moment*: try each offset it has within two days."""
    info = zone_info(zone)
    around = [moment.replace(tzinfo=UTC) + timedelta(hours=hours) for hours in range(-48, 49)]
    offsets = {at.astimezone(info).utcoffset() or timedelta(0) for at in around}
    found = sorted(
        (moment - offset).replace(tzinfo=UTC)
        for offset in offsets
        if wall((moment - offset).replace(tzinfo=UTC), info) == moment
    )
    if found:
        is_correction = len(found) > 1 and found[1] - found[0] >= timedelta(hours=3)
        kept = found if fold == "both" or is_correction else found[:1]
        return [int((fire.replace(tzinfo=None) - EPOCH).total_seconds()) * 1000 for fire in kept]
    jump = max(offsets) - min(offsets)
    if gap == "skip" or jump >= timedelta(hours=3):
        return []
    low, high = (moment - max(offsets)).replace(tzinfo=UTC), (moment - min(offsets)).replace(tzinfo=UTC)
    while high - low > timedelta(seconds=1):
        middle = (low + (high - low) / 2).replace(microsecond=0)
        low, high = (middle, high) if wall(middle, info) < moment else (low, middle)
    return [int((high.replace(tzinfo=None) - EPOCH).total_seconds()) * 1000]


@pytest.mark.parametrize(
    ("positional", "keywords", "message"),
    [
        ((), {}, "every: no period; give a duration such as '30s', or days=, weeks=, months=, years="),
        ((0,), {}, "every: a period of 0s is outside 100ms–10,000 years"),
        ((0.05,), {}, "every: a period of 50ms is outside 100ms–10,000 years"),
        ((True,), {}, "every: period True is not a duration; give "),
        ((-1,), {}, "every: period -1 is negative; give "),
        ((float("nan"),), {}, "every: period nan is not a finite number; give "),
        ((float("inf"),), {}, "every: period inf is not a finite number; give "),
        (("soon",), {}, "every: period 'soon' is not a duration; give "),
        ((), {"hours": True}, "every: hours is True; give a number above 0"),
        ((), {"hours": "1"}, "every: hours is '1'; give a number above 0"),
        ((), {"days": 1.5}, "every: days is 1.5; give a whole number within 1–3652059, as"),
        ((), {"days": 0}, "every: days is 0; give a whole number within 1–3652059, as"),
        ((), {"months": True}, "every: months is True; give a whole number within 1–3652059, as"),
        ((), {"years": 10_000}, "every: years is longer than the calendar's 9,999 years"),
        (("1h",), {"days": 1}, "every: period and days do not go together; "),
        (("1h",), {"seconds": 1}, "every: period and seconds do not go together; "),
        ((), {"hours": 1, "days": 1}, "every: hours and days do not go together; "),
        (
            (),
            {"days": 1, "months": 1},
            "every: days and months do not go together; a month has no fixed number of days",
        ),
        (("1d",), {"at": "09:00"}, "every: at is '09:00', but stands only with days=, weeks=, months= and years=; "),
        (("1d",), {"fold": "both"}, "every: fold is 'both', but stands only with days=, weeks=, months= and years=; "),
        ((), {"days": 1, "month_end": "skip"}, "every: month_end is 'skip', but stands only with months= and years="),
        ((), {"days": 1, "at": "24:00"}, "every: at '24:00' is outside 00:00–23:59:59"),
        ((), {"days": 1, "at": "9"}, "every: at is '9'; give HH:MM or HH:MM:SS within 00:00–23:59:59"),
        ((), {"days": 1, "at": time(9, tzinfo=UTC)}, "every: at is a time with a zone or a fraction of a second; "),
        (
            (),
            {"days": 1, "at": "09:00", "anchor": "2026-01-01T10:00"},
            "every: at 09:00 stands beside the anchor 2026-01-01T10:00:00, whose time of day is 10:00; ",
        ),
        ((), {"days": 1, "anchor": "soon"}, "every: anchor 'soon' is no ISO date or datetime"),
        ((), {"days": 1, "anchor": 5}, "every: anchor is 5; give a datetime, a date, or ISO text of one"),
        (
            (),
            {"days": 1, "anchor": datetime(2026, 1, 1, 0, 0, 0, 500_000)},
            "every: anchor 2026-01-01T00:00:00.500 has a fraction of a second, ",
        ),
        ((), {"days": 1, "gap": "jump"}, "every: gap is 'jump'; known: 'run', 'skip'"),
        ((), {"days": 1, "tz": "Nowhere"}, "timezone 'Nowhere' is not known; the nearest known names are "),
    ],
)
def test_refused(positional: tuple[Any, ...], keywords: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidScheduleError) as caught:
        every(*positional, **keywords)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("schedule", "text", "words"),
    [
        (every("30s"), "every 30s", "every 30 seconds"),
        (every("1h"), "every 1h", "every hour"),
        (every("1h30m"), "every 1h30m", "every 1 hour and 30 minutes"),
        (every("250ms"), "every 250ms", "every 250ms"),
        (every(days=1, at="09:00"), "every day at 09:00", "every day at 09:00, on the wall clock"),
        (every(weeks=2), "every 2 weeks at 00:00", "every 2 weeks at 00:00, on the wall clock"),
        (every(years=1, at="09:00:30"), "every year at 09:00:30", "every year at 09:00:30, on the wall clock"),
        (
            every(months=2, at="09:00", anchor=date(2026, 1, 31)),
            "every 2 months at 09:00 from 2026-01-31",
            "every 2 months at 09:00 from 2026-01-31, on the wall clock",
        ),
    ],
)
def test_text_and_words(schedule: Schedule, text: str, words: str) -> None:
    assert (schedule.text, schedule.words()) == (text, words)
