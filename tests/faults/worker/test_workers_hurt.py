"""Workers and their children are killed, paused and cut off; every message ends, and nothing is written twice."""

from __future__ import annotations

import os
import signal
import time

import msgspec
import pytest

from scheduler.store.sessions import WorkerInfo
from tests.integration.worker.lab import Lab, family, lives
from tests.support.server import ValkeyServer
from tests.support.wait import wait_until

POISON = """
    @task
    def poison():
        os._exit(3)

    @task
    def segfault():
        os.kill(os.getpid(), signal.SIGSEGV)

    @task
    def note(path, n):
        mark(path, str(n))

    @task
    def once(path):
        mark(path, str(os.getpid()))
        if len(open(path).readlines()) == 1:
            time.sleep(60)
        return "again"
"""


def test_a_poison_message_takes_nobody_with_it(lab: Lab) -> None:
    """Trap 12: after five deaths it is a dead letter; its neighbours run, and are not blamed."""
    lab.write(POISON)
    worker = lab.worker()
    before = [lab.message("note", lab.path("notes"), n) for n in range(20)]
    poison = lab.message("poison")
    after = [lab.message("note", lab.path("notes"), n) for n in range(20, 40)]
    ids = lab.send_all([*before, poison, *after])
    kind, message = lab.error(poison.id)
    assert kind == "LostError"
    assert message.startswith("its worker died 5 times while it ran (the last time: ")
    wait_until(lab.is_empty)
    assert all(lab.ended(id_).state == "SUCCESS" for id_ in ids if id_ != poison.id)
    assert lab.dead() == [poison.id]
    deaths = worker.told.all("child.died")
    assert len(deaths) == 5
    assert {event.fields["running"] for event in deaths} == {poison.id}
    assert set(map(int, lab.lines("notes"))) == set(range(40))


def test_a_child_killed_from_outside_is_replaced_and_its_message_runs_again(lab: Lab) -> None:
    """The kernel's OOM killer, or a person."""
    lab.write(POISON)
    worker = lab.worker()
    id_ = lab.send("once", lab.path("pids"))
    pid = int(lab.wait_lines("pids", 1)[0])
    os.kill(pid, signal.SIGKILL)
    assert lab.value(id_) == "again"
    assert "SIGKILL" in worker.told.wait("child.died").fields["how"]


def test_a_killed_worker_takes_its_children_with_it_and_loses_nothing(lab: Lab) -> None:
    """P5, P6: within a lease its messages run elsewhere; no orphan goes on."""
    lab.write(POISON)
    worker = lab.worker()
    other = lab.worker()
    running = lab.send("once", lab.path("pids"))
    lab.wait_lines("pids", 1)
    victim = worker if int(lab.lines("pids")[0]) in family(worker.pid) else other
    processes = family(victim.pid)
    os.kill(victim.pid, signal.SIGKILL)
    wait_until(lambda: not any(map(lives, processes)), what="the children to end")
    killed = time.monotonic()
    assert lab.value(running) == "again"
    lease_s = lab.config.worker_lease_ms / 1000
    assert time.monotonic() - killed < lease_s + 5
    assert len(lab.lines("pids")) == 2


def test_workers_killed_in_the_middle_of_work_lose_no_message(lab: Lab) -> None:
    """P5: each message ends; what was unstarted is not blamed for the deaths."""
    lab.write("""
        @task
        def note(path, n):
            mark(path, str(n))
            time.sleep(0.002)
    """)
    steady = lab.worker()
    ids = lab.send_all([lab.message("note", lab.path("notes"), n) for n in range(1500)])
    for _ in range(3):
        victim = lab.worker()
        done = len(lab.lines("notes"))
        lab.wait_lines("notes", min(1500, done + 100))
        os.kill(victim.pid, signal.SIGKILL)
    wait_until(lab.is_empty, timeout_s=40, what="every message to end")
    assert {lab.ended(id_).state for id_ in ids} == {"SUCCESS"}
    assert set(map(int, lab.lines("notes"))) == set(range(1500))
    assert steady.running


@pytest.mark.parametrize("finished", [False, True])
def test_a_supervisor_paused_beyond_its_lease_writes_nothing_and_stops_its_children(lab: Lab, finished: bool) -> None:
    """Trap 13, P9: its message runs elsewhere; what its own child *finished* meanwhile is dropped, what it still runs stopped."""
    lab.write("""
        @task
        def slow(path, until):
            mark(path, str(os.getpid()))
            if len(open(path).readlines()) == 1:
                while not os.path.exists(until):
                    time.sleep(0.005)
                mark(until, "over")
                return "first"
            return "second"
    """)
    paused = lab.worker("-n", "paused")
    id_ = lab.send("slow", lab.path("pids"), lab.path("go"))
    lab.wait_lines("pids", 1)
    paused.pause()
    lab.worker("-n", "other")
    assert lab.value(id_) == "second"
    child = int(lab.lines("pids")[0])
    if finished:
        lab.let_go()
        lab.wait_lines("go", 1)
    paused.resume()
    paused.told.wait("session.lost")
    if not finished:
        wait_until(lambda: not lives(child), what="its child to be stopped at once")
    assert lab.value(id_) == "second"
    assert lab.run(id_).worker == "other"
    assert len([run for run in lab.store.history.runs(n=50) if run.id == id_]) == 1
    wait_until(lambda: len(lab.store.sessions.workers()) == 2, what="a new session")
    lab.processes[1].kill()
    assert lab.value(lab.send("add", 2, 2)) == 4


