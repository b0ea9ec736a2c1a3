"""A beat whose entries hold tables loads again by itself, in time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from scheduler.timing.table import known_until_ms
from tests.support.server import ValkeyServer
from tests.support.site import Site
from tests.support.wait import wait_until

pytestmark = pytest.mark.redis

QUICK_RULE = """
from datetime import timedelta
from apscheduler.triggers.base import BaseTrigger
from scheduler import entry, task

class EachMillisecond(BaseTrigger):
    def get_next_fire_time(self, previous, now):
        return (previous or now) + timedelta(milliseconds=1)

@task
def ticked(): ...

# Not in force, so that nobody runs it; its table of some seconds is renewed all the same.
entry("quick", ticked, EachMillisecond(), enabled=False)
"""


@pytest.fixture
def site(server: ValkeyServer, tmp_path: Path) -> Iterator[Site]:
    """An installation without beats."""
    site = Site(server.url, tmp_path, namespace=f"p{uuid4().hex[:12]}")
    yield site
    site.close()


def known_until(site: Site) -> int:
    """Up to when the fires of the entry are known."""
    found = site.store.registry.state("quick").entry
    until_ms = known_until_ms(found.schedule) if found else None
    return until_ms or 0


def test_a_beat_asks_again_before_a_table_is_used_up(site: Site) -> None:
    """P2: nobody has to restart a beat so that a trigger goes on firing. What was edited since waits for a load."""
    site.write(QUICK_RULE, name="quick")
    beat = site.led("a")
    first_ms = known_until(site)
    assert first_ms
    site.write(QUICK_RULE + 'entry("new", ticked, EachMillisecond())\n', name="quick")
    beat.told.wait("tables.renewed")
    wait_until(lambda: known_until(site) > first_ms, what="a table that reaches farther")
    assert site.store.registry.get("new") is None
    assert site.store.loads.info().number == 1
