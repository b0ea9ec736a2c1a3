"""A mistake in a user's file: where, what, and what to do about it."""

from __future__ import annotations

import msgspec


class Mistake(msgspec.Struct, frozen=True):
    """
    One mistake.

    Attributes:
        file: Relative to the folder that holds the schedule files.
        line: From 1; 0 where no line is to blame.
        what: What is wrong, one line.
        remedy: What to do about it; empty where `what` says so.
        entry: The entry's name, where it is about one.
    """

    file: str
    line: int
    what: str
    remedy: str = ""
    entry: str = ""

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        text = f"{place}: {self.what}" + (f"; {self.remedy}" if self.remedy else "")
        return " ".join(text.split())
