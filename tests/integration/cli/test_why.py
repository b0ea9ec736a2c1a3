"""`sched why`: the sentences of the story, from what really stands on Redis."""

from __future__ import annotations

from typing import Any

import pytest

from scheduler.clock import iso
from scheduler.model import Overlap
from scheduler.store import Store
from scheduler.timing import every
from tests.integration.cli.conftest import Sched, make_entry, publish
from tests.support.bench import Bench, Term

HOUR_MS = 3_600_000
MINUTELY = every("1m").as_data()


@pytest.fixture
def bench(store: Store) -> Bench:
    """The workbench on the test's namespace."""
    return Bench(store, queue="reports")


@pytest.fixture
def term(bench: Bench) -> Term:
    """A leader's."""
    return bench.win()


def minute(bench: Bench, back: int) -> int:
    """How far the due time *back* minutes ago lies in the past, as `Bench.fired` wants it."""
    now_ms = bench.now_ms
    return now_ms // 60_000 * 60_000 - back * 60_000 - now_ms


def put(bench: Bench, **options: Any) -> None:
    """An entry that is due each minute, and was added two hours ago."""
    bench.store.registry.put(make_entry("daily", schedule=MINUTELY, args=b"[]", **options))
    bench.move_mark("daily", 2 * HOUR_MS)


def fired(bench: Bench, term: Term, back: int) -> int:
    """Arm and promote the fire of *back* minutes ago; its due time."""
    now_ms = bench.now_ms
    in_ms = now_ms // 60_000 * 60_000 - back * 60_000 - now_ms
    fire = bench.fired(term, "daily", in_ms=in_ms, next_in_ms=in_ms + 60_000, now_ms=now_ms, late_limit_ms=HOUR_MS)
    bench.promote()
    return fire.due_ms


def why(sched: Sched, due_ms: int) -> Any:
    """What is told of *due_ms*."""
    said = sched("why", "daily", iso(due_ms) or "", "-o", "json")
    assert said.code == 0, said.err
    return said.data


def test_a_run_is_followed_from_its_arming_to_its_end(sched: Sched, bench: Bench, term: Term) -> None:
    """P5: at each moment `why` knows where the message is."""
    put(bench)
    now_ms = bench.now_ms
    in_ms = now_ms // 60_000 * 60_000 + 60_000 - now_ms
    fire = bench.fire("daily", in_ms=in_ms, now_ms=now_ms)
    assert why(sched, fire.due_ms)["outcome"] == "coming"
    bench.arm(term, [fire])
    told = why(sched, fire.due_ms)
    assert (told["outcome"], told["run"]) == ("coming", fire.id)
    assert "is armed since" in told["sentence"]
    bench.call_redis("ZADD", bench.keys.delayed("reports"), now_ms, fire.id)
    bench.promote()
    assert "waits on queue reports (no worker takes from it)" in why(sched, fire.due_ms)["sentence"]
    session = bench.open("host-a")
    bench.take(session)
    assert "is with worker host-a" in why(sched, fire.due_ms)["sentence"]
    bench.finish(
        session,
        fire.id,
        entry="daily",
        due_ms=fire.due_ms,
        outcome="promoted",
        started_ms=fire.due_ms + 12,
        finished_ms=fire.due_ms + 40,
    )
    told = why(sched, fire.due_ms)
    assert (told["outcome"], told["state"], told["run"]) == ("promoted", "SUCCESS", fire.id)
    assert "(12ms late) and ended well at" in told["sentence"]


def test_an_overlap_names_the_run_that_was_in_the_way(sched: Sched, bench: Bench, term: Term) -> None:
    """The question that people ask most."""
    put(bench, overlap=Overlap.SKIP)
    first = fired(bench, term, 5)
    second = fired(bench, term, 4)
    fired(bench, term, 3)
    told = why(sched, second)
    assert told["outcome"] == "overlap"
    assert "as were all 2 due times" in told["sentence"]
    assert f"of {(iso(first) or '')[11:19]} has not ended yet" in told["sentence"]
    session = bench.open()
    (id_,) = bench.take(session)
    bench.finish(session, id_, entry="daily", due_ms=first, outcome="promoted", finished_ms=bench.now_ms)
    assert f"run {id_} of {(iso(first) or '')[11:19]} had not ended until" in why(sched, second)["sentence"]


