"""A beat whose plan hangs for ever once the file named by HANG_FILE exists: ``python -m tests.faults.beat.hanging_beat beat …``."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from scheduler.beat import process
from scheduler.beat.plan import Batch, Plan
from scheduler.cli.main import main


class HangingPlan(Plan):
    """As an in-process trigger that never answers would make it."""

    def take(self, now_ms: int, limit: int) -> Batch:
        while Path(os.environ["HANG_FILE"]).exists():
            time.sleep(0.1)
        return super().take(now_ms, limit)


if __name__ == "__main__":
    vars(process)["Plan"] = HangingPlan
    sys.exit(main())
