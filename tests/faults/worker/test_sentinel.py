"""A primary dies and Sentinel promotes its replica: beat, worker and callers with a `redis+sentinel://` address go on."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec
import pytest

from scheduler.store import open_store
from scheduler.store.connection import Connection
from tests.integration.worker.lab import Lab
from tests.support.wait import wait_until

pytestmark = pytest.mark.skipif(
    shutil.which("redis-server") is None, reason="Debian's redis-server is not installed (apt-get install redis-server)"
)


class Watched(NamedTuple):
    """A primary, its replica and one Sentinel, each with its port."""

    processes: list[subprocess.Popen[bytes]]
    ports: list[int]

    @property
    def url(self) -> str:
        """By way of the Sentinel; a second one, which is not there, is passed over."""
        return f"redis+sentinel://127.0.0.1:1,127.0.0.1:{self.ports[2]}/main/0"

    def tell(self, nth: int, *command: str) -> bytes:
        """One command to the *nth* of them."""
        connection = Connection(f"redis://127.0.0.1:{self.ports[nth]}")
        try:
            return bytes(connection.call(*command))
        finally:
            connection.close()


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    """Real processes; the Sentinel gives the primary half a second."""
    ports = _free_ports(3)
    config = tmp_path / "sentinel.conf"
    config.write_text(
        f"port {ports[2]}\nsentinel monitor main 127.0.0.1 {ports[0]} 1\n"
        "sentinel down-after-milliseconds main 500\nsentinel failover-timeout main 5000\n"
    )
    data = ["--save", "", "--dir", str(tmp_path), "--repl-diskless-sync-delay", "0", "--port"]
    commands = [
        ["redis-server", *data, str(ports[0])],
        ["redis-server", *data, str(ports[1]), "--replicaof", "127.0.0.1", str(ports[0])],
        ["redis-server", str(config), "--sentinel"],
    ]
    watched = Watched([subprocess.Popen(command, stdout=subprocess.DEVNULL) for command in commands], ports)
    try:
        wait_until(lambda: b"master_link_status:up" in watched.tell(1, "INFO", "replication"), what="the replica")
        wait_until(lambda: b"slaves=1" in watched.tell(2, "INFO", "sentinel"), timeout_s=20, what="the Sentinel")
        yield watched
    finally:
        for process in watched.processes:
            process.kill()
            process.wait()


def _free_ports(n: int) -> list[int]:
    servers = [socket.create_server(("127.0.0.1", 0)) for _ in range(n)]
    ports = [server.getsockname()[1] for server in servers]
    for server in servers:
        server.close()
    return ports


def test_a_worker_follows_a_failover(watched: Watched, tmp_path: Path) -> None:
    """P11: what ran goes on, its result arrives at the new primary, and new calls run there."""
    lab = Lab(watched.url, tmp_path)
    try:
        worker = lab.worker()
        running = lab.send("hold", lab.path("held"), lab.path("go"))
        lab.wait_lines("held", 1)
        wait_until(lambda: _acknowledged(watched), what="the replica to have it all")
        watched.processes[0].kill()
        wait_until(lambda: b"role:master" in watched.tell(1, "INFO", "replication"), timeout_s=30, what="the failover")
        began = time.monotonic()
        lab.let_go()
        patient = open_store(msgspec.structs.replace(lab.config, store_timeout_ms=10_000), role="test-patient")
        assert patient.results.wait(running, 20).state == "SUCCESS"
        patient.close()
        assert lab.value(lab.send("add", 1, 1)) == 2
        assert time.monotonic() - began < 20
        assert lab.lines("held") == ["x"]
        assert worker.running
    finally:
        lab.close()


def _acknowledged(watched: Watched) -> bool:
    """Whether the replica has what the primary has (it acknowledges once a second)."""
    info = watched.tell(0, "INFO", "replication").decode()
    values = dict(line.split(":", 1) for line in info.splitlines() if ":" in line)
    return f"offset={values['master_repl_offset']}," in values["slave0"]
