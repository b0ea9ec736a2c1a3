"""Names of keys: one hash tag, no two meanings for one key."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.errors import ConfigError
from scheduler.store.keys import Keys

queues = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.:@-]{0,20}", fullmatch=True)
entries = st.text(min_size=1, max_size=20)


def per_queue(keys: Keys, queue: str) -> list[str]:
    """Every key of a queue."""
    ready = [keys.ready(queue, priority) for priority in range(10)]
    return [keys.delayed(queue), keys.levels(queue), keys.wake(queue), *ready]


@given(queues, queues, entries, entries)
def test_no_two_things_share_a_key(one: str, other: str, entry: str, another: str) -> None:
    """P5: a queue called `a:ready` is not the ready list of `a`."""
    keys = Keys("ns")
    found = [*keys.core, keys.term, keys.registry, keys.marks, *per_queue(keys, one)]
    found += [keys.entry_runs(entry), keys.entry_counts(entry), keys.result(entry), keys.call(entry)]
    if other != one:
        found += per_queue(keys, other)
    found += [keys.unique(f"1 {entry}"), *(keys.turn(queue, entry) for queue in {one, other})]
    if another != entry:
        found += [keys.entry_runs(another), keys.entry_counts(another)]
    assert len(found) == len(set(found))


def test_all_keys_share_the_tag_of_their_namespace() -> None:
    """Every script touches one slot of a Redis Cluster."""
    keys = Keys("team.a:b-c_d")
    found = [
        *keys.core,
        keys.leaders,
        keys.held("s"),
        keys.cancels("s"),
        keys.session_info("s"),
        keys.orders("s"),
        *per_queue(keys, "q"),
    ]
    assert all(key.startswith("{team.a:b-c_d}:") for key in found)
    assert keys.messages.removesuffix("messages") == keys.prefix, "scripts form the prefix from it"


@pytest.mark.parametrize("namespace", ["", "a b", "{a}", "a}", "-a", ":a", "a" * 65, "ä", "a\n"])
def test_a_namespace_that_would_break_the_tag_is_refused(namespace: str) -> None:
    """P12."""
    with pytest.raises(ConfigError, match="namespace"):
        Keys(namespace)
