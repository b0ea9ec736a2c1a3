"""Entries whose fires were asked ahead, while beats are restarted and the files are loaded again: another table each time."""

from __future__ import annotations

from tests.support.probe import Probe
from tests.support.site import Site
from tests.support.wait import wait_until

FILE = """
    from datetime import timedelta
    from apscheduler.triggers.base import BaseTrigger
    from apscheduler.triggers.cron import CronTrigger

    class Fast(BaseTrigger):
        def get_next_fire_time(self, previous, now):
            step = timedelta(milliseconds=250)
            return now - (now - now.min.replace(tzinfo=now.tzinfo)) % step + step

    entry("second", noop, CronTrigger(second="*", timezone="UTC"), overlap="allow")
    entry("both", noop, crontab("*/2 * * * * *") | CronTrigger(second="1-59/2", timezone="UTC"), overlap="allow")
    entry("fast", noop, Fast(), overlap="allow")
"""


def test_loads_and_restarts_lose_and_double_no_fire(site: Site) -> None:
    """P1, P2: a load that asks anew is no edit, so it withdraws nothing and moves no mark."""
    site.write(FILE)
    with Probe(site.config.redis_url, site.config.namespace) as probe:
        leader = site.led("a", "b")
        site.wait_until_armed(10)
        site.wait_for_clock(site.now_ms() + site.config.horizon_ms)
        from_ms = int(site.now_ms())
        loads = site.store.loads.info().number
        site.store.loads.request_reload()
        wait_until(lambda: site.store.loads.info().number >= loads + 2, timeout_s=20, what="both beats to load")
        leader.kill()
        site.beat("c").told.wait("registry.published")
        site.leader(other_than=leader)
        to_ms = int(site.now_ms())
        site.wait_for_clock(to_ms + 500)
        account = probe.account({"second": 1_000, "both": 1_000, "fast": 250}, from_ms, to_ms)
        assert account.lost == []
        assert account.twice == []
    # None of the loads was an edit.
    assert {1, 2, 3} == {record.revision for record in site.store.registry.all()}
