"""
What became of a run: `AsyncResult` for whoever asked, and how an exception crosses from the worker to them.

An exception travels as ``{"type", "module", "message", "args"}``. It is rebuilt only from a class that this process has
imported already and that is an `Exception`: a record on Redis never makes anybody import a module.
"""

from __future__ import annotations

import builtins
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from datetime import datetime, timedelta
from typing import Any, Protocol

import msgspec

from scheduler.clock import from_ms
from scheduler.config import Config
from scheduler.content import JSON
from scheduler.context import current_request
from scheduler.errors import ExpiredError, RevokedError, TaskFailedError, UndecodableMessageError, WouldBlockError
from scheduler.model import READY_STATES, ResultRecord, Run, State
from scheduler.wire import check_content, decode_arguments, decode_header, decode_payload, decode_value

INTERVAL_S_MIN = 0.01
LOOK_AGAIN_S = 1.0
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

    def get(  # noqa: PLR0917 - Celery's order
        self,
        timeout: float | str | timedelta | None = None,
        propagate: bool = True,
        interval: float | str | timedelta = LOOK_AGAIN_S,
        no_ack: bool = True,  # noqa: ARG002 - there are no acknowledgements of results
        follow_parents: bool = True,  # noqa: ARG002
        callback: Callable[[str, Any], object] | None = None,
        on_message: Callable[[dict[str, Any]], object] | None = None,
        on_interval: Callable[[], object] | None = None,
        disable_sync_subtasks: bool = True,
        **celerys: Any,
    ) -> Any:
        """
        Wait until the run is over and return what the task returned.

        Nothing is polled: the end of the run, and what it reports on the way, is told to who waits. Nothing is left behind.

        Args:
            timeout: How long to wait; None: for ever.
            propagate: Whether a failure is raised; else the exception is returned.
            interval: How often *on_interval* is called; and a call that was lost on the way is made up for.
            callback: Called with the id and the value instead of returning it.
            on_message: Called with ``{"task_id", "status", "result", "traceback"}`` at each report and the end.
            on_interval: Called while nothing happens.
            disable_sync_subtasks: False: wait even inside a task. It keeps its place in the worker meanwhile; if all of them wait,
                none is left for what they wait for.
            celerys: ``EXCEPTION_STATES`` and ``PROPAGATE_STATES`` are passed over.

        Raises:
            ResultTimeoutError: Not over in time; also a `TimeoutError`. The task goes on.
            ExpiredError: It expired before it could start.
            RevokedError: It was cancelled.
            TaskFailedError: It failed, with an exception that this process cannot rebuild; else that exception itself.
            WouldBlockError: A task waits for another one; also a `RuntimeError`.
        """
        if unknown := set(celerys) - {"EXCEPTION_STATES", "PROPAGATE_STATES"}:
            raise TypeError(f"get: there is no keyword {sorted(unknown)[0]!r}")
        if disable_sync_subtasks:
            refuse_to_block(self.id)
        record = self._wait(_seconds(timeout), _seconds(interval) or LOOK_AGAIN_S, on_message, on_interval)
        value = self._value_of(record, propagate=propagate)
        return value if callback is None else callback(self.id, value)

    wait = get

    def _wait(
        self,
        timeout_s: float | None,
        interval_s: float,
        on_message: Callable[[dict[str, Any]], object] | None,
        on_interval: Callable[[], object] | None,
    ) -> ResultRecord:
        """The record of the end; tells what happens until then."""
        if on_message is None and on_interval is None:
            record: ResultRecord = self._results.wait(self.id, timeout_s)
            return record
        told: ResultRecord | None = None
        with closing(self._results.looks(self.id, timeout_s, look_s=max(interval_s, INTERVAL_S_MIN))) as looks:
            for found in looks:
                if found is not None and found != told:
                    told = found
                    if on_message is not None:
                        on_message(self._message(found))
                elif on_interval is not None:
                    on_interval()
        assert told is not None
        return told

    def _value_of(self, record: ResultRecord, *, propagate: bool) -> Any:
        """What *record*, that of the end, is worth to whoever waited for it."""
        value = _value(self.id, record, self._home())
        if propagate and record.state != State.SUCCESS and isinstance(value, BaseException):
            raise value
        return value

    def _message(self, record: ResultRecord) -> dict[str, Any]:
        value = _value(self.id, record, self._home())
        return {"task_id": self.id, "status": record.state, "result": value, "traceback": record.traceback}

    # ── what is known of the run ────────────────────────────────────────────────────────────────────────────────────

    @property
    def task_id(self) -> str:
        """The same as `id`."""
        return self.id

    @property
    def date_done(self) -> datetime | None:
        """When it ended, aware, in UTC; None until then."""
        record = self._record()
        return None if record is None or not record.done_ms else from_ms(record.done_ms)

    @property
    def name(self) -> str | None:
        """Its task."""
        return self._told("task")

    @property
    def queue(self) -> str | None:
        """The queue that it was sent to."""
        return self._told("queue")

    @property
    def worker(self) -> str | None:
        """Who runs it, or ran it last."""
        run = self._run()
        return None if run is None or not run.worker else run.worker

    @property
    def retries(self) -> int:
        """How often it was tried again."""
        run = self._run()
        return 0 if run is None else max(0, run.attempt - 1)

    @property
    def args(self) -> list[Any] | None:
        """What it is called with. Its message is gone when it has ended well: then None, and so is `kwargs`."""
        called = self._called()
        return None if called is None else called[0]

    @property
    def kwargs(self) -> dict[str, Any] | None:
        """See `args`."""
        called = self._called()
        return None if called is None else called[1]

    @property
    def parent(self) -> AsyncResult | None:
        """The run that called it; None where no run did, or its message is gone."""
        body = self._body()
        if body is None:
            return None
        payload = decode_payload(body, decode_header(body)[1])
        return AsyncResult(payload.parent_id, self._app) if payload.parent_id else None

    def _run(self) -> Run | None:
        """Its line of history; None of one that waits, or ended very long ago."""
        run: Run | None = self._home().store.history.run(self.id)
        return run

    def _told(self, field: str) -> str | None:
        body = self._body()
        found: Any = self._run() if body is None else decode_header(body)[0]
        return (getattr(found, field) or None) if found is not None else None

    def _body(self) -> bytes | None:
        queues = self._home().store.queues
        body: bytes | None = queues.body(self.id) or queues.failed_body(self.id)
        return body

    def _called(self) -> tuple[list[Any], dict[str, Any]] | None:
        body = self._body()
        if body is None:
            return None
        header, at = decode_header(body)
        home = self._home()
        if home.store.seal is not None:
            home.store.seal.check_message(self.id, body, at)
        check_content(header.serializer, home.config.accept_content, what=f"the message of run {self.id}")
        return decode_arguments(body, decode_payload(body, at))

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


