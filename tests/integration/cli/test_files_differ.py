"""Beats with different schedule files: `sched status` says so, whose are in force, and what to do."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import msgspec
import pytest

from scheduler.store import Store
from scheduler.store.presence import BeatInfo
from tests.integration.cli.conftest import Sched, make_entry
from tests.support.server import ValkeyServer
from tests.support.site import Site
from tests.support.wait import wait_until

pytestmark = pytest.mark.redis


def show(store: Store, name: str, *, load: int, files: str, entries: int = 1) -> None:
    """As a live beat does once a second."""
    store.presence.show(
        BeatInfo(
            id=name, name=name, host="h", pid=1, version="1", tzdata="2026a", role="follower", load=load, files=files,
            entries=entries,
        )
    )  # fmt: skip


def test_beats_with_the_same_files_are_not_mentioned(sched: Sched, store: Store) -> None:
    """Nor one that has not loaded its files yet."""
    for name, files in (("a", "f00"), ("b", "f00"), ("c", "")):
        show(store, name, load=1, files=files)
    assert "different" not in sched("status").out
    assert sched("status", "-o", "json").data["load"]["files_differ"] is False


def test_different_files_are_told_with_whose_are_in_force(sched: Sched, store: Store) -> None:
    """And the remedy."""
    published = store.loads.publish({"e": make_entry("e")}, clean=True, mistakes=(), by="b")
    show(store, "a", load=published.load - 1, files="aaa", entries=3)
    show(store, "b", load=published.load, files="bbb", entries=4)
    show(store, "c", load=published.load - 1, files="aaa", entries=3)
    out = sched("status").out
    for part in (
        "different files",
        "a, c: 3 entries",
        "b: 4 entries",
        "in force: those of b, the newest load",
        "`sched reload`",
    ):
        assert part in out
    data = sched("status", "-o", "json").data
    assert data["load"]["files_differ"] is True
    assert [(beat["name"], beat["files"], beat["entries"]) for beat in data["beats"]] == [
        ("a", "aaa", 3), ("b", "bbb", 4), ("c", "aaa", 3),
    ]  # fmt: skip


@pytest.fixture
def sites(server: ValkeyServer, tmp_path: Path) -> Iterator[tuple[Site, Site]]:
    """Two hosts of one namespace, each with a folder of its own."""
    namespace = f"p{uuid4().hex[:12]}"
    hosts = (
        Site(server.url, tmp_path / "one", namespace=namespace),
        Site(server.url, tmp_path / "two", namespace=namespace),
    )
    yield hosts
    for host in hosts:
        host.close()


def test_hosts_differ_until_they_have_the_same_files(sites: tuple[Site, Site]) -> None:
    """What a beat says of its files is equal on hosts that have the same, wherever they lie."""
    one, two = sites
    one.write('entry("a", noop, every("1h"))')
    two.write('entry("a", noop, every("2h"))')
    beats = one.beat("one"), two.beat("two")
    for beat in beats:
        beat.told.wait("registry.published")

    def files() -> list[str]:
        return [info.files for info in one.store.presence.beats() if info.files]

    wait_until(lambda: len(files()) == 2, what="both to have told of their files")
    assert len(set(files())) == 2
    two.write('entry("a", noop, every("1h"))')
    one.store.loads.request_reload()
    wait_until(lambda: len(set(files())) == 1, what="the same files on both hosts")
    assert msgspec.json.encode(one.store.loads.info().mistakes) == b"[]"
