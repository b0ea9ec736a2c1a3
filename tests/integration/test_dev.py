"""`sched dev` as people use it: real processes, a real terminal, real signals."""

from __future__ import annotations

import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from scheduler.embedded import EmbeddedServer
from tests.support.server import DebianRedis
from tests.support.wait import wait_until

pytestmark = pytest.mark.redis

FIRST_RESULT_S = 10.0
STOP_S = 5.0

TICK = """
import time
from scheduler import every, schedule

@schedule(every("1s"))
def tick():
    print("{word}", flush=True)
"""

STUBBORN = """
import subprocess, time
from scheduler import every, schedule

@schedule(every("1s"))
def stubborn():
    subprocess.Popen(["sleep", "60"])
    print("stubborn has begun", flush=True)
    end = time.monotonic() + 60
    while time.monotonic() < end:
        try:
            time.sleep(1)
        except BaseException:
            pass
"""

_IN_A_TERMINAL = """
import os, runpy
os.close(os.open(os.ttyname(0), os.O_RDWR))  # who leads a session gets the first terminal it opens as its own
runpy.run_module("scheduler.cli", run_name="__main__")
"""


class DevProcess:
    """A running `sched dev` in a terminal of its own, and what it has printed."""

    def __init__(self, folder: Path, **environ: str) -> None:
        self.folder = folder
        self.lines: list[str] = []
        self.started_mono_s = time.monotonic()
        self._terminal, theirs = pty.openpty()
        clean = {name: value for name, value in os.environ.items() if not name.startswith("SCHED_")}
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-c", _IN_A_TERMINAL, "dev"],
            cwd=folder, env={**clean, "TERM": "xterm-256color", **environ},
            stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
        )  # fmt: skip
        os.close(theirs)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def see(self, pattern: str, *, timeout_s: float = 20.0, since: int = 0) -> str:
        """The first line from number *since* on in which *pattern* is found."""
        found = re.compile(pattern)

        def look() -> str | None:
            return next((line for line in self.lines[since:] if found.search(line)), None)

        try:
            return wait_until(look, timeout_s=timeout_s) or ""
        except AssertionError:
            raise AssertionError(
                f"no line with {pattern!r} within {timeout_s:g} s:\n" + "\n".join(self.lines)
            ) from None

    def press_ctrl_c(self) -> None:
        """As at the keyboard: the terminal interrupts the whole foreground group."""
        os.write(self._terminal, b"\x03")

    def end(self, timeout_s: float) -> int:
        """Its exit code, once it has ended."""
        code = self.process.wait(timeout_s)
        self._reader.join(5)
        return code

    def remove(self) -> None:
        """Whatever is left of it."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        with EmbeddedServer(self.folder / ".steadybeat"):
            """A server that lost its owner is taken over and stopped."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _read(self) -> None:
        rest = b""
        while True:
            try:
                read = os.read(self._terminal, 65536)
            except OSError:  # the other side is closed
                read = b""
            *lines, rest = (rest + read).split(b"\n")
            self.lines.extend(line.decode(errors="replace").rstrip("\r") for line in lines)
            if not read:
                os.close(self._terminal)
                return


