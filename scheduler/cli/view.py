"""An entry as people and programs see it: what was declared, what Redis knows of its past, and what comes next."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import msgspec

from scheduler.clock import iso
from scheduler.errors import InvalidScheduleError
from scheduler.fires import next_kept_ms
from scheduler.model import Entry, EntryRecord, Pause, SkipOrder
from scheduler.timing.table import known_until_ms

if TYPE_CHECKING:
    from scheduler.alarm import Health
    from scheduler.store import Store
    from scheduler.timing import Schedule


PART = 2_000
"""So many views are made at once, of very many."""


class EntryView(msgspec.Struct, frozen=True):
    """
    One entry, with its next and its last fire.

    Attributes:
        schedule: None if a newer version wrote it and this one cannot read it.
        next_ms: Its next due time; None where it will not fire again as things stand.
        last_ms: The due time of its newest promoted fire.
        last_state: How its newest run ended.
        last_end_ms: When.
        skips: The orders to skip a fire that is still to come.
        revision: The registry's at its last change: who edits it says which state that was made from.
    """

    entry: Entry
    schedule: Schedule | None
    pause: Pause | None
    next_ms: int | None
    last_ms: int | None
    last_state: str | None
    last_end_ms: int | None
    skips: tuple[SkipOrder, ...] = ()
    revision: int = 0

    @property
    def zone(self) -> str:
        """The name of the zone that its schedule is computed in."""
        return (self.schedule.zone if self.schedule else None) or "UTC"

    @property
    def text(self) -> str:
        """The schedule as its author wrote it."""
        return (
            self.schedule.text if self.schedule else f"({self.entry.schedule.get('kind')}: written by a newer version)"
        )

    @property
    def words(self) -> str:
        """The schedule in plain English; empty where it cannot be read."""
        return in_words(self.schedule) if self.schedule else ""

    @property
    def condition(self) -> str:
        """``paused``, ``disabled`` or ``needs its file``, or how its newest run ended."""
        if not self.entry.enabled:
            return "disabled"
        if self.pause:
            return "paused"
        return "needs its file" if self.is_used_up else self.last_state or ""

    @property
    def known_until_ms(self) -> int | None:
        """Up to when its fires are known without its file, which holds an object that has to be asked. None: for ever."""
        return known_until_ms(self.entry.schedule)

    @property
    def is_used_up(self) -> bool:
        """Whether it fires no more until its file is loaded again."""
        ended = self.entry.until_ms is not None or self.entry.max_runs is not None
        return self.next_ms is None and not ended and self.known_until_ms is not None


class Views:
    """Makes views of entries, computing each distinct schedule once."""

    def __init__(self, *, now_ms: int, last: Mapping[str, Health], promoted: Mapping[str, tuple[int, int]]) -> None:
        self._now_ms = now_ms
        self._last = last
        self._promoted = promoted
        self._schedules: dict[bytes, Schedule] = {}
        self._next: dict[tuple[Schedule, int], int | None] = {}

    def learn(self, *, last: Mapping[str, Health], promoted: Mapping[str, tuple[int, int]]) -> None:
        """The entries whose views are wanted next are others: this is their past."""
        self._last, self._promoted = last, promoted

    def of(self, record: EntryRecord) -> EntryView:
        """The view of *record*, which has a definition."""
        entry = record.entry
        assert entry is not None, record.name
        schedule = self._schedule(entry)
        due_ms, fired = self._promoted.get(entry.name, (0, 0))
        health = self._last.get(entry.name)
        start_ms = first_moment_ms(record, now_ms=self._now_ms, fired=fired)
        skips = orders_ahead(record, schedule, self._now_ms)
        return EntryView(
            entry=entry,
            schedule=schedule,
            pause=record.pause if is_paused(record.pause, self._now_ms) else None,
            next_ms=None if start_ms is None or schedule is None else self._next_ms(entry, schedule, start_ms, skips),
            last_ms=due_ms or None,
            last_state=health.state if health else None,
            last_end_ms=health.ended_ms if health else None,
            skips=skips,
            revision=record.revision,
        )

    def _schedule(self, entry: Entry) -> Schedule | None:
        from scheduler.timing import schedule_from_data  # noqa: PLC0415

        key = _encode(entry.schedule)
        schedule = self._schedules.get(key)
        if schedule is None:
            try:
                schedule = self._schedules[key] = schedule_from_data(entry.schedule)
            except InvalidScheduleError:
                return None
        # The same object for all entries, unless the name has a say in it (`H` in a crontab).
        return schedule.for_entry(entry.name)

    def _next_ms(self, entry: Entry, schedule: Schedule, start_ms: int, skips: tuple[SkipOrder, ...]) -> int | None:
        question = (schedule, start_ms)
        if question not in self._next:
            self._next[question] = schedule.next_ms(start_ms)
        next_ms = self._next[question]
        if skips:
            next_ms = next_kept_ms(schedule, start_ms, {order.due_ms for order in skips})
        return None if next_ms is None or (entry.until_ms is not None and next_ms > entry.until_ms) else next_ms


@lru_cache(maxsize=10_000)
def in_words(schedule: Schedule) -> str:
    """The schedule in plain English; remembered, as many entries have the same and it takes 0.1 ms."""
    return schedule.words()


def is_paused(pause: Pause | None, now_ms: int) -> bool:
    """Whether *pause* holds at *now_ms*: one with an end is over by itself."""
    return pause is not None and (pause.until_ms is None or pause.until_ms > now_ms)


def orders_ahead(record: EntryRecord, schedule: Schedule | None, now_ms: int) -> tuple[SkipOrder, ...]:
    """The orders to skip a fire of *record* that is still to come: not past, nor of a schedule that it has no more."""
    if not record.skips or schedule is None:
        return ()
    return tuple(
        order for order in record.skips if order.due_ms > now_ms and schedule.next_ms(order.due_ms - 1) == order.due_ms
    )


def first_moment_ms(record: EntryRecord, *, now_ms: int, fired: int) -> int | None:
    """The moment after which the entry's next fire lies; None if it will not fire again as things stand."""
    entry, pause = record.entry, record.pause
    if entry is None or not entry.enabled or (entry.max_runs is not None and fired >= entry.max_runs):
        return None
    moments = [now_ms]
    if pause is not None and is_paused(pause, now_ms):
        if pause.until_ms is None:
            return None
        moments.append(pause.until_ms)
    if entry.start_ms is not None:
        moments.append(entry.start_ms - 1)
    return max(moments)


