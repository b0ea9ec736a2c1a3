"""Dead letters: what is kept of a message that was given up, and how it leaves."""

from __future__ import annotations

import msgspec
import pytest

from scheduler.model import Overlap
from scheduler.store.audit import Note
from scheduler.store.sessions import WorkerInfo
from tests.support.bench import Bench

pytestmark = pytest.mark.redis


def lose(bench: Bench, id_: str, worker: str, how: str) -> None:
    """Take *id_* as *worker*, whose child dies with it."""
    session = bench.store.sessions.open(WorkerInfo(name=worker))
    assert [message.id for message in session.take(["q"], 1).messages] == [id_]
    session.release([id_], lost=True, how=how)
    session.close()


def test_a_message_that_kills_its_workers_tells_who_died_with_it(bench: Bench) -> None:
    """People must see whom it took along and how, or they put it back and lose five more."""
    id_ = bench.call()
    for n in range(5):
        lose(bench, id_, f"w{n}", f"it was killed by SIGSEGV, {n}")
    (death,) = bench.store.dead.newest()
    assert [(loss.worker, loss.how) for loss in death.losses] == [
        (f"w{n}", f"it was killed by SIGSEGV, {n}") for n in range(5)
    ]
    assert all(loss.at_ms <= death.died_ms for loss in death.losses)
    assert (death.run.id, death.run.task, death.run.state, death.run.attempt) == (id_, "t.x", "FAILURE", 1)
    assert death.run.worker == "w4"
    assert death.run.error == "its worker died 5 times while it ran (the last time: w4: it was killed by SIGSEGV, 4)"
    assert bench.all_keys().count(bench.keys.prefix + "losses") == 0, "the notes live as long as the message"


def test_a_worker_that_was_reclaimed_is_named(bench: Bench) -> None:
    """Its supervisor cannot tell: whoever reclaims its session does."""
    id_ = bench.call()
    for n in range(5):
        session = bench.store.sessions.open(WorkerInfo(name=f"w{n}"))
        session.take(["q"], 1)
        assert bench.store.sessions.reclaim(session.id, bench.store.sessions.observe()[session.id]) == 1
    death, body = bench.store.dead.get(id_) or pytest.fail("it is no dead letter")
    assert {loss.how for loss in death.losses} == {"it stopped renewing its lease"}
    assert [loss.worker for loss in death.losses] == ["w0", "w1", "w2", "w3", "w4"]
    assert body


def test_losses_are_forgotten_when_the_run_ends_well_or_is_tried_again(bench: Bench) -> None:
    """Nothing is left behind on Redis, and a new attempt has a count of its own."""
    first, second = bench.call(), bench.call()
    for id_ in (first, second):
        session = bench.store.sessions.open(WorkerInfo(name="w"))
        session.take(["q"], 2)
        session.release([id_], lost=True, how="x")
        session.close()
    assert set(bench.hash(bench.keys.prefix + "losses")) == {first, second}
    session = bench.open()
    taken = {message.id: message for _ in range(2) for message in session.take(["q"], 1).messages}
    bench.finish(session, first)
    assert set(bench.hash(bench.keys.prefix + "losses")) == {second}
    message = taken[second]
    session.retry(second, message.body, delay_ms=0, attempt=2)
    assert bench.hash(bench.keys.prefix + "losses") == {}


def test_a_rejected_message_keeps_its_traceback(bench: Bench) -> None:
    """`raise Reject(…) from error`: where it went wrong stands with the letter, even if results are ignored."""
    session, id_ = bench.open(), bench.call()
    bench.take(session, 1)
    outcome = bench.outcome(id_, state="FAILURE", dead=True, error="Reject: no such account")
    assert session.finish([msgspec.structs.replace(outcome, trace="Traceback: …")]).refused == []
    (death,) = bench.store.dead.newest()
    assert (death.traceback, death.run.error, death.losses) == ("Traceback: …", "Reject: no such account", ())


def test_what_is_forgotten_is_gone_and_noted_once(bench: Bench) -> None:
    """One line in the audit log, however many calls it takes; what is not there is no mistake."""
    session = bench.open()
    ids = [bench.call() for _ in range(3)]
    bench.take(session, 3)
    for id_ in ids:
        bench.finish(session, id_, state="FAILURE", dead=True)
    gone = bench.store.dead.forget([ids[0], ids[1], "nobody"], note=Note(verb="purge", by="me", what="dead letters"))
    assert gone == 2
    assert [death.id for death in bench.store.dead.newest()] == [ids[2]]
    assert bench.store.dead.count() == 1
    (note,) = bench.store.audit.notes(n=5)
    assert (note.verb, note.by, note.counts) == ("purge", "me", {"purged": 2})
    assert set(bench.hash(bench.keys.dead_stories)) == {ids[2]}


def test_a_letter_gives_way_to_its_successor_in_one_moment(bench: Bench) -> None:
    """P5: put back, it is a message and no letter any more; whoever asks twice starts nothing twice."""
    session, id_ = bench.open(), bench.call()
    bench.take(session, 1)
    bench.finish(session, id_, state="FAILURE", dead=True)
    new = bench.message()
    reply = bench.store.queues.trigger(new, entry="", force=False, call_id=new.id, instead_of=id_)
    assert reply.ok
    assert (bench.store.dead.count(), bench.live()) == (0, {new.id})
    other = bench.message()
    again = bench.store.queues.trigger(other, entry="", force=False, call_id=other.id, instead_of=id_)
    assert (again.ok, again.gone) == (False, True)
    assert bench.live() == {new.id}


def test_a_letter_whose_slot_is_held_stays_a_letter(bench: Bench) -> None:
    """Refused is refused whole."""
    term = bench.win()
    bench.put("e", overlap=Overlap.SKIP)
    session, id_ = bench.open(), bench.call()
    bench.take(session, 1)
    bench.finish(session, id_, state="FAILURE", dead=True)
    bench.fired(term, "e", in_ms=-10)
    bench.promote()
    new = bench.message(entry="e", overlap=Overlap.SKIP)
    reply = bench.store.queues.trigger(new, entry="e", force=False, call_id=new.id, instead_of=id_)
    assert (reply.ok, reply.gone, bool(reply.holder)) == (False, False, True)
    assert bench.store.dead.count() == 1


def test_bytes_that_are_no_message_are_kept_as_they_are(bench: Bench) -> None:
    """Neither their names nor their story need be text."""
    garbage = b"\x01" + b"\xff" * 90
    message = bench.message()._replace(body=garbage)
    bench.store.queues.enqueue([message], call_id=message.id)
    session = bench.open()
    bench.take(session, 1)
    session.release([message.id])
    death, body = bench.store.dead.get(message.id) or pytest.fail("it is no dead letter")
    assert body == garbage
    assert death.run.error == "not a message of ours"
