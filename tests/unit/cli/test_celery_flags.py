"""The flags of `celery worker` and `celery beat`: they work, are told in a line, or are refused; none is passed over in silence."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest

from scheduler.cli.celery_flags import expand, files_of, read_flags
from scheduler.cli.group import Sched
from scheduler.cli.invocation import Invocation
from scheduler.cli.main import main
from scheduler.errors import RefusedError

WORKER = """
-n --hostname -D --detach -S --statedb -l --loglevel -O --optimization --prefetch-multiplier --disable-prefetch -c --concurrency -P
--pool -E --task-events --events --time-limit --soft-time-limit --max-tasks-per-child --pool-start-method --max-memory-per-child
--purge --discard --queues -Q --exclude-queues -X --include -I --without-gossip --without-mingle --without-heartbeat
--heartbeat-interval --autoscale -B --beat -s --schedule-filename --schedule --scheduler --logfile -f --pidfile --uid --gid --umask
--executable
"""
"""All that `celery worker --help` of 5.7 lists."""
BEAT = """
--detach -s --schedule -S --scheduler --max-interval -n --hostname -l --loglevel --logfile -f --pidfile --uid --gid --umask
--executable
"""


@pytest.mark.parametrize(("command", "flags"), [("worker", WORKER), ("beat", BEAT)])
def test_every_flag_of_celery_is_known(command: str, flags: str) -> None:
    found = Sched().get_command(click.Context(click.Command("sched"), obj=Invocation()), command)
    assert found is not None
    known = {name for param in found.params for name in param.opts}
    assert set(flags.split()) - known == set()


def given(**said: Any) -> dict[str, Any]:
    """What click hands on."""
    return said


def test_flags_become_settings() -> None:
    flags = read_flags(
        given(
            max_tasks_per_child="100",
            task_time_limit="300",
            include="a, b",
            purge=True,
            pidfile="%n.pid",
            autoscale="10,3",
        )
    )
    assert flags.settings == {"max_tasks_per_child": "100", "task_time_limit": "300", "concurrency": 10}
    assert (flags.include, flags.purge, flags.pidfile, flags.logfile) == (("a", "b"), True, "%n.pid", None)


def test_a_flag_without_meaning_is_told_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    read_flags(
        given(celery_without_gossip=True, celery_optimization="fair", celery_task_events=False, celery_schedule=None)
    )
    told = capsys.readouterr().err.splitlines()
    assert told[0] == "sched: --without-gossip has no meaning here: workers do not talk to each other"
    assert told[1].startswith("sched: --optimization has no meaning here: prefetch counts milliseconds")
    assert len(told) == 2


@pytest.mark.parametrize(
    ("said", "complaint"),
    [
        ({"celery_detach": True}, "--detach: run it in the foreground, under systemd"),
        ({"celery_uid": "www"}, "--uid: run it in the foreground, under systemd .* with User= there"),
        ({"autoscale": "a,3"}, "--autoscale 'a,3': expected MAX,MIN"),
        ({"umask": "9"}, "--umask '9': expected an octal number"),
        ({"workdir": "/nowhere/at/all"}, "--workdir /nowhere/at/all: No such file"),
    ],
)
def test_what_cannot_be_had_is_refused(said: dict[str, Any], complaint: str) -> None:
    """A script that waits for `--detach` to return would wait for ever."""
    with pytest.raises(click.UsageError, match=complaint):
        read_flags(said)


@pytest.mark.parametrize(
    ("text", "expanded"),
    [
        ("worker1@%h", "worker1@mail.example.com"),
        ("%n", "mail"),
        ("w@%d", "w@example.com"),
        ("100%%h", "100%h"),
        ("%x%", "%x%"),
        ("/var/run/%n%I.pid", "/var/run/mail.pid"),
        ("plain", "plain"),
    ],
)
def test_names_may_have_celerys_abbreviations(text: str, expanded: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "mail.example.com")
    assert expand(text) == expanded
    assert expand("%n-%p", name="w1@mail.example.com") == "w1-w1@mail.example.com"


def test_a_pid_file_keeps_a_second_process_from_starting(tmp_path: Path) -> None:
    """And one that was left behind by a process that was killed keeps nobody from it."""
    flags = read_flags(given(pidfile=f"{tmp_path}/%n.pid"))
    with files_of(flags, name="w1@host"):
        assert (tmp_path / "w1.pid").read_text() == f"{os.getpid()}\n"
    assert list(tmp_path.iterdir()) == []
    other = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        (tmp_path / "w1.pid").write_text(f"{other.pid}\n")
        with pytest.raises(RefusedError, match=f"process {other.pid} is running; stop it first"):
            with files_of(flags, name="w1@host"):
                pass
    finally:
        other.communicate()
    with files_of(flags, name="w1@host"):
        assert (tmp_path / "w1.pid").read_text() == f"{os.getpid()}\n"


def test_a_command_of_celery_has_a_hint(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["multi", "start"]) == 2
    assert (
        "there is no command 'multi', which is Celery's; here: start one unit for each worker"
        in capsys.readouterr().err
    )


def test_global_options_of_celery_are_known(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NO_COLOR", "")
    assert main(["-q", "--no-color", "-b", "redis://localhost:1", "next", "--cron", "* * * * *"]) == 0
    assert os.environ["NO_COLOR"] == "1"
    assert capsys.readouterr().err.startswith("sched: --quiet has no meaning here")