def test_a_long_task_is_kept_by_a_worker_that_renews(lab: Lab) -> None:
    """P6: three leases long, and it runs once."""
    first = lab.worker()
    lab.worker()
    id_ = lab.send("hold", lab.path("held"), lab.path("go"))
    lab.wait_lines("held", 1)
    began = time.monotonic()
    wait_until(lambda: time.monotonic() - began > 3 * lab.config.worker_lease_ms / 1000, what="three leases")
    lab.let_go()
    assert lab.value(id_) == "held"
    assert lab.lines("held") == ["x"]
    assert not first.told.all("session.lost")


def test_a_dead_session_is_emptied_by_a_worker_that_watched_it(lab: Lab) -> None:
    """P5: a session that nobody renews is reclaimed, and its messages run."""
    session = lab.store.sessions.open(WorkerInfo(name="ghost"))
    id_ = lab.send("add", 1, 2)
    assert [message.id for message in session.take(["default"], 10).messages] == [id_]
    worker = lab.worker()
    assert lab.value(id_) == 3
    assert worker.told.wait("session.reclaimed").fields["messages"] == 1


def test_what_a_lost_reply_took_is_given_back(lab: Lab) -> None:
    """A message in flight with us that we know nothing of: the next reconcile finds it (crash point of `take`)."""
    lab.write("import worker.keeper\nworker.keeper.RECONCILE_S = 0.5")
    worker = lab.worker()
    lab.value(lab.send("add", 1, 1))
    [live] = lab.store.sessions.workers()
    id_ = lab.send("add", 3, 4, queue="elsewhere")
    keys = lab.store.keys
    lab.store.connection.call("LREM", keys.ready("elsewhere"), 1, id_)
    lab.store.connection.call("HSET", keys.held(live.session), id_, f"elsewhere {lab.now_ms()}")
    worker.told.wait("session.reconciled", lambda fields: fields["released"] == 1)
    assert lab.ready("elsewhere") == 1


def test_redis_restarted_with_its_file_and_everything_goes_on(own_lab: Lab, own_server: ValkeyServer) -> None:
    """The running task goes on, its outcome waits, and the worker takes again by itself."""
    lab, server = own_lab, own_server
    worker = lab.worker()
    id_ = lab.send("hold", lab.path("held"), lab.path("go"))
    lab.wait_lines("held", 1)
    wait_until(lambda: _persisted(lab), what="the AOF to be written")
    server.stop()
    worker.told.wait("store.lost")
    lab.let_go()
    server.start()
    back = time.monotonic()
    worker.told.wait("store.back")
    assert lab.value(id_) == "held"
    assert time.monotonic() - back < 8
    assert lab.lines("held") == ["x"]
    assert lab.value(lab.send("add", 1, 2)) == 3
    assert len(worker.told.all("store.lost")) == 1


def test_a_worker_waits_for_a_redis_that_is_not_there_yet(own_lab: Lab, own_server: ValkeyServer) -> None:
    """It says so, once, and begins by itself."""
    lab, server = own_lab, own_server
    server.stop()
    worker = lab.worker(ready=False)
    worker.told.wait("store.lost")
    server.start()
    worker.told.wait("worker.ready")
    assert lab.value(lab.send("add", 1, 2)) == 3


def test_a_worker_stops_while_redis_is_away(own_lab: Lab, own_server: ValkeyServer) -> None:
    """Nothing waits for ever."""
    lab, server = own_lab, own_server
    worker = lab.worker()
    server.stop()
    worker.told.wait("store.lost")
    worker.terminate()
    assert worker.wait(15) == 0


@pytest.mark.parametrize("task", ["segfault"])
def test_an_early_acknowledged_task_runs_at_most_once(lab: Lab, task: str) -> None:
    """`ack="early"`: its child dies, and it ends as lost."""
    from scheduler.wire import FLAG_EARLY  # noqa: PLC0415

    lab.write(POISON)
    worker = lab.worker()
    kind, message = lab.error(lab.send(task, flags=FLAG_EARLY))
    assert kind == "LostError"
    assert "acknowledged early" in message
    assert len(worker.told.all("child.died")) == 1


def test_the_death_of_the_zygote_ends_the_worker_and_loses_nothing(lab: Lab) -> None:
    """Nothing can be forked any more: it gives everything back and says so, for systemd to start it anew."""
    worker = lab.worker(config=msgspec.structs.replace(lab.config, grace_ms=500))
    lab.send("hold", lab.path("held"), lab.path("go"))
    lab.wait_lines("held", 1)
    processes = family(worker.pid)
    os.kill(processes[1], signal.SIGKILL)
    assert worker.wait() == 1
    wait_until(lambda: not any(map(lives, processes)), what="the child to end, in the middle of its task")
    assert lab.ready() == 1


def test_no_child_outlives_supervisor_and_zygote(lab: Lab) -> None:
    """Whatever is killed, and in whatever order: a task that nobody watches must not go on beside its copy."""
    worker = lab.worker()
    lab.send("hold", lab.path("held"), lab.path("go"))
    lab.wait_lines("held", 1)
    supervisor, zygote, *children = family(worker.pid)
    os.kill(zygote, signal.SIGSTOP)
    os.kill(supervisor, signal.SIGKILL)
    os.kill(zygote, signal.SIGKILL)
    wait_until(lambda: not any(map(lives, children)), what="the child to end, in the middle of its task")


def _persisted(lab: Lab) -> bool:
    info = lab.store.connection.call("INFO", "persistence").decode()
    lab.store.connection.call("WAITAOF", 1, 0, 100)
    return "aof_last_write_status:ok" in info
