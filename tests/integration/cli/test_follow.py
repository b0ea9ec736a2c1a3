"""`sched result ID --follow`: a run as it goes on."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.integration.worker.lab import Lab
from tests.support.processes import environment
from tests.support.server import ValkeyServer
from tests.support.wait import wait_until

pytestmark = pytest.mark.redis

TASKS = """
    @task(bind=True)
    def steps(self, folder):
        for n in range(3):
            while not os.path.exists(f"{folder}/go{n}"):
                time.sleep(0.005)
            self.progress(n + 1, 3, f"step {n + 1}")
        while not os.path.exists(f"{folder}/end"):
            time.sleep(0.005)
        raise ValueError("at the end")

    @task(bind=True)
    def asks(self):
        return add.delay(1, 2).get(timeout=5)

    @task(bind=True)
    def asks_anyway(self):
        return add.delay(1, 2).get(timeout=5, disable_sync_subtasks=False)
"""


@pytest.fixture
def lab(server: ValkeyServer, tmp_path: Path) -> Iterator[Lab]:
    lab = Lab(server.url, tmp_path)
    lab.write(TASKS)
    yield lab
    lab.close()


class Following:
    """`sched result ID --follow` in a process of its own, its output read line by line."""

    def __init__(self, lab: Lab, *arguments: str) -> None:
        command = [str(Path(sys.executable).with_name("sched")), *arguments]
        self.process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            text=True,
            env=environment(lab.config) | {"PATH": "/usr/bin:/bin"},
            cwd=lab.folder,
        )

    def line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().rstrip("\n")

    def rest(self) -> str:
        return self.process.communicate(timeout=15)[0]


def test_each_step_is_a_line_for_people_and_a_value_for_programs(lab: Lab) -> None:
    """And at the end stands the run, with the exit code of how it went."""
    lab.worker()
    id_ = lab.send("steps", str(lab.folder))
    wait_until(lambda: lab.store.results.state(id_) == "STARTED")
    people, programs = (
        Following(lab, "result", id_, "--follow"),
        Following(lab, "-o", "jsonl", "result", id_, "--follow"),
    )
    lines, steps = [people.line()], [msgspec.json.decode(programs.line())]
    for n in range(3):
        (lab.folder / f"go{n}").touch()
        lines.append(people.line())
        steps.append(msgspec.json.decode(programs.line()))
    (lab.folder / "end").touch()
    assert [line.split("  ", 1)[1] for line in lines] == [
        "STARTED", "PROGRESS  1/3  33 %  step 1", "PROGRESS  2/3  67 %  step 2", "PROGRESS  3/3  100 %  step 3",
    ]  # fmt: skip
    assert "ValueError: at the end" in people.rest()
    assert people.process.returncode == 1
    assert [step["state"] for step in steps] == ["STARTED", "PROGRESS", "PROGRESS", "PROGRESS"]
    assert steps[-1]["meta"] == {"current": 3, "total": 3, "note": "step 3"}
    last: dict[str, Any] = msgspec.json.decode(programs.rest())
    assert (last["id"], last["state"], last["exception"]["type"]) == (id_, "FAILURE", "ValueError")


def test_ctrl_c_ends_the_following_and_leaves_nothing(lab: Lab) -> None:
    """The run goes on; neither channel nor key is left on Redis."""
    lab.worker()
    id_ = lab.send("steps", str(lab.folder))
    wait_until(lambda: lab.store.results.state(id_) == "STARTED")
    following = Following(lab, "result", id_, "--follow")
    following.line()
    call, keys = lab.store.connection.call, lab.store.keys
    wait_until(lambda: call("PUBSUB", "CHANNELS", f"{keys.prefix}done:*"))
    following.process.send_signal(signal.SIGINT)
    following.rest()
    assert following.process.returncode == 130
    wait_until(lambda: not call("PUBSUB", "CHANNELS", f"{keys.prefix}done:*"))
    assert call("EXISTS", keys.waited) == 0
    assert lab.store.results.state(id_) == "STARTED"
    (lab.folder / "go0").touch()
    wait_until(lambda: lab.store.results.state(id_) == "PROGRESS")
    assert "progress: PROGRESS  1/3  33 %  step 1" in Following(lab, "result", id_).rest()


def test_a_timeout_ends_the_following(lab: Lab) -> None:
    """Exit 5; of a run that nobody takes, too."""
    following = Following(lab, "result", lab.send("add", 1, 2), "--timeout", "300ms")
    assert "PENDING" in following.rest()
    assert following.process.returncode == 5


def test_a_task_that_waits_for_another_is_told(lab: Lab) -> None:
    """All places of a worker could be taken by those who wait; who knows better says so."""
    lab.worker("-c", "2")
    kind, message = lab.error(lab.send("asks"))
    assert kind == "WouldBlockError"
    assert "disable_sync_subtasks=False" in message
    assert lab.value(lab.send("asks_anyway")) == 3
