"""Of the runs that share a unique key, one is alive at a time; and whatever becomes of it, its key is free afterwards."""

from __future__ import annotations

import time

import pytest

from scheduler.model import Overlap
from scheduler.store.queues import Unique
from scheduler.wire import new_id
from tests.support.bench import HOUR_MS, Bench

pytestmark = pytest.mark.redis

KEY = "60000 t.x:acme"
OTHER = "60000 t.x:other"


def counts(bench: Bench) -> dict[str, int]:
    """How often each outcome has happened."""
    return {outcome: n for outcome, n in bench.store.registry.counts("e").items() if n}


def held(bench: Bench) -> str:
    """The id of the run that has the key, empty if it is free."""
    holder = bench.call_redis("GET", bench.keys.unique(KEY))
    return holder.decode() if holder else ""


def refused(bench: Bench) -> str:
    """Who has the key, asked by somebody who wants it; empty if he gets it."""
    refusals = bench.store.queues.enqueue([bench.message(unique=KEY)], call_id=new_id()).refusals
    return refusals[0].holder if refusals and isinstance(refusals[0], Unique) else ""


def test_a_call_for_a_key_that_is_held_is_not_accepted(bench: Bench) -> None:
    """It is told who has the key; another key, and no key, are none of its business."""
    first = bench.call(unique=KEY)
    assert refused(bench) == first
    bench.call(unique=OTHER)
    bench.call()
    assert len(bench.live()) == 3
    bench.check_places()


def test_of_two_in_one_call_the_first_has_the_key(bench: Bench) -> None:
    """As if one had come after the other; and a repeat of the call is answered as before."""
    messages = [bench.message(unique=KEY) for _ in range(3)]
    call_id = new_id()
    for _ in range(2):
        answer = bench.store.queues.enqueue(messages, call_id=call_id)
        assert answer == [True, False, False]
        assert answer.refusals == {1: Unique(messages[0].id), 2: Unique(messages[0].id)}
    assert bench.live() == {messages[0].id}


@pytest.mark.parametrize("end", ["finish", "dead", "cancel", "purge", "expire", "lost", "retried"])
def test_every_end_frees_the_key(bench: Bench, end: str) -> None:
    """So nothing is kept out for longer than the run lives (P5)."""
    id_ = bench.call(unique=KEY, expires_ms=bench.now_ms + 30 if end == "expire" else 0)
    session = bench.open()
    if end in {"finish", "dead", "retried"}:
        assert bench.take(session) == [id_]
        if end == "retried":
            body = bench.store.queues.body(id_)
            assert body
            assert session.retry(id_, body, delay_ms=0, attempt=2)
            assert refused(bench) == id_, "a run that backs off keeps its key"
            time.sleep(0.002)
            assert bench.take(session) == [id_]
        bench.finish(session, id_, dead=end == "dead", unique=KEY)
    elif end == "cancel":
        bench.store.queues.cancel(id_)
    elif end == "purge":
        assert bench.store.queues.purge("q") == 1
    elif end == "expire":
        time.sleep(0.04)
        assert bench.take(session) == []
    else:
        for _ in range(5):
            bench.take(session)
            session.release([id_], lost=True)
    assert held(bench) == ""
    assert refused(bench) == ""


def test_the_run_of_a_dead_worker_keeps_its_key(bench: Bench) -> None:
    """It runs again elsewhere; meanwhile nobody takes its place."""
    id_ = bench.call(unique=KEY)
    dying = bench.open()
    assert bench.take(dying) == [id_]
    bench.store.sessions.reclaim(dying.id, bench.store.sessions.observe()[dying.id])
    assert refused(bench) == id_
    session = bench.open()
    assert bench.take(session) == [id_]
    bench.finish(session, id_, unique=KEY)
    assert held(bench) == ""


def test_only_who_holds_the_message_frees_its_key(bench: Bench) -> None:
    """P9: the outcome of somebody else is refused, whatever it says of keys."""
    id_ = bench.call(unique=KEY)
    stranger = bench.open()
    assert stranger.finish([bench.outcome(id_, unique=KEY)]).refused == [id_]
    assert held(bench) == id_


