"""
`holidays`: windows of whole days, to take from a schedule or to keep it to.

Days come from a list, from an iCalendar file, or from a function. A list is data. The other two are asked when the schedule files
are loaded, from a year back to two years ahead, and travel as a list that is known from one day to another (ADR 0004).
"""

from __future__ import annotations

import os
import sys
from abc import abstractmethod
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Sequence
from datetime import date, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar, Final

from scheduler.errors import InvalidScheduleError
from scheduler.timing.settling import Settling
from scheduler.timing.table import DAY_MS, FIRES_MAX, TEXT_CHARS_MAX, decode_fires, encode_fires
from scheduler.timing.window import DayWindow
from scheduler.timing.wording import shown
from scheduler.timing.zones import zone_name

BACK_DAYS: Final = 366
AHEAD_DAYS: Final = 800
EPOCH_DAY: Final = date(1970, 1, 1).toordinal()
DAY_MIN: Final = date.min.toordinal() - EPOCH_DAY
DAY_MAX: Final = date.max.toordinal() - EPOCH_DAY

_SHOWN_DAYS: Final = 3


def holidays(source: Iterable[Any] | Callable[[date], bool] | str | os.PathLike[str], *, tz: Any = None) -> DayWindow:
    """
    Return the window of the whole days that *source* names.

    ``crontab("0 9 * * 1-5") - holidays(["2026-12-25", "2026-12-26"])`` fires on working days but those.

    Args:
        source: Dates, or ISO text of dates; or a function that says of a `date` whether it is one; or the path of an
            iCalendar file, whose all-day events count, recurring ones too. A relative path starts at the folder of the
            Python file that calls this. Functions and files are read again whenever the schedule files are loaded.
        tz: Whose days they are. Without it, of the zone of the schedule that the window is combined with, else the
            entry's.

    Raises:
        InvalidScheduleError: Something is no date, or there are none, or too many.
    """
    zone = None if tz is None else zone_name(tz)
    if isinstance(source, str | os.PathLike):
        return HolidayFile(_path(source, _folder_of_caller()), zone=zone)
    if isinstance(source, Iterable):
        return _listed(source, zone)
    if callable(source):
        return HolidayFunction(source, zone=zone)
    raise InvalidScheduleError(
        f"holidays: {shown(source)} holds no days; give a list of dates, a function, or the path of an iCalendar file"
    )


class Holidays(DayWindow):
    """Days by a list. Users make it with `holidays`."""

    __slots__ = ("_days", "_ends", "_from_day", "_starts", "_until_day")

    _days: str
    _from_day: int | None
    _until_day: int | None
    # Stretches of consecutive days, both ends included.
    _starts: list[int]
    _ends: list[int]

    def __init__(
        self,
        *,
        text: str,
        days: str,
        from_day: int | None = None,
        until_day: int | None = None,
        zone: str | None = None,
    ) -> None:
        """
        Keep *days*, as `encode_fires` writes numbers, counted from 1970-01-01.

        Args:
            text: What was asked, for people.
            from_day, until_day: From when to when they are known; None: they are all.
        """
        if not isinstance(text, str) or not 1 <= len(text) <= TEXT_CHARS_MAX:
            raise InvalidScheduleError(f"holidays: text {shown(text)} is not 1–{TEXT_CHARS_MAX} characters")
        known = decode_fires(days)
        if known and not DAY_MIN <= known[0] <= known[-1] <= DAY_MAX:
            raise InvalidScheduleError(f"holidays: the days {known[0]}–{known[-1]} are outside the years 1–9999")
        super().__init__(text=text, zone=zone, meaning=("holidays", days, from_day, until_day, zone))
        self._set("_days", days)
        self._set("_from_day", from_day)
        self._set("_until_day", until_day)
        self._set("_starts", [day for day, before in zip(known, [None, *known], strict=False) if before != day - 1])
        self._set("_ends", [day for day, after in pairwise([*known, None]) if day is not None and after != day + 1])

    def next_day(self, day: int) -> int | None:
        stretch = bisect_left(self._ends, day)
        return None if stretch == len(self._ends) else max(day, self._starts[stretch])

    def next_free_day(self, day: int) -> int | None:
        stretch = bisect_left(self._ends, day)
        if stretch < len(self._ends) and self._starts[stretch] <= day:
            day = self._ends[stretch] + 1
        return day if day <= DAY_MAX else None

    def last_day(self, day: int) -> int | None:
        stretch = bisect_right(self._starts, day) - 1
        return None if stretch < 0 else min(day, self._ends[stretch])

    def last_free_day(self, day: int) -> int | None:
        stretch = bisect_right(self._starts, day) - 1
        if stretch >= 0 and day <= self._ends[stretch]:
            day = self._starts[stretch] - 1
        return day if day >= DAY_MIN else None

    def in_zone(self, name: str) -> Holidays:
        if self.zone is not None:
            return self
        return Holidays(
            text=self.text, days=self._days, from_day=self._from_day, until_day=self._until_day, zone=zone_name(name)
        )

    def words(self) -> str:
        if self._until_day is None:
            return f"on {self.text}"
        return f"on {self.text}, asked ahead until {_iso(self._until_day)}"

    def as_data(self) -> dict[str, Any]:
        return {
            "kind": "holidays",
            "text": self.text,
            "days": self._days,
            "from_ms": 0 if self._from_day is None else self._from_day * DAY_MS,
            "until_ms": None if self._until_day is None else self._until_day * DAY_MS,
            "tz": self.zone,
        }

    def __repr__(self) -> str:
        return f"<holidays: {self.text}>"


