"""How a beat comes to lead, and how a reign ends."""

from __future__ import annotations

import time

import pytest

from scheduler.beat.election import Candidate, Won, newer_beats
from scheduler.beat.reign import TRUST_MARGIN, Reign
from scheduler.server_clock import ServerClock
from scheduler.store import Store
from scheduler.store.presence import BeatInfo
from tests.support.bench import Bench
from tests.support.wait import wait_until

pytestmark = pytest.mark.redis

LEASE_S = 0.6


def candidate(store: Store, holder: str) -> Candidate:
    """A beat that may lead, with a short lease."""
    return Candidate(store, holder=holder, name=holder, lease_s=LEASE_S)


def reign(store: Store, won: Won, holder: str, *, lease_s: float = 5.0, stall_s: float = 4.0) -> Reign:
    """The term that *holder* has won."""
    return Reign(
        store, won, holder=holder, lease_s=lease_s, stall_s=stall_s, clock=ServerClock(), on_change=lambda: None
    )


def win(store: Store, holder: str) -> Won:
    """The first term."""
    won = candidate(store, holder).try_to_win()
    assert won is not None
    return won


def test_the_first_beat_wins_and_the_second_follows(store: Store) -> None:
    """P3."""
    assert win(store, "a").number == 1
    assert candidate(store, "b").try_to_win() is None


def test_a_leader_that_renews_is_never_overtaken(store: Store) -> None:
    """P6 for leaders: however long it leads."""
    won = win(store, "a")
    follower = candidate(store, "b")
    until = time.monotonic() + 3 * LEASE_S
    while time.monotonic() < until:
        store.leadership.renew(won.number, "a", tick_age_ms=0)
        assert follower.try_to_win() is None
        time.sleep(LEASE_S / 10)


def test_a_leader_that_stands_still_is_overtaken_after_its_lease(store: Store) -> None:
    """P4: and not before."""
    win(store, "a")
    follower = candidate(store, "b")
    began = time.monotonic()
    won = None
    while won is None:
        won = follower.try_to_win()
        time.sleep(LEASE_S / 10)
    assert LEASE_S <= time.monotonic() - began < 3 * LEASE_S
    assert won.number == 2
    assert store.leadership.history()[0].reason == "the leader stood still"


def test_a_follower_that_could_not_look_starts_anew(store: Store) -> None:
    """Trap 5: an outage deposes nobody."""
    win(store, "a")
    follower = candidate(store, "b")
    assert follower.try_to_win() is None
    time.sleep(LEASE_S * 1.5)
    assert follower.try_to_win() is None


def test_a_resigned_term_is_taken_at_once(store: Store) -> None:
    """P4: SIGTERM costs milliseconds."""
    won = win(store, "a")
    follower = candidate(store, "b")
    assert follower.try_to_win() is None
    store.leadership.resign(won.number, "a")
    taken = follower.try_to_win()
    assert taken is not None
    assert taken.number == 2


def test_one_that_rests_lets_others_stand_first(store: Store) -> None:
    """It was asked to step down, or could not do the work."""
    resting = candidate(store, "a")
    resting.rest(60)
    assert resting.try_to_win() is None
    assert candidate(store, "b").try_to_win() is not None


def test_an_emptied_redis_gets_a_higher_term(store: Store) -> None:
    """P11: numbers only grow."""
    beat = candidate(store, "a")
    assert beat.try_to_win() is not None
    store.connection.call("DEL", store.keys.term)
    won = beat.try_to_win()
    assert won is not None
    assert won.number == 2


def test_trust_is_measured_from_before_the_request(store: Store) -> None:
    """P3: a slow reply does not lengthen the time that we believe we lead."""
    won = win(store, "a")
    late = won._replace(attempt_mono_s=time.monotonic() - 5.0 * (1 - TRUST_MARGIN))
    assert reign(store, won, "a").trusted
    assert not reign(store, late, "a").trusted


def test_each_answer_renews_the_trust(store: Store) -> None:
    """Measured from before that call."""
    won = win(store, "a")
    mine = reign(store, won._replace(attempt_mono_s=time.monotonic() - 10), "a")
    assert not mine.trusted
    mine.renew()
    assert mine.trusted


def test_a_reign_learns_that_it_was_overtaken(store: Store) -> None:
    """P3: the thread leaves the reason; it does not crash."""
    bench = Bench(store)
    won = win(store, "a")
    mine = reign(store, won, "a")
    mine.start()
    bench.win()
    wait_until(lambda: mine.lost is not None, timeout_s=5)
    assert "term 2" in str(mine.lost)
    assert not mine.trusted
    mine.stop()


def test_a_reign_whose_ticks_stop_lets_go(store: Store) -> None:
    """Trap 10: renewal does not outlive the work."""
    won = win(store, "a")
    mine = reign(store, won, "a", stall_s=0.2)
    mine.start()
    wait_until(lambda: mine.lost is not None, timeout_s=5)
    assert "no tick completed" in str(mine.lost)
    counter = store.leadership.observe()
    time.sleep(1.2)
    assert store.leadership.observe() == counter, "it does not renew any more"
    mine.stop()


def test_a_lower_counter_is_noticed(store: Store) -> None:
    """P11: Redis lost a suffix of its writes."""
    won = win(store, "a")
    mine = reign(store, won, "a")
    mine.renew()
    assert not mine.went_back
    store.connection.call("HSET", store.keys.term, "counter", 1)
    mine.renew()
    assert mine.went_back


def info(id_: str, *, version: str = "1.0", tzdata: str = "2026.1") -> BeatInfo:
    """What a beat says of itself."""
    return BeatInfo(id=id_, name=id_, host="h", pid=1, version=version, tzdata=tzdata, role="follower", load=1)


def test_a_beat_that_is_outdated_does_not_stand() -> None:
    """Its calendar may be wrong. Versions are compared as numbers."""
    own = info("own", version="1.9")
    assert newer_beats(own, [own, info("b", version="1.9"), info("c", version="1.8", tzdata="2025.3")]) == []
    assert [beat.id for beat in newer_beats(own, [info("b", version="1.10"), info("c", tzdata="2026.2")])] == ["b", "c"]


def test_beats_that_are_gone_are_forgotten(store: Store) -> None:
    """After ten seconds they do not count, after a minute they are not kept."""
    bench = Bench(store)
    for id_ in ("here", "away", "gone"):
        store.presence.show(info(id_))
    raw = bench.hash(bench.keys.beats)
    for id_, ago_ms in (("away", 20_000), ("gone", 90_000)):
        seen = bench.now_ms - ago_ms
        text = raw[id_].split('"seen_ms":')[0] + f'"seen_ms":{seen}}}'
        bench.call_redis("HSET", bench.keys.beats, id_, text)
    assert [beat.id for beat in store.presence.beats()] == ["here"]
    assert sorted(bench.hash(bench.keys.beats)) == ["away", "here"]
    store.presence.leave("here")
    assert store.presence.beats() == []
