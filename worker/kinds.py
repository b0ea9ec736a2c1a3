"""
What differs between pools with children: how many children, what they share with their supervisor, and who is given how much.

    OneEach    prefork          a child for each task that runs at once; parcels of quick tasks, one long one
    AtOnce     threads, async   one child for all; a batch beyond what can run at once only of quick tasks
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from scheduler.model import Message
from worker import stacks
from worker.cells import Cells
from worker.child import Child
from worker.execute import Executor
from worker.hand import Hand
from worker.hooks import ChildInitError, end_child, init_child
from worker.many import Many
from worker.pools import POOLS
from worker.prefetch import PARCEL_MESSAGES_MAX, PARCEL_S, QUICK_S, Pace, task_of
from worker.process import Setting
from worker.shared import Slots
from worker.single import Single
from worker.zygote import Zygote

SUCCESSORS_MAX = 40
"""So many children of prefork may be replaced at a time: `select` watches 1,024 descriptors, and each child takes two."""
GENERATIONS_MAX = 8
"""So many predecessors of a child of threads or async may be working off what they run."""

EACH_QUICK_MIN = round(PARCEL_S / QUICK_S)
"""Tasks of which so many fit into a parcel are quick."""


class Seat:
    """
    The place of one child, whoever holds it.

    Attributes:
        child: Who is given work, or is about to be.
        successor: Who takes over once it is ready.
        retired: Predecessors that end what they run.
        again_mono_s: Not before then is another child born here.
        failures: How many have died in a row without a hello.
        is_closed: Nobody works here any more.
    """

    def __init__(self) -> None:
        self.child: Hand | None = None
        self.successor: Hand | None = None
        self.retired: list[Hand] = []
        self.again_mono_s = 0.0
        self.failures = 0
        self.is_closed = False

    def hands(self) -> Iterator[Hand]:
        """Everybody who is here."""
        yield from self.retired
        if self.child is not None:
            yield self.child
        if self.successor is not None:
            yield self.successor


class Kind(Protocol):
    """What a crew asks of its kind."""

    concurrency: int
    children_max: int
    """At a time, successors and predecessors included."""
    successors_max: int

    def seats(self) -> int:
        """How many children there are to be."""

    def born(self, number: int, zygote: Zygote) -> Hand:
        """A new child."""

    def live(self, sock: socket.socket, number: int) -> None:
        """In the child: its life."""

    def may_retire(self, seat: Seat) -> bool:
        """Whether another predecessor may work on beside its successor."""

    def quota(self, seats: Sequence[Seat]) -> int:
        """How many messages can be given out now."""

    def deal(self, seats: Sequence[Seat], messages: list[Message], clock_ms: float, session: str) -> list[Message]:
        """Share *messages* out; what is left over, in order."""


class OneEach:
    """Prefork."""

    def __init__(self, setting: Setting, pace: Pace) -> None:
        self.concurrency = setting.concurrency
        self.children_max = POOLS["prefork"].concurrency_max + SUCCESSORS_MAX
        self.successors_max = SUCCESSORS_MAX
        self._setting = setting
        self._pace = pace
        self._tasks_max = setting.config.max_tasks_per_child
        self._slots = Slots(self.children_max)

    def seats(self) -> int:
        """One for each task that runs at once."""
        return self.concurrency

    def born(self, number: int, zygote: Zygote) -> Single:
        """A new child."""
        return Single(number, self._slots, zygote, self._pace.is_quick)

    def live(self, sock: socket.socket, number: int) -> None:
        """In the child: its life."""

        def live(make_executor: Callable[[Callable[[], float]], Executor]) -> None:
            Child(sock, number, self._slots, make_executor).run()

        stacks.offer()
        _live(self._setting, live)

    def may_retire(self, seat: Seat) -> bool:
        """A successor waits until its predecessor is idle, so there is one at most."""
        return not seat.retired

    def quota(self, seats: Sequence[Seat]) -> int:
        """A parcel for each free child, of no more than it may still run."""
        free = self._free(seats)
        if not self._tasks_max:
            return self._pace.quota(len(free)) if free else 0
        each = self._pace.quota(1)
        return sum(min(each, self._left(child)) for child in free)

    def deal(self, seats: Sequence[Seat], messages: list[Message], clock_ms: float, session: str) -> list[Message]:
        """Parcels of about the same amount of work; idle children first."""
        free = self._free(seats)
        free.sort(key=_is_busy)
        idle = sum(child.is_idle for child in free)
        # Few messages go to idle children; only with plenty a second parcel waits behind a first.
        parcels, rest = self._pace.deal(messages, max(1, idle) if len(messages) <= idle else len(free))
        over: list[Message] = []
        for child, parcel in zip(free, parcels, strict=False):
            if self._tasks_max and len(parcel) > self._left(child):
                over += parcel[self._left(child) :]
                child.give(parcel[: self._left(child)], clock_ms, session)
            else:
                child.give(parcel, clock_ms, session)
        return over + rest

    def _left(self, child: Hand) -> int:
        return self._tasks_max - child.given

    def _free(self, seats: Sequence[Seat]) -> list[Hand]:
        return [
            seat.child
            for seat in seats
            if seat.child is not None
            and seat.child.is_free
            and (not seat.retired or all(each.is_idle for each in seat.retired))
            and (not self._tasks_max or self._left(seat.child) > 0)
        ]


class AtOnce:
    """Threads and async."""

    def __init__(self, setting: Setting, pace: Pace, singly: frozenset[str]) -> None:
        self.concurrency = setting.concurrency
        self.children_max = GENERATIONS_MAX + 3
        self.successors_max = 1
        self._setting = setting
        self._pace = pace
        self._singly = singly
        self._cells = Cells(self.children_max, POOLS[setting.pool].concurrency_max + 3 * PARCEL_MESSAGES_MAX)

    def seats(self) -> int:
        """One."""
        return 1

    def born(self, number: int, zygote: Zygote) -> Many:
        """A new child. How many it runs at once was changed perhaps since the worker started."""
        child = Many(number, self._cells, zygote)
        child.resize(self.concurrency)
        return child

    def live(self, sock: socket.socket, number: int) -> None:
        """In the child: its life."""
        from worker.coroutines import AsyncChild  # noqa: PLC0415 - prefork needs neither
        from worker.threads import ThreadsChild  # noqa: PLC0415

        words, concurrency, descriptor = self._cells.of(number), self._setting.concurrency, stacks.offer()

        def live(make_executor: Callable[..., Executor]) -> None:
            if self._setting.pool == "threads":
                ThreadsChild(sock, words, make_executor, concurrency).run()
            else:
                child = AsyncChild(sock, words, make_executor, concurrency)
                stacks.offer_text(descriptor, child.stacks)
                child.run()

        _live(self._setting, live)

    def resize(self, seats: Sequence[Seat], concurrency: int) -> None:
        """Run so many at once from now on."""
        self.concurrency = concurrency
        for seat in seats:
            for hand in (seat.child, seat.successor):
                if isinstance(hand, Many):
                    hand.resize(concurrency)

    def may_retire(self, seat: Seat) -> bool:
        """Predecessors run beside their successor until what they run is over."""
        return len(seat.retired) < GENERATIONS_MAX

    def quota(self, seats: Sequence[Seat]) -> int:
        """What can run at once; and of quick tasks, two parcels' worth."""
        child = self._child(seats)
        if child is None:
            return 0
        free = self.concurrency - self._outstanding(seats)
        each = self._pace.quota(1)
        ahead = 2 * each - self._outstanding(seats) if each >= EACH_QUICK_MIN else 0
        if free <= 0 and ahead < each // 2:
            return 0  # worth no round trip yet
        return max(0, min(max(free, ahead), child.room, self._left(child, seats[0])))

    def deal(self, seats: Sequence[Seat], messages: list[Message], clock_ms: float, session: str) -> list[Message]:
        """All that can run at once, and what is quick."""
        child = self._child(seats)
        if child is None:
            return messages
        free = self.concurrency - self._outstanding(seats)
        room = min(child.room, self._left(child, seats[0]))
        given: list[Message] = []
        rest: list[Message] = []
        for message in messages:
            task = task_of(message.body)
            fits = len(given) < free or (task not in self._singly and self._pace.cost_s(task) < QUICK_S)
            (given if fits and len(given) < room and not rest else rest).append(message)
        if given:
            child.give(given, clock_ms, session)
        return rest

    def _child(self, seats: Sequence[Seat]) -> Many | None:
        child = seats[0].child
        return child if isinstance(child, Many) and child.is_free else None

    @staticmethod
    def _outstanding(seats: Sequence[Seat]) -> int:
        return sum(hand.outstanding for seat in seats for hand in seat.hands())

    def _left(self, child: Many, seat: Seat) -> int:
        tasks_max = self._setting.config.max_tasks_per_child
        if not tasks_max or not self.may_retire(seat):
            return (
                child.room
            )  # too many predecessors are at work: rather a child that runs more than it should than none
        return tasks_max - child.given


def _live(setting: Setting, live: Callable[[Callable[..., Executor]], None]) -> None:
    """What all children do."""

    def make_executor(server_ms: Callable[[], float], **how: Callable[..., object]) -> Executor:
        return Executor(setting.tasks, setting.config, worker=setting.name, server_ms=server_ms, **how)  # type: ignore[arg-type]

    try:
        init_child()
    except ChildInitError:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(1)  # it was told; the supervisor sees that there was no hello
    live(make_executor)
    end_child()


def _is_busy(child: Hand) -> bool:
    return not child.is_idle
