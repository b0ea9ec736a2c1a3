"""
Where a child stands: the stacks of all its threads, on demand.

A child opens a file in memory and registers it with faulthandler for SIGUSR1, whose handler is C: it answers even when the child
hangs in a library that never returns to Python. Its supervisor finds the file in ``/proc`` when somebody asks; until then it costs
nothing, and no descriptor of the supervisor's.
"""

from __future__ import annotations

import faulthandler
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

NAME = "sched-stacks"
STACK_CHARS_MAX = 64 << 10
"""Of one child."""


class Asked(NamedTuple):
    """A child that was asked for its stacks: it writes them to *path*, from *start* on."""

    pid: int
    path: str
    start: int


def offer() -> int:
    """In a child: answer to SIGUSR1 from now on. Returns the descriptor of the file, or -1."""
    try:
        descriptor = os.memfd_create(NAME)
    except OSError:
        return -1  # a sandbox forbids it: then nobody can ask
    faulthandler.register(signal.SIGUSR1, file=descriptor, all_threads=True, chain=False)
    return descriptor


def offer_text(descriptor: int, text: Callable[[], str]) -> None:
    """
    In a child that offers its stacks: add *text*, when asked, to what C knows. In the main thread.

    It is asked for between two instructions of Python, so a child that hangs in C answers without it.
    """
    if descriptor >= 0:
        faulthandler.unregister(signal.SIGUSR1)  # it chains to the handler that it finds when it is registered
        signal.signal(signal.SIGUSR1, lambda _number, _frame: os.write(descriptor, text().encode()) and None)
        faulthandler.register(signal.SIGUSR1, file=descriptor, all_threads=True, chain=True)


def ask(pid: int) -> Asked | None:
    """Ask child *pid*; None if it offers nothing (it has just been born, or died)."""
    try:
        for name in os.listdir(f"/proc/{pid}/fd"):
            path = f"/proc/{pid}/fd/{name}"
            if os.readlink(path).startswith(f"/memfd:{NAME}"):
                start = os.stat(path).st_size
                os.kill(pid, signal.SIGUSR1)
                return Asked(pid, path, start)
    except OSError:
        return None
    return None


def read(asked: Asked) -> str:
    """What the child has written; empty if nothing yet, or if it is gone."""
    try:
        with Path(asked.path).open("rb") as file:
            file.seek(asked.start)
            text = file.read(STACK_CHARS_MAX + 1).decode(errors="replace")
    except OSError:
        return ""
    return text if len(text) <= STACK_CHARS_MAX else text[:STACK_CHARS_MAX] + "\n…\n"
