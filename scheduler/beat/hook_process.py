"""
Runs a callable hook (``schedules.ops:page``) in a process of its own: users' code never runs in a beat (ADR 0002).

    started ──exit──▶ an answer, or why there is none
       └──too long──▶ killed, with all that it has started

Messages go in through a pipe; through another comes a mark for each that was taken, and then the answer. What the callable prints
goes to stderr.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from scheduler.beat.hook import Answer
from scheduler.beat.load import PR_SET_PDEATHSIG, LoadRequest

CALLABLE_S_MAX = 30.0
CALLABLE_TURN_S = 15.0
"""After that long no further message is begun: the rest is for another process."""
TAKEN = b"+"
"""The mark."""
TEXT_CHARS_MAX = 300


class HookRequest(msgspec.Struct, frozen=True):
    """
    What the process needs to know.

    Attributes:
        settings: Where the settings come from, as for a load: they say which folder is `schedules`.
        hook: ``module:callable``.
        messages: What it is called with, one after the other.
    """

    settings: LoadRequest
    hook: str
    messages: Sequence[Mapping[str, Any]]


class HookReply(msgspec.Struct, frozen=True):
    """Whether every call that was made returned, and if not, what was raised."""

    ok: bool
    text: str


def run_callable(settings: LoadRequest, hook: str, messages: Sequence[Mapping[str, Any]]) -> Answer:
    """Call *hook* with each of *messages*, and wait until it has returned, `CALLABLE_S_MAX` at most."""
    # -P: the user's folder must not come before our packages on the path.
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "scheduler.beat.hook_process"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    output, was_killed = b"", False
    try:
        output, _ = process.communicate(
            msgspec.json.encode(HookRequest(settings, hook, messages)), timeout=CALLABLE_S_MAX
        )
    except subprocess.TimeoutExpired as error:
        output, was_killed = error.stdout or b"", True
    finally:
        # Also what it has started and left behind.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    said = output.lstrip(TAKEN)
    done = len(output) - len(said)
    if was_killed:
        return Answer(False, f"it did not return within {CALLABLE_S_MAX:g} s, and was killed", done)
    try:
        reply = msgspec.json.decode(said, type=HookReply)
    except msgspec.DecodeError:
        return Answer(False, f"its process ended with code {process.returncode} and said nothing", done)
    return Answer(reply.ok, reply.text, done)


def call_here(request: HookRequest, taken: Callable[[], object]) -> HookReply:
    """Call it in this process; *taken* after each message."""
    until_mono_s = time.monotonic() + CALLABLE_TURN_S
    module, _, path = request.hook.partition(":")
    try:
        called: Any = _import(request.settings, module)
        for name in path.split("."):
            called = getattr(called, name)
    except AttributeError:
        return HookReply(False, f"{module} has no {path}")
    except Exception as error:
        return HookReply(False, f"{module} cannot be imported: {_line(error)}")
    if not isinstance(called, Callable):  # type: ignore[arg-type]
        return HookReply(False, f"{request.hook} is not callable")
    for message in request.messages:
        try:
            called(dict(message))
        except Exception as error:
            return HookReply(False, _line(error))
        taken()
        if time.monotonic() > until_mono_s:
            break
    return HookReply(True, "returned")


def _import(settings: LoadRequest, name: str) -> object:
    # Only this process needs these.
    from scheduler.config import load_config  # noqa: PLC0415
    from scheduler.finding import find_app  # noqa: PLC0415
    from scheduler.importing import Importing  # noqa: PLC0415

    if settings.app:
        app = find_app(settings.app)
        app.conf.update(settings.overrides)
        config = app.config
    else:
        config = load_config(config_file=settings.config_file, overrides=settings.overrides)
    folder = Path(os.path.abspath(config.schedules))
    sys.path.insert(0, str(folder.parent))
    importing = Importing(folder)
    importing.install()
    importing.import_module(name)
    if importing.mistakes and name not in sys.modules:
        raise ImportError(str(importing.mistakes[0]))
    return sys.modules[name]


def _line(error: BaseException) -> str:
    """*error* on one line."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}"[:TEXT_CHARS_MAX] if text else type(error).__name__


def main() -> None:
    """Answer the request on stdin, as JSON on stdout; what the callable prints goes to stderr."""
    # One that hangs must not outlive the beat.
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    reply_fd = os.dup(1)
    os.dup2(2, 1)
    sys.path.append(str(Path.cwd()))
    try:
        request = msgspec.json.decode(sys.stdin.buffer.read(), type=HookRequest)
        reply = call_here(request, lambda: os.write(reply_fd, TAKEN))
    except BaseException as error:
        reply = HookReply(False, _line(error))
    with os.fdopen(reply_fd, "wb") as out:
        out.write(msgspec.json.encode(reply))
    # Threads that it has started must not keep us.
    os._exit(0)


if __name__ == "__main__":
    main()
