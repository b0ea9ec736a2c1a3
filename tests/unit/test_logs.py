"""Log lines: what they say, in which form, and that no reader can hold up the work."""

from __future__ import annotations

import array
import io
import json
import logging
import os
import socket
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from scheduler import signals
from scheduler.config import Config
from scheduler.context import Request, pop_request, push_request
from scheduler.log import TASK_LOGGER, event, get_task_logger
from scheduler.logs import (
    JournalLines,
    JsonFormatter,
    Lines,
    Printed,
    PriorityFormatter,
    TextFormatter,
    configure,
    is_under_journal,
    settle,
)
from scheduler.sinks import PATIENCE_S, Journal, Stream

RUN = Request(id="3fa9c1d2" + "0" * 24, task="shop.pay", entry="daily", attempt=2)


@pytest.fixture(autouse=True)
def logging_as_it_was() -> Iterator[None]:
    """These tests set up the logging of the process."""
    names = (None, "scheduler", "worker", TASK_LOGGER)
    before = [(logger := logging.getLogger(name), logger.handlers[:], logger.level, logger.propagate) for name in names]
    yield
    signals.setup_logging.receivers = signals.after_setup_logger.receivers = ()
    for logger, handlers, level, propagate in before:
        logger.handlers[:], logger.propagate = handlers, propagate
        logger.setLevel(level)


class Pipe:
    """A pipe as somebody's stderr."""

    def __init__(self) -> None:
        self.reader, self.writer = os.pipe()
        os.set_blocking(self.reader, False)

    def read(self) -> str:
        """What has come."""
        data = b""
        while True:
            try:
                part = os.read(self.reader, 1 << 16)
            except BlockingIOError:
                return data.decode()
            if not part:
                return data.decode()
            data += part


@pytest.fixture
def logger() -> logging.Logger:
    """One that nobody else has."""
    return logging.Logger("test.shop", logging.DEBUG)


def lines(logger: logging.Logger, formatter: logging.Formatter) -> Pipe:
    pipe = Pipe()
    logger.handlers[:] = [Lines(Stream(pipe.writer), formatter)]
    return pipe


def log_everything(logger: logging.Logger) -> None:
    token = push_request(RUN)
    try:
        logger.info("charging %s", "7 €", extra={"order": 7, "odd": object})
        raise ValueError("bad\nnews")
    except ValueError:
        logger.exception("failed")
    finally:
        pop_request(token)
    event(logger, "run.finished", id="x1", task="t", state="SUCCESS")


def test_a_line_for_people_says_which_run_in_few_characters(logger: logging.Logger) -> None:
    """The first characters of the id, the task, its entry where that is called otherwise, the attempt from the second on."""
    pipe = lines(logger, TextFormatter())
    log_everything(logger)
    text = pipe.read()
    assert "I [3fa9c1d2 shop.pay daily #2] charging 7 €\n" in text
    assert "E [3fa9c1d2 shop.pay daily #2] failed\nTraceback (most recent call last):\n" in text
    assert "I run.finished id=x1 task=t state=SUCCESS\n" in text


def test_json_is_one_object_a_line_whatever_is_in_it(logger: logging.Logger) -> None:
    """Tracebacks, line ends and objects that JSON has no word for included."""
    pipe = lines(logger, JsonFormatter())
    log_everything(logger)
    logger.info("lone surrogate \ud800", extra={"bad": "\ud800"})
    first, second, third, fourth = (json.loads(line) for line in pipe.read().splitlines())
    assert (first["run_id"], first["task"], first["entry"], first["attempt"]) == (RUN.id, "shop.pay", "daily", 2)
    assert first["extra"] == {"order": 7, "odd": "<class 'object'>"}
    assert first["time"].endswith("Z")
    assert len(first["time"]) == len("2026-11-21T10:31:02.120Z")
    assert "ValueError: bad\nnews" in second["exception"]
    assert (third["event"], third["fields"], third["run_id"]) == (
        "run.finished", {"id": "x1", "task": "t", "state": "SUCCESS"}, "x1",
    )  # fmt: skip
    assert "lone surrogate" in fourth["message"]


