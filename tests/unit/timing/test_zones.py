"""Zones come by name, from the newest data, and are held against `zoneinfo`."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import pytz

from scheduler.errors import InvalidScheduleError, UnknownZoneError
from scheduler.timing import zones
from scheduler.timing.tzif import Footer, parse_footer, parse_tzif
from scheduler.timing.zones import get_zone, known_names, tzdata_source, tzdata_version, zone_name, zone_table
from tests.unit.timing.brute import ZONES, transitions, zone_info

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("tz", "name"),
    [
        ("Europe/Berlin", "Europe/Berlin"),
        ("UTC", "UTC"),
        ("US/Eastern", "US/Eastern"),
        ("America/Argentina/Buenos_Aires", "America/Argentina/Buenos_Aires"),
        ("Etc/GMT+5", "Etc/GMT+5"),
        (ZoneInfo("Asia/Shanghai"), "Asia/Shanghai"),
        (UTC, "UTC"),
        (timezone.utc, "UTC"),  # noqa: UP017 - the other name
        (pytz.timezone("America/New_York"), "America/New_York"),
        (pytz.utc, "UTC"),
    ],
)
def test_names(tz: Any, name: str) -> None:
    assert zone_name(tz) == name


@pytest.mark.parametrize(
    ("tz", "message"),
    [
        (
            "Europe/Berln",
            "timezone 'Europe/Berln' is not known; the nearest known names are Europe/Berlin, Europe/Belfast, ",
        ),
        ("New York", "timezone 'New York' is not known; the nearest known names are America/New_York, "),
        ("shanghai", "timezone 'shanghai' is not known; the nearest known names are Asia/Shanghai, "),
        ("", "timezone '' is not known"),
        ("../../etc/passwd", "timezone '../../etc/passwd' is not known"),
        ("/etc/localtime", "timezone '/etc/localtime' is not known"),
        (
            "posix/Europe/Berlin",
            "timezone 'posix/Europe/Berlin' is not known; the nearest known names are Europe/Berlin",
        ),
        ("right/UTC", "timezone 'right/UTC' is not known"),
        ("Europe", "timezone 'Europe' is not known"),
        ("Europe/Berlin\n", "timezone 'Europe/Berlin\\n' is not known"),
        ("x" * 2_000_000, f"timezone '{'x' * 60}'… is not known"),
        (None, "timezone None has no IANA name; give a name such as 'Europe/Berlin', a ZoneInfo, or a pytz zone"),
        (timezone(timedelta(hours=8)), "timezone a value of type timezone has no IANA name; "),
        (b"UTC", "timezone a value of type bytes has no IANA name; "),
        (3, "timezone 3 has no IANA name; "),
        ([[]], "timezone a value of type list has no IANA name; "),
    ],
)
def test_unknown_names(tz: Any, message: str) -> None:
    with pytest.raises(UnknownZoneError) as caught:
        zone_name(tz)
    assert str(caught.value).startswith(message)
    assert isinstance(caught.value, InvalidScheduleError)


def test_the_table_agrees_with_zoneinfo() -> None:
    """Every zone at moments from the year 1 to 9999, and on both sides of its transitions."""
    dice = random.Random(20260101)
    for name in known_names():
        table, info = zone_table(name), get_zone(name)
        moments = [dice.randrange(-62_135_000_000, 253_402_200_000) for _ in range(6)]
        moments += [dice.randrange(-3_000_000_000, 5_000_000_000) for _ in range(6)]
        for start in dice.sample(table.starts_s[1:], min(4, len(table.starts_s) - 1)):
            moments += [start - 1, start]
        for moment in moments:
            expected = (EPOCH + timedelta(seconds=moment)).astimezone(info).utcoffset()
            assert timedelta(seconds=table.offset_s(moment)) == expected, (name, moment)


@pytest.mark.parametrize("name", ZONES)
def test_transitions_agree_with_a_search_by_days(name: str) -> None:
    low, high = (int((datetime(year, 1, 1, tzinfo=UTC) - EPOCH).total_seconds()) for year in (1990, 2040))
    found = [int((moment - EPOCH).total_seconds()) for moment in transitions(name)]
    assert [start for start in zone_table(name).starts_s if low <= start < high] == found


def test_the_newest_data_is_used(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A system of 2025b must not win over a package of 2026, nor the other way round."""
    (tmp_path / "UTC").write_bytes(b"TZif")
    monkeypatch.setattr(zones.zoneinfo, "TZPATH", (str(tmp_path),))
    for system, package, source in (
        ("2025b", "2026f", "tzdata package"),
        ("2027a", "2026f", str(tmp_path)),
        ("2026f", "2026f", "tzdata package"),
        ("2026f", None, str(tmp_path)),
    ):
        (tmp_path / "tzdata.zi").write_text(f"# version {system}\n")
        monkeypatch.setattr(zones, "_package_version", lambda version=package: version)
        zones._data.cache_clear()
        assert (tzdata_source(), tzdata_version()) == (source, max(system, package or ""))
    zones._data.cache_clear()


def test_version_and_source_are_told() -> None:
    assert tzdata_version()[:2] == "20"
    assert tzdata_source()


def test_zone_info_comes_from_the_same_data() -> None:
    assert get_zone("America/Vancouver").key == "America/Vancouver"
    moment = datetime(2027, 1, 1, tzinfo=UTC)
    assert moment.astimezone(get_zone("America/Vancouver")).utcoffset() == timedelta(
        seconds=zone_table("America/Vancouver").offset_s(int((moment - EPOCH).total_seconds()))
    )


def test_footers() -> None:
    """The POSIX rule in its odder forms: half hours, times before midnight and beyond the day, Julian days."""
    assert parse_footer("UTC0") == Footer(0)
    assert parse_footer("<+0330>-3:30").std_offset_s == 12_600
    nuuk = parse_footer("<-02>2<-01>,M3.5.0/-1,M10.5.0/0")
    assert [offset for _, offset in nuuk.transitions(2026)] == [-3600, -7200]
    southern = parse_footer("<+1030>-10:30<+11>-11,M10.1.0,M4.1.0")
    assert [offset for _, offset in southern.transitions(2026)] == [37_800, 39_600]
    julian = parse_footer("AAA0BBB,J60/0,300/26")
    days = [(EPOCH + timedelta(seconds=at)).strftime("%m-%d %H") for at, _ in julian.transitions(2024)]
    assert days == ["03-01 00", "10-28 01"]


@pytest.mark.parametrize("data", [b"", b"TZif", b"TZif2" + bytes(39), b"#!/bin/sh", b"TZif2" + b"\xff" * 100])
def test_broken_files_are_value_errors(data: bytes) -> None:
    with pytest.raises(ValueError):
        parse_tzif(data)


def test_the_brute_force_reads_the_same_version() -> None:
    assert zone_info("Europe/Berlin").key == "Europe/Berlin"
