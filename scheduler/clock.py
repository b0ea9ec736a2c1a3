"""
Moments: aware datetimes for people, whole milliseconds since the Unix epoch for everything that travels.

Three clocks are kept apart. The *calendar* of this host is read here, and only where a caller's own words need it
(`countdown=`, a naive `eta=`). What is *due* is decided by Redis' clock, which the store reads. How long a promise may
still be trusted is measured on the *monotonic* clock, whose values end in ``_mono_s``.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_ONE_MS = timedelta(milliseconds=1)


def now_ms() -> int:
    """The calendar of this host. Never compare it with a moment that Redis wrote."""
    return time.time_ns() // 1_000_000


def aware(moment: datetime) -> datetime:
    """
    *moment* with a zone: a naive one is local time of this process, as Python reads it.

    A pytz zone that was attached with ``tzinfo=`` carries local mean time (New York at −04:56). Nobody means that, so
    such a moment is read in the zone of that name.
    """
    zone = moment.tzinfo
    if zone is None:
        return moment.astimezone()
    name = getattr(zone, "zone", None)
    if isinstance(name, str) and moment.tzname() == "LMT":
        return moment.replace(tzinfo=ZoneInfo(name))
    return moment


def to_ms(moment: datetime) -> int:
    """
    *moment* in whole milliseconds since the epoch, rounded down.

    Raises:
        ValueError: It is naive. Whoever got it from a caller knows what was meant, see `aware`.
    """
    if moment.tzinfo is None:
        raise ValueError(f"{moment.isoformat()} has no timezone")
    return (moment - EPOCH) // _ONE_MS


def from_ms(moment_ms: int) -> datetime:
    """The aware UTC datetime of *moment_ms*, exactly: no float is involved."""
    return EPOCH + timedelta(milliseconds=moment_ms)


def iso(moment_ms: int | None) -> str | None:
    """*moment_ms* as ``2026-11-21T04:00:00.123Z``, or None for None."""
    if moment_ms is None:
        return None
    return from_ms(moment_ms).replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"
