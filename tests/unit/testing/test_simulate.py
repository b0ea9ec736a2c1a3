"""`scheduler.testing.simulate`: what users' tests ask of their schedules."""

from __future__ import annotations

import sys
import time
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from textwrap import dedent

import pytest
from apscheduler.triggers.combining import OrTrigger
from apscheduler.triggers.cron import CronTrigger

from scheduler import App, crontab, every
from scheduler.config import Config
from scheduler.errors import BrokenFileError, NotFoundError
from scheduler.foresee.due import UnknownFiresError
from scheduler.loader import load
from scheduler.model import Entry
from scheduler.testing import simulate

BERLIN = Config(timezone="Europe/Berlin")
FILE = """
    from scheduler import crontab, entry, every, schedule, task

    @schedule(crontab("30 2 * * *"))
    def nightly(): ...

    @task
    def poll(): ...

    entry("poll", poll, every("6h"), countdown="1m", until="2026-03-29T12:00")
    entry("off", poll, every("1h"), enabled=False)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of schedule files."""
    file = tmp_path / "schedules" / "night.py"
    file.parent.mkdir()
    file.write_text(dedent(FILE))
    return file.parent


def test_a_folder_is_simulated_through_the_night_the_clocks_change(folder: Path) -> None:
    """The reason to test schedules at all: 02:30 does not exist on 29 March, and runs right after the gap."""
    sim = simulate(folder, "2026-03-28", "2026-03-31", config=BERLIN)
    nightly = sim["night.nightly"]
    assert nightly.wall == ["2026-03-28T02:30:00+01:00", "2026-03-29T03:00:00+02:00", "2026-03-30T02:30:00+02:00"]
    assert nightly.on("2026-03-29") == [datetime(2026, 3, 29, 1, 0, tzinfo=UTC)]
    assert nightly.on(date(2026, 3, 30))[0] == datetime(2026, 3, 30, 0, 30, tzinfo=UTC)
    assert (len(sim), sim.total, len(sim["off"])) == (3, 3 + 6, 0)


def test_a_sequence_of_fires_answers_what_tests_ask(folder: Path) -> None:
    """Each question in one word, so that a test reads as a sentence."""
    poll = simulate(folder, "2026-03-28", "2026-03-31", config=BERLIN)["poll"]
    assert poll.first == datetime(2026, 3, 28, 0, tzinfo=UTC)
    assert poll.last == datetime(2026, 3, 29, 6, tzinfo=UTC)
    assert poll.starts[0] == datetime(2026, 3, 28, 0, 1, tzinfo=UTC)
    assert poll.next("2026-03-28 07:00") == datetime(2026, 3, 28, 12, tzinfo=UTC)
    assert poll.next(poll.last) is None
    assert poll.previous("2026-03-28 07:01") == datetime(2026, 3, 28, 6, tzinfo=UTC)
    assert poll.previous(poll.first) is None
    assert poll.longest_gap == timedelta(hours=6)
    assert len(poll.between("2026-03-28 01:00", "2026-03-28 13:00")) == 2
    assert datetime(2026, 3, 28, 6, tzinfo=UTC) in poll
    assert datetime(2026, 3, 28, 6, 1, tzinfo=UTC) not in poll
    assert poll[-1] == poll.last
    assert repr(poll[:1]) == "<1 fire of 'poll': 2026-03-28T01:00:00+01:00>"
    assert list(poll.overlaps("5h")) == []
    assert list(poll.overlaps("7h")) == [poll[1], poll[3], poll[5]]


def test_the_span_of_strings_is_local_to_the_zone(folder: Path) -> None:
    """People write days, and a day begins at their midnight."""
    sim = simulate(folder, "2026-03-29", "2026-03-30", tz="America/New_York", config=BERLIN)
    assert (sim.start, sim.end) == (datetime(2026, 3, 29, 4, tzinfo=UTC), datetime(2026, 3, 30, 4, tzinfo=UTC))


def test_an_app_a_load_and_a_registry_are_simulated_alike(folder: Path) -> None:
    """Whatever people hold in their hands is good enough."""
    app = App("shop", timezone="Europe/Berlin")

    @app.schedule(crontab("0 9 * * 1"))
    def weekly() -> None: ...

    assert simulate(app, "2026-01-01", "2026-02-01")[weekly.name].wall[0] == "2026-01-05T09:00:00+01:00"
    loaded = load(folder, BERLIN)
    for source in (loaded, loaded.registry, loaded.registry.entries, list(loaded.registry.entries.values())):
        assert simulate(source, "2026-03-28", "2026-03-29", config=BERLIN).total == 1 + 4


