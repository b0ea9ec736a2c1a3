"""`simulate`: which fires come when over a span of time, and what a test may ask about them."""

from __future__ import annotations

import difflib
import heapq
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime, time, timedelta, tzinfo
from typing import NamedTuple, overload

from scheduler.clock import from_ms, to_ms
from scheduler.config import Config
from scheduler.errors import NotFoundError
from scheduler.foresee.due import Foresight, Span
from scheduler.foresee.load import busiest, starts_per
from scheduler.model import Entry
from scheduler.testing.sources import Source, entries_of, settings_of
from scheduler.timing.duration import parse_duration_ms
from scheduler.timing.zones import get_zone, zone_name

Moment = datetime | date | str
Duration = float | str | timedelta

SHOWN = 5


def simulate(
    source: Source,
    start: Moment,
    end: Moment,
    *,
    tz: str | tzinfo | None = None,
    paused: Mapping[str, Iterable[tuple[Moment, Moment]]] | None = None,
    fired: Mapping[str, int] | None = None,
    config: Config | None = None,
) -> Simulation:
    """
    The fires of *source* from *start* on, up to but without *end*; nothing is run, and no Redis is asked.

        sim = simulate("schedules", "2026-01-01", "2027-01-01")
        assert sim["nightly-backup"].on("2026-03-29").wall == ["2026-03-29T03:00:00+02:00"]

    All that can be known without running is taken into account: `start`, `until`, `enabled`, `max_runs`, `expires` at a moment,
    `countdown`, `jitter`, and the pauses that are given. What overlap and catch-up make of it depends on how long runs take and
    what is away.

    Args:
        source: The folder of schedule files, an `App`, or what `scheduler.loader.load` gave.
        start, end: ISO text such as ``"2026-01-01"`` or ``"2026-01-01 09:00"``, a date, or a datetime. Without a zone of its
            own a moment is local to *tz*.
        tz: By default the setting `timezone`.
        paused: For an entry's name the spans in which it is paused; its end is not part of a span.
        fired: For an entry's name how often it ran before *start*, which `max_runs` counts.
        config: Settings, instead of those of the App, or of ``sched.toml`` and environment.

    Raises:
        BrokenFileError: A schedule file has a mistake; one line for each.
        NotFoundError: *paused* or *fired* names an entry that is not there.
        TooManyFiresError: More than fifty million fires; raised when they are asked for.
        UnknownFiresError: A schedule that exists only as an object, such as a trigger of APScheduler, was not asked so far ahead
            (about a year, or ten thousand fires); raised when its fires are asked for.
        ValueError: A moment cannot be read, or *end* is not after *start*.
    """
    config = config or settings_of(source)
    zone = get_zone(zone_name(tz or config.timezone))
    span = Span(moment_ms(start, zone, "start"), moment_ms(end, zone, "end"))
    if span.to_ms <= span.from_ms:
        raise ValueError(f"simulate: end {end} is not after start {start}")
    pauses = {name: _spans(name, spans, zone) for name, spans in (paused or {}).items()}
    # A trigger that is asked for what comes after a moment gives a fire at the span's very beginning too.
    entries = entries_of(source, config, span.from_ms - 1)
    foresight = Foresight(entries, span, pauses=pauses, fired=fired, complete=True)
    simulation = Simulation(foresight, zone)
    for name in (*pauses, *(fired or ())):
        simulation.entry(name)
    return simulation


