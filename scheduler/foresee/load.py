"""
How much starts when: the load that entries make over a span, where it crowds, and what jitter would make of it. Pure.

Load counts starts, which are due times with countdown and jitter. What overlap will skip is counted too: that depends on how
long runs take.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

import msgspec

from scheduler.foresee.due import MINUTE_MS, Foresight, Span
from scheduler.model import Entry

SECOND_MS: Final = 1_000
DAY_MS: Final = 86_400_000

DAY: Final = 1440
WIDTHS: Final = (1, 2, 5, 10, 15, 20, 30, 60, 120, 180, 240, 360, 720, DAY)
"""Of a bar, in minutes; longer ones are whole days."""

CROWD_MIN: Final = 10
"""From how many entries on that start in one instant we speak of a crowd."""
LOOKED_AT_MAX: Final = 20
"""How many of the worst minutes are looked into for crowds."""
JITTERS_MS: Final = (10_000, 30_000, 60_000, 300_000, 600_000, 1_800_000, 3_600_000)
"""The lengths that are suggested: those that people choose themselves."""


class Crowd(NamedTuple):
    """Entries that start in one instant."""

    at_ms: int
    names: tuple[str, ...]


class Load(NamedTuple):
    """
    The load over a span.

    Attributes:
        per_minute: How many runs start in each minute of the epoch; minutes without any are left out.
        starts: Altogether.
    """

    span: Span
    per_minute: Mapping[int, int]
    starts: int

    @property
    def peak(self) -> tuple[int, int]:
        """The busiest minute, as its beginning in ms, and how many start in it; (the span's beginning, 0) where nothing does."""
        if not self.per_minute:
            return self.span.from_ms, 0
        minute = busiest(self.per_minute)
        return minute * MINUTE_MS, self.per_minute[minute]

    def worst(self, n: int) -> list[tuple[int, int]]:
        """The *n* busiest minutes, the worst first, of equals the earliest."""
        found = sorted(self.per_minute.items(), key=lambda item: (-item[1], item[0]))[:n]
        return [(minute * MINUTE_MS, count) for minute, count in found]

    def buckets(self, n: int) -> list[Bucket]:
        """The span cut into at most *n* buckets of whole minutes."""
        first = self.span.from_ms // MINUTE_MS
        minutes = max(1, -(-self.span.to_ms // MINUTE_MS) - first)
        width = next((width for width in WIDTHS if width * n >= minutes), 0) or -(-minutes // (n * DAY)) * DAY
        starts, peaks = [0] * -(-minutes // width), [0] * -(-minutes // width)
        for minute, count in self.per_minute.items():
            bucket = (minute - first) // width
            starts[bucket] += count
            peaks[bucket] = max(peaks[bucket], count)
        return [
            Bucket((first + index * width) * MINUTE_MS, width * MINUTE_MS, *counts)
            for index, counts in enumerate(zip(starts, peaks, strict=True))
        ]


class Bucket(NamedTuple):
    """One bar of a histogram: how many start within it, and in the worst of its minutes."""

    from_ms: int
    width_ms: int
    starts: int
    peak: int


class Spread(NamedTuple):
    """
    What jitter would make of a crowd on its day.

    Attributes:
        jitter_ms: For each of its entries that has less.
        second_before, second_after: The most that start in one second of that day.
        minute_before, minute_after: The same of a minute.
    """

    crowd: Crowd
    jitter_ms: int
    second_before: int
    second_after: int
    minute_before: int
    minute_after: int


def load_of(foresight: Foresight, span: Span, names: Iterable[str] | None = None) -> Load:
    """
    What *names* (all, if None) start within *span*.

    Args:
        foresight: Over a span that begins earlier by `reach_ms`, so that what is due before and starts within is counted.
    """
    counts = starts_per(foresight, MINUTE_MS, names, within=span)
    return Load(span, counts, sum(counts.values()))


def reach_ms(entries: Iterable[Entry]) -> int:
    """By how much the start of a run lies after its due time, at most."""
    return max((entry.countdown_ms + entry.jitter_ms for entry in entries), default=0)


def starts_per(
    foresight: Foresight, per_ms: int, names: Iterable[str] | None = None, *, within: Span | None = None
) -> Counter[int]:
    """How many runs start in each stretch of *per_ms* since the epoch; stretches without any are left out."""
    counts: Counter[int] = Counter()
    for starts, members in foresight.groups(foresight.entries if names is None else names):
        if within is not None:
            starts = starts[bisect_left(starts, within.from_ms) : bisect_left(starts, within.to_ms)]  # noqa: PLW2901
        each = Counter([at // per_ms for at in starts])
        if len(members) == 1:
            counts.update(each)
        else:
            for bucket, count in each.items():
                counts[bucket] += count * len(members)
    return counts


def starts_of_each(foresight: Foresight, names: Iterable[str], within: Span) -> dict[str, int]:
    """How many runs each of *names* starts within a span."""
    found = {}
    for starts, members in foresight.groups(names):
        count = bisect_left(starts, within.to_ms) - bisect_left(starts, within.from_ms)
        found.update(dict.fromkeys(members, count))
    return found


def busiest(counts: Mapping[int, int]) -> int:
    """The bucket that holds most; of equals the earliest."""
    return max(counts, key=lambda bucket: (counts[bucket], -bucket))


def crowds(foresight: Foresight, load: Load, names: Sequence[str], *, n: int) -> list[Crowd]:
    """At most *n* instants within the worst minutes in which many entries start, each with others than those before it."""
    found: list[Crowd] = []
    for minute_ms, count in load.worst(LOOKED_AT_MAX):
        if count < CROWD_MIN or len(found) == n:
            break
        crowd = _crowd_in(foresight, minute_ms, names)
        if len(crowd.names) >= CROWD_MIN and not any(set(crowd.names) <= set(other.names) for other in found):
            found.append(crowd)
    return found


def _crowd_in(foresight: Foresight, minute_ms: int, names: Sequence[str]) -> Crowd:
    at: dict[int, list[str]] = {}
    for starts, members in foresight.groups(names):
        index = bisect_left(starts, minute_ms)
        while index < len(starts) and starts[index] < minute_ms + MINUTE_MS:
            at.setdefault(starts[index], []).extend(members)
            index += 1
    worst = max(at, key=lambda moment: (len(at[moment]), -moment))
    return Crowd(worst, tuple(sorted(set(at[worst]))))


def spread(foresight: Foresight, crowd: Crowd, names: Sequence[str]) -> Spread | None:
    """What the smallest jitter that lets a crowd start one a second would do on that day; None if they would not fit."""
    jitter_ms = next((jitter for jitter in JITTERS_MS if jitter >= len(crowd.names) * SECOND_MS), JITTERS_MS[-1])
    crowded = set(crowd.names)
    entries = [foresight.entries[name] for name in names]
    spaced = [
        msgspec.structs.replace(entry, jitter_ms=max(entry.jitter_ms, jitter_ms)) if entry.name in crowded else entry
        for entry in entries
    ]
    day = Span(
        max(foresight.span.from_ms, crowd.at_ms - DAY_MS // 2), min(foresight.span.to_ms, crowd.at_ms + DAY_MS // 2)
    )
    figures = []
    for per_ms in (SECOND_MS, MINUTE_MS):
        for those in (entries, spaced):
            counts = starts_per(Foresight(those, day), per_ms)
            figures.append(max(counts.values(), default=0))
    if figures[1] >= figures[0] and figures[3] >= figures[2]:
        return None
    return Spread(crowd, jitter_ms, *figures)
