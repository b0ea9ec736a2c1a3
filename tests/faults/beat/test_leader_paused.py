"""SIGSTOP of the leader for longer than its lease: it wakes up, believes that it leads, and is told otherwise."""

from __future__ import annotations

from tests.support.probe import Probe
from tests.support.site import Site

ENTRIES = {"second": 1_000, "fast": 200}
FILE = """
    entry("second", noop, every("1s"), overlap="allow")
    entry("fast", noop, every("200ms"), overlap="allow")
"""


def test_paused_leader_is_fenced_when_it_wakes(site: Site) -> None:
    """P3, P1: the other beat's term stands, the sleeper follows, and no fire was doubled or lost."""
    site.write(FILE)
    with Probe(site.config.redis_url, site.config.namespace) as probe:
        sleeper = site.led("a", "b")
        site.wait_for_clock(site.now_ms() + site.config.horizon_ms)
        from_ms = int(site.now_ms())
        sleeper.pause()
        other = site.leader(other_than=sleeper)
        term = site.term()
        site.wait_for_clock(site.now_ms() + site.config.leader_lease_ms)
        last_told = sleeper.told.all()[-1]
        sleeper.resume()
        sleeper.told.wait("term.lost", after=last_told)
        # It goes on as a follower: with the new leader gone it leads again.
        now = site.term()
        assert term is not None
        assert now is not None
        assert (now.number, now.holder) == (term.number, term.holder)
        site.wait_for_clock(site.now_ms() + 2_000)
        account = probe.account(ENTRIES, from_ms, int(site.now_ms()) - 500)
        assert account.lost == []
        assert account.twice == []
        other.terminate()
        assert site.leader(other_than=other) is sleeper
        assert sleeper.running


def test_leader_that_never_doubts_is_refused_by_redis_itself(site: Site) -> None:
    """P3: not the overtaken leader's own clocks keep it from writing, but the fence."""
    site.write(FILE)
    with Probe(site.config.redis_url, site.config.namespace) as probe:
        reckless = site.odd_beat("a", "reckless")
        reckless.told.wait("term.won")
        other = site.beat("b")
        # It does not renew, but whatever it arms does that too: only a pause can show its term to another.
        site.wait_for_clock(site.now_ms() + site.config.horizon_ms)
        from_ms = int(site.now_ms())
        reckless.pause()
        assert site.leader(other_than=reckless) is other
        last_told = reckless.told.all()[-1]
        reckless.resume()
        lost = reckless.told.wait("term.lost", after=last_told)
        assert "was overtaken by term 2" in lost.fields["reason"]
        site.wait_for_clock(site.now_ms() + 1_500)
        account = probe.account(ENTRIES, from_ms, int(site.now_ms()) - 500)
        assert account.lost == []
        assert account.twice == []
        assert site.leader() is other


def test_leader_alone_that_was_paused_goes_on(site: Site) -> None:
    """P1, P2: nobody took over; what came due meanwhile is promoted when it wakes, once."""
    site.write(FILE)
    with Probe(site.config.redis_url, site.config.namespace) as probe:
        sleeper = site.led("a")
        site.wait_for_clock(site.now_ms() + site.config.horizon_ms)
        from_ms = int(site.now_ms())
        sleeper.pause()
        site.wait_for_clock(from_ms + 3 * site.config.leader_lease_ms)
        sleeper.resume()
        site.wait_for_clock(site.now_ms() + 2_000)
        account = probe.account(ENTRIES, from_ms, int(site.now_ms()) - 1_000)
        assert account.lost == []
        assert account.twice == []
        assert site.leader() is sleeper
