"""
When a message counts as done, and what a crash at each call of its worker then leads to.

    early   at most once: whatever dies when, it never runs twice
    each    at least once, and what a crash repeats is the one message that was being finished
    late    at least once; what a crash repeats is one batch of finished work

A worker's life is a list of calls on the store; each of them is a crash point, before it, after it, and with its reply lost. Then
another worker reclaims what is left, and runs on until nothing is.
"""

from __future__ import annotations

from collections import Counter

import pytest

from scheduler.store.sessions import Session
from scheduler.wire import FLAG_EARLY
from tests.integration.store.test_crash_points import Crash, Crashing
from tests.support.bench import Bench

pytestmark = pytest.mark.redis

HOWS = ("before", "reply lost", "after")
MESSAGES = 4


class Life:
    """A worker that takes, runs and finishes; *ran* counts what it ran, and outlives it."""

    def __init__(self, bench: Bench, ack: str) -> None:
        self.bench = bench
        self.ack = ack
        self.ran: Counter[str] = Counter()

    def work(self, session: Session) -> None:
        """Until nothing is left. Nothing is known of what a lost reply carried until the next reconcile."""
        for _ in range(3 * MESSAGES):
            taken = session.take(["q"], MESSAGES).messages
            session.renew()
            done = []
            for message in taken:
                self.ran[message.id] += 1
                done.append(self.bench.outcome(message.id))
                if self.ack != "late":
                    session.finish(done)
                    done = []
            if done:
                session.finish(done)
            session.reconcile(())

    def live(self, nth: int, how: str) -> list[str]:
        """One life that dies at call *nth*; the names of its calls."""
        session = self.bench.open()
        crashing = Crashing(self.bench.store.connection, nth, how)
        try:
            self.work(session)
        except Crash:
            pass
        finally:
            crashing.over()
            del self.bench.store.connection.run
        return crashing.calls

    def recover(self) -> None:
        """Somebody else reclaims the session, and goes on."""
        store = self.bench.store
        for session, counter in store.sessions.observe().items():
            store.sessions.reclaim(session, counter)
        self.work(self.bench.open())


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("nth", range(3 * MESSAGES))
def test_what_is_acknowledged_early_never_runs_twice(bench: Bench, nth: int, how: str) -> None:
    """At most once, at each crash point; and each message ends, as done or as lost."""
    ids = bench.calls(MESSAGES, flags=FLAG_EARLY)
    life = Life(bench, "early")
    life.live(nth, how)
    life.recover()
    assert max(life.ran.values(), default=0) <= 1
    assert bench.live() == set()
    states = {id_: record.state for id_ in ids if (record := bench.store.results.get(id_)) is not None}
    assert set(states) == set(ids)
    assert {id_ for id_, state in states.items() if state == "SUCCESS"} <= set(life.ran)


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("nth", range(3 * MESSAGES))
def test_what_is_acknowledged_one_by_one_repeats_one_message_at_most(bench: Bench, nth: int, how: str) -> None:
    """`ack="each"`: each is finished before the next is run, so a crash repeats that one."""
    ids = bench.calls(MESSAGES)
    life = Life(bench, "each")
    life.live(nth, how)
    life.recover()
    assert set(life.ran) == set(ids), "none is lost"
    assert sum(life.ran.values()) <= MESSAGES + 1
    assert bench.live() == set()


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("nth", range(6))
def test_what_is_acknowledged_late_repeats_its_batch_at_most(bench: Bench, nth: int, how: str) -> None:
    """And is written once all the same (P9): the history has one end of each."""
    ids = bench.calls(MESSAGES)
    life = Life(bench, "late")
    life.live(nth, how)
    life.recover()
    assert set(life.ran) == set(ids)
    assert max(life.ran.values()) <= 2
    assert Counter(run.id for run in bench.store.history.runs(n=100)) == Counter(ids)
