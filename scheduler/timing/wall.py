"""
From patterns of local time to instants: the one search behind every schedule that follows the wall clock.

A *pattern* knows only the calendar: which local times match. The zone's tiles (see `zone_table`) say when the clock
on the wall shows them. Each tile answers for the local times from its floor to its end, and these ranges follow each
other in the order in which time passes. So the first fire after an instant is the first match at or above it in its
own tile, or else the first match in the next tile that has one.

Local times are seconds since 1970-01-01T00:00 on the same clock; no local `datetime` is ever compared.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import Protocol

from scheduler.timing.zone_table import PERIOD_S, Zone

# More than any offset from UTC has ever been (Manila's 15:56:08 before 1845).
OFFSET_S_MAX = 24 * 3600


class Pattern(Protocol):
    """Local times that match, in whole seconds."""

    @property
    def repeats(self) -> bool:
        """Whether the matches repeat with the calendar, every 400 years."""

    def at_or_after(self, local_s: int) -> int | None:
        """Return the first match that is not before *local_s*, or None."""

    def at_or_before(self, local_s: int) -> int | None:
        """Return the last match that is not after *local_s*, or None."""


def first_fire_s(pattern: Pattern, zone: Zone, floors_s: list[int], after_s: int) -> int | None:
    """
    Return the first instant after *after_s* (UTC seconds) at which *pattern* fires in *zone*, or None.

    1. Beyond the table, look up the same second of the 400-year period that the table holds.
    2. Find the tile of the instant and the first match from the next second on, but not below the tile's floor:
       in the second pass of a repeated stretch, what was passed is done.
    3. If it lies in this tile, that is the fire. If not, walk on from tile to tile, see `_first_in_later_tiles`.
    """
    shift_s = 0
    if after_s >= zone.wrap_s:
        shift_s = (after_s - zone.wrap_s) // PERIOD_S * PERIOD_S + PERIOD_S
        after_s -= shift_s
    tile = bisect_right(zone.starts_s, after_s) - 1
    offset_s = zone.offsets_s[tile]
    lower_s = after_s + offset_s + 1
    lower_s = max(lower_s, floors_s[tile])
    match_s = pattern.at_or_after(lower_s + shift_s)
    if match_s is None:
        return None
    if match_s - shift_s < zone.local_ends_s[tile]:
        return match_s - offset_s
    return _first_in_later_tiles(pattern, zone, floors_s, tile, lower_s, match_s - shift_s, shift_s)


def _first_in_later_tiles(  # noqa: PLR0917 - the state of a search that has begun
    pattern: Pattern, zone: Zone, floors_s: list[int], tile: int, lower_s: int, match_s: int, shift_s: int
) -> int | None:
    """
    Return the first fire in a tile after *tile*, whose first match from *lower_s* on is *match_s* and lies beyond it.

    A walk over every tile would take a step for each half-year. So we leap to the first tile in which *match_s* can
    be shown, unless the clock may yet be put back below *lower_s*, which is only possible within a day of it.
    """
    wraps = 0
    while True:
        following = tile + 1
        if following < len(zone.starts_s) and zone.starts_s[following] - OFFSET_S_MAX > lower_s:
            following = max(following, bisect_right(zone.starts_s, match_s - OFFSET_S_MAX) - 1)
        if following >= len(zone.starts_s):
            wraps += 1
            if wraps > 1 and pattern.repeats:
                return None  # A whole period without a fire: every match falls into a gap, for ever.
            following = zone.wrap_tile
            shift_s += PERIOD_S
        tile = following
        lower_s = floors_s[tile]
        found_s = pattern.at_or_after(lower_s + shift_s)
        if found_s is None:
            return None
        match_s = found_s - shift_s
        if match_s < zone.local_ends_s[tile]:
            if match_s < zone.local_starts_s[tile]:
                return zone.starts_s[tile] + shift_s  # It was skipped, and happens at the first instant after.
            return found_s - zone.offsets_s[tile]


def last_fire_s(pattern: Pattern, zone: Zone, floors_s: list[int], before_s: int) -> int | None:
    """
    Return the last instant before *before_s* (UTC seconds) at which *pattern* fires in *zone*, or None.

    The mirror image of `first_fire_s`: the last match down to the tile's floor, else that of an earlier tile.
    """
    shift_s = 0
    upto_s = before_s - 1
    if upto_s >= zone.wrap_s:
        shift_s = (upto_s - zone.wrap_s) // PERIOD_S * PERIOD_S + PERIOD_S
        upto_s -= shift_s
    tile = bisect_right(zone.starts_s, upto_s) - 1
    upper_s = upto_s + zone.offsets_s[tile]
    wraps = 0
    while True:
        found_s = pattern.at_or_before(upper_s + shift_s)
        if found_s is not None and found_s - shift_s >= floors_s[tile]:
            if found_s - shift_s < zone.local_starts_s[tile]:
                return zone.starts_s[tile] + shift_s
            return found_s - zone.offsets_s[tile]
        preceding = tile - 1
        if zone.starts_s[tile] + OFFSET_S_MAX <= upper_s:
            # No earlier local time lies above what has been looked at, so nothing matches until *found_s*.
            if found_s is None:
                return None
            preceding = min(preceding, bisect_right(zone.starts_s, found_s - shift_s + OFFSET_S_MAX) - 1)
        if shift_s and preceding < zone.wrap_tile:
            wraps += 1
            preceding = len(zone.starts_s) - 1
            shift_s = 0 if wraps > 1 and pattern.repeats else shift_s - PERIOD_S
        if preceding < 0:
            return None
        tile = preceding
        upper_s = zone.local_ends_s[tile] - 1
