"""
Signals: functions of the user's own that are called around a task and a worker's life. The names are Celery's.

    from scheduler.signals import task_prerun, worker_process_init

    @worker_process_init.connect
    def open_database(**kwargs): ...

    @task_prerun.connect(sender="shop.pay")
    def count(task_id, task, **kwargs): ...

A receiver that raises is logged and changes nothing: not the run, not the other receivers. (One of `worker_process_init` is
the exception: a child without its database is of no use, so the child is given up and another one tried.) What each signal
carries stands behind its name below; docs/tasks.md says in which process each one is sent, and when it cannot be.

Receivers are process-wide, as functions and classes are, so they stand here and not in an `App`. A worker looks once for
who is connected, when a child starts: connect where modules are imported, or in `worker_process_init`. While nobody is
connected, a signal costs nothing.
"""

from __future__ import annotations

import inspect
import logging
import weakref
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, TypeVar, overload

from scheduler.log import event

F = TypeVar("F", bound=Callable[..., Any])

_logger = logging.getLogger("scheduler.signals")


class _Receiver(NamedTuple):
    uid: object
    of: object
    find: Callable[[], Callable[..., Any] | None]
    """The function; None once its owner is gone (`weak=True`)."""

    def is_meant(self, receiver: Any, sender: Any, uid: object) -> bool:
        """Whether it was connected with these arguments."""
        if self.of != _sender_key(sender) or self.uid != uid:
            return False
        return uid is not None or self.find() == receiver


class Signal:
    """
    One signal.

    Args:
        name: As it is imported.
        carries: The keywords that receivers get, beside `signal` and `sender`; separated by blanks.
        never: Why nobody sends it here. It can be imported and connected, as programs written for Celery do; a line says so.

    Attributes:
        receivers: Who is connected; empty is false.
    """

    __slots__ = ("carries", "name", "never", "receivers")

    def __init__(self, name: str, carries: str = "", *, never: str = "") -> None:
        self.name = name
        self.carries = tuple(carries.split())
        self.never = never
        self.receivers: tuple[_Receiver, ...] = ()

    @overload
    def connect(self, receiver: F, sender: Any = None, weak: bool = False, dispatch_uid: object = None) -> F: ...

    @overload
    def connect(
        self, receiver: None = None, sender: Any = None, weak: bool = False, dispatch_uid: object = None
    ) -> Callable[[F], F]: ...

    def connect(self, receiver: Any = None, sender: Any = None, weak: bool = False, dispatch_uid: object = None) -> Any:
        """
        Call *receiver* whenever this signal is sent. As a decorator, with arguments or without.

        Args:
            receiver: A function (or bound method) that takes ``**kwargs``: signals may carry more one day.
            sender: Only if it comes from this task (the task itself or its name) or other sender; None: from any.
            weak: Forget the receiver when nothing else refers to it. Celery's default is True, and loses functions that are
                defined inside others; here that is for you to ask for.
            dispatch_uid: A second receiver with the same one is not connected, as by a module that is imported twice.

        Raises:
            ValueError: *receiver* cannot be called so.
        """
        if receiver is None:
            return lambda function: self.connect(function, sender=sender, weak=weak, dispatch_uid=dispatch_uid)
        if complaint := _complaint(receiver):
            raise ValueError(f"{self.name}.connect({receiver!r}): {complaint}")
        if self.never:
            event(
                _logger, "signal.unsent", level=logging.WARNING, signal=self.name, receiver=name_of(receiver),
                why=self.never,
            )  # fmt: skip
        if not any(known.is_meant(receiver, sender, dispatch_uid) for known in self._alive()):
            find: Callable[[], Callable[..., Any] | None]
            if not weak:
                find = partial(_itself, receiver)
            else:
                find = weakref.WeakMethod(receiver) if inspect.ismethod(receiver) else weakref.ref(receiver)
            self.receivers = (*self._alive(), _Receiver(dispatch_uid, _sender_key(sender), find))
        return receiver

    def disconnect(
        self,
        receiver: Any = None,
        sender: Any = None,
        weak: bool | None = None,  # noqa: ARG002 - Celery's, and it makes no difference
        dispatch_uid: object = None,
    ) -> bool:
        """Undo `connect` with the same arguments; whether there was something to undo."""
        alive = self._alive()
        self.receivers = tuple(known for known in alive if not known.is_meant(receiver, sender, dispatch_uid))
        return len(self.receivers) < len(alive)

    def has_listeners(self, sender: Any = None) -> bool:
        """Whether anybody would hear what *sender* sends."""
        return bool(self._chosen(sender))

    def send(self, sender: Any = None, **named: Any) -> list[tuple[Callable[..., Any], Any]]:
        """
        Call every receiver in the order in which they were connected; each with what it answered, or the exception it raised.

        Exceptions are logged, with their traceback. What is meant for the process (KeyboardInterrupt and the like) passes.
        """
        if not self.receivers:
            return []
        answers: list[tuple[Callable[..., Any], Any]] = []
        for call in self._chosen(sender):
            try:
                answers.append((call, call(signal=self, sender=sender, **named)))
            except (Exception, SystemExit) as error:
                event(
                    _logger,
                    "receiver.failed",
                    level=logging.ERROR,
                    exc_info=error,
                    signal=self.name,
                    receiver=name_of(call),
                    error=f"{type(error).__name__}: {error}",
                )
                answers.append((call, error))
        return answers

    def send_strictly(self, sender: Any = None, **named: Any) -> None:
        """As `send`, but the first exception of a receiver passes on to the caller, and ends it."""
        for call in self._chosen(sender):
            call(signal=self, sender=sender, **named)

    def _alive(self) -> tuple[_Receiver, ...]:
        return tuple(known for known in self.receivers if known.find() is not None)

    def _chosen(self, sender: Any) -> list[Callable[..., Any]]:
        of = _sender_key(sender)
        found = (known.find() for known in self.receivers if known.of is None or known.of == of)
        return [call for call in found if call is not None]

    def __repr__(self) -> str:
        return f"<signal {self.name}: {len(self.receivers)} receivers>"


