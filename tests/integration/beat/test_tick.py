"""The leader's turn, in this process, against a real server."""

from __future__ import annotations

import time
from collections import Counter
from typing import Any

import msgspec
import pytest

from scheduler.beat.election import Won
from scheduler.beat.plan import Plan
from scheduler.beat.promoter import Promoter
from scheduler.beat.reign import Reign
from scheduler.beat.tick import Ticker
from scheduler.errors import FencedError, StoreRefusedError, StoreUnavailableError
from scheduler.model import Overlap
from scheduler.server_clock import ServerClock
from scheduler.store import Store
from scheduler.timing import crontab
from tests.support.bench import LATE_LIMIT_MS, Bench, Term
from tests.support.wait import wait_until

pytestmark = pytest.mark.redis

EACH_SECOND = crontab("* * * * * *").as_data()


class Leader:
    """A leader without its renewal thread: each turn is ours to take."""

    def __init__(self, store: Store, *, horizon_ms: int = 15_000) -> None:
        self.bench = Bench(store)
        self.term: Term = self.bench.win()
        clock = ServerClock()
        sent = time.monotonic()
        clock.learn(store.queues.time_ms(), sent)
        won = Won(self.term.number, 1, 0, time.monotonic())
        self.reign = Reign(
            store, won, holder=self.term.holder, lease_s=5, stall_s=4, clock=clock, on_change=lambda: None
        )
        plan = Plan(namespace=store.keys.namespace, horizon_ms=horizon_ms, late_limit_ms=LATE_LIMIT_MS)
        promoter = Promoter(store, clock, default_queue="q")
        self.ticker = Ticker(store, self.reign, plan, clock, promoter, late_limit_ms=LATE_LIMIT_MS)

    def settle(self, *, timeout_s: float = 5.0) -> None:
        """Tick until there is nothing more to do for now."""
        deadline = time.monotonic() + timeout_s
        while self.ticker.tick() == 0.0:
            assert time.monotonic() < deadline, "the leader finds no rest"

    def armed(self) -> int:
        """How many fires stand armed."""
        return int(self.bench.call_redis("ZCARD", self.bench.keys.delayed("q")))


@pytest.fixture
def leader(store: Store) -> Leader:
    """A leader of the test's namespace."""
    return Leader(store)


def test_a_leader_arms_the_horizon_and_promotes_what_is_due(leader: Leader) -> None:
    """P4, P10."""
    bench = leader.bench
    bench.put(schedule=EACH_SECOND, overlap=Overlap.ALLOW)
    leader.settle()
    assert leader.armed() in (14, 15)
    due_ms = int(bench.call_redis("ZRANGE", bench.keys.delayed("q"), 0, 0, "WITHSCORES")[1])
    while bench.store.registry.counts("e")["promoted"] == 0:
        time.sleep(min(leader.ticker.tick(), 0.05))
    assert 0 <= bench.now_ms - due_ms < 500
    bench.check_places()


def test_a_new_leader_goes_on_from_the_marks(leader: Leader, store: Store) -> None:
    """P1: nothing is armed twice, whoever leads."""
    leader.bench.put(schedule=EACH_SECOND, overlap=Overlap.ALLOW)
    leader.settle()
    before = leader.armed()
    other = Leader(store)
    other.settle()
    assert other.ticker.armed_count <= 2
    assert before <= other.armed() <= before + 2
    leader.bench.check_places()


def test_an_overtaken_leader_writes_nothing(leader: Leader) -> None:
    """P3: it learns it from Redis itself."""
    bench = leader.bench
    bench.put(schedule=EACH_SECOND)
    bench.win()
    before = bench.dump()
    with pytest.raises(FencedError):
        leader.settle()
    assert bench.dump() == before


def test_an_entry_that_changed_meanwhile_is_planned_anew(leader: Leader) -> None:
    """Trap 1, as the leader lives it: its plan is stale, it reads that entry again."""
    bench = leader.bench
    bench.put(schedule=EACH_SECOND, overlap=Overlap.ALLOW)
    leader.ticker.load()
    leader.settle()
    record = bench.put(schedule=EACH_SECOND, overlap=Overlap.ALLOW, args=msgspec.Raw(b"[1]"))
    mark_ms = record.mark_ms
    wait_until(lambda: bench.now_ms > mark_ms - 12_000)
    leader.settle()
    assert bench.store.registry.state("e").mark_ms > mark_ms
    bodies = [bench.store.queues.body(id_) for id_ in bench.live()]
    assert all(body and b'"args":[1]' in body for body in bodies)


