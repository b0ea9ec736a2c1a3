"""Who decides where a message goes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import pytest

from scheduler.config import Config, load_config
from scheduler.errors import ConfigError, UnroutableError
from scheduler.exchange import Exchange, Queue
from scheduler.model import Entry
from scheduler.routes import Said
from scheduler.routing import Destination, Router, chosen_queues, queue_names

MEDIA = Exchange("media", type="topic")
DECLARED = (Queue("default"), Queue("video", MEDIA, "video.#"), Queue("all", MEDIA, "#"), Queue("mail"))


def queues(said: Said | None = None, /, *, task: str = "shop.pay", **settings: Any) -> tuple[str, ...]:
    """Where a call that says *said* goes."""
    return Router(Config(**settings)).destination(task, () if said is None else (said,)).queues


def settings(tmp_path: Any, **overrides: Any) -> Config:
    """As they come from a file."""
    return load_config(overrides=overrides, environ={}, cwd=tmp_path)


def test_the_strongest_place_that_names_a_queue_or_an_exchange_decides() -> None:
    """The table of docs/routing.md: call, entry, task, routes, settings."""
    config = Config(routes={"shop.*": {"queue": "routed", "priority": 3, "routing_key": "r"}}, queues=DECLARED)
    router = Router(config)
    call, entry, task = (
        Said(queue="call"),
        Said(exchange="media", routing_key="video.x"),
        Said(queue="task", priority=7),
    )

    def where(*said: Said, name: str = "shop.pay") -> Destination:
        return router.destination(name, said)

    assert where(call, entry, task) == (("call",), "", "call", 7)
    assert where(entry, task) == (("video", "all"), "media", "video.x", 7)
    assert where(task) == (("task",), "", "task", 7)
    assert where() == (("routed",), "", "routed", 3)
    assert where(Said(priority=9)) == (("routed",), "", "routed", 9)
    assert where(name="other") == (("default",), "", "default", None)
    assert where(Said(exchange="media"), Said(queue="task", routing_key="video")) == (
        ("video", "all"),
        "media",
        "video",
        None,
    )


def test_a_queue_that_is_named_gets_the_message_and_nobody_else() -> None:
    """Celery would send it by the queue's exchange, to whoever else is bound there."""
    assert queues(Said(queue="video", exchange="media", routing_key="nowhere"), queues=DECLARED) == ("video",)


def test_a_routing_key_alone_is_for_the_default_exchange() -> None:
    """Celery's page on routing: "Manual routing"."""
    declared = (Queue("default", routing_key="task.#"), Queue("feed_tasks", routing_key="feed.#"))
    config: dict[str, Any] = {
        "queues": declared, "default_exchange": "tasks", "default_exchange_type": "topic", "default_routing_key": "task.default",
    }  # fmt: skip
    assert queues(**config) == ("default",)
    assert queues(Said(routing_key="feed.import"), **config) == ("feed_tasks",)
    assert queues(Said(exchange="tasks"), **config) == ("default",)
    assert queues(routes={"shop.*": {"queue": "feed_tasks", "routing_key": "feed.import"}}, **config) == ("feed_tasks",)


@pytest.mark.parametrize(
    ("said", "complaint"),
    [
        (
            Said(exchange="media", routing_key="image"),
            "task 'shop.pay': no declared queue is bound to exchange 'media' (topic) for routing_key 'image', and the message would "
            "be lost. Bound are: default to 'default' (direct) by 'default'; video to 'media' (topic) by 'video.#'",
        ),
        (
            Said(exchange="medai"),
            "no declared queue is bound to exchange 'medai', and the message would be lost; did you mean 'media'? Bound",
        ),
        (
            Said(routing_key="nobody"),
            "no declared queue is bound to exchange 'default' (direct) for routing_key 'nobody'",
        ),
        (
            Said(exchange="", routing_key="no queue"),
            "routing_key 'no queue': the exchange without a name takes the name",
        ),
    ],
)
def test_a_message_that_nobody_would_get_is_refused(said: Said, complaint: str) -> None:
    """P5: a broker would drop it."""
    with pytest.raises(UnroutableError) as caught:
        queues(said, queues=(*DECLARED[:2], DECLARED[3]))
    assert complaint in str(caught.value)


