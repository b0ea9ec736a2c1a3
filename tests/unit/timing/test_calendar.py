"""`holidays`: whole days from a list, a function or an iCalendar file, taken from a schedule or the only ones kept."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.errors import InvalidScheduleError
from scheduler.timing import Window, crontab, every, holidays, schedule_from_data, settling, window_from_data
from scheduler.timing.calendar import day_number
from scheduler.timing.settling import Patience, Settling
from scheduler.timing.table import renew_at_ms, renews

NOW = datetime(2026, 11, 21, 7, 0, tzinfo=UTC)
NINE = crontab("0 9 * * *")
EPOCH = date(1970, 1, 1)

Write = Callable[..., Path]


def at(month: int, day: int, hour: int = 9, *, year: int = 2026) -> datetime:
    """A moment in UTC."""
    return datetime(year, month, day, hour, tzinfo=UTC)


def settle(asked: Any, now: datetime = NOW) -> tuple[Any, list[str]]:
    """What a load at *now* makes of it, and the warnings."""
    notes: list[str] = []
    now_ms = int(now.timestamp()) * 1000
    return asked.settled(Settling(now_ms, Patience(), notes)), notes


def days_of(window: Window, start: date, n: int) -> list[date]:
    """The first *n* days from *start* on that lie inside."""
    found = (NINE & window).upcoming(datetime(start.year, start.month, start.day, tzinfo=UTC), n)
    return [moment.date() for moment in found]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write an iCalendar file of events, each a text of its properties."""

    def file(*events: str, name: str = "days.ics") -> Path:
        lines = ["BEGIN:VCALENDAR", "VERSION:2.0", "PRODID:-//test//EN"]
        for number, event in enumerate(events):
            said = event.split()
            uid = [] if any(line.startswith("UID") for line in said) else [f"UID:{number}@test"]
            lines += ["BEGIN:VEVENT", *uid, "DTSTAMP:20260101T000000Z", *said, "END:VEVENT"]
        path = tmp_path / name
        path.write_text("\r\n".join([*lines, "END:VCALENDAR", ""]), encoding="utf-8")
        return path

    return file


# ── a list ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_days_are_taken_from_a_schedule() -> None:
    """Nobody is billed at Christmas."""
    schedule = NINE - holidays(["2026-12-26", date(2026, 12, 25)])
    assert [at(12, 24), at(12, 27)] == schedule.upcoming(at(12, 24, 0), 2)
    assert at(12, 24) == schedule.previous(at(12, 27))


def test_a_schedule_is_kept_to_days() -> None:
    """A job of public holidays alone."""
    schedule = every("6h") & holidays({date(2026, 12, 25)})
    assert [at(12, 25, hour) for hour in (0, 6, 12, 18)] == schedule.upcoming(NOW, 10)


def test_days_are_those_of_the_zone() -> None:
    """The schedule's own, unless the calendar has one: New York's Christmas begins five hours after London's."""
    evening = crontab("0 2 * * *", tz="UTC")
    new_york = evening - holidays(["2026-12-25"], tz="America/New_York")
    assert [at(12, 25, 2), at(12, 27, 2)] == new_york.upcoming(at(12, 24, 12), 2)
    assert [at(12, 24, 2), at(12, 26, 2)] == (evening - holidays(["2026-12-25"])).upcoming(at(12, 24, 0), 2)


@given(st.sets(st.integers(0, 60)), st.integers(-5, 65))
def test_days_are_found_as_in_the_list(chosen: set[int], day: int) -> None:
    """Stretches of days are leapt over, in both directions."""
    window = holidays([EPOCH + timedelta(days=n) for n in chosen | {30}])
    inside = chosen | {30}
    around = range(-10, 75)
    assert min((n for n in around if n >= day and n in inside), default=None) == window.next_day(day)
    assert min(n for n in around if n >= day and n not in inside) == window.next_free_day(day)
    assert max((n for n in around if n <= day and n in inside), default=None) == window.last_day(day)
    assert max(n for n in around if n <= day and n not in inside) == window.last_free_day(day)


