"""What a worker tells of runs: enough for people, and no more than they read."""

from __future__ import annotations

import logging

import pytest

from scheduler.model import Outcome
from scheduler.wire import Header
from worker.events import RUNS_TOLD_S, Teller
from worker.outcome import Written, ended


def outcomes(n: int, state: str = "SUCCESS") -> list[Outcome]:
    return [ended(Header(task="t", queue="q"), Written(str(i), "w", 1, 1, 2), state) for i in range(n)]


def told(caplog: pytest.LogCaptureFixture, name: str) -> int:
    return sum(record.getMessage().startswith(name) for record in caplog.records)


def test_of_many_that_end_well_a_few_are_told_and_the_rest_counted(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A line for each at 40,000 a second would cost more than the work; none at all leaves people wondering."""
    now = [100.0]
    monkeypatch.setattr("worker.events.time.monotonic", lambda: now[0])
    teller = Teller(show_runs=False)
    with caplog.at_level(logging.INFO, "worker"):
        for _ in range(10):
            teller.finished(outcomes(50))
        teller.finished(outcomes(3, "FAILURE"))
        assert told(caplog, "run.finished") == RUNS_TOLD_S + 3, "failures are told whatever else ends"
        assert told(caplog, "runs.finished") == 0
        now[0] += 1.0
        teller.tick()
        assert f"runs.finished count={500 - RUNS_TOLD_S}" in caplog.text
        now[0] += 1.0
        teller.tick()
        assert told(caplog, "runs.finished") == 1, "nothing more has ended"
        teller.finished(outcomes(5))
        assert told(caplog, "run.finished") == RUNS_TOLD_S + 3 + 5
    assert (teller.finished_count, teller.failed_count) == (508, 3)


def test_nobody_who_wants_warnings_only_pays_for_them(caplog: pytest.LogCaptureFixture) -> None:
    """Failures come, successes do not."""
    teller = Teller(show_runs=False)
    with caplog.at_level(logging.WARNING, "worker"):
        teller.finished(outcomes(5))
        teller.finished(outcomes(2, "FAILURE"))
    assert told(caplog, "run.finished") == 2


def test_who_asks_for_all_gets_all(caplog: pytest.LogCaptureFixture) -> None:
    """`sched dev`, and log level debug."""
    teller = Teller(show_runs=True)
    with caplog.at_level(logging.INFO, "worker"):
        teller.finished(outcomes(100))
    assert told(caplog, "run.finished") == 100
