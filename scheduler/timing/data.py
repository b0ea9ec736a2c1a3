"""Schedules as plain data and back: for plans, for `-o json`, and for processes that must agree on what is meant."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from scheduler.errors import InvalidScheduleError
from scheduler.timing.base import Schedule
from scheduler.timing.crontab import crontab
from scheduler.timing.every import every
from scheduler.timing.wording import shown


def schedule_from_data(data: Mapping[str, Any]) -> Schedule:
    """
    Return a schedule equal to the one whose `Schedule.as_data` gave *data*.

    Raises:
        InvalidScheduleError: *data* is of a kind nobody knows, or lacks something, or has something too much.
    """
    if not isinstance(data, Mapping):
        raise InvalidScheduleError(f"schedule data: {shown(data)} is not a mapping with a 'kind'")
    kind = data.get("kind")
    build = _BUILDERS.get(kind) if isinstance(kind, str) else None
    if build is None:
        raise InvalidScheduleError(f"schedule data: kind {shown(kind)} is not known; known: {', '.join(_BUILDERS)}")
    arguments = {str(name): value for name, value in data.items() if name != "kind"}
    try:
        return build(arguments)
    except (TypeError, KeyError) as error:
        raise InvalidScheduleError(f"schedule data of kind {kind!r}: {error}") from error


def _crontab(arguments: dict[str, Any]) -> Schedule:
    return crontab(arguments.pop("expr"), **arguments)


def _every(arguments: dict[str, Any]) -> Schedule:
    return every(arguments.pop("period", None), **arguments)


_BUILDERS: dict[str, Callable[[dict[str, Any]], Schedule]] = {"crontab": _crontab, "every": _every}
