"""Who does something, for the records: people ask afterwards."""

from __future__ import annotations

import os


def who() -> str:
    """``user@host``."""
    import getpass  # noqa: PLC0415
    import socket  # noqa: PLC0415

    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"
