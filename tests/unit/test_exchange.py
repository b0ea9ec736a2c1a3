"""What people declare about the ways of messages, and the words of kombu that they bring along."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest

from scheduler import Exchange, Queue, binding
from scheduler.errors import ConfigError
from scheduler.exchange import read_queue


def complaints(make: Any, *args: Any, **kwargs: Any) -> tuple[str, ...]:
    """What is said against it."""
    with pytest.raises(ConfigError) as caught:
        make(*args, **kwargs)
    return caught.value.complaints


def test_a_queue_is_a_value() -> None:
    """It is compared, hashed, copied and sent to other processes; nobody changes it."""
    media = Exchange("media", type="topic")
    queue = Queue("video", media, routing_key="video.*", max_length=1000, overflow="drop_oldest", concurrency=2)
    assert (queue.exchange, queue.routing_key, queue.max_length, queue.overflow, queue.concurrency) == (
        media, "video.*", 1000, "drop_oldest", 2,
    )  # fmt: skip
    same = Queue("video", Exchange("media", "topic"), "video.*", max_length=1000, overflow="drop_oldest", concurrency=2)
    assert {queue: 1}[same] == 1
    assert pickle.loads(pickle.dumps(queue)) == copy.deepcopy(queue) == queue
    assert queue != Queue("video")
    with pytest.raises(AttributeError):
        queue.name = "audio"  # type: ignore[misc]


def test_what_tutorials_say_to_kombu_is_taken() -> None:
    """A tutorial's program runs after changing its import lines."""
    media = Exchange("media", type="direct", durable=True, auto_delete=False, delivery_mode=2)
    assert media == Exchange("media") == Exchange(name="media", type="")
    queue = Queue(
        "tasks", exchange=media, routing_key="tasks", durable=True, auto_delete=False, exclusive=False, no_ack=False,
        queue_arguments={"x-max-priority": 10, "x-max-length": 5, "x-overflow": "drop-head"},
    )  # fmt: skip
    assert queue == Queue("tasks", media, "tasks", max_length=5, overflow="drop_oldest")
    assert Queue("tasks", max_priority=10) == Queue("tasks", queue_arguments={"x-queue-type": "quorum"})
    assert Queue("a", queue_arguments={"x-max-length": 5, "x-overflow": "reject-publish"}).overflow == "refuse"


def test_a_queue_may_be_bound_more_than_once() -> None:
    """kombu's `binding`, as in Celery's page on routing."""
    media = Exchange("media")
    queue = Queue("media", [binding(media, routing_key="media.video"), binding(media, routing_key="media.image")])
    assert [(way.exchange, way.routing_key) for way in queue.bindings] == [
        (media, "media.video"),
        (media, "media.image"),
    ]
    assert queue == Queue("media", bindings=queue.bindings)
    assert queue == Queue(
        "media", media, bindings=[binding(routing_key="media.video"), binding(routing_key="media.image")]
    )


