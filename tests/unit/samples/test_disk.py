"""The disk sample: quiet below its limit, loud above it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from schedules.disk import DiskTooFullError, check_disk, measure


def test_below_the_limit_it_tells_how_full_the_disk_is(tmp_path: Path) -> None:
    """The result is worth reading in `sched runs`."""
    assert check_disk(str(tmp_path), 100).endswith("GiB free")


def test_above_the_limit_it_fails_and_says_what_to_do(tmp_path: Path) -> None:
    """A real measurement against a limit that no disk keeps."""
    with pytest.raises(DiskTooFullError, match=r"% used, .*the limit is -1 %: make room, or raise the limit"):
        check_disk(str(tmp_path), -1)


def test_a_path_that_is_not_there_fails(tmp_path: Path) -> None:
    """A file system that was not mounted is not an empty one."""
    with pytest.raises(FileNotFoundError):
        check_disk(str(tmp_path / "unmounted"), 100)


def test_it_counts_as_df_does(tmp_path: Path) -> None:
    """What is reserved for root is not free."""
    used_percent, free_bytes = measure(str(tmp_path))
    disk = shutil.disk_usage(tmp_path)

    assert used_percent == pytest.approx(100 * disk.used / (disk.used + disk.free), abs=0.5)
    assert free_bytes <= disk.total - disk.used + 2**20
