"""
Windows: stretches of time that let a schedule's moments through, or hold them back.

A schedule is a set of moments; a window is a set of stretches, such as office hours or the days of a calendar. It fires
nothing by itself. ``schedule & window`` keeps the moments inside, ``schedule - window`` those outside, and windows
combine among each other with ``|``, ``&`` and ``-``.

What the clock on the wall shows at a moment decides, in both passes of a repeated hour. Of each window four questions
are asked, so that a search leaps over a stretch however long it is.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from bisect import bisect_right
from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING, Any, Final

from scheduler.timing.base import UTC_S_MAX, UTC_S_MIN
from scheduler.timing.months import DAY_S
from scheduler.timing.steps import Steps
from scheduler.timing.value import Value
from scheduler.timing.wall import OFFSET_S_MAX
from scheduler.timing.zone_table import PERIOD_S, Zone
from scheduler.timing.zones import zone_table

if TYPE_CHECKING:
    from scheduler.timing.settling import Settling

DAY_MS: Final = DAY_S * 1000
UTC_MS_MIN: Final = UTC_S_MIN * 1000
UTC_MS_MAX: Final = UTC_S_MAX * 1000 + 999


class Window(Value, ABC):
    """
    A set of stretches of time. Instances are immutable.

    Attributes:
        text: The window as its author would write it.
        zone: The IANA name of the zone it was declared with, or None. Without one it takes that of the schedule it is
            combined with, else the entry's; alone it computes in UTC.
    """

    __slots__ = ()

    @abstractmethod
    def next_inside_ms(self, at_ms: int) -> int | None:
        """Return the first millisecond from *at_ms* on that lies inside, or None."""

    @abstractmethod
    def next_outside_ms(self, at_ms: int) -> int | None:
        """Return the first millisecond from *at_ms* on that lies outside, or None."""

    @abstractmethod
    def last_inside_ms(self, at_ms: int) -> int | None:
        """Return the last millisecond up to *at_ms* that lies inside, or None."""

    @abstractmethod
    def last_outside_ms(self, at_ms: int) -> int | None:
        """Return the last millisecond up to *at_ms* that lies outside, or None."""

    @abstractmethod
    def in_zone(self, name: str) -> Window:
        """Return this window in the zone *name* if it was declared without one, else itself."""

    @abstractmethod
    def words(self) -> str:
        """Return the window in plain English, as it stands after a schedule: ``between 09:00 and 17:30``."""

    @abstractmethod
    def as_data(self) -> dict[str, Any]:
        """Return all that `window_from_data` needs to build an equal window, fit for JSON."""

    def for_entry(self, name: str) -> Window:  # noqa: ARG002 - most windows mean the same under every name
        """Return this window with all that depends on the entry's name settled."""
        return self

    def settled(self, settling: Settling) -> Window:  # noqa: ARG002 - most windows are data already
        """Return this window as data, as `Schedule.settled` does."""
        return self

    def warnings(self) -> tuple[str, ...]:
        """Return what is legal but rarely meant, one sentence each."""
        return ()

    def holds_ms(self, at_ms: int) -> bool:
        """Return whether *at_ms* lies inside."""
        return self.next_inside_ms(at_ms) == at_ms

    def holds_within(self, at_ms: int, steps: Steps) -> bool:
        """As `holds_ms`, for a combination that has so many *steps* left. It needs no search."""
        steps.spend(self.STEP_COST)
        return self.next_inside_ms(at_ms) == at_ms

    def seek_ms(self, at_ms: int, steps: Steps, *, inside: bool, forward: bool) -> int | None:
        """Return the nearest millisecond from *at_ms* on, that moment included, that lies inside (or outside), or None."""
        steps.spend(self.STEP_COST)
        if forward:
            return self.next_inside_ms(at_ms) if inside else self.next_outside_ms(at_ms)
        return self.last_inside_ms(at_ms) if inside else self.last_outside_ms(at_ms)

    def __or__(self, other: object) -> Any:
        return _combined("|", self, other)

    def __and__(self, other: object) -> Any:
        return _combined("&", self, other)

    def __sub__(self, other: object) -> Any:
        return _combined("-", self, other)

    def __ror__(self, other: object) -> Any:
        return _combined("|", other, self)

    def __rand__(self, other: object) -> Any:
        return _combined("&", other, self)

    def __rsub__(self, other: object) -> Any:
        return _combined("-", other, self)

    def __reduce__(self) -> tuple[Any, tuple[dict[str, Any]]]:
        from scheduler.timing.data import window_from_data  # noqa: PLC0415 - it imports every kind of window

        return window_from_data, (self.as_data(),)


