"""
How much work to fetch: counted in milliseconds of it, not in messages.

Short tasks come in batches of hundreds, so that a round trip is shared; long ones and unknown ones come alone, so that none
waits behind another while somebody else is idle. Pure: handed durations and messages.
"""

from __future__ import annotations

import struct
from collections.abc import Collection, Mapping, Sequence

from scheduler.model import Message
from scheduler.wire import HEADER, NAMES_KNOWN_MAX

PARCEL_S = 0.02
"""A parcel holds about so much work."""
PARCEL_MESSAGES_MAX = 400
PARCEL_BYTES_MAX = 1 << 20
UNKNOWN_S = PARCEL_S / 2
"""What a task counts that was never seen: a few share a parcel at most."""
QUICK_S = 0.005
"""Tasks shorter than this are pipelined: the next parcel waits in the child's pipe."""
COST_S_MIN = 1e-6
WEIGHT = 0.3
"""Of a new observation, in the moving averages."""

_NAMES = struct.Struct("<HH")
_NAMES_AT = HEADER.size - 6
_known_tasks: dict[bytes, str] = {}
"""Names as they stand in messages → names. They are few and come with every message."""


def task_of(body: bytes) -> str:
    """The task's name in the header of *body*; empty where there is none to be read."""
    if len(body) < HEADER.size:
        return ""
    entry, task = _NAMES.unpack_from(body, _NAMES_AT)
    at = HEADER.size + entry
    raw = body[at : at + task]
    known = _known_tasks.get(raw)
    if known is None:
        if len(_known_tasks) >= NAMES_KNOWN_MAX:
            _known_tasks.clear()
        known = _known_tasks[raw] = raw.decode("utf-8", "replace")
    return known


class Pace:
    """
    What tasks cost, as seen so far.

    Args:
        singly: Tasks that are finished one by one (`ack="each"`); each fills a parcel.
    """

    def __init__(self, singly: Collection[str] = ()) -> None:
        self._singly = frozenset(singly)
        self._cost_s: dict[str, float] = {}
        self._mean_s = PARCEL_S

    def learn(self, spent: Mapping[str, tuple[int, float]]) -> None:
        """Take note of runs: task → (how many, seconds altogether)."""
        for task, (count, total_s) in spent.items():
            seen_s = total_s / count
            known_s = self._cost_s.get(task)
            self._cost_s[task] = seen_s if known_s is None else known_s + WEIGHT * (seen_s - known_s)
            counted_s = PARCEL_S if task in self._singly else seen_s
            self._mean_s += min(1.0, WEIGHT * count) * (counted_s - self._mean_s)

    def cost_s(self, task: str) -> float:
        """What one run of *task* is expected to take."""
        if task in self._singly:
            return PARCEL_S
        return self._cost_s.get(task, UNKNOWN_S)

    def is_quick(self, messages: Sequence[Message]) -> bool:
        """Whether another parcel may wait behind these: all of them known and short."""
        return all(self.cost_s(task) < QUICK_S for task in {task_of(message.body) for message in messages})

    def quota(self, parcels: int) -> int:
        """How many messages to ask for, to fill so many parcels."""
        each = int(PARCEL_S / max(self._mean_s, COST_S_MIN))
        return parcels * max(1, min(PARCEL_MESSAGES_MAX, each))

    def deal(self, messages: Sequence[Message], parcels: int) -> tuple[list[list[Message]], list[Message]]:
        """
        Share *messages* out, in order, among at most *parcels* parcels; and what is left over.

        Parcels are about equal, so that no child idles while another has a queue.
        """
        tasks = [task_of(message.body) for message in messages]
        cost_of = {task: self.cost_s(task) for task in set(tasks)}
        costs = [cost_of[task] for task in tasks]
        share_s = max(min(PARCEL_S, sum(costs) / max(1, parcels)), COST_S_MIN)
        dealt: list[list[Message]] = []
        room_s, room, room_bytes = 0.0, 0, 0
        for i, message in enumerate(messages):
            size, singly = len(message.body), tasks[i] in self._singly
            if singly or room_s <= COST_S_MIN / 2 or room == 0 or room_bytes < size:
                if len(dealt) == parcels:
                    return dealt, list(messages[i:])
                dealt.append([])
                room_s, room, room_bytes = share_s, PARCEL_MESSAGES_MAX, max(size, PARCEL_BYTES_MAX)
            dealt[-1].append(message)
            room_s, room, room_bytes = room_s - costs[i], 0 if singly else room - 1, room_bytes - size
        return dealt, []
