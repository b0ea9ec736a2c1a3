"""The parts of `sched dev` that need no process: seeing changes, and words for how a child ended."""

from __future__ import annotations

from pathlib import Path

from scheduler.cli.dev_child import RESTART_S_MAX, restart_pause_s
from scheduler.cli.dev_loop import Files, how_it_ended


def test_a_change_is_told_once_it_stands_still(tmp_path: Path) -> None:
    """An editor writes in several steps; half a file must not be loaded."""
    folder = tmp_path / "schedules"
    folder.mkdir()
    (folder / "a.py").write_text("x = 1\n")
    files = Files(folder)
    assert files.changed() == []

    (folder / "a.py").write_text("x = 12\n")
    (folder / "sub").mkdir()
    (folder / "sub" / "b.py").write_text("")
    assert files.changed() == []
    (folder / "a.py").write_text("x = 123\n")
    assert files.changed() == []
    assert files.changed() == ["schedules/a.py", "schedules/sub/b.py"]
    assert files.changed() == []

    (folder / "a.py").unlink()
    assert files.changed() == []
    assert files.changed() == ["schedules/a.py"]


def test_a_calendar_counts_too(tmp_path: Path) -> None:
    """The holidays that a schedule leaves out are read with the files."""
    files = Files(tmp_path)
    (tmp_path / "de.ics").write_text("x")
    files.changed()
    assert files.changed() == [f"{tmp_path.name}/de.ics"]


def test_only_what_a_load_reads_counts(tmp_path: Path) -> None:
    """Caches, backups of editors and data files change all the time."""
    files = Files(tmp_path)
    (tmp_path / "__pycache__").mkdir()
    for name in ("__pycache__/a.py", ".#a.py", "a.py~", "data.csv"):
        (tmp_path / name).write_text("x")
    assert [files.changed() for _ in range(3)] == [[], [], []]


def test_a_folder_that_appears_later_is_seen(tmp_path: Path) -> None:
    """A newcomer may start `sched dev` first."""
    files = Files(tmp_path / "schedules")
    assert files.changed() == []
    (tmp_path / "schedules").mkdir()
    (tmp_path / "schedules" / "a.py").write_text("")
    files.changed()
    assert files.changed() == ["schedules/a.py"]


def test_restarts_wait_longer_each_time_and_never_for_ever() -> None:
    """A worker that dies at once must not spin."""
    assert [restart_pause_s(n) for n in range(1, 8)] == [1, 2, 4, 8, 16, 30, 30]
    assert restart_pause_s(10_000) == RESTART_S_MAX


def test_how_a_child_ended_is_said_in_words() -> None:
    """Nobody knows -9 by heart."""
    assert how_it_ended(1) == "ended with code 1"
    assert how_it_ended(-9) == "was killed by SIGKILL"
    assert how_it_ended(-250) == "was killed by signal 250"
