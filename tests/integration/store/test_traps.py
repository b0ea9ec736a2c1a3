"""The traps of the design (section 10) that live in the store, by their numbers. Traps of processes are in `tests/faults`."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import msgspec
import pytest

from scheduler.beat.plan import Plan
from scheduler.config import Config
from scheduler.model import Catchup, Entry, Overlap, Skip
from scheduler.store import Store, open_store
from scheduler.store.loads import Published
from scheduler.store.queues import NewMessage
from scheduler.timing import crontab
from scheduler.watch import Watch
from scheduler.wire import new_id
from tests.support.bench import HOUR_MS, Bench

pytestmark = pytest.mark.redis


@pytest.mark.parametrize("change", ["pause", "schedule", "args", "remove", "remove and add"])
def test_trap_1_an_arm_planned_before_a_change_arrives_after_it(bench: Bench, change: str) -> None:
    """The revision differs, whatever happened to the mark."""
    bench.put()
    fire, term = bench.fire(in_ms=60_000), bench.win()
    if change == "pause":
        bench.store.registry.pause("e")
    elif change == "schedule":
        bench.put(period="2h")
    elif change == "args":
        bench.put(args=msgspec.Raw(b"[1]"))
    else:
        bench.store.loads.publish({}, clean=True, mistakes=(), by="t")
        if change == "remove and add":
            bench.put()
    answer = bench.arm(term, [fire])
    assert (answer.armed, answer.stale) == (0, ["e"])
    assert bench.live() == set()


def test_trap_2_an_edit_lands_between_due_and_promotion(bench: Bench) -> None:
    """Only what is due later is withdrawn; what is due goes on with its old bytes, once."""
    each_second = crontab("* * * * * *").as_data()
    bench.put(schedule=each_second, countdown_ms=1_500)
    term = bench.win()
    bench.move_mark("e", 5_000)
    now_ms = bench.now_ms
    fire = bench.fire(in_ms=now_ms // 1_000 * 1_000 - now_ms, now_ms=now_ms)
    assert bench.arm(term, [fire]).armed == 1
    assert fire.due_ms <= bench.now_ms < fire.at_ms
    record = bench.put(schedule=crontab("0 0 1 1 *").as_data(), countdown_ms=1_500)
    assert record.mark_ms >= fire.due_ms, "the new schedule does not fire it again"
    while not (taken := bench.take(bench.open())):
        pass
    assert taken == [fire.id]
    assert bench.store.registry.counts("e") == {"promoted": 1}


def test_trap_3_redis_clock_steps_back_and_an_edit_moves_the_mark(bench: Bench) -> None:
    """The mark never falls below the last promoted due time: what has run does not run again."""
    bench.put(overlap=Overlap.ALLOW)
    term = bench.win()
    fire = bench.fired(term, in_ms=-50)
    bench.promote()
    # The clock goes back a minute: what was promoted lies in the future.
    later_ms = bench.now_ms + 60_000
    bench.call_redis("HSET", bench.keys.promoted, "e", f"{later_ms} 1")
    record = bench.put(period="2h", overlap=Overlap.ALLOW)
    assert record.mark_ms == later_ms
    assert bench.arm(term, [bench.fire(in_ms=30_000)]).armed == 0, "the stretch that is repeated does not fire again"
    assert fire.id in bench.live()


def test_trap_4_old_and_new_files_on_two_beats(bench: Bench, config: Config) -> None:
    """The newest load wins; a restart is a load, leading is not."""
    other = open_store(config)
    old, new = {"e": bench.entry()}, {"e": bench.entry(period="2h")}
    first = bench.store.loads.publish(old, clean=True, mistakes=(), by="old")
    second = other.loads.publish(new, clean=True, mistakes=(), by="new")
    assert second.load > first.load
    assert bench.store.registry.state("e").entry == new["e"]
    info = bench.store.loads.info()
    assert (info.number, info.by) == (second.load, "new")
    other.close()


def test_trap_4_loads_at_the_same_time_leave_one_of_them(bench: Bench, config: Config) -> None:
    """Two beats start at once: what stands is one load as a whole, the one with the higher number."""
    for _ in range(10):
        stores = [open_store(config) for _ in range(2)]
        loads = [{f"e{i}": bench.entry(f"e{i}", period) for i in range(5)} for period in ("1h", "2h")]
        with ThreadPoolExecutor(2) as pool:
            published = list(pool.map(_publish, stores, loads))
        winner = max(range(2), key=lambda i: published[i].load)
        assert not published[winner].superseded
        assert {record.name: record.entry for record in bench.store.registry.all()} == loads[winner]
        for store in stores:
            store.close()


def test_trap_4_a_restarted_beat_whose_file_has_a_syntax_error(bench: Bench) -> None:
    """Entries disappear only through a clean load."""
    bench.store.loads.publish({"a": bench.entry("a"), "b": bench.entry("b")}, clean=True, mistakes=(), by="x")
    published = bench.store.loads.publish({"a": bench.entry("a")}, clean=False, mistakes=("b.py:1: …",), by="x")
    assert published.kept == ("b",)
    assert bench.store.registry.get("b") is not None


def test_trap_5_no_session_expires_by_an_outage_or_by_a_step_of_redis_clock(bench: Bench) -> None:
    """Neither is any of its keys given a time to live."""
    session = bench.open()
    bench.calls(2)
    bench.take(session)
    keys = [bench.keys.sessions, bench.keys.held(session.id), bench.keys.session_info(session.id)]
    assert [bench.call_redis("PTTL", key) for key in keys] == [-1, -1, -1]
    watch: Watch[str, int] = Watch(5.0)
    watch.look(bench.store.sessions.observe(), 0.0)
    assert watch.look(bench.store.sessions.observe(), 60.0) == []


def test_trap_6_a_failover_loses_a_take_and_the_worker_notices(bench: Bench) -> None:
    """The counter is not what it remembers."""
    id_ = bench.call()
    session = bench.open()
    before = bench.dump()
    bench.take(session)
    _restore(bench, before)
    assert session.renew().went_back
    assert session.reconcile([id_]).adopted == [id_]
    bench.finish(session, id_)
    assert bench.live() == set()


def test_trap_6_a_failover_loses_a_take_and_another_worker_was_faster(bench: Bench) -> None:
    """The first one stops: it is somebody else's now."""
    id_ = bench.call()
    session, other = bench.open(), bench.open()
    before = bench.dump()
    bench.take(session)
    _restore(bench, before)
    assert bench.take(other) == [id_]
    assert session.reconcile([id_]).abandoned == [id_]
    assert session.finish([bench.outcome(id_)]).refused == [id_]
    bench.finish(other, id_)
    assert bench.store.history.runs(state="SUCCESS")[0].id == id_


