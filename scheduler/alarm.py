"""
What is wrong with an entry. Pure: it is handed what is known, and the time.

A run that has failed for good (its retries are used up, or its worker died too often) is a failure. One that succeeded, or was
ignored by its own wish, is a success. One that expired or was cancelled is neither: the count of failures in a row stays.
"""

from __future__ import annotations

from typing import NamedTuple


class Health(NamedTuple):
    """
    How the runs of an entry went, as `end.lua` keeps it.

    Attributes:
        state: How its last run ended.
        ended_ms: When.
        succeeded_ms: The newest due time that has seen a success; a run by hand stands for all that was due when it was asked for.
        failures: So many have failed since the last success.
    """

    state: str = ""
    ended_ms: int = 0
    succeeded_ms: int = 0
    failures: int = 0


def read_health(data: bytes | None) -> Health:
    """What stands in `{ns}:last` of one entry; older versions wrote only the first two words."""
    if data is None:
        return UNKNOWN
    state, *numbers = data.decode().split(" ")
    return Health(state, *map(int, numbers))


UNKNOWN = Health()
"""It never ran."""
