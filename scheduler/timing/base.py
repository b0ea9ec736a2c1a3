"""
What every schedule can do: say when it fires next, when it fired last, and how people call that.

A schedule is a value. It keeps no state and reads no clock; it compares and hashes by what it means.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Hashable
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from apscheduler.triggers.base import BaseTrigger

from scheduler.errors import InvalidScheduleError
from scheduler.timing.value import Value
from scheduler.timing.wording import shown

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
MILLISECOND: Final = timedelta(milliseconds=1)

# The instants that an aware UTC `datetime` can hold, in whole seconds.
UTC_S_MIN: Final = (datetime.min.replace(tzinfo=UTC) - EPOCH) // timedelta(seconds=1)
UTC_S_MAX: Final = (datetime.max.replace(tzinfo=UTC) - EPOCH) // timedelta(seconds=1)

UPCOMING_MAX: Final = 100_000


class Schedule(Value, BaseTrigger):
    """
    A rule that says when an entry fires.

    Subclasses give `next_ms` and `previous_ms`, and pass to `__init__` what they mean: two schedules with the same
    meaning are equal. Instances are immutable.

    Attributes:
        text: The rule as its author would write it, for a column of a table.
        zone: The IANA name of the zone it was declared with, or None. Without one it computes in UTC.
    """

    __slots__ = ("text", "zone")

    text: str
    zone: str | None

    def __init__(self, *, text: str, zone: str | None, meaning: Hashable) -> None:
        super().__init__(meaning)
        self._set("text", text)
        self._set("zone", zone)

    @abstractmethod
    def next_ms(self, after_ms: int) -> int | None:
        """Return the first fire strictly after *after_ms*, both in UTC epoch milliseconds, or None."""

    @abstractmethod
    def previous_ms(self, before_ms: int) -> int | None:
        """Return the last fire strictly before *before_ms*, both in UTC epoch milliseconds, or None."""

    @abstractmethod
    def in_zone(self, name: str) -> Schedule:
        """Return this schedule in the zone *name* if it was declared without one, else itself."""

    @abstractmethod
    def words(self) -> str:
        """Return the rule in plain English, without its zone."""

    @abstractmethod
    def as_data(self) -> dict[str, Any]:
        """Return all that `schedule_from_data` needs to build an equal schedule, fit for JSON."""

    def for_entry(self, name: str) -> Schedule:  # noqa: ARG002 - most schedules mean the same under every name
        """Return this schedule with all that depends on the entry's name (``H`` in a crontab) settled."""
        return self

    def warnings(self) -> tuple[str, ...]:
        """Return what is legal but rarely meant, one sentence each."""
        return ()

    def next(self, after: datetime) -> datetime | None:
        """
        Return the first fire strictly after *after*, in UTC, or None.

        Raises:
            InvalidScheduleError: *after* is no aware datetime.
        """
        fire_ms = self.next_ms((_aware(after) - EPOCH) // MILLISECOND)
        return None if fire_ms is None else EPOCH + timedelta(milliseconds=fire_ms)

    def previous(self, before: datetime) -> datetime | None:
        """
        Return the last fire strictly before *before*, in UTC, or None.

        Raises:
            InvalidScheduleError: *before* is no aware datetime.
        """
        # Rounded up: a fire in the same millisecond as *before* may still lie before it.
        fire_ms = self.previous_ms(-((EPOCH - _aware(before)) // MILLISECOND))
        return None if fire_ms is None else EPOCH + timedelta(milliseconds=fire_ms)

    def upcoming(self, after: datetime, n: int) -> list[datetime]:
        """
        Return the first *n* fires strictly after *after*, in UTC; fewer where the schedule ends.

        Raises:
            InvalidScheduleError: *after* is no aware datetime, or *n* is not within 0 to `UPCOMING_MAX`.
        """
        if isinstance(n, bool) or not isinstance(n, int) or not 0 <= n <= UPCOMING_MAX:
            raise InvalidScheduleError(f"upcoming: n {shown(n)} is outside 0–{UPCOMING_MAX}")
        at_ms: int | None = (_aware(after) - EPOCH) // MILLISECOND
        fires: list[datetime] = []
        while len(fires) < n:
            assert at_ms is not None
            at_ms = self.next_ms(at_ms)
            if at_ms is None:
                break
            fires.append(EPOCH + timedelta(milliseconds=at_ms))
        return fires

    def get_next_fire_time(self, previous_fire_time: datetime | None, now: datetime) -> datetime | None:
        """
        Answer APScheduler: the first fire from *now* on, and then each one after the last.

        APScheduler asks with the previous fire time to list what was missed, so that it counts from there and not
        from *now*.
        """
        if previous_fire_time is not None:
            return self.next(previous_fire_time)
        # Strictly after the last millisecond before *now*.
        fire_ms = self.next_ms(-((EPOCH - _aware(now)) // MILLISECOND) - 1)
        return None if fire_ms is None else EPOCH + timedelta(milliseconds=fire_ms)

    def __reduce__(self) -> tuple[Any, tuple[dict[str, Any]]]:
        from scheduler.timing.data import schedule_from_data  # noqa: PLC0415 - it imports every kind of schedule

        return schedule_from_data, (self.as_data(),)


def _aware(moment: object) -> datetime:
    if not isinstance(moment, datetime):
        raise InvalidScheduleError(f"moment {shown(moment)} is not a datetime; give an aware one")
    try:
        is_naive = moment.utcoffset() is None
    except Exception as error:
        raise InvalidScheduleError(f"moment {moment.replace(tzinfo=None)}: its tzinfo fails ({error})") from error
    if is_naive:
        raise InvalidScheduleError(
            f"moment {moment} is naive; give an aware datetime, such as datetime.now(UTC) or one with a ZoneInfo"
        )
    return moment
