"""`backfill.lua` and the line: runs for past due times, beside the schedule and behind its fires."""

from __future__ import annotations

from typing import Any

import pytest

from scheduler.byhand import Span, backfill, backfill_runs
from scheduler.model import Overlap, Place
from scheduler.store.backfill import BACKFILLS_MAX, KEPT_MS, Backfill
from scheduler.store.queues import CancelReply
from tests.support.bench import HOUR_MS, Bench

pytestmark = pytest.mark.redis

DAY_MS = 24 * HOUR_MS


def fill(
    bench: Bench, n: int = 3, *, overlap: Overlap = Overlap.ALLOW, rate_s: float = 1_000.0, **options: Any
) -> Backfill:
    """A backfill of "e" for *n* due times, an hour apart, the last one a day ago; its first runs are due at once."""
    record = bench.store.registry.get("e")
    assert record is not None
    assert record.entry is not None
    end_ms = bench.now_ms // HOUR_MS * HOUR_MS - DAY_MS
    dues_ms = [end_ms - (n - 1 - i) * HOUR_MS for i in range(n)]
    span = Span(from_ms=dues_ms[0], to_ms=end_ms + 1, by="eva", overlap=overlap, rate_s=rate_s, **options)
    made, _ = backfill(bench.store, record.entry, span, dues_ms, bytes_max=1 << 20)
    return made


def run_one(bench: Bench, session: Any, **options: Any) -> str:
    """Promote what is due, and run the next message; its id."""
    promote(bench)
    (id_,) = bench.take(session, 1)
    bench.finish(session, id_, entry="e", **options)
    return id_


def promote(bench: Bench) -> None:
    """All that is written for these milliseconds."""
    until_ms = bench.now_ms + 20
    while bench.now_ms < until_ms:
        bench.promote()


def ids(bench: Bench, made: Backfill) -> list[str]:
    """Its runs, by due time."""
    return [id_.decode() for id_ in bench.call_redis("ZRANGE", bench.keys.backfill_runs(made.id), 0, -1)]


def test_a_backfill_moves_no_mark_and_settles_no_due_time(bench: Bench) -> None:
    """P1, P2: the due times it runs for have had their outcomes."""
    before = bench.put(max_runs=1)
    made = fill(bench)
    session = bench.open()
    ran = [run_one(bench, session) for _ in range(3)]
    assert ran == ids(bench, made)
    assert bench.store.registry.state("e").state == before.state
    assert bench.store.registry.counts("e") == {"promoted": 0}
    assert bench.store.registry.promoted() == {}
    assert bench.hash(bench.keys.slots) == {}


def test_it_waits_on_redis_spaced_by_its_rate(bench: Bench) -> None:
    """P7: nobody's terminal has to stay open."""
    bench.put()
    made = fill(bench, 5, rate_s=0.5)
    moments = [float(bench.call_redis("ZSCORE", bench.keys.delayed("q"), id_)) for id_ in ids(bench, made)]
    assert [moment - moments[0] for moment in moments] == [0, 2_000, 4_000, 6_000, 8_000]
    assert (made.starts_ms, made.ends_ms) == (moments[0], moments[-1])
    bench.promote()
    assert bench.store.queues.depths()["q"] == (1, 4, 0)
    bench.check_places()


def test_asking_again_doubles_nothing_while_a_run_has_not_ended(bench: Bench) -> None:
    """And runs again what has ended."""
    bench.put()
    first = fill(bench, 3)
    session = bench.open()
    done = run_one(bench, session)
    bodies = {id_: bench.store.queues.body(id_) for id_ in ids(bench, first)[1:]}
    again = fill(bench, 3)
    assert bodies == {id_: bench.store.queues.body(id_) for id_ in bodies}, "they are still the first one's"
    assert ids(bench, again) == [done]
    assert ids(bench, first)[0] == done
    assert bench.live() == set(ids(bench, first))
    assert bench.store.results.get(done) is None, "that of the earlier run is not taken for the new one's"
    progress = bench.store.backfills.get(first.id)
    assert progress is not None
    assert (progress.runs, progress.left) == (3, 3)


