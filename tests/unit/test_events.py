"""The pipe of events: whole lines, and never a brake on the process that writes them."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator
from typing import Any

import pytest

from scheduler.events import FD_VARIABLE, LINE_BYTES_MAX, OURS, EventPipe, configure_events, encode
from scheduler.log import event


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reader, writer = os.pipe()
    yield reader, writer
    os.close(reader)
    os.close(writer)


def logger_on(writer: int) -> logging.Logger:
    logger = logging.Logger("test")
    logger.addHandler(EventPipe(writer))
    return logger


def lines(reader: int) -> list[dict[str, Any]]:
    return [json.loads(line) for line in os.read(reader, 1 << 20).splitlines()]


def test_an_event_arrives_with_its_facts(pipe: tuple[int, int]) -> None:
    """What `sched dev` prints comes from here."""
    event(logger_on(pipe[1]), "run.finished", task="mail.send", lateness_s=0.0021, attempt=1, error=None, odd={"a": 1})

    (line,) = lines(pipe[0])
    assert line["event"] == "run.finished"
    assert line["level"] == "INFO"
    assert line["pid"] == os.getpid()
    assert line["fields"] == {
        "task": "mail.send", "lateness_s": 0.0021, "attempt": 1, "error": None, "odd": "{'a': 1}"
    }  # fmt: skip


def test_a_task_s_own_log_line_arrives_as_a_message(pipe: tuple[int, int]) -> None:
    """Nothing that somebody logged is lost on the way to the screen."""
    logger_on(pipe[1]).warning("disk %s is slow", "sda")

    (line,) = lines(pipe[0])
    assert "event" not in line
    assert line["message"] == "disk sda is slow"


def test_the_last_line_of_a_traceback_arrives(pipe: tuple[int, int]) -> None:
    """The error line is what one looks for first."""
    try:
        raise ValueError("no such table: orders")
    except ValueError:
        logger_on(pipe[1]).exception("it failed")

    assert lines(pipe[0])[0]["error"] == "ValueError: no such table: orders"


def test_no_line_is_longer_than_the_pipe_takes_whole() -> None:
    """Longer ones could mix with those of another child."""
    many = {f"field_{n}": "é" * 5000 for n in range(20)}
    error = ValueError("\x01" * 10_000)
    facts = {"msg": "\x01" * 10_000, "exc_info": (ValueError, error, None)}
    record = logging.makeLogRecord(facts | {"event": "run.finished", "fields": many})

    assert len(encode(record)) <= LINE_BYTES_MAX
    assert json.loads(encode(record))["event"] == "run.finished"
    assert len(encode(logging.makeLogRecord(facts))) <= LINE_BYTES_MAX


def test_a_reader_that_sleeps_holds_nobody_up(pipe: tuple[int, int]) -> None:
    """A stopped terminal (Ctrl-S) must not stop the beat: what does not fit is dropped, and later lines are whole."""
    logger = logger_on(pipe[1])
    for n in range(5000):
        event(logger, "fire.promoted", entry=f"entry-{n}", late_ms=n)

    assert 100 < len(lines(pipe[0])) < 5000
    event(logger, "fire.promoted", entry="after", late_ms=0)
    assert lines(pipe[0])[-1]["fields"]["entry"] == "after"


def test_a_reader_that_is_gone_does_no_harm() -> None:
    """`sched dev` was killed: beat and worker end their work in peace."""
    reader, writer = os.pipe()
    logger = logger_on(writer)
    os.close(reader)
    event(logger, "fire.promoted", entry="a")
    os.close(writer)


def test_programs_started_by_a_task_do_not_inherit_the_pipe(pipe: tuple[int, int]) -> None:
    """Otherwise the watcher would wait for the end of a pipe that a stranger holds open."""
    os.set_inheritable(pipe[1], True)
    EventPipe(pipe[1])
    assert not os.get_inheritable(pipe[1])


@pytest.mark.parametrize("environ", [{}, {FD_VARIABLE: ""}, {FD_VARIABLE: "x"}, {FD_VARIABLE: "99999"}])
def test_without_a_pipe_the_usual_log_stays(environ: dict[str, str]) -> None:
    """A variable left over in an environment must not silence a service."""
    before = logging.getLogger().handlers[:]
    assert not configure_events(environ=environ)
    assert before == logging.getLogger().handlers


def test_with_a_pipe_every_record_goes_there(pipe: tuple[int, int]) -> None:
    """And none to stderr, where it would be shown twice."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    try:
        assert configure_events("warning", environ={FD_VARIABLE: str(pipe[1])})
        logging.getLogger("reports").info("too quiet")
        logging.getLogger("reports").warning("loud")
        event(logging.getLogger("worker.supervisor"), "run.started", level=logging.DEBUG, id="a")
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
        for ours in OURS:
            logging.getLogger(ours).setLevel(logging.NOTSET)
    assert [line.get("message", line.get("event")) for line in lines(pipe[0])] == ["loud", "run.started"]
