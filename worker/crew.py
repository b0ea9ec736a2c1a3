"""
The children of a worker together: who is born, who takes whose place, what the dead leave behind.

The zygote forks them and tells of their deaths (`worker.zygote`). Each has a seat; what differs between pools is its kind
(`worker.kinds`), and what a child holds it knows itself (`worker.hand`). A seat over time:

    empty → a child is born → it says hello → it is given work
          → it has done enough, holds too much memory, or is to be replaced: a successor is born beside it, says hello, and
            takes the seat; the predecessor ends what it runs, then it is hung up on and ends by itself
          → it dies: the successor takes the seat, or another child is born: at once, or after a pause if it never worked

Crash points. A predecessor dies: what it held is settled as of any other, and nobody else is born for it. A successor dies before
it is ready: the child goes on (within `max_tasks_per_child`), and another one is tried after a pause.
"""

from __future__ import annotations

import logging
import math
import os
import select
import signal
import time
from collections.abc import Collection, Iterator

from scheduler.log import event
from scheduler.model import Message
from worker.aftermath import Aftermath
from worker.hand import Fall, Hand, Killed, Running
from worker.hooks import FAREWELL_S_MAX, wants_farewell
from worker.kinds import AtOnce, OneEach, Seat
from worker.memory import resident_bytes
from worker.prefetch import Pace, task_of
from worker.process import Setting
from worker.settle import Settlement
from worker.zygote import Died, Zygote, ZygoteDiedError

RESPAWN_S = 1.0
"""A child that dies sooner, and over no message, is replaced after so long: it must not keep a processor busy."""
RESPAWN_S_MAX = 30.0
"""Where the pause ends that doubles each time a child dies before it is ready."""
START_S_MAX = 60.0
"""A child that is not ready by then (`worker_process_init` hangs) is killed, and another one tried."""
STOP_S_MAX = 2.0
"""How long killed children are waited for."""
MEASURE_S = 0.2
"""The memory of a busy child is measured so often at most; that of one that has nothing left to run, at once."""
SHARE_LEFT = 10
"""The successor is born when a tenth of what a child may run is left, so that it is ready in time."""

_logger = logging.getLogger("worker")


