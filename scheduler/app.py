"""
An application: tasks with settings of their own, for programs that have no folder of schedule files.

    app = App("shop", broker="redis://localhost")

    @app.task
    def add(a, b): ...
"""

from __future__ import annotations

import importlib
import logging
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping
from datetime import timedelta
from functools import cached_property
from types import MappingProxyType, ModuleType
from typing import TYPE_CHECKING, Any

from apscheduler.triggers.base import BaseTrigger

from scheduler.calls import Call, make_messages, patiently, read_retry_policy, refuse_keywords, send_group
from scheduler.celery_settings import BEAT_SCHEDULE, KNOWN, NOT_DONE, modern, translate
from scheduler.config import Config, load_config, redact_url
from scheduler.declare import Declarations, Declared, adopt
from scheduler.errors import ConfigError, InvalidEntryError
from scheduler.home import Home
from scheduler.log import event
from scheduler.nearest import nearest
from scheduler.result import AsyncResult
from scheduler.task import Task
from scheduler.timing import every

if TYPE_CHECKING:
    from scheduler.entries import Entries
    from scheduler.store import Store

logger = logging.getLogger("scheduler.app")

_PLAIN = (str, int, float, bool, list, tuple, dict, set, timedelta, type(None))


class Conf(MutableMapping[str, Any]):
    """
    The settings of an app, by name, as items and as attributes: ours, and Celery's in lower case or old capitals.

    They are read when they are first needed. Once something was sent they stand.
    """

    def __init__(self, changed: Callable[[str, Any], None], read: Callable[[], Config]) -> None:
        object.__setattr__(self, "_said", {})
        object.__setattr__(self, "_changed", changed)
        object.__setattr__(self, "_read", read)

    _said: dict[str, Any]
    _changed: Callable[[str, Any], None]
    _read: Callable[[], Config]

    def __getitem__(self, name: str) -> Any:
        name = modern(name)
        if name in self._said:
            return self._said[name]
        config = self._read()
        for field in (name, f"{name}_ms"):
            if hasattr(config, field):
                return getattr(config, field)
        raise KeyError(name)

    def __setitem__(self, name: str, value: Any) -> None:
        self._changed(modern(name), value)
        self._said[modern(name)] = value

    def __delitem__(self, name: str) -> None:
        self._changed(modern(name), None)
        del self._said[modern(name)]

    def __iter__(self) -> Iterator[str]:
        return iter(self._said)

    def __len__(self) -> int:
        return len(self._said)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"there is no setting {name!r}{nearest(name, KNOWN)}") from None

    def __setattr__(self, name: str, value: Any) -> None:
        self[name] = value

    def __repr__(self) -> str:
        shown = {name: redact_url(v) if isinstance(v, str) and "://" in v else v for name, v in self._said.items()}
        return f"<settings {shown!r}>"


