"""
A stage on which an entry's life is played: the real store with all its scripts, real plans and tickers, and a clock that stands
still between two steps.

Everything happens in this process, one step after the other; Redis' own clock is set by hand (`SteppedServer.stand_at`), so
what happens is exact to the millisecond, and the same each time. What a step has brought is read from Redis: `Look` says where
every message is, `Stage.news` what differs from the last look.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple
from uuid import uuid4

import msgspec

from scheduler.beat.election import Won
from scheduler.beat.plan import Plan
from scheduler.beat.promoter import Promoter
from scheduler.beat.reign import Reign
from scheduler.beat.tick import Ticker
from scheduler.config import Config
from scheduler.errors import StoreUnavailableError
from scheduler.model import Message, Run, State
from scheduler.server_clock import ServerClock
from scheduler.store import Store, open_store
from scheduler.store.leadership import Armed
from scheduler.store.sessions import Session, WorkerInfo
from scheduler.wire import FLAG_FIRE, Header, decode_header, new_id
from tests.support.stepped import SteppedServer
from worker.outcome import Written, ended

HORIZON_MS = 15_000
LATE_LIMIT_MS = 15_000
QUEUE = "q"
TICKS_MAX = 10_000


class StandingClock(ServerClock):
    """Redis' time as the stage has set it."""

    def __init__(self, stage: Stage) -> None:
        super().__init__()
        self._stage = stage

    def now_ms(self) -> float:
        return float(self._stage.now_ms)


class Beat:
    """A beat that has won a term: it does nothing but what it is told to."""

    def __init__(self, stage: Stage, number: int, holder: str) -> None:
        clock = StandingClock(stage)
        won = Won(number, 1, 0, time.monotonic())
        self.number = number
        self.reign = Reign(
            stage.store, won, holder=holder, lease_s=3600, stall_s=3600, clock=clock, on_change=lambda: None
        )
        self.plan = Plan(namespace=stage.store.keys.namespace, horizon_ms=HORIZON_MS, late_limit_ms=LATE_LIMIT_MS)
        promoter = Promoter(stage.store, clock, default_queue=QUEUE)
        self.ticker = Ticker(stage.store, self.reign, self.plan, clock, promoter, late_limit_ms=LATE_LIMIT_MS)

    def tick(self) -> None:
        """Tick until there is nothing more to do for now. Raises `FencedError` once it was overtaken."""
        self.reign.renew()
        self.blind_tick()

    def blind_tick(self) -> None:
        """The same, before it has learned from a renewal what has changed."""
        for _ in range(TICKS_MAX):
            if self.ticker.tick() > 0:
                return
        raise AssertionError("the leader finds no rest")


class Place(NamedTuple):
    """Where a message is: ``delayed`` (until `at_ms`), ``waiting``, ``in line``, ``ready`` or ``held`` (by `session`)."""

    where: str
    at_ms: int = 0
    session: str = ""


class Look(NamedTuple):
    """
    Everything on Redis that tells of messages.

    Attributes:
        places: id → where it is; more than one place is a fault.
        runs: The ring of the namespace from the last look on.
    """

    bodies: dict[str, bytes]
    places: dict[str, list[Place]]
    slots: dict[str, str]
    runs: list[Run]

    def headers(self) -> dict[str, Header]:
        """What stands before each body."""
        return {id_: decode_header(body)[0] for id_, body in self.bodies.items()}


