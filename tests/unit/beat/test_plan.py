"""The plan: which fires are to be armed. Pure; a day in 2026 stands for all days."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any

import pytest

from scheduler.beat.plan import Plan
from scheduler.fires import COUNT_MAX
from scheduler.model import Catchup, Entry, EntryRecord, Fire, Overlap, Pause, Skip
from scheduler.timing import crontab, every
from scheduler.wire import decode_header

SECOND_MS, MINUTE_MS, HOUR_MS = 1_000, 60_000, 3_600_000
NINE_MS = int(datetime(2026, 1, 5, 9, tzinfo=UTC).timestamp() * 1_000)
HORIZON_MS = 15 * SECOND_MS


def record(
    name: str = "e",
    when: str = "* * * * *",
    *,
    mark_ms: int = NINE_MS,
    revision: int = 1,
    pause: Pause | None = None,
    **options: Any,
) -> EntryRecord:
    """An entry as it stands on Redis: a crontab, unless `schedule` says otherwise."""
    fields = {"task": "t.x", "queue": "q", "schedule": crontab(when).as_data()} | options
    return EntryRecord(name, Entry(name=name, **fields), f"{revision} {mark_ms}", pause)


def plan(*records: EntryRecord, now_ms: int = NINE_MS, late_limit_ms: int = HORIZON_MS) -> Plan:
    """A plan with *records*."""
    made = Plan(namespace="n", horizon_ms=HORIZON_MS, late_limit_ms=late_limit_ms)
    for each in records:
        made.put(each, now_ms)
    return made


def take(made: Plan, now_ms: int) -> list[Fire | Skip]:
    """All that is to be armed now, in order."""
    items: list[Fire | Skip] = []
    while batch := made.take(now_ms, 100):
        items += [*batch.skips, *batch.fires]
    return items


def dues(made: Plan, now_ms: int) -> list[int]:
    """The due times of the fires, as seconds after nine."""
    return [(fire.due_ms - NINE_MS) // 1_000 for fire in take(made, now_ms) if isinstance(fire, Fire)]


class TestArming:
    """Ahead of time, once, in order."""

    def test_a_fire_is_handed_out_when_it_comes_within_the_horizon(self) -> None:
        """P4: not before, and once."""
        made = plan(record())
        assert dues(made, NINE_MS + 44_999) == []
        assert made.next_due_ms() == NINE_MS + MINUTE_MS
        assert dues(made, NINE_MS + 45_000) == [60]
        assert dues(made, NINE_MS + 45_000) == []
        assert made.next_due_ms() == NINE_MS + 2 * MINUTE_MS

    def test_a_fire_that_no_message_can_carry_is_an_error_of_its_own(self) -> None:
        """P2, P12: its due time has an outcome, and the entry beside it is armed."""
        made = plan(record("odd", result_expires_ms=200 * 366 * 24 * HOUR_MS), record("fine"))
        skip, fire = take(made, NINE_MS + 45_000)
        assert isinstance(skip, Skip)
        assert (skip.entry, skip.reason, skip.count, skip.from_ms) == ("odd", "error", 1, NINE_MS + MINUTE_MS)
        assert skip.note.startswith("no message can carry it: ")
        assert isinstance(fire, Fire)
        assert fire.entry == "fine"

    def test_each_fire_names_the_state_that_the_one_before_it_leaves(self) -> None:
        """P1: what `arm` compares."""
        made = plan(record(when="*/5 * * * * *", revision=7))
        fires = made.take(NINE_MS, 10).fires
        assert [fire.state for fire in fires] == [f"7 {NINE_MS}", f"7 {NINE_MS + 5_000}", f"7 {NINE_MS + 10_000}"]

    def test_each_fire_knows_the_due_time_after_it(self) -> None:
        """A late one must know whether a newer one stands for it."""
        (fire,) = plan(record()).take(NINE_MS + 50_000, 10).fires
        assert decode_header(fire.body)[0].next_due_ms == fire.due_ms + MINUTE_MS

    def test_entries_that_share_a_schedule_fire_together(self) -> None:
        """One group, whatever their arguments."""
        made = plan(*(record(f"e{i}", queue=f"q{i}") for i in range(3)))
        assert [(fire.entry, fire.queue) for fire in made.take(NINE_MS + 50_000, 10).fires] == [
            ("e0", "q0"), ("e1", "q1"), ("e2", "q2"),
        ]  # fmt: skip

    def test_a_batch_that_is_cut_short_goes_on(self) -> None:
        """And says that there is more."""
        made = plan(*(record(f"e{i}") for i in range(5)))
        first = made.take(NINE_MS + 50_000, 3)
        assert len(first.fires) == 3
        assert made.next_due_ms() == 0
        assert len(made.take(NINE_MS + 50_000, 3).fires) == 2
        assert not made.take(NINE_MS + 50_000, 3)

    def test_a_countdown_moves_the_moment_and_not_the_due_time(self) -> None:
        """It runs that long after the due time."""
        (fire,) = plan(record(countdown_ms=HOUR_MS)).take(NINE_MS + 50_000, 10).fires
        assert (fire.due_ms, fire.at_ms) == (NINE_MS + MINUTE_MS, NINE_MS + MINUTE_MS + HOUR_MS)

    def test_an_entry_whose_mark_is_ahead_fires_after_it(self) -> None:
        """Its fires stand on Redis already: another leader armed them."""
        assert dues(plan(record(when="* * * * * *", mark_ms=NINE_MS + 10_000)), NINE_MS) == [11, 12, 13, 14, 15]

    def test_one_mark_ahead_holds_nobody_else_back(self) -> None:
        """P2: entries of one group, read in any order, each from its own mark."""
        records = [record("ahead", "* * * * * *", mark_ms=NINE_MS + 14_000), record("behind", "* * * * * *")]
        for order in (records, records[::-1]):
            made = plan(*order)
            fires = made.take(NINE_MS, 100).fires
            assert [fire.entry for fire in fires].count("ahead") == 1
            assert [fire.entry for fire in fires].count("behind") == 15

    def test_disabled_removed_and_paused_entries_fire_nothing(self) -> None:
        """Nor do they wake the leader."""
        made = plan(
            record("off", enabled=False),
            EntryRecord("gone", None, f"3 {NINE_MS}"),
            record("paused", pause=Pause(since_ms=NINE_MS)),
        )
        assert dues(made, NINE_MS + HOUR_MS) == []
        assert (made.next_due_ms(), len(made)) == (None, 0)

    def test_a_definition_that_cannot_be_computed_is_named_and_disturbs_nobody(self) -> None:
        """P12."""
        made = plan(record("bad", schedule={"kind": "from-the-future"}), record("good"))
        assert list(made.broken) == ["bad"]
        assert dues(made, NINE_MS + 50_000) == [60]
        made.put(record("bad"), NINE_MS)
        assert made.broken == {}


class TestStartUntil:
    """An entry is in force between its `start` and its `until`."""

    def test_nothing_fires_before_start(self) -> None:
        """The first due time at or after it does."""
        made = plan(record(start_ms=NINE_MS + 3 * MINUTE_MS))
        assert dues(made, NINE_MS + 2 * MINUTE_MS) == []
        assert dues(made, NINE_MS + 3 * MINUTE_MS) == [180]

    def test_a_start_in_the_future_holds_nobody_of_its_group_back(self) -> None:
        """P2."""
        made = plan(record("later", start_ms=NINE_MS + HOUR_MS), record("now"))
        assert dues(made, NINE_MS + 50_000) == [60]
        assert dues(made, NINE_MS + 110_000) == [120]

    def test_nothing_fires_after_until(self) -> None:
        """A due time at `until` still does; the last one has none after it."""
        made = plan(record(until_ms=NINE_MS + 2 * MINUTE_MS))
        fires = [made.take(NINE_MS + s * 1_000, 10).fires for s in (50, 110, 170, 600)]
        assert [[(fire.due_ms - NINE_MS) // 1_000 for fire in some] for some in fires] == [[60], [120], [], []]
        assert decode_header(fires[1][0].body)[0].next_due_ms == 0
        assert len(made) == 0

    def test_the_last_fire_before_until_is_caught_up(self) -> None:
        """P2: `until` passed during an outage; `latest` means the newest one that was in force."""
        made = plan(record(until_ms=NINE_MS + 10 * MINUTE_MS), now_ms=NINE_MS + HOUR_MS)
        skip, fire = take(made, NINE_MS + HOUR_MS)
        assert isinstance(skip, Skip)
        assert isinstance(fire, Fire)
        assert (skip.count, fire.due_ms) == (9, NINE_MS + 10 * MINUTE_MS)

    def test_what_lies_after_until_is_not_counted_as_missed(self) -> None:
        """P2: the entry was not in force."""
        made = plan(record(until_ms=NINE_MS + 10 * MINUTE_MS, catchup=Catchup.NONE), now_ms=NINE_MS + HOUR_MS)
        (skip,) = take(made, NINE_MS + HOUR_MS)
        assert isinstance(skip, Skip)
        assert (skip.count, skip.to_ms) == (10, NINE_MS + 10 * MINUTE_MS)


class TestCatchUp:
    """What was missed is settled from the mark: P2."""

    def missed(self, hours: float, **options: Any) -> list[Fire | Skip]:
        """Each minute, after an outage of *hours*, two seconds after a due time."""
        now_ms = NINE_MS + int(hours * HOUR_MS) + 2_000
        return take(plan(record(**options), now_ms=now_ms), now_ms)

    def test_latest_is_one_fire_for_all(self) -> None:
        """A due time within the late limit stands for what is older."""
        skip, fire = self.missed(1)
        assert isinstance(skip, Skip)
        assert isinstance(fire, Fire)
        assert (skip.reason, skip.from_ms, skip.to_ms, skip.count) == (
            "missed", NINE_MS + MINUTE_MS, NINE_MS + 59 * MINUTE_MS, 59,
        )  # fmt: skip
        assert fire.due_ms == NINE_MS + HOUR_MS
        assert fire.state == f"1 {skip.mark_ms}"

    def test_latest_takes_the_newest_missed_where_none_is_within_the_limit(self) -> None:
        """A daily report that was missed at six runs at nine."""
        now_ms = NINE_MS + 9 * HOUR_MS
        skip, fire = take(plan(record(when="0 */4 * * *"), now_ms=now_ms), now_ms)
        assert isinstance(skip, Skip)
        assert isinstance(fire, Fire)
        assert (skip.count, fire.due_ms) == (1, NINE_MS + 7 * HOUR_MS)

    def test_none_gives_up_all_but_what_is_not_late(self) -> None:
        """Missed is what is later than the late limit."""
        skip, fire = self.missed(1, catchup=Catchup.NONE)
        assert isinstance(fire, Fire)
        assert fire.due_ms == NINE_MS + HOUR_MS
        assert isinstance(skip, Skip)
        assert skip.count == 59

    def test_all_brings_back_what_lies_in_its_window(self) -> None:
        """And gives up what is older, as one stretch."""
        skip, *fires = self.missed(1, catchup=Catchup.ALL, overlap=Overlap.ALLOW, catchup_window_ms=10 * MINUTE_MS)
        assert isinstance(skip, Skip)
        assert (skip.count, skip.to_ms) == (50, NINE_MS + 50 * MINUTE_MS)
        assert [fire.due_ms for fire in fires if isinstance(fire, Fire)] == [
            NINE_MS + i * MINUTE_MS for i in range(51, 61)
        ]

    def test_a_countdown_makes_nothing_late(self) -> None:
        """Its moment has not come."""
        items = self.missed(0.5, countdown_ms=HOUR_MS, catchup=Catchup.NONE)
        assert len([item for item in items if isinstance(item, Fire)]) == 30

    def test_a_jittered_fire_is_left_to_promotion_until_it_is_certainly_late(self) -> None:
        """Trap 11: missed is defined once, by the moment of the fire."""
        now_ms = NINE_MS + MINUTE_MS + 40_000
        made = plan(record(jitter_ms=30_000, catchup=Catchup.NONE), now_ms=now_ms)
        assert dues(made, now_ms) == [60]

    def test_nothing_is_missed_by_a_leader_that_comes_in_time(self) -> None:
        """P4: a leader change within the horizon skips nothing."""
        now_ms = NINE_MS + 6 * SECOND_MS
        items = take(plan(record(when="* * * * * *", mark_ms=NINE_MS + 5_000), now_ms=now_ms), now_ms)
        assert all(isinstance(item, Fire) for item in items)
        assert len(items) == 16

    @pytest.mark.parametrize("n", [1, 3])
    def test_a_plan_that_was_away_settles_stretches(self, n: int) -> None:
        """Traps 9 and 11: the leader itself could not arm for an hour; entries of one group are no exception."""
        made = plan(*(record(f"e{i}", "* * * * * *") for i in range(n)))
        assert len(dues(made, NINE_MS)) == 15 * n
        now_ms = NINE_MS + HOUR_MS
        items = take(made, now_ms)
        assert len([item for item in items if isinstance(item, Skip)]) == n
        assert len([item for item in items if isinstance(item, Fire)]) <= 32 * n
        assert all(item.due_ms >= now_ms - HORIZON_MS for item in items if isinstance(item, Fire))
        assert len(dues(made, now_ms + 5_000)) == 5 * n

    def test_putting_the_same_entries_again_after_an_outage_settles_stretches(self) -> None:
        """As the leader does when it reads the registry anew."""
        records = [record(f"e{i}", "* * * * * *") for i in range(3)]
        made = plan(*records)
        take(made, NINE_MS)
        for each in records:
            made.put(each, NINE_MS + HOUR_MS)
        items = take(made, NINE_MS + HOUR_MS)
        assert len([item for item in items if isinstance(item, Skip)]) == 3
        assert len(items) < 3 * 40


class TestEdits:
    """A change while the plan is being carried out."""

    def test_an_edit_in_the_middle_of_a_batch_takes_effect(self) -> None:
        """P1: what was handed out belongs to the old state, what follows to the new one."""
        made = plan(*(record(f"e{i}") for i in range(4)))
        made.take(NINE_MS + 50_000, 2)
        made.put(record("e3", "*/2 * * * *", revision=9), NINE_MS + 50_000)
        made.put(EntryRecord("e2", None, f"8 {NINE_MS}"), NINE_MS + 50_000)
        assert [fire for fire in take(made, NINE_MS + 50_000) if isinstance(fire, Fire)] == []
        (fire,) = [item for item in take(made, NINE_MS + 110_000) if isinstance(item, Fire) and item.entry == "e3"]
        assert (fire.due_ms, fire.state) == (NINE_MS + 2 * MINUTE_MS, f"9 {NINE_MS}")

    def test_an_entry_that_is_put_again_is_armed_from_its_new_mark(self) -> None:
        """A stale fire: the plan had run ahead of Redis."""
        made = plan(record(), record("other"))
        assert dues(made, NINE_MS + 50_000) == [60, 60]
        made.put(record(revision=2), NINE_MS + 50_000)
        (fire,) = take(made, NINE_MS + 50_000)
        assert isinstance(fire, Fire)
        assert (fire.entry, fire.state) == ("e", f"2 {NINE_MS}")

    def test_a_new_entry_of_a_group_that_is_armed_already_is_armed_too(self) -> None:
        """P4: it need not wait for the group."""
        made = plan(record("old"))
        assert dues(made, NINE_MS + 50_000) == [60]
        made.put(record("new"), NINE_MS + 50_000)
        assert dues(made, NINE_MS + 50_000) == [60]
        assert len(dues(made, NINE_MS + 110_000)) == 2

    def test_a_pause_that_ends_by_itself_is_told_in_time(self) -> None:
        """And one that was lifted meanwhile is the caller's to look at."""
        made = plan(record(pause=Pause(since_ms=NINE_MS, until_ms=NINE_MS + MINUTE_MS)))
        assert made.next_resume_ms() == NINE_MS + MINUTE_MS
        assert made.resumes(NINE_MS + MINUTE_MS - 1) == []
        assert made.resumes(NINE_MS + MINUTE_MS) == [("e", NINE_MS + MINUTE_MS)]
        assert made.next_resume_ms() is None


