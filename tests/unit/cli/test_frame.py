"""The frame: help, wrong usage, exit codes, output. No Redis."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import click
import pytest

from scheduler.cli.commands import COMMANDS
from scheduler.cli.exits import Exit, redact
from scheduler.cli.group import Command, Sched
from scheduler.cli.main import main
from scheduler.cli.output import Column, fitting, plain


def sched(*args: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """`sched` as a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "scheduler.cli", *args],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        env={**os.environ, **environment},
    )


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_of_the_table_is_there_and_explains_itself(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The table is written by hand; nothing in it may lead nowhere."""
    command = Sched().get_command(click.Context(Sched()), name)
    assert isinstance(command, Command), f"{name}: use cls=Command, for the options of every command"
    assert main([name, "--help"]) == Exit.OK
    out, err = capsys.readouterr()
    assert "Options of every command" in out
    assert err == ""


def test_the_help_imports_no_command(tmp_path: Path) -> None:
    """`sched --help` is what people wait for most often."""
    code = (
        "import sys; from scheduler.cli.main import main; main(['--help']);"
        "heavy = {'redis', 'rich', 'msgspec', 'apscheduler', 'dateutil', 'scheduler.store', 'scheduler.timing'};"
        "sys.exit(', '.join(heavy & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("args", "complaint"),
    [
        (["lst"], "there is no command 'lst'; did you mean list?"),
        (["next", "--fro", "x"], "there is no option --fro; did you mean"),
        (["next"], "give the name of an entry, or an expression with --cron"),
        (["next", "x", "--cron", "* * * * *"], "give the name of an entry, or an expression with --cron"),
        (["next", "--cron", "61 * * * *"], "minute 61 is outside 0–59"),
        (["next", "--cron", "* * * * *", "--tz", "Europe/Berlim"], "'Europe/Berlim' is not known"),
        (["--tz", "Mars", "next", "--cron", "* * * * *"], "'Mars' is not known"),
        (["next", "--cron", "* * * * *", "--from", "soon"], "--from 'soon' is not a moment"),
        (["next", "--cron", "* * * * *", "-n", "0"], "0 is not in the range"),
        (["next", "--cron", "* * * * *", "-o", "yaml"], "'yaml' is not one of"),
        (["list", "--namespace", "a b"], "namespace 'a b'"),
        (["list", "--redis-url", "ftp://u:secret@h"], "ftp://u:***@h"),
        (["list", "--config", "/does/not/exist.toml"], "/does/not/exist.toml: cannot be read"),
        (["trigger", "x", "--args", "nope"], "--args 'nope' is not JSON"),
        (["trigger", "x", "--args", "{}"], "expected JSON like '[5, \"x\"]'"),
        (["trigger", "x", "--kwargs", "[]"], 'expected JSON like \'{"to": "all"}\''),
        (["trigger", "x", "--timeout", "5 minutes"], "--timeout '5 minutes' is not a duration"),
        (["call", "x", "--countdown", "-1s"], "--countdown '-1s' is negative"),
        (["call", "x", "--priority", "12"], "12 is not in the range"),
        (["runs", "-n", "x"], "'x' is not a valid integer"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_2(
    args: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """P12: a wrong argument gets one clear error. Nothing was printed that a program could take for data."""
    assert main(args) == Exit.USAGE
    out, err = capsys.readouterr()
    assert out == ""
    assert complaint in err
    assert err.startswith("sched: ")
    assert err.count("\n") == 1
    assert "secret" not in err


def test_all_mistakes_in_the_settings_are_told_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A line for each complaint, each beginning like every message of ours."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sched.toml").write_text('horizn = "15s"\ntimezone = "Mars"\n', encoding="utf-8")
    assert main(["list"]) == Exit.USAGE
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert all(line.startswith("sched: sched.toml: ") for line in lines)


def test_without_arguments_the_help_is_shown_and_the_exit_code_says_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == Exit.USAGE
    assert "Steer:" in capsys.readouterr().err


def test_no_redis_is_exit_69_with_the_address_and_a_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    socket_path = f"{tmp_path}/nobody.sock"
    monkeypatch.setenv("SCHED_STORE_TIMEOUT", "200ms")
    assert main(["list", "--redis-url", f"unix://{socket_path}"]) == Exit.NO_REDIS
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("sched: ")
    assert err.count("\n") == 1
    assert socket_path in err
    assert "--redis-url" in err


def test_options_of_every_command_may_stand_before_and_after_it(capsys: pytest.CaptureFixture[str]) -> None:
    """`sched -o json next` and `sched next -o json`: people type both. The later one wins."""
    rule = ["--cron", "0 9 * * *", "--from", "2026-11-21T00:00Z", "-n", "1"]
    printed = []
    for args in (
        ["-o", "json", "next", *rule],
        ["next", *rule, "-o", "json"],
        ["-o", "jsonl", "next", "-o", "json", *rule],
    ):
        assert main(args) == Exit.OK
        printed.append(capsys.readouterr().out)
    assert len(set(printed)) == 1
    expected = {
        "schedule": "0 9 * * *",
        "words": "At 09:00",
        "timezone": "UTC",
        "fires": ["2026-11-21T09:00:00.000Z"],
    }
    assert expected == json.loads(printed[0])


def test_the_fires_of_an_expression_are_in_its_zone_and_strictly_after_the_moment(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The hour that Berlin skips: a fixed time in the gap runs at its end."""
    args = ["--cron", "30 2 * * *", "--tz", "Europe/Berlin", "--from", "2026-03-28 02:30", "-n", "2", "-o", "jsonl"]
    assert main(["next", *args]) == Exit.OK
    fires = json.loads(capsys.readouterr().out)["fires"]
    assert fires == ["2026-03-29T01:00:00.000Z", "2026-03-30T00:30:00.000Z"]


def test_a_table_in_a_pipe_is_aligned_text_without_colours(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["next", "--cron", "0 9 * * *", "--from", "2026-11-21", "-n", "2"]) == Exit.OK
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "FIRES" in out
    assert "Sat 2026-11-21 09:00:00 UTC  2026-11-21T09:00:00.000Z" in out


def test_empty_cells_keep_the_columns_countable() -> None:
    """`awk '{print $3}'` must find the third column on every line."""
    rows = [["A", "B", "C"], ["", "x", "y"], ["long", "", "z"]]
    assert plain(rows).splitlines() == ["A     B  C", "-     x  y", "long  -  z"]


def test_a_narrow_terminal_costs_spare_columns_and_no_cell_is_cut() -> None:
    """`SU…` is no state, and half an id cannot be copied."""

    def cell(item: str) -> str:
        return item

    columns = [
        Column("A", cell),
        Column("B", cell, spare=True),
        Column("C", cell, spare=True),
        Column("D", cell, wide=True),
    ]
    widths = [30, 10, 10, 60]
    assert fitting(columns, widths, 120) == [0, 1, 2, 3]
    assert fitting(columns, widths, 70) == [0, 1, 3]
    assert fitting(columns, widths, 50) == [0, 3]
    assert fitting(columns, widths, 10) == [], "then plain lines, which the terminal wraps"


def test_on_a_terminal_states_have_colours_unless_they_are_unwanted(tmp_path: Path) -> None:
    """NO_COLOR (no-color.org)."""
    command = f"{sys.executable} -m scheduler.cli next --cron '0 9 * * *'"
    coloured = subprocess.run(["script", "-qc", command, "/dev/null"], capture_output=True, text=True, check=True)
    plainly = subprocess.run(
        ["script", "-qc", command, "/dev/null"],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "NO_COLOR": "1", "TERM": "dumb"},
    )
    assert "FIRES" in coloured.stdout
    assert "FIRES" in plainly.stdout
    assert "\x1b[" not in plainly.stdout


