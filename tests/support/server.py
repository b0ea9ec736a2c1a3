"""A real server for tests: the embedded Valkey, and Debian's `redis-server` where versions matter."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

from scheduler.embedded import EmbeddedServer
from scheduler.store.connection import Connection


class ValkeyServer:
    """An embedded server in a short temporary folder (a socket's path has 107 bytes at most), with AOF like `sched dev`'s."""

    def __init__(self) -> None:
        self._folder = tempfile.mkdtemp(prefix="sb-")
        self._server = EmbeddedServer(Path(self._folder))

    @property
    def url(self) -> str:
        """Where it listens."""
        return self._server.url

    @property
    def pid(self) -> int:
        """Its process."""
        return self._server.pid

    def start(self) -> None:
        """Start it on the data that is there."""
        self._server.start()

    def stop(self) -> None:
        """Stop it cleanly; its data stays."""
        self._server.stop()

    def kill(self) -> None:
        """SIGKILL; what the AOF has stays."""
        self._server.kill()

    def pause(self) -> None:
        """SIGSTOP: connections stay open and nothing answers."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT."""
        os.kill(self.pid, signal.SIGCONT)

    def remove(self) -> None:
        """Stop it and delete its data."""
        self._server.kill()
        shutil.rmtree(self._folder, ignore_errors=True)


class DebianRedis:
    """Debian's `redis-server` on a unix socket, with any settings."""

    def __init__(self, *settings: str) -> None:
        self._folder = tempfile.mkdtemp(prefix="sb-")
        self._settings = settings
        self._process: subprocess.Popen[bytes] | None = None

    @staticmethod
    def installed() -> bool:
        """Whether this machine has it."""
        return shutil.which("redis-server") is not None

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"unix://{self._folder}/redis.sock"

    def start(self) -> None:
        """Start it and wait until it takes connections."""
        self._process = subprocess.Popen(
            ["redis-server", "--port", "0", "--unixsocket", f"{self._folder}/redis.sock", "--save", "",
             "--dir", self._folder, *self._settings],
            stdout=subprocess.DEVNULL,
        )  # fmt: skip
        deadline = time.monotonic() + 10
        while True:
            try:
                with socket.socket(socket.AF_UNIX) as probe:
                    probe.connect(f"{self._folder}/redis.sock")
                return
            except OSError:
                assert time.monotonic() < deadline, "redis-server did not start"
                time.sleep(0.01)

    def remove(self) -> None:
        """Stop it and delete its data."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)


def raw(url: str) -> Connection:
    """A plain connection for looking under the hood."""
    return Connection(url, timeout_s=5)
