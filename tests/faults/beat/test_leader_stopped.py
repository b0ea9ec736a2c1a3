"""The leader goes in good order: SIGTERM, and the request to step down."""

from __future__ import annotations

from pathlib import Path
from uuid import uuid4

import pytest

from tests.support.server import ValkeyServer
from tests.support.site import Site
from tests.support.wait import wait_until


def test_stopped_leader_passes_the_baton(server: ValkeyServer, tmp_path: Path) -> None:
    """A deploy costs no lease: the follower that waits for the baton leads typically within 100 ms."""
    # At the usual leases, where looking at the term alone would take half a second.
    site = Site(server.url, tmp_path, namespace=f"f{uuid4().hex}", horizon_ms=15_000)
    try:
        pass_batons(site)
    finally:
        site.close()


def pass_batons(site: Site) -> None:
    site.write('entry("second", noop, every("1s"), overlap="allow")')
    leader = site.led("a", "b", "c", "d")
    took_ms = []
    for _ in range(3):
        before = site.now_ms()
        leader.terminate()
        assert leader.wait() == 0
        leader = site.leader(other_than=leader)
        term = site.term()
        assert term is not None
        took_ms.append(term.won_ms - before)
    assert sorted(took_ms)[1] < 100
    assert max(took_ms) < site.config.leader_lease_ms
    assert [reign.reason for reign in site.store.leadership.history(3)] == ["the leader resigned"] * 3


def test_stopped_leader_says_goodbye(site: Site) -> None:
    """`sched status` shows no beat that has left, and the exit code is 0."""
    site.write('entry("second", noop, every("1s"))')
    leader = site.led("a")
    leader.terminate()
    assert leader.wait() == 0
    assert [event.name for event in leader.told.all()][-2:] == ["term.resigned", "beat.stopped"]
    assert site.store.presence.beats() == []


@pytest.mark.parametrize("others", [("b",), ()])
def test_asked_to_step_down_it_lets_another_lead_and_comes_back_alone(site: Site, others: tuple[str, ...]) -> None:
    """Stepping down hands over where somebody can take over, and leaves nobody without a leader."""
    site.write('entry("second", noop, every("1s"))')
    leader = site.led("a", *others)
    before = site.term()
    assert before is not None
    site.store.leadership.step_down()
    leader.told.wait("term.resigned")
    after = wait_until(
        lambda: term if (term := site.term()) is not None and term.number > before.number else None, timeout_s=10
    )
    assert after is not None
    assert (after.holder != before.holder) == bool(others)
    assert leader.running
