"""A plan of very many entries: what it costs must follow what is distinct, or due, and never what is declared."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from scheduler.beat import plan as plan_module
from scheduler.beat.plan import Plan, PlannedEntry
from scheduler.fires import FireMaker, schedule_of
from scheduler.model import Ack, Catchup, Entry, EntryRecord, Overlap, RunOptions
from scheduler.store.reading import stored
from scheduler.timing import crontab, schedule_from_data
from scheduler.timing.crontab import Crontab

NINE_MS = int(datetime(2026, 1, 5, 9, tzinfo=UTC).timestamp() * 1_000)
HORIZON_MS = 15_000
STATE = f"7 {NINE_MS}"


def record(name: str, when: str = "0 3 * * *", **options: Any) -> EntryRecord:
    """An entry as it stands on Redis."""
    fields = {"task": "t.x", "queue": "q", "schedule": crontab(when, tz="UTC").as_data()} | options
    return EntryRecord(name, Entry(name=name, **fields), STATE)


def planned(records: Iterator[EntryRecord]) -> Plan:
    """A plan with *records*."""
    made = Plan(namespace="n", horizon_ms=HORIZON_MS, late_limit_ms=HORIZON_MS)
    for each in records:
        made.put(each, NINE_MS)
    made.settled()
    return made


class Calls:
    """How often schedules were asked, and read."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked = self.read = 0
        next_ms, previous_ms, read = Crontab.next_ms, Crontab.previous_ms, schedule_from_data

        def asked_next(schedule: Crontab, after_ms: int) -> int | None:
            self.asked += 1
            return next_ms(schedule, after_ms)

        def asked_previous(schedule: Crontab, before_ms: int) -> int | None:
            self.asked += 1
            return previous_ms(schedule, before_ms)

        def was_read(data: Any) -> Any:
            self.read += 1
            return read(data)

        monkeypatch.setattr(Crontab, "next_ms", asked_next)
        monkeypatch.setattr(Crontab, "previous_ms", asked_previous)
        monkeypatch.setattr(plan_module, "schedule_from_data", was_read)


def test_planning_asks_each_distinct_schedule_and_not_each_entry(monkeypatch: pytest.MonkeyPatch) -> None:
    """A million entries with 100,000 schedules are in force within seconds."""
    calls = Calls(monkeypatch)
    made = planned(record(f"e{i}", f"{i % 20} 3 * * *") for i in range(2_000))
    assert len(made) == 2_000
    assert calls.read == 20
    assert calls.asked <= 2 * 20


def test_a_tick_costs_what_is_due(monkeypatch: pytest.MonkeyPatch) -> None:
    """Idle, with however many entries, nothing is computed; a fire costs its own group alone."""
    made = planned(
        record(f"e{i}", "0 9 * * *" if i < 3 else f"{i % 60} {10 + i // 60 % 10} * * *") for i in range(3_000)
    )
    calls = Calls(monkeypatch)
    assert not made.take(NINE_MS + 1_000, 250)
    assert calls.asked == 0
    tomorrow_ms = NINE_MS + 86_400_000
    soon = planned(
        record(f"e{i}", "1 9 * * *" if i < 3 else f"{i % 60} {10 + i // 60 % 10} * * *") for i in range(3_000)
    )
    calls.asked = 0
    fires = soon.take(NINE_MS + 50_000, 250).fires
    assert [fire.entry for fire in fires] == ["e0", "e1", "e2"]
    assert calls.asked <= 2
    assert tomorrow_ms < (soon.next_due_ms() or 0) + 86_400_000


def test_a_burst_is_handed_out_in_bounded_batches() -> None:
    """A midnight with very many entries is armed between looks at what is due; each fire is handed out once."""
    made = planned(record(f"e{i}", "1 9 * * *") for i in range(1_000))
    batches = []
    while batch := made.take(NINE_MS + 50_000, 250):
        batches.append(batch)
    assert [len(batch.fires) for batch in batches] == [250] * 4
    assert len({fire.entry for batch in batches for fire in batch.fires}) == 1_000


def test_edits_leave_nothing_behind_in_a_large_group() -> None:
    """An entry that is put again and again takes the room of one."""
    made = planned(record(f"e{i}") for i in range(100))
    for _ in range(1_000):
        made.put(record("e50"), NINE_MS)
    (group,) = made._groups.values()
    assert len(made) == group.living == 100
    assert len(group.members) <= 2 * group.living + 8


