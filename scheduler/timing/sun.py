"""
`sun`: sunrise, sunset and their like at a place, with an offset.

The `astral` library knows where the sun is; this module asks it for one solar day of the place at a time, so that no event falls
between two days of some zone. Moments are whole minutes: the air bends the light by more than that, and so every beat finds the same.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import date, timedelta
from functools import lru_cache
from typing import Any, Final

from scheduler.errors import InvalidDurationError, InvalidScheduleError
from scheduler.timing.base import UTC_S_MAX, UTC_S_MIN, Schedule
from scheduler.timing.duration import format_duration, parse_duration_ms
from scheduler.timing.table import DAY_MS
from scheduler.timing.wording import shown
from scheduler.timing.zones import zone_name

EVENTS: Final = ("dawn", "sunrise", "noon", "sunset", "dusk", "midnight")
DEPRESSIONS: Final = {"civil": 6.0, "nautical": 12.0, "astronomical": 18.0}
OFFSET_MS_MAX: Final = DAY_MS
SEARCH_DAYS: Final = 400
"""Beyond a polar circle most of a year may pass without an event, and not a whole one."""

MINUTE_MS: Final = 60_000
_EPOCH_DAY: Final = date(1970, 1, 1).toordinal()
# Closer to a pole, whole years may pass without a sunset between two polar seasons.
LATITUDE_MAX: Final = 89.0
# The sun is seen as a disc, and rises with its upper edge.
_SUN_RADIUS: Final = 32.0 / (60.0 * 2.0)


def sun(
    event: str,
    *,
    latitude: float,
    longitude: float,
    offset: float | str | timedelta = 0,
    depression: str | float = "civil",
    tz: Any = None,
) -> Sun:
    """
    Return the schedule of a daily event of the sun; a day without it (beyond a polar circle) has no fire.

    ``sun("sunset", latitude=52.52, longitude=13.405, offset="-30m")`` fires half an hour before sunset in Berlin.

    Args:
        event: ``dawn sunrise noon sunset dusk midnight``; noon and midnight are those of the sun.
        latitude, longitude: In degrees, north and east positive; up to a degree from a pole, where days end.
        offset: How long after the event; negative, or text such as ``-30m``, for before it.
        depression: Of dawn and dusk, how far below the horizon the sun is: ``civil`` (6°), ``nautical`` (12°),
            ``astronomical`` (18°), or degrees.
        tz: For showing the fires. Without it, the entry's.

    Raises:
        InvalidScheduleError: Something is out of range, the event never comes, or the `astral` library is missing.
    """
    if not isinstance(event, str) or event not in EVENTS:
        raise InvalidScheduleError(f"sun: event is {shown(event)}; known: {', '.join(map(repr, EVENTS))}")
    zone = None if tz is None else zone_name(tz)
    degrees = DEPRESSIONS.get(depression) if isinstance(depression, str) else depression
    if degrees is None:
        known = ", ".join(map(repr, DEPRESSIONS))
        raise InvalidScheduleError(f"sun: depression is {shown(depression)}; give {known} or degrees")
    if event not in ("dawn", "dusk") and depression != "civil":
        raise InvalidScheduleError(f"sun: depression stands only with dawn and dusk, not with {event}")
    return Sun(
        event,
        latitude=_degrees("latitude", latitude, LATITUDE_MAX),
        longitude=_degrees("longitude", longitude, 180),
        depression=_degrees("depression", degrees, 18, low=0),
        offset_ms=_offset_ms(offset),
        zone=zone,
    )


class Sun(Schedule):
    """An event of the sun. Users make it with `sun`."""

    __slots__ = ("_depression", "_event", "_event_ms", "_latitude", "_longitude", "_offset_ms")

    STEP_COST = 10

    _event: str
    _latitude: float
    _longitude: float
    _depression: float
    _offset_ms: int
    _event_ms: Callable[[int], int | None]

    def __init__(
        self, event: str, *, latitude: float, longitude: float, depression: float, offset_ms: int, zone: str | None
    ) -> None:
        super().__init__(
            text=f"{event}{_signed(offset_ms)} at {latitude:g}, {longitude:g}",
            zone=zone,
            meaning=("sun", event, latitude, longitude, depression, offset_ms, zone),
        )
        self._set("_event", event)
        self._set("_latitude", latitude)
        self._set("_longitude", longitude)
        self._set("_depression", depression)
        self._set("_offset_ms", offset_ms)
        self._set("_event_ms", _finder(event, latitude, longitude, depression))
        if self.next_ms(0) is None:
            raise InvalidScheduleError(
                f"sun: {event} never comes at latitude {latitude:g} with a depression of {depression:g}°"
            )

    def next_ms(self, after_ms: int) -> int | None:
        after_ms -= self._offset_ms
        first = self._solar_day(after_ms) - 1
        for day in range(first, first + SEARCH_DAYS):
            found_ms = self._event_ms(day)
            if found_ms is not None and found_ms > after_ms:
                return self._within(found_ms)
        return None

    def previous_ms(self, before_ms: int) -> int | None:
        before_ms -= self._offset_ms
        last = self._solar_day(before_ms) + 1
        for day in range(last, last - SEARCH_DAYS, -1):
            found_ms = self._event_ms(day)
            if found_ms is not None and found_ms < before_ms:
                return self._within(found_ms)
        return None

    def in_zone(self, name: str) -> Schedule:
        if self.zone is not None:
            return self
        return Sun(
            self._event,
            latitude=self._latitude,
            longitude=self._longitude,
            depression=self._depression,
            offset_ms=self._offset_ms,
            zone=zone_name(name),
        )

    def words(self) -> str:
        event = f"solar {self._event}" if self._event in ("noon", "midnight") else self._event
        if self._event in ("dawn", "dusk"):
            names = {degrees: name for name, degrees in DEPRESSIONS.items()}
            event = f"{names.get(self._depression, f'{self._depression:g}°')} {event}"
        if self._offset_ms:
            side = "after" if self._offset_ms > 0 else "before"
            event = f"{format_duration(abs(self._offset_ms))} {side} {event}"
        north = f"{abs(self._latitude):g}°{'N' if self._latitude >= 0 else 'S'}"
        east = f"{abs(self._longitude):g}°{'E' if self._longitude >= 0 else 'W'}"
        return f"{event} at {north} {east}"

    def as_data(self) -> dict[str, Any]:
        return {
            "kind": "sun",
            "event": self._event,
            "latitude": self._latitude,
            "longitude": self._longitude,
            "depression": self._depression,
            "offset_ms": self._offset_ms,
            "tz": self.zone,
        }

    def __repr__(self) -> str:
        options = [f"latitude={self._latitude!r}", f"longitude={self._longitude!r}"]
        if self._offset_ms:
            sign = "-" if self._offset_ms < 0 else ""
            options.append(f"offset={sign + format_duration(abs(self._offset_ms))!r}")
        if self._depression != DEPRESSIONS["civil"]:
            options.append(f"depression={self._depression!r}")
        if self.zone is not None:
            options.append(f"tz={self.zone!r}")
        return f"sun({self._event!r}, {', '.join(options)})"

    def _solar_day(self, at_ms: int) -> int:
        """Return the day, counted from 1970-01-01, that the mean sun shows at *at_ms*."""
        return math.floor(at_ms / DAY_MS + self._longitude / 360)

    def _within(self, event_ms: int) -> int | None:
        fire_ms = event_ms + self._offset_ms
        return fire_ms if UTC_S_MIN * 1000 <= fire_ms <= UTC_S_MAX * 1000 else None


def sun_from_data(
    *,
    event: str,
    latitude: float,
    longitude: float,
    depression: float = DEPRESSIONS["civil"],
    offset_ms: int = 0,
    tz: str | None = None,
) -> Sun:
    """
    Return the `Sun` whose `as_data` this was.

    Raises:
        InvalidScheduleError: As `sun`.
    """
    if isinstance(offset_ms, bool) or not isinstance(offset_ms, int):
        raise InvalidScheduleError(f"sun: offset_ms is {shown(offset_ms)}; expected a whole number")
    told = {"depression": depression} if event in ("dawn", "dusk") else {}
    return sun(event, latitude=latitude, longitude=longitude, offset=timedelta(milliseconds=offset_ms), tz=tz, **told)


def _finder(event: str, latitude: float, longitude: float, depression: float) -> Callable[[int], int | None]:
    """
    Return what finds the event of a solar day, counted from 1970-01-01, in UTC milliseconds; None if that day has none.

    Raises:
        InvalidScheduleError: The library is missing.
    """
    try:
        import astral.sun  # noqa: F401, PLC0415 - an extra
    except ImportError:
        raise InvalidScheduleError(
            "sun: sunrise and sunset need the astral library; pip install 'steadybeat[sun]'"
        ) from None
    return lambda day: _event_ms(event, latitude, longitude, depression, day)


@lru_cache(maxsize=8_192)
def _event_ms(event: str, latitude: float, longitude: float, depression: float, day: int) -> int | None:
    """
    Return the event of one solar day.

    It is the arithmetic of astral's own `time_of_transit`, twice around since the sun moves on until then; but it stays in its
    day, where that leaps by one as soon as the moment lies before midnight UTC, and loses an event a year near 90° east.
    """
    from astral import SunDirection, refraction_at_zenith  # noqa: PLC0415 - an extra
    from astral.julian import julianday, julianday_to_juliancentury  # noqa: PLC0415
    from astral.sun import eq_of_time, hour_angle, sun_declination  # noqa: PLC0415

    zenith = 90.0 + (depression if event in ("dawn", "dusk") else _SUN_RADIUS)
    direction = SunDirection.RISING if event in ("dawn", "sunrise") else SunDirection.SETTING
    day_min = 0.0
    try:
        julian = julianday(date.fromordinal(_EPOCH_DAY + day))
        for _ in range(2):
            century = julianday_to_juliancentury(julian + day_min / 1440)
            angle = {"noon": 0.0, "midnight": 180.0}.get(event)
            if angle is None:
                high = zenith + refraction_at_zenith(zenith)
                angle = math.degrees(hour_angle(latitude, sun_declination(century), high, direction))
            day_min = 720.0 - 4.0 * (longitude + angle) - eq_of_time(century)
    except (ValueError, OverflowError):
        return None  # The sun stays above, or below; or the calendar is over.
    return day * DAY_MS + round(day_min) * MINUTE_MS


def _degrees(name: str, value: object, high: float, *, low: float | None = None) -> float:
    low = -high if low is None else low
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise InvalidScheduleError(f"sun: {name} is {shown(value)}, which is outside {low:g}–{high:g} degrees")
    return float(value)


def _offset_ms(offset: object) -> int:
    sign, size = 1, offset
    if isinstance(offset, str):
        sign, size = (-1 if offset.strip().startswith("-") else 1), offset.strip().lstrip("+-")
    elif isinstance(offset, timedelta | int | float) and not isinstance(offset, bool):
        zero = timedelta(0) if isinstance(offset, timedelta) else 0
        if offset == zero:
            return 0
        sign, size = (-1, -offset) if offset < zero else (1, offset)  # type: ignore[operator]
    try:
        offset_ms = sign * parse_duration_ms(size, what="sun: offset")
    except InvalidDurationError as error:
        raise InvalidScheduleError(str(error)) from None
    if abs(offset_ms) > OFFSET_MS_MAX:
        raise InvalidScheduleError(f"sun: offset {shown(offset)} is outside -1d–1d")
    return offset_ms


def _signed(offset_ms: int) -> str:
    if not offset_ms:
        return ""
    return f" {'-' if offset_ms < 0 else '+'} {format_duration(abs(offset_ms))}"
