"""
Loads the schedule files in a process of its own, so that nothing in them can stop or hang the beat.

    waiting ──asked──▶ running ──exit──▶ done (a reply, or why there is none)
                          └──too long──▶ killed: done

The beat needs no task code: what comes back is definitions. A file that hangs, exits or crashes costs its load, not the leader.

The reply is a file: a line about the load (`LoadReply`), then each definition in a line of its own, in the bytes that stand on Redis.
So the beat reads them one after the other and compares them where they are; most of them nobody ever decodes.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import hashlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple, Self

import msgspec

from scheduler.model import Entry
from scheduler.timing.table import renew_at_ms
from scheduler.wire import encode_entry

LOAD_S_MAX = 60.0
PLAIN_KINDS = ("crontab", "every")
"""Schedules that hold no other."""
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
        asked: Of the entries, those that hold tables (`scheduler.timing.table`).
        mistakes: One line each.
        broken_files: Files with a mistake; none of what they declare is among the definitions.
        complete: False if the folder could not be read: then nothing is known of what is missing from it.
        failed: Why there is no load at all, or empty.
        bytes: How long the definitions are together, line ends included.
        digest: Of what the files say: equal on hosts that have the same files.
        entries: How many they declare.
    """

    asked: list[Entry] = []
    mistakes: list[str] = []
    broken_files: list[str] = []
    complete: bool = True
    failed: str = ""
    bytes: int = 0
    digest: str = ""
    entries: int = 0

    @property
    def clean(self) -> bool:
        """Whether all files were read, without a mistake."""
        return self.complete and not self.broken_files and not self.failed


class Definitions:
    """The definitions of a load, in the file in which it has left them; they can be gone through again and again."""

    def __init__(self, file: IO[bytes] | None = None, start: int = 0) -> None:
        self._file = file
        self._start = start

    def __iter__(self) -> Iterator[bytes]:
        if self._file is None:
            return
        self._file.seek(self._start)
        for line in self._file:
            yield line[:-1]


class Loaded(NamedTuple):
    """A load that has ended."""

    reply: LoadReply
    definitions: Definitions


class Loading:
    """One load, running beside the beat; the process waits until it is asked."""

    def __init__(self) -> None:
        self._output: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed when the reply was read
        self._began_mono_s = time.monotonic()
        # -P: the user's folder must not come before our packages on the path.
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "scheduler.beat.load"],
            stdout=self._output,
            stdin=subprocess.PIPE,
            start_new_session=True,
        )

    def ask(self, request: LoadRequest) -> Self:
        """Begin. The process may have been waiting for this for long, with all but the files read."""
        self._began_mono_s = time.monotonic()
        # Through a pipe, not as an argument: a URL may hold a password, and everybody can read arguments.
        assert self._process.stdin is not None
        with self._process.stdin as pipe, contextlib.suppress(BrokenPipeError):
            pipe.write(msgspec.json.encode(request))
        return self

    @property
    def ended(self) -> bool:
        """Whether there is a reply to be polled."""
        return self._process.poll() is not None

    def poll(self) -> Loaded | None:
        """What came of it, or None while it is running."""
        code = self._process.poll()
        if code is None:
            if time.monotonic() - self._began_mono_s < LOAD_S_MAX:
                return None
            self.kill()
            return _failed(f"a schedule file did not finish loading within {LOAD_S_MAX:g} s")
        size = self._output.seek(0, os.SEEK_END)
        self._output.seek(0)
        try:
            reply = msgspec.json.decode(self._output.readline(), type=LoadReply)
        except msgspec.DecodeError:
            reply = None
        start = self._output.tell()
        if reply is None or size != start + reply.bytes:
            self._output.close()
            return _failed(f"the process that loads the schedule files ended with code {code} and said nothing")
        return Loaded(reply, Definitions(self._output, start))

    def kill(self) -> None:
        """Give up, and end what the files may have started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._output.close()


def _failed(why: str) -> Loaded:
    return Loaded(LoadReply(failed=why), Definitions())


def _prepare() -> None:
    """Import what a load needs, before anybody waits for it."""
    import scheduler.app  # noqa: PLC0415
    import scheduler.loader  # noqa: F401, PLC0415


def load_here(request: LoadRequest) -> tuple[LoadReply, list[bytes]]:
    """Load the files in this process; also the definitions, with line ends."""
    # Only the loading process needs these.
    from scheduler.config import load_config  # noqa: PLC0415
    from scheduler.finding import find_app  # noqa: PLC0415
    from scheduler.loader import load  # noqa: PLC0415

    app = None
    if request.app:
        app = find_app(request.app)
        app.conf.update(request.overrides)
        config = app.config
    else:
        config = load_config(config_file=request.config_file, overrides=request.overrides)
    loaded = load(config.schedules, config, app=app)
    entries = list(loaded.registry.entries.values())
    definitions = [encode_entry(entry) + b"\n" for entry in entries]
    reply = LoadReply(
        asked=[entry for entry in entries if _holds_tables(entry)],
        mistakes=[str(mistake) for mistake in loaded.mistakes],
        broken_files=sorted(loaded.broken_files),
        complete=loaded.complete,
        bytes=sum(map(len, definitions)),
        digest=_digest(entries, definitions, loaded.broken_files),
        entries=len(entries),
    )
    return reply, definitions


def _holds_tables(entry: Entry) -> bool:
    # Most schedules are plain ones, and need not be looked through.
    return entry.schedule.get("kind") not in PLAIN_KINDS and renew_at_ms(entry.schedule) is not None


def _digest(entries: Sequence[Entry], definitions: Sequence[bytes], broken_files: Iterable[str]) -> str:
    """What tells two loads of different files apart. Tables are left out: they differ by when they were asked."""
    digest = hashlib.sha256(repr(sorted(broken_files)).encode())
    for entry, definition in zip(entries, definitions, strict=True):
        if _holds_tables(entry):
            digest.update(encode_entry(msgspec.structs.replace(entry, schedule={})))
        else:
            digest.update(definition)
    return digest.hexdigest()[:12]


def main() -> None:
    """Answer the request on stdin, on stdout; what the files print goes to stderr."""
    # What is declared stays until the end, and the end is near: there is no garbage worth a search.
    gc.disable()
    # A file that hangs must not outlive the beat.
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    reply_fd = os.dup(1)
    os.dup2(2, 1)
    sys.path.append(str(Path.cwd()))
    try:
        _prepare()
        reply, definitions = load_here(msgspec.json.decode(sys.stdin.buffer.read(), type=LoadRequest))
    except Exception as error:
        reply, definitions = LoadReply(failed=f"{type(error).__name__}: {error}"), []
    with os.fdopen(reply_fd, "wb") as out:
        out.write(msgspec.json.encode(reply) + b"\n")
        out.writelines(definitions)
    # Threads that a file has started must not keep us.
    os._exit(0)


if __name__ == "__main__":
    main()