class TestScale:
    """A tick must end."""

    def test_a_year_of_missed_seconds_is_one_range_and_fast(self) -> None:
        """Trap 9."""
        now_ms = NINE_MS + 365 * 24 * HOUR_MS
        made = plan(record(when="* * * * * *"), now_ms=now_ms)
        began_s = time.process_time()
        items = take(made, now_ms)
        assert time.process_time() - began_s < 0.5
        (skip,) = [item for item in items if isinstance(item, Skip)]
        assert (skip.from_ms, skip.count) == (NINE_MS + 1_000, COUNT_MAX)
        assert now_ms - skip.to_ms <= HORIZON_MS + 1_000

    def test_a_batch_of_missed_stretches_is_bounded(self) -> None:
        """A thousand distinct schedules, a year of seconds each: no batch counts for longer than another."""
        now_ms = NINE_MS + 365 * 24 * HOUR_MS
        records = [record(f"e{i}", schedule=every("1s", anchor=_anchor(i)).as_data()) for i in range(500)]
        made = plan(*records, now_ms=now_ms)
        worst_s = 0.0
        skips = 0
        for _ in range(50):
            began_s = time.process_time()
            batch = made.take(now_ms, 250)
            worst_s = max(worst_s, time.process_time() - began_s)
            skips += len(batch.skips)
            if not batch:
                break
        assert worst_s < 0.5
        assert skips == 500

    def test_ten_thousand_entries_at_midnight(self) -> None:
        """Computed once where they share a schedule; each armed once."""
        made = plan(
            *(record(f"e{i}", "0 9 * * *", mark_ms=NINE_MS - 60_000) for i in range(10_000)), now_ms=NINE_MS - 60_000
        )
        began_s = time.process_time()
        assert made.take(NINE_MS - 20_000, 250) == ([], [])
        assert time.process_time() - began_s < 0.01, "a tick without anything due costs nothing"
        names = [fire.entry for fire in take(made, NINE_MS - 10_000) if isinstance(fire, Fire)]
        assert len(names) == len(set(names)) == 10_000
        assert time.process_time() - began_s < 3


def _anchor(i: int) -> datetime:
    return datetime.fromtimestamp((NINE_MS - 10_000 + i) / 1_000, UTC)
