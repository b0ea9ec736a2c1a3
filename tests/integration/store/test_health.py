"""What `{ns}:last` knows of how an entry's runs went: it is what alerts are judged by."""

from __future__ import annotations

from typing import Any

import pytest

from scheduler.alarm import Health
from scheduler.store.queues import CancelReply
from scheduler.store.sessions import Session
from scheduler.wire import FLAG_BACKFILL
from tests.support.bench import Bench

pytestmark = pytest.mark.redis


def health(bench: Bench) -> Health:
    """Of the entry that every test here has."""
    return bench.store.registry.last()["e"]


@pytest.fixture
def session(bench: Bench) -> Session:
    """A worker, and an entry in force."""
    bench.put()
    return bench.open()


def run(bench: Bench, session: Session, state: str, **header: Any) -> None:
    """One run of the entry that ends in *state*."""
    id_ = bench.call(entry="e", **header)
    assert bench.take(session) == [id_]
    bench.finish(session, id_, state=state, entry="e")


def test_failures_are_counted_until_something_succeeds(bench: Bench, session: Session) -> None:
    """A cancelled or expired run in between says nothing either way."""
    for state, failures in (
        ("FAILURE", 1), ("FAILURE", 2), ("REVOKED", 2), ("EXPIRED", 2), ("FAILURE", 3), ("SUCCESS", 0), ("FAILURE", 1),
        ("IGNORED", 0),
    ):  # fmt: skip
        run(bench, session, state)
        assert (health(bench).state, health(bench).failures) == (state, failures)


def test_newest_due_time_that_succeeded_is_known(bench: Bench, session: Session) -> None:
    """Whatever the order in which runs end, and whatever fails after it."""
    for due_ms in (2_000, 1_000):
        run(bench, session, "SUCCESS", due_ms=due_ms)
    run(bench, session, "FAILURE", due_ms=3_000)
    assert (health(bench).succeeded_ms, health(bench).failures) == (2_000, 1)


def test_success_by_hand_stands_for_all_that_was_due_when_it_was_asked_for(bench: Bench, session: Session) -> None:
    """Whoever ran what was missing by hand has put it right."""
    run(bench, session, "SUCCESS", enqueued_ms=7_000)
    assert health(bench).succeeded_ms == 7_000


def test_backfill_makes_a_due_time_good_and_says_nothing_else(bench: Bench, session: Session) -> None:
    """Whoever runs last year's must not have the entry paused for it; nor does its success say that today's is well."""
    run(bench, session, "FAILURE", due_ms=9_000)
    for state, succeeded_ms in (("FAILURE", 0), ("SUCCESS", 5_000)):
        run(bench, session, state, due_ms=5_000, flags=FLAG_BACKFILL, backfill="b1")
        assert (health(bench).succeeded_ms, health(bench).failures) == (succeeded_ms, 1)


def test_runs_of_one_entry_in_one_batch_are_counted_one_by_one(bench: Bench, session: Session) -> None:
    """An entry with overlap='allow' may end several times in one call."""
    ids = bench.calls(3, entry="e", due_ms=5_000)
    bench.take(session)
    session.finish([bench.outcome(id_, state="FAILURE", entry="e") for id_ in ids])
    assert health(bench).failures == 3


def test_run_that_is_lost_for_good_is_a_failure_and_a_cancelled_one_is_not(bench: Bench, session: Session) -> None:
    """Endings that no worker writes count as well."""
    lost = bench.call(entry="e", due_ms=5_000)
    bench.take(session)
    for _ in range(5):
        session.release([lost], lost=True)
        bench.take(session)
    assert (health(bench).state, health(bench).failures) == ("FAILURE", 1)
    waiting = bench.call(entry="e", due_ms=6_000)
    assert bench.store.queues.cancel(waiting) == CancelReply.REVOKED
    assert (health(bench).state, health(bench).failures) == ("REVOKED", 1)


def test_what_an_older_version_wrote_is_read(bench: Bench, session: Session) -> None:
    """In the middle of a rolling upgrade."""
    bench.call_redis("HSET", bench.keys.last, "e", "SUCCESS 1700000000000")
    assert health(bench) == Health("SUCCESS", 1_700_000_000_000)
    run(bench, session, "FAILURE")
    assert health(bench).failures == 1
