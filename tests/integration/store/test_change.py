"""`change.lua`: edits, removals and pauses; what is armed is withdrawn or gets a new body (P1, P2)."""

from __future__ import annotations

import struct

import msgspec
import pytest

from scheduler.errors import NotFoundError, RefusedError
from scheduler.fires import FireMaker, schedule_of
from scheduler.model import EntryRecord, Fire
from scheduler.store.change import Change
from scheduler.timing import every
from scheduler.wire import decode_header
from tests.support.bench import Bench, paused_since

pytestmark = pytest.mark.redis

HORIZON_MS = 15_000


def arm_horizon(bench: Bench, name: str = "e") -> list[Fire]:
    """Arm what is due within the horizon, as a leader would."""
    record = bench.store.registry.state(name)
    assert record.entry is not None
    maker = FireMaker(record.entry, schedule_of(record.entry), namespace=bench.keys.namespace, late_limit_ms=15_000)
    now_ms, fires, state = bench.now_ms, [], record.state
    due_ms = maker.schedule.next_ms(max(now_ms, record.mark_ms))
    while due_ms is not None and due_ms <= now_ms + HORIZON_MS:
        next_ms = maker.schedule.next_ms(due_ms)
        fires.append(maker.fire(due_ms, next_ms, state=state, now_ms=now_ms))
        state, due_ms = f"{record.revision} {due_ms}", next_ms
    assert bench.arm(bench.win(), fires).armed == len(fires)
    return fires


def test_a_new_entry_fires_nothing_that_lies_before_it(bench: Bench) -> None:
    """Its mark is now."""
    before_ms = bench.now_ms
    record = bench.put()
    assert before_ms <= record.mark_ms <= bench.now_ms
    assert record.revision == bench.store.registry.revision() == 1


@pytest.mark.parametrize("change", ["schedule", "pause", "remove", "disable", "until"])
def test_a_change_of_the_schedule_withdraws_what_is_armed_ahead(bench: Bench, change: str) -> None:
    """P1, P2: the mark goes back to now, so that the new schedule is armed from there; nothing fires retroactively."""
    record = bench.put(period="1s")
    assert len(arm_horizon(bench)) >= 14
    before_ms = bench.now_ms
    if change == "schedule":
        record = bench.put(period="2s")
    elif change == "pause":
        record = bench.store.registry.pause("e")
    elif change == "remove":
        bench.store.loads.publish({}, clean=True, mistakes=(), by="t")
        record = bench.store.registry.state("e")
    elif change == "disable":
        record = bench.put(period="1s", enabled=False)
    else:
        record = bench.put(period="1s", until_ms=before_ms + 5_000)
    assert before_ms <= record.mark_ms <= bench.now_ms
    kept = bench.live()
    left = [decode_header(body)[0].due_ms for body in map(bench.store.queues.body, kept) if body]
    assert all(due_ms <= record.mark_ms for due_ms in left), "only what is due already goes on"
    bench.check_places()


@pytest.mark.parametrize("field", ["args", "queue", "priority", "countdown", "expires"])
def test_a_change_of_anything_else_keeps_what_is_armed_and_gives_it_new_bytes(bench: Bench, field: str) -> None:
    """P2: the mark stays, the due times stay, the bytes are the new ones."""
    record = bench.put(period="5s")
    fires = arm_horizon(bench)
    change = {
        "args": {"args": msgspec.Raw(b"[1]")},
        "queue": {"queue": "other"},
        "priority": {"priority": 7},
        "countdown": {"countdown_ms": 60_000},
        "expires": {"expires_after_ms": 90_000},
    }[field]
    mark_ms = bench.store.registry.state("e").mark_ms
    changed = bench.put(period="5s", **change)  # type: ignore[arg-type]
    assert changed.mark_ms == mark_ms
    assert changed.revision > record.revision
    assert bench.live() == {fire.id for fire in fires}
    assert changed.entry is not None
    maker = FireMaker(changed.entry, schedule_of(changed.entry), namespace=bench.keys.namespace, late_limit_ms=15_000)
    for fire in fires:
        body = bench.store.queues.body(fire.id)
        assert body
        new = maker.fire(fire.due_ms, fire.due_ms + 5_000, state="", now_ms=0)
        blank = slice(30, 38)  # when it was encoded
        assert bytearray(body[: blank.start] + body[blank.stop :]) == new.body[: blank.start] + new.body[blank.stop :]
        score = bench.call_redis("ZSCORE", bench.keys.delayed(new.queue), fire.id)
        assert score is not None
        assert float(score) == new.at_ms
    bench.check_places()


def test_an_edit_before_promotion_leaves_what_is_due(bench: Bench) -> None:
    """Trap 2: a fire with a countdown is due, and stands armed; it keeps its old bytes and goes on."""
    bench.put(countdown_ms=60_000)
    fire = bench.fired(bench.win(), in_ms=-1_000)
    bench.put(period="2h", countdown_ms=60_000, args=msgspec.Raw(b"[1]"))
    assert bench.store.queues.body(fire.id) == fire.body
    bench.check_places()


def test_the_mark_never_falls_below_what_was_promoted(bench: Bench) -> None:
    """Trap 3: as after a step of Redis' clock backward, the last promoted due time lies ahead."""
    bench.put()
    ahead_ms = bench.now_ms + 10_000
    bench.call_redis("HSET", bench.keys.promoted, "e", f"{ahead_ms} 1")
    assert bench.put(period="2h").mark_ms == ahead_ms
    assert bench.store.registry.pause("e").mark_ms == ahead_ms
    bench.store.loads.publish({}, clean=True, mistakes=(), by="t")
    assert bench.put().mark_ms == ahead_ms


