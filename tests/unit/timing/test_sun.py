"""`sun`: sunrise and its like, against astral's own answers, and where those have holes."""

from __future__ import annotations

import json
import sys
import time
from datetime import UTC, datetime, timedelta, timezone
from itertools import pairwise
from typing import Any

import astral
import astral.sun
import pytest

from scheduler.errors import InvalidScheduleError
from scheduler.timing import crontab, schedule_from_data, sun

BERLIN = {"latitude": 52.52, "longitude": 13.405}
START = datetime(2026, 1, 1, tzinfo=UTC)
MINUTE = timedelta(minutes=1)

PLACES = [(52.52, 13.405), (40.7, -74.0), (-33.9, 151.2), (0, 0), (30, -179.5), (1, 179.5), (64.1, -21.9)]


@pytest.mark.parametrize(("latitude", "longitude"), PLACES)
@pytest.mark.parametrize("event", ["dawn", "sunrise", "noon", "sunset", "dusk"])
def test_every_day_is_astrals_to_the_minute(event: str, latitude: float, longitude: float) -> None:
    """For a year; its noon is that of the morning's sun, so it may be a minute off."""
    place = astral.Observer(latitude, longitude)
    zone = timezone(timedelta(minutes=round(longitude * 4)))
    for fire in sun(event, latitude=latitude, longitude=longitude).upcoming(START, 366):
        peer = getattr(astral.sun, event)(place, fire.astimezone(zone).date(), tzinfo=zone)
        assert abs(peer - fire) <= MINUTE


@pytest.mark.parametrize("longitude", [88.0, 90.0, 92.5, -90.0, 180.0, -180.0])
def test_no_day_is_lost(longitude: float) -> None:
    """Near 90° east the sun rises at midnight UTC, and astral itself finds no sunrise on one day of the year."""
    for event in ("sunrise", "sunset", "noon", "midnight"):
        fires = sun(event, latitude=20, longitude=longitude).upcoming(START, 800)
        assert all(
            timedelta(hours=23.9) < later - earlier < timedelta(hours=24.1) for earlier, later in pairwise(fires)
        )


def test_known_days() -> None:
    """From an almanac: Berlin on the shortest day and on a day of June."""
    assert datetime(2026, 12, 21, 7, 15, tzinfo=UTC) == sun("sunrise", **BERLIN).next(
        datetime(2026, 12, 21, tzinfo=UTC)
    )
    assert datetime(2026, 6, 21, 19, 33, tzinfo=UTC) == sun("sunset", **BERLIN).next(datetime(2026, 6, 21, tzinfo=UTC))


@pytest.mark.parametrize(("event", "latitude", "fewest"), [
    ("sunrise", 69.6, 240), ("sunset", 78.2, 120), ("dawn", 60.0, 365), ("sunrise", -77.8, 120), ("sunset", 89, 5),
])  # fmt: skip
def test_a_day_without_the_event_has_no_fire(event: str, latitude: float, fewest: int) -> None:
    """Polar day and night: nothing is made up, and it goes on afterwards, each year."""
    schedule = sun(event, latitude=latitude, longitude=18.9)
    fires = schedule.upcoming(START, 3 * 366)
    for year in (2026, 2027, 2028):
        assert fewest <= sum(fire.year == year for fire in fires) <= 366 or fires[-1].year == year
    assert all(earlier < later for earlier, later in pairwise(fires))


@pytest.mark.parametrize("place", [BERLIN, {"latitude": 69.6, "longitude": 18.9}, {"latitude": -45, "longitude": -179}])
@pytest.mark.parametrize("event", ["sunrise", "sunset", "midnight"])
def test_previous_is_the_way_back(event: str, place: dict[str, float]) -> None:
    """Catch-up after an outage asks for the newest one missed."""
    schedule = sun(event, **place, offset="-45m")
    fires = schedule.upcoming(START, 800)
    for earlier, later in pairwise(fires):
        assert earlier == schedule.previous(later)
        assert later == schedule.next(earlier)
        assert later == schedule.previous(later + MINUTE)


@pytest.mark.parametrize(
    ("offset", "expected"),
    [
        ("-30m", -30),
        ("+1h", 60),
        ("1h", 60),
        (90, 1.5),
        (-90.0, -1.5),
        (timedelta(minutes=-5), -5),
        (0, 0),
        ("-1d", -1440),
    ],
)
def test_offsets(offset: Any, expected: float) -> None:
    """Before and after, in all forms of a duration."""
    for fire, plain in zip(
        sun("sunset", **BERLIN, offset=offset).upcoming(START, 5),
        sun("sunset", **BERLIN).upcoming(START - timedelta(minutes=expected), 5),
        strict=True,
    ):
        assert plain + timedelta(minutes=expected) == fire


