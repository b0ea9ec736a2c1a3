"""The limits of declared queues reach Redis, where scripts read them."""

from __future__ import annotations

import pytest

from scheduler.config import Config
from scheduler.exchange import Queue
from scheduler.store import Store, open_store
from scheduler.store.limits import Limit, Limits

pytestmark = pytest.mark.redis


def another(store: Store) -> Limits:
    """The limits as a second process would tell them."""
    return Limits(store.connection, store.keys)


def test_limits_stand_as_scripts_read_them(store: Store) -> None:
    """The other half is in Lua: three words, and `-` for none."""
    store.limits.tell([Queue("a", max_length=9, overflow="drop_oldest"), Queue("b", concurrency=2), Queue("free")])
    assert store.connection.call("HGETALL", store.keys.queue_limits) == [b"a", b"9 drop_oldest -", b"b", b"- refuse 2"]
    assert store.limits.all() == {"a": Limit(9, "drop_oldest"), "b": Limit(concurrency=2)}


def test_the_newest_start_wins_queue_by_queue(store: Store) -> None:
    """A rolling deploy ends with the new settings; an app with other queues takes nothing away."""
    store.limits.tell([Queue("a", max_length=9), Queue("b", concurrency=2), Queue("c", concurrency=1)])
    another(store).tell([Queue("a", max_length=10), Queue("b")])
    assert store.limits.all() == {"a": Limit(10), "c": Limit(concurrency=1)}


def test_whoever_finds_redis_again_adds_only_what_is_missing(store: Store) -> None:
    """P11: a Redis that lost its data has limits again, and an old process does not bring its settings back."""
    old = another(store)
    old.tell([Queue("a", max_length=9), Queue("b", concurrency=2)])
    store.limits.tell([Queue("a", max_length=10)])
    store.connection.call("HDEL", store.keys.queue_limits, "b")
    old.tell([Queue("a", max_length=9), Queue("b", concurrency=2)])
    assert store.limits.all() == {"a": Limit(10), "b": Limit(concurrency=2)}


def test_a_full_redis_keeps_nobody_from_its_work(own_config: Config) -> None:
    """A beat that cannot tell its limits would not lead, and a worker would not come back."""
    store = open_store(own_config, role="test")
    store.connection.call("CONFIG", "SET", "maxmemory", "1")
    store.limits.tell([Queue("a", max_length=9), Queue("b")])
    store.limits.tell([Queue("a", max_length=9), Queue("c", concurrency=1)])
    store.connection.call("CONFIG", "SET", "maxmemory", "0")
    assert store.limits.all() == {"a": Limit(9), "c": Limit(concurrency=1)}
    store.close()


def test_where_nothing_is_declared_nothing_is_sent(store: Store) -> None:
    """Most people declare no queue."""
    store.limits.tell([])
    assert store.limits.all() == {}
