"""The audit log: no change without its line, no line without its change."""

from __future__ import annotations

import msgspec
import pytest

from scheduler.model import Entry, RunOptions, Watch
from scheduler.store.audit import AUDIT_MAX, ITS_END, Difference, Note
from scheduler.store.change import LINES_MAX, Change
from tests.support.bench import Bench

pytestmark = pytest.mark.redis


def notes(bench: Bench, entry: str | None = None) -> list[Note]:
    """The log, the oldest line first."""
    return bench.store.audit.notes(entry, n=AUDIT_MAX)[::-1]


def load(bench: Bench, *entries: Entry) -> None:
    """Publish the files of a beat."""
    bench.store.loads.publish({entry.name: entry for entry in entries}, clean=True, mistakes=(), by="beat-a")


def test_each_change_by_hand_has_its_line(bench: Bench) -> None:
    """Who, when, what, why."""
    registry = bench.store.registry
    before_ms = bench.now_ms
    registry.put(bench.entry(), by="ada@h", reason="new")
    registry.put(bench.entry(queue="mail", args=msgspec.Raw(b"[1]")), by="bob@h")
    registry.pause("e", by="ada@h", reason="incident")
    registry.resume("e", by="ada@h")
    registry.skip("e", by="bob@h", reason="holiday")
    found = notes(bench)
    assert [(note.verb, note.entry, note.by, note.reason) for note in found] == [
        ("add", "e", "ada@h", "new"),
        ("edit", "e", "bob@h", ""),
        ("pause", "e", "ada@h", "incident"),
        ("resume", "e", "ada@h", ""),
        ("skip", "e", "bob@h", "holiday"),
    ]
    assert found[1].differences == (Difference("queue", "q", "mail"), Difference("args", "[]", "[1]"))
    assert [note.revision for note in found] == [1, 2, 3, 4, 5]
    assert all(before_ms <= note.at_ms <= bench.now_ms for note in found)


def test_a_load_has_one_line_with_counts_and_one_for_each_entry(bench: Bench) -> None:
    """And a load that changes nothing has none."""
    load(bench, bench.entry("a"), bench.entry("b"))
    load(bench, bench.entry("a", "2h"), bench.entry("c"))
    load(bench, bench.entry("a", "2h"), bench.entry("c"))
    found = [(note.verb, note.entry, note.counts) for note in notes(bench)]
    assert found == [
        ("add", "a", {}),
        ("add", "b", {}),
        ("load", "", {"added": 2}),
        ("edit", "a", {}),
        ("add", "c", {}),
        ("load", "", {"added": 1, "changed": 1, "removed": 1}),
        ("remove", "b", {}),
    ]
    assert notes(bench)[-2].what == "load 2"


def test_a_large_load_is_counted_in_one_line_though_it_takes_several_calls(bench: Bench) -> None:
    """The log must not be flooded by one deploy."""
    load(bench, *(bench.entry(f"e{i:04}") for i in range(1_000)))
    found = notes(bench)
    assert len(found) <= LINES_MAX + 2
    counted = [note for note in found if note.verb == "load"]
    assert sum(note.counts["added"] for note in counted) == 1_000
    assert len(counted) <= 2


def test_an_entry_that_only_moved_in_its_file_is_no_change(bench: Bench) -> None:
    """A line inserted above it: its place is the new one, nothing is disarmed, nobody is told."""
    load(bench, bench.entry("a", source="schedules/x.py:1"))
    before = bench.store.registry.state("a")
    load(bench, bench.entry("a", source="schedules/x.py:9"))
    after = bench.store.registry.state("a")
    assert after.entry is not None
    assert after.entry.source == "schedules/x.py:9"
    assert after.state == before.state
    assert len(notes(bench)) == 2


def test_a_pause_that_ends_by_itself_says_so(bench: Bench) -> None:
    bench.put()
    bench.store.registry.pause("e", until_ms=bench.now_ms + 60_000)
    bench.store.registry.resume("e", until_ms=bench.now_ms)
    assert (notes(bench)[-1].verb, notes(bench)[-1].by) == ("resume", ITS_END)


def test_what_changes_nothing_is_not_noted(bench: Bench) -> None:
    """A refused change, and a resume of what is not paused."""
    bench.put()
    state = bench.store.registry.state("e")
    bench.store.registry.resume("e")
    assert bench.store.registry.state("e") == state
    stale = msgspec.structs.replace(state, state="1 1")
    assert bench.store.changer.apply([Change(stale, "=", None, note=Note(verb="x", entry="e"))]) == ["e"]
    assert [note.verb for note in notes(bench)] == ["add"]


def test_the_log_is_bounded(bench: Bench) -> None:
    """The newest lines stay."""
    bench.call_redis("RPUSH", bench.keys.audit, *[b'{"at_ms":1,"verb":"old"}'] * AUDIT_MAX)
    bench.put()
    assert bench.call_redis("LLEN", bench.keys.audit) == AUDIT_MAX
    assert notes(bench)[-1].verb == "add"


def test_the_log_is_read_by_entry_and_by_time(bench: Bench) -> None:
    for name in ("a", "b", "a"):
        bench.put(name)
        bench.put(name, period="2h")
    since_ms = bench.store.audit.notes(n=1)[0].at_ms
    assert {note.entry for note in notes(bench, "a")} == {"a"}
    assert all(note.at_ms >= since_ms for note in bench.store.audit.notes(n=100, since_ms=since_ms))
    assert len(bench.store.audit.notes(n=2)) == 2


def test_long_arguments_are_cut(bench: Bench) -> None:
    bench.put()
    bench.put(args=msgspec.Raw(msgspec.json.encode(["x" * 5_000])))
    [difference] = notes(bench)[-1].differences
    assert len(difference.new) <= 200
    assert difference.new.endswith("…")


def test_what_an_entry_says_of_runs_and_alerts_is_told_one_by_one(bench: Bench) -> None:
    """And of a web address no more than its host: what follows is a secret."""
    bench.put(run=RunOptions(max_retries=3))
    bench.put(
        run=RunOptions(max_retries=None, time_limit_ms=60_000),
        watch=Watch(alert_failures=2, ping_url="https://hc-ping.com/secret"),
    )
    assert notes(bench)[-1].differences == (
        Difference("max_retries", "3", "none"),
        Difference("time_limit", "as its task says", "1m"),
        Difference("alert_failures", "none", "2"),
        Difference("ping_url", "none", "https://hc-ping.com/…"),
    )


def test_a_purge_is_told_with_how_many_it_ended(bench: Bench) -> None:
    """In one line, though it takes several calls; one that ends nothing has none."""
    bench.store.queues.purge("q", note=Note(verb="purge", by="ada@h"))
    bench.calls(1_200)
    bench.store.queues.purge("q", note=Note(verb="purge", by="ada@h", reason="poison", what="queue q"))
    [note] = notes(bench)
    assert (note.verb, note.reason, note.counts) == ("purge", "poison", {"ended": 1_200})