def test_a_repeated_call_adds_nothing(bench: Bench) -> None:
    """After a lost reply it is answered as before."""
    record = bench.put()
    assert record.entry is not None
    made = fill(bench, 2)
    keys = bench.keys
    runs = backfill_runs(record.entry, made, [HOUR_MS, 2 * HOUR_MS], namespace="n")
    args = [60_000, "b2", b"{}", bench.now_ms + KEPT_MS, 9, b"", "q", *runs[0], *runs[1]]
    all_keys = (*keys.core, keys.call("c"), keys.backfills, keys.backfill("b2"), keys.backfill_runs("b2"))
    assert bench.store.connection.run("backfill", all_keys, args) == b"11"
    before = bench.dump()
    assert bench.store.connection.run("backfill", all_keys, args) == b"11"
    assert bench.dump() == before


def test_what_is_known_of_a_backfill_has_a_lifetime(bench: Bench) -> None:
    """Thirty days after its last run may start; and so many at most."""
    bench.put()
    bench.call_redis("ZADD", bench.keys.backfills, 1, "forgotten")
    made = fill(bench, 2)
    for key in (bench.keys.backfill(made.id), bench.keys.backfill_runs(made.id)):
        assert KEPT_MS - 60_000 < bench.call_redis("PTTL", key) <= KEPT_MS + 2_000
    far_ms = bench.now_ms + 2 * KEPT_MS
    bench.call_redis("ZADD", bench.keys.backfills, *[v for i in range(BACKFILLS_MAX) for v in (far_ms, f"b{i}")])
    session = bench.open()
    run_one(bench, session)
    newest = fill(bench, 2)
    known = {id_.decode() for id_ in bench.call_redis("ZRANGE", bench.keys.backfills, 0, -1)}
    assert len(known) == BACKFILLS_MAX
    assert "forgotten" not in known
    assert bench.store.backfills.get(newest.id) is not None


def test_allow_runs_beside_the_slot(bench: Bench) -> None:
    """The slot is the schedule's."""
    bench.put()
    fire = bench.fired(bench.win())
    bench.promote()
    made = fill(bench, 2)
    promote(bench)
    assert bench.take(bench.open()) == [fire.id, *ids(bench, made)]
    assert bench.hash(bench.keys.slots) == {"e": fire.id}


def test_skip_gives_up_where_the_slot_is_held(bench: Bench) -> None:
    """The run says why; the due time keeps the outcome it had."""
    bench.put()
    fire = bench.fired(bench.win())
    bench.promote()
    made = fill(bench, 2, overlap=Overlap.SKIP)
    promote(bench)
    assert bench.live() == {fire.id}
    runs = [run for run in bench.store.history.runs("e") if run.backfill == made.id]
    assert [(run.state, run.error, run.outcome) for run in runs] == [("REVOKED", "overlap", "")] * 2
    assert bench.store.registry.counts("e") == {"promoted": 1}


