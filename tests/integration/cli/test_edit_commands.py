"""`sched add`, `edit`, `remove`, `skip` and `audit`, against a real server: shapes, exit codes, messages."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from scheduler.store import Store
from scheduler.timing import crontab, every, once, rrule
from tests.integration.cli.conftest import Sched, make_entry, publish

pytestmark = pytest.mark.redis

FILES = """
from scheduler import task

print("files are loaded")

@task(queue="mail", time_limit="5m")
def send(to, n=1):
    "Send a report."
"""


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of schedule files with one task, `reports.send`."""
    folder = tmp_path / "schedules"
    folder.mkdir()
    (folder / "reports.py").write_text(FILES)
    monkeypatch.setenv("SCHED_SCHEDULES", str(folder))
    return folder


def test_an_entry_is_added_with_every_option(sched: Sched, store: Store, files: Path) -> None:
    said = sched(
        "add", "report-7", "reports.send", "--crontab", "0 8 * * mon", "--tz", "Europe/Berlin", "--args", "[7]", "--kwargs",
        '{"n": 2}', "--jitter", "30", "--expires", "1h", "--overlap", "queue", "--priority", "5", "--start", "2026-01-01",
        "--tag", "a", "--tag", "b", "--description", "7", "--disabled", "--max-runs", "9", "--headers", '{"k": 1}',
        "--soft-time-limit", "1m", "--reason", "asked for", "-o", "json",
    )  # fmt: skip
    assert said.code == 0, said.err
    assert said.data["name"] == "report-7"
    assert said.data["revision"] == 1
    record = store.registry.get("report-7")
    assert record is not None
    entry = record.entry
    assert entry is not None
    assert entry.schedule == crontab("0 8 * * mon", tz="Europe/Berlin").as_data()
    assert (entry.queue, entry.priority, entry.jitter_ms, entry.expires_after_ms) == ("mail", 5, 30_000, 3_600_000)
    assert (entry.tags, entry.description, entry.enabled, entry.max_runs) == (("a", "b"), "7", False, 9)
    assert entry.start_ms == 1_767_222_000_000, "local to the entry's zone"
    assert entry.source.endswith("(sched add)")


@pytest.mark.parametrize(
    ("options", "schedule"),
    [
        (("--every", "30"), every("30s")),
        (("--every", "1h30m"), every("1h30m")),
        (("--every", "day", "--at", "09:00"), every(days=1, at="09:00")),
        (("--every", "2 weeks"), every(weeks=2)),
        (
            ("--rrule", "FREQ=MONTHLY;BYDAY=-1FR;BYHOUR=9;BYMINUTE=0;BYSECOND=0"),
            rrule("FREQ=MONTHLY;BYDAY=-1FR;BYHOUR=9;BYMINUTE=0;BYSECOND=0"),
        ),
        (("--once", "2030-12-24 18:00"), once("2030-12-24T18:00:00Z")),
    ],
)
def test_when_it_fires(sched: Sched, store: Store, options: tuple[str, ...], schedule: object) -> None:
    """Spans are elapsed time; days, weeks, months and years keep the wall clock."""
    assert sched("add", "e", "x", *options).code == 0
    record = store.registry.get("e")
    assert record is not None
    assert record.entry is not None
    assert record.entry.schedule == schedule.in_zone("UTC").as_data()  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        ((), 2, "say when: --crontab, --every, --rrule or --once"),
        (("--rrule", "FREQ=SOMETIMES"), 2, "FREQ"),
        (("--crontab", "* * * * *", "--every", "1h"), 2, "--crontab and --every both say when"),
        (("--crontab", "* * * * *", "--at", "09:00"), 2, "--at goes with --every 'day'"),
        (("--every", "1h", "--at", "09:00"), 2, "--at goes with 'day'"),
        (("--crontab", "61 * * * *"), 2, "minute 61"),
        (("--every", "1h", "--args", "7"), 2, "expected JSON like"),
        (("--every", "1h", "--priority", "12"), 2, "priority 12: outside 0–9"),
        (("--every", "1h", "--catchup", "all"), 2, "needs overlap='allow'"),
        (("--every", "1h", "--tz", "Mars/Base"), 2, "Mars/Base"),
        (("--every", "1h", "--until", "yesterdy"), 2, "--until 'yesterdy' is not a moment"),
    ],
)
def test_what_is_wrong_is_told_and_nothing_is_added(
    sched: Sched, store: Store, options: tuple[str, ...], code: int, message: str
) -> None:
    said = sched("add", "e", "x", *options)
    assert (said.code, said.out) == (code, "")
    assert message in said.err
    assert store.registry.all() == []


def test_the_arguments_are_checked_where_the_task_is_known(sched: Sched, files: Path) -> None:
    """Else a worker would find out, at night."""
    said = sched("add", "e", "reports.send", "--every", "1h")
    assert said.code == 2
    assert "missing a required argument: 'to'" in said.err
    said = sched("add", "e", "reports.sned", "--every", "1h", "-o", "json")
    assert said.code == 0
    assert "no file here has a task 'reports.sned'" in said.err
    assert "did you mean 'reports.send'" in said.err
    assert said.data["name"] == "e", "what files print stays out of the data"


