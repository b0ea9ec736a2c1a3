"""`sched cancel`: several runs by their ids, all of a task, an entry or a queue, and what a pool cannot stop."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from scheduler.store import Store
from tests.integration.cli.conftest import Sched
from tests.integration.worker.lab import Lab
from tests.support.bench import HOUR_MS, Bench
from tests.support.server import ValkeyServer

WORKING = """
    @task
    def works(path):
        mark(path)
        while not os.path.exists(path + ".go"):
            sum(range(1000))
"""


@pytest.fixture
def lab(server: ValkeyServer, tmp_path: Path) -> Iterator[Lab]:
    """A namespace with tasks and workers."""
    lab = Lab(server.url, tmp_path, worker_lease_ms=5_000)
    lab.write(WORKING)
    yield lab
    lab.let_go("works.go")
    lab.close()


@pytest.fixture
def bench(store: Store) -> Bench:
    """The namespace that `sched` works on."""
    return Bench(store)


def test_several_are_cancelled_at_once_and_each_is_told(bench: Bench, sched: Sched) -> None:
    """The worst of what became of them is the exit code."""
    one, other = bench.call(task="a.b"), bench.call(in_ms=HOUR_MS, task="a.c")
    said = sched("cancel", one, other, "-o", "json")
    assert (said.code, said.data) == (
        0,
        [{"id": one, "task": "a.b", "cancel": "revoked"}, {"id": other, "task": "a.c", "cancel": "revoked"}],
    )
    third = bench.call(task="a.b")
    said = sched("cancel", one, third)
    assert (said.code, [line.split()[2:] for line in said.out.splitlines()[1:]]) == (
        4,
        [["over", "already"], ["cancelled"]],
    )
    assert sched("cancel", third, "nobody").code == 3
    assert len([note for note in bench.store.audit.notes(n=9) if note.verb == "cancel"]) == 3


def test_all_of_a_task_an_entry_or_a_queue_are_cancelled_after_a_question(bench: Bench, sched: Sched) -> None:
    """One line in the audit log for all of them; fires to come are not touched."""
    mails = [bench.call(task="mail.send") for _ in range(700)] + [bench.call(task="mail.send", in_ms=HOUR_MS)]
    other = bench.call(task="report.build")
    elsewhere = bench.message(task="mail.send", queue="slow")
    bench.store.queues.enqueue([elsewhere], call_id="x")
    term = bench.win()
    bench.put("e")
    bench.fired(term, "e", in_ms=HOUR_MS)
    armed = bench.live() - {*mails, other, elsewhere.id}
    assert len(armed) == 1

    asked = sched("cancel", "--task", "mail.*", "--queue", "q")
    assert (asked.code, "confirm with --yes" in asked.err) == (2, True)
    said = sched("cancel", "--task", "mail.*", "--queue", "q", "--yes", "-r", "wrong list", "-o", "json")
    assert (said.code, {each["id"] for each in said.data}) == (0, set(mails))
    assert bench.live() == {other, elsewhere.id, *armed}
    notes = [(note.what, note.reason) for note in bench.store.audit.notes(n=9) if note.verb == "cancel"]
    assert notes == [("701 runs of task mail.*, queue q", "wrong list")]
    none = sched("cancel", "--entry", "e", "--yes")
    assert (none.code, none.err) == (0, "sched: no run of entry e waits or runs\n")


def test_a_run_that_is_terminated_has_ended_when_the_command_has(
    lab: Lab, sched: Sched, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its worker is rung up: nobody has to look a second time."""
    monkeypatch.setenv("SCHED_NAMESPACE", lab.config.namespace)
    lab.worker("-n", "w", "-c", "2")
    ids = [lab.send("hold", lab.path("held"), lab.path("go")) for _ in range(2)]
    lab.wait_lines("held", 2)
    left = sched("cancel", ids[0])
    assert "is with worker 'w', which drops it, if it has not started it (--terminate stops it in any case)" in left.err
    said = sched("cancel", *ids, "--terminate")
    assert (said.code, said.err) == (0, "")
    assert [lab.store.history.run(id_).state for id_ in ids] == ["REVOKED"] * 2  # type: ignore[union-attr]


def test_what_a_pool_cannot_stop_is_told(lab: Lab, sched: Sched, monkeypatch: pytest.MonkeyPatch) -> None:
    """Better than a run that goes on although somebody was told that it was cancelled."""
    monkeypatch.setenv("SCHED_NAMESPACE", lab.config.namespace)
    lab.worker("-n", "alone", "--pool", "solo")
    id_ = lab.send("works", lab.path("works"))
    lab.wait_lines("works", 1)
    said = sched("cancel", id_, "--terminate")
    assert said.code == 0
    assert f"run {id_} is with worker 'alone', whose pool solo cannot stop what runs: it ends by itself" in said.err


def test_ids_and_choices_do_not_go_together(sched: Sched) -> None:
    """Nobody should cancel all of a task by a slip."""
    for words in ([], ["abc", "--task", "x"]):
        said = sched("cancel", *words)
        assert (said.code, "give IDs of runs, or choose them with --task, --entry and --queue" in said.err) == (2, True)
