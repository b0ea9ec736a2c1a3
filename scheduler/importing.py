"""
Importing schedule files so that every mistake is found, not only the first.

A file is executed statement by statement. If one declares something badly (`ScheduleError`), that is noted and the next
one goes on: such a statement has done nothing. Anything else that goes wrong ends the file, as it does in Python: nobody
knows what the rest of it relied on. Statements that need a name which a noted one should have made are passed over.
"""

from __future__ import annotations
import __future__

import ast
import importlib
import importlib.util
import sys
from collections.abc import Iterator, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType, TracebackType

from scheduler.declare import PACKAGE, relative
from scheduler.errors import BrokenFileError, ConfigError, NotEncodableError, ScheduleError
from scheduler.mistakes import Mistake
from scheduler.nearest import nearest

_DECLARED_BADLY = (ScheduleError, NotEncodableError)
_OURS = ("scheduler", "worker")


class Importing(MetaPathFinder):
    """
    Finds and executes the modules of one folder as the package ``schedules``, and notes what is wrong with them.

    Attributes:
        mistakes: So far.
        imported: The names of the modules that `import_module` was asked for.
        failed: The names of modules that could not be imported to their end.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.mistakes: list[Mistake] = []
        self.imported: list[str] = []
        self.failed: set[str] = set()

    def install(self) -> None:
        """Be asked first for ``schedules``, instead of an earlier one. It stays: tasks may import when they run."""
        sys.meta_path[:] = [self, *(finder for finder in sys.meta_path if not isinstance(finder, Importing))]

    def import_module(self, name: str) -> None:
        """Import *name*; a mistake in it is noted, and nothing is raised."""
        if name in self.failed:
            return
        self.imported.append(name)
        try:
            importlib.import_module(name)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            if name not in self.failed and not _is_ours(name):
                self.failed.add(name)
                self.note_outside(name, error)
            elif name not in self.failed:
                # It failed before a line of it was run: a parent is broken, or it vanished.
                self.failed.add(name)
                self.note(self.file_of(name), 0, _import_mistake(error, self.folder))

    # ── the finder ──────────────────────────────────────────────────────────────────────────────────────────────────

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,  # noqa: ARG002 - the protocol's
        target: ModuleType | None = None,  # noqa: ARG002
    ) -> ModuleSpec | None:
        """The file of ``schedules.…``, None for every other name."""
        if not _is_ours(fullname):
            return None
        place = self.folder.joinpath(*fullname.split(".")[1:])
        package, file = place / "__init__.py", place.parent / f"{place.name}.py"
        if package.is_file():
            return importlib.util.spec_from_file_location(
                fullname, package, loader=_Statements(fullname, package, self), submodule_search_locations=[str(place)]
            )
        if fullname != PACKAGE and (file.is_file() or file.is_symlink()):
            return importlib.util.spec_from_file_location(fullname, file, loader=_Statements(fullname, file, self))
        if place.is_dir():
            spec = ModuleSpec(fullname, None, is_package=True)
            spec.submodule_search_locations = [str(place)]
            return spec
        return None

    def file_of(self, name: str) -> str:
        """The file of module *name* in the folder, as people read it."""
        place = self.folder.joinpath(*name.split(".")[1:])
        file = place / "__init__.py" if (place / "__init__.py").is_file() else place.parent / f"{place.name}.py"
        return self.shown(str(file))

    def shown(self, file: str) -> str:
        """*file* relative to the folder that holds the schedule files."""
        return relative(file, self.folder.parent)

    # ── executing ───────────────────────────────────────────────────────────────────────────────────────────────────

    def execute(self, module: ModuleType, path: str, source: bytes) -> None:
        """
        Run *source* as the body of *module*.

        Raises:
            BrokenFileError: It could not be run to its end; why is noted.
        """
        name = module.__name__
        if name in self.failed:
            raise BrokenFileError(f"{self.shown(path)} has a mistake of its own")
        try:
            tree = ast.parse(source, path)
            self._look_for_shadows(tree, path)
            lost: set[str] = set()
            for statement, code in _statements(tree, path):
                try:
                    exec(code, module.__dict__)
                except BrokenFileError:
                    raise
                except _DECLARED_BADLY as error:
                    lost |= _names_made(statement)
                    for line in str(error).splitlines():
                        self.note(self.shown(path), _line_in(error, path) or statement.lineno, (line, ""))
                except NameError as error:
                    if error.name not in lost:
                        raise
                    lost |= _names_made(statement)
            module.__dict__.setdefault("__doc__", None)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            self.failed.add(name)
            self._note_failure(error, path)
            raise BrokenFileError(f"{self.shown(path)} has a mistake of its own") from error

    def _note_failure(self, error: BaseException, path: str) -> None:
        shown = self.shown(path)
        if isinstance(error, SyntaxError) and error.filename == path:
            text = f": {error.text.strip()}" if error.text and error.text.strip() else ""
            self.note(shown, error.lineno or 0, (f"syntax error: {error.msg}{text}", "correct the line"))
            return
        line = _line_in(error, path)
        if isinstance(error, BrokenFileError):
            self.note(shown, line, (f"it imports a file that is broken: {error}", "mend that one first"))
        elif isinstance(error, ConfigError):
            for complaint in error.complaints:
                self.note(shown, line, (complaint, ""))
        else:
            self.note(shown, line, _import_mistake(error, self.folder))

    def note_outside(self, name: str, error: BaseException) -> None:
        """A module of the `imports` setting, or the completion of an app, failed: blame the deepest line of neither Python nor us."""
        file, line = _deepest(error)
        if isinstance(error, ModuleNotFoundError) and error.name is not None and name.startswith(error.name):
            what = f"imports: there is no module {error.name!r}"
            self.note(name, 0, (what, "correct the name, or install it where beats and workers run"))
        else:
            self.note(self.shown(file) if file else name, line, _import_mistake(error, self.folder))

    def _look_for_shadows(self, tree: ast.Module, path: str) -> None:
        """``import worker`` gives our package: an author who has a file of that name means theirs."""
        own = _own_module("worker", self.folder)
        for node in ast.walk(tree) if own is not None else ():
            if isinstance(node, ast.Import):
                names = [alias.name.partition(".")[0] for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
                names = [node.module.partition(".")[0]]
            else:
                continue
            if own is not None and "worker" in names:
                what = "`worker` is a package of Steadybeat, and this imports that one"
                self.note(self.shown(path), node.lineno, (what, _shadow_remedy("worker", own, self.folder)))

    def note(self, file: str, line: int, text: tuple[str, str]) -> None:
        """Note a mistake, once; *text* is what is wrong, and the remedy."""
        mistake = Mistake(file, line, *text, entry=_entry_in(text[0]))
        if mistake not in self.mistakes:
            self.mistakes.append(mistake)


class _Statements(SourceFileLoader):
    """Reads one file; how it is executed is `Importing.execute`."""

    def __init__(self, name: str, path: Path, importing: Importing) -> None:
        super().__init__(name, str(path))
        self._importing = importing

    def exec_module(self, module: ModuleType) -> None:
        """Run the file."""
        try:
            source = self.get_data(self.path)
        except OSError as error:
            self._importing.failed.add(module.__name__)
            reason = f"cannot be read: {error.strerror or error}"
            self._importing.note(self._importing.shown(self.path), 0, (reason, "let the user that runs this read it"))
            raise BrokenFileError(f"{self._importing.shown(self.path)} {reason}") from None
        self._importing.execute(module, self.path, source)


def _statements(tree: ast.Module, path: str) -> Iterator[tuple[ast.stmt, CodeType]]:
    """Each statement of *tree*, compiled as Python would compile it in its place."""
    flags = 0
    for index, statement in enumerate(tree.body):
        if isinstance(statement, ast.ImportFrom) and statement.module == "__future__":
            for alias in statement.names:
                flags |= getattr(__future__, alias.name).compiler_flag
        is_text = isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
        if is_text and index > 0:
            continue  # compiled by itself it would become the module's docstring
        body = ast.Module([statement], [])
        yield statement, compile(body, path, "exec", flags=flags, dont_inherit=True)


def _names_made(statement: ast.stmt) -> set[str]:
    """The names that *statement* would have made."""
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return {statement.name}
    return {node.id for node in ast.walk(statement) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}


def _import_mistake(error: BaseException, folder: Path) -> tuple[str, str]:
    """What is wrong, and the remedy."""
    if isinstance(error, SystemExit):
        return "it exits when it is imported", "put what runs it as a program under `if __name__ == '__main__':`"
    if isinstance(error, BrokenFileError):
        return str(error), "mend that one first"
    if isinstance(error, ModuleNotFoundError) and error.name:
        return f"there is no module {error.name!r}", _missing_remedy(error.name, folder)
    if isinstance(error, ImportError) and error.name in _OURS:
        if own := _own_module(error.name, folder):
            return f"{error.msg}: `{error.name}` is a package of Steadybeat", _shadow_remedy(error.name, own, folder)
        if error.name == "scheduler":
            import scheduler  # noqa: PLC0415 - its public names, for a suggestion

            wanted = str(error.msg).split("'")[1] if "'" in str(error.msg) else ""
            hint = nearest(wanted, scheduler.__all__).removeprefix("; ") or f"it has {', '.join(scheduler.__all__)}"
            return f"this version of scheduler has no {wanted!r}", hint
    if isinstance(error, AttributeError) and isinstance(error.obj, ModuleType):
        name = error.obj.__name__
        if name in _OURS and (own := _own_module(name, folder)):
            return f"{error}: `{name}` is a package of Steadybeat", _shadow_remedy(name, own, folder)
    text = str(error)
    what = f"{type(error).__name__}: {text}" if text else type(error).__name__
    file, line = _deepest(error)
    where = f" (raised in {relative(file, folder.parent)}:{line})" if file and not _within(file, folder) else ""
    return f"{what}{where}", "a file must import without failing; let a task do what may fail"


def _missing_remedy(name: str, folder: Path) -> str:
    root = name.partition(".")[0]
    if (own := _own_module(root, folder)) and own.is_relative_to(folder):
        return f"it is a file of yours: write `from {PACKAGE} import {root}`"
    if root == PACKAGE:
        return "correct the name; modules in the folder are named from `schedules` on"
    return "correct the name, or install it where beats and workers run"


def _own_module(name: str, folder: Path) -> Path | None:
    """The user's module called *name*, in the folder or next to it; never ours."""
    ours = Path(__file__).parent.parent / name
    for place in (folder, folder.parent):
        for found in (place / f"{name}.py", place / name / "__init__.py"):
            if found.is_file() and found.parent.resolve() != ours.resolve():
                return found
    return None


