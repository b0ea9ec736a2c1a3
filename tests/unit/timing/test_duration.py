"""Durations are read once, at the edge, into whole milliseconds."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.errors import InvalidDurationError
from scheduler.timing.duration import DURATION_MS_MAX, FORM, format_duration, parse_duration_ms


@pytest.mark.parametrize(
    ("value", "ms"),
    [
        (0, 0),
        (90, 90_000),
        (0.25, 250),
        (0.1, 100),
        (timedelta(minutes=5), 300_000),
        (timedelta(days=10, microseconds=1500), 864_000_002),
        ("90s", 90_000),
        ("5m", 300_000),
        ("1h30m", 5_400_000),
        ("2d", 172_800_000),
        ("250ms", 250),
        ("1w", 604_800_000),
        ("1w2d3h4m5s6ms", 788_645_006),
        ("1m5ms", 60_005),
        ("1.5h", 5_400_000),
        ("0.1s", 100),
        ("0s", 0),
    ],
)
def test_read(value: Any, ms: int) -> None:
    assert parse_duration_ms(value) == ms


@pytest.mark.parametrize(
    ("value", "complaint"),
    [
        (True, "True is not a duration"),
        (None, "None is not a duration"),
        (-1, "-1 is negative"),
        (-(10**400), "a number of more than 38 digits is negative"),
        (10**400, "a number of more than 38 digits is longer than 10,000 years"),
        (1e300, "1e+300 is longer than 10,000 years"),
        (float("nan"), "nan is not a finite number"),
        (float("-inf"), "-inf is not a finite number"),
        (timedelta(seconds=-1), "a value of type timedelta is negative"),
        (timedelta.max, None),
        ("", "'' is not a duration"),
        ("90", "'90' is not a duration"),
        ("-5m", "'-5m' is negative"),
        ("30m1h", "'30m1h' is not a duration"),
        ("1h1h", "'1h1h' is not a duration"),
        ("1 h", "'1 h' is not a duration"),
        ("1H", "'1H' is not a duration"),
        ("٣s", "'٣s' is not a duration"),
        ("1_0s", "'1_0s' is not a duration"),
        ("1e3s", "'1e3s' is not a duration"),
        ("999999999w", "'999999999w' is longer than 10,000 years"),
        ("1" * 2_000_000 + "s", f"'{'1' * 60}'… is not a duration"),
        (b"5m", "a value of type bytes is not a duration"),
        (Decimal(5), "a value of type Decimal is not a duration"),
        ([[]], "a value of type list is not a duration"),
    ],
)
def test_refused(value: Any, complaint: str | None) -> None:
    if complaint is None:
        assert parse_duration_ms(timedelta(days=9_999 * 365)) <= DURATION_MS_MAX
        complaint = "a value of type timedelta is longer than 10,000 years"
    with pytest.raises(InvalidDurationError) as caught:
        parse_duration_ms(value, what="expires")
    assert str(caught.value).startswith(f"expires {complaint}")
    assert str(caught.value).endswith(FORM) or "longer" in complaint


@given(st.integers(0, DURATION_MS_MAX))
def test_what_is_written_can_be_read(ms: int) -> None:
    assert parse_duration_ms(format_duration(ms)) == ms


@pytest.mark.parametrize(
    ("ms", "text"), [(0, "0s"), (5_400_000, "1h30m"), (250, "250ms"), (1_500, "1s500ms"), (604_800_000, "7d")]
)
def test_written(ms: int, text: str) -> None:
    assert format_duration(ms) == text
