"""
What workers say of themselves, and orders to them.

A worker publishes its state with its renewals, when it has changed and every few seconds; nobody has to ask it. An order stands in
a list of the worker's session until the next renewal takes it off, which a ring at the worker's bell brings forward; what became of
it is written where whoever gave it waits:

    given → taken off by a renewal → carried out → answered
          → withdrawn by whoever gave it and will wait no longer: then it is not carried out
          → gone with the session

An order is carried out once at most. If the answer of the renewal that took it off is lost, it is lost, and its giver learns that
nobody answered.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from enum import StrEnum
from typing import Any, NamedTuple

import msgspec
from redis import exceptions as failures

from scheduler.errors import StoreUnavailableError
from scheduler.store.connection import Connection
from scheduler.store.keys import Keys
from scheduler.wire import new_id

ANSWERS_TTL_MS = 600_000
ANSWER_BYTES_MAX = 1 << 20
SLOTS_SHOWN_MAX = 100
"""A pool of coroutines may run thousands; so many are shown, the oldest first."""
LOOK_FIRST_S = 0.01
LOOK_MAX_S = 0.1


class Stage(StrEnum):
    """Where a worker stands: it takes messages; it takes none, until told to resume; it ends when what runs has ended."""

    RUNNING = "running"
    DRAINING = "draining"
    STOPPING = "stopping"


class Verb(StrEnum):
    """What a worker can be told to do."""

    DRAIN = "drain"
    RESUME = "resume"
    STOP = "stop"
    CONCURRENCY = "concurrency"
    GROW = "grow"
    SHRINK = "shrink"
    QUEUES_ADD = "queues add"
    QUEUES_REMOVE = "queues remove"
    LOG_LEVEL = "log-level"
    RESTART_CHILDREN = "restart-children"
    INSPECT = "inspect"
    STACKS = "stacks"


class Order(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """
    Something a worker is told to do.

    Attributes:
        number: Of children, for `CONCURRENCY`, `GROW` and `SHRINK`.
        queues: For `QUEUES_ADD` and `QUEUES_REMOVE`.
        level: For `LOG_LEVEL`.
        now: For `STOP`: do not wait for what runs.
    """

    id: str
    verb: str
    number: int = 0
    queues: tuple[str, ...] = ()
    level: str = ""
    now: bool = False
    by: str = ""


class Answer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """
    What became of an order.

    Attributes:
        done: Whether it was carried out; if not, *text* says why.
        text: In words.
        running: How many tasks run.
        data: What was asked for.
    """

    done: bool
    text: str
    running: int = 0
    data: Any = None


class Slot(msgspec.Struct, frozen=True, omit_defaults=True):
    """A task that runs: since when, by Redis' clock; `pid` where a process runs it alone."""

    id: str
    task: str
    since_ms: int
    entry: str = ""
    attempt: int = 1
    pid: int = 0


