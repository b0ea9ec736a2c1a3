"""What every test may use: a real server for the whole run, and a namespace of its own for each test."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from uuid import uuid4

import msgspec
import pytest
from hypothesis import HealthCheck, settings

from scheduler import declare
from scheduler.config import Config
from scheduler.store import Store, open_store
from tests.support.server import DebianRedis, ValkeyServer

OF_A_LOAD = ("schedules", "helpers_outside")

# A shell that starts the suite in the background leaves SIGINT ignored, and children inherit that: no Ctrl-C would reach them.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_configure(config: pytest.Config) -> None:
    """
    `make test` plays the same random examples each time, so that a change is judged by itself; the long forms play new ones.

    How long one of them takes says more of the machine than of us.
    """
    settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
    settings.register_profile("repeatable", settings.get_profile("patient"), derandomize=True)
    settings.load_profile("repeatable" if config.getoption("markexpr") == "not long" else "patient")


@pytest.fixture(autouse=True)
def _no_traces() -> Iterator[None]:
    """What loading schedule files leaves in the process (its finder, the path, the collector) ends with the test."""
    path, finders = list(sys.path), list(sys.meta_path)
    before = declare.set_current(None)
    yield
    declare.set_current(before)
    sys.path[:], sys.meta_path[:] = path, finders
    for name in [name for name in sys.modules if name.partition(".")[0] in OF_A_LOAD]:
        del sys.modules[name]


@pytest.fixture(scope="session")
def server() -> Iterator[ValkeyServer]:
    """The embedded server that most tests share. A test that stops or kills it starts one of its own."""
    server = ValkeyServer()
    server.start()
    yield server
    server.remove()


@pytest.fixture(scope="session")
def debian_redis() -> Iterator[DebianRedis]:
    """Debian's redis-server."""
    if not DebianRedis.installed():
        pytest.skip("Debian's redis-server is not installed (apt-get install redis-server)")
    redis = DebianRedis()
    redis.start()
    yield redis
    redis.remove()


@pytest.fixture
def own_server() -> Iterator[ValkeyServer]:
    """A server for a test that stops, pauses or kills it."""
    server = ValkeyServer()
    server.start()
    yield server
    server.remove()


@pytest.fixture
def config(server: ValkeyServer) -> Config:
    """Settings with a namespace that no other test has."""
    return Config(redis_url=server.url, namespace=f"t{uuid4().hex[:12]}")


@pytest.fixture
def own_config(own_server: ValkeyServer, config: Config) -> Config:
    """The same on the test's own server."""
    return msgspec.structs.replace(config, redis_url=own_server.url)


@pytest.fixture
def store(config: Config) -> Iterator[Store]:
    """A store in the test's namespace."""
    store = open_store(config, role="test")
    yield store
    store.close()
