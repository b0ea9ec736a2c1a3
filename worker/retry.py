"""Whether there is another attempt, and when. Pure: chance is handed in."""

from __future__ import annotations

from typing import NamedTuple

from scheduler.errors import Retry
from scheduler.options import TaskOptions

DOUBLINGS_MAX = 40
"""Keeps the arithmetic in bounds; the backoff has long reached its maximum."""


class Again(NamedTuple):
    """Run it again after *delay_ms*."""

    delay_ms: int


def decide(error: BaseException, options: TaskOptions, *, attempt: int, chance: float) -> Again | None:
    """
    What follows after attempt number *attempt* (from 1) ended with *error*: another one, or nothing.

    Args:
        error: What the task raised; `Retry` where it asked for another attempt itself.
        chance: From 0 to 1, drawn by the caller; jitter takes that part of the backoff.
    """
    asked = error if isinstance(error, Retry) else None
    if asked is None and not _is_worth_it(error, options):
        return None
    retries = attempt - 1
    retries_max = asked.max_retries if asked is not None and asked.max_retries is not None else options.max_retries
    if retries_max is not None and retries >= retries_max:
        return None
    if asked is not None and asked.countdown_s is not None:
        return Again(max(0, round(asked.countdown_s * 1000)))
    return Again(backoff_ms(options, retries=retries, chance=chance))


def _is_worth_it(error: BaseException, options: TaskOptions) -> bool:
    """Whether the task named *error* among what is worth another attempt."""
    if not options.retry_for or not isinstance(error, options.retry_for):
        return False
    return not isinstance(error, options.dont_retry_for)


def backoff_ms(options: TaskOptions, *, retries: int, chance: float) -> int:
    """The pause after *retries* earlier retries: doubled each time, up to the longest (or the first, if that is longer)."""
    longest_ms = max(options.retry_backoff_max_ms, options.retry_backoff_ms)
    whole_ms = min(longest_ms, options.retry_backoff_ms << min(retries, DOUBLINGS_MAX))
    return round(whole_ms * chance) if options.retry_jitter else int(whole_ms)


def original(error: BaseException) -> BaseException:
    """What went wrong, once there is no further attempt: the exception that led to `Retry`, or that itself."""
    if isinstance(error, Retry):
        return error.exc or error.__cause__ or error.__context__ or error
    return error
