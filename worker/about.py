"""What a worker tells of itself when it is asked: its tasks, its settings without their secrets, what it runs on."""

from __future__ import annotations

import platform
import sys
from collections.abc import Mapping
from enum import Enum
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import msgspec

from scheduler.config import SETTINGS, Config
from scheduler.options import TaskOptions
from scheduler.task import Task
from scheduler.timing.duration import format_duration


def tasks_told(tasks: Mapping[str, Task]) -> list[dict[str, Any]]:
    """The registered tasks, by name; of their options those that are not the default."""
    usual = TaskOptions()
    return [
        {
            "name": name,
            "place": str(task.place),
            "options": {
                field.removesuffix("_ms"): _value(field, value)
                for field in TaskOptions.__struct_fields__
                if (value := getattr(task.options, field)) != getattr(usual, field)
            },
        }
        for name, task in sorted(tasks.items())
    ]


def settings_told(config: Config) -> dict[str, Any]:
    """The settings in force, under the names that people write; secrets are hidden as in the config's own text."""
    shown = dict(config.__rich_repr__())
    return {name: _value(field, shown[field]) for name, (field, _) in SETTINGS.items() if field in shown}


def system_told() -> dict[str, str]:
    """The versions that matter."""
    return {
        "steadybeat": own_version(),
        "python": sys.version.split()[0],
        "os": platform.platform(),
        "executable": sys.executable,
    }


def own_version() -> str:
    """Of Steadybeat; empty where it is not installed."""
    try:
        return version("steadybeat")
    except PackageNotFoundError:
        return ""


def _value(field: str, value: Any) -> Any:
    """*value* as JSON has it, or in words."""
    if field.endswith("_ms") and isinstance(value, int):
        return format_duration(value)
    if isinstance(value, tuple | list):
        return [_value("", each) for each in value]
    if isinstance(value, type):
        return value.__qualname__
    if isinstance(value, Enum):
        return value.name.lower()
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Mapping):
        return {str(key): _value("", each) for key, each in value.items()}
    if isinstance(value, msgspec.Struct):
        return {key: _value(key, each) for key, each in msgspec.structs.asdict(value).items() if each is not None}
    return str(value)
