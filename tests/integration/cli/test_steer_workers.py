"""`sched workers` and `sched worker drain|resume|stop|…` on real workers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.integration.cli.conftest import Said, Sched
from tests.integration.worker.lab import Lab
from tests.support.notified import Notified
from tests.support.processes import Process
from tests.support.server import ValkeyServer
from tests.support.wait import wait_until


@pytest.fixture
def lab(server: ValkeyServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lab]:
    """A namespace with tasks and workers."""
    lab = Lab(server.url, tmp_path)
    yield lab
    lab.close()


@pytest.fixture
def steer(lab: Lab, sched: Sched, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Said]:
    """Calls `sched` on the lab's namespace."""
    monkeypatch.setenv("SCHED_NAMESPACE", lab.config.namespace)
    return sched


def one(steer: Callable[..., Said], name: str) -> dict[str, Any]:
    """What `sched workers -o json` says of a worker."""
    (found,) = [worker for worker in steer("workers", "-o", "json").data if worker["name"] == name]
    return dict(found)


def test_a_drained_worker_ends_what_runs_and_takes_nothing_until_it_is_resumed(
    lab: Lab, steer: Callable[..., Said]
) -> None:
    """Before a deploy, or to look into what is wrong: nobody is killed, nothing is lost."""
    lab.worker("-n", "first")
    running = lab.send("hold", lab.path("held"), lab.path("go"))
    lab.wait_lines("held", 1)
    said = steer("worker", "drain", "fir", "-r", "deploy")
    assert (said.code, said.out.split("\n")[1].split(None, 1)) == (0, ["first", "draining, 1 task still runs"])
    behind = lab.send("add", 1, 2)
    waited = steer("worker", "drain", "first", "--wait", "--timeout", "300ms")
    assert waited.code == 5
    assert f"worker 'first' still holds 1 message: t.hold ({running})" in waited.err
    lab.let_go()
    assert lab.value(running) == "held"
    assert steer("worker", "drain", "first", "--wait").err == "sched: nothing runs there any more\n"
    wait_until(lambda: one(steer, "first")["busy"] == 0)
    assert one(steer, "first")["state"] == "draining"
    assert lab.ready() == 1, "it takes nothing"
    assert steer("worker", "resume", "--all").code == 0
    assert lab.value(behind) == 3
    notes = [(note.verb, note.what, note.reason) for note in lab.store.audit.notes(n=9)]
    assert notes[-1] == ("drain", "worker first", "deploy")


def test_workers_shows_what_runs_and_since_when(lab: Lab, steer: Callable[..., Said]) -> None:
    """Read from Redis; the worker publishes it with its renewals."""
    lab.worker("-n", "w1", "-c", "2", "-Q", "default,mail")
    id_ = lab.send("hold", lab.path("held"), lab.path("go"))
    failing = lab.send("add", 1)
    lab.ended(failing)
    worker = wait_until(lambda: (w := one(steer, "w1"))["state"] == "running" and w["busy"] and w["failed"] and w)
    (running,) = worker["running"]
    assert (running["id"], running["task"], running["attempt"]) == (id_, "t.hold", 1)
    assert running["for_s"] < 60
    assert (worker["concurrency"], worker["queues"], worker["finished"]) == (2, ["default", "mail"], 1)
    assert worker["memory"]["supervisor_kib"] > 1_000
    assert worker["memory"]["children_kib"] > worker["children"] * 1_000
    line = steer("workers", "w").out.splitlines()[1].split()
    assert line[:3] == ["w1", "running", "1/2"]
    assert "1 running; 1 of 2 slots busy" in steer("status").out
    assert "no worker's name fits 'nope'" in steer("workers", "nope").err


def test_stop_ends_a_worker_from_afar(lab: Lab, steer: Callable[..., Said]) -> None:
    """As SIGTERM does; with --now what runs is broken off, and goes back."""
    warm, hard = lab.worker("-n", "warm"), lab.worker("-n", "hard", "-Q", "other")
    broken = lab.send("hold", lab.path("held"), lab.path("go"), queue="other")
    lab.wait_lines("held", 1)
    assert steer("worker", "stop", "warm", "--wait").err == "sched: it has ended\n"
    assert warm.wait() == 0
    said = steer("worker", "stop", "h*", "--now", "--wait", "-o", "json")
    assert (said.code, [reply["name"] for reply in said.data]) == (0, ["hard"])
    assert hard.wait() == 0
    assert lab.ready("other") == 1
    assert not lab.store.connection.call("HGET", lab.store.keys.tries, broken)
    nobody = steer("worker", "stop", "--all")
    assert (nobody.code, nobody.err) == (4, "sched: no worker lives\n")


