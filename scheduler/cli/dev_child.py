"""A process that `sched dev` keeps alive: how it is started, heard, and ended with all that it started itself."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from scheduler.events import FD_VARIABLE

RESTART_S_MIN, RESTART_S_MAX = 1.0, 30.0
STEADY_S = 30.0
"""Whoever lived this long starts again after the shortest pause."""

_LINE_BYTES_MAX = 16_384
_PR_SET_PDEATHSIG = 1


class Child:
    """
    `sched beat` or `sched worker`, in a session of its own: Ctrl-C in the terminal reaches `sched dev` alone.

    Its events and its output come through two pipes, which `events()` and `output()` read without blocking.
    """

    def __init__(self, name: str, arguments: Sequence[str], environ: Mapping[str, str]) -> None:
        self.name = name
        self.started_mono_s = time.monotonic()
        self._events, events_fd = os.pipe()
        self._output, output_fd = os.pipe()
        for fd in self.descriptors:
            os.set_blocking(fd, False)
        self._partial = {self._events: b"", self._output: b""}
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", __name__, str(os.getpid()), *arguments],
                env={**environ, FD_VARIABLE: str(events_fd)},
                pass_fds=[events_fd],
                stdin=subprocess.DEVNULL,
                stdout=output_fd,
                stderr=output_fd,
                start_new_session=True,
            )
        finally:
            os.close(events_fd)
            os.close(output_fd)

    @property
    def descriptors(self) -> tuple[int, int]:
        """What to wait on: both may be read when there is something to hear."""
        return self._events, self._output

    @property
    def pid(self) -> int:
        """Its process, which leads its process group too."""
        return self._process.pid

    def events(self) -> Iterator[dict[str, Any]]:
        """The events that have arrived."""
        for line in self._lines(self._events):
            with contextlib.suppress(msgspec.DecodeError):
                said = msgspec.json.decode(line)
                if isinstance(said, dict) and "time" in said:
                    yield said

    def output(self) -> Iterator[str]:
        """The lines that it, or a task in it, has printed."""
        for line in self._lines(self._output):
            yield line.decode(errors="replace").rstrip()

    def ended(self) -> int | None:
        """
        Its exit code (negative: the signal that killed it), or None while it lives.

        When it has ended, what is left of its group (children of a killed worker) is killed too.
        """
        if self._process.returncode is None:
            # Looked at before it is reaped: as long as it is not, its group's number cannot be somebody else's.
            if os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
                return None
            self._signal_group(signal.SIGKILL)
            self._process.wait()
        return self._process.returncode

    def tell(self, number: signal.Signals) -> None:
        """Send it a signal, and to nobody in its group."""
        if self.ended() is None:
            self._process.send_signal(number)

    def kill(self) -> None:
        """End it and its whole group now."""
        if self.ended() is None:
            self._signal_group(signal.SIGKILL)
            self._process.wait()

    def close(self) -> None:
        """Close the pipes."""
        for fd in self.descriptors:
            os.close(fd)

    def _signal_group(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)

    def _lines(self, fd: int) -> Iterator[bytes]:
        while True:
            try:
                read = os.read(fd, 65_536)
            except BlockingIOError:
                return
            *lines, rest = (self._partial[fd] + read).split(b"\n")
            self._partial[fd] = rest
            yield from lines
            if not read or len(rest) > _LINE_BYTES_MAX:
                self._partial[fd] = b""
                if rest:
                    yield rest
            if not read:
                return


def restart_pause_s(failures: int) -> float:
    """How long to wait before the next start, after *failures* in a row: 1, 2, 4, … seconds."""
    return min(RESTART_S_MAX, RESTART_S_MIN * 2.0 ** min(max(0, failures - 1), 10))


def main(argv: Sequence[str]) -> int:
    """Be `sched` as a child of process *argv[0]*: when that dies, however it dies, stop as on SIGTERM."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != int(argv[0]):
        return 0  # it died before we asked to be told
    from scheduler.cli.main import main as sched  # noqa: PLC0415 - only this side of the pipe is `sched`

    return sched(argv[1:])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
