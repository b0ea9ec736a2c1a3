"""Schedule files that hang, exit, break or change while beats run (P12)."""

from __future__ import annotations

import signal

from tests.support.probe import Probe
from tests.support.site import Site
from tests.support.wait import wait_until

GOOD = """
    entry("second", noop, every("1s"), overlap="allow")
    entry("fast", noop, every("200ms"), overlap="allow")
"""
ENTRIES = {"second": 1_000, "fast": 200}


def names(site: Site) -> set[str]:
    return {record.name for record in site.store.registry.all()}


def children_of(pid: int) -> list[int]:
    with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as children:
        return [int(child) for child in children.read().split()]


def test_file_that_hangs_costs_its_load_and_not_the_leader(site: Site) -> None:
    """The leader goes on punctually while the load hangs; a mended file is loaded without waiting for the hanging one."""
    site.write(GOOD)
    with Probe(site.config.redis_url, site.config.namespace) as probe:
        leader = site.led("a")
        site.wait_for_clock(site.now_ms() + site.config.horizon_ms)
        from_ms = int(site.now_ms())
        term = site.term()
        site.write("import time\nwhile True:\n    time.sleep(1)", name="hangs")
        leader.signal(signal.SIGHUP)
        loading = wait_until(lambda: children_of(leader.pid), what="the loading process")
        site.wait_for_clock(site.now_ms() + 2_000)
        assert children_of(leader.pid) == loading
        account = probe.account(ENTRIES, from_ms, int(site.now_ms()) - 500)
        site.write('from scheduler import entry, every\nentry("new", "tasks.noop", every("1h"))', name="hangs")
        leader.signal(signal.SIGHUP)
        wait_until(lambda: "new" in names(site), what="the mended file")
        after = site.term()
    assert account.lost == []
    assert account.twice == []
    assert account.late_ms_max < 500
    assert term is not None
    assert after is not None
    assert after.number == term.number


def test_hanging_load_dies_with_its_beat(site: Site) -> None:
    """`kill -9` of a beat leaves nothing behind."""
    site.write("import time\nwhile True:\n    time.sleep(1)", name="hangs")
    beat = site.beat("a")
    (loading,) = wait_until(lambda: children_of(beat.pid), what="the loading process")
    wait_until(lambda: _waits(loading), what="the file to hang")
    beat.signal(signal.SIGKILL)
    wait_until(lambda: not _lives(loading), timeout_s=5, what="the loading process to end")


def test_file_that_exits_the_process_is_shown_and_keeps_what_stands(site: Site) -> None:
    """`os._exit` at import takes only the loading process along."""
    site.write(GOOD)
    leader = site.led("a")
    site.write("import os\nos._exit(3)", name="exits")
    leader.signal(signal.SIGHUP)
    leader.told.wait("files.unloadable")
    (mistake,) = wait_until(lambda: site.store.loads.info().mistakes, what="the mistake to be shown")
    assert "ended with code 3" in mistake
    assert names(site) == ENTRIES.keys()
    assert site.leader() is leader


def test_broken_edit_keeps_the_last_good_entries_and_is_shown(site: Site) -> None:
    """One syntax error, one clear line; the other file's change comes through, and a mended file clears the line."""
    site.write(GOOD)
    leader = site.led("a")
    own = "from scheduler import entry, every, task\n@task\ndef work(): ...\nentry('other', work, every('1h'))"
    site.write(own, name="other")
    site.write("entry('second', noop, every('1s')", name="tasks")
    site.store.loads.request_reload()
    leader.told.wait("file.broken")
    wait_until(lambda: names(site) == {"second", "fast", "other"}, what="the good file's entry")
    (mistake,) = site.store.loads.info().mistakes
    assert "schedules/tasks.py:" in mistake
    site.write('entry("only", noop, every("1s"))')
    leader.signal(signal.SIGHUP)
    wait_until(lambda: names(site) == {"only", "other"}, what="the mended file")
    assert site.store.loads.info().mistakes == ()


def test_reload_is_asked_for_by_signal_and_through_redis(site: Site) -> None:
    """SIGHUP reaches one beat, `sched reload` all of them; either is in force within seconds."""
    site.write('entry("one", noop, every("1h"))')
    leader = site.led("a", "b")
    site.write('entry("two", noop, every("1h"))')
    leader.signal(signal.SIGHUP)
    wait_until(lambda: names(site) == {"two"}, timeout_s=5, what="SIGHUP")
    site.write('entry("three", noop, every("1h"))')
    loads = site.store.loads.info().number
    site.store.loads.request_reload()
    wait_until(lambda: names(site) == {"three"}, timeout_s=5, what="the reload")
    wait_until(lambda: site.store.loads.info().number >= loads + 2, timeout_s=5, what="both beats to load")


def test_newest_load_wins_whoever_leads(site: Site) -> None:
    """Trap 4: old and new files on two beats. Leadership alternates, the registry does not."""
    site.write('entry("old", noop, every("1h"))')
    old = site.led("old")
    site.write('entry("new", noop, every("1h"))')
    new = site.beat("new")
    wait_until(lambda: names(site) == {"new"}, what="the newer load")
    # From here on both have files of their own; the old beat has not read the new ones.
    old.terminate()
    assert site.leader(other_than=old) is new
    site.write('entry("old", noop, every("1h"))')
    again = site.beat("old")
    wait_until(lambda: names(site) == {"old"}, what="the newest load")
    revision = site.store.registry.revision()
    for _ in range(2):
        before = site.leader()
        site.store.leadership.step_down()
        assert site.leader(other_than=before) in (new, again)
        site.wait_for_clock(site.now_ms() + 2 * site.config.leader_lease_ms)
    assert names(site) == {"old"}
    assert site.store.registry.revision() == revision


def _waits(pid: int) -> bool:
    """Whether the process sleeps in its file, having imported it."""
    return "hrtimer_nanosleep" in _read(f"/proc/{pid}/wchan") or "clock_nanosleep" in _read(f"/proc/{pid}/wchan")


def _lives(pid: int) -> bool:
    state = _read(f"/proc/{pid}/stat").rpartition(")")[2].split()
    return bool(state) and state[0] != "Z"


def _read(path: str) -> str:
    try:
        with open(path, encoding="ascii") as file:
            return file.read()
    except OSError:
        return ""
