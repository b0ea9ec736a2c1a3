"""
The supervisor: Redis on one side, children on the other, and nobody's code in between.

One thread, one loop. It waits for the wake connection, the children, the zygote and signals; then, in this order: reads what has
come, looks at what runs (time limits, batches behind a long task), and speaks with Redis: tells what became of messages and takes
the next ones, mostly in one round trip; renews, reconciles. The children are a `Crew`; an `Aftermath` decides about messages
that come back from them.

    taking  ⇄ drained, resumed by an order: takes nothing, gives back what has not started, stays
    taking, drained → a signal →  stopping: the same, and waits for what runs up to the grace
    stopping → all over, or the grace is, or SIGQUIT → kills what still runs and gives it back → closed

Crash points. Killed anywhere: the children die with it, and its session is reclaimed one lease later; what ran counts as lost
once, and so does what it held unstarted, which is then taken alone. A reply of `take` lost: what it carried is in flight and
unknown here, until the next reconcile gives it back. A reply of `finish` lost: it is repeated and refused, as it is over. Redis
away: the children go on; what became of their work waits here.
"""

from __future__ import annotations

import logging
import select
import time
from collections.abc import Sequence

from scheduler.errors import LeaseLostError, RefusedError, StoreError
from scheduler.log import event
from scheduler.model import Ack
from scheduler.notify import notify
from scheduler.store.sessions import Taken
from worker.aftermath import Aftermath
from worker.crew import Crew
from worker.events import Teller
from worker.execute import is_coroutine
from worker.hooks import Herald
from worker.intake import Intake
from worker.orders import Running, Steering
from worker.pools import POOLS, Can
from worker.prefetch import Pace
from worker.process import EXIT_OK, Heart, Setting, make_keeper, open_session, say_ready
from worker.settle import Settlement
from worker.signals import Signals, Stop

_logger = logging.getLogger("worker")


