"""The systemd notification protocol: READY, STATUS, WATCHDOG, STOPPING (sd_notify(3)). Nothing happens outside systemd."""

from __future__ import annotations

import os
import socket


def notify(state: str) -> None:
    """Tell systemd *state*, such as ``"READY=1"``. A manager that does not listen is not our failure."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
            sock.setblocking(False)
            sock.sendto(state.encode(), address)
    except OSError:
        return


def watchdog_s() -> float | None:
    """Seconds within which systemd expects `WATCHDOG=1`, or None where no watchdog is set for this process."""
    usec, pid = os.environ.get("WATCHDOG_USEC", ""), os.environ.get("WATCHDOG_PID", "")
    if not usec.isdigit() or (pid and pid != str(os.getpid())):
        return None
    return int(usec) / 1e6
