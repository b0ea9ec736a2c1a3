"""Random rules, crontabs and periods, nested at random: next and previous agree, and no answer takes long."""

from __future__ import annotations

import random
import time
from typing import Any

import pytest

from scheduler.errors import InvalidScheduleError
from scheduler.timing import Schedule, Window, between, crontab, every, rrule

ZONES = ("UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Africa/Casablanca", "Asia/Kathmandu")
CRONTABS = ("* * * * *", "30 2 * * *", "0 0 29 2 *", "0 9 * * 1-5", "*/7 1-3 13 * *", "* * * * * *", "*/20 * * * 6,0")
PERIODS = ("1s", "7s", "100ms", "7m", "1h", "36h", "13d")
FREQUENCIES = ("YEARLY", "MONTHLY", "WEEKLY", "DAILY", "HOURLY", "MINUTELY", "SECONDLY")
PARTS: dict[str, tuple[Any, ...]] = {
    "INTERVAL": (2, 3, 7, 13, 97),
    "BYMONTH": (2, 3, 12),
    "BYDAY": ("MO", "SA,SU", "FR"),
    "BYHOUR": ("2", "3,4", "23"),
    "BYMINUTE": ("0", "30", "1,59"),
    "BYSECOND": ("0", "30"),
    "BYSETPOS": ("1", "-1", "2,-2"),
    "COUNT": (1, 10, 1000),
}
MOMENTS_MS = (0, 10**12, 1_793_000_000_000, 10**13, 10**14, -(10**13), 2 * 10**14)


class Maker:
    """Makes schedules, the same ones for the same seed."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def zone(self) -> str:
        return self.random.choice(ZONES)

    def leaf(self) -> Schedule:
        pick = self.random.choice
        kind = pick(("rrule", "crontab", "every", "days", "months"))
        if kind == "rrule":
            chosen = {name: pick(values) for name, values in PARTS.items() if self.random.random() < 0.3}
            text = ";".join([f"FREQ={pick(FREQUENCIES)}", *(f"{name}={value}" for name, value in chosen.items())])
            return rrule(text, start=pick(("1990-01-01T02:30", "2026-03-08", "2024-02-29T03:00")), tz=self.zone())
        if kind == "crontab":
            return crontab(pick(CRONTABS), tz=self.zone())
        if kind == "every":
            return every(pick(PERIODS), tz=self.zone())
        if kind == "days":
            return every(days=pick((1, 3)), at="02:30", tz=self.zone())
        return every(months=pick((1, 7)), anchor="2026-01-31", month_end=pick(("clamp", "skip")), tz=self.zone())

    def window(self) -> Window:
        made: Window = self.random.choice(
            (
                between("09:00", "17:30", tz=self.zone()),
                between("22:00", "06:00", days="sat", tz=self.zone()),
                between("2026-12-01", "2026-12-31", tz=self.zone()),
                between("02:00", "02:30", tz=self.zone()) - between("2027-01-01", "2030-01-01", tz=self.zone()),
            )
        )
        return made

    def schedule(self, depth: int) -> Schedule:
        if depth == 0:
            return self.leaf()
        one, mark = self.schedule(depth - 1), self.random.choice(("|", "&", "-", "&w", "-w"))
        if mark.endswith("w"):
            return one & self.window() if mark == "&w" else one - self.window()
        other = self.schedule(self.random.choice((0, depth - 1)))
        return one | other if mark == "|" else one & other if mark == "&" else one - other


@pytest.mark.parametrize(
    ("seed", "count"), [(1, 120), *(pytest.param(seed, 1500, marks=pytest.mark.long) for seed in range(2, 6))]
)
def test_answers_agree_and_come_soon(seed: int, count: int) -> None:
    """Promised: 50 ms of a quiet machine for any answer, however schedules are nested."""
    maker, worst_s, asked = Maker(seed), 0.0, 0
    for _ in range(count):
        try:
            schedule = maker.schedule(maker.random.choice((0, 1, 2, 3)))
        except InvalidScheduleError:
            continue
        asked += 1
        for at_ms in maker.random.sample(MOMENTS_MS, 3):
            started_s = time.process_time()
            later_ms = schedule.next_ms(at_ms)
            between_s = time.process_time()
            earlier_ms = schedule.previous_ms(at_ms)
            worst_s = max(worst_s, between_s - started_s, time.process_time() - between_s)
            if later_ms is not None:
                assert later_ms > at_ms
                assert schedule.previous_ms(later_ms + 1) == later_ms, repr(schedule)
            if earlier_ms is not None:
                assert earlier_ms < at_ms
                assert schedule.next_ms(earlier_ms - 1) == earlier_ms, repr(schedule)
    assert asked > count // 2
    assert worst_s < 0.2
