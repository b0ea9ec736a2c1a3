"""What is legal in an entry and rarely meant."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from scheduler.clock import to_ms
from scheduler.foresee.warnings import clock_changes, twins, warnings_of
from scheduler.model import Entry, Overlap
from scheduler.timing import Schedule, crontab, every

NOW_MS = to_ms(datetime(2026, 1, 1, tzinfo=UTC))
MINUTE_MS = 60_000
HOUR_MS = 3_600_000


def entry(when: Schedule, name: str = "e", **options: Any) -> Entry:
    """A definition."""
    return Entry(name=name, task="t", schedule=when.for_entry(name).as_data(), queue="q", **options)


@pytest.mark.parametrize(
    ("when", "expected"),
    [
        (
            crontab("30 2 * * *", tz="Europe/Berlin"),
            [
                "Sun 2026-03-29 has no 02:30 in Europe/Berlin, it runs once, at 03:00",
                "Sun 2026-10-25 has 02:30 twice in Europe/Berlin, it runs the first time only",
            ],
        ),
        (
            crontab("0,30 2 * * *", tz="Europe/Berlin", gap="skip", fold="both"),
            [
                "Sun 2026-03-29 has no 02:00, 02:30 in Europe/Berlin, they are left out",
                "Sun 2026-10-25 has 02:00, 02:30 twice in Europe/Berlin, they run both times",
            ],
        ),
        (
            crontab("*/15 2 * * *", tz="Europe/Berlin"),
            [
                "Sun 2026-03-29 has no 02:00, 02:15, 02:30, … (4 times) in Europe/Berlin, they are left out",
                "Sun 2026-10-25 has 02:00, 02:15, 02:30, … (4 times) twice in Europe/Berlin, they run both times",
            ],
        ),
        (
            every(days=1, at="02:30", tz="America/New_York"),
            ["Sun 2026-03-08 has no 02:30 in America/New_York, it runs once, at 03:00"],
        ),
        (
            crontab("0 0 * * *", tz="Africa/Cairo"),
            ["Fri 2026-04-24 has no 00:00 in Africa/Cairo, it runs once, at 01:00"],
        ),
        (
            crontab("30 1 * * *", tz="America/New_York") | crontab("15 2 29 3 *", tz="Europe/Berlin"),
            [
                "Sun 2026-11-01 has 01:30 twice in America/New_York, it runs the first time only",
                "Sun 2026-03-29 has no 02:15 in Europe/Berlin, it runs once, at 03:00",
            ],
        ),
        (
            crontab("0 0-2 3 * *", tz="Europe/Berlin") | crontab("0 0-2 29 3 *", tz="Europe/Berlin"),
            ["Sun 2026-03-29 has no 02:00 in Europe/Berlin, it runs once, at 03:00"],
        ),
        (crontab("0 * * * *", tz="Europe/Berlin"), []),
        (crontab("30 12 * * *", tz="Europe/Berlin"), []),
        (crontab("30 2 * * sat", tz="Europe/Berlin"), []),
        (crontab("30 2 * * *", tz="Asia/Shanghai"), []),
        (every("30m"), []),
    ],
)
def test_what_changing_clocks_do_is_told_by_day(when: Schedule, expected: list[str]) -> None:
    """The day, the time and what will happen: nobody has to know the rules by heart."""
    assert clock_changes(when.as_data(), NOW_MS) == expected


@pytest.mark.parametrize(
    ("one", "limit_ms", "part"),
    [
        (entry(every("1h")), 2 * HOUR_MS, "time_limit 2h is longer than the 1h to the next fire"),
        (entry(every("1m"), countdown_ms=MINUTE_MS), None, "countdown 1m is not shorter than the 1m to the next fire"),
        (
            entry(every("1m"), jitter_ms=2 * MINUTE_MS),
            None,
            "jitter 2m is longer than the 1m to the next fire, and is cut",
        ),
        (
            entry(every("1m"), overlap=Overlap.ALLOW, expires_after_ms=HOUR_MS),
            None,
            "while no worker is there, up to 60 runs pile up",
        ),
        (entry(every("1m"), until_ms=NOW_MS - 1), None, "it will not fire any more"),
        (entry(crontab("0 0 29 2 *")), None, "it fires next on 2028-02-29, more than a year from now"),
        (entry(every("1h"), expires_at_ms=NOW_MS), None, "each of its runs has expired before it can start"),
        (entry(every("1d").in_zone("Europe/Berlin")), None, "every 1d counts hours"),
        (entry(crontab("30 2 * * *", tz="Europe/Berlin")), None, "the clocks change: Sun 2026-03-29 has no 02:30"),
    ],
)
def test_an_odd_entry_is_told(one: Entry, limit_ms: int | None, part: str) -> None:
    """Legal, and not what people mean."""
    (warning,) = warnings_of(one, now_ms=NOW_MS, time_limit_ms=limit_ms)
    assert part in warning


@pytest.mark.parametrize(
    ("one", "limit_ms"),
    [
        (entry(every("1h")), HOUR_MS),
        (entry(every("10s")), HOUR_MS),
        (entry(every("1h"), overlap=Overlap.QUEUE), 2 * HOUR_MS),
        (entry(every("1h"), jitter_ms=HOUR_MS, countdown_ms=MINUTE_MS), None),
        (entry(every("1m"), expires_after_ms=HOUR_MS), None),
        (entry(every("1d")), None),
        (entry(every("1d").in_zone("Asia/Shanghai")), None),
        (entry(every("1h"), enabled=False, until_ms=1), None),
        (entry(crontab("H 3 * * *")), None),
    ],
)
def test_an_ordinary_entry_is_not_warned_about(one: Entry, limit_ms: int | None) -> None:
    """Warnings are for what is rarely meant."""
    assert warnings_of(one, now_ms=NOW_MS, time_limit_ms=limit_ms) == []


def test_a_queue_that_no_worker_takes_from_is_told() -> None:
    """A slip in a queue's name is a run that never starts."""
    (warning,) = warnings_of(entry(every("1h")), now_ms=NOW_MS, queues=("mail", "default"))
    assert "queue 'q' is not among the setting queues (mail, default)" in warning


def test_entries_that_do_the_same_are_told() -> None:
    """Copied, and the copy forgotten; other arguments or other times are no copy."""
    entries = [
        entry(every("1h"), "a"),
        entry(every("60m"), "b"),
        entry(every("1h"), "c", args=msgspec.Raw(b"[1]")),
        entry(every("2h"), "d"),
        entry(every("1h"), "f", headers={"tenant": 1}),
        entry(every("1h"), "e", enabled=False),
    ]
    assert twins(entries) == {"b": "a"}