def test_twilights() -> None:
    """Civil dawn is after nautical dawn, which is after the astronomical one."""
    found = [sun("dawn", **BERLIN, depression=name).next(START) for name in ("astronomical", "nautical", "civil")]
    assert found == sorted(found, key=lambda fire: fire or START)
    assert sun("dawn", **BERLIN, depression=12) == sun("dawn", **BERLIN, depression="nautical")


def test_combines_with_other_rules() -> None:
    """Sunset on working days."""
    schedule = sun("sunset", **BERLIN) - crontab("* * * * sat,sun", tz="UTC")
    fires = schedule.upcoming(START, 300)
    assert all(fire.weekday() < 5 for fire in fires)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"event": "moonrise"}, "event is 'moonrise'; known: 'dawn', 'sunrise'"),
        ({"latitude": 91}, "latitude is 91, which is outside -89–89"),
        ({"latitude": 90}, "latitude is 90, which is outside -89–89"),
        ({"longitude": -181}, "longitude is -181, which is outside -180–180"),
        ({"latitude": "52"}, "latitude is '52'"),
        ({"latitude": float("nan")}, "latitude is nan"),
        ({"latitude": True}, "latitude is True"),
        ({"offset": "-2d"}, "offset '-2d' is outside -1d–1d"),
        ({"offset": "soon"}, "offset 'soon' is not a duration"),
        ({"offset": float("nan")}, "offset nan is not a finite number"),
        ({"offset": None}, "offset None is not a duration"),
        ({"depression": "nautical"}, "depression stands only with dawn and dusk"),
        ({"event": "dawn", "depression": "civic"}, "depression is 'civic'; give 'civil'"),
        ({"event": "dawn", "depression": 19}, "depression is 19, which is outside 0–18"),
        ({"tz": "Mars"}, "timezone 'Mars' is not known"),
    ],
)
def test_what_cannot_be_is_refused(arguments: dict[str, Any], told: str) -> None:
    """Where it is declared."""
    with pytest.raises(InvalidScheduleError, match=told):
        sun(**{"event": "sunrise", **BERLIN, **arguments})


def test_a_missing_library_is_told_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is an extra; a leader without it shows the entry as broken instead of dying."""
    monkeypatch.setitem(sys.modules, "astral.sun", None)
    with pytest.raises(InvalidScheduleError, match=r"pip install 'steadybeat\[sun\]'"):
        sun("sunrise", **BERLIN)


@pytest.mark.parametrize(
    "schedule",
    [
        sun("sunrise", **BERLIN),
        sun("dusk", **BERLIN, depression=7.5, offset="-1h30m", tz="Europe/Berlin"),
        sun("noon", latitude=-1, longitude=-0.25, offset=5.5),
    ],
    ids=repr,
)
def test_travels_as_data_and_compares_by_meaning(schedule: Any) -> None:
    """The leader computes it: there is nothing to ask ahead."""
    assert schedule == schedule_from_data(json.loads(json.dumps(schedule.as_data())))
    assert schedule == eval(repr(schedule), {"sun": sun})
    assert schedule != sun("sunset", **BERLIN)


@pytest.mark.parametrize("change", [{"offset_ms": "x"}, {"latitude": None}, {"event": 5}, {"odd": 1}])
def test_damaged_data_is_refused(change: dict[str, Any]) -> None:
    """P12."""
    with pytest.raises(InvalidScheduleError):
        schedule_from_data(sun("sunrise", **BERLIN).as_data() | change)


def test_words() -> None:
    """For `sched show`, whose zone stands beside it."""
    assert sun("sunset", **BERLIN, offset="-30m").words() == "30m before sunset at 52.52°N 13.405°E"
    assert sun("dawn", latitude=-1, longitude=-2, depression=12).words() == "nautical dawn at 1°S 2°W"
    assert sun("sunset", **BERLIN, offset="-30m").text == "sunset - 30m at 52.52, 13.405"


def test_years_run_to_the_end() -> None:
    """And no answer takes long, where half a year without a sunrise is to be crossed."""
    noon = sun("noon", latitude=0, longitude=0)
    assert len(noon.upcoming(datetime(9999, 12, 25, tzinfo=UTC), 20)) in (6, 7)
    assert noon.previous(datetime(1, 1, 1, tzinfo=UTC)) is None
    began = time.process_time()
    sun("sunrise", latitude=-88.5, longitude=17).next(datetime(2031, 3, 25, tzinfo=UTC))
    assert time.process_time() - began < 0.2
