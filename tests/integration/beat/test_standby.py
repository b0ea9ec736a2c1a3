"""What a follower keeps ready, against a real server."""

from __future__ import annotations

import time

import pytest

from scheduler.beat.election import Won
from scheduler.beat.promoter import Promoter
from scheduler.beat.reign import Reign
from scheduler.beat.standby import Standby
from scheduler.beat.tick import Ticker
from scheduler.config import Config
from scheduler.model import Overlap
from scheduler.server_clock import ServerClock
from scheduler.store import Store
from scheduler.store.reading import SLICE
from scheduler.timing import crontab
from tests.support.bench import LATE_LIMIT_MS, Bench

pytestmark = pytest.mark.redis

MANY = 4 * SLICE
SOON = 10


@pytest.fixture
def bench(store: Store) -> Bench:
    """A bench."""
    return Bench(store)


@pytest.fixture
def clock(store: Store) -> ServerClock:
    """Redis' time."""
    clock = ServerClock()
    sent = time.monotonic()
    clock.learn(store.queues.time_ms(), sent)
    return clock


def ready(standby: Standby) -> Standby:
    """Having read all there is."""
    standby.look()
    while standby.step():
        pass
    return standby


def test_it_follows_the_registry(bench: Bench, config: Config, clock: ServerClock) -> None:
    """What was added, changed, paused and removed since it began."""
    for name in "abc":
        bench.put(name)
    standby = ready(Standby(bench.store, clock, config))
    bench.put("d")
    bench.store.registry.pause("a")
    assert len(ready(standby).take_plan()) == 3
    assert len(standby.take_plan()) == 0, "and begins anew"


def test_it_forgets_what_redis_has_forgotten(bench: Bench, config: Config, clock: ServerClock) -> None:
    """P11: a failover that lost changes must not leave us with entries that never were."""
    for name in "abc":
        bench.put(name)
    standby = ready(Standby(bench.store, clock, config))
    keys = bench.keys
    for key in (keys.registry, keys.marks):
        bench.call_redis("HDEL", key, "c")
    bench.call_redis("ZREM", keys.changes, "c")
    bench.call_redis("HINCRBY", keys.meta, "revision", -1)
    assert len(ready(standby).take_plan()) == 2


def test_who_takes_over_arms_what_is_due_before_it_has_read_everything(
    bench: Bench, config: Config, clock: ServerClock
) -> None:
    """P4: with a million entries, reading takes longer than the horizon allows."""
    store = bench.store
    each_second = crontab("* * * * * *").as_data()
    entries = {f"e{i}": bench.entry(f"e{i}") for i in range(MANY)}
    entries |= {f"soon{i}": bench.entry(f"soon{i}", schedule=each_second, overlap=Overlap.ALLOW) for i in range(SOON)}
    store.loads.publish(entries, clean=True, mistakes=(), by="b")
    standby = ready(Standby(store, clock, config))
    term = bench.win()
    reign = Reign(
        store, Won(term.number, 1, 0, time.monotonic()), holder=term.holder, lease_s=5, stall_s=4, clock=clock,
        on_change=lambda: None,
    )  # fmt: skip
    promoter = Promoter(store, clock, default_queue="q")
    ticker = Ticker(store, reign, standby.take_plan(), clock, promoter, late_limit_ms=LATE_LIMIT_MS)
    ticker.load()
    armed: set[str] = set()
    for _ in range(3):
        ticker.tick()
        armed |= {
            name for name in entries if name.startswith("soon") and store.registry.state(name).mark_ms > clock.now_ms()
        }
    assert not ticker._read_all
    assert len(armed) == SOON
