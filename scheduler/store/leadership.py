"""
The term: who may arm, and how that changes hands.

    free ──elect──▶ held by A ──renew──▶ held by A (counter + 1)
      ▲                │
      └──── resign ────┘        held by A, standing still ──elect by compare-and-set──▶ held by B (number + 1)

The truth is the hash `term` on Redis. A leader trusts its term until ``attempt_started + lease − margin`` on its own monotonic
clock. What each failure leads to:

- the leader dies: its counter stands still; a follower takes over after the lease;
- it is paused or cut off: the same, and when it comes back Redis refuses it (`FencedError`) and it follows;
- Redis loses a suffix of its writes: the counter it returns is lower than the leader remembers; it reads the marks again;
- Redis is emptied: the next renewal is refused by "term 0", and an election starts from the highest number ever seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
from msgspec.structs import replace

from scheduler.errors import FencedError
from scheduler.model import Fire, Skip
from scheduler.store.connection import Connection
from scheduler.store.keys import Keys
from scheduler.store.wake import Wake

if TYPE_CHECKING:
    from scheduler.seal import Seal

ARM_BATCH_MAX = 500


class TermRecord(NamedTuple):
    """The term as it stands on Redis; `holder` is empty when nobody holds it."""

    number: int
    holder: str
    name: str
    counter: int
    won_ms: int
    renewed_ms: int
    ticked_ms: int


class TermHistory(msgspec.Struct, frozen=True):
    """One reign, for people: `gap_ms` without a leader before it, and how many fires it caught up."""

    number: int
    holder: str
    name: str
    won_ms: int
    reason: str
    gap_ms: int
    caught_up: int | None = None


class Election(NamedTuple):
    """The answer to a candidate: whether it won, and the term that stands now."""

    won: bool
    number: int
    counter: int
    gap_ms: int = 0


class TermRenewed(NamedTuple):
    """The answer to a renewal: Redis' time, the registry's revision, whether somebody asked the leader to step down."""

    counter: int
    now_ms: float
    revision: int
    step_down: bool


class Armed(NamedTuple):
    """
    The answer to `arm`.

    Attributes:
        armed: How many fires were armed now.
        stale: Names of entries that changed since they were read: read them again.
    """

    counter: int
    now_ms: float
    armed: int
    stale: list[str]


class Leadership:
    """The term of a namespace."""

    def __init__(self, connection: Connection, keys: Keys, seal: Seal | None = None) -> None:
        self._connection = connection
        self._keys = keys
        self._seal = seal

    def observe(self) -> TermRecord | None:
        """The term as it stands, None before the first one."""
        fields = ("number", "holder", "name", "counter", "won_ms", "renewed_ms", "ticked_ms")
        found = self._connection.call("HMGET", self._keys.term, *fields)
        if found[0] is None:
            return None
        number, holder, name, counter, won, renewed, ticked = found
        return TermRecord(
            int(number), holder.decode(), name.decode(), int(counter), int(won), int(renewed), int(ticked)
        )

    def elect(self, holder: str, name: str, *, stood_still: TermRecord | None, known: int, reason: str) -> Election:
        """
        Stand for the term.

        Args:
            holder: This process' life; never used by another.
            stood_still: The term whose counter did not move for the whole lease on our clock, if there is one.
            known: The highest term number this process has seen.
            reason: For the history, if we take over.
        """
        keys = self._keys
        seen = (-1, -1) if stood_still is None else (stood_still.number, stood_still.counter)
        reply = self._connection.run(
            "elect", (keys.term, keys.leaders, keys.baton), (holder, name, *seen, known, reason)
        )
        if reply[0] == b"WON":
            return Election(True, reply[1], reply[2], reply[3])
        return Election(False, reply[1], reply[2])

    def renew(self, number: int, holder: str, *, tick_age_ms: int, caught_up: int | None = None) -> TermRenewed:
        """
        Raise the counter of our term.

        Raises:
            FencedError: The term is somebody else's.
        """
        keys = self._keys
        args = (number, holder, tick_age_ms, "" if caught_up is None else caught_up)
        reply = self._fenced(number, self._connection.run("renew_term", (keys.term, keys.meta, keys.leaders), args))
        return TermRenewed(reply[1], reply[2] / 1000, reply[3], reply[4] == number)

    def resign(self, number: int, holder: str, *, timeout_s: float = 2.0) -> bool:
        """Give the term up and pass the baton. False if it was not ours any more."""
        reply = self._connection.run(
            "resign", (self._keys.term, self._keys.baton), (number, holder), timeout_s=timeout_s
        )
        return bool(reply == b"RESIGNED")

    def step_down(self) -> TermRecord | None:
        """Ask the present leader to resign; whom."""
        term = self.observe()
        if term is None or not term.holder:
            return None
        self._connection.call("HSET", self._keys.term, "step_down", term.number)
        return term

    def bell(self) -> Wake:
        """What a beat listens to while it waits: ``"baton"`` (a leader resigned) and ``"nudge"`` (the registry changed)."""
        return Wake(self._connection, {"baton": self._keys.baton, "nudge": self._keys.nudge}.__getitem__)

    def arm(self, fires: Sequence[Fire], skips: Sequence[Skip], *, number: int, holder: str) -> Armed:
        """
        Put *fires* on the delayed sets of their queues, each once, and record *skips*, in the name of our term.

        Args:
            fires: At most ``ARM_BATCH_MAX``, those of one entry in the order of their due times.
            skips: Stretches that are given up; each lies before the fires of its entry.

        Raises:
            FencedError: A newer term has written; nothing was.

        Source: fencing tokens, M. Kleppmann, "How to do distributed locking", 2016.
        """
        keys = self._keys
        args: list[Any] = [number, holder, len(skips)]
        for skip in skips:
            args += (skip.entry, skip.state, skip.reason, skip.from_ms, skip.to_ms, skip.count, skip.mark_ms, skip.note)
        if self._seal is not None:
            fires = [replace(fire, body=self._seal.sign_message(fire.id, fire.body)) for fire in fires]
        for fire in fires:
            args += (fire.entry, fire.state, fire.due_ms, fire.at_ms, fire.id, fire.body, fire.queue)
        reply = self._fenced(number, self._connection.run("arm", (*keys.core, keys.term, keys.marks), args))
        answers = reply[3].decode()
        entries = [skip.entry for skip in skips] + [fire.entry for fire in fires]
        stale = sorted({entry for entry, answer in zip(entries, answers, strict=True) if answer == "S"})
        return Armed(reply[1], reply[2] / 1000, answers[len(skips) :].count("A"), stale)

    def history(self, n: int = 20) -> list[TermHistory]:
        """The last *n* reigns, newest first."""
        found = self._connection.call("LRANGE", self._keys.leaders, -n, -1)
        return [_decode_history(data) for data in reversed(found)]

    def _fenced(self, number: int, reply: list[Any]) -> list[Any]:
        if reply[0] == b"FENCED":
            raise FencedError(number, reply[1])
        return reply


_decode_history = msgspec.json.Decoder(TermHistory).decode
