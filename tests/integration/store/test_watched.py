"""The list of entries that beats look after, as `change.lua` keeps it."""

from __future__ import annotations

import msgspec
import pytest

from scheduler.model import Pause, Watch
from tests.support.bench import Bench

pytestmark = pytest.mark.redis

WATCH = Watch(alert_failures=3)


def watched(bench: Bench) -> dict[str, int]:
    """Entry → since when."""
    return {name: int(since) for name, since in bench.hash(bench.keys.watched).items()}


def test_only_entries_with_a_watch_are_listed_and_only_as_long_as_they_have_one(bench: Bench) -> None:
    """A follower looks at these, not at the whole registry."""
    bench.put("plain")
    bench.put("e", watch=WATCH)
    assert watched(bench).keys() == {"e"}
    bench.put("e")
    assert watched(bench) == {}
    bench.put("e", watch=WATCH)
    bench.store.loads.publish({}, clean=True, mistakes=(), by="t")
    assert watched(bench) == {}


def test_due_times_count_from_when_the_entry_came_into_force(bench: Bench) -> None:
    """And anew from each change that moves its mark: what was due before that is nobody's."""
    record = bench.put("e", watch=WATCH)
    assert watched(bench)["e"] == record.mark_ms
    bench.put("e", watch=WATCH, priority=3)
    assert watched(bench)["e"] == record.mark_ms
    bench.store.registry.pause("e")
    resumed = bench.store.registry.resume("e")
    assert watched(bench)["e"] == resumed.mark_ms > record.mark_ms


def test_watch_that_is_added_later_does_not_look_back(bench: Bench) -> None:
    """Else the first thing that anybody hears of it would be old."""
    bench.put("e")
    bench.move_mark("e", 3_600_000)
    before_ms = bench.now_ms
    bench.put("e", watch=WATCH)
    assert watched(bench)["e"] >= before_ms


def test_resuming_begins_a_new_count_of_failures(bench: Bench) -> None:
    """What had failed before must not pause it again; all else that is known stays."""
    bench.put("e", watch=WATCH)
    bench.call_redis("HSET", bench.keys.last, "e", "FAILURE 1700000000000 1600000000000 5")
    bench.store.registry.pause("e", by="somebody")
    assert bench.store.registry.last()["e"].failures == 5
    bench.store.registry.resume("e")
    assert bench.store.registry.last()["e"] == ("FAILURE", 1_700_000_000_000, 1_600_000_000_000, 0)


def test_a_watch_survives_the_way_to_redis_and_back(bench: Bench) -> None:
    """As every option does."""
    watch = Watch(alert_after_ms=5_000, alert_failures=2, pause_failures=4, ping_url="https://example.com/x")
    bench.put("e", watch=watch)
    record = bench.store.registry.get("e")
    assert record is not None
    assert record.entry is not None
    assert msgspec.structs.asdict(record.entry)["watch"] == watch
    assert not isinstance(record.pause, Pause)


def test_entry_is_paused_only_as_it_was_read(bench: Bench) -> None:
    """A pause that somebody made meanwhile stays his, and a resume is not undone."""
    registry = bench.store.registry
    read = bench.put("e", watch=WATCH)
    paused = registry.pause("e", by="ann", reason="mine")
    for seen in (read, paused):
        assert not registry.pause_as_it_stands(seen, reason="failures", by="steadybeat")
        assert registry.state("e").pause == paused.pause
    assert not registry.pause_as_it_stands(paused, reason="failures", by="steadybeat")
    resumed = registry.resume("e")
    assert not registry.pause_as_it_stands(paused, reason="failures", by="steadybeat")
    assert registry.pause_as_it_stands(resumed, reason="failures", by="steadybeat")
    pause = registry.state("e").pause
    assert pause is not None
    assert (pause.by, pause.reason) == ("steadybeat", "failures")
