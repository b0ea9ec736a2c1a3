"""Traps 1–4 of the design with what people do by hand: add, edit, remove, skip, pause all."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest

from scheduler.model import Entry, Origin
from scheduler.store.change import Change
from scheduler.store.loads import Load
from scheduler.timing import crontab
from scheduler.wire import encode_entry
from tests.support.bench import Bench

pytestmark = pytest.mark.redis

DOINGS: dict[str, Callable[[Bench], object]] = {
    "edit": lambda bench: bench.store.registry.redefine("e", lambda _: by_hand(bench, queue="other")),
    "remove": lambda bench: bench.store.registry.redefine("e", lambda _: None),
    "remove and add": lambda bench: [
        bench.store.registry.redefine("e", lambda _: None), bench.store.registry.redefine("e", lambda _: by_hand(bench))
    ],
    "skip": lambda bench: bench.store.registry.skip("e"),
    "pause all": lambda bench: bench.store.registry.pause_all(),
    "pause and resume all": lambda bench: [bench.store.registry.pause_all(), bench.store.registry.resume_all()],
}  # fmt: skip


def by_hand(bench: Bench, period: str = "1h", **options: object) -> Entry:
    """An entry as `sched add` makes it."""
    return bench.entry("e", period, origin=Origin.HAND, **options)


@pytest.mark.parametrize("doing", DOINGS)
def test_trap_1_an_arm_planned_before_it_arrives_after_it(bench: Bench, doing: str) -> None:
    """The revision differs: the leader reads the entry again."""
    bench.store.registry.put(by_hand(bench))
    fire, term = bench.fire(in_ms=60_000), bench.win()
    DOINGS[doing](bench)
    answer = bench.arm(term, [fire])
    assert (answer.armed, answer.stale) == (0, ["e"])
    assert bench.live() == set()


@pytest.mark.parametrize("doing", DOINGS)
def test_trap_2_what_is_due_already_goes_on(bench: Bench, doing: str) -> None:
    """A fire between its due time and its promotion keeps its bytes, and runs once."""
    each_second = crontab("* * * * * *").as_data()
    bench.store.registry.put(by_hand(bench, schedule=each_second, countdown_ms=1_500))
    term = bench.win()
    bench.move_mark("e", 5_000)
    now_ms = bench.now_ms
    fire = bench.fire(in_ms=now_ms // 1_000 * 1_000 - now_ms, now_ms=now_ms)
    assert bench.arm(term, [fire]).armed == 1
    DOINGS[doing](bench)
    body = bench.store.queues.body(fire.id)
    assert body == fire.body
    session = bench.open()
    while not (taken := bench.take(session)):
        pass
    assert taken == [fire.id]
    assert bench.store.registry.counts("e")["promoted"] == 1
    bench.check_places()


@pytest.mark.parametrize("doing", ["edit", "remove and add", "pause and resume all"])
def test_trap_3_redis_clock_steps_back(bench: Bench, doing: str) -> None:
    """What was promoted lies ahead: neither is the mark put below it, nor is it there to be skipped."""
    bench.store.registry.put(by_hand(bench))
    ahead_ms = bench.now_ms + 7_200_000
    bench.call_redis("HSET", bench.keys.promoted, "e", f"{ahead_ms} 1")
    DOINGS[doing](bench)
    assert bench.store.registry.skip("e")[1] > ahead_ms
    if doing != "edit":
        assert bench.store.registry.state("e").mark_ms == ahead_ms


def test_trap_4_no_load_touches_what_was_made_by_hand(bench: Bench) -> None:
    """Neither an old nor a new one, clean or not; an order to skip outlives them all."""
    bench.store.registry.put(by_hand(bench))
    bench.store.loads.publish({"f": bench.entry("f")}, clean=True, mistakes=(), by="old")
    bench.store.registry.skip("e")
    bench.store.registry.skip("f")
    before = bench.store.registry.state("e"), bench.store.registry.state("f").skips
    bench.store.loads.publish({"f": bench.entry("f", queue="r")}, clean=True, mistakes=(), by="new")
    bench.store.loads.publish({"e": bench.entry(queue="r")}, clean=False, mistakes=("x.py:1: x",), by="broken")
    assert (bench.store.registry.state("e"), bench.store.registry.state("f").skips) == before
    late = Change(bench.store.registry.state("f"), None)
    assert bench.store.changer.apply([late], load=Load(1, "late", ())) is None
    assert bench.store.registry.state("f").skips == before[1]


def test_a_reload_touches_only_what_changed(bench: Bench) -> None:
    """What stands armed of all others keeps its bytes, its mark and its revision; those that only moved in their file, too."""
    names = [f"e{i}" for i in range(20)]
    entries = {name: bench.entry(name, source=f"schedules/x.py:{i}") for i, name in enumerate(names)}
    bench.store.loads.publish(entries, clean=True, mistakes=(), by="b")
    term = bench.win()
    fires = {name: bench.fire(name, in_ms=3_600_000) for name in names}
    bench.arm(term, list(fires.values()))
    before = {name: (bench.store.registry.state(name).state, bench.store.queues.body(fires[name].id)) for name in names}
    moved = {name: bench.entry(name, source=f"schedules/x.py:{i + 7}") for i, name in enumerate(names)}
    moved["e7"] = bench.entry("e7", period="2h", source="schedules/x.py:14")
    published = bench.store.loads.publish(moved, clean=True, mistakes=(), by="b")
    assert published.changed == ("e7",)
    for name in names:
        record = bench.store.registry.state(name)
        after = record.state, bench.store.queues.body(fires[name].id)
        assert (after == before[name]) is (name != "e7")
        assert record.entry is not None
        assert record.entry.source == moved[name].source
    assert [note.entry for note in bench.store.audit.notes(n=2) if note.entry] == ["e7"]


def test_what_changed_is_in_force_before_what_only_moved(bench: Bench) -> None:
    """A line inserted above a loop of thousands moves them all: the one that matters does not wait for them."""
    entries = {f"e{i:04}": bench.entry(f"e{i:04}", source=f"schedules/x.py:{i}") for i in range(2_000)}
    bench.store.loads.publish(entries, clean=True, mistakes=(), by="b")
    moved = {name: msgspec.structs.replace(entry, source=entry.source + "1") for name, entry in entries.items()}
    moved["e1999"] = bench.entry("e1999", period="2h", source="schedules/x.py:1")
    publishing = bench.store.loads.publishing(list(map(encode_entry, moved.values())), clean=True, mistakes=(), by="b")
    while bench.store.registry.state("e1999").entry != moved["e1999"]:
        assert publishing.step() is None
    assert bench.store.registry.state("e0000").entry == entries["e0000"]
    while (published := publishing.step()) is None:
        pass
    assert published.changed == ("e1999",)
    assert {record.name: record.entry for record in bench.store.registry.all()} == moved