def test_without_the_protocol_each_line_of_a_message_has_its_priority(logger: logging.Logger) -> None:
    """Journald takes each line by itself; a traceback must not become a dozen lines of another weight."""
    pipe = lines(logger, PriorityFormatter())
    log_everything(logger)
    text = pipe.read().splitlines()
    assert text[0].startswith("<6>[3fa9c1d2")
    assert all(line.startswith("<3>") for line in text[1:-1])


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[socket.socket]:
    """A journal of our own."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(tmp_path / "journal"))
        sock.settimeout(5)
        yield sock


def entry_of(data: bytes) -> dict[str, str]:
    """A datagram of the journal's protocol, read as the journal reads it."""
    found = {}
    while data:
        head, _, rest = data.partition(b"\n")
        if b"=" in head:
            name, _, value = head.partition(b"=")
            data = rest
        else:
            size = int.from_bytes(rest[:8], "little")
            name, value, data = head, rest[8 : 8 + size], rest[9 + size :]
        found[name.decode()] = value.decode()
    return found


def test_the_journal_gets_fields(logger: logging.Logger, journal: socket.socket) -> None:
    """`journalctl SCHED_RUN_ID=…` finds what the run said and what was said of it, messages of several lines whole."""
    fallback = Lines(Stream(os.open(os.devnull, os.O_WRONLY)), PriorityFormatter())
    logger.handlers[:] = [JournalLines(Journal(journal.getsockname()), fallback, "sched")]
    log_everything(logger)
    first, second, third = (entry_of(journal.recv(1 << 16)) for _ in range(3))
    assert {name: first[name] for name in first if name.startswith("SCHED")} == {
        "SCHED_RUN_ID": RUN.id, "SCHED_TASK": "shop.pay", "SCHED_ENTRY": "daily", "SCHED_ATTEMPT": "2",
    }  # fmt: skip
    assert (first["MESSAGE"], first["PRIORITY"], first["CODE_FUNC"]) == ("charging 7 €", "6", "log_everything")
    assert first["CODE_FILE"] == __file__
    assert second["MESSAGE"].startswith("failed\nTraceback")
    assert second["MESSAGE"].endswith("ValueError: bad\nnews")
    assert (second["PRIORITY"], third["SCHED_RUN_ID"], third["SCHED_EVENT"]) == ("3", "x1", "run.finished")
    assert third["CODE_FUNC"] == "log_everything", "an event names its own place, not ours"


def test_an_entry_too_large_for_a_datagram_goes_as_a_file(journal: socket.socket) -> None:
    """As the protocol has it: nothing of a long traceback is lost."""
    sink = Journal(journal.getsockname())
    assert sink.send([("MESSAGE", "x" * 2_000_000)])
    descriptors = array.array("i")
    _, ancillary, _, _ = journal.recvmsg(1, socket.CMSG_SPACE(4))
    descriptors.frombytes(ancillary[0][2][:4])
    with open(descriptors[0], "rb") as file:
        file.seek(0)
        assert len(entry_of(file.read())["MESSAGE"]) == 2_000_000


def test_a_journal_that_reads_nothing_is_left_for_stderr(logger: logging.Logger, journal: socket.socket) -> None:
    """It costs one short wait; then the lines go to stderr, each with its priority."""
    pipe = Pipe()
    sink = Journal(journal.getsockname())
    logger.handlers[:] = [JournalLines(sink, Lines(Stream(pipe.writer), PriorityFormatter()), "sched")]
    began = time.monotonic()
    while not sink.is_stalled:
        logger.info("x" * 2_000)
    logger.info("here")
    assert time.monotonic() - began < 5
    assert "<6>here\n" in pipe.read()


