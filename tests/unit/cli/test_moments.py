"""Moments as people write and read them."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from scheduler.cli.moments import InvalidMomentError, read_moment, read_span_ms, show_moment, show_span, zone
from scheduler.clock import to_ms
from scheduler.errors import InvalidDurationError, UnknownZoneError

BERLIN = ZoneInfo("Europe/Berlin")
NOW = datetime(2026, 11, 21, 4, 30, 0, tzinfo=UTC)


def read(text: str) -> datetime:
    moment_ms = read_moment(text, what="--until", tz=BERLIN, now_ms=to_ms(NOW))
    return datetime.fromtimestamp(moment_ms / 1000, UTC)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("now", NOW),
        ("10m", NOW.replace(minute=40)),
        ("+1h30m", NOW.replace(hour=6, minute=0)),
        ("in 2 h", NOW.replace(hour=6)),
        ("-2h", NOW.replace(hour=2)),
        ("2h ago", NOW.replace(hour=2)),
        ("yesterday 09:00", datetime(2026, 11, 20, 8, tzinfo=UTC)),
        ("2026-11-22", datetime(2026, 11, 21, 23, tzinfo=UTC)),
        ("2026-11-22 09:00", datetime(2026, 11, 22, 8, tzinfo=UTC)),
        ("2026-11-22T09:00Z", datetime(2026, 11, 22, 9, tzinfo=UTC)),
        ("2026-07-01T09:00", datetime(2026, 7, 1, 7, tzinfo=UTC)),
        ("2026-11-22T09:00+09:00", datetime(2026, 11, 22, 0, tzinfo=UTC)),
        ("2026-1-5 9:00", datetime(2026, 1, 5, 8, tzinfo=UTC)),
        ("09:00", datetime(2026, 11, 21, 8, tzinfo=UTC)),
        ("9pm", datetime(2026, 11, 21, 20, tzinfo=UTC)),
        ("tomorrow 09:00", datetime(2026, 11, 22, 8, tzinfo=UTC)),
        ("tomorrow", datetime(2026, 11, 21, 23, tzinfo=UTC)),
        ("21 Nov 2026 9pm", datetime(2026, 11, 21, 20, tzinfo=UTC)),
        ("25/12/2026", datetime(2026, 12, 24, 23, tzinfo=UTC)),
    ],
)
def test_what_names_no_zone_is_read_in_the_zone_of_the_command(text: str, expected: datetime) -> None:
    """A pause until `09:00` ends when the clock on the wall of whoever typed it says so."""
    assert expected == read(text)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "is not a moment"),
        ("soon", "is not a moment"),
        ("10", "is not a moment"),
        ("2026-13-01", "is not a moment"),
        ("2026-02-30", "is not a moment"),
        ("12345678901234567890", "is not a moment"),
        ("0001-01-01", "outside the calendar"),
        ("500000w", "outside the calendar"),
        ("01/02/2026", "could be two dates"),
        ("3.4.26", "could be two dates"),
        ("2026-03-01 09:00 EST", "EST"),
        ("tomorrow EST", "is not a moment"),
    ],
)
def test_what_could_be_misread_is_refused_in_one_line(text: str, complaint: str) -> None:
    """dateutil guesses (13 becomes a day, an unknown zone becomes none); a pause must not end at a guess."""
    with pytest.raises(InvalidMomentError) as refused:
        read(text)
    message = str(refused.value)
    assert message.startswith("--until")
    assert complaint in message
    assert "\n" not in message


@pytest.mark.parametrize(("text", "expected_ms"), [("30", 30_000), ("0.5", 500), ("1h30m", 5_400_000), ("250ms", 250)])
def test_a_bare_number_is_seconds(text: str, expected_ms: int) -> None:
    assert expected_ms == read_span_ms(text, what="--timeout")


@pytest.mark.parametrize("text", ["", "5 minutes", "-5s", "nan", "1e9"])
def test_a_bad_duration_names_its_option(text: str) -> None:
    with pytest.raises(InvalidDurationError, match=r"^--timeout"):
        read_span_ms(text, what="--timeout")


def test_a_moment_is_shown_with_weekday_and_zone() -> None:
    """Whoever reads a time must not have to ask in which zone."""
    assert show_moment(to_ms(NOW), BERLIN) == "Sat 2026-11-21 05:30:00 CET"
    assert show_moment(to_ms(NOW) + 250, UTC) == "Sat 2026-11-21 04:30:00.250 UTC"
    assert show_moment(to_ms(NOW), ZoneInfo("America/Sao_Paulo")) == "Sat 2026-11-21 01:30:00 UTC-03"
    assert show_moment(None, UTC) == ""


@pytest.mark.parametrize(
    ("ms", "expected"),
    [
        (0, "0ms"),
        (40, "40ms"),
        (2500, "2.5s"),
        (9999, "10s"),
        (65_000, "1m 5s"),
        (3_600_000, "1h"),
        (3_660_000, "1h 1m"),
        (273_600_000, "3d 4h"),
        (-40, "-40ms"),
    ],
)
def test_a_span_is_shown_to_two_units(ms: int, expected: str) -> None:
    assert expected == show_span(ms)


def test_an_unknown_zone_is_refused_with_the_nearest() -> None:
    with pytest.raises(UnknownZoneError, match="Europe/Berlin"):
        zone("Europe/Berlim")
