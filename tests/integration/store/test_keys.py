"""Every key has a lifetime, or is on the short list of keys that live for ever (`scheduler/store/keys.py`)."""

from __future__ import annotations

import fnmatch
import re

import pytest

from scheduler.alarm import Alert, Kind
from scheduler.errors import ResultTimeoutError
from scheduler.exchange import Queue
from scheduler.model import Overlap, Skip
from scheduler.store import keys as page
from scheduler.store.orders import Answer, Verb, WorkerState, encode_state, new_order
from scheduler.store.presence import BeatInfo
from scheduler.wire import decode_header
from tests.support.bench import HOUR_MS, Bench

pytestmark = pytest.mark.redis


TOKENS = ("q:*:wake", "q:*:levels", "beats", "nudge", "baton")
"""Bounded by the number of queues and of beats."""


def patterns(heading: str) -> list[str]:
    """What the page says under *heading*, as patterns for `fnmatch`."""
    section = (page.__doc__ or "").split(heading, 1)[1].split("\n\n", 2)[1]
    names = re.findall(r"^    \{ns\}:(\S+)", section, re.MULTILINE)
    assert names
    return [re.sub(r"(?<=:)[A-Z]+\b|\bID\b", "*", name.replace("[:P]", "*")) for name in names]


def everything(bench: Bench) -> None:
    """A scenario that touches every script, and leaves nothing undone behind."""
    store = bench.store
    term = bench.win()
    for overlap in Overlap:
        bench.put(f"e{overlap}", overlap=overlap)
    bench.put("gone")
    store.registry.pause("e0", until_ms=bench.now_ms + HOUR_MS)
    store.registry.resume("e0")
    store.registry.pause("e1")
    store.registry.skip("e0", reason="holiday")
    store.registry.pause_all(tag="nobody's")
    session, dying = bench.open(), bench.open()
    for ago_ms in (5_000, 4_000, 3_000):
        for overlap in Overlap:
            bench.fired(term, f"e{overlap}", in_ms=-ago_ms) if overlap != 1 else None
        bench.promote()
    state = store.registry.state("e0")
    bench.arm(term, [], [Skip("e0", state.state, "missed", 1, state.mark_ms + 1, 3, state.mark_ms + 1)])
    store.presence.show(BeatInfo(id="b", name="b", host="h", pid=1, version="1", tzdata="1", role="leader", load=1))
    store.limits.tell((Queue("bounded", max_length=9),))
    store.loads.publish({"gone": bench.entry("gone")}, clean=False, mistakes=("x",), by="b")
    store.loads.request_reload()
    failing, dead, retried, cancelled, lost, delayed, purged = bench.calls(7, priority=1)
    bench.take(session, 3)
    bench.take(dying, 4)
    bench.calls(3, in_ms=HOUR_MS)
    body = store.queues.body(retried)
    bench.finish(session, failing, state="FAILURE")
    bench.finish(session, dead, state="FAILURE", dead=True)
    if body:
        session.retry(retried, body, delay_ms=0, attempt=2, result=b"{}", ttl_ms=1_000)
    store.queues.cancel(cancelled)
    bench.backfill(3, name="e2")
    bench.promote()
    store.sessions.reclaim(dying.id, store.sessions.observe()[dying.id])
    store.leadership.renew(term.number, term.holder, tick_age_ms=0, caught_up=1)
    with pytest.raises(ResultTimeoutError):
        store.results.wait(lost, 0.01)
    while messages := session.take(["q"], 1_000).messages:
        for message in messages:
            bench.finish(session, message.id, entry=decode_header(message.body)[0].entry)
    store.queues.purge("q")
    assert delayed
    assert purged
    alert = Alert(id="1", kind=Kind.TEST, text="x", at_ms=bench.now_ms)
    store.alerts.settle(alert, ("https://one", "https://other"))
    sent, failed = store.alerts.collect().parcels
    store.alerts.sent(sent, sent.items, again_ms=None)
    store.alerts.sent(failed, failed.items, again_ms=1)
    store.loads.publish({}, clean=True, mistakes=(), by="b")
    given = store.orders.give(new_order(Verb.RESUME), [session.id])
    (order,) = session.renew(encode_state(WorkerState())).orders
    store.orders.answer(order, session.id, Answer(done=True, text="resumed"))
    assert store.orders.wait(given, 1.0).answers
    store.orders.give(new_order(Verb.STOP), [session.id])
    session.close()
    store.leadership.resign(term.number, term.holder)


def test_every_key_has_a_lifetime_or_is_on_the_short_list(bench: Bench) -> None:
    """Nothing grows for ever but by entries, queues and live processes."""
    everything(bench)
    bounded = [name for name in patterns("With a bound") if "*" not in name]  # those of an entry end with it
    known = (*patterns("For ever"), *bounded, *TOKENS)
    left = {}
    for key in bench.all_keys():
        name = key.removeprefix(bench.keys.prefix)
        if bench.call_redis("PTTL", key) < 0 and not any(fnmatch.fnmatchcase(name, pattern) for pattern in known):
            left[name] = bench.call_redis("TYPE", key)
    assert left == {}
    assert bench.live() == set()


def test_the_page_names_every_key(bench: Bench) -> None:
    """A new key has its line there, with type and lifetime."""
    everything(bench)
    bench.call()
    bench.take(bench.open())
    bench.backfill(2)
    bench.promote()
    headings = ("For ever", "As long as a message lives", "As long as a process lives", "With a bound")
    known = [pattern for heading in headings for pattern in patterns(heading)]
    names = [key.removeprefix(bench.keys.prefix) for key in bench.all_keys()]
    assert [name for name in names if not any(fnmatch.fnmatchcase(name, pattern) for pattern in known)] == []


def test_all_keys_of_a_namespace_share_one_hash_tag(bench: Bench) -> None:
    """So every script touches one slot of a Redis Cluster; and no key is outside the namespace."""
    everything(bench)
    tag = f"{{{bench.keys.namespace}}}"
    foreign = [
        key for key in bench.call_redis("KEYS", f"*{bench.keys.namespace}*") if not key.decode().startswith(tag + ":")
    ]
    assert foreign == []
