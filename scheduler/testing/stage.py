"""
`eager`: tasks run in the calling process, at once, through the steps that a worker takes.

A call is encoded as for Redis, decoded as by a worker and run by the worker's own `Executor`: so arguments that JSON cannot carry,
a wrong signature, an expiry, retries, hooks, soft time limits, results and exceptions are as in a real run. What lies between is
left out: there are no queues, no overlap, no hard time limit (there is no child to kill), and nothing waits. A countdown or a
retry's pause passes in no time, for that run alone: its clock is put forward.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any, NamedTuple, NoReturn

import msgspec

from scheduler import clock
from scheduler.app import App
from scheduler.config import Config
from scheduler.declare import Declarations
from scheduler.errors import NotFoundError, ResultTimeoutError, UnknownTaskError
from scheduler.fires import FireMaker, schedule_of
from scheduler.home import Home
from scheduler.model import Message, Outcome, ResultRecord, Run, State
from scheduler.nearest import nearest
from scheduler.records import decode_record
from scheduler.result import AsyncResult, rebuild_exception
from scheduler.store.queues import CancelReply, Enqueued, Full, NewMessage, Unique
from scheduler.task import Task
from scheduler.testing.homes import declarations_of, lent
from scheduler.testing.simulation import Moment, moment_ms
from scheduler.testing.sources import entries_declared
from scheduler.timing.zones import get_zone
from scheduler.wire import decode_header
from worker.execute import Executor
from worker.frames import Retried

ATTEMPTS_MAX = 10_000
"""A task that calls itself, or always asks to be run again, would go on for ever."""
WORKER = "eager"
REMEMBERED = 1_000
"""With `task_always_eager`: a process may live for months."""


class Again(NamedTuple):
    """A retry that was asked for: after which pause, and why."""

    task: str
    pause_s: float
    error: str


@contextmanager
def eager(*apps: App, propagate: bool = False) -> Iterator[Eager]:
    """
    Within it, calls of tasks run here and now, and no Redis is asked.

        with eager() as ran:
            assert add.delay(1, 2).get() == 3
        assert [run.state for run in ran.runs] == ["SUCCESS"]

    A call from within a task runs when that task has ended, or when it is waited for. Results may be read afterwards too. A soft time
    limit is kept in the main thread only, as it is an alarm.

    Args:
        apps: Whose tasks; those of schedule files and of the first App of the process besides.
        propagate: A run that fails raises at the call instead of at `get()`.

    Raises:
        UnknownTaskError: Somebody calls a task by its name, and it is not among these.
    """
    declared = declarations_of(apps)
    stage = Eager(declared, propagate=propagate)
    with lent(declared, apps, lambda home: _EagerHome(home, stage)):
        yield stage


class Eager:
    """
    What ran.

    Attributes:
        runs: The story of each run that has ended, in the order of their ends.
        retries: The retries that were asked for, with the pauses that a worker would make; jitter is at its longest.
    """

    def __init__(self, declared: Sequence[Declarations], *, propagate: bool) -> None:
        self.runs: list[Run] = []
        self.retries: list[Again] = []
        self.records: dict[str, ResultRecord] = {}
        self._declared = declared
        self._propagate = propagate
        self._pending: deque[tuple[Home, NewMessage]] = deque()
        self._running: list[str] = []
        self._ahead_ms = 0
        self._attempts = 0
        self._holders: dict[str, str] = {}
        """Unique key → the run that had it last."""

    def fire(self, name: str, due: Moment | None = None) -> AsyncResult:
        """
        Run the entry called *name* as if it were due at *due*: with its arguments, its options and its `scheduled_for`.

        Args:
            due: Without a zone it is local to the entry's. Default: the newest due time of the entry that is not in the future.

        Raises:
            NotFoundError: There is no such entry.
        """
        for declared in self._declared:
            if name in declared.entries:
                break
        else:
            known = [known for declared in self._declared for known in declared.entries]
            raise NotFoundError(f"there is no entry {name!r}{nearest(name, known)}")
        home = declared.home
        now_ms = clock.now_ms()
        (entry,) = entries_declared(declared, home.config, now_ms, only=name)
        schedule = schedule_of(entry)
        due_ms = schedule.previous_ms(now_ms + 1) or now_ms
        if due is not None:
            due_ms = moment_ms(due, get_zone(schedule.zone or "UTC"), "due")
        maker = FireMaker(entry, schedule, namespace=home.config.namespace, late_limit_ms=home.config.late_limit_ms)
        fire = maker.fire(due_ms, schedule.next_ms(due_ms), state="0 0", now_ms=now_ms)
        self.send(home, [NewMessage(fire.id, fire.body, fire.queue, fire.at_ms)])
        return AsyncResult(fire.id, home)

    # ── what stands where Redis and a worker would ──────────────────────────────────────────────────────────────────

    def now_ms(self) -> int:
        """The time of the run that is going on; else this host's."""
        return clock.now_ms() + self._ahead_ms

    def send(self, home: Home, messages: Sequence[NewMessage]) -> Enqueued:
        """
        Take *messages*; run them at once, unless a task is running.

        Not accepted is one whose id belongs to a run that has not ended, or whose unique key such a run has.
        """
        accepted: list[bool] = []
        refusals: dict[int, Unique | Full] = {}
        for at, message in enumerate(messages):
            live = {*self._running, *(other.id for _, other in self._pending)}
            key = decode_header(message.body)[0].unique if message.unique else ""
            holder = self._holders.get(key)
            if holder in live and holder is not None:
                refusals[at] = Unique(holder)
            accepted.append(message.id not in live and at not in refusals)
            if accepted[-1]:
                if key:
                    self._holders[key] = message.id
                self.records.pop(message.id, None)
                self._pending.append((home, message))
        if not self._running:
            self.drain()
        return Enqueued(accepted, refusals)

    def drain(self) -> None:
        """Run what waits."""
        while self._pending:
            home, message = self._pending.popleft()
            self._run(home, message)

    def state(self, id_: str) -> str:
        """The state of a run."""
        if id_ in self._running:
            return self.records[id_].state if id_ in self.records else State.STARTED
        return self.records[id_].state if id_ in self.records else State.PENDING

    def wait(self, id_: str) -> ResultRecord:
        """
        The record of a run that is over, which is run first if it waits.

        Raises:
            ResultTimeoutError: It will never be over: nobody asked for it here, it keeps no result, or it waits for itself.
        """
        if any(message.id == id_ for _, message in self._pending):
            self.drain()
        record = self.records.get(id_)
        if record is None or id_ in self._running:
            raise ResultTimeoutError(
                f"run {id_} will not be over: within eager() there is no such run, it keeps no result, or it waits for itself"
            )
        return record

    def cancel(self, id_: str) -> CancelReply:
        """Revoke a run that waits."""
        for item in list(self._pending):
            home, message = item
            if message.id == id_:
                self._pending.remove(item)
                self._ended(self._executor(home).revoked(Message(message.id, message.body)))
                return CancelReply.REVOKED
        return CancelReply.REQUESTED if id_ in self._running else CancelReply.ENDED

    def _run(self, home: Home, message: NewMessage) -> None:
        executor, body, attempt, before_ms = self._executor(home), message.body, 1, self._ahead_ms
        self._running.append(message.id)
        if message.at_ms:
            self._ahead_ms = message.at_ms - clock.now_ms()
        try:
            while True:
                self._count(message.body)
                self._check_thread(message.body)
                became = executor.run(Message(message.id, body, attempt))
                if isinstance(became, Outcome):
                    break
                if isinstance(became, Retried):
                    body, attempt = became.body, became.attempt
                    self.retries.append(Again(became.task, became.delay_ms / 1000, became.error))
                    if became.result:
                        self.records[message.id] = _kept(message.id, became.result)
                elif decode_header(message.body)[0].task not in self._tasks():
                    self._unknown(decode_header(message.body)[0].task)
                self._ahead_ms += became.delay_ms
        finally:
            self._running.remove(message.id)
            self._ahead_ms = before_ms
        self._ended(became)

    def _ended(self, outcome: Outcome) -> None:
        self.runs.append(_decode_run(outcome.run))
        if not outcome.result:
            self.records.pop(outcome.id, None)
            return
        record = self.records[outcome.id] = _kept(outcome.id, outcome.result)
        if record.state != State.FAILURE:
            return
        error = rebuild_exception(record)
        if self.runs[-1].error.partition(":")[0] == "KeyboardInterrupt":
            raise KeyboardInterrupt
        if self._propagate:
            raise error

    def _executor(self, home: Home) -> Executor:
        return Executor(self._tasks(), _unsigned(home.config), worker=WORKER, server_ms=self.now_ms, chance=lambda: 1.0)

    def _tasks(self) -> dict[str, Task]:
        return {name: task for declared in reversed(self._declared) for name, task in declared.tasks.items()}

    def _count(self, body: bytes) -> None:
        self._attempts += 1
        if self._attempts > ATTEMPTS_MAX:
            task = decode_header(body)[0].task
            raise RuntimeError(
                f"eager: more than {ATTEMPTS_MAX} attempts; does task {task!r} call itself, or retry for ever?"
            )

    def _check_thread(self, body: bytes) -> None:
        task = self._tasks().get(decode_header(body)[0].task)
        limited = task is not None and task.options.soft_time_limit_ms is not None
        if limited and threading.current_thread() is not threading.main_thread():
            raise RuntimeError(
                f"eager: task {decode_header(body)[0].task!r} has a soft_time_limit, which is an alarm; "
                "call it in the main thread"
            )

    def _unknown(self, task: str) -> NoReturn:
        known = self._tasks()
        raise UnknownTaskError(
            f"eager: there is no task {task!r} in this process{nearest(task, known)}; import it, or give its App: eager(app)"
        )