def test_queues_come_and_go_while_it_works(lab: Lab, steer: Callable[..., Said]) -> None:
    """`add_consumer` and `cancel_consumer`; an idle worker waits for the new queue's token at once."""
    lab.worker("-n", "w", "-Q", "default")
    id_ = lab.send("add", 1, 1, queue="mail")
    assert "taking from default, mail" in steer("worker", "queues", "add", "w", "mail").out
    assert lab.value(id_) == 2
    assert "taking from mail" in steer("worker", "queues", "remove", "w", "default").out
    lab.send("add", 1, 1)
    assert lab.value(lab.send("add", 1, 2, queue="mail")) == 3
    assert lab.ready() == 1
    refused = steer("worker", "queues", "remove", "--all", "mail")
    assert (refused.code, "it would have no queue left; to take nothing, drain it" in refused.out) == (4, True)
    assert steer("worker", "queues", "add", "w", "no good").code == 2


def test_who_does_not_answer_is_named_and_the_order_is_taken_back(lab: Lab, steer: Callable[..., Said]) -> None:
    """Exit 5; and a worker that wakes up later does not do what nobody expects any more."""
    worker = lab.worker("-n", "sleeper")
    worker.pause()
    said = steer("worker", "drain", "sleeper", "--timeout", "200ms")
    assert said.code == 5
    assert "worker 'sleeper' (" in said.err
    assert "has not answered; last heard of " in said.err
    assert "the order was taken back, and nothing was done" in said.err
    worker.resume()
    assert lab.value(lab.send("add", 1, 1)) == 2
    wait_until(lambda: one(steer, "sleeper")["state"] == "running")


