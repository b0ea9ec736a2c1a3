"""A tick that never ends (trap 10): the process lives, its renewal thread lives, and yet the term moves on."""

from __future__ import annotations

from tests.support.notified import Notified
from tests.support.probe import Probe
from tests.support.site import Site
from tests.support.wait import wait_until

ENTRIES = {"second": 1_000, "fast": 200}
FILE = """
    entry("second", noop, every("1s"), overlap="allow")
    entry("fast", noop, every("200ms"), overlap="allow")
"""


def test_leader_whose_tick_never_ends_lets_go(site: Site) -> None:
    """P4: it stops renewing after `stall`, another beat leads within a lease, and no fire is late."""
    site.write(FILE)
    with Probe(site.config.redis_url, site.config.namespace) as probe, Notified(site.folder) as systemd:
        hanging = site.odd_beat("a", "hang", environ=systemd.environ(watchdog_s=1.0))
        hanging.told.wait("term.won")
        other = site.beat("b")
        wait_until(lambda: len([beat for beat in site.store.presence.beats() if beat.load]) == 2)
        site.wait_for_clock(site.now_ms() + site.config.horizon_ms)
        before, from_ms = site.term(), int(site.now_ms())
        (site.folder / "odd").touch()
        assert site.leader(other_than=hanging) is other
        after = site.term()
        site.wait_for_clock(site.now_ms() + 2_000)
        account = probe.account(ENTRIES, from_ms, int(site.now_ms()) - 500)
        assert before is not None
        assert after is not None
        patience_ms = site.config.stall_ms + site.config.leader_lease_ms + site.config.takeover_ms
        assert after.won_ms - from_ms < patience_ms + 500
        assert account.lost == []
        assert account.twice == []
        assert account.late_ms_max < 100
        # The watchdog's food is a completed tick: systemd will end what hangs.
        fed = len(systemd.got("WATCHDOG=1"))
        site.wait_for_clock(site.now_ms() + 1_500)
        assert len(systemd.got("WATCHDOG=1")) == fed
        assert hanging.running
