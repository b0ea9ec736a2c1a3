"""
Declaring: `@task`, `@schedule` and `entry()`, which turn a function and a rule into a `Task` and a `Declared` entry.

Every mistake is raised where it is made, so that its traceback points at the user's line.

The one place with process-wide state is `_current` below: the `Declarations` that the bare `@task`, `@schedule` and
`entry()` add to. The loader sets it to a fresh one before it imports schedule files, and leaves it there; a process that
imports a schedule file by itself (a web application that calls ``multiply.delay()``) gets one at the first declaration,
with the settings of its own working directory and environment.
"""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from types import FunctionType
from typing import Any, overload

import msgspec
from apscheduler.triggers.base import BaseTrigger

from scheduler.calls import (
    call_of,
    encode_arguments,
    encode_keywords,
    make_messages,
    patiently,
    read_retry_policy,
    send_group,
)
from scheduler.celery_options import ALIASES, PASSED, translate_options
from scheduler.config import Config
from scheduler.content import JSON
from scheduler.defaults import in_force
from scheduler.errors import InvalidEntryError, InvalidScheduleError, InvalidTaskError, NotEncodableError
from scheduler.home import Home
from scheduler.options import (
    OF_THE_FUNCTION,
    TASK_OPTIONS,
    EntryOptions,
    TaskOptions,
    early_complaint,
    expires_complaint,
    expires_next_complaint,
    merged_complaint,
    name_complaint,
    read_entry_options,
    read_task_options,
)
from scheduler.result import AsyncResult
from scheduler.task import Place, Task
from scheduler.timing import Schedule, Window
from scheduler.unique import UniqueRule, rule_complaint

PACKAGE = "schedules"
"""The folder of schedule files is imported under this name, whatever it is called."""

_ENTRY_ARGUMENTS = frozenset({"name", "args", "kwargs"})
_NOT_THE_USERS = (str(Path(__file__).parent) + os.sep, "<frozen ")


class Declared(msgspec.Struct, frozen=True):
    """
    An entry as its author wrote it, checked as far as that goes without the settings.

    Attributes:
        task: The task, or its name where it is declared elsewhere.
        module: The module that declared it.
    """

    name: str
    task: Task | str
    when: Schedule
    args: msgspec.Raw
    kwargs: msgspec.Raw
    options: EntryOptions
    place: Place
    module: str

    @property
    def task_name(self) -> str:
        """The task's name."""
        return self.task if isinstance(self.task, str) else self.task.name


