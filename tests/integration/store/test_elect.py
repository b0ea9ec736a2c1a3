"""`elect.lua`, `renew_term.lua`, `resign.lua`: one term after the other (P3)."""

from __future__ import annotations

import pytest

from scheduler.errors import FencedError
from scheduler.store.leadership import TermRecord
from tests.support.bench import Bench

pytestmark = pytest.mark.redis


def observed(bench: Bench) -> TermRecord:
    """The term that stands."""
    term = bench.store.leadership.observe()
    assert term is not None
    return term


def elect(bench: Bench, holder: str, *, stood_still: TermRecord | None = None, known: int = 0) -> tuple[bool, int]:
    """Stand; whether it won, and the number that stands now."""
    answer = bench.store.leadership.elect(holder, f"beat-{holder}", stood_still=stood_still, known=known, reason="why")
    return answer.won, answer.number


def test_the_first_candidate_wins_and_the_second_does_not(bench: Bench) -> None:
    """One term at a time."""
    assert bench.store.leadership.observe() is None
    assert elect(bench, "a") == (True, 1)
    assert elect(bench, "b") == (False, 1)


def test_a_win_whose_reply_was_lost_is_told_again(bench: Bench) -> None:
    """The same term, not the next."""
    assert elect(bench, "a") == elect(bench, "a") == (True, 1)
    assert len(bench.store.leadership.history()) == 1


def test_a_term_is_taken_over_only_as_it_was_seen(bench: Bench) -> None:
    """P3: a renewal in between defeats the candidate."""
    elect(bench, "a")
    seen = observed(bench)
    bench.store.leadership.renew(1, "a", tick_age_ms=0)
    assert elect(bench, "b", stood_still=seen) == (False, 1)
    assert elect(bench, "b", stood_still=observed(bench)) == (True, 2)
    with pytest.raises(FencedError):
        bench.store.leadership.renew(1, "a", tick_age_ms=0)
    assert not bench.store.leadership.resign(1, "a")
    assert observed(bench).holder == "b"


def test_a_resigned_term_is_free_and_its_baton_is_passed(bench: Bench) -> None:
    """Followers wait for the baton."""
    elect(bench, "a")
    bell = bench.store.leadership.bell()
    bell.arm(["baton"])
    assert bench.store.leadership.resign(1, "a")
    assert bell.read()
    bell.close()
    assert observed(bench).holder == ""
    assert elect(bench, "b") == (True, 2)


def test_numbers_only_grow_even_when_redis_was_emptied(bench: Bench) -> None:
    """P11: the candidate brings the highest number that it has seen."""
    elect(bench, "a")
    bench.call_redis("DEL", bench.keys.term)
    with pytest.raises(FencedError):
        bench.store.leadership.renew(1, "a", tick_age_ms=0)
    assert elect(bench, "a", known=41) == (True, 42)


def test_a_renewal_raises_the_counter_and_tells_what_has_changed(bench: Bench) -> None:
    """The revision, and whether somebody asked the leader to step down."""
    elect(bench, "a")
    bench.put()
    first = bench.store.leadership.renew(1, "a", tick_age_ms=250)
    assert (first.revision, first.step_down) == (bench.store.registry.revision(), False)
    assert bench.store.leadership.step_down() is not None
    second = bench.store.leadership.renew(1, "a", tick_age_ms=0)
    assert (second.counter, second.step_down) == (first.counter + 1, True)
    assert abs(observed(bench).renewed_ms - bench.now_ms) < 60_000


def test_a_request_to_step_down_is_for_one_term(bench: Bench) -> None:
    """The next leader stays."""
    elect(bench, "a")
    bench.store.leadership.step_down()
    bench.store.leadership.resign(1, "a")
    elect(bench, "b")
    assert not bench.store.leadership.renew(2, "b", tick_age_ms=0).step_down


def test_each_reign_is_recorded(bench: Bench) -> None:
    """For people: who, why, after what gap, how much was caught up."""
    elect(bench, "a")
    bench.store.leadership.renew(1, "a", tick_age_ms=0, caught_up=7)
    elect(bench, "b", stood_still=observed(bench))
    newest, oldest = bench.store.leadership.history()
    assert (oldest.number, oldest.name, oldest.caught_up) == (1, "beat-a", 7)
    assert (newest.number, newest.holder, newest.reason, newest.caught_up) == (2, "b", "why", None)
    assert newest.gap_ms >= 0


def test_a_hundred_reigns_are_remembered(bench: Bench) -> None:
    """Every list has a bound."""
    for i in range(105):
        elect(bench, f"h{i}", stood_still=bench.store.leadership.observe())
    assert len(bench.store.leadership.history(1_000)) == 100


def test_names_of_any_script_are_kept(bench: Bench) -> None:
    """cjson and msgspec agree on text."""
    bench.store.leadership.elect("a", "Büro-北京", stood_still=None, known=0, reason="weil „es“ so ist")
    (reign,) = bench.store.leadership.history()
    assert (reign.name, reign.reason) == ("Büro-北京", "weil „es“ so ist")
