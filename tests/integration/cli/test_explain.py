"""`sched explain`: what an expression means, here and elsewhere. No Redis."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.integration.cli.conftest import Sched


@pytest.fixture(autouse=True)
def _no_redis(monkeypatch: pytest.MonkeyPatch, sched: Sched) -> None:
    monkeypatch.setenv("SCHED_REDIS_URL", "redis://localhost:1")


def test_an_expression_is_explained_field_by_field_with_what_is_odd(sched: Sched) -> None:
    """One look instead of a manual: words, values, fires, warnings, and the other readers."""
    said = sched("explain", "30 2 * * 0,6", "--tz", "Europe/Berlin", "--from", "2026-03-01", "-n", "2")
    assert said.code == 0, said.err
    for part in (
        " day-of-week: 0,6  Sunday, Saturday",
        "warning: the clocks change: Sun 2026-03-29 has no 02:30 in Europe/Berlin, it runs once, at 03:00; ",
        "Sun 2026-03-01 02:30:00 CET  2026-03-01T01:30:00.000Z",
        " reads it otherwise: on Sun 2026-10-25 02:30:00 CET it fires and we do not",
        "Celery 5 would read it otherwise: on Sun 2026-03-29 03:00:00 CEST we fire and it would not",
    ):
        assert part in said.out


def test_programs_get_the_same(sched: Sched) -> None:
    """For whoever migrates hundreds of expressions."""
    data = sched("explain", "0 9 * * mon-fri", "--from", "2026-03-01", "-n", "1", "-o", "json").data
    assert data["fires"] == ["2026-03-02T09:00:00.000Z"]
    assert data["fields"]["day-of-week"] == {"text": "mon-fri", "words": "Monday–Friday"}
    assert data["readings"]["croniter"]["same"] is True
    assert data["readings"]["celery"]["first_difference"] is None
    assert data["warnings"] == []


def test_h_is_explained_for_an_entry(sched: Sched) -> None:
    """Without a name it has no value yet, and that is said."""
    said = sched("explain", "H 3 * * *")
    assert (said.code, "--for ENTRY shows what it gives" in said.err) == (0, True)
    assert len(sched("explain", "H 3 * * *", "--for", "nightly", "-o", "json").data["fires"]) == 5


def test_an_entry_of_the_files_is_explained_by_its_name(
    sched: Sched, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """People think in names of entries; a slip is told with the nearest."""
    folder = tmp_path / "schedules"
    folder.mkdir()
    (folder / "night.py").write_text(
        "from scheduler import crontab, entry, every, task\n"
        "@task\ndef work(): ...\n"
        "entry('nightly', work, crontab('H 3 * * *'), tz='Asia/Shanghai')\n"
        "entry('often', work, every('1m'), countdown='2m', until='2030-01-01')\n"
    )
    monkeypatch.setenv("SCHED_SCHEDULES", str(folder))
    data = sched("explain", "nightly", "-o", "json").data
    assert (data["entry"], data["timezone"], len(data["fires"])) == ("nightly", "Asia/Shanghai", 5)
    said = sched("explain", "often")
    assert "warning: countdown 2m is not shorter than the 1m to the next fire" in said.out
    assert "croniter" not in said.out
    said = sched("explain", "nightyl")
    assert said.code == 3
    assert said.err == (
        "sched: 'nightyl' is neither a crontab expression nor an entry of the schedule files; did you mean nightly?\n"
    )


def test_a_wrong_expression_is_refused_as_everywhere(sched: Sched) -> None:
    """Exit code 2 and the one message."""
    said = sched("explain", "61 * * * *")
    assert (said.code, said.err) == (2, "sched: crontab '61 * * * *': minute 61 is outside 0–59\n")


def test_an_expression_of_croniters_is_explained_as_croniter_reads_it(sched: Sched) -> None:
    """Six fields with the second last; what is left is how its own daylight saving differs from ours."""
    data = sched(
        "explain", "*/20 * * * * 30", "--dialect", "croniter", "--from", "2026-03-01", "-n", "1", "-o", "json"
    ).data
    assert (data["fires"], data["fields"]) == (["2026-03-01T00:00:30.000Z"], {})
    assert data["readings"]["croniter"]["same"] is True