def offspring(pid: int) -> set[int]:
    """Every process that descends from *pid*."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if fields[0] != "Z":
                parents.setdefault(int(fields[1]), []).append(int(entry.name))
    found: set[int] = set()
    todo = [pid]
    while todo:
        children = parents.get(todo.pop(), [])
        found.update(children)
        todo.extend(children)
    return found


def alive(pids: set[int]) -> set[int]:
    """Those of *pids* that still run."""
    living = set()
    for pid in pids:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z":
                living.add(pid)
        except OSError:
            continue
    return living


def child_of(dev: DevProcess, word: str) -> int:
    """The process of `sched beat` or `sched worker` that *dev* has started itself."""
    for pid in offspring(dev.process.pid):
        try:
            arguments = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
            parent = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
        if word in arguments and parent == dev.process.pid:
            return pid
    raise AssertionError(f"no {word} among {offspring(dev.process.pid)}")


@pytest.fixture
def start() -> Iterator[Callable[..., DevProcess]]:
    """Starts `sched dev` on schedule files given as text, in a short folder of its own."""
    running: list[DevProcess] = []

    def start_dev(files: dict[str, str] | Path, **environ: str) -> DevProcess:
        folder = Path(tempfile.mkdtemp(prefix="sb-"))
        if isinstance(files, Path):
            shutil.copytree(files, folder / "schedules", ignore=shutil.ignore_patterns("__pycache__"))
        else:
            (folder / "schedules").mkdir()
            for name, text in files.items():
                (folder / "schedules" / name).write_text(text)
        running.append(DevProcess(folder, **environ))
        return running[-1]

    yield start_dev
    for dev in running:
        dev.remove()


def test_the_samples_show_results_in_10_s_and_ctrl_c_ends_everything_in_5_s(start: Callable[..., DevProcess]) -> None:
    """`make run`, the first thing people see; afterwards nothing is left running and the files are there."""
    dev = start(Path(__file__).parents[2] / "schedules", NO_COLOR="1")
    dev.see(r"leader +dev leads, term 1", timeout_s=FIRST_RESULT_S)
    dev.see(r"fire +shop\.take_order", timeout_s=FIRST_RESULT_S)
    dev.see(r"ok +shop\.take_order +\d+ ms late +[\d.]+ m?s", timeout_s=FIRST_RESULT_S)
    assert time.monotonic() - dev.started_mono_s < FIRST_RESULT_S
    dev.see(r"ok +backup\.backup_orders")
    dev.see(r"ok +report\.sales_report")

    everybody = offspring(dev.process.pid)
    assert len(everybody) >= 5  # server, beat, worker, two children
    pressed_mono_s = time.monotonic()
    dev.press_ctrl_c()

    assert dev.end(STOP_S + 5) == 0
    assert time.monotonic() - pressed_mono_s < STOP_S
    assert alive(everybody) == set()
    assert list((dev.folder / "var" / "backups").glob("orders-*.sqlite3"))
    assert not any("\x1b" in line for line in dev.lines), "NO_COLOR"
    assert not any("Traceback" in line for line in dev.lines)


def test_a_changed_file_is_in_force_and_a_broken_one_changes_nothing(start: Callable[..., DevProcess]) -> None:
    """P12: the good code goes on while a file is broken, and the new code comes by itself."""
    dev = start({"a.py": TICK.format(word="word one")}, NO_COLOR="1")
    file = dev.folder / "schedules" / "a.py"
    dev.see("word one")

    file.write_text(TICK.format(word="word two"))
    dev.see(r"changed +schedules/a\.py")
    dev.see("word two")

    since = len(dev.lines)
    file.write_text(TICK.format(word="word three") + "def broken(:\n")
    dev.see(r"broken +schedules/a\.py:\d+: ", since=since)
    after = len(dev.lines)
    dev.see("word two", since=after)
    dev.see("word two", since=after + 1)
    assert not any("word three" in line for line in dev.lines)

    file.write_text(TICK.format(word="word four"))
    dev.see("word four")


def test_a_failure_is_shown_with_its_error_line(start: Callable[..., DevProcess]) -> None:
    """In colour on a terminal: red is for what failed."""
    text = TICK.replace('print("{word}", flush=True)', 'raise RuntimeError("the disk is full")')
    dev = start({"a.py": text})
    line = dev.see(r"FAILED.*RuntimeError: the disk is full")

    assert "\x1b[1;31m" in line


def test_what_dies_is_started_again(start: Callable[..., DevProcess]) -> None:
    """`sched dev` runs for days on a desk; a killed worker or beat, or its server, must not end that."""
    dev = start({"a.py": TICK.format(word="tick tock")}, NO_COLOR="1")
    dev.see("tick tock")

    os.kill(child_of(dev, "worker"), signal.SIGKILL)
    dev.see(r"worker +was killed by SIGKILL; starting it again")
    dev.see("tick tock", since=len(dev.lines), timeout_s=30)

    os.kill(child_of(dev, "beat"), signal.SIGKILL)
    dev.see(r"beat +was killed by SIGKILL; starting it again")
    since = len(dev.lines)
    dev.see(r"leader +dev leads, term 2", since=since, timeout_s=30)

    os.kill(EmbeddedServer(dev.folder / ".steadybeat").find_pid() or 0, signal.SIGKILL)
    dev.see(r"redis +the embedded server died; starting it again")
    dev.see(r"ok +a\.tick", since=len(dev.lines), timeout_s=30)


def test_a_task_that_will_not_end_is_killed_in_time(start: Callable[..., DevProcess]) -> None:
    """Ctrl-C means 5 s, whatever a task does; the run is returned and runs again next time."""
    dev = start({"a.py": STUBBORN}, NO_COLOR="1")
    dev.see("stubborn has begun")
    everybody = offspring(dev.process.pid)
    pressed_mono_s = time.monotonic()
    dev.press_ctrl_c()

    assert dev.end(STOP_S + 5) == 0
    assert time.monotonic() - pressed_mono_s < STOP_S
    assert alive(everybody) == set()


def test_a_worker_that_hangs_is_killed_in_time(start: Callable[..., DevProcess]) -> None:
    """It does not even hear SIGTERM; its children must not outlive it."""
    dev = start({"a.py": STUBBORN}, NO_COLOR="1")
    dev.see("stubborn has begun")
    everybody = offspring(dev.process.pid)
    os.kill(child_of(dev, "worker"), signal.SIGSTOP)
    pressed_mono_s = time.monotonic()
    dev.press_ctrl_c()

    assert dev.end(STOP_S + 5) == 0
    assert time.monotonic() - pressed_mono_s < STOP_S
    assert alive(everybody) == set()
    dev.see("worker +did not end in time and was killed")


def test_a_second_ctrl_c_ends_it_at_once(start: Callable[..., DevProcess]) -> None:
    """Impatience is allowed."""
    dev = start({"a.py": STUBBORN}, NO_COLOR="1")
    dev.see("stubborn has begun")
    everybody = offspring(dev.process.pid)
    dev.press_ctrl_c()
    dev.see("stopping")
    pressed_mono_s = time.monotonic()
    dev.press_ctrl_c()

    assert dev.end(STOP_S) == 130
    assert time.monotonic() - pressed_mono_s < 1.5
    assert alive(everybody) == set()


def test_a_killed_dev_leaves_no_beat_and_no_worker(start: Callable[..., DevProcess]) -> None:
    """They would go on firing in the dark. The server stays, and the next `sched dev` takes it over."""
    dev = start({"a.py": TICK.format(word="tick tock")}, NO_COLOR="1")
    dev.see("tick tock")
    server = EmbeddedServer(dev.folder / ".steadybeat").find_pid()
    others = offspring(dev.process.pid) - {server}
    dev.process.kill()
    dev.process.wait()

    wait_until(lambda: not alive(others), timeout_s=20, what="beat and worker have ended")
    with EmbeddedServer(dev.folder / ".steadybeat") as heir:
        assert heir.owned


def test_the_redis_user_of_the_handbook_may_do_all_that_is_needed(start: Callable[..., DevProcess]) -> None:
    """`docs/operations.md` names the rights that Steadybeat needs; one too few and an operator's service stands still."""
    if not DebianRedis.installed():
        pytest.skip("Debian's redis-server is not installed (apt-get install redis-server)")
    handbook = (Path(__file__).parents[2] / "docs" / "operations.md").read_text()
    (user,) = re.findall(r"^ +(user sched on .*)$", handbook, flags=re.MULTILINE)
    with tempfile.TemporaryDirectory(prefix="sb-") as folder:
        acl = Path(folder, "users.acl")
        acl.write_text(f"user default off\n{user}\n")
        redis = DebianRedis("--aclfile", str(acl))
        redis.start()
        try:
            url = redis.url.replace("unix://", "unix://sched:PASSWORD@")
            dev = start({"a.py": TICK.format(word="tick tock")}, NO_COLOR="1", SCHED_REDIS_URL=url)
            dev.see(r"ok +a\.tick")
            assert not any("PASSWORD" in line for line in dev.lines)
            dev.press_ctrl_c()
            assert dev.end(STOP_S + 5) == 0
            assert not any("NOPERM" in line for line in dev.lines)
        finally:
            redis.remove()