def test_a_reader_that_does_not_read_costs_one_short_wait(logger: logging.Logger) -> None:
    """A full pipe must not hold up a task: lines are dropped, and it is said how many."""
    pipe = lines(logger, TextFormatter(with_time=False))
    began = time.monotonic()
    for n in range(2_000):
        logger.info("%s %s", n, "x" * 200)
    assert time.monotonic() - began < 20 * PATIENCE_S, "not a wait for each line"
    kept = pipe.read().count("\n")
    assert 0 < kept < 2_000
    logger.info("again")
    told = pipe.read()
    assert "again\n" in told
    assert f"log.lost lines={2_000 - kept}" in told


def test_others_who_share_the_pipe_do_not_find_it_changed(logger: logging.Logger) -> None:
    """O_NONBLOCK belongs to the description, not to the descriptor: a program that the task starts shares it."""
    pipe = lines(logger, TextFormatter())
    logger.info("x")
    assert os.get_blocking(pipe.writer)


@pytest.mark.parametrize("kind", ["pipe", "socket", "file"])
def test_a_stream_whose_reader_has_gone_breaks_nothing(logger: logging.Logger, tmp_path: Path, kind: str) -> None:
    """No exception reaches the task, no signal kills it."""
    if kind == "pipe":
        reader, writer = os.pipe()
        stream = Stream(writer)
        os.close(reader)
    elif kind == "socket":
        ours, theirs = socket.socketpair()
        stream = Stream(ours.detach())
        theirs.close()
    else:
        stream = Stream(os.open(tmp_path / "log", os.O_WRONLY | os.O_CREAT))
    logger.handlers[:] = [Lines(stream, TextFormatter())]
    logger.info("x")
    logger.info("y")
    if kind == "file":
        assert (tmp_path / "log").read_text(encoding="utf-8").count("\n") == 2


def test_a_line_that_cannot_be_shown_is_told(logger: logging.Logger) -> None:
    """Wrong format strings and objects whose text raises are the author's; the others' lines go on."""

    class Odd:
        def __str__(self) -> str:
            raise RuntimeError("no text")

    for formatter in (TextFormatter(), JsonFormatter()):
        pipe = lines(logger, formatter)
        logger.info("%d", "seven")
        logger.info("%s", Odd())
        logger.info("fine")
        text = pipe.read()
        assert text.count("cannot be shown") == 2
        assert "fine" in text


def test_the_log_keeps_its_descriptor(logger: logging.Logger) -> None:
    """A task that closes stderr and opens a file gets number 2 again; the log must not end up in that file."""
    reader, writer = os.pipe()
    stream = Stream(writer)
    os.close(writer)
    logger.handlers[:] = [Lines(stream, TextFormatter(with_time=False))]
    logger.info("still here")
    assert os.read(reader, 100) == b"still here\n"


# ── setting it up ───────────────────────────────────────────────────────────────────────────────────────────────────


def a_config(tmp_path: Path, **settings: Any) -> Config:
    return Config(state_dir=tmp_path, **settings)


def test_what_a_module_does_to_the_root_logger_is_undone(tmp_path: Path) -> None:
    """As in Celery: a `basicConfig` in some library would double every line."""
    configure(config := a_config(tmp_path, log_level="warning"))
    logging.getLogger().addHandler(logging.NullHandler())
    settle(config)
    (handler,) = logging.getLogger().handlers
    assert isinstance(handler, Lines)
    assert logging.getLogger().level == logging.WARNING


def test_people_may_keep_the_root_logger_to_themselves(tmp_path: Path) -> None:
    """`hijack_root_logger = false`: only our own lines come from here."""
    mine = logging.NullHandler()
    logging.getLogger().handlers[:] = [mine]
    configure(config := a_config(tmp_path, hijack_root_logger=False))
    settle(config)
    assert logging.getLogger().handlers == [mine]
    (handler,) = logging.getLogger("worker").handlers
    assert isinstance(handler, Lines)
    assert not logging.getLogger("worker").propagate


