"""`Watch`: a lease ends only for whoever stood still while somebody looked (P6, trap 5)."""

from __future__ import annotations

from scheduler.watch import Watch

LEASE_S = 5.0


def looks(watch: Watch[str, int], *seen: tuple[float, dict[str, int]]) -> list[list[str]]:
    """What each look says: (monotonic seconds, counters)."""
    return [watch.look(counters, at_s) for at_s, counters in seen]


def seconds(*, until: float, counter: int = 1, start: float = 0.0) -> list[tuple[float, dict[str, int]]]:
    """A look each second at one that stands still."""
    return [(start + i, {"a": counter}) for i in range(int(until - start) + 1)]


def test_one_that_stands_still_for_the_whole_lease_is_named() -> None:
    """Not a moment earlier; and again as long as nobody does anything about it."""
    answers = looks(Watch(LEASE_S), *seconds(until=6))
    assert answers == [[], [], [], [], [], ["a"], ["a"]]


def test_one_that_moves_is_never_named() -> None:
    """P6: it renews, however slowly it works."""
    watch: Watch[str, int] = Watch(LEASE_S)
    assert all(watch.look({"a": i // 4}, float(i)) == [] for i in range(100))


def test_a_counter_that_goes_back_has_moved() -> None:
    """P11: Redis lost a suffix; the holder lives."""
    watch: Watch[str, int] = Watch(LEASE_S)
    looks(watch, *seconds(until=4, counter=9))
    assert looks(watch, *seconds(start=5, until=9, counter=3)) == [[], [], [], [], []]


def test_an_outage_expires_nobody() -> None:
    """Trap 5: nobody could renew, and we could not look."""
    watch: Watch[str, int] = Watch(LEASE_S)
    looks(watch, *seconds(until=3))
    assert watch.look({"a": 1}, 63.0) == []
    assert looks(watch, *seconds(start=64, until=67)) == [[], [], [], []]
    assert watch.look({"a": 1}, 68.0) == ["a"]


def test_an_observer_that_says_that_it_could_not_look_starts_anew() -> None:
    """Also after a short failure."""
    watch: Watch[str, int] = Watch(LEASE_S)
    looks(watch, *seconds(until=4))
    watch.forget()
    assert watch.look({"a": 1}, 5.0) == []


def test_an_observer_that_was_paused_expires_nobody() -> None:
    """It comes back from SIGSTOP after a minute: what it saw before does not count."""
    watch: Watch[str, int] = Watch(LEASE_S)
    looks(watch, *seconds(until=4))
    assert watch.look({"a": 1}, 64.0) == []


def test_one_that_comes_back_after_it_was_gone_starts_anew() -> None:
    """A session that was closed and a new one never share a name, but a term's number may be seen again."""
    watch: Watch[str, int] = Watch(LEASE_S)
    looks(watch, *seconds(until=4))
    watch.look({}, 4.5)
    assert looks(watch, *seconds(start=5, until=9)) == [[], [], [], [], []]


def test_each_is_judged_for_itself() -> None:
    """One stands still, one moves, one is new."""
    watch: Watch[str, int] = Watch(LEASE_S)
    for i in range(5):
        watch.look({"still": 1, "moves": i}, float(i))
    assert watch.look({"still": 1, "moves": 5, "new": 1}, 5.0) == ["still"]


def test_an_observer_that_has_just_started_reclaims_nobody_at_once() -> None:
    """Trap 5: however old the counters are."""
    assert Watch[str, int](LEASE_S).look({"a": 1, "b": 2}, 1e9) == []
