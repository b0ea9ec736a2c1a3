"""Tables of triggers on Redis: a load that asks anew changes nothing, and a renewal changes nothing but the table."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from scheduler.model import Entry
from scheduler.timing.table import Table, encode_fires
from tests.support.bench import Bench

pytestmark = pytest.mark.redis

HOUR_MS = 3_600_000


@dataclass
class Rule:
    """A trigger that fires each hour, asked from *from_h* to *until_h* (hours from now)."""

    bench: Bench
    now_ms: int

    def entry(self, from_h: int, until_h: int, *, shift_ms: int = 0, text: str = "hourly", **options: object) -> Entry:
        """The entry as a load has it."""
        fires_ms = [self.now_ms + hour * HOUR_MS + 5_000 + shift_ms for hour in range(from_h, until_h + 1)]
        table = Table(
            text=text,
            fires=encode_fires(fires_ms)[0],
            from_ms=self.now_ms + from_h * HOUR_MS,
            until_ms=fires_ms[-1],
            tz="UTC",
        )
        return self.bench.entry("e", schedule=table.as_data(), **options)

    def publish(self, entry: Entry) -> tuple[str, ...]:
        """A load; the names of what it changed."""
        return self.bench.store.loads.publish({"e": entry}, clean=True, mistakes=(), by="b").changed

    def renew(self, entry: Entry | None) -> tuple[str, ...]:
        """A renewal; the names of what it changed."""
        return self.bench.store.loads.renew({"e"}, {} if entry is None else {"e": entry}).names

    @property
    def live(self) -> Entry:
        """What is in force."""
        found = self.bench.store.registry.state("e").entry
        assert found is not None
        return found


@pytest.fixture
def rule(bench: Bench) -> Rule:
    """An hourly trigger, now."""
    return Rule(bench, bench.now_ms)


def arm_next(rule: Rule) -> str:
    """Arm the fire that is due in five seconds; its id."""
    bench = rule.bench
    term = bench.win()
    fire = bench.fire("e", now_ms=rule.now_ms, in_ms=5_000)
    bench.arm(term, [fire])
    assert bench.live() == {fire.id}
    return fire.id


def test_a_load_that_asks_anew_changes_nothing(rule: Rule) -> None:
    """Each restart has another table, and no restart withdraws what is armed or moves a mark."""
    rule.publish(rule.entry(-10, 100))
    armed = arm_next(rule)
    before = rule.bench.store.registry.state("e")
    assert rule.publish(rule.entry(-5, 105)) == ()
    assert before == rule.bench.store.registry.state("e")
    assert {armed} == rule.bench.live()


def test_a_table_that_is_complete_stays(rule: Rule) -> None:
    """A trigger that ends is asked at each load too; only its past has moved out of sight."""
    old, new = (rule.entry(from_h, 5) for from_h in (-10, -5))
    for entry in (old, new):
        entry.schedule["until_ms"] = None
    rule.publish(old)
    assert rule.publish(new) == ()
    assert old == rule.live


def test_a_load_brings_the_new_table_when_the_old_one_is_half_used(rule: Rule) -> None:
    """The mark stays, and so does what is armed."""
    rule.publish(rule.entry(-100, 50))
    armed = arm_next(rule)
    mark_ms = rule.bench.store.registry.state("e").mark_ms
    newer = rule.entry(-5, 145)
    assert rule.publish(newer) == ("e",)
    assert newer == rule.live
    assert mark_ms == rule.bench.store.registry.state("e").mark_ms
    assert {armed} == rule.bench.live()
    # Nobody has edited anything.
    assert [note.verb for note in rule.bench.store.audit.notes("e", n=10)] == ["add"]


@pytest.mark.parametrize("change", [{"shift_ms": 1_000}, {"text": "another"}])
def test_a_trigger_that_was_edited_is_armed_anew(rule: Rule, change: dict[str, object]) -> None:
    """It fires at other times from now on."""
    rule.publish(rule.entry(-10, 100))
    arm_next(rule)
    assert rule.publish(rule.entry(-5, 105, **change)) == ("e",)
    assert set() == rule.bench.live()
    assert rule.bench.store.registry.state("e").mark_ms < rule.now_ms + 5_000


def test_other_changes_take_effect_with_the_old_table(rule: Rule) -> None:
    """An edit of the queue is no reason to ask again."""
    old = rule.entry(-10, 100)
    rule.publish(old)
    assert rule.publish(rule.entry(-5, 105, queue="other")) == ("e",)
    assert ("other", old.schedule) == (rule.live.queue, rule.live.schedule)


def test_a_renewal_waits_until_half_of_the_table_is_used(rule: Rule) -> None:
    """Any beat may renew; the second one finds nothing to do."""
    rule.publish(rule.entry(-10, 100))
    renewed = rule.bench.store.loads.renew({"e"}, {"e": rule.entry(-5, 105)})
    assert ((), (), rule.now_ms + 45 * HOUR_MS + 2_500) == renewed


def test_a_renewal_changes_nothing_but_the_table(rule: Rule) -> None:
    """What has been edited in the files since waits for a load; the load's number and its mistakes stay."""
    old = rule.entry(-100, 50)
    rule.publish(old)
    info, armed = rule.bench.store.loads.info(), arm_next(rule)
    newer = rule.entry(-5, 145, queue="edited")
    assert rule.renew(newer) == ("e",)
    assert rule.renew(newer) == ()
    assert (old.queue, newer.schedule) == (rule.live.queue, rule.live.schedule)
    assert info == rule.bench.store.loads.info()
    assert {armed} == rule.bench.live()


@pytest.mark.parametrize("how", ["gone", "another rule", "shorter"])
def test_a_table_that_cannot_be_renewed_is_kept_and_asked_for_again(rule: Rule, how: str) -> None:
    """A broken file at that moment, or another beat's files: it stays good until its end, and there is time to mend."""
    old = rule.entry(-100, 50)
    rule.publish(old)
    newer = {"gone": None, "another rule": rule.entry(-5, 145, text="x"), "shorter": rule.entry(-5, 45)}[how]
    renewed = rule.bench.store.loads.renew({"e"}, {} if newer is None else {"e": newer})
    assert renewed[:2] == ((), ("e",))
    assert renewed.again_at_ms is not None
    assert 0 <= renewed.again_at_ms - rule.now_ms - HOUR_MS < 60_000
    assert old == rule.live


def test_a_renewal_that_disagrees_moves_on_from_now(rule: Rule) -> None:
    """A random trigger: what it says now holds, rather than nothing once the table is used up."""
    rule.publish(rule.entry(-100, 50))
    arm_next(rule)
    newer = rule.entry(-5, 145, shift_ms=1_000)
    assert rule.renew(newer) == ("e",)
    assert newer == rule.live
    assert set() == rule.bench.live()
