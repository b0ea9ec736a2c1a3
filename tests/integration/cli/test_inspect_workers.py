"""`sched inspect`: what a worker tells of itself, and where in their code its tasks are."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from tests.integration.cli.conftest import Sched
from tests.integration.worker.lab import Lab
from tests.support.server import ValkeyServer

STUCK = """
    import ctypes, threading

    @task(max_retries=9, time_limit="5m", queue="default")
    def stuck(path):
        threading.Thread(target=aside, daemon=True).start()
        mutex, libc = ctypes.create_string_buffer(64), ctypes.PyDLL(None)  # calls that keep the interpreter to themselves
        libc.pthread_mutex_lock(mutex)
        mark(path)
        libc.pthread_mutex_lock(mutex)

    def aside():
        time.sleep(60)
"""


@pytest.fixture
def lab(server: ValkeyServer, tmp_path: Path) -> Iterator[Lab]:
    """A namespace with tasks and workers."""
    lab = Lab(server.url, tmp_path)
    lab.write(STUCK)
    yield lab
    lab.close()


@pytest.fixture
def ask(lab: Lab, sched: Sched, monkeypatch: pytest.MonkeyPatch) -> Sched:
    """Calls `sched` on the lab's namespace."""
    monkeypatch.setenv("SCHED_NAMESPACE", lab.config.namespace)
    return sched


def test_a_worker_tells_its_tasks_settings_and_versions_and_no_secret(lab: Lab, ask: Sched) -> None:
    """What differs between two workers is found without logging in to their hosts."""
    config = msgspec.structs.replace(
        lab.config, alert_hooks=("https://hooks.example.com/T0/very-secret",), grace_ms=12_000
    )
    worker = lab.worker("-n", "w1", "-Q", "default,mail", config=config)
    said = ask("inspect", "w", "-o", "json")
    assert said.code == 0
    (told,) = said.data
    stuck = next(task for task in told["tasks"] if task["name"] == "t.stuck")
    assert stuck["options"] == {"max_retries": 9, "time_limit": "5m", "queue": "default"}
    assert stuck["place"].startswith(str(lab.config.schedules))
    assert (told["pid"], told["state"], told["queues"]) == (worker.pid, "running", ["default", "mail"])
    assert told["settings"]["grace"] == "12s"
    assert told["system"]["redis"].startswith(("Redis ", "Valkey "))
    text = ask("inspect", "w1")
    assert "t.stuck" in text.out
    assert "very-secret" not in text.out + said.out
    assert lab.store.audit.notes(n=9) == [], "to look is no change"


def test_stacks_tell_where_a_task_hangs_even_in_a_library_that_never_comes_back(lab: Lab, ask: Sched) -> None:
    """The handler is C: a child that does not let go of the interpreter answers too. All its threads are shown."""
    lab.worker("-n", "w1")
    id_ = lab.send("stuck", lab.path("stuck"))
    lab.wait_lines("stuck", 1)
    for _ in range(2):  # the second answer is not the first one again
        (told,) = ask("inspect", "w1", "--stacks", "-o", "json").data
        (child,) = told["children"]
        assert child["running"] == [{"id": id_, "task": "t.stuck"}]
        assert child["stacks"].count(" in stuck\n") == 1
        assert child["stacks"].count(" in aside\n") == 1
    text = ask("inspect", "w1", "--stacks").out
    assert f"runs t.stuck ({id_})" in text
    assert "in stuck" in text
    assert "worker/child.py" not in text, "our own frames say nothing"


def test_who_does_not_answer_is_named(lab: Lab, ask: Sched) -> None:
    """And since when nothing was heard of it; exit 5."""
    lab.worker("-n", "here")
    asleep = lab.worker("-n", "asleep")
    asleep.pause()
    said = ask("inspect", "*e*", "--timeout", "500ms", "-o", "json")
    assert (said.code, [told["name"] for told in said.data]) == (5, ["here"])
    assert "worker 'asleep' (" in said.err
    assert "last heard of" in said.err
    asleep.resume()
