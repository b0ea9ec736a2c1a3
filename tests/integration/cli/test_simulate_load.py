"""`sched simulate`: the load to come, from the files and from what is in force."""

from __future__ import annotations

from datetime import UTC
from pathlib import Path

import pytest

from scheduler.cli.simulate import histogram
from scheduler.clock import from_ms
from scheduler.foresee.due import Foresight, Span
from scheduler.foresee.load import load_of
from scheduler.model import Entry
from scheduler.store import Store
from scheduler.timing import crontab, every
from tests.integration.cli.conftest import Sched, make_entry, publish

FILES = """
from scheduler import crontab, entry, every, task

@task
def noop(): ...

for n in range(30):
    entry(f"nightly-{n:02}", noop, crontab("0 0 * * *"), queue="night")
entry("minutely", noop, every("1m"))
"""
DAY_MS = 86_400_000


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of schedule files."""
    file = tmp_path / "schedules" / "many.py"
    file.parent.mkdir()
    file.write_text(FILES)
    return file.parent


def test_the_load_of_the_files_needs_no_redis(sched: Sched, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """People look before they deploy, on a machine that reaches no Redis."""
    monkeypatch.setenv("SCHED_REDIS_URL", "redis://localhost:1")
    said = sched("simulate", str(folder), "--from", "2026-12-01", "--to", "2d", "-o", "json")
    assert said.code == 0, said.err
    data = said.data
    assert (data["entries"], data["starts"]) == (31, 60 + 2 * 1440)
    assert data["worst_minutes"][0] == {"at": "2026-12-01T00:00:00.000Z", "starts": 31}
    assert sum(bucket["starts"] for bucket in data["buckets"]) == data["starts"]
    (crowd,) = data["crowds"]
    assert (len(crowd["entries"]), crowd["with_jitter"]["jitter_s"]) == (31, 60)
    assert crowd["with_jitter"]["worst_second"]["then"] < 8
    assert data["busiest"][0] == {"name": "minutely", "starts": 2880}


def test_people_see_bars_crowds_and_a_remedy(sched: Sched, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The worst minute, who makes it, and what to do about it."""
    monkeypatch.setenv("COLUMNS", "80")
    said = sched("simulate", str(folder), "--from", "2026-12-01", "--to", "2d")
    assert said.code == 0, said.err
    assert "worst minute: Tue 2026-12-01 00:00:00 UTC: 31 starts" in said.out
    assert "31 entries start at Tue 2026-12-01 00:00:00 UTC: 30 with '0 0 * * *', 1 with 'every 1m'" in said.out
    assert "With jitter='1m' for these, the worst second of that day would have" in said.out
    assert "crontab('H 0 * * *')" in said.out
    assert max(len(line) for line in said.out.splitlines() if "│" in line) <= 80


def test_one_queue_is_looked_at_alone(sched: Sched, folder: Path) -> None:
    """Whoever sizes the workers of a queue asks for it; a slip names the queues there are."""
    arguments = ("simulate", str(folder), "--from", "2026-12-01", "--to", "1d")
    assert sched(*arguments, "-Q", "night", "-o", "json").data["starts"] == 30
    said = sched(*arguments, "-Q", "nigth")
    assert (said.code, "no entry goes to queue 'nigth'; the entries' queues are default, night" in said.err) == (
        3,
        True,
    )


def test_what_is_in_force_is_simulated_with_its_pauses_and_runs(sched: Sched, store: Store) -> None:
    """--live is what the leader will do: a paused entry does not fire, one that has used up its runs neither."""
    now_ms = int(store.queues.time_ms())
    in_an_hour = every("100d", anchor=from_ms(now_ms + 3_600_000)).as_data()
    publish(
        store,
        make_entry("free", schedule=every("1m").as_data()),
        make_entry("paused", schedule=every("1m").as_data()),
        make_entry("for-an-hour", schedule=every("1m").as_data()),
        make_entry("skipped", schedule=in_an_hour),
        make_entry("kept", schedule=in_an_hour),
    )
    store.registry.skip("skipped")
    store.registry.pause("paused")
    store.registry.pause("for-an-hour", until_ms=now_ms + 3_600_000)
    data = sched("simulate", "--live", "--to", "2h", "-o", "json").data
    starts = {one["name"]: one["starts"] for one in data["busiest"]}
    assert starts["free"] in (119, 120, 121)
    assert 59 <= starts["for-an-hour"] <= 61
    assert "paused" not in starts
    assert ("skipped" in starts, starts["kept"]) == (False, 1)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("--live", "x"), "give one of them"),
        (("--from", "2026-12-02", "--to", "2026-12-01"), "--to 2026-12-01 is not after --from 2026-12-02"),
    ],
)
def test_wrong_usage_is_told(sched: Sched, arguments: tuple[str, ...], complaint: str) -> None:
    """Exit code 2, one line."""
    said = sched("simulate", *arguments)
    assert (said.code, complaint in said.err) == (2, True)


def test_a_single_start_is_seen_in_a_tall_histogram() -> None:
    """The highest bar reaches the top, and one start beside hundreds still shows."""
    entries = [Entry(name=f"e{n}", task="t", queue="q", schedule=crontab("0 0 * * *").as_data()) for n in range(500)]
    entries.append(Entry(name="noon", task="t", queue="q", schedule=crontab("0 12 * * *").as_data()))
    span = Span(0, DAY_MS)
    bars = histogram(load_of(Foresight(entries, span), span), UTC, width=40)
    assert bars[0] == "500 │█"
    assert bars[7].index("▁") == bars[0].index("█") + 12
    assert bars[9].split() == ["00:00", "08:00", "16:00"]
