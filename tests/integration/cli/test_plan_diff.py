"""`sched plan`: what a load would change, told before it does, and the same as it then does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from scheduler.config import Config
from scheduler.loader import Loaded, load
from scheduler.model import Entry, Origin
from scheduler.store import Store
from scheduler.timing import crontab
from tests.integration.cli.conftest import Sched

HEAD = "from scheduler import crontab, entry, every, task\n\n@task\ndef noop(*args): ...\n\n"
LIVE = """
entry("nightly", noop, crontab("0 3 * * *", tz="Europe/Berlin"))
entry("gone", noop, crontab("0 4 * * *"))
entry("same", noop, every("1h"))
entry("mail", noop, every("1h"), args=[1])
"""
NEXT = """


entry("nightly", noop, crontab("0 4 * * *", tz="Europe/Berlin"), jitter="5m")
entry("same", noop, every("1h"))
entry("mail", noop, every("1h"), args=[1, 2], queue="mail")
entry("new", noop, crontab("0 0 1 * *"))
"""

Deploy = Callable[[str], Loaded]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of schedule files that the settings name."""
    folder = tmp_path / "schedules"
    folder.mkdir()
    monkeypatch.setenv("SCHED_SCHEDULES", str(folder))
    return folder


@pytest.fixture
def deploy(folder: Path, store: Store) -> Deploy:
    """Write the one file and publish it as a beat does."""

    def write(text: str) -> Loaded:
        (folder / "x.py").write_text(HEAD + text)
        loaded = load(folder, Config())
        assert loaded.mistakes == ()
        store.loads.publish(loaded.registry.entries, clean=True, mistakes=[], by="beat-a")
        return loaded

    return write


def test_a_plan_tells_what_the_next_load_does(sched: Sched, store: Store, folder: Path, deploy: Deploy) -> None:
    """The plan is worth nothing unless the load does exactly that; and Redis is as it was."""
    deploy(LIVE)
    revision = store.registry.revision()
    (folder / "x.py").write_text(HEAD + NEXT)
    data = sched("plan", "-o", "json").data
    assert store.registry.revision() == revision
    loaded = load(folder, Config())
    published = store.loads.publish(loaded.registry.entries, clean=True, mistakes=[], by="beat-a")
    assert [one["name"] for one in data["added"]] == list(published.added) == ["new"]
    assert [one["name"] for one in data["removed"]] == list(published.removed) == ["gone"]
    # `same` has moved by a line, which a load writes down and nobody calls a change.
    assert [one["name"] for one in data["changed"]] == sorted(set(published.changed) - {"same"}) == ["mail", "nightly"]
    assert data["unchanged"] == 1


def test_fields_and_next_fires_are_shown_before_and_after(sched: Sched, folder: Path, deploy: Deploy) -> None:
    """What a reviewer of a deployment wants to see."""
    deploy(LIVE)
    (folder / "x.py").write_text(HEAD + NEXT)
    said = sched("plan")
    assert said.code == 0
    lines = said.out.splitlines()
    assert lines[0].startswith("+ new: 0 0 1 * * → default, next ")
    assert "    schedule: 0 3 * * * Europe/Berlin → 0 4 * * * Europe/Berlin" in lines
    assert "    jitter: 0s → 5m" in lines
    assert "    args: [1] → [1,2]" in lines
    assert any(line.startswith("    next fire: ") and " → " in line for line in lines)
    assert any(line.startswith("- gone: 0 4 * * *, would fire next ") for line in lines)
    assert said.err == "sched: 1 to add, 2 to change, 1 to remove, 1 unchanged\n"


def test_exit_codes_are_for_ci(sched: Sched, folder: Path, deploy: Deploy) -> None:
    """0: nothing to do or nobody asked; 6: there is; 1: not like that."""
    deploy(LIVE)
    assert sched("plan", "--exit-code").code == 0
    (folder / "x.py").write_text(HEAD + NEXT)
    assert sched("plan").code == 0
    assert sched("plan", "--exit-code").code == 6
    (folder / "y.py").write_text(
        "from schedules.x import noop\nfrom scheduler import *\nentry('z', noop, every('0s'))\n"
    )
    said = sched("plan", "--exit-code")
    assert said.code == 1
    assert "schedules/y.py:3" in said.err


def test_a_broken_file_keeps_its_entries(sched: Sched, folder: Path, deploy: Deploy) -> None:
    """P12: a load with a mistake removes nothing, and the plan says so."""
    deploy(LIVE)
    (folder / "x.py").write_text(HEAD + LIVE + "entry('bad', noop, crontab('61 * * * *'))\n")
    said = sched("plan")
    assert said.code == 1
    assert "= gone: kept; schedules/x.py has a mistake" in said.out
    assert "nothing to change: 4 kept, 0 unchanged" in said.err
    data = sched("plan", "-o", "json").data
    assert (data["kept"], data["removed"], data["changes"]) == (["gone", "mail", "nightly", "same"], [], False)


def test_a_name_that_was_taken_by_hand_is_a_clash(sched: Sched, store: Store, folder: Path, deploy: Deploy) -> None:
    """Files never touch what was made at run time, and somebody must know before the deployment."""
    deploy(LIVE)
    by_hand = Entry(
        name="new", task="x.noop", schedule=crontab("0 0 * * *").as_data(), queue="default", origin=Origin.HAND,
        source="made by ann@host",
    )  # fmt: skip
    store.registry.put(by_hand)
    (folder / "x.py").write_text(HEAD + NEXT)
    said = sched("plan", "-o", "json")
    assert said.code == 1
    assert said.data["clashes"] == [{"name": "new", "what": said.data["mistakes"][0]}]
    assert (said.data["added"], said.data["by_hand"]) == ([], 1)
    assert "entry 'new' is not in force: another one of this name was made by ann@host" in said.err


def test_a_paused_entry_stays_paused_in_a_plan(sched: Sched, store: Store, folder: Path, deploy: Deploy) -> None:
    """A new schedule of a paused entry fires when it is resumed, not then."""
    deploy(LIVE)
    store.registry.pause("nightly")
    (folder / "x.py").write_text(HEAD + NEXT)
    (nightly,) = [one for one in sched("plan", "-o", "json").data["changed"] if one["name"] == "nightly"]
    assert nightly["next_fire"] == {"before": None, "after": None}
    assert "    next fire: paused → paused" in sched("plan").out


def test_what_a_newer_version_wrote_is_not_compared_field_by_field(sched: Sched, store: Store, deploy: Deploy) -> None:
    """A rollback: the files declare what this version cannot read on Redis, so they win, and the plan says it."""
    loaded = deploy(LIVE)
    newer = msgspec.structs.replace(loaded.registry.entries["same"], schedule={"kind": "tides"})
    store.registry.put(newer)
    said = sched("plan", "-o", "json")
    (change,) = said.data["changed"]
    assert change["name"] == "same"
