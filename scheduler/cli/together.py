"""
Two services under one command (`sched worker -B`): started together, stopped together.

    start both ──▶ wait ──one has ended, or a signal──▶ tell the other ──▶ both have ended: the first one's exit code

The command itself only waits and passes signals on, so that neither service shares a process with the other. If it is
killed, the kernel tells both to stop.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
from collections.abc import Callable, Sequence

Service = Callable[[], int]

_PASSED_ON = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP)
_PR_SET_PDEATHSIG = 1


def run_together(services: Sequence[Service]) -> int:
    """
    Run each of *services* in a process of its own until one ends or a signal comes; then stop all.

    To be called in the main thread of a process without other threads.

    Returns:
        The exit code of the service that ended first; 128 + n if signal n killed it.
    """
    pids: list[int] = []

    def pass_on(number: int, _frame: object) -> None:
        for pid in pids:
            _tell(pid, number)

    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, _PASSED_ON)
    for service in services:
        pids.append(_start(service, blocked))
    for number in _PASSED_ON:
        signal.signal(number, pass_on)
    signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
    first: int | None = None
    while pids:
        pid, status = os.wait()
        if pid not in pids:
            continue
        pids.remove(pid)
        if first is None:
            first = _exit_code(status)
            for other in pids:
                _tell(other, signal.SIGTERM)
    return first or 0


def _start(service: Service, blocked: set[int | signal.Signals]) -> int:
    """Fork a process for *service*; a group of its own, so that a terminal's Ctrl-C reaches it once: through us."""
    parent = os.getpid()
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        os.setpgid(0, 0)
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0)
        if os.getppid() == parent:
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
            code = service()
    finally:
        os._exit(code)


def _tell(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def _exit_code(status: int) -> int:
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code
