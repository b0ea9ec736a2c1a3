"""How often a task may start, over all workers: ``rate_limit``, read once. Pure."""

from __future__ import annotations

import re
from typing import Any

import msgspec

BURST_US = 100_000
"""What may start within this long may start together: short tasks come in batches, whatever their limit."""
STARTS_MAX = 1_000_000
"""In a second."""
_UNITS_S = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
_RATE = re.compile(r"(\d+(?:\.\d+)?)(?:/([smhd]))?")


class Rate(msgspec.Struct, frozen=True):
    """So many starts in so many seconds, evenly spaced."""

    starts: float
    per_s: int = 1

    @property
    def interval_us(self) -> int:
        """How many µs lie between two starts."""
        return max(1, round(self.per_s * 1_000_000 / self.starts))

    @property
    def early_us(self) -> int:
        """By how many µs one may come before its turn."""
        return max(0, BURST_US - self.interval_us)

    def __str__(self) -> str:
        unit = next(unit for unit, seconds in _UNITS_S.items() if seconds == self.per_s)
        return f"{self.starts:g}/{unit}"


def read_rate(value: Any, name: str) -> Rate | None:
    """
    The limit that *value* says: a number in a second, or text as in ``"100/m"``; None for None and 0.

    Raises:
        ValueError: It is something else.
    """
    if value is None:
        return None
    if isinstance(value, Rate):
        return value
    found = _RATE.fullmatch(value.strip()) if isinstance(value, str) else None
    if found is not None:
        starts, per_s = float(found[1]), _UNITS_S[found[2] or "s"]
    elif isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= STARTS_MAX:
        starts, per_s = float(value), 1
    else:
        raise ValueError(
            f"{name} {value!r}: expected a number of starts in a second, or text as in '10/s', '100/m', '1000/h'"
        )
    if starts == 0:
        return None
    if not 1 / _UNITS_S["d"] / 366 <= starts / per_s <= STARTS_MAX:
        raise ValueError(f"{name} {value!r}: expected at most {STARTS_MAX:,} in a second, and at least one in a year")
    return Rate(starts, per_s)
