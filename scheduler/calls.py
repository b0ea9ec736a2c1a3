"""
A call: what somebody asks of a task, made into a message and sent.

The name of the task is enough: whoever calls need not have its code. What a call does not say is the task's default,
and then the settings'.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

import msgspec

from scheduler.clock import aware, to_ms
from scheduler.content import JSON, SCALARS
from scheduler.context import current_request
from scheduler.errors import ConfigError, OversizedMessageError, QueueFullError, RefusedError, StoreUnavailableError
from scheduler.exchange import Exchange, Queue
from scheduler.home import Home
from scheduler.model import Ack, Catchup, Overlap
from scheduler.nearest import nearest
from scheduler.options import Expires, TaskOptions, name_complaint, read_headers, serializer_complaint
from scheduler.publishing import About, announced, published
from scheduler.result import AsyncResult
from scheduler.routes import Said, read_said
from scheduler.routing import said_by
from scheduler.signals import after_task_publish, before_task_publish
from scheduler.timing.duration import parse_duration_ms
from scheduler.unique import key_text
from scheduler.wire import (
    FLAG_EARLY,
    FLAG_IGNORE_RESULT,
    HEADER,
    SERIALIZERS,
    VERSION,
    Header,
    Payload,
    encode_argument,
    encode_body,
    encode_json,
    encode_payload,
    keyed_id,
    new_id,
)

if TYPE_CHECKING:
    from scheduler.store.queues import Full, NewMessage, Unique
    from scheduler.task import Task

T = TypeVar("T")
Duration = float | str | timedelta

SEND_BYTES_MAX = 8 * 1024 * 1024
"""How much one round trip carries at most: a larger one would keep everybody else waiting."""
ID_CHARS_MAX = 128
SEND_TRIES_MAX = 100
WAYS_REMEMBERED = 1_024
"""Of how many different ways that calls named it is remembered what they mean."""

DEFAULTS: Final = TaskOptions()
_NO_ARGUMENTS = msgspec.Raw(b"[]")
_NO_KEYWORDS = msgspec.Raw(b"{}")

CALL_KEYWORDS = frozenset(
    {"args", "kwargs", "countdown", "eta", "expires", "queue", "priority", "task_id", "headers", "serializer"}
    | {"ignore_result", "exchange", "routing_key", "unique"}
)
PASSED_OVER = frozenset(
    {
        "add_to_parent",
        "compression",
        "connection",
        "delivery_mode",
        "exchange_type",
        "immediate",
        "mandatory",
        "producer",
        "publisher",
    }
    | {"retry", "shadow"}
)
"""Keywords of Celery's `apply_async` that tune a broker or say what is so here anyway."""
_NOT_OF_CALLS = {
    "link": "this version does not chain tasks",
    "link_error": "this version does not chain tasks",
    "time_limit": "a limit is said of the task, or of an entry: @task(time_limit=…)",
    "soft_time_limit": "a limit is said of the task, or of an entry: @task(soft_time_limit=…)",
    "max_retries": "retries are said of the task, or of an entry: @task(max_retries=…)",
}


class Call(NamedTuple):
    """What a caller said; None where nothing was."""

    args: Sequence[Any] = ()
    kwargs: Mapping[str, Any] | None = None
    countdown: Duration | None = None
    eta: datetime | None = None
    expires: Duration | datetime | None = None
    queue: str | Queue | None = None
    priority: int | None = None
    task_id: str | None = None
    headers: Mapping[str, Any] | None = None
    serializer: str | None = None
    ignore_result: bool | None = None
    exchange: str | Exchange | None = None
    routing_key: str | None = None
    unique: str | None = None


def refuse_keywords(given: Mapping[str, Any], *, task: str) -> None:
    """
    Say what is wrong with those keywords in *given* that no call has.

    Raises:
        TypeError: There are any.
    """
    for name in given:
        if name not in CALL_KEYWORDS and name not in PASSED_OVER:
            why = _NOT_OF_CALLS.get(name) or f"no such keyword of apply_async{nearest(name, CALL_KEYWORDS)}"
            raise TypeError(f"task {task!r}: {name}: {why}")


def call_of(task: str, args: Sequence[Any], kwargs: Mapping[str, Any] | None, options: Mapping[str, Any]) -> Call:
    """
    The call with these arguments; *options* are further keywords of `apply_async`, of which those without meaning here are left out.

    Raises:
        TypeError: There is no such keyword.
    """
    refuse_keywords(options, task=task)
    return Call(args, kwargs, **{name: value for name, value in options.items() if name not in PASSED_OVER})


