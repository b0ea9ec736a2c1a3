"""
How long one answer takes: ours, croniter's, cronsim's and APScheduler's, in the same run.

    python benchmarks/bench_timing.py

Every line asks for the first fire after one moment, from a schedule that has been parsed. The peers have no such call,
so that theirs is what comes nearest: a fresh iterator at that moment, made from the parsed expression where that is
possible. Ratios say more than times; a machine that is busy slows all of them.
"""

from __future__ import annotations

import sys
import timeit
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

from apscheduler.triggers.cron import CronTrigger
from croniter import croniter
from cronsim import CronSim
from dateutil.rrule import rrulestr

from scheduler.timing import Schedule, between, crontab, every, once, rrule

START = datetime(2026, 10, 26, 7, 33, 21, tzinfo=UTC)
START_MS = int(START.timestamp() * 1000)
START_NAIVE = START.replace(tzinfo=None)
SERIES = 5
SERIES_S_MIN = 0.02

CASES = (
    ("typical", "10 9 * * 1-5", "Asia/Shanghai", "vixie"),
    ("typical", "*/5 * * * *", "UTC", "vixie"),
    ("typical", "30 2 * * *", "America/New_York", "vixie"),
    ("typical", "0 0 1,15 * *", "Europe/Berlin", "vixie"),
    ("typical", "0 0 L * *", "America/New_York", "vixie"),
    ("rare", "0 0 29 2 *", "America/New_York", "vixie"),
    ("rare", "0 12 29 2 mon", "America/New_York", "and"),
    ("rare", "0 0 1 1 sun#1", "Europe/Berlin", "and"),
)


BERLIN = "Europe/Berlin"
RULES = (
    "FREQ=MONTHLY;BYDAY=-1FR;BYHOUR=17;BYMINUTE=0;BYSECOND=0",
    "FREQ=WEEKLY;INTERVAL=2;BYDAY=MO,WE;BYHOUR=9;BYMINUTE=0;BYSECOND=0",
    "FREQ=MONTHLY;BYDAY=MO,TU,WE,TH,FR;BYSETPOS=-1;BYHOUR=17;BYMINUTE=0;BYSECOND=0",
    "FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=29;BYHOUR=0;BYMINUTE=0;BYSECOND=0",
    "FREQ=DAILY;BYHOUR=9;BYMINUTE=0;BYSECOND=0",
    "FREQ=HOURLY;INTERVAL=6;BYMINUTE=0;BYSECOND=0",
    "FREQ=MINUTELY;INTERVAL=5;BYSECOND=0",
)
RULES_START = datetime(2025, 1, 1)


def combinations() -> tuple[Schedule, ...]:
    """Return what combinations look like in practice, and some that have to look far."""
    return (
        crontab("0 9 * * *", tz=BERLIN) | crontab("0 18 * * 6", tz=BERLIN),
        every("15m", tz=BERLIN) & between("09:00", "17:30", days="mon-fri"),
        crontab("*/15 * * * *", tz=BERLIN) - between("2026-12-24", "2026-12-26"),
        every("15m", tz=BERLIN) & (between("09:00", "17:30") - between("12:00", "13:00")),
        crontab("0 9 * * *", tz=BERLIN) - crontab("0 9 * * 6,0", tz=BERLIN),
        crontab("0 0 13 * *", tz=BERLIN) & crontab("0 0 * * fri", tz=BERLIN),
        crontab("0 9 * * *", tz=BERLIN) & crontab("0 8 * * mon", tz="Europe/London"),
        every("7m", tz=BERLIN) & crontab("0 3 * * *", tz=BERLIN),
        every("10s", tz=BERLIN) - crontab("* * * * * 6,0", tz=BERLIN),
        once("2027-01-01T09:00", tz=BERLIN),
    )


def seconds_per_call(call: Callable[[], object]) -> float:
    """Return the fastest of a few series, each long enough to be measured."""
    timer = timeit.Timer(call)
    number, taken_s = 1, timer.timeit(1)
    while taken_s < SERIES_S_MIN:
        number *= 2 if taken_s > SERIES_S_MIN / 10 else 10
        taken_s = timer.timeit(number)
    return min(timer.repeat(SERIES, number)) / number


def peers(expr: str, zone: str, day_match: str) -> dict[str, Callable[[], object]]:
    """Return what the peers would be asked, by name; without those that read *expr* otherwise."""
    info = ZoneInfo(zone)
    local = START.astimezone(info)
    calls: dict[str, Callable[[], object]] = {}
    if day_match == "vixie" or "#" not in expr:
        iterator = croniter(expr, local, ret_type=datetime, day_or=day_match == "vixie", max_years_between_matches=60)
        calls["croniter"] = lambda: iterator.get_next(start_time=local)
    if day_match == "vixie":
        calls["cronsim"] = lambda: next(CronSim(expr, local))
    if "#" not in expr:
        calls["APScheduler"] = _apscheduler(expr, zone, local)
    return calls


