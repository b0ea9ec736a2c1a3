"""Who waits for moments is woken up in time; what tasks run in is left as it was."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.integration.worker.lab import Lab, family
from worker.timers import SLACK_NS


def slack_ns(pid: int | str) -> int:
    """By how much the kernel may put off the timeouts of *pid*."""
    return int(Path(f"/proc/{pid}/timerslack_ns").read_text(encoding="ascii"))


@pytest.mark.skipif(not Path("/proc/self/timerslack_ns").exists(), reason="this kernel does not tell")
def test_the_supervisor_is_woken_to_the_microsecond_and_children_as_ever(lab: Lab) -> None:
    """Half of what an ETA was late by in an idle worker was the kernel's patience. Users' code keeps its own."""
    supervisor, *others = family(lab.worker().pid)
    assert slack_ns(supervisor) == SLACK_NS
    assert {slack_ns(pid) for pid in others} == {slack_ns("self")}