class Stage:
    """
    One namespace on *server*.

    Args:
        now_ms: Where its clock stands at first.
    """

    def __init__(self, server: SteppedServer, *, now_ms: int) -> None:
        self.now_ms = now_ms
        server.stand_at(now_ms)
        self._server = server
        config = Config(redis_url=server.url, namespace=f"s{uuid4().hex[:12]}", late_limit_ms=LATE_LIMIT_MS)
        self.store: Store = open_store(config, role="test")
        self.sessions: dict[str, Session] = {}
        self._runs_seen = 0

    def close(self) -> None:
        """The namespace stays on the server."""
        self.store.close()

    def set(self, now_ms: int) -> None:
        """Set Redis' clock."""
        self.now_ms = now_ms
        self._server.stand_at(now_ms)

    # ── beats ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def lead(self, name: str = "beat") -> Beat:
        """A new beat that has taken the term from whomever."""
        holder, leadership = new_id(), self.store.leadership
        won = leadership.elect(holder, name, stood_still=leadership.observe(), known=0, reason="test")
        assert won.won
        return Beat(self, won.number, holder)

    @contextmanager
    def answer_lost(self) -> Iterator[None]:
        """Meanwhile, one arm is carried out and its caller is told that nobody answered."""
        leadership = self.store.leadership
        arm: Callable[..., Armed] = leadership.arm

        def arm_in_vain(*args: Any, **kwargs: Any) -> Armed:
            leadership.arm = arm  # type: ignore[method-assign]
            arm(*args, **kwargs)
            raise StoreUnavailableError("the answer is lost")

        leadership.arm = arm_in_vain  # type: ignore[method-assign]
        try:
            yield
        except StoreUnavailableError:
            return
        finally:
            leadership.arm = arm  # type: ignore[method-assign]

    def promote(self) -> None:
        """As a follower or a worker does it, until nothing due is left."""
        while self.store.queues.promote((QUEUE,)).more:
            pass

    # ── workers ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def worker(self, name: str) -> Session:
        """The session of the worker *name*, opened when it is first asked for."""
        if name not in self.sessions:
            self.sessions[name] = self.store.sessions.open(WorkerInfo(name=name, queues=(QUEUE,)))
        return self.sessions[name]

    def take(self, name: str, n: int = 100) -> list[Message]:
        """What the worker gets, one take after the other: what was lost before comes alone."""
        messages: list[Message] = []
        while len(messages) < n and (taken := self.worker(name).take((QUEUE,), n - len(messages)).messages):
            messages += taken
        return messages

    def finish(self, name: str, message: Message, state: str = State.SUCCESS) -> bool:
        """The run has ended in *state*; whether that was accepted."""
        header = decode_header(message.body)[0]
        outcome = ended(header, Written(message.id, name, message.attempt, self.now_ms, self.now_ms), state)
        return not self.worker(name).finish([outcome]).refused

    def try_again(self, name: str, message: Message, *, delay_ms: int) -> bool:
        """The run wants another attempt."""
        body = self.store.queues.body(message.id)
        assert body is not None
        return self.worker(name).retry(message.id, body, delay_ms=delay_ms, attempt=message.attempt + 1)

    def die(self, name: str) -> None:
        """The worker is dead, and its session was reclaimed."""
        session = self.sessions.pop(name)
        counter = self.store.sessions.observe()[session.id]
        assert self.store.sessions.reclaim(session.id, counter) is not None

    # ── looking ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def look(self) -> Look:
        """Read everything. Each look brings the history since the one before."""
        keys = self.store.keys
        held = [session.id for session in self.sessions.values()]
        lined = [name.decode() for name in self.store.connection.call("SMEMBERS", keys.prefix + "lines")]
        messages, waiting, slots, delayed, length, *rest = self.store.connection.pipeline(
            [
                ("HGETALL", keys.messages),
                ("HGETALL", keys.waiting),
                ("HGETALL", keys.slots),
                ("ZRANGE", keys.delayed(QUEUE), 0, -1, "WITHSCORES"),
                ("LLEN", keys.runs),
                ("LRANGE", keys.runs, self._runs_seen, -1),
                *(("LRANGE", keys.ready(QUEUE, priority), 0, -1) for priority in range(10)),
                *(("HGETALL", keys.held(session)) for session in held),
                *(("ZRANGE", keys.line(entry), 0, -1) for entry in lined),
            ]
        )
        runs, ready, of_sessions, lines = rest[0], rest[1:11], rest[11 : 11 + len(held)], rest[11 + len(held) :]
        self._runs_seen = length
        places: dict[str, list[Place]] = {}
        for id_, at_ms in _pairs(delayed):
            places.setdefault(id_.decode(), []).append(Place("delayed", int(at_ms)))
        for id_ in (id_ for ids in ready for id_ in ids):
            places.setdefault(id_.decode(), []).append(Place("ready"))
        for _, id_ in _pairs(waiting):
            places.setdefault(id_.decode(), []).append(Place("waiting"))
        for session, flat in zip(held, of_sessions, strict=True):
            for id_, _ in _pairs(flat):
                places.setdefault(id_.decode(), []).append(Place("held", session=session))
        bodies = {id_.decode(): body for id_, body in _pairs(messages)}
        for id_ in (id_.decode() for ids in lines for id_ in ids):
            if id_ in bodies:  # who was cancelled is passed over when their turn comes
                places.setdefault(id_, []).append(Place("in line"))
        return Look(
            bodies,
            places,
            {entry.decode(): id_.decode() for entry, id_ in _pairs(slots)},
            [msgspec.json.decode(run, type=Run) for run in runs],
        )


def is_promoted(header: Header, place: Place) -> bool:
    """Whether the due time of a message of the schedule was settled as promoted."""
    if not header.of_schedule:
        return False
    return place.where in ("ready", "held") or (place.where == "delayed" and not header.flags & FLAG_FIRE)


def _pairs(flat: list[bytes]) -> Iterator[tuple[bytes, bytes]]:
    return zip(flat[::2], flat[1::2], strict=True)
