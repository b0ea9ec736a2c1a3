"""`once`: one moment, and what becomes of it when it has passed."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from scheduler.errors import InvalidScheduleError
from scheduler.timing import once

NEW_YORK = "America/New_York"
NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)


def ms(moment: datetime) -> int:
    return int(moment.timestamp()) * 1000


def test_it_fires_once() -> None:
    schedule = once(NOON)
    assert schedule.next(NOON - timedelta(days=400)) == NOON
    assert schedule.next(NOON) is None
    assert schedule.previous(NOON) is None
    assert schedule.previous(NOON + timedelta(milliseconds=1)) == NOON
    assert schedule.upcoming(NOON - timedelta(days=1), 5) == [NOON]


@pytest.mark.parametrize(
    ("moment", "expected"),
    [
        (datetime(2026, 6, 1, 8), NOON),
        ("2026-06-01T08:00", NOON),
        ("2026-06-01T14:00+02:00", NOON),
        (datetime(2026, 6, 1, 14, tzinfo=ZoneInfo("Europe/Berlin")), NOON),
        (date(2026, 6, 1), datetime(2026, 6, 1, 4, tzinfo=UTC)),
        # Daylight saving: right after the gap; the first of two.
        ("2026-03-08T02:30", datetime(2026, 3, 8, 7, tzinfo=UTC)),
        ("2026-11-01T01:30", datetime(2026, 11, 1, 5, 30, tzinfo=UTC)),
        (datetime(2026, 11, 1, 1, 30, fold=1, tzinfo=ZoneInfo(NEW_YORK)), datetime(2026, 11, 1, 6, 30, tzinfo=UTC)),
    ],
)
def test_a_naive_moment_is_local_and_an_aware_one_is_not(moment: Any, expected: datetime) -> None:
    assert once(moment, tz=NEW_YORK).next(expected - timedelta(days=3)) == expected


def test_what_daylight_saving_does_to_it_is_told() -> None:
    assert once("2026-03-08T02:30", tz=NEW_YORK).warnings() == (
        "2026-03-08T02:30:00 does not exist in America/New_York: clocks skip it, and it runs right after",
    )
    assert once("2026-11-01T01:30", tz=NEW_YORK).warnings() == (
        "2026-11-01T01:30:00 comes twice in America/New_York, as clocks are put back; the first is meant",
    )
    assert once("2026-11-01T02:30", tz=NEW_YORK).warnings() == ()
    assert once("2026-03-08T02:30").warnings() == ()


@pytest.mark.parametrize(
    ("moment", "message"),
    [
        (None, "once: moment is None; give a datetime, a date, or ISO text of one"),
        (1_780_000_000, "once: moment is 1780000000; give a datetime"),
        ("tomorrow", "once: moment 'tomorrow' is no ISO date or datetime, such as 2026-01-31T09:00"),
        ("2026-02-30T09:00", "once: moment '2026-02-30T09:00' is no ISO date"),
        (datetime.max.replace(tzinfo=ZoneInfo(NEW_YORK)), "once: moment 9999-12-31 23:59:59.999999"),
    ],
)
def test_refused(moment: Any, message: str) -> None:
    with pytest.raises(InvalidScheduleError) as caught:
        once(moment)
    assert str(caught.value).startswith(message)


def test_a_new_entry_counts_from_before_a_moment_that_has_just_passed() -> None:
    """So the entry's catch-up policy decides about it; one that lies farther back than the window stays silent."""
    day_ms, now_ms = 86_400_000, ms(NOON)
    assert once(NOON - timedelta(minutes=5)).first_mark_ms(now_ms, day_ms) == now_ms - 300_001
    assert once(NOON).first_mark_ms(now_ms, day_ms) == now_ms - 1
    assert once(NOON - timedelta(days=2)).first_mark_ms(now_ms, day_ms) == now_ms
    assert once(NOON + timedelta(days=2)).first_mark_ms(now_ms, day_ms) == now_ms