def views(store: Store) -> Callable[[EntryRecord], EntryView]:
    """What makes views of the entries in *store*, as of now."""
    return Views(now_ms=int(store.queues.time_ms()), last=store.registry.last(), promoted=store.registry.promoted()).of


def view_parts(store: Store, names: Sequence[str]) -> Iterator[list[EntryView]]:
    """The views of *names*, a part at a time; names of removed entries are passed over."""
    made = Views(now_ms=int(store.queues.time_ms()), last={}, promoted={})
    registry = store.registry
    for start in range(0, len(names), PART):
        part = names[start : start + PART]
        made.learn(last=registry.last(part), promoted=registry.promoted(part))
        yield [made.of(stored.record()) for stored in registry.stored(part) if stored.definition is not None]


def entry_data(view: EntryView) -> dict[str, Any]:
    """The entry for programs; the shape of `sched list -o json`."""
    entry = view.entry
    return {
        "name": entry.name,
        "task": entry.task,
        "schedule": view.text,
        "words": view.words,
        "timezone": view.zone,
        "queue": entry.queue,
        "enabled": entry.enabled,
        "paused": view.pause is not None,
        "next_fire": iso(view.next_ms),
        "last_fire": iso(view.last_ms),
        "last_state": view.last_state,
        "source": entry.source or None,
        "skipped": [iso(order.due_ms) for order in view.skips],
        "revision": view.revision,
        "known_until": iso(view.known_until_ms),
    }


def pause_data(pause: Pause | None) -> dict[str, Any] | None:
    """A pause for programs."""
    if pause is None:
        return None
    return {"since": iso(pause.since_ms), "until": iso(pause.until_ms), "reason": pause.reason, "by": pause.by}


_encode = msgspec.json.Encoder(order="sorted").encode
