"""`promote.lua`: what is due becomes ready, and each due time has one outcome (P2)."""

from __future__ import annotations

import struct

import pytest

from scheduler.model import Catchup, Overlap
from scheduler.store.queues import CancelReply
from tests.support.bench import HOUR_MS, Bench

pytestmark = pytest.mark.redis

LATE_MS = 20_000
"""Later than the benches' late limit."""


def counts(bench: Bench, name: str = "e") -> dict[str, int]:
    """The outcomes of *name* that occurred."""
    return {outcome: n for outcome, n in bench.store.registry.counts(name).items() if n}


def test_nothing_is_promoted_before_its_time(bench: Bench) -> None:
    """P10: by Redis' clock."""
    bench.put()
    bench.arm(bench.win(), [bench.fire(in_ms=60_000)])
    bench.call(in_ms=60_000)
    answer = bench.store.queues.promote(["q"])
    assert answer.moved == 0
    assert answer.next_due_ms is not None
    assert answer.next_due_ms > answer.now_ms


def test_a_due_fire_becomes_ready_and_is_counted(bench: Bench) -> None:
    """P2."""
    bench.put()
    fire = bench.fired(bench.win())
    answer = bench.store.queues.promote(["q"], tell=True)
    assert [(event.id, event.due_ms, event.reason) for event in answer.fires] == [(fire.id, fire.due_ms, "")]
    assert counts(bench) == {"promoted": 1}
    assert bench.store.registry.promoted() == {"e": (fire.due_ms, 1)}
    assert bench.hash(bench.keys.slots) == {"e": fire.id}
    bench.check_places()


def test_due_messages_become_ready_in_the_order_of_their_moments(bench: Bench) -> None:
    """However they were put in."""
    late, early = bench.call(in_ms=-1_000), bench.call(in_ms=-2_000)
    assert bench.take(bench.open()) == [early, late]


def test_the_limit_bounds_a_call_and_says_that_there_is_more(bench: Bench) -> None:
    """A script never runs for long."""
    bench.calls(5, in_ms=-10)
    answer = bench.store.queues.promote(["q"], limit=3)
    assert (answer.moved, answer.more) == (3, True)
    assert bench.store.queues.promote(["q"], limit=3).moved == 2


@pytest.mark.parametrize("catchup", list(Catchup))
@pytest.mark.parametrize("newer_is_due", [True, False])
def test_a_late_fire_obeys_its_catch_up_policy(bench: Bench, catchup: Catchup, newer_is_due: bool) -> None:
    """Trap 11: `none` gives up; under `latest` the older gives way to a newer one; `all` runs."""
    overlap = Overlap.ALLOW if catchup is Catchup.ALL else Overlap.SKIP
    bench.put(catchup=catchup, overlap=overlap)
    bench.fired(bench.win(), in_ms=-LATE_MS, next_in_ms=-1_000 if newer_is_due else HOUR_MS)
    bench.promote()
    runs = catchup is Catchup.ALL or (catchup is Catchup.LATEST and not newer_is_due)
    assert counts(bench) == {"promoted" if runs else "missed": 1}
    assert len(bench.live()) == runs
    bench.check_places()


def test_a_late_fire_beyond_its_window_is_missed_under_all(bench: Bench) -> None:
    """`catchup_window` bounds what `all` brings back."""
    bench.put(catchup=Catchup.ALL, overlap=Overlap.ALLOW, catchup_window_ms=18_000)
    bench.fired(bench.win(), in_ms=-LATE_MS)
    bench.promote()
    assert counts(bench) == {"missed": 1}


def test_late_is_counted_from_the_moment_and_not_from_the_due_time(bench: Bench) -> None:
    """A countdown of a minute makes nothing late."""
    bench.put(catchup=Catchup.NONE, countdown_ms=60_000)
    bench.fired(bench.win(), in_ms=-60_005)
    bench.promote()
    assert counts(bench) == {"promoted": 1}


