"""The units: systemd itself reads them, finds nothing to complain about, and calls them well shut in."""

from __future__ import annotations

import configparser
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import click
import pytest

from scheduler.cli.group import Sched
from scheduler.cli.invocation import Invocation
from scheduler.config import load_config
from scheduler.timing.duration import parse_duration_ms

FOLDER = Path(__file__).parents[2] / "systemd"
SCHED = "/opt/steadybeat/.venv/bin/sched"
SERVICES = ["sched-beat.service", "sched-worker@.service"]

needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None,
    reason="there is no systemd-analyze here (Debian: apt install systemd)",
)


def analyze(*arguments: str | Path, units: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["systemd-analyze", *map(str, arguments)],
        env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "SYSTEMD_UNIT_PATH": f"{units}:", "LC_ALL": "C.UTF-8"},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def settings(unit: str) -> dict[str, str]:
    """The settings of the `[Service]` section; of those that stand twice, the last."""
    parser = configparser.RawConfigParser(strict=False, delimiters=("=",), comment_prefixes=("#",))
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    parser.read(FOLDER / unit)
    return dict(parser["Service"])


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """The units with a program that exists, as on a host where Steadybeat is installed."""
    for unit in FOLDER.glob("sched*"):
        text = unit.read_text()
        (tmp_path / unit.name).write_text(text.replace(SCHED, "/bin/true"))
    return tmp_path


@needs_systemd
@pytest.mark.parametrize("unit", ["sched.target", *SERVICES])
def test_systemd_reads_every_unit_without_a_complaint(unit: str, installed: Path) -> None:
    """A misspelt setting is only a warning to systemd, and then it is not in force."""
    done = analyze("verify", "--man=no", installed / unit, units=installed)

    assert (done.stdout + done.stderr, done.returncode) == ("", 0)


@needs_systemd
def test_the_check_above_would_find_a_misspelt_setting(installed: Path) -> None:
    """The control: silence means that systemd looked, and not that it did not."""
    unit = installed / SERVICES[0]
    unit.write_text(unit.read_text().replace("WatchdogSec=", "WatchDogSeconds="))

    assert "WatchDogSeconds" in analyze("verify", "--man=no", unit, units=installed).stderr


@needs_systemd
@pytest.mark.parametrize("unit", SERVICES)
def test_every_service_is_shut_in(unit: str) -> None:
    """An exposure of at most 2.0 (of 10), as systemd computes it."""
    done = analyze("security", "--offline=yes", "--threshold=20", FOLDER / unit, units=FOLDER)

    assert done.returncode == 0, done.stdout[-200:]
    assert re.search(r"Overall exposure level for .*: [01]\.\d", done.stdout)


@pytest.mark.parametrize("unit", SERVICES)
def test_the_program_is_called_as_it_wants_to_be(unit: str) -> None:
    """A renamed flag would keep a whole fleet from starting."""
    program, name, *arguments = shlex.split(settings(unit)["ExecStart"].replace("%i", "reports").replace("%H", "host"))
    assert program == SCHED

    sched = Sched()
    with click.Context(sched, obj=Invocation()) as context:
        command = sched.get_command(context, name)
        assert command is not None
        command.make_context(name, arguments, parent=context)


@pytest.mark.parametrize("unit", SERVICES)
def test_systemd_waits_for_us_and_never_gives_up(unit: str) -> None:
    """READY and the watchdog come from the process itself; a crash is a restart, a mistake in the settings is not."""
    service = settings(unit)

    assert (service["Type"], service["Restart"], service["KillMode"]) == ("notify", "always", "mixed")
    assert service["RestartPreventExitStatus"] == "2"
    assert "StartLimitIntervalSec=0" in (FOLDER / unit).read_text()
    assert service["LoadCredential"].startswith("redis-password:")


def test_times_in_the_units_leave_room_for_ours(tmp_path: Path) -> None:
    """systemd must not kill a worker within its grace, nor a beat before it let go of its term by itself."""
    config = load_config(environ={}, cwd=tmp_path)
    beat, worker = map(settings, SERVICES)

    assert parse_duration_ms(worker["TimeoutStopSec"], what="TimeoutStopSec") > config.grace_ms + 10_000
    letting_go_ms = config.stall_ms + config.leader_lease_ms + config.store_timeout_ms
    assert parse_duration_ms(beat["WatchdogSec"], what="WatchdogSec") > letting_go_ms
    assert (
        parse_duration_ms(worker["WatchdogSec"], what="WatchdogSec") > config.worker_lease_ms + config.store_timeout_ms
    )


def test_every_line_of_the_example_environment_is_a_setting(tmp_path: Path) -> None:
    """Those that are commented out too: people take away the sign and expect it to work."""
    lines = re.findall(r"^#?(SCHED_\w+)=(.*)$", (FOLDER / "sched.env.example").read_text(), flags=re.MULTILINE)
    assert len(lines) > 8
    for name, value in lines:
        load_config(environ={name: value}, cwd=tmp_path)
