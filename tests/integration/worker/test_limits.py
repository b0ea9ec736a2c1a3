"""Time limits, and what waits behind a long task."""

from __future__ import annotations

import time

from tests.integration.worker.lab import Lab, lives
from tests.support.wait import wait_until


def test_a_soft_limit_is_raised_in_the_task(lab: Lab) -> None:
    """It may clean up; uncaught, it is the run's failure."""
    lab.write("""
        @task(soft_time_limit="100ms")
        def caught():
            try:
                time.sleep(30)
            except SoftTimeLimitExceeded:
                return "cleaned up"

        @task(soft_time_limit="100ms")
        def uncaught():
            time.sleep(30)
    """)
    lab.worker()
    assert lab.value(lab.send("caught")) == "cleaned up"
    assert lab.error(lab.send("uncaught"))[0] == "SoftTimeLimitExceeded"


def test_a_hard_limit_kills_one_child_and_its_programs(lab: Lab) -> None:
    """The run fails, the child is replaced, what it had not started runs, and nothing that the task started stays."""
    lab.write("""
        import subprocess

        @task(time_limit="300ms")
        def hang(path):
            program = subprocess.Popen(["sleep", "60"])
            mark(path, str(program.pid))
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
            time.sleep(60)
    """)
    worker = lab.worker()
    began = time.monotonic()
    messages = [lab.message("hang", lab.path("pid")), lab.message("add", 1, 2)]
    hung, behind = lab.send_all(messages)
    assert lab.error(hung) == ("TimeLimitExceeded", "task 't.hang': time limit of 300ms exceeded")
    assert time.monotonic() - began < 5
    assert lab.value(behind) == 3
    pid = int(lab.lines("pid")[0])
    wait_until(lambda: not lives(pid), what="the task's program to end")
    assert not worker.told.all("child.died")


def test_behind_a_long_task_nothing_waits(lab: Lab) -> None:
    """The unstarted rest of its batch goes back within moments, another worker runs it, and the first does not."""
    lab.write("""
        @task
        def note(path, n, until):
            mark(path, str(n))
            while until and not os.path.exists(until):
                time.sleep(0.005)
    """)
    first = lab.worker("-n", "first")
    # Known to be quick: then it comes in large batches, and one that is not quick has many behind it.
    for _ in range(5):
        ids = lab.send_all([lab.message("note", lab.path("warm"), n, "") for n in range(200)])
        lab.ended(ids[-1])
    messages = [lab.message("note", lab.path("notes"), n, lab.path("go") if n == 0 else "") for n in range(50)]
    ids = lab.send_all(messages)
    lab.wait_lines("notes", 1)
    lab.worker("-n", "second")
    for id_ in ids[1:]:
        assert lab.ended(id_).state == "SUCCESS"
    assert {lab.run(id_).worker for id_ in ids[1:]} == {"second"}
    lab.let_go()
    assert lab.ended(ids[0]).state == "SUCCESS"
    first.terminate()
    assert first.wait() == 0
    assert sorted(map(int, lab.lines("notes"))) == list(range(50))
