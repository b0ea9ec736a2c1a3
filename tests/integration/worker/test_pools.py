"""What every pool promises, and what threads and coroutines promise beside it: many runs at once, none waiting for another."""

from __future__ import annotations

import os
import signal

import msgspec
import pytest

from scheduler.store.orders import Verb, new_order
from tests.integration.worker.lab import Lab, family
from tests.support.wait import wait_until
from worker import stacks

MANY = ["threads", "async"]
SAME = ["threads", pytest.param("async", marks=pytest.mark.long)]
"""Where the supervisor's side, which both share, is what is tried."""
ALL = ["prefork", "threads", "async", "solo"]

TASKS = """
    import asyncio, re, threading

    @task
    async def sleeper(path, until, *, name="x"):
        mark(path, name)
        while not os.path.exists(until):
            await asyncio.sleep(0.005)
        return name

    @task
    async def loop_id():
        return id(asyncio.get_running_loop())

    @task(bind=True)
    async def who(self):
        await asyncio.sleep(0)
        return [self.request.id, self.request.task, self.request.attempt]

    @task(bind=True, max_retries=1)
    async def again(self):
        await asyncio.sleep(0)
        if self.request.retries == 0:
            raise self.retry(countdown=0)
        return "second"

    @task
    async def breaks():
        await asyncio.sleep(0)
        raise ValueError("after a while")

    @task
    def thread_id():
        return threading.get_ident()
"""


def hold_of(pool: str) -> str:
    """A task that runs until a file is there, as suits the pool."""
    return "sleeper" if pool == "async" else "hold"


@pytest.mark.parametrize("pool", ALL)
def test_coroutines_run_in_every_pool(lab: Lab, pool: str) -> None:
    """They await, they know their run, they retry and fail like any task; and one loop outlives them."""
    lab.write(TASKS)
    lab.worker("--pool", pool)
    asked = lab.send("who")
    assert lab.value(asked) == [asked, "t.who", 1]
    assert lab.value(lab.send("again")) == "second"
    assert lab.error(lab.send("breaks")) == ("ValueError", "after a while")
    assert 'raise ValueError("after a while")' in (lab.ended(lab.send("breaks")).traceback or "")
    assert lab.value(lab.send("loop_id")) == lab.value(lab.send("loop_id"))
    assert lab.value(lab.send("add", 1, 2)) == 3


@pytest.mark.parametrize("pool", MANY)
def test_as_many_run_at_once_as_asked_for_and_no_more(lab: Lab, pool: str) -> None:
    """What is too much is not even held: another worker gets it (P7)."""
    lab.write(TASKS)
    lab.worker("--pool", pool, "-c", "3")
    ids = lab.send_all([lab.message(hold_of(pool), lab.path("began"), lab.path("go")) for _ in range(5)])
    lab.wait_lines("began", 3)
    wait_until(lambda: lab.ready() == 2, what="the rest to be back in the queue")
    lab.let_go()
    assert {lab.ended(id_).state for id_ in ids} == {"SUCCESS"}
    assert len(lab.lines("began")) == 5


@pytest.mark.parametrize("pool", MANY)
def test_a_slow_one_holds_up_nobody(lab: Lab, pool: str) -> None:
    """Results are told as they come, not in the order of the messages; short tasks flow in batches around a long one."""
    lab.write(TASKS)
    lab.worker("--pool", pool, "-c", "2")
    slow = lab.send(hold_of(pool), lab.path("began"), lab.path("go"))
    lab.wait_lines("began", 1)
    ids = lab.send_all([lab.message("add", n, 1) for n in range(1000)])
    assert [lab.value(id_) for id_ in ids[::100]] == list(range(1, 1001, 100))
    assert lab.value(ids[-1]) == 1000
    lab.let_go()
    lab.ended(slow)
    wait_until(lab.is_empty, what="everything to be over")