@pytest.mark.parametrize("carried_out", [False, True])
def test_a_batch_without_an_answer_is_offered_again(leader: Leader, carried_out: bool) -> None:
    """P1, P2: it may have been written; then it is a duplicate."""
    bench = leader.bench
    bench.put(schedule=EACH_SECOND, overlap=Overlap.ALLOW)
    connection = bench.store.connection
    run = connection.run
    failed: list[str] = []

    def fail_once(name: str, *args: Any, **options: Any) -> Any:
        if name == "arm" and not failed:
            failed.append(name)
            if carried_out:
                run(name, *args, **options)
            raise StoreUnavailableError("no answer")
        return run(name, *args, **options)

    connection.run = fail_once  # type: ignore[method-assign]
    with pytest.raises(StoreUnavailableError):
        leader.settle()
    leader.settle()
    assert leader.armed() in (14, 15, 16)
    dues = [int(score) for score in bench.call_redis("ZRANGE", bench.keys.delayed("q"), 0, -1, "WITHSCORES")[1::2]]
    assert dues == list(range(dues[0], dues[-1] + 1, 1_000)), "no due time is left out"


def test_a_leader_that_reads_a_lower_counter_reads_the_marks_again(leader: Leader) -> None:
    """P11: what a failover lost is armed again."""
    bench = leader.bench
    bench.put(schedule=EACH_SECOND, overlap=Overlap.ALLOW)
    mark = bench.call_redis("HGET", bench.keys.marks, "e")
    leader.settle()
    armed = leader.armed()
    # The failover: fires, mark and counter are as they were.
    bench.call_redis("DEL", bench.keys.delayed("q"), bench.keys.messages)
    bench.call_redis("HSET", bench.keys.marks, "e", mark)
    bench.call_redis("HSET", bench.keys.term, "counter", 1)
    leader.reign.renew()
    assert leader.reign.went_back
    leader.settle()
    assert leader.armed() >= armed
    bench.check_places()


def test_a_pause_ends_by_itself(leader: Leader) -> None:
    """What comes due from then on fires."""
    bench = leader.bench
    bench.put(schedule=EACH_SECOND, overlap=Overlap.ALLOW)
    bench.store.registry.pause("e", until_ms=bench.now_ms + 300)
    leader.settle()
    assert leader.armed() == 0
    wait_until(lambda: (leader.ticker.tick(), bench.store.registry.state("e").pause is None)[1])
    leader.settle()
    assert leader.armed() >= 14


def test_an_outage_is_settled_as_a_stretch(leader: Leader) -> None:
    """Trap 11: the same leader, the same plan, entries that share a schedule."""
    bench = leader.bench
    for name in ("a", "b"):
        bench.put(name, schedule=EACH_SECOND)
    leader.settle()
    assert bench.call_redis("DEL", bench.keys.delayed("q"), bench.keys.messages) == 2
    for name in ("a", "b"):
        bench.move_mark(name, 3_600_000)
    leader.ticker.load()
    leader.settle()
    for name in ("a", "b"):
        assert bench.store.registry.counts(name)["missed"] >= 3_580
        assert len([run for run in bench.store.history.runs(name) if run.outcome == "missed"]) == 1


def test_a_full_redis_holds_arming_up_and_nothing_else(own_config: Any) -> None:
    """P12: refused cleanly, and armed when there is memory again."""
    from scheduler.store import open_store  # noqa: PLC0415

    store = open_store(own_config)
    leader = Leader(store)
    leader.bench.put(schedule=EACH_SECOND, overlap=Overlap.ALLOW)
    leader.bench.call_redis("CONFIG", "SET", "maxmemory", "1")
    with pytest.raises(StoreRefusedError):
        leader.settle()
    assert leader.armed() == 0
    leader.bench.call_redis("CONFIG", "SET", "maxmemory", "0")
    leader.settle()
    assert leader.armed() >= 14
    store.close()


def test_a_thousand_entries_at_one_moment_are_armed_and_promoted_once(leader: Leader) -> None:
    """P1, P2: a burst, in batches."""
    bench = leader.bench
    names = [f"e{i}" for i in range(1_000)]
    entries = {
        name: bench.entry(name, schedule=crontab("*/5 * * * * *").as_data(), overlap=Overlap.ALLOW) for name in names
    }
    bench.store.loads.publish(entries, clean=True, mistakes=(), by="t")
    wait_until(lambda: (leader.ticker.tick(), leader.armed() >= 2_000)[1], timeout_s=20)
    leader.settle(timeout_s=20)
    per_entry = Counter(state.split(" ")[1] for state in bench.store.registry.marks().values())
    assert sum(count for _, count in per_entry.most_common(2)) == 1_000
    bench.check_places()
