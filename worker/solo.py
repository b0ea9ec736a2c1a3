"""
`solo`: one process that takes, runs and finishes by itself. For first steps, for debuggers, and where forks are unwelcome.

A task that runs for longer than the worker's lease keeps it from renewing: then its message runs elsewhere too (P6 does not
hold here). There is no hard time limit: nobody is there to enforce it.

Outcomes are finished together with the next take; before a task that is not known to be short everything is finished first, and
what is behind it given back.

While short tasks flow, Redis and we work at the same time: the outcomes of one batch and the wish for the batch after the next are
under way while the next one runs.

    one batch → told, answer awaited → one batch → …
    one batch → told ahead → run what waits → the answer lands → told ahead → …      (plenty of short tasks)

Crash points. Killed with an answer under way: what it carries is in flight and unknown, like all that waits here; it goes back
when the session is reclaimed. Nothing else is asked of the session before the answer has landed: so a renewal that is due, a
cancellation, a task of unknown length, a stop come after it. An answer that never comes is asked for again: what was finished is
refused, and a batch that nobody knows of goes back with the next reconcile.
"""

from __future__ import annotations

import logging
import os
import select
import signal
import threading
import time
from collections import deque
from collections.abc import Sequence
from types import FrameType

from scheduler.errors import LeaseLostError, RefusedError, StoreError
from scheduler.log import event
from scheduler.model import Ack, Message, Outcome
from scheduler.notify import notify
from scheduler.store.sessions import Taken
from scheduler.wire import FLAG_EARLY
from worker.events import Teller
from worker.execute import Executor, header_of
from worker.hooks import Herald
from worker.intake import Intake
from worker.keeper import Keeper
from worker.limits import StopNow
from worker.orders import Running, Steering
from worker.prefetch import Pace, task_of
from worker.process import EXIT_OK, Heart, Setting, open_session, say_ready
from worker.settle import Settlement
from worker.signals import Signals, Stop

FLUSH_S = 0.01
SHORT_S = 0.005
"""Tasks that took less than that, last time, are run in batches."""
AHEAD_MIN = 32
"""Batches of at least so many are asked for ahead; smaller ones run for so long that waiting for Redis does not matter."""
_logger = logging.getLogger("worker")


