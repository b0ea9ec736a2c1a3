"""Combinations of windows among each other: ``w | v``, ``w & v``, ``w - v``."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from functools import partial
from operator import eq
from typing import TYPE_CHECKING, Any, Final

from scheduler.errors import InvalidScheduleError
from scheduler.timing.steps import OutOfStepsError, Steps
from scheduler.timing.window import Window

if TYPE_CHECKING:
    from scheduler.timing.settling import Settling

DEPTH_MAX: Final = 8
PARTS_MAX: Final = 64

KINDS: Final = {"|": "or", "&": "and", "-": "minus"}
"""How combinations, of windows and of schedules, are called in data."""

_WORDS: Final = {"|": " or ", "&": " and ", "-": " except "}


class CombinedWindow(Window):
    """
    A window made of others.

    Inside ``w & v`` all parts hold; inside ``w - v`` the first does and the other does not; outside ``w | v`` none
    does. So of inside and outside one is always *all agree*, found by leaping from part to part, and the other *one
    does not agree*, found by asking each once.
    """

    __slots__ = ("_wanted", "depth", "mark", "parts", "size")

    mark: str
    # Whether each part is to be inside where all agree.
    _wanted: tuple[bool, ...]
    parts: tuple[Window, ...]
    depth: int
    size: int

    def __init__(self, mark: str, parts: Sequence[Window]) -> None:
        depth = 1 + max(part.depth if isinstance(part, CombinedWindow) else 0 for part in parts)
        size = sum(part.size if isinstance(part, CombinedWindow) else 1 for part in parts)
        if depth > DEPTH_MAX or size > PARTS_MAX:
            raise InvalidScheduleError(
                f"window: {size} parts nested {depth} deep are outside 1–{PARTS_MAX} parts and 1–{DEPTH_MAX} deep"
            )
        zones = [part.zone for part in parts]
        meaning: Hashable = (parts[0], frozenset(parts[1:])) if mark == "-" else frozenset(parts)
        texts = [f"({part.text})" if isinstance(part, CombinedWindow) else part.text for part in parts]
        super().__init__(
            text=f" {mark} ".join(texts), zone=None if None in zones else zones[0], meaning=("window", mark, meaning)
        )
        self._set("mark", mark)
        self._set("_wanted", tuple(mark == "&" or (mark == "-" and index == 0) for index in range(len(parts))))
        self._set("parts", tuple(parts))
        self._set("depth", depth)
        self._set("size", size)

    def next_inside_ms(self, at_ms: int) -> int | None:
        return self._sought(at_ms, inside=True, forward=True)

    def next_outside_ms(self, at_ms: int) -> int | None:
        return self._sought(at_ms, inside=False, forward=True)

    def last_inside_ms(self, at_ms: int) -> int | None:
        return self._sought(at_ms, inside=True, forward=False)

    def last_outside_ms(self, at_ms: int) -> int | None:
        return self._sought(at_ms, inside=False, forward=False)

    def holds_ms(self, at_ms: int) -> bool:
        return self.holds_within(at_ms, Steps())

    def holds_within(self, at_ms: int, steps: Steps) -> bool:
        held = (part.holds_within(at_ms, steps) for part in self.parts)
        return any(held) if self.mark == "|" else all(map(eq, held, self._wanted))

    def seek_ms(self, at_ms: int, steps: Steps, *, inside: bool, forward: bool) -> int | None:
        if inside == (self.mark != "|"):
            return self._all_agree_ms(at_ms, steps, forward)
        found_ms = []
        for index, (part, wanted) in enumerate(zip(self.parts, self._wanted, strict=True)):
            ask = partial(part.seek_ms, at_ms, steps, inside=not wanted, forward=forward)
            nested = isinstance(part, CombinedWindow)
            found_ms.append(steps.spare(part, len(self.parts) - index, ask) if nested else ask())
        nearest = min if forward else max
        return nearest((ms for ms in found_ms if ms is not None), default=None)

    def in_zone(self, name: str) -> Window:
        return self if self.zone is not None else CombinedWindow(self.mark, [part.in_zone(name) for part in self.parts])

    def for_entry(self, name: str) -> Window:
        return CombinedWindow(self.mark, [part.for_entry(name) for part in self.parts])

    def settled(self, settling: Settling) -> Window:
        return CombinedWindow(self.mark, [part.settled(settling) for part in self.parts])

    def warnings(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(warning for part in self.parts for warning in part.warnings()))

    def words(self) -> str:
        words = [f"({part.words()})" if isinstance(part, CombinedWindow) else part.words() for part in self.parts]
        return _WORDS[self.mark].join(words)

    def as_data(self) -> dict[str, Any]:
        return {"kind": KINDS[self.mark], "parts": [part.as_data() for part in self.parts]}

    def __repr__(self) -> str:
        parts = [f"({part!r})" if isinstance(part, CombinedWindow) else repr(part) for part in self.parts]
        return f" {self.mark} ".join(parts)

    def _all_agree_ms(self, at_ms: int, steps: Steps, forward: bool) -> int | None:
        parts, wanted = self.parts, self._wanted
        agreeing, turn = 0, 0
        while agreeing < len(parts):
            found_ms = parts[turn].seek_ms(at_ms, steps, inside=wanted[turn], forward=forward)
            if found_ms is None:
                return None
            agreeing = agreeing + 1 if found_ms == at_ms else 1
            at_ms = found_ms
            turn = turn + 1 if turn + 1 < len(parts) else 0
        return at_ms

    def _sought(self, at_ms: int, *, inside: bool, forward: bool) -> int | None:
        try:
            return self.seek_ms(at_ms, Steps(), inside=inside, forward=forward)
        except OutOfStepsError:
            return None


def combined_windows(mark: str, one: Window, other: Window) -> Window:
    """
    Return what two windows come to with the operator *mark*.

    Raises:
        InvalidScheduleError: They are nested too deep, or nothing is left.
    """
    parts = [one, other]
    for index, part in ((1, other), (0, one)):
        # What is of the same kind is taken apart; what is subtracted from a remainder is subtracted from the whole.
        if isinstance(part, CombinedWindow) and part.mark == mark and (mark != "-" or index == 0):
            parts[index : index + 1] = part.parts
    distinct = list(dict.fromkeys(parts))
    if mark == "-" and parts[0] in parts[1:]:
        raise InvalidScheduleError(f"window: {parts[0].text} without itself is empty")
    return CombinedWindow(mark, distinct) if len(distinct) > 1 else distinct[0]
