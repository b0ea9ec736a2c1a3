"""`retry.lua`, `release.lua`, `close.lua`: held messages go back, each to exactly one place (P5)."""

from __future__ import annotations

import pytest

from scheduler.model import Overlap
from scheduler.wire import FLAG_EARLY, FLAG_FIRE, decode_header
from tests.support.bench import HOUR_MS, Bench

pytestmark = pytest.mark.redis


def test_a_retry_comes_back_with_its_attempt(bench: Bench) -> None:
    """And its state is recorded."""
    id_ = bench.call()
    session = bench.open()
    bench.take(session)
    body = bench.store.queues.body(id_)
    assert body
    assert session.retry(id_, body, delay_ms=0, attempt=2, result=b'{"state":"RETRY"}', ttl_ms=1_000)
    assert bench.store.results.state(id_) == "RETRY"
    (message,) = session.take(["q"], 5).messages
    assert (message.id, message.attempt, message.losses) == (id_, 2, 0)
    bench.check_places()


def test_only_the_holder_may_retry(bench: Bench) -> None:
    """P9: a repeated call is refused."""
    id_ = bench.call()
    session = bench.open()
    bench.take(session)
    body = bench.store.queues.body(id_)
    assert body
    assert session.retry(id_, body, delay_ms=HOUR_MS, attempt=2)
    assert not session.retry(id_, body, delay_ms=0, attempt=3)
    assert bench.call_redis("HGET", bench.keys.tries, id_) == b"2 0"
    bench.check_places()


def test_a_retry_holds_its_slot(bench: Bench) -> None:
    """Trap 7: the run has not ended."""
    bench.put(overlap=Overlap.SKIP)
    term = bench.win()
    fire = bench.fired(term, in_ms=-4_000)
    session = bench.open()
    bench.take(session)
    session.retry(fire.id, fire.body, delay_ms=HOUR_MS, attempt=2)
    bench.fired(term, in_ms=-2_000)
    bench.promote()
    assert bench.store.registry.counts("e") == {"promoted": 1, "overlap": 1}
    assert bench.hash(bench.keys.slots) == {"e": fire.id}


def test_a_retried_fire_is_counted_once(bench: Bench) -> None:
    """P2: its due time was settled when it was promoted, be the retry ever so late."""
    bench.put()
    fire = bench.fired(bench.win(), in_ms=-4_000)
    session = bench.open()
    bench.take(session)
    session.retry(fire.id, fire.body, delay_ms=-60_000, attempt=2)
    assert bench.take(session) == [fire.id]
    assert bench.store.registry.counts("e") == {"promoted": 1}
    body = bench.store.queues.body(fire.id)
    assert body
    assert not decode_header(body)[0].flags & FLAG_FIRE


def test_a_retry_that_expires_was_promoted(bench: Bench) -> None:
    """P2: expired is its state; the outcome of its due time was settled before."""
    bench.put()
    fire = bench.fired(bench.win(), in_ms=-4_000)
    bench.promote()
    session = bench.open()
    bench.take(session)
    body = bytearray(fire.body)
    body[22:30] = b"\x00\x00\x00\x00\x00\x00\xf0\x3f"  # it expired 1 ms after the epoch
    session.retry(fire.id, bytes(body), delay_ms=0, attempt=2)
    bench.promote()
    (run,) = bench.store.history.runs("e")
    assert (run.state, run.outcome) == ("EXPIRED", "promoted")
    assert bench.store.registry.counts("e") == {"promoted": 1}


def test_a_retry_that_somebody_wants_cancelled_ends(bench: Bench) -> None:
    """A request to cancel is not forgotten."""
    id_ = bench.call()
    session = bench.open()
    bench.take(session)
    bench.store.queues.cancel(id_)
    body = bench.store.queues.body(id_)
    assert body
    assert not session.retry(id_, body, delay_ms=0, attempt=2)
    assert bench.store.results.state(id_) == "REVOKED"
    assert bench.live() == set()


def test_a_retry_with_bytes_that_are_not_ours_changes_nothing(bench: Bench) -> None:
    """Refuse first, write last."""
    id_ = bench.call()
    session = bench.open()
    bench.take(session)
    with pytest.raises(Exception, match="not a message of ours"):
        session.retry(id_, b"garbage", delay_ms=0, attempt=2)
    bench.check_places()


