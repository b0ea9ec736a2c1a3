"""How croniter and Celery would read an expression."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from scheduler import crontab
from scheduler.clock import from_ms, to_ms
from scheduler.errors import InvalidScheduleError
from scheduler.foresee.peers import PEER_CHARS_MAX, _CeleryModel, readings
from scheduler.timing.zones import get_zone

NOW_MS = to_ms(datetime(2026, 1, 1, tzinfo=UTC))


@pytest.mark.parametrize(
    ("expr", "zone", "start", "fires"),
    [
        ("30 2 * * *", "Europe/Berlin", "2026-03-28T12:00", ["03-29 01:30", "03-30 00:30", "03-31 00:30"]),
        ("0 * * * *", "America/New_York", "2026-11-01T04:30", ["11-01 05:00", "11-01 07:00", "11-01 08:00"]),
        (
            "*/30 1 * * *",
            "America/New_York",
            "2026-11-01T04:30",
            ["11-01 05:00", "11-01 05:30", "11-02 06:00", "11-02 06:30"],
        ),
        ("*/15 2 * * *", "Europe/Berlin", "2026-03-29T00:30", ["03-29 01:00", "03-30 00:00", "03-30 00:15"]),
        ("0 0 13 * 5", "UTC", "2026-01-01T00:00", ["02-13 00:00", "03-13 00:00", "11-13 00:00"]),
        ("0 22-4/3 * * *", "UTC", "2026-01-01T00:00", ["01-01 01:00", "01-01 04:00", "01-01 22:00", "01-02 01:00"]),
        ("30 1 * * *", "Australia/Lord_Howe", "2026-04-03T20:00", ["04-04 14:30", "04-05 15:00", "04-06 15:00"]),
        ("0 0 * * fri-mon", "UTC", "2026-01-03T00:00", ["01-04 00:00", "01-05 00:00", "01-09 00:00"]),
    ],
)
def test_celerys_rules_are_modelled_as_celery_has_them(expr: str, zone: str, start: str, fires: list[str]) -> None:
    """
    These are the answers of celery 5.7.0 itself (`crontab.remaining_estimate`, asked again from its last fire). The model was compared
    with it once over 2,593 expressions in seven zones, many around changes of the clock, 30 to 40 fires each, without a difference.
    """
    model = _CeleryModel(expr, get_zone(zone))
    at_ms, found = to_ms(datetime.fromisoformat(start).replace(tzinfo=UTC)), []
    for _ in fires:
        next_ms = model.next_ms(at_ms)
        assert next_ms is not None
        at_ms = next_ms
        found.append(f"{from_ms(at_ms):%m-%d %H:%M}")
    assert found == fires


def test_within_the_second_pass_celery_is_due_at_once() -> None:
    """Asked at 01:05 EST, celery 5.7.0 names 01:30 EDT, which lies 35 minutes behind, and so is due."""
    after_ms = to_ms(datetime(2026, 11, 1, 6, 5, tzinfo=UTC))
    assert _CeleryModel("*/30 * * * *", get_zone("America/New_York")).next_ms(after_ms) == after_ms + 1


@pytest.mark.parametrize(
    ("expr", "why"),
    [
        ("0 0 L * *", "it cannot read day_of_month 'L'"),
        ("0 0 * * 7", "it cannot read day_of_week '7'"),
        ("0 0 * * 5-7", "it cannot read day_of_week '5-7'"),
        ("5/15 * * * *", "it cannot read minute '5/15'"),
        ("@daily", "it takes five fields"),
        ("0 0 * * * *", "it takes five fields, one blank between them, and here are 6"),
        ("0 0 31 2 1", "a day has to match both day fields, and none ever does"),
        ("0 0 ? * 1", "it cannot read day_of_month '?'"),
        ("*/0 * * * *", "it cannot read minute '*/0'"),
    ],
)
def test_what_celery_refuses_is_refused(expr: str, why: str) -> None:
    """As celery 5.7.0 refuses each of these with a ValueError or ParseException."""
    with pytest.raises(InvalidScheduleError) as caught:
        _CeleryModel(expr, get_zone("UTC"))
    assert why in str(caught.value)


@pytest.mark.parametrize(
    ("expr", "zone", "croniter", "celery"),
    [
        ("0 9 * * mon-fri", "Asia/Shanghai", None, None),
        ("30 1 * * *", "America/New_York", ("2026-11-01T06:30", False), None),
        ("30 2 * * *", "Europe/Berlin", ("2026-10-25T01:30", False), ("2026-03-29T01:00", True)),
        ("0 * * * *", "America/New_York", None, ("2026-11-01T06:00", True)),
        ("0 0 13 * 5", "UTC", None, ("2026-01-02T00:00", True)),
        ("0 0 */2 * 1", "UTC", ("2026-01-03T00:00", False), None),
        ("5-5 * * * *", "UTC", ("2026-01-01T00:01", False), None),
        ("0 22-4/3 * * *", "UTC", ("2026-01-01T01:00", True), None),
    ],
)
def test_the_first_difference_is_found(
    expr: str, zone: str, croniter: tuple[str, bool] | None, celery: tuple[str, bool] | None
) -> None:
    """Traps of docs and trackers, each shown by the first moment at which one fires and the other does not."""
    found = readings(expr, crontab(expr, tz=zone), NOW_MS)
    for reading, expected in zip(found, (croniter, celery), strict=True):
        assert reading.refusal == ""
        difference = reading.difference
        shown = None if difference is None else (f"{from_ms(difference.at_ms):%Y-%m-%dT%H:%M}", difference.we_fire)
        assert shown == expected, reading.name


def test_six_fields_have_their_seconds_elsewhere() -> None:
    """croniter puts the second last: the commonest slip of all that come from there."""
    croniter, celery = readings("*/5 * * * * *", crontab("*/5 * * * * *", tz="UTC"), NOW_MS)
    assert croniter.difference is not None
    assert croniter.difference.at_ms == NOW_MS + 1000
    assert "five fields" in celery.refusal


def test_a_peer_that_fails_refuses_and_a_long_expression_is_kept_from_it() -> None:
    """croniter takes seconds for long input, and raises whatever comes."""
    croniter, _ = readings("0 0 * * 5L", crontab("0 0 * * 5L", tz="UTC"), NOW_MS)
    assert croniter.refusal.startswith("CroniterNotAlphaError: ")
    long = ",".join(str(n % 60) for n in range(90)) + " * * * *"
    assert len(long) > PEER_CHARS_MAX
    assert {reading.refusal for reading in readings(long, crontab(long, tz="UTC"), NOW_MS)} == {
        "not asked: it has more than 200 characters"
    }
