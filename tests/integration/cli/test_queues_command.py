"""`sched queues` and `sched call` where queues are declared: a real server."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import msgspec
import pytest

from scheduler.exchange import Queue
from scheduler.store import Store
from tests.integration.cli.conftest import Sched, make_entry, publish

pytestmark = pytest.mark.redis

DECLARED = [
    {"name": "default"},
    {
        "name": "video",
        "exchange": "media",
        "type": "topic",
        "routing_key": "video.*",
        "max_length": 9,
        "concurrency": 2,
    },
    {
        "name": "news",
        "bindings": [{"exchange": "all", "type": "fanout"}, {"exchange": "media", "type": "topic", "routing_key": "#"}],
    },
]


@pytest.fixture
def declared(monkeypatch: pytest.MonkeyPatch) -> None:
    """The settings declare queues."""
    monkeypatch.setenv("SCHED_QUEUES", json.dumps(DECLARED))


@pytest.mark.usefixtures("declared")
def test_queues_show_limits_in_force_and_bindings(sched: Sched, store: Store) -> None:
    store.limits.tell([Queue("video", max_length=9, concurrency=2), Queue("old", max_length=5, overflow="drop_oldest")])
    default, news, old, video = sched("queues", "-o", "json").data
    assert default == {
        "name": "default", "ready": 0, "delayed": 0, "in_flight": 0, "max_length": None, "overflow": None, "concurrency": None,
        "declared": True, "bindings": [{"exchange": "default", "type": "direct", "routing_key": "default"}],
    }  # fmt: skip
    assert news["bindings"][0] == {"exchange": "all", "type": "fanout", "routing_key": None}
    assert (old["max_length"], old["overflow"], old["declared"], old["bindings"]) == (5, "drop_oldest", False, [])
    assert (video["max_length"], video["overflow"], video["concurrency"]) == (9, "refuse", 2)
    said = sched("queues")
    assert said.err == ""
    lines = [line.split("  ") for line in said.out.splitlines()]
    assert lines[0][-1].strip() == "BOUND TO"
    assert "all (fanout), media (topic) #" in said.out
    assert "5, drops the oldest" in said.out


@pytest.mark.usefixtures("declared")
def test_limits_that_are_declared_and_not_in_force_are_told(sched: Sched, store: Store) -> None:
    """Nobody should trust in a limit that nothing keeps."""
    assert (
        "queue 'video': in force is no limit, the settings here say max_length 9, concurrency 2: they come into force"
        in (sched("queues").err)
    )
    store.limits.tell([Queue("video", max_length=8)])
    assert "in force is max_length 8, the settings here say" in sched("queues").err


def test_where_nothing_is_declared_nothing_is_said_of_it(sched: Sched) -> None:
    assert "no queue has held a message yet, and none is declared" in sched("queues").err
    sched("call", "t.f", "--queue", "q")
    assert sched("queues").out.splitlines()[0].split() == ["QUEUE", "READY", "DELAYED", "IN", "FLIGHT"]


@pytest.mark.usefixtures("declared")
def test_a_call_may_go_by_an_exchange(sched: Sched, store: Store) -> None:
    """Several queues get it, or it is refused."""
    said = sched("call", "t.f", "--exchange", "media", "--routing-key", "video.x", "-o", "json")
    assert said.data["queue"] == "video"
    assert "sched: a copy of it is run " in said.err
    assert ", on queue news" in said.err
    assert {name: depth.ready for name, depth in store.queues.depths().items()} == {"news": 1, "video": 1}
    said = sched("call", "t.f", "--exchange", "midia")
    assert said.code == 2
    assert "bound to exchange 'midia', and the message would be lost; did you mean 'media'? Bound are: " in said.err


def test_a_call_is_routed_by_a_callable_of_the_folder(
    sched: Sched, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a worker would do it; a command that routes nothing needs it not."""
    monkeypatch.setenv("SCHED_SCHEDULES", str(tmp_path / "schedules"))
    monkeypatch.setenv("SCHED_ROUTES", "my_ways.here:route")
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "my_ways").mkdir()
    (tmp_path / "my_ways" / "here.py").write_text("def route(name, args, *_, **__):\n    return f'size-{args[0]}'\n")
    assert sched("call", "t.f", "-a", "[7]", "-o", "json").data["queue"] == "size-7"
    monkeypatch.setenv("SCHED_ROUTES", "my_ways.there:route")
    said = sched("call", "t.f", "-a", "[7]")
    assert said.code == 2
    assert (
        "routes 'my_ways.there:route': cannot be imported as module:function: No module named 'my_ways.there'"
        in said.err
    )
    assert sched("queues").code == 0


@pytest.mark.usefixtures("declared")
def test_an_entry_made_by_hand_may_go_by_an_exchange(
    sched: Sched, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To one queue; several are refused, as in files."""
    monkeypatch.setenv("SCHED_SCHEDULES", str(tmp_path / "schedules"))
    (tmp_path / "schedules").mkdir()
    (tmp_path / "schedules" / "t.py").write_text("from scheduler import task\n@task\ndef f(): ...\n")
    said = sched("add", "e", "t.f", "--every", "1h", "--exchange", "all")
    assert said.code == 0, said
    assert sched("show", "e", "-o", "json").data["queue"] == "news"
    said = sched("edit", "e", "--exchange", "media", "--routing-key", "video.x")
    assert said.code == 2
    assert (
        "exchange 'media' leads to several queues (video, news), and each fire of an entry is one message" in said.err
    )
    assert sched("edit", "e", "--queue", "video").code == 0
    assert sched("show", "e", "-o", "json").data["queue"] == "video"


@pytest.mark.usefixtures("declared")
def test_a_queue_that_must_be_declared_is_refused_everywhere(
    sched: Sched, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`create_missing_queues = false`."""
    monkeypatch.setenv("SCHED_CREATE_MISSING_QUEUES", "false")
    publish(store, msgspec.structs.replace(make_entry("daily"), queue="video"))
    for command in (("call", "t.f"), ("trigger", "daily")):
        said = sched(*command, "--queue", "vidoe")
        assert said.code == 2, said
        assert "queue 'vidoe' is not declared, and create_missing_queues is off; did you mean 'video'?" in said.err
    assert store.queues.names() == []
