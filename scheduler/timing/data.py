"""Schedules as plain data and back: for plans, for `-o json`, and for processes that must agree on what is meant."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from scheduler.errors import InvalidScheduleError
from scheduler.timing.base import Schedule
from scheduler.timing.between import between
from scheduler.timing.calendar import holidays_from_data
from scheduler.timing.combine import combined
from scheduler.timing.combine_windows import DEPTH_MAX, KINDS, PARTS_MAX
from scheduler.timing.crontab import crontab
from scheduler.timing.every import every
from scheduler.timing.once import once
from scheduler.timing.rrule import rrule
from scheduler.timing.sun import sun_from_data
from scheduler.timing.table import Table
from scheduler.timing.window import Window
from scheduler.timing.wording import shown

_MARKS = {kind: mark for mark, kind in KINDS.items()}


def schedule_from_data(data: Mapping[str, Any]) -> Schedule:
    """
    Return a schedule equal to the one whose `Schedule.as_data` gave *data*.

    Raises:
        InvalidScheduleError: *data* is of a kind nobody knows, or lacks something, or has something too much.
    """
    made = _made(data, "schedule", 0)
    if not isinstance(made, Schedule):
        raise InvalidScheduleError(f"schedule data: {made.text} is a window, and has no moments of its own")
    return made


def window_from_data(data: Mapping[str, Any]) -> Window:
    """
    Return a window equal to the one whose `Window.as_data` gave *data*.

    Raises:
        InvalidScheduleError: *data* is of a kind nobody knows, or lacks something, or has something too much.
    """
    made = _made(data, "window", 0)
    if not isinstance(made, Window):
        raise InvalidScheduleError(f"window data: {made.text} is a schedule, and no window")
    return made


def _made(data: object, what: str, depth: int) -> Schedule | Window:
    if not isinstance(data, Mapping):
        raise InvalidScheduleError(f"{what} data: {shown(data)} is not a mapping with a 'kind'")
    kind = data.get("kind")
    build = _BUILDERS.get(kind) if isinstance(kind, str) else None
    arguments = {str(name): value for name, value in data.items() if name != "kind"}
    try:
        if isinstance(kind, str) and kind in _MARKS:
            return _combination(_MARKS[kind], arguments, depth)
        if build is None:
            known = ", ".join([*_BUILDERS, *_MARKS])
            raise InvalidScheduleError(f"{what} data: kind {shown(kind)} is not known; known: {known}")
        return build(arguments)
    except (TypeError, KeyError) as error:
        raise InvalidScheduleError(f"{what} data of kind {kind!r}: {error}") from error


def _combination(mark: str, arguments: dict[str, Any], depth: int) -> Schedule | Window:
    parts = arguments.pop("parts")
    if arguments or not isinstance(parts, list | tuple) or not 2 <= len(parts) <= PARTS_MAX or depth > DEPTH_MAX:
        raise InvalidScheduleError(
            f"combination data: give 'parts' alone, a list of 2–{PARTS_MAX}, nested at most {DEPTH_MAX} deep"
        )
    made = [_made(part, "schedule", depth + 1) for part in parts]
    whole: Schedule | Window = made[0]
    for part in made[1:]:
        whole = combined(mark, whole, part)
    return whole


def _crontab(arguments: dict[str, Any]) -> Schedule:
    return crontab(arguments.pop("expr"), **arguments)


def _every(arguments: dict[str, Any]) -> Schedule:
    return every(arguments.pop("period", None), **arguments)


def _once(arguments: dict[str, Any]) -> Schedule:
    return once(**arguments)


def _rrule(arguments: dict[str, Any]) -> Schedule:
    return rrule(arguments.pop("text"), **arguments)


def _between(arguments: dict[str, Any]) -> Window:
    return between(**arguments)


def _holidays(arguments: dict[str, Any]) -> Window:
    return holidays_from_data(**arguments)


def _sun(arguments: dict[str, Any]) -> Schedule:
    return sun_from_data(**arguments)


def _table(arguments: dict[str, Any]) -> Schedule:
    return Table(**arguments)


_BUILDERS: dict[str, Callable[[dict[str, Any]], Schedule | Window]] = {
    "crontab": _crontab,
    "every": _every,
    "once": _once,
    "rrule": _rrule,
    "between": _between,
    "holidays": _holidays,
    "sun": _sun,
    "table": _table,
}