@pytest.mark.parametrize(
    ("args", "kwargs", "said"),
    [
        (("a b",), {}, "queue 'a b': use 1–128 letters"),
        ((None,), {}, "queue None: use 1–128"),
        (("a",), {"max_length": 0}, "Queue('a'): max_length 0: expected a whole number from 1 to 1,000,000,000"),
        (("a",), {"max_length": True}, "Queue('a'): max_length True: expected a whole number"),
        (("a",), {"concurrency": -1}, "Queue('a'): concurrency -1: expected a whole number from 1"),
        (("a",), {"max_length": 1, "overflow": "drop"}, "Queue('a'): overflow 'drop': expected 'refuse' or 'drop_oldest'"),
        (("a",), {"overflow": "drop_oldest"}, "Queue('a'): overflow 'drop_oldest' without max_length: it never overflows"),
        (("a",), {"max_lenght": 1}, "Queue('a'): unknown keyword 'max_lenght'; did you mean 'max_length'"),
        (("a",), {"message_ttl": 5}, "Queue('a'): message_ttl=5: messages expire where their task or call says so: expires="),
        (("a",), {"no_ack": True}, "Queue('a'): no_ack=True: at most once is said of the task: ack='early'"),
        (("a",), {"queue_arguments": {"x-max-lenght": 1}}, "Queue('a'): queue_arguments: unknown 'x-max-lenght'; did you mean"),
        (("a",), {"queue_arguments": {"x-message-ttl": 1}}, "Queue('a'): queue_arguments: x-message-ttl=1: messages expire"),
        (("a",), {"queue_arguments": 5}, "Queue('a'): queue_arguments 5: expected a mapping"),
        (("a",), {"queue_arguments": {"x-max-length": "many"}}, "Queue('a'): max_length 'many': expected a whole number"),
        (("a", "b c"), {}, "Queue('a'): exchange 'b c': use 1–128 letters"),
        (("a", 5), {}, "Queue('a'): exchange 5: expected an Exchange, its name, or a list of bindings"),
        (("a", [5]), {}, "Queue('a'): bindings: 5: expected binding(exchange, routing_key=…)"),
        (("a",), {"routing_key": "x" * 256}, "Queue('a'): binding: routing_key"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_queue_is_said(args: Any, kwargs: Any, said: str) -> None:
    """What, where, what now."""
    assert complaints(Queue, *args, **kwargs)[0].startswith(said)


def test_all_that_is_wrong_is_said_at_once() -> None:
    """One run shows all that is to be mended."""
    assert len(complaints(Queue, "a", durrable=True, max_length=0, concurrency=0)) == 3
    assert complaints(Exchange, "a", "headers", durrable=True) == (
        "Exchange('a'): unknown keyword 'durrable'; did you mean 'durable'?",
        "Exchange('a'): type 'headers': expected 'direct', 'topic', 'fanout'",
    )


def test_settings_write_a_queue_in_four_ways() -> None:
    """A name, a value, a table of TOML, and Celery's dict."""
    video = Queue("video", Exchange("media", "topic"), "video.*", max_length=1000, concurrency=2)
    assert read_queue("video") == Queue("video")
    assert read_queue(video) is video
    table = {
        "name": "video",
        "exchange": "media",
        "type": "topic",
        "routing_key": "video.*",
        "max_length": 1000,
        "concurrency": 2,
    }
    assert read_queue(table) == video
    old = {"exchange": "media", "exchange_type": "topic", "binding_key": "video.*"}
    assert read_queue(old, name="video") == Queue("video", Exchange("media", "topic"), "video.*")
    assert read_queue(
        {"name": "m", "bindings": [{"exchange": "media", "routing_key": "a"}, {"routing_key": "b"}]}
    ) == Queue("m", [binding("media", "a"), binding(None, "b")])


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (5, "queue 5: expected a name, a Queue, or a mapping such as"),
        ({"exchange": "x"}, "queue {'exchange': 'x'}: its name is missing, as in {name='video'}"),
        ({"name": "a", "routingkey": "x"}, "queue 'a': unknown 'routingkey'; did you mean 'routing_key'?"),
        ({"name": "a", "type": "topic"}, "queue 'a': type 'topic' is said of no exchange; give exchange= too"),
        (
            {"name": "a", "exchange": "x", "type": "topik"},
            "queue 'a': type 'topik': expected 'direct', 'topic', 'fanout'",
        ),
        ({"name": "a", "bindings": [{"key": "x"}]}, "queue 'a': binding {'key': 'x'}: expected {exchange='media'"),
        ({"name": "a", "max_length": "9"}, "Queue('a'): max_length '9': expected a whole number"),
    ],
)
def test_what_is_wrong_in_a_table_is_said(given: Any, said: str) -> None:
    """What, where, what now."""
    assert complaints(read_queue, given)[0].startswith(said)
