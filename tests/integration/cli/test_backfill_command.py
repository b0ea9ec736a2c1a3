"""`sched backfill` and `app.entries.backfill`."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from scheduler.app import App
from scheduler.clock import from_ms, iso
from scheduler.config import Config
from scheduler.model import Overlap
from scheduler.store import Store
from scheduler.timing import every
from scheduler.who import who
from scheduler.wire import decode_header
from tests.integration.cli.conftest import Sched, make_entry, publish
from tests.support.bench import Bench

DAILY = every(days=1, at="09:00").as_data()


@pytest.fixture
def bench(store: Store) -> Bench:
    """The workbench on the test's namespace, with a daily entry."""
    publish(store, make_entry("daily", schedule=DAILY))
    return Bench(store, queue="reports")


def days(bench: Bench, n: int) -> tuple[str, str]:
    """From and to of a span with *n* due times, the last one some two days ago."""
    end = from_ms(bench.now_ms).replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=1)
    return (end - timedelta(days=n)).isoformat(), end.isoformat()


def start(sched: Sched, bench: Bench, n: int = 5, *options: str) -> Any:
    """A backfill; its JSON."""
    begin, end = days(bench, n)
    said = sched("backfill", "daily", "--from", begin, "--to", end, *options, "-o", "json")
    assert said.code == 0, said.err
    return said.data


def test_one_run_for_each_due_time_at_its_rate(sched: Sched, bench: Bench) -> None:
    """They are on Redis at once; the command does not wait for them."""
    made = start(sched, bench, 5, "--rate", "30/m", "--reason", "the figures were wrong")
    assert (made["count"], made["started"], made["rate_s"], made["by"]) == (5, 5, 0.5, who())
    asked_at, last_at = datetime.fromisoformat(made["asked_at"]), datetime.fromisoformat(made["last_starts_at"])
    assert (last_at - asked_at).total_seconds() == 8
    assert bench.store.queues.depths()["reports"].delayed == 5
    bodies = [bench.store.queues.body(id_) or b"" for id_ in bench.live()]
    dues_ms = sorted(decode_header(body)[0].due_ms for body in bodies)
    assert [from_ms(due_ms).hour for due_ms in dues_ms] == [9] * 5
    (note, *_) = bench.store.audit.notes("daily", n=3)
    assert (note.verb, note.reason) == ("backfill", "the figures were wrong")
    assert f"backfill {made['id']}: 5 due times from" in note.what


def test_its_runs_say_that_they_belong_to_it(sched: Sched, bench: Bench) -> None:
    """In the table, in the JSON, in the story of the due time."""
    made = start(sched, bench, 2, "--rate", "1000/s")
    session = bench.open("w1")
    until_ms = bench.now_ms + 20
    while bench.now_ms < until_ms:
        bench.promote()
    waiting = sched("runs", "--backfill", made["id"], "-o", "json").data
    assert [run["state"] for run in waiting] == ["PENDING", "PENDING"]
    assert waiting[0]["scheduled_for"] > waiting[1]["scheduled_for"]
    first, second = bench.take(session)
    running = sched("runs", "--backfill", made["id"], "-o", "json").data
    assert [run["state"] for run in running] == ["STARTED", "STARTED"]
    assert {run["id"] for run in running} == {first, second}
    assert {run["backfill"] for run in running} == {made["id"]}
    assert [run["lateness_s"] for run in running] == [None, None], "they are not late: they are another matter"
    due_ms = decode_header(bench.store.queues.body(first) or b"")[0].due_ms
    told = sched("why", "daily", iso(due_ms) or "", "-o", "json").data
    assert told["outcome"] == "none", "the entry was not in force then, whatever ran for it since"
    assert f"Backfill {made['id']} ran it as run {first}, which has not ended." in told["sentence"]
    assert f"backfill {made['id']} for" in sched("runs", "daily").out


def test_a_dry_run_starts_nothing(sched: Sched, bench: Bench) -> None:
    """And says all that would run."""
    data = start(sched, bench, 12, "--dry-run")
    assert (data["count"], len(data["fires"]), data["takes_s"]) == (12, 12, 11.0)
    begin, end = days(bench, 12)
    said = sched("backfill", "daily", "--from", begin, "--to", end, "--dry-run")
    assert "nothing was started" in said.out
    assert "…" in said.out
    assert bench.live() == set()
    assert bench.store.backfills.all() == []


