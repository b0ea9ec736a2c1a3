"""Stopping, refusing to start, and cancelling."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import msgspec
import pytest

from scheduler.config import Config
from tests.integration.worker.lab import Lab, family, lives
from tests.support.processes import Process, environment
from tests.support.server import DebianRedis
from tests.support.wait import wait_until


@pytest.mark.parametrize("pool", ["prefork", "solo"])
def test_a_warm_stop_lets_the_running_task_end_and_gives_the_rest_back(lab: Lab, pool: str) -> None:
    """SIGTERM: P5 for what was not started, and the result of what was."""
    worker = lab.worker("--pool", pool)
    running = lab.send("hold", lab.path("held"), lab.path("go"))
    lab.wait_lines("held", 1)
    others = lab.send_all([lab.message("add", n, n) for n in range(5)])
    worker.terminate()
    if pool == "prefork":
        worker.told.wait("worker.stopping")
    lab.let_go()
    assert worker.wait() == 0
    assert lab.value(running) == "held"
    assert lab.ready() == len(others)
    assert lab.store.sessions.workers() == []
    lab.worker("--pool", pool)
    assert [lab.value(id_) for id_ in others] == [0, 2, 4, 6, 8]


@pytest.mark.parametrize("pool", ["prefork", "solo"])
def test_after_the_grace_the_running_task_is_given_back_uncounted(lab: Lab, pool: str) -> None:
    """It runs again elsewhere; a stop is no fault of the message."""
    worker = lab.worker("--pool", pool, config=msgspec.structs.replace(lab.config, grace_ms=200))
    id_ = lab.send("hold", lab.path("held"), lab.path("go"))
    lab.wait_lines("held", 1)
    worker.terminate()
    assert worker.wait() == 0
    assert lab.ready() == 1
    assert not lab.store.connection.call("HGET", lab.store.keys.tries, id_)


@pytest.mark.parametrize("signals", [[signal.SIGQUIT], [signal.SIGINT, signal.SIGINT]])
@pytest.mark.parametrize("pool", ["prefork", "solo"])
def test_at_once_means_at_once(lab: Lab, pool: str, signals: list[signal.Signals]) -> None:
    """SIGQUIT, or a second Ctrl-C: what runs is broken off and given back."""
    worker = lab.worker("--pool", pool)
    lab.send("hold", lab.path("held"), lab.path("go"))
    lab.wait_lines("held", 1)
    processes = family(worker.pid)
    for number in signals:
        worker.signal(number)
        if len(signals) > 1:
            # Two signals in one moment are one to a process: wait until it has noted the first.
            wait_until(lambda: _is_stopping(worker, pool), what="the first signal to be noted")
    assert worker.wait(5) == 0
    assert lab.ready() == 1
    wait_until(lambda: not any(map(lives, processes)), what="all processes to end")


def test_a_signal_to_the_whole_group_does_not_hit_tasks(lab: Lab) -> None:
    """Ctrl-C in a terminal reaches the supervisor alone: it decides."""
    worker = lab.worker()
    id_ = lab.send("hold", lab.path("held"), lab.path("go"))
    lab.wait_lines("held", 1)
    for pid in family(worker.pid):
        os.kill(pid, signal.SIGTERM)
    worker.told.wait("worker.stopping")
    lab.let_go()
    assert worker.wait() == 0
    assert lab.value(id_) == "held"


def test_a_cancelled_message_that_waits_behind_another_never_starts(lab: Lab) -> None:
    """Cancelled while it is leased: at the holder's next renewal."""
    lab.worker()
    lab.send("hold", lab.path("held"), lab.path("go"))
    lab.wait_lines("held", 1)
    id_ = lab.send("hold", lab.path("second"), lab.path("go"))
    lab.store.queues.cancel(id_)
    assert lab.ended(id_).state == "REVOKED"
    lab.let_go()
    assert lab.lines("second") == []


