"""
`Table`: fires that were listed ahead, for rules that exist only as a Python object.

A table knows its fires from one moment to another. It is complete if there are none after them; if not, its rule has to be asked
again before it is used up, by a process that has the object. On Redis, in Python and in comparisons it is the same short text:
the first fire, then each distance to the next one with the number of times it repeats (``1763712000000 86400000*4 259200000``).

The functions below work on the data of any schedule, since tables stand inside combinations too.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import timedelta
from itertools import pairwise
from typing import Any, Final

from scheduler.errors import InvalidScheduleError
from scheduler.timing.base import EPOCH, UTC_S_MAX, UTC_S_MIN, Schedule
from scheduler.timing.wording import shown

FIRES_MAX: Final = 10_000
FIRES_CHARS_MAX: Final = 16_384
"""A table stands on Redis with its entry; one that is too irregular to be short knows fewer fires."""
TEXT_CHARS_MAX: Final = 200
DAY_MS: Final = 86_400_000

_RUN: Final = re.compile(r"([1-9]\d{0,14})(?:\*([1-9]\d{0,4}))?")
_FIRST: Final = re.compile(r"-?\d{1,15}")


class Table(Schedule):
    """
    Fires by a list.

    Args:
        text: The rule that was asked, for people.
        fires: As the module's text describes; empty if there is none.
        from_ms: Fires up to here are not all known.
        until_ms: Later fires are not known; None: there are none.
        tz: For showing them.
    """

    __slots__ = ("_bases_ms", "_ends_ms", "_fires", "_from_ms", "_steps_ms", "_until_ms")

    _fires: str
    _from_ms: int
    _until_ms: int | None
    # A run is what follows `base` in equal steps up to `end`; `base` itself belongs to the run before.
    _bases_ms: list[int]
    _steps_ms: list[int]
    _ends_ms: list[int]

    def __init__(
        self,
        *,
        text: str,
        fires: str,
        from_ms: int,
        until_ms: int | None = None,
        tz: str | None = None,
    ) -> None:
        if not isinstance(text, str) or not 1 <= len(text) <= TEXT_CHARS_MAX:
            raise InvalidScheduleError(f"table: text {shown(text)} is not 1–{TEXT_CHARS_MAX} characters")
        _check_moment("from_ms", from_ms)
        if until_ms is not None:
            _check_moment("until_ms", until_ms)
        bases_ms, steps_ms, ends_ms = _read_runs(fires)
        super().__init__(text=text, zone=tz, meaning=("table", fires, from_ms, until_ms, tz))
        self._set("_fires", fires)
        self._set("_from_ms", from_ms)
        self._set("_until_ms", until_ms)
        self._set("_bases_ms", bases_ms)
        self._set("_steps_ms", steps_ms)
        self._set("_ends_ms", ends_ms)

    def next_ms(self, after_ms: int) -> int | None:
        run = bisect_right(self._ends_ms, after_ms)
        if run == len(self._ends_ms):
            return None
        base_ms, step_ms = self._bases_ms[run], self._steps_ms[run]
        return base_ms + (max(0, after_ms - base_ms) // step_ms + 1) * step_ms

    def previous_ms(self, before_ms: int) -> int | None:
        run = bisect_left(self._ends_ms, before_ms)
        if run < len(self._ends_ms):
            base_ms, step_ms = self._bases_ms[run], self._steps_ms[run]
            steps = (before_ms - 1 - base_ms) // step_ms
            if steps > 0:
                return base_ms + steps * step_ms
        return self._ends_ms[run - 1] if run else None

    def in_zone(self, name: str) -> Schedule:
        if self.zone is not None:
            return self
        return Table(text=self.text, fires=self._fires, from_ms=self._from_ms, until_ms=self._until_ms, tz=name)

    def words(self) -> str:
        if self._until_ms is None:
            return self.text
        return f"{self.text}, asked ahead until {_minute(self._until_ms)}"

    def as_data(self) -> dict[str, Any]:
        return {
            "kind": "table",
            "text": self.text,
            "fires": self._fires,
            "from_ms": self._from_ms,
            "until_ms": self._until_ms,
            "tz": self.zone,
        }

    def __repr__(self) -> str:
        known = "complete" if self._until_ms is None else f"until {_minute(self._until_ms)}"
        return f"<table of {self.text}, {known}>"


def encode_fires(fires_ms: Sequence[int]) -> tuple[str, int]:
    """
    Return *fires_ms*, which grow strictly, as a table's text, and how many of them fit into `FIRES_CHARS_MAX`.

    Raises:
        InvalidScheduleError: They do not grow.
    """
    if not fires_ms:
        return "", 0
    parts, chars, count, repeats = [str(fires_ms[0])], 15, 1, 0
    steps = [later - earlier for earlier, later in pairwise(fires_ms[:FIRES_MAX])]
    if any(step <= 0 for step in steps):
        raise InvalidScheduleError("table: its fires do not grow")
    for index, step in enumerate(steps):
        repeats += 1
        if index + 1 < len(steps) and steps[index + 1] == step:
            continue
        part = f"{step}*{repeats}" if repeats > 1 else str(step)
        chars += len(part) + 1
        if chars > FIRES_CHARS_MAX:
            break
        parts.append(part)
        count += repeats
        repeats = 0
    return " ".join(parts), count


def decode_fires(fires: str) -> list[int]:
    """Return the fires of a table's text."""
    found: list[int] = []
    for base_ms, step_ms, end_ms in zip(*_read_runs(fires), strict=True):
        found.extend(range(base_ms + step_ms, end_ms + 1, step_ms))
    return found