@pytest.mark.parametrize("pool", SAME)
def test_what_cannot_start_goes_back_though_the_child_is_stuck(lab: Lab, pool: str) -> None:
    """A call into C keeps the interpreter to itself: nobody there can answer. The supervisor takes back what waits."""
    lab.write("""
        import ctypes

        @task
        async def hog(path):
            if not os.path.exists(path):
                mark(path)
                ctypes.PyDLL(None).sleep(60)

        @task
        def note(n):
            return n
    """)
    worker = lab.worker("--pool", pool, "-c", "4")
    for n in range(3):
        lab.ended(lab.send("note", n))  # it is known to be quick, so it would wait in line there
    hogging = lab.send("hog", lab.path("began"))
    lab.wait_lines("began", 1)
    ids = lab.send_all([lab.message("note", n) for n in range(20)])
    wait_until(
        lambda: lab.ready() == 20 and lab.store.sessions.workers()[0].held.keys() == {hogging}, what="them to be back"
    )
    os.kill(family(worker.pid)[-1], signal.SIGKILL)
    assert [lab.value(id_) for id_ in ids] == list(range(20))
    assert lab.ended(hogging).state == "SUCCESS"
    assert all(lab.run(id_).attempt == 1 for id_ in ids)


@pytest.mark.parametrize("pool", MANY)
def test_a_soft_limit_is_raised_where_the_task_is(lab: Lab, pool: str) -> None:
    """In a coroutine where it awaits, in a thread between two instructions; both may catch it and clean up."""
    lab.write("""
        import asyncio

        @task(soft_time_limit="100ms")
        async def caught():
            try:
                await asyncio.sleep(60)
            except SoftTimeLimitExceeded:
                await asyncio.sleep(0)
                return "cleaned up"

        @task(soft_time_limit="100ms")
        def computing():
            try:
                while True:
                    pass
            except SoftTimeLimitExceeded as error:
                return str(error)

        @task(soft_time_limit="100ms")
        async def uncaught():
            await asyncio.sleep(60)

        @task(soft_time_limit="10s")
        def in_time(n):
            return n
    """)
    lab.worker("--pool", pool, "-c", "8")
    ids = lab.send_all([lab.message(name) for name in ("caught", "computing", "uncaught")])
    assert lab.value(ids[0]) == "cleaned up"
    assert lab.value(ids[1]) == "soft time limit of 100ms exceeded"
    assert lab.error(ids[2]) == ("SoftTimeLimitExceeded", "soft time limit of 100ms exceeded")
    assert [lab.value(id_) for id_ in lab.send_all([lab.message("in_time", n) for n in range(50)])] == list(range(50))


def test_a_limit_that_comes_as_the_run_ends_harms_nobody(lab: Lab) -> None:
    """An exception on its way to a thread is taken back, or counts; it never meets the next run, nor our own code."""
    lab.write("""
        @task(soft_time_limit="3ms")
        def close(seconds):
            until = time.monotonic() + seconds
            while time.monotonic() < until:
                pass
            return seconds

        @task
        def quick(n):
            return sum(range(n))
    """)
    lab.worker("--pool", "threads", "-c", "4")
    messages = [
        lab.message("close", 0.0026 + n % 9 * 0.0001) if n % 2 else lab.message("quick", 2000) for n in range(600)
    ]
    ids = lab.send_all(messages)
    for at, id_ in enumerate(ids):
        record = lab.ended(id_)
        assert record.state == "SUCCESS" or (at % 2 and lab.error(id_)[0] == "SoftTimeLimitExceeded"), record
    wait_until(lab.is_empty, what="everything to be over")