class App:
    """
    Tasks, entries, settings and the way to Redis.

    Args:
        name: Stands for ``__main__`` in the names of tasks.
        broker: Redis' URL; else that of the settings.
        backend: Results stand on the same Redis always; another URL is passed over, and said so.
        settings: By name, over those of file and environment.
    """

    def __init__(
        self, name: str | None = None, broker: str | None = None, backend: str | None = None, **settings: Any
    ) -> None:
        self.name = self.main = name
        self._home = Home(self._load)
        self.declarations = Declarations(self._home, main=name, lenient=True)
        self.conf = Conf(self._settings_change, lambda: self.config)
        if broker is not None:
            self.conf["broker_url"] = broker
        if backend is not None:
            self.conf["result_backend"] = backend
        self.conf.update(settings)
        adopt(self.declarations)

    @property
    def config(self) -> Config:
        """
        The settings in force.

        Raises:
            ConfigError: They cannot be used; all complaints at once.
        """
        return self._home.config

    @property
    def store(self) -> Store:
        """The store, one for the process. It connects at its first call, and again after a fork."""
        return self._home.store

    @property
    def tasks(self) -> Mapping[str, Task]:
        """The tasks declared so far, by name."""
        return MappingProxyType(self.declarations.tasks)

    @property
    def declared(self) -> list[Declared]:
        """The entries that the program's code has declared so far, those of the setting `beat_schedule` included."""
        return list(self.declarations.entries.values())

    @cached_property
    def entries(self) -> Entries:
        """The entries on Redis: made, edited and removed at run time. See `scheduler.entries`."""
        from scheduler.entries import Entries  # noqa: PLC0415 - most programs only declare

        return Entries(self._home, self.tasks)

    def task(self, fn: Callable[..., Any] | None = None, /, **options: Any) -> Any:
        """Make a function a task of this app; with or without parentheses. See `scheduler.task`."""
        return self.declarations.task(fn, **options)

    def schedule(self, when: BaseTrigger, /, **options: Any) -> Callable[[Callable[..., Any]], Task]:
        """Make a function a task of this app, with one entry. See `scheduler.schedule`."""
        return self.declarations.schedule(when, **options)

    def entry(self, name: str, task: Task | str, when: BaseTrigger, **options: Any) -> None:
        """Declare an entry of this app. See `scheduler.entry`."""
        self.declarations.entry(name, task, when, **options)

    def send_task(
        self,
        name: str,
        args: Iterable[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        *,
        retry_policy: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> AsyncResult:
        """
        Ask for one run of the task called *name*, whose code need not be here.

        Args:
            options: The keywords of `Task.apply_async`.

        Raises:
            TypeError, ValueError, RefusedError, StoreUnavailableError: As `Task.apply_async`.
        """
        task = self.declarations.tasks.get(name)
        if task is not None:
            return task.apply_async(args, kwargs, retry_policy=retry_policy, **options)
        if not isinstance(name, str) or not name:
            raise TypeError(f"send_task: name {name!r}: expected the name of a task, as in 'reports.multiply'")
        refuse_keywords({key: None for key in options if key not in Call._fields}, task=name)
        listed = () if args is None else args if isinstance(args, list | tuple) else list(args)
        pauses_s = read_retry_policy(retry_policy)
        call = Call(listed, kwargs, **options)
        made = patiently(lambda: make_messages(name, call, self._home), pauses_s)
        return send_group(made, self._home, pauses_s=pauses_s)

    def AsyncResult(self, task_id: str) -> AsyncResult:  # noqa: N802 - Celery's name
        """The run with this id."""
        return AsyncResult(task_id, self._home)

    def config_from_object(self, source: object, silent: bool = False, *, namespace: str = "") -> None:
        """
        Take the settings of a module, a class or any other object, given itself or by its name (``"celeryconfig"``).

        Names that are no settings are passed over, as a module has others too, unless they look like a slip.

        Args:
            silent: Do without, if there is no such module.
            namespace: Only names with this in front, as ``CELERY_BROKER_URL`` for ``"CELERY"``.

        Raises:
            ConfigError: It cannot be imported, or names look like slips; all of them at once.
        """
        try:
            values = _named(source) if isinstance(source, str) else source
        except ConfigError:
            if silent:
                return
            raise
        found, complaints = _settings_of(values, namespace)
        if complaints:
            raise ConfigError(complaints)
        self.conf.update(found)

    def close(self) -> None:
        """Let go of Redis."""
        self._home.close()

    def _load(self) -> Config:
        """The settings of file and environment, and those of this app above them."""
        said = dict(self.conf)
        ours, complaints = translate(said)
        try:
            config = load_config(overrides=ours)
        except ConfigError as error:
            raise ConfigError([*complaints, *error.complaints]) from None
        if complaints:
            raise ConfigError(complaints)
        backend = said.get("result_backend")
        if backend and backend != said.get("redis_url"):
            event(logger, "backend.ignored", level=logging.WARNING, backend=redact_url(str(backend)),
                  why="results are kept beside the messages", redis=config.redacted_url)  # fmt: skip
        return config

    def _settings_change(self, name: str, value: Any) -> None:
        if name == BEAT_SCHEDULE:
            self._declare_beat_schedule(value)
            return
        if self._home.is_open:
            raise ConfigError("settings of an app stand once something was sent; set them before, or close() the app")
        self._home.forget_config()

    def _declare_beat_schedule(self, entries: Mapping[str, Any] | None) -> None:
        """Celery's ``conf.beat_schedule``: name → ``{"task", "schedule", "args", "kwargs", "options"}``."""
        for name, said in (entries or {}).items():
            what = f"entry {name!r} of beat_schedule"
            if not isinstance(said, Mapping) or "task" not in said or "schedule" not in said:
                raise InvalidEntryError(f"{what}: expected {{'task': …, 'schedule': …}}")
            if unknown := sorted(set(said) - {"task", "schedule", "args", "kwargs", "options"}):
                raise InvalidEntryError(f"{what}: {', '.join(unknown)}: expected task, schedule, args, kwargs, options")
            when = said["schedule"]
            if isinstance(when, int | float | timedelta) and not isinstance(when, bool):
                when = every(when)
            self.declarations.entry(
                name, said["task"], when, args=said.get("args") or (), kwargs=said.get("kwargs"),
                **(said.get("options") or {}),
            )  # fmt: skip

    def __repr__(self) -> str:
        return f"<App {self.name or ''}: {len(self.declarations.tasks)} tasks>"


Celery = App
"""A tutorial's name for it."""


def find_app(spec: str) -> App:
    """
    The app that ``-A module[:app]`` names. The working directory is on the path, as it is with ``python -m``.

    Without a name it is the module's `app` or `celery`, or the only App in it.

    Raises:
        ConfigError: There is no such module, it cannot be imported, or there is no App of that name in it.
    """
    name, colon, attribute = spec.partition(":")
    if not name or (colon and not attribute):
        raise ConfigError(f"-A {spec!r}: expected module or module:app, as in shop.tasks:app")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    module = _imported(name, f"-A {spec!r}")
    apps = {key: value for key, value in vars(module).items() if isinstance(value, App)}
    listed = f"; it has {', '.join(sorted(apps))}" if apps else "; it has none (app = App(…))"
    if attribute:
        found = module
        for part in attribute.split("."):
            found = getattr(found, part, None)  # type: ignore[assignment]
        if isinstance(found, App):
            return found
        why = "there is no" if found is None else f"a {type(found).__name__} is no App, as is"
        raise ConfigError(f"-A {spec!r}: {why} {attribute!r} in {name}{listed}")
    for usual in ("app", "celery"):
        if usual in apps:
            return apps[usual]
    distinct = list({id(app): app for app in apps.values()}.values())
    if len(distinct) == 1:
        return distinct[0]
    if not apps:
        raise ConfigError(f"-A {spec!r}: there is no App in {name}{listed}")
    raise ConfigError(
        f"-A {spec!r}: {name} has several Apps; say which: {', '.join(f'{name}:{k}' for k in sorted(apps))}"
    )


def _imported(name: str, what: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name and (name == error.name or name.startswith(f"{error.name}.")):
            raise ConfigError(f"{what}: there is no module {error.name!r} here ({os.getcwd()}) or installed") from None
        raise ConfigError(f"{what}: {name} cannot be imported: {error}") from error
    except Exception as error:
        raise ConfigError(f"{what}: {name} cannot be imported: {type(error).__name__}: {error}") from error


def _named(source: str) -> object:
    """``"module"``, ``"module:attribute"`` or ``"module.attribute"``."""
    what = f"config_from_object({source!r})"
    name, colon, attribute = source.partition(":")
    if colon:
        module = _imported(name, what)
        if not hasattr(module, attribute):
            raise ConfigError(f"{what}: there is no {attribute!r} in {name}")
        return getattr(module, attribute)
    parent, dot, last = name.rpartition(".")
    try:
        return _imported(name, what)
    except ConfigError:
        if dot and hasattr(module := _imported(parent, what), last):
            return getattr(module, last)
        raise


def _settings_of(source: object, namespace: str) -> tuple[dict[str, Any], list[str]]:
    """The settings in *source*, and a complaint for each name that looks like a slip."""
    items = source.items() if isinstance(source, Mapping) else [(key, getattr(source, key)) for key in dir(source)]
    prefix = f"{namespace}_" if namespace else ""
    found: dict[str, Any] = {}
    complaints: list[str] = []
    for key, value in items:
        if not isinstance(key, str) or key.startswith("_") or not key.startswith(prefix):
            continue
        name = modern(key) if key in KNOWN or modern(key) != key else key.removeprefix(prefix)
        name = name.lower() if prefix else modern(name)
        if name in KNOWN or name in NOT_DONE:
            found[name] = value
        elif isinstance(value, _PLAIN) and (isinstance(source, Mapping) or prefix or (hint := nearest(name, KNOWN))):
            hint = nearest(name, KNOWN)
            complaints.append(f"unknown setting {key!r}{hint}")
    return found, complaints
