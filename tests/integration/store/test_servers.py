"""Every script on every server that we promise to work with."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.resources import files
from uuid import uuid4

import pytest

from scheduler.alarm import Alert, Kind
from scheduler.config import Config
from scheduler.exchange import Queue
from scheduler.model import Overlap, Skip
from scheduler.rate import Rate
from scheduler.store import Store, open_store
from scheduler.store.orders import Answer, Verb, WorkerState, encode_state, new_order
from scheduler.store.presence import BeatInfo
from scheduler.store.queues import Full, Unique
from scheduler.store.sessions import Way, WorkerInfo
from tests.support.bench import HOUR_MS, Bench

pytestmark = pytest.mark.redis


@pytest.fixture(params=["valkey", "redis"])
def anywhere(request: pytest.FixtureRequest) -> Iterator[Bench]:
    """A workbench on the embedded Valkey, and on Debian's Redis."""
    server = request.getfixturevalue("server" if request.param == "valkey" else "debian_redis")
    store = open_store(Config(redis_url=server.url, namespace=f"t{uuid4().hex[:12]}"))
    yield Bench(store)
    store.close()


def test_every_script_does_its_work(anywhere: Bench) -> None:
    """One story that runs them all; what each must do is told in its own file."""
    bench, store = anywhere, anywhere.store
    ran = _watch(store)
    store.limits.tell([Queue("q", max_length=1_000, concurrency=100)])
    for overlap in Overlap:
        bench.put(f"e{overlap}", overlap=overlap, max_runs=50)
    store.registry.pause("e0", until_ms=bench.now_ms + HOUR_MS)
    store.registry.resume("e0")
    old, term = bench.win(), bench.win()
    assert old != term
    for ago_ms in (3_000, 2_000):
        for overlap in Overlap:
            bench.fired(term, f"e{overlap}", in_ms=-ago_ms)
        bench.promote()
    state = store.registry.state("e0")
    bench.arm(term, [], [Skip("e0", state.state, "missed", 1, state.mark_ms + 1, 3, state.mark_ms + 1)])
    store.leadership.renew(term.number, term.holder, tick_age_ms=3, caught_up=2)
    store.presence.show(BeatInfo(id="b", name="b", host="h", pid=1, version="1", tzdata="1", role="x", load=1))
    ids = bench.calls(20, priority=3)
    bench.calls(20, in_ms=HOUR_MS)
    store.queues.enqueue([bench.message()._replace(body=b"\x01" + b"\xff" * 90)], call_id="x")
    message = bench.message(entry="e1", overlap=Overlap.SKIP)
    assert not store.queues.trigger(message, entry="e1", force=False, call_id="t").ok
    assert store.queues.trigger(message, entry="e1", force=True, call_id="u").ok
    assert bench.calls(1, unique="60000 t.x:k", in_ms=HOUR_MS)
    assert len(bench.backfill(2, name="e1", in_ms=HOUR_MS)) == 2
    session, dying = bench.open(), bench.open()
    taken = bench.take(session, 10)
    assert taken == ids[:10]
    bench.take(dying, 5)
    store.results.put_state(taken[2], "PROGRESS", b"1", 60_000)
    bench.finish(session, taken[0], state="FAILURE")
    bench.finish(session, taken[1], state="FAILURE", dead=True)
    assert store.dead.forget([taken[1]]) == 1
    body = store.queues.body(taken[2])
    assert body
    session.retry(taken[2], body, delay_ms=-1, attempt=2, result=b'{"state":"RETRY"}')
    session.release(taken[3:5], delay_ms=50)
    session.release([taken[5]], lost=True)
    store.queues.cancel(taken[6], terminate=True)
    store.queues.cancel(ids[-1])
    given = store.orders.give(new_order(Verb.RESUME), [session.id])
    renewed = session.renew(encode_state(WorkerState()))
    assert renewed.cancels == {taken[6]: True}
    assert renewed.orders == [given.order]
    store.orders.answer(given.order, session.id, Answer(done=True, text="resumed"))
    assert store.orders.wait(given, 1.0).answers
    session.reconcile(taken[7:])
    store.sessions.reclaim(dying.id, store.sessions.observe()[dying.id])
    bench.check_places()
    session.close()
    store.queues.purge("q")
    bench.check_places()
    assert store.alerts.settle(Alert(id="1", kind=Kind.TEST, text="x", at_ms=bench.now_ms), ("https://example.com/x",))
    (parcel,) = store.alerts.collect().parcels
    assert store.alerts.sent(parcel, parcel.items, again_ms=None)
    store.loads.publish({}, clean=True, mistakes=(), by="b")
    store.leadership.resign(term.number, term.holder)
    assert bench.live() == set()
    assert store.queues.depths()["q"] == (0, 0, 0)
    assert ran == _entry_points()


def test_limits_are_kept_anywhere(anywhere: Bench) -> None:
    """Rates, runs at once, bounds, unique keys: what each means is told in its own file."""
    bench, store = anywhere, anywhere.store
    store.limits.tell([Queue("q", max_length=8, concurrency=2)])
    limited = store.sessions.open(WorkerInfo(name="w"), way=Way(rates={"t.slow": Rate(1, 3_600)}, priority_turns=2))
    slow, ids = bench.calls(3, task="t.slow"), bench.calls(4, priority=1)
    unique = bench.call(unique="60000 t.x:k")
    assert store.queues.enqueue([bench.message(unique="60000 t.x:k")], call_id="a").refusals == {0: Unique(unique)}
    assert store.queues.enqueue([bench.message()], call_id="b").refusals == {0: Full(8, 8)}
    assert bench.take(limited, 1) == ids[:1]
    assert bench.take(limited, 5) == slow[:1], "the turn of another priority"
    assert bench.take(limited, 5) == [], "two run at once"
    bench.finish(limited, slow[0])
    bench.take(limited, 5)
    assert store.queues.depths(["q"])["q"] == (5, 0, 2)
    bench.check_places()
    store.limits.tell([Queue("q")])
    assert store.queues.purge("q") == 5


def test_the_largest_batches_pass(anywhere: Bench) -> None:
    """What `unpack` has room for differs with how a server was built."""
    bench = anywhere
    ids = bench.calls(9_000)
    session = bench.open()
    for _ in range(9):
        bench.take(session, 1_000)
    session.finish([bench.outcome(id_) for id_ in ids[:1_000]])
    session.release(ids[1_000:9_000])
    assert bench.live() == set(ids[1_000:])
    bench.check_places()
    bench.calls(1_000, in_ms=-5)
    assert bench.promote() == 500
    session.close()


def _watch(store: Store) -> set[str]:
    """The names of the scripts that are run from now on."""
    run, ran = store.connection.run, set()

    def note(name: str, *args: object, **options: object) -> object:
        ran.add(name)
        return run(name, *args, **options)  # type: ignore[arg-type]

    store.connection.run = note  # type: ignore[method-assign]
    return ran


def _entry_points() -> set[str]:
    """The Lua files that nobody includes."""
    texts = {
        file.name.removesuffix(".lua"): file.read_text() for file in files("scheduler.store").joinpath("lua").iterdir()
    }
    included = {
        name
        for text in texts.values()
        for line in text.splitlines()
        if line.startswith("--@include")
        for name in line.split()[1:]
    }
    return set(texts) - included
