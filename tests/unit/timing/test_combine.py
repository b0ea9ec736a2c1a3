"""`a | b`, `a & b`, `a - b`: sets of moments, held against sets that Python computes."""

from __future__ import annotations

import pickle
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest
from apscheduler.triggers.interval import IntervalTrigger
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from scheduler.errors import InvalidScheduleError
from scheduler.timing import Schedule, between, crontab, every, once, rrule, schedule_from_data
from scheduler.timing.steps import OutOfStepsError, Steps

START = datetime(2026, 10, 24, 5, 30, tzinfo=UTC)
START_MS = int(START.timestamp()) * 1000
# Through the night in which Berlin's clocks are put back.
FROM_MS = START_MS + 12 * 3_600_000
SPAN_MS = 18 * 3_600_000
HOURS = ",".join(map(str, range(24)))
BERLIN, NEW_YORK = "Europe/Berlin", "America/New_York"

SIMPLE = [
    crontab("*/20 * * * *", tz=BERLIN),
    crontab("30 2 * * *", tz=BERLIN),
    crontab("0,30 1-5 * * *", tz=NEW_YORK),
    crontab("0 */3 * * 6,0", tz=BERLIN),
    every("10m"),
    every("90m", anchor="2026-10-24T00:30Z"),
    every(days=1, at="02:30", tz=BERLIN),
    once("2026-10-25T02:30", tz=BERLIN),
]
WINDOWS = [
    between("02:00", "03:30", tz=BERLIN),
    between("20:00", "04:00", days="sat,sun", tz=BERLIN),
    between("2026-10-24T12:00", "2026-10-25T02:30", tz=BERLIN),
    between("00:00", "12:00", tz=BERLIN) - between("02:00", "03:00", tz=BERLIN),
]


def fires(schedule: Schedule) -> set[int]:
    """Return the fires in the span, found one after the other."""
    found, at_ms = set(), schedule.next_ms(FROM_MS)
    while at_ms is not None and at_ms <= FROM_MS + SPAN_MS:
        found.add(at_ms)
        at_ms = schedule.next_ms(at_ms)
    return found


def fires_backwards(schedule: Schedule) -> set[int]:
    found, at_ms = set(), schedule.previous_ms(FROM_MS + SPAN_MS + 1)
    while at_ms is not None and at_ms > FROM_MS:
        found.add(at_ms)
        at_ms = schedule.previous_ms(at_ms)
    return found


SIMPLE_FIRES = {schedule: fires(schedule) for schedule in SIMPLE}

Made = tuple[Schedule, set[int]]


def _combine(sides: tuple[Made, Made, str]) -> Made:
    (a, in_a), (b, in_b), mark = sides
    if mark == "|":
        return a | b, in_a | in_b
    try:
        return (a & b, in_a & in_b) if mark == "&" or a == b else (a - b, in_a - in_b)
    except InvalidScheduleError:
        assume(False)
        raise


def _filter(sides: tuple[Made, Any, bool]) -> Made:
    (a, in_a), window, inside = sides
    try:
        return (a & window if inside else a - window), {ms for ms in in_a if window.holds_ms(ms) == inside}
    except InvalidScheduleError:
        assume(False)
        raise


made = st.recursive(
    st.sampled_from(list(SIMPLE_FIRES.items())),
    lambda sub: st.one_of(
        st.tuples(sub, sub, st.sampled_from("|&-")).map(_combine),
        st.tuples(sub, st.sampled_from(WINDOWS), st.booleans()).map(_filter),
    ),
    max_leaves=5,
)


@settings(max_examples=40, deadline=None)
@given(made)
def test_they_are_union_intersection_and_difference(case: Made) -> None:
    """However they are nested, forwards and backwards, across a change of clocks."""
    schedule, expected = case
    assert fires(schedule) == expected
    assert fires_backwards(schedule) == expected


@settings(max_examples=40, deadline=None)
@given(made)
def test_they_go_round_as_data(case: Made) -> None:
    schedule, _ = case
    names = {"crontab": crontab, "every": every, "once": once, "between": between}
    for again in (
        schedule_from_data(schedule.as_data()),
        pickle.loads(pickle.dumps(schedule)),
        eval(repr(schedule), names),
    ):
        assert again == schedule
        assert hash(again) == hash(schedule)
        assert again.text == schedule.text
        assert again.words() == schedule.words()


