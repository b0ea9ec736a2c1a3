"""
The systemd unit that this worker runs in, if it runs in one: whether it lets a stop take as long as our `grace`.

Which unit that is says our cgroup; what it allows, `systemctl show`. Asked once, after the start and beside it. Where there is no
systemd, or it does not answer, there is nothing to say.
"""

from __future__ import annotations

import logging
import os
import re
import subprocess
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from scheduler.log import event
from scheduler.timing.duration import format_duration

MARGIN_MS = 5_000
"""Beyond the grace: for killing what is left, and for telling Redis."""
ANSWER_S_MAX = 5.0
CGROUP = Path("/proc/self/cgroup")
_PROPERTIES = ("MainPID", "TimeoutStopUSec", "KillMode", "OOMPolicy")
_SPAN = re.compile(r"(\d+(?:\.\d+)?)(us|ms|s|min|h|d|w|month|y)")
_UNIT_MS = {
    "us": 0.001, "ms": 1, "s": 1_000, "min": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000,
    "month": 2_629_800_000, "y": 31_557_600_000,
}  # fmt: skip

_logger = logging.getLogger("worker")


class Unit(NamedTuple):
    """A unit, and whether it belongs to a user's own manager."""

    name: str
    is_users: bool


def check_beside(grace_ms: int) -> None:
    """Check the unit that we run in, in a thread of its own; outside systemd nothing happens."""
    if "INVOCATION_ID" in os.environ:
        threading.Thread(target=check, args=(grace_ms,), name="unit", daemon=True).start()


def check(grace_ms: int, *, cgroup: Path = CGROUP) -> None:
    """Warn if the unit that we run in, as *cgroup* has it, does not go together with us."""
    try:
        unit = unit_of(cgroup.read_text(encoding="utf-8"))
        properties = None if unit is None else _asked(unit)
    except (OSError, subprocess.SubprocessError):
        return
    if unit is None or properties is None or not _is_ours(properties):
        return
    for complaint in complaints(unit.name, properties, grace_ms):
        event(_logger, "unit.unfit", level=logging.WARNING, unit=unit.name, note=complaint)


def unit_of(cgroups: str) -> Unit | None:
    """The service in ``/proc/self/cgroup``; None outside of one, as in a terminal or a container."""
    for line in cgroups.splitlines():
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if number != "0" and controllers != "name=systemd":
            continue
        parts = path.strip("/").split("/")
        services = [part for part in parts if part.endswith(".service")]
        is_users = any(part.startswith("user@") for part in services)
        if services and not services[-1].startswith("user@"):
            return Unit(services[-1], is_users)
    return None


def complaints(name: str, properties: Mapping[str, str], grace_ms: int) -> list[str]:
    """What of the unit's *properties* breaks off tasks that we would let end, and what to do about it."""
    found = []
    stop_ms = span_ms(properties.get("TimeoutStopUSec", ""))
    if stop_ms is not None and stop_ms < grace_ms + MARGIN_MS:
        grace, needed = format_duration(grace_ms), -(-(grace_ms + MARGIN_MS) // 1000)
        found.append(
            f"systemd kills this worker {format_duration(int(stop_ms))} after it was told to stop (TimeoutStopSec), and `grace` "
            f"lets tasks run for {grace}: they would be lost in the middle; set TimeoutStopSec={needed}s in {name} "
            "(systemctl edit), or a shorter grace"
        )
    if properties.get("KillMode") == "control-group":
        found.append(
            "a stop sends SIGTERM to the programs that tasks have started, too (KillMode=control-group); "
            f"set KillMode=mixed in {name}"
        )
    if properties.get("OOMPolicy") in {"stop", "kill"}:
        found.append(
            f"a child that the kernel kills for its memory takes the whole worker with it (OOMPolicy={properties['OOMPolicy']}); "
            f"set OOMPolicy=continue in {name}"
        )
    return found


def span_ms(text: str) -> float | None:
    """A span as systemd prints it (``1min 30s``), in ms; None for ``infinity``, and for what cannot be read."""
    parts = text.split()
    found = [_SPAN.fullmatch(part) for part in parts]
    if not parts or not all(found):
        return None
    return sum(float(match[1]) * _UNIT_MS[match[2]] for match in found if match)


def _asked(unit: Unit) -> dict[str, str]:
    command = ["systemctl", *(["--user"] if unit.is_users else []), "show", f"--property={','.join(_PROPERTIES)}"]
    done = subprocess.run(
        [*command, "--", unit.name], capture_output=True, text=True, timeout=ANSWER_S_MAX, stdin=subprocess.DEVNULL,
        check=True,
    )  # fmt: skip
    return dict(line.split("=", 1) for line in done.stdout.splitlines() if "=" in line)


def _is_ours(properties: Mapping[str, str]) -> bool:
    """Whether the unit's main process is this one, or started it; not so in a job of cron.service, say."""
    main = properties.get("MainPID", "")
    pid = os.getpid()
    while pid > 1:
        if str(pid) == main:
            return True
        try:
            stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
        except OSError:
            return False
        pid = int(stat.rpartition(")")[2].split()[1])
    return False