def test_a_hard_limit_cancels_one_coroutine_and_nothing_else(lab: Lab) -> None:
    """Also one that catches its cancellation once; what it returns then counts for nothing."""
    lab.write(
        TASKS
        + """
    @task(time_limit="200ms")
    async def hangs(path):
        try:
            await asyncio.sleep(60)
        finally:
            mark(path, "cleaned up")

    @task(time_limit="200ms")
    async def clings():
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            await asyncio.sleep(60)

    @task(time_limit="200ms")
    async def denies():
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            return "nothing happened"
    """
    )
    worker = lab.worker("--pool", "async", "-c", "10")
    beside = lab.send("sleeper", lab.path("began"), lab.path("go"))
    for id_ in [lab.send("hangs", lab.path("end")), lab.send("clings"), lab.send("denies")]:
        kind, text = lab.error(id_)
        assert (kind, text.partition(": ")[2]) == ("TimeLimitExceeded", "time limit of 200ms exceeded")
    assert lab.lines("end") == ["cleaned up"]
    lab.let_go()
    assert lab.value(beside) == "x"
    assert not worker.told.all("child.died")


@pytest.mark.parametrize("pool", MANY)
def test_a_terminating_cancel_breaks_off_one_run(lab: Lab, pool: str) -> None:
    """The others go on, and the child lives."""
    lab.write(TASKS)
    worker = lab.worker("--pool", pool, "-c", "4")
    ids = [lab.send(hold_of(pool), lab.path("began"), lab.path("go")) for _ in range(2)]
    lab.wait_lines("began", 2)
    lab.store.queues.cancel(ids[0], terminate=True)
    assert lab.ended(ids[0]).state == "REVOKED"
    lab.let_go()
    assert lab.ended(ids[1]).state == "SUCCESS"
    assert not worker.told.all("child.died")


@pytest.mark.parametrize("pool", SAME)
def test_a_dead_child_loses_what_ran_and_nothing_else(lab: Lab, pool: str) -> None:
    """What ran counts as lost once and runs again; a new child takes the seat."""
    lab.write(TASKS)
    worker = lab.worker("--pool", pool, "-c", "2")
    ids = lab.send_all([lab.message(hold_of(pool), lab.path("began"), lab.path("go")) for _ in range(4)])
    lab.wait_lines("began", 2)
    child = family(worker.pid)[-1]
    os.kill(child, signal.SIGKILL)
    died = worker.told.wait("child.died")
    assert died.fields["how"] == "it was killed by SIGKILL (out of memory?)"
    lab.let_go()
    assert {lab.ended(id_).state for id_ in ids} == {"SUCCESS"}
    wait_until(lab.is_empty, what="everything to be over")


@pytest.mark.parametrize("pool", SAME)
def test_the_child_of_many_dies_with_its_supervisor(lab: Lab, pool: str) -> None:
    """Its messages run elsewhere after the lease."""
    lab.write(TASKS)
    worker = lab.worker("--pool", pool, "-c", "2")
    id_ = lab.send(hold_of(pool), lab.path("began"), lab.path("go"))
    lab.wait_lines("began", 1)
    kin = family(worker.pid)[1:]
    os.kill(worker.pid, signal.SIGKILL)
    wait_until(lambda: not any(os.path.exists(f"/proc/{pid}/exe") for pid in kin), what="its children to end")
    lab.let_go()
    lab.worker("--pool", pool)
    assert lab.ended(id_).state == "SUCCESS"
    assert len(lab.lines("began")) == 2


@pytest.mark.parametrize("pool", SAME)
def test_a_warm_stop_of_many_waits_and_then_gives_back(lab: Lab, pool: str) -> None:
    """Within the grace what runs may end; what does not goes back, uncounted."""
    lab.write(TASKS)
    worker = lab.worker("--pool", pool, "-c", "2", config=msgspec.structs.replace(lab.config, grace_ms=1500))
    quick, slow = lab.send_all(
        [lab.message(hold_of(pool), lab.path("began"), lab.path(name)) for name in ("go", "never")]
    )
    lab.wait_lines("began", 2)
    worker.terminate()
    worker.told.wait("worker.stopping")
    lab.let_go()
    assert lab.ended(quick).state == "SUCCESS"
    assert worker.wait() == 0
    assert lab.ready() == 1
    lab.let_go("never")
    lab.worker("--pool", pool)
    assert lab.ended(slow).state == "SUCCESS"
    assert lab.run(slow).attempt == 1


