"""Orders to skip the next fire: it is settled as withdrawn, once, whatever becomes of the entry until then (P1, P2)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from scheduler.beat.plan import Plan
from scheduler.errors import NotFoundError, RefusedError
from scheduler.model import Catchup, Run, SkipOrder
from scheduler.store.change import Change
from scheduler.store.registry import SKIPS_MAX
from scheduler.timing import crontab
from scheduler.wire import EXPIRES_SKIPPED, decode_header
from tests.support.bench import LATE_LIMIT_MS, Bench, Term

pytestmark = pytest.mark.redis

HORIZON_MS = 15_000


def lead(bench: Bench, term: Term, *, horizon_ms: int = HORIZON_MS, now_ms: int = 0) -> list[int]:
    """Arm what a new leader would; the due times, those that were recorded as skipped stretches left out."""
    plan = Plan(namespace=bench.keys.namespace, horizon_ms=horizon_ms, late_limit_ms=LATE_LIMIT_MS)
    now_ms = now_ms or bench.now_ms
    for record in bench.store.registry.all():
        plan.put(record, now_ms)
    armed: list[int] = []
    while batch := plan.take(now_ms, 100):
        answer = bench.arm(term, batch.fires, batch.skips)
        assert not answer.stale
        armed += [fire.due_ms for fire in batch.fires]
    return armed


def outcomes(bench: Bench, name: str = "e") -> dict[str, int]:
    """How many due times had which outcome."""
    return {outcome: n for outcome, n in bench.store.registry.counts(name).items() if n}


def wait_past(bench: Bench, moment_ms: int) -> None:
    """Until Redis' clock has passed *moment_ms*."""
    while bench.now_ms <= moment_ms:
        pass


def history(bench: Bench, name: str = "e") -> list[Run]:
    """The runs of *name* as people see them, the newest first."""
    return bench.store.history.runs(name, n=20)


def test_an_armed_fire_is_settled_as_withdrawn_and_the_others_go_on(bench: Bench) -> None:
    """Who ordered it, and why, stands in the record."""
    bench.put(period="2s")
    term = bench.win()
    armed = lead(bench, term)
    _, due_ms = bench.store.registry.skip("e", by="ada@h", reason="holiday")
    assert due_ms in armed
    wait_past(bench, due_ms)
    bench.promote()
    [record] = [run for run in history(bench) if run.outcome]
    assert (record.outcome, record.due_ms, record.error) == ("withdrawn", due_ms, "skipped by ada@h: holiday")
    assert bench.store.registry.state("e").skips == (), "it is carried out"
    assert outcomes(bench) == {"withdrawn": 1}
    assert len(bench.live()) == len(armed) - 1
    bench.check_places()


def test_a_fire_that_is_not_armed_yet_is_armed_to_be_skipped(bench: Bench) -> None:
    """The leader reads the order with the entry."""
    bench.put(period="2s")
    _, due_ms = bench.store.registry.skip("e")
    term = bench.win()
    assert due_ms in lead(bench, term)
    headers = [decode_header(body)[0] for body in map(bench.store.queues.body, bench.live()) if body]
    assert [header.due_ms for header in headers if header.expires_ms == EXPIRES_SKIPPED] == [due_ms]


def test_asked_for_twice_the_next_two_are_left_out(bench: Bench) -> None:
    bench.put(period="1h")
    _, first_ms = bench.store.registry.skip("e")
    record, second_ms = bench.store.registry.skip("e")
    assert second_ms == first_ms + 3_600_000
    assert [order.due_ms for order in record.skips] == [first_ms, second_ms]


@pytest.mark.parametrize("change", ["pause and resume", "args", "remove from file", "another leader"])
def test_nothing_that_happens_to_the_entry_brings_a_skipped_fire_back(bench: Bench, change: str) -> None:
    """P2: its due time has one outcome, and it is no run."""
    bench.put(period="2s")
    lead(bench, bench.win())
    _, due_ms = bench.store.registry.skip("e")
    if change == "pause and resume":
        bench.store.registry.pause("e")
        bench.store.registry.resume("e")
    elif change == "args":
        bench.put(period="2s", args=msgspec.Raw(b"[1]"))
    elif change == "remove from file":
        bench.store.loads.publish({"e": bench.entry(period="2s", queue="q")}, clean=True, mistakes=(), by="b")
    lead(bench, bench.win())
    wait_past(bench, due_ms)
    bench.promote()
    assert [run.due_ms for run in history(bench) if run.outcome == "withdrawn"] == [due_ms]
    assert outcomes(bench) == {"withdrawn": 1}
    bench.check_places()


def test_a_pause_that_covers_it_is_its_outcome(bench: Bench) -> None:
    """P2: one outcome; the stretch of the pause takes it in."""
    bench.put(period="1s")
    lead(bench, bench.win())
    _, due_ms = bench.store.registry.skip("e")
    bench.store.registry.pause("e")
    wait_past(bench, due_ms)
    bench.store.registry.resume("e")
    lead(bench, bench.win())
    counts = outcomes(bench)
    assert set(counts) == {"paused"}
    assert bench.store.registry.skip("e")[1] > due_ms


