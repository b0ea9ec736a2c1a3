"""
Children, supervisors and Redis are killed at random while workers are busy: every run ends, and none runs beside its copy.

Each run notes in a file that it begins and that its code is through, and what it sees of its earlier attempts: a process that began
the same run, has not come to its end and still lives is a run beside its copy, while a live worker holds it.
"""

from __future__ import annotations

import os
import random
import signal
from collections import Counter
from contextlib import suppress

import pytest

from scheduler.errors import StoreError
from tests.integration.worker.lab import Lab, family, lives
from tests.support.processes import Process
from tests.support.server import ValkeyServer
from tests.support.wait import wait_until

WORKERS, CHILDREN = 3, 4
TASKS = """
    def lives(pid):
        try:
            return "State:\\tZ" not in Path(f"/proc/{pid}/status").read_text()
        except (FileNotFoundError, ProcessLookupError):
            return False

    @task(bind=True)
    def work(self, path, seconds):
        lines = open(path).read().split("\\n") if os.path.exists(path) else []
        mine = [line.split() for line in lines if self.request.id in line]
        over = {pid for what, _, pid in mine if what == "through"}
        for what, _, pid in mine:
            if what == "begins" and pid not in over and lives(pid):
                mark(path, f"beside {self.request.id} {pid}")
        mark(path, f"begins {self.request.id} {os.getpid()}")
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            time.sleep(0.01)
        mark(path, f"through {self.request.id} {os.getpid()}")
        return self.request.attempt
"""


class Chaos:
    """Kills something each time that some more runs have begun."""

    def __init__(self, lab: Lab, server: ValkeyServer, *, seed: int) -> None:
        self.lab, self.server = lab, server
        self.chance = random.Random(seed)
        self.kills: Counter[str] = Counter()
        self.workers: list[Process] = []
        self._write_through()
        for _ in range(WORKERS):
            self._start()

    def begun(self) -> int:
        """How many attempts have begun so far."""
        return sum(line.startswith("begins") for line in self.lab.lines("runs"))

    def wait(self, begun: int) -> None:
        """Until so many attempts have begun, or nothing is left to do."""
        wait_until(lambda: self.begun() >= begun or self.lab.is_empty(), timeout_s=60, what=f"{begun} attempts")

    def strike(self) -> None:
        """One of them, by chance: a child in the middle of its task, a supervisor, or Redis."""
        what = self.chance.choices(("child", "supervisor", "redis"), weights=(6, 3, 1))[0]
        self.kills[what] += 1
        if what == "redis":
            self._kill_redis()
            return
        worker = self.chance.choice(self.workers)
        if what == "child":
            # The first of the family is the supervisor, the second its zygote.
            children = family(worker.pid)[2:]
            if children:
                with suppress(ProcessLookupError):  # it has just ended
                    os.kill(self.chance.choice(children), signal.SIGKILL)
        else:
            processes = family(worker.pid)
            os.kill(worker.pid, signal.SIGKILL)
            wait_until(lambda: not any(map(lives, processes)), what="its children to end with it")
            self.workers.remove(worker)
            self._start()

    def _kill_redis(self) -> None:
        """It is back once the workers have noticed."""
        self.server.kill()
        wait_until(lambda: all(map(_is_away, self.workers)), what="all workers to notice")
        self.server.start()
        self._write_through()

    def _write_through(self) -> None:
        """Nothing that was answered is lost by a kill: what a failover loses (P11) is another test's."""
        wait_until(self._answers, what="Redis to be back")
        self.lab.store.connection.call("CONFIG", "SET", "appendfsync", "always")

    def _answers(self) -> bool:
        try:
            return bool(self.lab.store.connection.call("PING"))
        except StoreError:
            return False

    def _start(self) -> None:
        self.workers.append(self.lab.worker("-c", str(CHILDREN)))


def _is_away(worker: Process) -> bool:
    return len(worker.told.all("store.lost")) > len(worker.told.all("store.back"))


def suffer(lab: Lab, server: ValkeyServer, *, tasks: int, seconds: float, seed: int) -> None:
    """Let *tasks* runs of so many *seconds* come through it all."""
    lab.write(TASKS)
    chaos = Chaos(lab, server, seed=seed)
    ids = lab.send_all([lab.message("work", lab.path("runs"), seconds) for _ in range(tasks)])
    due = 0
    while not lab.is_empty():
        due += chaos.chance.randint(2, WORKERS * CHILDREN)
        chaos.wait(due)
        chaos.strike()
    told = f"seed {seed}, killed {dict(chaos.kills)}"
    lines = [line.split() for line in lab.lines("runs")]
    assert [line for line in lines if line[0] == "beside"] == [], told
    states = Counter(lab.ended(id_).state for id_ in ids)
    buried = states.pop("FAILURE", 0)
    assert states == {"SUCCESS": tasks - buried}, told
    assert len(lab.dead()) == buried, told
    begun, through = (Counter(id_ for what, id_, _ in lines if what == which) for which in ("begins", "through"))
    assert all(begun[id_] >= lab.config.max_deliveries for id_ in lab.dead()), "buried, and not killed so often"
    assert set(through) >= set(ids) - set(lab.dead()), told
    held = [worker.held for worker in lab.store.sessions.workers()]
    assert not any(held), told


def test_every_run_ends_and_none_beside_its_copy_whatever_is_killed(own_lab: Lab, own_server: ValkeyServer) -> None:
    """P5, P6, P9: the short form."""
    suffer(own_lab, own_server, tasks=40, seconds=0.25, seed=7)


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("seed", range(3))
def test_two_hundred_runs_of_a_second_end_whatever_is_killed(own_lab: Lab, own_server: ValkeyServer, seed: int) -> None:
    """P5, P6, P9."""
    suffer(own_lab, own_server, tasks=200, seconds=1.0, seed=seed)
