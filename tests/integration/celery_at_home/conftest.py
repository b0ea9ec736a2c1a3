"""Somebody's program: files in a folder of its own, workers and scripts that are started there as people start them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from scheduler.config import Config
from tests.support.wait import wait_until


class Program:
    """
    A program that was written for Celery.

    Its files are as in the guides, but for the import lines and the address of the broker (`URL_OF_REDIS` stands for it).
    """

    def __init__(self, folder: Path, config: Config) -> None:
        self.folder = folder
        self._url = config.redis_url
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("SCHED_", "CELERY"))}
        self.environ = clean | {
            "SCHED_NAMESPACE": config.namespace,
            "PYTHONPATH": str(folder),
            "SCHED_WORKER_LEASE": "1s",
        }
        self.processes: list[subprocess.Popen[bytes]] = []

    def write(self, name: str, text: str) -> None:
        """Write one file."""
        file = self.folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        for folder in file.relative_to(self.folder).parents:
            if folder.name:
                (self.folder / folder / "__init__.py").touch()
        file.write_text(textwrap.dedent(text).replace("URL_OF_REDIS", repr(self._url)), encoding="utf-8")

    def sched(self, *words: str, code: int = 0) -> str:
        """One call of `sched` to its end; what it printed."""
        done = subprocess.run(
            [sys.executable, "-m", "scheduler.cli", *words], cwd=self.folder, env=self.environ, capture_output=True, text=True,
            timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode == code, done.stderr
        return done.stdout if code == 0 else done.stderr

    def data(self, *words: str) -> Any:
        """What it says as JSON."""
        return json.loads(self.sched(*words, "-o", "json"))

    def start(self, *words: str, log: str = "worker.log", ready: str = "worker.ready") -> subprocess.Popen[bytes]:
        """Start `sched` and wait until its log says that it is ready."""
        with (self.folder / log).open("ab") as file:
            process = subprocess.Popen(
                [sys.executable, "-m", "scheduler.cli", *words], cwd=self.folder, env=self.environ, stdout=file, stderr=file,
                start_new_session=True,
            )  # fmt: skip
        self.processes.append(process)
        wait_until(lambda: ready in self.log(log) or process.poll() is not None, timeout_s=30, what=f"{ready} in {log}")
        assert process.poll() is None, self.log(log)
        return process

    def log(self, name: str = "worker.log") -> str:
        """What it has logged."""
        file = self.folder / name
        return file.read_text("utf-8") if file.exists() else ""

    def python(self, text: str) -> str:
        """What is typed into a shell in the folder; what that printed."""
        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(text)], cwd=self.folder, env=self.environ, capture_output=True, text=True,
            timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr + self.log()
        return done.stdout

    def close(self) -> None:
        """End everything."""
        for process in self.processes:
            if process.poll() is None:
                process.send_signal(signal.SIGQUIT)
        for process in self.processes:
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@pytest.fixture
def program(tmp_path: Path, config: Config) -> Iterator[Program]:
    """In a folder and a namespace of its own."""
    program = Program(tmp_path, config)
    yield program
    program.close()
