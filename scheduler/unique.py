"""
Unique keys: what makes two runs the same, so that only one of them is alive at a time. Pure.

A rule gives the key of a call; the key travels in the message's header as ``"<how long it may be held, in ms> <key>"`` and names
the holder on Redis until the run has ended. See `TaskOptions.unique`.
"""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable, Mapping, Sequence
from string import Formatter
from typing import Any

import msgspec

KEY_CHARS_MAX = 120
"""A longer key stands as its digest."""


class UniqueRule(msgspec.Struct, frozen=True):
    """
    What makes runs of a task the same.

    Attributes:
        template: Text with names of arguments in braces; empty: all arguments.
        make: Instead of that: called with the arguments, it returns the key.
    """

    template: str = ""
    make: Callable[..., Any] | None = None


def read_rule(value: Any, name: str) -> UniqueRule | None:
    """
    The rule that *value* says: True, a template such as ``"{customer}"``, or a callable; None for False and None.

    Raises:
        ValueError: It is something else.
    """
    if value is None or value is False:
        return None
    if value is True:
        return UniqueRule()
    if isinstance(value, str) and value.strip():
        try:
            fields = [field for _, field, _, _ in Formatter().parse(value) if field is not None]
        except ValueError as error:
            raise ValueError(f"{name} {value!r}: {error}") from None
        if not all(_root(field).isidentifier() for field in fields):
            raise ValueError(f"{name} {value!r}: expected names of arguments in the braces, as in '{{customer}}'")
        return UniqueRule(template=value)
    if callable(value):
        return UniqueRule(make=value)
    raise ValueError(
        f"{name} {value!r}: expected True (same arguments), a text with names of arguments, as in '{{customer}}', or a callable"
    )


def rule_complaint(rule: UniqueRule, parameters: inspect.Signature | None) -> str | None:
    """Why *rule* does not go together with a function that takes *parameters*, or None if it does."""
    if parameters is None or not rule.template:
        return None
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.parameters.values()):
        return None
    for _, field, _, _ in Formatter().parse(rule.template):
        if field is not None and _root(field) not in parameters.parameters:
            known = ", ".join(parameters.parameters) or "none at all"
            return f"unique {rule.template!r}: the function has no argument {_root(field)!r} (it has {known})"
    return None


def unique_text(
    rule: UniqueRule,
    task: str,
    parameters: inspect.Signature | None,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    *,
    held_ms: int,
) -> str:
    """
    The key of a run of *task* with these arguments, as its header has it.

    Args:
        parameters: Those of the function, without a bound `self`; None where nobody knows them: then arguments have only the
            names that the caller gives.
        held_ms: How long the key may be held at most.

    Raises:
        ValueError: The rule cannot be used with these arguments.
    """
    what = f"task {task!r}: unique"
    if rule.make is not None:
        try:
            found = rule.make(*args, **kwargs)
        except Exception as error:
            raise ValueError(f"{what}: the callable raised {type(error).__name__}: {error}") from error
        if not isinstance(found, str | int) or found == "":
            raise ValueError(f"{what}: the callable returned {found!r}; expected text")
        key = str(found)
    elif rule.template:
        bound = _bound(parameters, args, kwargs)
        try:
            key = rule.template.format_map(bound)
        except (KeyError, AttributeError, IndexError, ValueError, TypeError) as error:
            why = f"no argument {error} is given" if isinstance(error, KeyError) else str(error)
            raise ValueError(f"{what} {rule.template!r}: {why}") from None
    else:
        try:
            data = msgspec.json.encode(_bound(parameters, args, kwargs), order="deterministic")
        except (TypeError, ValueError, RecursionError, OverflowError) as error:
            raise ValueError(
                f"{what}=True needs arguments that JSON can carry ({error}); give a template or a callable"
            ) from None
        key = _digest(data)
    return key_text(task, key, held_ms=held_ms)


def key_text(task: str, key: str, *, held_ms: int) -> str:
    """What the header of a run of *task* says of its key *key*."""
    if len(key) > KEY_CHARS_MAX or not key.isprintable():
        key = _digest(key.encode("utf-8", "replace"))
    return f"{held_ms} {task}:{key}"


def key_shown(text: str) -> str:
    """The key in *text*, what a header has, for people."""
    return text.partition(" ")[2]


def held_ms_of(text: str) -> int:
    """How long the key in *text* may be held at most."""
    return int(text.partition(" ")[0])


def _bound(parameters: inspect.Signature | None, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments by name, defaults included, so that ``f(1, b=2)`` and ``f(1, 2)`` are the same."""
    if parameters is None:
        return {"*": list(args), **kwargs} if args else dict(kwargs)
    try:
        bound = parameters.bind(*args, **kwargs)
    except TypeError as error:
        raise ValueError(str(error)) from None
    bound.apply_defaults()
    named = dict(bound.arguments)
    for name, parameter in parameters.parameters.items():
        if parameter.kind is parameter.VAR_KEYWORD:
            named |= named.pop(name)
    return named


def _root(field: str) -> str:
    """The argument that a field of a template begins with."""
    return field.replace("[", ".").partition(".")[0]


def _digest(data: bytes) -> str:
    return hashlib.sha1(data, usedforsecurity=False).hexdigest()
