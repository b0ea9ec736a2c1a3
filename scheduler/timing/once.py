"""
`once`: a single moment.

It knows no "now": whether a moment that has passed still fires is the catch-up policy of its entry, see `Once.first_mark_ms`.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from scheduler.timing.base import Schedule
from scheduler.timing.moment import Moment, read_moment, shown_ms, times_shown
from scheduler.timing.zones import zone_name, zone_table


def once(moment: datetime | str, *, tz: Any = None) -> Once:
    """
    Return the schedule that fires at *moment*, and never again.

    Args:
        moment: An aware datetime, or a naive one or a date, which are local to the zone; or ISO text of those. A local
            time that daylight saving skips is right after the gap, one that comes twice is the first.
        tz: A zone by name, a `ZoneInfo` or a pytz zone. Without one, the entry's.

    Raises:
        InvalidScheduleError: *moment* is no moment, or lies outside the years 1–9999.
    """
    zone = None if tz is None else zone_name(tz)
    return Once(read_moment(moment, what="once: moment"), zone=zone)


class Once(Schedule):
    """A single moment that has been read. Users make it with `once`."""

    __slots__ = ("_fire_ms", "_moment")

    KIND = "once"
    """How it is called in data."""

    _moment: Moment
    _fire_ms: int

    def __init__(self, moment: Moment, *, zone: str | None) -> None:
        fire_ms = moment.ms if moment.is_utc else shown_ms(zone_table(zone or "UTC"), moment.ms)
        super().__init__(
            text=f"once at {moment.iso()}",
            zone=zone,
            meaning=("once", fire_ms, zone, not moment.is_utc and zone is None),
        )
        self._set("_moment", moment)
        self._set("_fire_ms", fire_ms)

    def next_ms(self, after_ms: int) -> int | None:
        return self._fire_ms if after_ms < self._fire_ms else None

    def previous_ms(self, before_ms: int) -> int | None:
        return self._fire_ms if before_ms > self._fire_ms else None

    def first_mark_ms(self, now_ms: int, window_ms: int) -> int:
        """
        Return the mark of a new entry: just before the moment, if that has passed within *window_ms*.

        So an entry that was deployed a little late is caught up or not as its policy says, and one that is found again
        after years (on a new Redis, with old files) stays silent.
        """
        return self._fire_ms - 1 if now_ms - window_ms <= self._fire_ms <= now_ms else now_ms

    def in_zone(self, name: str) -> Schedule:
        return self if self.zone is not None else Once(self._moment, zone=zone_name(name))

    def words(self) -> str:
        return self.text

    def warnings(self) -> tuple[str, ...]:
        if self._moment.is_utc or self.zone is None:
            return ()
        count = times_shown(zone_table(self.zone), self._moment.ms // 1000)
        if count == 0:
            return (f"{self._moment.iso()} does not exist in {self.zone}: clocks skip it, and it runs right after",)
        if count > 1:
            return (f"{self._moment.iso()} comes twice in {self.zone}, as clocks are put back; the first is meant",)
        return ()

    def as_data(self) -> dict[str, Any]:
        return {"kind": self.KIND, "moment": self._moment.iso(), "tz": self.zone}

    def __repr__(self) -> str:
        tz = "" if self.zone is None else f", tz={self.zone!r}"
        return f"once({self._moment.iso()!r}{tz})"
