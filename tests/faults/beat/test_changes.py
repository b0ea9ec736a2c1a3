"""Pausing, editing and removing entries whose fires stand armed (traps 1 and 2), with real beats at work."""

from __future__ import annotations

import signal

from tests.support.probe import Probe
from tests.support.site import Site
from tests.support.wait import wait_until


def test_paused_entry_fires_no_more_and_resumed_it_fires_again(site: Site) -> None:
    """P2: what was armed is withdrawn at once, the stretch is recorded as paused, and nothing of it is fired later."""
    site.write('entry("fast", noop, every("200ms"), overlap="allow")')
    with Probe(site.config.redis_url, site.config.namespace) as probe:
        site.led("a", "b")
        site.wait_until_armed(10)
        site.store.registry.pause("fast", reason="test")
        paused_ms = site.now_ms()
        assert site.armed() == 0
        site.wait_for_clock(paused_ms + 1_000)
        site.store.registry.resume("fast")
        resumed_ms = site.now_ms()
        site.wait_for_clock(resumed_ms + 1_500)
        fired = {seen.due_ms for seen in probe.seen}
    inside = [due_ms for due_ms in fired if paused_ms < due_ms < resumed_ms - 50]
    after = [due_ms for due_ms in fired if resumed_ms < due_ms < resumed_ms + 1_000]
    assert inside == []
    assert len(after) == 5
    assert site.store.registry.counts("fast")["paused"] in (4, 5, 6)


def test_pause_between_planning_and_arming_wins(site: Site) -> None:
    """Trap 1, in slow motion: the leader arms what it planned before the pause, and is refused."""
    site.write('entry("fast", noop, every("200ms"), overlap="allow")')
    leader = site.odd_beat("a", "hold")
    leader.told.wait("term.won")
    site.wait_until_armed(5)
    (site.folder / "odd").touch()
    wait_until((site.folder / "odd.held").exists, what="the leader to have planned")
    promoted = site.store.registry.pause("fast").mark_ms
    (site.folder / "odd").unlink()
    site.wait_for_clock(site.now_ms() + 700)
    assert site.armed() == 0
    assert site.store.registry.state("fast").mark_ms == promoted
    last_ms, _ = site.store.registry.promoted()["fast"]
    assert last_ms <= promoted
    # Resumed, it is planned from what Redis holds.
    site.store.registry.resume("fast")
    site.wait_until_armed(5)


def test_pause_that_races_with_arming_leaves_nothing_armed(site: Site) -> None:
    """Trap 1: the leader arms in every moment of this; whichever comes second loses."""
    site.write('for i in range(300):\n    entry(f"e{i}", noop, every("200ms"), overlap="allow")')
    site.led("a")
    site.wait_until_armed(300 * 10)
    for i in range(0, 300, 10):
        site.store.registry.pause(f"e{i}")
    site.wait_for_clock(site.now_ms() + 1_000)
    counts = site.store.registry.promoted()
    site.wait_for_clock(site.now_ms() + 1_000)
    again = site.store.registry.promoted()
    paused = {f"e{i}" for i in range(0, 300, 10)}
    assert {name for name in paused if counts.get(name) != again.get(name)} == set()
    assert all(counts[f"e{i}"] != again[f"e{i}"] for i in range(300) if f"e{i}" not in paused)


def test_pause_ends_by_itself(site: Site) -> None:
    """`--until`: the leader resumes the entry at that moment by Redis' clock, and its fires come on time."""
    site.write('entry("fast", noop, every("200ms"), overlap="allow")')
    with Probe(site.config.redis_url, site.config.namespace) as probe:
        leader = site.led("a")
        site.wait_until_armed(5)
        until_ms = int(site.now_ms()) + 1_000
        site.store.registry.pause("fast", until_ms=until_ms)
        paused_ms = site.now_ms()
        leader.told.wait("entry.resumed")
        site.wait_for_clock(until_ms + 1_500)
        fired = {seen.due_ms: seen.late_ms for seen in probe.seen}
    assert [due_ms for due_ms in fired if paused_ms < due_ms < until_ms] == []
    after = [late_ms for due_ms, late_ms in fired.items() if until_ms <= due_ms < until_ms + 1_000]
    assert len(after) == 5
    assert max(after[1:]) < 150


