"""Which process of a worker sends which signal, and that none of them can hold it up."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest

from scheduler import signals
from scheduler.app import App
from scheduler.errors import NotEncodableError
from scheduler.wire import decode_header, decode_payload
from tests.integration.worker.lab import Lab, family, lives
from tests.support.wait import wait_until

LIFE = """
    from scheduler import signals

    PATH = {path!r}

    for name in ("celeryd_init", "worker_init", "worker_ready", "worker_shutting_down", "worker_shutdown",
                 "worker_process_init", "worker_process_shutdown"):
        def told(name=name, sender=None, **kwargs):
            more = kwargs.get("sig", "")
            mark(PATH, f"{{name}} {{os.getpid()}} {{getattr(sender, 'hostname', sender)}} {{more}}".strip())
        getattr(signals, name).connect(told)

    @task
    def pid():
        return os.getpid()
"""


@pytest.fixture(autouse=True)
def nobody_stays_connected() -> Iterator[None]:
    """Receivers are process-wide, and this process is the caller."""
    yield
    signals.before_task_publish.receivers = signals.after_task_publish.receivers = ()


def test_a_worker_tells_its_life_from_the_right_processes(lab: Lab) -> None:
    """User code runs before the fork, in the children and in the herald; never where the lease is kept."""
    lab.write(LIFE.format(path=lab.path("life")))
    worker = lab.worker("-n", "w1")
    child = lab.value(lab.send("pid"))
    lab.wait_lines("life", 4)
    worker.terminate()
    assert worker.wait() == 0
    told = [line.split() for line in lab.lines("life")]
    pids = {name: int(pid) for name, pid, *_ in told}
    names = [name for name, *_ in told]
    assert names[:2] == ["celeryd_init", "worker_init"]
    assert sorted(names[2:4]) == ["worker_process_init", "worker_ready"]
    assert sorted(names[4:6]) == ["worker_process_shutdown", "worker_shutting_down"], (
        "two processes: nothing orders them"
    )
    assert names[6:] == ["worker_shutdown"]
    assert pids["celeryd_init"] == pids["worker_init"] == worker.pid
    assert pids["worker_process_init"] == pids["worker_process_shutdown"] == child
    assert pids["worker_ready"] == pids["worker_shutting_down"] == pids["worker_shutdown"]
    assert pids["worker_ready"] not in {worker.pid, child}
    assert {sender for name, _, sender, *_ in told if not name.startswith("worker_process")} == {"w1"}
    assert next(line[3] for line in told if line[0] == "worker_shutting_down") == "SIGTERM"


def test_in_solo_one_process_tells_it_all(lab: Lab) -> None:
    """There is no other."""
    lab.write(LIFE.format(path=lab.path("life")))
    worker = lab.worker("-n", "w1", "--pool", "solo")
    worker.terminate()
    assert worker.wait() == 0
    told = [line.split() for line in lab.lines("life")]
    assert [name for name, *_ in told] == [
        "celeryd_init", "worker_init", "worker_process_init", "worker_ready", "worker_shutting_down",
        "worker_process_shutdown", "worker_shutdown",
    ]  # fmt: skip
    assert {int(pid) for _, pid, *_ in told} == {worker.pid}


def test_receivers_that_hang_or_raise_hold_nobody_up(lab: Lab) -> None:
    """P12: the worker works, and when it leaves it waits for them only for a moment."""
    lab.write("""
        from scheduler import signals

        @signals.worker_ready.connect
        def hang(**kwargs):
            time.sleep(3600)

        @signals.worker_init.connect
        def broken(**kwargs):
            raise ValueError("no metrics today")
    """)
    worker = lab.worker()
    herald = [pid for pid in family(worker.pid)[1:] if os.getpgid(pid) == os.getpgid(worker.pid)]
    assert lab.value(lab.send("add", 1, 2)) == 3
    worker.terminate()
    assert worker.wait() == 0
    worker.told.wait("receiver.failed", lambda fields: fields["error"] == "ValueError: no metrics today")
    worker.told.wait("herald.killed")
    wait_until(lambda: not any(map(lives, herald)), what="the end of the herald")


def test_a_child_that_cannot_be_set_up_is_replaced_and_the_worker_stays(lab: Lab) -> None:
    """A database that is away when the worker starts: told with its reason, tried again ever more rarely, and healed by itself."""
    lab.write(f"""
        from scheduler import signals

        @signals.worker_process_init.connect
        def open_database(**kwargs):
            mark({lab.path("tried")!r})
            if not os.path.exists({lab.path("go")!r}):
                raise ConnectionError("no database")
    """)
    worker = lab.worker(ready=False)
    worker.told.wait("child.unfit", lambda fields: fields["error"] == "ConnectionError: no database")
    id_ = lab.send("add", 1, 2)
    lab.wait_lines("tried", 2)
    assert lab.ready() == 1, "nothing is taken while nobody can run it"
    lab.let_go()
    assert lab.value(id_) == 3
    assert len(lab.lines("tried")) <= 5, "it does not spin"


def test_nobody_connected_costs_no_process(lab: Lab) -> None:
    """The worker of somebody without signals: a supervisor, a zygote, a child."""
    worker = lab.worker()
    lab.value(lab.send("add", 1, 2))
    assert len(family(worker.pid)) == 3


def test_headers_that_a_receiver_adds_reach_the_task(lab: Lab) -> None:
    """How a trace, or who is logged in, travels from the caller to the run."""
    app = App(broker=lab.config.redis_url, namespace=lab.config.namespace)
    heard: list[tuple[str, Any]] = []

    def before(sender: str, headers: dict[str, Any], body: Any, **_: Any) -> None:
        headers["tenant"] = f"{sender}/{body[0]}"
        heard.append(("before", headers["id"]))

    def after(sender: str, headers: dict[str, Any], routing_key: str, **_: Any) -> None:
        heard.append(("after", (headers["id"], headers["task"], headers["tenant"], sender, routing_key)))

    signals.before_task_publish.connect(before)
    signals.after_task_publish.connect(after)
    id_ = app.send_task("t.add", (1, 2), headers={"mine": 1}).id
    body = lab.store.queues.body(id_)
    assert body is not None
    assert decode_payload(body, decode_header(body)[1]).headers == {"mine": 1, "tenant": "t.add/[1, 2]"}
    assert heard == [("before", id_), ("after", (id_, "t.add", "t.add/[1, 2]", "t.add", "default"))]
    app.close()


def test_a_receiver_that_spoils_the_headers_is_named(lab: Lab) -> None:
    """Rather than that the message is sent without what the receiver meant it to have."""
    app = App(broker=lab.config.redis_url, namespace=lab.config.namespace)
    signals.before_task_publish.connect(lambda headers, **_: headers.update(user=object()))
    with pytest.raises(
        (ValueError, NotEncodableError), match="a receiver of before_task_publish has changed the headers"
    ):
        app.send_task("t.add", (1, 2))
    assert lab.is_empty()
    app.close()
