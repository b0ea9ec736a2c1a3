"""What a crontab may say, and what it means."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from scheduler.errors import InvalidScheduleError
from scheduler.timing import Schedule, crontab

START = datetime(2026, 1, 1, tzinfo=UTC)


def hours(expr: str) -> list[int]:
    """Return the hours of the first day on which *expr* fires."""
    fires = crontab(expr).upcoming(START, 24)
    return [fire.hour for fire in fires if fire.date() == fires[0].date()]


def days(schedule: Schedule, n: int, start: datetime = START) -> list[str]:
    return [f"{fire:%m-%d}" for fire in schedule.upcoming(start, n)]


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        ("5", [5]),
        ("5-5", [5]),  # Trap 1: croniter takes it for the whole field.
        ("5-8", [5, 6, 7, 8]),
        ("*/7", [0, 7, 14, 21]),
        ("5-20/6", [5, 11, 17]),
        ("20/2", [20, 22]),
        ("22-4/3", [1, 4, 22]),  # Trap 1: croniter answers 22 and 2.
        ("22-1", [0, 1, 22, 23]),
        ("1,3,1", [1, 3]),
        ("0/30", [0]),
        ("007", [7]),
    ],
)
def test_values_ranges_and_steps(field: str, expected: list[int]) -> None:
    assert expected == hours(f"0 {field} 2 * *")


@pytest.mark.parametrize(
    ("expr", "expected"),
    [
        ("0 0 L * *", ["01-31", "02-28", "03-31"]),
        ("0 0 LW * *", ["01-30", "02-27", "03-31"]),
        ("0 0 15W * *", ["01-15", "02-16", "03-16"]),  # 15 February and 15 March 2026 are Sundays.
        ("0 0 1W * *", ["01-01", "02-02", "03-02"]),
        ("0 0 1W 8 *", ["08-03"]),  # A Saturday: the Friday before it is in July.
        ("0 0 31W 5 *", ["05-29"]),  # A Sunday: the Monday after it is in June.
        ("0 0 31W * *", ["01-30", "03-31", "05-29"]),  # No 31st, no fire.
        ("0 0 * * fri#2", ["01-09", "02-13", "03-13"]),
        ("0 0 * * 5L", ["01-30", "02-27", "03-27"]),
        ("0 0 * * 5L", ["01-30", "02-27", "03-27", "04-24", "05-29", "06-26", "07-31", "08-28"]),
        ("0 0 * * friL", ["01-30", "02-27", "03-27"]),
        ("0 0 * * 0#5", ["03-29", "05-31", "08-30"]),
        ("0 0 * * 7", ["01-04", "01-11", "01-18"]),
        ("0 0 * * 6-7", ["01-03", "01-04", "01-10"]),
        ("0 0 * * 7-1", ["01-04", "01-05", "01-11"]),
        ("0 0 * * SAT-mon", ["01-03", "01-04", "01-05"]),
        ("0 0 * * */2", ["01-01", "01-03", "01-04"]),
        ("0 0 1 FEB,oct *", ["02-01", "10-01", "02-01"]),
        ("0 0 1 nov-feb *", ["01-01", "02-01", "11-01"]),
        ("0 0 ? * mon", ["01-05", "01-12", "01-19"]),
        ("0 0 28-2 2 *", ["02-01", "02-02", "02-28"]),
        ("0 0 29 2 *", ["02-29", "02-29", "02-29"]),
        # Trap 1: croniter drops the 13th, refuses the next, and reads the third as OR.
        ("0 0 13 * 5#2", ["01-09", "01-13", "02-13"]),
        ("0 0 31 2 1", ["02-02", "02-09", "02-16"]),
        ("0 0 */2 * 1", ["01-05", "01-19", "02-09"]),
    ],
)
def test_days(expr: str, expected: list[str]) -> None:
    assert expected == days(crontab(expr), len(expected), datetime(2025, 12, 31, tzinfo=UTC))


def test_day_fields_are_either_or_unless_one_starts_with_a_star() -> None:
    assert days(crontab("0 0 2,13 * 1"), 4) == ["01-02", "01-05", "01-12", "01-13"]
    assert days(crontab("0 0 13 * 1", day_match="and"), 2) == ["04-13", "07-13"]
    assert days(crontab(minute=0, hour=0, day_of_month=13, day_of_week=1), 2) == ["04-13", "07-13"]


@pytest.mark.parametrize(
    ("alias", "expr"),
    [
        ("@yearly", "0 0 1 1 *"),
        ("@annually", "0 0 1 1 *"),
        ("@monthly", "0 0 1 * *"),
        ("@weekly", "0 0 * * 0"),
        ("@daily", "0 0 * * *"),
        ("@midnight", "0 0 * * *"),
        ("@hourly", "0 * * * *"),
    ],
)
def test_aliases(alias: str, expr: str) -> None:
    assert crontab(expr) == crontab(alias)
    assert expr == crontab(f"  {alias.upper()}\t").text


def test_six_fields_put_the_second_first() -> None:
    fires = crontab("*/20 30 9 * * *").upcoming(START, 4)
    assert [f"{fire:%H:%M:%S}" for fire in fires] == ["09:30:00", "09:30:20", "09:30:40", "09:30:00"]


@pytest.mark.parametrize(
    ("keywords", "expr"),
    [
        ({}, "* * * * *"),
        ({"minute": 0}, "0 * * * *"),
        ({"minute": "*/5", "hour": 9, "day_of_week": "mon-fri"}, "*/5 9 * * mon-fri"),
        ({"minute": [0, 30], "hour": (9, 10)}, "0,30 9,10 * * *"),
        ({"minute": {30, 0, 5}}, "0,5,30 * * * *"),
        ({"minute": 0, "hour": range(0, 24, 6)}, "0 0,6,12,18 * * *"),
        ({"minute": 0, "hour": ["1-3", 5]}, "0 1-3,5 * * *"),
        ({"minute": 0, "hour": 0, "day_of_week": "Sunday, tuesday", "month_of_year": "May"}, "0 0 * may sun,tue"),
        ({"minute": 0, "hour": 0, "day_of_month": "1,15"}, "0 0 1,15 * *"),
    ],
)
def test_keywords_of_celery(keywords: dict[str, object], expr: str) -> None:
    assert expr == crontab(**keywords).text
    assert crontab(expr) == crontab(**keywords)


class TestHashed:
    """`H` spreads entries over a field by their names, and needs one."""

    def test_it_is_the_same_for_the_same_name_and_spread_over_others(self) -> None:
        schedule = crontab("H H * * *")
        assert schedule.for_entry("a") == schedule.for_entry("a")
        minutes = {schedule.for_entry(f"job-{n}").text.split()[0] for n in range(400)}
        assert len(minutes) > 50

    def test_fields_are_independent(self) -> None:
        texts = [crontab("H H * * *").for_entry(f"job-{n}").text.split() for n in range(2000)]
        of_hour_zero = {minute for minute, hour, *_ in texts if hour == "0"}
        assert len(of_hour_zero) > 30

    def test_bounds_and_steps(self) -> None:
        for n in range(100):
            minute, hour, day, _, weekday = crontab("H/15 H(9-17) H * H").for_entry(f"job-{n}").text.split()
            start, rest = minute.split("-")
            assert int(start) < 15
            assert rest == "59/15"
            assert 9 <= int(hour) <= 17
            assert 1 <= int(day) <= 28
            assert 0 <= int(weekday) <= 6

    def test_it_is_not_a_wildcard(self) -> None:
        """`H 1 * * *` is one time of day, and so runs once in a repeated hour."""
        schedule = crontab("H 1 * * *", tz="America/New_York").for_entry("x")
        fires = schedule.upcoming(datetime(2026, 11, 1, 4, tzinfo=UTC), 2)
        assert [fire.day for fire in fires] == [1, 2]

    def test_for_entry_leaves_other_schedules_alone(self) -> None:
        schedule = crontab("0 0 * * *")
        assert schedule.for_entry("x") is schedule

    def test_what_a_name_leads_to_is_refused_where_it_never_fires(self) -> None:
        schedule = crontab("0 0 30 H(2-2) *")
        with pytest.raises(InvalidScheduleError, match="for the entry 'a': day-of-month '30', month '2'"):
            schedule.for_entry("a")

    def test_without_a_name_it_cannot_be_computed(self) -> None:
        schedule = crontab("H 0 * * *")
        for ask in (schedule.next, schedule.previous):
            with pytest.raises(InvalidScheduleError, match="H is hashed from an entry's name"):
                ask(START)


@pytest.mark.parametrize(
    ("expr", "expected"),
    [
        ("0 0 * * *", ()),
        ("*/90 * * * *", ("minute '*/90': step 90 is larger than the range; one value matches",)),
        (
            "0 0 13 * 5",
            (
                "day-of-month 13 and day-of-week 5 are both restricted: "
                "a day that matches either of them fires; day_match='and' asks for both",
            ),
        ),
        (
            "0 9 * * 1-5 0",
            (
                "six fields put the second first; this looks like croniter's order with the second last, "
                "which would be '0 0 9 * * 1-5'",
            ),
        ),
        ("*/10 * * * * *", ()),
        ("0 30 9 * * 1-5", ()),
    ],
)
def test_warnings(expr: str, expected: tuple[str, ...]) -> None:
    assert expected == crontab(expr).warnings()


@pytest.mark.parametrize(
    ("expr", "words"),
    [
        ("10 9 * * 1-5", "At 09:10, Monday through Friday"),
        ("0 0 13 * fri", "At 00:00, on day 13 of the month, or on Friday"),
        ("H H * * *", "H H * * *"),
        ("*/90 * * * *", "*/90 * * * *"),
    ],
)
def test_words(expr: str, words: str) -> None:
    assert words == crontab(expr).words()


def test_words_of_both_day_fields() -> None:
    schedule = crontab("0 0 13 * fri", day_match="and")
    assert schedule.words() == "At 00:00, on day 13 of the month, and only on Friday"
