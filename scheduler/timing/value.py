"""Values that compare and hash by what they mean, and never change."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, ClassVar, NoReturn, Self


class Value:
    """
    What schedules and windows have in common: two with the same meaning are equal, and nobody can alter one.

    Subclasses pass to `__init__` what they mean, and set their attributes with `_set` while they are being built.

    Attributes:
        text: As its author would write it.
        zone: The IANA name of the zone it was declared with, or None.
        STEP_COST: How much one question counts against the bounded steps of a combination; 1 is about 3 µs.
    """

    __slots__ = ("_hash", "_meaning", "text", "zone")

    STEP_COST: ClassVar[int] = 1

    text: str
    zone: str | None
    _meaning: Hashable
    _hash: int

    def __init__(self, *, text: str, zone: str | None, meaning: Hashable) -> None:
        self._set("text", text)
        self._set("zone", zone)
        self._set("_meaning", meaning)
        self._set("_hash", hash(meaning))

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        if not isinstance(other, Value):
            return NotImplemented
        return self._hash == other._hash and self._meaning == other._meaning

    def __hash__(self) -> int:
        return self._hash

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"{type(self).__name__} is immutable; its {name} cannot be set")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"{type(self).__name__} is immutable; its {name} cannot be deleted")

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self

    def _set(self, name: str, value: object) -> None:
        """Set an attribute while the value is being built."""
        object.__setattr__(self, name, value)
