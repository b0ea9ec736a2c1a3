"""Celery's options of tasks: translated, told, or refused; and never dropped without a word."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from scheduler import Task, declare, task
from scheduler.celery_options import ALIASES, PASSED, translate_options
from scheduler.errors import InvalidTaskError
from scheduler.options import TASK_OPTIONS, read_options

CELERYS = [
    "pydantic", "pydantic_strict", "pydantic_context", "pydantic_dump_kwargs",
    "typing", "rate_limit", "store_errors_even_if_ignored", "compression", "max_retries",
    "default_retry_delay", "ignore_result", "trail", "send_events", "serializer",
    "time_limit", "soft_time_limit", "backend", "track_started", "acks_late",
    "acks_on_failure_or_timeout", "acks_on_failure", "acks_on_timeout", "reject_on_worker_lost", "retry_on_worker_lost",
    "throws", "expires", "priority", "resultrepr_maxsize", "Strategy",
    "Request", "autoretry_for", "dont_autoretry_for", "retry_kwargs", "retry_backoff",
    "retry_backoff_max", "retry_jitter", "queue",
]  # fmt: skip
"""What Celery 5.7 documents for tasks; `name bind base` are read elsewhere."""


@pytest.fixture(autouse=True)
def _own_declarations() -> Iterator[None]:
    before = declare.set_current(None)
    yield
    declare.set_current(before)


@pytest.mark.parametrize("name", CELERYS)
def test_every_option_of_celery_is_known_in_one_way(name: str) -> None:
    ways = [name in TASK_OPTIONS, name in ALIASES, name in PASSED]
    assert sum(ways) == 1, name


@pytest.mark.parametrize(
    ("given", "fields"),
    [
        ({"autoretry_for": (KeyError,)}, {"retry_for": (KeyError,)}),
        (
            {"autoretry_for": (OSError,), "dont_autoretry_for": (FileNotFoundError,)},
            {"retry_for": (OSError,), "dont_retry_for": (FileNotFoundError,)},
        ),
        ({"retry_backoff": True}, {"retry_backoff_ms": 1_000}),
        ({"retry_backoff": 5, "retry_backoff_max": 700}, {"retry_backoff_ms": 5_000, "retry_backoff_max_ms": 700_000}),
        (
            {"default_retry_delay": 30 * 60},
            {"retry_backoff_ms": 1_800_000, "retry_backoff_max_ms": 1_800_000, "retry_jitter": False},
        ),
        (
            {"retry_kwargs": {"max_retries": 5, "countdown": 2}},
            {"max_retries": 5, "retry_backoff_ms": 2_000, "retry_backoff_max_ms": 2_000, "retry_jitter": False},
        ),
        ({"acks_late": True}, {"ack": "late"}),
        ({"acks_late": False}, {"ack": "early"}),
        ({"acks_late": None, "reject_on_worker_lost": True, "acks_on_failure_or_timeout": True}, {}),
    ],
)
def test_an_option_with_a_counterpart_means_the_same(given: dict[str, Any], fields: dict[str, Any]) -> None:
    ours, complaints, notes = translate_options(given)
    values, more = read_options(ours)
    assert (complaints, more, notes) == ([], [], [])
    assert fields == values


def test_what_has_no_meaning_is_told_once_and_not_dropped() -> None:
    @task(name="t", send_events=False, throws=(KeyError,), reject_on_worker_lost=False, track_started=True)
    def f() -> None: ...

    assert [note.partition(": ")[0] for note in f.notes] == [
        "send_events=False has no meaning here",
        "throws=(<class 'KeyError'>,) has no meaning here",
        "reject_on_worker_lost=False has no meaning here",
    ]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            {"autoretry_for": (KeyError,), "retry_for": (OSError,)},
            "autoretry_for and retry_for say different things ((<class 'KeyError'>,), (<class 'OSError'>,)); give one of them",
        ),
        ({"ack": "each", "acks_late": True}, "ack and acks_late say different things ('each', 'late')"),
        (
            {"max_retries": 3, "retry_kwargs": {"max_retries": 5}},
            "max_retries and retry_kwargs say different things (3, 5)",
        ),
        ({"retry_kwargs": {"eta": 5}}, "retry_kwargs: eta: expected max_retries, countdown"),
        ({"acks_late": "yes"}, "acks_late 'yes': expected True or False"),
        (
            {"acks_late": False, "autoretry_for": OSError},
            "acks_late=False is ack='early' here, at most once, so autoretry_for",
        ),
    ],
)
def test_two_names_that_contradict_each_other_are_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidTaskError) as caught:
        task(name="t", **options)(lambda: None)
    assert said in str(caught.value)
    assert str(caught.value).startswith("task 't': ")


def test_the_same_said_twice_is_no_contradiction() -> None:
    assert task(name="t", ack="late", acks_late=True)(lambda: None).options.ack == "late"


def test_a_base_class_says_options_as_attributes() -> None:
    """Celery's guide, "Automatic retry for known exceptions", by a class; the decorator weighs more."""

    class Stubborn(Task):
        autoretry_for = (TypeError,)
        max_retries = 5
        retry_backoff = True
        retry_backoff_max = 700
        retry_jitter = False

        def on_failure(self, *args: Any) -> None: ...

    @task(name="t", base=Stubborn, max_retries=7)
    def f() -> None: ...

    options = f.options
    assert ((TypeError,), 7, 1_000, 700_000, False) == (
        options.retry_for, options.max_retries, options.retry_backoff_ms, options.retry_backoff_max_ms, options.retry_jitter,
    )  # fmt: skip


def test_without_typing_nobody_compares_arguments() -> None:
    """Celery's `typing=False`: the worker finds out."""
    f = task(name="t", typing=False)(lambda a: a)
    f.check_arguments((1, 2, 3), {})
    with pytest.raises(TypeError, match="too many positional"):
        task(name="u")(lambda a: a).check_arguments((1, 2, 3), {})
