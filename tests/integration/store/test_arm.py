"""`arm.lua`: each fire once, in the name of a term."""

from __future__ import annotations

import pytest

from scheduler.errors import FencedError
from scheduler.fires import FireMaker, schedule_of
from scheduler.model import Skip
from tests.support.bench import HOUR_MS, Bench, Term

pytestmark = pytest.mark.redis


def test_an_armed_fire_stands_on_its_delayed_set_and_moves_the_mark(bench: Bench) -> None:
    """P4: it is on Redis before it is due."""
    bench.put()
    fire = bench.fire(in_ms=5_000)
    assert bench.arm(bench.win(), [fire]).armed == 1
    assert bench.call_redis("ZSCORE", bench.keys.delayed("q"), fire.id) == b"%d" % fire.at_ms
    assert bench.store.registry.state("e").mark_ms == fire.due_ms
    assert bench.store.queues.names() == ["q"]
    bench.check_places()


def test_a_repeated_arm_adds_nothing(bench: Bench) -> None:
    """P1: a call whose reply was lost is made again."""
    bench.put()
    fire, term = bench.fire(in_ms=5_000), bench.win()
    bench.arm(term, [fire])
    before = bench.dump()
    again = bench.arm(term, [fire])
    assert (again.armed, again.stale) == (0, [])
    after = bench.dump()
    assert before.pop(bench.keys.term) != after.pop(bench.keys.term), "only the counter of the term grows"
    assert before == after


def test_a_fire_that_is_over_is_not_armed_again(bench: Bench) -> None:
    """P1: also when its message has long ended."""
    bench.put()
    term = bench.win()
    fire = bench.fired(term)
    session = bench.open()
    (id_,) = bench.take(session)
    bench.finish(session, id_, entry="e")
    assert bench.arm(term, [fire]).armed == 0
    assert bench.live() == set()


def test_an_overtaken_term_changes_nothing(bench: Bench) -> None:
    """P3."""
    bench.put()
    old = bench.win()
    new = bench.win()
    fire, skip = bench.fire(in_ms=5_000), Skip("e", bench.store.registry.state("e").state, "missed", 1, 2, 2, 2)
    before = bench.dump()
    with pytest.raises(FencedError) as refusal:
        bench.arm(old, [fire], [skip])
    assert str(new.number) in str(refusal.value)
    with pytest.raises(FencedError):
        bench.arm(Term(new.number, "somebody else"), [fire])
    assert bench.dump() == before


def test_nothing_is_armed_before_the_first_term(bench: Bench) -> None:
    """P3."""
    bench.put()
    with pytest.raises(FencedError):
        bench.arm(Term(0, ""), [bench.fire(in_ms=5)])


def test_fires_of_one_entry_pass_in_the_order_of_their_due_times(bench: Bench) -> None:
    """Each names the mark that the one before it leaves."""
    record = bench.put()
    assert record.entry
    maker = FireMaker(record.entry, schedule_of(record.entry), namespace=bench.keys.namespace, late_limit_ms=1)
    now_ms, fires, state = bench.now_ms, [], record.state
    for i in range(1, 4):
        fire = maker.fire(now_ms + 1_000 * i, now_ms + 1_000 * i + 1_000, state=state, now_ms=now_ms)
        fires.append(fire)
        state = f"{record.revision} {fire.due_ms}"
    assert bench.arm(bench.win(), fires).armed == 3
    assert bench.call_redis("ZCARD", bench.keys.delayed("q")) == 3


def test_a_skipped_stretch_is_one_record_and_moves_the_mark(bench: Bench) -> None:
    """P2: a stretch has one outcome; counters count its due times."""
    bench.put()
    bench.move_mark("e", HOUR_MS)
    state = bench.store.registry.state("e")
    to_ms = state.mark_ms + 1_000
    skip = Skip("e", state.state, "missed", state.mark_ms + 1, to_ms, 31_536_000, to_ms)
    term = bench.win()
    bench.arm(term, [], [skip])
    bench.arm(term, [], [skip])
    assert bench.store.registry.counts("e") == {"missed": 31_536_000, "promoted": 0}
    (run,) = bench.store.history.runs("e")
    assert (run.outcome, run.due_ms, run.to_ms, run.count) == ("missed", skip.from_ms, to_ms, 31_536_000)
    assert bench.store.registry.state("e").mark_ms == to_ms


def test_a_stale_fire_is_named_and_the_others_pass(bench: Bench) -> None:
    """P12: an entry that changed does not hold up a batch."""
    bench.put("a")
    bench.put("b")
    fires = [bench.fire("a", in_ms=5_000), bench.fire("b", in_ms=5_000)]
    bench.put("a", "2h")
    answer = bench.arm(bench.win(), fires)
    assert (answer.armed, answer.stale) == (1, ["a"])
    assert bench.live() == {fires[1].id}


def test_five_hundred_fires_pass_in_one_call(bench: Bench) -> None:
    """The largest batch that the scripts promise to carry."""
    names = [f"e{i}" for i in range(500)]
    bench.store.loads.publish({name: bench.entry(name) for name in names}, clean=True, mistakes=(), by="t")
    for name in names:
        bench.move_mark(name, 1_000)
    fires = [bench.fire(name, in_ms=-5) for name in names]
    assert bench.arm(bench.win(), fires).armed == 500
    assert bench.promote() == 500
    session = bench.open()
    assert len(bench.take(session, 1_000)) == 500
    session.finish([bench.outcome(fire.id, entry=fire.entry) for fire in fires])
    assert bench.live() == set()
    assert bench.hash(bench.keys.slots) == {}