def test_a_queue_that_is_not_declared_is_made_on_use_or_refused() -> None:
    """`create_missing_queues`."""
    assert queues(Said(queue="vidoe"), queues=DECLARED) == ("vidoe",)
    strict: dict[str, Any] = {"queues": DECLARED, "create_missing_queues": False}
    assert queues(Said(queue="video"), **strict) == ("video",)
    for said in (Said(queue="vidoe"), Said(exchange="", routing_key="vidoe")):
        with pytest.raises(
            UnroutableError, match=r"queue 'vidoe' is not declared, and .* is off; did you mean 'video'"
        ):
            queues(said, **strict)
    with pytest.raises(ConfigError, match="routes: queue 'vidoe' is not declared"):
        queues(routes={"a": "video", "b": "vidoe"}, **strict)
    with pytest.raises(ConfigError, match=r"default_queue 'defualt' is not declared, .*did you mean 'default'"):
        Config(default_queue="defualt", **strict)
    assert queues(create_missing_queues=False) == ("default",)


def routed(routes: object, name: str = "feeds.tasks.import_feed", **settings: Any) -> tuple[str, ...]:
    """Where *routes* send the task called *name*."""
    return queues(task=name, routes=routes, **settings)


class Old:
    """A router as Celery 3 had them."""

    def route_for_task(self, task: str, *_: Any) -> Any:
        """By the name."""
        return {"queue": "old"} if task.startswith("feeds.") else None


def test_routes_are_written_in_many_ways(tmp_path: Any) -> None:
    """Each of them is somewhere in Celery's pages."""
    assert routed({"feeds.tasks.import_feed": {"queue": "feeds"}}) == ("feeds",)
    assert routed({"feeds.tasks.*": Queue("feeds")}) == ("feeds",)
    assert routed({"feeds.tasks.*": {"queue": Queue("feeds"), "exchange_type": "topic"}}) == ("feeds",)
    assert routed([("web.*", {"queue": "web"}), (re.compile(r"(video|feeds)\.tasks\..*"), {"queue": "media"})]) == (
        "media",
    )
    assert routed(([("feeds.*", {"queue": "feeds"}), ("web.*", {"queue": "web"})],)) == ("feeds",)
    assert routed(("feeds.*", "feeds")) == ("feeds",)
    assert routed([lambda *_, **__: None, {"feeds.*": "second"}]) == ("second",)
    assert routed((Old(),)) == routed(Old) == ("old",)
    assert routed("tests.unit.test_routing:Old") == routed("tests.unit.test_routing.Old") == ("old",)
    assert routed(None) == routed({}) == ("default",)
    assert routed(settings(tmp_path, routes='{"re:^feeds[.]": "text"}').routes) == ("text",)
    assert routed({"feeds.*": {"exchange": "media", "routing_key": "video.x"}}, queues=DECLARED) == ("video", "all")


def test_the_first_route_that_has_an_answer_counts() -> None:
    """As in Celery; within a mapping an exact name comes before all patterns."""
    assert routed([{"web.*": "web"}, {"feeds.*": "first"}, {"feeds.tasks.*": "second"}]) == ("first",)
    assert routed({"*": "all", "feeds.*": "feeds", "feeds.tasks.import_feed": "exact"}) == ("exact",)


def test_a_callable_learns_what_is_known_of_the_call() -> None:
    """Celery's signature."""
    seen: list[Any] = []

    def route(name: str, args: Any, kwargs: Any, options: Mapping[str, Any], task: Any = None, **kw: Any) -> Any:
        seen.append((name, args, kwargs, options, task))
        return {"queue": f"size-{kwargs['n']}", "priority": 5}

    router = Router(Config(routes=[{"other": "x"}, route]))
    made: Any = object()
    found = router.destination("t", (), args=(1,), kwargs={"n": 2}, options={"countdown": 5}, made=made)
    assert found == (("size-2",), "", "size-2", 5)
    assert seen == [("t", (1,), {"n": 2}, {"countdown": 5}, made)]
    assert router.asks_callables
    router.destination("t", (Said(queue="own"),))
    assert len(seen) == 1, "whoever names the queue has said it"


