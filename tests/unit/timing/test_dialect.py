"""``dialect="croniter"``: croniter's own reading, under our daylight-saving rule."""

from __future__ import annotations

import json
import random
import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from croniter import CroniterBadDateError, croniter

from scheduler.errors import InvalidScheduleError
from scheduler.timing import Schedule, crontab, schedule_from_data

NOW = datetime(2026, 11, 21, 7, 0, tzinfo=UTC)
NEW_YORK = "America/New_York"

EXPRESSIONS = [
    "* * * * *",
    "*/7 3-5 * * *",
    "0 9 * * 1-5",
    "0 9 * * mon-fri 30",
    "* * * * * */20",
    "0 0 l * *",
    "0 0 * * l5",
    "0 0 15w * *",
    "0 12 * * 2#1",
    "0 0 */2 * 1",
    "5-5 4 * * *",
    "0 22-4/3 * * *",
    "0 0 29 2 *",
    "30 6 1 */3 *",
    "0 0 1 1 * 0 2026-2030",
    "@weekly",
    "59/15 * * * *",
]


def dialect(expr: Any, **options: Any) -> Schedule:
    """A crontab as croniter reads it."""
    return crontab(expr, dialect="croniter", **options)


@pytest.mark.parametrize("expr", EXPRESSIONS)
@pytest.mark.parametrize("day_match", [None, "and", "vixie"])
def test_reads_as_croniter_does(expr: str, day_match: str | None) -> None:
    """In UTC, where no clock is changed, every fire is croniter's, forwards and backwards."""
    schedule = dialect(expr, day_match=day_match)
    options = {None: {}, "and": {"day_or": False}, "vixie": {"implement_cron_bug": True}}[day_match]
    peer = croniter(expr, NOW, **options)
    expected: list[datetime] = []
    with suppress(CroniterBadDateError):
        expected.extend(peer.get_next(datetime) for _ in range(20))
    assert expected
    assert expected == schedule.upcoming(NOW, 20)
    for earlier, later in pairwise(expected):
        assert earlier == schedule.previous(later)


def test_changes_of_clocks_follow_our_rule() -> None:
    """Where croniter fires twice, or at a time that the expression does not name (trap 1)."""
    fixed = dialect("30 1 * * *", tz=NEW_YORK)
    fall = datetime(2026, 11, 1, tzinfo=UTC)
    assert [datetime(2026, 11, 1, 5, 30, tzinfo=UTC), datetime(2026, 11, 2, 6, 30, tzinfo=UTC)] == fixed.upcoming(
        fall, 2
    )
    both = dialect("30 1 * * *", tz=NEW_YORK, fold="both")
    assert [datetime(2026, 11, 1, hour, 30, tzinfo=UTC) for hour in (5, 6)] == both.upcoming(fall, 2)
    spring = datetime(2026, 3, 8, 6, 45, tzinfo=UTC)
    assert datetime(2026, 3, 8, 7, 0, tzinfo=UTC) == dialect("30 2 * * *", tz=NEW_YORK).next(spring)
    assert datetime(2026, 3, 9, 6, 30, tzinfo=UTC) == dialect("30 2 * * *", tz=NEW_YORK, gap="skip").next(spring)
    assert datetime(2026, 3, 9, 6, 0, tzinfo=UTC) == dialect("*/10 2 * * *", tz=NEW_YORK).next(spring)


@pytest.mark.parametrize(
    "zone", [NEW_YORK, "Australia/Lord_Howe", "Europe/Dublin", "Africa/Casablanca", "Pacific/Apia"]
)
@pytest.mark.parametrize("expr", ["30 1 * * *", "*/30 * * * *", "15,45 0-3 * * *", "0 2 * * 0"])
def test_common_expressions_mean_the_same_in_both_dialects(expr: str, zone: str) -> None:
    """For a year, changes of clocks and all: the rule on top is one and the same."""
    ours, theirs = crontab(expr, tz=zone), dialect(expr, tz=zone)
    at = datetime(2026, 1, 1, tzinfo=UTC)
    for _ in range(800):
        expected = ours.next(at)
        assert expected == theirs.next(at)
        assert expected is not None
        assert ours.previous(expected) == theirs.previous(expected)
        at = expected


def test_weekday_or_a_day_that_never_comes() -> None:
    """croniter 7 fires on Mondays; earlier ones refused it (trap 1). With both it never fires."""
    assert datetime(2027, 2, 1, tzinfo=UTC) == dialect("0 0 31 2 1").next(NOW)
    with pytest.raises(InvalidScheduleError, match="never fires"):
        dialect("0 0 31 2 1", day_match="and")


