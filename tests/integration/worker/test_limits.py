"""Time limits, and what waits behind a long task."""

from __future__ import annotations

import time

from tests.integration.worker.lab import Lab, family, lives
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

        @task(time_limit="1s")
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
    assert lab.error(hung) == ("TimeLimitExceeded", "task 't.hang': time limit of 1s exceeded")
    assert time.monotonic() - began < 20
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


def test_a_hard_limit_ends_a_task_that_is_deep_in_c(lab: Lab) -> None:
    """No instruction of Python runs, so nothing could be raised in it. The supervisor kills that child, and no other."""
    lab.write("""
        @task(time_limit="1s")
        def computes(path):
            mark(path)
            sum(range(10**13))
    """)
    worker = lab.worker("-c", "2")
    beside = lab.send("hold", lab.path("held"), lab.path("go"))
    lab.wait_lines("held", 1)
    kind, text = lab.error(lab.send("computes", lab.path("began")))
    assert (kind, text) == ("TimeLimitExceeded", "task 't.computes': time limit of 1s exceeded")
    assert lab.lines("began") == ["x"]
    lab.let_go()
    assert lab.value(beside) == "held"
    assert lab.run(beside).attempt == 1
    assert not worker.told.all("child.died")


def test_a_soft_limit_interrupts_what_waits_in_c(lab: Lab) -> None:
    """In prefork the alarm reaches sleeps, locks and regular expressions: Python looks at signals there."""
    lab.write("""
        import re, threading

        @task(soft_time_limit="100ms")
        def waits(how):
            try:
                if how == "regex":
                    re.match(r"(a+)+$", "a" * 60 + "b")
                elif how == "lock":
                    lock = threading.Lock()
                    lock.acquire()
                    lock.acquire()
                else:
                    time.sleep(60)
            except SoftTimeLimitExceeded:
                return how
    """)
    lab.worker()
    for how in ("regex", "lock", "sleep"):
        assert lab.value(lab.send("waits", how)) == how


def test_a_soft_limit_interrupts_waiting_for_a_program(lab: Lab) -> None:
    """`subprocess.run` kills its program on the way out, the task cleans up, and its child is good for the next one."""
    lab.write("""
        import subprocess

        @task(soft_time_limit="1s")
        def waits(path):
            try:
                subprocess.run(["sleep", "60"])
            except SoftTimeLimitExceeded:
                mark(path, str(os.getpid()))
                raise
            finally:
                mark(path, "cleaned up")

        @task
        def pid():
            return os.getpid()
    """)
    lab.worker()
    assert lab.error(lab.send("waits", lab.path("end")))[0] == "SoftTimeLimitExceeded"
    child, cleaned = lab.lines("end")
    assert cleaned == "cleaned up"
    assert lab.value(lab.send("pid")) == int(child)
    assert not [pid for pid in family(int(child))[1:] if lives(pid)]


def test_behind_many_that_turned_slow_nothing_waits_for_long(lab: Lab) -> None:
    """None of them takes long, but what they make wait together goes back after half a second, and another worker gets it."""
    lab.write("""
        @task
        def step(slow):
            if os.path.exists(slow):
                time.sleep(0.05)
    """)
    lab.worker("-n", "first")
    for _ in range(5):
        lab.ended(lab.send_all([lab.message("step", lab.path("slow")) for _ in range(200)])[-1])
    lab.let_go("slow")
    ids = lab.send_all([lab.message("step", lab.path("slow")) for _ in range(100)])
    wait_until(lambda: lab.ready() == 0, what="the first worker to take them all")
    lab.worker("-n", "second")
    assert {lab.ended(id_).state for id_ in ids} == {"SUCCESS"}
    by = [lab.run(id_).worker for id_ in ids]
    assert by.count("second") > 10, by
