"""
The supervisor of `prefork`: Redis on one side, children on the other, and nobody's code in between.

One thread, one loop. It waits for the wake connection, the children, the zygote and signals; then, in this order: reads what has
come, looks at what runs (time limits, batches behind a long task), and speaks with Redis: tells what became of messages and takes
the next ones, mostly in one round trip; renews, reconciles.

    taking    → a signal →  draining: takes nothing, gives back what has not started, waits for the rest up to the grace
    draining  → all over, or the grace is, or SIGQUIT → stopping: kills what still runs and gives it back → closed

Crash points. Killed anywhere: the children die with it, and its session is reclaimed one lease later; what ran counts as lost
once, and so does what it held unstarted, which is then taken alone. A reply of `take` lost: what it carried is in flight and
unknown here, until the next reconcile gives it back. A reply of `finish` lost: it is repeated and refused, as it is over. Redis
away: the children go on; what became of their work waits here.
"""

from __future__ import annotations

import logging
import os
import select
import signal
import socket
import time
from collections.abc import Callable
from functools import partial

from scheduler.errors import LeaseLostError, StoreError
from scheduler.log import event
from scheduler.model import Ack, Message, State
from scheduler.notify import notify
from scheduler.store.sessions import Taken
from scheduler.timing.duration import format_duration
from scheduler.wire import FLAG_IGNORE_RESULT, run_options
from worker.child import Child as ChildProcess
from worker.crew import Child, Killed, Running
from worker.events import Teller
from worker.execute import Executor, header_of
from worker.frames import Retried
from worker.intake import Intake
from worker.limits import TimeLimitExceeded
from worker.outcome import Written, ended, error_line, failed, retry_record
from worker.prefetch import Pace, task_of
from worker.process import EXIT_OK, Heart, Setting, make_keeper, open_session, say_ready
from worker.retry import decide
from worker.settle import Settlement
from worker.shared import Slots
from worker.signals import Signals, Stop
from worker.zygote import Died, Zygote, ZygoteDiedError

WITHDRAW_AFTER_S = 0.1
"""Behind a task that takes longer, nothing waits."""
LOOK_S = 0.05
"""How often a busy child that has work behind what it runs is looked at."""
RESPAWN_S = 1.0
"""A child that dies sooner, and over no message, is replaced after so long: it must not keep a processor busy."""
STOP_S_MAX = 2.0
"""How long killed children are waited for, and Redis at the very end."""

_logger = logging.getLogger("worker")


