"""Pausing and resuming many entries at once: bounded, with one reason, and each back to how it was."""

from __future__ import annotations

import pytest

from scheduler.errors import RefusedError
from scheduler.model import Pause
from scheduler.store.audit import ITS_END
from tests.support.bench import Bench

pytestmark = pytest.mark.redis


def pauses(bench: Bench) -> dict[str, Pause | None]:
    """The pause of each entry."""
    return {record.name: record.pause for record in bench.store.registry.all()}


def paused(bench: Bench) -> set[str]:
    """The names of those that are paused."""
    return {name for name, pause in pauses(bench).items() if pause is not None}


def test_all_are_paused_and_resumed_with_one_reason(bench: Bench) -> None:
    for name in ("a", "b", "c"):
        bench.put(name)
    many = bench.store.registry.pause_all(reason="migration", by="ada@h")
    assert sorted(many.changed) == ["a", "b", "c"]
    found = [pause for pause in pauses(bench).values() if pause is not None]
    assert {(pause.reason, pause.by) for pause in found} == {("migration", "ada@h")}
    assert len({pause.group for pause in found}) == 1
    assert sorted(bench.store.registry.resume_all(by="ada@h").changed) == ["a", "b", "c"]
    assert paused(bench) == set()


def test_what_was_paused_by_itself_stays_so(bench: Bench) -> None:
    """Somebody had a reason, and it is not over because the migration is."""
    for name in ("a", "b", "c"):
        bench.put(name)
    bench.store.registry.pause("a", reason="broken")
    assert bench.store.registry.pause_all(reason="migration").left == ("a",)
    kept = pauses(bench)["a"]
    assert kept is not None
    assert kept.reason == "broken"
    bench.store.registry.pause("b", reason="broken too")  # while all are paused: from now on by itself
    many = bench.store.registry.resume_all()
    assert (many.changed, sorted(many.left)) == (("c",), ["a", "b"])
    assert paused(bench) == {"a", "b"}


def test_a_tag_chooses(bench: Bench) -> None:
    bench.put("a", tags=("mail",))
    bench.put("b", tags=("mail", "slow"))
    bench.put("c")
    assert sorted(bench.store.registry.pause_all(tag="mail").changed) == ["a", "b"]
    assert paused(bench) == {"a", "b"}
    assert bench.store.registry.resume_all(tag="slow").changed == ("b",)
    assert paused(bench) == {"a"}


def test_a_later_pause_of_all_takes_the_place_of_an_earlier_one(bench: Bench) -> None:
    """Its reason and its end count; they are paused since the first."""
    bench.put("a")
    bench.store.registry.pause_all(reason="first", until_ms=bench.now_ms + 60_000)
    since_ms = (pauses(bench)["a"] or Pause(0)).since_ms
    bench.put("b")
    assert sorted(bench.store.registry.pause_all(reason="second").changed) == ["a", "b"]
    found = pauses(bench)["a"]
    assert found is not None
    assert (found.since_ms, found.reason, found.until_ms) == (since_ms, "second", None)


def test_the_audit_log_is_not_flooded(bench: Bench) -> None:
    """A line with the number, and one for each of the first fifty."""
    bench.store.loads.publish(
        {f"e{i:04}": bench.entry(f"e{i:04}") for i in range(700)}, clean=True, mistakes=(), by="b"
    )
    before = len(bench.store.audit.notes(n=10_000))
    bench.store.registry.pause_all(reason="x", by="ada@h")
    notes = bench.store.audit.notes(n=10_000)[: -before or None]
    assert [note.counts for note in notes if note.counts] == [{"paused": 700}]
    assert len(notes) == 51
    assert len(paused(bench)) == 700


def test_pauses_that_end_by_themselves_end_together(bench: Bench) -> None:
    """In one call, however many, and only those whose end it is."""
    for name in ("a", "b", "c", "d"):
        bench.put(name)
    until_ms = bench.now_ms + 50
    bench.store.registry.pause("d", until_ms=until_ms + 3_600_000)
    bench.store.registry.pause("c", until_ms=until_ms)
    bench.store.registry.pause_all(until_ms=until_ms)
    while bench.now_ms < until_ms:
        pass
    ended = [(name, until_ms) for name in ("a", "b", "c", "d", "gone")]
    assert sorted(bench.store.registry.resume_ended(ended)) == ["a", "b", "c"]
    assert paused(bench) == {"d"}
    assert bench.store.registry.resume_ended(ended) == []
    by_itself = [note for note in bench.store.audit.notes(n=2) if note.by == ITS_END]
    assert {(note.entry, note.counts.get("resumed", 0)) for note in by_itself} == {("c", 0), ("", 2)}


def test_a_pause_that_was_made_shorter_ends(bench: Bench) -> None:
    """P2: whoever leads may tell of both ends at once, after it was away; forgotten, it would last for ever."""
    bench.put("a")
    until_ms = bench.now_ms + 20
    bench.store.registry.pause("a", until_ms=until_ms + 10)
    bench.store.registry.pause("a", until_ms=until_ms)
    while bench.now_ms < until_ms + 10:
        pass
    assert bench.store.registry.resume_ended([("a", until_ms), ("a", until_ms + 10)]) == ["a"]
    assert paused(bench) == set()


def test_a_pause_must_not_end_before_it_begins(bench: Bench) -> None:
    bench.put("a")
    with pytest.raises(RefusedError):
        bench.store.registry.pause_all(until_ms=bench.now_ms - 1)
    assert paused(bench) == set()
