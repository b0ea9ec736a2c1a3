"""
Loads the schedule files in a process of its own, so that nothing in them can stop or hang the beat.

    idle ──start──▶ running ──exit──▶ done (a reply, or why there is none)
                        └──too long──▶ killed: done

The beat needs no task code: what comes back is definitions. A file that hangs, exits or crashes costs its load, not the leader.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import IO, Any

import msgspec

from scheduler.model import Entry

LOAD_S_MAX = 60.0
PR_SET_PDEATHSIG = 1
"""prctl(2): the signal we get when our parent dies."""


class LoadRequest(msgspec.Struct, frozen=True):
    """What the loading process needs to know: where settings come from, and the `-A` argument."""

    config_file: str | None = None
    overrides: dict[str, Any] = {}
    app: str | None = None


class LoadReply(msgspec.Struct, frozen=True):
    """
    What came of a load.

    Attributes:
        mistakes: One line each.
        broken_files: Files with a mistake; none of what they declare is in `entries`.
        complete: False if the folder could not be read: then nothing is known of what is missing from it.
        failed: Why there is no load at all, or empty.
    """

    entries: list[Entry] = []
    mistakes: list[str] = []
    broken_files: list[str] = []
    complete: bool = True
    failed: str = ""


class Loading:
    """One load, running beside the beat."""

    def __init__(self, request: LoadRequest) -> None:
        self._output: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed when the reply was read
        self._began_mono_s = time.monotonic()
        # -P: the user's folder must not come before our packages on the path.
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "scheduler.beat.load"],
            stdout=self._output,
            stdin=subprocess.PIPE,
            start_new_session=True,
        )
        # Through a pipe, not as an argument: a URL may hold a password, and everybody can read arguments.
        assert self._process.stdin is not None
        with self._process.stdin as pipe, contextlib.suppress(BrokenPipeError):
            pipe.write(msgspec.json.encode(request))

    def poll(self) -> LoadReply | None:
        """The reply, or None while it is running."""
        code = self._process.poll()
        if code is None:
            if time.monotonic() - self._began_mono_s < LOAD_S_MAX:
                return None
            self.kill()
            return LoadReply(failed=f"a schedule file did not finish loading within {LOAD_S_MAX:g} s")
        self._output.seek(0)
        data = self._output.read()
        self._output.close()
        try:
            return msgspec.json.decode(data, type=LoadReply)
        except msgspec.DecodeError:
            return LoadReply(
                failed=f"the process that loads the schedule files ended with code {code} and said nothing"
            )

    def kill(self) -> None:
        """Give up, and end what the files may have started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._output.close()


def load_here(request: LoadRequest) -> LoadReply:
    """Load the files in this process."""
    # Only the loading process needs these.
    from scheduler.app import find_app  # noqa: PLC0415
    from scheduler.config import load_config  # noqa: PLC0415
    from scheduler.loader import load  # noqa: PLC0415

    app = None
    if request.app:
        app = find_app(request.app)
        app.conf.update(request.overrides)
        config = app.config
    else:
        config = load_config(config_file=request.config_file, overrides=request.overrides)
    loaded = load(config.schedules, config, app=app)
    return LoadReply(
        entries=list(loaded.registry.entries.values()),
        mistakes=[str(mistake) for mistake in loaded.mistakes],
        broken_files=sorted(loaded.broken_files),
        complete=loaded.complete,
    )


def main() -> None:
    """Answer the request on stdin, as JSON on stdout; what the files print goes to stderr."""
    # A file that hangs must not outlive the beat.
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    reply_fd = os.dup(1)
    os.dup2(2, 1)
    sys.path.append(str(Path.cwd()))
    try:
        reply = load_here(msgspec.json.decode(sys.stdin.buffer.read(), type=LoadRequest))
    except Exception as error:
        reply = LoadReply(failed=f"{type(error).__name__}: {error}")
    with os.fdopen(reply_fd, "wb") as out:
        out.write(msgspec.json.encode(reply))
    # Threads that a file has started must not keep us.
    os._exit(0)


if __name__ == "__main__":
    main()
