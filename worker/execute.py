"""
One execution: a message passes through small steps, and what comes out is what became of it.

    decode → expired? → resolve the task → before_start → call → normalise → hooks → Outcome, Retried or Released

Whatever a task does, short of ending the process, becomes one of the three. Nothing here speaks to Redis.

Around the call the hooks of the task's class and the receivers of signals hear of it, in Celery's order:

    task_received, task_prerun, before_start → the call →
        on_success, task_success │ on_retry, task_retry │ on_failure, task_failure → after_return → task_postrun

What raises among them changes nothing, but for `before_start`, which is a part of the attempt.
"""

from __future__ import annotations

import inspect
import logging
import os
import random
import sys
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

import msgspec
from msgspec import UNSET

from scheduler import context, signals
from scheduler.config import Config
from scheduler.content import JSON
from scheduler.context import ErrorInfo
from scheduler.errors import (
    Ignore,
    OversizedMessageError,
    Reject,
    Retry,
    UndecodableMessageError,
    UnknownTaskError,
)
from scheduler.log import event
from scheduler.model import Message, Outcome, State
from scheduler.records import COMPRESS_BYTES_MIN, INFLATION_MAX, ZLIB, compressed
from scheduler.store import seal_of
from scheduler.task import Task
from scheduler.timing.duration import format_duration
from scheduler.wire import (
    FLAG_EARLY,
    FLAG_IGNORE_RESULT,
    FLAG_RUN,
    FLAGS_AT,
    SERIALIZERS,
    Header,
    Payload,
    check_content,
    decode_arguments,
    decode_header,
    decode_payload,
    encode_argument,
    encode_header,
    encode_payload,
    encode_value,
    run_options,
)
from worker import coroutine, limits
from worker.coroutine import KeptLoops
from worker.fit import fitting
from worker.frames import Released, Retried
from worker.limits import Alarm, StopNow
from worker.outcome import Written, ended, error_line, failed, retry_record, trace_text
from worker.request import LazyRequest
from worker.retry import decide, original
from worker.terminated import Terminated

Became = Outcome | Retried | Released
Performing = Callable[[Awaitable[Any], int | None], Awaitable[Any]]

REJECT_DELAY_MS = 1_000
"""`Reject(requeue=True)` comes back after that long: at once would be a spin."""
UNKNOWN_DELAY_MS_MIN = 1_000
UNKNOWN_DELAY_MS_MAX = 15_000
"""An unknown task is looked at again after half of its age, within these."""

_HOOKS = ("before_start", "on_success", "on_failure", "on_retry", "after_return")
_SIGNALS = (
    signals.task_received, signals.task_prerun, signals.task_postrun, signals.task_success, signals.task_failure,
    signals.task_retry,
)  # fmt: skip
_logger = logging.getLogger("worker.execute")


class Prepared:
    """
    A task with everything that does not change from run to run.

    Attributes:
        hooked: Whether anybody hears of its runs: a hook of its class, or a receiver that was connected when this was made.
        call: Runs it to its end.
        start: Calls the function; of a coroutine, that only makes it.
    """

    __slots__ = ("call", "fit", "hooked", "is_async", "name", "options", "soft_limit_ms", "start", "task")

    call: Callable[..., Any]
    start: Callable[..., Any]

    def __init__(self, task: Task, wait_for: Callable[[Any], Any]) -> None:
        kind = type(task)
        self.task = task
        self.name = task.name
        self.options = task.options
        self.soft_limit_ms = task.options.soft_time_limit_ms
        self.fit = fitting(task)
        self.hooked = any(getattr(kind, hook) is not getattr(Task, hook) for hook in _HOOKS) or any(
            each.receivers for each in _SIGNALS
        )
        self.start = self.call = start = _calling(task)
        self.is_async = is_coroutine(task)
        if self.is_async:
            self.call = lambda *args, **kwargs: wait_for(start(*args, **kwargs))


class Attempt:
    """
    One message on its way through the steps.

    Attributes:
        started_ms: On Redis' clock.
    """

    __slots__ = ("args", "form", "header", "kwargs", "message", "payload", "prepared", "started_ms")

    prepared: Prepared

    def __init__(self, message: Message, header: Header, started_ms: int) -> None:
        self.message = message
        self.header = header
        self.started_ms = started_ms
        self.payload = _NO_PAYLOAD
        self.form = 0
        self.args: list[Any] = []
        self.kwargs: dict[str, Any] = {}


