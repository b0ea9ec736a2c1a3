"""
The children of a worker together: who is born, who is given what, who has run for too long, what the dead leave behind.

The zygote forks them and tells of their deaths (`worker.zygote`); what each of them holds, `worker.single` knows.
"""

from __future__ import annotations

import logging
import os
import select
import signal
import socket
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial

from scheduler.log import event
from scheduler.model import Message
from worker import stacks
from worker.aftermath import Aftermath
from worker.child import Child as ChildProcess
from worker.execute import Executor
from worker.prefetch import Pace, task_of
from worker.process import Setting
from worker.settle import Settlement
from worker.shared import Slots
from worker.single import Killed, Running, Single
from worker.zygote import Died, Zygote, ZygoteDiedError

WITHDRAW_AFTER_S = 0.1
"""Behind a task that takes longer, nothing waits."""
LOOK_S = 0.05
"""How often a busy child that has work behind what it runs is looked at."""
RESPAWN_S = 1.0
"""A child that dies sooner, and over no message, is replaced after so long: it must not keep a processor busy."""
STOP_S_MAX = 2.0
"""How long killed children are waited for."""

_logger = logging.getLogger("worker")


class Crew:
    """
    All children of one worker.

    Made in the main thread of a process without threads and connections: the zygote is forked here.
    """

    def __init__(self, setting: Setting, pace: Pace, settlement: Settlement, aftermath: Aftermath) -> None:
        self._setting = setting
        self._pace = pace
        self._settlement = settlement
        self._aftermath = aftermath
        self._slots = Slots(setting.concurrency)
        self._zygote = Zygote(partial(_be_child, setting, self._slots))
        self._children: dict[int, Single] = {}
        self._born_mono_s: dict[int, float] = {}
        self._respawn_mono_s: dict[int, float] = {}
        self._is_leaving = False

    def start(self) -> None:
        """Have all children born. Raises `ZygoteDiedError`."""
        for number in range(self._setting.concurrency):
            self._spawn(number)

    # ── waiting for them ────────────────────────────────────────────────────────────────────────────────────────────

    def readers(self) -> list[int]:
        """The descriptors that become readable when a child has something to tell, or is dead."""
        return [self._zygote.fileno(), *(child.fileno() for child in self._children.values())]

    def writers(self) -> list[int]:
        """Those to which more of a parcel is to be written."""
        return [child.fileno() for child in self._children.values() if child.wants_to_write]

    def serve(self, found: set[int]) -> bool:
        """
        Write what can be written, read what has come; whether anybody died.

        Args:
            found: The descriptors that are readable.

        Raises:
            ZygoteDiedError: All children are dead.
        """
        for child in self._children.values():
            if child.wants_to_write:
                child.write()
            if child.fileno() in found:
                self._read(child)
        return self._zygote.fileno() in found and self._bury_dead()

    def next_mono_s(self, now: float) -> float:
        """When `look` has something to do."""
        moments = list(self._respawn_mono_s.values())
        for child in self._children.values():
            if child.is_idle:
                continue
            if child.settle_mono_s:
                moments.append(child.settle_mono_s)
            elif self._aftermath.cancels:
                moments.append(now + LOOK_S)
            else:
                running = child.running()
                moments.append(now + LOOK_S if running is None or child.has_unstarted() else running.until_mono_s)
        return min(moments, default=now + 3600.0)

    def look(self, now: float) -> None:
        """Replace the dead; mind time limits, cancel requests, and what waits behind a long task."""
        for number, at in list(self._respawn_mono_s.items()):
            if now >= at and not self._is_leaving:
                self._spawn(number)
        for child in self._children.values():
            if not child.is_idle:
                self._look_at(child, now)
        if self._aftermath.cancels:
            self._cancel(now)

    def _look_at(self, child: Single, now: float) -> None:
        if child.settle_mono_s:
            if now >= child.settle_mono_s:
                self._aftermath.back(child.settle())
            return
        running = child.running()
        if running is None:
            return
        if now >= running.until_mono_s:
            child.kill(Killed("time_limit", running.message.id))
        elif self._aftermath.cancels.get(running.message.id):
            child.kill(Killed("cancel", running.message.id))
        elif now >= running.since_mono_s + WITHDRAW_AFTER_S and child.has_unstarted():
            child.withdraw(now)

    def _cancel(self, now: float) -> None:
        """
        Deal with cancel requests for what we hold.

        What runs is terminated (see `_look_at`) or left alone: should it want another attempt, `retry` ends it, as its
        request stands there until then. What has not started is withdrawn with its batch, and ends in `Aftermath.back`.
        """
        open_: dict[str, bool] = {}
        for child in self._children.values():
            running = child.running()
            for message in child.held():
                terminate = self._aftermath.cancels.get(message.id)
                if terminate is None:
                    continue
                if running is None or message is not running.message:
                    child.withdraw(now)
                elif not terminate:
                    continue
                open_[message.id] = terminate
        self._aftermath.cancels = open_

    # ── their work ──────────────────────────────────────────────────────────────────────────────────────────────────

    def quota(self) -> int:
        """How many messages they can be given now."""
        free = sum(child.is_free for child in self._children.values())
        return self._pace.quota(free) if free else 0

    def deal(self, messages: list[Message], clock_ms: float) -> list[Message]:
        """
        Share *messages* out; what is left over.

        Args:
            clock_ms: Redis' clock minus the monotonic one.
        """
        free = [child for child in self._children.values() if child.is_free]
        free.sort(key=_is_busy)
        idle = sum(child.is_idle for child in free)
        # Few messages go to idle children; only with plenty a second parcel waits behind a first.
        parcels, rest = self._pace.deal(messages, max(1, idle) if len(messages) <= idle else len(free))
        for child, parcel in zip(free, parcels, strict=False):
            child.give(parcel, clock_ms)
        return rest

    def held(self) -> Iterator[Message]:
        """All that they hold and have not reported."""
        for child in self._children.values():
            yield from child.held()

    @property
    def is_idle(self) -> bool:
        """Whether they hold nothing."""
        return not self._busy()

    @property
    def busy(self) -> int:
        """How many hold something."""
        return len(self._busy())

    def running(self) -> list[tuple[Running, int]]:
        """What runs now, and in which process."""
        found = ((child.running(), child.pid) for child in self._children.values())
        return [(running, pid) for running, pid in found if running is not None]

    def pids(self) -> list[int]:
        """Their processes."""
        return [child.pid for child in self._children.values()]

    def withdraw(self, now: float) -> int:
        """Begin to take back all that has not started; how many children are busy."""
        busy = self._busy()
        for child in busy:
            child.withdraw(now)
        return len(busy)

    def abandon(self, ids: set[str]) -> None:
        """These are no longer ours: stop what runs them."""
        for child in self._children.values():
            for message in child.held():
                if message.id in ids:
                    child.kill(Killed("abandoned", message.id))

    # ── births and deaths ───────────────────────────────────────────────────────────────────────────────────────────

    def leave(self) -> None:
        """Whoever dies from now on is not replaced."""
        self._is_leaving = True
        self._respawn_mono_s.clear()

    def kill_busy(self, why: str) -> None:
        """Kill those that hold something, and wait for their deaths. Raises `ZygoteDiedError`."""
        self._kill_and_wait(self._busy(), Killed(why))

    def close(self) -> int:
        """Kill those that still hold something and let the others go; how many were killed. Nothing is raised."""
        self.leave()
        busy = self._busy()
        try:
            self._kill_and_wait(busy, Killed("stop"))
        except ZygoteDiedError:
            for number, child in list(self._children.items()):
                self._bury(Died(number, child.pid, signal.SIGKILL))
        finally:
            self._zygote.close()
        return len(busy)

    def _busy(self) -> list[Single]:
        return [child for child in self._children.values() if not child.is_idle]

    def _spawn(self, number: int) -> None:
        self._respawn_mono_s.pop(number, None)
        self._born_mono_s[number] = time.monotonic()
        self._children[number] = Single(number, self._slots, self._zygote, self._pace.is_quick)

    def _read(self, child: Single) -> None:
        for report, back in child.read():
            self._pace.learn(report.spent)
            self._settlement.ended(report.outcomes)
            if report.retried or report.released:
                self._settlement.later([*report.retried, *report.released])
            self._aftermath.back(back)

    def _bury_dead(self) -> bool:
        dead = self._zygote.died()
        for died in dead:
            self._bury(died)
        return bool(dead)

    def _bury(self, died: Died) -> None:
        """A child is dead: sort what it held, and replace it."""
        child = self._children.pop(died.number)
        self._read(child)  # what it reported before it died counts
        fall = child.fall()
        self._aftermath.back(fall.unstarted)
        killed = fall.killed_for
        if fall.running is not None:
            self._aftermath.died(fall.running, killed)
        if killed is None:
            event(
                _logger,
                "child.died",
                level=logging.ERROR,
                pid=died.pid,
                how=_how(died.status),
                running=fall.running.message.id if fall.running else None,
                task=task_of(fall.running.message.body) if fall.running else None,
            )
        if not self._is_leaving:
            now = time.monotonic()
            if fall.running is None and killed is None and now - self._born_mono_s[died.number] < RESPAWN_S:
                self._respawn_mono_s[died.number] = now + RESPAWN_S
            else:
                self._spawn(died.number)

    def _kill_and_wait(self, children: Iterable[Single], killed: Killed) -> None:
        waited = list(children)
        for child in waited:
            child.kill(killed)
        deadline = time.monotonic() + STOP_S_MAX
        while any(child in waited for child in self._children.values()) and time.monotonic() < deadline:
            select.select([self._zygote], [], [], 0.1)
            self._bury_dead()


def _is_busy(child: Single) -> bool:
    return not child.is_idle


def _how(status: int) -> str:
    """A wait status for people."""
    code = os.waitstatus_to_exitcode(status)
    if code >= 0:
        return f"it exited with code {code}"
    name = signal.Signals(-code).name
    return f"it was killed by {name}" + (" (out of memory?)" if name == "SIGKILL" else "")


def _be_child(setting: Setting, slots: Slots, sock: socket.socket, number: int) -> None:
    """The life of a child."""

    def make_executor(server_ms: Callable[[], float]) -> Executor:
        return Executor(setting.tasks, setting.config, worker=setting.name, server_ms=server_ms)

    stacks.offer()
    ChildProcess(sock, number, slots, make_executor).run()
