"""`sched check`: warnings beside the mistakes, and what CI makes of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.integration.cli.conftest import Sched

ODD = """
from scheduler import crontab, entry, task

@task(time_limit="2h")
def work(): ...

entry("hourly", work, crontab("0 * * * *"))
entry("at-three", work, crontab("* 3 1 * *"), time_limit="10s")
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with one odd file and one that is well."""
    folder = tmp_path / "schedules"
    folder.mkdir()
    (folder / "odd.py").write_text(ODD)
    (folder / "well.py").write_text(
        "from scheduler import every, schedule\n\n@schedule(every('1h'))\ndef well(): ...\n"
    )
    return folder


def test_what_is_odd_is_told_with_its_place_and_lets_the_check_pass(sched: Sched, folder: Path) -> None:
    """Legal is legal: a deployment is not stopped unless CI asks for that."""
    said = sched("check", str(folder))
    assert said.code == 0
    assert said.out.splitlines()[0].startswith(
        "schedules/odd.py:7: warning: entry 'hourly': time_limit 2h is longer than"
    )
    assert "schedules/odd.py:8: warning: entry 'at-three': minute * beside hour 3 fires in each minute" in said.out
    assert "no mistakes, 2 warnings; 3 entries are good" in said.err


def test_strict_makes_warnings_fail(sched: Sched, folder: Path) -> None:
    """For CI; what is well passes."""
    assert sched("check", "--strict", str(folder)).code == 1
    assert sched("check", "--strict", str(folder / "well.py")).code == 0
    findings = sched("check", str(folder), "-o", "json").data
    assert {finding["level"] for finding in findings} == {"warning"}
    assert findings[0] == {
        "file": "schedules/odd.py",
        "line": 7,
        "entry": "hourly",
        "what": findings[0]["what"],
        "remedy": None,
        "level": "warning",
    }
