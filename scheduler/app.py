"""
An application: tasks with settings of their own, for programs that have no folder of schedule files.

    app = App("shop", broker="redis://localhost")

    @app.task
    def add(a, b): ...
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta, tzinfo
from functools import cached_property, partial
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NoReturn, Self

from apscheduler.triggers.base import BaseTrigger

from scheduler.celery_settings import translate
from scheduler.conf import Conf, named, settings_of
from scheduler.config import Config, load_config
from scheduler.context import current_request
from scheduler.declare import Declarations, Declared, adopt, current, set_current
from scheduler.errors import ConfigError, InvalidEntryError
from scheduler.home import Home
from scheduler.options import NAME_CHARS_MAX
from scheduler.result import AsyncResult
from scheduler.signals import Signal
from scheduler.signatures import Signature, signature
from scheduler.task import Task
from scheduler.timing import every
from scheduler.timing.zones import get_zone

if TYPE_CHECKING:
    from scheduler.control import Control
    from scheduler.entries import Entries
    from scheduler.store import Store


BROKER_VARIABLE = "CELERY_BROKER_URL"
"""Celery's variable for the broker; an app that names none itself heeds it."""
TaskClass = Task


class App:
    """
    Tasks, entries, settings and the way to Redis.

    Args:
        name: Stands for ``__main__`` in the names of tasks. Celery calls it `main`.
        broker: Redis' URL; else that of the settings.
        backend: Results stand on the same Redis always; another URL is passed over, and said so.
        include: Modules that a worker imports, for their tasks.
        config_source: What `config_from_object` takes.
        task_cls: The class of tasks that name none.
        set_as_current: Whether it may become the process' own (the first one does).
        settings: By name, over those of file and environment.

    Attributes:
        on_configure, on_after_configure: Signals: its settings are about to be read for work, and were read. Sent once, by whoever
            works for it (a worker, a beat, `sched`), when its module was imported as a whole.
        on_after_finalize: A signal: every module that it names was imported.
    """

    def __init__(
        self,
        name: str | None = None,
        broker: str | None = None,
        backend: str | None = None,
        *,
        main: str | None = None,
        include: Iterable[str] | None = None,
        config_source: object = None,
        task_cls: type[TaskClass] | str | None = None,
        set_as_current: bool = True,
        **settings: Any,
    ) -> None:
        self.name = self.main = name if name is not None else main
        self.spec = _calling_module()
        """How ``-A`` names the module that made it."""
        self._home = Home(self._load, connect=self._connect, app=self)
        self.declarations = Declarations(self._home, main=self.main, lenient=True)
        self.conf = Conf(self._settings_change, lambda: self.config, self._declare_beat_schedule)
        self.notes: tuple[str, ...] = ()
        """What of its settings has no meaning here, one line each; known once they were read."""
        self.on_configure = Signal("on_configure", "source")
        self.on_after_configure = Signal("on_after_configure", "source")
        self.on_after_finalize = Signal("on_after_finalize")
        self._wanted: list[Callable[[], None]] = []
        self._is_final = False
        if config_source is not None:
            self.config_from_object(config_source)
        if broker is not None:
            self.conf["broker_url"] = broker
        if backend is not None:
            self.conf["result_backend"] = backend
        if include:
            self.conf["include"] = list(include)
        self.conf.update(settings)
        if task_cls is not None:
            self.Task = task_cls if isinstance(task_cls, type) else _class_named(task_cls)
        if set_as_current:
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
    def tasks(self) -> Mapping[str, TaskClass]:
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

    def entry(self, name: str, task: TaskClass | str, when: BaseTrigger, **options: Any) -> None:
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
        return self.declarations.send_task(name, args, kwargs, retry_policy=retry_policy, **options)

    @property
    def Task(self) -> type[TaskClass]:  # noqa: N802 - Celery's name
        """The class of tasks that name none with ``base=``; it can be set."""
        return self.declarations.base or Task

    @Task.setter
    def Task(self, kind: type[TaskClass]) -> None:  # noqa: N802
        self.declarations.base = kind

    def register_task(self, task: TaskClass | type[TaskClass], **options: Any) -> TaskClass:
        """Declare a task that is an instance of its own class, whose method `run` is the function."""
        return self.declarations.register_task(task, **options)

    def signature(self, task: str | TaskClass, *args: Any, **kwargs: Any) -> Signature:
        """See `scheduler.signature`."""
        return signature(task, *args, app=self, **kwargs)

    def add_periodic_task(
        self,
        schedule: float | timedelta | BaseTrigger,
        sig: Signature | TaskClass,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        name: str | None = None,
        **options: Any,
    ) -> str:
        """
        Declare an entry, as Celery's programs do in a receiver of `on_after_configure`.

        Args:
            schedule: Seconds, a timedelta, or any schedule.
            sig: What to run: ``add.s(1, 2)``, with the options it was given.
            args, kwargs: Besides those of *sig*.
            name: Of the entry; default: the call as text, ``tasks.add(1, 2)``.
            options: Those of `entry`.

        Returns:
            The name.

        Raises:
            InvalidEntryError: As `entry`; also if another entry has the name.
        """
        call = (sig if isinstance(sig, Signature) else sig.s()).clone(args, kwargs)
        chosen = repr(call)[:NAME_CHARS_MAX] if name is None else name
        if chosen in self.declarations.entries:
            raise InvalidEntryError(f"entry {chosen!r} is declared already; entries need different names (name=)")
        known = self.declarations.tasks.get(call.task, call.task)
        given = {**call.options, **options}
        self.declarations.entry(chosen, known, _when(schedule), args=call.args, kwargs=call.kwargs, **given)
        return chosen

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

    def config_from_envvar(self, variable_name: str, silent: bool = False) -> None:
        """
        As `config_from_object`, of the module that this variable of the environment names.

        Raises:
            ConfigError: As `config_from_object`; or the variable is not set, unless *silent*.
        """
        source = os.environ.get(variable_name)
        if source:
            self.config_from_object(source, silent)
        elif not silent:
            raise ConfigError(f"config_from_envvar: {variable_name} is not set; it names the module of the settings")

    def add_defaults(self, source: Mapping[str, Any] | Callable[[], Mapping[str, Any]]) -> None:
        """Set what was not set yet."""
        found, complaints = settings_of(source() if callable(source) else source, "")
        if complaints:
            raise ConfigError(complaints)
        self.conf.update({name: value for name, value in found.items() if name not in self.conf})

    def autodiscover_tasks(
        self,
        packages: Iterable[str] | Callable[[], Iterable[str]] | None = None,
        related_name: str | None = "tasks",
        force: bool = False,
    ) -> None:
        """
        Let whoever works for this app import the modules of tasks of *packages*.

        Args:
            packages: Their names, or what gives them; None: those of Django's INSTALLED_APPS.
            related_name: The module in each of them, where there is one; None: the packages themselves.
            force: Import them now.

        Raises:
            ConfigError: Later, or now: one of them cannot be imported.
        """
        from scheduler.discovery import discover  # noqa: PLC0415 - hardly any program asks for it

        self._wanted.append(partial(discover, packages, related_name))
        if force or self._is_final:
            self._import_wanted()

    def prepare(self) -> None:
        """Make ready for the import of modules of tasks: set Django up, if `DJANGO_SETTINGS_MODULE` is set."""
        from scheduler.discovery import set_django_up  # noqa: PLC0415 - see above

        set_django_up()

    def finalize(self) -> None:
        """
        Complete it for work, once: import what `autodiscover_tasks` named, and send the signals.

        Whoever finds an app by its name does so; a program that only sends calls has no need to.

        Raises:
            Exception: Whatever a receiver or a module raised: an app that is half declared must not begin.
        """
        if self._is_final:
            return
        self._is_final = True
        self.on_configure.send_strictly(self, source=self.conf)
        self.on_after_configure.send_strictly(self, source=self.conf)
        self._import_wanted()
        self.on_after_finalize.send_strictly(self)

    def set_current(self) -> None:
        """Let the bare decorators add to this app, and `current_app` be it."""
        set_current(self.declarations)

    set_default = set_current

    @cached_property
    def control(self) -> Control:
        """Orders to workers, and what they say of themselves. See `scheduler.control`."""
        from scheduler.control import Control  # noqa: PLC0415 - most programs only declare

        return Control(self._home, self.tasks)

    @property
    def current_task(self) -> TaskClass | None:
        """The task that is running here, or None."""
        return self.tasks.get(current_request().task)

    @property
    def timezone(self) -> tzinfo:
        """The zone of the settings."""
        return get_zone(self.config.timezone)

    def now(self) -> datetime:
        """This host's time, in the zone of the settings."""
        return datetime.now(self.timezone)

    def start(self, argv: Sequence[str] | None = None) -> NoReturn:
        """Be `sched` for this app, with *argv* (default: what the program was started with), and exit."""
        self._be_sched(sys.argv[1:] if argv is None else argv)

    def worker_main(self, argv: Sequence[str] | None = None) -> NoReturn:
        """
        Be a worker for this app, and exit: ``app.worker_main(["worker", "--loglevel=info"])``.

        Args:
            argv: As of `sched`; the word ``worker`` may be left out. Default: what the program was started with.
        """
        words = list(sys.argv[1:] if argv is None else argv)
        self._be_sched(words if "worker" in words else ["worker", *words])

    def close(self) -> None:
        """Let go of Redis."""
        self._home.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def _be_sched(self, argv: Sequence[str]) -> NoReturn:
        from scheduler.cli.main import main  # noqa: PLC0415 - it stands above us, and most programs have no need of it

        sys.exit(main(argv, app=self))

    def _import_wanted(self) -> None:
        wanted, self._wanted = self._wanted, []
        for bring in wanted:
            bring()

    def _connect(self, config: Config) -> Store:
        if config.task_always_eager:
            from scheduler.testing.stage import always_eager  # noqa: PLC0415 - it stands above us

            declared = list({id(one): one for one in (self.declarations, current())}.values())
            store: Store = always_eager(self._home, declared, propagate=config.task_eager_propagates)
            return store
        from scheduler.store import open_store  # noqa: PLC0415 - whoever only declares needs no Redis client

        return open_store(config, role="app")

    def _load(self) -> Config:
        """The settings of file and environment, and those of this app above them."""
        said = self.conf.said()
        if "redis_url" not in self.conf and not os.environ.get("SCHED_REDIS_URL") and os.environ.get(BROKER_VARIABLE):
            said["broker_url"] = os.environ[BROKER_VARIABLE]
        ours, complaints, notes = translate(said)
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
            if unknown := sorted(set(said) - {"task", "schedule", "args", "kwargs", "options", "relative"}):
                raise InvalidEntryError(f"{what}: {', '.join(unknown)}: expected task, schedule, args, kwargs, options")
            self.declarations.entry(
                name, said["task"], _when(said["schedule"]), args=said.get("args") or (), kwargs=said.get("kwargs"),
                **(said.get("options") or {}),
            )  # fmt: skip

    def __repr__(self) -> str:
        return f"<App {self.name or ''}: {len(self.declarations.tasks)} tasks>"


Celery = App
"""A tutorial's name for it."""


def _when(schedule: Any) -> Any:
    """Numbers and timedeltas are intervals, as in Celery; what is no schedule at all is told by whoever declares."""
    is_interval = isinstance(schedule, int | float | timedelta) and not isinstance(schedule, bool)
    return every(schedule) if is_interval else schedule


def _calling_module() -> str:
    """The module that is making an App, as it can be imported."""
    frame = sys._getframe(2)
    name = str(frame.f_globals.get("__name__", ""))
    return Path(frame.f_code.co_filename).stem if name == "__main__" else name


def _class_named(text: str) -> type[Task]:
    """The class that ``"module:Class"`` or ``"module.Class"`` names."""
    spec = text if ":" in text else ":".join(text.rpartition(".")[::2])
    found = named(spec)
    if not isinstance(found, type) or not issubclass(found, Task):
        raise ConfigError(f"task_cls {text!r}: expected a subclass of scheduler.Task")
    return found
