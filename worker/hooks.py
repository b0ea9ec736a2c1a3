"""
Which of a worker's signals is sent where: user code runs beside tasks, never where the lease is kept.

    sched worker   celeryd_init, worker_init       once, before anything is forked: what they set up is inherited
      ├─ zygote ─▶ children: worker_process_init, (tasks), worker_process_shutdown
      └─ herald    worker_ready, worker_shutting_down, worker_shutdown

The herald is a process of its own, forked only if somebody is connected to one of its three signals. It may start threads,
open connections or hang: nobody waits for it but, at the very end and for a moment, the worker that leaves.
In `solo` there is one process, and all of them are sent there.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import logging
import os
import select
import signal
import socket
import sys
import threading
from typing import Any

import msgspec

from scheduler import signals
from scheduler.config import Config
from scheduler.log import event
from scheduler.logs import redirect_prints, restore_prints
from scheduler.signals import Signal
from worker.signals import leave_to_supervisor
from worker.zygote import end_with

FAREWELL_S_MAX = 2.0
"""How long a worker that leaves waits for its herald, and its children have for `worker_process_shutdown`."""
_PR_SET_PDEATHSIG = 1
_FRAME_MAX = 4096

_logger = logging.getLogger("worker")


class ChildInitError(Exception):
    """A receiver of `worker_process_init` has raised, which was told. This process must run no task; another one may try."""


class Sender(msgspec.Struct, frozen=True, kw_only=True):
    """The worker, as receivers get it."""

    name: str
    pool: str
    concurrency: int
    queues: tuple[str, ...]
    pid: int

    @property
    def hostname(self) -> str:
        """Celery's word for its name."""
        return self.name


def init_worker(sender: Sender, config: Config) -> None:
    """Send `celeryd_init` and `worker_init`. Call it before anything is forked."""
    options = {"concurrency": sender.concurrency, "pool": sender.pool, "queues": sender.queues}
    signals.celeryd_init.send(sender=sender.name, instance=sender, conf=config, options=options)
    signals.worker_init.send(sender=sender)
    if threading.active_count() > 1:
        event(
            _logger,
            "threads.started",
            level=logging.WARNING,
            names=",".join(t.name for t in threading.enumerate() if t is not threading.main_thread()),
            note="by a module or by worker_init; they do not run where tasks run: start them in worker_process_init",
        )


def init_child() -> None:
    """
    Send `worker_process_init`, in a process that is to run tasks, before its first one; what they print comes with the log.

    Raises:
        ChildInitError: A receiver has raised. It was told, with its traceback; the process must end, and may be replaced.
    """
    redirect_prints()
    try:
        signals.worker_process_init.send_strictly()
    except (Exception, SystemExit) as error:
        event(
            _logger,
            "child.unfit",
            level=logging.ERROR,
            exc_info=error,
            pid=os.getpid(),
            error=f"{type(error).__name__}: {error}",
            note="a receiver of worker_process_init has raised: this child runs nothing, and another one is tried",
        )
        raise ChildInitError from error


def end_child(exitcode: int = 0) -> None:
    """Send `worker_process_shutdown`, in a process that has run its last task."""
    signals.worker_process_shutdown.send(pid=os.getpid(), exitcode=exitcode)
    restore_prints()


def wants_farewell() -> bool:
    """Whether anybody hears `worker_process_shutdown`: then children that leave are given `FAREWELL_S_MAX`, not killed at once."""
    return bool(signals.worker_process_shutdown.receivers)


_OF_THE_HERALD: tuple[Signal, ...] = (signals.worker_ready, signals.worker_shutting_down, signals.worker_shutdown)


class Herald:
    """
    Tells the three signals of a worker as a whole, from a process of its own.

    Made in a process without threads and connections; it forks there, if anybody is connected.

    Args:
        here: Send them in this process instead (`solo`).
    """

    def __init__(self, sender: Sender, *, here: bool = False) -> None:
        self._sender = sender
        self._here = here
        self._sock: socket.socket | None = None
        self.pid = 0
        if not here and any(each.receivers for each in _OF_THE_HERALD):
            self._fork()

    def ready(self) -> None:
        """The worker takes messages."""
        self._say("worker_ready")

    def shutting_down(self, sig: str, *, at_once: bool) -> None:
        """The worker was asked to stop, by the signal *sig* (``"SIGTERM"``)."""
        self._say("worker_shutting_down", sig=sig, how="Cold" if at_once else "Warm", exitcode=0)

    def shutdown(self) -> None:
        """The worker has stopped. Waits for the receivers, up to `FAREWELL_S_MAX`; ends the herald."""
        self._say("worker_shutdown")
        if self._sock is None:
            return
        with self._sock as sock:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_WR)
            gone = bool(select.select([sock], [], [], FAREWELL_S_MAX)[0])
        self._sock = None
        if not gone:
            event(
                _logger, "herald.killed", level=logging.WARNING, pid=self.pid,
                why=f"receivers of worker_shutdown had not returned after {FAREWELL_S_MAX:g} s",
            )  # fmt: skip
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self.pid, 0)

    # ── inside ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def _say(self, name: str, **named: Any) -> None:
        if self._here:
            getattr(signals, name).send(sender=self._sender, **named)
        elif self._sock is not None:
            # It is gone, or has not read for very long: its loss.
            with contextlib.suppress(OSError):
                self._sock.send(msgspec.msgpack.encode((name, named)))

    def _fork(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        sys.stdout.flush()
        sys.stderr.flush()
        gc.freeze()
        worker = os.getpid()
        self.pid = os.fork()
        if self.pid == 0:
            end_with(lambda: self._be_herald(theirs, worker), ours)
        theirs.close()
        ours.setblocking(False)
        self._sock = ours

    def _be_herald(self, sock: socket.socket, worker: int) -> None:
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != worker:
            return
        leave_to_supervisor()
        while data := sock.recv(_FRAME_MAX):
            name, named = msgspec.msgpack.decode(data, type=tuple[str, dict[str, Any]])
            getattr(signals, name).send(sender=self._sender, **named)
