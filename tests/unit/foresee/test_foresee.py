"""Which fires come when, from definitions alone; the peer is the planner of the beat."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from typing import Any

import pytest

from scheduler.beat.plan import Plan
from scheduler.clock import to_ms
from scheduler.foresee import due as foresee
from scheduler.foresee.due import Foresight, Span, TooManyFiresError
from scheduler.foresee.load import crowds, load_of, reach_ms, spread
from scheduler.model import Catchup, Entry, EntryRecord, Overlap
from scheduler.timing import Schedule, crontab, every
from scheduler.wire import decode_header

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS


def ms(*moment: int) -> int:
    """A moment of UTC."""
    return to_ms(datetime(*moment, tzinfo=UTC))  # type: ignore[arg-type, misc]


FROM_MS = ms(2026, 3, 28)


def entry(name: str, when: Schedule, **options: Any) -> Entry:
    """A definition."""
    return Entry(name=name, task="t", schedule=when.as_data(), queue="q", **options)


def planned(one: Entry, span: Span) -> list[tuple[int, int]]:
    """What a leader would arm within *span*, as due time and start, with its horizon moved over the span."""
    plan = Plan(namespace="n", horizon_ms=HOUR_MS, late_limit_ms=HOUR_MS)
    plan.put(EntryRecord(one.name, one, f"1 {span.from_ms - 1}"), span.from_ms)
    fires = []
    for now_ms in range(span.from_ms, span.to_ms, HOUR_MS):
        while batch := plan.take(now_ms, 1_000):
            fires += [
                (decode_header(fire.body)[0].due_ms, fire.at_ms) for fire in batch.fires if fire.due_ms < span.to_ms
            ]
    return fires


@pytest.mark.parametrize("seed", range(20))
def test_what_is_foreseen_is_what_a_leader_arms(seed: int) -> None:
    """The simulation is only worth something if it agrees with the one that really fires."""
    chance = random.Random(seed)
    when = chance.choice(
        [
            crontab("*/7 2,3 * * *", tz="Europe/Berlin"),
            crontab("30 2 * * *", tz="America/New_York"),
            crontab("H * * * *", tz="UTC"),
            every("25m"),
            every(days=1, at="02:30", tz="Europe/Berlin"),
        ]
    )
    span = Span(FROM_MS, FROM_MS + 2 * DAY_MS)
    options: dict[str, Any] = {
        "jitter_ms": chance.choice([0, 90_000, 10 * DAY_MS]),
        "countdown_ms": chance.choice([0, 60_000]),
        "start_ms": chance.choice([None, FROM_MS + 5 * HOUR_MS]),
        "until_ms": chance.choice([None, FROM_MS + 30 * HOUR_MS]),
        "enabled": chance.random() < 0.9,
        "overlap": Overlap.ALLOW,
        "catchup": Catchup.ALL,
    }
    one = entry("e", when, **options)
    foresight = Foresight([one], span)
    found = list(zip(foresight.due_ms("e"), foresight.starts_ms("e"), strict=True))
    assert found == planned(one, span)


@pytest.mark.parametrize("until_ms", [None, FROM_MS + 5 * HOUR_MS])
def test_the_last_fire_of_a_span_has_the_jitter_that_it_will_have(until_ms: int | None) -> None:
    """Jitter ends at the next due time, which lies beyond the span for its last fire, and is none at the entry's end."""
    one = entry("e", every("1h"), jitter_ms=10 * DAY_MS, until_ms=until_ms)
    span = Span(FROM_MS, FROM_MS + 6 * HOUR_MS)
    foresight = Foresight([one], span)
    assert list(zip(foresight.due_ms("e"), foresight.starts_ms("e"), strict=True)) == planned(one, span)


def test_a_span_begins_with_its_first_moment_and_ends_before_its_last() -> None:
    """Two spans in a row share no fire and lose none."""
    foresight = Foresight([entry("e", every("1h"))], Span(FROM_MS, FROM_MS + 2 * HOUR_MS))
    assert list(foresight.due_ms("e")) == [FROM_MS, FROM_MS + HOUR_MS]


