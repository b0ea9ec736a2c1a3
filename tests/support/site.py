"""One installation for a test: schedule files in a folder, settings, beats as processes, and a look at the store."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from scheduler.config import Config
from scheduler.store import Store, open_store
from scheduler.store.leadership import TermRecord
from tests.support.processes import Process
from tests.support.wait import wait_until

QUICK = {
    "horizon_ms": 2_500,
    "leader_lease_ms": 1_000,
    "worker_lease_ms": 1_000,
    "stall_ms": 800,
    "takeover_ms": 200,
    "store_timeout_ms": 1_000,
    "late_limit_ms": 15_000,
}
"""A fifth of the usual leases, so that a takeover costs a test a second; the late limit stays as it is."""


REPOSITORY = Path(__file__).parents[2]


class Site:
    """
    An installation.

    Args:
        folder: Holds ``schedules/``, and the state of what runs.
        settings: Instead of `QUICK`, fields of `Config`.
    """

    def __init__(self, url: str, folder: Path, *, namespace: str, **settings: Any) -> None:
        self.folder = folder
        self.config = Config(
            redis_url=url, namespace=namespace, state_dir=folder, schedules=folder / "schedules", **(settings or QUICK)
        )
        self.store: Store = open_store(self.config, role="test")
        self.processes: list[Process] = []
        self._beats: dict[str, Process] = {}

    def write(self, text: str, *, name: str = "tasks") -> None:
        """Write ``schedules/<name>.py``: imports and a task ``noop`` are given."""
        head = "from scheduler import crontab, entry, every, schedule, task\n\n@task\ndef noop(*args): ...\n\n"
        file = self.config.schedules / f"{name}.py"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text((head if name == "tasks" else "") + textwrap.dedent(text) + "\n", encoding="utf-8")

    def beat(self, name: str, config: Config | None = None, **options: Any) -> Process:
        """One more beat; *options* as `Process` takes them."""
        process = Process("beat", "-n", name, config=config or self.config, cwd=self.folder, **options)
        self.processes.append(process)
        self._beats[name] = process
        return process

    def odd_beat(self, name: str, kind: str, *, environ: Mapping[str, str] | None = None) -> Process:
        """A beat with something wrong in it (see ``odd_beat.py``); what it waits for is the file ``odd`` in our folder."""
        odd = {"ODD_BEAT": kind, "ODD_FILE": str(self.folder / "odd"), "PYTHONPATH": str(REPOSITORY)}
        command = (sys.executable, "-P", "-m", "tests.faults.beat.odd_beat")
        return self.beat(name, command=command, environ=odd | dict(environ or {}))

    def led(self, *names: str) -> Process:
        """Start beats of these names; the one that leads, once the others are known too and it has armed a horizon."""
        for name in names:
            self.beat(name)
        wait_until(
            lambda: sum(beat.load > 0 for beat in self.store.presence.beats()) >= len(names),
            timeout_s=20,
            what="all beats to live",
        )
        leader = self.leader()
        leader.told.wait("term.won")
        return leader

    def leader(self, *, other_than: Process | None = None, timeout_s: float = 15.0) -> Process:
        """The process that holds the term, once there is one."""

        def holds() -> Process | None:
            term = self.term()
            process = self._beats.get(term.name) if term is not None and term.holder else None
            return process if process is not other_than else None

        found = wait_until(holds, timeout_s=timeout_s, what="a leader")
        assert found is not None
        return found

    def name_of(self, process: Process) -> str:
        """The name of a beat."""
        return next(name for name, beat in self._beats.items() if beat is process)

    def followers(self) -> list[Process]:
        """The beats that live and do not lead."""
        leader = self.leader()
        return [beat for beat in self._beats.values() if beat is not leader and beat.running]

    def term(self) -> TermRecord | None:
        """The term as it stands."""
        return self.store.leadership.observe()

    def armed(self, queue: str = "default") -> int:
        """How many messages stand on the delayed set."""
        return int(self.store.connection.call("ZCARD", self.store.keys.delayed(queue)))

    def wait_until_armed(self, n: int) -> None:
        """Until at least *n* fires stand on Redis."""
        wait_until(lambda: self.armed() >= n, timeout_s=20, what=f"{n} fires armed")

    def now_ms(self) -> float:
        """Redis' time."""
        return self.store.queues.time_ms()

    def wait_for_clock(self, at_ms: float) -> None:
        """Until *at_ms* by Redis' clock: for what only time can show."""
        wait_until(lambda: self.now_ms() >= at_ms, timeout_s=60, what="Redis' clock")

    def close(self) -> None:
        """End everything."""
        for process in self.processes:
            process.kill()
        self.store.close()