class Declarations:
    """
    Tasks and entries that were declared together.

    Args:
        home: Where these tasks send to.
        main: What stands for ``__main__`` in the names of tasks.
        lenient: A file may declare its things again, as `importlib.reload` and notebooks do; the newer one counts.
    """

    def __init__(self, home: Home, *, main: str | None = None, lenient: bool = False) -> None:
        self.home = home
        self.tasks: dict[str, Task] = {}
        self.entries: dict[str, Declared] = {}
        self.folder: Path | None = None
        """What places are shown relative to."""
        self.is_makeshift = False
        """Whether it was begun because something was declared before there was an App or a loader."""
        self.base: type[Task] | None = None
        """Of tasks that name none."""
        self._main = main
        self._lenient = lenient
        home.when_configured(self._settle)

    # ── the decorators, as an App has them too ──────────────────────────────────────────────────────────────────────

    def task(self, fn: Callable[..., Any] | None = None, /, **options: Any) -> Any:
        """See `scheduler.declare.task`."""
        if fn is None:
            return lambda function: self.task(function, **options)
        name, bind, base = options.pop("name", None), options.pop("bind", False), options.pop("base", None)
        _check_function(fn)
        base = self.base if base is None else base
        if base is not None and not (isinstance(base, type) and issubclass(base, Task)):
            raise InvalidTaskError(f"task {name or fn!r}: base {base!r}: expected a subclass of scheduler.Task")
        return self._declare((base or Task)(), fn, name=name, bind=bind, options=options)

    def register_task(self, made: Task | type[Task], **options: Any) -> Task:
        """
        Declare a task that is an instance of its own class, whose method `run` is the function (Celery's class-based tasks).

        Raises:
            InvalidTaskError: As `task`.
        """
        instance = made() if isinstance(made, type) else made
        kind = type(instance)
        if not isinstance(instance, Task) or kind.run is Task.run:
            raise InvalidTaskError(
                f"register_task({made!r}): expected an instance of a subclass of Task with a method run"
            )
        name = options.pop("name", None) or getattr(kind, "name", None) or f"{kind.__module__}.{kind.__qualname__}"
        return self._declare(instance, kind.run, name=name, bind=True, options=options)

    def _declare(
        self, made: Task, fn: Callable[..., Any], *, name: str | None, bind: bool, options: dict[str, Any]
    ) -> Task:
        """Make *made* the task of *fn*."""
        options, complaints, notes = translate_options({**_options_of_class(type(made)), **options})
        typing = options.pop("typing", True)
        chosen = _default_name(fn, self._main) if name is None else name
        what = f"task {chosen!r}"
        if complaint := name_complaint(chosen, what="task name"):
            raise InvalidTaskError(complaint)
        if not isinstance(bind, bool):
            raise InvalidTaskError(f"{what}: bind {bind!r}: expected True or False")
        said = read_task_options(options, what=what, complaints=complaints)
        made.declared(fn, name=chosen, bind=bind, said=said, home=self.home, place=_place(fn), typing=typing)
        if (rule := made.options.unique) is not None and (complaint := rule_complaint(rule, made.parameters)):
            raise InvalidTaskError(f"{what}: {complaint}")
        made.notes = tuple(notes)
        before = self.tasks.get(chosen)
        if before is not None and not (self._lenient and before.place.file == made.place.file):
            raise InvalidTaskError(
                f"{what} is declared already, at {self.shown(before.place)}; give one of the two another name="
            )
        if self.home.is_configured:
            made.settle(self.home.config)
        self.tasks[chosen] = made
        return made

    def schedule(self, when: BaseTrigger, /, **options: Any) -> Callable[[Callable[..., Any]], Task]:
        """See `scheduler.declare.schedule`."""
        when = _as_schedule(when, "@schedule")
        options, complaints_of_celery, notes = translate_options(options)

        def declare(fn: Callable[..., Any]) -> Task:
            if isinstance(fn, Task):
                return self._entry_for(fn, when, options)
            # It makes the task, so what it says of running the function is said of the task, and holds for calls and
            # for further entries too. What a further `@schedule` says of that is its entry's, which overrides the task's.
            of_task = {key: value for key, value in options.items() if key in TASK_OPTIONS}
            of_entry = {key: value for key, value in options.items() if key not in OF_THE_FUNCTION}
            what = f"entry {of_entry.get('name') or _default_name(fn, self._main)!r}"
            complaints = [f"{what}: {complaint}" for complaint in complaints_of_celery]
            try:
                read_entry_options({k: v for k, v in of_entry.items() if k not in _ENTRY_ARGUMENTS}, what=what)
            except InvalidEntryError as error:
                complaints += str(error).splitlines()
            try:
                made = self.task(fn, **of_task)
            except InvalidTaskError as error:
                told = {line.partition(": ")[2] for line in complaints}
                complaints += [line for line in str(error).splitlines() if line.partition(": ")[2] not in told]
                raise InvalidTaskError("\n".join(complaints)) from None
            if complaints:
                del self.tasks[made.name]
                raise InvalidEntryError("\n".join(complaints))
            made.notes += tuple(notes)
            return self._entry_for(made, when, of_entry)

        return declare

    def _entry_for(self, made: Task, when: BaseTrigger, options: Mapping[str, Any]) -> Task:
        """Declare the entry of one `@schedule` above *made*."""
        name = made.name if options.get("name") is None else options["name"]
        before = self.entries.get(name)
        if options.get("name") is None and before is not None and before.task is made:
            raise InvalidEntryError(
                f"entry {name!r}: a second @schedule of one task needs a name= "
                f"(the first is at {self.shown(before.place)})"
            )
        self.entry(**{**options, "name": name, "task": made, "when": when})
        return made

    def entry(
        self,
        name: str,
        task: Task | str,
        when: BaseTrigger,
        *,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> None:
        """See `scheduler.declare.entry`."""
        frame = _caller_frame()
        declared = declared_entry(
            name, task, when, args=args, kwargs=kwargs, options=options,
            place=Place.at(frame.f_code.co_filename, frame.f_lineno), module=str(frame.f_globals.get("__name__", "")),
        )  # fmt: skip
        what = f"entry {name!r}"
        before = self.entries.get(name)
        if before is not None and not (self._lenient and before.place.file == declared.place.file):
            raise InvalidEntryError(
                f"{what} is declared already, at {self.shown(before.place)}; entries need different names (name=)"
            )
        self.entries[name] = declared

    def send_task(
        self,
        name: str,
        args: Iterable[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        *,
        retry_policy: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> AsyncResult:
        """See `App.send_task`."""
        task = self.tasks.get(name)
        if task is not None:
            return task.apply_async(args, kwargs, retry_policy=retry_policy, **options)
        if not isinstance(name, str) or not name:
            raise TypeError(f"send_task: name {name!r}: expected the name of a task, as in 'reports.multiply'")
        listed = () if args is None else args if isinstance(args, list | tuple) else list(args)
        pauses_s = read_retry_policy(retry_policy)
        call = call_of(name, listed, kwargs, options)
        made = patiently(lambda: make_messages(name, call, self.home, self._options_of(name)), pauses_s)
        return send_group(made, self.home, pauses_s=pauses_s)

    def _options_of(self, name: str) -> TaskOptions:
        """What the settings say of a task whose code is not here. The same each time, as envelopes are kept by it."""
        found: TaskOptions | None = self.home.options.get(name)
        if found is None:
            found = self.home.options[name] = in_force(None, name, {}, self.home.config)[0]
        return found

    # ────────────────────────────────────────────────────────────────────────────────────────────────────────────────

    def _settle(self, config: Config) -> None:
        for made in self.tasks.values():
            made.settle(config)

    def shown(self, place: Place) -> str:
        """*place* as people read it: relative to the folder that holds the schedule files, if it lies there."""
        return place if self.folder is None else place.removeprefix(f"{self.folder}{os.sep}")

    def take_over(self, other: Declarations, modules: Callable[[str], bool]) -> None:
        """Add what *other* holds of the modules that *modules* says yes to. The first of two with one name stays."""
        for name, made in other.tasks.items():
            if modules(made.fn.__module__):
                self.tasks.setdefault(name, made)
        for name, declared in other.entries.items():
            if modules(declared.module):
                self.entries.setdefault(name, declared)


def declared_entry(
    name: str,
    task: Task | str,
    when: BaseTrigger,
    *,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    options: Mapping[str, Any],
    place: Place,
    module: str,
) -> Declared:
    """
    What `entry` was told, checked; for whoever declares, in a file or at run time.

    Raises:
        InvalidEntryError, InvalidScheduleError, NotEncodableError: As `entry`.
    """
    if complaint := name_complaint(name, what="entry name"):
        raise InvalidEntryError(complaint)
    what = f"entry {name!r}"
    if not isinstance(task, Task) and (not isinstance(task, str) or not task):
        hint = "; decorate it with @task" if callable(task) else ""
        raise InvalidEntryError(f"{what}: task {task!r}: expected a task or the name of one{hint}")
    schedule, jitter_ms = _as_schedule(when, what).parted()
    read = read_entry_options(options, what=what)
    if jitter_ms and not read.jitter_ms:
        read = msgspec.structs.replace(read, jitter_ms=jitter_ms)
    if read.tz is not None and schedule.zone not in (None, read.tz):
        raise InvalidEntryError(
            f"{what}: tz {read.tz!r} contradicts the schedule's own tz {schedule.zone!r}; give one of the two"
        )
    task_name = task if isinstance(task, str) else task.name
    try:
        encoded_args = encode_arguments(task_name, args)
        encoded_kwargs = encode_keywords(task_name, {} if kwargs is None else kwargs)
    except NotEncodableError as error:
        raise NotEncodableError(f"{what}: {error}") from None
    except TypeError as error:
        raise InvalidEntryError(f"{what}: {error}") from None
    declared = Declared(
        name=name,
        task=task,
        when=schedule,
        args=msgspec.Raw(encoded_args),
        kwargs=msgspec.Raw(encoded_kwargs),
        options=read,
        place=place,
        module=module,
    )
    if isinstance(task, Task) and (complaint := task_complaint(declared, task)):
        raise InvalidEntryError(f"{what}: {complaint}")
    return declared


def task_complaint(declared: Declared, task: Task) -> str | None:
    """Why *declared* does not go together with its task, or None if it does."""
    options = declared.options
    expires = task.options.expires if options.expires is None else options.expires
    if complaint := expires_complaint(expires, countdown_ms=options.countdown_ms, jitter_ms=options.jitter_ms):
        return complaint
    if complaint := expires_next_complaint(expires, options.catchup):
        return complaint
    if complaint := merged_complaint(options.run, task.options):
        return complaint
    if complaint := early_complaint(options.ack, task.options):
        return complaint
    if isinstance(options.unique, UniqueRule) and (complaint := rule_complaint(options.unique, task.parameters)):
        return complaint
    try:
        task.check_arguments(JSON.decode(declared.args, what="args"), JSON.decode(declared.kwargs, what="kwargs"))
    except TypeError as error:
        return f"{error}; give args= and kwargs= that it takes"
    return None


@lru_cache(maxsize=4096)
def relative(file: str, folder: Path | None) -> str:
    """*file* relative to *folder*, or as it is where it lies elsewhere."""
    return file if folder is None else file.removeprefix(f"{folder}{os.sep}")


# ── the process's own ───────────────────────────────────────────────────────────────────────────────────────────────

_current: Declarations | None = None


def current() -> Declarations:
    """What the bare decorators add to, and whose Redis a bare `AsyncResult` asks."""
    global _current  # noqa: PLW0603 - the one place, see the top of this file
    if _current is None:
        _current = Declarations(Home(), lenient=True)
        _current.is_makeshift = True
    return _current


def set_current(declarations: Declarations | None) -> Declarations | None:
    """From now on the bare decorators add to *declarations*; returns what they added to before."""
    global _current
    before, _current = _current, declarations
    return before


def adopt(declarations: Declarations) -> None:
    """
    Make *declarations* the process's own, if it has none yet but those that were begun by themselves: the first `App` of a
    program is its default. What was declared before it (`shared_task` in a library that was imported first) becomes its too.
    """
    if _current is None or _current.is_makeshift:
        before = set_current(declarations)
        if before is not None:
            declarations.take_over(before, lambda _: True)
            for made in before.tasks.values():
                made.move(declarations.home)


@overload
def task(fn: Callable[..., Any], /) -> Task: ...
@overload
def task(fn: None = None, /, **options: Any) -> Callable[[Callable[..., Any]], Task]: ...
def task(fn: Callable[..., Any] | None = None, /, **options: Any) -> Any:
    """
    Make a function a task; with or without parentheses.

    Args:
        options: ``name bind base queue priority serializer max_retries retry_for dont_retry_for retry_backoff
            retry_backoff_max retry_jitter time_limit soft_time_limit ack ignore_result result_expires expires
            unique unique_for rate_limit``, see `scheduler.options.TaskOptions`.

    Raises:
        InvalidTaskError: An option is unknown or out of range (one line for each), or the name is taken.
    """
    return current().task(fn, **options)


def schedule(when: BaseTrigger, /, **options: Any) -> Callable[[Callable[..., Any]], Task]:
    """
    Make a function a task, and declare one entry for it. It can be stacked; each further one needs a `name`.

    Args:
        options: Those of `entry`, and ``name args kwargs``. On a function that is no task yet, those of `task` besides;
            there, what says how the function is run (retries, time limits) becomes the task's.

    Raises:
        InvalidScheduleError: *when* is no schedule.
        InvalidEntryError, InvalidTaskError: An option is unknown or out of range; one line for each.
    """
    return current().schedule(when, **options)


def entry(
    name: str,
    task: Task | str,
    when: BaseTrigger,
    *,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    **options: Any,
) -> None:
    """
    Declare an entry: *task* (or the task of that name) is to be run *when* it is due, with these arguments.

    Args:
        when: A schedule, or any trigger of APScheduler. A trigger is asked for its coming fires whenever the files are loaded;
            its jitter becomes the entry's.
        options: ``queue priority tz countdown expires jitter overlap catchup catchup_window start until
            max_runs enabled tags description headers ack ignore_result result_expires max_retries retry_backoff
            retry_backoff_max retry_jitter time_limit soft_time_limit alert_after alert_failures pause_after_failures ping_url``,
            see `scheduler.options.EntryOptions`. What is also an option of the task overrides the task's.

    Raises:
        InvalidEntryError: An option is unknown, out of range or contradicts another (one line for each), the name is
            taken, or the task does not take these arguments.
        InvalidScheduleError: *when* is no schedule.
        NotEncodableError: JSON cannot carry the arguments.
    """
    current().entry(name, task, when, args=args, kwargs=kwargs, **options)


# ── reading the user's function and place ───────────────────────────────────────────────────────────────────────────


def _options_of_class(base: object) -> dict[str, Any]:
    """The options that a task class says as attributes, as Celery's do; those of `@task` weigh more."""
    known = TASK_OPTIONS.keys() | ALIASES | PASSED.keys()
    found: dict[str, Any] = {}
    for kind in reversed(getattr(base, "__mro__", ())):
        if issubclass(kind, Task) and kind is not Task:
            found |= {key: value for key, value in vars(kind).items() if key in known and not hasattr(value, "__get__")}
    return found


def _check_function(fn: object) -> None:
    if isinstance(fn, Task):
        raise InvalidTaskError(f"task {fn.name!r} is a task already; put @task below @schedule, and only once")
    if isinstance(fn, staticmethod | classmethod | type) or not callable(fn):
        raise InvalidTaskError(f"@task stands above {fn!r}; expected a function")
    if inspect.isgeneratorfunction(fn) or inspect.isasyncgenfunction(fn):
        name = getattr(fn, "__qualname__", repr(fn))
        raise InvalidTaskError(f"task {name!r} is a generator: nobody would ask it for values; return a list of them")


def _default_name(fn: Callable[..., Any], main: str | None) -> str:
    """``module.function`` without our package's name in front; for ``__main__`` the app's name or the file's."""
    module = getattr(fn, "__module__", None) or ""
    function = getattr(fn, "__name__", None)
    if not function or function == "<lambda>":
        raise InvalidTaskError(f"@task stands above {fn!r}, which has no name; give name=")
    if module == "__main__":
        module = main or Path(getattr(sys.modules["__main__"], "__file__", None) or "__main__").stem
    module = module.removeprefix(f"{PACKAGE}.")
    return f"{module}.{function}" if module and module != PACKAGE else str(function)


def _place(fn: Callable[..., Any]) -> Place:
    """Where *fn* is written; for what is no Python function, where it is declared."""
    inner = inspect.unwrap(fn)
    if isinstance(inner, FunctionType):
        return Place.at(inner.__code__.co_filename, inner.__code__.co_firstlineno)
    return _caller()


def _caller() -> Place:
    """The user's line that is declaring something."""
    frame = _caller_frame()
    return Place.at(frame.f_code.co_filename, frame.f_lineno)


def calling_place() -> str:
    """The user's line that is asking, ``jobs.py:12``, for people."""
    place = _caller()
    return f"{Path(place.file).name}:{place.line}"


def _caller_frame() -> Any:
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_NOT_THE_USERS):
        frame = frame.f_back
    return frame


def _as_schedule(when: object, what: str) -> Schedule:
    if isinstance(when, Schedule):
        return when
    from scheduler.timing.trigger import as_schedule  # noqa: PLC0415 - imports APScheduler's triggers; rarely needed

    if (found := as_schedule(when)) is None:
        raise InvalidScheduleError(_no_schedule(when, what))
    return found


def _no_schedule(when: object, what: str) -> str:
    if isinstance(when, Window):
        return (
            f"{what}: {when!r} is a window, which has no moments of its own; write every('15m') & … or crontab('…') - …"
        )
    hint = "every('30s') or crontab('*/5 * * * *')"
    if isinstance(when, str):
        hint = f"crontab({when!r})" if len(when.split()) >= 5 else f"every({when!r})"
    elif isinstance(when, int | float) and not isinstance(when, bool):
        hint = f"every({when!r})"
    elif callable(when):
        hint = "a schedule in parentheses, as in @schedule(every('30s'))"
    return f"{what}: {when!r} is no schedule; write {hint}"
