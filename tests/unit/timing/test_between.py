"""Windows: `between`, alone and combined, against asking zoneinfo minute by minute."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler.errors import InvalidScheduleError
from scheduler.timing import Window, between, every, holidays, window_from_data
from scheduler.timing.window import DayWindow
from scheduler.timing.zones import zone_table
from tests.unit.timing.brute import ZONES, transitions, zone_info

BERLIN = "Europe/Berlin"
MINUTE_MS, DAY_MS = 60_000, 86_400_000


def ms(moment: datetime) -> int:
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)


class Weeks(DayWindow):
    """Every second week, as a calendar would give it; so days in and not in the set are far apart."""

    __slots__ = ()

    def __init__(self, zone: str) -> None:
        super().__init__(text="weeks", zone=zone, meaning=("weeks", zone))

    def next_day(self, day: int) -> int | None:
        return day if day // 7 % 2 == 0 else (day // 7 + 1) * 7

    def next_free_day(self, day: int) -> int | None:
        return day if day // 7 % 2 else (day // 7 + 1) * 7

    def last_day(self, day: int) -> int | None:
        return day if day // 7 % 2 == 0 else day // 7 * 7 - 1

    def last_free_day(self, day: int) -> int | None:
        return day if day // 7 % 2 else day // 7 * 7 - 1

    def in_zone(self, name: str) -> Window:  # noqa: ARG002
        return self

    def words(self) -> str:
        return self.text

    def as_data(self) -> dict[str, Any]:
        raise NotImplementedError


Predicate = Callable[[datetime], bool]


def hours(start: str, end: str, days: str = "0123456") -> Predicate:
    """What `between` says of a local time, by the letter."""

    def holds(local: datetime) -> bool:
        first, last, at = time.fromisoformat(start), time.fromisoformat(end), local.time()
        weekday = str(local.isoweekday() % 7)
        before = str((local.isoweekday() - 1) % 7)
        if first < last:
            return first <= at <= last and weekday in days
        return (at >= first and weekday in days) or (at <= last and before in days)

    return holds


def weeks(local: datetime) -> bool:
    return (local.date() - date(1970, 1, 1)).days // 7 % 2 == 0


CASES: list[tuple[Callable[[str], Window], Predicate]] = [
    (lambda z: between("09:00", "17:30", tz=z), hours("09:00", "17:30")),
    (lambda z: between("22:00", "06:00", tz=z), hours("22:00", "06:00")),
    (lambda z: between("01:45", "02:15", tz=z), hours("01:45", "02:15")),
    (lambda z: between("00:00", "24:00", days="6,0", tz=z), hours("00:00", "23:59:59", "60")),
    (lambda z: between("22:00", "06:00", days="mon-fri", tz=z), hours("22:00", "06:00", "12345")),
    (Weeks, weeks),
    (
        lambda z: between("01:00", "20:00", tz=z) - between("02:00", "03:00", tz=z),
        lambda t: hours("01:00", "20:00")(t) and not hours("02:00", "03:00")(t),
    ),
    (
        lambda z: between("23:00", "01:00", tz=z) | between("02:30", "03:30", tz=z),
        lambda t: hours("23:00", "01:00")(t) or hours("02:30", "03:30")(t),
    ),
    (
        lambda z: (between("20:00", "04:00", tz=z) & between("02:00", "22:00", tz=z)) - Weeks(z),
        lambda t: hours("20:00", "04:00")(t) and hours("02:00", "22:00")(t) and not weeks(t),
    ),
]


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(CASES), st.sampled_from(ZONES), st.data())
def test_against_the_clock_on_the_wall(case: tuple[Callable[[str], Window], Predicate], zone: str, data: Any) -> None:
    """Around a change of clocks, from a minute on, both ways, inside and outside."""
    make, predicate = case
    window, info = make(zone), zone_info(zone)
    moments = transitions(zone) or (datetime(2026, 3, 29, 1, tzinfo=UTC),)
    at = data.draw(st.sampled_from(moments)).replace(second=0) + timedelta(minutes=data.draw(st.integers(-1500, 1500)))

    def holds(moment: datetime) -> bool:
        return predicate(moment.astimezone(info))

    assert window.holds_ms(ms(at)) == holds(at)
    for inside in (True, False):
        later = at
        while holds(later) != inside and later < at + timedelta(days=3):
            later += timedelta(minutes=1)
        found_ms = window.next_inside_ms(ms(at)) if inside else window.next_outside_ms(ms(at))
        assert found_ms is not None
        if holds(later) == inside:
            # A window ends a millisecond after its last minute.
            assert -MINUTE_MS < found_ms - ms(later) <= 0
        else:
            assert found_ms >= ms(later)
        earlier = at
        while holds(earlier) != inside and earlier > at - timedelta(days=3):
            earlier -= timedelta(minutes=1)
        found_ms = window.last_inside_ms(ms(at)) if inside else window.last_outside_ms(ms(at))
        assert found_ms is not None
        if holds(earlier) == inside:
            assert 0 <= found_ms - ms(earlier) < MINUTE_MS
        else:
            assert found_ms <= ms(earlier)


def test_both_ends_belong_to_it() -> None:
    fires = (every("15m") & between("09:00", "10:00")).upcoming(datetime(2026, 6, 1, tzinfo=UTC), 6)
    assert [f"{fire:%d %H:%M}" for fire in fires] == [
        "01 09:00",
        "01 09:15",
        "01 09:30",
        "01 09:45",
        "01 10:00",
        "02 09:00",
    ]


def test_a_date_as_the_end_is_that_whole_day() -> None:
    window = between("2026-12-24", date(2026, 12, 26), tz=BERLIN)
    assert window.next_inside_ms(0) == ms(datetime(2026, 12, 23, 23, tzinfo=UTC))
    assert window.next_outside_ms(ms(datetime(2026, 12, 25, tzinfo=UTC))) == ms(datetime(2026, 12, 26, 23, tzinfo=UTC))
    assert window.next_inside_ms(ms(datetime(2027, 1, 1, tzinfo=UTC))) is None
    assert window.last_inside_ms(0) is None
    assert (
        window.last_outside_ms(ms(datetime(2026, 12, 25, tzinfo=UTC))) == ms(datetime(2026, 12, 23, 23, tzinfo=UTC)) - 1
    )


def test_a_window_across_midnight_belongs_to_the_day_on_which_it_begins() -> None:
    window = between("22:00", "06:00", days="fri")
    saturday, friday = datetime(2026, 6, 6, 3, tzinfo=UTC), datetime(2026, 6, 5, 3, tzinfo=UTC)
    assert window.holds_ms(ms(saturday))
    assert not window.holds_ms(ms(friday))


def test_the_whole_day_does_not_reach_into_the_next_one() -> None:
    saturday_ms = ms(datetime(2026, 6, 6, tzinfo=UTC))
    window = between("00:00", "24:00", days="mon-fri")
    assert not window.holds_ms(saturday_ms)
    assert window.holds_ms(saturday_ms - 1)
    assert between("00:00", "24:00").next_outside_ms(saturday_ms) is None


@pytest.mark.parametrize(
    ("window", "text", "words"),
    [
        (between("9:00", time(17, 30)), "between 09:00 and 17:30", "between 09:00 and 17:30"),
        (
            between("09:00", "17:30", days="1-5"),
            "between 09:00 and 17:30 on mon-fri",
            "between 09:00 and 17:30 on Monday through Friday",
        ),
        (
            between("22:00", "06:00:30", days="SUN,wed"),
            "between 22:00 and 06:00:30 on wed,sun",
            "between 22:00 and 06:00:30 on Wednesday and Sunday",
        ),
        (
            between("09:00", "17:00") - between("12:00", "13:00") - between("2026-12-24", "2026-12-26"),
            "between 09:00 and 17:00 - between 12:00 and 13:00 - between 2026-12-24 and 2026-12-26",
            "between 09:00 and 17:00 except between 12:00 and 13:00 except between 2026-12-24 and 2026-12-26",
        ),
    ],
)
def test_text_and_words(window: Window, text: str, words: str) -> None:
    assert window.text == text
    assert window.words() == words
    again = window_from_data(json.loads(json.dumps(window.as_data())))
    assert again == window == pickle.loads(pickle.dumps(window)) == eval(repr(window), {"between": between})
    assert hash(again) == hash(window)
    assert again.text == text


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: between("09:00", "09:00"),
            "between: start and end are both 09:00; for the whole day write '00:00' and",
        ),
        (lambda: between("09:00", "25:00"), "between: end '25:00' is outside 00:00–23:59:59"),
        (lambda: between("24:00", "06:00"), "between: start '24:00' is outside 00:00–23:59:59"),
        (
            lambda: between("09:00", "2026-01-01"),
            "between: '09:00' and '2026-01-01' do not go together; give two times",
        ),
        (lambda: between("2026-01-02", "2026-01-01"), "between: end 2026-01-01 does not come after start 2026-01-02"),
        (lambda: between("nine", "ten"), "between: start 'nine' is no ISO date or datetime"),
        (lambda: between(9, 17), "between: start is 9; give a datetime, a date, or ISO text of one"),  # type: ignore[arg-type]
        (lambda: between("09:00", "17:00", days="mon-fry"), "between: days 'mon-fry': day-of-week "),
        (lambda: between("09:00", "17:00", days="5L"), "between: days is '5L'; give weekdays as in a crontab"),
        (lambda: between("09:00", "17:00", days=3), "between: days is 3; give weekdays as in a crontab"),  # type: ignore[arg-type]
        (
            lambda: between("2026-01-01", "2026-02-01", days="mon"),
            "between: days is 'mon', but stands only with times of",
        ),
        (lambda: between("09:00", "17:00", tz="Berlin"), "timezone 'Berlin' is not known; the nearest known names are"),
        (
            lambda: between("09:00", "17:00") - between("09:00", "17:00"),
            "window: between 09:00 and 17:00 without itself",
        ),
        (
            lambda: between("09:00", "17:00") | every("1h"),
            "combination: between('09:00', '17:00') | every('1h'): a window",
        ),
        (
            lambda: every("1h") | between("09:00", "17:00"),
            "combination: every('1h') | between('09:00', '17:00'): a window",
        ),
        (
            lambda: between("09:00", "17:00") - every("1h"),
            "combination: between('09:00', '17:00') - every('1h'): a window",
        ),
    ],
)
def test_refused(make: Callable[[], object], message: str) -> None:
    with pytest.raises(InvalidScheduleError) as caught:
        make()
    assert str(caught.value).startswith(message)


def test_no_moment_is_too_early_or_too_late_to_ask() -> None:
    for make, _ in CASES:
        window = make("America/New_York")
        for at_ms in (-(10**20), -62_135_596_800_000, 253_402_300_799_999, 10**20):
            for ask in (window.next_inside_ms, window.next_outside_ms, window.last_inside_ms, window.last_outside_ms):
                found_ms = ask(at_ms)
                assert found_ms is None or -62_135_596_800_000 <= found_ms <= 253_402_300_799_999


def test_a_day_may_come_back_for_an_hour() -> None:
    """St John's put its clocks back at one minute past midnight: the day before began anew, for its last 59 minutes."""
    window = holidays(["2006-10-28"], tz="America/St_Johns")
    for ask, at, found in (
        (
            window.next_inside_ms,
            datetime(2006, 10, 29, 2, 30, 30, tzinfo=UTC),
            datetime(2006, 10, 29, 2, 31, tzinfo=UTC),
        ),
        (
            window.last_outside_ms,
            datetime(2006, 10, 29, 3, tzinfo=UTC),
            datetime(2006, 10, 29, 2, 30, 59, 999_000, tzinfo=UTC),
        ),
        (window.next_outside_ms, datetime(2006, 10, 29, 2, 31, tzinfo=UTC), datetime(2006, 10, 29, 3, 30, tzinfo=UTC)),
        (
            window.last_inside_ms,
            datetime(2006, 10, 29, 2, 30, 30, tzinfo=UTC),
            datetime(2006, 10, 29, 2, 29, 59, 999_000, tzinfo=UTC),
        ),
    ):
        assert ask(ms(at)) == ms(found)
    assert window.next_inside_ms(ms(datetime(2006, 10, 29, 4, tzinfo=UTC))) is None


def test_far_ahead_it_is_as_now() -> None:
    """The table of a zone ends after 400 years, and repeats; also where it ends, and for what crosses its end."""
    zone = "America/New_York"
    cycle_ms, wrap_ms = 146_097 * DAY_MS, zone_table(zone).wrap_s * 1000
    for window in (between("09:00", "17:00", tz=zone), between("22:00", "06:00", days="mon", tz=zone)):
        asks = (window.next_inside_ms, window.next_outside_ms, window.last_inside_ms, window.last_outside_ms)
        for first_ms, far_ms in ((1_772_000_000_000, 3 * cycle_ms), (wrap_ms - 5 * DAY_MS - cycle_ms, cycle_ms)):
            for at_ms in range(first_ms, first_ms + 10 * DAY_MS, 7_777_777):
                for ask in asks:
                    now_ms, then_ms = ask(at_ms), ask(at_ms + far_ms)
                    assert now_ms is not None
                    assert then_ms == now_ms + far_ms
