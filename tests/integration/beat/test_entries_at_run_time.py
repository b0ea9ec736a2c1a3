"""Entries made, edited and removed while a beat leads: in force within moments, without any restart."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from scheduler.entries import Entries
from scheduler.home import Home
from scheduler.timing import every
from tests.support.server import ValkeyServer
from tests.support.site import Site
from tests.support.wait import wait_until

pytestmark = pytest.mark.redis


@pytest.fixture
def site(server: ValkeyServer, tmp_path: Path) -> Iterator[Site]:
    """An installation without beats."""
    site = Site(server.url, tmp_path, namespace=f"p{uuid4().hex[:12]}")
    site.write('entry("far", noop, every("1h"))')
    yield site
    site.close()


def test_what_is_made_by_hand_is_armed_followed_and_withdrawn(site: Site) -> None:
    """The leader hears of it; a reload of the files leaves it alone; a skipped fire does not run."""
    site.led("a", "b")
    home = Home(lambda: site.config)
    entries = Entries(home, {})
    entries.put("mine", "tasks.noop", every("1s"), queue="here", overlap="allow")
    wait_until(lambda: site.armed("here") >= 2, what="it to be armed")
    entries.edit("mine", queue="there")
    assert site.armed("here") == 0, "what is armed moves with the edit itself"
    wait_until(lambda: site.armed("there") >= 2, what="it to be armed there")
    _, due_ms = site.store.registry.skip("mine")
    site.store.loads.request_reload()
    site.wait_for_clock(due_ms)
    wait_until(lambda: site.store.registry.counts("mine").get("withdrawn"), what="the outcome of the skipped one")
    skipped = [run for run in site.store.history.runs("mine", n=20) if run.outcome == "withdrawn"]
    assert [run.due_ms for run in skipped] == [due_ms]
    entries.remove("mine")
    assert site.armed("there") == 0
    home.close()


def test_a_thousand_pauses_that_end_at_once_cost_no_term(site: Site) -> None:
    """They end in a few calls: a tick that took longer than the stall limit would cost the leader its term."""
    site.write('for i in range(1_000):\n    entry(f"e{i}", noop, every("1h"))')
    site.led("a")
    wait_until(lambda: len(site.store.registry.all()) == 1_000, what="all entries")
    paused = site.store.registry.pause_all(until_ms=int(site.now_ms()) + 1_500)
    assert len(paused.changed) == 1_000
    wait_until(lambda: not site.store.connection.call("HLEN", site.store.keys.paused), what="all to be resumed")
    term = site.term()
    assert term is not None
    assert term.number == 1
    assert sum(note.counts.get("resumed", 0) for note in site.store.audit.notes(n=10)) == 1_000
