"""`solo` asks for a batch ahead while short tasks flow: nothing gets lost or doubled between two batches."""

from __future__ import annotations

import msgspec

from tests.integration.worker.lab import Lab
from tests.support.wait import wait_until

COUNT = """
@task
def count(n):
    mark(PATH, str(n))
"""


def write_count(lab: Lab) -> None:
    """The short task: it notes its number."""
    lab.write(COUNT.replace("PATH", repr(lab.path("counted"))))


def send_many(lab: Lab, numbers: range) -> list[str]:
    """One for each number, in order."""
    return [
        id_
        for at in range(numbers.start, numbers.stop, 1000)
        for id_ in lab.send_all([lab.message("count", n) for n in range(at, min(at + 1000, numbers.stop))])
    ]


def counted(lab: Lab) -> list[int]:
    """The numbers in the order in which their tasks ran."""
    return [int(line) for line in lab.lines("counted")]


def test_batches_asked_for_ahead_run_once_and_in_order(lab: Lab) -> None:
    """P5, P9: the outcomes of one batch and the wish for the one after the next travel while another runs."""
    write_count(lab)
    send_many(lab, range(2000))
    lab.worker("--pool", "solo")
    wait_until(lambda: len(lab.lines("counted")) >= 2000, timeout_s=30)
    wait_until(lambda: not lab.store.connection.call("EXISTS", lab.store.keys.messages))
    assert counted(lab) == list(range(2000))


def test_a_long_task_among_short_ones_keeps_none_of_them(lab: Lab) -> None:
    """What was asked for ahead goes back before a task of unknown length: another worker has it at once."""
    write_count(lab)
    send_many(lab, range(800))
    lab.send("hold", lab.path("held"), lab.path("go"))
    rest = range(800, 1600)
    send_many(lab, rest)
    patient = msgspec.structs.replace(lab.config, worker_lease_ms=60_000)  # while it holds, solo renews nothing
    lab.worker("--pool", "solo", config=patient)
    lab.wait_lines("held", 1, timeout_s=30)
    assert counted(lab) == list(range(800))
    (holder,) = lab.store.sessions.workers()
    assert len(holder.held) == 1, "something waits behind the task that runs"
    lab.worker("--pool", "solo", config=patient)
    wait_until(lambda: len(lab.lines("counted")) >= 1600, timeout_s=30)
    assert counted(lab)[800:] == list(rest)
    lab.let_go()


def test_a_stop_between_two_batches_loses_and_doubles_nothing(lab: Lab) -> None:
    """SIGTERM while an answer is under way: what it brings goes back, what was finished is over."""
    write_count(lab)
    send_many(lab, range(3000))
    while len(lab.lines("counted")) < 3000:
        seen = len(lab.lines("counted"))
        worker = lab.worker("--pool", "solo")
        wait_until(lambda seen=seen: len(lab.lines("counted")) > min(seen + 800, 2999), timeout_s=30)  # type: ignore[misc]
        worker.terminate()
        assert worker.wait() == 0
    assert counted(lab) == list(range(3000))
    assert not lab.store.connection.call("EXISTS", lab.store.keys.messages)


def test_an_answer_that_is_cut_off_is_asked_for_again(lab: Lab) -> None:
    """Connections dropped in the flow: every task ends, and the worker goes on with the same session."""
    write_count(lab)
    send_many(lab, range(3000))
    worker = lab.worker("--pool", "solo")
    for seen in (300, 900, 1500):
        wait_until(lambda seen=seen: len(lab.lines("counted")) > seen, timeout_s=30)  # type: ignore[misc]
        lab.store.connection.call("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    wait_until(lambda: not lab.store.connection.call("EXISTS", lab.store.keys.messages), timeout_s=30)
    assert set(counted(lab)) == set(range(3000))
    assert not worker.told.all("session.lost")
