"""`sched check`: every mistake in the schedule files, with its place and its remedy. Redis is not asked."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from scheduler import clock
from scheduler.cli.exits import Exit
from scheduler.cli.group import Command
from scheduler.cli.invocation import Invocation, say
from scheduler.cli.output import write
from scheduler.errors import NotFoundError
from scheduler.mistakes import Mistake

if TYPE_CHECKING:
    from scheduler.config import Config
    from scheduler.loader import Loaded


class Finding(msgspec.Struct, frozen=True):
    """A mistake, which keeps a file's entries out of force, or a warning, which does not."""

    level: str
    mistake: Mistake


@click.command("check", cls=Command)
@click.argument("path", required=False)
@click.option("--strict", is_flag=True, help="Warnings count as mistakes: exit code 1, for CI.")
@click.pass_obj
def check(sched: Invocation, path: str | None, strict: bool) -> int:
    """Every mistake in the schedule files, with file, line and remedy; exit code 1 if there is one.

    PATH is a folder of schedule files instead of the setting's, or one file of it. What is legal but rarely meant is
    shown as a warning: slips in expressions, times that the clocks skip or repeat within a year, options that reach beyond
    the next fire. The files are imported, as a beat would; Redis is not asked.
    """
    folder, file = _place(sched, path)
    loaded = sched.load(folder)
    warnings = [*loaded.warnings, *foreseen(loaded, sched.config, clock.now_ms())]
    if sched.app is not None:
        warnings += [Mistake(f"-A {sched.app_spec}", 0, note) for note in sched.app.notes]
    warnings += [Mistake("settings", 0, what, remedy) for what, remedy in sched.config.open_secrets()]
    warnings.sort(key=lambda warning: (warning.file, warning.line))
    findings = [
        finding
        for level, mistakes in (("mistake", loaded.mistakes), ("warning", warnings))
        for finding in (Finding(level, mistake) for mistake in mistakes)
        if file is None or finding.mistake.file == file
    ]
    if sched.wants_json:
        sched.out.data([finding_data(finding) for finding in findings])
    for finding in () if sched.wants_json else findings:
        write(line(finding))
    mistakes = sum(finding.level == "mistake" for finding in findings)
    say(f"sched: {_summary(loaded, file, mistakes, len(findings) - mistakes)}")
    return Exit.FAILED if mistakes or (strict and findings) else Exit.OK


def foreseen(loaded: Loaded, config: Config, now_ms: int) -> list[Mistake]:
    """The warnings about entries in the light of their zones, their options, the settings and the coming year."""
    from scheduler.foresee.warnings import twins, warnings_of  # noqa: PLC0415 - it imports every kind of schedule

    queues = config.queue_names
    found = []
    doubles = twins(loaded.registry.entries.values())
    for entry in loaded.registry.entries.values():
        task = loaded.tasks.get(entry.task)
        limit_ms = None if task is None else task.options.merged(entry.run).time_limit_ms
        notes = warnings_of(entry, now_ms=now_ms, time_limit_ms=limit_ms, queues=queues)
        if entry.name in doubles:
            notes.append(
                f"it does the same as entry {doubles[entry.name]!r}, at the same times, with the same arguments"
            )
        file, _, number = entry.source.rpartition(":")
        found += [
            Mistake(file, int(number) if number.isdigit() else 0, f"entry {entry.name!r}: {note}", "", entry.name)
            for note in notes
        ]
    return found


def _place(sched: Invocation, path: str | None) -> tuple[Path | None, str | None]:
    """
    The folder to load, None for the setting's, and the one file that was asked for, as mistakes name it.

    Raises:
        NotFoundError: There is nothing at *path*.
    """
    if path is None:
        return None, None
    asked = Path(path).absolute()
    if not asked.exists():
        raise NotFoundError(f"there is no file or folder {path!r}")
    if asked.is_dir():
        return asked, None
    folder = sched.config.schedules
    if not asked.is_relative_to(folder):
        folder = asked.parent
    return folder, str(asked.relative_to(folder.parent))


def finding_data(finding: Finding) -> dict[str, Any]:
    """``{file, line, entry, what, remedy, level}``."""
    mistake = finding.mistake
    return {
        "file": mistake.file or None,
        "line": mistake.line or None,
        "entry": mistake.entry or None,
        "what": mistake.what,
        "remedy": mistake.remedy or None,
        "level": finding.level,
    }


def line(finding: Finding) -> str:
    """The finding as compilers print theirs, so that editors can jump to the place."""
    mistake = finding.mistake
    if finding.level == "mistake":
        return str(mistake)
    return str(msgspec.structs.replace(mistake, what=f"warning: {mistake.what}"))


def _summary(loaded: Loaded, file: str | None, mistakes: int, warnings: int) -> str:
    entries = loaded.registry.entries.values()
    good = sum(file is None or entry.source.rpartition(":")[0] == file for entry in entries)
    parts = [_count(mistakes, "mistake", "mistakes"), _count(warnings, "warning", "warnings")]
    return f"{', '.join(parts)}; {_count(good, 'entry is', 'entries are')} good"


def _count(n: int, one: str, many: str) -> str:
    return f"{n or 'no'} {one if n == 1 else many}"
