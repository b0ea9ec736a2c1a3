"""
A crash at each call: before it, after it with the reply lost, and after it.

Each scenario is the work of a beat and a worker as a list of calls on the store. Every call of every scenario is a crash point:
somebody dies there, or only the reply dies; then comes the recovery that the design documents, by somebody else or by the same
process; and then everything must be as if nothing had happened: each due time armed and promoted once (P1), with one outcome
(P2), each message ended once (P9), and nothing left in two places or in none (P5).

A call that is added to a scenario adds its crash points.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from scheduler.errors import FencedError, LeaseLostError
from scheduler.fires import FireMaker, schedule_of
from scheduler.model import Fire, Overlap
from scheduler.store.connection import Connection
from scheduler.store.queues import NewMessage
from scheduler.store.sessions import Session
from scheduler.timing import every
from scheduler.wire import Header, Payload, decode_header, encode_body, fire_id, new_id
from tests.support.bench import LATE_LIMIT_MS, Bench, Term

pytestmark = pytest.mark.redis


class Crash(Exception):
    """The process is gone."""


class Crashing:
    """Stands between the store and Redis: lets the *nth* script die in the way of *how*; counts the calls."""

    def __init__(self, connection: Connection, nth: int, how: str) -> None:
        self.calls: list[str] = []
        self._run = connection.run
        self._nth = nth
        self._how = how
        connection.run = self.run  # type: ignore[method-assign]

    def run(self, name: str, *args: Any, **options: Any) -> Any:
        """As `Connection.run`."""
        self.calls.append(name)
        if len(self.calls) - 1 != self._nth:
            return self._run(name, *args, **options)
        if self._how == "before":
            raise Crash
        self._run(name, *args, **options)
        if self._how == "reply lost":
            # What `Connection` does: it cannot know, so it calls again.
            return self._run(name, *args, **options)
        raise Crash

    def over(self) -> None:
        """No more crashes."""
        self._nth = -1


ENTRIES = {f"e{int(overlap)}": overlap for overlap in Overlap}


class World:
    """What beats and workers know in their own memory; it dies with them."""

    def __init__(self, bench: Bench, now_ms: int) -> None:
        self.bench = bench
        self.store = bench.store
        self.now_ms = now_ms
        self.dues = {name: [now_ms - 3_000, now_ms - 2_000, now_ms - 1_000] for name in ENTRIES}
        self.calls = [
            NewMessage(
                new_id(), encode_body(Header(task="t.x", queue="q", enqueued_ms=now_ms), Payload()), "q", at, prio
            )
            for at, prio in ((0, 0), (0, 5), (now_ms - 10, 0))
        ]
        self.call_id = new_id()
        self.term: Term | None = None
        self.session: Session | None = None

    # ── a beat ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def beat(self) -> None:
        """One life of a beat: publish, win, arm, promote, renew, resign."""
        entries = {
            name: self.bench.entry(name, overlap=overlap, schedule=every("1h").as_data())
            for name, overlap in ENTRIES.items()
        }
        published = self.store.loads.publish(entries, clean=True, mistakes=(), by="b")
        assert not published.superseded
        for name in ENTRIES:  # the entries have been in force for long
            if self.store.registry.state(name).mark_ms > self.now_ms - 100:
                self.bench.move_mark(name, self.bench.now_ms - self.now_ms + 5_000)
        self.term = self.bench.win(new_id())
        term = self.term
        self.store.leadership.arm(self.fires(), [], number=term.number, holder=term.holder)
        self.store.queues.promote(["q"], limit=5)
        self.store.leadership.renew(term.number, term.holder, tick_age_ms=0, caught_up=3)
        self.store.queues.promote(["q"], limit=500)
        self.store.leadership.resign(term.number, term.holder)

    def fires(self) -> list[Fire]:
        """What lies above the marks, as a planner finds it."""
        fires = []
        for name in ENTRIES:
            record = self.store.registry.state(name)
            assert record.entry is not None
            maker = FireMaker(
                record.entry,
                schedule_of(record.entry),
                namespace=self.bench.keys.namespace,
                late_limit_ms=10 * LATE_LIMIT_MS,
            )
            state = record.state
            for due_ms in self.dues[name]:
                if due_ms > record.mark_ms:
                    fires.append(maker.fire(due_ms, due_ms + 1_000, state=state, now_ms=self.now_ms))
                    state = f"{record.revision} {due_ms}"
        return fires

    # ── a producer ──────────────────────────────────────────────────────────────────────────────────────────────────

    def produce(self) -> None:
        """One call with three messages. A producer that died before its reply came asks again with the same ids."""
        self.store.queues.enqueue(self.calls, call_id=self.call_id)

    # ── a worker ────────────────────────────────────────────────────────────────────────────────────────────────────

    def work(self) -> None:
        """One life of a worker: take, finish some, retry one, release one, reconcile, close."""
        self.session = session = self.bench.open(new_id())
        self.end(session, session.take(["q"], 2).messages)
        taken = session.take(["q"], 3).messages
        session.renew()
        if taken:
            body = taken[0].body
            session.retry(taken[0].id, body, delay_ms=-1, attempt=taken[0].attempt + 1)
        if len(taken) > 1:
            session.release([taken[1].id])
        session.reconcile([message.id for message in taken[2:]])
        self.end(session, taken[2:])
        session.close()

    def end(self, session: Session, messages: list[Any]) -> None:
        """Finish *messages*, and take on in the same call, until there is nothing left to take here."""
        if messages:
            outcomes = [
                self.bench.outcome(message.id, entry=decode_header(message.body)[0].entry) for message in messages
            ]
            session.finish(outcomes)


SCENARIOS: dict[str, Callable[[World], None]] = {
    "beat": World.beat,
    "producer": World.produce,
    "worker": World.work,
}


def count_calls(bench: Bench, name: str) -> list[str]:
    """The scripts that a scenario runs when nothing goes wrong."""
    world = World(bench, bench.now_ms)
    prepare(world, name)
    watching = Crashing(bench.store.connection, -1, "")
    SCENARIOS[name](world)
    return watching.calls


def prepare(world: World, name: str) -> None:
    """What has happened before *name* begins."""
    if name == "worker":
        world.produce()
        world.beat()


CALLS = {
    "beat": ["change", "change", "elect", "arm", "promote", "renew_term", "promote", "resign"],
    "producer": ["enqueue"],
    "worker": ["open", "take", "finish", "take", "renew", "retry", "release", "reconcile", "finish", "close"],
}


@pytest.mark.parametrize("name", SCENARIOS)
def test_the_crash_points_are_those_of_the_scenario(bench: Bench, name: str) -> None:
    """A call that is added to a scenario must be added to `CALLS`, and so gets its crash points."""
    assert count_calls(bench, name) == CALLS[name]


POINTS = [
    pytest.param(name, nth, how, id=f"{name}-{nth}-{call}-{how.replace(' ', '_')}")
    for name, calls in CALLS.items()
    for nth, call in enumerate(calls)
    for how in ("before", "reply lost", "after")
]


@pytest.mark.parametrize(("name", "nth", "how"), POINTS)
def test_a_crash_loses_nothing_and_repeats_nothing(bench: Bench, name: str, nth: int, how: str) -> None:
    """P1, P2, P5, P9, at every call of a beat, a producer and a worker."""
    world = World(bench, bench.now_ms)
    prepare(world, name)
    crashing = Crashing(bench.store.connection, nth, how)
    try:
        SCENARIOS[name](world)
    except Crash:
        crashing.over()
        old_term, old_session = world.term, world.session
        recover(world, name)
        assert_the_dead_write_nothing(bench, old_term, old_session)
    crashing.over()
    check_live(bench)
    drain(world)
    check_end(world)


def recover(world: World, name: str) -> None:
    """What the design says that others do when somebody has died."""
    if name == "beat":
        world.beat()  # another beat, which saw the counter stand still
    elif name == "producer":
        world.produce()  # the caller asks again
    else:
        world.bench.store.sessions.observe()


def assert_the_dead_write_nothing(bench: Bench, term: Term | None, session: Session | None) -> None:
    """P3: what comes back from the dead is refused."""
    if term is not None and (observed := bench.store.leadership.observe()) and observed.number != term.number:
        with pytest.raises(FencedError):
            bench.store.leadership.renew(term.number, term.holder, tick_age_ms=0)
    if session is not None:
        for id_, counter in bench.store.sessions.observe().items():
            bench.store.sessions.reclaim(id_, counter)
        with pytest.raises(LeaseLostError):
            session.renew()


def check_live(bench: Bench) -> None:
    """P5, where we stand."""
    bench.check_places()


def drain(world: World) -> None:
    """Everybody does their work until there is none."""
    bench = world.bench
    world.produce()
    if not bench.store.registry.all() or world.fires():
        world.beat()
    for id_, counter in bench.store.sessions.observe().items():
        bench.store.sessions.reclaim(id_, counter)
    session = bench.open()
    for _ in range(100):
        bench.promote()
        messages = session.take(["q"], 100).messages
        world.end(session, messages)
        if not messages and not bench.live():
            break
    session.close()


def check_end(world: World) -> None:
    """Each due time has one outcome, each message one end; nothing is left."""
    bench = world.bench
    assert bench.live() == set()
    bench.check_places()
    assert bench.hash(bench.keys.slots) == {}
    assert bench.hash(bench.keys.waiting) == {}
    runs = [run for run in bench.store.history.runs(n=1_000) if run.state]
    ended = Counter(run.id for run in runs)
    assert {id_: n for id_, n in ended.items() if n > 1} == {}, "ended more than once"
    assert {message.id for message in world.calls} <= set(ended), "a call was lost"
    for name, dues in world.dues.items():
        counts = bench.store.registry.counts(name)
        assert sum(counts.values()) == len(dues), f"{name}: outcomes {counts} for {len(dues)} due times"
        fires = {fire_id(bench.keys.namespace, name, due_ms) for due_ms in dues}
        assert counts["promoted"] == len(fires & set(ended)), f"{name}: {counts}"