@pytest.mark.parametrize(
    ("routes", "said"),
    [
        ({"a.*": {"queu": "x"}}, "routes: 'a.*': 'queu' says nothing of a way; did you mean 'queue'?"),
        ({"a.*": {}}, "routes: 'a.*': expected a queue, an exchange or a routing key"),
        ({"a.*": {"queue": "x", "priority": 10}}, "routes: 'a.*': priority 10: expected a whole number from 0 to 9"),
        ({"a.*": {"exchange": "x y"}}, "routes: 'a.*': exchange 'x y': use"),
        ({"a.*": {"exchange": "x", "exchange_type": "topik"}}, "routes: 'a.*': type 'topik': expected"),
        ({"re:(": "x"}, "routes: 're:(' is no regular expression:"),
        ({5: "x"}, "routes: 5 is no task name and no glob"),
        (5, "routes 5: expected task names or globs with their queues"),
        ("not a callable", "routes 'not a callable': expected a callable, written as module:function"),
    ],
)
def test_what_is_wrong_with_routes_is_said_when_they_are_read(tmp_path: Any, routes: object, said: str) -> None:
    """What, where, what now; before anything is sent."""
    with pytest.raises(ConfigError) as caught:
        settings(tmp_path, routes=routes)
    assert caught.value.complaints[0].startswith(said)


def test_all_mistakes_of_routes_and_queues_are_told_at_once(tmp_path: Any) -> None:
    """One run shows all that is to be mended."""
    with pytest.raises(ConfigError) as caught:
        settings(tmp_path, routes={"a": "x y", "b": {"queu": "x"}}, queues=["c d", {"name": "e", "max_length": 0}])
    assert len(caught.value.complaints) == 4


def test_a_callable_that_cannot_be_had_or_fails_is_named() -> None:
    """P12."""
    with pytest.raises(ConfigError, match="routes 'nowhere:route': cannot be imported as module:function"):
        routed("nowhere:route")

    def breaks(*args: Any, **kwargs: Any) -> Any:
        raise KeyError("n")

    with pytest.raises(ConfigError, match="routes: breaks for task 't' raised KeyError: 'n'; mend the callable"):
        routed(breaks, "t")
    with pytest.raises(ConfigError, match="routes: <lambda> for task 't': queue 5: use 1–128"):
        routed(lambda *_, **__: 5, "t")


def test_queues_are_set_in_every_form_people_write(tmp_path: Any) -> None:
    """A list in a file, a variable, values, Celery's dict."""
    video = Queue("video", MEDIA, "video.*")
    table = {"name": "video", "exchange": "media", "type": "topic", "routing_key": "video.*"}
    celery = {"mail": None, "video": {"exchange": "media", "exchange_type": "topic", "binding_key": "video.*"}}
    for given in (["mail", table], (Queue("mail"), video), celery, '["mail", {"name": "video", "exchange": "media", '
                  '"type": "topic", "routing_key": "video.*"}]'):  # fmt: skip
        assert settings(tmp_path, queues=given).queues == (Queue("mail"), video)
    assert settings(tmp_path, queues="mail, mail,a").queue_names == ("mail", "a")
    assert settings(tmp_path, queues=video).queues == settings(tmp_path, queues=table).queues == (video,)


def entry(queue: str) -> Entry:
    """One that goes to *queue*."""
    return Entry(name="e", task="t", schedule={}, queue=queue)


def test_a_worker_takes_from_the_queues_it_is_given_else_from_the_declared_ones() -> None:
    """`-Q`, the setting, and where there is neither all that is named."""
    declared = Config(queues=DECLARED)
    assert chosen_queues(declared, take="mail, new,mail") == ("mail", "new")
    assert chosen_queues(declared, entries=[entry("other")]) == ("default", "video", "all", "mail")
    assert chosen_queues(declared, exclude="video,all") == ("default", "mail")
    assert chosen_queues(declared, take=("mail", "video"), exclude=["video", "whatever"]) == ("mail",)
    assert chosen_queues(Config(), entries=[entry("b"), entry("a"), entry("default")]) == ("default", "a", "b")
    assert chosen_queues(Config(), entries=[entry("b")], exclude="default") == ("b",)


def test_a_worker_without_any_queue_does_not_start() -> None:
    """It would wait for nothing for ever."""
    with pytest.raises(ConfigError, match="no queue is left to take from: of mail all are excluded"):
        chosen_queues(Config(), take="mail", exclude="mail")
    with pytest.raises(ConfigError, match="-Q: queue 'a b': use 1–128"):
        chosen_queues(Config(), take="a b")
    strict = Config(queues=DECLARED, create_missing_queues=False)
    with pytest.raises(ConfigError, match=r"-Q: queue 'mial' is not declared, .*did you mean 'mail'"):
        chosen_queues(strict, take="mial")
    with pytest.raises(ConfigError, match="-X: queue 'mial' is not declared"):
        chosen_queues(strict, exclude="mial")
    with pytest.raises(ConfigError, match="add_consumer: queue 'mial' is not declared"):
        queue_names(strict, "mial", flag="add_consumer")
