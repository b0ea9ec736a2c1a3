"""Jitter is a function of entry and due time, and stays below the next fire."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from scheduler.timing.jitter import jitter_ms


def test_it_is_the_same_in_every_process() -> None:
    """A new leader must plan the same moment; these numbers may not change between releases."""
    assert [jitter_ms("reports.daily", due_ms, 60_000, None) for due_ms in (0, 60_000, 120_000)] == [4923, 6906, 43554]


def test_it_differs_between_entries_and_due_times() -> None:
    assert len({jitter_ms(f"job-{n}", 0, 60_000, None) for n in range(1000)}) > 900
    assert len({jitter_ms("job", 60_000 * n, 60_000, None) for n in range(1000)}) > 900


@given(st.text(max_size=50), st.integers(-(10**13), 10**14), st.integers(0, 10**9), st.none() | st.integers(1, 10**10))
def test_bounds(name: str, due_ms: int, jitter_max_ms: int, distance_ms: int | None) -> None:
    next_due_ms = None if distance_ms is None else due_ms + distance_ms
    bound_ms = jitter_max_ms if distance_ms is None else min(jitter_max_ms, distance_ms)
    assert 0 <= jitter_ms(name, due_ms, jitter_max_ms, next_due_ms) < max(1, bound_ms)
