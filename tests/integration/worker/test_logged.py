"""What tasks log and print, as it comes out of a real worker."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.integration.worker.lab import Lab
from tests.support.processes import Process
from tests.support.wait import wait_until

TASKS = """
    import asyncio, logging
    from scheduler.log import get_task_logger

    log = get_task_logger(__name__)

    @task
    def talk(word, until):
        log.info("logged %s", word)
        mark(until + ".ready", word)
        while not os.path.exists(until):
            time.sleep(0.005)
        print("printed", word)
        try:
            raise KeyError(word)
        except KeyError:
            logging.getLogger("some.library").exception("raised %s", word)

    @task
    async def whisper(word, until):
        log.info("logged %s", word)
        mark(until + ".ready", word)
        while not os.path.exists(until):
            await asyncio.sleep(0.005)
        print("printed", word)
        try:
            raise KeyError(word)
        except KeyError:
            logging.getLogger("some.library").exception("raised %s", word)
"""


def a_worker(lab: Lab, *flags: str, environ: dict[str, str] | None = None, log: str = "log") -> Path:
    """A worker that logs to a file, as people run it."""
    path = Path(lab.path(log))
    process = Process(
        "worker", *flags, config=lab.config, cwd=lab.folder, tell=False, log_path=path,
        environ={"SCHED_LOG_FORMAT": "json", **(environ or {})},
    )  # fmt: skip
    lab.processes.append(process)
    return path


def read(path: Path) -> list[dict[str, Any]]:
    """Its lines; one that is being written does not count yet."""
    return [
        json.loads(line) for line in path.read_text(encoding="utf-8").splitlines(keepends=True) if line[-1:] == "\n"
    ]


@pytest.mark.parametrize(
    ("pool", "task", "at_once"),
    [
        ("prefork", "talk", 2),
        ("threads", "talk", 2),
        ("async", "whisper", 2),
        ("solo", "talk", 1),
        ("prefork", "whisper", 2),
    ],
)
def test_every_line_of_a_task_says_by_which_run(lab: Lab, pool: str, task: str, at_once: int) -> None:
    """Two runs at once, in each pool: what they log, print and what a library logs for them does not mix."""
    lab.write(TASKS)
    log = a_worker(lab, "--pool", pool, *(() if pool == "solo" else ("-c", str(at_once))))
    ids = {f"w{n}": lab.send(task, f"w{n}", lab.path("go")) for n in range(at_once)}
    lab.wait_lines("go.ready", at_once)
    lab.let_go()
    for id_ in ids.values():
        assert lab.ended(id_).state == "SUCCESS"
    wait_until(
        lambda: sum(line.get("event") == "run.finished" for line in read(log)) == at_once, what="the ends in the log"
    )
    said = {word: [line for line in read(log) if line["message"].endswith(f" {word}")] for word in ids}
    for word, id_ in ids.items():
        lines = said[word]
        assert [line["message"] for line in lines] == [f"logged {word}", f"printed {word}", f"raised {word}"]
        assert {(line["run_id"], line["task"], line["entry"], line["attempt"]) for line in lines} == {
            (id_, f"t.{task}", None, 1)
        }
        assert f"KeyError: '{word}'" in lines[2]["exception"]
        assert (lines[0]["logger"], lines[2]["logger"]) == ("schedules.t", "some.library")


def test_what_a_killed_child_printed_is_not_lost(lab: Lab) -> None:
    """No line waits in a buffer that goes with the child, whatever is done with prints."""
    lab.write("""
        @task(time_limit="1s")
        def chatter():
            print("the last words")
            time.sleep(60)
    """)
    redirected = a_worker(lab, "-c", "1", "-Q", "default", log="redirected")
    assert lab.error(lab.send("chatter"))[0] == "TimeLimitExceeded"
    assert "the last words" in [line["message"] for line in read(redirected)]


def test_people_who_set_logging_up_have_it_to_themselves(lab: Lab) -> None:
    """A receiver of `setup_logging`: nothing of ours is mixed into what theirs writes."""
    lab.write("""
        import logging
        from scheduler import signals
        from scheduler.logs import RunFilter

        @signals.setup_logging.connect
        def mine(**kwargs):
            handler = logging.FileHandler(os.environ["MY_LOG"])
            handler.setFormatter(logging.Formatter("mine %(task_name)s %(message)s"))
            handler.addFilter(RunFilter())
            logging.getLogger().addHandler(handler)
            logging.getLogger().setLevel("INFO")

        @task
        def talk():
            logging.getLogger("shop").info("hello")
    """)
    log = a_worker(lab, "-c", "1", environ={"MY_LOG": lab.path("mine")})
    lab.value(lab.send("add", 1, 2))
    assert lab.ended(lab.send("talk")).state == "SUCCESS"
    assert "mine t.talk hello" in lab.lines("mine")
    assert any(line.startswith("mine  worker.ready") for line in lab.lines("mine"))
    assert log.read_text(encoding="utf-8") == ""


def test_a_worker_without_stdin_stdout_and_stderr_works(lab: Lab) -> None:
    """Some supervisors close them. Nothing may take their numbers: what is printed would end up there."""
    lab.write("""
        @task
        def talk():
            print("to nobody")
            return [os.readlink(f"/proc/self/fd/{fd}") for fd in (0, 1, 2)]
    """)
    closed = ("sh", "-c", 'exec "$0" "$@" 0<&- 1>&- 2>&-', sys.executable, "-P", "-m", "scheduler.cli")
    process = Process("worker", "-c", "1", config=lab.config, cwd=lab.folder, tell=False, command=closed)
    lab.processes.append(process)
    assert lab.value(lab.send("talk")) == ["/dev/null"] * 3
