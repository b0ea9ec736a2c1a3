"""
Entries of every policy at work, while leaders are killed, Redis goes away and comes back, and people edit, pause and skip.

Afterwards the books are made up from what Redis tells, entry by entry: each due time that an entry had while it was in force has one
outcome, the counters say the same, and no fire was run twice.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import msgspec
import pytest

from scheduler.errors import RefusedError
from scheduler.model import Catchup, Entry, Origin, Overlap
from scheduler.timing import every
from tests.support.books import Life
from tests.support.processes import Process
from tests.support.server import ValkeyServer
from tests.support.site import QUICK, Site
from tests.support.wait import wait_until

TASKS = """
    import os, time

    DONE = os.open({done!r}, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    @task(bind=True, ignore_result=True)
    def quick(self, seconds=0):
        due_ms = round(self.request.scheduled_for.timestamp() * 1000)
        os.write(DONE, f"{{self.request.entry}} {{due_ms}}\\n".encode())
        time.sleep(seconds)
"""
SLOW = {"kwargs": msgspec.Raw(b'{"seconds": 0.6}')}
POLICIES: dict[str, tuple[str, dict[str, Any]]] = {
    "skip": ("400ms", SLOW),
    "allow": ("300ms", {"overlap": Overlap.ALLOW}),
    "queue": ("400ms", SLOW | {"overlap": Overlap.QUEUE}),
    "replace": ("700ms", SLOW | {"overlap": Overlap.REPLACE}),
    "none": ("500ms", {"catchup": Catchup.NONE}),
    "all": ("500ms", {"overlap": Overlap.ALLOW, "catchup": Catchup.ALL, "catchup_window_ms": 60_000}),
    "jitter": ("1s", {"jitter_ms": 700}),
    "countdown": ("500ms", {"countdown_ms": 400, "overlap": Overlap.ALLOW}),
    "expires": ("400ms", SLOW | {"expires_after_ms": 500, "overlap": Overlap.QUEUE}),
    "next": ("600ms", SLOW | {"expires_next": True, "overlap": Overlap.QUEUE}),
    "few": ("500ms", {"max_runs": 6}),
}
LATE_LIMIT_MS = 2_000
AWAY_S = 2.5
"""Longer than the late limit: some fires are missed."""


class Work:
    """The entries, and what is known of them."""

    def __init__(self, site: Site, *, seed: int) -> None:
        self.site = site
        self.chance = random.Random(seed)
        self.lives = {name: Life(name) for name in POLICIES}
        self.done = site.folder / "done"

    def start(self) -> None:
        """Declare all entries, by hand: they are edited by hand, too."""
        self.site.write(TASKS.format(done=str(self.done)))
        for name, (period, fields) in POLICIES.items():
            self.put(
                Entry(
                    name=name,
                    task="tasks.quick",
                    queue="default",
                    schedule=every(period).as_data(),
                    origin=Origin.HAND,
                    ignore_result=True,
                    **fields,
                )
            )

    def put(self, entry: Entry) -> None:
        """Make it the one in force."""
        self.carry_out(entry.name, ("add", "edit"), lambda: self.site.store.registry.put(entry))
        self.lives[entry.name].entry = entry

    def carry_out(self, name: str, verbs: tuple[str, ...], change: Callable[[], object]) -> None:
        """Do *change*; what came due until the moment that the audit log tells belongs to what was in force before."""
        change()
        notes = self.site.store.audit.notes(name, n=5)
        self.lives[name].pass_to(next(note.at_ms for note in notes if note.verb in verbs))

    def change_something(self) -> None:
        """What people do: edit, disable and enable, pause and resume, skip, give other options."""
        registry = self.site.store.registry
        name = self.chance.choice(list(POLICIES))
        life = self.lives[name]
        entry = life.entry
        assert entry is not None
        what = self.chance.choice(("edit", "edit", "options", "disable", "pause", "pause", "resume", "skip"))
        if what == "edit":
            period = self.chance.choice(("300ms", "500ms", "700ms", "1100ms"))
            self.put(msgspec.structs.replace(entry, schedule=every(period).as_data(), enabled=True))
        elif what == "options":
            self.put(msgspec.structs.replace(entry, description=uuid4().hex))
        elif what == "disable":
            self.put(msgspec.structs.replace(entry, enabled=not entry.enabled))
        elif what == "pause":
            self.pause(name, for_ms=self.chance.choice((None, 1_500)))
        elif what == "resume":
            if registry.state(name).pause is not None:
                self.carry_out(name, ("resume",), lambda: registry.resume(name))
                life.pause = None
        else:
            try:
                life.ordered.add(registry.skip(name)[1])
            except RefusedError:
                return

    def pause(self, name: str, *, for_ms: int | None) -> None:
        """With or without an end, unless it is paused already."""
        life, registry = self.lives[name], self.site.store.registry
        until_ms = None if for_ms is None else int(self.site.now_ms()) + for_ms
        if life.pause is None:
            self.carry_out(name, ("pause",), lambda: registry.pause(name, until_ms=until_ms))
            life.pause = registry.state(name).pause

    def close_the_books(self) -> None:
        """Disable every entry, let what has begun come to its end, and account for all of it."""
        for life in self.lives.values():
            assert life.entry is not None
            self.put(msgspec.structs.replace(life.entry, enabled=False, description="closed"))
        store = self.site.store
        wait_until(
            lambda: not store.connection.call("HLEN", store.keys.messages), timeout_s=20, what="every run to have ended"
        )
        runs = [run for run in store.history.runs(n=10_000) if run.entry]
        for run in runs:
            if run.outcome == "max_runs":
                continue
            if not run.state:
                self.lives[run.entry].settle_stretch(run)
            elif run.of_schedule:
                self.lives[run.entry].settle(run.due_ms, run.outcome)
        for life in self.lives.values():
            told = {outcome: n for outcome, n in store.registry.counts(life.name).items() if n}
            missing = life.expected.keys() - life.outcomes.keys()
            if len(missing) == told.get("max_runs", 0):  # of these the history keeps only some
                for due_ms in missing:
                    life.settle(due_ms, "max_runs")
                missing = set()
            assert not missing, f"{life.name}: no outcome of {sorted(missing)}"
            assert told == dict(Counter(life.outcomes.values())), life.name
            promoted = {due_ms for due_ms, outcome in life.outcomes.items() if outcome == "promoted"}
            assert not promoted & life.ordered, f"{life.name}: fired, though it was to be skipped"
        assert store.connection.call("HLEN", store.keys.slots) == 0, "every slot is free"
        self._ran_once()

    def _ran_once(self) -> None:
        """The tasks' own word for it."""
        ran = Counter(tuple(line.split()) for line in self.done.read_text(encoding="utf-8").splitlines())
        assert {fire: n for fire, n in ran.items() if n > 1} == {}, "ran twice"
        for name, due in ran:
            assert self.lives[name].outcomes[int(due)] == "promoted"


def work(site: Site, server: ValkeyServer, *, rounds: int, seed: int) -> set[str]:
    """So many times: changes, then the leader is killed, or (each third time) Redis. The outcomes that there were."""
    entries = Work(site, seed=seed)
    entries.start()
    site.processes += [Process("worker", "-n", n, "-c", "6", config=site.config, cwd=site.folder) for n in ("v", "w")]
    leader = site.led("a", "b")
    wait_until(entries.done.exists, timeout_s=20, what="the first run")
    entries.pause("allow", for_ms=1_000)
    for number in range(rounds):
        for _ in range(4):
            entries.change_something()
            site.wait_for_clock(site.now_ms() + 250)
        if number % 3 == 1:
            server.stop()  # cleanly: a suffix of its writes that is lost is another story (P11)
            time.sleep(AWAY_S)  # the outage itself; there is nothing to wait for
            server.start()
        else:
            name = site.name_of(leader)
            leader.kill()
            entries.change_something()
            leader = site.leader(other_than=leader)
            site.beat(name)
    site.wait_for_clock(site.now_ms() + 1_000)
    entries.close_the_books()
    return {outcome for life in entries.lives.values() for outcome in life.outcomes.values()}


@pytest.fixture
def busy(own_server: ValkeyServer, tmp_path: Path) -> Any:
    """A site on a server that a test may kill."""
    settings = QUICK | {"late_limit_ms": LATE_LIMIT_MS}
    site = Site(own_server.url, tmp_path, namespace=f"p{uuid4().hex}", **settings)
    yield site
    site.close()


def test_killed_leaders_and_redis_leave_the_books_of_every_policy_in_order(
    busy: Site, own_server: ValkeyServer
) -> None:
    """P1, P2, P4, P11."""
    outcomes = work(busy, own_server, rounds=3, seed=1)
    assert {"promoted", "overlap", "paused", "missed"} <= outcomes


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("seed", range(3))
def test_the_books_of_every_policy_are_in_order_after_minutes(busy: Site, own_server: ValkeyServer, seed: int) -> None:
    """The same for longer, with other changes."""
    work(busy, own_server, rounds=40, seed=seed)