def _apscheduler(expr: str, zone: str, local: datetime) -> Callable[[], object]:
    minute, hour, day, month, weekday = expr.split()
    names = {"1-5": "mon-fri", "L": "last"}
    fields: dict[str, Any] = {"minute": minute, "hour": hour, "day": names.get(day, day), "month": month}
    trigger = CronTrigger(**fields, day_of_week=names.get(weekday, weekday), timezone=zone)
    return lambda: trigger.get_next_fire_time(None, local)


def rules() -> None:
    """Print one line for each recurrence rule; dateutil's `.after()` steps from DTSTART, here the year before."""
    print(f"\n{'recurrence rule, Berlin':82} {'next_ms':>9} {'previous':>9} {'declare':>9}  peer")
    for text in RULES:
        schedule = rrule(text, start=RULES_START, tz=BERLIN)
        ours_s = seconds_per_call(lambda schedule=schedule: schedule.next_ms(START_MS))
        back_s = seconds_per_call(lambda schedule=schedule: schedule.previous_ms(START_MS))
        declare_s = seconds_per_call(lambda text=text: rrule(text, start=RULES_START, tz=BERLIN))
        naive = rrulestr(text, dtstart=RULES_START)
        theirs_s = seconds_per_call(lambda naive=naive: naive.after(START_NAIVE))
        columns = f"{ours_s * 1e6:9.2f} {back_s * 1e6:9.2f} {declare_s * 1e6:9.2f}"
        print(f"{text:82} {columns}  dateutil {theirs_s * 1e6:,.1f} ({theirs_s / ours_s:,.0f}x)")


def combined() -> None:
    """Print one line for each combination."""
    print(f"\n{'combination':82} {'next_ms':>9} {'previous':>9}")
    for schedule in combinations():
        ours_s = seconds_per_call(lambda schedule=schedule: schedule.next_ms(START_MS))
        back_s = seconds_per_call(lambda schedule=schedule: schedule.previous_ms(START_MS))
        print(f"{schedule.text:82} {ours_s * 1e6:9.2f} {back_s * 1e6:9.2f}")


def main() -> None:
    """Print one line for each case."""
    print(f"Python {sys.version.split()[0]}; microseconds for one next fire, and times ours in brackets\n")
    print(f"{'':8} {'expression':16} {'zone':18} {'next_ms':>9} {'previous':>9} {'next()':>9}  peers")
    for kind, expr, zone, day_match in CASES:
        schedule = crontab(expr, tz=zone, day_match=day_match)
        ours_s = seconds_per_call(lambda schedule=schedule: schedule.next_ms(START_MS))
        back_s = seconds_per_call(lambda schedule=schedule: schedule.previous_ms(START_MS))
        aware_s = seconds_per_call(lambda schedule=schedule: schedule.next(START))
        columns = []
        for name, call in peers(expr, zone, day_match).items():
            theirs_s = seconds_per_call(call)
            columns.append(f"{name} {theirs_s * 1e6:,.1f} ({theirs_s / ours_s:,.0f}x)")
        row = f"{kind:8} {expr:16} {zone:18} {ours_s * 1e6:9.2f} {back_s * 1e6:9.2f} {aware_s * 1e6:9.2f}"
        print(f"{row}  {', '.join(columns)}")
    print()
    for name, schedule in (
        ("every 30s", every("30s")),
        ("every day at 09:00", every(days=1, at="09:00", tz="America/New_York")),
        ("every month from the 31st", every(months=1, anchor="2026-01-31", tz="America/New_York")),
        ("* 2 8-14 3 0, both (never)", crontab("* 2 8-14 3 0", day_match="and", tz="America/New_York")),
    ):
        call_s = seconds_per_call(lambda schedule=schedule: schedule.next_ms(START_MS))
        print(f"{name:44} {call_s * 1e6:9.2f}")
    declare_s = seconds_per_call(lambda: crontab("10 9 * * 1-5", tz="Asia/Shanghai"))
    print(f"{'declare an expression seen before':44} {declare_s * 1e6:9.2f}")
    numbers = iter(range(10**9))
    declare_s = seconds_per_call(lambda: crontab(_unseen(next(numbers)), tz="Asia/Shanghai"))
    print(f"{'declare an expression not seen before':44} {declare_s * 1e6:9.2f}")
    rules()
    combined()


def _unseen(number: int) -> str:
    return f"{number % 60} {number // 60 % 24} {number // 1440 % 28 + 1} {number // 40320 % 12 + 1} {number % 7}"


if __name__ == "__main__":
    main()
