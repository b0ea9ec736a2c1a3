"""`finish.lua`: outcomes, once, by the holder of the lease (P9)."""

from __future__ import annotations

import pytest

from scheduler.errors import LeaseLostError
from scheduler.wire import new_id
from tests.support.bench import Bench

pytestmark = pytest.mark.redis


def test_a_finished_run_leaves_its_result_and_its_history_and_nothing_else(bench: Bench) -> None:
    """P5."""
    id_ = bench.call()
    session = bench.open()
    bench.take(session)
    bench.finish(session, id_)
    record = bench.store.results.get(id_)
    assert record is not None
    assert (record.state, bytes(record.result)) == ("SUCCESS", b"1")
    assert 0 < bench.call_redis("PTTL", bench.keys.result(id_)) <= 60_000
    assert [run.id for run in bench.store.history.runs()] == [id_]
    assert bench.live() == set()
    bench.check_places()


def test_an_outcome_is_written_only_by_the_holder(bench: Bench) -> None:
    """P9: a late one is refused, the others of its batch are written."""
    mine, theirs = bench.calls(2)
    session, other = bench.open(), bench.open()
    assert [bench.take(session, 1), bench.take(other, 1)] == [[mine], [theirs]]
    assert session.finish([bench.outcome(theirs), bench.outcome(mine)]).refused == [theirs]
    assert bench.store.results.get(theirs) is None
    assert bench.live() == {theirs}


def test_an_outcome_is_written_once(bench: Bench) -> None:
    """P9: neither a repeated call nor an id named twice writes again."""
    id_ = bench.call()
    session = bench.open()
    bench.take(session)
    first = session.finish([bench.outcome(id_), bench.outcome(id_, state="FAILURE")])
    assert first.refused == [id_]
    assert session.finish([bench.outcome(id_, state="FAILURE")]).refused == [id_]
    assert bench.store.results.state(id_) == "SUCCESS"
    assert len(bench.store.history.runs()) == 1


def test_a_reclaimed_session_writes_nothing(bench: Bench) -> None:
    """P9, and P3 for workers: every call of a fenced session is refused and changes nothing."""
    id_ = bench.call()
    session = bench.open()
    bench.take(session)
    body = bench.store.queues.body(id_)
    assert body
    bench.store.sessions.reclaim(session.id, bench.store.sessions.observe()[session.id])
    before = bench.dump()
    for call in (
        lambda: session.finish([bench.outcome(id_)]),
        lambda: session.take(["q"], 5),
        lambda: session.retry(id_, body, delay_ms=0, attempt=2),
        lambda: session.release([id_], lost=True),
        session.renew,
        lambda: session.reconcile([id_]),
    ):
        with pytest.raises(LeaseLostError):
            call()
    session.close()
    assert bench.dump() == before


def test_finishing_takes_the_next_batch_in_the_same_call(bench: Bench) -> None:
    """One round trip for a batch."""
    first, second = bench.calls(2)
    session = bench.open()
    bench.take(session, 1)
    finished = session.finish([bench.outcome(first)], take=5, queues=["q"])
    assert finished.taken is not None
    assert [message.id for message in finished.taken.messages] == [second]
    assert session.finish([], take=5, queues=["q"]).taken is not None
    assert session.finish([bench.outcome(second)]).taken is None


def test_a_dead_letter_keeps_its_bytes(bench: Bench) -> None:
    """For people, and for `sched retry`."""
    id_ = bench.call()
    body = bench.store.queues.body(id_)
    session = bench.open()
    bench.take(session)
    bench.finish(session, id_, state="FAILURE", dead=True)
    (letter,) = bench.store.queues.dead()
    assert (letter.id, letter.body) == (id_, body)


def test_an_entry_remembers_its_last_run(bench: Bench) -> None:
    """What `sched list` shows."""
    bench.put()
    fire = bench.fired(bench.win())
    session = bench.open()
    bench.take(session)
    bench.finish(session, fire.id, state="FAILURE", entry="e")
    health = bench.store.registry.last()["e"]
    assert health.state == "FAILURE"
    assert abs(health.ended_ms - bench.now_ms) < 60_000
    assert [run.id for run in bench.store.history.runs("e")] == [fire.id]


def test_what_is_known_of_an_entry_that_was_removed_while_it_ran_has_a_lifetime(bench: Bench) -> None:
    """Nothing is kept for ever that no list of entries bounds."""
    bench.put()
    fire = bench.fired(bench.win())
    session = bench.open()
    bench.take(session)
    bench.store.loads.publish({}, clean=True, mistakes=(), by="t")
    bench.finish(session, fire.id, entry="e")
    assert "e" not in bench.store.registry.last()
    assert bench.call_redis("PTTL", bench.keys.entry_runs("e")) > 0


def test_a_result_without_a_lifetime_does_not_stop_the_batch(bench: Bench) -> None:
    """P12: 0 ms is refused by Redis, in the middle of a script."""
    ids = bench.calls(2)
    session = bench.open()
    bench.take(session)
    outcomes = [bench.outcome(id_) for id_ in ids]
    broken = type(outcomes[0])(ids[0], b"{}", 0, outcomes[0].run)
    assert session.finish([broken, outcomes[1]]).refused == []
    assert bench.live() == set()


def test_an_unknown_id_is_refused(bench: Bench) -> None:
    """As one that is over."""
    id_ = new_id()
    assert bench.open().finish([bench.outcome(id_)]).refused == [id_]


def test_a_request_to_cancel_goes_with_its_run(bench: Bench) -> None:
    """Else the session would be asked for ever."""
    id_ = bench.call()
    session = bench.open()
    bench.take(session)
    bench.store.queues.cancel(id_)
    bench.finish(session, id_)
    assert session.renew().cancels == {}


def test_a_batch_of_all_kinds_ends_each_as_its_own(bench: Bench) -> None:
    """Outcomes travel in groups of what they have in common; none may get what is another's."""
    bench.put("e")
    session, ids = bench.open(), bench.calls(7)
    bench.take(session)
    outcomes = [
        bench.outcome(ids[0]),
        bench.outcome(ids[1]),
        bench.outcome(ids[2], state="FAILURE"),
        bench.outcome(ids[3], dead=True, state="FAILURE"),
        bench.outcome(ids[4], dead=True, state="FAILURE"),
        bench.outcome(ids[5], entry="e"),
        bench.outcome(ids[6]),
    ]
    strange = bench.outcome(bench.call())
    assert session.finish([*outcomes[:3], strange, *outcomes[3:]]).refused == [strange.id]
    ends = {run.id: (run.entry, run.state) for run in bench.store.history.runs()}
    assert ends == {outcome.id: (outcome.entry, outcome.state) for outcome in outcomes}
    assert set(bench.hash(bench.keys.dead_messages)) == {ids[3], ids[4]}
    assert set(bench.hash(bench.keys.failed_messages)) == {ids[2]}
    assert [run.id for run in bench.store.history.runs(entry="e")] == [ids[5]]
    assert all(bench.call_redis("PTTL", bench.keys.result(id_)) > 0 for id_ in ids)
    bench.check_places()
