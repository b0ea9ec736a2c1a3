"""
How croniter and Celery would read a crontab, and where they first fire otherwise than we do.

croniter is a dependency and answers itself. It crashes on some input and does not return on other, so whatever it raises is a refusal,
and it is asked for a bounded time. Celery answers itself where it is installed; elsewhere its rules are modelled (see `_CeleryModel`).
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta, tzinfo
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final, NamedTuple, Protocol

from scheduler.clock import EPOCH, from_ms, to_ms
from scheduler.errors import InvalidScheduleError
from scheduler.foresee.due import Span
from scheduler.foresee.warnings import AHEAD_MS, DAY_MS, change_moments
from scheduler.timing import Schedule, crontab
from scheduler.timing.settling import Patience, Settling
from scheduler.timing.zones import get_zone

PEER_CHARS_MAX: Final = 200
"""A longer expression is not handed to a peer: croniter takes seconds for megabytes."""
FIRES_COMPARED: Final = 500
"""From the beginning on, and again around each change of the clock within a year."""
COMPARE_S: Final = 1.0
MODELLED: Final = "5"
"""The version of Celery whose rules are modelled: 5.7.0 was asked for the expectations in the tests."""


class Difference(NamedTuple):
    """The first moment at which one of two fires and the other does not."""

    at_ms: int
    we_fire: bool
    """Else the peer does."""


class Reading(NamedTuple):
    """
    How a peer reads an expression.

    Attributes:
        version: Of the peer.
        asked: It was asked itself; else its rules were modelled.
        refusal: Why it refuses the expression; empty if it accepts it.
        difference: None: none was found.
        fires: How many fires were compared.
    """

    name: str
    version: str
    asked: bool
    refusal: str = ""
    difference: Difference | None = None
    fires: int = 0


class Peer(Protocol):
    """Whoever reads crontabs too."""

    def next_ms(self, after_ms: int) -> int | None:
        """The first fire after *after_ms*, in UTC."""


def readings(expr: str, schedule: Schedule, from_ms: int) -> list[Reading]:
    """How croniter and Celery read *expr*, which is *schedule* to us, from *from_ms* on."""
    return [_croniter_reading(expr, schedule, from_ms), _celery_reading(expr, schedule, from_ms)]


def _croniter_reading(expr: str, schedule: Schedule, from_ms: int) -> Reading:
    return _reading(Reading("croniter", version("croniter"), True), _CroniterPeer, expr, schedule, from_ms)


def _celery_reading(expr: str, schedule: Schedule, from_ms: int) -> Reading:
    try:
        return _reading(Reading("Celery", version("celery"), True), _CeleryPeer, expr, schedule, from_ms)
    except (PackageNotFoundError, ImportError):
        return _reading(Reading("Celery", MODELLED, False), _CeleryModel, expr, schedule, from_ms)


def _reading(reading: Reading, kind: Any, expr: str, schedule: Schedule, from_ms: int) -> Reading:
    if len(expr) > PEER_CHARS_MAX:
        return reading._replace(refusal=f"not asked: it has more than {PEER_CHARS_MAX} characters")
    settling = Settling(from_ms, Patience(), [])
    fires = 0
    try:
        with settling.asking(reading.name):
            peer = kind(expr, get_zone(schedule.zone or "UTC"))
            deadline_mono_s = time.monotonic() + COMPARE_S
            for span in _spans(schedule, from_ms):
                compared, difference = _compared(schedule, peer, span, deadline_mono_s)
                fires += compared
                if difference is not None:
                    return reading._replace(difference=difference, fires=fires)
    except ImportError:
        raise
    except InvalidScheduleError as error:
        return reading._replace(refusal=str(error))
    except Exception as error:
        text = " ".join(str(error).split())
        return reading._replace(
            refusal=f"{type(error).__name__}: {text}" if text else type(error).__name__, fires=fires
        )
    return reading._replace(fires=fires)


def _spans(schedule: Schedule, from_ms: int) -> Iterator[Span]:
    """What is compared: the first fires, and those around each change of the clock within a year."""
    yield Span(from_ms, from_ms + 10 * AHEAD_MS)
    for at_ms in change_moments(schedule.zone or "UTC", from_ms):
        yield Span(at_ms - DAY_MS, at_ms + DAY_MS)


def _compared(schedule: Schedule, peer: Peer, span: Span, deadline_mono_s: float) -> tuple[int, Difference | None]:
    """How many fires within *span* were compared, and the first difference."""
    at_ms = span.from_ms
    for count in range(FIRES_COMPARED):
        if time.monotonic() > deadline_mono_s:
            return count, None
        ours, theirs = (_within(who.next_ms(at_ms), span) for who in (schedule, peer))
        if ours != theirs:
            return count, Difference(
                min(moment for moment in (ours, theirs) if moment is not None), _first(ours, theirs)
            )
        if ours is None:
            return count, None
        at_ms = ours
    return FIRES_COMPARED, None


def _within(moment_ms: int | None, span: Span) -> int | None:
    return moment_ms if moment_ms is not None and moment_ms < span.to_ms else None


def _first(ours: int | None, theirs: int | None) -> bool:
    return theirs is None or (ours is not None and ours < theirs)


class _CroniterPeer:
    """croniter, walking on from fire to fire as its users do."""

    def __init__(self, expr: str, zone: tzinfo) -> None:
        from croniter import croniter  # noqa: PLC0415 - needed here only

        self._zone = zone
        make: Any = croniter
        self._make: Callable[[datetime], Any] = lambda start: make(expr, start)
        self._walker: Any = None
        self._at_ms: int | None = None
        self._make(datetime(2026, 1, 1, tzinfo=zone))

    def next_ms(self, after_ms: int) -> int | None:
        """See `Peer`."""
        if self._walker is None or self._at_ms is None or self._at_ms != after_ms:
            self._walker = self._make(from_ms(after_ms).astimezone(self._zone))
        self._at_ms = to_ms(self._walker.get_next(datetime).astimezone(UTC))
        return self._at_ms


class _CeleryPeer:
    """The Celery that is installed, with a beat that wakes up exactly in time."""

    def __init__(self, expr: str, zone: tzinfo) -> None:
        from celery import Celery  # type: ignore[import-not-found,unused-ignore]  # noqa: PLC0415 - an own choice of users
        from celery.schedules import crontab as made  # type: ignore[import-not-found,unused-ignore]  # noqa: PLC0415

        self._zone = zone
        self._now = EPOCH
        app = Celery("explain", set_as_current=False)
        app.conf.timezone = str(zone)
        minute, hour, day_of_month, month, day_of_week = _five(expr)
        self._schedule = made(minute, hour, day_of_week, day_of_month, month, app=app, nowfun=lambda: self._now)

    def next_ms(self, after_ms: int) -> int | None:
        """See `Peer`."""
        self._now = from_ms(after_ms).astimezone(self._zone)
        return _not_before(to_ms(self._now.astimezone(UTC) + self._schedule.remaining_estimate(self._now)), after_ms)


class _CeleryModel:
    """
    Celery's rules, as 5.7.0 has them.

    A day has to match both day fields. The next fire is the next time on the wall after that of the last one, read as Python
    reads it: a time in a gap comes as much later as the gap is long, and of a repeated hour the second pass is left out, even
    by `0 * * * *`.
    """

    def __init__(self, expr: str, zone: tzinfo) -> None:
        for name, field in zip(_CELERY_FIELDS, _five(expr), strict=True):
            for part in field.split(","):
                match = _CELERY_PART.fullmatch(part.lower())
                if not match or (name == "day_of_week" and "7" in (match.group(1), match.group(2))):
                    raise InvalidScheduleError(f"it cannot read {name} {part!r}")
        self._zone = zone
        try:
            self._wall = crontab(expr, tz="UTC", day_match="and")
        except InvalidScheduleError:
            raise InvalidScheduleError("a day has to match both day fields, and none ever does") from None

    def next_ms(self, after_ms: int) -> int | None:
        """See `Peer`."""
        last = from_ms(after_ms).astimezone(self._zone)
        next_ms = self._wall.next_ms(to_ms(last.replace(tzinfo=UTC)))
        if next_ms is None:
            return None
        wall = EPOCH.replace(tzinfo=None) + timedelta(milliseconds=next_ms)
        return _not_before(to_ms(wall.replace(tzinfo=self._zone).astimezone(UTC)), after_ms)


def _not_before(next_ms: int, after_ms: int) -> int:
    """Within the second pass of a repeated hour Celery's next time can lie behind it: then it is due at once."""
    return max(next_ms, after_ms + 1)


def _five(expr: str) -> list[str]:
    """As `celery.schedules.crontab.from_string` splits it: at each blank."""
    fields = expr.split(" ")
    if len(fields) != 5:
        raise InvalidScheduleError(f"it takes five fields, one blank between them, and here are {len(fields)}")
    return fields


_CELERY_FIELDS: Final = ("minute", "hour", "day_of_month", "month_of_year", "day_of_week")
_VALUE: Final = r"(\d+|[a-z]{3})"
_CELERY_PART: Final = re.compile(rf"\*(?:/0*[1-9]\d*)?|{_VALUE}(?:-{_VALUE}(?:/0*[1-9]\d*)?)?")
