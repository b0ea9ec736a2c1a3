"""What exists only as an object, in schedule files: asked by the load, and its mistakes stay small."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent

import pytest

from scheduler.config import Config
from scheduler.loader import Loaded, load
from scheduler.timing import settling
from scheduler.timing.table import known_until_ms

HEAD = """
from datetime import datetime
from apscheduler.triggers.base import BaseTrigger
from apscheduler.triggers.combining import AndTrigger
from apscheduler.triggers.cron import CronTrigger
from apscheduler.triggers.interval import IntervalTrigger
from scheduler import crontab, entry, holidays, schedule, task

@task
def noop(): ...
"""


@pytest.fixture
def loaded(tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Loaded:
    """The load of two files: the text that is the test's parameter, and a good one."""
    monkeypatch.setattr(settling, "ANSWER_S_MAX", 1.0)
    folder = tmp_path / "schedules"
    folder.mkdir()
    (folder / "asked.py").write_text(HEAD + dedent(request.param), encoding="utf-8")
    (folder / "good.py").write_text(
        "from scheduler import entry, every, task\n@task\ndef good(): ...\nentry('good', good, every('1h'))\n",
        encoding="utf-8",
    )
    return load(folder, Config(schedules=folder, state_dir=tmp_path))


HANGS = "AndTrigger([IntervalTrigger(seconds=2, start_date='2026-01-01'), CronTrigger(hour=9, second=3)])"


@pytest.mark.parametrize(
    ("loaded", "line", "told"),
    [
        (f"entry('bad', noop, {HANGS})", 11, "did not answer within 1 s"),
        (f"entry('bad', noop, crontab('0 9 * * *') | {HANGS})", 11, "did not answer within 1 s"),
        ("entry('bad', noop, crontab('0 9 * * *') - holidays(lambda day: 1 / 0))", 11, "ZeroDivisionError"),
        ("entry('bad', noop, crontab('0 9 * * *') - holidays('none.ics'))", 11, "none.ics: No such file or directory"),
        ("entry('bad', noop, CronTrigger(hour=9, timezone='Europe/Berlin'), tz='Asia/Tokyo')", 11, "contradicts"),
        ("entry('bad', noop, CronTrigger)", 11, "is no schedule"),
    ],
    indirect=["loaded"],
)
def test_a_mistake_is_told_with_its_line_and_the_other_files_go_on(loaded: Loaded, line: int, told: str) -> None:
    """P12: a trigger that may never answer costs its file, for two seconds, and no beat."""
    assert list(loaded.registry.entries) == ["good"]
    (mistake,) = loaded.mistakes
    assert ("schedules/asked.py", line) == (mistake.file, mistake.line)
    assert told in mistake.what


@pytest.mark.parametrize(
    "loaded",
    [
        """
        @schedule(CronTrigger(hour=9, timezone='UTC', jitter=30))
        def spread(): ...

        entry('own', noop, CronTrigger(hour=9, timezone='UTC', jitter=30), jitter='5s')
        entry('nested', noop, CronTrigger(hour=9, jitter=30) | crontab('0 10 * * *'))
        entry('hourly', noop, IntervalTrigger(hours=1))
        entry('closed', noop, crontab('0 9 * * *') - holidays(lambda day: day.weekday() == 6))
        """
    ],
    indirect=True,
)
def test_objects_become_data_in_a_load(loaded: Loaded) -> None:
    """Decorators and entries alike; a trigger's jitter becomes the entry's, unless that has one."""
    assert loaded.mistakes == ()
    entries = loaded.registry.entries
    assert tuple(entries[name].jitter_ms for name in ("asked.spread", "own", "nested")) == (30_000, 5_000, 0)
    assert {"kind": "every", "period": "1h", "anchor": None, "tz": "UTC"} | {
        "tz": entries["hourly"].schedule["tz"]
    } == entries["hourly"].schedule
    assert all(known_until_ms(entries[name].schedule) for name in ("asked.spread", "own", "nested", "closed"))
    told = {warning.entry: warning.what for warning in loaded.warnings}
    assert "its jitter of 30 s is random" in told["nested"]
    assert "no start_date" in told["hourly"]