def test_business_hours() -> None:
    schedule = every("15m") & between("09:00", "17:30", days="mon-fri")
    friday = datetime(2026, 10, 23, 15, 20, tzinfo=UTC)
    fires = [f"{fire:%a %H:%M}" for fire in schedule.in_zone(BERLIN).upcoming(friday, 4)]
    assert fires == ["Fri 15:30", "Mon 08:00", "Mon 08:15", "Mon 08:30"]


def test_friday_the_13th() -> None:
    schedule = crontab("0 0 13 * *") & crontab("0 0 * * fri")
    assert [f"{fire:%Y-%m}" for fire in schedule.upcoming(START, 3)] == ["2026-11", "2027-08", "2028-10"]


class TestZones:
    """A part without a zone takes the entry's; a window that of the schedule it filters."""

    def test_parts_without_a_zone_take_the_entrys(self) -> None:
        schedule = crontab("0 9 * * *", tz="Asia/Tokyo") | crontab("0 9 * * *")
        assert schedule.zone is None
        assert fires(schedule.in_zone(BERLIN)) == fires(
            crontab("0 9 * * *", tz="Asia/Tokyo") | crontab("0 9 * * *", tz=BERLIN)
        )
        assert schedule.in_zone(BERLIN).zone == "Asia/Tokyo"
        assert schedule.text == "0 9 * * * Asia/Tokyo | 0 9 * * *"

    def test_a_window_takes_that_of_its_schedule(self) -> None:
        schedule = crontab("0 * * * *", tz="Asia/Tokyo") & between("09:00", "10:00")
        assert schedule.zone == "Asia/Tokyo"
        assert [fire.hour for fire in schedule.in_zone(BERLIN).upcoming(START, 2)] == [0, 1]

    def test_or_has_its_own(self) -> None:
        schedule = crontab("0 * * * *", tz="Asia/Tokyo") & between("09:00", "10:00", tz="UTC")
        assert [fire.hour for fire in schedule.upcoming(START, 2)] == [9, 10]
        assert schedule.text == "0 * * * * & between 09:00 and 10:00 UTC"


def test_an_entry_names_what_is_hashed_in_every_part() -> None:
    schedule = (crontab("H 3 * * *") | crontab("H 15 * * *")) & between("00:00", "12:00")
    with pytest.raises(InvalidScheduleError, match="H is hashed from an entry's name"):
        schedule.next(START)
    assert len(schedule.for_entry("backup").upcoming(START, 3)) == 3
    plain = every("1h") | every("7m")
    assert plain.for_entry("backup") is plain


def test_triggers_of_apscheduler_stand_on_either_side() -> None:
    trigger = IntervalTrigger(hours=1, start_date=datetime(2026, 1, 1, tzinfo=UTC), timezone=UTC)
    for schedule in (trigger | once(START), once(START) | trigger):  # type: ignore[operator]
        assert isinstance(schedule, Schedule)
        assert schedule.next(START - timedelta(minutes=10)) == START
        assert schedule.next(START) == START + timedelta(minutes=30)


@pytest.mark.parametrize("other", [None, 5, "0 9 * * *", datetime(2026, 1, 1, tzinfo=UTC)])
def test_anything_else_is_a_type_error(other: Any) -> None:
    for mix in (lambda: every("1h") | other, lambda: other | every("1h"), lambda: every("1h") & other):
        with pytest.raises(TypeError):
            mix()