def _shadow_remedy(name: str, own: Path, folder: Path) -> str:
    if own.is_relative_to(folder):
        return f"yours is `{PACKAGE}.{name}`: write `from {PACKAGE} import {name}`"
    return f"rename yours ({relative(str(own), folder.parent)}), to my_{name} perhaps"


def _is_ours(name: str) -> bool:
    return name == PACKAGE or name.startswith(f"{PACKAGE}.")


def _frames(error: BaseException) -> Iterator[tuple[str, int]]:
    """File and line of each frame of the traceback, outermost first."""
    at: TracebackType | None = error.__traceback__
    while at is not None:
        yield at.tb_frame.f_code.co_filename, at.tb_lineno
        at = at.tb_next


def _line_in(error: BaseException, path: str) -> int:
    """The innermost line of *path* that led to *error*, or 0."""
    return next((line for file, line in reversed(list(_frames(error))) if file == path), 0)


def _deepest(error: BaseException) -> tuple[str, int]:
    """The innermost frame outside of this package and of Python's import machinery."""
    here = str(Path(__file__).parent)
    frames = [
        (file, line)
        for file, line in _frames(error)
        if not file.startswith(("<", here)) and not file.endswith("/importlib/__init__.py")
    ]
    return frames[-1] if frames else ("", 0)


def _within(file: str, folder: Path) -> bool:
    return Path(file).is_relative_to(folder)


def _entry_in(text: str) -> str:
    """The name of the entry that a message speaks of: our own messages begin with it."""
    if not text.startswith("entry '"):
        return ""
    return text.removeprefix("entry '").partition("'")[0]
