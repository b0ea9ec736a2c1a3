"""
Shared memory of children that run many messages at once: two numbers for each message that one of them holds.

    STARTED     child → supervisor   when the message was started, in ns of the monotonic clock; 0 before
    WITHDRAWN   supervisor → child   1: it is not to be started any more

A message is claimed by writing STARTED and then reading WITHDRAWN; it is taken back by writing WITHDRAWN and, one `SETTLE_S`
later, reading STARTED. So the supervisor gets back what has not started although the child is stuck (in C, or in a coroutine
that never yields). Messages start and end in any order. A cell is used for another message once the child has reported it,
as done or as passed over: until then the child may look at it.
"""

from __future__ import annotations

import mmap

STARTED, WITHDRAWN = range(2)
WORDS = 2


class Cells:
    """
    The memory of up to *children* children with *each* cells. Made before the first fork; pages cost nothing until they are used.

    Attributes:
        words: 64-bit numbers, `WORDS` for each cell. Aligned, so that each is written at once.
    """

    def __init__(self, children: int, each: int) -> None:
        self.each = each
        self._memory = mmap.mmap(-1, children * each * WORDS * 8)
        self.words = memoryview(self._memory).cast("q")

    def of(self, number: int) -> memoryview:
        """The words of child *number*."""
        size = self.each * WORDS
        return self.words[number * size : (number + 1) * size]
