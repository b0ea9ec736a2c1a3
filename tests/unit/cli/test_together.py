"""`sched worker -B`: two services that live and end together. Real processes, real signals."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from tests.support.wait import wait_until

PROGRAM = """
import os, signal, sys
from scheduler.cli.together import run_together

def serve(name, code):
    def service():
        signal.signal(signal.SIGTERM, lambda *_: os._exit(code))
        signal.signal(signal.SIGINT, lambda *_: os._exit(code + 1))
        open(sys.argv[1] + "/" + name, "w").write(str(os.getpid()))
        while True:
            signal.pause()
    return service

sys.exit(run_together([serve("worker", 10), serve("beat", 20)]))
"""


def started(folder: Path) -> tuple[subprocess.Popen[bytes], int, int]:
    """The command, and its two services once they are up."""
    process = subprocess.Popen([sys.executable, "-c", PROGRAM, str(folder)])

    def pid(name: str) -> int:
        file = folder / name
        return int(file.read_text() or 0) if file.exists() else 0

    return process, wait_until(lambda: pid("worker")), wait_until(lambda: pid("beat"))


def gone(pid: int) -> bool:
    """Whether no such process runs any more."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] == "Z"
    except FileNotFoundError:
        return True


def test_a_signal_reaches_both_and_the_command_ends_when_both_have(tmp_path: Path) -> None:
    process, worker, beat = started(tmp_path)
    process.send_signal(signal.SIGTERM)
    assert process.wait(10) in {10, 20}
    assert gone(worker)
    assert gone(beat)


def test_when_one_ends_the_other_is_stopped_and_its_exit_code_is_told(tmp_path: Path) -> None:
    """A worker command whose beat has died must not look healthy."""
    process, worker, beat = started(tmp_path)
    os.kill(beat, signal.SIGKILL)
    assert process.wait(10) == 128 + signal.SIGKILL
    assert gone(worker)


def test_a_killed_command_takes_its_services_with_it(tmp_path: Path) -> None:
    process, worker, beat = started(tmp_path)
    process.kill()
    process.wait()
    wait_until(lambda: gone(worker) and gone(beat))
