"""What all schedules have in common: values that compare by meaning, travel as data, and refuse naive moments."""

from __future__ import annotations

import copy
import json
import pickle
from datetime import UTC, date, datetime, timedelta, tzinfo
from itertools import combinations
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from apscheduler.triggers.base import BaseTrigger

from scheduler.errors import InvalidScheduleError
from scheduler.timing import Schedule, between, crontab, every, once, rrule, schedule_from_data

START = datetime(2026, 11, 1, 4, 30, tzinfo=UTC)
BERLIN = "Europe/Berlin"

DISTINCT: list[Schedule] = [
    crontab("0 9 * * 1-5"),
    crontab("0 9 * * 1-5", tz=BERLIN),
    crontab("0 9 * * 1-5", tz="UTC"),
    crontab("0 9 * * 1-5", gap="skip"),
    crontab("0 9 * * 1-5", fold="both"),
    crontab("0 0 9 * * 1-5", tz=BERLIN, gap="skip", fold="both"),
    crontab("*/5 0 9 * * 1-5"),
    crontab("0 0 1 * 1"),
    crontab("0 0 1 * 1", day_match="and"),
    crontab("H 9 * * *"),
    crontab("H 9 * * *", tz=BERLIN),
    crontab("* * * * *"),
    every("30s"),
    every("30s", tz=BERLIN),
    every("1d"),
    every("30s", anchor=datetime(2026, 1, 1, 0, 0, 5, tzinfo=UTC)),
    every("30s", anchor=datetime(2026, 1, 1, 0, 0, 5)),
    every("30s", anchor=datetime(2026, 1, 1, 0, 0, 5), tz=BERLIN),
    every(days=1),
    every(days=1, at="09:00"),
    every(days=1, at="09:00", tz=BERLIN),
    every(days=1, at="09:00", gap="skip"),
    every(days=1, at="09:00", fold="both"),
    every(days=1, anchor=date(2026, 1, 1)),
    every(days=1, anchor=datetime(2026, 1, 1, 9, tzinfo=UTC)),
    every(days=1, anchor=datetime(2026, 1, 1, 9)),
    every(months=1, anchor=date(2026, 1, 31)),
    every(months=1, anchor=date(2026, 1, 31), month_end="skip"),
    every(years=1),
    once("2026-12-01T09:00"),
    once("2026-12-01T09:00", tz=BERLIN),
    once("2026-12-01T09:00Z"),
    rrule("FREQ=MONTHLY;BYDAY=-1FR"),
    rrule("FREQ=MONTHLY;BYDAY=-1FR", tz=BERLIN),
    rrule("FREQ=MONTHLY;BYDAY=-1FR", start="2026-01-01"),
    rrule("FREQ=MONTHLY;BYDAY=-1FR", start="2026-01-01T00:00Z"),
    rrule("FREQ=MONTHLY;BYDAY=-1FR;COUNT=5", start="2026-01-01"),
    rrule("FREQ=MONTHLY;BYDAY=-1FR;UNTIL=20261231"),
    rrule("FREQ=MONTHLY;BYDAY=-1FR;UNTIL=20261231T000000Z"),
    rrule("FREQ=MONTHLY;BYDAY=FR;BYSETPOS=-1"),
    rrule("FREQ=HOURLY;INTERVAL=5;BYDAY=MO"),
    rrule("RRULE:FREQ=DAILY\nEXDATE:20260105,20260106T000000\nRDATE:20260107T120000"),
    crontab("0 9 * * *") | every("7m"),
    crontab("0 9 * * *", tz=BERLIN) | every("7m", tz=BERLIN),
    crontab("0 9 * * *") & every("7m"),
    crontab("0 9 * * *") - every("7m"),
    every("7m") - crontab("0 9 * * *"),
    every("15m") & between("09:00", "17:30"),
    every("15m") - between("09:00", "17:30"),
    every("15m") & between("09:00", "17:30", days="mon-fri"),
    every("15m") & between("09:00", "17:30", tz=BERLIN),
    every("15m", tz=BERLIN) & (between("22:00", "06:00") - between("2026-12-24", "2026-12-26")),
    (crontab("0 9 * * *") | crontab("0 8 * * *")) - between("2026-12-24", "2026-12-26T12:00:00Z"),
]
NAMES = {"crontab": crontab, "every": every, "once": once, "between": between, "rrule": rrule}


