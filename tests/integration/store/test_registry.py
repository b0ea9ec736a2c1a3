"""The registry: publications as diffs, pauses, what a reader sees."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from scheduler.beat.plan import Plan
from scheduler.config import Config
from scheduler.model import Entry, Origin
from scheduler.store import Store, open_store
from scheduler.store.change import BY_HAND, Change, Load
from scheduler.store.loads import Published
from tests.support.bench import HOUR_MS, Bench

pytestmark = pytest.mark.redis


def publish(
    store: Store, *entries: Entry, clean: bool = True, mistakes: tuple[str, ...] = (), by: str = "b"
) -> Published:
    """Publish a load."""
    return store.loads.publish({entry.name: entry for entry in entries}, clean=clean, mistakes=mistakes, by=by)


def names(store: Store) -> list[str]:
    """The entries in force."""
    return [record.name for record in store.registry.all()]


def test_a_publication_is_a_diff(bench: Bench) -> None:
    """What stays as it is keeps its revision, and so what is armed."""
    a, b, c = (bench.entry(name) for name in "abc")
    assert publish(bench.store, a, b).added == ("a", "b")
    revision = bench.store.registry.state("a").revision
    published = publish(bench.store, a, bench.entry("b", "2h"), c)
    assert (published.added, published.changed, published.removed) == (("c",), ("b",), ())
    assert bench.store.registry.state("a").revision == revision
    assert publish(bench.store, a, c).removed == ("b",)
    assert names(bench.store) == ["a", "c"]
    assert publish(bench.store, a, c)[1:4] == ((), (), ())


def test_an_unclean_load_removes_nothing(bench: Bench) -> None:
    """Trap 4: a restarted beat whose file has a syntax error. What it could read takes effect."""
    publish(bench.store, bench.entry("a"), bench.entry("b"))
    published = publish(bench.store, bench.entry("a", "2h"), clean=False, mistakes=("b.py:3: broken",))
    assert (published.changed, published.removed, published.kept) == (("a",), (), ("b",))
    assert names(bench.store) == ["a", "b"]
    info = bench.store.loads.info()
    assert (info.number, info.by, info.mistakes) == (2, "b", ("b.py:3: broken",))


def test_the_newest_load_wins(bench: Bench) -> None:
    """Trap 4: old and new files on two beats; the older load changes nothing any more."""
    publish(bench.store, bench.entry("a"))
    keys, connection = bench.keys, bench.store.connection
    # A load that got its number before another one, and comes to publish after it.
    older = int(connection.call("HINCRBY", keys.meta, "loads", 1))
    publish(bench.store, bench.entry("a", "2h"))
    before = bench.dump()
    change = Change(bench.store.registry.state("a"), bench.entry("a", "3h"))
    assert bench.store.changer.apply([change], load=Load(older, "late", ("late.py:1: x",))) is None
    assert bench.dump() == before


def test_what_was_made_by_hand_is_not_touched_by_files(bench: Bench) -> None:
    """And wins over a file's entry of the same name, which is named."""
    bench.store.registry.put(bench.entry("mine", origin=Origin.HAND))
    published = publish(bench.store, bench.entry("mine", "2h"), bench.entry("file"))
    assert (published.added, published.clashes) == (("file",), ("mine",))
    publish(bench.store)
    assert names(bench.store) == ["mine"]
    assert bench.store.registry.state("mine").entry == bench.entry("mine", origin=Origin.HAND)


def test_a_pause_outlives_a_publication(bench: Bench) -> None:
    """A deploy resumes nothing."""
    publish(bench.store, bench.entry("a"))
    bench.store.registry.pause("a", reason="incident")
    publish(bench.store, bench.entry("a", "2h"))
    record = bench.store.registry.state("a")
    assert record.pause is not None
    assert record.pause.reason == "incident"


def test_a_removed_entry_loses_its_pause(bench: Bench) -> None:
    """Who adds it again means it to run."""
    publish(bench.store, bench.entry("a"))
    bench.store.registry.pause("a")
    publish(bench.store)
    publish(bench.store, bench.entry("a"))
    assert bench.store.registry.state("a").pause is None


def test_a_publication_that_somebody_disturbs_reports_all_that_it_changed(bench: Bench, config: Config) -> None:
    """A leader that arms meanwhile makes single changes stale; they are worked out anew, and none is forgotten."""
    publish(bench.store, bench.entry("a"), bench.entry("b"))
    changer = bench.store.changer
    apply = changer.apply
    disturbed: list[bool] = []

    def disturb(changes: Sequence[Change], *, load: Load = BY_HAND, lines_max: int = 50) -> list[str] | None:
        if changes and not disturbed:
            disturbed.append(True)
            bench.move_mark("b", 5_000)
        return apply(changes, load=load, lines_max=lines_max)

    changer.apply = disturb  # type: ignore[method-assign,assignment]
    published = publish(bench.store, bench.entry("a", "2h"), bench.entry("b", "2h"), bench.entry("c"))
    assert disturbed
    assert (published.changed, published.added) == (("a", "b"), ("c",))