def test_whoever_is_connected_to_setup_logging_has_it_to_itself(tmp_path: Path) -> None:
    """Nothing of ours is left, as it says in Celery's documentation."""
    told: list[int] = []
    configure(config := a_config(tmp_path))
    signals.setup_logging.connect(lambda loglevel, **_: told.append(loglevel))
    settle(config)
    assert told == [logging.INFO]
    assert not any(isinstance(handler, Lines | JournalLines) for handler in logging.getLogger().handlers)


def test_receivers_may_add_to_what_was_set_up(tmp_path: Path) -> None:
    """`after_setup_logger`: a handler that sends mails, say."""
    mine = logging.NullHandler()
    configure(config := a_config(tmp_path))
    signals.after_setup_logger.connect(lambda logger, **_: logger.addHandler(mine))
    settle(config)
    assert logging.getLogger().handlers[-1] is mine


def test_the_journal_is_recognised_by_its_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A unit whose stderr goes to a file has the variable too."""
    with (tmp_path / "x").open("w", encoding="utf-8") as file:
        found = os.fstat(file.fileno())
        monkeypatch.setenv("JOURNAL_STREAM", f"{found.st_dev}:{found.st_ino}")
        assert is_under_journal(file.fileno())
        monkeypatch.setenv("JOURNAL_STREAM", f"{found.st_dev}:{found.st_ino + 1}")
        assert not is_under_journal(file.fileno())


def test_loggers_of_tasks_have_one_parent() -> None:
    """`after_setup_task_logger` gives it to whoever wants to add a handler for tasks alone."""
    logger = get_task_logger("shop.tasks.of.this.test")
    assert logger.name == "shop.tasks.of.this.test"
    assert logger.parent is logging.getLogger(TASK_LOGGER)
    assert get_task_logger(TASK_LOGGER).parent is not logging.getLogger(TASK_LOGGER)


# ── what is printed ─────────────────────────────────────────────────────────────────────────────────────────────────


class Kept(logging.Handler):
    """Keeps what it is given, with the run that was current."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: list[tuple[str, str]] = []

    def emit(self, record: logging.LogRecord) -> None:
        from scheduler.context import current_request  # noqa: PLC0415 - as a handler of somebody else would

        print("a handler that prints", file=sys.stdout)
        self.kept.append((record.getMessage(), current_request().id))


def test_what_is_printed_is_logged_line_by_line_with_its_run(logger: logging.Logger) -> None:
    """A line that a run has begun does not run into the next run's, and threads do not mix theirs."""
    logger.handlers[:] = [handler := Kept()]
    printed = Printed(io.TextIOWrapper(io.BytesIO()), logger, logging.INFO)
    first, second = Request(id="1", task="t"), Request(id="2", task="t")
    token = push_request(first)
    print("one\n\ntwo", file=printed)
    print("begun ", end="", file=printed)
    pop_request(token)
    thread = threading.Thread(target=lambda: print("elsewhere", file=printed))
    thread.start()
    thread.join()
    token = push_request(second)
    print("three", file=printed)
    print("asked for", end="", file=printed, flush=True)
    pop_request(token)
    assert handler.kept == [
        ("one", "1"), ("two", "1"), ("elsewhere", ""), ("begun ", "1"), ("three", "2"), ("asked for", "2"),
    ]  # fmt: skip


def test_a_handler_that_prints_does_not_print_for_ever(logger: logging.Logger, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it prints while it logs a print is dropped."""
    logger.handlers[:] = [handler := Kept()]
    monkeypatch.setattr(sys, "stdout", Printed(io.TextIOWrapper(io.BytesIO()), logger, logging.INFO))
    print("once")
    assert [text for text, _ in handler.kept] == ["once"]