def nested(depth: int) -> Schedule:
    schedule: Schedule = every("1h")
    for level in range(depth):
        schedule = (schedule | crontab(f"{level} * * * *")) & every("1s")
    return schedule


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: every("1h") - every(3600), "combination: every 1h without itself never fires"),
        (
            lambda: every("6h") - every("90m"),
            "combination every 6h - every 1h30m: the second has every moment of the first",
        ),
        (
            lambda: every("2s") & every("2s", anchor="2026-01-01T00:00:01Z"),
            "combination every 2s & every 2s from 2026-01-01T00:00:01Z: these never meet",
        ),
        (
            lambda: crontab("*/2 9 * * *") & crontab("1-59/2 9 * * *"),
            "combination */2 9 * * * & 1-59/2 9 * * *: these crontabs never meet, so that it never fires",
        ),
        (
            lambda: crontab("0 9 13 2 *", tz=BERLIN) & crontab("0 9 14 2 *", tz=BERLIN) & every("1h"),
            "combination 0 9 13 2 * & 0 9 14 2 *: these crontabs never meet",
        ),
        (
            lambda: crontab("0 9 * * mon") - crontab("0 9 * * 1-5"),
            "combination 0 9 * * mon - 0 9 * * 1-5: the second has every moment of the first",
        ),
        (
            lambda: crontab("0 9 * * *") - crontab("0 9 * 1-6 *") - crontab("0 9 * 7-12 *"),
            "combination 0 9 * * * - 0 9 * 7-12 *: the second has every moment of the first",
        ),
        (
            lambda: once("2026-01-01T12:00", tz=BERLIN) & between("09:00", "10:00"),
            "combination once at 2026-01-01T12:00:00 & between 09:00 and 10:00: it has no moment at all",
        ),
        (
            lambda: every(days=1, at="08:00") & between("09:00", "17:00"),
            "combination: every day at 08:00 has no time of day inside the window between 09:00 and 17:00, so that it never",
        ),
        (
            lambda: crontab("30 9-16 * * *") - between("09:00", "17:00"),
            "combination: 30 9-16 * * * has no time of day outside the window between 09:00 and 17:00, so that it never",
        ),
        (
            lambda: (once("2026-01-01T12:00") & between("09:00", "10:00")).in_zone(BERLIN),
            "combination once at 2026-01-01T12:00:00 & between 09:00 and 10:00: it has no moment at all",
        ),
        (
            lambda: crontab("0 9 * * *", tz=BERLIN) & once("2026-01-01T12:00", tz=BERLIN),
            "combination 0 9 * * * & once at 2026-01-01T12:00:00: it has no moment at all",
        ),
        (lambda: nested(20), "combination: 10 parts nested 9 deep are outside 1–64 parts and 1–8 deep"),
        (
            lambda: schedule_from_data(
                {"kind": "or", "parts": [crontab(f"{n} * * * *").as_data() for n in range(60)] * 2}
            ),
            "combination data: give 'parts' alone, a list of 2–64, nested at most 8 deep",
        ),
    ],
)
def test_refused(make: Callable[[], object], message: str) -> None:
    with pytest.raises(InvalidScheduleError) as caught:
        make()
    assert str(caught.value).startswith(message)


def test_long_unions_and_exceptions_are_flat() -> None:
    """Sixty fires or exceptions in a row are no sixty levels."""
    several: Schedule = every("1h")
    for minute in range(60):
        several = several | crontab(f"{minute} * * * *")
    assert len(several.upcoming(START, 200)) == 200
    assert several.upcoming(START, 200)[-1] == START + timedelta(minutes=200)
    few: Schedule = every("1m")
    for minute in range(59):
        few = few - crontab(f"{minute} * * * *")
    assert [fire.minute for fire in few.upcoming(START, 5)] == [59] * 5


@pytest.mark.parametrize(
    "schedule",
    [
        crontab("0 1 * * *", tz="UTC") & crontab("0 2 * * *", tz="Asia/Kolkata"),
        crontab("*/2 * * * * *", tz="UTC") & crontab("1-59/2 * * * * *", tz=BERLIN),
        every("1m", tz="UTC") - crontab("* * * * *", tz=BERLIN),
        every("1h", tz="UTC") - (every("2h", tz="UTC") | crontab("0 1-23/2 * * *", tz="UTC")),
        every("1s", tz="UTC") & (between("09:00", "10:00", tz="UTC") & between("11:00", "12:00", tz="UTC")),
        every("1d", anchor="2026-01-01T08:00Z", tz="UTC") & between("09:00", "17:00"),
    ],
    ids=repr,
)
def test_what_never_meets_ends(schedule: Schedule) -> None:
    """Promised: no answer takes more than 50 ms, and nothing spins."""
    best_s = 1.0
    for _ in range(3):
        started_s = time.perf_counter()
        assert schedule.next_ms(START_MS) is None
        assert schedule.previous_ms(START_MS) is None
        best_s = min(best_s, time.perf_counter() - started_s)
    assert best_s < 0.1


def test_what_was_not_found_is_told() -> None:
    """It is legal, as nobody can tell; `sched check` says it."""
    schedule = every("24h", anchor="2026-01-01T08:00Z", tz="UTC") & between("09:00", "17:00")
    assert schedule.warnings() == (
        "every 1d from 2026-01-01T08:00:00Z & between 09:00 and 17:00: no moment was found within 3000 steps "
        "from 2026 on; it may never fire",
    )
    assert (every(days=1, at="09:00", tz=BERLIN) & between("09:00", "17:00")).warnings() == ()
    # What has come to its end was found while it lasted.
    assert (once("2025-01-01T12:00", tz=BERLIN) & between("09:00", "17:00")).warnings() == ()


