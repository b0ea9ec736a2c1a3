"""`docs/schedules.md`: its examples are true."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

import pytest
from apscheduler.triggers.interval import IntervalTrigger

from scheduler.timing import Schedule, between, crontab, every, holidays, once, rrule, sun
from scheduler.timing.settling import Patience, Settling
from scheduler.timing.zones import get_zone

PAGE = (Path(__file__).parents[3] / "docs" / "schedules.md").read_text(encoding="utf-8")
AFTER = datetime(2026, 11, 21, 8, tzinfo=UTC)
NAMES = {
    "IntervalTrigger": IntervalTrigger,
    "between": between,
    "crontab": crontab,
    "every": every,
    "holidays": holidays,
    "once": once,
    "rrule": rrule,
    "sun": sun,
}

EXAMPLES = re.findall(r"^(\w.*)\n# (.*)\n# (.*)$", PAGE, re.MULTILINE)


@pytest.mark.parametrize(("text", "words", "fires"), EXAMPLES, ids=[text for text, _, _ in EXAMPLES])
def test_example(text: str, words: str, fires: str) -> None:
    schedule = eval(text, NAMES)
    assert isinstance(schedule, Schedule)
    # As a load does with what exists only as an object.
    schedule = schedule.settled(Settling(int(AFTER.timestamp()) * 1000, Patience(), []))
    assert schedule.words() == words
    zone = get_zone(schedule.zone or "UTC")
    assert ", ".join(f"{fire.astimezone(zone):%a %d %b %H:%M}" for fire in schedule.upcoming(AFTER, 4)) == fires


def test_the_page_has_examples() -> None:
    assert len(EXAMPLES) == 12


def test_what_it_says_of_weekends() -> None:
    minutes = every("30s") - crontab("* * * * 6,0")
    days = every("30s") - between("00:00", "24:00", days="sat,sun")
    assert minutes.next(AFTER) == AFTER.replace(second=30)
    assert days.next(AFTER) == datetime(2026, 11, 23, tzinfo=UTC)
