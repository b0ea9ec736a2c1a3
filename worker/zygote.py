"""
Where children come from: a small process, forked before anything was connected, that forks them when it is asked to.

The supervisor holds connections, so it must not fork; the zygote has the user's modules and nothing else. It reaps its
children and tells of their deaths, and it ends when its supervisor does:

    supervisor → zygote   (number of the slot), with the child's end of its socket
    zygote → supervisor   ("born", number, pid), with a descriptor of the process; ("died", number, pid, wait status)

A child is the leader of a process group: programs that its task started end with it. It dies with the zygote (parent-death
signal), and the zygote with the supervisor (end of the socket).
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import select
import signal
import socket
import sys
from collections.abc import Callable
from typing import NamedTuple

import msgspec

from worker.signals import leave_to_supervisor

ANSWER_S_MAX = 30.0
_PR_SET_PDEATHSIG = 1
_FRAME_MAX = 4096


class Died(NamedTuple):
    """A child is dead; *status* as `os.waitpid` gives it."""

    number: int
    pid: int
    status: int


class Born(NamedTuple):
    """A child lives."""

    pid: int
    pidfd: int


class ZygoteDiedError(Exception):
    """The zygote is gone, and all children with it. Nothing can run here any more."""


class Zygote:
    """
    The supervisor's handle on it. Made (and forked) in a process without threads and connections.

    Args:
        child: What a child does, given its end of the socket and its number. It never returns to the zygote's code.
    """

    def __init__(self, child: Callable[[socket.socket, int], None]) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        gc.collect()
        gc.freeze()  # what is loaded now stays; looking at it again would only unshare its pages
        sys.stdout.flush()
        sys.stderr.flush()
        self.pid = os.fork()
        if self.pid == 0:
            end_with(_Nursery(theirs, child).run, ours)
        theirs.close()
        self._control = ours
        self._died: list[Died] = []

    def fileno(self) -> int:
        """Readable when a child has died, or the zygote itself."""
        return self._control.fileno()

    def spawn(self, number: int, sock: socket.socket) -> Born:
        """Fork a child that has *sock* and the slot *number*. Raises `ZygoteDiedError`."""
        try:
            socket.send_fds(self._control, [msgspec.msgpack.encode(number)], [sock.fileno()])
        except OSError:
            raise ZygoteDiedError from None
        while True:
            if not select.select([self._control], [], [], ANSWER_S_MAX)[0]:
                raise ZygoteDiedError
            if born := self._receive():
                return born

    def died(self) -> list[Died]:
        """The children that have died since the last call. Does not wait. Raises `ZygoteDiedError`."""
        while select.select([self._control], [], [], 0)[0]:
            self._receive()
        died, self._died = self._died, []
        return died

    def close(self) -> None:
        """Let the zygote end, and whoever of its children still lives."""
        self._control.close()
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self.pid, 0)

    def _receive(self) -> Born | None:
        try:
            data, fds, _, _ = socket.recv_fds(self._control, _FRAME_MAX, 1)
        except OSError:
            raise ZygoteDiedError from None
        if not data:
            raise ZygoteDiedError
        kind, number, pid, status = msgspec.msgpack.decode(data, type=tuple[str, int, int, int])
        if kind == "born":
            os.set_inheritable(fds[0], False)
            return Born(pid, fds[0])
        self._died.append(Died(number, pid, status))
        return None


class _Nursery:
    """The zygote's own side."""

    def __init__(self, control: socket.socket, child: Callable[[socket.socket, int], None]) -> None:
        self._control = control
        self._child = child
        self._numbers: dict[int, int] = {}
        self._pipe = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def run(self) -> None:
        os.setpgid(0, 0)
        leave_to_supervisor()
        signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
        signal.set_wakeup_fd(self._pipe[1], warn_on_full_buffer=False)
        try:
            while True:
                ready, _, _ = select.select([self._control.fileno(), self._pipe[0]], [], [])
                if self._pipe[0] in ready:
                    with contextlib.suppress(BlockingIOError):
                        os.read(self._pipe[0], 4096)
                    self._reap()
                if self._control.fileno() in ready:
                    data, fds, _, _ = socket.recv_fds(self._control, _FRAME_MAX, 1)
                    if not data:
                        return
                    self._fork(msgspec.msgpack.decode(data, type=int), fds[0])
        except (BrokenPipeError, ConnectionResetError):
            return
        finally:
            for pid in self._numbers:
                _kill_group(pid)

    def _fork(self, number: int, fd: int) -> None:
        pid = os.fork()
        if pid == 0:
            end_with(lambda: self._be_child(number, fd), self._control)
        os.close(fd)
        with contextlib.suppress(OSError):
            os.setpgid(pid, pid)
        self._numbers[pid] = number
        pidfd = os.pidfd_open(pid)
        socket.send_fds(self._control, [_told("born", number, pid, 0)], [pidfd])
        os.close(pidfd)

    def _be_child(self, number: int, fd: int) -> None:
        zygote = os.getppid()
        os.setpgid(0, 0)
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != zygote:
            return
        leave_to_supervisor()
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for end in self._pipe:
            os.close(end)
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0)
        os.close(null)
        os.set_inheritable(fd, False)
        with socket.socket(fileno=fd) as sock:
            self._child(sock, number)

    def _reap(self) -> None:
        while self._numbers:
            try:
                # Not reaped yet: until the group is gone, its number must stay taken.
                found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return
            if found is None:
                return
            pid = found.si_pid
            _kill_group(pid)
            _, status = os.waitpid(pid, 0)
            number = self._numbers.pop(pid, None)
            if number is not None:
                self._control.send(_told("died", number, pid, status))


def _told(kind: str, number: int, pid: int, status: int) -> bytes:
    return msgspec.msgpack.encode((kind, number, pid, status))


def _kill_group(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def end_with(life: Callable[[], None], not_ours: socket.socket) -> None:
    """In a forked process: live *life* and end, without what Python does at the end of a program (its parent does that)."""
    code = 1
    try:
        not_ours.close()
        life()
        code = 0
    except (BrokenPipeError, ConnectionResetError):
        code = 0  # the supervisor is gone
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)
