"""
What became of a run: `AsyncResult` for whoever asked, and how an exception crosses from the worker to them.

An exception travels as ``{"type", "module", "message", "args"}``. It is rebuilt only from a class that this process has
imported already and that is an `Exception`: a record on Redis never makes anybody import a module.
"""

from __future__ import annotations

import builtins
import sys
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Protocol

import msgspec

from scheduler.config import Config
from scheduler.content import JSON
from scheduler.errors import ExpiredError, RevokedError, TaskFailedError, UndecodableMessageError
from scheduler.model import READY_STATES, ResultRecord, State
from scheduler.wire import check_content, decode_value

MESSAGE_CHARS_MAX = 4_000
ARGUMENTS_BYTES_MAX = 16_384

_NO_COPIES: Mapping[str, AsyncResult] = {}
_BUILTINS = builtins.__name__


class HasStore(Protocol):
    """An `App` or a `Home`: whoever can be asked for results."""

    @property
    def store(self) -> Any:
        """The store."""

    @property
    def config(self) -> Config:
        """The settings."""


class AsyncResult:
    """
    The run with one id, as it stands on Redis whenever it is asked.

    Args:
        app: Whose Redis; None: that of this process's own tasks.
    """

    __slots__ = ("_app", "copies", "id")

    def __init__(self, id: str, app: HasStore | None = None) -> None:
        self.id = id
        self._app = app
        self.copies: Mapping[str, AsyncResult] = _NO_COPIES
        """Where an exchange led to several queues: the runs on the others, by their queue. Only whoever sent it knows."""

    @property
    def state(self) -> str:
        """One of `State`, or a state of the task's own. An id that nobody knows is PENDING."""
        return str(self._results.state(self.id))

    @property
    def status(self) -> str:
        """The same as `state`."""
        return self.state

    def ready(self) -> bool:
        """Whether nothing more will happen to the run."""
        record = self._record()
        return record is not None and record.state in READY_STATES

    def successful(self) -> bool:
        """Whether the task returned."""
        record = self._record()
        return record is not None and record.state == State.SUCCESS

    def failed(self) -> bool:
        """Whether the task failed for good."""
        record = self._record()
        return record is not None and record.state == State.FAILURE

    @property
    def result(self) -> Any:
        """What the task returned; the exception if it failed; what it reported with `update_state`; else None."""
        record = self._record()
        return None if record is None else _value(self.id, record, self._home())

    @property
    def info(self) -> Any:
        """The same as `result`, under the name that is used for `update_state(meta=)`."""
        return self.result

    @property
    def traceback(self) -> str | None:
        """The traceback in the worker, as text."""
        record = self._record()
        return None if record is None else record.traceback

    def get(self, timeout: float | str | timedelta | None = None, propagate: bool = True) -> Any:
        """
        Wait until the run is over and return what the task returned.

        Args:
            timeout: How long to wait; None: for ever.
            propagate: Whether a failure is raised; else the exception is returned.

        Raises:
            ResultTimeoutError: Not over in time; also a `TimeoutError`. The task goes on.
            ExpiredError: It expired before it could start.
            RevokedError: It was cancelled.
            TaskFailedError: It failed, with an exception that this process cannot rebuild; else that exception itself.
        """
        value = _value(self.id, record := self._results.wait(self.id, _seconds(timeout)), self._home())
        if propagate and record.state != State.SUCCESS and isinstance(value, BaseException):
            raise value
        return value

    def forget(self) -> None:
        """Remove what is kept of the run."""
        self._results.forget(self.id)

    def revoke(self, terminate: bool = False) -> None:
        """
        Cancel the run where it waits; *terminate*: even if it runs already.

        What a worker holds learns of it with the next renewal, within about a second.
        """
        self._home().store.queues.cancel(self.id, terminate=terminate)

    def _record(self) -> ResultRecord | None:
        record: ResultRecord | None = self._results.get(self.id)
        return record

    @property
    def _results(self) -> Any:
        return self._home().store.results

    def _home(self) -> HasStore:
        if self._app is None:
            from scheduler.declare import current  # noqa: PLC0415 - it stands above us

            self._app = current().home
        return self._app

    def __eq__(self, other: object) -> bool:
        return isinstance(other, AsyncResult) and other.id == self.id

    def __hash__(self) -> int:
        return hash(self.id)

    def __str__(self) -> str:
        return self.id

    def __repr__(self) -> str:
        return f"<AsyncResult {self.id}>"


