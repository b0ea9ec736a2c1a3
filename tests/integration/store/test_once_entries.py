"""An entry that fires once, added when its moment has already passed: its catch-up policy decides."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from scheduler.beat.plan import Batch, Plan
from scheduler.model import Catchup, Overlap
from scheduler.store.change import Change
from scheduler.timing import Schedule, crontab, every, once
from tests.support.bench import LATE_LIMIT_MS, Bench

pytestmark = pytest.mark.redis

MINUTE_MS, DAY_MS = 60_000, 86_400_000


def ago(bench: Bench, ms: int) -> Schedule:
    return once(datetime.fromtimestamp((bench.now_ms - ms) // 1000, UTC))


def planned(bench: Bench, schedule: Schedule, catchup: Catchup) -> Batch:
    """What a leader arms for a new entry."""
    record = bench.put("e", schedule=schedule.as_data(), catchup=catchup, overlap=Overlap.ALLOW)
    plan = Plan(namespace="n", horizon_ms=15_000, late_limit_ms=LATE_LIMIT_MS)
    plan.put(record, bench.now_ms)
    return plan.take(bench.now_ms, 100)


@pytest.mark.parametrize(
    ("ago_ms", "catchup", "fires", "skipped"),
    [
        (5 * MINUTE_MS, Catchup.LATEST, 1, 0),
        (5 * MINUTE_MS, Catchup.ALL, 1, 0),
        (5 * MINUTE_MS, Catchup.NONE, 0, 1),
        # It came a second late, which is not missed.
        (1_000, Catchup.NONE, 1, 0),
        # Found again by a new Redis, with old files.
        (400 * DAY_MS, Catchup.LATEST, 0, 0),
        (400 * DAY_MS, Catchup.ALL, 0, 0),
    ],
)
def test_a_moment_that_has_passed(bench: Bench, ago_ms: int, catchup: Catchup, fires: int, skipped: int) -> None:
    """P2: it has one outcome, a run or a record that it was missed."""
    batch = planned(bench, ago(bench, ago_ms), catchup)
    assert len(batch.fires) == fires
    assert sum(skip.count for skip in batch.skips) == skipped


def test_added_again_it_does_not_repeat_itself(bench: Bench) -> None:
    """Its mark outlives a removal; and an edit never fires what lies before."""
    schedule = ago(bench, 5 * MINUTE_MS)
    bench.put("e", schedule=schedule.as_data())
    bench.store.changer.apply([Change(bench.store.registry.state("e"), None)])
    assert not planned(bench, schedule, Catchup.LATEST)
    assert not planned(bench, ago(bench, 3 * MINUTE_MS), Catchup.LATEST)


def test_what_recurs_has_missed_nothing_before_it_was_there(bench: Bench) -> None:
    for number, schedule in enumerate((every("1m"), crontab("* * * * *"), every("1m") | ago(bench, 5 * MINUTE_MS))):
        before_ms = bench.now_ms
        record = bench.put(f"e{number}", schedule=schedule.as_data())
        assert record.mark_ms >= before_ms


def test_one_that_lies_ahead_counts_from_now(bench: Bench) -> None:
    moment = datetime.fromtimestamp(bench.now_ms // 1000, UTC) + timedelta(hours=1)
    assert bench.put("e", schedule=once(moment).as_data()).mark_ms <= bench.now_ms
