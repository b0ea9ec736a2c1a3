"""Children are replaced by successors that are ready first; nothing is lost, doubled or held up on the way."""

from __future__ import annotations

import os
import signal

import msgspec
import pytest

from tests.integration.worker.lab import Lab, family, lives
from tests.support.wait import wait_until

POOLS = ["prefork", "threads", pytest.param("async", marks=pytest.mark.long)]

TASKS = """
    @task
    def where(path, n):
        mark(path, f"{n} {os.getpid()}")
        return os.getpid()

    KEPT = []

    @task
    def fatten(megabytes):
        KEPT.append(bytearray(os.urandom(1)) * (megabytes << 20))
        return os.getpid()
"""


def with_limits(lab: Lab, **limits: int) -> None:
    lab.config = msgspec.structs.replace(lab.config, **limits)


@pytest.mark.parametrize("pool", POOLS)
def test_a_child_runs_no_more_than_it_may(lab: Lab, pool: str) -> None:
    """`max_tasks_per_child`: exactly so many, each message once, whatever the size of batches."""
    lab.write(TASKS)
    with_limits(lab, max_tasks_per_child=7)
    worker = lab.worker("--pool", pool, "-c", "2")
    ids = lab.send_all([lab.message("where", lab.path("ran"), n) for n in range(300)])
    lines = lab.wait_lines("ran", 300)
    assert lab.ended(ids[-1]).state == "SUCCESS"
    wait_until(lab.is_empty, what="everything to be over")
    numbers, pids = zip(*(line.split() for line in lab.lines("ran")), strict=True)
    assert sorted(map(int, numbers)) == list(range(300))
    counts = {pid: pids.count(pid) for pid in set(pids)}
    assert len(lines) == 300
    assert max(counts.values()) <= 7, counts
    assert not worker.told.all("child.died")


def test_with_one_task_for_each_child_none_meets_what_another_left(lab: Lab) -> None:
    """The strictest isolation: a fresh process for each run."""
    lab.write(TASKS)
    with_limits(lab, max_tasks_per_child=1)
    lab.worker("-c", "1")
    pids = [lab.value(id_) for id_ in lab.send_all([lab.message("where", lab.path("ran"), n) for n in range(8)])]
    assert len(set(pids)) == 8


@pytest.mark.parametrize("pool", POOLS)
def test_a_child_that_holds_too_much_is_replaced(lab: Lab, pool: str) -> None:
    """`max_memory_per_child`: after what it runs; the run counts as ever, and the next one has a new process."""
    lab.write(TASKS)
    with_limits(lab, max_memory_per_child=150_000_000)
    worker = lab.worker("--pool", pool, "-c", "1")
    fat = lab.value(lab.send("fatten", 200))
    told = worker.told.wait("child.replaced")
    assert told.fields["pid"] == fat
    assert told.fields["memory_mb"] >= 200
    assert lab.value(lab.send("where", lab.path("ran"), 1)) != fat
    wait_until(lambda: not lives(fat), what="the old child to end")
    assert not worker.told.all("child.died")


@pytest.mark.parametrize("pool", POOLS)
def test_what_runs_in_a_predecessor_comes_to_its_end(lab: Lab, pool: str) -> None:
    """A long run in a child that has done enough is not broken off, and the worker goes on beside it."""
    lab.write(TASKS)
    with_limits(lab, max_tasks_per_child=2)
    lab.worker("--pool", pool, "-c", "2")
    held = lab.send("hold", lab.path("began"), lab.path("go"))
    lab.wait_lines("began", 1)
    ids = lab.send_all([lab.message("where", lab.path("ran"), n) for n in range(12)])
    assert {lab.ended(id_).state for id_ in ids} == {"SUCCESS"}
    lab.let_go()
    assert lab.value(held) == "held"
    assert lab.lines("began") == ["x"]
    wait_until(lab.is_empty, what="everything to be over")


def test_a_child_that_never_comes_to_work_does_not_spin(lab: Lab) -> None:
    """`worker_process_init` raises: another child is tried after a pause that grows, and once it succeeds work is done."""
    lab.write("""
        from scheduler.signals import worker_process_init

        @worker_process_init.connect
        def connect(**kwargs):
            mark(os.environ["TRIES"], str(time.monotonic()))
            if not os.path.exists(os.environ["CURED"]):
                raise RuntimeError("the database is away")
    """)
    os.environ["TRIES"], os.environ["CURED"] = lab.path("tries"), lab.path("cured")
    try:
        worker = lab.worker(ready=False)
    finally:
        del os.environ["TRIES"], os.environ["CURED"]
    worker.told.wait("child.died", lambda fields: fields["when"] == "before it was ready")
    lab.wait_lines("tries", 2)
    worker.told.wait("child.died", after=worker.told.wait("child.died"))
    assert not worker.told.all("worker.ready")
    lab.let_go("cured")
    worker.told.wait("worker.ready")
    first, second, third = map(float, lab.lines("tries"))
    assert second - first >= 1.0
    assert third - second >= 2.0
    assert lab.value(lab.send("add", 1, 2)) == 3


def test_a_successor_that_dies_leaves_the_work_to_its_predecessor(lab: Lab) -> None:
    """Whoever holds the seat goes on until somebody else is ready; nothing is lost."""
    lab.write(
        TASKS
        + """
    from scheduler.signals import worker_process_init

    @worker_process_init.connect
    def connect(**kwargs):
        if os.path.exists(os.environ["BROKEN"]):
            raise RuntimeError("the database is away")
    """
    )
    os.environ["BROKEN"] = lab.path("broken")
    with_limits(lab, max_memory_per_child=150_000_000)
    try:
        worker = lab.worker("-c", "1")
    finally:
        del os.environ["BROKEN"]
    lab.let_go("broken")
    fat = lab.value(lab.send("fatten", 200))
    worker.told.wait("child.died")
    assert lab.value(lab.send("where", lab.path("ran"), 1)) == fat
    os.unlink(lab.path("broken"))
    worker.told.wait("child.replaced")
    assert lab.value(lab.send("where", lab.path("ran"), 2)) != fat


def test_children_that_die_between_two_generations_lose_nothing(lab: Lab) -> None:
    """Kill -9 at random while every child is replaced after a few runs: each message ends."""
    lab.write(TASKS)
    with_limits(lab, max_tasks_per_child=5)
    worker = lab.worker("-c", "3")
    ids = lab.send_all([lab.message("where", lab.path("ran"), n) for n in range(150)])
    for n in (20, 50, 90):
        lab.wait_lines("ran", n)
        for pid in family(worker.pid)[2:4]:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
    assert {lab.ended(id_).state for id_ in ids} == {"SUCCESS"}
    wait_until(lab.is_empty, what="everything to be over")
    assert {int(line.split()[0]) for line in lab.lines("ran")} == set(range(150))