def test_a_list_is_data_and_compares_by_meaning() -> None:
    """Whatever its order, and however often a day is in it."""
    window = holidays(["2026-12-25", "2026-12-26", "2026-12-25"])
    assert holidays((date(2026, 12, 26), date(2026, 12, 25))) == window
    assert holidays(["2026-12-25"]) != window
    assert holidays(["2026-12-25", "2026-12-26"], tz="UTC") != window
    assert window == window_from_data(json.loads(json.dumps(window.as_data())))
    assert settle(window) == (window, [])
    assert renew_at_ms(window.as_data()) is None


def test_an_edited_list_is_a_changed_rule() -> None:
    """Also where the text for people stays the same: what is armed for the new holiday is withdrawn."""
    days = [f"2026-12-{day:02}" for day in (1, 3, 5, 7, 25)]
    old = (NINE - holidays(days)).as_data()
    for new in (["2026-11-30", *days], [*days[:4], "2026-12-26"], days[:4]):
        assert not renews(old, (NINE - holidays(new)).as_data())


def test_first_and_last_days_of_the_calendar() -> None:
    """Years run from 1 to 9999."""
    window = holidays([date.min, date.max])
    assert [date.max] == days_of(window, date(9999, 1, 1), 5)
    assert (NINE - window).upcoming(datetime(9999, 12, 30, 12, tzinfo=UTC), 5) == []
    assert datetime(1, 1, 2, 9, tzinfo=UTC) == (NINE - window).next(datetime(1, 1, 1, tzinfo=UTC))


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ([], "the list is empty"),
        (["25.12.2026"], "'25.12.2026' is no date"),
        ([datetime(2026, 12, 25)], "a value of type datetime is no date"),
        ([20261225], "20261225 is no date"),
        (["2026-02-30"], "'2026-02-30' is no date"),
        ((EPOCH + timedelta(days=n) for n in range(20_000)), "more than 10,000 days"),
        ([EPOCH + timedelta(days=n * n % 300_007) for n in range(9_000)], "days are too many"),
        (5, "5 holds no days"),
        ("2026-12-25", r"'2026-12-25' does not end in .ics, .*; for one day write \['2026-12-25'\]"),
        ("https://example.org/de.ics", "is a URL; a load asks no network"),
        ("", "is no path"),
    ],
)
def test_what_is_no_list_of_days_is_refused(source: Any, told: str) -> None:
    """Where it is declared, with what to do about it."""
    with pytest.raises(InvalidScheduleError, match=told):
        holidays(source)


@pytest.mark.parametrize(
    "change",
    [
        {"days": "x"},
        {"days": "99999999"},
        {"text": ""},
        {"from_ms": "x"},
        {"until_ms": "x"},
        {"odd": 1},
        {"tz": "Mars/X"},
    ],
)
def test_damaged_data_is_refused(change: dict[str, Any]) -> None:
    """P12."""
    with pytest.raises(InvalidScheduleError):
        window_from_data(holidays(["2026-12-25"]).as_data() | change)


# ── a function ──────────────────────────────────────────────────────────────────────────────────────────────────────


def is_friday_13th(day: date) -> bool:
    """A day on which to do nothing."""
    return day.day == 13 and day.weekday() == 4


def test_a_function_is_asked_ahead() -> None:
    """The leader has no users' code, so it has the days instead; and somebody has to ask again."""
    schedule = NINE - holidays(is_friday_13th)
    found, notes = settle(schedule)
    assert schedule.upcoming(NOW, 700) == found.upcoming(NOW, 700)
    assert at(8, 13, year=2027) not in found.upcoming(NOW, 700)
    assert "the days of is_friday_13th(), asked ahead until 2029-01-29" in found.words()
    assert found == schedule_from_data(json.loads(json.dumps(found.as_data())))
    assert renew_at_ms(found.as_data()) is not None
    assert notes == []
    with pytest.raises(InvalidScheduleError, match="declare the entry in a schedule file"):
        schedule.as_data()


