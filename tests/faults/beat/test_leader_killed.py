"""`kill -9` of the leader, again and again."""

from __future__ import annotations

from uuid import uuid4

import pytest

from tests.support.noise import Noise
from tests.support.probe import Account, Probe
from tests.support.site import Site

ENTRIES = {"second-a": 1_000, "second-b": 1_000, "fast-a": 200, "fast-b": 200}
FILE = """
    for name in "ab":
        entry(f"second-{name}", noop, every("1s"), overlap="allow")
        entry(f"fast-{name}", noop, every("200ms"), overlap="allow")
"""


def kill_leaders(site: Site, probe: Probe, *, times: int, seconds_each: float) -> Account:
    """Kill the leader so many times, so far apart; what became of the fires meanwhile."""
    site.write(FILE)
    leader = site.led("a", "b", "c")
    site.wait_until_armed(2 * int(site.config.horizon_ms * 0.0055))
    # The promise is for entries that have been in force for one horizon.
    site.wait_for_clock(site.now_ms() + site.config.horizon_ms)
    from_ms = int(site.now_ms())
    for _ in range(times):
        until_ms = site.now_ms() + seconds_each * 1000
        name = site.name_of(leader)
        leader.kill()
        leader = site.leader(other_than=leader)
        site.beat(name)
        site.wait_for_clock(until_ms)
    to_ms = int(site.now_ms())
    site.wait_for_clock(to_ms + 500)
    return probe.account(ENTRIES, from_ms, to_ms)


def test_killed_leader_delays_and_loses_and_doubles_no_fire(site: Site) -> None:
    """P1, P2, P4: what is due stands on Redis already, and another beat promotes it, long before it leads."""
    with Probe(site.config.redis_url, site.config.namespace) as probe, Noise() as noise:
        account = kill_leaders(site, probe, times=3, seconds_each=2.5)
        assert account.lost == []
        assert account.twice == []
        assert account.late_ms_max < 50 + noise.max_ms
    assert {"a", "b", "c"} >= {reign.name for reign in site.store.leadership.history()}
    assert len({reign.holder for reign in site.store.leadership.history()}) >= 4


@pytest.mark.long
@pytest.mark.timeout(400)
def test_killed_leaders_for_five_minutes_at_the_usual_leases(own_site: Site) -> None:
    """P1, P2, P4, as people run it: five seconds of lease, a kill every eight."""
    site = Site(own_site.config.redis_url, own_site.folder, namespace=f"f{uuid4().hex}", horizon_ms=15_000)
    try:
        with Probe(site.config.redis_url, site.config.namespace) as probe, Noise() as noise:
            account = kill_leaders(site, probe, times=36, seconds_each=8)
            assert account.lost == []
            assert account.twice == []
            assert account.late_ms_max < 50 + noise.max_ms
    finally:
        site.close()


def test_dead_leader_is_replaced_within_lease_and_a_second(site: Site) -> None:
    """P4 rests on it: the horizon is longer than stall, lease and takeover together."""
    site.write(FILE)
    leader = site.led("a", "b")
    before = site.term()
    assert before is not None
    killed_ms = site.now_ms()
    leader.kill()
    site.leader(other_than=leader)
    after = site.term()
    assert after is not None
    assert before.number + 1 == after.number
    assert after.won_ms - killed_ms < site.config.leader_lease_ms + 1_000
    assert site.store.leadership.history(1)[0].reason == "the leader stood still"
