"""systemd's ear: a real datagram socket that takes what a service tells (sd_notify(3))."""

from __future__ import annotations

import socket
from pathlib import Path


class Notified:
    """A context manager; `environ()` makes a process believe that systemd started it."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "notify"
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._lines: list[str] = []

    def __enter__(self) -> Notified:
        self._socket.bind(str(self._path))
        self._socket.setblocking(False)
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def environ(self, *, watchdog_s: float) -> dict[str, str]:
        """What systemd sets, for any process."""
        return {"NOTIFY_SOCKET": str(self._path), "WATCHDOG_USEC": str(int(watchdog_s * 1e6))}

    def got(self, start: str = "") -> list[str]:
        """Every line that was told so far and begins with *start*."""
        while True:
            try:
                self._lines += self._socket.recv(65536).decode().splitlines()
            except BlockingIOError:
                return [line for line in self._lines if line.startswith(start)]