def test_trap_6_a_failover_loses_a_finish(bench: Bench) -> None:
    """The message does not stay in flight for ever, nor does it block its slot."""
    bench.put(overlap=Overlap.SKIP)
    term = bench.win()
    fire = bench.fired(term, in_ms=-4_000)
    session = bench.open()
    bench.take(session)
    before = bench.dump()
    bench.finish(session, fire.id, entry="e")
    _restore(bench, before)
    assert session.renew().went_back
    assert session.reconcile([]).released == [fire.id]
    assert bench.take(session) == [fire.id]
    bench.finish(session, fire.id, entry="e")
    bench.fired(term, in_ms=-1_000)
    bench.promote()
    assert bench.store.registry.counts("e") == {"promoted": 2}


def test_trap_6_a_failover_loses_an_arm(bench: Bench) -> None:
    """P11: the leader is told by the counter, reads the marks, and arms again; nothing is armed twice."""
    bench.put()
    term = bench.win()
    before = bench.dump()
    fire = bench.fire(in_ms=60_000)
    counter = bench.arm(term, [fire]).counter
    _restore(bench, before)
    assert bench.store.leadership.renew(term.number, term.holder, tick_age_ms=0).counter <= counter
    assert bench.arm(term, [fire]).armed == 1
    assert bench.live() == {fire.id}


def test_trap_7_a_run_backing_off_holds_its_slot(bench: Bench) -> None:
    """It has not ended."""
    bench.put(overlap=Overlap.SKIP)
    term = bench.win()
    fire = bench.fired(term, in_ms=-4_000)
    session = bench.open()
    bench.take(session)
    session.retry(fire.id, fire.body, delay_ms=HOUR_MS, attempt=2)
    bench.fired(term, in_ms=-1_000)
    bench.promote()
    assert bench.store.registry.counts("e") == {"promoted": 1, "overlap": 1}


def test_trap_7_an_early_acknowledged_run_whose_worker_died_frees_its_slot(bench: Bench) -> None:
    """It ends as lost, by whoever reclaims the session."""
    bench.put(overlap=Overlap.SKIP, ack="early")
    term = bench.win()
    fire = bench.fired(term, in_ms=-4_000)
    session = bench.open()
    bench.take(session)
    bench.store.sessions.reclaim(session.id, bench.store.sessions.observe()[session.id])
    assert bench.hash(bench.keys.slots) == {}
    assert bench.store.results.state(fire.id) == "FAILURE"
    newer = bench.fired(term, in_ms=-1_000)
    assert bench.take(bench.open()) == [newer.id]


