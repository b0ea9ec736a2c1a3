"""What people are told where a limit keeps a run out: who has the key, how full the queue is, and what can be done."""

from __future__ import annotations

import pytest

from scheduler.app import App
from scheduler.config import Config
from scheduler.errors import InvalidEntryError, QueueFullError
from scheduler.exchange import Queue
from scheduler.model import Overlap
from scheduler.store import Store
from scheduler.timing import every
from tests.integration.cli.conftest import Sched, make_entry, publish
from tests.support.bench import Bench

pytestmark = pytest.mark.redis

KEY = "86400000 reports.daily:acme"


@pytest.fixture
def bench(store: Store) -> Bench:
    """The workbench on the test's namespace, with a unique entry."""
    publish(store, make_entry("daily", unique=KEY, overlap=Overlap.ALLOW, schedule=every("1m").as_data()))
    return Bench(store, queue="reports")


@pytest.fixture
def shop(config: Config) -> App:
    """An app whose task bills one customer at a time."""
    app = App("shop", broker=config.redis_url, namespace=config.namespace)

    @app.task(unique="{customer}", unique_for="1h", queue="reports")
    def bill(customer: str, amount: int = 0) -> None: ...

    return app


def test_a_run_by_hand_is_refused_and_names_who_has_the_key(sched: Sched, bench: Bench) -> None:
    """Exit code 4; forced, it runs beside the other."""
    holder = sched("trigger", "daily", "-o", "json").data["id"]
    again = sched("trigger", "daily")
    assert again.code == 4
    assert f"run {holder} has its unique key (reports.daily:acme) and has not ended" in again.err
    assert f"sched cancel {holder}" in again.err
    assert sched("trigger", "daily", "--force").code == 0
    assert len(bench.live()) == 2
    shown = sched("show", "daily")
    assert "reports.daily:acme, for 1d at most" in shown.out
    assert sched("show", "daily", "-o", "json").data["options"]["unique"] == "reports.daily:acme"


def test_why_tells_who_had_the_key(sched: Sched, bench: Bench) -> None:
    """`sched why`, `sched runs`."""
    term = bench.win()
    holder = sched("trigger", "daily", "-o", "json").data["id"]
    bench.move_mark("daily", 3_600_000)
    now_ms = bench.now_ms
    in_ms = now_ms // 60_000 * 60_000 - now_ms
    bench.fired(term, "daily", in_ms=in_ms, late_limit_ms=3_600_000, now_ms=now_ms)
    bench.promote()
    told = sched("why", "daily")
    assert f"skipped (unique): run {holder} had its unique key, reports.daily:acme, and had not ended" in " ".join(
        told.out.split()
    )
    listed = sched("runs", "daily").out
    assert "skipped unique" in listed
    assert f"run {holder} had its unique key" in listed
    assert len(sched("runs", "--outcome", "unique", "-o", "json").data) == 1


def test_a_call_is_answered_with_the_run_that_has_its_key(shop: App, bench: Bench) -> None:
    """However its arguments are given; nothing is sent."""
    [bill] = shop.declarations.tasks.values()
    first = bill.delay("acme", 5)
    assert bill.delay(customer="acme").id == first.id
    other = bill.apply_async(("other",), countdown=60)
    assert other.id != first.id
    many = bill.apply_many([("acme",), ("third",), {"args": ("third", 3)}])
    assert [many[0].id, many[2].id] == [first.id, many[1].id]
    assert len(bench.live()) == 3
    session = bench.open()
    message = session.take(("reports",), 1).messages[0]
    assert message.id == first.id
    bench.finish(session, first.id, unique=f"3600000 {bill.name}:acme")
    assert bill.delay("acme").id != first.id


def test_a_call_by_name_may_say_its_key(sched: Sched, shop: App, bench: Bench) -> None:
    """Whoever has not the task's code says the key that its rule gives."""
    [bill] = shop.declarations.tasks.values()
    first = bill.delay("acme")
    said = sched("call", bill.name, "--unique", "acme", "--queue", "reports")
    assert said.code == 4
    assert f"run {first.id} has its unique key and has not ended" in said.err
    assert sched("call", bill.name, "--unique", "other", "--queue", "reports").code == 0
    assert shop.send_task(bill.name, ("x",), unique="acme").id == first.id
    assert len(bench.live()) == 2
    with pytest.raises(ValueError, match="expected text, the key of this run"):
        bill.apply_async(("acme",), unique="")


def test_a_full_queue_is_an_error_that_says_what_to_do(sched: Sched, shop: App, bench: Bench) -> None:
    """For programs and for people."""
    bench.store.limits.tell([Queue("reports", max_length=2)])
    [bill] = shop.declarations.tasks.values()
    with pytest.raises(QueueFullError) as caught:
        bill.apply_many([("a",), ("b",), ("c",)])
    full = caught.value
    assert (full.queue, full.length, full.length_max, len(full.sent), len(full.refused)) == ("reports", 2, 2, 2, 1)
    with pytest.raises(
        QueueFullError, match=r"queue 'reports' is full: 2 messages wait there, and its max_length is 2"
    ):
        bill.delay("d")
    said = sched("call", "reports.x", "--queue", "reports")
    assert said.code == 4
    assert "start more workers for it, or raise its max_length" in said.err
    assert sched("trigger", "daily").code == 4
    assert bench.live() == set(full.sent)


def test_why_tells_of_a_fire_that_found_its_queue_full(sched: Sched, bench: Bench) -> None:
    """`queue_full`."""
    term = bench.win()
    bench.calls(1)
    bench.store.limits.tell([Queue("reports", max_length=1)])
    bench.move_mark("daily", 3_600_000)
    now_ms = bench.now_ms
    bench.fired(term, "daily", in_ms=now_ms // 60_000 * 60_000 - now_ms, late_limit_ms=3_600_000, now_ms=now_ms)
    bench.promote()
    assert "skipped (queue_full): queue reports was full (max_length)" in " ".join(sched("why", "daily").out.split())


def test_an_entry_by_hand_has_a_key_that_can_be_edited(sched: Sched, bench: Bench, shop: App) -> None:
    """`sched add --unique`; a callable cannot be kept on Redis."""
    assert sched("add", "mine", "reports.x", "--every", "1h", "--kwargs", '{"c": "acme"}', "--unique", "{c}").code == 0
    assert sched("show", "mine", "-o", "json").data["options"]["unique"] == "reports.x:acme"
    assert sched("edit", "mine", "--unique", "no").code == 0
    assert sched("show", "mine", "-o", "json").data["options"]["unique"] is None
    bad = sched("edit", "mine", "--unique", "{d}")
    assert "no argument 'd' is given" in bad.err
    with pytest.raises(InvalidEntryError, match="a callable cannot be kept"):
        shop.entries.put("other", "reports.x", every("1h"), unique=lambda: "x")
    assert bench.live() == set()
