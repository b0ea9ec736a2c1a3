"""
What every schedule can do: say when it fires next, when it fired last, and how people call that.

A schedule is a value. It keeps no state and reads no clock; it compares and hashes by what it means.
"""

from __future__ import annotations

from abc import abstractmethod
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from apscheduler.triggers.base import BaseTrigger

from scheduler.errors import InvalidScheduleError
from scheduler.timing.steps import Steps
from scheduler.timing.value import Value
from scheduler.timing.wording import shown

if TYPE_CHECKING:
    from scheduler.timing.settling import Settling

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

    __slots__ = ()

    @abstractmethod
    def next_ms(self, after_ms: int) -> int | None:
        """Return the first fire strictly after *after_ms*, both in UTC epoch milliseconds, or None."""

    @abstractmethod
    def previous_ms(self, before_ms: int) -> int | None:
        """Return the last fire strictly before *before_ms*, both in UTC epoch milliseconds, or None."""

    def next_within(self, after_ms: int, steps: Steps) -> int | None:
        """As `next_ms`, for a combination that has so many *steps* left."""
        steps.spend(self.STEP_COST)
        return self.next_ms(after_ms)

    def previous_within(self, before_ms: int, steps: Steps) -> int | None:
        """As `previous_ms`, for a combination that has so many *steps* left."""
        steps.spend(self.STEP_COST)
        return self.previous_ms(before_ms)

    def has_within(self, at_ms: int, steps: Steps) -> bool:
        """Return whether *at_ms* is a fire, for a combination that has so many *steps* left. It needs no search."""
        steps.spend(self.STEP_COST)
        return self.next_ms(at_ms - 1) == at_ms

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

    def settled(self, settling: Settling) -> Schedule:  # noqa: ARG002 - most schedules are data already
        """Return this schedule as data: what exists only as a Python object (a trigger, a function) is asked ahead."""
        return self

    def parted(self) -> tuple[Schedule, int]:
        """Return this schedule without a jitter of its own, and that jitter in ms; only APScheduler's triggers have one."""
        return self, 0

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

    def __or__(self, other: object) -> Schedule:
        return _combined("|", self, other)

    def __ror__(self, other: object) -> Schedule:
        return _combined("|", other, self)

    def __and__(self, other: object) -> Schedule:
        return _combined("&", self, other)

    def __rand__(self, other: object) -> Schedule:
        return _combined("&", other, self)

    def __sub__(self, other: object) -> Schedule:
        return _combined("-", self, other)

    def __rsub__(self, other: object) -> Schedule:
        return _combined("-", other, self)

    def __reduce__(self) -> tuple[Any, tuple[dict[str, Any]]]:
        from scheduler.timing.data import schedule_from_data  # noqa: PLC0415 - it imports every kind of schedule

        return schedule_from_data, (self.as_data(),)


def _combined(mark: str, left: object, right: object) -> Schedule:
    """Return what two operands come to, or NotImplemented, on which Python asks the other one."""
    from scheduler.timing.combine import combined  # noqa: PLC0415 - it is made of schedules

    made: Schedule = combined(mark, left, right)
    return made


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