def test_an_expired_run_that_nobody_takes_keeps_nobody_out(bench: Bench) -> None:
    """P8: it will never start. It ends when somebody asks for its key."""
    old = bench.call(unique=KEY, expires_ms=bench.now_ms + 20)
    time.sleep(0.03)
    assert refused(bench) == ""
    assert old not in bench.live()
    bench.check_places()


def test_a_key_whose_run_is_gone_is_free(bench: Bench) -> None:
    """P11: Redis lost the run, and kept the key."""
    id_ = bench.call(unique=KEY)
    bench.call_redis("HDEL", bench.keys.messages, id_)
    assert refused(bench) == ""


def test_a_key_is_held_no_longer_than_its_bound(bench: Bench) -> None:
    """… from the moment when the run may start: an eta that is far away loses nothing."""
    bench.call(unique="40 t.x:acme")
    ahead = bench.call(unique=OTHER, in_ms=HOUR_MS)
    assert bench.call_redis("PTTL", bench.keys.unique(OTHER)) > HOUR_MS
    time.sleep(0.06)
    assert refused(bench) == ""
    assert ahead in bench.live()


def test_a_fire_whose_key_is_held_is_skipped(bench: Bench) -> None:
    """P2: with an outcome of its own, and the run that had the key."""
    term = bench.win()
    bench.put(unique=KEY, overlap=Overlap.ALLOW)
    holder = bench.call(unique=KEY)
    fire = bench.fired(term)
    bench.promote()
    assert fire.id not in bench.live()
    assert counts(bench) == {"unique": 1}
    [run] = bench.store.history.runs("e")
    assert (run.outcome, run.holder) == ("unique", holder)
    bench.take(bench.open())
    bench.check_places()


def test_a_fire_takes_the_key_when_it_is_promoted(bench: Bench) -> None:
    """While it was only armed, others may have it."""
    term = bench.win()
    bench.put(unique=KEY, overlap=Overlap.ALLOW)
    fire = bench.fired(term)
    assert held(bench) == ""
    bench.promote()
    assert refused(bench) == fire.id
    session = bench.open()
    assert bench.take(session) == [fire.id]
    bench.finish(session, fire.id, entry="e", unique=KEY)
    assert held(bench) == ""


@pytest.mark.parametrize("overlap", [Overlap.QUEUE, Overlap.REPLACE])
def test_where_the_slot_and_the_key_are_one_runs_the_overlap_policy_decides(bench: Bench, overlap: Overlap) -> None:
    """A fire that waits for the run before it has that run's key after it; it was not skipped."""
    term = bench.win()
    bench.put(unique=KEY, overlap=overlap)
    first = bench.fired(term, in_ms=-50)
    bench.promote()
    session = bench.open()
    assert bench.take(session) == [first.id]
    second = bench.fired(term, in_ms=-5)
    bench.promote()
    assert held(bench) == first.id
    bench.finish(session, first.id, entry="e", unique=KEY)
    assert held(bench) == second.id
    assert bench.take(session) == [second.id]
    assert counts(bench) == {"promoted": 2}


def test_who_waited_for_the_slot_gives_way_if_the_key_went_to_another(bench: Bench) -> None:
    """The slot is free afterwards, and the due time has its outcome (P2)."""
    term = bench.win()
    bench.put(unique=KEY, overlap=Overlap.QUEUE)
    first = bench.fired(term, in_ms=-50)
    bench.promote()
    session = bench.open()
    bench.take(session)
    second = bench.fired(term, in_ms=-5)
    bench.promote()
    bench.call_redis("SET", bench.keys.unique(KEY), bench.call())
    bench.finish(session, first.id, entry="e", unique=KEY)
    assert second.id not in bench.live()
    assert counts(bench) == {"promoted": 1, "unique": 1}
    assert bench.call_redis("HEXISTS", bench.keys.slots, "e") == 0
    bench.check_places()


def test_a_run_by_hand_is_refused_unless_forced(bench: Bench) -> None:
    """A forced one runs beside the other, and takes no key."""
    bench.put(unique=KEY, overlap=Overlap.ALLOW)
    holder = bench.call(unique=KEY)
    trigger = bench.store.queues.trigger
    reply = trigger(bench.message(entry="e", unique=KEY), entry="e", force=False, call_id=new_id())
    assert (reply.ok, reply.refusal) == (False, Unique(holder))
    assert trigger(bench.message(entry="e"), entry="e", force=True, call_id=new_id()).ok
    assert held(bench) == holder