def _itself(call: Callable[..., Any]) -> Callable[..., Any]:
    return call


def name_of(call: Callable[..., Any]) -> str:
    """*call* for people: ``module.function``."""
    name = getattr(call, "__qualname__", None) or type(call).__qualname__
    module = getattr(call, "__module__", None) or type(call).__module__
    return f"{module}.{name}"


def _sender_key(sender: Any) -> object:
    """What two senders are compared by: a task is the same as its name."""
    name = sender if isinstance(sender, str) else getattr(sender, "name", None)
    return name if isinstance(name, str) else sender


def _complaint(receiver: Any) -> str | None:
    """Why *receiver* cannot be connected, or None if it can."""
    if not callable(receiver):
        return "expected a function"
    if inspect.iscoroutinefunction(receiver):
        return "a coroutine function would never be awaited here; connect a plain function"
    try:
        parameters = inspect.signature(receiver).parameters.values()
    except (ValueError, TypeError):
        return None  # written in C
    if not any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters):
        return "it must take **kwargs, as signals may carry more one day"
    return None


# ── whoever asks for a run ──────────────────────────────────────────────────────────────────────────────────────────

before_task_publish = Signal("before_task_publish", "body exchange routing_key headers properties declare retry_policy")
"""Sender: the task's name. What a receiver puts into `headers` travels with the message (`self.request.headers`)."""
after_task_publish = Signal("after_task_publish", "body exchange routing_key headers properties declare retry_policy")

# ── around a run: sent where it runs ────────────────────────────────────────────────────────────────────────────────

task_received = Signal("task_received", "request")
"""Sender: the worker's name. Its message has reached the process that is to run it."""
task_prerun = Signal("task_prerun", "task_id task args kwargs")
task_postrun = Signal("task_postrun", "task_id task args kwargs retval state")
task_success = Signal("task_success", "result")
task_failure = Signal("task_failure", "task_id exception args kwargs traceback einfo")
task_retry = Signal("task_retry", "request reason einfo")
task_revoked = Signal("task_revoked", "request terminated signum expired")
task_rejected = Signal("task_rejected", "message exc")
"""Sender: the worker's name. The message cannot be read, and becomes a dead letter."""
task_unknown = Signal("task_unknown", "message exc name id")
"""Sender: the worker's name. No task of that name is registered in it."""
task_internal_error = Signal("task_internal_error", "task_id args kwargs request exception traceback einfo")
"""A hook of the task's class has raised. It changes nothing for the run."""

# ── a worker's life ─────────────────────────────────────────────────────────────────────────────────────────────────

celeryd_init = Signal("celeryd_init", "instance conf options")
"""Sender: the worker's name. Before everything else, before any process is forked."""
worker_init = Signal("worker_init")
"""As `celeryd_init`, right after it. What it sets up is inherited by the children."""
worker_process_init = Signal("worker_process_init")
"""In each process that runs tasks, before its first: the place to connect to databases."""
worker_process_shutdown = Signal("worker_process_shutdown", "pid exitcode")
worker_ready = Signal("worker_ready")
worker_shutting_down = Signal("worker_shutting_down", "sig how exitcode")
worker_shutdown = Signal("worker_shutdown")

# ── logging ─────────────────────────────────────────────────────────────────────────────────────────────────────────

setup_logging = Signal("setup_logging", "loglevel logfile format colorize")
"""Somebody connected: logging is theirs alone, and nothing is set up here."""
after_setup_logger = Signal("after_setup_logger", "logger loglevel logfile format colorize")
after_setup_task_logger = Signal("after_setup_task_logger", "logger loglevel logfile format colorize")

# ── those that nobody sends ─────────────────────────────────────────────────────────────────────────────────────────

_NO_USER_CODE = "a beat runs nobody's code"
beat_init = Signal("beat_init", never=_NO_USER_CODE)
beat_embedded_init = Signal("beat_embedded_init", never=_NO_USER_CODE)
heartbeat_sent = Signal("heartbeat_sent", never="a worker that keeps its lease runs nobody's code")
worker_before_create_process = Signal(
    "worker_before_create_process", never="the process that forks children runs nobody's code; use worker_init"
)