def _combined(mark: str, left: object, right: object) -> Any:
    """Return what two operands come to, or NotImplemented, on which Python asks the other one."""
    from scheduler.timing.combine import combined  # noqa: PLC0415 - it is made of schedules and windows

    return combined(mark, left, right)


Find = Callable[[int], "int | None"]


class LocalWindow(Window):
    """
    A window that looks at the clock on the wall.

    Subclasses say which local milliseconds (since 1970-01-01T00:00 on the same clock) lie inside; this class finds when
    a zone shows them, tile by tile (see `zone_table`).
    """

    __slots__ = ("_zone",)

    _zone: Zone

    def __init__(self, *, text: str, zone: str | None, meaning: Hashable) -> None:
        super().__init__(text=text, zone=zone, meaning=meaning)
        self._set("_zone", zone_table(zone or "UTC"))

    @abstractmethod
    def local_inside_from(self, local_ms: int) -> int | None:
        """Return the first local millisecond from *local_ms* on that lies inside, or None."""

    @abstractmethod
    def local_outside_from(self, local_ms: int) -> int | None:
        """Return the first local millisecond from *local_ms* on that lies outside, or None."""

    @abstractmethod
    def local_inside_upto(self, local_ms: int) -> int | None:
        """Return the last local millisecond up to *local_ms* that lies inside, or None."""

    @abstractmethod
    def local_outside_upto(self, local_ms: int) -> int | None:
        """Return the last local millisecond up to *local_ms* that lies outside, or None."""

    def next_inside_ms(self, at_ms: int) -> int | None:
        return _first_shown(self._zone, self.local_inside_from, at_ms)

    def next_outside_ms(self, at_ms: int) -> int | None:
        return _first_shown(self._zone, self.local_outside_from, at_ms)

    def last_inside_ms(self, at_ms: int) -> int | None:
        return _last_shown(self._zone, self.local_inside_upto, at_ms)

    def last_outside_ms(self, at_ms: int) -> int | None:
        return _last_shown(self._zone, self.local_outside_upto, at_ms)


class DayWindow(LocalWindow):
    """
    A window of whole local days; days are counted from 1970-01-01.

    A day begins when the clock first shows it, which need not be at midnight.
    """

    __slots__ = ()

    @abstractmethod
    def next_day(self, day: int) -> int | None:
        """Return the first day from *day* on that belongs to the window, or None."""

    @abstractmethod
    def next_free_day(self, day: int) -> int | None:
        """Return the first day from *day* on that does not belong to the window, or None."""

    @abstractmethod
    def last_day(self, day: int) -> int | None:
        """Return the last day up to *day* that belongs to the window, or None."""

    @abstractmethod
    def last_free_day(self, day: int) -> int | None:
        """Return the last day up to *day* that does not belong to the window, or None."""

    def local_inside_from(self, local_ms: int) -> int | None:
        return _from_day(local_ms, self.next_day)

    def local_outside_from(self, local_ms: int) -> int | None:
        return _from_day(local_ms, self.next_free_day)

    def local_inside_upto(self, local_ms: int) -> int | None:
        return _upto_day(local_ms, self.last_day)

    def local_outside_upto(self, local_ms: int) -> int | None:
        return _upto_day(local_ms, self.last_free_day)


def _from_day(local_ms: int, find: Find) -> int | None:
    day = local_ms // DAY_MS
    found = find(day)
    return None if found is None else local_ms if found == day else found * DAY_MS