class _Always(Eager):
    """
    What runs in a process with the setting `task_always_eager`: for as long as it lives, in any of its threads, one at a time.

    It remembers the newest `REMEMBERED` runs. Soft time limits are kept in the main thread only, and passed over elsewhere.
    """

    def __init__(self, declared: Sequence[Declarations], *, propagate: bool) -> None:
        super().__init__(declared, propagate=propagate)
        self._lock = threading.RLock()

    def send(self, home: Home, messages: Sequence[NewMessage]) -> Enqueued:
        """See `Eager.send`."""
        with self._lock:
            accepted = super().send(home, messages)
            self._attempts = 0
            del self.retries[:-REMEMBERED]
            for run in self.runs[:-REMEMBERED]:
                self.records.pop(run.id, None)
            del self.runs[:-REMEMBERED]
        return accepted

    def wait(self, id_: str) -> ResultRecord:
        """See `Eager.wait`."""
        with self._lock:
            return super().wait(id_)

    def _executor(self, home: Home) -> Executor:
        in_main = threading.current_thread() is threading.main_thread()
        guard = None if in_main else lambda _limit_ms: nullcontext()
        return Executor(
            self._tasks(), _unsigned(home.config), worker=WORKER, server_ms=self.now_ms, chance=lambda: 1.0, guard=guard
        )

    def _check_thread(self, body: bytes) -> None:
        """See the class."""