def test_an_arm_planned_before_a_change_is_refused(bench: Bench) -> None:
    """Trap 1: also when the mark is the same."""
    bench.put(period="5s")
    fire = bench.fire(in_ms=5_000)
    bench.put(period="5s", args=msgspec.Raw(b"[1]"))
    answer = bench.arm(bench.win(), [fire])
    assert (answer.armed, answer.stale) == (0, ["e"])
    assert bench.live() == set()


def test_a_mark_outlives_a_removal(bench: Bench) -> None:
    """A re-added entry does not repeat itself."""
    bench.put()
    fire = bench.fire(in_ms=-1)
    bench.move_mark("e", 5_000)
    fire = bench.fire(in_ms=-1)
    bench.arm(bench.win(), [fire])
    bench.promote()
    bench.store.loads.publish({}, clean=True, mistakes=(), by="t")
    assert bench.store.registry.get("e") is None
    record = bench.put()
    assert record.mark_ms >= fire.due_ms


def test_a_pause_is_kept_with_its_facts(bench: Bench) -> None:
    """And a second pause keeps its beginning."""
    bench.put()
    until_ms = bench.now_ms + 60_000
    record = bench.store.registry.pause("e", reason="release", until_ms=until_ms, by="ann")
    assert record.pause is not None
    assert (record.pause.reason, record.pause.until_ms, record.pause.by) == ("release", until_ms, "ann")
    again = bench.store.registry.pause("e", reason="longer")
    assert paused_since(again) == paused_since(record)
    assert bench.store.registry.resume("e").pause is None


def paused(bench: Bench, seconds: int, *, until_ago_s: int = 0) -> EntryRecord:
    """`e`, each minute, as if paused *seconds* ago."""
    bench.put(period="1m")
    bench.store.registry.pause("e")
    since_ms = bench.now_ms - seconds * 1_000
    until = f',"until_ms":{bench.now_ms - until_ago_s * 1_000}' if until_ago_s else ""
    bench.call_redis("HSET", bench.keys.paused, "e", f'{{"since_ms":{since_ms}{until}}}')
    bench.move_mark("e", seconds * 1_000)
    return bench.store.registry.state("e")


def test_what_lay_in_a_pause_is_one_record(bench: Bench) -> None:
    """P2: and is not fired afterwards."""
    paused(bench, 600)
    record = bench.store.registry.resume("e")
    assert abs(record.mark_ms - bench.now_ms) < 5_000
    assert bench.store.registry.counts("e") == {"paused": 10, "promoted": 0}
    (run,) = bench.store.history.runs("e")
    assert (run.outcome, run.count) == ("paused", 10)


def test_what_came_after_a_pause_that_ended_by_itself_is_fired(bench: Bench) -> None:
    """P2: the record ends where the pause did; the mark stands just before that moment."""
    record = paused(bench, 600, until_ago_s=300)
    assert record.pause is not None
    assert record.pause.until_ms is not None
    resumed = bench.store.registry.resume("e", until_ms=record.pause.until_ms)
    assert resumed.mark_ms == record.pause.until_ms - 1
    assert bench.store.registry.counts("e") == {"paused": 5, "promoted": 0}


def test_a_pause_that_would_end_before_it_begins_is_refused(bench: Bench) -> None:
    """P12."""
    bench.put()
    with pytest.raises(RefusedError, match="later"):
        bench.store.registry.pause("e", until_ms=bench.now_ms - 1)


def test_an_entry_that_does_not_exist_is_named(bench: Bench) -> None:
    """P12."""
    for change in (bench.store.registry.pause, bench.store.registry.resume):
        with pytest.raises(NotFoundError, match="'nobody'"):
            change("nobody")


def test_a_change_nudges_the_leader(bench: Bench) -> None:
    """It plans anew at once."""
    bench.put()
    bench.put(period="2h")
    assert bench.call_redis("LLEN", bench.keys.nudge) == 1


def test_a_change_that_was_overtaken_is_worked_out_anew(bench: Bench) -> None:
    """Two editors: each change is made from what stands."""
    bench.put()
    stale = bench.store.registry.state("e")
    bench.put(period="2h")
    before = bench.dump()
    assert bench.store.changer.apply([Change(stale, bench.entry(period="3h"))]) == ["e"]
    assert bench.dump() == before
    assert bench.put(period="3h").entry == bench.entry(period="3h")


def test_an_entry_whose_stored_schedule_nobody_can_compute_can_be_changed(bench: Bench) -> None:
    """P12: a newer version wrote it; it must not stop a publication."""
    bench.put(schedule={"kind": "from-the-future"})
    bench.store.registry.pause("e")
    bench.store.registry.resume("e")
    assert bench.put().entry == bench.entry()


def test_a_full_second_of_fires_is_withdrawn_with_one_call(bench: Bench) -> None:
    """However many are armed."""
    bench.put(schedule=every("20ms").as_data() if _allowed("20ms") else every("1s").as_data())
    fires = arm_horizon(bench)
    assert len(fires) > 10
    bench.store.registry.pause("e")
    assert len(bench.live()) <= 3


def _allowed(period: str) -> bool:
    try:
        every(period)
    except ValueError:
        return False
    return True


def test_the_header_has_its_moment_of_encoding_where_the_test_thinks(bench: Bench) -> None:
    """`test_a_change_of_anything_else…` leaves these eight bytes out."""
    bench.put()
    fire = bench.fire()
    assert struct.unpack("<d", fire.body[30:38])[0] == decode_header(fire.body)[0].enqueued_ms