def test_a_reader_that_has_seen_enough_is_no_error() -> None:
    """`sched … | head -1` is quiet."""
    command = f"{sys.executable} -m scheduler.cli next --cron '* * * * *' -n 9000; echo code $? >&2"
    done = subprocess.run(
        ["bash", "-c", f"({command}) | head -1"], capture_output=True, text=True, timeout=30, check=False
    )
    assert done.stdout == "schedule: * * * * *\n"
    assert done.stderr == "code 0\n"


def test_an_error_of_ours_is_one_line_unless_debugging(tmp_path: Path) -> None:
    """A traceback is for those who asked for it."""
    args = ("next", "--cron", "61 * * * *", "--namespace", "n")
    assert "Traceback" not in sched(*args).stderr
    debugged = sched(*args, SCHED_DEBUG="1").stderr
    assert "Traceback" in debugged
    assert "minute 61 is outside" in debugged


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("redis://:pw@h/0", "redis://:***@h/0"),
        ("rediss://u:p@ss@h refused", "rediss://u:***@h refused"),
        ("unix:///run/x.sock", "unix:///run/x.sock"),
        ("redis://h:6379/0", "redis://h:6379/0"),
    ],
)
def test_no_password_leaves_in_a_message(text: str, expected: str) -> None:
    assert expected == redact(text)