def _read_runs(fires: object) -> tuple[list[int], list[int], list[int]]:
    """Return the runs of *fires* as bases, steps and ends."""
    if not isinstance(fires, str) or len(fires) > FIRES_CHARS_MAX:
        raise InvalidScheduleError(f"table: fires {shown(fires)} is no text of up to {FIRES_CHARS_MAX} characters")
    if not fires:
        return [], [], []
    first, *runs = fires.split(" ")
    if _FIRST.fullmatch(first) is None:
        raise InvalidScheduleError(f"table: the first fire {shown(first)} is no number of milliseconds")
    end_ms, count = int(first), 1
    bases_ms, steps_ms, ends_ms = [end_ms - 1], [1], [end_ms]
    for run in runs:
        match = _RUN.fullmatch(run)
        if match is None:
            raise InvalidScheduleError(f"table: {shown(run)} is no distance between fires")
        step_ms, repeats = int(match.group(1)), int(match.group(2) or 1)
        count += repeats
        bases_ms.append(end_ms)
        steps_ms.append(step_ms)
        end_ms += step_ms * repeats
        ends_ms.append(end_ms)
    if count > FIRES_MAX or bases_ms[0] < UTC_S_MIN * 1000 or end_ms >= (UTC_S_MAX + 1) * 1000:
        raise InvalidScheduleError(
            f"table: {count} fires up to {end_ms} are outside 1–{FIRES_MAX} and the years 1–9999"
        )
    return bases_ms, steps_ms, ends_ms


# ── schedules as data, with the parts that were asked ahead ─────────────────────────────────────────────────────────

ASKED_KINDS: Final = ("table", "holidays")
"""The kinds of data that may hold answers: with `from_ms`, and with `until_ms` unless they are complete."""


def renew_at_ms(data: Mapping[str, Any]) -> int | None:
    """
    Return when the schedule *data* is to be asked anew: before its shortest table is half used up. None: never.

    The table itself stays good until `known_until_ms`.
    """
    moments = [
        (part["from_ms"] + part["until_ms"]) // 2 for part in _asked_parts(data) if part.get("until_ms") is not None
    ]
    return min(moments, default=None)


def known_until_ms(data: Mapping[str, Any]) -> int | None:
    """Return up to when the fires of the schedule *data* are known without its file. None: for ever."""
    ends_ms = [part["until_ms"] for part in _asked_parts(data) if part.get("until_ms") is not None]
    return min(ends_ms, default=None)


def same_rule(old: object, new: object) -> bool:
    """Whether *old* and *new*, the data of two schedules, are the same but for the answers in them."""
    return _same(old, new, lambda _old, _new: True)


def renews(old: object, new: object) -> bool:
    """
    Whether *new* is *old*, asked anew: the same rule, and no fire is another one where both know.

    What was armed by the one is right by the other then.
    """
    return _same(old, new, _agree)


def _same(old: object, new: object, agree: Callable[[Mapping[str, Any], Mapping[str, Any]], bool]) -> bool:
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        if old.get("kind") != new.get("kind") or old.keys() != new.keys():
            return False
        if old.get("kind") in ASKED_KINDS:
            answers = ("fires", "days", "from_ms", "until_ms")
            is_same_rule = all(old[key] == new[key] for key in old if key not in answers)
            return is_same_rule and (old == new or agree(old, new))
        return all(_same(old[key], new[key], agree) for key in old)
    if isinstance(old, list | tuple) and isinstance(new, list | tuple):
        return len(old) == len(new) and all(_same(o, n, agree) for o, n in zip(old, new, strict=True))
    return old == new


def _agree(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    """Whether two answers to one question are the same where both were given."""
    from_ms = max(old["from_ms"], new["from_ms"])
    ends_ms = [part["until_ms"] for part in (old, new) if part["until_ms"] is not None]
    until_ms = min(ends_ms) if ends_ms else None
    return _within(_moments_ms(old), from_ms, until_ms) == _within(_moments_ms(new), from_ms, until_ms)


def _moments_ms(part: Mapping[str, Any]) -> list[int]:
    """The fires of a table; of a calendar its days, counted from 1970, at midnight."""
    if "fires" in part:
        return decode_fires(part["fires"])
    return [day * DAY_MS for day in decode_fires(part["days"])]


def _within(moments_ms: list[int], from_ms: int, until_ms: int | None) -> list[int]:
    end = len(moments_ms) if until_ms is None else bisect_right(moments_ms, until_ms)
    return moments_ms[bisect_right(moments_ms, from_ms) : end]


def _asked_parts(data: object) -> Iterator[Mapping[str, Any]]:
    if isinstance(data, Mapping):
        if data.get("kind") in ASKED_KINDS:
            yield data
        else:
            for part in data.values():
                yield from _asked_parts(part)
    elif isinstance(data, list | tuple):
        for part in data:
            yield from _asked_parts(part)


def _check_moment(name: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not UTC_S_MIN <= value // 1000 <= UTC_S_MAX:
        raise InvalidScheduleError(f"table: {name} {shown(value)} is no moment within the years 1–9999")


def _minute(moment_ms: int) -> str:
    return f"{EPOCH + timedelta(milliseconds=moment_ms):%Y-%m-%d %H:%M}Z"