def test_distinct_schedules_differ() -> None:
    assert len(set(DISTINCT)) == len(DISTINCT)
    assert all(one != other for one, other in combinations(DISTINCT, 2))
    assert DISTINCT[0] != "0 9 * * 1-5"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (crontab("0 9 * * 1-5"), crontab(" 00 9\t* *  MON-fri ")),
        (crontab("@daily"), crontab("0 0 * * *")),
        (crontab("0 0 * * 7"), crontab("0 0 * * 0")),
        (crontab("0 0 * * *"), crontab("0 0 0 * * *")),
        (crontab("0 9 * * 1-5"), crontab(minute=0, hour=9, day_of_week="mon-fri")),
        (crontab("0 0 1 * *", tz=BERLIN), crontab("0 0 1 * *", tz=ZoneInfo(BERLIN))),
        # A wildcard follows real time, whatever is said about gaps and folds.
        (crontab("*/5 * * * *"), crontab("*/5 * * * *", gap="skip", fold="both")),
        (every("1h"), every(3600)),
        (every("1h"), every(timedelta(hours=1))),
        (every(hours=1), every(minutes=60)),
        (every(weeks=1), every(days=7)),
        (every(years=1), every(months=12)),
        (every(days=1, at="09:00", anchor=date(2026, 1, 1)), every(days=1, anchor="2026-01-01T09:00")),
        (once("2026-12-01T09:00", tz=BERLIN), once(datetime(2026, 12, 1, 8, tzinfo=UTC), tz=BERLIN)),
        (rrule("FREQ=WEEKLY;BYDAY=MO,FR"), rrule("rrule:byday=fr, mo,FR;interval=1;freq=weekly;wkst=mo;")),
        (rrule("DTSTART:20260101T090000\nFREQ=DAILY"), rrule("FREQ=DAILY", start=datetime(2026, 1, 1, 9))),
        (rrule("FREQ=MONTHLY;BYMONTHDAY=01,-1"), rrule("FREQ=MONTHLY;BYMONTHDAY=-1,+1")),
        (every("1h") | crontab("5 * * * *"), crontab("5 * * * *") | every("1h")),
        (every("1h") & crontab("0 9 * * *"), crontab("0 9 * * *") & every("1h") & every(3600)),
        (every("1h") | every(3600), every("1h")),
        (every("1h") - every("3h") - every("5h"), every("1h") - (every("5h") | every("3h"))),
        (every("1h") & between("09:00", "17:00", days="1-5"), between("9:00", "17:00", days="mon-fri") & every("1h")),
        (every("1h") & between("09:00", "17:00", days="0-6"), every("1h") & between("09:00", "17:00")),
    ],
)
def test_the_same_meaning_is_equal(one: Schedule, other: Schedule) -> None:
    assert one == other
    assert hash(one) == hash(other)


@pytest.mark.parametrize("schedule", DISTINCT, ids=repr)
def test_data_goes_round(schedule: Schedule) -> None:
    """Through JSON and through pickle, and repr can be typed in again."""
    data = json.loads(json.dumps(schedule.as_data()))
    for again in (
        schedule_from_data(data),
        pickle.loads(pickle.dumps(schedule)),
        eval(repr(schedule), NAMES),
    ):
        assert again == schedule
        assert hash(again) == hash(schedule)
        assert again.as_data() == data
        assert again.text == schedule.text
    assert copy.deepcopy(schedule) is schedule
    assert copy.copy(schedule) is schedule


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({}, "schedule data: kind None is not known; known: crontab, every, "),
        ({"kind": "sundial"}, "schedule data: kind 'sundial' is not known; known: crontab, every, "),
        ([], "schedule data: a value of type list is not a mapping with a 'kind'"),
        ({"kind": "crontab"}, "schedule data of kind 'crontab': 'expr'"),
        ({"kind": "crontab", "expr": "* * * * *", "colour": "red"}, "schedule data of kind 'crontab': "),
        (
            {"kind": "or", "parts": [{"kind": "every", "period": "30s"}]},
            "combination data: give 'parts' alone, a list of 2–",
        ),
        ({"kind": "between", "start": "09:00", "end": "17:00"}, "schedule data: between 09:00 and 17:00 is a window"),
        ({"kind": "every", "period": "30s", "at": "09:00"}, "every: at is '09:00', but stands only with "),
    ],
)
def test_data_refused(data: Any, message: str) -> None:
    with pytest.raises(InvalidScheduleError) as caught:
        schedule_from_data(data)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize("schedule", DISTINCT, ids=repr)
def test_immutable(schedule: Schedule) -> None:
    for name in ("text", "zone", "_pattern", "colour"):
        with pytest.raises(AttributeError, match="is immutable"):
            setattr(schedule, name, 1)
    with pytest.raises(AttributeError, match="is immutable"):
        del schedule.text
    assert not hasattr(schedule, "__dict__")


