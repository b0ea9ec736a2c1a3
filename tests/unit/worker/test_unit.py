"""The systemd unit that a worker runs in. The real systemctl is not to be had in a test: a program of that name answers."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest

from worker.unit import Unit, check, check_beside, complaints, span_ms, unit_of

GOOD = {"TimeoutStopUSec": "45s", "KillMode": "mixed", "OOMPolicy": "continue"}


@pytest.mark.parametrize(
    ("cgroups", "unit"),
    [
        (
            "0::/system.slice/system-sched\\x2dworker.slice/sched-worker@mail.service\n",
            ("sched-worker@mail.service", False),
        ),
        ("0::/system.slice/sched.service/payload\n", ("sched.service", False)),
        ("12:pids:/x\n1:name=systemd:/system.slice/w.service\n0::/\n", ("w.service", False)),
        ("0::/user.slice/user-1000.slice/user@1000.service/app.slice/w.service\n", ("w.service", True)),
        ("0::/user.slice/user-1000.slice/user@1000.service/app.slice/vte-spawn-1.scope\n", None),
        ("0::/user.slice/user-1000.slice/session-3.scope\n", None),
        ("0::/\n", None),
        ("", None),
    ],
)
def test_the_cgroup_names_the_unit(cgroups: str, unit: tuple[str, bool] | None) -> None:
    """Of the system, or of a user; none in a terminal or a container."""
    assert unit_of(cgroups) == (None if unit is None else Unit(*unit))


@pytest.mark.parametrize(
    ("text", "ms"),
    [
        ("1min 30s", 90_000),
        ("45s", 45_000),
        ("1h 500ms", 3_600_500),
        ("0", None),
        ("infinity", None),
        ("", None),
        ("x", None),
    ],
)
def test_spans_are_read_as_systemd_prints_them(text: str, ms: int | None) -> None:
    """What cannot be read is no reason to complain."""
    assert span_ms(text) == ms


def test_a_unit_that_cuts_the_grace_short_is_told_with_its_remedy() -> None:
    """It would kill tasks in the middle of a deploy, and nobody would know why they ran twice."""
    assert complaints("w.service", GOOD, 30_000) == []
    (told,) = complaints("w.service", GOOD | {"TimeoutStopUSec": "10s"}, 30_000)
    assert "kills this worker 10s after it was told to stop" in told
    assert "set TimeoutStopSec=35s in w.service" in told
    assert complaints("w.service", GOOD | {"TimeoutStopUSec": "infinity"}, 30_000) == []
    (told,) = complaints("w.service", GOOD | {"KillMode": "control-group"}, 30_000)
    assert "set KillMode=mixed" in told
    (told,) = complaints("w.service", GOOD | {"OOMPolicy": "stop"}, 30_000)
    assert "set OOMPolicy=continue" in told


@pytest.fixture
def systemctl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Answers as the real one does, for a unit whose main process is this one."""
    program = tmp_path / "systemctl"
    program.write_text(
        f'#!/bin/sh\necho "$@" >> {tmp_path}/asked\n'
        f"echo MainPID=${{MAIN_PID:-{os.getpid()}}}\necho TimeoutStopUSec=10s\necho KillMode=mixed\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    return program


def test_systemctl_is_asked_about_our_unit_and_what_is_wrong_is_a_warning(
    systemctl: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """From the cgroup to the line in the log."""
    cgroup = tmp_path / "cgroup"
    cgroup.write_text("0::/user.slice/user@7.service/app.slice/w.service\n")
    check(30_000, cgroup=cgroup)
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "unit.unfit unit=w.service" in caplog.text
    asked = (tmp_path / "asked").read_text().split()
    assert asked == ["--user", "show", "--property=MainPID,TimeoutStopUSec,KillMode,OOMPolicy", "--", "w.service"]


def test_nothing_is_said_of_a_unit_that_is_not_ours_or_does_not_answer(
    systemctl: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job of cron.service has no say in how cron is stopped; and without systemd all is well."""
    cgroup = tmp_path / "cgroup"
    cgroup.write_text("0::/system.slice/cron.service\n")
    monkeypatch.setenv("MAIN_PID", "1")
    check(30_000, cgroup=cgroup)
    systemctl.write_text("#!/bin/sh\nexit 1\n")
    check(30_000, cgroup=cgroup)
    systemctl.unlink()
    check(30_000, cgroup=cgroup)
    check(30_000, cgroup=tmp_path / "nowhere")
    monkeypatch.delenv("INVOCATION_ID", raising=False)
    check_beside(30_000)
    assert caplog.records == []
