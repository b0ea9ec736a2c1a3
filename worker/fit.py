"""
Arguments as a task's annotations want them: dataclasses and their like travel as mappings, and become what they were here.

Only what names a class with fields, or an enum, is converted: ``order: Order``, ``lines: list[Line] | None``, ``colour: Colour``.
Every other annotation is left to the task, as Python leaves it.
"""

from __future__ import annotations

import dataclasses
import enum
import inspect
import typing
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import msgspec

from scheduler.errors import UndecodableMessageError
from scheduler.task import Task

_KINDS = inspect.Parameter


class Fit:
    """
    Converts the arguments of one task.

    Args:
        parameters: Of its function, without the bound `self`.
        hints: Their annotations, by name; only of those that are to be converted.
    """

    def __init__(self, task: str, parameters: list[inspect.Parameter], hints: Mapping[str, Any]) -> None:
        self._task = task
        self._hints = hints
        self._ordered = [
            one.name for one in parameters if one.kind in (_KINDS.POSITIONAL_ONLY, _KINDS.POSITIONAL_OR_KEYWORD)
        ]
        self._named = {
            one.name for one in parameters if one.kind in (_KINDS.POSITIONAL_OR_KEYWORD, _KINDS.KEYWORD_ONLY)
        }
        self._rest = next((one.name for one in parameters if one.kind is _KINDS.VAR_POSITIONAL), "")
        self._others = next((one.name for one in parameters if one.kind is _KINDS.VAR_KEYWORD), "")

    def __call__(self, args: list[Any], kwargs: dict[str, Any]) -> None:
        """
        Convert *args* and *kwargs* in place.

        Raises:
            UndecodableMessageError: One of them does not fit; the message names it.
        """
        for at, value in enumerate(args):
            name = self._ordered[at] if at < len(self._ordered) else self._rest
            if name in self._hints:
                args[at] = _converted(self._task, name, self._hints[name], value)
        for key, value in kwargs.items():
            name = key if key in self._named else self._others
            if name in self._hints:
                kwargs[key] = _converted(self._task, key, self._hints[name], value)


def fitting(task: Task) -> Fit | None:
    """What converts the arguments of *task*; None where none has to be."""
    try:
        parameters = list(inspect.signature(task.fn).parameters.values())[1 if task.bind else 0 :]
    except (ValueError, TypeError):
        return None  # written in C
    hints = _hints(task.fn, parameters)
    wanted = {one.name: hints[one.name] for one in parameters if one.name in hints and _has_fields(hints[one.name])}
    return Fit(task.name, parameters, wanted) if wanted else None


def _hints(fn: Any, parameters: list[inspect.Parameter]) -> dict[str, Any]:
    """The annotations of *parameters* that mean something here: names may be there for type checkers only."""
    try:
        return typing.get_type_hints(fn)
    except Exception:
        names = getattr(inspect.unwrap(fn), "__globals__", {})
    found = {}
    for one in parameters:
        with suppress(Exception):
            found[one.name] = eval(one.annotation, names) if isinstance(one.annotation, str) else one.annotation
    return found


def _converted(task: str, name: str, annotation: Any, value: Any) -> Any:
    if isinstance(annotation, type) and isinstance(value, annotation):
        return value  # it was pickled, and is what it was
    try:
        return msgspec.convert(value, annotation, from_attributes=True, dec_hook=_by_its_own_means)
    except (msgspec.ValidationError, ValueError, TypeError) as error:
        kind = annotation.__name__ if isinstance(annotation, type) else str(annotation)
        raise UndecodableMessageError(f"task {task!r}: argument {name!r} does not fit {kind}: {error}") from None


def _by_its_own_means(kind: Any, value: Any) -> Any:
    """pydantic's classes."""
    if isinstance(value, kind):
        return value
    if not hasattr(kind, "model_validate"):
        raise TypeError(f"a {type(value).__name__} is no {kind.__name__}")
    return kind.model_validate(value)


def _has_fields(annotation: Any) -> bool:
    """Whether *annotation* is, or holds, a class that travels as a mapping, or an enum."""
    if isinstance(annotation, type) and (
        dataclasses.is_dataclass(annotation)
        or issubclass(annotation, msgspec.Struct | enum.Enum)
        or hasattr(annotation, "__attrs_attrs__")
        or hasattr(annotation, "model_validate")
    ):
        return True
    return any(map(_has_fields, typing.get_args(annotation)))
