"""`Table`: fires listed ahead, their short text, and how tables are told from changed rules."""

from __future__ import annotations

import json
from itertools import accumulate
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.errors import InvalidScheduleError
from scheduler.timing import every, schedule_from_data
from scheduler.timing.table import (
    FIRES_CHARS_MAX,
    FIRES_MAX,
    Table,
    decode_fires,
    encode_fires,
    known_until_ms,
    renew_at_ms,
    renews,
    same_rule,
)

DAY_MS = 86_400_000

STEPS = st.lists(st.sampled_from([1, 60_000, 3_600_000, DAY_MS, 7 * DAY_MS]), max_size=60)


def table(*fires_ms: int, from_ms: int = 0, until_ms: int | None = None, text: str = "rule") -> Table:
    """A table of *fires_ms*."""
    return Table(text=text, fires=encode_fires(fires_ms)[0], from_ms=from_ms, until_ms=until_ms, tz="UTC")


@given(st.integers(-(10**13), 10**13), STEPS)
def test_text_holds_every_fire(first_ms: int, steps: list[int]) -> None:
    """P2: what a trigger said is what the leader knows."""
    fires_ms = list(accumulate([first_ms, *steps]))
    fires, count = encode_fires(fires_ms)
    assert len(fires_ms) == count
    assert fires_ms == decode_fires(fires)


@given(STEPS, st.integers(-2, 2 * 60 * DAY_MS), st.integers(-1, 1))
def test_next_and_previous_are_those_of_the_list(steps: list[int], at_ms: int, off_ms: int) -> None:
    """The runs of the text are searched without being unfolded."""
    fires_ms = list(accumulate([1_000, *steps]))
    found = table(*fires_ms)
    for moment_ms in (at_ms, fires_ms[at_ms % len(fires_ms)] + off_ms):
        assert min((fire for fire in fires_ms if fire > moment_ms), default=None) == found.next_ms(moment_ms)
        assert max((fire for fire in fires_ms if fire < moment_ms), default=None) == found.previous_ms(moment_ms)


def test_irregular_fires_are_cut_where_their_text_gets_long() -> None:
    """A table stands on Redis with its entry, so its size is bounded whatever a trigger answers."""
    fires_ms = list(accumulate(1_000_000 + 7 * n * n for n in range(FIRES_MAX)))
    fires, count = encode_fires(fires_ms)
    assert FIRES_CHARS_MAX - 20 < len(fires) <= FIRES_CHARS_MAX
    assert fires_ms[:count] == decode_fires(fires)


def test_regular_fires_are_short() -> None:
    """A year of working days, in kilobytes."""
    days = [day for day in range(400) if day % 7 < 5]
    assert len(encode_fires([day * DAY_MS for day in days])[0]) < 2_000
    assert len(encode_fires([second * 1000 for second in range(FIRES_MAX)])[0]) < 20


def test_travels_as_data() -> None:
    """The leader has the data alone."""
    for found in (table(), table(5, 10, 15, until_ms=15), table(-5, from_ms=-10)):
        assert found == schedule_from_data(json.loads(json.dumps(found.as_data())))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"fires": "x"}, "no number of milliseconds"),
        ({"fires": "5 0"}, "no distance between fires"),
        ({"fires": "5 -5"}, "no distance between fires"),
        ({"fires": "5  5"}, "no distance between fires"),
        ({"fires": "5 5*99999"}, "outside 1–10000"),
        ({"fires": "5 999999999999999"}, "outside 1–10000 and the years 1–9999"),
        ({"fires": 5}, "no text"),
        ({"fires": "1 " * 10_000}, "no text of up to"),
        ({"from_ms": None}, "from_ms None"),
        ({"until_ms": 10**15}, "until_ms"),
        ({"text": ""}, "1–200 characters"),
        ({"odd": 1}, "odd"),
    ],
)
def test_damaged_data_is_refused(change: dict[str, Any], told: str) -> None:
    """P12: what comes from Redis is looked at like anything else."""
    with pytest.raises(InvalidScheduleError, match=told):
        schedule_from_data(table(5, 10).as_data() | change)


def test_a_table_is_renewed_when_half_of_it_is_used_up() -> None:
    """A complete one never is; of several the first to run out decides."""
    short, long = table(5, from_ms=0, until_ms=1_000).as_data(), table(5, from_ms=0, until_ms=4_000).as_data()
    nested = {"kind": "union", "parts": [long, every("1s").as_data(), {"kind": "x", "a": short}]}
    assert (renew_at_ms(nested), known_until_ms(nested)) == (500, 1_000)
    assert (renew_at_ms(table(5).as_data()), known_until_ms(every("1s").as_data())) == (None, None)


def test_a_later_table_of_the_same_rule_renews_it() -> None:
    """What was armed by the one is right by the other, so that nothing is withdrawn and no mark moves."""
    old = table(10, 20, 30, 40, from_ms=0, until_ms=40).as_data()
    new = table(30, 40, 50, 60, from_ms=25, until_ms=60).as_data()
    assert renews(old, new)
    assert renews({"kind": "x", "parts": [old, 5]}, {"kind": "x", "parts": [new, 5]})
    assert not renews({"kind": "x", "parts": [old, 5]}, {"kind": "x", "parts": [new, 6]})


@pytest.mark.parametrize(
    ("new", "is_same_rule"),
    [
        (table(30, 41, 50, from_ms=25, until_ms=60), True),
        (table(30, 50, from_ms=25, until_ms=60), True),
        (table(30, 35, 40, 50, from_ms=25, until_ms=60), True),
        (table(30, from_ms=25), True),
        (table(30, 40, from_ms=25, until_ms=60, text="another"), False),
        (every("10s"), False),
    ],
)
def test_a_table_that_disagrees_is_a_changed_rule(new: Any, is_same_rule: bool) -> None:
    """An edit of a trigger that does not tell what it is shows only in its fires."""
    old = table(10, 20, 30, 40, from_ms=0, until_ms=40).as_data()
    assert not renews(old, new.as_data())
    assert is_same_rule == same_rule(old, new.as_data())