def test_any_time_means_the_due_time_at_or_before_it(sched: Sched, bench: Bench, term: Term) -> None:
    """And in the future the one at or after it; people are told so."""
    put(bench)
    due_ms = fired(bench, term, 2)
    said = sched("why", "daily", iso(due_ms + 20_000) or "", "-o", "json")
    assert said.data["due"] == iso(due_ms)
    assert "is no due time of 'daily'; this is of the one before it" in said.err
    ahead = bench.now_ms // 60_000 * 60_000 + HOUR_MS
    assert sched("why", "daily", iso(ahead - 20_000) or "", "-o", "json").data["due"] == iso(ahead)


def test_without_a_time_the_last_and_the_next_due_time_are_told(sched: Sched, bench: Bench, term: Term) -> None:
    """Two sentences; for programs the second is `next`."""
    put(bench)
    due_ms = fired(bench, term, 0)
    said = sched("why", "dai")
    assert (said.code, len(said.out.splitlines())) == (0, 2)
    data = sched("why", "daily", "-o", "json").data
    assert data["due"] in {iso(due_ms), iso(due_ms + 60_000)}
    assert data["next"]["outcome"] == "coming"


def test_a_due_time_that_the_schedule_no_longer_has_is_known_from_its_record(
    sched: Sched, bench: Bench, term: Term
) -> None:
    """An edit does not rewrite what was."""
    put(bench)
    due_ms = fired(bench, term, 3)
    session = bench.open()
    (id_,) = bench.take(session)
    bench.finish(session, id_, entry="daily", due_ms=due_ms, outcome="promoted", finished_ms=due_ms + 5)
    entry = make_entry("daily", schedule=every("7d").as_data(), args=b"[]")
    bench.store.registry.put(entry)
    assert why(sched, due_ms)["run"] == id_
    publish(bench.store)
    said = sched("why", "daily", iso(due_ms) or "", "-o", "json")
    assert (said.data["outcome"], said.data["run"]) == ("promoted", id_), "also of a removed entry"
    assert "entry 'daily' was removed at" in said.err
    early = sched("why", "daily", iso(due_ms - HOUR_MS) or "")
    assert early.code == 3
    assert "nothing is known of entry 'daily' at that time; its oldest record is of" in early.err
    last = sched("why", "daily")
    assert (last.code, len(last.out.splitlines())) == (0, 1)


def test_what_happened_before_the_history_is_unknown_and_said_to_be(sched: Sched, bench: Bench, term: Term) -> None:
    """The rings are bounded; no story is made up."""
    put(bench)
    line = b'{"id":"x","entry":"daily","state":"SUCCESS","due_ms":%d,"finished_ms":%d}'
    start_ms = bench.now_ms // 60_000 * 60_000 - HOUR_MS
    own = [line % (start_ms + i * 60_000, start_ms + i * 60_000 + 9) for i in range(20)]
    bench.call_redis("RPUSH", bench.keys.entry_runs("daily"), *own)
    bench.call_redis("RPUSH", bench.keys.runs, *[b'{"id":"y","finished_ms":%d}' % start_ms] * 10_000)
    bench.move_mark("daily", 60_000)
    bench.call_redis("DEL", bench.keys.audit)
    told = why(sched, start_ms - 30 * 60_000)
    assert told["outcome"] == "unknown"
    assert "is no longer in the history, which goes back to" in told["sentence"]


@pytest.mark.parametrize(
    ("args", "code", "complaint"),
    [
        (("nobody",), 3, "there is no entry 'nobody'"),
        (("daily", "soonish"), 2, "TIME 'soonish' is not a moment"),
        (("once", "2h"), 3, "has no due time before"),
    ],
)
def test_what_cannot_be_told_is_refused(
    sched: Sched, bench: Bench, args: tuple[str, ...], code: int, complaint: str
) -> None:
    """P12."""
    put(bench)
    far = every(days=1, at="09:00", anchor="2036-01-01").as_data()
    bench.store.registry.put(make_entry("once", schedule=far))
    said = sched("why", *args)
    assert (said.code, said.out) == (code, "")
    assert complaint in said.err