class ResultSet:
    """
    Several runs, asked for in one round trip.

    Args:
        results: Of one namespace.
    """

    def __init__(self, results: Iterable[AsyncResult]) -> None:
        self.results = list(results)

    def ready(self) -> bool:
        """Whether all are over."""
        return self.completed_count("ready") == len(self.results)

    def successful(self) -> bool:
        """Whether all have returned."""
        return self.completed_count() == len(self.results)

    def failed(self) -> bool:
        """Whether one has failed for good."""
        return any(record is not None and record.state == State.FAILURE for record in self._records())

    def completed_count(self, which: str = "successful") -> int:
        """How many have returned; of ``"ready"`` ones, how many are over, however they ended."""
        states = READY_STATES if which == "ready" else {State.SUCCESS}
        return sum(record is not None and record.state in states for record in self._records())

    def get(
        self,
        timeout: float | str | timedelta | None = None,
        propagate: bool = True,
        *,
        disable_sync_subtasks: bool = True,
    ) -> list[Any]:
        """
        What all of them returned, in their order, once all are over; see `AsyncResult.get`.

        Args:
            timeout: For all together.
            propagate: Whether the first failure in their order is raised; else exceptions stand among the values.
        """
        if disable_sync_subtasks and self.results:
            refuse_to_block(self.results[0].id)
        limit_s = _seconds(timeout)
        until_mono_s = None if limit_s is None else time.monotonic() + limit_s
        values = []
        for result, known in zip(self.results, self._records(), strict=True):
            record = known
            if record is None or record.state not in READY_STATES:
                left_s = None if until_mono_s is None else max(0.0, until_mono_s - time.monotonic())
                record = result._wait(left_s, LOOK_AGAIN_S, None, None)
            values.append(result._value_of(record, propagate=propagate))
        return values

    join = get

    def forget(self) -> None:
        """Remove what is kept of them."""
        for result in self.results:
            result.forget()

    def revoke(self, terminate: bool = False) -> None:
        """Cancel them; see `AsyncResult.revoke`."""
        for result in self.results:
            result.revoke(terminate)

    def _records(self) -> list[ResultRecord | None]:
        if not self.results:
            return []
        found: list[ResultRecord | None] = self.results[0]._results.get_many([result.id for result in self.results])
        return found

    def __len__(self) -> int:
        return len(self.results)

    def __iter__(self) -> Iterator[AsyncResult]:
        return iter(self.results)

    def __getitem__(self, at: int) -> AsyncResult:
        return self.results[at]

    def __repr__(self) -> str:
        return f"<ResultSet of {len(self.results)} runs>"


def refuse_to_block(id_: str) -> None:
    """
    Called before somebody waits for run *id_*.

    Raises:
        WouldBlockError: A task does.
    """
    request = current_request()
    if request.session:  # under the lease of a worker; in a test that runs everything at once, nothing blocks
        raise WouldBlockError(
            f"task {request.task!r} waits for run {id_}: it would keep its place in the worker, and if all of them wait, none is left "
            "for what they wait for; return, and let the other task go on from there, or wait with disable_sync_subtasks=False"
        )


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
