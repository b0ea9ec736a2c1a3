"""
The settings of an App: `app.conf`, and reading them from a module, a class or any other object.

They are kept under one name each, whichever of its names was used: ours, Celery's of today, or one of its old capitals
(`scheduler.celery_settings`).
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from datetime import timedelta
from types import ModuleType
from typing import Any

from scheduler.celery_settings import BEAT_SCHEDULE, COUNTERPARTS, KNOWN, OLD_NAMES, is_known, modern, todays
from scheduler.config import Config, redact_url
from scheduler.errors import ConfigError
from scheduler.nearest import nearest

_PLAIN = (str, int, float, bool, list, tuple, dict, set, timedelta, type(None))
_CANVAS = "chains, groups and chords are not in this version: let a task call the next one"
_CAPITALS = ("BROKER_", "CELERY_", "CELERYD_", "CELERYBEAT_")
"""What begins so is meant as a setting."""


class BeatSchedule(dict[str, Any]):
    """`conf.beat_schedule`: what is put into it is declared, what is taken out of it is not."""

    def __init__(self, declare: Callable[[Mapping[str, Any]], None], entries: Mapping[str, Any] | None) -> None:
        super().__init__()
        self._declare = declare
        self.update(entries or {})

    def __setitem__(self, name: str, entry: Any) -> None:
        self._declare({name: entry})
        super().__setitem__(name, entry)

    def __delitem__(self, name: str) -> None:
        super().__delitem__(name)
        self._declare({name: None})

    def update(self, *args: Any, **kwargs: Any) -> None:
        """As of a dict."""
        for name, entry in dict(*args, **kwargs).items():
            self[name] = entry

    def setdefault(self, name: str, entry: Any = None) -> Any:
        """As of a dict."""
        if name not in self:
            self[name] = entry
        return self[name]

    def pop(self, name: str, *default: Any) -> Any:
        """As of a dict."""
        if name not in self:
            return super().pop(name, *default)
        entry = self[name]
        del self[name]
        return entry

    def clear(self) -> None:
        """As of a dict."""
        for name in list(self):
            del self[name]

    def __ior__(self, other: Any) -> BeatSchedule:  # type: ignore[override,misc]
        self.update(other)
        return self


class Conf(MutableMapping[str, Any]):
    """
    The settings of an app, by name, as items and as attributes: ours, and Celery's in lower case or old capitals.

    They are read when they are first needed. Once something was sent they stand.
    """

    def __init__(
        self,
        changed: Callable[[], None],
        read: Callable[[], Config],
        declare: Callable[[Mapping[str, Any]], None],
    ) -> None:
        object.__setattr__(self, "_said", {})
        object.__setattr__(self, "_changed", changed)
        object.__setattr__(self, "_read", read)
        object.__setattr__(self, "_declare", declare)

    _said: dict[str, tuple[str, Any]]
    """The one name of each setting → the name that was used, and the value."""
    _changed: Callable[[], None]
    _read: Callable[[], Config]
    _declare: Callable[[Mapping[str, Any]], None]

    def __getitem__(self, name: str) -> Any:
        asked, name = todays(name), modern(name)
        if name == BEAT_SCHEDULE and name not in self._said:
            self._said[name] = (name, BeatSchedule(self._declare, {}))
        if name in self._said:
            said_as, value = self._said[name]
            return COUNTERPARTS[said_as].read(value) if said_as != asked and said_as in COUNTERPARTS else value
        config = self._read()
        for field in (name, f"{name}_ms"):
            if hasattr(config, field):
                return getattr(config, field)
        raise KeyError(name)

    def __setitem__(self, name: str, value: Any) -> None:
        if modern(name) != BEAT_SCHEDULE:
            self._changed()
        elif not isinstance(value, BeatSchedule):
            value = BeatSchedule(self._declare, value)
        self._said[modern(name)] = (todays(name), value)

    def __delitem__(self, name: str) -> None:
        if modern(name) == BEAT_SCHEDULE:
            self[name].clear()
        self._changed()
        del self._said[modern(name)]

    def __contains__(self, name: object) -> bool:
        """Whether it was set, under any of its names."""
        return isinstance(name, str) and modern(name) in self._said

    def __iter__(self) -> Iterator[str]:
        return iter(self._said)

    def __len__(self) -> int:
        return len(self._said)

    def said(self) -> dict[str, Any]:
        """What was set, each under the name that was used (Celery's of today for old capitals)."""
        return dict(self._said.values())

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        try:
            return self[name]
        except KeyError:
            why = "; nobody has set it, and it says nothing here" if is_known(todays(name)) else nearest(name, KNOWN)
            raise AttributeError(f"there is no setting {name!r}{why}") from None

    def __setattr__(self, name: str, value: Any) -> None:
        self[name] = value

    def __repr__(self) -> str:
        shown = ", ".join(f"{name!r}: {_shown(name, value)}" for name, value in self.said().items())
        return f"<settings {{{shown}}}>"

    def humanize(self, with_defaults: bool = False, censored: bool = True) -> str:
        """
        The settings as text, one line each.

        Args:
            with_defaults: All of ours, not only those that were set.
            censored: Without passwords.
        """
        found: dict[str, Any] = {}
        if with_defaults:
            config = self._read()
            found = dict(config.__rich_repr__())
        found |= self.said()
        lines = (f"{name}: {_shown(name, value) if censored else repr(value)}" for name, value in sorted(found.items()))
        return "\n".join(lines)

    def table(self, with_defaults: bool = False, censored: bool = True) -> dict[str, Any]:
        """The same as a mapping from names to text."""
        return dict(line.partition(": ")[::2] for line in self.humanize(with_defaults, censored).splitlines())


def _shown(name: str, value: Any) -> str:
    if isinstance(value, str) and "://" in value:
        return repr(redact_url(value))
    return "'***'" if any(part in name for part in ("password", "secret", "token")) else repr(value)


def imported(name: str, what: str) -> ModuleType:
    """
    The module called *name*; *what* begins the complaint.

    Raises:
        ConfigError: There is no such module, or it cannot be imported.
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name and (name == error.name or name.startswith(f"{error.name}.")):
            raise ConfigError(f"{what}: there is no module {error.name!r} here ({os.getcwd()}) or installed") from None
        raise ConfigError(f"{what}: {name} cannot be imported: {error}") from error
    except Exception as error:
        hint = f"; {_CANVAS}" if isinstance(error, ImportError) and _asks_for_canvas(error) else ""
        raise ConfigError(f"{what}: {name} cannot be imported: {type(error).__name__}: {error}{hint}") from error


def _asks_for_canvas(error: ImportError) -> bool:
    return error.name == "scheduler" and any(
        f"'{name}'" in str(error) for name in ("chain", "chord", "chunks", "group")
    )


def named(source: str) -> object:
    """
    What ``"module"``, ``"module:attribute"`` or ``"module.attribute"`` names.

    Raises:
        ConfigError: There is no such thing, or it cannot be imported.
    """
    what = f"config_from_object({source!r})"
    name, colon, attribute = source.partition(":")
    if colon:
        module = imported(name, what)
        if not hasattr(module, attribute):
            raise ConfigError(f"{what}: there is no {attribute!r} in {name}")
        return getattr(module, attribute)
    parent, dot, last = name.rpartition(".")
    try:
        return imported(name, what)
    except ConfigError:
        if dot and hasattr(module := imported(parent, what), last):
            return getattr(module, last)
        raise


def settings_of(source: object, namespace: str) -> tuple[dict[str, Any], list[str]]:
    """
    The settings in *source*, and the complaints.

    A module has other names too, which are passed over; one that looks like a slip, or is in capitals as only Celery's settings
    are, is complained of. In a mapping, or with a *namespace*, every name is meant as a setting.
    """
    items = source.items() if isinstance(source, Mapping) else [(key, getattr(source, key)) for key in dir(source)]
    prefix = f"{namespace}_" if namespace else ""
    found: dict[str, Any] = {}
    places: dict[str, tuple[str, Any]] = {}
    complaints: list[str] = []
    for key, value in items:
        if not isinstance(key, str) or key.startswith("_") or not key.startswith(prefix):
            continue
        name = todays(key)
        if prefix and name == key:
            name = key.removeprefix(prefix).lower()
        if is_known(name):
            meant = _meant(name, value)
            before, meant_before = places.setdefault(modern(name), (key, meant))
            if meant_before != meant:
                complaints.append(f"{before} and {key} say different things of one setting; give one of them")
            found[name] = value
        elif (
            isinstance(source, Mapping)
            or prefix
            or key.startswith(_CAPITALS)
            or (isinstance(value, _PLAIN) and nearest(name, KNOWN))
        ):
            known = OLD_NAMES if key.isupper() and not prefix else KNOWN
            complaints.append(f"unknown setting {key!r}{nearest(name, known)}")
    return found, complaints


def _meant(name: str, value: Any) -> Any:
    try:
        return COUNTERPARTS[name].read(value) if name in COUNTERPARTS else value
    except ValueError:
        return value
