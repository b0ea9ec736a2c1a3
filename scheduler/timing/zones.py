"""
Timezones by name, from the newest data this host has.

Two sources can be there: the system's (where `zoneinfo.TZPATH` points) and the `tzdata` package. Left alone, Python
prefers the system's, however old: 2025b is an hour off for Vancouver in 2026. We take the newer one on every host, and
the other only for names that the newer one lacks (Debian moves ``US/Eastern`` and its like to a package of their own).
The choice is made once for a process.
"""

from __future__ import annotations

import io
import re
import zoneinfo
from datetime import UTC, tzinfo
from functools import cache, lru_cache
from importlib import import_module, resources
from pathlib import Path
from typing import Final, NamedTuple

from scheduler.errors import UnknownZoneError
from scheduler.timing.tzif import parse_tzif
from scheduler.timing.wording import shown
from scheduler.timing.zone_table import Zone

NAME_CHARS_MAX: Final = 64
NEAREST_COUNT: Final = 3

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_+-]*(?:/[A-Za-z0-9_+-]+){0,3}")

# Files beside the zones that are none: copies with leap seconds or under another root, and this host's own choice.
_NOT_ZONES = ("posix/", "right/", "localtime", "posixrules", "Factory")


class _Data(NamedTuple):
    """The two places, the newer one first; each is None for the package or a directory."""

    version: str
    source: str
    places: tuple[Path | None, ...]


def zone_name(tz: object) -> str:
    """
    Return the IANA name of *tz*: a name, a `ZoneInfo`, a pytz zone, or `datetime.UTC`.

    Of a pytz zone only its name is used: attached with ``tzinfo=`` it carries local mean time.

    Raises:
        UnknownZoneError: Nobody knows it, or it has no name (a fixed offset, dateutil's zones).
    """
    if isinstance(tz, str):
        _zone_bytes(tz)
        return str(tz)
    if tz is UTC:
        return "UTC"
    name = (
        tz.key if isinstance(tz, zoneinfo.ZoneInfo) else getattr(tz, "zone", None) if isinstance(tz, tzinfo) else None
    )
    if isinstance(name, str):
        _zone_bytes(name)
        return name
    raise UnknownZoneError(
        f"timezone {shown(tz)} has no IANA name; give a name such as 'Europe/Berlin', a ZoneInfo, or a pytz zone"
    )


def get_zone(name: str) -> zoneinfo.ZoneInfo:
    """Return the `ZoneInfo` of *name*, for showing local times, made from the same data as all our computing."""
    return _zone_info(zone_name(name))


@cache
def zone_table(name: str) -> Zone:
    """Return the table of *name* that schedules compute with, built once."""
    try:
        return Zone(name, parse_tzif(_zone_bytes(name)))
    except ValueError as error:
        if isinstance(error, UnknownZoneError):
            raise
        raise UnknownZoneError(f"timezone {name!r}: its data cannot be read ({error})") from error


def tzdata_version() -> str:
    """Return the version in use, such as ``2026f``, or ``unknown`` where the host does not tell."""
    return _data().version


def tzdata_source() -> str:
    """Return where the data in use comes from: ``tzdata package``, or the directory."""
    return _data().source


@cache
def _data() -> _Data:
    candidates: list[tuple[str, str, Path | None]] = []
    package_version = _package_version()
    if package_version is not None:
        candidates.append((package_version, "tzdata package", None))
    for directory in map(Path, zoneinfo.TZPATH):
        if (directory / "UTC").is_file() or (directory / "Etc" / "UTC").is_file():
            candidates.append((_system_version(directory), str(directory), directory))
    # `2025b` < `2026a` as text; a version nobody tells is taken for old. The sort is stable: the package leads.
    candidates.sort(key=lambda candidate: candidate[0], reverse=True)
    if not candidates:
        return _Data("unknown", "no timezone data; install the tzdata package", ())
    version, source, _ = candidates[0]
    return _Data(version or "unknown", source, tuple(place for _, _, place in candidates))


def _package_version() -> str | None:
    try:
        tzdata = import_module("tzdata")  # A host may do without it.
    except ImportError:
        return None
    return str(getattr(tzdata, "IANA_VERSION", ""))


def _system_version(directory: Path) -> str:
    """Return the version a directory of compiled zones states, or ``""``; the first line of `tzdata.zi` has it."""
    try:
        with (directory / "tzdata.zi").open(encoding="ascii", errors="replace") as lines:
            found = re.match(r"# version (\d{4}[a-z]+)", lines.readline(64))
            return found.group(1) if found else ""
    except OSError:
        pass
    try:
        return (directory / "+VERSION").read_text(encoding="ascii", errors="replace").strip()[:8]
    except OSError:
        return ""


@lru_cache(maxsize=1024)
def _known_zone_bytes(name: str) -> bytes | None:
    for directory in _data().places:
        try:
            if directory is None:
                data = resources.files("tzdata").joinpath("zoneinfo", *name.split("/")).read_bytes()
            else:
                data = directory.joinpath(*name.split("/")).read_bytes()
        except (OSError, ValueError):
            continue
        if data.startswith(b"TZif"):
            return data
    return None


def _zone_bytes(name: str) -> bytes:
    is_name = len(name) <= NAME_CHARS_MAX and name.isascii() and _NAME.fullmatch(name) is not None
    data = None if not is_name or name.startswith(_NOT_ZONES) else _known_zone_bytes(name)
    if data is None:
        near = nearest_names(name)
        hint = f"; the nearest known names are {', '.join(near)}" if near else ""
        raise UnknownZoneError(f"timezone {shown(name)} is not known{hint}")
    return data


@cache
def _zone_info(name: str) -> zoneinfo.ZoneInfo:
    return zoneinfo.ZoneInfo.from_file(io.BytesIO(_zone_bytes(name)), key=name)


@cache
def known_names() -> tuple[str, ...]:
    """Return all names, for suggestions."""
    try:
        text = resources.files("tzdata").joinpath("zones").read_text(encoding="ascii")
    except (ImportError, OSError):
        return tuple(sorted(zoneinfo.available_timezones()))
    return tuple(name for name in text.split() if not name.startswith(_NOT_ZONES))


def nearest_names(name: str) -> list[str]:
    """Return up to `NEAREST_COUNT` known names that look most like *name*, by the pairs of letters they share."""
    wanted = _pairs(name[:NAME_CHARS_MAX])
    if not wanted:
        return []
    scored = []
    for known, (whole, city) in _known_pairs().items():
        score = max(
            2 * len(wanted & whole) / (len(wanted) + len(whole)),
            2 * len(wanted & city) / (len(wanted) + len(city)),
        )
        if score > 0:
            scored.append((-score, known))
    return [known for _, known in sorted(scored)[:NEAREST_COUNT]]


@cache
def _known_pairs() -> dict[str, tuple[frozenset[str], frozenset[str]]]:
    return {name: (_pairs(name), _pairs(name.rpartition("/")[2])) for name in known_names()}


def _pairs(name: str) -> frozenset[str]:
    text = f"^{name.lower().replace(' ', '_')}$"
    return frozenset(text[index : index + 2] for index in range(len(text) - 1))