class Supervisor:
    """
    One worker.

    Made in the main thread of a process without threads and connections: its crew forks the zygote here.
    """

    def __init__(self, setting: Setting, signals: Signals, herald: Herald) -> None:
        self._setting = setting
        self._signals = signals
        self._herald = herald
        self._began_mono_s = time.monotonic()
        self._queues = setting.queues
        self._keeper = make_keeper(setting)
        self._intake = Intake()
        self._teller = Teller(show_runs=setting.show_runs)
        self._settlement = Settlement(self._teller)
        self._heart = Heart()
        singly = frozenset(name for name, task in setting.tasks.items() if task.options.ack is Ack.EACH)
        self._pace = Pace(singly)
        self._aftermath = Aftermath(setting, self._settlement, self._keeper.clock)
        self._crew = Crew(setting, self._pace, self._settlement, self._aftermath, singly=singly)
        self._steering = Steering(setting, self._keeper, signals, self._teller, self)
        self._is_drained = False
        self._stop_mono_s: float | None = None
        self._taken_mono_s = 0.0

    def loop(self) -> int:
        """Work until asked to stop; the exit code. Raises `ZygoteDiedError`."""
        try:
            code = open_session(self._keeper, self._signals)
            if code is not None:
                return code
            self._crew.start()
            is_told = False
            while not self._is_over():
                self._turn()
                if not is_told and self._crew.is_ready:
                    is_told = True
                    say_ready(self._setting, self._began_mono_s)
                    self._say_what_is_not_kept()
                    self._herald.ready()
            return EXIT_OK
        finally:
            self._close()

    def _say_what_is_not_kept(self) -> None:
        """Whoever gave a task a hard limit should hear where it has none."""
        pool, setting = POOLS[self._setting.pool], self._setting
        limited = sorted(name for name, task in setting.tasks.items() if task.options.time_limit_ms)
        if pool.hard_limit is Can.AWAIT:
            limited = [name for name in limited if not is_coroutine(setting.tasks[name])]
        if limited and pool.hard_limit is not Can.YES:
            event(
                _logger,
                "limits.not_kept",
                level=logging.WARNING,
                with_time_limit=",".join(limited),
                note=f"pool {setting.pool} cannot break off these tasks at their time_limit; use pool prefork for them",
            )

    # ── orders ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def drain(self) -> None:
        """Take nothing more, and give back what has not started; what runs goes on, and the worker stays."""
        if not self._is_drained:
            self._is_drained = True
            self._keeper.session.wake.close()  # a token that comes now is for others
            self._crew.withdraw(time.monotonic())

    def resume(self) -> None:
        """Take again."""
        self._is_drained = False
        self._intake.look_now()

    @property
    def is_drained(self) -> bool:
        """Whether it takes nothing because of `drain`."""
        return self._is_drained

    @property
    def queues(self) -> Sequence[str]:
        """Where it takes from, in this order."""
        return self._queues

    @property
    def concurrency(self) -> int:
        """How many tasks it runs at once."""
        return self._crew.concurrency

    def set_concurrency(self, concurrency: int) -> None:
        """
        Run so many tasks at once from now on; where that is fewer, what runs ends first.

        Raises:
            RefusedError: The pool does not run so many.
        """
        most = POOLS[self._setting.pool].concurrency_max
        if not 1 <= concurrency <= most:
            raise RefusedError(f"concurrency {concurrency}: pool {self._setting.pool} runs 1–{most} tasks at once")
        self._crew.set_concurrency(concurrency, time.monotonic())
        self._intake.look_now()

    def replace_children(self) -> None:
        """Have each child replaced by a new one, which is ready before it ends."""
        self._crew.replace_children(time.monotonic())

    def running(self) -> list[Running]:
        """What runs now."""
        return [Running(running.message, running.since_mono_s, pid) for running, pid in self._crew.running()]

    def unstarted(self) -> int:
        """How many messages it holds beside them."""
        return sum(1 for _ in self._crew.held()) - len(self._crew.running())

    def child_pids(self) -> list[int]:
        """The processes that run tasks."""
        return self._crew.pids()

    def set_queues(self, queues: Sequence[str]) -> None:
        """Take from these, in this order, from now on."""
        self._queues = tuple(queues)
        self._keeper.session.wake.close()  # it waits for tokens of the former ones; armed anew when there is nothing to do
        self._intake.look_now()

    # ── one turn ────────────────────────────────────────────────────────────────────────────────────────────────────

    def _turn(self) -> None:
        self._wait()
        now = time.monotonic()
        self._crew.look(now)
        if self._signals.stop and self._stop_mono_s is None:
            self._begin_to_stop(now)
        try:
            if not self._keeper.away or self._keeper.probe():
                self._speak()
            elif not self._keeper.is_deaf:
                self._heart.beat(now)  # known to be away, and being asked: nothing hangs here
        except LeaseLostError:
            self._lease_lost()
        except StoreError as error:
            self._keeper.lost(error)

    def _wait(self) -> None:
        """Sleep until something comes or is due, and read it."""
        now = time.monotonic()
        readers, writers = self._crew.readers(), self._crew.writers()
        readers.append(self._signals.fileno())
        wake = self._keeper.session.wake
        wake_fd = wake.fileno() if wake.armed else -1
        if wake_fd >= 0:
            readers.append(wake_fd)
        bell = self._keeper.session.bell
        bell_fd = bell.fileno() if bell.armed else -1
        if bell_fd >= 0:
            readers.append(bell_fd)
        # select, not epoll: its timeouts are exact to the microsecond, epoll's are rounded up to milliseconds.
        ready, _, _ = select.select(readers, writers, [], max(0.0, self._next_mono_s(now) - now))
        if not ready and not writers:
            return
        found = set(ready)
        if self._crew.serve(found):
            self._intake.look_now()
        if self._signals.fileno() in found:
            self._signals.drain()
        if bell_fd in found:
            self._keeper.ring()
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
        moments = [self._keeper.next_mono_s, self._crew.next_mono_s(now)]
        if self._is_taking() and not self._keeper.away:
            if self._crew.quota():
                if self._intake.wants(now):
                    return now
                if self._intake.due_mono_s is not None:
                    moments.append(self._intake.due_mono_s)
            else:
                moments.append(self._taken_mono_s + 1.0)
        if self._stop_mono_s is not None:
            moments.append(self._stop_mono_s)
        return min(moments)

    def _is_taking(self) -> bool:
        return self._stop_mono_s is None and not self._is_drained

    def _is_over(self) -> bool:
        if self._stop_mono_s is None:
            return False
        if self._signals.stop is Stop.NOW or time.monotonic() >= self._stop_mono_s:
            return True
        return not self._settlement and self._crew.is_idle

    # ── Redis ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def _speak(self) -> None:
        """Tell what is to be told, take what can be taken, and look after the session."""
        keeper, session = self._keeper, self._keeper.session
        if keeper.due(time.monotonic()):
            # Before all else: a Redis that answers this and not the rest must still see that we live.
            self._look_after()
        if self._settlement:
            answer = self._settlement.tell(session, take=self._quota, queues=self._queues)
            if answer is not None:
                self._took(*answer)
        now = time.monotonic()
        if self._is_taking():
            quota = self._quota()
            if quota and self._intake.wants(now):
                self._took(session.take(self._queues, quota), now)
            elif not quota and now >= self._taken_mono_s + 1.0:
                # Nobody is free. Still, what is due gets promoted, and a token that we popped is passed on.
                self._took(session.take(self._queues, 0), now)
        if self._is_taking() and not session.wake.armed and self._quota() and not self._intake.wants(time.monotonic()):
            session.wake.arm(self._queues)

    def _look_after(self) -> None:
        self._teller.tick()
        kept = self._keeper.look_after(
            self._known, state=self._steering.state, should_take=self._queues if self._is_taking() else ()
        )
        if kept.renewed:
            self._heart.beat(time.monotonic())
        if kept.cancels is not None:
            self._aftermath.cancels = kept.cancels
        if kept.abandoned:
            self._settlement.forget(kept.abandoned)
            self._crew.abandon(set(kept.abandoned))
        if kept.look_now:
            self._intake.look_now()
        self._steering.carry_out(kept.orders)

    def _quota(self) -> int:
        return self._crew.quota() if self._is_taking() else 0

    def _took(self, taken: Taken, sent_mono_s: float) -> None:
        now = time.monotonic()
        self._keeper.learn(taken, sent_mono_s)
        self._intake.took(taken, sent_mono_s=sent_mono_s, got_mono_s=now)
        self._taken_mono_s = now
        if taken.fires:
            self._teller.fires(taken.fires)
        if taken.messages:
            clock_ms = self._keeper.clock.now_ms() - time.monotonic() * 1000
            rest = self._crew.deal(taken.messages, clock_ms, self._keeper.session.id)
            self._settlement.back([message.id for message in rest])

    def _known(self) -> list[str]:
        return [*(message.id for message in self._crew.held()), *self._settlement.ids()]

    def _lease_lost(self) -> None:
        """Everything we held is somebody else's. Stop it, and begin a new session."""
        dropped = self._settlement.forget()
        event(_logger, "session.lost", level=logging.WARNING, killed=self._crew.busy, dropped=dropped)
        self._crew.kill_busy("abandoned")
        self._settlement.forget()
        self._aftermath.cancels.clear()
        try:
            self._keeper.open()
        except StoreError as error:
            self._keeper.lost(error)
        self._intake.look_now()

    # ── the end ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def _begin_to_stop(self, now: float) -> None:
        """Asked to stop: take nothing more, give back what has not started, and let the rest end."""
        notify("STOPPING=1\nSTATUS=waiting for running tasks")
        self._herald.shutting_down(self._signals.last, at_once=self._signals.stop is Stop.NOW)
        grace_s = self._setting.config.grace_ms / 1000
        self._stop_mono_s = now + grace_s
        self._crew.leave()
        running = len(self._crew.running())
        self._crew.withdraw(now)
        event(_logger, "worker.stopping", running=running, grace_s=grace_s if running else None)

    def _close(self) -> None:
        """Kill what still runs, give it back, close the session."""
        self._stop_mono_s = self._stop_mono_s or time.monotonic()
        killed = self._crew.close(at_once=self._signals.stop is Stop.NOW)
        if self._keeper.is_open:
            try:
                if not self._keeper.away:
                    self._settlement.tell(self._keeper.session)
                    self._keeper.close()
            except (StoreError, LeaseLostError) as error:
                event(_logger, "session.left", level=logging.WARNING, error=str(error))
        event(_logger, "worker.stopped", name=self._setting.name, killed=killed)
