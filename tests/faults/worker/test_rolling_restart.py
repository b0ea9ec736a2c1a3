"""A deploy: every worker is stopped and replaced in turn, under load. Nothing is lost, nothing is done twice."""

from __future__ import annotations

import signal
import threading
from collections import Counter

import msgspec
import pytest

from scheduler.wire import FLAG_EARLY
from tests.integration.worker.lab import Lab
from tests.support.wait import wait_until

TASKS = """
    @task
    def short(path, n):
        mark(path, str(n))
        return n

    @task
    def second(path, n):
        mark(path, str(n))
        time.sleep(1)
        mark(path, str(n))
        return n

    @task(ack="early")
    def early(path):
        mark(path)
        time.sleep(60)

    @task
    def interrupted(path):
        mark(path, str(os.getpid()))
        if len(open(path).readlines()) <= 1:
            time.sleep(60)
        return "done at last"
"""


@pytest.mark.parametrize("rounds", [pytest.param(1), pytest.param(8, marks=pytest.mark.long)])
def test_a_rolling_restart_under_load_loses_and_doubles_nothing(lab: Lab, rounds: int) -> None:
    """SIGTERM, wait, start the next: tasks of a second in the middle of their run, and short ones in batches."""
    lab.write(TASKS)
    lab.config = msgspec.structs.replace(lab.config, worker_lease_ms=10_000)  # no lease is lost on a busy machine
    fleet = [lab.worker("-c", "2", "-n", f"old-{n}") for n in range(2)]
    ids: list[str] = []
    ended = threading.Event()

    def produce() -> None:
        n = 0
        while not ended.is_set():
            seconds = [lab.message("second", lab.path("seconds"), n)]
            shorts = [lab.message("short", lab.path("shorts"), 100 * n + k) for k in range(100)]
            ids.extend(lab.send_all([*seconds, *shorts]))
            n += 1
            ended.wait(0.4)

    producer = threading.Thread(target=produce)
    producer.start()
    try:
        lab.wait_lines("seconds", 2)
        for round_ in range(rounds):
            for n, old in enumerate(fleet):
                old.terminate()
                assert old.wait(30) == 0
                assert old.told.wait("worker.stopped").fields["killed"] == 0
                fleet[n] = lab.worker("-c", "2", "-n", f"new-{round_}-{n}")
    finally:
        ended.set()
        producer.join()
    wait_until(lab.is_empty, timeout_s=60, what="all messages to end")
    assert {lab.ended(id_).state for id_ in ids} == {"SUCCESS"}
    assert Counter(Counter(lab.lines("shorts")).values()) == {1: len(ids) // 101 * 100}
    assert Counter(Counter(lab.lines("seconds")).values()) == {2: len(ids) // 101}


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGQUIT, marks=pytest.mark.long)])
def test_a_task_that_every_deploy_interrupts_is_no_dead_letter(lab: Lab, number: signal.Signals) -> None:
    """A single loss would bury it: a stop is no fault of the message."""
    lab.write(TASKS)
    config = msgspec.structs.replace(lab.config, grace_ms=50, max_deliveries=1)
    id_ = lab.send("interrupted", lab.path("pids"))
    worker = lab.worker(config=config)
    lab.wait_lines("pids", 1)
    worker.signal(number)
    assert worker.wait() == 0
    assert lab.ready() == 1
    lab.worker(config=config)
    assert lab.value(id_) == "done at last"
    assert lab.run(id_).attempt == 1
    assert lab.dead() == []


@pytest.mark.parametrize("pool", ["prefork", "solo"])
def test_an_early_acknowledged_task_that_a_stop_breaks_off_does_not_run_again(lab: Lab, pool: str) -> None:
    """At most once, whatever ends it: its record says that it was lost."""
    lab.write(TASKS)
    worker = lab.worker("--pool", pool, config=msgspec.structs.replace(lab.config, grace_ms=50))
    id_ = lab.send("early", lab.path("early"), flags=FLAG_EARLY)
    lab.wait_lines("early", 1)
    worker.terminate()
    assert worker.wait() == 0
    assert lab.ended(id_).state == "FAILURE"
    assert lab.is_empty()
    assert lab.lines("early") == ["x"]