class Executor:
    """
    Runs messages.

    Args:
        tasks: By name.
        worker: The worker's name, for records and `request.hostname`.
        server_ms: Redis' clock now.
        chance: Draws from 0 to 1, for the jitter of retries.
        guard: Entered around the call of each task, given its soft limit in ms or None. Without one, an alarm keeps soft limits.
        wait_for: Runs a coroutine to its end, in the calling thread.

    Attributes:
        session: Under whose lease the messages stand that it is given.
    """

    def __init__(
        self,
        tasks: Mapping[str, Task],
        config: Config,
        *,
        worker: str,
        server_ms: Callable[[], float],
        chance: Callable[[], float] = random.random,
        guard: Callable[[int | None], AbstractContextManager[None]] | None = None,
        wait_for: Callable[[Any], Any] | None = None,
    ) -> None:
        loops = KeptLoops()
        self._guard = guard or Alarm(loops)
        self._guards_all = guard is not None
        self._prepared = {name: Prepared(task, wait_for or loops.run) for name, task in tasks.items()}
        self._hard_limits_ms = {name: task.options.time_limit_ms or 0 for name, task in tasks.items()}
        self._config = config
        self._worker = worker
        self.session = ""
        self._seal = seal_of(config)
        self._result_serializer = SERIALIZERS[config.result_serializer]
        self._compresses = config.result_compression == "zlib"
        self._packs = bool(self._result_serializer) or self._compresses
        self._server_ms = server_ms
        self._chance = chance
        self._pid = os.getpid()

    def run(self, message: Message) -> Became:
        """What became of *message*. Raises only `StopNow`."""
        attempt = self.begin(message)
        return self._perform(attempt) if isinstance(attempt, Attempt) else attempt

    async def run_async(self, message: Message, perform: Performing) -> Became:
        """
        The same for a task that is a coroutine, within the loop that runs.

        Args:
            perform: Awaits the task's coroutine, within a soft limit in ms or None.
        """
        attempt = self.begin(message)
        return await self._perform_async(attempt, perform) if isinstance(attempt, Attempt) else attempt

    def is_async(self, task: str) -> bool:
        """Whether *task* is a coroutine."""
        prepared = self._prepared.get(task)
        return prepared is not None and prepared.is_async

    def begin(self, message: Message) -> Attempt | Became:
        """The steps before the call of the task: an attempt that can be made, or what became of *message* without one."""
        started_ms = int(self._server_ms())
        try:
            header, at = decode_header(message.body)
        except UndecodableMessageError as error:
            signals.task_rejected.send(sender=self._worker, message=message, exc=error)
            return failed(_UNREADABLE, self._written(message, started_ms), error, dead=True)
        attempt = Attempt(message, header, started_ms)
        if header.expires_ms and header.expires_ms <= started_ms:
            self._tell_revoked(attempt, expired=True)
            return ended(header, Written(message.id, self._worker, message.attempt, 0, started_ms), State.EXPIRED)
        prepared = self._prepared.get(header.task)
        if prepared is None:
            return self._unknown(attempt, at)
        attempt.prepared = prepared
        try:
            self._read_payload(attempt, at)
        except UndecodableMessageError as error:
            signals.task_rejected.send(sender=self._worker, message=message, exc=error)
            return self._failed(attempt, error, dead=True)
        return attempt

    def hard_limit_ms(self, task: str, body: bytes) -> int:
        """How long the run of *body*, a message for *task*, may take; 0: as long as it likes."""
        limit_ms = self._hard_limits_ms.get(task)
        if limit_ms is None:
            return 0  # nobody here knows the task, so nothing will run
        if body[FLAGS_AT] & FLAG_RUN and (run := run_options(body)) is not None and run.time_limit_ms is not UNSET:
            return run.time_limit_ms or 0
        return limit_ms

    def revoked(self, message: Message) -> Outcome:
        """The end of *message*, which was cancelled before it started."""
        now_ms = int(self._server_ms())
        header = header_of(message)
        self._tell_revoked(Attempt(message, header, 0), expired=False)
        return ended(header, Written(message.id, self._worker, message.attempt, 0, now_ms), State.REVOKED)

    def broken(self, message: Message, error: BaseException) -> Outcome:
        """The end of *message*, which started and was broken off outside of its task."""
        return failed(header_of(message), self._written(message, 0), error)

    # ── the steps ───────────────────────────────────────────────────────────────────────────────────────────────────

    def _read_payload(self, attempt: Attempt, at: int) -> None:
        body = attempt.message.body
        self._admit(attempt, at)
        attempt.payload = payload = decode_payload(body, at)
        attempt.args, attempt.kwargs = decode_arguments(body, payload)
        fit = attempt.prepared.fit
        if fit is not None:
            fit(attempt.args, attempt.kwargs)

    def _admit(self, attempt: Attempt, at: int) -> None:
        """Before anything of the payload is decoded. Raises `SignatureError` and `ContentRefusedError`."""
        if self._seal is not None:
            self._seal.check_message(attempt.message.id, attempt.message.body, at)
        if attempt.header.serializer:
            check_content(attempt.header.serializer, self._config.accept_content, what="the message")

    def _perform(self, attempt: Attempt) -> Became:
        prepared = attempt.prepared
        token = context.push_request(self._request(attempt))
        try:
            self._before(attempt)
            soft_ms = self._soft_limit_ms(attempt)
            if soft_ms is None and not self._guards_all:
                value = prepared.call(*attempt.args, **attempt.kwargs)
            else:
                with self._guard(soft_ms):
                    value = prepared.call(*attempt.args, **attempt.kwargs)
            result = self._encode_result(attempt, value)
        except StopNow:
            raise
        except BaseException as error:
            became = self._broke(attempt, error)
        else:
            became = self._succeeded(attempt, value, result)
        finally:
            context.pop_request(token)
        return became

    async def _perform_async(self, attempt: Attempt, perform: Performing) -> Became:
        """As `_perform`; in a task of the loop, so with a context of its own."""
        context.push_request(self._request(attempt))
        try:
            self._before(attempt)
            coroutine = attempt.prepared.start(*attempt.args, **attempt.kwargs)
            value = await perform(coroutine, self._soft_limit_ms(attempt))
            result = self._encode_result(attempt, value)
        except BaseException as error:
            return self._broke(attempt, error)
        return self._succeeded(attempt, value, result)

    def _request(self, attempt: Attempt) -> context.Request:
        return LazyRequest(
            attempt.message, attempt.header, attempt.payload, attempt.args, attempt.kwargs, self._worker, self.session
        ).as_request()

    def _before(self, attempt: Attempt) -> None:
        if not attempt.prepared.hooked:
            return
        task, id_, args, kwargs = attempt.prepared.task, attempt.message.id, attempt.args, attempt.kwargs
        signals.task_received.send(sender=self._worker, request=context.current_request())
        signals.task_prerun.send(sender=task, task_id=id_, task=task, args=args, kwargs=kwargs)
        task.before_start(id_, args, kwargs)

    @staticmethod
    def _soft_limit_ms(attempt: Attempt) -> int | None:
        run = attempt.payload.run
        if run is not None and run.soft_time_limit_ms is not UNSET:
            return run.soft_time_limit_ms
        return attempt.prepared.soft_limit_ms

    def _broke(self, attempt: Attempt, error: BaseException) -> Became:
        """The task raised *error*."""
        if os.getpid() != self._pid:
            os._exit(error.code if isinstance(error, SystemExit) and isinstance(error.code, int) else 1)
        return self._raised(attempt, attempt.prepared, error)

    def _succeeded(self, attempt: Attempt, value: Any, result: bytes) -> Outcome:
        """The task returned *value*."""
        prepared, message = attempt.prepared, attempt.message
        if prepared.hooked:
            self._hook(attempt, "on_success", value, message.id, attempt.args, attempt.kwargs)
            signals.task_success.send(sender=prepared.task, result=value)
            self._returned(attempt, State.SUCCESS, value, None)
        return ended(
            attempt.header, self._written(message, attempt.started_ms), State.SUCCESS, result=result, form=attempt.form
        )

    def _encode_result(self, attempt: Attempt, value: Any) -> bytes:
        if attempt.header.flags & FLAG_IGNORE_RESULT or (value is None and not self._packs):
            return b"null"
        what = f"task {attempt.header.task!r}: its result"
        if self._packs:
            return self._pack(attempt, value, what)
        result = JSON.encode(value, what=what)
        if len(result) > self._config.result_bytes_max:
            raise self._oversized(what, len(result), len(result))
        return result

    def _pack(self, attempt: Attempt, value: Any, what: str) -> bytes:
        """The result in another form than plain JSON; the attempt says in which."""
        form, bytes_max = self._result_serializer, self._config.result_bytes_max
        result = encode_value(value, form, what=what)
        size = len(result)
        if self._compresses and COMPRESS_BYTES_MIN <= size <= bytes_max * INFLATION_MAX:
            result, form = compressed(result), form | ZLIB
        if len(result) > bytes_max:
            raise self._oversized(what, size, len(result))
        attempt.form = form
        return result

    def _oversized(self, what: str, size: int, stored: int) -> OversizedMessageError:
        told = f"{size} bytes" + (f", {stored} of them compressed" if stored != size else "")
        other = "" if self._compresses else ', or set result_compression = "zlib"'
        return OversizedMessageError(
            f"{what} has {told}, more than result_bytes_max ({self._config.result_bytes_max}); "
            f"keep it elsewhere and return where it is{other}"
        )

    def _raised(self, attempt: Attempt, prepared: Prepared, error: BaseException) -> Became:
        """What follows from an exception: another attempt, or an end."""
        if isinstance(error, Ignore):
            self._returned(attempt, State.IGNORED, error, None)
            run, told = self._written(attempt.message, attempt.started_ms), context.current_request().told
            return ended(attempt.header, run, State.IGNORED, meta=msgspec.Raw(told[-1] if told else b"null"))
        if isinstance(error, Reject):
            return self._rejected(attempt, error)
        if isinstance(error, Terminated):
            return ended(attempt.header, self._written(attempt.message, attempt.started_ms), State.REVOKED)
        message = attempt.message
        trace: str | None = trace_text(error, _OUR_FILES)
        options = prepared.options.merged(attempt.payload.run)
        again = decide(error, options, attempt=message.attempt, chance=self._chance())
        if attempt.header.flags & FLAG_EARLY and not isinstance(error, Retry):
            again = None  # an entry made by hand may say so of a task with `retry_for`: at most once weighs more
        if again is not None:
            try:
                body = self._next_body(attempt, error)
            except (OversizedMessageError, TypeError) as problem:
                error, trace = problem, None
            else:
                why = original(error)
                if prepared.hooked:
                    self._tell_retry(attempt, error, ErrorInfo(trace or "", why))
                ignored = attempt.header.flags & FLAG_IGNORE_RESULT
                return Retried(
                    message.id, body, again.delay_ms, message.attempt + 1, b"" if ignored else retry_record(why, trace),
                    attempt.header.result_ttl_s * 1000, attempt.header.task, error_line(why),
                )  # fmt: skip
        error = original(error)
        if prepared.hooked:
            self._tell_failure(attempt, error, ErrorInfo(trace or "", error))
        return self._failed(attempt, error, trace=trace)

    def _next_body(self, attempt: Attempt, error: BaseException) -> bytes:
        """The body of the next attempt: the same, unless `retry` was told otherwise."""
        if not isinstance(error, Retry) or not error.changes:
            return attempt.message.body
        payload = attempt.payload
        what = f"task {attempt.header.task!r}: retry: its"
        if error.new_args is not None:
            args = encode_argument(list(error.new_args), attempt.header.serializer, what=f"{what} args")
            payload = msgspec.structs.replace(payload, args=args)
        if error.new_kwargs is not None:
            kwargs = encode_argument(error.new_kwargs, attempt.header.serializer, what=f"{what} kwargs")
            payload = msgspec.structs.replace(payload, kwargs=kwargs)
        header = msgspec.structs.replace(
            attempt.header,
            signed=False,  # it is signed anew when it is sent
            queue=error.new_queue or attempt.header.queue,
            priority=attempt.header.priority if error.new_priority is None else error.new_priority,
        )
        body = encode_header(header) + encode_payload(payload, header.serializer)
        if len(body) > self._config.message_bytes_max:
            raise OversizedMessageError(
                f"{what} new arguments make a message of {len(body)} bytes, more than message_bytes_max "
                f"({self._config.message_bytes_max}); keep them elsewhere and pass where they are"
            )
        return body

    def _rejected(self, attempt: Attempt, error: Reject) -> Became:
        self._returned(attempt, "REJECTED", error, None)
        if error.requeue:
            return Released(attempt.message.id, REJECT_DELAY_MS, f"rejected by its task: {error}")
        return self._failed(attempt, error, trace=trace_text(error, _OUR_FILES), dead=True)

    def _unknown(self, attempt: Attempt, at: int) -> Became:
        """Another worker may know the task: a deploy is rolling. For a while it goes back; then it fails."""
        header, grace_ms = attempt.header, self._config.unknown_task_grace_ms
        try:
            self._admit(attempt, at)
            eta_ms = decode_payload(attempt.message.body, at).eta_ms or 0
        except UndecodableMessageError as error:
            return self._failed(attempt, error, dead=True)
        age_ms = attempt.started_ms - max(header.due_ms, header.enqueued_ms, eta_ms)
        if age_ms < grace_ms:
            delay_ms = min(UNKNOWN_DELAY_MS_MAX, max(UNKNOWN_DELAY_MS_MIN, age_ms // 2), max(1, grace_ms - age_ms))
            return Released(attempt.message.id, delay_ms, f"no task {header.task!r} is registered in this worker")
        unknown = UnknownTaskError(
            f"no worker that took it in {format_duration(grace_ms)} (unknown_task_grace) knows a task {header.task!r}"
        )
        message = attempt.message
        signals.task_unknown.send(sender=self._worker, message=message, exc=unknown, name=header.task, id=message.id)
        return self._failed(attempt, unknown)

    # ── small change ────────────────────────────────────────────────────────────────────────────────────────────────

    def _written(self, message: Message, started_ms: int) -> Written:
        return Written(message.id, self._worker, message.attempt, started_ms, int(self._server_ms()))

    def _failed(
        self, attempt: Attempt, error: BaseException, *, trace: str | None = None, dead: bool = False
    ) -> Outcome:
        run = self._written(attempt.message, attempt.started_ms)
        return failed(attempt.header, run, error, trace=trace, dead=dead)

    # ── who hears of it ─────────────────────────────────────────────────────────────────────────────────────────────

    def _tell_retry(self, attempt: Attempt, error: BaseException, info: ErrorInfo) -> None:
        task, message = attempt.prepared.task, attempt.message
        self._hook(attempt, "on_retry", info.exception, message.id, attempt.args, attempt.kwargs, info)
        reason = error if isinstance(error, Retry) else Retry(exc=error)
        signals.task_retry.send(sender=task, request=context.current_request(), reason=reason, einfo=info)
        self._returned(attempt, State.RETRY, info.exception, info)

    def _tell_failure(self, attempt: Attempt, error: BaseException, info: ErrorInfo) -> None:
        task, message = attempt.prepared.task, attempt.message
        self._hook(attempt, "on_failure", error, message.id, attempt.args, attempt.kwargs, info)
        signals.task_failure.send(
            sender=task, task_id=message.id, exception=error, args=attempt.args, kwargs=attempt.kwargs,
            traceback=error.__traceback__, einfo=info,
        )  # fmt: skip
        self._returned(attempt, State.FAILURE, error, info)

    def _returned(self, attempt: Attempt, state: str, value: Any, info: ErrorInfo | None) -> None:
        if not attempt.prepared.hooked:
            return
        task, message = attempt.prepared.task, attempt.message
        self._hook(attempt, "after_return", str(state), value, message.id, attempt.args, attempt.kwargs, info)
        signals.task_postrun.send(
            sender=task, task_id=message.id, task=task, args=attempt.args, kwargs=attempt.kwargs, retval=value,
            state=str(state),
        )  # fmt: skip

    def _tell_revoked(self, attempt: Attempt, *, expired: bool) -> None:
        if signals.task_revoked.receivers:
            prepared = self._prepared.get(attempt.header.task)
            sender = attempt.header.task if prepared is None else prepared.task
            request = self._request(attempt)
            signals.task_revoked.send(sender=sender, request=request, terminated=False, signum=None, expired=expired)

    def _hook(self, attempt: Attempt, hook: str, *args: Any) -> None:
        """A hook that fails does not change what became of the run."""
        prepared = attempt.prepared
        if not prepared.hooked:
            return
        try:
            getattr(prepared.task, hook)(*args)
        except StopNow:
            raise
        except BaseException as error:
            event(
                _logger, "hook.failed", level=logging.ERROR, exc_info=error, task=prepared.name, hook=hook,
                error=error_line(error),
            )  # fmt: skip
            signals.task_internal_error.send(
                sender=prepared.task, task_id=attempt.message.id, args=attempt.args, kwargs=attempt.kwargs,
                request=context.current_request(), exception=error, traceback=error.__traceback__,
                einfo=ErrorInfo(trace_text(error, _OUR_FILES), error),
            )  # fmt: skip


def header_of(message: Message) -> Header:
    """The header of *message*, or an empty one where it cannot be read."""
    try:
        return decode_header(message.body)[0]
    except UndecodableMessageError:
        return _UNREADABLE


def is_coroutine(task: Task) -> bool:
    """Whether calling *task* makes a coroutine."""
    kind = type(task)
    for found in (kind.__call__, kind.run):
        if inspect.iscoroutinefunction(found):
            return True
    return inspect.iscoroutinefunction(inspect.unwrap(task.fn))


def _calling(task: Task) -> Callable[..., Any]:
    """What to call: the bare function, unless a subclass has put something around it."""
    kind = type(task)
    if kind.__call__ is not Task.__call__:
        return task
    if kind.run is not Task.run:
        return task.run
    return partial(task.fn, task) if task.bind else task.fn


_NO_PAYLOAD = Payload()
_UNREADABLE = Header(task="", queue="")
_OUR_FILES = frozenset(
    file
    for file in (__file__, limits.__file__, coroutine.__file__, context.__file__, sys.modules[Task.__module__].__file__)
    if file is not None
)