def failure_record(exc: BaseException) -> bytes:
    """
    *exc* as JSON for a `ResultRecord`: ``{"type", "module", "message", "args"}``.

    Arguments that JSON cannot carry stand as their `repr`; very large ones give way to the message. Never raises,
    whatever the exception's own methods do.
    """
    kind = type(exc)
    message = _shortened(_told(str, exc))
    arguments: list[Any] = [_plain(argument) for argument in _told_args(exc)]
    data = {"type": kind.__qualname__, "module": kind.__module__, "message": message, "args": arguments}
    encoded = msgspec.json.encode(data)
    if len(encoded) > ARGUMENTS_BYTES_MAX + len(message.encode()):
        encoded = msgspec.json.encode(data | {"args": [message]})
    return encoded


def rebuild_exception(record: ResultRecord) -> BaseException:
    """
    The exception that *record* tells of: of its own class where this process knows it, else a `TaskFailedError`.

    The traceback in the worker is its cause, so that it is shown.
    """
    try:
        failure = _failure_decoder.decode(record.result)
    except msgspec.DecodeError:
        return TaskFailedError("unknown", "the record of the failure cannot be read", record.traceback)
    exc = _rebuilt(failure)
    if exc is None:
        name = failure.type if failure.module in ("", _BUILTINS) else f"{failure.module}.{failure.type}"
        exc = TaskFailedError(name, failure.message, record.traceback)
    if record.traceback:
        exc.__cause__ = RemoteTraceback(record.traceback)
    return exc


class RemoteTraceback(Exception):  # noqa: N818 - it is shown, never raised
    """The traceback in the worker, shown as the cause of the exception that was rebuilt."""

    def __init__(self, text: str) -> None:
        self.text = text
        super().__init__(text)

    def __str__(self) -> str:
        return f"in the worker:\n{self.text}"


class _Failure(msgspec.Struct, frozen=True):
    type: str
    module: str = ""
    message: str = ""
    args: list[Any] = []


_failure_decoder = msgspec.json.Decoder(_Failure)


def _value(id_: str, record: ResultRecord, home: HasStore) -> Any:
    """What `AsyncResult.result` says for *record*."""
    if record.state == State.SUCCESS:
        what = f"the result of run {id_}"
        if record.serializer:
            check_content(record.serializer, home.config.accept_content, what=what)
        return decode_value(record.result, record.serializer, what=what)
    if record.state == State.REVOKED:
        return RevokedError(f"run {id_} was cancelled")
    if record.state == State.EXPIRED:
        return ExpiredError(f"run {id_} expired before a worker could start it")
    if record.state in (State.FAILURE, State.RETRY):
        return rebuild_exception(record)
    return JSON.decode(record.meta, what=f"what run {id_} reported")


def _rebuilt(failure: _Failure) -> Exception | None:
    """An instance of the failure's own class, or None where there is no such class here, or it will not be made."""
    found: Any = sys.modules.get(failure.module or _BUILTINS)
    for part in failure.type.split("."):
        found = getattr(found, part, None)
    if not isinstance(found, type) or not issubclass(found, Exception):
        return None
    try:
        args = JSON.untagged(failure.args, what="args")
    except UndecodableMessageError:
        args = [failure.message]
    try:
        exc = found(*args)
    except Exception:
        # Its constructor wants something else than `args`. Made the way pickle makes it, it is at least of its class.
        try:
            exc = found.__new__(found, *args)
            exc.args = tuple(args)
        except Exception:
            return None
    return exc


def _plain(argument: object) -> Any:
    try:
        return msgspec.Raw(JSON.encode(argument, what=""))
    except Exception:
        return _shortened(_told(repr, argument))


def _told(how: Any, value: object) -> str:
    """``how(value)``, where `value` is somebody else's object and may raise."""
    try:
        return str(how(value))
    except Exception as error:
        return f"<{type(value).__name__}, whose {how.__name__}() raises {type(error).__name__}>"


def _told_args(exc: BaseException) -> tuple[Any, ...]:
    arguments = getattr(exc, "args", ())
    return arguments if isinstance(arguments, tuple) else ()


def _shortened(text: str) -> str:
    text = text.encode("utf-8", "replace").decode()
    return text if len(text) <= MESSAGE_CHARS_MAX else f"{text[: MESSAGE_CHARS_MAX - 1]}…"


def _seconds(timeout: float | str | timedelta | None) -> float | None:
    if timeout is None or (isinstance(timeout, float | int) and not isinstance(timeout, bool)):
        return timeout
    from scheduler.timing.duration import parse_duration_ms  # noqa: PLC0415 - a plain number needs no reading

    return parse_duration_ms(timeout, what="timeout") / 1000