def test_what_ran_before_counts_towards_max_runs() -> None:
    """`max_runs` is a promise over an entry's life, not over the span that is looked at."""
    one = entry("e", every("1h"), max_runs=5)
    span = Span(FROM_MS, FROM_MS + DAY_MS)
    assert len(Foresight([one], span).due_ms("e")) == 5
    assert len(Foresight([one], span, fired={"e": 3}).due_ms("e")) == 2
    assert len(Foresight([one], span, fired={"e": 9}).due_ms("e")) == 0


def test_a_paused_fire_uses_up_no_run() -> None:
    """As in promotion: only what is promoted counts towards `max_runs`."""
    one = entry("e", every("1h"), max_runs=2)
    pause = Span(FROM_MS, FROM_MS + 3 * HOUR_MS)
    foresight = Foresight([one], Span(FROM_MS, FROM_MS + DAY_MS), pauses={"e": [pause]})
    assert list(foresight.due_ms("e")) == [FROM_MS + 3 * HOUR_MS, FROM_MS + 4 * HOUR_MS]


def test_what_would_start_after_it_expired_does_not_fire() -> None:
    """P8: the moment of expiry is compared with the start, so a countdown counts."""
    one = entry("e", every("1h"), expires_at_ms=FROM_MS + 2 * HOUR_MS + 30_000, countdown_ms=60_000)
    assert list(Foresight([one], Span(FROM_MS, FROM_MS + DAY_MS)).due_ms("e")) == [FROM_MS, FROM_MS + HOUR_MS]


def test_entries_with_one_schedule_share_its_due_times() -> None:
    """A year of a thousand entries takes seconds because each schedule is computed once."""
    entries = [entry(f"e{n}", every("1m")) for n in range(50)]
    foresight = Foresight(entries, Span(FROM_MS, FROM_MS + DAY_MS))
    assert len({id(foresight.due_ms(one.name)) for one in entries}) == 1


def test_too_many_fires_are_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """A slip such as every 100 ms over ten years must not fill the memory."""
    monkeypatch.setattr(foresee, "DUE_TIMES_MAX", 1_000)
    foresight = Foresight([entry("mad", every("100ms"))], Span(FROM_MS, FROM_MS + DAY_MS))
    with pytest.raises(TooManyFiresError, match=r"entry 'mad' \(every 100ms\): .* more than 1,000 times"):
        foresight.due_ms("mad")


# ── load ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_crowd_is_found_and_jitter_spreads_it() -> None:
    """Everything at midnight is what people write; they are to learn what it costs and what jitter would make of it."""
    midnight = [entry(f"nightly-{n:02}", crontab("0 0 * * *")) for n in range(40)]
    entries = [*midnight, entry("minutely", every("1m"))]
    span = Span(FROM_MS, FROM_MS + DAY_MS)
    foresight = Foresight(entries, span)
    load = load_of(foresight, span)
    assert load.peak == (FROM_MS, 41)
    assert load.starts == 40 + 24 * 60
    names = [one.name for one in entries]
    (crowd,) = crowds(foresight, load, names, n=3)
    assert (crowd.at_ms, len(crowd.names)) == (FROM_MS, 41)
    found = spread(foresight, crowd, names)
    assert found is not None
    assert (found.jitter_ms, found.second_before, found.minute_before) == (60_000, 41, 41)
    assert found.second_after < 8


def test_what_is_due_before_a_span_and_starts_within_it_is_its_load() -> None:
    """A countdown moves load; a histogram that begins now must show what is on its way."""
    one = entry("e", crontab("30 23 * * *"), countdown_ms=HOUR_MS)
    span = Span(FROM_MS, FROM_MS + DAY_MS)
    foresight = Foresight([one], Span(span.from_ms - reach_ms([one]), span.to_ms))
    assert load_of(foresight, span).per_minute == {(FROM_MS + HOUR_MS // 2) // 60_000: 1}


def test_buckets_cover_the_span_and_lose_nothing() -> None:
    """Whatever the width of the terminal, the bars add up to the load."""
    foresight = Foresight([entry("e", every("7m"))], span := Span(FROM_MS, FROM_MS + 3 * DAY_MS))
    load = load_of(foresight, span)
    for n in (1, 7, 80, 10_000):
        buckets = load.buckets(n)
        assert len(buckets) <= n
        assert sum(bucket.starts for bucket in buckets) == load.starts
        assert (buckets[0].from_ms, buckets[-1].from_ms + buckets[-1].width_ms >= span.to_ms) == (FROM_MS, True)
