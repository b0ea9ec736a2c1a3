"""
What fires when over a span of time, from definitions alone. Pure: it is handed entries and a span, and reads no clock.

Everything that is decided without running is decided here, as the plan and promotion decide it: `start`, `until`, `enabled`,
`max_runs`, a moment at which the entry expires, pauses that are given, countdown and jitter. Overlap and catch-up are not: they depend
on how long runs take and on what was away.

A span is half open, ``[from_ms, to_ms)``. Entries that share a schedule share its due times, which are computed once.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice
from typing import Final, NamedTuple, NoReturn

from scheduler.clock import iso
from scheduler.errors import ScheduleError
from scheduler.fires import schedule_of
from scheduler.model import Entry
from scheduler.timing import Schedule
from scheduler.timing.every import Every
from scheduler.timing.jitter import jitter_ms
from scheduler.timing.table import known_until_ms

MINUTE_MS: Final = 60_000
DUE_TIMES_MAX: Final = 50_000_000
"""How many due times are held at once (400 MB): an entry that fires each second does so 31,536,000 times a year."""


class TooManyFiresError(ScheduleError, ValueError):
    """More due times than anybody can look at; ask for a shorter span."""


class UnknownFiresError(ScheduleError, ValueError):
    """A schedule that exists only as an object was not asked for so long a span."""


class Span(NamedTuple):
    """A stretch of time, its end excluded."""

    from_ms: int
    to_ms: int


class Foresight:
    """
    The due times of many entries over one span.

    Args:
        entries: As they would be in force through the whole span.
        pauses: For each entry the spans in which it is paused.
        fired: How often each entry was promoted before the span, which `max_runs` counts too.
        complete: Refuse to answer where fires are known for a part of the span only; else give those of that part.
    """

    def __init__(
        self,
        entries: Iterable[Entry],
        span: Span,
        *,
        pauses: Mapping[str, Sequence[Span]] | None = None,
        fired: Mapping[str, int] | None = None,
        complete: bool = False,
    ) -> None:
        self.entries: dict[str, Entry] = {entry.name: entry for entry in entries}
        self.span = span
        self._pauses = pauses or {}
        self._fired = fired or {}
        self._complete = complete
        self._schedules: dict[str, Schedule] = {}
        self._due: dict[Schedule, array[int]] = {}
        self._held = 0

    def schedule(self, name: str) -> Schedule:
        """
        The schedule of the entry called *name*.

        Raises:
            InvalidScheduleError: Another version wrote it, and this one cannot compute it.
        """
        found = self._schedules.get(name)
        if found is None:
            found = self._schedules[name] = schedule_of(self.entries[name])
        return found

    def known_until_ms(self, name: str) -> int | None:
        """Up to when the fires of *name* are known, where that is not the whole span."""
        entry = self.entries[name]
        known_ms = known_until_ms(entry.schedule)
        end_ms = self.span.to_ms if entry.until_ms is None else min(self.span.to_ms, entry.until_ms)
        return known_ms if known_ms is not None and known_ms < end_ms else None

    def due_ms(self, name: str) -> array[int]:
        """
        The due times at which *name* fires within the span, in order. Not to be changed: entries share it.

        Raises:
            TooManyFiresError: See `DUE_TIMES_MAX`.
            UnknownFiresError: They are not known up to the span's end, and this is `complete`.
        """
        entry = self.entries[name]
        if self._complete and (known_ms := self.known_until_ms(name)) is not None:
            raise UnknownFiresError(
                f"entry {name!r}: its schedule exists only as an object, and its fires are known until {iso(known_ms)}; "
                "end the span there, or use a schedule of Steadybeat's own"
            )
        due = self._bounded(entry, self._expanded(name))
        for pause in self._pauses.get(name, ()):
            due = array("q", (at for at in due if not pause.from_ms <= at < pause.to_ms))
        if entry.expires_at_ms is not None:
            starts = self._starts(entry, due)
            due = array("q", (at for at, start in zip(due, starts, strict=True) if start < entry.expires_at_ms))
        if entry.max_runs is not None:
            due = due[: max(0, entry.max_runs - self._fired.get(name, 0))]
        return due

    def starts_ms(self, name: str) -> array[int]:
        """When each of those fires is to start: its due time, with the entry's countdown and jitter."""
        return self._starts(self.entries[name], self.due_ms(name))

    def groups(self, names: Iterable[str]) -> Iterator[tuple[Sequence[int], list[str]]]:
        """When entries start, and which of *names* start exactly then: whoever counts does so once for all of them."""
        groups: dict[tuple[int, int, str], tuple[array[int], list[str]]] = {}
        for name in names:
            entry, due = self.entries[name], self.due_ms(name)
            # Of what is shared there is one object. Jitter depends on the name, so that nothing is shared there.
            key = (id(due), entry.countdown_ms, name if entry.jitter_ms else "")
            groups.setdefault(key, (due, []))[1].append(name)
        for due, members in groups.values():
            yield self._starts(self.entries[members[0]], due), members

    def _starts(self, entry: Entry, due: array[int]) -> array[int]:
        """When the fires at *due* are to start; *due* itself where that is the same."""
        later_ms, jitter_max_ms = entry.countdown_ms, entry.jitter_ms
        if not jitter_max_ms:
            return array("q", (at + later_ms for at in due)) if later_ms else due
        schedule = self.schedule(entry.name)
        # Jitter ends where the next due time lies, which the shared list knows but for the last.
        following: Iterable[int | None] = (
            chain(islice(due, 1, None), [_following(entry, schedule, due[-1])])
            if due and due is self._due.get(schedule)
            else (_following(entry, schedule, at) for at in due)
        )
        return array(
            "q",
            (
                at + later_ms + jitter_ms(entry.name, at, jitter_max_ms, next_ms)
                for at, next_ms in zip(due, following, strict=True)
            ),
        )

    def _bounded(self, entry: Entry, due: array[int]) -> array[int]:
        """*due* from the entry's start up to its end."""
        if not entry.enabled:
            return array("q")
        start_ms, until_ms = entry.start_ms, entry.until_ms
        if start_ms is not None and start_ms > self.span.from_ms:
            due = array("q", (at for at in due if at >= start_ms))
        if until_ms is not None and until_ms < self.span.to_ms:
            due = array("q", (at for at in due if at <= until_ms))
        return due

    def _expanded(self, name: str) -> array[int]:
        schedule = self.schedule(name)
        due = self._due.get(schedule)
        if due is None:
            found = due_times(schedule, self.span)
            left = DUE_TIMES_MAX - self._held
            if isinstance(found, range) and len(found) > left:
                self._refuse(name, schedule)
            due = array("q", islice(found, left + 1))
            if len(due) > left:
                self._refuse(name, schedule)
            self._held += len(due)
            self._due[schedule] = due
        return due

    def _refuse(self, name: str, schedule: Schedule) -> NoReturn:
        raise TooManyFiresError(
            f"entry {name!r} ({schedule.text}): the entries fire more than {DUE_TIMES_MAX:,} times in this span; "
            "ask for a shorter one, or for fewer entries"
        )


def due_times(schedule: Schedule, span: Span) -> Iterable[int]:
    """Every due time of *schedule* within *span*, in order."""
    at_ms = schedule.next_ms(span.from_ms - 1)
    if at_ms is None or at_ms >= span.to_ms:
        return ()
    if isinstance(schedule, Every) and (second_ms := schedule.next_ms(at_ms)) is not None:
        return range(at_ms, span.to_ms, second_ms - at_ms)
    return _walked(schedule, at_ms, span.to_ms)


def _walked(schedule: Schedule, first_ms: int, to_ms: int) -> Iterator[int]:
    at_ms: int | None = first_ms
    while at_ms is not None and at_ms < to_ms:
        yield at_ms
        at_ms = schedule.next_ms(at_ms)


def _following(entry: Entry, schedule: Schedule, due_ms: int) -> int | None:
    """The due time after *due_ms*, which bounds its jitter, as the plan sees it."""
    next_ms = schedule.next_ms(due_ms)
    if next_ms is not None and entry.until_ms is not None and next_ms > entry.until_ms:
        return None
    return next_ms