class WorkerState(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """
    What a worker says of itself.

    Attributes:
        concurrency: How many tasks it runs at once.
        busy: How many run.
        slots: Which, the oldest first; `SLOTS_SHOWN_MAX` at most.
        unstarted: How many messages it holds beside them.
        finished: How many runs have ended here, well or not; `failed` of them badly.
        retried: How many attempts were followed by another.
        memory_kib: Of the supervisor and of all children.
        children: How many processes run tasks.
        log_level: Of its own events.
        deaf_s: For how long it has taken nothing though it should; 0 for a worker that is well.
    """

    stage: Stage = Stage.RUNNING
    concurrency: int = 1
    queues: tuple[str, ...] = ()
    busy: int = 0
    slots: tuple[Slot, ...] = ()
    unstarted: int = 0
    finished: int = 0
    failed: int = 0
    retried: int = 0
    memory_kib: tuple[int, int] = (0, 0)
    children: int = 0
    log_level: str = ""
    deaf_s: float = 0.0


class Fate(StrEnum):
    """What became of an order that was not answered in time."""

    GONE = "gone"
    """The session had ended before it was given."""
    FULL = "full"
    """A hundred orders stand already: it has not been reading them."""
    WITHDRAWN = "withdrawn"
    """It was not read, and will not be carried out."""
    TAKEN = "taken"
    """It was read; whether it was carried out is not known."""
    ENDED = "ended"
    """The session ended after the order was given."""


class Replies(NamedTuple):
    """By session: the answers, and what became of the order where none came."""

    answers: dict[str, Answer]
    missing: dict[str, Fate]


class Given(NamedTuple):
    """An order, the sessions that have it, and those that could not be given it."""

    order: Order
    sessions: tuple[str, ...]
    refused: dict[str, Fate]


class Orders:
    """Orders to the workers of a namespace."""

    def __init__(self, connection: Connection, keys: Keys) -> None:
        self._connection = connection
        self._keys = keys

    def give(self, order: Order, sessions: Sequence[str], *, note: bytes = b"") -> Given:
        """
        Give *order* to the workers with these *sessions*.

        Args:
            note: Its line in the audit log; written if anybody is given the order.
        """
        replies = self._connection.run("order", self._keys.core, (note, msgspec.json.encode(order), *sessions))
        fates = {session: reply.decode() for session, reply in zip(sessions, replies, strict=True)}
        given = tuple(session for session, fate in fates.items() if fate == "given")
        return Given(order, given, {session: Fate(fate) for session, fate in fates.items() if fate != "given"})

    def wait(self, given: Given, timeout_s: float) -> Replies:
        """
        The answers to an order, as soon as all have come, and after *timeout_s* at the latest.

        Where none has come by then the order is withdrawn: nobody carries it out when its giver has long gone.
        """
        deadline = time.monotonic() + timeout_s
        pause_s = LOOK_FIRST_S
        left = set(given.sessions)
        while left:
            left = set(given.sessions) - self._answers(given.order.id).keys()
            if left and time.monotonic() < deadline:
                left -= left - self._alive()
            if not left or time.monotonic() >= deadline:
                break
            time.sleep(min(pause_s, max(0.0, deadline - time.monotonic())))
            pause_s = min(LOOK_MAX_S, pause_s * 1.5)
        missing = given.refused | self._withdraw(given)
        answers = self._answers(given.order.id)
        return Replies(answers, {session: fate for session, fate in missing.items() if session not in answers})

    def answer(self, order: Order, session: str, answer: Answer) -> None:
        """Write what became of *order*, for whoever waits; nobody may."""
        data = msgspec.json.encode(answer)
        if len(data) > ANSWER_BYTES_MAX:
            words = f"{answer.text}; the answer of {len(data):,} bytes is too long to be sent"
            data = msgspec.json.encode(Answer(done=answer.done, text=words, running=answer.running))
        self._connection.run("answer", (self._keys.answers(order.id),), (session, data, ANSWERS_TTL_MS))

    def _answers(self, id_: str) -> dict[str, Answer]:
        pairs = self._connection.call("HGETALL", self._keys.answers(id_))
        return {session.decode(): _decode_answer(data) for session, data in zip(pairs[::2], pairs[1::2], strict=True)}

    def _alive(self) -> set[str]:
        return {session.decode() for session in self._connection.call("HKEYS", self._keys.sessions)}

    def _withdraw(self, given: Given) -> dict[str, Fate]:
        """Take the order off the lists where it still stands; what is known of each session that has it."""
        if not given.sessions:
            return {}
        order = msgspec.json.encode(given.order)
        commands = [("LREM", self._keys.orders(session), 0, order) for session in given.sessions]
        removed = self._connection.pipeline(commands)
        alive = self._alive()
        return {
            session: Fate.WITHDRAWN if count else Fate.TAKEN if session in alive else Fate.ENDED
            for session, count in zip(given.sessions, removed, strict=True)
        }


class Bell:
    """
    Rings in a worker's loop when somebody wants it to renew at once: a subscription on a connection of its own.

    Nothing hangs on it: a ring that is lost is made up for by the next renewal.
    """

    def __init__(self, connection: Connection, channel: str) -> None:
        self._source = connection
        self._channel = channel
        self._connection: Any = None

    @property
    def armed(self) -> bool:
        """Whether it can ring."""
        return self._connection is not None

    def arm(self) -> None:
        """Subscribe. Raises `StoreUnavailableError`."""
        if self._connection is None:
            self._connection = self._source.dedicated()
            try:
                self._connection.send_command("SUBSCRIBE", self._channel)
            except _BROKEN as error:
                self.close()
                raise StoreUnavailableError(f"no answer from Redis at {self._source.where}: {error}") from None

    def fileno(self) -> int:
        """The socket to wait on."""
        descriptor: int = self._connection._sock.fileno()
        return descriptor

    def heard(self) -> bool:
        """It is readable: whether somebody rang. A connection that is lost is let go."""
        rang = False
        try:
            while self._connection.can_read(timeout=0):
                rang |= self._connection.read_response()[0] == b"message"
        except _BROKEN:
            self.close()
        return rang

    def close(self) -> None:
        """Drop the connection."""
        if self._connection is not None:
            self._connection.disconnect()
            self._connection = None


def decode_state(data: bytes | None) -> WorkerState | None:
    """What a worker published; None if it has published nothing, or what this version cannot read."""
    try:
        return None if data is None else _decode_state(data)
    except msgspec.DecodeError:
        return None


def decode_orders(texts: Sequence[bytes]) -> list[Order]:
    """Orders as a renewal brings them; what this version cannot read is left out, and nobody answers it."""
    orders = []
    for text in texts:
        try:
            orders.append(_decode_order(text))
        except msgspec.DecodeError:
            continue
    return orders


def new_order(verb: Verb, **fields: Any) -> Order:
    """An order with an id of its own."""
    return Order(id=new_id(), verb=verb, **fields)


_BROKEN = (failures.RedisError, OSError)
encode_state = msgspec.json.Encoder().encode
_decode_state = msgspec.json.Decoder(WorkerState).decode
_decode_order = msgspec.json.Decoder(Order).decode
_decode_answer = msgspec.json.Decoder(Answer).decode
