"""Messages that wait: put on their queues, promoted, cancelled, purged, counted."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from scheduler.model import Place, Standing
from scheduler.store.connection import Connection
from scheduler.store.keys import Keys
from scheduler.wire import FLAG_FIRE, decode_header, new_id

if TYPE_CHECKING:
    from scheduler.seal import Seal
    from scheduler.store.audit import Note

CALL_REMEMBERED_MS = 60_000
"""How long a call id is remembered: far longer than any deadline within which a call is repeated."""
ENQUEUE_BATCH_MAX = 1_000
PURGE_CHUNK = 500


class NewMessage(NamedTuple):
    """A message to be put on *queue*; `at_ms` 0 means now; `unique`: its header has a unique key."""

    id: str
    body: bytes
    queue: str
    at_ms: int = 0
    priority: int = 0
    unique: bool = False


class Unique(NamedTuple):
    """A message was not accepted, as the run `holder` has its unique key and has not ended."""

    holder: str


class Full(NamedTuple):
    """A message was not accepted, as its queue is full: `length` messages wait there, `length_max` may."""

    length: int
    length_max: int


class Enqueued(list[bool]):
    """
    For each message of a call whether it was accepted.

    Attributes:
        refusals: Its place → why it was not; one that stands not here has an id that is alive already.
    """

    __slots__ = ("refusals",)

    def __init__(self, accepted: Iterable[bool], refusals: Mapping[int, Unique | Full]) -> None:
        super().__init__(accepted)
        self.refusals = refusals


class TriggerReply(NamedTuple):
    """
    Whether the run was accepted, and if not, who holds the overlap slot.

    Attributes:
        repeated: It had been accepted before, from another call of the same id; nothing new was started.
        gone: There is no such dead letter any more.
        refusal: Why it was not accepted, if not for the slot.
    """

    ok: bool
    holder: str
    repeated: bool = False
    gone: bool = False
    refusal: Unique | Full | None = None


class CancelReply(StrEnum):
    """What became of a request to cancel."""

    REVOKED = "revoked"
    REQUESTED = "requested"
    ENDED = "ended"
    UNKNOWN = "unknown"


class FireEvent(msgspec.Struct, frozen=True):
    """What promotion decided about a fire, for those who watch. `late_ms` belongs to a promoted one, `reason` to a skipped one."""

    entry: str
    due_ms: int
    id: str
    queue: str
    late_ms: int = 0
    reason: str = ""


class Promoted(NamedTuple):
    """
    The answer of `promote`.

    Attributes:
        now_ms: Redis' time, with microseconds.
        moved: How many messages left the delayed sets.
        next_due_ms: The moment of the next delayed message, None if there is none.
        more: Something due was left behind.
    """

    now_ms: float
    moved: int
    next_due_ms: float | None
    more: bool
    fires: list[FireEvent]


class Depth(NamedTuple):
    """How many messages of a queue are where."""

    ready: int
    delayed: int
    in_flight: int


class DeadLetter(NamedTuple):
    """A message that was given up."""

    id: str
    died_ms: int
    body: bytes


class Queues:
    """The queues of a namespace."""

    def __init__(self, connection: Connection, keys: Keys, seal: Seal | None = None) -> None:
        self._connection = connection
        self._keys = keys
        self._seal = seal
        self._bounded: set[str] = set()
        """Queues that had a bound when somebody called: they are looked at closely at once."""

    def enqueue(self, messages: Sequence[NewMessage], *, call_id: str) -> Enqueued:
        """
        Put *messages* on their queues in one round trip.

        Args:
            messages: At most ``ENQUEUE_BATCH_MAX``.
            call_id: Unique for this call; a repeat after a lost reply adds nothing.

        Returns:
            For each message whether it was accepted; False for an id that is alive already, for a unique key that a run has,
            and for a queue that is full.
        """
        keys = self._keys
        args: list[bytes | str | int] = [CALL_REMEMBERED_MS]
        if self._seal is not None:
            messages = [one._replace(body=self._seal.sign_message(one.id, one.body)) for one in messages]
        is_unique = False
        for id_, body, queue, at_ms, priority, unique in messages:
            args += (id_, body, queue, at_ms, priority)
            is_unique |= unique
        if not is_unique and not (self._bounded and any(message.queue in self._bounded for message in messages)):
            reply = self._connection.run("enqueue", (keys.call(call_id), keys.messages, keys.queues), args)
            if reply != b"LIMITED":
                return Enqueued([fresh == _ACCEPTED for fresh in reply], _NOBODY)
            self._bounded |= {message.queue for message in messages}
        return _enqueued(self._connection.run("admit", (*keys.core, keys.call(call_id)), args))

    def trigger(
        self,
        message: NewMessage,
        *,
        entry: str,
        force: bool,
        call_id: str,
        remembered_ms: int | None = None,
        note: Note | None = None,
        instead_of: str = "",
    ) -> TriggerReply:
        """
        Put one run of *entry* on its queue, in its overlap slot; refused while that is held, unless *force*.

        Args:
            call_id: Nothing is started by a second call with this id.
            remembered_ms: For how long; None: `CALL_REMEMBERED_MS`.
            note: Its line in the audit log.
            instead_of: The dead letter whose place it takes: that is kept no longer, in the same moment. *note* has a group then.
        """
        if self._seal is not None:
            message = message._replace(body=self._seal.sign_message(message.id, message.body))
        reply = self._connection.run(
            "trigger",
            (*self._keys.core, self._keys.call(call_id)),
            (
                remembered_ms or CALL_REMEMBERED_MS, entry, int(force), message.id, message.body, message.queue,
                message.at_ms, message.priority, new_id(), b"" if note is None else msgspec.json.encode(note),
                instead_of,
            ),
        )  # fmt: skip
        answer, holder = reply[0], reply[1].decode()
        refusal = Unique(holder) if answer == b"UNIQUE" else _full(holder) if answer == b"FULL" else None
        return TriggerReply(answer in {b"OK", b"AGAIN"}, holder, answer == b"AGAIN", answer == b"GONE", refusal)

    def promote(self, queues: Sequence[str], *, limit: int = 500, tell: bool = False) -> Promoted:
        """Promote what is due in *queues*, at most *limit* messages; with *tell*, say what became of each fire."""
        reply = self._connection.run("promote", self._keys.core, (limit, int(tell), *queues))
        return Promoted(reply[0] / 1000, reply[1], moment(reply[2]), reply[3] == 1, fire_events(reply[4]))

    def cancel(
        self, id_: str, *, terminate: bool = False, by: str = "", reason: str = "", note: Note | None = None
    ) -> CancelReply:
        """
        End a run where it waits, or ask its worker to (*terminate*: even if it runs already).

        A fire whose moment is still to come is revoked at once; its due time has its outcome when it has come.

        Args:
            by: Who asks, and *reason* why: for the record of such a fire.
            note: The line in the audit log; its entry is added there.
        """
        arguments = (id_, int(terminate), by, reason, b"" if note is None else msgspec.json.encode(note))
        return CancelReply(self._connection.run("cancel", self._keys.core, arguments).decode().lower())

    def purge(self, queue: str, *, note: Note | None = None) -> int:
        """
        End what waits in *queue*: ready messages and delayed calls. Armed fires stay.

        Args:
            note: The line in the audit log; how many were ended is added there.
        """
        if note is not None:
            note = msgspec.structs.replace(note, group=new_id())
        line = b"" if note is None else msgspec.json.encode(note)
        ended, position = 0, 0
        while position >= 0:
            count, position = self._connection.run("purge", self._keys.core, (queue, PURGE_CHUNK, position, line))
            ended += count
        return ended

    def names(self) -> list[str]:
        """Every queue that ever held a message."""
        return sorted(name.decode() for name in self._connection.call("SMEMBERS", self._keys.queues))

    def depths(self, queues: Iterable[str] | None = None) -> dict[str, Depth]:
        """How many messages of each queue are ready, delayed and in flight."""
        names = self.names() if queues is None else list(queues)
        keys = self._keys
        turns, *levels = self._connection.pipeline(
            [("SMEMBERS", keys.turns), *(("SMEMBERS", keys.levels(name)) for name in names)]
        )
        lines: dict[str, list[str]] = {}
        for member in turns:
            queue, _, task = member.decode().partition(" ")
            lines.setdefault(queue, []).append(keys.turn(queue, task))
        commands: list[tuple[str, ...]] = []
        for name, found in zip(names, levels, strict=True):
            commands.append(("ZCARD", keys.delayed(name)))
            commands += [("LLEN", keys.ready(name, level)) for level in (0, *map(int, found))]
            commands += [("LLEN", line) for line in lines.get(name, ())]
        counts = iter(self._connection.pipeline(commands))
        in_flight = self._in_flight()
        depths = {}
        for name, found in zip(names, levels, strict=True):
            delayed = next(counts)
            ready = sum(next(counts) for _ in range(1 + len(found) + len(lines.get(name, ()))))
            depths[name] = Depth(ready, delayed, in_flight.get(name, 0))
        return depths

    def body(self, id_: str) -> bytes | None:
        """The bytes of a message that has not ended."""
        body: bytes | None = self._connection.call("HGET", self._keys.messages, id_)
        return body

    def standing(self, id_: str) -> Standing | None:
        """Where message *id_* stands; None once it has ended. It may move while we look."""
        body = self.body(id_)
        if body is None:
            return None
        header, _ = decode_header(body)
        keys = self._keys
        sessions = self._connection.call("HKEYS", keys.sessions)
        score, in_line, waiting, *held = self._connection.pipeline(
            [
                ("ZSCORE", keys.delayed(header.queue), id_),
                ("ZSCORE", keys.line(header.entry), id_),
                ("HGET", keys.waiting, header.entry),
                *[("HGET", keys.held(session.decode()), id_) for session in sessions],
            ]
        )
        place, at_ms = Place.READY, 0
        taken = next((found for found in held if found is not None), None)
        if taken is not None:
            place, at_ms = Place.HELD, int(taken.decode().partition(" ")[2] or 0)
        elif score is not None:
            place, at_ms = Place.DELAYED, int(float(score))
        elif id_.encode() == waiting or in_line is not None:
            place = Place.WAITING
        is_fire = bool(header.flags & FLAG_FIRE)
        return Standing(place, header.queue, at_ms=at_ms, is_fire=is_fire, armed_ms=header.enqueued_ms)

    def holder(self, entry: str) -> str | None:
        """The run that holds the overlap slot of *entry*."""
        holder = self._connection.call("HGET", self._keys.slots, entry)
        return None if holder is None else str(holder.decode())

    def failed_body(self, id_: str) -> bytes | None:
        """The bytes of a message whose run has failed, or that is a dead letter, as long as they are kept."""
        keys = self._keys
        failed: bytes | None
        dead: bytes | None
        failed, dead = self._connection.pipeline(
            [("HGET", keys.failed_messages, id_), ("HGET", keys.dead_messages, id_)]
        )
        return failed or dead

    def dead(self, n: int = 50) -> list[DeadLetter]:
        """The newest dead letters."""
        found = self._connection.call("ZRANGE", self._keys.dead, 0, n - 1, "REV", "WITHSCORES")
        ids = found[::2]
        if not ids:
            return []
        bodies = self._connection.call("HMGET", self._keys.dead_messages, *ids)
        return [
            DeadLetter(id_.decode(), int(float(score)), body or b"")
            for id_, score, body in zip(ids, found[1::2], bodies, strict=True)
        ]

    def time_ms(self) -> float:
        """Redis' time, with microseconds."""
        seconds, micros = self._connection.call("TIME")
        return int(seconds) * 1000 + int(micros) / 1000

    def clock_skew_s(self) -> float:
        """How far this host's clock is ahead of Redis', in seconds; half a round trip is the error."""
        before = time.time()
        server_s = self.time_ms() / 1000
        return (before + time.time()) / 2 - server_s

    def _in_flight(self) -> dict[str, int]:
        sessions = self._connection.call("HKEYS", self._keys.sessions)
        sessions += self._connection.call("SMEMBERS", self._keys.dead_sessions)
        held = self._connection.pipeline([("HVALS", self._keys.held(session.decode())) for session in sessions])
        counts: dict[str, int] = {}
        for values in held:
            for value in values:
                queue = value.decode().split(" ")[0]
                counts[queue] = counts.get(queue, 0) + 1
        return counts


