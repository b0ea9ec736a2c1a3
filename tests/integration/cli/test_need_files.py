"""Entries whose triggers have to be asked again, as people see them."""

from __future__ import annotations

import pytest

from scheduler.store import Store
from scheduler.store.presence import BeatInfo
from scheduler.timing.table import Table, encode_fires
from tests.integration.cli.conftest import Sched, make_entry

pytestmark = pytest.mark.redis

HOUR_MS = 3_600_000


def tabled(store: Store, name: str, *, until_h: int) -> None:
    """Put an entry in force that fires each hour and is known until *until_h* hours from now."""
    now_ms = int(store.queues.time_ms())
    fires_ms = [now_ms + hour * HOUR_MS for hour in range(-10, until_h + 1)]
    table = Table(text="hourly", fires=encode_fires(fires_ms)[0], from_ms=fires_ms[0], until_ms=fires_ms[-1], tz="UTC")
    store.registry.put(make_entry(name, schedule=table.as_data()))


def test_an_entry_says_until_when_it_is_known_and_that_it_is_used_up(sched: Sched, store: Store) -> None:
    """Nobody should wonder why nothing comes any more."""
    tabled(store, "fresh", until_h=5)
    tabled(store, "stale", until_h=-1)
    data = {entry["name"]: entry for entry in sched("list", "-o", "json").data}
    assert data["fresh"]["next_fire"] < data["fresh"]["known_until"]
    assert data["stale"]["next_fire"] is None
    lines = {line.split()[0]: line for line in sched("list").out.splitlines() if line}
    assert "needs its file" in lines["stale"]
    assert "needs its file" not in lines["fresh"]
    assert "hourly, asked ahead until" in sched("show", "fresh").out


def test_status_tells_which_entries_could_not_be_asked_again(sched: Sched, store: Store) -> None:
    """While there is still time to mend the file; the beats that could not ask say so."""
    info = BeatInfo(id="a", name="a", host="h", pid=1, version="1", tzdata="2026a", role="follower", load=1)
    store.presence.show(info)
    assert "reload" not in sched("status").out
    store.presence.show(
        BeatInfo(
            id="b", name="b", host="h", pid=1, version="1", tzdata="2026a", role="follower", load=1, overdue=("x", "y")
        )
    )
    out = " ".join(sched("status").out.split())
    assert "x, y: their triggers or calendars could not be asked again; mend their files and `sched reload`" in out
    assert [beat["overdue"] for beat in sched("status", "-o", "json").data["beats"]] == [[], ["x", "y"]]