def test_drawn_fields_are_drawn_by_the_entrys_name() -> None:
    """croniter draws R anew in each process; two beats would never agree on a fire."""
    schedule = dialect("R R(0-3) * * *")
    assert schedule.for_entry("a") == schedule.for_entry("a")
    names = [f"entry-{n}" for n in range(50)]
    assert len({schedule.for_entry(name) for name in names}) > 25
    assert dialect("H H * * *").for_entry("a") != dialect("R R * * *").for_entry("a")
    assert croniter("H H(0-3) H/10 * *", NOW, hash_id="a").get_next(datetime) == dialect("H H(0-3) H/10 * *").for_entry(
        "a"
    ).next(NOW)
    with pytest.raises(InvalidScheduleError, match="H and R are drawn by an entry's name"):
        schedule.next(NOW)


@pytest.mark.parametrize(
    ("expr", "told"),
    [
        (None, "the expression is None"),
        (5, "the expression is 5"),
        ("", "0 characters are outside 1–1024"),
        ("* * *", "3 fields; croniter reads five fields"),
        ("0," * 1_000_000, "2000000 characters are outside"),
        ("\u0661 * * * *", "outside printable ASCII"),
        ("0\u00a00 * * * *", "outside printable ASCII"),
        ("99999 * * * *", "a number of more than 4 digits"),
        ("*/99999999999999999 * * * *", "a number of more than 4 digits"),
        ("61 * * * *", "croniter cannot read it: out of range"),
        ("0 0 30 2 *", "it never fires, as croniter reads it"),
        ("0 0 * * 1#9", "Invalid day_of_week value: '9'"),
        ("a b c d e", "letters or signs where a number"),
        ("@reboot", "croniter cannot read it"),
        ("R(0-99) * * * *", "out of range"),
    ],
)
def test_what_cannot_be_read_is_refused_at_once(expr: Any, told: str) -> None:
    """One class of error, naming the expression, in some milliseconds however long it is (trap 1)."""
    dialect("* * * * *")
    began = time.process_time()
    with pytest.raises(InvalidScheduleError, match=told) as caught:
        dialect(expr)
    assert time.process_time() - began < 0.05
    assert len(str(caught.value)) < 400


def test_any_text_is_read_or_refused() -> None:
    """No input raises anything else, and whatever is read answers."""
    draw = random.Random(7)
    for _ in range(3_000):
        count = draw.choice([5, 5, 5, 6, 7])
        expr = " ".join("".join(draw.choices("0123579*,-/#lwhr?() ", k=draw.randint(1, 4))) for _ in range(count))
        try:
            schedule = dialect(expr).for_entry("x")
        except InvalidScheduleError:
            continue
        found = schedule.next(NOW)
        assert found is None or found > NOW


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"minute": 5}, "keywords have no dialect"),
        ({"gap": "odd"}, "gap is 'odd'"),
        ({"dialect": "quartz"}, "dialect is 'quartz'; known: 'croniter'"),
    ],
)
def test_options_are_looked_at(options: dict[str, Any], told: str) -> None:
    """As without a dialect."""
    with pytest.raises(InvalidScheduleError, match=told):
        crontab("0 9 * * *", **{"dialect": "croniter", **options})


@pytest.mark.parametrize("expr", [*EXPRESSIONS, "R H/15 * * *"])
def test_travels_as_data_and_compares_by_meaning(expr: str) -> None:
    """The leader builds it again, with the dialect it was declared in."""
    schedule = dialect(expr, fold="both", day_match="and").in_zone(NEW_YORK)
    assert schedule == schedule_from_data(json.loads(json.dumps(schedule.as_data())))
    assert schedule != dialect(expr, tz="UTC")
    assert schedule == eval(repr(schedule), {"crontab": crontab})


def test_is_over_where_the_calendar_is() -> None:
    """Years run to 9999, and a year field may end sooner."""
    assert dialect("0 0 1 1 *").next(datetime(9999, 1, 1, tzinfo=UTC)) is None
    assert dialect("0 0 1 1 *").previous(datetime(1, 1, 1, tzinfo=UTC)) is None
    assert dialect("0 0 1 1 * 0 2020").next(NOW) is None
    assert datetime(2020, 1, 1, tzinfo=UTC) == dialect("0 0 1 1 * 0 2020").previous(NOW)


@pytest.mark.parametrize("expr", [*EXPRESSIONS, "0 0 29 2 1#5"])
def test_no_answer_takes_long(expr: str) -> None:
    """A planner asks it within a tick."""
    schedule = dialect(expr, tz=NEW_YORK)
    for year in (1970, 2026, 2900):
        for month in (1, 4, 11):
            at = datetime(year, month, 8, tzinfo=UTC) + timedelta(hours=6)
            began = time.process_time()
            schedule.next(at)
            schedule.previous(at)
            assert time.process_time() - began < 0.1