def test_an_expired_fire_never_becomes_ready(bench: Bench) -> None:
    """P8, and P2: its outcome is `expired`, in the count and in the record."""
    bench.put(expires_after_ms=1_000)
    fire = bench.fired(bench.win(), in_ms=-2_000)
    bench.promote()
    assert counts(bench) == {"expired": 1}
    (run,) = bench.store.history.runs("e")
    assert (run.id, run.state, run.outcome) == (fire.id, "EXPIRED", "expired")
    assert bench.store.results.state(fire.id) == "EXPIRED"
    assert bench.live() == set()


def test_no_more_than_max_runs_are_promoted(bench: Bench) -> None:
    """P2: the others are counted as `max_runs`."""
    bench.put(max_runs=2, overlap=Overlap.ALLOW)
    term = bench.win()
    for ago_ms in (4_000, 3_000, 2_000):
        bench.fired(term, in_ms=-ago_ms)
    bench.promote()
    assert counts(bench) == {"promoted": 2, "max_runs": 1}
    bench.check_places()


class TestOverlap:
    """The slot of an entry: at most one run that has not ended, unless `allow`."""

    @pytest.fixture
    def first(self, bench: Bench, request: pytest.FixtureRequest) -> str:
        """A promoted run; its id."""
        bench.put(overlap=request.param)
        self.term = bench.win()
        fire = bench.fired(self.term, in_ms=-4_000)
        bench.promote()
        return fire.id

    def newer(self, bench: Bench, ago_ms: int) -> str:
        """Another fire, promoted; its id."""
        fire = bench.fired(self.term, in_ms=-ago_ms)
        bench.promote()
        return fire.id

    @pytest.mark.parametrize("first", [Overlap.ALLOW], indirect=True)
    def test_allow_lets_both_run(self, bench: Bench, first: str) -> None:
        """No slot is taken."""
        newer = self.newer(bench, 3_000)
        assert bench.take(bench.open()) == [first, newer]
        assert bench.hash(bench.keys.slots) == {}

    @pytest.mark.parametrize("first", [Overlap.SKIP], indirect=True)
    def test_skip_records_the_newer_as_overlap(self, bench: Bench, first: str) -> None:
        """P2: neighbours share one record."""
        now_ms = bench.now_ms
        for in_ms in (-3_000, -2_000):
            bench.fired(self.term, in_ms=in_ms, next_in_ms=in_ms + 1_000, now_ms=now_ms)
            bench.promote()
        assert counts(bench) == {"promoted": 1, "overlap": 2}
        assert bench.live() == {first}
        assert [(run.outcome, run.count) for run in bench.store.history.runs("e")] == [("overlap", 2)]

    @pytest.mark.parametrize("first", [Overlap.QUEUE], indirect=True)
    def test_queue_keeps_the_newest_waiting_until_the_run_has_ended(self, bench: Bench, first: str) -> None:
        """P5: the one in between is skipped, the newest takes the slot over."""
        between, newest = self.newer(bench, 3_000), self.newer(bench, 2_000)
        bench.check_places()
        session = bench.open()
        assert bench.take(session) == [first]
        assert bench.hash(bench.keys.waiting) == {"e": newest}
        bench.finish(session, first, entry="e")
        assert bench.take(session) == [newest]
        assert bench.hash(bench.keys.slots) == {"e": newest}
        assert counts(bench) == {"promoted": 2, "overlap": 1}
        assert between not in bench.live()
        bench.check_places()

    @pytest.mark.parametrize("first", [Overlap.REPLACE], indirect=True)
    def test_replace_asks_the_worker_to_end_the_running_one(self, bench: Bench, first: str) -> None:
        """Two never run at once: the newer waits until the older has ended."""
        session = bench.open()
        assert bench.take(session) == [first]
        newest = self.newer(bench, 3_000)
        assert session.renew().cancels == {first: True}
        assert bench.take(session) == []
        bench.finish(session, first, state="REVOKED", entry="e")
        assert bench.take(session) == [newest]
        bench.check_places()

    @pytest.mark.parametrize("first", [Overlap.REPLACE], indirect=True)
    def test_replace_ends_one_that_has_not_started(self, bench: Bench, first: str) -> None:
        """Else the older would start after all, and nobody would ask it to stop."""
        newest = self.newer(bench, 3_000)
        assert bench.store.results.state(first) == "REVOKED"
        assert bench.hash(bench.keys.slots) == {"e": newest}
        assert bench.take(bench.open()) == [newest]
        bench.check_places()

    @pytest.mark.parametrize("first", [Overlap.REPLACE], indirect=True)
    def test_replace_ends_one_that_backs_off(self, bench: Bench, first: str) -> None:
        """Trap 7: a retry holds its slot; a newer one replaces it."""
        session = bench.open()
        bench.take(session)
        body = bench.store.queues.body(first)
        assert body
        assert session.retry(first, body, delay_ms=HOUR_MS, attempt=2)
        newest = self.newer(bench, 3_000)
        assert bench.take(session) == [newest]
        assert bench.store.results.state(first) == "REVOKED"
        bench.check_places()

    @pytest.mark.parametrize("first", [Overlap.QUEUE], indirect=True)
    @pytest.mark.parametrize("ending", ["cancel", "purge", "reclaim", "finish"])
    def test_every_ending_passes_the_slot_on(self, bench: Bench, first: str, ending: str) -> None:
        """P5: the one that waits is not forgotten, however the holder ends."""
        newest = self.newer(bench, 3_000)
        if ending == "cancel":
            assert bench.store.queues.cancel(first) is CancelReply.REVOKED
        elif ending == "purge":
            bench.store.queues.purge("q")
            assert bench.live() == set(), "a purge takes what the slot passes on as well"
            assert bench.hash(bench.keys.slots) == {}
            return
        else:
            session = bench.open()
            bench.take(session)
            if ending == "finish":
                bench.finish(session, first, entry="e")
            else:
                for losses in range(1, 6):
                    assert bench.store.sessions.reclaim(session.id, bench.store.sessions.observe()[session.id]) == 1
                    session = bench.open()
                    if losses < 5:
                        assert bench.take(session) == [first]
        assert bench.take(bench.open()) == [newest]
        bench.check_places()

    @pytest.mark.parametrize("first", [Overlap.SKIP], indirect=True)
    def test_a_holder_whose_body_is_gone_holds_nothing(self, bench: Bench, first: str) -> None:  # noqa: ARG002
        """P11: a slot that a failover left behind heals by itself."""
        bench.call_redis("DEL", bench.keys.messages)
        newer = self.newer(bench, 3_000)
        assert bench.take(bench.open()) == [newer]