def test_removed_entry_fires_no_more_and_readded_it_does_not_repeat_itself(site: Site) -> None:
    """P1: its mark outlives it as a tombstone."""
    site.write('entry("fast", noop, every("200ms"), overlap="allow")\n')
    with Probe(site.config.redis_url, site.config.namespace) as probe:
        leader = site.led("a")
        site.wait_until_armed(5)
        site.write('entry("other", noop, every("1h"))')
        leader.signal(signal.SIGHUP)
        wait_until(lambda: site.store.registry.get("fast") is None, what="the removal")
        removed_ms = site.now_ms()
        site.wait_for_clock(removed_ms + 700)
        site.write('entry("fast", noop, every("200ms"), overlap="allow")')
        leader.signal(signal.SIGHUP)
        wait_until(lambda: site.store.registry.get("fast"), what="its return")
        back_ms = site.now_ms()
        site.wait_for_clock(back_ms + 1_500)
        account = probe.account({"fast": 200}, int(back_ms), int(back_ms) + 1_000)
        fired = {seen.due_ms for seen in probe.seen}
    assert [due_ms for due_ms in fired if removed_ms < due_ms < back_ms - 100] == []
    assert account.twice == []
    assert len([due_ms for due_ms in fired if back_ms < due_ms < back_ms + 1_000]) == 5


def test_edited_arguments_reach_what_is_armed_and_move_nothing(site: Site) -> None:
    """Only a change of the schedule moves the mark: no due time is skipped or repeated by a change of arguments."""
    site.write('entry("fast", noop, every("200ms"), args=("old",), overlap="allow")')
    with Probe(site.config.redis_url, site.config.namespace) as probe:
        leader = site.led("a")
        site.wait_until_armed(5)
        from_ms = int(site.now_ms())
        for version in range(4):
            revision = site.store.registry.revision()
            site.write(f'entry("fast", noop, every("200ms"), args=("new{version}",), overlap="allow")')
            leader.signal(signal.SIGHUP)
            wait_until(lambda revision=revision: site.store.registry.revision() > revision, what="the edit")  # type: ignore[misc]
            keys = site.store.keys
            armed = site.store.connection.call("ZRANGE", keys.delayed("default"), 1, 1)
            body = site.store.queues.body(armed[0].decode())
            assert body is not None
            assert f'["new{version}"]'.encode() in body
        site.wait_for_clock(site.now_ms() + 1_000)
        account = probe.account({"fast": 200}, from_ms, int(site.now_ms()) - 200)
    assert account.lost == []
    assert account.twice == []


def test_edit_between_due_and_promotion_lets_the_older_fire_go_on(site: Site) -> None:
    """Trap 2: a fire that is due, and delayed by its countdown, keeps its moment though its schedule is edited."""
    site.write('entry("slow", noop, every("1s"), countdown="1s", overlap="allow")')
    with Probe(site.config.redis_url, site.config.namespace) as probe:
        leader = site.led("a")
        wait_until(lambda: probe.seen, what="a first fire")
        site.wait_for_clock((site.now_ms() // 1_000 + 1) * 1_000 + 300)
        due_ms = site.now_ms() // 1_000 * 1_000
        revision = site.store.registry.revision()
        site.write('entry("slow", noop, every("1h"), countdown="1s", overlap="allow")')
        leader.signal(signal.SIGHUP)
        wait_until(lambda: site.store.registry.revision() > revision, timeout_s=5, what="the edit")
        assert site.now_ms() < due_ms + 1_000, "the edit came too late to show anything"
        site.wait_for_clock(due_ms + 2_500)
        fired = [seen.due_ms for seen in probe.seen]
    assert max(fired) == due_ms
    assert fired.count(due_ms) == 1