def test_a_blocked_loop_is_told_of(lab: Lab) -> None:
    """Nothing can break off a coroutine that awaits nothing; people are told which one it is."""
    lab.write("""
        @task
        async def blocks(until):
            while not os.path.exists(until):
                time.sleep(0.01)
    """)
    worker = lab.worker("--pool", "async")
    id_ = lab.send("blocks", lab.path("go"))
    told = worker.told.wait("loop.blocked")
    assert told.fields["task"] == "t.blocks"
    assert "t.py:" in told.fields["where"]
    lab.let_go()
    assert lab.ended(id_).state == "SUCCESS"


def test_functions_run_in_threads_beside_the_loop(lab: Lab) -> None:
    """In pool async one that is no coroutine holds up no coroutine."""
    lab.write(TASKS)
    lab.worker("--pool", "async", "-c", "50")
    held = lab.send("hold", lab.path("began"), lab.path("go"))
    lab.wait_lines("began", 1)
    assert lab.value(lab.send("who"))[1] == "t.who"
    lab.let_go()
    assert lab.value(held) == "held"


@pytest.mark.parametrize(("pool", "named"), [("threads", "t.both,t.plain"), ("async", "t.plain")])
def test_a_limit_that_a_pool_cannot_keep_is_told_at_the_start(lab: Lab, pool: str, named: str) -> None:
    """Whoever gave a task a hard limit relies on it."""
    lab.write("""
        @task(time_limit="1m")
        def plain():
            pass

        @task(time_limit="1m")
        async def both():
            pass
    """)
    told = lab.worker("--pool", pool).told.wait("limits.not_kept")
    assert told.fields["with_time_limit"] == named


def test_the_stacks_of_coroutines_that_wait_are_told(lab: Lab) -> None:
    """What C sees of a loop is that it waits; where each task waits, only Python knows."""
    lab.write("""
        import asyncio

        async def deep(path):
            mark(path)
            await asyncio.sleep(60)

        @task
        async def outer(path):
            await deep(path)
    """)
    worker = lab.worker("--pool", "async")
    lab.send("outer", lab.path("began"))
    lab.wait_lines("began", 1)
    asked = stacks.ask(family(worker.pid)[-1])
    assert asked is not None
    wait_until(lambda: "in outer" in stacks.read(asked), what="the stack of the coroutine")
    text = stacks.read(asked)
    assert "Coroutine of t.outer (most recent call first):" in text
    assert text.index("in deep") < text.index("in outer")
    assert "Thread 0x" in text


@pytest.mark.parametrize("pool", MANY)
def test_the_child_of_many_grows_and_shrinks_while_it_works(lab: Lab, pool: str) -> None:
    """More run at once from now on, or fewer once what runs has ended; nobody is killed for it."""
    lab.write(TASKS)
    worker = lab.worker("--pool", pool, "-c", "1")
    ids = lab.send_all([lab.message(hold_of(pool), lab.path("began"), lab.path(f"go{n}")) for n in range(4)])
    lab.wait_lines("began", 1)
    _resize(lab, 3)
    lab.wait_lines("began", 3)
    _resize(lab, 1)
    lab.let_go("go0")
    lab.let_go("go1")
    assert [lab.ended(id_).state for id_ in ids[:2]] == ["SUCCESS"] * 2
    assert len(lab.lines("began")) == 3  # one runs still, and that is enough
    lab.let_go("go2")
    lab.wait_lines("began", 4)
    lab.let_go("go3")
    assert lab.ended(ids[3]).state == "SUCCESS"
    assert not worker.told.all("child.died")


def _resize(lab: Lab, concurrency: int) -> None:
    (live,) = lab.store.sessions.workers()
    given = lab.store.orders.give(new_order(Verb.CONCURRENCY, number=concurrency), [live.session])
    assert not lab.store.orders.wait(given, 10.0).missing