def test_an_expired_run_in_ready_does_not_hold_its_slot(bench: Bench) -> None:
    """Trap 7: it would never start, and block its entry until somebody takes it."""
    bench.put(expires_after_ms=60_000)
    term = bench.win()
    first = bench.fired(term, in_ms=-4_000)
    bench.promote()
    # Time passes: the body says that it expired a moment ago.
    body = bytearray(first.body)
    body[22:30] = struct.pack("<d", bench.now_ms - 1)
    bench.call_redis("HSET", bench.keys.messages, first.id, bytes(body))
    newer = bench.fired(term, in_ms=-3_000)
    bench.promote()
    assert bench.take(bench.open()) == [newer.id]
    assert bench.store.results.state(first.id) == "EXPIRED"
    bench.check_places()


def test_a_fire_that_waited_is_not_one_too_many(bench: Bench) -> None:
    """P2: it is asked again when the slot passes to it, as others may have run meanwhile."""
    bench.put(overlap=Overlap.QUEUE, max_runs=2)
    term = bench.win()
    first = bench.fired(term, in_ms=-30)
    bench.promote()
    waiting = bench.fired(term, in_ms=-20)
    bench.promote()
    assert bench.hash(bench.keys.waiting) == {"e": waiting.id}
    bench.call_redis("HSET", bench.keys.promoted, "e", f"{waiting.due_ms} 2")
    session = bench.open()
    bench.take(session)
    bench.finish(session, first.id, entry="e")
    assert bench.take(session) == []
    assert bench.store.registry.counts("e")["max_runs"] == 1
    assert bench.hash(bench.keys.slots) == {}
    bench.check_places()
