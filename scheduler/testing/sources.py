"""What people hand to `simulate`: a folder, an App, what a load gave. All become entries, or every mistake at once."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from scheduler.app import App
from scheduler.config import Config, load_config
from scheduler.declare import PACKAGE, Declarations, Declared, set_current
from scheduler.errors import BrokenFileError, InvalidEntryError
from scheduler.importing import Importing
from scheduler.loader import Loaded, Registry, load
from scheduler.model import Entry
from scheduler.resolve import resolve_entry
from scheduler.routing import Router
from scheduler.task import Task
from scheduler.timing.settling import Patience, Settling

Source = str | os.PathLike[str] | App | Loaded | Registry | Mapping[str, Entry] | Iterable[Entry]


def entries_of(source: Source, config: Config, at_ms: int) -> list[Entry]:
    """
    The entries of *source*.

    Args:
        at_ms: From when on schedules that exist only as objects are asked for their fires.

    Raises:
        BrokenFileError: A schedule file has a mistake; one line for each.
        InvalidEntryError: An entry of an App cannot be resolved.
        TypeError: *source* is something else.
    """
    if isinstance(source, App):
        # What the App itself declares; its folder of schedule files is another source.
        return entries_declared(source.declarations, config, at_ms)
    if isinstance(source, str | os.PathLike):
        return _of_loaded(_loaded(Path(source), config, at_ms))
    if isinstance(source, Loaded):
        return _of_loaded(source)
    if isinstance(source, Registry):
        return list(source.entries.values())
    found = (
        list(source.values() if isinstance(source, Mapping) else source) if isinstance(source, Iterable) else [source]
    )
    for entry in found:
        if not isinstance(entry, Entry):
            raise TypeError(
                f"simulate: {type(entry).__name__}: expected the folder of schedule files, an App, or what `load` gave"
            )
    return found


def settings_of(source: Source) -> Config:
    """The settings that *source* goes by: an App's own, else those of ``sched.toml`` and environment."""
    return source.config if isinstance(source, App) else load_config()


def entries_declared(declarations: Declarations, config: Config, at_ms: int, *, only: str | None = None) -> list[Entry]:
    """The entries among *declarations*, resolved; *only* the one of that name."""
    router, patience = Router(config), Patience()
    found = []
    for declared in declarations.entries.values():
        if only is not None and declared.name != only:
            continue
        settling = Settling(at_ms, patience, [])
        source, task = declarations.shown(declared.place), _task_of(declared, declarations)
        found.append(resolve_entry(declared, task, config, router, source=source, settling=settling))
    return found


def _task_of(declared: Declared, declarations: Declarations) -> Task:
    task = declared.task if isinstance(declared.task, Task) else declarations.tasks.get(declared.task)
    if task is None:
        raise InvalidEntryError(f"entry {declared.name!r}: there is no task {declared.task!r}")
    return task


def _loaded(folder: Path, config: Config, at_ms: int) -> Loaded:
    if not folder.is_dir():
        raise FileNotFoundError(f"simulate: there is no folder {str(folder)!r} here ({Path.cwd()})")
    with _undisturbed():
        return load(folder, config, at_ms=at_ms)


def _of_loaded(loaded: Loaded) -> list[Entry]:
    if loaded.mistakes:
        raise BrokenFileError("\n".join(str(mistake) for mistake in loaded.mistakes))
    return list(loaded.registry.entries.values())


@contextmanager
def _undisturbed() -> Iterator[None]:
    """A load imports the files anew; afterwards the process has those modules again that its tests have imported."""
    modules = {name: module for name, module in sys.modules.items() if _is_theirs(name)}
    path, finders, current = list(sys.path), list(sys.meta_path), set_current(None)
    set_current(current)
    try:
        yield
    finally:
        set_current(current)
        sys.path[:] = path
        if any(isinstance(finder, Importing) for finder in finders):
            sys.meta_path[:] = finders
        for name in [name for name in sys.modules if _is_theirs(name)]:
            del sys.modules[name]
        sys.modules.update(modules)


def _is_theirs(name: str) -> bool:
    return name.partition(".")[0] == PACKAGE