def test_trap_8_two_threads_of_one_producer_one_of_which_repeats(bench: Bench) -> None:
    """Call ids, not sequences: the one that repeats cannot be taken for the other."""
    batches = [[bench.message() for _ in range(5)] for _ in range(40)]
    repeated = threading.Barrier(2)

    def produce(some: list[list[NewMessage]]) -> None:
        repeated.wait()
        for batch in some:
            call_id = new_id()
            for _ in range(3):
                assert bench.store.queues.enqueue(batch, call_id=call_id) == [True] * 5

    threads = [threading.Thread(target=produce, args=(batches[i::2],)) for i in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    taken = bench.take(bench.open(), 1_000)
    assert sorted(taken) == sorted(message.id for batch in batches for message in batch)


def test_trap_9_a_year_of_missed_seconds_is_one_range_and_one_call(bench: Bench) -> None:
    """From the plan to the record."""
    bench.put(schedule=crontab("* * * * * *").as_data())
    bench.move_mark("e", 365 * 24 * HOUR_MS)
    now_ms = bench.now_ms
    plan = Plan(namespace=bench.keys.namespace, horizon_ms=15_000, late_limit_ms=15_000)
    plan.put(bench.store.registry.state("e"), now_ms)
    batch = plan.take(now_ms, 250)
    assert len(batch.skips) == 1
    assert len(batch.fires) <= 32
    assert bench.arm(bench.win(), batch.fires, batch.skips).stale == []
    (run,) = bench.store.history.runs("e")
    assert run.to_ms - run.due_ms > 364 * 24 * HOUR_MS


@pytest.mark.parametrize("catchup", [Catchup.NONE, Catchup.LATEST])
def test_trap_11_armed_and_unarmed_fires_obey_the_same_policy(bench: Bench, catchup: Catchup) -> None:
    """Redis is away from ten seconds before a due time to forty minutes after it; one was armed, one was not."""
    away_ms = 40 * 60_000
    for name in ("armed", "unarmed"):
        bench.put(name, catchup=catchup)
        bench.move_mark(name, away_ms + 10_000)
    term = bench.win()
    assert bench.arm(term, [bench.fire("armed", in_ms=-away_ms, next_in_ms=20 * 60_000)]).armed == 1
    if catchup is Catchup.LATEST:
        assert bench.arm(term, [bench.fire("unarmed", in_ms=-away_ms, next_in_ms=20 * 60_000)]).armed == 1
    else:
        state = bench.store.registry.state("unarmed")
        due_ms = bench.now_ms - away_ms
        bench.arm(term, [], [Skip("unarmed", state.state, "missed", due_ms, due_ms, 1, due_ms)])
    bench.promote()
    outcomes = {name: bench.store.registry.counts(name) for name in ("armed", "unarmed")}
    assert outcomes["armed"] == outcomes["unarmed"]
    assert sum(outcomes["armed"].values()) == 1


def test_trap_12_poison_ends_and_its_batch_lives(bench: Bench) -> None:
    """A message that kills whoever takes it: after five deaths it is a dead letter; the others run."""
    poison, *innocent = bench.calls(4)
    done: list[str] = []
    deaths = 0
    while bench.live():
        session = bench.open()
        ids = bench.take(session)
        if poison in ids:
            deaths += 1
            bench.store.sessions.reclaim(session.id, bench.store.sessions.observe()[session.id])
            continue
        for id_ in ids:
            bench.finish(session, id_)
            done.append(id_)
        session.close()
    assert deaths == 5
    assert sorted(done) == sorted(innocent)
    assert [letter.id for letter in bench.store.queues.dead()] == [poison]
    bench.check_places()


def _publish(store: Store, entries: dict[str, Entry]) -> Published:
    return store.loads.publish(entries, clean=True, mistakes=(), by="x")


def _restore(bench: Bench, dump: dict[str, object]) -> None:
    """What a failover does that lost what came after *dump*."""
    for key in bench.all_keys():
        bench.call_redis("DEL", key)
    for key, value in dump.items():
        if isinstance(value, dict):
            bench.call_redis("HSET", key, *[item for pair in value.items() for item in pair])
        elif isinstance(value, set):
            bench.call_redis("SADD", key, *value)
        elif isinstance(value, bytes):
            bench.call_redis("SET", key, value)
        elif isinstance(value, list) and (key.endswith((":delayed", ":changes", ":dead", ":waited"))):
            bench.call_redis("ZADD", key, *[item for i in range(0, len(value), 2) for item in (value[i + 1], value[i])])
        elif isinstance(value, list):
            bench.call_redis("RPUSH", key, *value)