def test_names_are_unique(sched: Sched, store: Store) -> None:
    """Exit code 4, and what to do instead."""
    publish(store, make_entry("daily"))
    said = sched("add", "daily", "x", "--every", "1h")
    assert (said.code, "declared in schedules/reports.py:12" in said.err) == (4, True)
    for verb in (("edit", "daily", "--queue", "a"), ("remove", "daily")):
        said = sched(*verb)
        assert (said.code, "change it there and reload" in said.err) == (4, True)
    assert sched("add", "mine", "x", "--every", "1h").code == 0
    said = sched("add", "mine", "x", "--every", "1h")
    assert (said.code, "`sched edit mine` changes it" in said.err) == (4, True)


def test_an_edit_says_what_it_changed(sched: Sched) -> None:
    sched("add", "e", "x", "--every", "1h", "--tag", "a")
    said = sched("edit", "e", "--queue", "slow", "--unset", "tag", "-o", "json")
    assert said.code == 0
    assert said.data["queue"] == "slow"
    assert said.data["differences"] == [
        {"field": "queue", "old": "default", "new": "slow"},
        {"field": "tags", "old": '["a"]', "new": "[]"},
    ]
    said = sched("edit", "e", "--queue", "slow")
    assert (said.code, "nothing has changed" in said.err) == (0, True)


def test_times_are_read_in_the_zone_of_the_entry(sched: Sched, store: Store) -> None:
    """As in a file; unless a zone is given with them."""
    sched("add", "e", "x", "--crontab", "0 9 * * *", "--tz", "Asia/Tokyo")

    def until() -> int | None:
        record = store.registry.get("e")
        assert record is not None
        assert record.entry is not None
        return record.entry.until_ms

    sched("edit", "e", "--until", "2030-01-01 09:00")
    assert until() == 1_893_456_000_000
    sched("--tz", "UTC", "edit", "e", "--until", "2030-01-01 09:00")
    assert until() == 1_893_488_400_000


def test_an_edit_must_say_something_of_an_entry_that_exists(sched: Sched) -> None:
    sched("add", "e", "x", "--every", "1h")
    assert sched("edit", "e").code == 2
    assert sched("edit", "e", "--unset", "quue").code == 2
    said = sched("edit", "ee", "--queue", "a")
    assert (said.code, "did you mean e?" in said.err) == (3, True)
    assert sched("remove", "ee").code == 3


def test_the_second_editor_is_told(sched: Sched) -> None:
    """By the revision that `sched show` told the first time."""
    sched("add", "e", "x", "--every", "1h")
    revision = sched("show", "e", "-o", "json").data["revision"]
    sched("edit", "e", "--queue", "theirs", "--reason", "urgent")
    said = sched("edit", "e", "--queue", "mine", "--revision", str(revision))
    assert said.code == 4
    for part in ("queue: default → theirs", "urgent", f"revision {revision}", "sched show e"):
        assert part in said.err
    said = sched("remove", "e", "--revision", str(revision))
    assert said.code == 4


def test_the_next_fire_is_left_out(sched: Sched, store: Store) -> None:
    publish(store, make_entry("daily"), make_entry("off", enabled=False))
    first = sched("show", "daily", "-o", "json").data["next_fire"]
    said = sched("skip", "daily", "--reason", "holiday", "-o", "json")
    assert said.code == 0
    assert said.data["skips"] == first
    assert said.data["next_fire"] > first
    assert said.data["skipped"] == [first]
    assert "(skips 1)" in sched("list").out
    assert "holiday" in sched("show", "daily").out
    assert (sched("skip", "off").code, sched("skip", "nobody").code) == (4, 3)


def test_the_audit_log_says_who_did_what_and_why(sched: Sched) -> None:
    """Of one entry too, be it gone."""
    sched("add", "e", "x", "--every", "1h")
    sched("add", "f", "x", "--every", "1h")
    sched("pause", "e", "--reason", "incident")
    sched("resume", "e", "--reason", "over")
    sched("remove", "e")
    notes = sched("audit", "e", "-o", "json").data
    assert [(note["verb"], note["reason"]) for note in notes] == [
        ("remove", None), ("resume", "over"), ("pause", "incident"), ("add", None),
    ]  # fmt: skip
    assert all("@" in note["by"] for note in notes)
    assert len(sched("audit", "-n", "2", "-o", "json").data) == 2
    assert sched("audit", "--since", "1h", "-o", "json").data == sched("audit", "-o", "json").data
    said = sched("audit", "nobody")
    assert (said.code, "no change of 'nobody' is noted" in said.err) == (0, True)
    assert json.loads(sched("audit", "--since", "2100-01-01", "-o", "json").out) == []


def test_all_are_paused_and_resumed(sched: Sched, store: Store) -> None:
    publish(store, make_entry("a"), make_entry("b", tags=("x",)), make_entry("c"))
    sched("pause", "c", "--reason", "broken")
    said = sched("pause", "--all", "--reason", "migration", "--until", "2h", "-o", "json")
    assert said.code == 0
    assert (sorted(said.data["paused"]), said.data["left"]) == (["a", "b"], ["c"])
    assert said.data["until"] is not None
    assert "paused by name, left so: 1 entry (c)" in sched("pause", "--all").out
    assert "paused: 3 entries" in sched("status").out
    assert sched("status", "-o", "json").data["paused"] == 3
    assert sched("resume", "--all", "--tag", "x", "-o", "json").data["resumed"] == ["b"]
    said = sched("resume", "--all")
    assert "resumed: 1 entry (a)" in said.out
    assert "paused by name, left so: 1 entry (c)" in said.out
    for wrong in (("pause",), ("pause", "a", "--all"), ("resume", "a", "--tag", "x")):
        assert sched(*wrong).code == 2