def always_eager(home: Home, declared: Sequence[Declarations], *, propagate: bool) -> Any:
    """What stands in the place of the store of *home*, so that its calls run at once in this process."""
    return _EagerStore(_Always(declared, propagate=propagate), home)


def apply(task: Task, home: Home, messages: Sequence[NewMessage], *, propagate: bool) -> AsyncResult:
    """
    Run *task* here and now, and only it: what it calls itself goes where it would go from a worker.

    Args:
        messages: The call, made for *home*.
    """
    stage = Eager([_Only(task)], propagate=propagate)  # type: ignore[list-item]
    stage.send(home, messages)
    return AsyncResult(messages[0].id, _EagerHome(home, stage))


class _Only:
    """Declarations of one task."""

    def __init__(self, task: Task) -> None:
        self.tasks = {task.name: task}


class _EagerHome(Home):
    """Settings of the real home, and the stage instead of Redis."""

    def __init__(self, real: Home, stage: Eager) -> None:
        super().__init__(lambda: real.config, role=WORKER)
        self._stage = stage
        self._store: Any = _EagerStore(stage, self)

    def server_now_ms(self) -> int:
        """The stage's clock."""
        return self._stage.now_ms()

    @property
    def is_open(self) -> bool:
        """Nothing is ever sent, so the settings may change."""
        return False

    def close(self) -> None:
        """There is nothing to let go of."""


class _EagerStore:
    """The part of a store that calls and results need."""

    def __init__(self, stage: Eager, home: Home | None = None) -> None:
        self._stage = stage
        self._home = home

    @property
    def queues(self) -> _EagerStore:
        """As `Store.queues`."""
        return self

    @property
    def results(self) -> _EagerStore:
        """As `Store.results`."""
        return self

    def enqueue(self, messages: Sequence[NewMessage], *, call_id: str) -> Enqueued:  # noqa: ARG002 - the store's signature
        """See `Queues.enqueue`."""
        assert self._home is not None
        return self._stage.send(self._home, messages)

    def cancel(self, id_: str, *, terminate: bool = False) -> CancelReply:  # noqa: ARG002 - the store's signature
        """See `Queues.cancel`."""
        return self._stage.cancel(id_)

    def time_ms(self) -> float:
        """See `Queues.time_ms`."""
        return self._stage.now_ms()

    def get(self, id_: str) -> ResultRecord | None:
        """See `Results.get`."""
        return self._stage.records.get(id_)

    def state(self, id_: str) -> str:
        """See `Results.state`."""
        return self._stage.state(id_)

    def put_state(self, id_: str, state: str, meta: bytes, ttl_ms: int, *, session: str | None = None) -> None:  # noqa: ARG002 - the store's signature
        """See `Results.put_state`."""
        self._stage.records[id_] = ResultRecord(state=state, meta=msgspec.Raw(meta))

    def forget(self, id_: str) -> None:
        """See `Results.forget`."""
        self._stage.records.pop(id_, None)

    def wait(self, id_: str, timeout_s: float | None) -> ResultRecord:  # noqa: ARG002 - the store's signature
        """See `Results.wait`."""
        return self._stage.wait(id_)

    def __getattr__(self, name: str) -> NoReturn:
        raise AttributeError(
            f"within eager() there is no Redis, so no {name!r}; the fixture `sched_app` of scheduler.testing.pytest has one"
        )


def _kept(id_: str, data: bytes) -> ResultRecord:
    return decode_record(id_, data, seal=None, bytes_max=RESULT_BYTES_MAX)


def _unsigned(config: Config) -> Config:
    """*config* for what never leaves this process: nothing is signed."""
    return config if config.signing_key_file is None else msgspec.structs.replace(config, signing_key_file=None)


RESULT_BYTES_MAX = 2**31
_decode_run = msgspec.json.Decoder(Run).decode
