"""
Schedules under the names of Celery's module: `crontab` and `schedule`, and `solar` for `sun`.

    from scheduler.schedules import crontab, schedule, solar
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from scheduler.errors import InvalidScheduleError
from scheduler.nearest import nearest
from scheduler.timing import Schedule, crontab, every, sun

__all__ = ["crontab", "schedule", "solar"]

_SOLAR = {
    "dawn_astronomical": ("dawn", "astronomical"),
    "dawn_nautical": ("dawn", "nautical"),
    "dawn_civil": ("dawn", "civil"),
    "sunrise": ("sunrise", None),
    "solar_noon": ("noon", None),
    "sunset": ("sunset", None),
    "dusk_civil": ("dusk", "civil"),
    "dusk_nautical": ("dusk", "nautical"),
    "dusk_astronomical": ("dusk", "astronomical"),
}


def schedule(
    run_every: float | timedelta,
    relative: bool = False,  # noqa: ARG001 - it makes no difference here
    **others: Any,
) -> Schedule:
    """
    Fires once in each *run_every* (seconds or a timedelta): `every`.

    Args:
        relative: It makes no difference: fires always stand on a grid of their own, and do not drift with restarts.
        others: Celery's `nowfun` and `app`, which nothing here needs.
    """
    if unknown := sorted(set(others) - {"nowfun", "app"}):
        raise TypeError(f"schedule: {', '.join(unknown)}: expected run_every, relative")
    return every(run_every)


def solar(event: str, lat: float, lon: float, **others: Any) -> Schedule:
    """
    Fires at an event of the sun, in Celery's words: `sun`.

    Args:
        event: ``dawn_astronomical dawn_nautical dawn_civil sunrise solar_noon sunset dusk_civil dusk_nautical
            dusk_astronomical``.

    Raises:
        InvalidScheduleError: As `sun`.
    """
    if unknown := sorted(set(others) - {"nowfun", "app"}):
        raise TypeError(f"solar: {', '.join(unknown)}: expected event, lat, lon")
    if event not in _SOLAR:
        hint = nearest(str(event), _SOLAR) or f"; expected one of {', '.join(_SOLAR)}"
        raise InvalidScheduleError(f"solar: event {event!r}{hint}")
    name, depression = _SOLAR[event]
    told = {} if depression is None else {"depression": depression}
    return sun(name, latitude=lat, longitude=lon, **told)
