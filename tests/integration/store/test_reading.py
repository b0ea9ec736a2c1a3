"""The registry is read in slices while others change it."""

from __future__ import annotations

import msgspec
import pytest

from scheduler.model import Entry, EntryRecord
from scheduler.store import loads
from scheduler.store.reading import SLICE, StoredEntry
from scheduler.wire import encode_entry
from tests.support.bench import Bench

pytestmark = pytest.mark.redis

MANY = 3 * SLICE
"""So many that Redis keeps them in a table, and hands them out in parts."""


def publish(bench: Bench, n: int = MANY, *, period: str = "1h") -> None:
    """Put *n* entries in force."""
    bench.store.loads.publish(
        {f"e{i}": bench.entry(f"e{i}", period) for i in range(n)}, clean=True, mistakes=(), by="b"
    )


def test_all_entries_come_in_slices(bench: Bench) -> None:
    """One reply with a million entries would keep Redis from everybody else; so nobody asks for all at once."""
    publish(bench)
    bench.call_redis("CONFIG", "RESETSTAT")
    reading = bench.store.registry.reading()
    slices: list[list[StoredEntry]] = []
    while found := reading.next():
        slices.append(found)
    assert {entry.name for found in slices for entry in found} == {f"e{i}" for i in range(MANY)}
    assert max(map(len, slices)) < 2 * SLICE
    assert b"cmdstat_hgetall" not in bench.call_redis("INFO", "commandstats")
    assert reading.revision == bench.store.registry.revision()
    assert reading.next() == []


def test_a_state_is_never_newer_than_the_definition_beside_it(bench: Bench) -> None:
    """Trap 1: a change between the two reads must make the arm fail, not arm what was replaced."""
    publish(bench)
    reading = bench.store.registry.reading()
    seen = {entry.name: entry for entry in reading.next()}
    # The states of the next slice have been read; each of these entries changes before its definition is.
    changed = [name for name, _ in reading._states]
    for name in changed:
        bench.put(name, "2h")
    slice_ = reading.next()
    assert {entry.name for entry in slice_} == set(changed)
    assert all(entry.state != bench.store.registry.state(entry.name).state for entry in slice_)
    while found := reading.next():
        seen |= {entry.name: entry for entry in found}
    assert {name: entry.record() for name, entry in seen.items()} == {
        record.name: record for record in bench.store.registry.all()
    }


def test_a_pause_is_seen_wherever_it_falls(bench: Bench) -> None:
    """Before its slice, in its slice, and after it."""
    publish(bench)
    reading = bench.store.registry.reading()
    seen: dict[str, EntryRecord] = {}
    paused = set()
    while found := reading.next():
        seen |= {entry.name: entry.record() for entry in found}
        if not reading.scanned:
            (upcoming, _), *_ = reading._states or [("e0", "")]
            for name in {found[0].name, upcoming}:
                bench.store.registry.pause(name)
                paused.add(name)
    assert {name for name, record in seen.items() if record.pause} == paused


def test_changes_are_followed_in_slices_too(bench: Bench) -> None:
    """A load that changes very many entries is taken in like the registry itself; removed ones are told."""
    publish(bench)
    reading = bench.store.registry.reading()
    while reading.next():
        pass
    publish(bench, MANY - 1, period="2h")
    slices = []
    while found := reading.next():
        slices.append(found)
    assert max(map(len, slices)) <= SLICE
    found_by_name = {entry.name: entry for each in slices for entry in each}
    assert len(found_by_name) == MANY
    assert found_by_name[f"e{MANY - 1}"].definition is None


def test_a_load_is_published_in_steps(bench: Bench) -> None:
    """P4: whoever publishes very many entries goes on leading meanwhile."""
    definitions = [encode_entry(bench.entry(f"e{i}")) for i in range(MANY)]
    publishing = bench.store.loads.publishing(definitions, clean=True, mistakes=(), by="b")
    standing = []
    while (published := publishing.step()) is None:
        standing.append(bench.call_redis("HLEN", bench.keys.registry))
    assert len(published.added) == MANY
    assert max(now - then for then, now in zip([0, *standing], standing, strict=False)) <= loads.STEP


def test_a_load_that_changes_nothing_decodes_nothing(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that one change among very many is in force at once: the bytes are compared where they stand."""
    publish(bench)
    changed = encode_entry(bench.entry("e7", "3h"))
    definitions = [changed if i == 7 else encode_entry(bench.entry(f"e{i}")) for i in range(MANY)]
    decoded: list[Entry] = []

    def decode(data: bytes) -> Entry:
        decoded.append(msgspec.json.decode(data, type=Entry))
        return decoded[-1]

    monkeypatch.setattr(loads, "decode_entry", decode)
    publishing = bench.store.loads.publishing(definitions, clean=True, mistakes=(), by="b")
    while (published := publishing.step()) is None:
        pass
    assert (published.added, published.changed, published.removed) == ((), ("e7",), ())
    assert [entry.name for entry in decoded] == ["e7"]


def test_names_are_found_by_their_glob(bench: Bench) -> None:
    """Of very many entries, only those that are asked for travel."""
    publish(bench)
    assert bench.store.registry.names("*99*") == sorted(f"e{i}" for i in range(MANY) if "99" in str(i))
