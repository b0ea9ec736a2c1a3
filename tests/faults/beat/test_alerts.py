"""Somebody is told when something is wrong, whoever has died."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from scheduler.model import Entry, Watch
from scheduler.timing import every
from tests.support.hookserver import HookServer
from tests.support.server import ValkeyServer
from tests.support.site import QUICK, Site

OUTAGE_MS = 1_300


@pytest.fixture
def hooks() -> Iterator[HookServer]:
    """Who is told."""
    with HookServer() as hooks:
        yield hooks


def installation(url: str, folder: Path, hooks: HookServer, **settings: object) -> Site:
    """One that tells *hooks*."""
    told = {"alert_hooks": (hooks.url("/secret-token"),), "alert_outage_ms": OUTAGE_MS}
    return Site(url, folder, namespace=f"a{uuid4().hex[:12]}", **(QUICK | told | settings))


@pytest.fixture
def site(server: ValkeyServer, tmp_path: Path, hooks: HookServer) -> Iterator[Site]:
    """On the server that all tests share."""
    site = installation(server.url, tmp_path, hooks)
    yield site
    site.close()


def test_followers_tell_of_a_late_entry_when_the_leader_is_dead(site: Site, hooks: HookServer) -> None:
    """The leader is gone and nobody runs anything: just what must be noticed. It is told once, though two beats look."""
    site.write("")
    leader = site.led("a", "b", "c")
    dead = site.name_of(leader)
    leader.kill()
    schedule, watch = every("1s").as_data(), Watch(alert_after_ms=1_000)
    site.store.registry.put(Entry(name="eod", task="t", queue="q", schedule=schedule, watch=watch))
    (call,) = hooks.wait(1, lambda call: call.data["kind"] == "late")
    assert call.data["entry"] == "eod"
    assert call.data["beat"] in {"a", "b", "c"} - {dead}
    assert "has not succeeded within 1s" in call.data["text"]
    # Two more looks of each.
    site.wait_for_clock(site.now_ms() + 2_200)
    assert len([call for call in hooks.calls if call.data["kind"] == "late"]) == 1
    site.store.connection.call("HSET", site.store.keys.last, "eod", f"SUCCESS 1 {int(site.now_ms())} 0")
    (over,) = hooks.wait(1, lambda call: call.data["state"] == "over")
    assert (over.data["kind"], over.data["id"]) == ("late", call.data["id"])


def test_that_redis_is_away_is_told_without_it_and_that_it_is_back(
    own_server: ValkeyServer, tmp_path: Path, hooks: HookServer
) -> None:
    """What must be told cannot be told through it."""
    site = installation(own_server.url, tmp_path, hooks)
    try:
        site.write("")
        site.led("a", "b")
        own_server.pause()
        calls = hooks.wait(2, lambda call: call.data["kind"] == "no_redis")
        assert {call.data["beat"] for call in calls} == {"a", "b"}
        assert all("secret" not in call.data["text"] for call in calls)
        own_server.resume()
        over = hooks.wait(2, lambda call: (call.data["kind"], call.data["state"]) == ("no_redis", "over"))
        assert {call.data["id"] for call in over} == {call.data["id"] for call in calls}
        assert len([call for call in hooks.calls if call.data["kind"] == "no_redis"]) == 4
    finally:
        own_server.resume()
        site.close()


def test_beat_without_a_leader_says_so_and_when_there_is_one_again(site: Site, hooks: HookServer) -> None:
    """A beat that never gets its files loaded does not stand; all the others have gone."""
    site.write("import time\nwhile not __import__('os').path.exists('go'): time.sleep(0.01)\n", name="slow")
    site.beat("a")
    (call,) = hooks.wait(1, lambda call: call.data["kind"] == "leaderless")
    assert "no beat has led for" in call.data["text"]
    (site.folder / "go").touch()
    (over,) = hooks.wait(1, lambda call: (call.data["kind"], call.data["state"]) == ("leaderless", "over"))
    assert "a leads, term 1" in over.data["text"]