def test_an_entry_takes_less_than_a_kilobyte() -> None:
    """A million of them fit in one."""
    entries = [
        stored(record(f"customer-{i:07}-report", f"{i % 60} {i // 60 % 24} * * *", args=msgspec.Raw(b"[%d]" % i)))
        for i in range(4_000)
    ]
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    made = Plan(namespace="n", horizon_ms=HORIZON_MS, late_limit_ms=HORIZON_MS)
    for each in entries:
        made.put_stored(each._replace(name=str(each.name.encode(), "utf-8")), NINE_MS)
    made.settled()
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # 1,440 schedules among them: in a million entries their part is smaller.
    assert (after - before) / len(entries) < 1_000


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"args": msgspec.Raw(b"[1,2]")},
        {"kwargs": msgspec.Raw(b'{"a":1}'), "headers": {"h": 1}},
        {"run": RunOptions(max_retries=2, time_limit_ms=5_000), "ack": Ack.EARLY, "ignore_result": True},
        {"countdown_ms": 500, "jitter_ms": 900, "expires_after_ms": 60_000, "max_runs": 3, "priority": 4},
        {
            "expires_at_ms": NINE_MS + 3_600_000,
            "overlap": Overlap.ALLOW,
            "catchup": Catchup.ALL,
            "catchup_window_ms": 9_000,
        },
        {"expires_next": True, "overlap": Overlap.QUEUE, "catchup": Catchup.NONE, "result_expires_ms": 5_000},
    ],
)
def test_a_shared_recipe_makes_the_fires_of_the_whole_definition(options: dict[str, Any]) -> None:
    """What the plan passes over in a definition must have no part in its fires; nor may one entry get another's."""
    others = [record("other", "1 9 * * *"), record("third", "1 9 * * *", args=msgspec.Raw(b"[9]"), priority=9)]
    each = record("e", "1 9 * * *", **options)
    assert each.entry is not None
    now_ms = NINE_MS + 50_000
    fires = {fire.entry: fire for fire in planned(iter([*others, each])).take(now_ms, 10).fires}
    maker = FireMaker(each.entry, schedule_of(each.entry), namespace="n", late_limit_ms=HORIZON_MS)
    due_ms = NINE_MS + 60_000
    assert fires["e"] == maker.fire(due_ms, due_ms + 86_400_000, state=STATE, now_ms=now_ms)


def test_what_a_plan_reads_of_an_entry_has_the_defaults_of_an_entry() -> None:
    """Definitions leave defaults out: both must fill in the same."""
    entry = Entry(name="e", task="t.x", queue="q", schedule={})
    read = msgspec.json.decode(msgspec.json.encode(entry), type=PlannedEntry)
    for field in PlannedEntry.__struct_fields__:
        ours, theirs = getattr(read, field), getattr(entry, field)
        if isinstance(ours, msgspec.Raw):
            ours, theirs = bytes(ours), theirs if isinstance(theirs, msgspec.Raw) else msgspec.json.encode(theirs)
        assert ours == (bytes(theirs) if isinstance(theirs, msgspec.Raw) else theirs), field


def test_a_beat_that_stands_by_takes_no_due_time_for_armed_that_passed_it_by() -> None:
    """P2, P4: it leads with its plan at once; whether somebody has armed what lies behind, the mark tells."""
    made = planned(record(f"e{i}", "* * * * *") for i in range(2))
    ten_ms, now_ms = NINE_MS + 600_000, NINE_MS + 650_000
    made.pass_by(now_ms)
    assert not made.take(now_ms, 250)
    assert made.behind == ["e0", "e1"]
    made.behind.clear()
    for name, mark_ms in (("e0", ten_ms), ("e1", ten_ms - 60_000)):
        made.put(EntryRecord(name, record(name, "* * * * *").entry, f"7 {mark_ms}"), now_ms)
    items = made.take(now_ms, 250)
    assert [(fire.entry, fire.due_ms) for fire in items.fires] == [
        ("e1", ten_ms), ("e1", ten_ms + 60_000), ("e0", ten_ms + 60_000),
    ]  # fmt: skip
    assert made.behind == []


def test_a_beat_that_stands_by_can_lead_with_what_has_not_passed_it_by() -> None:
    """P4: of very many entries, those that are due next need not be read first."""
    made = planned(record(f"e{i}", "11 9 * * *") for i in range(2))
    made.pass_by(NINE_MS + 600_000)
    fires = made.take(NINE_MS + 650_000, 250).fires
    assert [(fire.entry, fire.state) for fire in fires] == [("e0", STATE), ("e1", STATE)]
    assert made.behind == []


def test_what_is_known_is_not_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A new leader reads the whole registry beside its work: what did not change must cost next to nothing."""
    entries = [stored(record(f"e{i}", "0 3 * * *")) for i in range(50)]
    made = planned(entry.record() for entry in entries)
    calls = Calls(monkeypatch)
    kept = dict(made._planned)
    for entry in entries:
        made.put_stored(entry, NINE_MS)
    assert (calls.read, calls.asked) == (0, 0)
    assert all(made._planned[name] is before for name, before in kept.items())
    changed = entries[7]._replace(state=f"8 {NINE_MS}")
    made.put_stored(changed, NINE_MS)
    assert made._planned["e7"].revision == 8


def test_a_revision_is_not_believed_when_redis_has_gone_back() -> None:
    """P11: the same revision may stand for another definition now."""
    made = planned(iter([record("e", "1 9 * * *", args=msgspec.Raw(b"[1]"))]))
    other = record("e", "1 9 * * *", args=msgspec.Raw(b"[2]"))
    made.distrust()
    made.put(other, NINE_MS)
    (fire,) = made.take(NINE_MS + 50_000, 10).fires
    assert b'"args":[2]' in fire.body
