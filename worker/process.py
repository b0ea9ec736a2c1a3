"""One worker's life, whatever its pool: boot, loop, drain, exit."""

from __future__ import annotations

import logging
import os
import re
import select
import socket
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Protocol

import msgspec

from scheduler.clock import now_ms
from scheduler.config import POOLS, Config, default_concurrency
from scheduler.errors import ConfigError, StoreRefusedError, StoreUnavailableError
from scheduler.log import event
from scheduler.model import Entry
from scheduler.notify import notify
from scheduler.routing import chosen_queues
from scheduler.store import open_store
from scheduler.store.sessions import Way, WorkerInfo
from scheduler.task import Task
from worker import hooks, unit
from worker.keeper import PROBE_S, Keeper
from worker.pools import POOLS as CAN
from worker.signals import Signals, Stop
from worker.timers import wake_exactly

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_NO_REDIS = 69
STORE_TIMEOUT_MS_MAX = 2_000
"""A supervisor that waits for Redis kills no task over its time limit, so it waits for less long than others."""

_logger = logging.getLogger("worker")


class Setting(msgspec.Struct, frozen=True, kw_only=True):
    """
    What a worker is to do.

    Attributes:
        queues: In the order in which they are asked.
        show_runs: Tell of each run that ends well, too (`run.finished`), and of each fire promoted on the way.
    """

    config: Config
    tasks: Mapping[str, Task]
    name: str
    queues: tuple[str, ...]
    concurrency: int
    pool: str
    show_runs: bool


class Pool(Protocol):
    """What differs between pools."""

    def loop(self) -> int:
        """Work until asked to stop; the exit code."""


def run_worker(
    config: Config,
    tasks: Mapping[str, Task],
    *,
    name: str | None = None,
    queues: Sequence[str] | str = (),
    exclude: Sequence[str] | str = (),
    entries: Iterable[Entry] = (),
    concurrency: int | None = None,
    pool: str | None = None,
    show_runs: bool = False,
) -> int:
    """
    Be a worker until told to stop. Call it from the main thread of a process without connections.

    Args:
        tasks: By name; their modules are imported already.
        name: Default: ``host-pid``.
        queues: What to take from, as names or as ``"a,b"``; see `scheduler.routing.chosen_queues` for the default.
        exclude: Never from these.
        entries: Where that default looks for queues.
        concurrency: How many children; default: the setting.
        show_runs: See `Setting`.

    Returns:
        The exit code: 0 after a stop, 1 if it cannot go on, 69 if Redis refuses to be worked with.

    Raises:
        ConfigError: An argument cannot be used, or there is nothing to run.
    """
    setting = _checked(
        Setting(
            config=config,
            tasks=tasks,
            name=name or f"{socket.gethostname()}-{os.getpid()}",
            queues=chosen_queues(config, take=queues, exclude=exclude, tasks=tasks, entries=entries),
            concurrency=concurrency
            or (config.concurrency if pool in (None, config.pool) else default_concurrency(str(pool))),
            pool=pool or config.pool,
            show_runs=show_runs or _logger.isEnabledFor(logging.DEBUG),
        )
    )
    sender = hooks.Sender(
        name=setting.name, pool=setting.pool, concurrency=setting.concurrency, queues=setting.queues, pid=os.getpid()
    )
    hooks.init_worker(sender, config)
    herald = hooks.Herald(sender, here=setting.pool == "solo")
    for what, remedy in config.open_secrets():
        event(_logger, "secret.open", level=logging.WARNING, what=what, remedy=remedy)
    with Signals() as signals:
        try:
            return _run(setting, signals, herald)
        finally:
            herald.shutdown()