class Supervisor:
    """
    One worker.

    Made in the main thread of a process without threads and connections: the zygote is forked here.
    """

    def __init__(self, setting: Setting, signals: Signals) -> None:
        self._setting = setting
        self._signals = signals
        self._began_mono_s = time.monotonic()
        self._slots = Slots(setting.concurrency)
        self._zygote = Zygote(partial(_be_child, setting, self._slots))
        self._keeper = make_keeper(setting)
        self._intake = Intake()
        self._teller = Teller(show_runs=setting.show_runs)
        self._settlement = Settlement(self._teller)
        self._heart = Heart()
        tasks = setting.tasks
        self._pace = Pace({name for name, task in tasks.items() if task.options.ack is Ack.EACH})
        self._children: dict[int, Child] = {}
        self._born_mono_s: dict[int, float] = {}
        self._respawn_mono_s: dict[int, float] = {}
        self._cancels: dict[str, bool] = {}
        self._drain_until_mono_s: float | None = None
        self._taken_mono_s = 0.0

    def loop(self) -> int:
        """Work until asked to stop; the exit code. Raises `ZygoteDiedError`."""
        try:
            code = open_session(self._keeper, self._signals)
            if code is not None:
                return code
            for number in range(self._setting.concurrency):
                self._spawn(number)
            say_ready(self._setting, self._began_mono_s)
            while not self._is_over():
                self._turn()
            return EXIT_OK
        finally:
            self._stop()

    # ── one turn ────────────────────────────────────────────────────────────────────────────────────────────────────

    def _turn(self) -> None:
        self._wait()
        now = time.monotonic()
        self._look_at_children(now)
        if self._signals.stop and self._drain_until_mono_s is None:
            self._drain(now)
        try:
            if not self._keeper.away or self._keeper.probe():
                self._speak()
            else:
                self._heart.beat(now)  # known to be away, and being asked: nothing hangs here
        except LeaseLostError:
            self._lease_lost()
        except StoreError as error:
            self._keeper.lost(error)

    def _wait(self) -> None:
        """Sleep until something comes or is due, and read it."""
        now = time.monotonic()
        children = self._children
        readers: list[int] = [self._signals.fileno(), self._zygote.fileno(), *(c.fileno() for c in children.values())]
        writers = [child.fileno() for child in children.values() if child.wants_to_write]
        wake = self._keeper.session.wake
        wake_fd = wake.fileno() if wake.armed else -1
        if wake_fd >= 0:
            readers.append(wake_fd)
        # select, not epoll: its timeouts are exact to the microsecond, epoll's are rounded up to milliseconds.
        ready, _, _ = select.select(readers, writers, [], max(0.0, self._next_mono_s(now) - now))
        if not ready and not writers:
            return
        found = set(ready)
        for child in children.values():
            if child.wants_to_write:
                child.write()
            if child.fileno() in found:
                self._read(child)
        if self._signals.fileno() in found:
            self._signals.drain()
        if self._zygote.fileno() in found:
            for died in self._zygote.died():
                self._bury(died)
        if wake_fd in found:
            try:
                wake.read()
            except StoreError as error:
                self._keeper.lost(error)
            self._intake.look_now()

    def _next_mono_s(self, now: float) -> float:
        """When something is due even if nothing comes."""
        if self._settlement and not self._keeper.away:
            return now
        moments = [self._keeper.next_mono_s, *self._respawn_mono_s.values()]
        if self._is_taking() and not self._keeper.away:
            if self._free():
                if self._intake.wants(now):
                    return now
                if self._intake.due_mono_s is not None:
                    moments.append(self._intake.due_mono_s)
            else:
                moments.append(self._taken_mono_s + 1.0)
        if self._drain_until_mono_s is not None:
            moments.append(self._drain_until_mono_s)
        for child in self._children.values():
            if child.is_idle:
                continue
            if child.settle_mono_s:
                moments.append(child.settle_mono_s)
            elif self._cancels:
                moments.append(now + LOOK_S)
            else:
                moments.append(self._look_again_mono_s(child, now))
        return min(moments)

    def _look_again_mono_s(self, child: Child, now: float) -> float:
        soon = now + LOOK_S
        running = child.running()
        if running is None or child.has_unstarted():
            return soon
        return running.until_mono_s

    def _is_taking(self) -> bool:
        return self._drain_until_mono_s is None

    def _is_over(self) -> bool:
        if self._drain_until_mono_s is None:
            return False
        if self._signals.stop is Stop.NOW or time.monotonic() >= self._drain_until_mono_s:
            return True
        return not self._settlement and all(child.is_idle for child in self._children.values())

    # ── children ────────────────────────────────────────────────────────────────────────────────────────────────────

    def _spawn(self, number: int) -> None:
        self._respawn_mono_s.pop(number, None)
        self._born_mono_s[number] = time.monotonic()
        self._children[number] = Child(number, self._slots, self._zygote, self._pace.is_quick)

    def _free(self) -> list[Child]:
        """The children that may be given a parcel; idle ones first."""
        free = [child for child in self._children.values() if child.is_free]
        free.sort(key=_is_busy)
        return free

    def _read(self, child: Child) -> None:
        for report, back in child.read():
            self._pace.learn(report.spent)
            self._settlement.ended(report.outcomes)
            if report.retried or report.released:
                self._settlement.later([*report.retried, *report.released])
            self._back(back)

    def _back(self, messages: list[Message]) -> None:
        """These were not started: they go back, but one that was to be cancelled ends here."""
        ids = []
        for message in messages:
            if message.id in self._cancels:
                self._revoke(message, started_ms=0, now_ms=int(self._keeper.clock.now_ms()))
            else:
                ids.append(message.id)
        self._settlement.back(ids)

    def _revoke(self, message: Message, *, started_ms: int, now_ms: int) -> None:
        run = Written(message.id, self._setting.name, message.attempt, started_ms, now_ms)
        self._settlement.ended([ended(header_of(message), run, State.REVOKED)])

    def _look_at_children(self, now: float) -> None:
        for number, at in list(self._respawn_mono_s.items()):
            if now >= at and self._is_taking():
                self._spawn(number)
        for child in self._children.values():
            if child.is_idle:
                continue
            if child.settle_mono_s:
                if now >= child.settle_mono_s:
                    self._back(child.settle())
                continue
            running = child.running()
            if running is None:
                continue
            if now >= running.until_mono_s:
                child.kill(Killed("time_limit", running.message.id))
            elif self._cancels.get(running.message.id):
                child.kill(Killed("cancel", running.message.id))
            elif now >= running.since_mono_s + WITHDRAW_AFTER_S and child.has_unstarted():
                child.withdraw(now)
        if self._cancels:
            self._cancel(now)

    def _bury(self, died: Died) -> None:
        """A child is dead: sort what it held, and replace it."""
        child = self._children.pop(died.number)
        self._read(child)  # what it reported before it died counts
        fall = child.fall()
        self._back(fall.unstarted)
        killed = fall.killed_for
        if fall.running is not None:
            self._settle_death(fall.running, killed)
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
        if self._is_taking():
            now = time.monotonic()
            if fall.running is None and killed is None and now - self._born_mono_s[died.number] < RESPAWN_S:
                self._respawn_mono_s[died.number] = now + RESPAWN_S
            else:
                self._spawn(died.number)
        self._intake.look_now()

    def _settle_death(self, running: Running, killed: Killed | None) -> None:
        """What becomes of the message that a child ran when it died."""
        message = running.message
        if killed is None:
            self._settlement.back([message.id], lost=True)
        elif killed.id != message.id:
            self._settlement.back([message.id])  # we killed the child over another message, or to stop
        elif killed.why == "time_limit":
            self._over_limit(running)
        elif killed.why == "cancel":
            run = self._written(running)
            self._revoke(message, started_ms=run.started_ms, now_ms=run.finished_ms)

    def _over_limit(self, running: Running) -> None:
        message = running.message
        header = header_of(message)
        options = self._setting.tasks[header.task].options.merged(run_options(message.body))
        error = TimeLimitExceeded(format_duration(options.time_limit_ms or 0))
        again = decide(error, options, attempt=message.attempt, chance=1.0)
        if again is None:
            self._settlement.ended([failed(header, self._written(running), error)])
        else:
            self._settlement.later(
                [
                    Retried(
                        message.id, message.body, again.delay_ms, message.attempt + 1,
                        b"" if header.flags & FLAG_IGNORE_RESULT else retry_record(error, None),
                        header.result_ttl_s * 1000, header.task, error_line(error),
                    )
                ]
            )  # fmt: skip

    def _written(self, running: Running) -> Written:
        now_ms = self._keeper.clock.now_ms()
        started_ms = now_ms - (time.monotonic() - running.since_mono_s) * 1000
        return Written(running.message.id, self._setting.name, running.message.attempt, int(started_ms), int(now_ms))

    # ── cancelling ──────────────────────────────────────────────────────────────────────────────────────────────────

    def _cancel(self, now: float) -> None:
        """
        Deal with cancel requests for what we hold.

        What runs is terminated (see `_look_at_children`) or left alone: should it want another attempt, `retry` ends it, as its
        request stands there until then. What has not started is withdrawn with its batch, and ends in `_back`.
        """
        open_: dict[str, bool] = {}
        for child in self._children.values():
            running = child.running()
            for message in child.held():
                terminate = self._cancels.get(message.id)
                if terminate is None:
                    continue
                if running is None or message is not running.message:
                    child.withdraw(now)
                elif not terminate:
                    continue
                open_[message.id] = terminate
        self._cancels = open_

    # ── Redis ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def _speak(self) -> None:
        """Tell what is to be told, take what can be taken, and look after the session."""
        keeper, session = self._keeper, self._keeper.session
        keeper_due = keeper.due(time.monotonic())
        if self._settlement:
            answer = self._settlement.tell(session, take=self._quota, queues=self._setting.queues)
            if answer is not None:
                self._took(*answer)
        now = time.monotonic()
        if self._is_taking():
            quota = self._quota()
            if quota and self._intake.wants(now):
                self._took(session.take(self._setting.queues, quota), now)
            elif not quota and now >= self._taken_mono_s + 1.0:
                # Nobody is free. Still, what is due gets promoted, and a token that we popped is passed on.
                self._took(session.take(self._setting.queues, 0), now)
        if keeper_due:
            kept = keeper.look_after(self._known)
            if kept.cancels is not None:
                self._cancels = kept.cancels
            if kept.abandoned:
                self._abandon(set(kept.abandoned))
        if self._is_taking() and not session.wake.armed and self._quota() and not self._intake.wants(time.monotonic()):
            session.wake.arm(self._setting.queues)

    def _quota(self) -> int:
        return self._pace.quota(len(self._free())) if self._is_taking() and self._free() else 0

    def _took(self, taken: Taken, sent_mono_s: float) -> None:
        now = time.monotonic()
        self._keeper.learn(taken, sent_mono_s)
        self._intake.took(taken, sent_mono_s=sent_mono_s, got_mono_s=now)
        self._taken_mono_s = now
        self._heart.beat(now)
        if taken.fires:
            self._teller.fires(taken.fires)
        if taken.messages:
            self._deal(taken.messages)

    def _deal(self, messages: list[Message]) -> None:
        free = self._free()
        idle = sum(child.is_idle for child in free)
        # Few messages go to idle children; only with plenty a second parcel waits behind a first.
        parcels, rest = self._pace.deal(messages, max(1, idle) if len(messages) <= idle else len(free))
        clock_ms = self._keeper.clock.now_ms() - time.monotonic() * 1000
        for child, parcel in zip(free, parcels, strict=False):
            child.give(parcel, clock_ms)
        self._settlement.back([message.id for message in rest])

    def _known(self) -> list[str]:
        ids = [message.id for child in self._children.values() for message in child.held()]
        return [*ids, *self._settlement.ids()]

    def _abandon(self, ids: set[str]) -> None:
        """These are no longer ours: stop what runs them, forget what became of them."""
        self._settlement.forget(ids)
        for child in self._children.values():
            for message in child.held():
                if message.id in ids:
                    child.kill(Killed("abandoned", message.id))

    def _lease_lost(self) -> None:
        """Everything we held is somebody else's. Stop it, and begin a new session."""
        dropped = self._settlement.forget()
        busy = [child for child in self._children.values() if not child.is_idle]
        event(_logger, "session.lost", level=logging.WARNING, killed=len(busy), dropped=dropped)
        self._kill_and_wait(busy, Killed("abandoned"))
        self._settlement.forget()
        self._cancels.clear()
        try:
            self._keeper.open()
        except StoreError as error:
            self._keeper.lost(error)
        self._intake.look_now()

    # ── the end ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def _drain(self, now: float) -> None:
        """Asked to stop: take nothing more, give back what has not started, and let the rest end."""
        notify("STOPPING=1\nSTATUS=waiting for running tasks")
        self._drain_until_mono_s = now + self._setting.config.grace_ms / 1000
        self._respawn_mono_s.clear()
        running = [child for child in self._children.values() if not child.is_idle]
        event(
            _logger,
            "worker.stopping",
            running=len(running),
            grace_s=self._setting.config.grace_ms / 1000 if running else None,
        )
        for child in running:
            child.withdraw(now)

    def _stop(self) -> None:
        """Kill what still runs, give it back, close the session."""
        busy = [child for child in self._children.values() if not child.is_idle]
        self._drain_until_mono_s = self._drain_until_mono_s or time.monotonic()
        try:
            self._kill_and_wait(busy, Killed("stop"))
        except ZygoteDiedError:
            for number, child in list(self._children.items()):
                self._bury(Died(number, child.pid, signal.SIGKILL))
        finally:
            self._zygote.close()
        if self._keeper.is_open:
            try:
                if not self._keeper.away:
                    self._settlement.tell(self._keeper.session)
                    self._keeper.close()
            except (StoreError, LeaseLostError) as error:
                event(_logger, "session.left", level=logging.WARNING, error=str(error))
        event(_logger, "worker.stopped", name=self._setting.name, killed=len(busy))

    def _kill_and_wait(self, children: list[Child], killed: Killed) -> None:
        for child in children:
            child.kill(killed)
        deadline = time.monotonic() + STOP_S_MAX
        while any(child in children for child in self._children.values()) and time.monotonic() < deadline:
            select.select([self._zygote], [], [], 0.1)
            for died in self._zygote.died():
                self._bury(died)


def _is_busy(child: Child) -> bool:
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

    ChildProcess(sock, number, slots, make_executor).run()
