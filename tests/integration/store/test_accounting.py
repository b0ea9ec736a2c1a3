"""
P2: each due time of an entry in force has exactly one outcome, and the counters agree with the history.

Here: what a change of the entry does to due times that nobody had armed, and every way for a fire to end before it runs.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest

from scheduler.model import Catchup, Entry, Overlap, Pause, Skip
from scheduler.store.change import Change
from scheduler.store.queues import CancelReply
from scheduler.timing import every
from tests.integration.store.test_registry import publish
from tests.support.bench import HOUR_MS, Bench

pytestmark = pytest.mark.redis

MINUTE_MS = 60_000
Act = Callable[[Bench, Entry], object]


def minutely(bench: Bench, **options: object) -> Entry:
    """An entry that is due each minute and that nobody has armed for an hour: 60 due times have no outcome yet."""
    entry = bench.entry("e", "1m", **options)
    publish(bench.store, entry)
    bench.set_mark("e", bench.now_ms // MINUTE_MS * MINUTE_MS - HOUR_MS)
    return entry


def outcomes(bench: Bench) -> dict[str, int]:
    """The counters, without what never was."""
    return {outcome: n for outcome, n in bench.store.registry.counts("e").items() if n}


def told(bench: Bench) -> dict[str, int]:
    """The same from the history of the entry."""
    found: dict[str, int] = {}
    for run in bench.store.history.runs("e", n=1_000):
        if run.outcome:
            found[run.outcome] = found.get(run.outcome, 0) + run.count
    return found


def edit(**changes: object) -> Act:
    """Another definition."""
    return lambda bench, entry: publish(bench.store, msgspec.structs.replace(entry, **changes))


def remove(bench: Bench, entry: Entry) -> None:
    """Its file no longer has it."""
    publish(bench.store)


def pause(bench: Bench, entry: Entry) -> None:
    """By hand."""
    bench.store.registry.pause("e")


def resume(bench: Bench, entry: Entry) -> None:
    """By hand."""
    bench.store.registry.resume("e")


RESCHEDULED = edit(schedule=every("7m").as_data())
ENDS: dict[str, Act] = {
    "edited": RESCHEDULED,
    "disabled": edit(enabled=False),
    "removed": remove,
    "ended": edit(until_ms=1),
    "paused": pause,
}


@pytest.mark.parametrize("change", ENDS.values(), ids=ENDS)
def test_what_nobody_armed_is_withdrawn_by_the_change_that_gives_it_up(bench: Bench, change: Act) -> None:
    """No beat led for an hour, and before one catches up the entry changes: its due times must not vanish."""
    entry = minutely(bench)
    change(bench, entry)
    assert outcomes(bench) == told(bench) == {"withdrawn": 60}
    (stretch,) = bench.store.history.runs("e")
    assert stretch.to_ms - stretch.due_ms == 59 * MINUTE_MS
    assert bench.store.registry.state("e").mark_ms >= stretch.to_ms


@pytest.mark.parametrize("change", [RESCHEDULED, remove, pause, resume], ids=["edited", "removed", "paused", "resumed"])
def test_what_came_due_after_a_pause_had_ended_lay_in_no_pause(bench: Bench, change: Act) -> None:
    """It ended by itself half an hour ago, and no leader has taken note of it when the entry changes."""
    entry = minutely(bench)
    begin_ms = bench.store.registry.state("e").mark_ms
    ended = Pause(begin_ms, begin_ms + HOUR_MS // 2)
    bench.call_redis("HSET", bench.keys.paused, "e", msgspec.json.encode(ended))
    change(bench, entry)
    if change is resume:
        assert outcomes(bench) == {"paused": 29}, "the other fires are the leader's to catch up"
        assert bench.store.registry.state("e").mark_ms == begin_ms + HOUR_MS // 2 - 1
    else:
        assert outcomes(bench) == told(bench) == {"paused": 29, "withdrawn": 31}


@pytest.mark.parametrize("change", [*ENDS.values(), resume], ids=[*ENDS, "resumed"])
def test_a_pause_that_ends_in_any_way_leaves_its_record(bench: Bench, change: Act) -> None:
    """By removal as well as by `resume`; a second pause takes the first one's place."""
    entry = minutely(bench)
    pause(bench, entry)
    bench.set_mark("e", bench.now_ms // MINUTE_MS * MINUTE_MS - HOUR_MS)
    change(bench, entry)
    assert outcomes(bench) == told(bench) == {"withdrawn": 60, "paused": 60}


def test_an_edit_during_a_pause_does_not_lose_what_the_old_schedule_had(bench: Bench) -> None:
    """Each part of the pause counts by the schedule that was in force in it."""
    entry = minutely(bench)
    bench.set_mark("e", bench.now_ms)
    pause(bench, entry)
    bench.set_mark("e", bench.now_ms // MINUTE_MS * MINUTE_MS - HOUR_MS)
    edit(schedule=every("10m").as_data())(bench, entry)
    assert outcomes(bench) == {"paused": 60}
    bench.set_mark("e", bench.now_ms // MINUTE_MS * MINUTE_MS - HOUR_MS)
    resume(bench, entry)
    assert outcomes(bench) == told(bench) == {"paused": 66}


def test_a_pause_that_ends_by_itself_leaves_what_comes_after_it_to_the_catch_up(bench: Bench) -> None:
    """Nobody led when it ended: the due times since then are missed, not paused."""
    entry = minutely(bench)
    bench.set_mark("e", bench.now_ms)
    pause(bench, entry)
    start_ms = bench.now_ms // MINUTE_MS * MINUTE_MS - HOUR_MS
    bench.set_mark("e", start_ms)
    bench.store.registry.resume("e", until_ms=start_ms + 30 * MINUTE_MS)
    assert outcomes(bench) == {"paused": 29}, "the one at its end is due again"
    assert bench.store.registry.state("e").mark_ms == start_ms + 30 * MINUTE_MS - 1


@pytest.mark.parametrize(
    ("options", "n"),
    [
        (lambda now_ms: {"start_ms": now_ms - 30 * MINUTE_MS}, 30),
        (lambda now_ms: {"until_ms": now_ms - 30 * MINUTE_MS}, 30),
        (lambda now_ms: {"start_ms": now_ms + HOUR_MS}, 0),
        (lambda now_ms: {"enabled": False}, 0),  # noqa: ARG005
    ],
    ids=["start", "until", "start ahead", "disabled"],
)
def test_only_due_times_in_force_have_an_outcome(
    bench: Bench, options: Callable[[int], dict[str, object]], n: int
) -> None:
    """Before `start`, after `until`, while disabled: nothing was due."""
    now_ms = bench.now_ms // MINUTE_MS * MINUTE_MS + 1
    entry = minutely(bench, **options(now_ms))
    remove(bench, entry)
    assert outcomes(bench) == told(bench) == ({"withdrawn": n} if n else {})


def test_a_change_that_is_no_change_of_the_schedule_gives_nothing_up(bench: Bench) -> None:
    """What nobody has armed is armed by the next leader, with the new arguments."""
    entry = minutely(bench)
    mark_ms = bench.store.registry.state("e").mark_ms
    edit(args=msgspec.Raw(b"[1]"))(bench, entry)
    assert bench.store.registry.state("e").mark_ms == mark_ms
    assert outcomes(bench) == {}


def test_a_due_time_that_comes_while_a_change_is_on_its_way_is_not_lost(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is passed is worked out before the script runs: one that has come since is a reason to work it out again."""
    minutely(bench)
    changer, asked = bench.store.changer, []

    def slow_clock() -> int:
        asked.append(bench.now_ms)
        return asked[-1] - (2 * MINUTE_MS if len(asked) == 1 else 0)

    monkeypatch.setattr(changer, "now_ms", slow_clock)
    assert changer.apply([Change(bench.store.registry.state("e"), None)]) == ["e"], "two due times have come since"
    assert outcomes(bench) == {}
    assert changer.apply([Change(bench.store.registry.state("e"), None)]) == []
    assert outcomes(bench) == {"withdrawn": 60}


def test_a_change_by_somebody_else_is_not_counted_twice(bench: Bench) -> None:
    """Two editors start from the same state: one of them gives the due times up."""
    minutely(bench)
    record = bench.store.registry.state("e")
    assert bench.store.changer.apply([Change(record, None)]) == []
    assert bench.store.changer.apply([Change(record, None)]) == ["e"]
    assert outcomes(bench) == {"withdrawn": 60}


# ── a fire that does not run ────────────────────────────────────────────────────────────────────────────────────────────


def test_what_was_armed_and_is_withdrawn_is_due_no_more(bench: Bench) -> None:
    """Its due time lies after the change, and so did not come while the old definition was in force: no outcome."""
    bench.put(period="1m")
    term, now_ms = bench.win(), bench.now_ms
    bench.arm(term, [bench.fire(in_ms=MINUTE_MS - now_ms % MINUTE_MS, now_ms=now_ms)])
    assert len(bench.live()) == 1
    publish(bench.store)
    assert bench.live() == set()
    assert outcomes(bench) == told(bench) == {}


@pytest.mark.parametrize("change", ENDS.values(), ids=ENDS)
def test_what_was_due_before_a_change_goes_on_as_it_was(bench: Bench, change: Act) -> None:
    """Armed, put off by its countdown, and then changed: it runs, and its due time has that outcome only."""
    entry = bench.entry("e", "1h", countdown_ms=1_000)
    publish(bench.store, entry)
    term = bench.win()
    fire = bench.fired(term, in_ms=-1_500)
    change(bench, entry)
    bench.promote()
    assert outcomes(bench) == {"promoted": 1}
    assert bench.take(bench.open()) == [fire.id]


def test_a_cancelled_fire_is_withdrawn(bench: Bench) -> None:
    """Its moment has an outcome when it has come; a second request finds nothing."""
    bench.put()
    term = bench.win()
    fire = bench.fire(in_ms=100)
    bench.arm(term, [fire])
    assert bench.store.queues.cancel(fire.id) is CancelReply.REVOKED
    assert bench.store.queues.cancel(fire.id) is CancelReply.ENDED
    while not bench.promote():
        pass
    assert outcomes(bench) == told(bench) == {"withdrawn": 1}


@pytest.mark.parametrize("overlap", [Overlap.QUEUE, Overlap.REPLACE])
def test_a_fire_that_is_cancelled_while_it_waits_for_the_slot_is_withdrawn(bench: Bench, overlap: Overlap) -> None:
    """It was never promoted; the run that holds the slot is not touched."""
    bench.put(overlap=overlap)
    term = bench.win()
    first = bench.fired(term, in_ms=-4_000)
    bench.promote()
    session = bench.open()
    bench.take(session)
    second = bench.fired(term, in_ms=-3_000)
    bench.promote()
    assert bench.hash(bench.keys.waiting) == {"e": second.id}
    assert bench.store.queues.cancel(second.id) is CancelReply.REVOKED
    bench.finish(session, first.id, entry="e", outcome="promoted")
    assert outcomes(bench) == told(bench) == {"promoted": 1, "withdrawn": 1}
    bench.check_places()


def test_a_purge_leaves_armed_fires_alone(bench: Bench) -> None:
    """What is ready ends as a run that was promoted and revoked; what is armed keeps its due time."""
    bench.put(overlap=Overlap.ALLOW)
    term = bench.win()
    bench.fired(term, in_ms=-2_000)
    bench.promote()
    armed = bench.fire(in_ms=60_000)
    bench.arm(term, [armed])
    assert bench.store.queues.purge("q") == 1
    assert bench.live() == {armed.id}
    assert outcomes(bench) == told(bench) == {"promoted": 1}
    assert bench.store.history.runs("e")[0].state == "REVOKED"


def test_a_dead_letter_is_a_promoted_run_that_failed(bench: Bench) -> None:
    """What becomes of a promoted run is its state, not a second outcome."""
    bench.put()
    fire = bench.fired(bench.win())
    bench.promote()
    session = bench.open()
    bench.take(session)
    bench.finish(session, fire.id, entry="e", state="FAILURE", dead=True, outcome="promoted")
    assert outcomes(bench) == told(bench) == {"promoted": 1}


def test_after_max_runs_each_due_time_is_skipped_and_counted(bench: Bench) -> None:
    """For ever; the history has one record of them, the counter all."""
    bench.put(overlap=Overlap.ALLOW, catchup=Catchup.ALL, max_runs=2)
    term, now_ms = bench.win(), bench.now_ms
    for i in range(6):
        at_ms = -9_000 + i * 1_000
        bench.fired(term, in_ms=at_ms, next_in_ms=at_ms + 1_000, now_ms=now_ms)
        bench.promote()
    assert outcomes(bench) == {"promoted": 2, "max_runs": 4}
    assert told(bench) == {"max_runs": 4}, "the other two have not ended"


def test_a_skip_that_a_leader_records_says_why(bench: Bench) -> None:
    """`error`: a fire that no message can carry."""
    bench.put()
    term, due_ms = bench.win(), bench.now_ms - 1_000
    bench.set_mark("e", due_ms - 1)
    state = bench.store.registry.state("e").state
    bench.arm(term, [], [Skip("e", state, "error", due_ms, due_ms, 1, due_ms, "no message can carry it: too large")])
    (run,) = bench.store.history.runs("e")
    assert (run.outcome, run.error) == ("error", "no message can carry it: too large")
    assert outcomes(bench) == {"error": 1}


def test_the_counters_of_a_removed_entry_are_kept_for_a_week_and_go_on_when_it_returns(bench: Bench) -> None:
    """A redeploy that loses an entry for a minute does not lose its past."""
    entry = minutely(bench)
    remove(bench, entry)
    for key in (bench.keys.entry_counts("e"), bench.keys.entry_runs("e")):
        assert 0 < bench.call_redis("PTTL", key) <= 7 * 24 * HOUR_MS
    publish(bench.store, entry)
    for key in (bench.keys.entry_counts("e"), bench.keys.entry_runs("e")):
        assert bench.call_redis("PTTL", key) == -1
    assert outcomes(bench) == told(bench) == {"withdrawn": 60}
