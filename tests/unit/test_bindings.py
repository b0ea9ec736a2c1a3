"""From an exchange and a routing key to queues."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.bindings import Bindings, is_topic_match
from scheduler.errors import ConfigError
from scheduler.exchange import Exchange, Queue, binding

words = st.sampled_from(["a", "b", ""])
keys = st.lists(words, max_size=5).map(".".join)
patterns = st.lists(st.sampled_from(["a", "b", "*", "#", ""]), max_size=5).map(".".join)


def bindings(*queues: Queue, default: str = "default", type_: str = "direct", key: str = "") -> Bindings:
    """The bindings of *queues*, the defaults as settings have them."""
    return Bindings(
        queues, default_queue=default, default_exchange=Exchange(default, type_), default_routing_key=key or default
    )


def is_match_by_trying(pattern: list[str], key: list[str]) -> bool:
    """The definition, word by word: slow, and plainly right."""
    if not pattern:
        return not key
    first, rest = pattern[0], pattern[1:]
    if first == "#":
        return any(is_match_by_trying(rest, key[n:]) for n in range(len(key) + 1))
    return bool(key) and first in ("*", key[0]) and is_match_by_trying(rest, key[1:])


@given(patterns, keys)
def test_a_topic_matches_as_its_definition_says(pattern: str, key: str) -> None:
    """A message that goes to the wrong queue may never be seen."""
    split = [text.split(".") if text else [] for text in (pattern, key)]
    assert is_match_by_trying(*split) == is_topic_match(pattern, key)


@pytest.mark.parametrize(
    ("pattern", "key", "is_match"),
    [
        ("feed.#", "feed.import", True),
        ("feed.#", "feed", True),
        ("feed.#", "feed.import.rss", True),
        ("feed.*", "feed", False),
        ("feed.*", "feed.import", True),
        ("feed.*", "feed.import.rss", False),
        ("usa.*", "usa.news", True),
        ("#.weather", "norway.oslo.weather", True),
        ("#", "", True),
        ("*", "", False),
        ("*.b.#.d", "a.b.d", True),
        ("*.b.#.d", "a.b.c.c.d", True),
        ("*.b.#.d", "b.d", False),
        ("feed.#", "feeds.import", False),
    ],
)
def test_topics_as_people_know_them(pattern: str, key: str, is_match: bool) -> None:
    """The examples of RabbitMQ's and Celery's pages."""
    assert is_match == is_topic_match(pattern, key)


def test_a_direct_exchange_goes_by_the_whole_key() -> None:
    """No sign means anything there."""
    found = bindings(Queue("v", Exchange("media"), "media.*"), Queue("i", Exchange("media"), "image"))
    assert found.queues("media", "image") == ("i",)
    assert found.queues("media", "media.x") == ()
    assert found.queues("media", "media.*") == ("v",)


def test_a_fanout_exchange_goes_to_all() -> None:
    """In the order of the declarations; the routing key has no say."""
    all_ = Exchange("all", type="fanout")
    found = bindings(Queue("b", all_), Queue("a", all_, "x"), Queue("c"))
    assert found.queues("all", "whatever") == ("b", "a")


def test_a_queue_gets_a_message_once_however_often_it_is_bound() -> None:
    """As in AMQP."""
    topic = Exchange("t", type="topic")
    found = bindings(Queue("a", [binding(topic, "x.*"), binding(topic, "#")]))
    assert found.queues("t", "x.y") == ("a",)


def test_what_a_declaration_leaves_open_is_as_in_celery() -> None:
    """The default exchange; its own name for a key, the default key for the default queue."""
    found = bindings(Queue("default"), Queue("mail"), type_="topic", key="task.default")
    assert found.queues("default", "task.default") == ("default",)
    assert found.queues("default", "mail") == ("mail",)
    assert bindings().queues("default", "default") == ("default",)


def test_the_exchange_without_a_name_takes_a_queues_name() -> None:
    """As in AMQP; declared or not."""
    found = bindings(Queue("mail"))
    assert found.queues("", "mail") == ("mail",)
    assert found.queues("", "other") == ("other",)
    assert found.queues("", "a b") == ()


@pytest.mark.parametrize(
    ("queues", "said"),
    [
        ((Queue("a"), Queue("a", max_length=1)), "queue 'a' is declared twice; declare it once, with bindings="),
        (
            (Queue("a", Exchange("m", "topic")), Queue("b", Exchange("m"))),
            "exchange 'm' is topic for queue 'a' and direct for queue 'b': say the same in both places",
        ),
        (
            (Queue("a", Exchange("default", "topic")),),
            "exchange 'default' is topic for queue 'a', and default_exchange_type is direct: say the same in both places",
        ),
        (
            (Queue("a", Exchange("m", "topic"), "video*"),),
            "queue 'a': routing_key 'video*': in 'video*' the sign stands for no word; '*' is one whole word",
        ),
    ],
)
def test_declarations_that_contradict_each_other_are_told(queues: tuple[Queue, ...], said: str) -> None:
    """Otherwise the order of the declarations would decide what becomes of a message."""
    with pytest.raises(ConfigError) as caught:
        bindings(*queues)
    [complaint] = caught.value.complaints
    assert complaint.startswith(said)