def test_a_reader_sees_what_changed_since(bench: Bench) -> None:
    """Removed ones included: a leader forgets them."""
    publish(bench.store, bench.entry("a"), bench.entry("b"))
    revision, records = bench.store.registry.changed_since(0)
    assert [record.name for record in records] == ["a", "b"]
    assert bench.store.registry.changed_since(revision) == (revision, [])
    publish(bench.store, bench.entry("b", "2h"))
    newer, records = bench.store.registry.changed_since(revision)
    assert newer > revision
    assert {record.name: record.entry is None for record in records} == {"a": True, "b": False}


def test_two_stores_see_the_same(bench: Bench, config: Config) -> None:
    """Redis holds the truth."""
    publish(bench.store, bench.entry("a"), bench.entry("b", "2h"))
    other = open_store(config)
    assert other.registry.all() == bench.store.registry.all()
    assert other.registry.marks() == bench.store.registry.marks()
    other.close()


def test_a_name_of_any_script_is_kept(bench: Bench) -> None:
    """Names are text; quotes and newlines do not matter either."""
    name = 'Büro "北京"\n{x}'
    publish(bench.store, bench.entry(name))
    bench.store.registry.pause(name)
    bench.move_mark(name, 7_200_000)
    bench.store.registry.resume(name)
    assert names(bench.store) == [name]
    assert [run.entry for run in bench.store.history.runs(name)] == [name]


def test_a_reload_can_be_asked_for(bench: Bench) -> None:
    """Every beat compares the count with what it has seen."""
    assert bench.store.loads.reload_requests() == 0
    assert bench.store.loads.request_reload() == 1
    assert bench.store.loads.reload_requests() == 1


def test_a_thousand_entries_are_published_in_batches(bench: Bench) -> None:
    """And read back complete."""
    entries = [bench.entry(f"e{i:04}") for i in range(1_000)]
    assert len(publish(bench.store, *entries).added) == 1_000
    assert names(bench.store) == [entry.name for entry in entries]
    assert len(publish(bench.store).removed) == 1_000
    assert names(bench.store) == []


NEWER = [
    b'{"name":"x","task":"t.x","queue":"q","schedule":{"kind":"every","period_ms":60000},"overlap":9}',
    b'{"name":"x","task":"t.x","queue":"q","schedule":["every","1m"]}',
    b'{"name":"x"}',
    b"\xff",
]
"""What a newer version may have written under a name: an option this one does not know, other types, other fields, another format."""


@pytest.mark.parametrize("definition", NEWER)
def test_a_definition_of_a_newer_version_stops_nobody(bench: Bench, definition: bytes) -> None:
    """P12: it is there to be seen, is never armed, and is kept as it is by loads that do not declare it."""
    publish(bench.store, bench.entry("x"), bench.entry("y"))
    bench.call_redis("HSET", bench.keys.registry, "x", definition)
    assert names(bench.store) == ["x", "y"]
    record = bench.store.registry.get("x")
    assert record is not None
    assert record.entry is not None
    assert not record.entry.is_readable
    plan = Plan(namespace=bench.keys.namespace, horizon_ms=2 * HOUR_MS, late_limit_ms=15_000)
    for found in bench.store.registry.stored(["x", "y"]):
        plan.put_stored(found, bench.now_ms)
    assert {fire.entry for fire in plan.take(bench.now_ms, 100).fires} == {"y"}
    assert list(plan.broken) == ["x"]
    assert publish(bench.store, bench.entry("y")).kept == ("x",)
    bench.store.registry.pause("x", reason="look")
    bench.store.registry.resume("x")
    assert bench.call_redis("HGET", bench.keys.registry, "x") == definition, "byte for byte"


def test_a_load_that_declares_what_a_newer_version_wrote_wins(bench: Bench) -> None:
    """The newest load wins: whoever goes back to an older version must not find its entries dead."""
    bench.put("x")
    bench.call_redis("HSET", bench.keys.registry, "x", NEWER[0])
    assert publish(bench.store, bench.entry("x")).changed == ("x",)
    record = bench.store.registry.get("x")
    assert record is not None
    assert record.entry == bench.entry("x")
