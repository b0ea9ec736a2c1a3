"""Redis refuses: exit 69, one line, no password."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.integration.cli.conftest import Sched
from tests.support.server import DebianRedis


@pytest.fixture
def guarded() -> Iterator[DebianRedis]:
    """A server with a password."""
    if not DebianRedis.installed():
        pytest.skip("Debian's redis-server is not installed (apt-get install redis-server)")
    redis = DebianRedis("--requirepass", "right-secret")
    redis.start()
    yield redis
    redis.remove()


@pytest.fixture
def evicting() -> Iterator[DebianRedis]:
    """A server that may drop keys."""
    if not DebianRedis.installed():
        pytest.skip("Debian's redis-server is not installed (apt-get install redis-server)")
    redis = DebianRedis("--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru")
    redis.start()
    yield redis
    redis.remove()


def test_a_wrong_password_is_exit_69_and_never_shown(sched: Sched, guarded: DebianRedis) -> None:
    url = guarded.url.replace("unix://", "unix://:wrong-secret@")
    for command in (["list"], ["status"], ["call", "a.b"]):
        said = sched(*command, "--redis-url", url)
        assert (said.code, said.out) == (69, "")
        assert said.err.count("\n") == 1
        assert "password" in said.err
        assert "wrong-secret" not in said.err
    assert sched("list", "--redis-url", url.replace("wrong", "right")).code == 0


def test_a_server_that_evicts_is_refused_with_the_remedy(sched: Sched, evicting: DebianRedis) -> None:
    said = sched("list", "--redis-url", evicting.url)
    assert (said.code, said.out) == (69, "")
    assert "allkeys-lru" in said.err
    assert "noeviction" in said.err
