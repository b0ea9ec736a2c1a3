"""`rrule`: recurrence rules of RFC 5545, held against python-dateutil where dateutil is right, and against zoneinfo."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from dateutil.rrule import rrulestr
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from scheduler.errors import InvalidScheduleError
from scheduler.timing import Schedule, rrule
from tests.unit.timing.brute import ZONES, transitions, zone_info

BERLIN, NEW_YORK = "Europe/Berlin", "America/New_York"
DAYS = ("MO", "TU", "WE", "TH", "FR", "SA", "SU")


def local(schedule: Schedule, n: int, after: datetime) -> list[str]:
    info = zone_info(schedule.zone or "UTC")
    return [f"{fire.astimezone(info):%y-%m-%d %H:%M}" for fire in schedule.upcoming(after, n)]


def some(values: Any, most: int = 3) -> st.SearchStrategy[list[int]]:
    return st.lists(st.sampled_from(list(values)), min_size=1, max_size=most, unique=True)


def signed(high: int) -> list[int]:
    return [*range(1, high + 1), *range(-high, 0)]


@st.composite
def rules(draw: Any, freqs: tuple[str, ...] = ("YEARLY", "MONTHLY", "WEEKLY", "DAILY")) -> str:
    """A rule whose reading dateutil and RFC 5545 agree about."""
    freq = draw(st.sampled_from(freqs))
    parts = [f"FREQ={freq}"]

    def add(name: str, values: list[Any], odds: int = 4) -> bool:
        if draw(st.integers(1, odds)) > 1:
            return False
        parts.append(f"{name}={','.join(map(str, values))}")
        return True

    if draw(st.booleans()):
        parts.append(f"INTERVAL={draw(st.integers(2, 13))}")
    add("WKST", [draw(st.sampled_from(DAYS))])
    add("BYMONTH", draw(some(range(1, 13))))
    picks = False
    if freq in ("YEARLY", "MONTHLY") and draw(st.integers(1, 3)) == 1:
        numbers = signed(5) if freq == "MONTHLY" or any(part.startswith("BYMONTH=") for part in parts) else signed(53)
        days = draw(some([f"{number}{day}" for number in numbers for day in DAYS]))
        picks = add("BYDAY", days, 1)
    else:
        picks = add("BYDAY", draw(some(DAYS, 7)), 2)
    if freq != "WEEKLY":
        picks = add("BYMONTHDAY", draw(some(signed(31)))) or picks
    if freq == "YEARLY":
        picks = add("BYYEARDAY", draw(some(signed(366), 20))) or picks
        if picks and not any(part.startswith("BYDAY") and part[6:8] not in DAYS for part in parts):
            add("BYWEEKNO", draw(some(signed(53), 9)))
    picks = add("BYHOUR", sorted(draw(some(range(24))))) or picks
    picks = add("BYMINUTE", sorted(draw(some(range(60))))) or picks
    picks = add("BYSECOND", sorted(draw(some(range(60))))) or picks
    # The first week of a weekly rule is cut by dateutil before BYSETPOS is looked at.
    if picks and freq != "WEEKLY":
        add("BYSETPOS", draw(some(signed(6))), 3)
    if draw(st.integers(1, 4)) == 1:
        parts.append(f"COUNT={draw(st.integers(1, 40))}")
    return ";".join(parts)


# Where nothing is found, dateutil steps to the year 9999: so it begins shortly before. All calendars come by in 28 years.
starts = st.datetimes(datetime(9955, 1, 1), datetime(9985, 12, 31)).map(lambda moment: moment.replace(microsecond=0))


def expanded(text: str, start: datetime, until: datetime) -> list[datetime]:
    """What dateutil makes of it, in naive time, up to *until*."""
    found = []
    with suppress(ValueError, OverflowError):  # It leaves the calendar.
        for moment in rrulestr(text, dtstart=start):
            if moment > until:
                break
            found.append(moment)
    return found


@settings(max_examples=80, deadline=None)
@given(rules(), starts)
def test_dates_against_dateutil(text: str, start: datetime) -> None:
    """In UTC, from the start on, forwards and backwards."""
    span = timedelta(days=365 * (9 if "YEARLY" in text else 3))
    expected = expanded(text, start, start + span)[:200]
    try:
        schedule = rrule(text, start=start)
    except InvalidScheduleError:
        assert expected == []
        return
    found = schedule.upcoming(start.replace(tzinfo=UTC) - timedelta(seconds=1), len(expected) + 1)
    assert [fire.replace(tzinfo=None) for fire in found][: len(expected)] == expected
    if expected and "COUNT" in text and len(expected) < 200 and len(found) > len(expected):
        assert found[-1].replace(tzinfo=None) > start + span
    back = found[-1] + timedelta(milliseconds=1) if found else datetime(9999, 12, 31, tzinfo=UTC)
    for fire in reversed(found[-50:]):
        assert schedule.previous(back) == fire
        back = fire
    if len(found) <= 50:
        assert schedule.previous(back) is None


@pytest.mark.parametrize("interval", [1, 2, 3, 53])
@pytest.mark.parametrize("wkst", ["MO", "SU", "WE"])
@pytest.mark.parametrize(
    "parts",
    ["BYDAY=MO,FR;BYSETPOS=-1", "BYDAY=TU,WE,SA,SU;BYSETPOS=2,-1", "BYDAY=WE,TU;BYHOUR=3,9;BYSETPOS=3", "BYDAY=MO,TU"],
)
def test_weeks_across_the_turn_of_the_year(parts: str, wkst: str, interval: int) -> None:
    """The week is one, though its days lie in two years. From the first day of a week on, dateutil agrees."""
    text = f"FREQ=WEEKLY;INTERVAL={interval};WKST={wkst};{parts}"
    start = datetime(2018, 12, 24) + timedelta(days=DAYS.index(wkst))
    schedule = rrule(text, start=start)
    expected = expanded(text, start, start + timedelta(days=5000))
    found = schedule.upcoming(start.replace(tzinfo=UTC) - timedelta(seconds=1), len(expected))
    assert [fire.replace(tzinfo=None) for fire in found] == expected
    for fire, following in pairwise(found):
        assert schedule.previous(following) == fire


@pytest.mark.parametrize("wkst", DAYS)
@pytest.mark.parametrize("numbers", ["1", "53", "52,-1", "-53", "-52", "2,-2"])
def test_weeks_by_number(numbers: str, wkst: str) -> None:
    """A week belongs to the year that has four of its days, counted out day by day."""
    wanted = {int(number) for number in numbers.split(",")}
    shift = DAYS.index(wkst)
    schedule = rrule(f"FREQ=YEARLY;WKST={wkst};BYWEEKNO={numbers};BYDAY={','.join(DAYS)}", start="2000-01-01")
    after = datetime(2000, 1, 1, tzinfo=UTC) - timedelta(1)
    expected: set[date] = set()
    for number in range(41 * 365):
        day = date(2000, 1, 1) + timedelta(days=number)
        # Weeks that begin on another day than Monday: its middle, the fourth day, says whose the week is.
        middle = day - timedelta(days=(day.weekday() - shift) % 7) + timedelta(days=3)
        week = (middle.timetuple().tm_yday - 1) // 7 + 1
        last = date(middle.year, 12, 31).timetuple().tm_yday
        total = week + (last - middle.timetuple().tm_yday) // 7
        if week in wanted or week - total - 1 in wanted:
            expected.add(day)
    found = {fire.date() for fire in schedule.upcoming(after, len(expected))}
    assert found == expected


@settings(max_examples=80, deadline=None)
@given(rules(("HOURLY", "MINUTELY", "SECONDLY")), starts)
def test_sub_daily_rules_against_dateutil(text: str, start: datetime) -> None:
    """In UTC, where no clock is changed."""
    try:
        schedule = rrule(text, start=start)
    except InvalidScheduleError:
        assume(False)
    found = schedule.upcoming(start.replace(tzinfo=UTC) - timedelta(seconds=1), 30)
    # dateutil steps through everything; a quarter of an hour of seconds must do.
    span = {"H": timedelta(days=40), "M": timedelta(days=2), "S": timedelta(minutes=20)}[text[5]]
    expected = expanded(text, start, start + span)[:30]
    assert [fire.replace(tzinfo=None) for fire in found][: len(expected)] == expected
    assert all(fire.replace(tzinfo=None) > start + span for fire in found[len(expected) :])
    back = found[-1] + timedelta(milliseconds=1)
    for fire in reversed(found):
        assert schedule.previous(back) == fire
        back = fire


@settings(max_examples=70, deadline=None)
@given(rules(), st.sampled_from(ZONES), st.data())
def test_local_times_against_zoneinfo(text: str, zone: str, data: Any) -> None:
    """RFC 5545, 3.3.10: what the clock skips is no occurrence and does not count; of two the first is meant."""
    info = zone_info(zone)
    moments = transitions(zone) or (datetime(2026, 3, 29, 1, tzinfo=UTC),)
    change = data.draw(st.sampled_from(moments))
    near = change.astimezone(info).replace(tzinfo=None) - timedelta(days=data.draw(st.integers(0, 3)))
    start = near.replace(second=0, microsecond=0) + timedelta(minutes=data.draw(st.integers(-200, 200)))
    span = timedelta(days=900)
    try:
        schedule = rrule(text, start=start, tz=zone)
    except InvalidScheduleError:
        assume(False)
    # dateutil steps to the year 9999 where nothing is found.
    horizon = change + span
    assume("COUNT" in text or (schedule.next(horizon) or horizon + span) < horizon + span)
    count = int(text.partition("COUNT=")[2] or 10**6)
    naive = expanded(text.partition(";COUNT=")[0], start, start + span)
    first = start.replace(tzinfo=info).astimezone(UTC)
    expected = []
    for moment in naive:
        at = moment.replace(tzinfo=info).astimezone(UTC)
        # A time that is skipped comes back as another one. All others are met first with fold=0.
        if at.astimezone(info).replace(tzinfo=None) == moment and at >= first:
            expected.append(at)
    expected = expected[:count][:60]
    before = change - timedelta(days=30)
    found = schedule.upcoming(before, len(expected))
    assert found == expected
    for fire, following in pairwise(expected):
        assert schedule.previous(following) == fire
        assert schedule.next(following - timedelta(milliseconds=1)) == following


class TestTimeZones:
    def test_a_skipped_time_is_no_occurrence_and_does_not_count(self) -> None:
        schedule = rrule("FREQ=DAILY;COUNT=3", start="2026-03-28T02:30", tz=BERLIN)
        assert local(schedule, 5, datetime(2026, 3, 1, tzinfo=UTC)) == [
            "26-03-28 02:30",
            "26-03-30 02:30",
            "26-03-31 02:30",
        ]

    def test_of_a_time_that_comes_twice_the_first_is_meant(self) -> None:
        schedule = rrule("FREQ=DAILY", start="2026-10-24T02:30", tz=BERLIN)
        assert schedule.upcoming(datetime(2026, 10, 24, 12, tzinfo=UTC), 2) == [
            datetime(2026, 10, 25, 0, 30, tzinfo=UTC),
            datetime(2026, 10, 26, 1, 30, tzinfo=UTC),
        ]

    def test_also_where_a_clock_goes_back_by_hours(self) -> None:
        """Casey station put its clocks back by three hours in 2010; a crontab would take that for new time."""
        schedule = rrule("FREQ=DAILY", start="2010-03-01T00:30", tz="Antarctica/Casey")
        fires = schedule.upcoming(datetime(2010, 3, 3, 20, tzinfo=UTC), 2)
        assert [f"{fire:%d %H:%M}" for fire in fires] == ["04 13:30", "05 16:30"]

    def test_hourly_is_elapsed_time_through_both_changes(self) -> None:
        """Trap 5: dateutil gives one instant twice over a gap, and skips the second pass of a fold."""
        for start in ("2026-03-29T00:15", "2026-10-25T00:15"):
            fires = rrule("FREQ=HOURLY", start=start, tz=BERLIN).upcoming(datetime(2026, 1, 1, tzinfo=UTC), 6)
            assert {later - fire for fire, later in pairwise(fires)} == {timedelta(hours=1)}

    def test_what_limits_it_is_read_from_the_wall(self) -> None:
        """From 09:00 to 10:30 in Berlin, in summer and in winter."""
        schedule = rrule("FREQ=MINUTELY;INTERVAL=30;BYHOUR=9,10;BYDAY=MO,TU,WE,TH,FR", tz=BERLIN)
        assert local(schedule, 5, datetime(2026, 10, 23, 8, tzinfo=UTC)) == [
            "26-10-23 10:30", "26-10-26 09:00", "26-10-26 09:30", "26-10-26 10:00", "26-10-26 10:30",
        ]  # fmt: skip

    def test_named_minutes_stay_on_the_wall_where_clocks_shift_by_half_an_hour(self) -> None:
        schedule = rrule("FREQ=HOURLY;BYMINUTE=0", start="2026-01-01T00:00", tz="Australia/Lord_Howe")
        for fire in schedule.upcoming(datetime(2026, 4, 4, 10, tzinfo=UTC), 12):
            assert fire.astimezone(ZoneInfo("Australia/Lord_Howe")).minute == 0

    @pytest.mark.parametrize(
        "zone", ["Asia/Singapore", "Asia/Kathmandu", "America/Caracas", "Africa/Monrovia", "Asia/Kolkata"]
    )
    def test_without_a_start_the_grid_is_that_of_the_zone_today(self, zone: str) -> None:
        """Though in 1970, from which it is counted, some were parts of an hour apart."""
        after = datetime(2026, 6, 3, 12, 1, tzinfo=UTC)
        assert {fire[-2:] for fire in local(rrule("FREQ=HOURLY", tz=zone), 3, after)} == {"00"}
        minutes = [fire[-2:] for fire in local(rrule("FREQ=MINUTELY;INTERVAL=20", tz=zone), 3, after)]
        assert sorted(minutes) == ["00", "20", "40"]
        assert local(rrule("FREQ=HOURLY;INTERVAL=12", tz=zone), 2, datetime(2026, 6, 2, 16, tzinfo=UTC))[0][-5:] in (
            "00:00",
            "12:00",
        )

    def test_without_a_start_the_grid_is_that_of_standard_time(self) -> None:
        """Elapsed time: at noon and midnight in winter, an hour later in summer."""
        schedule = rrule("FREQ=HOURLY;INTERVAL=12", tz=BERLIN)
        assert [fire[-5:] for fire in local(schedule, 2, datetime(2026, 1, 15, tzinfo=UTC))] == ["12:00", "00:00"]
        assert [fire[-5:] for fire in local(schedule, 2, datetime(2026, 7, 15, tzinfo=UTC))] == ["13:00", "01:00"]

    def test_an_exception_that_is_skipped_takes_nothing_away(self) -> None:
        schedule = rrule("RRULE:FREQ=DAILY;BYHOUR=3\nEXDATE:20260329T023000", tz=BERLIN)
        assert local(schedule, 1, datetime(2026, 3, 28, 12, tzinfo=UTC)) == ["26-03-29 03:00"]

    def test_both_passes_of_a_named_hour(self) -> None:
        schedule = rrule("FREQ=HOURLY;BYHOUR=2", start="2026-01-01T00:00", tz=BERLIN)
        fires = schedule.upcoming(datetime(2026, 10, 24, 12, tzinfo=UTC), 3)
        assert [f"{fire:%d %H}" for fire in fires] == ["25 00", "25 01", "26 01"]

    def test_the_zone_is_that_of_dtstart_or_the_entrys(self) -> None:
        lines = "DTSTART;TZID=America/New_York:19970902T090000\nRRULE:FREQ=DAILY"
        assert rrule(lines).zone == NEW_YORK
        assert rrule(lines, tz=NEW_YORK) == rrule(lines)
        assert rrule("DTSTART:19970902T130000Z\nRRULE:FREQ=DAILY").zone == "UTC"
        moved = rrule("FREQ=DAILY;BYHOUR=9").in_zone(NEW_YORK)
        assert moved.zone == NEW_YORK
        assert moved.next(datetime(2026, 6, 1, tzinfo=UTC)) == datetime(2026, 6, 1, 13, tzinfo=UTC)

    def test_a_start_in_utc_is_a_moment_in_the_zone(self) -> None:
        start = datetime(2026, 6, 1, 7, tzinfo=UTC)
        assert local(rrule("FREQ=DAILY", start=start, tz=BERLIN), 1, start - timedelta(1)) == ["26-06-01 09:00"]
        assert local(rrule("DTSTART:20260601T070000Z\nRRULE:FREQ=DAILY", tz=BERLIN), 1, start - timedelta(1)) == [
            "26-06-01 09:00"
        ]


class TestStart:
    """What a rule leaves open, the start says; without one, every period begins at its beginning."""

    AFTER = datetime(2026, 6, 3, 12, tzinfo=UTC)

    @pytest.mark.parametrize(
        ("text", "first"),
        [
            ("FREQ=YEARLY", "27-01-01 00:00"),
            ("FREQ=YEARLY;BYMONTH=7", "26-07-01 00:00"),
            ("FREQ=YEARLY;BYWEEKNO=24", "26-06-08 00:00"),
            ("FREQ=MONTHLY", "26-07-01 00:00"),
            ("FREQ=MONTHLY;INTERVAL=3", "26-07-01 00:00"),
            ("FREQ=WEEKLY", "26-06-08 00:00"),
            ("FREQ=WEEKLY;WKST=SU", "26-06-07 00:00"),
            ("FREQ=DAILY", "26-06-04 00:00"),
            ("FREQ=DAILY;BYHOUR=9", "26-06-04 09:00"),
            ("FREQ=HOURLY", "26-06-03 13:00"),
            ("FREQ=MINUTELY;INTERVAL=15", "26-06-03 12:15"),
        ],
    )
    def test_without_one(self, text: str, first: str) -> None:
        assert local(rrule(text), 1, self.AFTER) == [first]

    @pytest.mark.parametrize(
        ("text", "first"),
        [
            ("FREQ=YEARLY", "27-01-30 08:45"),
            ("FREQ=YEARLY;BYWEEKNO=24", "26-06-12 08:45"),
            ("FREQ=MONTHLY", "26-06-30 08:45"),
            ("FREQ=WEEKLY", "26-06-05 08:45"),
            ("FREQ=DAILY;BYHOUR=9", "26-06-04 09:45"),
            ("FREQ=HOURLY", "26-06-03 12:45"),
        ],
    )
    def test_with_one(self, text: str, first: str) -> None:
        """Friday, 30 January 2026, 08:45."""
        assert local(rrule(text, start="2026-01-30T08:45"), 1, self.AFTER) == [first]

    def test_nothing_fires_before_it(self) -> None:
        schedule = rrule("FREQ=DAILY;BYHOUR=6,18", start="2026-06-05T12:00")
        assert local(schedule, 1, self.AFTER) == ["26-06-05 18:00"]
        assert schedule.previous(datetime(2026, 6, 5, 18, tzinfo=UTC)) is None

    def test_it_fires_only_where_the_rule_says_so(self) -> None:
        assert local(rrule("FREQ=WEEKLY;BYDAY=MO", start="2026-06-04"), 1, self.AFTER) == ["26-06-08 00:00"]

    def test_a_week_of_bysetpos_is_whole_though_the_start_cuts_it(self) -> None:
        """The first of Monday and Friday is Monday, also in the week in which the start is a Wednesday."""
        schedule = rrule("FREQ=WEEKLY;BYDAY=MO,FR;BYSETPOS=1", start="2026-06-03")
        assert local(schedule, 2, self.AFTER - timedelta(days=3)) == ["26-06-08 00:00", "26-06-15 00:00"]


EXCLUDED = (
    "FREQ=WEEKLY;BYDAY=SA,SU",
    "FREQ=DAILY;INTERVAL=3",
    "FREQ=MONTHLY;BYMONTHDAY=1,15,-1",
    "FREQ=DAILY;COUNT=20",
)


class TestSets:
    AFTER = datetime(2026, 6, 1, tzinfo=UTC)

    def test_dates_are_added_and_exceptions_taken_away(self) -> None:
        schedule = rrule(
            "DTSTART;TZID=Europe/Berlin:20260601T090000\n"
            "RRULE:FREQ=DAILY;COUNT=5\n"
            "RDATE:20260601T120000,20260610\n"
            "EXDATE;TZID=America/New_York:20260602T030000\n"
            "EXDATE:20260604"
        )
        assert local(schedule, 9, self.AFTER) == [
            "26-06-01 09:00", "26-06-01 12:00", "26-06-03 09:00", "26-06-05 09:00", "26-06-10 09:00",
        ]  # fmt: skip
        assert schedule.previous(datetime(2026, 6, 5, 7, tzinfo=UTC)) == datetime(2026, 6, 3, 7, tzinfo=UTC)

    def test_several_rules_and_rules_of_exception(self) -> None:
        schedule = rrule(
            "RRULE:FREQ=DAILY;BYHOUR=9\nRRULE:FREQ=MONTHLY;BYMONTHDAY=5;BYHOUR=12\nEXRULE:FREQ=WEEKLY;BYDAY=SA,SU;BYHOUR=9"
        )
        assert local(schedule, 6, datetime(2026, 6, 4, tzinfo=UTC)) == [
            "26-06-04 09:00", "26-06-05 09:00", "26-06-05 12:00", "26-06-08 09:00", "26-06-09 09:00", "26-06-10 09:00",
        ]  # fmt: skip

    def test_a_day_without_seconds_is_leapt_over(self) -> None:
        schedule = rrule("RRULE:FREQ=SECONDLY\nEXDATE:20260601,20260602", tz=NEW_YORK)
        noon = datetime(2026, 6, 1, 12, tzinfo=UTC)
        assert schedule.next(noon) == datetime(2026, 6, 3, 4, tzinfo=UTC)
        assert schedule.previous(noon) == datetime(2026, 6, 1, 3, 59, 59, tzinfo=UTC)

    @settings(max_examples=40, deadline=None)
    @given(rules(("MONTHLY", "WEEKLY")), rules(("WEEKLY", "DAILY")), st.sampled_from(EXCLUDED), starts)
    def test_against_dateutil(self, one: str, other: str, without: str, start: datetime) -> None:
        lines = [
            f"RRULE:{one}",
            f"RRULE:{other}",
            f"EXRULE:{without}",
            f"RDATE:{start + timedelta(days=3):%Y%m%dT%H%M%S}",
        ]
        lines.append(f"EXDATE:{start + timedelta(days=7):%Y%m%dT%H%M%S}")
        text = "\n".join(lines)
        for each in (one, other):
            try:
                rrule(each, start=start)
            except InvalidScheduleError:
                assume(False)
        expected = expanded(text, start, start + timedelta(days=200))[:60]
        try:
            schedule = rrule(text, start=start)
        except InvalidScheduleError:
            assert expected == []
            return
        found = schedule.upcoming(start.replace(tzinfo=UTC) - timedelta(seconds=1), len(expected))
        assert [fire.replace(tzinfo=None) for fire in found] == expected

    def test_a_date_at_the_epoch_is_one(self) -> None:
        assert rrule("RDATE:19700101T000000Z").previous(self.AFTER) == datetime(1970, 1, 1, tzinfo=UTC)

    def test_lines_may_be_folded_and_in_any_case(self) -> None:
        text = "dtstart;tzid=Europe/Berlin:20260601T090000\r\nrrule:freq=monthly;\r\n byday=-1fr\r\n"
        assert rrule(text) == rrule("FREQ=MONTHLY;BYDAY=-1FR", start="2026-06-01T09:00", tz=BERLIN)


class TestUntil:
    START = "2026-06-01T09:00"

    @pytest.mark.parametrize(
        ("until", "last"),
        [
            ("20260604T090000", "26-06-04 09:00"),
            ("20260604T085959", "26-06-03 09:00"),
            ("20260604T070000Z", "26-06-04 09:00"),
            ("20260604T065959Z", "26-06-03 09:00"),
            # A date is that whole local day.
            ("20260604", "26-06-04 09:00"),
        ],
    )
    def test_it_belongs_to_the_rule(self, until: str, last: str) -> None:
        schedule = rrule(f"FREQ=DAILY;UNTIL={until}", start=self.START, tz=BERLIN)
        assert local(schedule, 99, datetime(2026, 1, 1, tzinfo=UTC))[-1] == last
        at = schedule.previous(datetime(2030, 1, 1, tzinfo=UTC))
        assert at is not None
        assert f"{at.astimezone(ZoneInfo(BERLIN)):%y-%m-%d %H:%M}" == last


def test_examples_of_rfc_5545() -> None:
    """Section 3.8.5.3, from 2 September 1997, 09:00 in New York."""
    after = datetime(1997, 9, 1, tzinfo=UTC)
    for text, expected in (
        ("FREQ=DAILY;INTERVAL=10;COUNT=5", "09-02 09-12 09-22 10-02 10-12"),
        ("FREQ=WEEKLY;INTERVAL=2;COUNT=8;WKST=SU;BYDAY=TU,TH", "09-02 09-04 09-16 09-18 09-30 10-02 10-14 10-16"),
        ("FREQ=MONTHLY;COUNT=6;BYDAY=-2MO", "09-22 10-20 11-17 12-22 01-19 02-16"),
        ("FREQ=MONTHLY;BYMONTHDAY=-3;COUNT=4", "09-28 10-29 11-28 12-29"),
        ("FREQ=YEARLY;INTERVAL=3;COUNT=4;BYYEARDAY=1,100,200", "01-01 04-09 07-18 01-01"),
        ("FREQ=YEARLY;BYDAY=20MO;COUNT=3", "05-18 05-17 05-15"),
        ("FREQ=YEARLY;BYWEEKNO=20;BYDAY=MO;COUNT=3", "05-11 05-17 05-15"),
        ("FREQ=MONTHLY;BYDAY=FR;BYMONTHDAY=13;COUNT=4", "02-13 03-13 11-13 08-13"),
        ("FREQ=MONTHLY;COUNT=3;BYDAY=TU,WE,TH;BYSETPOS=3", "09-04 10-07 11-06"),
        ("FREQ=MONTHLY;BYDAY=MO,TU,WE,TH,FR;BYSETPOS=-2;COUNT=4", "09-29 10-30 11-27 12-30"),
        ("FREQ=MONTHLY;BYMONTHDAY=15,30;COUNT=5", "09-15 09-30 10-15 10-30 11-15"),
    ):
        schedule = rrule(text, start="1997-09-02T09:00", tz=NEW_YORK)
        assert " ".join(fire[3:8] for fire in local(schedule, 9, after)) == expected, text
    elections = rrule("FREQ=YEARLY;INTERVAL=4;BYMONTH=11;BYDAY=TU;BYMONTHDAY=2,3,4,5,6,7,8", start="1996-11-05T09:00")
    assert [fire[:8] for fire in local(elections, 3, after)] == ["00-11-07", "04-11-02", "08-11-04"]


@pytest.mark.parametrize(
    ("schedule", "words"),
    [
        (rrule("FREQ=MONTHLY;BYDAY=-1FR;BYHOUR=17"), "every month on the last Friday at 17:00"),
        (
            rrule("FREQ=WEEKLY;INTERVAL=2;BYDAY=MO,WE;BYHOUR=9;BYMINUTE=0,30", start="2026-01-05"),
            "every 2 weeks on Monday and Wednesday at 09:00 and 09:30",
        ),
        (rrule("FREQ=YEARLY", start="2026-02-28T06:00"), "every year on day 28 of the month in February at 06:00"),
        (rrule("FREQ=YEARLY;BYDAY=-2MO"), "every year on the 2nd to last Monday of the year at 00:00"),
        (rrule("FREQ=DAILY;COUNT=3", start="2026-01-05T08:00"), "every day at 08:00 3 times"),
        (rrule("FREQ=HOURLY;INTERVAL=6;UNTIL=20301231"), "every 6 hours until 2030-12-31"),
        (rrule("FREQ=MINUTELY;INTERVAL=5;BYHOUR=9,10"), "every 5 minutes in the hours 09 and 10"),
        (
            rrule("FREQ=MONTHLY;BYDAY=MO,TU;BYSETPOS=-1"),
            "every month on Monday and Tuesday at 00:00 (of these only the last in each month)",
        ),
        (rrule("RRULE:FREQ=DAILY\nRDATE:20260101T120000\nEXDATE:20260102,20260103"), "every day at 00:00; and 1 date; except 2 exceptions"),  # noqa: E501
    ],
    ids=repr,
)  # fmt: skip
def test_words(schedule: Schedule, words: str) -> None:
    assert schedule.words() == words


def test_what_is_rarely_meant_is_told() -> None:
    assert rrule("FREQ=MONTHLY;BYMONTHDAY=31").warnings() == (
        "FREQ=MONTHLY;BYMONTHDAY=31: a month without a day 31 has no occurrence; BYMONTHDAY=-1 is its last day",
    )
    assert len(rrule("FREQ=MONTHLY", start="2026-01-30").warnings()) == 1
    assert rrule("FREQ=WEEKLY;INTERVAL=2;BYDAY=MO").warnings() == (
        "FREQ=WEEKLY;INTERVAL=2;BYDAY=MO: INTERVAL=2 counts from 1970-01-01; start= says from when else",
    )
    assert rrule("FREQ=WEEKLY;INTERVAL=2;BYDAY=MO", start="2026-01-05").warnings() == ()
    assert rrule("FREQ=MINUTELY;INTERVAL=15").warnings() == ()


REFUSED: list[tuple[Callable[[], object], str]] = [
    (lambda: rrule("FREQ=DAILY;INTERVAL=0"), "rrule 'FREQ=DAILY;INTERVAL=0': INTERVAL '0' is outside 1–1000000"),
    (lambda: rrule("FREQ=MONTHLY;BYMONTHDAY=0"), "rrule 'FREQ=MONTHLY;BYMONTHDAY=0': BYMONTHDAY '0' is outside 1–31 and -31–-1"),
    (lambda: rrule("FREQ=DAILY;BYHOUR=24"), "rrule 'FREQ=DAILY;BYHOUR=24': BYHOUR '24' is outside 0–23"),
    (lambda: rrule("FREQ=DAILY;BYSECOND=60"), "rrule 'FREQ=DAILY;BYSECOND=60': BYSECOND '60' is outside 0–59"),
    (lambda: rrule("FREQ=DAILY;BYMONTH=1_0"), "rrule 'FREQ=DAILY;BYMONTH=1_0': BYMONTH '1_0' is outside 1–12"),
    (lambda: rrule("FREQ=DAILY;BYMONTH=٣"), "rrule 'FREQ=DAILY;BYMONTH=٣': only ASCII characters are allowed"),
    (lambda: rrule("FREQ=DAILY;COUNT=3;UNTIL=20270101"), "rrule 'FREQ=DAILY;COUNT=3;UNTIL=20270101': COUNT and UNTIL do not go"),
    (lambda: rrule("FREQ=DAILY;COUNT=3"), "rrule FREQ=DAILY;COUNT=3: COUNT counts from the start, and there is none; give start="),
    (lambda: rrule("FREQ=DAILY;COUNT=0", start="2026-01-01"), "rrule 'FREQ=DAILY;COUNT=0': COUNT '0' is outside 1–10000"),
    (lambda: rrule("FREQ=WEEKLY;BYDAY=1MO"), "rrule 'FREQ=WEEKLY;BYDAY=1MO': BYDAY with a number, such as 1MO, does not go with FREQ=WEEKLY"),  # noqa: E501
    (lambda: rrule("FREQ=MONTHLY;BYDAY=6MO"), "rrule 'FREQ=MONTHLY;BYDAY=6MO': BYDAY: the number of a weekday in a month is outside 1–5"),  # noqa: E501
    (lambda: rrule("FREQ=YEARLY;BYDAY=54MO"), "rrule 'FREQ=YEARLY;BYDAY=54MO': BYDAY '54MO': the number is outside 1–53"),
    (lambda: rrule("FREQ=WEEKLY;BYDAY=MON"), "rrule 'FREQ=WEEKLY;BYDAY=MON': BYDAY 'MON' is no weekday; give MO, TU"),
    (lambda: rrule("FREQ=MONTHLY;BYWEEKNO=3"), "rrule 'FREQ=MONTHLY;BYWEEKNO=3': BYWEEKNO stands only with FREQ=YEARLY"),
    (lambda: rrule("FREQ=DAILY;BYSETPOS=1"), "rrule 'FREQ=DAILY;BYSETPOS=1': BYSETPOS chooses among what other BY"),
    (lambda: rrule("FREQ=DAILY;BYHOUR=9;BYSETPOS=2"), "rrule FREQ=DAILY;BYHOUR=9;BYSETPOS=2: BYSETPOS chooses none of the 1 moments"),
    (lambda: rrule("FREQ=FORTNIGHTLY"), "rrule 'FREQ=FORTNIGHTLY': FREQ 'FORTNIGHTLY' is not known; known: YEARLY, MONTHLY"),
    (lambda: rrule("BYDAY=MO"), "rrule 'BYDAY=MO': FREQ is missing; give one of YEARLY"),
    (lambda: rrule("FREQ=DAILY;FREQ=WEEKLY"), "rrule 'FREQ=DAILY;FREQ=WEEKLY': FREQ is there twice"),
    (lambda: rrule("FREQ=YEARLY;BYEASTER=0"), "rrule 'FREQ=YEARLY;BYEASTER=0': part 'BYEASTER' is not known; known: FREQ, "),
    (lambda: rrule("every day"), "rrule 'EVERY DAY': 'EVERY DAY' is not known; known: FREQ, "),
    (lambda: rrule("0 9 * * *"), "rrule '0 9 * * *': '0 9 * * *' is not known; known: FREQ, "),
    (lambda: rrule(""), "rrule: 0 characters are outside 1–65536"),
    (lambda: rrule("FREQ=DAILY;" * 10_000), "rrule: 110000 characters are outside 1–65536"),
    (lambda: rrule(None), "rrule: the rule is None; give text such as 'FREQ=MONTHLY;BYDAY=-1FR'"),  # type: ignore[arg-type]
    (lambda: rrule("DTSTART:20260101"), "rrule 'DTSTART:20260101': it says no moment; give an RRULE or an RDATE"),
    (lambda: rrule("RRULE:FREQ=DAILY\nSUMMARY:Backup"), "rrule: the line 'SUMMARY:Backup' is not known; known: DTSTART, RRULE"),
    (lambda: rrule("RDATE;VALUE=PERIOD:20260101T000000Z/PT1H"), "rrule: RDATE: parameter 'VALUE=PERIOD' is not known; give the beginning"),  # noqa: E501
    (lambda: rrule("RDATE:tomorrow"), "rrule: RDATE 'TOMORROW' is no moment; give 20261231T090000 (local)"),
    (lambda: rrule("RDATE:20260230"), "rrule: RDATE '20260230' is no moment: day is out of range"),
    (lambda: rrule("DTSTART;TZID=Europe/Berln:20260101T090000\nRRULE:FREQ=DAILY"), "timezone 'Europe/Berln' is not known; the nearest"),  # noqa: E501
    (
        lambda: rrule("DTSTART;TZID=Europe/Berlin:20260101T090000\nRRULE:FREQ=DAILY", tz=NEW_YORK),
        "rrule: tz 'America/New_York' contradicts the TZID 'Europe/Berlin' of DTSTART; give one of them",
    ),
    (lambda: rrule("DTSTART:20260101\nRRULE:FREQ=DAILY", start="2026-01-01"), "rrule 'DTSTART:20260101\\nRRULE:FREQ=DAILY': start stands beside"),  # noqa: E501
    (lambda: rrule("FREQ=DAILY", start=datetime(2026, 1, 1, 0, 0, 0, 5000)), "rrule: start 2026-01-01T00:00:00.005 has a fraction"),
    (lambda: rrule("FREQ=DAILY", start="soon"), "rrule: start 'soon' is no ISO date or datetime"),
    # What never fires.
    (lambda: rrule("FREQ=MONTHLY;BYMONTH=2;BYMONTHDAY=30"), "rrule 'FREQ=MONTHLY;BYMONTH=2;BYMONTHDAY=30': no moment from 1970-01-01 on"),  # noqa: E501
    (lambda: rrule("FREQ=SECONDLY;BYMONTH=2;BYMONTHDAY=30"), "rrule 'FREQ=SECONDLY;BYMONTH=2;BYMONTHDAY=30': no moment from"),
    (lambda: rrule("FREQ=WEEKLY;BYDAY=MO;BYSETPOS=2"), "rrule 'FREQ=WEEKLY;BYDAY=MO;BYSETPOS=2': no moment from"),
    (lambda: rrule("FREQ=YEARLY;INTERVAL=4;BYMONTH=2;BYMONTHDAY=29", start="2026-01-01"), "rrule 'FREQ=YEARLY;INTERVAL=4;"),
    (lambda: rrule("FREQ=YEARLY;INTERVAL=3;BYMONTH=2;BYMONTHDAY=30", start="2026-01-01"), "rrule 'FREQ=YEARLY;INTERVAL=3;"),
    (lambda: rrule("FREQ=HOURLY;INTERVAL=168;BYDAY=TU", start="2026-11-23"), "rrule 'FREQ=HOURLY;INTERVAL=168;BYDAY=TU': no moment"),
    (lambda: rrule("FREQ=HOURLY;INTERVAL=24;BYHOUR=5", start="2026-11-23T03:00"), "rrule 'FREQ=HOURLY;INTERVAL=24;BYHOUR=5': no moment"),  # noqa: E501
    (lambda: rrule("FREQ=SECONDLY;INTERVAL=86399;BYHOUR=5"), "rrule FREQ=SECONDLY;INTERVAL=86399;BYHOUR=5: INTERVAL 86399 of FREQ=SECONDLY meets"),  # noqa: E501
    (
        lambda: rrule("FREQ=YEARLY;BYMONTH=3;BYDAY=2SU;BYHOUR=2", start="2026-01-01", tz=NEW_YORK),
        "rrule 'FREQ=YEARLY;BYMONTH=3;BYDAY=2SU;BYHOUR=2': no moment from 2026-01-01 on (America/New_York) matches all",
    ),
    (lambda: rrule("FREQ=DAILY;UNTIL=20200101", start="2026-01-01"), "rrule 'FREQ=DAILY;UNTIL=20200101': UNTIL lies before the start"),
    (lambda: rrule("RRULE:FREQ=DAILY\nEXRULE:FREQ=DAILY"), "rrule 'RRULE:FREQ=DAILY EXRULE:FREQ=DAILY': the exceptions leave"),
    (lambda: rrule("RRULE:FREQ=SECONDLY\nEXRULE:FREQ=SECONDLY"), "rrule EXRULE:FREQ=SECONDLY: more than 24 moments a day are outside"),
]  # fmt: skip


@pytest.mark.parametrize(("make", "message"), REFUSED)
def test_refused(make: Callable[[], object], message: str) -> None:
    """At once, and telling part, value and range."""
    started_s = time.perf_counter()
    with pytest.raises(InvalidScheduleError) as caught:
        make()
    assert time.perf_counter() - started_s < 0.25
    assert str(caught.value).startswith(message)


HARD = [
    rrule("FREQ=SECONDLY;BYMONTH=2;BYMONTHDAY=29;BYDAY=MO;BYHOUR=3;BYMINUTE=0;BYSECOND=0", tz=NEW_YORK),
    rrule("FREQ=SECONDLY;INTERVAL=997;BYHOUR=3;BYMINUTE=5;BYSECOND=0", tz=BERLIN),
    rrule("FREQ=YEARLY;INTERVAL=7;BYMONTH=2;BYMONTHDAY=29;BYDAY=MO", tz=BERLIN),
    rrule("FREQ=YEARLY;BYYEARDAY=366;BYDAY=SU;BYSETPOS=-1", tz=BERLIN),
    rrule("FREQ=WEEKLY;INTERVAL=53;BYMONTH=2;BYDAY=TU,SA;BYSETPOS=2", tz=BERLIN),
    rrule("FREQ=DAILY;INTERVAL=1000000", tz=BERLIN),
    rrule("FREQ=DAILY;INTERVAL=999;BYMONTH=2;BYMONTHDAY=29", tz=BERLIN),
    rrule("FREQ=MINUTELY;COUNT=10000;BYHOUR=3", start="2000-01-01", tz=BERLIN),
    rrule("FREQ=DAILY;COUNT=10000", start="2000-01-01", tz=BERLIN),
    rrule("FREQ=DAILY;BYHOUR=2;BYMINUTE=30;BYMONTH=3;BYDAY=SU", tz=BERLIN),
]


@pytest.mark.parametrize("schedule", HARD, ids=lambda schedule: schedule.text)
@pytest.mark.parametrize("at_ms", [1_793_000_000_000, -50_000_000_000_000, 0, 10**14, 253_402_300_799_000])
def test_no_answer_takes_long(schedule: Schedule, at_ms: int) -> None:
    """Promised: never over 50 ms, were it in hundreds of years."""
    best_s = 1.0
    for _ in range(3):
        started_s = time.perf_counter()
        schedule.next_ms(at_ms)
        middle_s = time.perf_counter()
        schedule.previous_ms(at_ms)
        best_s = min(best_s, max(middle_s - started_s, time.perf_counter() - middle_s))
    assert best_s < 0.1


def test_a_start_long_ago_costs_nothing() -> None:
    """dateutil takes a second to step through a year of minutes."""
    schedule = rrule("FREQ=SECONDLY", start=date(1990, 1, 1))
    started_s = time.perf_counter()
    for _ in range(1000):
        schedule.next_ms(1_793_000_000_000)
        schedule.previous_ms(1_793_000_000_000)
    assert time.perf_counter() - started_s < 0.1


TOKENS = (
    *(
        "FREQ=",
        "DAILY",
        "YEARLY",
        "SECONDLY",
        "INTERVAL=",
        "COUNT=",
        "UNTIL=",
        "BYDAY=",
        "BYMONTHDAY=",
        "BYSETPOS=",
        "WKST=",
    ),
    *(
        "BYWEEKNO=",
        "BYHOUR=",
        "MO",
        "-1FR",
        "0",
        "1",
        "-1",
        "31",
        "99999999999999999999",
        "20260101",
        "20260101T000000Z",
    ),
    *(
        ";",
        ",",
        "=",
        ":",
        "\n",
        " ",
        "RRULE:",
        "EXDATE:",
        "RDATE:",
        "DTSTART;TZID=",
        "Europe/Berlin",
        "\x00",
        "é",
        "T",
        "Z",
        "+",
    ),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(TOKENS), max_size=14).map("".join) | st.text(max_size=60))
def test_nothing_else_than_a_refusal_comes_of_nonsense(text: str) -> None:
    """One class of error, whatever is given."""
    with suppress(InvalidScheduleError):
        rrule(text).next_ms(0)
    with suppress(InvalidScheduleError):
        rrule(f"FREQ=DAILY;{text}", start="2026-01-01").previous_ms(0)