def test_cancel_with_terminate_stops_a_running_task_and_without_leaves_it(lab: Lab) -> None:
    """`revoke(terminate=True)`."""
    worker = lab.worker("-c", "2")
    left, stopped = (lab.send("hold", lab.path(name), lab.path("go")) for name in ("left", "stopped"))
    lab.wait_lines("left", 1)
    lab.wait_lines("stopped", 1)
    lab.store.queues.cancel(left)
    lab.store.queues.cancel(stopped, terminate=True)
    assert lab.ended(stopped).state == "REVOKED"
    assert lab.run(stopped).started_ms > 0
    lab.let_go()
    assert lab.value(left) == "held"
    assert not worker.told.all("child.died")


@pytest.mark.parametrize("pool", ["prefork", "solo"])
def test_a_run_that_was_cancelled_while_it_ran_is_not_tried_again(lab: Lab, pool: str) -> None:
    """Left alone, it may end as it likes; but a request to cancel is not forgotten, however many renewals later."""
    lab.write(
        """
        @task(max_retries=5, retry_backoff="1ms", retry_for=OSError)
        def fail(path, until):
            hold(path, until)
            raise OSError("the disk is away")
        """
    )
    worker = lab.worker("--pool", pool)
    id_ = lab.send("fail", lab.path("began"), lab.path("go"))
    lab.wait_lines("began", 1)
    lab.store.queues.cancel(id_)
    (session,) = lab.store.sessions.observe()
    seen = lab.store.sessions.observe()[session]
    if pool == "prefork":  # in solo nobody renews while a task runs
        wait_until(lambda: lab.store.sessions.observe()[session] > seen + 3, what="three renewals")
    lab.let_go()
    assert lab.ended(id_).state == "REVOKED"
    assert lab.lines("began") == ["x"]
    assert not worker.told.all("run.retried")


def test_nothing_to_run_and_an_unknown_pool_are_one_clear_error(lab: Lab) -> None:
    """P12: exit 2 and words."""
    for flags, words in ((["--pool", "carpool"], "prefork, threads, async, solo"), (["-Q", "-x"], "queue '-x'")):
        code, text = _worker(lab, *flags)
        assert code == 2
        assert words in text
    (lab.config.schedules / "t.py").unlink()
    code, text = _worker(lab)
    assert code == 2
    assert "there is no task to run" in text


def test_an_evicting_redis_is_refused_at_start(lab: Lab) -> None:
    """Exit 69 and one line: it would drop messages silently."""
    if not DebianRedis.installed():
        pytest.skip("Debian's redis-server is not installed (apt-get install redis-server)")
    redis = DebianRedis("--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru")
    redis.start()
    try:
        config = msgspec.structs.replace(lab.config, redis_url=redis.url)
        code, text = _worker(lab, config=config)
    finally:
        redis.remove()
    assert code == 69
    assert "allkeys-lru" in text


def test_a_worker_without_queues_serves_what_its_tasks_name(lab: Lab) -> None:
    """The default queue, and each queue that a task asks for."""
    lab.write("""
        @task(queue="mail")
        def send():
            return "sent"
    """)
    lab.worker()
    assert lab.value(lab.send("send", queue="mail")) == "sent"
    assert lab.value(lab.send("add", 1, 1)) == 2


def _is_stopping(worker: Process, pool: str) -> bool:
    """`solo` counts the grace in a thread, as its main one runs the task."""
    if pool == "solo":
        return not worker.running or len(os.listdir(f"/proc/{worker.pid}/task")) > 1
    return bool(worker.told.all("worker.stopping"))


def _worker(lab: Lab, *flags: str, config: Config | None = None) -> tuple[int, str]:
    """A worker that must not start: its exit code and what it says."""
    env = {key: value for key, value in os.environ.items() if not key.startswith("SCHED_")}
    done = subprocess.run(
        [sys.executable, "-P", "-m", "scheduler.cli", "worker", *flags],
        cwd=lab.folder, env=env | environment(config or lab.config), capture_output=True, text=True, timeout=20,
        check=False,
    )  # fmt: skip
    return done.returncode, done.stderr
