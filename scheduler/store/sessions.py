"""
Workers' leases, and messages under them.

A session is one life of a worker on Redis: a counter that grows with each of its calls. It ends when its worker closes it, or
when an observer has seen the counter stand still for the whole lease on the observer's own monotonic clock and reclaims it by
compare-and-set. Until then nobody else touches its messages; from then on none of its calls writes anything (`LeaseLostError`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
from msgspec.structs import replace

from scheduler.errors import LeaseLostError
from scheduler.model import Message, Outcome
from scheduler.rate import Rate
from scheduler.records import sealed
from scheduler.store.connection import Connection
from scheduler.store.keys import Keys
from scheduler.store.orders import Bell, Order, WorkerState, decode_orders, decode_state
from scheduler.store.queues import FireEvent, fire_events, moment
from scheduler.store.wake import Wake
from scheduler.wire import new_id

if TYPE_CHECKING:
    from scheduler.seal import Seal

RECLAIM_CHUNK = 500


class WorkerInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a worker."""

    name: str
    host: str = ""
    pid: int = 0
    queues: tuple[str, ...] = ()
    concurrency: int = 1
    pool: str = "prefork"
    version: str = ""
    started_ms: int = 0


class LiveWorker(NamedTuple):
    """
    A worker with an open session, and what it holds: id → (queue, when it was taken).

    Attributes:
        state: What it said last; None before its first renewal.
        silent_ms: How long ago it renewed last, by Redis' clock. For people: no lease is judged by it.
    """

    session: str
    info: WorkerInfo
    held: dict[str, tuple[str, int]]
    state: WorkerState | None = None
    silent_ms: int = 0


class Taken(NamedTuple):
    """
    A batch of messages under the session's lease.

    Attributes:
        now_ms: Redis' time, with microseconds.
        next_due_ms: The moment of the next delayed message in these queues, or None.
        more: Work was left behind.
        fires: What became of the fires promoted on the way, if the session watches.
    """

    now_ms: float
    messages: list[Message]
    next_due_ms: float | None
    more: bool
    fires: list[FireEvent]


class Finished(NamedTuple):
    """Ids whose outcome was refused (they are no longer held), and the next batch, if one was asked for."""

    refused: list[str]
    taken: Taken | None


class Flight(NamedTuple):
    """
    A `finish` that is under way.

    Attributes:
        land: Read its answer; once. Raises as `Session.finish` does.
        drop: Never mind the answer.
    """

    land: Callable[[], Finished]
    drop: Callable[[], None]


class Renewed(NamedTuple):
    """
    The answer to a renewal.

    Attributes:
        cancels: id → whether to terminate it if it runs already. Told again at each renewal until its message is held no longer.
        went_back: The counter is not one above what we remember: Redis lost a suffix of its writes, or carried out a call whose
            reply was lost (a take, say, whose messages nobody runs). Reconcile.
        orders: To be carried out, in this order; told once.
    """

    now_ms: float
    cancels: dict[str, bool]
    went_back: bool
    orders: list[Order]


class Reconciled(NamedTuple):
    """
    What differed.

    Attributes:
        adopted: Held by us but waiting on Redis; leased again.
        abandoned: Held by us, but over or somebody else's: stop them.
        released: Leased to us but unknown to us; given back.
    """

    adopted: list[str]
    abandoned: list[str]
    released: list[str]


class Way(NamedTuple):
    """
    How a session takes messages.

    Attributes:
        strict: The first queue is emptied first. Otherwise each queue gives its share of a batch.
        priority_turns: Every so many takes begin with another priority, each in its turn; 0: always with the most urgent.
        rates: Task → its limit, over all workers.
    """

    strict: bool = False
    priority_turns: int = 0
    rates: Mapping[str, Rate] = {}


_NO_WAY: tuple[str | int, ...] = ("fair", 0, 0)