def _enqueued(reply: bytes) -> Enqueued:
    """What `admit.lua` answers."""
    letters, *words = reply.decode().split(" ")
    refusals: dict[int, Unique | Full] = {}
    told = iter(words)
    for at, letter in enumerate(letters):
        if letter == "u":
            refusals[at] = Unique(next(told))
        elif letter == "f":
            refusals[at] = _full(next(told))
    return Enqueued([letter == "1" for letter in letters], refusals)


def _full(word: str) -> Full:
    length, _, length_max = word.partition("/")
    return Full(int(length), int(length_max))


_ACCEPTED = ord("1")
_NOBODY: Mapping[int, Unique | Full] = {}


def fire_events(told: Sequence[Sequence[Any]]) -> list[FireEvent]:
    """What `promote_due.lua` tells, as events."""
    events = []
    for kind, entry, due, fact, id_, queue in told:
        common = {"entry": entry.decode(), "due_ms": int(due), "id": id_.decode(), "queue": queue.decode()}
        if kind == b"promoted":
            events.append(FireEvent(**common, late_ms=int(fact)))
        else:
            events.append(FireEvent(**common, reason=fact.decode()))
    return events


def moment(ms: int) -> float | None:
    """A moment from a script, where -1 stands for none."""
    return None if ms < 0 else float(ms)
