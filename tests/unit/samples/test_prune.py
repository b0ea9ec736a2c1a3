"""The pruning sample: by age, then by size, and nothing but plain files under its folder."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from schedules.prune import prune

DAY_S = 86_400


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Four files of 1,000 bytes, one to four days old."""
    for age_days in range(1, 5):
        add(tmp_path / "logs" / f"{age_days}-days.log", age_days)
    return tmp_path / "logs"


def add(path: Path, age_days: float) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x" * 1000)
    os.utime(path, (time.time() - age_days * DAY_S,) * 2)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def test_what_is_too_old_goes(folder: Path) -> None:
    """By age."""
    said = prune(str(folder), age_s_max=2.5 * DAY_S, bytes_max=1_000_000)

    assert names(folder) == ["1-days.log", "2-days.log"]
    assert said == "2 removed, 2 kept (2.0 KiB)"


def test_the_oldest_go_until_the_rest_fits(folder: Path) -> None:
    """By size."""
    prune(str(folder), age_s_max=365 * DAY_S, bytes_max=1_500)

    assert names(folder) == ["1-days.log"]


def test_what_is_young_and_fits_stays(folder: Path) -> None:
    """The usual run removes nothing."""
    assert prune(str(folder), age_s_max=365 * DAY_S, bytes_max=4_000).startswith("0 removed, 4 kept")


def test_folders_inside_are_pruned_too_and_links_are_left_alone(folder: Path, tmp_path: Path) -> None:
    """A link must not lead the broom out of its folder."""
    add(folder / "deep" / "er" / "9-days.log", 9)
    add(tmp_path / "precious" / "file", 9)
    (folder / "link-to-folder").symlink_to(tmp_path / "precious")
    (folder / "link-to-file").symlink_to(tmp_path / "precious" / "file")

    prune(str(folder), age_s_max=DAY_S / 2, bytes_max=0)

    assert names(tmp_path / "precious") == ["file"]
    assert (folder / "link-to-folder").is_symlink()
    assert (folder / "link-to-file").is_symlink()
    assert not (folder / "deep" / "er" / "9-days.log").exists()


def test_a_folder_that_is_not_there_yet_is_no_failure(tmp_path: Path) -> None:
    """The reports come later than the first pruning."""
    assert prune(str(tmp_path / "nothing"), age_s_max=1, bytes_max=1).endswith("is not there yet")


def test_a_file_that_cannot_be_removed_fails_loudly(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise the disk fills up behind a green light."""

    def refuse(_path: Path, missing_ok: bool = False) -> None:
        raise PermissionError(13, "Permission denied")

    # Root may remove anything, so the refusal is staged.
    monkeypatch.setattr(Path, "unlink", refuse)
    with pytest.raises(PermissionError):
        prune(str(folder), age_s_max=1, bytes_max=0)
