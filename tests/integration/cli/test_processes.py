"""`sched beat`, `sched worker`, `sched check`: real processes on real files, from the command line to the result."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from scheduler.config import Config
from scheduler.store import Store
from tests.support.wait import wait_until

GOOD = """
from scheduler import crontab, every, schedule, task

@schedule(every("200ms"), name="tick", args=(5, 6))
def multiply(a, b):
    return a * b

@schedule(crontab("0 4 1 1 *"), name="yearly", queue="slow")
def fails():
    raise ValueError("no good")
"""

BROKEN = """
from scheduler import crontab, entry, every, schedule

@schedule(crontab("61 * * * *"))
def a(): ...

entry("x", "nope.nope", every("1s"))
"""

Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A working directory with schedule files."""
    (tmp_path / "schedules").mkdir()
    (tmp_path / "schedules" / "reports.py").write_text(GOOD, encoding="utf-8")
    return tmp_path


@pytest.fixture
def start(folder: Path, config: Config) -> Iterator[Start]:
    """Starts `sched` in *folder*; what still runs at the end is killed."""
    processes = []

    def start(*args: str, **environment: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "scheduler.cli", *args],
            cwd=folder,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "SCHED_REDIS_URL": config.redis_url, "SCHED_NAMESPACE": config.namespace, **environment},
        )
        processes.append(process)
        return process

    yield start
    for process in processes:
        if process.poll() is None:
            process.kill()
        process.communicate()


def run(start: Start, *args: str, **environment: str) -> tuple[int, str, str]:
    """One call of `sched` to its end."""
    process = start(*args, **environment)
    out, err = process.communicate(timeout=60)
    return process.returncode, out, err


def data(start: Start, *args: str) -> Any:
    """What a call says as JSON."""
    code, out, err = run(start, *args, "-o", "json")
    assert code == 0, err
    return json.loads(out)


def test_from_the_file_to_the_result_with_one_command(start: Start, store: Store) -> None:
    """`sched worker -B` in a folder of schedule files is a whole service; Ctrl-C ends it."""
    process = start("worker", "-B", "-c", "1", "-n", "w@%h", "-l", "info")
    wait_until(lambda: store.history.runs("tick", state="SUCCESS"), timeout_s=20, what="the first result")
    fired = data(start, "runs", "tick", "--state", "success")[0]
    assert fired["outcome"] == "promoted"
    assert fired["lateness_s"] < 5
    assert data(start, "result", fired["id"])["result"] == 30
    status = data(start, "status")
    assert status["leader"]["term"] == 1
    assert status["workers"][0]["name"].startswith("w@")
    assert set(status["queues"]) <= {"default", "slow"}
    entries = {entry["name"]: entry for entry in data(start, "list")}
    assert entries["tick"]["last_state"] == "SUCCESS"
    assert entries["yearly"]["source"].startswith("schedules/reports.py:")
    code, out, _ = run(start, "trigger", "yearly", "--wait", "--timeout", "20s", "-o", "json")
    assert code == 1
    assert json.loads(out)["exception"]["message"] == "no good"
    assert run(start, "call", "reports.multiply", "-a", "[3, 4]", "--timeout", "20s")[0] == 0
    process.send_signal(signal.SIGINT)
    assert process.wait(20) == 0
    assert store.presence.beats() == []
    assert store.sessions.workers() == []


def test_a_leader_that_is_asked_to_step_down_lets_another_lead(start: Start, store: Store) -> None:
    start("beat", "-n", "a")
    wait_until(lambda: _leads(store) == "a", timeout_s=20, what="a to lead")
    start("beat", "--hostname=b", "--loglevel=info")
    wait_until(lambda: len(store.presence.beats()) == 2, timeout_s=20, what="b to stand by")
    code, _, err = run(start, "leader", "--step-down")
    assert code == 0
    assert "a (term 1) was asked to step down" in err
    wait_until(lambda: _leads(store) == "b", timeout_s=20, what="b to lead")
    assert [term["name"] for term in data(start, "leader", "--history")] == ["b", "a"]


def test_reload_makes_the_beats_load_their_files_again(start: Start, store: Store, folder: Path) -> None:
    """And a file that broke meanwhile keeps its entries and is shown (P12)."""
    start("beat")
    wait_until(lambda: len(store.registry.all()) == 2, timeout_s=20, what="the entries")
    (folder / "schedules" / "more.py").write_text(GOOD.replace("tick", "tock").replace("yearly", "never"), "utf-8")
    assert run(start, "reload")[0] == 0
    wait_until(lambda: len(store.registry.all()) == 4, timeout_s=20, what="the new entries")
    (folder / "schedules" / "more.py").write_text(BROKEN, "utf-8")
    run(start, "reload")
    wait_until(lambda: store.loads.info().mistakes, timeout_s=20, what="the mistakes")
    assert len(store.registry.all()) == 4
    assert "schedules/more.py:4: crontab '61 * * * *': minute 61 is outside 0–59" in run(start, "status")[1]