def test_a_later_load_renews_what_a_function_says() -> None:
    """A restart is no edit, unless the function says something else now."""
    old = settle(NINE - holidays(is_friday_13th))[0].as_data()
    later = NOW + timedelta(days=100)
    assert renews(old, settle(NINE - holidays(is_friday_13th), later)[0].as_data())
    assert not renews(old, settle(NINE - holidays(lambda day: day.day == 13), later)[0].as_data())


@pytest.mark.parametrize(
    ("function", "told"),
    [
        (lambda _: 1 / 0, "a function fails for 2025-11-20: ZeroDivisionError: division by zero"),
        (lambda _: "yes", "answers 'yes' for 2025-11-20; expected True or False"),
        (lambda: True, "TypeError"),
        (lambda _: time.sleep(60), "did not answer within"),
    ],
)
def test_a_function_that_fails_is_a_mistake_of_its_entry(
    function: Any, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """P12: and one that hangs too."""
    monkeypatch.setattr(settling, "ANSWER_S_MAX", 0.2)
    with pytest.raises(InvalidScheduleError, match=told):
        settle(NINE - holidays(function))


# ── an iCalendar file ───────────────────────────────────────────────────────────────────────────────────────────────


def test_all_day_events_count(write: Write) -> None:
    """Of one day or several; DTEND is the day after, and some programs write the day itself, or nothing."""
    path = write(
        "DTSTART;VALUE=DATE:20261225 DTEND;VALUE=DATE:20261227",
        "DTSTART;VALUE=DATE:20261203 DTEND;VALUE=DATE:20261203",
        "DTSTART;VALUE=DATE:20261205",
        "DTSTART;VALUE=DATE:20261210 DURATION:P2D",
        "DTSTART;VALUE=DATE:20261215 STATUS:CANCELLED",
        "DTSTART:20261216T100000Z DTEND:20261216T110000Z",
    )
    found, notes = settle(holidays(path))
    assert [date(2026, 12, day) for day in (3, 5, 10, 11, 25, 26)] == days_of(found, date(2026, 1, 1), 10)
    assert notes == ["holidays: days.ics: 1 event with a time of day passed over; only all-day events count"]
    assert renew_at_ms(found.as_data()) is None
    assert found.words() == "on the days of days.ics"


def test_recurring_events_are_expanded(write: Write) -> None:
    """With what is excluded, added, and moved elsewhere; for a span, since most never end."""
    path = write(
        "DTSTART;VALUE=DATE:20001225 DTEND;VALUE=DATE:20001227 RRULE:FREQ=YEARLY",
        "DTSTART;VALUE=DATE:20260901 RRULE:FREQ=MONTHLY;UNTIL=20261101T000000Z EXDATE;VALUE=DATE:20261001",
        "DTSTART;VALUE=DATE:20260115 RDATE;VALUE=DATE:20260120,20260122",
        "UID:moved DTSTART;VALUE=DATE:20260505 RRULE:FREQ=YEARLY;COUNT=2",
        "UID:moved RECURRENCE-ID;VALUE=DATE:20270505 DTSTART;VALUE=DATE:20270507",
        "DTSTART;VALUE=DATE:20260706 RRULE:FREQ=WEEKLY;COUNT=2;BYDAY=MO",
    )
    window = holidays(path)
    found, _ = settle(window)
    expected = [
        *(date(2026, 1, day) for day in (15, 20, 22)),
        date(2026, 5, 5),
        *(date(2026, 7, day) for day in (6, 13)),
        date(2026, 9, 1),
        date(2026, 11, 1),
        *(date(2026, 12, day) for day in (25, 26)),
        date(2027, 5, 7),
        *(date(2027, 12, day) for day in (25, 26)),
    ]
    assert expected == days_of(found, date(2026, 1, 1), len(expected))
    assert expected == days_of(window, date(2026, 1, 1), len(expected))
    assert renew_at_ms(found.as_data()) is not None


def test_a_file_is_read_again_when_it_has_changed(write: Write) -> None:
    """The next load knows next year's holidays."""
    path = write("DTSTART;VALUE=DATE:20261225")
    before, _ = settle(holidays(path))
    write("DTSTART;VALUE=DATE:20261225", "DTSTART;VALUE=DATE:20261231")
    after, _ = settle(holidays(path))
    assert before != after
    assert [date(2026, 12, 25), date(2026, 12, 31)] == days_of(after, date(2026, 1, 1), 5)


def test_a_path_starts_at_the_file_that_names_it(write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a service finds it, whatever its working directory is; typed by hand, it starts there."""
    write("DTSTART;VALUE=DATE:20261225")
    module = tmp_path / "office.py"
    module.write_text("from scheduler.timing import holidays\nclosed = holidays('days.ics')\n", encoding="utf-8")
    scope: dict[str, Any] = {}
    exec(compile(module.read_text(encoding="utf-8"), str(module), "exec"), scope)
    assert [date(2026, 12, 25)] == days_of(scope["closed"], date(2026, 1, 1), 5)
    monkeypatch.chdir(tmp_path)
    exec("from scheduler.timing import holidays\nclosed = holidays('days.ics')\n", scope)
    assert [date(2026, 12, 25)] == days_of(scope["closed"], date(2026, 1, 1), 5)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "is no iCalendar file"),
        ("hello", "is no iCalendar file"),
        ("BEGIN:VCALENDAR\r\nBEGIN:VEVENT\r\n", "is no iCalendar file"),
        (b"\xff\xfe\x00", "is no iCalendar file"),
        (
            "BEGIN:VCALENDAR\r\nBEGIN:VEVENT\r\nUID:1\r\nSUMMARY:Long\r\nDTSTART;VALUE=DATE:20260101\r\n"
            "DTEND;VALUE=DATE:20290101\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n",
            "'Long': it lasts 1,096 days, which is over 400",
        ),
        (
            "BEGIN:VCALENDAR\r\nBEGIN:VEVENT\r\nUID:1\r\nSUMMARY:Daily\r\nDTSTART;VALUE=DATE:20260101\r\n"
            "RRULE:FREQ=HOURLY;INTERVAL=0\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n",
            "holidays",
        ),
    ],
    ids=["empty", "text", "cut", "binary", "long", "interval"],
)
def test_a_file_that_cannot_be_read_is_a_mistake_of_its_entry(text: str | bytes, told: str, tmp_path: Path) -> None:
    """P12."""
    path = tmp_path / "days.ics"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(InvalidScheduleError, match=told):
        settle(holidays(path))


def test_a_file_that_is_not_there_or_too_large_is_told(tmp_path: Path) -> None:
    """With its whole path: it is the first thing to look at."""
    with pytest.raises(InvalidScheduleError, match=rf"{tmp_path}/none\.ics: No such file"):
        settle(holidays(tmp_path / "none.ics"))
    (tmp_path / "large.ics").write_bytes(b"x" * 2_000_001)
    with pytest.raises(InvalidScheduleError, match=r"has 2,000,001 bytes, which is over 2,000,000"):
        settle(holidays(tmp_path / "large.ics"))


def test_a_missing_library_is_told_with_its_remedy(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is an extra."""
    monkeypatch.setitem(sys.modules, "icalendar", None)
    with pytest.raises(InvalidScheduleError, match=r"pip install 'steadybeat\[calendars\]'"):
        settle(holidays(write("DTSTART;VALUE=DATE:20261225")))


def test_days_that_are_over_are_told(write: Write) -> None:
    """Nobody remembers to put next year's holidays into a file; `sched check` does."""
    _, notes = settle(holidays(write("DTSTART;VALUE=DATE:20251225")))
    assert notes == ["holidays: the days of days.ics: the last day, 2025-12-25, is over"]
    _, notes = settle(holidays(lambda _: False))
    assert notes == ["holidays: the days of a function: no day from 2025-11-20 to 2029-01-29"]


def test_epoch_is_day_zero() -> None:
    """Days are counted as windows count them."""
    assert day_number(EPOCH) == 0