@pytest.mark.parametrize("schedule", DISTINCT, ids=repr)
def test_default_zone(schedule: Schedule) -> None:
    """The entry's zone is taken over by a schedule without one, and by no other."""
    moved = schedule.in_zone("Asia/Tokyo")
    assert moved.zone == (schedule.zone or "Asia/Tokyo")
    assert (moved is schedule) == (schedule.zone is not None)
    assert moved.text == schedule.text
    assert moved.in_zone(BERLIN) is moved


class Failing(tzinfo):
    def utcoffset(self, _moment: datetime | None) -> timedelta:
        raise RuntimeError("no idea")


@pytest.mark.parametrize(
    ("moment", "message"),
    [
        (datetime(2026, 1, 1), "moment 2026-01-01 00:00:00 is naive; give an aware datetime"),
        (date(2026, 1, 1), "moment a value of type date is not a datetime; give an aware one"),
        ("2026-01-01", "moment '2026-01-01' is not a datetime; give an aware one"),
        (None, "moment None is not a datetime; give an aware one"),
        (datetime(2026, 1, 1, tzinfo=Failing()), "moment 2026-01-01 00:00:00: its tzinfo fails (no idea)"),
    ],
)
def test_moments_are_aware(moment: Any, message: str) -> None:
    schedule = every("30s")
    for ask in (
        schedule.next,
        schedule.previous,
        lambda at: schedule.upcoming(at, 1),
        lambda at: schedule.get_next_fire_time(None, at),
    ):
        with pytest.raises(InvalidScheduleError) as caught:
            ask(moment)
        assert str(caught.value).startswith(message)


@pytest.mark.parametrize("n", [-1, True, 1.5, "3", 10**9, None])
def test_upcoming_is_bounded(n: Any) -> None:
    with pytest.raises(InvalidScheduleError, match=r"upcoming: n .* is outside 0–100000"):
        every("30s").upcoming(START, n)
    assert every("30s").upcoming(START, 0) == []


def test_answers_are_strictly_after_and_in_utc() -> None:
    schedule = crontab("0 * * * *", tz="America/New_York")
    noon = datetime(2026, 6, 1, 12, tzinfo=UTC)
    hour, tick = timedelta(hours=1), timedelta(microseconds=1)
    assert schedule.next(noon) == noon + hour
    assert schedule.next(noon - tick) == noon
    assert schedule.previous(noon) == noon - hour
    assert schedule.previous(noon + tick) == noon
    fire = schedule.next(noon.astimezone(ZoneInfo("Asia/Kathmandu")))
    assert fire is not None
    assert fire.tzinfo is UTC


def test_both_passes_of_an_hour_are_different_moments() -> None:
    """zoneinfo says that 01:30 and 01:30 are equal; the instants are not."""
    zone = ZoneInfo("America/New_York")
    first = datetime(2026, 11, 1, 1, 30, tzinfo=zone)
    schedule = crontab("*/30 * * * *", tz="America/New_York")
    assert schedule.next(first) == datetime(2026, 11, 1, 6, tzinfo=UTC)
    assert schedule.next(first.replace(fold=1)) == datetime(2026, 11, 1, 7, tzinfo=UTC)


def test_apscheduler_protocol() -> None:
    """First from now on, now included; then each one after the last, however late it is."""
    schedule = every("1h")
    assert isinstance(schedule, BaseTrigger)
    noon = datetime(2026, 6, 1, 12, tzinfo=UTC)
    assert schedule.get_next_fire_time(None, noon) == noon
    assert schedule.get_next_fire_time(None, noon + timedelta(microseconds=1)) == noon + timedelta(hours=1)
    late = noon + timedelta(hours=5, minutes=7)
    assert schedule.get_next_fire_time(noon, late) == noon + timedelta(hours=1)
    assert every("1h").get_next_fire_time(None, datetime.max.replace(tzinfo=UTC)) is None


@pytest.mark.parametrize("schedule", [s for s in DISTINCT if not s.text.startswith("H")], ids=repr)
def test_the_ends_of_time_are_answers(schedule: Schedule) -> None:
    """No moment is too early or too late to ask, and every answer is a datetime."""
    for ms in (-(10**20), -(10**15), -62_135_596_800_000, 253_402_300_799_999, 10**15, 10**20):
        for fire in (schedule.next_ms(ms), schedule.previous_ms(ms)):
            assert fire is None or datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=fire)
    schedule.next(datetime.min.replace(tzinfo=UTC))
    schedule.previous(datetime.max.replace(tzinfo=UTC))
    assert schedule.next(datetime.max.replace(tzinfo=UTC)) is None
    assert schedule.previous(datetime.min.replace(tzinfo=UTC)) is None
