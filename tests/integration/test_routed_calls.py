"""Calls that an exchange leads to several queues, down to the messages on Redis."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from scheduler.app import App
from scheduler.calls import copy_id
from scheduler.config import Config
from scheduler.errors import RefusedError, UnroutableError
from scheduler.exchange import Exchange, Queue
from scheduler.store import Store
from scheduler.task import Task
from scheduler.wire import decode_header, decode_payload

pytestmark = pytest.mark.redis

NEWS = Exchange("news", type="fanout")
ROUTES = {
    "t.routed": {"queue": "b", "priority": 3},
    "t.wide": {"exchange": "news"},
    "t.own": {"queue": "b", "priority": 3},
}


@pytest.fixture
def app(config: Config) -> Iterator[App]:
    """One whose settings declare queues."""
    declared = (Queue("a", NEWS), Queue("b", NEWS), Queue("c", NEWS))
    app = App(
        "caller", broker=config.redis_url, namespace=config.namespace, queues=declared, routes=ROUTES, task_priority=1
    )  # fmt: skip
    yield app
    app.close()


def made(app: App, name: str, **options: Any) -> Task:
    """A task called *name*."""
    task: Task = app.task(name=name, **options)(lambda *args: args)
    return task


def facts(store: Store, id_: str) -> tuple[str, int, list[int], str, tuple[str, str] | None]:
    """Queue, priority, arguments, family and way of a message."""
    body = store.queues.body(id_)
    assert body is not None
    header, at = decode_header(body)
    payload = decode_payload(body, at)
    return header.queue, header.priority, msgspec.json.decode(payload.args), payload.root_id, payload.way


def test_each_queue_gets_a_copy_of_one_family(app: App, store: Store) -> None:
    """The caller knows the first; the ids of the others follow from it."""
    result = made(app, "t.f").apply_async((7,), exchange="news", priority=4)
    assert list(result.copies) == ["b", "c"]
    assert facts(store, result.id) == ("a", 4, [7], "", ("news", "default"))
    for queue, copied in result.copies.items():
        assert copied.id == copy_id(store.keys.namespace, result.id, queue)
        assert facts(store, copied.id) == (queue, 4, [7], result.id, ("news", "default"))
    assert [depth.ready for _, depth in sorted(store.queues.depths().items())] == [1, 1, 1]


def test_a_repeated_call_under_an_id_of_its_own_adds_no_copy(app: App, store: Store) -> None:
    """P5: the copies are refused with the message they are copies of."""
    task = made(app, "t.f")
    task.apply_async((1,), exchange="news", task_id="mine")
    with pytest.raises(RefusedError, match="mine"):
        task.apply_async((1,), exchange="news", task_id="mine")
    assert {name: depth.ready for name, depth in store.queues.depths().items()} == {"a": 1, "b": 1, "c": 1}


def test_many_calls_may_go_many_ways(app: App, store: Store) -> None:
    """Each result knows its own copies, whatever stands beside it."""
    plain, wide, named = made(app, "t.f").apply_many(
        [(1,), {"args": (2,), "exchange": "news"}, {"args": (3,), "queue": "b", "routing_key": "whatever"}]
    )
    assert (dict(plain.copies), list(wide.copies), dict(named.copies)) == ({}, ["b", "c"], {})
    assert facts(store, plain.id)[:3] == ("default", 1, [1])
    assert [facts(store, one.id)[:3] for one in (wide, *wide.copies.values())] == [
        ("a", 1, [2]),
        ("b", 1, [2]),
        ("c", 1, [2]),
    ]
    assert facts(store, named.id) == ("b", 1, [3], "", None)


def test_plain_calls_follow_the_routes_of_their_task(app: App, store: Store) -> None:
    """`delay` too: by queue, by exchange; the task's own priority weighs more than the route's, that more than the setting."""
    routed, own, wide = made(app, "t.routed"), made(app, "t.own", priority=0), made(app, "t.wide")
    assert facts(store, routed.delay(1).id)[:3] == ("b", 3, [1])
    assert facts(store, own.delay(1).id)[:3] == ("b", 0, [1])
    assert facts(store, routed.apply_async((1,), priority=9).id)[:3] == ("b", 9, [1])
    assert list(wide.delay(1).copies) == ["b", "c"]
    assert [list(result.copies) for result in wide.apply_many([(1,), (2,)])] == [["b", "c"], ["b", "c"]]


def test_celerys_keywords_without_meaning_here_are_passed_over(app: App, store: Store) -> None:
    """A program goes on calling as it did; a slip, and what it would miss, is told."""
    task = made(app, "t.f")
    passed: dict[str, Any] = {
        "exchange_type": "fanout",
        "delivery_mode": 2,
        "retry": True,
        "mandatory": True,
        "shadow": "f",
    }
    results = [
        task.apply_async((1,), exchange="news", **passed),
        task.apply_many([{"args": (1,), "exchange": "news", **passed}])[0],
        app.send_task("t.unknown", (1,), exchange="news", **passed),
    ]
    assert [list(result.copies) for result in results] == [["b", "c"]] * 3
    with pytest.raises(TypeError, match="exchang: no such keyword of apply_async; did you mean 'exchange'"):
        task.apply_async((1,), exchang="news")
    with pytest.raises(TypeError, match="time_limit: a limit is said of the task, or of an entry"):
        app.send_task("t.unknown", time_limit=5)


def test_where_a_message_would_be_lost_nothing_is_sent(app: App, store: Store) -> None:
    """P5. Of many calls none is sent, either."""
    task = made(app, "t.f")
    with pytest.raises(
        UnroutableError, match=r"no declared queue is bound to exchange 'nwes', .*; did you mean 'news'"
    ):
        task.apply_many([(1,), {"args": (2,), "exchange": "nwes"}])
    with pytest.raises(ValueError, match="routing_key 5: expected at most"):
        task.apply_async(exchange="news", routing_key=5)  # type: ignore[arg-type]
    assert store.queues.names() == []