def plain_message(task: str, call: Call, home: Home, options: TaskOptions = DEFAULTS) -> NewMessage | None:
    """
    The message for a *call* that says nothing but arguments; None if it says more, or if where it goes is not settled by its task.

    Raises:
        As `make_messages`.
    """
    if call[2:] == _PLAIN and (envelope := envelope_of(task, home, options)) is not None:
        return envelope.message(new_id(), call.args, call.kwargs, home.server_now_ms())
    return None


def make_messages(
    task: str, call: Call, home: Home, options: TaskOptions = DEFAULTS, made: Task | None = None
) -> list[NewMessage]:
    """
    The messages for *call*, checked and encoded; nothing is sent.

    It is one, unless an exchange leads to several queues: then the first has the id that the caller knows, and each further one is a
    copy (`copy_id`), in the same family by its `root_id`. A unique key holds for each of these queues by itself.

    Args:
        made: The task, for routes that look at it, and for its unique key.

    Raises:
        ValueError: Something that the call says is out of range or cannot be met.
        NotEncodableError: JSON cannot carry the arguments; also a `TypeError`.
        OversizedMessageError: More bytes than `message_bytes_max`; also a `ValueError`.
        UnroutableError: No queue is bound that they could go to; also a `ValueError`.
    """
    if (plain := plain_message(task, call, home, options)) is not None:
        return [plain]
    from scheduler.store.queues import NewMessage  # noqa: PLC0415 - whoever only declares needs no Redis client

    config = home.config
    _check(task, call)
    destination = home.router.destination(
        task, (_said(task, call), said_by(options)),
        args=call.args, kwargs=call.kwargs, options=_options_of(call) if home.router.asks_callables else _NONE, made=made,
    )  # fmt: skip
    priority = config.task_priority if destination.priority is None else destination.priority
    ignore_result = options.ignore_result if call.ignore_result is None else call.ignore_result
    now_ms = home.server_now_ms()
    at_ms = _at_ms(call, now_ms)
    expires_ms = _expires_ms(task, call, options, now_ms=now_ms, at_ms=at_ms)
    ttl_ms = config.result_expires_ms if options.result_expires_ms is None else options.result_expires_ms
    unique = "" if made is None else made.unique_text(call.args, call.kwargs)
    if call.unique:
        unique = key_text(task, call.unique, held_ms=options.unique_for_ms)
    request = current_request()
    id_ = call.task_id or new_id()
    headers = dict(call.headers) if call.headers else {}
    if before_task_publish.receivers:
        headers = announced(
            About(
                id_, task, call.args, call.kwargs or {}, headers, destination.queues[0], priority, at_ms, expires_ms,
                request.root_id or request.id, request.id,
            )
        )  # fmt: skip
    serializer = SERIALIZERS[call.serializer or options.serializer or config.task_serializer]
    args, kwargs = _encoded(task, call.args, call.kwargs, serializer)
    payload = Payload(
        args=args,
        kwargs=kwargs,
        eta_ms=at_ms or None,
        root_id=request.root_id or request.id,
        parent_id=request.id,
        headers=headers,
        way=(destination.exchange, destination.routing_key) if destination.exchange else None,
    )
    messages = []
    for nth, queue in enumerate(destination.queues):
        header = Header(
            task=task,
            queue=queue,
            priority=priority,
            flags=(FLAG_EARLY if options.ack is Ack.EARLY else 0) | (FLAG_IGNORE_RESULT if ignore_result else 0),
            serializer=serializer,
            expires_ms=expires_ms,
            enqueued_ms=now_ms,
            result_ttl_s=max(1, ttl_ms // 1000),
            unique=f"{unique}@{queue}" if nth and unique else unique,
        )
        if nth and not payload.root_id:
            payload = msgspec.structs.replace(payload, root_id=id_)
        body = encode_body(header, payload)
        if len(body) > config.message_bytes_max:
            raise _oversized(task, len(body), config.message_bytes_max)
        own_id = copy_id(config.namespace, id_, queue) if nth else id_
        messages.append(NewMessage(own_id, body, queue, at_ms, priority, bool(unique)))
    return messages


def copy_id(namespace: str, id_: str, queue: str) -> str:
    """The id of the copy on *queue* of the message that its caller knows as *id_*; the same whenever it is asked for."""
    return keyed_id(namespace, "", "copy", f"{queue} {id_}")


def _said(task: str, call: Call) -> Said:
    """
    Where *call* says its message is to go.

    Raises:
        ValueError: It names something that cannot be named so.
    """
    queue, exchange, routing_key, priority = call.queue, call.exchange, call.routing_key, call.priority
    if queue is None and exchange is None and routing_key is None and priority is None:
        return _NOTHING
    try:
        return _read_ways(queue, exchange, routing_key, priority)
    except (ConfigError, TypeError):
        try:
            # Once more, to say of which task; or as something in it cannot be remembered.
            return _read_ways.__wrapped__(queue, exchange, routing_key, priority, f"task {task!r}")
        except ConfigError as error:
            raise ValueError(str(error)) from None


@lru_cache(WAYS_REMEMBERED, typed=True)
def _read_ways(queue: object, exchange: object, routing_key: object, priority: object, what: str = "") -> Said:
    given = {"queue": queue, "exchange": exchange, "routing_key": routing_key, "priority": priority}
    return read_said({word: value for word, value in given.items() if value is not None}, what)


def _options_of(call: Call) -> dict[str, Any]:
    """What *call* says beside its arguments."""
    return {word: value for word, value in zip(Call._fields[2:], call[2:], strict=True) if value is not None}


class Envelope:
    """
    What all plain calls of one task have in common, encoded once: a call without keywords costs a third of one with.

    Its bytes are those that `make_messages` gives; a test compares them.
    """

    __slots__ = (
        "_expires_after_ms",
        "_expires_at_ms",
        "_head",
        "_max",
        "_new",
        "_tail",
        "options",
        "priority",
        "queue",
        "task",
    )

    def __init__(self, task: str, queue: str, priority: int, home: Home, options: TaskOptions) -> None:
        from scheduler.store.queues import NewMessage  # noqa: PLC0415 - whoever only declares needs no Redis client

        config = home.config
        self.task, self.queue, self.options, self.priority = task, queue, options, priority
        expires = options.expires or Expires()
        self._expires_after_ms = expires.after_ms
        self._expires_at_ms = 0 if expires.at is None else to_ms(aware(expires.at))
        ttl_ms = config.result_expires_ms if options.result_expires_ms is None else options.result_expires_ms
        name, line = task.encode(), queue.encode()
        flags = (FLAG_EARLY if options.ack is Ack.EARLY else 0) | (FLAG_IGNORE_RESULT if options.ignore_result else 0)
        self._head = (VERSION, priority, flags, Overlap.ALLOW, Catchup.NONE, SERIALIZERS["json"], 0, 0)
        self._tail = ((max(1, ttl_ms // 1000), 0, 0, 0, 0, len(name), len(line)), name + line)
        self._max = config.message_bytes_max
        self._new = NewMessage

    def message(self, id_: str, args: Sequence[Any], kwargs: Mapping[str, Any] | None, now_ms: int) -> NewMessage:
        """
        The message of one call.

        Raises:
            NotEncodableError: JSON cannot carry the arguments.
            OversizedMessageError: They are too large.
        """
        after_ms = self._expires_after_ms
        numbers, names = self._tail
        payload = _plain_payload(args or (), kwargs or _NONE)
        if payload is None:
            encoded_args, encoded_kwargs = encode_arguments(self.task, args), encode_keywords(self.task, kwargs or {})
            payload = encode_payload(Payload(msgspec.Raw(encoded_args), msgspec.Raw(encoded_kwargs)))
        expires_ms = self._expires_at_ms if after_ms is None else now_ms + after_ms
        body = HEADER.pack(*self._head, expires_ms, now_ms, *numbers) + names + payload
        if len(body) > self._max:
            raise _oversized(self.task, len(body), self._max)
        return self._new(id_, body, self.queue, 0, self.priority)


class _PlainPayload(msgspec.Struct, omit_defaults=True):
    """A `Payload` whose arguments are encoded with it."""

    args: Any = ()
    kwargs: Any = {}


_plain_encode = msgspec.json.Encoder().encode
_NONE: Mapping[str, Any] = {}


def _plain_payload(args: Sequence[Any], kwargs: Mapping[str, Any]) -> bytes | None:
    """The payload of a call whose arguments need no tags; None where they do, or cannot be sent: the long way says why."""
    try:
        payload = _plain_encode(_PlainPayload(args, kwargs))
    except (TypeError, ValueError, RecursionError, OverflowError):
        return None
    if not kwargs and SCALARS.issuperset(map(type, args)):
        return payload
    is_plain = JSON.is_plain(args) and JSON.is_plain(kwargs.values()) and JSON.mark not in payload
    return payload if is_plain else None


def envelope_of(task: str, home: Home, options: TaskOptions) -> Envelope | None:
    """
    The envelope for plain calls of *task*.

    None where a route or a unique key looks at arguments, where an exchange leads on, or within a run.
    """
    if options.unique is not None or not current_request().called_directly or before_task_publish.receivers:
        return None
    found: Envelope | None = home.envelopes.get(task)
    if found is None or found.options is not options:
        if (options.serializer or home.config.task_serializer) != "json":
            return None
        said = said_by(options)
        if home.router.asks_callables and not said.names_a_place:
            return None
        destination = home.router.destination(task, (said,))
        if destination.exchange:
            return None  # it may be several messages, and each says which way it came
        priority = home.config.task_priority if destination.priority is None else destination.priority
        found = home.envelopes[task] = Envelope(task, destination.queues[0], priority, home, options)
    return found


def _oversized(task: str, size: int, limit: int) -> OversizedMessageError:
    return OversizedMessageError(
        f"task {task!r}: the message has {size} bytes, message_bytes_max allows {limit}; "
        "send a reference instead of the data"
    )


def send_one(message: NewMessage, home: Home) -> AsyncResult:
    """
    Put *message*, whose id is a fresh one, on its queue, in one round trip.

    Raises:
        RefusedError, StoreUnavailableError: As `send`.
    """
    # The id may stand for the call too.
    refusals = home.store.queues.enqueue((message,), call_id=message.id).refusals
    if refusals:
        return AsyncResult(_ids_of((message,), {message.id: refusals[0]})[0], home)
    if after_task_publish.receivers:
        published((message,))
    return AsyncResult(message.id, home)


def send_group(messages: Sequence[NewMessage], home: Home, *, pauses_s: Sequence[float] = ()) -> AsyncResult:
    """
    Put the messages of one call on their queues: see `make_messages`. The result of the first knows those of its copies.

    Raises:
        RefusedError, StoreUnavailableError: As `send`.
    """
    return with_copies(send(messages, home, pauses_s=pauses_s), messages)


def with_copies(results: Sequence[AsyncResult], messages: Sequence[NewMessage]) -> AsyncResult:
    """The first of *results*, of the messages of one call, with the others as its copies."""
    first, *others = results
    if others:
        first.copies = {message.queue: result for message, result in zip(messages[1:], others, strict=True)}
    return first


def new_ids(n: int) -> list[str]:
    """As many fresh ids, from one reading of the system's randomness."""
    text = os.urandom(16 * n).hex()
    return [text[at : at + 32] for at in range(0, 32 * n, 32)]


def send(messages: Sequence[NewMessage], home: Home, *, pauses_s: Sequence[float] = ()) -> list[AsyncResult]:
    """
    Put *messages* on their queues, in one round trip for each thousand.

    Args:
        pauses_s: See `read_retry_policy`.

    Raises:
        RefusedError: Messages whose `task_id` is alive already, or whose queue is full (`QueueFullError`); the others were
            sent.
        StoreUnavailableError: No answer in time. They may be there or not.
    """
    refused: list[str] = []
    refusals: dict[str, Unique | Full] = {}
    for chunk in _chunks(messages):
        # One id for all tries of a chunk: a reply that was lost does not make it two.
        accepted = patiently(partial(home.store.queues.enqueue, chunk, call_id=new_id()), pauses_s)
        if not all(accepted):
            refusals |= {chunk[at].id: why for at, why in accepted.refusals.items()}
            refused += [message.id for message, fresh in zip(chunk, accepted, strict=True) if not fresh]
        if after_task_publish.receivers:
            published(message for message, fresh in zip(chunk, accepted, strict=True) if fresh)
    refused = [id_ for id_ in refused if id_ not in refusals]
    if refused:
        raise RefusedError(
            f"{'run' if len(refused) == 1 else 'runs'} {', '.join(refused[:5])}{' …' if len(refused) > 5 else ''}: "
            "this task_id belongs to a run that has not ended; use another, or leave it out"
        )
    return [AsyncResult(id_, home) for id_ in _ids_of(messages, refusals)]


def _ids_of(messages: Sequence[NewMessage], refusals: Mapping[str, Unique | Full]) -> list[str]:
    """
    The run that stands for each of *messages*: its own, or the one that has its unique key.

    Raises:
        QueueFullError: A queue was full.
    """
    from scheduler.store.queues import Full  # noqa: PLC0415 - see make_messages

    full = {id_: why for id_, why in refusals.items() if isinstance(why, Full)}
    if full:
        sent = [message.id for message in messages if message.id not in refusals]
        first = next(message for message in messages if message.id in full)
        length, length_max = full[first.id]
        raise QueueFullError(first.queue, length, length_max, sent=sent, refused=tuple(full))
    holders = {id_: why.holder for id_, why in refusals.items() if not isinstance(why, Full)}
    return [holders.get(message.id, message.id) for message in messages]


def read_retry_policy(policy: Mapping[str, Any] | None) -> list[float]:
    """
    How long to wait before each further try, in seconds, once the store has given up (which repeats by itself until
    `store_timeout`).

    Args:
        policy: Celery's: ``max_retries``, ``interval_start``, ``interval_step``, ``interval_max``.

    Raises:
        ValueError: It is something else.
    """
    if policy is None:
        return []
    known = {"max_retries": 0, "interval_start": 0.0, "interval_step": 0.2, "interval_max": 1.0}
    if not isinstance(policy, Mapping):
        raise ValueError(f"retry_policy {policy!r}: expected a mapping with {', '.join(known)}")
    for name, value in policy.items():
        if name not in known:
            raise ValueError(f"retry_policy: {name}: expected {', '.join(known)}")
        if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value <= 3600:
            raise ValueError(f"retry_policy: {name} {value!r}: expected a number from 0 to 3600")
    tries, start_s, step_s, max_s = ({**known, **policy}[name] for name in known)
    if tries != int(tries) or tries > SEND_TRIES_MAX:
        raise ValueError(f"retry_policy: max_retries {tries!r}: expected a whole number from 0 to {SEND_TRIES_MAX}")
    return [min(start_s + step_s * turn, max_s) for turn in range(int(tries))]


def patiently(action: Callable[[], T], pauses_s: Sequence[float]) -> T:
    """The answer of *action*, repeated after each of *pauses_s* while the store cannot be reached."""
    for pause_s in pauses_s:
        try:
            return action()
        except StoreUnavailableError:
            time.sleep(pause_s)
    return action()


def _encoded(
    task: str, args: Sequence[Any], kwargs: Mapping[str, Any] | None, serializer: int
) -> tuple[msgspec.Raw, msgspec.Raw]:
    """
    Both kinds of arguments for a `Payload` in *serializer*.

    Raises:
        NotEncodableError, TypeError: As `encode_arguments` and `encode_keywords`.
    """
    if serializer == SERIALIZERS["json"]:
        return (
            msgspec.Raw(encode_arguments(task, args)) if args else _NO_ARGUMENTS,
            msgspec.Raw(encode_keywords(task, kwargs)) if kwargs else _NO_KEYWORDS,
        )
    args, kwargs = _checked(task, args), _checked_keywords(task, {} if kwargs is None else kwargs)
    what = f"task {task!r}: its"
    return (
        encode_argument(args, serializer, what=f"{what} args"),
        encode_argument(kwargs, serializer, what=f"{what} kwargs"),
    )


def _checked(task: str, args: Sequence[Any]) -> list[Any]:
    if not isinstance(args, list | tuple):
        raise TypeError(f"task {task!r}: args {args!r}: expected a list or tuple, as in args=(1, 2)")
    return list(args)


def _checked_keywords(task: str, kwargs: Mapping[str, Any]) -> dict[str, Any]:
    if not isinstance(kwargs, Mapping) or not all(isinstance(name, str) for name in kwargs):
        raise TypeError(f"task {task!r}: kwargs {kwargs!r}: expected a mapping from names to values")
    return dict(kwargs)


def encode_arguments(task: str, args: Sequence[Any]) -> bytes:
    """
    *args* as a JSON list.

    Raises:
        NotEncodableError: JSON cannot carry them.
        TypeError: It is no list.
    """
    args = _checked(task, args)
    return encode_json(args, what=f"task {task!r}: its args") if args else b"[]"


def encode_keywords(task: str, kwargs: Mapping[str, Any]) -> bytes:
    """
    *kwargs* as a JSON object.

    Raises:
        NotEncodableError: JSON cannot carry them.
        TypeError: It is no mapping from names.
    """
    if kwargs == {}:
        return b"{}"
    return encode_json(_checked_keywords(task, kwargs), what=f"task {task!r}: its kwargs")


def as_call(task: str, given: object) -> Call:
    """
    One item of `apply_many`: a list of arguments, or a mapping of the keywords of `apply_async`.

    Raises:
        TypeError: It is something else.
    """
    if isinstance(given, list | tuple):
        return Call(args=given)
    if isinstance(given, Mapping):
        options = {name: value for name, value in given.items() if name not in ("args", "kwargs")}
        return call_of(task, given.get("args") or (), given.get("kwargs"), options)
    raise TypeError(
        f"task {task!r}: {given!r}: expected arguments such as (1, 2), or {{'args': (1, 2), 'countdown': 5}}"
    )


_PLAIN = Call()[2:]
_NOTHING = Said()


def _check(task: str, call: Call) -> None:
    """
    Everything of *call* that must be so before it is used.

    Raises:
        ValueError: It is not.
    """
    id_ = call.task_id
    if id_ is not None and (
        name_complaint(id_, what="task_id") or len(id_) > ID_CHARS_MAX or any(c.isspace() for c in id_)
    ):
        raise ValueError(f"task {task!r}: task_id {id_!r}: use 1–{ID_CHARS_MAX} printable characters without blanks")
    if call.unique is not None and not (isinstance(call.unique, str) and call.unique):
        raise ValueError(f"task {task!r}: unique {call.unique!r}: expected text, the key of this run")
    if call.serializer is not None and (complaint := serializer_complaint(call.serializer)):
        raise ValueError(f"task {task!r}: {complaint}")
    if call.eta is not None and call.countdown is not None:
        raise ValueError(f"task {task!r}: countdown and eta both say when it is to start; give one")
    if call.eta is not None and not isinstance(call.eta, datetime):
        raise ValueError(f"task {task!r}: eta {call.eta!r}: expected a datetime; a span is given as countdown")
    if call.ignore_result not in (None, True, False):
        raise ValueError(f"task {task!r}: ignore_result {call.ignore_result!r}: expected True or False")
    if call.headers:
        read_headers(call.headers)


def moments_of(task: str, call: Call, now_ms: int) -> tuple[int, int]:
    """
    When *call* is to start (0: now), and after when it must not (0: it does not say).

    Raises:
        ValueError: Something that it says is out of range or cannot be met.
    """
    _check(task, call)
    _said(task, call)
    at_ms = _at_ms(call, now_ms)
    return at_ms, _expires_ms(task, call, DEFAULTS, now_ms=now_ms, at_ms=at_ms)


def _at_ms(call: Call, now_ms: int) -> int:
    """When it is to start, 0 for now. A naive `eta` is local time of this process."""
    if call.eta is not None:
        return to_ms(aware(call.eta))
    if call.countdown is not None and (countdown_ms := parse_duration_ms(call.countdown, what="countdown")):
        return now_ms + countdown_ms
    return 0


def _expires_ms(task: str, call: Call, options: TaskOptions, *, now_ms: int, at_ms: int) -> int:
    """
    After when it must not start, 0 for never.

    A caller's span counts from now, as in Celery; the task's own from when the run may start.

    Raises:
        ValueError: It would have expired before it may start.
    """
    if call.expires is None:
        own = options.expires
        if own is None:
            return 0
        return to_ms(aware(own.at)) if own.at is not None else (at_ms or now_ms) + (own.after_ms or 0)
    if isinstance(call.expires, datetime):
        expires_ms = to_ms(aware(call.expires))
    else:
        expires_ms = now_ms + parse_duration_ms(call.expires, what="expires")
    if at_ms and expires_ms <= at_ms:
        raise ValueError(f"task {task!r}: expires {call.expires!r} cannot be met: the run may start only after that")
    return expires_ms


def _chunks(messages: Sequence[NewMessage]) -> list[Sequence[NewMessage]]:
    """*messages* in their order, cut where one round trip would carry too many or too much."""
    from scheduler.store.queues import ENQUEUE_BATCH_MAX  # noqa: PLC0415 - see make_messages

    if len(messages) == 1:
        return [messages]
    chunks: list[Sequence[NewMessage]] = []
    start = size = 0
    for at, message in enumerate(messages):
        if at > start and (at - start >= ENQUEUE_BATCH_MAX or size + len(message.body) > SEND_BYTES_MAX):
            chunks.append(messages[start:at])
            start, size = at, 0
        size += len(message.body)
    return [*chunks, messages[start:]] if messages else []
