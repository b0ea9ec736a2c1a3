"""
Where log lines go without ever holding up the work: stderr, and the journal of systemd.

A reader that does not read (a full pipe, a stopped terminal, a journal under load) costs the first line `PATIENCE_S`, and the lines
after it nothing: they are dropped until there is room again, and then it is said how many were lost.

Both own their descriptor: whatever a task does to its stderr, the log goes on, and never into a file that took its number.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import select
import socket
import stat
import struct
import time
from collections.abc import Iterable

PATIENCE_S = 0.2
JOURNAL_SOCKET = "/run/systemd/journal/socket"
_LENGTH = struct.Struct("<Q")
_SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SEAL


class _Sink:
    """What both have in common: patience, once for each time that the reader stalls; and a count of what was lost."""

    def __init__(self) -> None:
        self._is_stalled = False
        self._lost = 0

    def lost(self) -> int:
        """How many lines were dropped since the last call; to be told before the next one."""
        lost, self._lost = self._lost, 0
        return lost

    @property
    def is_stalled(self) -> bool:
        """Whether the last line was dropped."""
        return self._is_stalled

    def _wait(self, fd: int, until_mono_s: float) -> bool:
        """Whether there is room before that moment."""
        left_s = until_mono_s - time.monotonic()
        if left_s <= 0:
            return False
        poll = select.poll()
        poll.register(fd, select.POLLOUT)
        return bool(poll.poll(left_s * 1000))

    def _deadline_mono_s(self) -> float:
        return time.monotonic() + (0.0 if self._is_stalled else PATIENCE_S)

    def _note(self, *, written: bool) -> None:
        self._is_stalled = not written
        self._lost += not written


class Stream(_Sink):
    """
    A stream such as stderr, by a description of its own that does not wait.

    Args:
        fd: The stream's.
    """

    def __init__(self, fd: int = 2) -> None:
        super().__init__()
        self._is_socket = False
        self._is_cut = False
        self._fd = self._open(fd)
        os.set_inheritable(self._fd, False)

    def write(self, data: bytes) -> None:
        """Write *data*, one line or several; or lose it."""
        view = memoryview(b"\n" + data if self._is_cut else data)
        until_mono_s, whole = self._deadline_mono_s(), len(view)
        while view:
            try:
                view = view[self._send(view) :]
            except BlockingIOError:
                if not self._wait(self._fd, until_mono_s):
                    break
            except OSError:
                break  # nobody reads any more, the disk is full, …
        self._is_cut = 0 < len(view) < whole
        self._note(written=not view)

    def _send(self, view: memoryview) -> int:
        if self._is_socket:
            with socket.socket(fileno=os.dup(self._fd)) as sock:
                return sock.send(view, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
        return os.write(self._fd, view)

    def _open(self, fd: int) -> int:
        kind = os.fstat(fd).st_mode
        self._is_socket = stat.S_ISSOCK(kind)
        if stat.S_ISFIFO(kind) or stat.S_ISCHR(kind):
            # A new description: O_NONBLOCK on the old one would change what everybody else sees who has it.
            with contextlib.suppress(OSError):
                flags = os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_APPEND | os.O_CLOEXEC
                return os.open(f"/proc/self/fd/{fd}", flags)
        return os.dup(fd)


class Journal(_Sink):
    """
    The journal of systemd, in its native protocol: fields, so that a message may have several lines.

    Source: https://systemd.io/JOURNAL_NATIVE_PROTOCOL/
    """

    def __init__(self, path: str = JOURNAL_SOCKET) -> None:
        super().__init__()
        self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._sock.setblocking(False)
        try:
            self._sock.connect(path)
        except OSError:
            self._sock.close()
            raise

    def send(self, fields: Iterable[tuple[str, str]]) -> bool:
        """Send one entry; whether it was taken."""
        data = b"".join(_field(name, value) for name, value in fields)
        until_mono_s = self._deadline_mono_s()
        while True:
            try:
                self._sock.send(data)
                self._note(written=True)
                return True
            except BlockingIOError:
                if not self._wait(self._sock.fileno(), until_mono_s):
                    break
            except OSError as error:
                if error.errno not in _TOO_LARGE or not self._send_file(data):
                    break
                self._note(written=True)
                return True
        self._note(written=False)
        return False

    def _send_file(self, data: bytes) -> bool:
        """An entry too large for a datagram goes as a sealed file in memory."""
        try:
            fd = os.memfd_create("sched-log", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        except OSError:
            return False
        try:
            with open(fd, "wb", closefd=False) as file:
                file.write(data)
            fcntl.fcntl(fd, fcntl.F_ADD_SEALS, _SEALS)
            socket.send_fds(self._sock, [b""], [fd])
        except OSError:
            return False
        finally:
            os.close(fd)
        return True


def _field(name: str, value: str) -> bytes:
    data = value.encode("utf-8", "replace")
    if b"\n" in data:
        return name.encode() + b"\n" + _LENGTH.pack(len(data)) + data + b"\n"
    return name.encode() + b"=" + data + b"\n"


_TOO_LARGE = {errno.EMSGSIZE, errno.ENOBUFS}
