"""A backfill on a real worker: one run after another, each told the due time it is for."""

from __future__ import annotations

import msgspec
import pytest

from scheduler.byhand import Span, backfill, due_times
from scheduler.clock import from_ms, iso
from scheduler.model import Entry, Overlap
from scheduler.timing import every
from tests.integration.worker.lab import Lab
from tests.support.wait import wait_until

pytestmark = pytest.mark.redis

HOUR_MS = 3_600_000


def test_runs_of_a_backfill_come_in_order_and_are_told_their_due_times(lab: Lab) -> None:
    """Two children could run two at once; the slot lets one, and nobody waits for the next by the clock."""
    lab.write(
        """
        @task(bind=True)
        def note(self, path):
            mark(path, "begin " + self.request.scheduled_for.isoformat())
            time.sleep(0.05)
            mark(path, "end")
            return self.request.entry
        """
    )
    path = lab.folder / "marks"
    args = msgspec.Raw(msgspec.json.encode([str(path)]))
    entry = Entry(name="hourly", task="t.note", queue="default", schedule=every("1h").as_data(), args=args)
    lab.store.registry.put(entry)
    lab.worker("-c", "2")
    now_ms = int(lab.store.queues.time_ms())
    span = Span(
        from_ms=now_ms - 6 * HOUR_MS, to_ms=now_ms - HOUR_MS, by="eva", reason="lost", overlap=Overlap.QUEUE, rate_s=100
    )
    dues_ms = due_times(entry, span, now_ms=now_ms)
    made, started = backfill(lab.store, entry, span, dues_ms, bytes_max=1 << 20)
    assert started == len(dues_ms) == 5
    wait_until(lambda: lab.store.backfills.living(made.id) == [], timeout_s=20, what="the end of the backfill")
    expected = [line for due_ms in dues_ms for line in (f"begin {from_ms(due_ms).isoformat()}", "end")]
    assert expected == path.read_text().splitlines()
    runs = lab.store.history.runs("hourly")
    assert [(iso(run.due_ms), run.backfill, run.state) for run in reversed(runs)] == [
        (iso(due_ms), made.id, "SUCCESS") for due_ms in dues_ms
    ]
    assert {(run.by, run.reason, run.outcome, run.of_schedule) for run in runs} == {("eva", "lost", "", False)}
    assert lab.store.registry.counts("hourly") == {"promoted": 0}
    assert lab.store.queues.holder("hourly") is None
