"""
The folder of schedule files, read into a `Registry`, or every mistake in every file at once.

The folder is imported as the package ``schedules``, whatever it is called, by a finder of our own: so a file may be called
``calendar.py`` or ``worker.py``, files may import each other, and no byte code is written.

A file counts as a whole. If anything in it is wrong, none of its entries enters the registry, so that those it declared when
it was last good stay in force (`Loaded.broken_files` says which files). A file whose import failed lends no tasks
either; one that only declares an entry badly does.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import msgspec

from scheduler.clock import now_ms
from scheduler.config import Config
from scheduler.declare import PACKAGE, Declarations, Declared, current, relative, set_current, task_complaint
from scheduler.errors import SchedError, UnroutableError
from scheduler.home import Home
from scheduler.importing import Importing
from scheduler.mistakes import Mistake
from scheduler.model import Entry
from scheduler.nearest import nearest
from scheduler.resolve import Whens, resolve_entry
from scheduler.routing import said_by
from scheduler.task import Place, Task
from scheduler.timing.settling import Patience, Settling

OUR_PACKAGES = ("scheduler", "worker")
DEPTH_MAX = 16


class Registry(msgspec.Struct, frozen=True):
    """All entries in force, by name."""

    entries: Mapping[str, Entry]


class Loaded(msgspec.Struct, frozen=True):
    """
    What the schedule files say.

    Attributes:
        registry: The entries of all files without a mistake.
        tasks: By name; also those of files in which only an entry is wrong.
        mistakes: In the order of files and lines.
        warnings: What is legal and rarely meant.
        broken_files: The files with mistakes, as in `Entry.source`.
        complete: False if the folder itself could not be read, or has nothing in it. Then nothing is known about what is
            missing here, and no entry may be taken for removed.
    """

    registry: Registry
    tasks: Mapping[str, Task]
    mistakes: tuple[Mistake, ...] = ()
    broken_files: frozenset[str] = frozenset()
    warnings: tuple[Mistake, ...] = ()
    complete: bool = True


def load(
    folder: Path, config: Config, *, imports: Sequence[str] = (), app: Any = None, at_ms: int | None = None
) -> Loaded:
    """
    Import every file in *folder*, freshly, and resolve what they declare.

    Modules outside the folder are imported once in a process's life, except those named in *imports* and in the setting of
    that name, which are imported again too.

    Args:
        folder: Of schedule files; they may lie in subfolders.
        imports: Modules to import besides.
        app: An `App` whose tasks and entries belong to the registry too.
        at_ms: Schedules that exist only as objects are asked for what comes after this moment; None: after now.

    Raises:
        ConfigError: The `routes` setting cannot be read. Mistakes in the files are returned, not raised.
    """
    at_ms = now_ms() if at_ms is None else at_ms
    return _Load(Path(os.path.abspath(folder)), config, (*config.imports, *imports), app, at_ms).run()


class _Load:
    """One load, step by step."""

    def __init__(self, folder: Path, config: Config, imports: Sequence[str], app: Any, at_ms: int) -> None:
        self.folder = folder
        self.base = folder.parent
        self.config = config
        self.imports = tuple(dict.fromkeys(imports))
        self.app = app
        self.home = Home(lambda: config)
        self.declarations = Declarations(self.home)
        self.declarations.folder = self.base
        self.importing = Importing(folder)
        self.mistakes: list[Mistake] = self.importing.mistakes
        self.warnings: list[Mistake] = []
        self.complete = True
        self.whens = Whens()
        self.at_ms = at_ms
        self.patience = Patience()

    def run(self) -> Loaded:
        """
        1. Our packages are imported before the user's folder enters the path.
        2. What an earlier load imported is forgotten; what modules outside the folder declared is carried over.
        3. Each file is imported; mistakes are noted and the next one goes on.
        4. Entries are resolved, those of files with mistakes left out.
        """
        self._guard_our_packages()
        forgotten = self._forget()
        before = set_current(self.declarations)
        if before is not None:
            self.declarations.take_over(before, lambda name: name in sys.modules and name not in forgotten)
        if str(self.base) not in sys.path:
            sys.path.insert(0, str(self.base))
        self.importing.install()
        self._ready(self.app)
        for name in (*self._modules(), *self.imports):
            self.importing.import_module(name)
        self._merge_apps()
        # Not before: routes may be callables of the folder, or of a module beside it. Now all tasks follow the settings.
        self.router = self.home.router
        assert current() is self.declarations, "a schedule file must not replace the collector"
        self._look_at_tasks()
        entries = self._resolve_all()
        broken = frozenset(mistake.file for mistake in self.mistakes if mistake.file)
        good = {n: e for n, e in entries.items() if self._file(n) not in broken} if broken else entries
        tasks = {
            name: task
            for name, task in self.declarations.tasks.items()
            if task.fn.__module__ not in self.importing.failed
        }
        return Loaded(
            registry=Registry(MappingProxyType(good)),
            tasks=MappingProxyType(tasks),
            mistakes=tuple(sorted(self.mistakes, key=lambda mistake: (mistake.file, mistake.line))),
            broken_files=broken,
            warnings=tuple(self.warnings),
            complete=self.complete,
        )

    # ── importing ───────────────────────────────────────────────────────────────────────────────────────────────────

    def _guard_our_packages(self) -> None:
        """Nobody's module may stand in for ours, nor ours for theirs without a word."""
        ours = Path(__file__).parent.parent
        for name in OUR_PACKAGES:
            module = importlib.import_module(name)
            places = {Path(place).resolve() for place in getattr(module, "__path__", ())}
            if (ours / name).resolve() not in places:
                self._note(
                    str(getattr(module, "__file__", name)), 0, f"it is imported as {name!r}", _shadow_remedy(name)
                )
            for found in _modules_called(name, self.base):
                if found.resolve() not in places:
                    what = f"{found.name} has the name of a package of Steadybeat: `import {name}` never means yours"
                    self._note(relative(str(found), self.base), 0, what, _shadow_remedy(name))

    def _forget(self) -> set[str]:
        """Drop what an earlier load imported, so that it is imported again; returns the names."""
        roots = (PACKAGE, *self.imports)
        dropped = {name for name in sys.modules if any(name == r or name.startswith(f"{r}.") for r in roots)}
        if self.app is not None:
            # The app lives in one of these: imported again, it would be another one.
            dropped = {name for name in dropped if name == PACKAGE or name.startswith(f"{PACKAGE}.")}
        for name in dropped:
            del sys.modules[name]
        importlib.invalidate_caches()
        return dropped

    def _modules(self) -> Iterator[str]:
        """The modules in the folder, by name, parents first."""
        if not self.folder.is_dir():
            if self.folder.exists() or not (self.app is not None or self.imports):
                remedy = "set `schedules` (SCHED_SCHEDULES) to the folder of your files"
                if self.folder.exists():
                    self._unusable("it is no folder", remedy)
                else:
                    self._unusable("there is no such folder", f"create it, or {remedy}")
            return
        files = sorted(self._files(self.folder, 0))
        if not files and not (self.app is not None or self.imports):
            self._unusable("no schedule file (*.py) in it", "add one, or set `schedules` to the folder of your files")
        for file in files:
            parts = file.relative_to(self.folder).with_suffix("").parts
            parts = parts[:-1] if parts[-1] == "__init__" else parts
            shown = relative(str(file), self.base)
            if odd := [part for part in parts if not part.isidentifier()]:
                better = "".join(c if c.isalnum() else "_" for c in odd[0])
                self._note(shown, 0, f"{odd[0]!r} cannot be the name of a module", f"rename it, to {better!r} perhaps")
            elif twin := _twin(self.folder, file):
                self._note(shown, 0, f"{twin.name}/ and {twin.name}.py have one name", "rename one of them")
            else:
                yield ".".join((PACKAGE, *parts))

    def _files(self, folder: Path, depth: int) -> Iterator[Path]:
        """Every Python file below *folder*. Hidden ones are skipped: editors and mounted volumes keep theirs there."""
        try:
            found = sorted(folder.iterdir())
        except OSError as error:
            reason = error.strerror or str(error)
            self._unusable(f"cannot be read: {reason}", "let the user that runs this read it", folder)
            return
        for path in found:
            if path.name.startswith(".") or path.name == "__pycache__":
                continue
            if path.is_dir() and depth < DEPTH_MAX and not _leads_back(path, self.folder):
                yield from self._files(path, depth + 1)
            elif path.suffix == ".py" and (path.is_file() or path.is_symlink()):
                yield path

    def _ready(self, app: Any) -> None:
        if app is not None:
            try:
                app.prepare()
            except Exception as error:
                self.importing.note_outside(app.spec, error)

    def _merge_apps(self) -> None:
        """Add what Apps hold: the one that was given, and those that the imported modules define or import."""
        modules = [sys.modules.get(name) for name in self.importing.imported]
        values = [value for module in modules if module is not None for value in vars(module).values()]
        held = {id(v): v for v in (self.app, *values) if isinstance(getattr(v, "declarations", None), Declarations)}
        for app in held.values():
            self.home.app = self.home.app or app
            try:
                app.finalize()
            except Exception as error:
                self.importing.note_outside(app.spec, error)
        for declarations in dict.fromkeys(app.declarations for app in held.values()):
            if declarations is self.declarations:
                continue
            for name, declared in declarations.entries.items():
                before = self.declarations.entries.get(name)
                if before is not None and before is not declared and before.place != declared.place:
                    self._note_at(
                        declared.place,
                        f"entry {name!r} is declared already, at {self.declarations.shown(before.place)}",
                        "entries need different names",
                        entry=name,
                    )
            self.declarations.take_over(declarations, lambda _: True)

    def _look_at_tasks(self) -> None:
        """Say what of the tasks cannot be or has no meaning here."""
        for task in self.declarations.tasks.values():
            try:
                if task.options.queue is not None:
                    self.router.checked(task.options.queue)
            except UnroutableError as error:
                self._note_at(task.place, f"task {task.name!r}: {error}", "")
            for note in (*task.notes, *self._unserved(task)):
                place = relative(task.place.file, self.base)
                self.warnings.append(Mistake(place, task.place.line, f"task {task.name!r}: {note}", ""))

    def _unserved(self, task: Task) -> list[str]:
        """Of the queues that calls of *task* go to, those that no worker takes from by itself."""
        declared = self.config.queue_names
        if not declared or self.router.asks_callables:
            return []
        try:
            queues = self.router.destination(task.name, (said_by(task.options),)).queues
        except UnroutableError:
            return []  # its calls may say more; who says nothing is refused
        return [
            f"queue {queue!r} is not among the setting queues ({', '.join(declared)}): a worker takes from it only if -Q says so"
            for queue in queues
            if queue not in declared
        ]

    # ── resolving ───────────────────────────────────────────────────────────────────────────────────────────────────

    def _resolve_all(self) -> dict[str, Entry]:
        entries = {}
        for declared in self.declarations.entries.values():
            if declared.module in self.importing.failed:
                continue
            entry = self._resolve(declared)
            if entry is not None:
                entries[entry.name] = entry
        return entries

    def _resolve(self, declared: Declared) -> Entry | None:
        """The entry, or None and a mistake."""
        what = f"entry {declared.name!r}"
        task = declared.task if isinstance(declared.task, Task) else self.declarations.tasks.get(declared.task)
        if task is None:
            known = list(self.declarations.tasks)
            hint = nearest(str(declared.task), known) or (
                f"; tasks are {', '.join(sorted(known)[:5])}{' …' if len(known) > 5 else ''}" if known else ""
            )
            remedy = f"name a task that a file declares{hint.replace('; did you mean', ': did you mean')}"
            self._note_at(declared.place, f"{what}: there is no task {declared.task!r}", remedy, entry=declared.name)
            return None
        try:
            # Where the task was given as such, it was compared when the entry was declared.
            if isinstance(declared.task, str) and (complaint := task_complaint(declared, task)):
                self._note_at(declared.place, f"{what}: {complaint}", "", entry=declared.name)
                return None
            source = self.declarations.shown(declared.place)
            settling = Settling(self.at_ms, self.patience, [], declared.options.tz or self.config.timezone)
            entry = resolve_entry(
                declared, task, self.config, self.router, source=source, settling=settling, whens=self.whens
            )
            for warning in settling.notes:
                place = declared.place
                self.warnings.append(
                    Mistake(relative(place.file, self.base), place.line, f"{what}: {warning}", "", declared.name)
                )
            return entry
        except SchedError as error:
            for line in str(error).splitlines():
                text = line if line.startswith(what) else f"{what}: {line}"
                self._note_at(declared.place, text, "", entry=declared.name)
        except Exception as error:
            text = f"{what}: its route fails: {type(error).__name__}: {error}"
            self._note_at(declared.place, text, "mend the callable in `routes`", entry=declared.name)
        return None

    # ── noting ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def _file(self, entry: str) -> str:
        return relative(self.declarations.entries[entry].place.file, self.base)

    def _note(self, file: str, line: int, what: str, remedy: str, *, entry: str = "") -> None:
        self.mistakes.append(Mistake(file, line, what, remedy, entry))

    def _note_at(self, place: Place, what: str, remedy: str, *, entry: str = "") -> None:
        self._note(relative(place.file, self.base), place.line, what, remedy, entry=entry)

    def _unusable(self, what: str, remedy: str, folder: Path | None = None) -> None:
        self.complete = False
        self._note(str(folder or self.folder), 0, what, remedy)


def _shadow_remedy(name: str) -> str:
    return f"rename it, to my_{name} perhaps"


def _modules_called(name: str, folder: Path) -> Iterable[Path]:
    """What Python would import as *name* from *folder*."""
    if (file := folder / f"{name}.py").is_file():
        yield file
    if (package := folder / name).is_dir() and any(package.glob("*.py")):
        yield package


def _twin(folder: Path, file: Path) -> Path | None:
    """A folder on the way to *file* that Python does not see, because a module beside it has its name."""
    for place in file.parents:
        if place == folder:
            return None
        if (place.parent / f"{place.name}.py").is_file() and not (place / "__init__.py").is_file():
            return place
    return None


def _leads_back(path: Path, folder: Path) -> bool:
    """Whether a link leads to a folder that we are in: following it would never end."""
    return path.is_symlink() and path.resolve() in (folder.resolve(), *folder.resolve().parents)
