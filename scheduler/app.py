"""
An application: tasks with settings of their own, for programs that have no folder of schedule files.

    app = App("shop", broker="redis://localhost")

    @app.task
    def add(a, b): ...
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from apscheduler.triggers.base import BaseTrigger

from scheduler.calls import Call, make_messages, patiently, read_retry_policy, refuse_keywords, send_group
from scheduler.celery_settings import translate
from scheduler.conf import Conf, named, settings_of
from scheduler.config import Config, load_config
from scheduler.declare import Declarations, Declared, adopt
from scheduler.errors import ConfigError, InvalidEntryError
from scheduler.home import Home
from scheduler.result import AsyncResult
from scheduler.task import Task
from scheduler.timing import every

if TYPE_CHECKING:
    from scheduler.entries import Entries
    from scheduler.store import Store


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
        self.conf = Conf(self._settings_change, lambda: self.config, self._declare_beat_schedule)
        self.notes: tuple[str, ...] = ()
        """What of its settings has no meaning here, one line each; known once they were read."""
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
            values = named(source) if isinstance(source, str) else source
        except ConfigError:
            if silent:
                return
            raise
        found, complaints = settings_of(values, namespace)
        if complaints:
            raise ConfigError(complaints)
        self.conf.update(found)

    def close(self) -> None:
        """Let go of Redis."""
        self._home.close()

    def _load(self) -> Config:
        """The settings of file and environment, and those of this app above them."""
        ours, complaints, notes = translate(self.conf.said())
        try:
            config = load_config(overrides=ours)
        except ConfigError as error:
            raise ConfigError([*complaints, *error.complaints]) from None
        if complaints:
            raise ConfigError(complaints)
        self.notes = tuple(notes)
        return config

    def _settings_change(self) -> None:
        if self._home.is_open:
            raise ConfigError("settings of an app stand once something was sent; set them before, or close() the app")
        self._home.forget_config()

    def _declare_beat_schedule(self, entries: Mapping[str, Any]) -> None:
        """Celery's ``conf.beat_schedule``: name → ``{"task", "schedule", "args", "kwargs", "options"}``, None: no longer."""
        for name, said in entries.items():
            if said is None:
                self.declarations.entries.pop(name, None)
                continue
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
