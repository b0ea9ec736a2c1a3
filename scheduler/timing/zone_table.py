"""
A timezone as a table: which offset holds when, and which stretch of local time belongs to which offset.

Between two transitions the clock runs evenly, so local time is cut into *tiles*. Tile ``i`` begins at
``starts_s[i]`` (UTC) with the offset ``offsets_s[i]``; on the wall it shows ``[local_starts_s[i], local_ends_s[i])``.
Where a clock is put forward, local times are missing between two tiles; where it is put back, two tiles overlap.
`Zone.floors_s` says from which local time on a tile answers, and so decides what becomes of those (see there).

The footer of a zone holds for ever, and the Gregorian calendar repeats after 400 years to the second and the weekday.
So the table ends 400 years after its first purely rule-made transition, and what lies later is looked up that many
years earlier (`wrap_s`, `wrap_tile`).
"""

from __future__ import annotations

from bisect import bisect_right
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Final

from scheduler.timing.tzif import CompiledZone

PERIOD_S: Final = 146_097 * 86_400
FOREVER_S: Final = 1 << 62

# Debian's cron(8): smaller jumps are daylight saving, larger ones are corrections of the clock.
CORRECTION_S: Final = 3 * 3600


class Zone:
    """
    One timezone, as lists that a search can bisect. Immutable once built; see the module's text.

    Attributes:
        name: The IANA name.
        starts_s: For each tile its first instant, in UTC. The first tile has always been there.
        offsets_s: For each tile what is added to UTC to get local time.
        local_starts_s, local_ends_s: For each tile the local times it shows, the end excluded.
        wrap_s: Where the table ends and repeats (UTC), or `FOREVER_S`.
        wrap_tile: The tile that comes again at `wrap_s`.
    """

    __slots__ = ("_floors", "local_ends_s", "local_starts_s", "name", "offsets_s", "starts_s", "wrap_s", "wrap_tile")

    def __init__(self, name: str, compiled: CompiledZone) -> None:
        self.name = name
        transitions, self.wrap_s, self.wrap_tile = _unrolled(compiled)
        self.starts_s = [-FOREVER_S, *(start for start, _ in transitions)]
        self.offsets_s = [compiled.first_offset_s, *(offset for _, offset in transitions)]
        if not transitions and compiled.footer is not None:
            self.offsets_s = [compiled.footer.std_offset_s]
        self.local_starts_s = [s + o for s, o in zip(self.starts_s, self.offsets_s, strict=True)]
        ends_s = [*self.starts_s[1:], self.wrap_s]
        self.local_ends_s = [e + o for e, o in zip(ends_s, self.offsets_s, strict=True)]
        self._floors: dict[tuple[bool, bool], list[int]] = {}

    def offset_s(self, utc_s: int) -> int:
        """Return what is added to UTC at the instant *utc_s* to get local time."""
        if utc_s >= self.wrap_s:
            utc_s -= (utc_s - self.wrap_s) // PERIOD_S * PERIOD_S + PERIOD_S
        return self.offsets_s[bisect_right(self.starts_s, utc_s) - 1]

    def floors_s(self, *, run_gaps: bool, fold_once: bool) -> list[int]:
        """
        Return for each tile the first local time it answers for, under one rule for gaps and folds.

        A floor above the tile's own start leaves out the second pass of a repeated stretch. A floor below it takes in
        the times that were skipped, and they happen at the tile's first instant. Jumps of `CORRECTION_S` and more are
        corrections: nothing is made up for what they skip, and what they repeat is not a second pass but new time.

        Args:
            run_gaps: A time inside a gap happens right after the gap; else not at all.
            fold_once: A time in a repeated stretch happens in the first pass only; else in both.
        """
        key = (run_gaps, fold_once)
        floors = self._floors.get(key)
        if floors is None:
            floors = self._floors[key] = self._computed_floors_s(run_gaps, fold_once)
        return floors

    def _computed_floors_s(self, run_gaps: bool, fold_once: bool) -> list[int]:
        floors = self.local_starts_s[:1]
        # Up to where the clock on the wall has come so far. It is what Debian's cron calls virtual time.
        reached_s = -FOREVER_S
        for tile, (before_s, after_s) in enumerate(pairwise(self.offsets_s), start=1):
            jump_s = after_s - before_s
            start_s, left_s = self.local_starts_s[tile], self.local_ends_s[tile - 1]
            is_first_pass = jump_s <= -CORRECTION_S or not fold_once
            reached_s = min(left_s, start_s) if is_first_pass else max(reached_s, left_s)
            floors.append(reached_s if run_gaps and jump_s < CORRECTION_S else max(reached_s, start_s))
        return floors


def _unrolled(compiled: CompiledZone) -> tuple[list[tuple[int, int]], int, int]:
    """Return all (UTC second, new offset) pairs up to the wrap, the wrap, and the tile that comes again there."""
    changes = list(compiled.transitions)
    footer = compiled.footer
    if footer is None or footer.dst_offset_s is None:
        return _without_idle(compiled.first_offset_s, changes), FOREVER_S, 0
    last_s = changes[-1][0] if changes else -FOREVER_S
    year = (datetime(1970, 1, 1) + timedelta(seconds=last_s)).year if changes else 1970
    # The rule's first year may be cut by the last compiled transition; the second one is whole and leads the period.
    first = [change for change in footer.transitions(year) if change[0] > last_s]
    period = [change for y in range(year + 1, year + 401) for change in footer.transitions(y)]
    head = _without_idle(compiled.first_offset_s, changes + first)
    rest = _without_idle(head[-1][1] if head else compiled.first_offset_s, period)
    if not rest:
        return head, FOREVER_S, 0
    return head + rest, rest[0][0] + PERIOD_S, len(head) + 1


def _without_idle(offset_s: int, changes: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return *changes* without those that alter only the name of the time, or whether it counts as summer time."""
    kept = []
    for start_s, new_offset_s in changes:
        if new_offset_s != offset_s:
            kept.append((start_s, new_offset_s))
            offset_s = new_offset_s
    return kept