def test_released_messages_go_back_to_the_head_in_order(bench: Bench) -> None:
    """They have not started."""
    ids = bench.calls(4)
    session = bench.open()
    bench.take(session, 3)
    assert session.release(ids[:3]) == 3
    assert bench.take(session) == ids


def test_urgent_ones_go_back_to_their_own_place(bench: Bench) -> None:
    """Each to the list of its priority."""
    plain, urgent = bench.call(), bench.call(priority=9)
    session = bench.open()
    bench.take(session)
    session.release([plain, urgent])
    assert bench.take(session) == [urgent, plain]


def test_only_what_is_held_is_released(bench: Bench) -> None:
    """P5: a repeated call finds nothing."""
    (id_,) = bench.calls(1)
    session = bench.open()
    bench.take(session)
    assert session.release([id_, "nobody"]) == 1
    assert session.release([id_]) == 0
    bench.check_places()


def test_a_release_with_a_delay_waits(bench: Bench) -> None:
    """A task that this worker does not know."""
    bench.put()
    fire = bench.fired(bench.win())
    session = bench.open()
    bench.take(session)
    session.release([fire.id], delay_ms=HOUR_MS)
    assert bench.take(session) == []
    assert bench.store.queues.depths(["q"])["q"].delayed == 1
    assert bench.hash(bench.keys.slots) == {"e": fire.id}
    bench.check_places()


def test_five_losses_make_a_dead_letter(bench: Bench) -> None:
    """Trap 12: poison ends; its result says why."""
    id_ = bench.call()
    session = bench.open()
    for losses in range(5):
        (message,) = session.take(["q"], 5).messages
        assert message.losses == losses
        session.release([id_], lost=True)
    assert bench.take(session) == []
    assert [letter.id for letter in bench.store.queues.dead()] == [id_]
    record = bench.store.results.get(id_)
    assert record is not None
    assert record.state == "FAILURE"
    assert b"LostError" in bytes(record.result)
    bench.check_places()


def test_an_early_acknowledged_message_that_is_lost_does_not_run_again(bench: Bench) -> None:
    """Trap 7: it ends as lost, and frees its slot."""
    bench.put(ack="early")
    fire = bench.fired(bench.win())
    assert decode_header(fire.body)[0].flags & FLAG_EARLY
    session = bench.open()
    bench.take(session)
    session.release([fire.id], lost=True)
    assert bench.take(session) == []
    assert bench.store.results.state(fire.id) == "FAILURE"
    assert bench.hash(bench.keys.slots) == {}
    bench.check_places()


def test_a_released_message_that_somebody_wants_cancelled_ends(bench: Bench) -> None:
    """Its session was asked; the request must not go with the lease."""
    kept, cancelled = bench.calls(2)
    session = bench.open()
    bench.take(session)
    bench.store.queues.cancel(cancelled)
    session.release([kept, cancelled])
    assert bench.take(session) == [kept]
    assert bench.store.results.state(cancelled) == "REVOKED"
    assert session.renew().cancels == {}
    bench.check_places()


@pytest.mark.parametrize("ending", ["close", "reclaim"])
def test_a_session_gives_back_however_many_it_holds(bench: Bench, ending: str) -> None:
    """P5: more than a script can unpack at once."""
    ids = set(bench.calls(9_000))
    session = bench.open()
    for _ in range(9):
        bench.take(session, 1_000)
    if ending == "close":
        session.close()
    else:
        assert bench.store.sessions.reclaim(session.id, bench.store.sessions.observe()[session.id]) == 9_000
    assert bench.live() == ids
    bench.check_places()
    assert bench.store.sessions.workers() == []


def test_a_reconciliation_releases_however_many(bench: Bench) -> None:
    """P5: a worker that knows of nothing."""
    ids = set(bench.calls(9_000))
    session = bench.open()
    for _ in range(9):
        bench.take(session, 1_000)
    assert set(session.reconcile([]).released) == ids
    bench.check_places()


def test_a_closed_session_leaves_nothing(bench: Bench) -> None:
    """Its messages go back, and requests to cancel them are honoured."""
    kept, cancelled = bench.calls(2)
    session = bench.open()
    bench.take(session)
    bench.store.queues.cancel(cancelled)
    session.close()
    assert bench.take(bench.open()) == [kept]
    assert bench.store.results.state(cancelled) == "REVOKED"
    assert [key for key in bench.all_keys() if session.id in key] == []
    bench.check_places()
