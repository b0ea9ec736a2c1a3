"""A worker under test: a folder of tasks, a namespace of its own, messages sent by hand, and what became of them."""

from __future__ import annotations

import os
import signal
import textwrap
from pathlib import Path
from typing import Any
from uuid import uuid4

import msgspec

from scheduler.config import Config
from scheduler.model import ResultRecord, Run
from scheduler.store import Store, open_store
from scheduler.store.queues import NewMessage
from scheduler.wire import Header, Payload, encode_body, new_id
from tests.support.processes import Process
from tests.support.wait import wait_until

HEAD = """
import os, signal, sys, time
from pathlib import Path
from scheduler import Ignore, Reject, SoftTimeLimitExceeded, task

def mark(path, text="x"):
    with open(path, "a") as file:
        file.write(text + "\\n")

@task
def add(a, b):
    return a + b

@task
def hold(path, until):
    "Marks that it runs, and ends once the file `until` is there."
    mark(path)
    while not os.path.exists(until):
        time.sleep(0.005)
    return "held"
"""


class Lab:
    """
    One namespace with its tasks and workers.

    Args:
        settings: Fields of `Config`.
    """

    def __init__(self, url: str, folder: Path, **settings: Any) -> None:
        self.folder = folder
        self.config = Config(
            redis_url=url,
            namespace=f"w{uuid4().hex[:12]}",
            state_dir=folder,
            schedules=folder / "schedules",
            **({"worker_lease_ms": 1_000} | settings),
        )
        self.store: Store = open_store(self.config, role="test")
        self.processes: list[Process] = []
        self.write()

    def write(self, text: str = "", *, name: str = "t") -> None:
        """Write the tasks of ``schedules/<name>.py``, beside `add` and `hold`."""
        self.config.schedules.mkdir(exist_ok=True)
        (self.config.schedules / f"{name}.py").write_text(HEAD + textwrap.dedent(text), encoding="utf-8")

    def worker(self, *flags: str, ready: bool = True, config: Config | None = None) -> Process:
        """One more worker; with one child unless *flags* say otherwise."""
        concurrency = () if "-c" in flags else ("-c", "1")
        process = Process("worker", *concurrency, *flags, config=config or self.config, cwd=self.folder)
        self.processes.append(process)
        if ready:
            process.told.wait("worker.ready")
        return process

    def message(
        self, task: str, *args: object, at_ms: int = 0, id_: str = "", body: bytes = b"", **header: Any
    ) -> NewMessage:
        """A message for ``t.<task>``; *header*: fields of `Header`."""
        fields: dict[str, Any] = {"task": f"t.{task}", "queue": "default", "enqueued_ms": self.now_ms()}
        at = Header(**(fields | header))
        payload = Payload(args=msgspec.Raw(msgspec.json.encode(args)))
        return NewMessage(id_ or new_id(), body or encode_body(at, payload), at.queue, at_ms, at.priority)

    def send(self, task: str, *args: object, **options: Any) -> str:
        """Send one message; its id."""
        return self.send_all([self.message(task, *args, **options)])[0]

    def send_all(self, messages: list[NewMessage]) -> list[str]:
        """Send them in one round trip; their ids."""
        self.store.queues.enqueue(messages, call_id=new_id())
        return [message.id for message in messages]

    def ended(self, id_: str, *, timeout_s: float = 20.0) -> ResultRecord:
        """What is kept of the run, once it has ended."""
        return self.store.results.wait(id_, timeout_s)

    def value(self, id_: str) -> Any:
        """What the task returned."""
        record = self.ended(id_)
        assert record.state == "SUCCESS", record
        return msgspec.json.decode(record.result)

    def error(self, id_: str) -> tuple[str, str]:
        """The type and message of what the run failed with."""
        record = self.ended(id_)
        assert record.state == "FAILURE", record
        failure = msgspec.json.decode(record.result)
        return failure["type"], failure["message"]

    def run(self, id_: str) -> Run:
        """Its line of history."""
        run = self.store.history.run(id_)
        assert run is not None
        return run

    def now_ms(self) -> int:
        """Redis' time."""
        return int(self.store.queues.time_ms())

    def path(self, name: str) -> str:
        """A file that tasks can write."""
        return str(self.folder / name)

    def lines(self, name: str) -> list[str]:
        """What tasks wrote there."""
        file = self.folder / name
        return file.read_text(encoding="utf-8").splitlines() if file.exists() else []

    def wait_lines(self, name: str, n: int, *, timeout_s: float = 15.0) -> list[str]:
        """The same, once there are *n*."""
        wait_until(lambda: len(self.lines(name)) >= n, timeout_s=timeout_s, what=f"{n} lines in {name}")
        return self.lines(name)

    def let_go(self, name: str = "go") -> None:
        """End the tasks that `hold` until this file is there."""
        (self.folder / name).touch()

    def ready(self, queue: str = "default") -> int:
        """How many messages wait in the queue."""
        return self.store.queues.depths([queue])[queue].ready

    def dead(self) -> list[str]:
        """The ids of dead letters."""
        return [letter.id for letter in self.store.queues.dead()]

    def is_empty(self) -> bool:
        """Whether no message is left."""
        return not self.store.connection.call("HLEN", self.store.keys.messages)

    def close(self) -> None:
        """End everything."""
        self.let_go()
        for process in self.processes:
            descendants = family(process.pid)[1:]
            process.kill()
            for pid in descendants:
                _kill(pid)
        self.store.close()


def family(pid: int) -> list[int]:
    """A process and its descendants, the eldest first."""
    found = [pid]
    try:
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text(encoding="ascii").split():
                found += family(int(child))
    except (FileNotFoundError, ProcessLookupError):
        pass
    return found


def lives(pid: int) -> bool:
    """Whether the process is there, and not only waiting to be reaped."""
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    except (FileNotFoundError, ProcessLookupError):
        return False


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
