"""
Combinations of schedules: ``a | b``, ``a & b``, ``a - b``, and a schedule with a window (see `window`).

A schedule is a set of moments, so these are union, intersection and difference. An intersection or a difference may
have to look far for its next moment, and need not have one. Each search leaps from candidate to candidate, and is
bounded by the steps it may take, all that is nested in it included: what is not found within them counts as never.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Hashable, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from scheduler.errors import InvalidScheduleError
from scheduler.timing.base import EPOCH, MILLISECOND, UTC_S_MIN, Schedule
from scheduler.timing.combine_exact import EACH_SECOND, Rest, Searched, grain_of, met, refuse_other_hours
from scheduler.timing.combine_windows import DEPTH_MAX, KINDS, PARTS_MAX, CombinedWindow, combined_windows
from scheduler.timing.steps import STEPS_MAX, OutOfStepsError, Steps
from scheduler.timing.window import Window

if TYPE_CHECKING:
    from scheduler.timing.settling import Settling


# After so many exceptions in a row, a difference looks where the row ends.
LEAP_AFTER: Final = 4

# What a first look at a new combination may take, and what makes a part too slow for one.
FIRST_STEPS: Final = 64
CHEAP: Final = 5

# A schedule reads no clock; whether something is found from here on tells whether it is found at all.
LOOK_FROM: Final = datetime(2026, 1, 1, tzinfo=UTC)


class Combination(Schedule):
    """
    A schedule made of others.

    Attributes:
        parts: What it is made of, in the order in which it was written; of a window it has at most one, the last.
        depth: How deep combinations are nested in it, itself included.
        size: How many schedules and windows it is made of in the end.
    """

    __slots__ = ("depth", "parts", "size")

    MARK: str
    """The operator, as it stands between the parts."""

    parts: tuple[Schedule | Window, ...]
    depth: int
    size: int

    def __init__(self, parts: Sequence[Schedule | Window], meaning: Hashable) -> None:
        depth = 1 + max(part.depth if isinstance(part, Combination) else 0 for part in parts)
        size = sum(part.size if isinstance(part, Combination) else 1 for part in parts)
        if depth > DEPTH_MAX or size > PARTS_MAX:
            raise InvalidScheduleError(
                f"combination: {size} parts nested {depth} deep are outside 1–{PARTS_MAX} parts and 1–{DEPTH_MAX} deep"
            )
        zones = [part.zone for part in parts if isinstance(part, Schedule)]
        super().__init__(
            text=f" {self.MARK} ".join(_part_text(part, zones) for part in parts),
            # It needs the entry's zone as long as one of its schedules does.
            zone=None if None in zones else zones[0],
            meaning=meaning,
        )
        self._set("parts", tuple(parts))
        self._set("depth", depth)
        self._set("size", size)

    @property
    @abstractmethod
    def grain(self) -> Schedule | None:
        """A crontab or a period that has all its moments, see `grain_of`."""

    @abstractmethod
    def remade(self, parts: Sequence[Any]) -> Schedule:
        """Return the same combination of other *parts*."""

    @abstractmethod
    def next_within(self, after_ms: int, steps: Steps) -> int | None:
        """As `next_ms`, with so many steps left."""

    @abstractmethod
    def previous_within(self, before_ms: int, steps: Steps) -> int | None:
        """As `previous_ms`, with so many steps left."""

    @abstractmethod
    def has_within(self, at_ms: int, steps: Steps) -> bool:
        """Return whether all that it is made of says that *at_ms* is a fire."""

    def next_ms(self, after_ms: int) -> int | None:
        try:
            return self.next_within(after_ms, Steps())
        except OutOfStepsError:
            return None

    def previous_ms(self, before_ms: int) -> int | None:
        try:
            return self.previous_within(before_ms, Steps())
        except OutOfStepsError:
            return None

    def in_zone(self, name: str) -> Schedule:
        return self if self.zone is not None else self.remade([part.in_zone(name) for part in self.parts])

    def for_entry(self, name: str) -> Schedule:
        return self._mapped([part.for_entry(name) for part in self.parts])

    def settled(self, settling: Settling) -> Schedule:
        return self._mapped([part.settled(settling) for part in self.parts])

    def warnings(self) -> tuple[str, ...]:
        notes = [warning for part in self.parts for warning in part.warnings()]
        if self._finds_nothing():
            notes.append(
                f"{self.text}: no moment was found within {STEPS_MAX} steps from {LOOK_FROM:%Y} on; it may never fire"
            )
        return tuple(dict.fromkeys(notes))

    def as_data(self) -> dict[str, Any]:
        return {"kind": KINDS[self.MARK], "parts": [part.as_data() for part in self.parts]}

    def __repr__(self) -> str:
        parts = [f"({part!r})" if isinstance(part, _NESTED) else repr(part) for part in self.parts]
        return f" {self.MARK} ".join(parts)

    def _finds_nothing(self) -> bool:
        try:
            self.next_within((LOOK_FROM - EPOCH) // MILLISECOND, Steps())
        except OutOfStepsError:
            return True
        except InvalidScheduleError:
            pass  # An entry's name is missing.
        return False  # It found something, or came to its end.

    def _refuse_if_never(self) -> None:
        """
        Refuse a combination that can be seen to have no moment.

        It is seen where the search comes to its end within few steps; whether one that goes on ever finds something, only
        a longer one could tell (see `warnings`). Before all zones and names are known, nothing can be said.
        """
        if self.zone is None or any(part.zone is None for part in self.parts) or _is_slow(self):
            return
        try:
            if self.next_within(UTC_S_MIN * 1000 - 1, Steps(FIRST_STEPS)) is not None:
                return
        except (OutOfStepsError, InvalidScheduleError):
            return
        raise InvalidScheduleError(f"combination {self.text}: it has no moment at all, so that it never fires")

    def _mapped(self, parts: list[Schedule | Window]) -> Schedule:
        return self if all(map(_is, parts, self.parts)) else self.remade(parts)


class Either(Combination):
    """All the moments of its parts: ``a | b``."""

    __slots__ = ("_is_plain",)

    MARK = "|"

    parts: tuple[Schedule, ...]
    # Nothing in it searches, so that nothing has to be bounded.
    _is_plain: bool

    def __init__(self, parts: Sequence[Schedule]) -> None:
        super().__init__(parts, ("|", frozenset(parts)))
        self._set("_is_plain", not any(isinstance(part, Combination) for part in parts))

    def next_ms(self, after_ms: int) -> int | None:
        if not self._is_plain:
            return super().next_ms(after_ms)
        first_ms = None
        for part in self.parts:
            fire_ms = part.next_ms(after_ms)
            if fire_ms is not None and (first_ms is None or fire_ms < first_ms):
                first_ms = fire_ms
        return first_ms

    def previous_ms(self, before_ms: int) -> int | None:
        if not self._is_plain:
            return super().previous_ms(before_ms)
        last_ms = None
        for part in self.parts:
            fire_ms = part.previous_ms(before_ms)
            if fire_ms is not None and (last_ms is None or fire_ms > last_ms):
                last_ms = fire_ms
        return last_ms

    @property
    def grain(self) -> Schedule | None:
        return EACH_SECOND if all(grain_of(part) is not None for part in self.parts) else None

    def remade(self, parts: Sequence[Any]) -> Schedule:
        return _flat(Either, parts)

    def next_within(self, after_ms: int, steps: Steps) -> int | None:
        first_ms, sharers = None, len(self.parts) + 1
        for part in self.parts:
            sharers -= 1
            fire_ms = _next_or_none(part, after_ms, steps, sharers)
            if fire_ms is not None and (first_ms is None or fire_ms < first_ms):
                first_ms = fire_ms
        return first_ms

    def previous_within(self, before_ms: int, steps: Steps) -> int | None:
        last_ms, sharers = None, len(self.parts) + 1
        for part in self.parts:
            sharers -= 1
            fire_ms = _previous_or_none(part, before_ms, steps, sharers)
            if fire_ms is not None and (last_ms is None or fire_ms > last_ms):
                last_ms = fire_ms
        return last_ms

    def has_within(self, at_ms: int, steps: Steps) -> bool:
        return any(part.has_within(at_ms, steps) for part in self.parts)

    def words(self) -> str:
        return "; and ".join(_lowered(self.parts))


class Both(Combination):
    """The moments that all its parts share: ``a & b``."""

    __slots__ = ("_asked",)

    MARK = "&"

    parts: tuple[Schedule, ...]
    _asked: tuple[Searched, ...]

    def __init__(self, parts: Sequence[Schedule]) -> None:
        super().__init__(parts, ("&", frozenset(parts)))
        self._set("_asked", met(parts))
        self._refuse_if_never()

    @property
    def grain(self) -> Schedule | None:
        return next((grain for part in self.parts if (grain := grain_of(part)) is not None), None)

    def remade(self, parts: Sequence[Any]) -> Schedule:
        return _flat(Both, parts)

    def next_within(self, after_ms: int, steps: Steps) -> int | None:
        parts, at_ms = self._asked, after_ms + 1
        agreeing, turn = 0, 0
        while agreeing < len(parts):
            fire_ms = parts[turn].next_within(at_ms - 1, steps)
            if fire_ms is None:
                return None
            agreeing = agreeing + 1 if fire_ms == at_ms else 1
            at_ms = fire_ms
            turn = turn + 1 if turn + 1 < len(parts) else 0
        return at_ms

    def previous_within(self, before_ms: int, steps: Steps) -> int | None:
        parts, at_ms = self._asked, before_ms - 1
        agreeing, turn = 0, 0
        while agreeing < len(parts):
            fire_ms = parts[turn].previous_within(at_ms + 1, steps)
            if fire_ms is None:
                return None
            agreeing = agreeing + 1 if fire_ms == at_ms else 1
            at_ms = fire_ms
            turn = turn + 1 if turn + 1 < len(parts) else 0
        return at_ms

    def has_within(self, at_ms: int, steps: Steps) -> bool:
        return all(part.has_within(at_ms, steps) for part in self.parts)

    def words(self) -> str:
        return ", only when also ".join(_lowered(self.parts))


class Without(Combination):
    """The moments of a schedule that are not those of another: ``a - b``."""

    __slots__ = ("_rest", "of", "what")

    MARK = "-"

    of: Schedule
    what: Schedule
    _rest: Rest

    def __init__(self, of: Schedule, what: Schedule) -> None:
        if of == what:
            raise InvalidScheduleError(f"combination: {of.text} without itself never fires")
        super().__init__((of, what), ("-", of, what))
        self._set("of", of)
        self._set("what", what)
        self._set("_rest", Rest(of, what.parts if type(what) is Either else (what,)))
        self._refuse_if_never()

    @property
    def grain(self) -> Schedule | None:
        return grain_of(self.of)

    def remade(self, parts: Sequence[Any]) -> Schedule:
        return Without(*parts)

    def next_within(self, after_ms: int, steps: Steps) -> int | None:
        rest, row = self._rest, 0
        while True:
            fire_ms = rest.of.next_within(after_ms, steps)
            if fire_ms is None:
                return None
            for part in rest.what:
                if part.has_within(fire_ms, steps):
                    break
            else:
                return fire_ms
            row += 1
            after_ms = fire_ms if row < LEAP_AFTER else rest.leap_from_ms(part, fire_ms)

    def previous_within(self, before_ms: int, steps: Steps) -> int | None:
        rest, row = self._rest, 0
        while True:
            fire_ms = rest.of.previous_within(before_ms, steps)
            if fire_ms is None:
                return None
            for part in rest.what:
                if part.has_within(fire_ms, steps):
                    break
            else:
                return fire_ms
            row += 1
            before_ms = fire_ms if row < LEAP_AFTER else rest.leap_back_from_ms(part, fire_ms)

    def has_within(self, at_ms: int, steps: Steps) -> bool:
        return self.of.has_within(at_ms, steps) and not self.what.has_within(at_ms, steps)

    def words(self) -> str:
        return ", except ".join(_lowered(self.parts))


class Inside(Combination):
    """The moments of a schedule that lie inside a window: ``a & window``."""

    __slots__ = ("schedule", "window")

    MARK = "&"
    KEEPS_INSIDE = True

    schedule: Schedule
    window: Window

    def __init__(self, schedule: Schedule, window: Window) -> None:
        # "Every day at 09:00 in Shanghai, but not on holidays" means the days as they are in Shanghai.
        if schedule.zone is not None:
            window = window.in_zone(schedule.zone)
        super().__init__((schedule, window), (self.MARK, schedule, window))
        self._set("schedule", schedule)
        self._set("window", window)
        refuse_other_hours(schedule, window, inside=self.KEEPS_INSIDE)
        self._refuse_if_never()

    @classmethod
    def of(cls, schedule: Schedule, window: Window) -> Inside:
        """Return *schedule* with *window*; windows that filter one after the other become one."""
        if type(schedule) is not cls:
            return cls(schedule, window)
        both: Window = schedule.window & window if cls.KEEPS_INSIDE else schedule.window | window
        return cls(schedule.schedule, both)

    @property
    def grain(self) -> Schedule | None:
        return grain_of(self.schedule)

    def remade(self, parts: Sequence[Any]) -> Schedule:
        return type(self)(*parts)

    def next_within(self, after_ms: int, steps: Steps) -> int | None:
        while True:
            fire_ms = self.schedule.next_within(after_ms, steps)
            if fire_ms is None:
                return None
            found_ms = self.window.seek_ms(fire_ms, steps, inside=self.KEEPS_INSIDE, forward=True)
            if found_ms is None or found_ms == fire_ms:
                return found_ms
            after_ms = found_ms - 1

    def previous_within(self, before_ms: int, steps: Steps) -> int | None:
        while True:
            fire_ms = self.schedule.previous_within(before_ms, steps)
            if fire_ms is None:
                return None
            found_ms = self.window.seek_ms(fire_ms, steps, inside=self.KEEPS_INSIDE, forward=False)
            if found_ms is None or found_ms == fire_ms:
                return found_ms
            before_ms = found_ms + 1

    def has_within(self, at_ms: int, steps: Steps) -> bool:
        if not self.schedule.has_within(at_ms, steps):
            return False
        return self.window.holds_within(at_ms, steps) == self.KEEPS_INSIDE

    def words(self) -> str:
        return f"{self.schedule.words()}, {'' if self.KEEPS_INSIDE else 'except '}{self.window.words()}"


class Outside(Inside):
    """The moments of a schedule that lie outside a window: ``a - window``."""

    __slots__ = ()

    MARK = "-"
    KEEPS_INSIDE = False


_NESTED = (Combination, CombinedWindow)


def combined(mark: str, left: object, right: object) -> Any:
    """
    Return what *left* and *right* come to with the operator *mark*, or NotImplemented where one is neither a schedule,
    nor one of APScheduler's triggers, nor a window.

    Raises:
        InvalidScheduleError: They do not go together, can never fire, or are nested too deep.
    """
    from scheduler.timing.trigger import as_schedule  # noqa: PLC0415 - it wraps triggers, and stands above

    sides = [side if isinstance(side, Window) else as_schedule(side) for side in (left, right)]
    one, other = sides
    if one is None or other is None:
        return NotImplemented
    if isinstance(one, Window):
        if isinstance(other, Window):
            return combined_windows(mark, one, other)
        if mark == "&":
            return Inside.of(other, one)
    elif isinstance(other, Window):
        if mark != "|":
            return (Inside if mark == "&" else Outside).of(one, other)
    elif mark == "-":
        # What is taken away one after the other is taken away together.
        return Without(one.of, one.what | other) if type(one) is Without else Without(one, other)
    else:
        return _flat(Either if mark == "|" else Both, (one, other))
    raise InvalidScheduleError(
        f"combination: {one!r} {mark} {other!r}: a window has no moments of its own; "
        "schedule & window keeps what lies inside, schedule - window what lies outside"
    )


def _flat(kind: type[Either] | type[Both], parts: Sequence[Schedule]) -> Schedule:
    """Return the union or intersection of *parts*: those of the same kind are taken apart, and each counts once."""
    flat = [inner for part in parts for inner in (part.parts if type(part) is kind else (part,))]
    distinct = list(dict.fromkeys(flat))
    return kind(distinct) if len(distinct) > 1 else distinct[0]


def _next_or_none(part: Schedule, after_ms: int, steps: Steps, sharers: int) -> int | None:
    """As `next_within`; a part that finds nothing with its share of the steps does not end the search of the others."""
    if isinstance(part, Combination):
        return steps.spare(part, sharers, partial(part.next_within, after_ms, steps))
    return part.next_within(after_ms, steps)


def _previous_or_none(part: Schedule, before_ms: int, steps: Steps, sharers: int) -> int | None:
    """As `previous_within`, with the same care."""
    if isinstance(part, Combination):
        return steps.spare(part, sharers, partial(part.previous_within, before_ms, steps))
    return part.previous_within(before_ms, steps)


def _is_slow(part: Schedule | Window) -> bool:
    """Return whether asking *part* may run somebody else's code."""
    if isinstance(part, _NESTED):
        return any(map(_is_slow, part.parts))
    return part.STEP_COST > CHEAP


def _part_text(part: Schedule | Window, zones: list[str | None]) -> str:
    text = f"({part.text})" if isinstance(part, _NESTED) else part.text
    # Where the parts are of different zones, each says its own.
    is_mixed = part.zone is not None and any(zone != part.zone for zone in zones)
    return f"{text} {part.zone}" if is_mixed else text


def _lowered(parts: Sequence[Schedule | Window]) -> list[str]:
    """Return the words of *parts* as they stand in one sentence."""
    words = [part.words() for part in parts]
    return [words[0], *(text[:1].lower() + text[1:] for text in words[1:])]


def _is(one: object, other: object) -> bool:
    return one is other