def _upto_day(local_ms: int, find: Find) -> int | None:
    day = local_ms // DAY_MS
    found = find(day)
    return None if found is None else local_ms if found == day else found * DAY_MS + DAY_MS - 1


def _first_shown(zone: Zone, find: Find, at_ms: int) -> int | None:
    """
    Return the first instant from *at_ms* on at which *zone* shows a local time that *find* gives, or None.

    1. Beyond the table, look up the same moment of the 400-year period that the table holds.
    2. In its tile, local time runs evenly: the next local time that is wanted lies in the tile, or it does not.
    3. If it does not, go on with the first tile that can show it; clocks are put back by less than a day.
    """
    if at_ms > UTC_MS_MAX:
        return None
    at_ms = max(at_ms, UTC_MS_MIN)
    shift_ms = 0
    if at_ms >= zone.wrap_s * 1000:
        shift_ms = ((at_ms // 1000 - zone.wrap_s) // PERIOD_S + 1) * PERIOD_S * 1000
    tile = bisect_right(zone.starts_s, (at_ms - shift_ms) // 1000) - 1
    while True:
        offset_ms = zone.offsets_s[tile] * 1000
        local_ms = at_ms + offset_ms
        found_ms = find(local_ms)
        if found_ms is not None and found_ms - shift_ms < zone.local_ends_s[tile] * 1000:
            found_ms -= offset_ms
            return found_ms if found_ms <= UTC_MS_MAX else None
        following = tile + 1
        # Nothing, or only beyond a leap of the clock: no later tile goes back by more than a day.
        if found_ms is None and (
            following >= len(zone.starts_s) or zone.starts_s[following] * 1000 + shift_ms - at_ms > OFFSET_S_MAX * 1000
        ):
            return None
        if found_ms is not None and following < len(zone.starts_s):
            reach_s = (found_ms - shift_ms) // 1000 - OFFSET_S_MAX
            following = max(following, bisect_right(zone.starts_s, reach_s) - 1)
        if following >= len(zone.starts_s):
            following = zone.wrap_tile
            shift_ms += PERIOD_S * 1000
        tile = following
        at_ms = zone.starts_s[tile] * 1000 + shift_ms
        if at_ms > UTC_MS_MAX:
            return None


def _last_shown(zone: Zone, find: Find, at_ms: int) -> int | None:
    """Return the last instant up to *at_ms* at which *zone* shows a local time that *find* gives: `_first_shown` mirrored."""
    if at_ms < UTC_MS_MIN:
        return None
    at_ms = min(at_ms, UTC_MS_MAX)
    shift_ms = 0
    if at_ms >= zone.wrap_s * 1000:
        shift_ms = ((at_ms // 1000 - zone.wrap_s) // PERIOD_S + 1) * PERIOD_S * 1000
    tile = bisect_right(zone.starts_s, (at_ms - shift_ms) // 1000) - 1
    while True:
        offset_ms = zone.offsets_s[tile] * 1000
        local_ms = at_ms + offset_ms
        found_ms = find(local_ms)
        start_ms = zone.starts_s[tile] * 1000 + shift_ms
        if found_ms is not None and found_ms - offset_ms >= start_ms:
            found_ms -= offset_ms
            return found_ms if found_ms >= UTC_MS_MIN else None
        if found_ms is None and at_ms - start_ms > OFFSET_S_MAX * 1000:
            return None
        preceding = tile - 1
        if found_ms is not None:
            reach_s = (found_ms - shift_ms) // 1000 + OFFSET_S_MAX
            preceding = min(preceding, bisect_right(zone.starts_s, reach_s) - 1)
        if shift_ms and preceding < zone.wrap_tile:
            preceding = len(zone.starts_s) - 1
            shift_ms -= PERIOD_S * 1000
        if preceding < 0:
            return None
        tile = preceding
        end_s = zone.starts_s[tile + 1] if tile + 1 < len(zone.starts_s) else zone.wrap_s
        at_ms = end_s * 1000 + shift_ms - 1
        if at_ms < UTC_MS_MIN:
            return None
