"""Retries and limits that an entry says itself, kept by a real worker."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent
from typing import Any

import msgspec
import pytest

from scheduler.config import Config
from scheduler.model import Run
from scheduler.store import Store
from tests.integration.cli.conftest import Sched
from tests.support.processes import Process
from tests.support.wait import wait_until

JOBS = """
    import time
    from scheduler import entry, every, schedule, task, SoftTimeLimitExceeded

    far = every("300d")

    @task(time_limit="1h", soft_time_limit="50m")
    def sleep(seconds):
        time.sleep(seconds)
        return "slept"

    entry("killed", sleep, far, args=(60,), time_limit="300ms", soft_time_limit=None)
    entry("told", sleep, far, args=(60,), soft_time_limit="200ms")

    @schedule(far, name="patient", args=(0.6,), time_limit="30s")
    @schedule(far, name="short", args=(60,), time_limit="300ms")
    def nap(seconds):
        time.sleep(seconds)
        return "slept"

    @task(max_retries=1, retry_for=(ValueError, TimeoutError), retry_backoff="10ms", retry_jitter=False)
    def fail(seconds=0):
        time.sleep(seconds)
        raise ValueError("no")

    entry("never-again", fail, far, max_retries=0)
    entry("often", fail, far, max_retries=3, retry_backoff="5ms")
    entry("killed-twice", fail, far, args=(60,), time_limit="200ms", max_retries=1)
    entry("as-the-task-says", fail, far)

    @task(bind=True, max_retries=2)
    def insist(self):
        raise self.retry(exc=KeyError("never"), countdown=0.01)

    entry("insists-once", insist, far, max_retries=1)
    entry("insists-thrice", insist, far, max_retries=3)
"""
ENTRIES = {
    "killed", "told", "patient", "short", "never-again", "often", "killed-twice", "as-the-task-says", "insists-once",
    "insists-thrice",
}  # fmt: skip


@pytest.fixture
def service(config: Config, store: Store, tmp_path: Path) -> Iterator[Config]:
    """A beat that has published the entries of `JOBS`, and a worker with two children."""
    (tmp_path / "schedules").mkdir()
    (tmp_path / "schedules" / "jobs.py").write_text(dedent(JOBS))
    config = msgspec.structs.replace(config, schedules=tmp_path / "schedules", state_dir=tmp_path)
    beat = Process("beat", config=config, cwd=tmp_path)
    worker = Process("worker", "-c", "2", config=config, cwd=tmp_path)
    worker.told.wait("worker.ready")
    wait_until(lambda: {record.name for record in store.registry.all()} == ENTRIES, what="the entries")
    yield config
    worker.kill()
    beat.kill()


def test_what_an_entry_says_of_its_runs_overrides_its_task(service: Config, sched: Sched, store: Store) -> None:
    """The hard limit, which the child tells its supervisor; the soft one; retries, asked for and by exception."""
    ids = {name: sched("trigger", name, "-o", "json").data["id"] for name in sorted(ENTRIES)}

    def ended(name: str) -> tuple[Run, Any]:
        record = store.results.wait(ids[name], 20)
        run = store.history.run(ids[name])
        assert run is not None
        return run, msgspec.json.decode(record.result)

    run, failure = ended("killed")
    assert (failure["type"], run.attempt) == ("TimeLimitExceeded", 1)
    assert failure["message"].endswith("time limit of 300ms exceeded")
    assert 300 <= run.finished_ms - run.started_ms < 2_000
    _, failure = ended("told")
    assert failure["type"] == "SoftTimeLimitExceeded"
    assert "200ms" in failure["message"]
    _, failure = ended("short")
    assert failure["type"] == "TimeLimitExceeded"
    run, result = ended("patient")
    assert (run.state, result) == ("SUCCESS", "slept")
    assert [ended(name)[0].attempt for name in ("never-again", "as-the-task-says", "often")] == [1, 2, 4]
    run, failure = ended("killed-twice")
    assert (run.attempt, failure["type"]) == (2, "TimeLimitExceeded")
    assert failure["message"].endswith("time limit of 200ms exceeded")
    for name, attempts in (("insists-once", 2), ("insists-thrice", 4)):
        run, failure = ended(name)
        assert (run.attempt, failure["type"]) == (attempts, "KeyError")

    shown = sched("show", "killed", "-o", "json").data["options"]
    assert (shown["time_limit_s"], shown["soft_time_limit_s"], "max_retries" in shown) == (0.3, None, False)
    text = sched("show", "killed").out
    assert "time limit" in text
    assert "300ms" in text
    assert (
        sched("show", "as-the-task-says", "-o", "json").data["options"].keys() & {"max_retries", "time_limit_s"}
        == set()
    )


def test_a_fire_carries_what_its_entry_says(config: Config, store: Store, tmp_path: Path, sched: Sched) -> None:
    """From the schedule file through the beat to the child: armed fires are limited like triggered runs."""
    (tmp_path / "schedules").mkdir()
    (tmp_path / "schedules" / "jobs.py").write_text(
        dedent("""
            import time
            from scheduler import entry, every, task

            @task(time_limit="1h")
            def sleep():
                time.sleep(60)

            entry("naps", sleep, every("500ms"), time_limit="150ms")
        """)
    )
    config = msgspec.structs.replace(config, schedules=tmp_path / "schedules", state_dir=tmp_path)
    beat = Process("beat", config=config, cwd=tmp_path)
    worker = Process("worker", "-c", "1", config=config, cwd=tmp_path)
    try:
        (run, *_) = wait_until(lambda: store.history.runs("naps", state="FAILURE"), timeout_s=20, what="a killed run")
    finally:
        worker.kill()
        beat.kill()
    assert run.due_ms
    assert run.error.endswith("time limit of 150ms exceeded")
