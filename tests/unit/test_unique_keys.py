"""What makes two runs the same: `scheduler.unique`."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

from scheduler import task
from scheduler.errors import InvalidTaskError
from scheduler.unique import KEY_CHARS_MAX, UniqueRule, key_shown, read_rule, unique_text


def bill(customer: str, amount: int = 5, **more: Any) -> None:
    """A function with a default."""


SIGNATURE = inspect.signature(bill)


def key(rule: Any, *args: Any, **kwargs: Any) -> str:
    """The key of a call of `bill`."""
    read = read_rule(rule, "unique")
    assert read is not None
    return key_shown(unique_text(read, "t.bill", SIGNATURE, args, kwargs, held_ms=1_000))


def test_true_means_the_same_arguments_however_they_are_given() -> None:
    """By position, by name, or by default."""
    assert (
        key(True, "acme") == key(True, customer="acme") == key(True, "acme", 5) == key(True, amount=5, customer="acme")
    )
    assert len({key(True, "acme"), key(True, "acme", 6), key(True, "other"), key(True, "acme", x=1)}) == 4


def test_a_template_looks_at_what_it_names() -> None:
    """Whatever else differs."""
    assert key("{customer}", "acme", 7) == key("{customer}", customer="acme") == "t.bill:acme"
    assert key("{customer}-{x[0]}", "acme", x=[3]) == "t.bill:acme-3"
    assert key("nightly", "acme") == "t.bill:nightly"


def test_a_callable_is_asked() -> None:
    """With the arguments of the call."""
    assert key(lambda customer, amount=0: f"{customer}/{amount}", "acme", amount=2) == "t.bill:acme/2"


def test_a_long_or_unprintable_key_stands_as_its_digest() -> None:
    """It names a key on Redis and is shown to people."""
    assert len(key("{customer}", "x" * 1000)) < KEY_CHARS_MAX + 10
    assert key("{customer}", "x" * 1000) != key("{customer}", "x" * 1001)
    assert key("{customer}", "a\nb").isprintable()


def test_tasks_do_not_share_keys() -> None:
    """The name of the task is part of the key; how long it may be held stands in front."""
    rule = UniqueRule(template="{customer}")
    texts = {unique_text(rule, name, SIGNATURE, ("acme",), {}, held_ms=2_000) for name in ("a", "b")}
    assert texts == {"2000 a:acme", "2000 b:acme"}


@pytest.mark.parametrize("value", [None, False])
def test_none_and_false_mean_no_key(value: Any) -> None:
    """As if nothing had been said."""
    assert read_rule(value, "unique") is None


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (3, "expected True"),
        ("", "expected True"),
        ("{", "unique '{'"),
        ("{}", "names of arguments"),
        ("{0}", "names of arguments"),
    ],
)
def test_what_cannot_be_a_rule_is_refused(value: Any, said: str) -> None:
    """At the declaration, with what is allowed."""
    with pytest.raises(ValueError, match=said):
        read_rule(value, "unique")


def test_a_template_that_names_no_argument_is_refused_where_the_task_is_declared() -> None:
    """A slip would make all runs the same."""
    with pytest.raises(InvalidTaskError, match=r"no argument 'costumer' \(it has customer\)"):

        @task(unique="{costumer}")
        def send(customer: str) -> None: ...


def test_a_callable_that_breaks_says_so() -> None:
    """To whoever calls."""
    with pytest.raises(ValueError, match="unique: the callable raised ZeroDivisionError"):
        key(lambda _: 1 / 0, "acme")
    with pytest.raises(ValueError, match="the callable returned None"):
        key(lambda _: None, "acme")