class Session:
    """
    One life of a worker. Its calls are made by one thread.

    Every call raises `LeaseLostError` once the session was reclaimed: stop what runs, and open a new one.
    """

    def __init__(
        self,
        id_: str,
        connection: Connection,
        keys: Keys,
        *,
        counter: int,
        losses_max: int,
        watch: bool,
        way: Way,
        seal: Seal | None = None,
    ) -> None:
        self.id = id_
        self.wake = Wake(connection, keys.wake)
        self.bell = Bell(connection, keys.bell(id_))
        self._connection = connection
        self._keys = keys
        self._counter = counter
        self._went_back = False
        self._losses_max = losses_max
        self._watch = int(watch)
        self._seal = seal
        self._strict, self._priority_turns = way.strict, way.priority_turns
        self._rates: list[str | int] = [len(way.rates)]
        for task, rate in way.rates.items():
            self._rates += (task, rate.interval_us, rate.early_us)
        self._takes = 0
        self._first = 0
        """Which queue is asked first: the one behind the last that gave any."""

    def take(self, queues: Sequence[str], n: int, *, bytes_max: int = 1 << 20) -> Taken:
        """
        Take up to *n* messages from *queues*, as the session's `Way` says; what is due is promoted on the way.

        What has expired is ended and never returned. A message that was lost before, or that runs at most once, comes alone.
        """
        queues = self._in_turn(queues)
        reply = self._run("take", (), (n, bytes_max, self._watch, *self._way(n), *queues))
        return self._took(reply[2], reply[3], len(queues))

    def _in_turn(self, queues: Sequence[str]) -> Sequence[str]:
        first = 0 if self._strict or len(queues) < 2 else self._first % len(queues)
        return [*queues[first:], *queues[:first]] if first else queues

    def _way(self, n: int) -> list[str | int]:
        """How to take, as `read_way` in Lua reads it."""
        begin = 0
        if self._priority_turns and n:
            self._takes += 1
            begin = 0 if self._takes % self._priority_turns else self._takes // self._priority_turns
        return ["strict" if self._strict else "fair", begin, *self._rates]

    def _took(self, now_us: int, reply: Sequence[Any], queues: int) -> Taken:
        if reply[3]:
            self._first = (self._first + reply[3]) % queues
        return _taken(now_us, reply)

    def finish(
        self, outcomes: Sequence[Outcome], *, take: int = 0, queues: Sequence[str] = (), bytes_max: int = 1 << 20
    ) -> Finished:
        """End the runs of *outcomes*, and take the next *take* messages in the same round trip."""
        reply = self._run("finish", (), self._finishing(outcomes, take, queues, bytes_max))
        return self._finished(reply, len(queues) if take else 0)

    def send_finish(
        self, outcomes: Sequence[Outcome], *, take: int, queues: Sequence[str] = (), bytes_max: int = 1 << 20
    ) -> Flight:
        """The same without waiting for the answer. Until it was read, nothing else is asked of this session."""
        args = (self.id, *self._finishing(outcomes, take, queues, bytes_max))
        pending = self._connection.send("finish", self._keys.core, args)
        asked = len(queues) if take else 0
        return Flight(lambda: self._finished(self._heard(pending.reply()), asked), pending.drop)

    def _finishing(self, outcomes: Sequence[Outcome], take: int, queues: Sequence[str], bytes_max: int) -> list[Any]:
        if self._seal is not None:
            outcomes = [replace(one, result=sealed(one.id, one.result, self._seal)) for one in outcomes]
        args: list[Any] = []
        uniques: list[str] = []
        # What neighbours have in common is said once: Redis counts and copies each argument of each message.
        common: tuple[Any, ...] = ()
        count_at = 0
        for outcome in outcomes:
            if outcome.unique:
                uniques += (outcome.id, outcome.unique)
            own = (outcome.ttl_ms, outcome.entry, outcome.state)
            if own != common or outcome.dead:
                count_at = len(args)
                args += (0, *own, msgspec.json.encode(outcome.trace) if outcome.dead else b"")
                common = () if outcome.dead else own
            args[count_at] += 1
            args += (outcome.id, outcome.result, outcome.run)
        asked = self._in_turn(queues) if take else ()
        way = self._way(take) if take else _NO_WAY
        return [take, bytes_max, self._watch, *way, len(asked), *asked, len(uniques) // 2, *uniques, *args]

    def _finished(self, reply: list[Any], queues: int) -> Finished:
        taken = self._took(reply[2], reply[4], queues) if queues else None
        return Finished([id_.decode() for id_ in reply[3]], taken)

    def retry(
        self, id_: str, body: bytes, *, delay_ms: int, attempt: int, result: bytes = b"", ttl_ms: int = 86_400_000
    ) -> bool:
        """Put a held message back for *attempt*, after *delay_ms*. False if it is over: no longer held, or cancelled meanwhile."""
        if self._seal is not None:
            body, result = self._seal.sign_message(id_, body), sealed(id_, result, self._seal)
        reply = self._run("retry", (), (id_, body, delay_ms, attempt, result, ttl_ms))
        return bool(reply[0] == b"OK")

    def release(self, ids: Sequence[str], *, delay_ms: int = 0, lost: bool = False, how: str = "") -> int:
        """
        Give held messages back, to the head of their queues and in order; how many.

        Args:
            delay_ms: After that long, instead of at once.
            lost: The child that ran them died. It counts; after `max_deliveries` losses a message becomes a dead letter, and
                one that was acknowledged early ends as lost at once.
            how: … and how, for people: it stands with the dead letter.
        """
        reply = self._run("release", (), (int(lost), delay_ms, self._losses_max, how, *ids))
        return int(reply[2])

    def renew(self, state: bytes = b"") -> Renewed:
        """Keep the lease; publish *state*, an encoded `WorkerState`, if there is anything new to be said."""
        keys = self._keys
        reply = self._run("renew", (keys.cancels(self.id), keys.session_info(self.id), keys.orders(self.id)), (state,))
        pairs = [field.decode() for field in reply[3]]
        cancels = {id_: flag == "1" for id_, flag in zip(pairs[::2], pairs[1::2], strict=True)}
        went_back, self._went_back = self._went_back, False
        return Renewed(reply[2] / 1000, cancels, went_back, decode_orders(reply[4]))

    def reconcile(self, known_ids: Iterable[str]) -> Reconciled:
        """Compare *known_ids*, all that we hold (finished but unsent ones included), with what Redis says. Not while a take is out."""
        reply = self._run("reconcile", (), tuple(known_ids))
        return Reconciled(*([id_.decode() for id_ in ids] for ids in reply[2:5]))

    def close(self) -> None:
        """End the session. What it still holds has not started, and goes back."""
        self.wake.close()
        self.bell.close()
        keys = self._keys
        tail = (keys.session_info(self.id), keys.held(self.id), keys.cancels(self.id), keys.orders(self.id))
        self._connection.run("close", (*keys.core, *tail), (self.id,))

    def _run(self, script: str, keys: tuple[str, ...], args: Sequence[Any]) -> list[Any]:
        return self._heard(self._connection.run(script, (*self._keys.core, *keys), (self.id, *args)))

    def _heard(self, reply: list[Any]) -> list[Any]:
        """A reply under the lease, and what its counter says."""
        if reply[0] == b"LOST":
            raise LeaseLostError(self.id)
        if reply[1] != self._counter + 1:
            self._went_back = True
        self._counter = reply[1]
        return reply


class Sessions:
    """All sessions of a namespace."""

    def __init__(self, connection: Connection, keys: Keys, *, losses_max: int, seal: Seal | None = None) -> None:
        self._connection = connection
        self._keys = keys
        self._losses_max = losses_max
        self._seal = seal

    def open(self, info: WorkerInfo, *, watch: bool = False, way: Way | None = None) -> Session:
        """
        Open a session.

        Args:
            watch: Each take also says what became of the fires it promoted.
            way: How it takes messages.
        """
        id_ = new_id()
        fields: list[str | bytes] = ["info", msgspec.json.encode(info)]
        counter = self._connection.run("open", (*self._keys.core, self._keys.session_info(id_)), (id_, *fields))
        return Session(
            id_,
            self._connection,
            self._keys,
            counter=counter,
            losses_max=self._losses_max,
            watch=watch,
            seal=self._seal,
            way=way or Way(),
        )

    def observe(self) -> dict[str, int]:
        """The counter of each session, and -1 for one that was reclaimed but not emptied yet (reclaim it, whatever the counter)."""
        keys = self._keys
        pairs, dead = self._connection.pipeline([("HGETALL", keys.sessions), ("SMEMBERS", keys.dead_sessions)])
        counters = {id_.decode(): int(counter) for id_, counter in zip(pairs[::2], pairs[1::2], strict=True)}
        return counters | {id_.decode(): -1 for id_ in dead}

    def reclaim(self, session: str, counter: int) -> int | None:
        """Put back what *session* holds, if its counter still is *counter*; how many messages, or None if it lives."""
        keys = self._keys
        tail = (
            keys.dead_sessions, keys.session_info(session), keys.held(session), keys.cancels(session), keys.orders(session),
        )  # fmt: skip
        total: int = 0
        while True:
            reply = self._connection.run(
                "reclaim", (*keys.core, *tail), (session, counter, RECLAIM_CHUNK, self._losses_max)
            )
            if reply[0] == b"ALIVE":
                return None
            total += int(reply[1])
            if reply[0] == b"DONE":
                return total

    def workers(self) -> list[LiveWorker]:
        """Every open session with what it holds."""
        keys = self._keys
        ids = sorted(id_.decode() for id_ in self._connection.call("HKEYS", keys.sessions))
        commands: list[tuple[str, ...]] = [("TIME",)]
        for id_ in ids:
            commands += [
                ("HMGET", keys.session_info(id_), "info", "state", "seen"),
                ("HGETALL", keys.held(id_)),
            ]
        (seconds, micros), *replies = self._connection.pipeline(commands)
        now_ms = int(seconds) * 1000 + int(micros) // 1000
        workers = []
        for i, id_ in enumerate(ids):
            (info, state, seen_ms), pairs = replies[2 * i], replies[2 * i + 1]
            held = {}
            for message, place in zip(pairs[::2], pairs[1::2], strict=True):
                queue, _, taken_ms = place.decode().partition(" ")
                held[message.decode()] = (queue, int(taken_ms or 0))
            silent_ms = max(0, now_ms - int(seen_ms)) if seen_ms else 0
            known = _decode_info(info) if info else WorkerInfo(name="?")
            workers.append(LiveWorker(id_, known, held, decode_state(state), silent_ms))
        return workers


def _taken(now_us: int, reply: Sequence[Any]) -> Taken:
    messages = []
    for i in range(4, len(reply), 3):
        tries = reply[i + 2]
        if tries:
            attempt, losses = tries.split(b" ")
            messages.append(Message(reply[i].decode(), reply[i + 1], int(attempt), int(losses)))
        else:
            messages.append(Message(reply[i].decode(), reply[i + 1]))
    return Taken(now_us / 1000, messages, moment(reply[0]), reply[1] == 1, fire_events(reply[2]))


_decode_info = msgspec.json.Decoder(WorkerInfo).decode