@pytest.mark.parametrize(
    ("dense", "after", "following"),
    [
        # Long rows of exceptions: all Saturdays and Sundays, a month, nearly always.
        (every("10s", tz=BERLIN) - crontab("* * * * * 6,0", tz=BERLIN), "2026-10-23T22:00", "2026-10-25T23:00"),
        (every("1s", tz=BERLIN) - crontab("* * * * * 6,0", tz=BERLIN), "2026-10-23T22:00", "2026-10-25T23:00"),
        (every("30s", tz=BERLIN) - crontab("* * * * 6,0", tz=BERLIN), "2026-10-24T06:00", "2026-10-24T06:00:30"),
        (every("1m", tz=BERLIN) - crontab("* * * 12 *", tz=BERLIN), "2026-11-30T23:00", "2026-12-31T23:00"),
        (every("5m", tz=BERLIN) - crontab("*/5 * * 12 *", tz=BERLIN), "2026-11-30T23:00", "2026-12-31T23:00"),
        (every("1h", tz=BERLIN) - crontab("0 * * 1-11 *", tz=BERLIN), "2026-12-31T22:30", "2027-11-30T23:00"),
        (crontab("* * * * *", tz=BERLIN) - crontab("* * * 2-11 *", tz=BERLIN), "2027-01-31T22:59", "2027-11-30T23:00"),
        (
            crontab("* * * * * *", tz=BERLIN) - crontab("* * * * 2-11 *", tz=BERLIN),
            "2027-01-31T22:59:59",
            "2027-11-30T23:00",
        ),
        (
            crontab("0-59 9 * * *", tz=BERLIN) - crontab("* * * 2-11 *", tz=BERLIN),
            "2027-01-31T08:59",
            "2027-12-01T08:00",
        ),
        (every("1s", tz=BERLIN) - crontab("* * 0-22 * * *", tz=BERLIN), "2026-10-25T22:59:59", "2026-10-26T22:00"),
        (
            (every("1s", tz=BERLIN) & between("08:00", "20:00")) - crontab("* * * * * 6,0", tz=BERLIN),
            "2026-10-23T18:00:00.001",
            "2026-10-26T07:00",
        ),
        (
            every("10s", tz=BERLIN) - rrule("FREQ=SECONDLY;BYDAY=SA,SU", tz=BERLIN),
            "2026-10-23T22:00",
            "2026-10-25T23:00",
        ),
        (every("5m", tz=BERLIN) - rrule("FREQ=MINUTELY;BYMONTH=12", tz=BERLIN), "2026-11-30T23:00", "2026-12-31T23:00"),
        (
            # Two o'clock comes again when clocks are put back, and a daily rule has only the first.
            every("1h", tz=BERLIN) - rrule(f"FREQ=DAILY;BYMONTH=1,2,3,4,5,6,7,8,9,10,11;BYHOUR={HOURS}", tz=BERLIN),
            "2026-12-31T22:30",
            "2027-10-31T01:00",
        ),
        (
            (every("2s", tz=BERLIN) | rrule("FREQ=SECONDLY;INTERVAL=3", tz=BERLIN))
            - crontab("* * * * * 6,0", tz=BERLIN),
            "2026-10-23T22:00",
            "2026-10-25T23:00",
        ),
    ],
    ids=lambda value: repr(value) if isinstance(value, Schedule) else "",
)
def test_long_rows_of_exceptions_are_leapt_over(dense: Schedule, after: str, following: str) -> None:
    """Both ways, and within 50 ms."""
    first, second = (datetime.fromisoformat(text).replace(tzinfo=UTC) for text in (after, following))
    if any(text in repr(dense) for text in ("6,0", "12 *", "SA,SU", "BYMONTH=12")):
        first -= timedelta(milliseconds=1)
    started_s = time.perf_counter()
    assert dense.next(first) == second
    assert time.perf_counter() - started_s < 0.1
    started_s = time.perf_counter()
    earlier = dense.previous(second)
    assert time.perf_counter() - started_s < 0.1
    assert earlier is not None
    assert earlier <= first + timedelta(milliseconds=1)
    assert dense.next(earlier) == second


RULES = (
    "FREQ=MINUTELY;BYHOUR=1,2,3",
    "FREQ=HOURLY;BYMINUTE=0,10,20,30,40,50;BYDAY=SU",
    f"FREQ=DAILY;BYHOUR=1,2,3;BYMINUTE={','.join(map(str, range(60)))}",
)