def test_asking_again_is_told(sched: Sched, bench: Bench) -> None:
    """Idempotent while its runs live."""
    made = start(sched, bench, 3)
    begin, end = days(bench, 3)
    again = sched("backfill", "daily", "--from", begin, "--to", end)
    assert again.code == 4
    assert "each of these 3 due times has a run of an earlier backfill" in again.err
    begin, end = days(bench, 5)
    more = sched("backfill", "daily", "--from", begin, "--to", end, "-o", "json")
    assert (more.code, more.data["started"]) == (0, 2)
    assert "3 due times have a run of an earlier backfill" in more.err
    listed = sched("backfill", "--list", "-o", "json").data
    assert [(each["id"], each["runs"], each["left"]) for each in listed] == [
        (more.data["id"], 2, 2),
        (made["id"], 3, 3),
    ]
    assert made["id"] in sched("backfill", "--list").out


def test_a_whole_backfill_is_cancelled(sched: Sched, bench: Bench) -> None:
    """What runs already goes on, unless it is terminated."""
    made = start(sched, bench, 4, "--overlap", "queue", "--rate", "1000/s")
    until_ms = bench.now_ms + 20
    while bench.now_ms < until_ms:
        bench.promote()
    session = bench.open()
    (running,) = bench.take(session)
    said = sched("backfill", "--cancel", made["id"], "-o", "json")
    assert (said.code, said.data["cancelled"], said.data["requested"], said.data["left"]) == (0, 3, 1, 1)
    assert "1 of its runs is with a worker" in said.err
    assert session.renew().cancels == {running: False}
    bench.finish(session, running, entry="daily")
    bench.check_places()
    over = sched("backfill", "--cancel", made["id"])
    assert (over.code, "is over already" in over.err) == (4, True)
    nobody = sched("backfill", "--cancel", "nobody")
    assert (nobody.code, "there is no backfill 'nobody'" in nobody.err) == (3, True)
    notes = [note for note in bench.store.audit.notes("daily", n=9) if note.verb == "cancel"]
    assert [note.what for note in notes] == [f"backfill {made['id']}, of which 4 runs were left"]


def test_a_paused_entry_may_be_backfilled(sched: Sched, bench: Bench) -> None:
    """Whoever asks for it knows; the schedule stays paused."""
    bench.store.registry.pause("daily")
    assert start(sched, bench, 2)["started"] == 2


@pytest.mark.parametrize(
    ("args", "code", "complaint"),
    [
        (("daily",), 2, "--from says where it begins"),
        ((), 2, "say which entry"),
        (("daily", "--from", "2026-01-02", "--to", "2026-01-01"), 2, "it ends before it begins"),
        (("daily", "--from", "2d", "--to", "2099-01-01"), 2, "lies ahead"),
        (("nightly", "--from", "2d"), 3, "there is no entry 'nightly'"),
        (("daily", "--from", "2020-01-01 10:00", "--to", "2020-01-01 11:00"), 3, "has no due time"),
        (("daily", "--from", "2000-01-01", "--to", "2020-01-01"), 4, "7,305 due times"),
        (("daily", "--from", "0001-01-02", "--to", "2020-01-01"), 4, "10,000 or more due times"),
        (("daily", "--from", "2d", "--rate", "fast"), 2, "write it as 10/s"),
        (("daily", "--from", "2d", "--rate", "0"), 2, "rate 0"),
        (("daily", "--from", "2d", "--overlap", "replace"), 2, "replace"),
        (("daily", "--from", "soonish"), 2, "--from 'soonish' is not a moment"),
    ],
)
def test_what_cannot_be_is_refused(
    sched: Sched, bench: Bench, args: tuple[str, ...], code: int, complaint: str
) -> None:
    """P12: in one line, and nothing is started."""
    said = sched("backfill", *args)
    assert (said.code, said.out) == (code, "")
    assert complaint in said.err
    assert bench.live() == set()


def test_a_program_asks_as_people_do(bench: Bench, config: Config) -> None:
    """`app.entries.backfill`."""
    app = App(broker=config.redis_url, namespace=config.namespace)
    now = datetime.now(UTC)
    made = app.entries.backfill("daily", now - timedelta(days=4), now - timedelta(days=1), overlap="queue", rate=100)
    assert made is not None
    assert (made.count, made.overlap, made.by) == (3, Overlap.QUEUE, who())
    assert app.entries.backfill("daily", now - timedelta(days=4), now - timedelta(days=1)) is None
    assert bench.store.backfills.get(made.id) is not None
    with pytest.raises(ValueError, match="expected allow, queue or skip"):
        app.entries.backfill("daily", now - timedelta(days=4), overlap="never")