class Solo:
    """One worker in one process."""

    def __init__(self, setting: Setting, signals: Signals, keeper: Keeper, herald: Herald) -> None:
        self._setting = setting
        self._signals = signals
        self._herald = herald
        self._keeper = keeper
        self._began_mono_s = time.monotonic()
        self._intake = Intake()
        self._teller = Teller(show_runs=setting.show_runs)
        self._settlement = Settlement(self._teller)
        self._heart = Heart()
        self._singly = frozenset(name for name, task in setting.tasks.items() if task.options.ack is Ack.EACH)
        self._pace = Pace(self._singly)
        self._executor = Executor(setting.tasks, setting.config, worker=setting.name, server_ms=keeper.clock.now_ms)
        self._waiting: deque[Message] = deque()
        self._running: Message | None = None
        self._last_s: dict[str, float] = {}
        self._patience: threading.Timer | None = None
        self._queues = setting.queues
        self._is_drained = False
        self._steering = Steering(setting, keeper, signals, self._teller, self)

    def loop(self) -> int:
        """Work until asked to stop; the exit code."""
        code = open_session(self._keeper, self._signals)
        if code is not None:
            return code
        limited = sorted(name for name, task in self._setting.tasks.items() if task.options.time_limit_ms)
        event(
            _logger,
            "worker.solo",
            level=logging.WARNING if limited else logging.INFO,
            note="a task longer than worker_lease may run elsewhere too, and no time_limit is enforced; use pool prefork",
            with_time_limit=",".join(limited) or None,
        )
        say_ready(self._setting, self._began_mono_s)
        self._herald.ready()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
            signal.signal(number, self._interrupted)
        try:
            while self._signals.stop is Stop.NO:
                self._turn()
        except StopNow:
            pass
        finally:
            self._close()
        return EXIT_OK

    # ── orders ──────────────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def is_drained(self) -> bool:
        """Whether it takes nothing because of `drain`."""
        return self._is_drained

    @property
    def queues(self) -> tuple[str, ...]:
        """Where it takes from, in this order."""
        return self._queues

    @property
    def concurrency(self) -> int:
        """How many tasks it runs at once."""
        return 1

    def drain(self) -> None:
        """Take nothing more, and give back what waits here; it is heard between two tasks."""
        self._is_drained = True
        self._keeper.session.wake.close()  # a token that comes now is for others
        self._settlement.back([message.id for message in self._waiting])
        self._waiting.clear()

    def resume(self) -> None:
        """Take again."""
        self._is_drained = False
        self._intake.look_now()

    def set_queues(self, queues: Sequence[str]) -> None:
        """Take from these, in this order, from now on."""
        self._queues = tuple(queues)
        self._keeper.session.wake.close()  # it waits for tokens of the former ones
        self._intake.look_now()

    def set_concurrency(self, concurrency: int) -> None:
        """Raises `RefusedError`."""
        raise RefusedError(f"solo runs one task at once, not {concurrency}; start it with another pool")

    def replace_children(self) -> None:
        """Raises `RefusedError`."""
        raise RefusedError("solo has no children; restart it")

    def running(self) -> list[Running]:
        """Nothing: while a task runs nobody asks."""
        return []

    def unstarted(self) -> int:
        """How many messages it holds."""
        return len(self._waiting)

    def child_pids(self) -> list[int]:
        """None."""
        return []

    # ── one turn ────────────────────────────────────────────────────────────────────────────────────────────────────

    def _turn(self) -> None:
        try:
            if self._keeper.away and not self._keeper.probe():
                if not self._keeper.is_deaf:
                    self._heart.beat(time.monotonic())
                self._sleep()
                return
            self._land()
            if not self._speak_ahead():
                self._speak()
                self._speak_ahead()  # there may be plenty: then what comes after this batch is asked for while it runs
            if self._waiting:
                self._run_waiting()
            else:
                self._sleep()
        except LeaseLostError:
            self._lease_lost()
        except StoreError as error:
            self._keeper.lost(error)

    # ── running ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def _run_waiting(self) -> None:
        """Run what was taken, until all is done, something long has run, or there is a reason to speak with Redis."""
        waiting, last_s, execute, monotonic = self._waiting, self._last_s, self._executor.run, time.monotonic
        spent: dict[str, tuple[int, float]] = {}
        outcomes: list[Outcome] = []
        now = began = monotonic()
        try:
            while waiting and self._signals.stop is Stop.NO and now - began < FLUSH_S:
                message = waiting[0]
                task = task_of(message.body)
                if last_s.get(task, SHORT_S) >= SHORT_S or task in self._singly:
                    if outcomes or self._settlement:
                        break  # everything is finished first
                    self._hand_back_rest()
                self._running = waiting.popleft()
                became = execute(message)
                self._running = None
                after = monotonic()
                took_s, now = after - now, after
                last_s[task] = took_s
                count, total_s = spent.get(task, _NOTHING)
                spent[task] = (count + 1, total_s + took_s)
                if isinstance(became, Outcome):
                    outcomes.append(became)
                else:
                    self._settlement.later([became])
        finally:
            self._settlement.ended(outcomes)
            self._pace.learn(spent)

    def _is_short(self, message: Message) -> bool:
        task = task_of(message.body)
        return self._last_s.get(task, SHORT_S) < SHORT_S and task not in self._singly

    def _hand_back_rest(self) -> None:
        """Nothing waits behind a task of unknown or great length. No answer is under way: what follows one is short."""
        assert not self._settlement.is_under_way
        rest = [message.id for message in list(self._waiting)[1:]]
        if rest:
            self._keeper.session.release(rest)
            first = self._waiting[0]
            self._waiting.clear()
            self._waiting.append(first)

    # ── Redis ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def _land(self) -> None:
        """Read the answer that is under way, if one is."""
        answer = self._settlement.land()
        if answer is not None:
            self._took(*answer)

    def _speak_ahead(self) -> bool:
        """Tell what has ended and ask for a batch behind the one that waits, if short tasks flow. False: speak the plain way."""
        now, quota = time.monotonic(), self._pace.quota(1)
        return (
            AHEAD_MIN <= quota >= len(self._waiting) > 0
            and self._intake.wants(now)
            and not self._keeper.due(now)
            and self._is_short(self._waiting[0])
            and self._settlement.tell_ahead(self._keeper.session, take=quota, queues=self._queues)
        )

    def _speak(self) -> None:
        session, queues = self._keeper.session, self._queues
        if self._keeper.due(time.monotonic()):
            # Before all else: a Redis that answers this and not the rest must still see that we live.
            self._look_after()
        if self._settlement:
            answer = self._settlement.tell(session, take=self._quota, queues=queues)
            if answer is not None:
                self._took(*answer)
        now = time.monotonic()
        if self._is_drained:
            return
        if not self._waiting and self._intake.wants(now):
            self._took(session.take(queues, self._quota()), now)
        if not self._waiting and not session.wake.armed and not self._intake.wants(time.monotonic()):
            session.wake.arm(queues)

    def _look_after(self) -> None:
        self._teller.tick()
        kept = self._keeper.look_after(
            self._known, state=self._steering.state, should_take=() if self._is_drained else self._queues
        )
        if kept.renewed:
            self._heart.beat(time.monotonic())
        self._drop(set(kept.abandoned))
        for id_ in kept.cancels or ():
            self._cancel(id_)
        if kept.look_now:
            self._intake.look_now()
        self._steering.carry_out(kept.orders)

    def _quota(self) -> int:
        return 0 if self._waiting or self._is_drained else self._pace.quota(1)

    def _took(self, taken: Taken, sent_mono_s: float) -> None:
        now = time.monotonic()
        self._keeper.learn(taken, sent_mono_s)
        self._intake.took(taken, sent_mono_s=sent_mono_s, got_mono_s=now)
        if taken.fires:
            self._teller.fires(taken.fires)
        self._executor.session = self._keeper.session.id
        self._waiting.extend(taken.messages)

    def _known(self) -> list[str]:
        return [*(message.id for message in self._waiting), *self._settlement.ids()]

    def _drop(self, ids: set[str]) -> None:
        if ids:
            self._settlement.forget(ids)
            self._waiting = deque(message for message in self._waiting if message.id not in ids)

    def _cancel(self, id_: str) -> None:
        """A request for something that has not started: give it back, and it can be cancelled where it waits."""
        for message in list(self._waiting):
            if message.id == id_:
                self._waiting.remove(message)
                self._settlement.ended([self._executor.revoked(message)])

    def _sleep(self) -> None:
        """Until a token, a moment or a signal comes."""
        now = time.monotonic()
        if self._settlement and not self._keeper.away:
            return
        moments = [self._keeper.next_mono_s]
        wake, bell = self._keeper.session.wake, self._keeper.session.bell
        wake_fd = wake.fileno() if wake.armed else -1
        bell_fd = bell.fileno() if bell.armed else -1
        if not self._keeper.away and not self._is_drained:
            if self._intake.wants(now):
                return
            if self._intake.due_mono_s is not None:
                moments.append(self._intake.due_mono_s)
        signals_fd = self._signals.fileno()
        readers = [fd for fd in (signals_fd, wake_fd, bell_fd) if fd >= 0]
        ready, _, _ = select.select(readers, [], [], max(0.0, min(moments) - now))
        if bell_fd in ready:
            self._keeper.ring()
        if wake_fd in ready:
            self._intake.look_now()
            wake.read()
        if signals_fd in ready:
            self._signals.drain()

    def _lease_lost(self) -> None:
        dropped = self._settlement.forget() + len(self._waiting)
        self._waiting.clear()
        event(_logger, "session.lost", level=logging.WARNING, dropped=dropped)
        try:
            self._keeper.open()
        except StoreError as error:
            self._keeper.lost(error)
        self._intake.look_now()

    # ── the end ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def _interrupted(self, number: int, frame: FrameType | None) -> None:
        """A task is given the grace to end; then, or at the second request, it is broken off."""
        self._signals.note(number, frame)
        if self._signals.stop is Stop.NOW:
            raise StopNow
        if self._patience is None:
            self._patience = threading.Timer(
                self._setting.config.grace_ms / 1000, os.kill, (os.getpid(), signal.SIGQUIT)
            )
            self._patience.daemon = True
            self._patience.start()

    def _close(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
            signal.signal(number, self._signals.note)
        if self._patience is not None:
            self._patience.cancel()
        notify("STOPPING=1")
        self._herald.shutting_down(self._signals.last, at_once=self._signals.stop is Stop.NOW)
        event(_logger, "worker.stopping", running=int(self._running is not None))
        try:
            if not self._keeper.away:
                self._land()
                # Each goes before all others: first what has not started, then what was broken off.
                self._settlement.back([message.id for message in self._waiting])
                if self._running is not None:
                    early = bool(header_of(self._running).flags & FLAG_EARLY)  # it must not run twice
                    self._settlement.back([self._running.id], lost=early)
                self._settlement.tell(self._keeper.session)
                self._keeper.close()
        except (StoreError, LeaseLostError) as error:
            event(_logger, "session.left", level=logging.WARNING, error=str(error))
        event(_logger, "worker.stopped", name=self._setting.name)


_NOTHING = (0, 0.0)