@settings(max_examples=80, deadline=None)
@given(
    st.sampled_from(
        [every("20m", tz=BERLIN), every("30s", tz=BERLIN), every("7m", tz=BERLIN), crontab("* * * * *", tz=BERLIN)]
    ),
    st.sampled_from(
        [
            *RULES,
            "* * * * *",
            "*/10 * * * *",
            "* 1-3 * * *",
            "0-50 1,3 * * *",
            "0-59 2,3 * * *",
            "*/30 * 2 * * *",
            "* * 25 10 *",
        ]
    ),
    st.sampled_from([("run", "first"), ("run", "both"), ("skip", "first")]),
    st.booleans(),
)
def test_leaps_miss_nothing_around_a_change_of_clocks(
    of: Schedule, text: str, rule: tuple[str, str], spring: bool
) -> None:
    """Against taking the sets apart, one by one."""
    what = rrule(text, tz=BERLIN) if "FREQ" in text else crontab(text, tz=BERLIN, gap=rule[0], fold=rule[1])
    start_ms = int(datetime(2026, *((3, 28) if spring else (10, 24)), 20, tzinfo=UTC).timestamp()) * 1000
    end_ms = start_ms + 12 * 3_600_000

    def between_them(schedule: Schedule) -> set[int]:
        found, at_ms = set(), schedule.next_ms(start_ms)
        while at_ms is not None and at_ms <= end_ms:
            found.add(at_ms)
            at_ms = schedule.next_ms(at_ms)
        return found

    try:
        schedule = of - what
    except InvalidScheduleError:
        assert between_them(of) <= between_them(what)
        return
    expected = between_them(of) - between_them(what)
    assert between_them(schedule) == expected
    back, at_ms = set(), schedule.previous_ms(end_ms + 1)
    while at_ms is not None and at_ms > start_ms:
        back.add(at_ms)
        at_ms = schedule.previous_ms(at_ms)
    assert back == expected


def test_a_rare_rule_is_counted_for_what_it_takes() -> None:
    """Promised: 50 ms, though each question may go through centuries; asked again, a rule knows its last answer."""
    rare = rrule("FREQ=WEEKLY;INTERVAL=365;BYMONTH=3;BYDAY=FR", start="2024-02-29T02:30", tz=BERLIN)
    ticks = rrule(
        "FREQ=MINUTELY;INTERVAL=13;BYMONTH=12;BYDAY=FR;BYHOUR=23;BYMINUTE=0", start="2024-02-29T03:00", tz=BERLIN
    )
    for schedule in (
        every(days=3, at="02:30", tz=BERLIN) - rare,
        (every(days=3, at="02:30", tz=BERLIN) - rare)
        & every(months=1, anchor="2026-01-31", month_end="skip", tz=BERLIN),
        crontab("0 0 29 2 *", tz="UTC") & ticks,
        (crontab("*/7 1-3 13 * *", tz="UTC") - (rare | every("1s", tz=BERLIN))) | rare,
    ):
        best_s = 1.0
        for _ in range(3):
            started_s = time.perf_counter()
            schedule.next_ms(START_MS)
            schedule.previous_ms(START_MS)
            best_s = min(best_s, time.perf_counter() - started_s)
        assert best_s < 0.2


def test_what_is_taken_away_never_fires_however_short_the_steps() -> None:
    """Whether a moment is an exception needs no search: one that ran out of steps was once taken for a no."""
    schedule = every("1s", tz="UTC") - (
        every("100ms", tz="UTC") - rrule("FREQ=MONTHLY;BYDAY=SU", start="2026-01-01", tz="UTC")
    )
    fire = schedule.next(START)
    assert fire is None or fire == datetime(2026, 11, 1, tzinfo=UTC)


class TestSteps:
    """Who may be passed over when the steps run out, and who ends the search."""

    def test_a_part_that_never_answered_is_left_out(self) -> None:
        steps = Steps(1000)
        never = partial(steps.spend, 10_000)
        assert steps.spare("never", 1, never) is None  # type: ignore[arg-type]
        assert steps.left == 500
        assert steps.spare("never", 1, lambda: 5) is None
        assert steps.spare("other", 1, lambda: 7) == 7

    def test_a_part_that_has_answered_ends_it(self) -> None:
        """Its next moment may come before those of the others."""
        steps = Steps(1000)
        assert steps.spare("part", 1, lambda: 7) == 7
        with pytest.raises(OutOfStepsError):
            steps.spare("part", 1, partial(steps.spend, 10_000))  # type: ignore[arg-type]

    def test_too_few_steps_show_nothing(self) -> None:
        steps = Steps(60)
        with pytest.raises(OutOfStepsError):
            steps.spare("part", 1, partial(steps.spend, 10_000))  # type: ignore[arg-type]
