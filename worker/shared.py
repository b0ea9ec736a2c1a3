"""
What a child and its supervisor tell each other without a message: four numbers for each child, in shared memory.

    CLAIMED   child → supervisor   the message it runs, or ran last, by its number
    STARTED   child → supervisor   when it started, in ns of the monotonic clock; 0 between messages
    LIMIT     supervisor → child   the last message it may start
    HARD      child → supervisor   the hard time limit of what it runs, in ms; 0 for none; written before STARTED

A message is claimed by writing CLAIMED and then reading LIMIT; the rest of a batch is taken back by writing LIMIT and, one
`SETTLE_S` later, reading CLAIMED. No lock: a child that is killed cannot leave one behind. On the way between the two a
processor may keep a store to itself for some nanoseconds, hence the pause. Whoever loses the race is told by a message:
the child reports the first number that it did not start.
"""

from __future__ import annotations

import mmap

CLAIMED, STARTED, LIMIT, HARD = range(4)
WORDS = 8
"""For each child: one cache line."""
UNLIMITED = 2**62
SETTLE_S = 0.002


class Slots:
    """
    The shared memory of up to *count* children. Made before the first fork; each child finds its slot by its number.

    Attributes:
        words: 64-bit numbers, `WORDS` for each child. Aligned, so that each is written at once.
    """

    def __init__(self, count: int) -> None:
        self._memory = mmap.mmap(-1, count * WORDS * 8)
        self.words = memoryview(self._memory).cast("q")
        for number in range(count):
            self.reset(number)

    def reset(self, number: int) -> None:
        """Make the slot ready for a new child. The old one must be dead."""
        at = number * WORDS
        self.words[at + CLAIMED] = 0
        self.words[at + STARTED] = 0
        self.words[at + LIMIT] = UNLIMITED
        self.words[at + HARD] = 0

    def claimed(self, number: int) -> int:
        """The message that the child runs, or ran last."""
        return self.words[number * WORDS + CLAIMED]

    def started_mono_s(self, number: int) -> float:
        """When it started; 0.0 while it runs none."""
        return self.words[number * WORDS + STARTED] / 1e9

    def hard_limit_s(self, number: int) -> float | None:
        """How long what it runs may take."""
        limit_ms = self.words[number * WORDS + HARD]
        return limit_ms / 1000 if limit_ms else None

    def limit(self, number: int, last: int) -> None:
        """From now on the child starts nothing beyond *last*."""
        self.words[number * WORDS + LIMIT] = last