class Crew:
    """
    All children of one worker.

    Made in the main thread of a process without threads and connections: the zygote is forked here.
    """

    def __init__(
        self, setting: Setting, pace: Pace, settlement: Settlement, aftermath: Aftermath, *, singly: frozenset[str]
    ) -> None:
        self._pace = pace
        self._settlement = settlement
        self._aftermath = aftermath
        self._tasks_max = setting.config.max_tasks_per_child
        self._memory_max = setting.config.max_memory_per_child
        self._kind = OneEach(setting, pace) if setting.pool == "prefork" else AtOnce(setting, pace, singly)
        self._zygote = Zygote(self._kind.live)
        self._numbers = list(reversed(range(self._kind.children_max)))
        self._seats: list[Seat] = []
        self._hands: dict[int, tuple[Hand, Seat]] = {}
        self._replace_before_mono_s = -math.inf
        self._is_settled = False
        self._is_leaving = False

    def start(self) -> None:
        """Have all children born. Raises `ZygoteDiedError`."""
        while len(self._seats) < self._kind.seats():
            self._seats.append(Seat())
        for seat in self._seats:
            seat.child = seat.child or self._born(seat)

    @property
    def is_ready(self) -> bool:
        """Whether there is somebody to be given work."""
        return any(hand.is_ready for hand, _ in self._hands.values())

    # ── waiting for them ────────────────────────────────────────────────────────────────────────────────────────────

    def readers(self) -> list[int]:
        """The descriptors that become readable when a child has something to tell, or is dead."""
        # One that was hung up on has nothing to tell any more, and the end of its stream is no news.
        return [self._zygote.fileno(), *(h.fileno() for h, _ in self._hands.values() if not h.hung_up_mono_s)]

    def writers(self) -> list[int]:
        """Those to which more of a parcel is to be written."""
        return [hand.fileno() for hand, _ in self._hands.values() if hand.wants_to_write]

    def serve(self, found: set[int]) -> bool:
        """
        Write what can be written, read what has come; whether anybody has died, or come to be ready.

        Args:
            found: The descriptors that are readable.

        Raises:
            ZygoteDiedError: All children are dead.
        """
        news = False
        for hand, seat in self._hands.values():
            if hand.wants_to_write:
                hand.write()
            if hand.fileno() in found:
                was_ready = hand.is_ready
                self._read(hand)
                if hand.is_ready and not was_ready:
                    seat.failures, self._is_settled, news = 0, False, True
        if self._zygote.fileno() in found:
            news |= self._bury_dead()
        return news

    def next_mono_s(self, now: float) -> float:
        """When `look` has something to do."""
        nearest = math.inf
        is_cancelling = bool(self._aftermath.cancels)
        for hand, _ in self._hands.values():
            if not hand.is_idle:
                nearest = min(nearest, hand.next_mono_s(now, is_cancelling=is_cancelling))
        if not self._is_settled:
            nearest = min(nearest, *(self._seat_mono_s(seat, now) for seat in self._seats), now + 3600.0)
        return nearest

    def look(self, now: float) -> None:
        """Mind time limits, cancel requests and what waits behind a long task; see that every seat is taken."""
        cancels = self._aftermath.cancels
        for hand, _ in self._hands.values():
            if not hand.is_idle and (back := hand.look(now, cancels)):
                self._aftermath.back(back)
        if cancels:
            open_: dict[str, bool] = {}
            for hand, _ in self._hands.values():
                open_ |= hand.cancel(cancels, now)
            self._aftermath.cancels = open_
        if not self._is_settled or self._tasks_max or self._memory_max:
            self._mind_seats(now)

    # ── their work ──────────────────────────────────────────────────────────────────────────────────────────────────

    def quota(self) -> int:
        """How many messages they can be given now."""
        return self._kind.quota(self._seats) if self._seats else 0

    def deal(self, messages: list[Message], clock_ms: float, session: str) -> list[Message]:
        """
        Share *messages* out; what is left over.

        Args:
            clock_ms: Redis' clock minus the monotonic one.
            session: Under whose lease they stand.
        """
        return self._kind.deal(self._seats, messages, clock_ms, session)

    def held(self) -> Iterator[Message]:
        """All that they hold and have not reported."""
        for hand, _ in self._hands.values():
            yield from hand.held()

    def running(self) -> list[tuple[Running, int]]:
        """What runs now, and in which process."""
        return [(running, hand.pid) for hand, _ in self._hands.values() for running in hand.running()]

    def pids(self) -> list[int]:
        """Their processes."""
        return [hand.pid for hand, _ in self._hands.values()]

    @property
    def concurrency(self) -> int:
        """How many tasks they run at once."""
        return self._kind.concurrency

    @property
    def is_idle(self) -> bool:
        """Whether they hold nothing."""
        return not self._busy()

    @property
    def busy(self) -> int:
        """How many messages they hold."""
        return sum(hand.outstanding for hand, _ in self._hands.values())

    def withdraw(self, now: float) -> None:
        """Begin to take back all that has not started."""
        for hand in self._busy():
            hand.withdraw(now)

    def abandon(self, ids: set[str]) -> None:
        """These are no longer ours: stop what runs them."""
        for hand, _ in list(self._hands.values()):
            hand.abandon(ids)

    # ── at run time ─────────────────────────────────────────────────────────────────────────────────────────────────

    def set_concurrency(self, concurrency: int, now: float) -> None:
        """Run so many at once from now on; where that is fewer, what runs ends first."""
        if isinstance(self._kind, AtOnce):
            self._kind.resize(self._seats, concurrency)
            return
        self._kind.concurrency = concurrency
        open_ = [seat for seat in self._seats if not seat.is_closed]
        # Those go first that nobody would miss: not born yet, idle, the youngest.
        open_.sort(key=lambda seat: (seat.child is not None, seat.child is not None and not seat.child.is_idle))
        for seat in open_[: max(0, len(open_) - concurrency)]:
            seat.is_closed = True
            for hand in list(seat.hands()):
                hand.withdraw(now)
                self._let_go(hand)
        self._seats += [Seat() for _ in range(concurrency - len(open_))]
        self._is_settled = False

    def replace_children(self, now: float) -> None:
        """Have each child replaced by a new one, which is ready before it ends."""
        self._replace_before_mono_s = now
        self._is_settled = False

    # ── seats ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def _mind_seats(self, now: float) -> None:
        """See that every seat is taken, by somebody who may still work."""
        self._is_settled = True
        for seat in list(self._seats):
            self._mind(seat, now)
            if seat.is_closed and not any(seat.hands()):
                self._seats.remove(seat)

    def _mind(self, seat: Seat, now: float) -> None:
        for hand in list(seat.hands()):
            if not hand.is_ready and hand.killed_for is None and now >= hand.born_mono_s + START_S_MAX:
                event(_logger, "child.slow", level=logging.ERROR, pid=hand.pid, after_s=now - hand.born_mono_s,
                      note="worker_process_init has not come to its end; it is killed, and another child tried")  # fmt: skip
                hand.kill(Killed("start"))
        for hand in seat.retired:
            if hand.is_idle:
                hand.hang_up(now)
            if hand.hung_up_mono_s and now >= hand.hung_up_mono_s + FAREWELL_S_MAX:
                hand.kill(Killed("stop"))
        child, successor = seat.child, seat.successor
        if child is not None and successor is not None and successor.is_ready and self._kind.may_retire(seat):
            self._let_go(child)
            seat.child, seat.successor = successor, None
        if not seat.is_closed and not self._is_leaving and now >= seat.again_mono_s:
            if seat.child is None:
                seat.child = self._born(seat)
            elif self._is_spent(seat.child) and self._has_room_for_successor(seat):
                seat.successor = self._born(seat)
        if self._is_changing(seat):
            self._is_settled = False

    def _has_room_for_successor(self, seat: Seat) -> bool:
        if seat.successor is not None or not self._kind.may_retire(seat):
            return False
        return sum(each.successor is not None for each in self._seats) < self._kind.successors_max

    def _is_changing(self, seat: Seat) -> bool:
        """Whether it has to be looked at again although nobody's work has changed."""
        child = seat.child
        if seat.retired or seat.successor is not None or seat.is_closed:
            return True
        if child is None:
            return not self._is_leaving
        return not child.is_ready or child.born_mono_s < self._replace_before_mono_s

    def _seat_mono_s(self, seat: Seat, now: float) -> float:
        """When to look at it again."""
        nearest = math.inf
        for hand in seat.hands():
            if not hand.is_ready:
                nearest = min(nearest, hand.born_mono_s + START_S_MAX)
            if hand.hung_up_mono_s:
                nearest = min(nearest, hand.hung_up_mono_s + FAREWELL_S_MAX)
        if seat.child is None and not seat.is_closed and not self._is_leaving:
            nearest = min(nearest, max(now, seat.again_mono_s))
        elif seat.again_mono_s > now:
            nearest = min(nearest, seat.again_mono_s)
        return nearest

    def _is_spent(self, child: Hand) -> bool:
        """Whether it is to be replaced."""
        if not child.is_ready:
            return False
        if child.born_mono_s < self._replace_before_mono_s:
            return True
        if self._tasks_max and child.given and child.given >= self._tasks_max - self._tasks_max // SHARE_LEFT:
            return True
        return bool(self._memory_max and child.memory_bytes > self._memory_max)

    def _let_go(self, hand: Hand) -> None:
        """It is given nothing more, and ends once it is idle."""
        _, seat = self._hands[hand.number]
        hand.is_let_go = True
        if seat.child is hand:
            seat.child = None
        if seat.successor is hand:
            seat.successor = None
        if hand not in seat.retired:
            seat.retired.append(hand)
        self._is_settled = False
        if self._memory_max and hand.memory_bytes > self._memory_max:
            event(_logger, "child.replaced", pid=hand.pid, memory_mb=round(hand.memory_bytes / 1e6),
                  note="it holds more than max_memory_per_child")  # fmt: skip

    # ── births and deaths ───────────────────────────────────────────────────────────────────────────────────────────

    def leave(self) -> None:
        """Whoever dies from now on is not replaced."""
        self._is_leaving = True

    def kill_busy(self, why: str) -> None:
        """Kill those that hold something, and wait for their deaths. Raises `ZygoteDiedError`."""
        self._kill_and_wait(self._busy(), Killed(why))

    def close(self, *, at_once: bool) -> int:
        """
        Kill what still runs and let the children end; how many messages were broken off. Nothing is raised.

        Args:
            at_once: No child is waited for that would like to hear `worker_process_shutdown`.
        """
        self.leave()
        running = len(self.running())
        try:
            self._kill_and_wait(self._busy(), Killed("stop"))
            if wants_farewell() and not at_once:
                now = time.monotonic()
                for hand, _ in self._hands.values():
                    hand.hang_up(now)
                self._wait_for([hand for hand, _ in self._hands.values()], FAREWELL_S_MAX)
        except ZygoteDiedError:
            for number, (hand, _) in list(self._hands.items()):
                self._bury(Died(number, hand.pid, signal.SIGKILL))
        finally:
            self._zygote.close()
        return running

    def _busy(self) -> list[Hand]:
        return [hand for hand, _ in self._hands.values() if not hand.is_idle]

    def _born(self, seat: Seat) -> Hand:
        hand = self._kind.born(self._numbers.pop(), self._zygote)
        self._hands[hand.number] = (hand, seat)
        self._is_settled = False
        return hand

    def _read(self, hand: Hand) -> None:
        for report, back in hand.read():
            self._pace.learn(report.spent)
            self._settlement.ended(report.outcomes)
            if report.retried or report.released:
                self._settlement.later([*report.retried, *report.released])
            self._aftermath.back(back)
        if self._memory_max:
            now = time.monotonic()
            if hand.is_idle or now >= hand.measured_mono_s + MEASURE_S:
                hand.memory_bytes, hand.measured_mono_s = resident_bytes(hand.pid), now

    def _bury_dead(self) -> bool:
        dead = self._zygote.died()
        for died in dead:
            self._bury(died)
        return bool(dead)

    def _bury(self, died: Died) -> None:
        """A child is dead: sort what it held, and have its seat taken."""
        hand, seat = self._hands.pop(died.number)
        self._numbers.append(died.number)
        self._read(hand)  # what it reported before it died counts
        fall = hand.fall()
        self._aftermath.back(fall.unstarted)
        for running in fall.running:
            self._aftermath.died(running, fall.killed_for, _how(died.status))
        if fall.killed_for is None and not hand.hung_up_mono_s:
            _tell_death(died, hand, fall)
        self._empty(seat, hand, fall, time.monotonic())

    def _empty(self, seat: Seat, hand: Hand, fall: Fall, now: float) -> None:
        """*hand* is gone from its seat. Who comes next, and when?"""
        self._is_settled = False
        if hand in seat.retired:
            seat.retired.remove(hand)
            return
        if seat.child is hand:
            seat.child, seat.successor = seat.successor, None
        else:
            seat.successor = None
        if not hand.is_ready:
            seat.failures += 1
            seat.again_mono_s = now + min(RESPAWN_S_MAX, RESPAWN_S * 2.0 ** (seat.failures - 1))
        elif not fall.running and fall.killed_for is None and now - hand.born_mono_s < RESPAWN_S:
            seat.again_mono_s = now + RESPAWN_S
        self._mind(seat, now)

    def _kill_and_wait(self, hands: Collection[Hand], killed: Killed) -> None:
        for hand in hands:
            hand.kill(killed)
        self._wait_for(hands, STOP_S_MAX)

    def _wait_for(self, hands: Collection[Hand], limit_s: float) -> None:
        deadline = time.monotonic() + limit_s
        while any(hand in hands for hand, _ in self._hands.values()) and time.monotonic() < deadline:
            select.select([self._zygote], [], [], 0.1)
            self._bury_dead()


def _tell_death(died: Died, hand: Hand, fall: Fall) -> None:
    first = fall.running[0].message if fall.running else None
    event(
        _logger,
        "child.died",
        level=logging.ERROR,
        pid=died.pid,
        how=_how(died.status),
        when=None if hand.is_ready else "before it was ready",
        running=first.id if first else None,
        task=task_of(first.body) if first else None,
        with_others=len(fall.running) - 1 if len(fall.running) > 1 else None,
    )


def _how(status: int) -> str:
    """A wait status for people."""
    code = os.waitstatus_to_exitcode(status)
    if code >= 0:
        return f"it exited with code {code}"
    name = signal.Signals(-code).name
    return f"it was killed by {name}" + (" (out of memory?)" if name == "SIGKILL" else "")
