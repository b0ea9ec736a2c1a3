"""Three beats and two workers at real work, while leaders are killed."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from uuid import uuid4

import pytest

from tests.support.noise import Noise
from tests.support.processes import Process
from tests.support.server import ValkeyServer
from tests.support.site import QUICK, Site
from tests.support.wait import wait_until

FILE = """
    import os, time
    from pathlib import Path

    DONE = os.open({done!r}, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    @task(bind=True, ignore_result=True)
    def note(self):
        due_s = self.request.scheduled_for.timestamp()
        line = f"{{self.request.entry}} {{round(due_s * 1000)}} {{(time.time() - due_s) * 1000:.1f}}"
        os.write(DONE, (line + chr(10)).encode())

    for name, period in (("second-a", "1s"), ("second-b", "1s"), ("fast-a", "200ms"), ("fast-b", "200ms")):
        entry(name, note, every(period), overlap="allow")
"""
PERIODS_MS = {"second-a": 1_000, "second-b": 1_000, "fast-a": 200, "fast-b": 200}


def run(site: Site, *, kills: int, seconds_each: float) -> None:
    """Kill leaders; then hold every due time of the stretch against what the tasks have written down themselves."""
    done = site.folder / "done"
    site.write(FILE.format(done=str(done)))
    workers = [Process("worker", "-n", name, "-c", "1", config=site.config, cwd=site.folder) for name in ("w1", "w2")]
    site.processes += workers
    leader = site.led("a", "b", "c")
    wait_until(lambda: len({line[0] for line in _lines(done)}) == len(PERIODS_MS), timeout_s=20, what="each to run")
    site.wait_for_clock(site.now_ms() + site.config.horizon_ms)
    from_ms = int(site.now_ms())
    with Noise() as noise:
        for _ in range(kills):
            until_ms = site.now_ms() + seconds_each * 1000
            name = site.name_of(leader)
            leader.kill()
            leader = site.leader(other_than=leader)
            site.beat(name)
            site.wait_for_clock(until_ms)
        to_ms = int(site.now_ms())
    wanted = {
        (entry, due_ms)
        for entry, period_ms in PERIODS_MS.items()
        for due_ms in range(-(-from_ms // period_ms) * period_ms, to_ms, period_ms)
    }
    wait_until(lambda: wanted <= {line[:2] for line in _lines(done)}, timeout_s=10, what="every fire to have run")
    lines = [line for line in _lines(done) if line[:2] in wanted]
    assert [fire for fire, n in Counter(line[:2] for line in lines).items() if n > 1] == []
    assert max(late_ms for _, _, late_ms in lines) < 50 + noise.max_ms
    assert all(worker.running for worker in workers)


def test_killed_leader_is_not_noticed_by_the_work(site: Site) -> None:
    """P1, P2, P4, seen from inside the tasks."""
    run(site, kills=2, seconds_each=2.5)


@pytest.mark.long
@pytest.mark.timeout(400)
def test_killed_leaders_are_not_noticed_for_five_minutes(own_server: ValkeyServer, tmp_path: Path) -> None:
    """The same at the usual leases."""
    site = Site(own_server.url, tmp_path, namespace=f"f{uuid4().hex}", horizon_ms=15_000)
    assert site.config.leader_lease_ms > QUICK["leader_lease_ms"]
    try:
        run(site, kills=36, seconds_each=8)
    finally:
        site.close()


def _lines(path: Path) -> list[tuple[str, int, float]]:
    """What the tasks wrote: entry, due time, lateness in ms when they started."""
    if not path.exists():
        return []
    return [(name, int(due), float(late)) for name, due, late in map(str.split, path.read_text().splitlines())]
