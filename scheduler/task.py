"""
A task: a function that can be asked for, by an entry or by a call, here or on another host.

Called like a function it runs here and now. Through `delay` and its relatives it becomes a message.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from functools import partial, update_wrapper
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, NoReturn, Self

from scheduler.calls import (
    Call,
    Duration,
    as_call,
    call_of,
    envelope_of,
    make_messages,
    new_ids,
    patiently,
    plain_message,
    read_retry_policy,
    refuse_keywords,
    send,
    send_group,
    send_one,
    with_copies,
)
from scheduler.clock import aware, now_ms, to_ms
from scheduler.config import Config
from scheduler.context import Request, current_request
from scheduler.defaults import in_force
from scheduler.errors import OversizedMessageError, Retry, SchedError
from scheduler.exchange import Exchange, Queue, queue_complaint
from scheduler.home import Home
from scheduler.model import READY_STATES
from scheduler.options import PRIORITY_MAX, TaskOptions, name_complaint
from scheduler.result import AsyncResult
from scheduler.signatures import Signature
from scheduler.timing.duration import parse_duration_ms
from scheduler.unique import unique_text
from scheduler.wire import encode_json

if TYPE_CHECKING:
    from scheduler.store.queues import NewMessage

_NONE: Mapping[str, Any] = {}


class MaxRetriesExceededError(SchedError):
    """`self.retry()` was called once more than `max_retries` allows, and there was no exception to raise instead."""


class Place(str):
    """Where something was declared: ``file:line``, the file as Python knows it."""

    __slots__ = ()

    @classmethod
    def at(cls, file: str, line: int) -> Self:
        """The place of *line* in *file*."""
        return cls(f"{file}:{line}")

    @property
    def file(self) -> str:
        """The file."""
        return self.rpartition(":")[0]

    @property
    def line(self) -> int:
        """The line, from 1."""
        return int(self.rpartition(":")[2])


class Task:
    """
    What `@task` makes of a function. A subclass given as ``base=`` adds hooks and attributes of its own.

    Attributes:
        name: ``module.function``, or what `name=` said.
        fn: The function.
        bind: Whether the function gets this task as its first argument.
        options: What the declaration said; once the settings were read, over what these say (`settle`).
        said: The fields of `options` that the declaration gave itself.
        notes: What of the declaration has no meaning here, one line each.
        place: Where it was declared.
        parameters: Of the function, without the bound `self`; None where Python cannot tell, or with ``typing=False``.
    """

    __name__: str
    name: str
    fn: Callable[..., Any]
    bind: bool
    options: TaskOptions
    said: Mapping[str, Any]
    notes: tuple[str, ...] = ()
    place: Place
    parameters: inspect.Signature | None
    _home: Home
    _kind: type[Task]
    _few: int
    _many: int
    """From how many to how many positional arguments are right by themselves; none where that is not so simple."""

    def declared(
        self,
        fn: Callable[..., Any],
        *,
        name: str,
        bind: bool,
        said: Mapping[str, Any],
        home: Home,
        place: Place,
        typing: bool = True,
    ) -> Self:
        """
        Become the task of *fn*. Only declaring code calls this, once, right after the instance was made.

        Args:
            said: The fields of `TaskOptions` that the declaration gives.
            typing: Whether callers are told at once that the function does not take their arguments.
        """
        update_wrapper(self, fn)
        self.name, self.fn, self.bind, self.said, self.place = name, fn, bind, said, place
        self.options, self._kind = TaskOptions(**said), type(self)
        self.parameters = _parameters(fn, bind=bind) if typing else None
        self._few, self._many = _positional(self.parameters)
        self._home = home
        return self

    def move(self, home: Home) -> None:
        """From now on send to *home*."""
        self._home = home

    def settle(self, config: Config) -> None:
        """
        Take from *config* what the declaration left open, and what annotations say instead of it.

        Raises:
            ConfigError: An annotation cannot be used, or it contradicts the rest.
        """
        self.options, hooks = in_force(self, self.name, self.said, config)
        if hooks or self.__class__ is not self._kind:
            self.__class__ = type(self._kind.__name__, (self._kind,), dict(hooks))

    # ── here and now ────────────────────────────────────────────────────────────────────────────────────────────────

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the function in this process."""
        return self.fn(self, *args, **kwargs) if self.bind else self.fn(*args, **kwargs)

    run = __call__

    # ── as a message ────────────────────────────────────────────────────────────────────────────────────────────────

    def delay(self, *args: Any, **kwargs: Any) -> AsyncResult:
        """Ask for one run with these arguments, as soon as a worker is free. See `apply_async` for what it raises."""
        return self._send(Call(args, kwargs))

    def apply_async(
        self,
        args: Iterable[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        *,
        countdown: Duration | None = None,
        eta: datetime | None = None,
        expires: Duration | datetime | None = None,
        queue: str | Queue | None = None,
        priority: int | None = None,
        task_id: str | None = None,
        headers: Mapping[str, Any] | None = None,
        serializer: str | None = None,
        retry_policy: Mapping[str, Any] | None = None,
        ignore_result: bool | None = None,
        exchange: str | Exchange | None = None,
        routing_key: str | None = None,
        unique: str | None = None,
        **unknown: Any,
    ) -> AsyncResult:
        """
        Ask for one run.

        Where the task is `unique` and another run has the key of this one, nothing is sent, and that run is returned.

        Args:
            countdown: Start so long from now, on Redis' clock; seconds, a timedelta or text such as ``"5m"``.
            eta: Start at this moment. A naive one is local time of this process, as Python reads it.
            expires: Never start later than so long from now, or than this moment (a naive one is local time).
            queue: Instead of the task's own, or of the one the routes say.
            exchange: Send it to the queues that are bound to this exchange by *routing_key*. If there are several, each gets a copy:
                `AsyncResult.copies`.
            unique: The unique key of this run, instead of the one that the task's option `unique` gives.
            priority: 0–9; a higher one is taken first.
            task_id: Instead of a fresh random one.
            headers: Plain data that `self.request.headers` shows.
            retry_policy: How often to go on when Redis does not answer: `scheduler.calls.read_retry_policy`.

        Raises:
            TypeError: The function does not take these arguments, or there is no such keyword.
            ValueError: A keyword is out of range or cannot be met.
            NotEncodableError: JSON cannot carry the arguments; also a TypeError.
            OversizedMessageError: They are too large; also a ValueError.
            UnroutableError: No queue is bound that it could go to; also a ValueError.
            RefusedError: `task_id` belongs to a run that has not ended; or (`QueueFullError`) its queue is full.
            StoreUnavailableError: No answer from Redis in time. The message may be there or not.
        """
        if unknown:
            refuse_keywords(unknown, task=self.name)
        call = Call(
            () if args is None else args if isinstance(args, list | tuple) else _listed(args, self.name),
            kwargs, countdown, eta, expires, queue, priority, task_id, headers, serializer, ignore_result,
            exchange, routing_key, unique,
        )  # fmt: skip
        return self._send(call, retry_policy)

    def apply(
        self,
        args: Iterable[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        *,
        throw: bool | None = None,
        **options: Any,
    ) -> AsyncResult:
        """
        Run it in this process, now, through the steps of a worker: hooks, retries, result.

        Args:
            throw: Raise what it fails with, instead of at `get()`; None: what the setting `task_eager_propagates` says.
            options: The keywords of `apply_async`; its countdown passes in no time.

        Raises:
            TypeError, ValueError: As `apply_async`.
        """
        from scheduler.testing.stage import apply  # noqa: PLC0415 - it stands above us

        call = call_of(self.name, () if args is None else _listed(args, self.name), kwargs, options)
        self.check_arguments(call.args, call.kwargs or _NONE)
        config = self._home.config
        messages = make_messages(self.name, call, self._home.clocked_here(), self.options, self)
        return apply(self, self._home, messages[:1], propagate=config.task_eager_propagates if throw is None else throw)

    def s(self, *args: Any, **kwargs: Any) -> Signature:
        """This call, not made yet: ``add.s(2, 2).delay()``."""
        return Signature(self, args, kwargs)

    def si(self, *args: Any, **kwargs: Any) -> Signature:
        """The same, to which nothing can be added."""
        return Signature(self, args, kwargs, immutable=True)

    def signature(
        self, args: Iterable[Any] | None = None, kwargs: Mapping[str, Any] | None = None, **options: Any
    ) -> Signature:
        """The same with options of the call: ``add.signature((2, 2), countdown=10)``."""
        immutable = bool(options.pop("immutable", False))
        return Signature(self, args, kwargs, options, immutable=immutable)

    subtask = signature
    """Celery's older name for it."""

    def apply_many(
        self, calls: Iterable[Iterable[Any] | Mapping[str, Any]], *, retry_policy: Mapping[str, Any] | None = None
    ) -> list[AsyncResult]:
        """
        Ask for many runs, in one round trip for each thousand. Of those that are the same (`unique`), one run is returned.

        Args:
            calls: For each run its arguments, as ``(1, 2)``, or the keywords of `apply_async`, as
                ``{"args": (1, 2), "countdown": 5}``.

        Raises:
            TypeError, ValueError, RefusedError, StoreUnavailableError: As `apply_async`. If one of them cannot be sent,
                none is; of a queue that becomes full, `QueueFullError` says which were sent.
        """
        pauses_s = read_retry_policy(retry_policy)
        given_calls = list(calls)
        envelope = patiently(partial(envelope_of, self.name, self._home, self.options), pauses_s)
        now_ms = patiently(self._home.server_now_ms, pauses_s)
        messages = []
        copies: dict[int, list[NewMessage]] = {}
        for id_, given in zip(new_ids(len(given_calls)), given_calls, strict=True):
            if envelope is not None and isinstance(given, tuple | list):
                self.check_arguments(given, _NONE)
                messages.append(envelope.message(id_, given, None, now_ms))
            else:
                call = as_call(self.name, given)
                self.check_arguments(call.args, call.kwargs or _NONE)
                first, *others = make_messages(self.name, call, self._home, self.options, self)
                if others:
                    copies[len(messages)] = others
                messages.append(first)
        results = send([*messages, *chain.from_iterable(copies.values())], self._home, pauses_s=pauses_s)
        rest = iter(results[len(messages) :])
        for at, others in copies.items():
            with_copies([results[at], *islice(rest, len(others))], [messages[at], *others])
        return results[: len(messages)]

    def check_arguments(self, args: Iterable[Any], kwargs: Mapping[str, Any]) -> None:
        """
        Compare with the function's signature.

        Raises:
            TypeError: The function does not take these arguments.
        """
        if not kwargs and isinstance(args, tuple | list) and self._few <= len(args) <= self._many:
            return
        if self.parameters is not None:
            try:
                self.parameters.bind(*args, **kwargs)
            except TypeError as error:
                raise TypeError(f"task {self.name!r}: {self.__name__}{self.parameters}: {error}") from None

    def unique_text(self, args: Sequence[Any], kwargs: Mapping[str, Any] | None) -> str:
        """
        The unique key of a run with these arguments, as its header has it; empty without the option `unique`.

        Raises:
            ValueError: The option cannot be used with them.
        """
        rule = self.options.unique
        if rule is None:
            return ""
        return unique_text(rule, self.name, self.parameters, args, kwargs or _NONE, held_ms=self.options.unique_for_ms)

    def _send(self, call: Call, retry_policy: Mapping[str, Any] | None = None) -> AsyncResult:
        self.check_arguments(call.args, call.kwargs or _NONE)
        if retry_policy is None:
            if (message := plain_message(self.name, call, self._home, self.options)) is not None:
                return send_one(message, self._home)
            return send_group(make_messages(self.name, call, self._home, self.options, self), self._home)
        pauses_s = read_retry_policy(retry_policy)
        made = partial(make_messages, self.name, call, self._home, self.options, self)
        return send_group(patiently(made, pauses_s), self._home, pauses_s=pauses_s)

    # ── from within a run ───────────────────────────────────────────────────────────────────────────────────────────

    @property
    def request(self) -> Request:
        """The run that is going on."""
        return current_request()

    def retry(  # noqa: PLR0917 - Celery's order
        self,
        args: Iterable[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        exc: BaseException | None = None,
        throw: bool = True,
        eta: datetime | None = None,
        countdown: Duration | None = None,
        max_retries: int | None = None,
        *,
        queue: str | None = None,
        priority: int | None = None,
    ) -> Retry:
        """
        End this attempt and try again later.

        It raises; written as ``raise self.retry(…)`` it shows readers that the attempt ends there.

        Args:
            args, kwargs: Instead of this attempt's.
            exc: Why; raised instead, once the retries are used up.
            throw: False: return the `Retry` rather than raise it.
            eta, countdown: When; else after the task's own backoff.
            max_retries: Instead of the entry's, or the task's.
            queue, priority: Where the next attempts wait, instead of where this one did.

        Raises:
            Retry: The way in which the worker is told.
            ValueError: There can be no such queue, or no such priority.
            MaxRetriesExceededError: The retries are used up, and there is no *exc*.
        """
        self._check_way(queue, priority)
        request = self.request
        if request.called_directly:
            # Nobody would run it again: the caller of the function gets what went wrong.
            raise exc or Retry(f"task {self.name!r} asks to be retried, and was called without a message")
        limit = self.options.merged(request.options).max_retries if max_retries is None else max_retries
        if limit is not None and request.retries >= limit:
            raise exc or MaxRetriesExceededError(
                f"task {self.name!r}, run {request.id}: {request.retries} retries are used up (max_retries {limit})"
            )
        signal = Retry(
            exc=exc,
            countdown_s=_countdown_s(countdown, eta),
            args=None if args is None else list(args),
            kwargs=None if kwargs is None else dict(kwargs),
            max_retries=max_retries,
            queue=queue,
            priority=priority,
        )
        if throw:
            raise signal from exc
        return signal

    def _check_way(self, queue: str | None, priority: int | None) -> None:
        """
        See `retry`.

        Raises:
            ValueError: There can be no such queue, or no such priority.
        """
        what = f"task {self.name!r}: retry"
        if queue is not None:
            if complaint := queue_complaint(queue):
                raise ValueError(f"{what}: {complaint}")
            self._home.router.checked(queue)
        if priority is not None and (type(priority) is not int or not 0 <= priority <= PRIORITY_MAX):
            raise ValueError(f"{what}: priority {priority!r}: expected a whole number from 0 to {PRIORITY_MAX}")

    def update_state(self, task_id: str | None = None, state: str = "PROGRESS", meta: Any = None) -> None:
        """
        Record a state of the task's own, for `AsyncResult.state` and `.info`, until the run ends.

        Often is not expensive: of what a run says within a tenth of a second, the last is written. While Redis is away, nothing is.

        Args:
            task_id: Another run than the one that is going on.

        Raises:
            ValueError: It is the name of a state in which a run has ended, or there is no run to speak of.
            NotEncodableError: JSON cannot carry *meta*.
            OversizedMessageError: It is larger than `result_bytes_max`.
            RefusedError: *task_id* is the id of no run, or of one that is over.
        """
        request = self.request
        id_ = task_id or request.id
        if not id_:
            raise ValueError(f"task {self.name!r}: update_state: it was called without a message, so there is no run")
        if complaint := name_complaint(state, what="state"):
            raise ValueError(f"task {self.name!r}: {complaint}")
        if state in READY_STATES:
            raise ValueError(f"task {self.name!r}: state {state!r} is recorded when the run ends; choose another word")
        data = encode_json(meta, what=f"task {self.name!r}: meta")
        config = self._home.config
        if len(data) > config.result_bytes_max:
            raise OversizedMessageError(
                f"task {self.name!r}: meta has {len(data)} bytes, more than result_bytes_max ({config.result_bytes_max})"
            )
        ttl_ms = self.options.result_expires_ms or config.result_expires_ms
        session = request.session if id_ == request.id else None
        self._home.store.results.put_state(id_, state, data, ttl_ms, session=session)
        if id_ == request.id:
            request.told[:] = [data]

    def progress(self, current: float, total: float | None = None, note: str = "") -> None:
        """
        Say how far the run has come: ``self.progress(3, 10, "letters")``. `sched result ID --follow` draws it as a bar.

        It is `update_state` with the state PROGRESS and ``{"current", "total", "note"}`` as *meta*.
        """
        self.update_state(meta={"current": current, "total": total, "note": note})

    # ── hooks, for subclasses ───────────────────────────────────────────────────────────────────────────────────────

    def before_start(self, task_id: str, args: Any, kwargs: Any) -> None:
        """Called before each attempt."""

    def on_success(self, retval: Any, task_id: str, args: Any, kwargs: Any) -> None:
        """Called when the function has returned."""

    def on_failure(self, exc: BaseException, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
        """Called when the run has failed for good."""

    def on_retry(self, exc: BaseException, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
        """Called when the attempt is to be repeated."""

    def after_return(  # noqa: PLR0917 - Celery's order
        self, status: str, retval: Any, task_id: str, args: Any, kwargs: Any, einfo: Any
    ) -> None:
        """Called after each attempt, whatever came of it."""

    @property
    def app(self) -> Any:
        """The App that declares it; None for a task of schedule files."""
        return self._home.app

    def __getattr__(self, name: str) -> Any:
        """An option in force under its name, spans in seconds: ``self.max_retries``, ``self.time_limit``."""
        options = self.__dict__.get("options")
        for field in (name, f"{name}_ms"):
            if options is not None and not name.startswith("_") and hasattr(options, field):
                value = getattr(options, field)
                return value / 1000 if field.endswith("_ms") and value is not None else value
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def __repr__(self) -> str:
        return f"<task {getattr(self, 'name', type(self).__name__)}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError(f"task {self.name!r} cannot be pickled; send its name, and ask for it there")


def _parameters(fn: Callable[..., Any], *, bind: bool) -> inspect.Signature | None:
    """What a caller has to give; None where Python cannot tell (some functions written in C)."""
    try:
        signature = inspect.signature(fn)
    except (ValueError, TypeError):
        return None
    if bind:
        parameters = list(signature.parameters.values())
        if parameters and parameters[0].kind in (
            inspect.Parameter.POSITIONAL_ONLY,
            inspect.Parameter.POSITIONAL_OR_KEYWORD,
        ):
            return signature.replace(parameters=parameters[1:])
    return signature


def _positional(signature: inspect.Signature | None) -> tuple[int, int]:
    """See `Task._many`: it spares most calls a comparison with the signature."""
    simple = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    if signature is None or any(parameter.kind not in simple for parameter in signature.parameters.values()):
        return 1, 0
    needed = sum(parameter.default is inspect.Parameter.empty for parameter in signature.parameters.values())
    return needed, len(signature.parameters)


def _countdown_s(countdown: Duration | None, eta: datetime | None) -> float | None:
    """Seconds until the next attempt. A naive *eta* is local time of this process."""
    if eta is not None:
        return max(0.0, (to_ms(aware(eta)) - now_ms()) / 1000)
    return None if countdown is None else parse_duration_ms(countdown, what="countdown") / 1000


def _listed(args: Iterable[Any], task: str) -> list[Any]:
    if isinstance(args, str | bytes | Mapping) or not isinstance(args, Iterable):
        raise TypeError(f"task {task!r}: args {args!r}: expected a list or tuple, as in args=(1, 2)")
    return list(args)