class TestQueue:
    """`--overlap queue`: in the slot, one after another, behind the fires of the schedule."""

    def test_one_runs_after_another_in_the_order_of_due_times(self, bench: Bench) -> None:
        """Each passes the slot on, however it ends."""
        bench.put()
        made = fill(bench, 4, overlap=Overlap.QUEUE)
        promote(bench)
        first, second, third, fourth = ids(bench, made)
        assert bench.hash(bench.keys.slots) == {"e": first}
        assert self.line(bench) == [second, third, fourth]
        bench.check_places()
        standing = bench.store.queues.standing(third)
        assert standing is not None
        assert standing.place is Place.WAITING
        session = bench.open()
        assert bench.take(session) == [first]
        bench.finish(session, first, entry="e", state="FAILURE")
        assert bench.take(session) == [second]
        bench.check_places()
        assert bench.store.queues.cancel(third) is CancelReply.REVOKED
        assert self.line(bench) == [fourth]
        bench.finish(session, second, entry="e")
        assert bench.take(session) == [fourth]
        bench.finish(session, fourth, entry="e")
        assert (bench.live(), bench.hash(bench.keys.slots), self.line(bench)) == (set(), {}, [])
        bench.check_places()

    def test_who_asks_later_for_an_earlier_due_time_goes_first(self, bench: Bench) -> None:
        """The line is in the order of due times, whoever asked: what builds on the day before finds it done."""
        bench.put()
        fire = bench.fired(bench.win())
        bench.promote()
        late = fill(bench, 1, overlap=Overlap.QUEUE)
        promote(bench)
        early = fill(bench, 2, overlap=Overlap.QUEUE)
        promote(bench)
        assert self.line(bench) == [ids(bench, early)[0], ids(bench, late)[0]]
        assert bench.take(bench.open()) == [fire.id]

    @pytest.mark.parametrize("ending", ["cancel", "purge", "reclaim", "expire"])
    def test_every_ending_passes_the_slot_to_the_line(self, bench: Bench, ending: str) -> None:
        """P5: nobody is forgotten there."""
        bench.put()
        made = fill(bench, 2, overlap=Overlap.QUEUE)
        promote(bench)
        first, second = ids(bench, made)
        if ending == "cancel":
            bench.store.queues.cancel(first)
        elif ending == "purge":
            assert bench.store.queues.purge("q") == 2, "it takes what the slot passes on as well"
            assert bench.live() == set()
            return
        elif ending == "expire":
            body = bytearray(bench.store.queues.body(first) or b"")
            body[22:30] = b"\x00\x00\x00\x00\x00\x00\xf0\x3f"  # 1 ms after the epoch
            bench.call_redis("HSET", bench.keys.messages, first, bytes(body))
        else:
            for _ in range(5):
                session = bench.open()
                assert bench.take(session) == [first]
                bench.store.sessions.reclaim(session.id, bench.store.sessions.observe()[session.id])
        assert bench.take(bench.open()) == [second]
        bench.check_places()

    @pytest.mark.parametrize("overlap", [Overlap.SKIP, Overlap.QUEUE, Overlap.REPLACE])
    def test_a_fire_is_not_skipped_for_a_backfill_but_goes_before_the_rest_of_it(
        self, bench: Bench, overlap: Overlap
    ) -> None:
        """P2, P8: the schedule comes first. Nor does `replace` cancel what somebody asked for."""
        bench.put(overlap=overlap)
        term = bench.win()
        made = fill(bench, 3, overlap=Overlap.QUEUE)
        promote(bench)
        session = bench.open()
        first, second, third = ids(bench, made)
        assert bench.take(session) == [first]
        fire = bench.fired(term, in_ms=-10)
        bench.promote()
        assert bench.hash(bench.keys.waiting) == {"e": fire.id}
        assert session.renew().cancels == {}
        bench.check_places()
        bench.finish(session, first, entry="e")
        assert bench.take(session) == [fire.id]
        assert bench.store.registry.counts("e") == {"promoted": 1}
        bench.finish(session, fire.id, entry="e")
        assert bench.take(session) == [second]
        bench.finish(session, second, entry="e")
        assert bench.take(session) == [third]

    def test_an_older_fire_that_waits_for_a_backfill_gives_way_to_a_newer_one(self, bench: Bench) -> None:
        """Bounded: one fire waits, whatever the policy; the other's outcome says for what."""
        bench.put(overlap=Overlap.SKIP)
        term = bench.win()
        made = fill(bench, 1, overlap=Overlap.QUEUE)
        promote(bench)
        older = bench.fired(term, in_ms=-3_000)
        bench.promote()
        newer = bench.fired(term, in_ms=-2_000)
        bench.promote()
        assert bench.hash(bench.keys.waiting) == {"e": newer.id}
        assert older.id not in bench.live()
        (run,) = (run for run in bench.store.history.runs("e") if run.outcome == "overlap")
        assert (run.holder, run.error) == (ids(bench, made)[0], "a newer one took its place")

    def test_a_fire_that_replaces_one_keeps_the_slot_from_the_line(self, bench: Bench) -> None:
        """P1: were the replaced one's slot passed on at its end, two would run at once."""
        bench.put(overlap=Overlap.REPLACE)
        term = bench.win()
        older = bench.fired(term, in_ms=-20)
        bench.promote()
        fill(bench, 2, overlap=Overlap.QUEUE)
        promote(bench)
        newer = bench.fired(term, in_ms=-10)
        bench.promote()
        assert older.id not in bench.live()
        assert bench.hash(bench.keys.slots) == {"e": newer.id}
        assert bench.take(bench.open()) == [newer.id]
        assert len(self.line(bench)) == 2

    def test_a_fire_waits_for_a_backfill_that_got_the_slot_of_an_expired_run(self, bench: Bench) -> None:
        """P2: it is not skipped for what was given the slot just now."""
        bench.put(overlap=Overlap.SKIP)
        term = bench.win()
        older = bench.fired(term, in_ms=-20)
        bench.promote()
        made = fill(bench, 2, overlap=Overlap.QUEUE)
        promote(bench)
        body = bytearray(bench.store.queues.body(older.id) or b"")
        body[22:30] = b"\x00\x00\x00\x00\x00\x00\xf0\x3f"  # it expired 1 ms after the epoch
        bench.call_redis("HSET", bench.keys.messages, older.id, bytes(body))
        newer = bench.fired(term, in_ms=-10)
        bench.promote()
        first, second = ids(bench, made)
        assert bench.hash(bench.keys.slots) == {"e": first}
        assert bench.hash(bench.keys.waiting) == {"e": newer.id}
        assert self.line(bench) == [second]

    def test_a_run_of_a_fire_keeps_the_line_waiting(self, bench: Bench) -> None:
        """And passes the slot to it."""
        bench.put()
        fire = bench.fired(bench.win())
        bench.promote()
        made = fill(bench, 2, overlap=Overlap.QUEUE)
        promote(bench)
        session = bench.open()
        assert bench.take(session) == [fire.id]
        assert self.line(bench) == ids(bench, made)
        bench.finish(session, fire.id, entry="e")
        assert bench.take(session) == ids(bench, made)[:1]

    def test_a_hundred_in_line_keep_no_other_entry_waiting(self, bench: Bench) -> None:
        """They stand aside: nothing looks at them until the slot is free."""
        bench.put()
        bench.put("other")
        term = bench.win()
        fill(bench, 100, overlap=Overlap.QUEUE)
        until_ms = bench.now_ms + 110
        while bench.now_ms < until_ms:
            bench.promote()
        assert len(self.line(bench)) == 99
        fire = bench.fired(term, "other", in_ms=-1)
        assert bench.promote() == 1
        assert bench.take(bench.open())[-1] == fire.id

    def test_the_line_goes_on_where_what_waited_is_gone(self, bench: Bench) -> None:
        """P11: a failover may have lost the body of a waiting fire, or of one in line."""
        bench.put()
        term = bench.win()
        made = fill(bench, 3, overlap=Overlap.QUEUE)
        promote(bench)
        first, second, third = ids(bench, made)
        fire = bench.fired(term, in_ms=-10)
        bench.promote()
        bench.call_redis("HDEL", bench.keys.messages, fire.id, second)
        session = bench.open()
        bench.take(session)
        bench.finish(session, first, entry="e")
        assert bench.take(session) == [third]
        assert bench.hash(bench.keys.slots) == {"e": third}

    def line(self, bench: Bench) -> list[str]:
        """Who stands in line, first to last."""
        return [id_.decode() for id_ in bench.call_redis("ZRANGE", bench.keys.line("e"), 0, -1)]


@pytest.mark.parametrize("change", ["pause", "resume", "remove", "edit"])
def test_no_change_of_the_entry_touches_a_backfill(bench: Bench, change: str) -> None:
    """Who asked for it asked for it; `sched backfill --cancel` ends it."""
    entry = bench.entry()
    bench.store.loads.publish({"e": entry}, clean=True, mistakes=(), by="b")
    made = fill(bench, 3, rate_s=0.01)
    before = {id_: bench.store.queues.body(id_) for id_ in ids(bench, made)}
    if change == "remove":
        bench.store.loads.publish({}, clean=True, mistakes=(), by="b")
    elif change == "edit":
        bench.put(period="7m")
    else:
        bench.store.registry.pause("e")
        if change == "resume":
            bench.store.registry.resume("e")
    assert {id_: bench.store.queues.body(id_) for id_ in ids(bench, made)} == before