def holidays_from_data(
    *, text: str, days: str, from_ms: int = 0, until_ms: int | None = None, tz: str | None = None
) -> Holidays:
    """
    Return the `Holidays` whose `as_data` this was.

    Raises:
        InvalidScheduleError: It is damaged.
    """
    for name, value in (("from_ms", from_ms), ("until_ms", until_ms)):
        if value is not None and (isinstance(value, bool) or not isinstance(value, int)):
            raise InvalidScheduleError(f"holidays: {name} {shown(value)} is no moment")
    return Holidays(
        text=text,
        days=days,
        from_day=None if until_ms is None else from_ms // DAY_MS,
        until_day=None if until_ms is None else until_ms // DAY_MS,
        zone=None if tz is None else zone_name(tz),
    )


class AskedHolidays(DayWindow):
    """
    Days that only this process can find: it has the function, or the file.

    A load turns it into `Holidays`. In users' own hands it asks around the moment in question.
    """

    __slots__ = ()

    STEP_COST: ClassVar[int] = 100

    @abstractmethod
    def asked(self, from_day: int, until_day: int, settling: Settling | None = None) -> tuple[list[int], bool]:
        """
        Return the days from *from_day* to *until_day* in order, and whether there are no others.

        Raises:
            InvalidScheduleError: They cannot be found.
        """

    def settled(self, settling: Settling) -> Holidays:
        today = settling.now_ms // DAY_MS
        from_day, until_day = today - BACK_DAYS, today + AHEAD_DAYS
        with settling.asking(f"holidays: {self.text}"):
            days, is_all = self.asked(from_day, until_day, settling)
        if not days:
            settling.notes.append(f"holidays: {self.text}: no day from {_iso(from_day)} to {_iso(until_day)}")
        elif days[-1] < today:
            settling.notes.append(f"holidays: {self.text}: the last day, {_iso(days[-1])}, is over")
        encoded = _encoded(days, self.text)
        if is_all:
            return Holidays(text=self.text, days=encoded, zone=self.zone)
        return Holidays(text=self.text, days=encoded, from_day=from_day, until_day=until_day, zone=self.zone)

    def next_day(self, day: int) -> int | None:
        return self._around(day).next_day(day)

    def next_free_day(self, day: int) -> int | None:
        return self._around(day).next_free_day(day)

    def last_day(self, day: int) -> int | None:
        return self._around(day).last_day(day)

    def last_free_day(self, day: int) -> int | None:
        return self._around(day).last_free_day(day)

    def words(self) -> str:
        return f"on {self.text}"

    def as_data(self) -> dict[str, Any]:
        raise InvalidScheduleError(
            f"holidays: {self.text}: only a load of schedule files reads them; declare the entry in a schedule file"
        )

    def __repr__(self) -> str:
        return f"<holidays: {self.text}>"

    def _around(self, day: int) -> Holidays:
        days, _ = self.asked(max(DAY_MIN, day - BACK_DAYS), min(DAY_MAX, day + AHEAD_DAYS))
        return Holidays(text=self.text, days=_encoded(days, self.text))


