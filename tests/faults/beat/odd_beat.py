"""
A beat with something wrong in it: ``python -m tests.faults.beat.odd_beat beat …``, with ``ODD_BEAT`` in its environment.

``hang``      its plan never answers, once the file ``ODD_FILE`` exists
``hold``      between planning and arming it waits as long as that file exists, having made one with ``.held`` behind its name
``reckless``  it renews nothing and believes for ever that it leads
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from scheduler.beat import process, standby
from scheduler.beat.plan import Batch, Plan
from scheduler.beat.reign import Reign
from scheduler.cli.main import main


class HangingPlan(Plan):
    """As an in-process trigger that never answers would make it."""

    def take(self, now_ms: int, limit: int) -> Batch:
        _wait_while_file_exists()
        return super().take(now_ms, limit)


class HeldPlan(Plan):
    """What it has planned is old when it is armed."""

    def take(self, now_ms: int, limit: int) -> Batch:
        batch = super().take(now_ms, limit)
        if batch and _file().exists():
            Path(f"{_file()}.held").touch()
            _wait_while_file_exists()
        return batch


class RecklessReign(Reign):
    """Neither the lease nor the stall means anything to it."""

    @property
    def trusted(self) -> bool:
        return True

    def _run(self) -> None:
        self._end.wait()


def _file() -> Path:
    return Path(os.environ["ODD_FILE"])


def _wait_while_file_exists() -> None:
    while _file().exists():
        time.sleep(0.02)


if __name__ == "__main__":
    kind = os.environ["ODD_BEAT"]
    if kind == "reckless":
        vars(process)["Reign"] = RecklessReign
    else:
        vars(standby)["Plan"] = {"hang": HangingPlan, "hold": HeldPlan}[kind]
    sys.exit(main())
