"""Whether there is another attempt, and when."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from scheduler.errors import Retry
from scheduler.options import TaskOptions
from worker.retry import Again, backoff_ms, decide, original


def test_an_exception_that_was_not_named_ends_the_run() -> None:
    """`retry_for` lists what is worth another attempt."""
    options = TaskOptions(retry_for=(OSError,))
    assert decide(ValueError(), options, attempt=1, chance=1.0) is None
    assert decide(ValueError(), TaskOptions(), attempt=1, chance=1.0) is None


def test_a_subclass_of_a_named_exception_is_retried() -> None:
    """As `except` would have it."""
    assert decide(ConnectionError(), TaskOptions(retry_for=(OSError,)), attempt=1, chance=1.0) == Again(1_000)


def test_max_retries_counts_retries_and_not_attempts() -> None:
    """Three retries are four attempts."""
    options = TaskOptions(retry_for=(OSError,), max_retries=3)
    assert decide(OSError(), options, attempt=3, chance=1.0) is not None
    assert decide(OSError(), options, attempt=4, chance=1.0) is None


def test_without_a_limit_it_goes_on() -> None:
    """`max_retries=None`, and no overflow however long it goes on."""
    options = TaskOptions(retry_for=(OSError,), max_retries=None)
    assert decide(OSError(), options, attempt=100_000, chance=1.0) == Again(600_000)


def test_a_task_may_ask_with_its_own_countdown_and_limit() -> None:
    """`self.retry(countdown=…, max_retries=…)`: no backoff, no jitter."""
    options = TaskOptions(max_retries=0)
    assert decide(Retry(countdown_s=2.5, max_retries=1), options, attempt=1, chance=0.0) == Again(2_500)
    assert decide(Retry(countdown_s=2.5), options, attempt=1, chance=0.0) is None


@given(retries=st.integers(0, 200), first_ms=st.integers(0, 10**7), chance=st.floats(0, 1))
def test_the_backoff_stays_in_bounds(retries: int, first_ms: int, chance: float) -> None:
    """Never negative, never above the longest pause (or the first)."""
    options = TaskOptions(retry_backoff_ms=first_ms, retry_backoff_max_ms=60_000)
    assert 0 <= backoff_ms(options, retries=retries, chance=chance) <= max(60_000, first_ms)


def test_an_exception_may_be_left_out_of_those_that_are_named() -> None:
    """`dont_retry_for`: every OSError is worth another attempt, but a missing file stays missing."""
    options = TaskOptions(retry_for=(OSError,), dont_retry_for=(FileNotFoundError,))
    assert decide(OSError(), options, attempt=1, chance=1.0) == Again(1_000)
    assert decide(FileNotFoundError(), options, attempt=1, chance=1.0) is None


def test_the_backoff_ends_where_the_task_says() -> None:
    """1 s, 2 s, 3 s, 3 s."""
    options = TaskOptions(retry_jitter=False, retry_backoff_max_ms=3_000)
    assert [backoff_ms(options, retries=n, chance=0.1) for n in range(4)] == [1_000, 2_000, 3_000, 3_000]


def test_the_backoff_doubles_without_jitter() -> None:
    """1 s, 2 s, 4 s."""
    options = TaskOptions(retry_jitter=False)
    assert [backoff_ms(options, retries=n, chance=0.1) for n in range(3)] == [1_000, 2_000, 4_000]


def test_the_original_exception_is_found_behind_retry() -> None:
    """What people want to read in the end."""
    cause = ValueError("why")
    assert original(Retry(exc=cause)) is cause
    assert original(cause) is cause
    alone = Retry()
    assert original(alone) is alone