def test_whoever_stops_waiting_for_a_result_leaves_the_run_alone(start: Start, store: Store) -> None:
    """Ctrl-C is exit 130, without a traceback."""
    process = start("call", "nobody.knows", "--wait")
    assert process.stderr is not None
    line = process.stderr.readline()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=20)
    assert (process.returncode, err) == (130, "")
    assert store.queues.body(line.split()[2]) is not None


def test_a_beat_and_a_worker_wait_for_redis(start: Start, folder: Path) -> None:
    """A service that gives up while Redis restarts is no service; one that says nothing is no better."""
    nowhere = f"unix://{folder}/nobody.sock"
    for command in ("beat", "worker"):
        process = start(command, SCHED_REDIS_URL=nowhere, SCHED_STORE_TIMEOUT="200ms")
        assert process.stderr is not None
        line = next(line for line in process.stderr if "store.lost" in line)
        assert "nobody.sock" in line
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0


@pytest.mark.parametrize(
    ("args", "complaint"),
    [
        (["worker", "--pool", "fibers"], "pool 'fibers'"),
        (["worker", "-c", "many"], "concurrency 'many'"),
        (["worker", "-Q", "a b"], "queue 'a b'"),
        (["worker", "-l", "loud"], "log_level 'loud'"),
        (["beat", "--loglevel=loud"], "log_level 'loud'"),
        (["beat", "-A", "no.such.module"], "there is no module 'no'"),
    ],
)
def test_what_a_process_cannot_start_with_is_one_line_and_exit_2(start: Start, args: list[str], complaint: str) -> None:
    code, out, err = run(start, *args)
    assert (code, out) == (2, "")
    assert complaint in err
    assert "Traceback" not in err


def test_check_tells_every_mistake_with_its_place_and_needs_no_redis(start: Start, folder: Path) -> None:
    """P12, before it is deployed."""
    nowhere = {"SCHED_REDIS_URL": f"unix://{folder}/nobody.sock"}
    code, out, err = run(start, "check", **nowhere)
    assert (code, out) == (0, "")
    assert "no mistakes" in err
    assert "2 entries are good" in err
    (folder / "schedules" / "bad.py").write_text(BROKEN, encoding="utf-8")
    (folder / "schedules" / "worse.py").write_text("def f(:\n", encoding="utf-8")
    code, out, err = run(start, "check", **nowhere)
    assert code == 1
    lines = out.splitlines()
    assert lines[0] == "schedules/bad.py:4: crontab '61 * * * *': minute 61 is outside 0–59"
    assert lines[1].startswith("schedules/bad.py:7: entry 'x': there is no task 'nope.nope'")
    assert lines[2].startswith("schedules/worse.py:1: ")
    assert "3 mistakes" in err
    code, out, _ = run(start, "check", "schedules/bad.py", "-o", "json", **nowhere)
    assert code == 1
    assert [finding["line"] for finding in json.loads(out)] == [4, 7]
    assert set(json.loads(out)[0]) >= {"file", "line", "entry", "what", "remedy", "level"}
    assert run(start, "check", "schedules/reports.py", **nowhere)[0] == 0
    assert run(start, "check", "nowhere", **nowhere)[0] == 3


def test_check_warns_of_what_is_legal_and_rarely_meant(start: Start, folder: Path) -> None:
    odd = 'from scheduler import crontab, schedule\n\n@schedule(crontab("*/90 * * * *"))\ndef f(): ...\n'
    (folder / "schedules" / "odd.py").write_text(odd, encoding="utf-8")
    code, out, _ = run(start, "check")
    assert code == 0
    assert out.startswith("schedules/odd.py:3: warning: ")


def test_an_app_brings_its_tasks_and_its_redis(start: Start, folder: Path, config: Config) -> None:
    """A Celery tutorial's program: `-A module`, the broker in the code."""
    program = f"""
from scheduler import App
app = App("shop", broker={config.redis_url!r}, namespace={config.namespace!r})

@app.task(name="shop.add")
def add(x, y):
    return x + y
"""
    (folder / "shop.py").write_text(program, encoding="utf-8")
    clean = {"SCHED_REDIS_URL": "", "SCHED_NAMESPACE": ""}
    start("-A", "shop", "worker", "--loglevel=info", "--concurrency=1", "--queues=default", **clean)
    code, out, err = run(
        start, "-A", "shop", "call", "shop.add", "-a", "[2, 3]", "--timeout", "20s", "-o", "json", **clean
    )
    assert code == 0, err
    assert json.loads(out)["result"] == 5


def _leads(store: Store) -> str:
    term = store.leadership.observe()
    return term.name if term is not None and term.holder else ""