class Fires(Sequence[datetime]):
    """
    The fires of one entry: a sequence of their due times, aware and in UTC.

    In UTC, because two local times of one zone can look the same and be an hour apart. `wall` shows them as the entry's clock does.

    Attributes:
        entry: The entry's definition.
        zone: Of the entry's schedule.
    """

    __slots__ = ("_due", "_starts", "entry", "zone")

    def __init__(self, entry: Entry, zone: tzinfo, due: array[int], starts: array[int]) -> None:
        self.entry = entry
        self.zone = zone
        self._due = due
        self._starts = starts

    @property
    def name(self) -> str:
        """The entry's name."""
        return self.entry.name

    @property
    def wall(self) -> list[str]:
        """The due times on the clock of the entry's zone: ``"2026-03-29T03:00:00+02:00"``."""
        return [from_ms(at).astimezone(self.zone).isoformat() for at in self._due]

    @property
    def starts(self) -> list[datetime]:
        """When each is to start: the due time with the entry's countdown and jitter."""
        return [from_ms(at) for at in self._starts]

    @property
    def first(self) -> datetime | None:
        """The first fire, or None."""
        return from_ms(self._due[0]) if self._due else None

    @property
    def last(self) -> datetime | None:
        """The last fire, or None."""
        return from_ms(self._due[-1]) if self._due else None

    @property
    def longest_gap(self) -> timedelta | None:
        """The longest time from one fire to the next; None where there are not two."""
        gaps = [after - before for before, after in zip(self._due, self._due[1:], strict=False)]
        return timedelta(milliseconds=max(gaps)) if gaps else None

    def between(self, start: Moment, end: Moment) -> Fires:
        """Those from *start* on, up to but without *end*."""
        return self._within(moment_ms(start, self.zone, "start"), moment_ms(end, self.zone, "end"))

    def on(self, day: date | str) -> Fires:
        """Those of one day in the entry's zone."""
        first = _day(day)
        return self._within(_midnight_ms(first, self.zone), _midnight_ms(first + timedelta(days=1), self.zone))

    def next(self, after: Moment) -> datetime | None:
        """The first one after *after*, or None where there is none in the span."""
        at = bisect_right(self._due, moment_ms(after, self.zone, "after"))
        return from_ms(self._due[at]) if at < len(self._due) else None

    def previous(self, before: Moment) -> datetime | None:
        """The last one before *before*, or None where there is none in the span."""
        at = bisect_left(self._due, moment_ms(before, self.zone, "before"))
        return from_ms(self._due[at - 1]) if at else None

    def overlaps(self, lasting: Duration) -> Fires:
        """Those that would find an earlier run still going if each took *lasting*: what ``overlap="skip"`` skips."""
        lasting_ms = parse_duration_ms(lasting, what="lasting")
        found, free_from_ms = [], None
        for index, start_ms in enumerate(self._starts):
            if free_from_ms is not None and start_ms < free_from_ms:
                found.append(index)
            else:
                free_from_ms = start_ms + lasting_ms
        return self._chosen(found)

    def _within(self, from_ms_: int, to_ms_: int) -> Fires:
        return self[bisect_left(self._due, from_ms_) : bisect_left(self._due, to_ms_)]

    def _chosen(self, indexes: Iterable[int]) -> Fires:
        chosen = list(indexes)
        due, starts = (array("q", (values[at] for at in chosen)) for values in (self._due, self._starts))
        return Fires(self.entry, self.zone, due, starts)

    def __len__(self) -> int:
        return len(self._due)

    @overload
    def __getitem__(self, at: int) -> datetime: ...
    @overload
    def __getitem__(self, at: slice) -> Fires: ...
    def __getitem__(self, at: int | slice) -> datetime | Fires:
        if isinstance(at, slice):
            return Fires(self.entry, self.zone, self._due[at], self._starts[at])
        return from_ms(self._due[at])

    def __iter__(self) -> Iterator[datetime]:
        return map(from_ms, self._due)

    def __contains__(self, moment: object) -> bool:
        if not isinstance(moment, datetime | date | str):
            return False
        at_ms = moment_ms(moment, self.zone, "moment")
        at = bisect_left(self._due, at_ms)
        return at < len(self._due) and self._due[at] == at_ms

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Fires):
            return self.name == other.name and self._due == other._due
        if isinstance(other, list | tuple):
            return len(other) == len(self) and all(
                isinstance(moment, datetime) and moment.tzinfo is not None and to_ms(moment) == at
                for moment, at in zip(other, self._due, strict=True)
            )
        return NotImplemented

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        shown = ", ".join(self[:SHOWN].wall)
        more = f", … {len(self) - SHOWN} more" if len(self) > SHOWN else ""
        count = "1 fire" if len(self) == 1 else f"{len(self)} fires"
        return f"<{count} of {self.name!r}: {shown}{more}>" if self else f"<no fires of {self.name!r}>"


class Peak(NamedTuple):
    """
    The busiest stretch of a simulation.

    Attributes:
        at: Its beginning, in UTC.
        starts: How many runs are to start within it.
        entries: Whose; in the order of names.
    """

    at: datetime
    starts: int
    entries: tuple[str, ...]


