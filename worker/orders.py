"""
Orders to a running worker, and what it says of itself: between the session, which brings and publishes them, and the pool.

    renewal → orders → what the pool can do about each → an answer for whoever gave it
    pool, session → `WorkerState` → published with a renewal if it has changed, and told to systemd

Stacks take a moment: the children write them, and the next renewal, which is brought forward, collects them.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple, Protocol

import msgspec

from scheduler.config import LOG_LEVELS
from scheduler.errors import ConfigError, RefusedError
from scheduler.log import event
from scheduler.model import Message
from scheduler.notify import notify
from scheduler.routing import queue_names
from scheduler.store.orders import (
    SLOTS_SHOWN_MAX,
    Answer,
    Order,
    Slot,
    Stage,
    Verb,
    WorkerState,
    encode_state,
)
from worker import stacks
from worker.about import settings_told, system_told, tasks_told
from worker.events import Teller
from worker.execute import header_of
from worker.keeper import Keeper
from worker.process import Setting
from worker.signals import Signals, Stop

SHOW_AGAIN_S = 5.0
"""A state that has not changed is published again after so long, with the memory measured anew."""
STACKS_S = 0.1
STACKS_S_MAX = 2.0
"""How long children may take to write their stacks; those that hang in the kernel never do."""
PAGE_KIB = os.sysconf("SC_PAGE_SIZE") // 1024

_logger = logging.getLogger("worker")


class Running(NamedTuple):
    """A message that runs, since when, and in which process."""

    message: Message
    since_mono_s: float
    pid: int


class Steered(Protocol):
    """What a pool lets people do with it while it works. What it cannot do it refuses (`RefusedError`), with the reason."""

    @property
    def is_drained(self) -> bool:
        """Whether it takes nothing because of `drain`."""

    @property
    def queues(self) -> Sequence[str]:
        """Where it takes from, in this order."""

    @property
    def concurrency(self) -> int:
        """How many tasks it runs at once."""

    def drain(self) -> None:
        """Take nothing more, and give back what has not started; what runs goes on."""

    def resume(self) -> None:
        """Take again."""

    def set_queues(self, queues: Sequence[str]) -> None:
        """Take from these from now on."""

    def set_concurrency(self, concurrency: int) -> None:
        """Run so many at once; what runs beyond that ends first."""

    def replace_children(self) -> None:
        """Have each child replaced when its task is over."""

    def running(self) -> Sequence[Running]:
        """What runs now."""

    def unstarted(self) -> int:
        """How many messages it holds beside them."""

    def child_pids(self) -> Sequence[int]:
        """The processes that run tasks."""


class _StacksOrder(NamedTuple):
    """An order for stacks, the children that write theirs, until when they may, and what was there at the last look."""

    order: Order
    asked: list[stacks.Asked]
    until_mono_s: float
    texts: Mapping[int, str]


class Steering:
    """
    Carries out orders, and says how the worker is.

    Args:
        teller: Knows how many runs have ended.
    """

    def __init__(self, setting: Setting, keeper: Keeper, signals: Signals, teller: Teller, pool: Steered) -> None:
        self._setting = setting
        self._keeper = keeper
        self._signals = signals
        self._teller = teller
        self._pool = pool
        self._log_level = setting.config.log_level
        self._memory_kib = (0, 0)
        self._told = WorkerState()
        self._told_session = ""
        self._again_mono_s = 0.0
        self._stacks: list[_StacksOrder] = []
        self._status = ""

    # ── what it says of itself ──────────────────────────────────────────────────────────────────────────────────────

    def state(self, session: str) -> bytes:
        """What there is to be said under *session*; nothing if it was said already."""
        now = time.monotonic()
        again = session != self._told_session or now >= self._again_mono_s
        if again:
            pids = list(self._pool.child_pids())
            self._memory_kib = (memory_kib([os.getpid()]), memory_kib(pids))
        state = self._state(now)
        self.tell_systemd(state)
        if not again and state == self._told:
            return b""
        if again:
            self._again_mono_s = now + SHOW_AGAIN_S
        self._told, self._told_session = state, session
        return encode_state(state)

    def _state(self, now: float) -> WorkerState:
        pool, teller = self._pool, self._teller
        running = sorted(pool.running(), key=_since)
        server_ms = self._keeper.clock.now_ms()
        return WorkerState(
            stage=self.stage,
            concurrency=pool.concurrency,
            queues=tuple(pool.queues),
            busy=len(running),
            slots=tuple(
                _slot(each, server_ms - (now - each.since_mono_s) * 1000) for each in running[:SLOTS_SHOWN_MAX]
            ),
            unstarted=pool.unstarted(),
            finished=teller.finished_count,
            failed=teller.failed_count,
            retried=teller.retried_count,
            memory_kib=self._memory_kib,
            children=len(pool.child_pids()),
            log_level=self._log_level,
            deaf_s=round(self._keeper.deaf_s(now)),
        )

    @property
    def stage(self) -> Stage:
        """Where the worker stands."""
        if self._signals.stop:
            return Stage.STOPPING
        return Stage.DRAINING if self._pool.is_drained else Stage.RUNNING

    def tell_systemd(self, state: WorkerState) -> None:
        """What `systemctl status` shows."""
        text = status_text(state)
        if text != self._status:
            self._status = text
            notify(f"STATUS={text}")

    # ── what it is told ─────────────────────────────────────────────────────────────────────────────────────────────

    def carry_out(self, orders: Iterable[Order]) -> None:
        """Carry out *orders*, and answer; and collect the stacks that were asked for before. Raises `StoreError`."""
        for order in orders:
            if order.verb == Verb.STACKS:
                self._ask_stacks(order)
                continue
            try:
                answer = self._carry_out(order)
            except RefusedError as error:
                answer = Answer(done=False, text=str(error), running=self._running())
            event(
                _logger, "order.done" if answer.done else "order.refused", verb=order.verb, by=order.by or None,
                level=logging.INFO if answer.done else logging.WARNING, text=answer.text,
            )  # fmt: skip
            self._keeper.answer(order, answer)
            self._keeper.renew_within(0.0)  # others see what has changed
        if self._stacks:
            self._collect_stacks()

    def _carry_out(self, order: Order) -> Answer:
        carry_out = self._VERBS.get(order.verb)
        if carry_out is None:
            raise RefusedError(f"this worker's version does not know the order {order.verb!r}; update it")
        return carry_out(self, order)

    def _drain(self, _order: Order) -> Answer:
        self._refuse_if_stopping()
        self._pool.drain()
        return self._done("draining")

    def _resume(self, _order: Order) -> Answer:
        self._refuse_if_stopping()
        was_drained = self._pool.is_drained
        self._pool.resume()
        return self._done("taking again" if was_drained else "it was taking already")

    def _stop(self, order: Order) -> Answer:
        self._signals.stop = max(self._signals.stop, Stop.NOW if order.now else Stop.WARM)
        text = "stopping at once" if order.now else "stopping"
        again = "; systemd starts it again, unless its unit says otherwise" if "INVOCATION_ID" in os.environ else ""
        return self._done(text, again)

    def _concurrency(self, order: Order) -> Answer:
        self._refuse_if_stopping()
        before = self._pool.concurrency
        change = {Verb.GROW: order.number, Verb.SHRINK: -order.number}.get(Verb(order.verb))
        wanted = order.number if change is None else before + change
        if wanted < 1:
            raise RefusedError(f"it runs {before} at once; to take nothing, drain it")
        self._pool.set_concurrency(wanted)
        return self._done(f"concurrency {before} → {wanted}")

    def _queues(self, order: Order) -> Answer:
        self._refuse_if_stopping()
        before = tuple(self._pool.queues)
        if order.verb == Verb.QUEUES_ADD:
            try:
                added = queue_names(self._setting.config, order.queues, flag="queues add")
            except ConfigError as error:
                raise RefusedError("; ".join(error.complaints)) from None
            after = tuple(dict.fromkeys((*before, *added)))
        else:
            if unknown := [queue for queue in order.queues if queue not in before]:
                raise RefusedError(f"it does not take from {', '.join(unknown)}; its queues are {', '.join(before)}")
            after = tuple(queue for queue in before if queue not in order.queues)
            if not after:
                raise RefusedError("it would have no queue left; to take nothing, drain it")
        if after != before:
            self._pool.set_queues(after)
        return self._done(f"taking from {', '.join(after)}")

    def _set_log_level(self, order: Order) -> Answer:
        level = order.level.lower()
        if level not in LOG_LEVELS:
            raise RefusedError(f"log level {order.level!r}: this version knows {', '.join(LOG_LEVELS)}")
        logging.getLogger().setLevel(level.upper())
        self._teller.show_runs = self._setting.show_runs or level == "debug"
        before, self._log_level = self._log_level, level
        return self._done(f"log level {before} → {level}")

    def _replace_children(self, _order: Order) -> Answer:
        self._refuse_if_stopping()
        self._pool.replace_children()
        return self._done("each child is replaced by a new one, when its task is over")

    def _inspect(self, _order: Order) -> Answer:
        pool, setting = self._pool, self._setting
        data = {
            "tasks": tasks_told(setting.tasks),
            "settings": settings_told(setting.config),
            "queues": list(pool.queues),
            "running": [msgspec.to_builtins(slot) for slot in self._state(time.monotonic()).slots],
            "reserved": pool.unstarted(),
            "child_pids": list(pool.child_pids()),
            "system": system_told() | {"redis": self._keeper.server_version()},
        }
        return Answer(done=True, text="", running=self._running(), data=data)

    _VERBS: Mapping[str, Callable[[Steering, Order], Answer]] = {
        Verb.DRAIN: _drain,
        Verb.RESUME: _resume,
        Verb.STOP: _stop,
        Verb.CONCURRENCY: _concurrency,
        Verb.GROW: _concurrency,
        Verb.SHRINK: _concurrency,
        Verb.RESTART_CHILDREN: _replace_children,
        Verb.QUEUES_ADD: _queues,
        Verb.QUEUES_REMOVE: _queues,
        Verb.LOG_LEVEL: _set_log_level,
        Verb.INSPECT: _inspect,
    }

    def _refuse_if_stopping(self) -> None:
        if self._signals.stop:
            raise RefusedError("it is stopping, and will not come back; start another")

    def _running(self) -> int:
        return len(self._pool.running())

    def _done(self, text: str, then: str = "") -> Answer:
        running = self._running()
        return Answer(done=True, text=f"{text}, {count_text(running)}{then}", running=running)

    # ── stacks ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def _ask_stacks(self, order: Order) -> None:
        asked = [found for pid in self._pool.child_pids() if (found := stacks.ask(pid)) is not None]
        self._stacks.append(_StacksOrder(order, asked, time.monotonic() + STACKS_S_MAX, {}))
        self._keeper.renew_within(STACKS_S)

    def _collect_stacks(self) -> None:
        now = time.monotonic()
        left = []
        for waiting in self._stacks:
            texts = {asked.pid: stacks.read(asked) for asked in waiting.asked}
            # They write line by line: it is all there when nothing was added from one look to the next.
            if now < waiting.until_mono_s and not (all(texts.values()) and texts == waiting.texts):
                left.append(waiting._replace(texts=texts))
                continue
            running = self._pool.running()
            data = [
                {
                    "pid": pid,
                    "stacks": text,
                    "running": [
                        {"id": each.message.id, "task": header_of(each.message).task}
                        for each in running[:SLOTS_SHOWN_MAX]
                        if each.pid == pid
                    ],
                }
                for pid, text in texts.items()
            ]
            silent = sum(not text for text in texts.values())
            words = f"{silent} of {len(texts)} children wrote nothing: they hang in the kernel" if silent else ""
            self._keeper.answer(waiting.order, Answer(done=True, text=words, running=len(running), data=data))
        self._stacks = left
        if left:
            self._keeper.renew_within(STACKS_S)


def status_text(state: WorkerState) -> str:
    """A worker's state in a line."""
    if state.stage is Stage.STOPPING:
        return f"stopping: {count_text(state.busy)}"
    if state.deaf_s:
        return "takes nothing though messages wait; it needs a restart"
    if state.stage is Stage.DRAINING:
        return f"drained by an order: {count_text(state.busy)}"
    return f"taking from {', '.join(state.queues)}; {state.busy} of {state.concurrency} busy"


def count_text(running: int) -> str:
    """``3 tasks still run``"""
    if not running:
        return "nothing runs"
    return "1 task still runs" if running == 1 else f"{running} tasks still run"


def memory_kib(pids: Iterable[int]) -> int:
    """The resident memory of these processes together, shared pages counted in each."""
    total = 0
    for pid in pids:
        try:
            with open(f"/proc/{pid}/statm", encoding="ascii") as file:
                total += int(file.read().split()[1])
        except (OSError, IndexError, ValueError):
            continue  # it has ended
    return total * PAGE_KIB


def _slot(running: Running, since_ms: float) -> Slot:
    header = header_of(running.message)
    return Slot(
        id=running.message.id,
        task=header.task,
        since_ms=int(since_ms),
        entry=header.entry,
        attempt=running.message.attempt,
        pid=running.pid,
    )


def _since(running: Running) -> float:
    return running.since_mono_s