def test_a_simulation_leaves_the_modules_of_a_test_alone(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A test has imported its schedule files and patched them: a load must not put others in their place."""
    monkeypatch.syspath_prepend(str(folder.parent))
    path = list(sys.path)
    from schedules import night  # type: ignore[import-not-found]  # noqa: PLC0415

    simulate(folder, "2026-03-28", "2026-03-29", config=BERLIN)
    assert sys.modules["schedules.night"] is night
    assert sys.path == path
    for name in [name for name in sys.modules if name.partition(".")[0] == "schedules"]:
        del sys.modules[name]


def test_mistakes_in_the_files_fail_the_simulation(folder: Path) -> None:
    """P12: a test of schedules that could not be read must not pass."""
    (folder / "bad.py").write_text("from scheduler import *\nentry('x', 'night.nightly', crontab('61 * * * *'))\n")
    with pytest.raises(BrokenFileError, match=r"schedules/bad.py:2: .*minute 61"):
        simulate(folder, "2026-03-28", "2026-03-29", config=BERLIN)


def test_a_wrong_name_is_told_with_the_nearest(folder: Path) -> None:
    """A slip in a test is found by its message."""
    sim = simulate(folder, "2026-03-28", "2026-03-29", config=BERLIN)
    with pytest.raises(NotFoundError, match=r"no entry 'pol'; did you mean poll"):
        sim["pol"]
    assert ("pol" in sim, "poll" in sim) == (False, True)
    with pytest.raises(NotFoundError, match=r"no entry 'pll'"):
        simulate(folder, "2026-03-28", "2026-03-29", config=BERLIN, paused={"pll": []})


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("2026-03-29", "2026-03-29"), "end 2026-03-29 is not after start"),
        (("soon", "2026-03-29"), "start 'soon': expected ISO text such as '2026-01-01'"),
    ],
)
def test_a_wrong_span_says_what_is_wrong(folder: Path, arguments: tuple[str, str], complaint: str) -> None:
    """Messages for people."""
    with pytest.raises(ValueError, match=complaint):
        simulate(folder, *arguments, config=BERLIN)


def test_a_pause_silences_an_entry(folder: Path) -> None:
    """What people plan over a holiday they want to see beforehand."""
    paused = {"night.nightly": [("2026-03-29", "2026-03-30")]}
    sim = simulate(folder, "2026-03-28", "2026-03-31", config=BERLIN, paused=paused)
    assert [moment[:10] for moment in sim["night.nightly"].wall] == ["2026-03-28", "2026-03-30"]


def test_entries_are_looked_at_together(folder: Path) -> None:
    """Two entries that must not meet, and the busiest minute."""
    sim = simulate(folder, "2026-03-28", "2026-03-31", config=BERLIN)
    assert sim.together("night.nightly", "poll") == []
    assert len(sim.together("night.nightly", "poll", within="2h")) == 2
    assert sim.on("2026-03-29")[:2] == [
        (datetime(2026, 3, 29, 0, tzinfo=UTC), "poll"),
        (datetime(2026, 3, 29, 1, tzinfo=UTC), "night.nightly"),
    ]
    peak = sim.peak("1h")
    assert peak is not None
    assert (peak.at, peak.starts, peak.entries) == (datetime(2026, 3, 28, 0, tzinfo=UTC), 1, ("poll",))


def test_a_year_of_a_thousand_entries_takes_seconds() -> None:
    """People run this in their test suite, on the day before a deployment."""
    rules = [crontab(f"{n % 60} {n % 24} * * *", tz="Europe/Berlin") for n in range(300)]
    rules += [crontab(f"{n % 60} * * * *", tz="America/New_York") for n in range(600)]
    rules += [every("5m") for _ in range(100)]
    entries = [Entry(name=f"e{n}", task="t", schedule=rule.as_data(), queue="q") for n, rule in enumerate(rules)]
    began = time.process_time()
    sim = simulate(entries, "2026-01-01", "2027-01-01", config=Config())
    assert sim.total > 15_000_000
    assert sim.peak() is not None
    assert time.process_time() - began < 12


def test_a_trigger_of_apscheduler_is_asked_from_the_span_on() -> None:
    """It exists only as an object, so its fires are a list; a span beyond it must not look as if nothing fired."""
    app = App("shop", timezone="Europe/Berlin")

    @app.task
    def noop() -> None: ...

    app.entry("trigger", noop, CronTrigger.from_crontab("0 9 * * mon", timezone="Europe/Berlin"))
    app.entry("often", noop, OrTrigger([CronTrigger.from_crontab("* * * * *", timezone="UTC")]))
    sim = simulate(app, "2031-01-01", "2031-03-01")
    assert sim["trigger"].wall[0] == "2031-01-06T09:00:00+01:00"
    with pytest.raises(UnknownFiresError, match=r"entry 'often': .* its fires are known until 2031-01-0"):
        sim["often"]
    assert len(simulate(app, "2031-01-01", "2031-01-02")["often"]) == 1440