def test_the_fire_before_it_stands_for_what_was_missed(bench: Bench) -> None:
    """Under `latest` the newest fire runs; one that is to be skipped is not the newest."""
    bench.put(period="1s", catchup=Catchup.LATEST)
    bench.store.registry.skip("e")
    _, due_ms = bench.store.registry.skip("e")
    bench.move_mark("e", 3_000)
    lead(bench, bench.win())
    headers = {
        h.due_ms: h for h, _ in (decode_header(body) for body in map(bench.store.queues.body, bench.live()) if body)
    }
    assert headers[due_ms].expires_ms == EXPIRES_SKIPPED
    assert headers[due_ms - 2_000].next_due_ms == due_ms + 1_000


def test_there_must_be_a_next_fire(bench: Bench) -> None:
    """Paused, disabled and finished entries have none; each message says what to do."""
    bench.put("paused")
    bench.store.registry.pause("paused")
    bench.put("disabled", enabled=False)
    bench.put("over", until_ms=1)
    for name, why in (("paused", "sched resume paused"), ("disabled", "is disabled"), ("over", "has no more")):
        with pytest.raises(RefusedError, match=why):
            bench.store.registry.skip(name)
    with pytest.raises(NotFoundError):
        bench.store.registry.skip("nobody")
    bench.put("resuming")
    until_ms = bench.now_ms + 20
    bench.store.registry.pause("resuming", until_ms=until_ms)
    wait_past(bench, until_ms)
    assert bench.store.registry.skip("resuming")[1] > until_ms, (
        "its pause is over, though no leader has taken note of it"
    )


def test_a_moment_that_has_come_is_not_skipped(bench: Bench) -> None:
    """Either it was armed to be skipped before its moment, or it goes on: the script decides, by Redis' clock."""
    record = bench.put(period="1h")
    before = bench.dump()
    due_ms = bench.now_ms
    order = Change(record, "=", skips=(SkipOrder(due_ms, due_ms),), before_ms=due_ms)
    assert bench.store.changer.apply([order]) == ["e"]
    assert bench.dump() == before


def test_who_comes_too_late_is_told_and_nothing_else_is_skipped(bench: Bench) -> None:
    """The fire that was meant is due by the time the order arrives: the one after it was not asked for."""
    bench.put(period="1s")
    apply = bench.store.changer.apply

    def slow(changes: Sequence[Change], **options: Any) -> list[str] | None:
        wait_past(bench, changes[0].before_ms)
        return apply(changes, **options)

    bench.store.changer.apply = slow  # type: ignore[method-assign]
    with pytest.raises(RefusedError, match="is due by now and goes on"):
        bench.store.registry.skip("e")
    assert bench.store.registry.state("e").skips == ()


@pytest.mark.parametrize("change", ["remove", "remove and add", "skip again"])
def test_a_due_fire_that_is_to_be_skipped_goes_on_as_it_was(bench: Bench, change: str) -> None:
    """Nobody has promoted it yet: when somebody does, its record tells by whose order it did not run."""
    bench.put(period="2s")
    lead(bench, bench.win())
    _, due_ms = bench.store.registry.skip("e", by="ada@h", reason="holiday")
    wait_past(bench, due_ms)
    if change == "skip again":
        bench.store.registry.skip("e")
    else:
        bench.store.loads.publish({}, clean=True, mistakes=(), by="b")
    if change == "remove and add":
        bench.put(period="2s")
    bench.promote()
    [record] = [run for run in history(bench) if run.due_ms == due_ms]
    assert (record.outcome, record.error) == ("withdrawn", "skipped by ada@h: holiday")
    assert due_ms not in {order.due_ms for order in bench.store.registry.state("e").skips}


def test_a_removal_takes_back_what_is_ordered_ahead(bench: Bench) -> None:
    """Who adds the entry again means it to run."""
    bench.put(period="1h")
    bench.store.registry.skip("e")
    bench.store.loads.publish({}, clean=True, mistakes=(), by="b")
    bench.put(period="1h")
    assert bench.store.registry.state("e").skips == ()
    assert bench.hash(bench.keys.skipped) == {}


def test_there_is_an_end_to_skipping(bench: Bench) -> None:
    """Orders are kept with the entry: they are bounded."""
    bench.put(period="1h")
    for _ in range(SKIPS_MAX):
        bench.store.registry.skip("e")
    with pytest.raises(RefusedError, match="pause it instead"):
        bench.store.registry.skip("e")


def test_an_order_for_a_moment_that_the_schedule_has_no_more_does_nothing(bench: Bench) -> None:
    """The new schedule was meant as it was written."""
    bench.put(schedule=crontab("0 0 1 1 *").as_data())
    bench.store.registry.skip("e")
    bench.put(period="2s")
    lead(bench, bench.win())
    headers = [decode_header(body)[0] for body in map(bench.store.queues.body, bench.live()) if body]
    assert headers
    assert all(header.expires_ms == 0 for header in headers)
