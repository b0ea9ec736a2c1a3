"""Bounds on the cost of one answer, generous enough for a busy machine; `benchmarks/bench_timing.py` has the figures."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

from scheduler.timing import Schedule, between, crontab, every, rrule

NEW_YORK = "America/New_York"
START_MS = 1_793_000_000_000

TYPICAL = [
    crontab("10 9 * * 1-5", tz="Asia/Shanghai"),
    crontab("*/5 * * * *"),
    crontab("30 2 * * *", tz=NEW_YORK),
    crontab("*/10 * * * * *"),
    crontab("0 0 L * *", tz=NEW_YORK),
    every("30s"),
    every(days=1, at="09:00", tz=NEW_YORK),
    every(months=1, anchor="2026-01-31", tz=NEW_YORK),
]
RARE = [
    crontab("0 9 * * *", tz=NEW_YORK) | crontab("0 18 * * 6", tz=NEW_YORK),
    every("15m", tz=NEW_YORK) & between("09:00", "17:30", days="mon-fri"),
    crontab("0 9 * * *", tz=NEW_YORK) - crontab("0 9 * * 6,0", tz=NEW_YORK),
    rrule("FREQ=MONTHLY;BYDAY=-1FR;BYHOUR=17", tz=NEW_YORK),
    rrule("FREQ=MINUTELY;INTERVAL=5", tz=NEW_YORK),
    rrule("FREQ=MONTHLY;BYDAY=MO,TU,WE,TH,FR;BYSETPOS=-1", tz=NEW_YORK),
    rrule("FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=29;BYDAY=MO", tz=NEW_YORK),
    crontab("0 0 13 * *", tz=NEW_YORK) & crontab("0 0 * * fri", tz=NEW_YORK),
    crontab("0 0 29 2 mon", day_match="and", tz=NEW_YORK),
    crontab("59 59 23 29 2 sun#5", day_match="and", tz="Europe/Berlin"),
    crontab("30 2 29 2 *", tz=NEW_YORK),
    every(years=1, anchor="2024-02-29", month_end="skip"),
]
WORST = [
    crontab("* 2 8-14 3 0", day_match="and", tz=NEW_YORK),  # Always in the gap.
    crontab("* 2 10 3 *", tz=NEW_YORK),
    every(years=1, anchor="2026-03-08T02:30", gap="skip", tz=NEW_YORK),
    every(days=3_000_000),
    every(months=100_000, month_end="skip"),
    crontab("0 0 29 2 *", tz="Africa/Casablanca"),
]


def fastest_us(schedule: Schedule, at_ms: int, calls: int) -> float:
    """Return the fastest of three series, in microseconds a call, next and previous together."""
    best_s = 1e9
    for _ in range(3):
        started_s = time.perf_counter()
        for _ in range(calls):
            schedule.next_ms(at_ms)
            schedule.previous_ms(at_ms)
        best_s = min(best_s, time.perf_counter() - started_s)
    return best_s / calls / 2 * 1e6


@pytest.mark.parametrize("schedule", TYPICAL, ids=repr)
def test_typical_answers_take_microseconds(schedule: Schedule) -> None:
    """Promised: at most 5 µs."""
    assert fastest_us(schedule, START_MS, 300) < 15


@pytest.mark.parametrize("schedule", RARE, ids=repr)
def test_rare_answers_take_hardly_more(schedule: Schedule) -> None:
    """Promised: at most 20 µs, were it in 40 years."""
    assert fastest_us(schedule, START_MS, 100) < 60


@pytest.mark.parametrize("schedule", [*TYPICAL, *RARE, *WORST], ids=repr)
@pytest.mark.parametrize("at_ms", [START_MS, -50_000_000_000_000, 10**14, 253_402_300_799_000])
def test_no_answer_takes_long(schedule: Schedule, at_ms: int) -> None:
    """Promised: never over 50 ms, not even where nothing can be found."""
    assert fastest_us(schedule, at_ms, 1) < 50_000


def test_a_search_that_cannot_succeed_ends_after_one_turn_of_the_calendar() -> None:
    """And not in the year 9999, which would take twenty times as long."""
    assert fastest_us(WORST[0], START_MS, 1) < 5_000


def test_declaring_is_cheap() -> None:
    """Ten thousand entries are declared in seconds at the most; 400 different ones stand for them."""
    started_s = time.perf_counter()
    for n in range(400):
        crontab(f"{n % 60} {n % 24} {n % 28 + 1} * {n % 7}", tz=NEW_YORK)
    assert time.perf_counter() - started_s < 0.4


def test_importing_does_not_pull_in_what_is_rarely_needed() -> None:
    """No peer library, describer or event loop is loaded to compute a schedule."""
    code = "import sys, scheduler.timing; print(*sorted(m for m in sys.modules if '.' not in m))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "apscheduler" in loaded
    assert not {"croniter", "cronsim", "cron_descriptor", "asyncio", "pytz", "dateutil", "difflib"} & set(loaded)