def test_one_that_is_not_heard_of_is_shown_as_silent_and_then_as_gone(
    lab: Lab, steer: Callable[..., Said], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until another worker has put back what it held."""
    worker = lab.worker("-n", "w")
    lab.send("hold", lab.path("held"), lab.path("go"))
    lab.wait_lines("held", 1)
    worker.kill()
    monkeypatch.setenv("SCHED_WORKER_LEASE", "200ms")
    gone = wait_until(lambda: (w := one(steer, "w"))["state"] == "gone" and w)
    assert gone["held"] == 1
    assert gone["seen_ago_s"] >= 0.2


def test_a_cancelled_run_is_terminated_without_waiting_for_a_renewal(lab: Lab) -> None:
    """The holder is rung up. Here it renews once a minute, and nobody could wait for that."""
    lab.write("import worker.keeper\nworker.keeper.RENEW_S = 60.0")
    lab.worker("-n", "w", config=msgspec.structs.replace(lab.config, worker_lease_ms=600_000))
    for n in range(2):
        id_ = lab.send("hold", lab.path(f"held{n}"), lab.path("go"))
        lab.wait_lines(f"held{n}", 1)
        lab.store.queues.cancel(id_, terminate=True)
        assert lab.ended(id_).state == "REVOKED"


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["drain"], "give the NAME of a worker, or --all"),
        (["drain", "w", "--all"], "give the NAME of a worker, or --all"),
        (["queues", "add", "w"], "give a QUEUE"),
        (["log-level", "w", "loud"], "log level 'loud': use debug, info, warning, error, critical"),
        (["log-level", "w"], "give LEVEL"),
        (["drian", "w"], "there is no command 'drian'; did you mean drain?"),
        (["-c", "2", "drain", "w"], "-c is for `sched worker` itself, not for 'drain'"),
        (["drain", "w", "--timeout", "soon"], "--timeout"),
    ],
)
def test_a_wrong_order_is_refused_before_anybody_is_asked(
    steer: Callable[..., Said], words: list[str], complaint: str
) -> None:
    """Exit 2 and one line."""
    said = steer("worker", *words)
    assert said.code == 2
    assert complaint in said.err


def test_a_name_that_nobody_has_is_not_found(lab: Lab, steer: Callable[..., Said]) -> None:
    """Exit 3, and the nearest."""
    lab.worker("-n", "mail-1")
    said = steer("worker", "drain", "mial-1")
    assert (said.code, said.err) == (3, "sched: there is no worker 'mial-1'; did you mean mail-1?\n")
    assert steer("worker", "drain", "x*").code == 3


def test_a_worker_grows_and_shrinks_while_it_works(lab: Lab, steer: Callable[..., Said]) -> None:
    """`pool_grow` and `pool_shrink`: what runs beyond the new number ends first, and nobody is killed for it."""
    worker = lab.worker("-n", "w", "-c", "1")
    ids = [lab.send("hold", lab.path("held"), lab.path("go")) for _ in range(3)]
    lab.wait_lines("held", 1)
    assert "concurrency 1 → 3, 1 task still runs" in steer("worker", "grow", "w", "2").out
    lab.wait_lines("held", 3)
    wait_until(lambda: one(steer, "w")["concurrency"] == 3, what="its next renewal to tell so")
    assert "concurrency 3 → 1, 3 tasks still run" in steer("worker", "shrink", "--all", "2").out
    refused = steer("worker", "shrink", "w")
    assert (refused.code, "it runs 1 at once; to take nothing, drain it" in refused.out) == (4, True)
    lab.let_go()
    assert [lab.value(id_) for id_ in ids] == ["held"] * 3
    assert "concurrency 1 → 2" in steer("worker", "concurrency", "w", "2").out
    assert not worker.told.all("child.died")
    assert steer("worker", "concurrency", "w", "0").code == 2
    assert steer("worker", "grow", "w", "1", "2").code == 2


def test_children_are_replaced_on_demand(lab: Lab, steer: Callable[..., Said]) -> None:
    """Their memory and their connections begin anew, and no task is broken off."""
    lab.worker("-n", "w", "-c", "2")
    running = lab.send("hold", lab.path("held"), lab.path("go"))
    lab.wait_lines("held", 1)

    def pids() -> set[int]:
        (told,) = steer("inspect", "w", "--stacks", "-o", "json").data
        return {child["pid"] for child in told["children"]}

    before = pids()
    assert "each child is replaced" in steer("worker", "restart-children", "w").out
    lab.let_go()
    assert lab.value(running) == "held"
    wait_until(lambda: len(now := pids()) == 2 and not now & before, what="two new children")
    assert lab.value(lab.send("add", 1, 1)) == 2


def test_solo_hears_orders_between_its_tasks(lab: Lab, steer: Callable[..., Said]) -> None:
    """It cannot grow, and says so; while a task runs it cannot answer, and that is said, too."""
    lab.worker("-n", "w", "--pool", "solo")
    lab.value(lab.send("add", 1, 1))
    assert "draining, nothing runs" in steer("worker", "drain", "w").out
    id_ = lab.send("add", 1, 2, queue="mail")
    assert "taking from default, mail" in steer("worker", "queues", "add", "w", "mail").out
    assert (one(steer, "w")["state"], lab.ready("mail")) == ("draining", 1)
    assert "taking again, nothing runs" in steer("worker", "resume", "w").out
    assert lab.value(id_) == 3
    refused = steer("worker", "grow", "w")
    assert (refused.code, "solo runs one task at once" in refused.out) == (4, True)
    lab.send("hold", lab.path("held"), lab.path("go"))
    lab.wait_lines("held", 1)
    said = steer("worker", "drain", "w", "--timeout", "300ms")
    assert (said.code, "in solo a running task keeps it from answering" in said.err) == (5, True)
    lab.let_go()
    assert steer("worker", "stop", "w", "--wait").code == 0


def test_systemd_is_told_how_the_worker_stands(lab: Lab, steer: Callable[..., Said], tmp_path: Path) -> None:
    """`systemctl status` shows it; and a worker that drains for long is not killed by its watchdog."""
    with Notified(tmp_path) as systemd:
        worker = Process(
            "worker", "-c", "1", "-n", "w", config=lab.config, cwd=lab.folder, environ=systemd.environ(watchdog_s=30.0)
        )
        lab.processes.append(worker)
        lab.send("hold", lab.path("held"), lab.path("go"))
        lab.wait_lines("held", 1)

        def told(status: str) -> None:
            wait_until(lambda: (found := systemd.got("STATUS")) and found[-1] == f"STATUS={status}", what=status)

        told("taking from default; 1 of 1 busy")
        steer("worker", "drain", "w")
        told("drained by an order: 1 task still runs")
        fed = len(systemd.got("WATCHDOG"))
        wait_until(lambda: len(systemd.got("WATCHDOG")) > fed, what="the watchdog to be fed")
        worker.terminate()
        told("stopping: 1 task still runs")
        assert systemd.got("STOPPING") == ["STOPPING=1"]
        fed = len(systemd.got("WATCHDOG"))
        wait_until(lambda: len(systemd.got("WATCHDOG")) > fed, what="the watchdog to be fed")
        lab.let_go()
        assert worker.wait() == 0