class Simulation:
    """
    The fires of every entry over one span: ``simulation["name"]``. Each is computed when it is first asked for.

    It is sized (how many entries), iterable (their names) and knows with ``in`` whether an entry is there.
    """

    def __init__(self, foresight: Foresight, zone: tzinfo) -> None:
        self._foresight = foresight
        self._zone = zone
        self._fires: dict[str, Fires] = {}

    @property
    def start(self) -> datetime:
        """The beginning of the span, in UTC."""
        return from_ms(self._foresight.span.from_ms)

    @property
    def end(self) -> datetime:
        """Its end, which is not part of it, in UTC."""
        return from_ms(self._foresight.span.to_ms)

    @property
    def total(self) -> int:
        """How many fires there are altogether."""
        return sum(len(self._foresight.due_ms(name)) for name in self)

    def entry(self, name: str) -> Entry:
        """
        The definition of the entry called *name*.

        Raises:
            NotFoundError: There is none; the message names the nearest.
        """
        entry = self._foresight.entries.get(name)
        if entry is None:
            near = difflib.get_close_matches(name, self._foresight.entries, n=3)
            hint = f"; did you mean {' or '.join(near)}?" if near else f"; there are {len(self)} entries"
            raise NotFoundError(f"the simulation has no entry {name!r}{hint}")
        return entry

    def on(self, day: date | str) -> list[tuple[datetime, str]]:
        """All fires of one day of the simulation's zone, as moment and name, in their order."""
        first = _day(day)
        return self.between(
            from_ms(_midnight_ms(first, self._zone)), from_ms(_midnight_ms(first + timedelta(days=1), self._zone))
        )

    def between(self, start: Moment, end: Moment) -> list[tuple[datetime, str]]:
        """All fires from *start* on, up to but without *end*, as moment and name, in their order."""
        from_ms_, to_ms_ = moment_ms(start, self._zone, "start"), moment_ms(end, self._zone, "end")
        streams = [
            [(at, name) for at in due[bisect_left(due, from_ms_) : bisect_left(due, to_ms_)]]
            for name in sorted(self)
            if (due := self._foresight.due_ms(name))
        ]
        return [(from_ms(at), name) for at, name in heapq.merge(*streams)]

    def together(self, first: str, second: str, *, within: Duration = 0) -> list[datetime]:
        """The fires of *first* to which one of *second* is no further than *within*, before or after."""
        within_ms = parse_duration_ms(within, what="within") if within else 0
        found, others = [], self[second]._due
        for at in self[first]._due:
            index = bisect_left(others, at - within_ms)
            if index < len(others) and others[index] <= at + within_ms:
                found.append(from_ms(at))
        return found

    def peak(self, per: Duration = "1m") -> Peak | None:
        """The stretch of *per* (cut at multiples of it) in which most runs are to start; None where nothing fires."""
        per_ms = parse_duration_ms(per, what="per")
        counts = starts_per(self._foresight, per_ms)
        if not counts:
            return None
        worst = busiest(counts)
        names = [name for name in sorted(self) if _any_within(self[name]._starts, worst * per_ms, per_ms)]
        return Peak(from_ms(worst * per_ms), counts[worst], tuple(names))

    def __getitem__(self, name: str) -> Fires:
        found = self._fires.get(name)
        if found is None:
            entry = self.entry(name)
            schedule = self._foresight.schedule(name)
            due, starts = self._foresight.due_ms(name), self._foresight.starts_ms(name)
            found = self._fires[name] = Fires(entry, get_zone(schedule.zone or "UTC"), due, starts)
        return found

    def __contains__(self, name: object) -> bool:
        return name in self._foresight.entries

    def __iter__(self) -> Iterator[str]:
        return iter(self._foresight.entries)

    def __len__(self) -> int:
        return len(self._foresight.entries)

    def __repr__(self) -> str:
        return f"<Simulation of {len(self)} entries from {self.start.isoformat()} to {self.end.isoformat()}>"


def _any_within(moments: array[int], from_ms_: int, length_ms: int) -> bool:
    at = bisect_left(moments, from_ms_)
    return at < len(moments) and moments[at] < from_ms_ + length_ms


def _spans(name: str, spans: Iterable[tuple[Moment, Moment]], zone: tzinfo) -> list[Span]:
    what = f"paused[{name!r}]"
    return [Span(moment_ms(start, zone, what), moment_ms(end, zone, what)) for start, end in spans]


def moment_ms(moment: Moment, zone: tzinfo, what: str) -> int:
    """*moment* in ms; one without a zone is local to *zone*."""
    if isinstance(moment, str):
        try:
            moment = datetime.fromisoformat(moment)
        except ValueError:
            raise ValueError(
                f"{what} {moment!r}: expected ISO text such as '2026-01-01' or '2026-01-01 09:00'"
            ) from None
    elif not isinstance(moment, datetime):
        if not isinstance(moment, date):
            raise TypeError(f"{what} {moment!r}: expected text, a date or a datetime")
        moment = datetime.combine(moment, time())
    return to_ms(moment if moment.tzinfo is not None else moment.replace(tzinfo=zone))


def _day(day: date | str) -> date:
    if isinstance(day, str):
        try:
            return date.fromisoformat(day)
        except ValueError:
            raise ValueError(f"day {day!r}: expected a day such as '2026-01-31'") from None
    return day


def _midnight_ms(day: date, zone: tzinfo) -> int:
    return to_ms(datetime.combine(day, time(), zone))