class HolidayFunction(AskedHolidays):
    """The days of which a function says yes."""

    __slots__ = ("_function",)

    _function: Callable[[date], bool]

    def __init__(self, function: Callable[[date], bool], *, zone: str | None) -> None:
        name = getattr(function, "__qualname__", None) or type(function).__qualname__
        name = str(name).replace("<locals>.", "")
        text = "the days of a function" if "<" in name else f"the days of {name}()"
        super().__init__(text=text[:TEXT_CHARS_MAX], zone=zone, meaning=("holidays", id(function), zone))
        self._set("_function", function)

    def asked(
        self,
        from_day: int,
        until_day: int,
        settling: Settling | None = None,  # noqa: ARG002 - a function has no warnings
    ) -> tuple[list[int], bool]:
        return [day for day in range(from_day, until_day + 1) if self._is_one(day)], False

    def in_zone(self, name: str) -> DayWindow:
        return self if self.zone is not None else HolidayFunction(self._function, zone=zone_name(name))

    def _is_one(self, day: int) -> bool:
        try:
            answer = self._function(date.fromordinal(EPOCH_DAY + day))
            if answer is True or answer is False or answer is None:
                return bool(answer)
        except Exception as error:
            raise InvalidScheduleError(
                f"holidays: {self.text} fails for {_iso(day)}: {type(error).__name__}: {' '.join(str(error).split())[:200]}"
            ) from error
        raise InvalidScheduleError(
            f"holidays: {self.text} answers {shown(answer)} for {_iso(day)}; expected True or False"
        )


class HolidayFile(AskedHolidays):
    """The all-day events of an iCalendar file."""

    __slots__ = ("_path",)

    _path: Path

    def __init__(self, path: Path, *, zone: str | None) -> None:
        super().__init__(
            text=f"the days of {path.name}"[:TEXT_CHARS_MAX], zone=zone, meaning=("holidays", str(path), zone)
        )
        self._set("_path", path)

    def asked(self, from_day: int, until_day: int, settling: Settling | None = None) -> tuple[list[int], bool]:
        from scheduler.timing.calendar_file import read_calendar  # noqa: PLC0415 - needs an extra

        calendar = read_calendar(self._path)
        if settling is not None:
            settling.notes.extend(f"holidays: {self._path.name}: {note}" for note in calendar.notes)
        return calendar.days(from_day, until_day), calendar.is_finite

    def in_zone(self, name: str) -> DayWindow:
        return self if self.zone is not None else HolidayFile(self._path, zone=zone_name(name))


def day_number(day: date) -> int:
    """Return *day* counted from 1970-01-01."""
    return day.toordinal() - EPOCH_DAY


def _listed(source: Iterable[Any], zone: str | None) -> Holidays:
    days: set[int] = set()
    for count, item in enumerate(source):
        if count >= FIRES_MAX:
            raise InvalidScheduleError(f"holidays: more than {FIRES_MAX:,} days")
        days.add(day_number(_read_day(item)))
    if not days:
        raise InvalidScheduleError(
            "holidays: the list is empty; give dates, such as '2026-12-25' (an object that fills itself when it is asked, as "
            "those of the holidays package do, is asked by a function: holidays(lambda day: day in country))"
        )
    ordered = sorted(days)
    text = ", ".join(map(_iso, ordered[:_SHOWN_DAYS]))
    if len(ordered) > _SHOWN_DAYS:
        text += f" and {len(ordered) - _SHOWN_DAYS} more"
    return Holidays(text=text, days=_encoded(ordered, text), zone=zone)


def _read_day(item: object) -> date:
    if isinstance(item, date) and not isinstance(item, datetime):
        return item
    if isinstance(item, str) and len(item) <= 10 and item.isascii():
        try:
            return date.fromisoformat(item)
        except ValueError:
            pass
    raise InvalidScheduleError(f"holidays: {shown(item)} is no date; give a date, or text such as '2026-12-25'")


def _encoded(days: Sequence[int], text: str) -> str:
    encoded, count = encode_fires(days)
    if count < len(days):
        raise InvalidScheduleError(
            f"holidays: {text}: {len(days):,} days are too many; a list holds about {count:,} of them"
        )
    return encoded


def _path(source: str | os.PathLike[str], folder: Path) -> Path:
    given = os.fspath(source)
    if not isinstance(given, str) or not given or len(given) > 1_000 or "\0" in given:
        raise InvalidScheduleError(f"holidays: {shown(given)} is no path of an iCalendar file")
    if "://" in given:
        raise InvalidScheduleError(
            f"holidays: {shown(given)} is a URL; a load asks no network. Let a task of yours download it, and give the file"
        )
    if not given.lower().endswith((".ics", ".ical", ".icalendar", ".ifb")):
        hint = f"; for one day write [{given!r}]" if given[:4].isdigit() else ""
        raise InvalidScheduleError(f"holidays: {shown(given)} does not end in .ics, as iCalendar files do{hint}")
    return Path(os.path.abspath(folder / given))


def _folder_of_caller() -> Path:
    """Return the folder of the Python file that calls `holidays`; the working directory where there is none."""
    file = sys._getframe(2).f_code.co_filename
    return Path(file).parent if os.path.isfile(file) else Path.cwd()


def _iso(day: int) -> str:
    return date.fromordinal(EPOCH_DAY + day).isoformat() if DAY_MIN <= day <= DAY_MAX else str(day)
