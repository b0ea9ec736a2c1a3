"""The traps of TIME.md: what other libraries get wrong around a change of the clocks, and we must not."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
import pytz

from scheduler.timing import Schedule, crontab, every
from scheduler.timing.zones import get_zone


def fires(schedule: Schedule, after: str, n: int) -> list[str]:
    """Return the next fires as local times with their offsets, without the year."""
    zone = get_zone(schedule.zone or "UTC")
    start = datetime.fromisoformat(after)
    return [fire.astimezone(zone).isoformat(timespec="minutes")[5:] for fire in schedule.upcoming(start, n)]


def previous(schedule: Schedule, before: str) -> str:
    moment = datetime.fromisoformat(before)
    fire = schedule.previous(moment)
    assert fire is not None
    return fire.astimezone(get_zone(schedule.zone or "UTC")).isoformat(timespec="minutes")[5:]


NEW_YORK = "America/New_York"


def test_fixed_time_in_a_repeated_hour_runs_in_the_first_pass_only() -> None:
    """Trap 1: croniter fires `30 1 * * *` twice."""
    schedule = crontab("30 1 * * *", tz=NEW_YORK)
    assert fires(schedule, "2026-11-01T00:00-04:00", 2) == ["11-01T01:30-04:00", "11-02T01:30-05:00"]


def test_start_in_the_second_pass_means_already_done() -> None:
    """Trap 2: cronsim returns a moment before its start."""
    schedule = crontab("30 1 * * *", tz=NEW_YORK)
    assert fires(schedule, "2026-11-01T01:15-05:00", 1) == ["11-02T01:30-05:00"]
    assert previous(schedule, "2026-11-01T01:45-05:00") == "11-01T01:30-04:00"


def test_fold_both_runs_in_both_passes() -> None:
    schedule = crontab("30 1 * * *", tz=NEW_YORK, fold="both")
    assert fires(schedule, "2026-11-01T00:00-04:00", 2) == ["11-01T01:30-04:00", "11-01T01:30-05:00"]


def test_wildcard_follows_real_time_through_a_repeated_hour() -> None:
    """Trap 4: Celery skips the second 01:00 of an hourly entry."""
    schedule = crontab("0 * * * *", tz=NEW_YORK)
    expected = ["11-01T00:00-04:00", "11-01T01:00-04:00", "11-01T01:00-05:00", "11-01T02:00-05:00"]
    assert expected == fires(schedule, "2026-10-31T23:30-04:00", 4)


def test_wildcard_makes_nothing_up_for_a_gap() -> None:
    """Trap 1: croniter fires `*/10 2 * * *` at 03:00."""
    schedule = crontab("*/10 2 * * *", tz=NEW_YORK)
    assert fires(schedule, "2026-03-07T02:45-05:00", 2) == ["03-07T02:50-05:00", "03-09T02:00-04:00"]


def test_fixed_times_in_a_gap_run_once_right_after_it() -> None:
    """Trap 3: APScheduler answers the nonexistent 02:30-05:00."""
    schedule = crontab("0,30,45 2 * * *", tz=NEW_YORK)
    expected = ["03-08T03:00-04:00", "03-09T02:00-04:00"]
    assert expected == fires(schedule, "2026-03-07T23:00-05:00", 2)
    assert previous(schedule, "2026-03-09T00:00-04:00") == "03-08T03:00-04:00"


def test_gap_skip_leaves_them_out() -> None:
    schedule = crontab("30 2 * * *", tz=NEW_YORK, gap="skip")
    assert fires(schedule, "2026-03-08T00:00-05:00", 1) == ["03-09T02:30-04:00"]
    assert previous(schedule, "2026-03-08T12:00-04:00") == "03-07T02:30-05:00"


def test_what_is_due_right_after_the_gap_runs_once() -> None:
    """02:30 is made up for at 03:00, where 03:00 itself is due: one instant, one fire."""
    schedule = crontab("0,30 2,3 * * *", tz=NEW_YORK)
    assert fires(schedule, "2026-03-08T00:00-05:00", 2) == ["03-08T03:00-04:00", "03-08T03:30-04:00"]


@pytest.mark.parametrize(
    ("expr", "zone", "after", "expected"),
    [
        # Trap 3: APScheduler loses days whose midnight is missing.
        ("0 0 * * mon", "Asia/Beirut", "2022-03-21T12:00+02:00", ["03-28T00:00+03:00"]),
        ("0 0 * * *", "America/Sao_Paulo", "2018-11-03T12:00-03:00", ["11-04T01:00-02:00", "11-05T00:00-02:00"]),
        ("0 0 * * sun", "America/Sao_Paulo", "2018-11-01T12:00-03:00", ["11-04T01:00-02:00"]),
        ("0 0 * * *", "Atlantic/Azores", "2026-03-28T12:00-01:00", ["03-29T01:00+00:00", "03-30T00:00+00:00"]),
        ("0 0 * * mon", NEW_YORK, "2026-03-06T00:00-05:00", ["03-09T00:00-04:00"]),
        # Half an hour, at both ends.
        ("15 2 * * *", "Australia/Lord_Howe", "2026-10-03T12:00+10:30", ["10-04T02:30+11:00", "10-05T02:15+11:00"]),
        ("45 1 * * *", "Australia/Lord_Howe", "2026-04-04T12:00+11:00", ["04-05T01:45+11:00", "04-06T01:45+10:30"]),
        # Trap 2: cronsim loses what follows the half hour that Caracas skipped for good.
        (
            "*/10 * * * *",
            "America/Caracas",
            "2016-05-01T02:15-04:30",
            ["05-01T02:20-04:30", "05-01T03:00-04:00", "05-01T03:10-04:00", "05-01T03:20-04:00"],
        ),
        ("45 2 * * *", "America/Caracas", "2016-04-30T12:00-04:30", ["05-01T03:00-04:00", "05-02T02:45-04:00"]),
        # Trap 2: cronsim never returns; the clock went back at 00:01.
        ("40 */2 * * *", "America/St_Johns", "2007-11-03T23:31-02:30", ["11-04T00:40-03:30", "11-04T02:40-03:30"]),
        ("30 23 * * *", "America/St_Johns", "2007-11-03T23:20-02:30", ["11-03T23:30-02:30", "11-04T23:30-03:30"]),
        # Winter time is the one that is put forward from, in Dublin's law.
        ("30 1 * * *", "Europe/Dublin", "2026-03-28T12:00+00:00", ["03-29T02:00+01:00", "03-30T01:30+01:00"]),
        ("30 1 * * *", "Europe/Dublin", "2026-10-24T12:00+01:00", ["10-25T01:30+01:00", "10-26T01:30+00:00"]),
        # Two changes within five weeks, for Ramadan.
        ("30 2 * * *", "Africa/Casablanca", "2026-02-14T12:00+01:00", ["02-15T02:30+01:00", "02-16T02:30+00:00"]),
        ("30 2 * * *", "Africa/Casablanca", "2026-03-21T12:00+00:00", ["03-22T03:00+01:00", "03-23T02:30+01:00"]),
        # A day that never was: a correction, for which nobody makes up.
        ("0 9 * * *", "Pacific/Apia", "2011-12-29T08:00-10:00", ["12-29T09:00-10:00", "12-31T09:00+14:00"]),
        ("0 9 30 * *", "Pacific/Apia", "2011-12-01T08:00-10:00", ["01-30T09:00+14:00"]),
        # Three hours back is a correction too, and both passes are new time.
        (
            "30 0 * * *",
            "Antarctica/Casey",
            "2010-03-05T00:00+11:00",
            ["03-05T00:30+11:00", "03-05T00:30+08:00", "03-06T00:30+08:00"],
        ),
        # Trap 3: CalendarIntervalTrigger loses 31 March; the hour before its midnight is missing.
        ("30 23 * * *", "America/Nuuk", "2024-03-30T12:00-02:00", ["03-31T00:00-01:00", "03-31T23:30-01:00"]),
        ("0 0 * * *", "America/Nuuk", "2024-03-30T12:00-02:00", ["03-31T00:00-01:00", "04-01T00:00-01:00"]),
        ("59 23 * * *", "Asia/Shanghai", "1991-09-14T12:00+09:00", ["09-14T23:59+09:00", "09-15T23:59+08:00"]),
    ],
)
def test_changes_of_the_clock_around_the_world(expr: str, zone: str, after: str, expected: list[str]) -> None:
    assert expected == fires(crontab(expr, tz=zone), after, len(expected))


def test_a_rare_wildcard_is_not_leapt_over_in_a_repeated_hour() -> None:
    """Its next local time is a year away, and yet it fires again within the hour; the same backwards."""
    schedule = crontab("*/30 1 1 11 *", tz=NEW_YORK)
    assert fires(schedule, "2026-11-01T01:45-04:00", 2) == ["11-01T01:00-05:00", "11-01T01:30-05:00"]
    assert previous(schedule, "2026-11-01T01:00-05:00") == "11-01T01:30-04:00"
    assert previous(schedule, "2026-11-01T01:20-05:00") == "11-01T01:00-05:00"
    both = crontab("45 1 1 11 *", tz=NEW_YORK, fold="both")
    assert previous(both, "2026-11-01T01:20-05:00") == "11-01T01:45-04:00"
    both = crontab("45 2 25 10 *", tz="Europe/Berlin", fold="both")
    first_pass = datetime(2026, 10, 25, 0, 45, tzinfo=UTC)
    assert both.previous(datetime.fromisoformat("2026-10-25T02:20+01:00")) == first_pass


def test_start_through_a_pytz_zone_keeps_its_instant() -> None:
    """Trap 6: a pytz zone attached with `tzinfo=` is at -04:56; its instant counts, its offset is not taken over."""
    schedule = crontab("0 0 * * *", tz=pytz.timezone(NEW_YORK))
    start = datetime(2026, 1, 1, tzinfo=pytz.timezone(NEW_YORK))
    assert datetime(2026, 1, 1, 5, tzinfo=UTC) == schedule.next(start)
    assert schedule.zone == NEW_YORK


def test_a_wildcard_that_only_ever_matches_in_gaps_never_fires() -> None:
    """Each second Sunday of March, 02:xx is missing in New York. The search ends after one turn of the calendar."""
    schedule = crontab("* 2 8-14 3 0", tz=NEW_YORK, day_match="and")
    assert schedule.next(datetime(2026, 1, 1, tzinfo=UTC)) is None
    # Before 2007 the clocks were changed in April.
    assert previous(schedule, "2026-01-01T00:00-05:00") == "03-12T02:59-05:00"


def test_wall_clock_periods_follow_the_same_rules() -> None:
    """`every` in days resolves gaps and folds as a fixed crontab entry does."""
    for at, expr in (("02:30", "30 2 * * *"), ("01:30", "30 1 * * *"), ("00:00", "0 0 * * *")):
        for zone in (NEW_YORK, "America/Sao_Paulo", "Pacific/Apia", "Antarctica/Casey", "Australia/Lord_Howe"):
            for gap in ("run", "skip"):
                for fold in ("first", "both"):
                    start = datetime(2009, 1, 1, tzinfo=UTC)
                    daily = every(days=1, at=at, tz=zone, gap=gap, fold=fold).upcoming(start, 1500)
                    assert crontab(expr, tz=zone, gap=gap, fold=fold).upcoming(start, 1500) == daily