def _run(setting: Setting, signals: Signals, herald: hooks.Herald) -> int:
    if setting.pool == "solo":
        from worker.solo import Solo  # noqa: PLC0415 - one pool is enough

        if setting.config.max_tasks_per_child or setting.config.max_memory_per_child:
            event(
                _logger,
                "limits.not_kept",
                level=logging.WARNING,
                note="pool solo has no child to replace: max_tasks_per_child and max_memory_per_child need another pool",
            )
        try:
            hooks.init_child()
        except hooks.ChildInitError:
            return EXIT_FAILED
        try:
            return Solo(setting, signals, make_keeper(setting), herald).loop()
        finally:
            hooks.end_child()
    from worker.supervisor import Supervisor  # noqa: PLC0415
    from worker.zygote import ZygoteDiedError  # noqa: PLC0415

    try:
        return Supervisor(setting, signals, herald).loop()
    except ZygoteDiedError:
        event(
            _logger,
            "worker.failed",
            level=logging.ERROR,
            error="the process that forks the children is gone, and they with it; what they ran will run again",
        )
        return EXIT_FAILED


def make_keeper(setting: Setting) -> Keeper:
    """The keeper of the session that the worker will open."""
    config = setting.config
    store = open_store(
        msgspec.structs.replace(config, store_timeout_ms=min(config.store_timeout_ms, STORE_TIMEOUT_MS_MAX)),
        role=f"worker-{re.sub(r'[^A-Za-z0-9_.@-]', '_', setting.name)}",
    )
    info = WorkerInfo(
        name=setting.name,
        host=socket.gethostname(),
        pid=os.getpid(),
        queues=setting.queues,
        concurrency=setting.concurrency,
        pool=setting.pool,
        version=_version(),
        started_ms=now_ms(),
    )
    rates = {
        name: task.options.rate_limit for name, task in setting.tasks.items() if task.options.rate_limit is not None
    }
    way = Way(strict=config.queue_order == "strict", priority_turns=config.priority_turns, rates=rates)
    return Keeper(store, config, info, watch=setting.show_runs, way=way)


def open_session(keeper: Keeper, signals: Signals) -> int | None:
    """
    Open the first session, however long Redis takes to come; None once it is open.

    Returns:
        An exit code: 0 if asked to stop meanwhile, 69 if Redis refuses.
    """
    wake_exactly()  # after the fork of the zygote: it is our timeouts that count
    while signals.stop is Stop.NO:
        try:
            if not keeper.away or keeper.probe():
                keeper.open()
                return None
        except StoreRefusedError as error:
            event(_logger, "worker.refused", level=logging.ERROR, error=str(error))
            return EXIT_NO_REDIS
        except StoreUnavailableError as error:
            keeper.lost(error)
            notify(f"STATUS=waiting for Redis: {error}")
        select.select([signals], [], [], PROBE_S)
        signals.drain()
    return EXIT_OK


def say_ready(setting: Setting, began_mono_s: float) -> None:
    """Tell systemd, and people; and have a look at what systemd will let us do."""
    unit.check_beside(setting.config.grace_ms)
    notify(f"READY=1\nSTATUS=taking from {', '.join(setting.queues)}")
    event(
        _logger,
        "worker.ready",
        name=setting.name,
        pool=setting.pool,
        concurrency=setting.concurrency,
        queues=",".join(setting.queues),
        tasks=len(setting.tasks),
        after_s=time.monotonic() - began_mono_s,
    )


class Heart:
    """Feeds systemd's watchdog, at most once a second, when something was completed."""

    def __init__(self, tell: Callable[[str], None] = notify) -> None:
        self._tell = tell
        self._next_mono_s = 0.0

    def beat(self, now_mono_s: float) -> None:
        """Something was completed."""
        if now_mono_s >= self._next_mono_s:
            self._next_mono_s = now_mono_s + 1.0
            self._tell("WATCHDOG=1")


def _checked(setting: Setting) -> Setting:
    complaints = []
    if setting.pool not in POOLS:
        complaints.append(f"pool {setting.pool!r}: this version has {', '.join(POOLS)}")
    elif not 1 <= setting.concurrency <= CAN[setting.pool].concurrency_max and setting.pool != "solo":
        most = CAN[setting.pool].concurrency_max
        complaints.append(f"concurrency {setting.concurrency}: pool {setting.pool} runs 1–{most} tasks at once")
    if not setting.tasks:
        complaints.append(
            "there is no task to run: put `@task` or `@schedule` functions into the schedules folder, "
            "or name modules with -A or the `imports` setting"
        )
    if complaints:
        raise ConfigError(complaints)
    return setting


def _version() -> str:
    try:
        return version("steadybeat")
    except PackageNotFoundError:
        return ""
