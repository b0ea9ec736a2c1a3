"""docs/coming-from-celery.md says what the code does: its tables are the code's, and what it names is there."""

from __future__ import annotations

import importlib
import re

import click
import pytest

from scheduler import App, Task
from scheduler.cli.commands import CELERYS, COMMANDS, WORKER_COMMANDS
from scheduler.cli.group import Sched
from scheduler.control import Control, Inspect
from scheduler.options import TASK_OPTIONS
from tests.support.celery_page import OPTION_REMARKS, PAGE, REMARKS, tables, with_tables

TEXT = PAGE.read_text("utf-8")
APP = App("page", broker="redis://localhost:1")


def test_its_tables_are_those_of_the_code() -> None:
    """``python -m tests.support.celery_page`` writes them anew."""
    assert with_tables(TEXT) == TEXT


def test_nothing_is_said_of_what_is_not_there() -> None:
    told = tables()
    assert [name for name in REMARKS if f"| `{name}` |" not in told["settings"]] == []
    assert [name for name in OPTION_REMARKS if f"| `{name}` |" not in told["options"]] == []


def test_every_import_it_tells_works() -> None:
    for line in re.findall(r"^\| `celery.*?`.*\| (.+) \|$", TEXT, re.MULTILINE):
        for module in re.findall(r"`(scheduler[.\w]*)`", line):
            importlib.import_module(module)
    for before, names, home in re.findall(
        r"^\| `(celery[.\w]*|kombu)`: (?:`([\w ]+)`) \| `([.\w]+)`", TEXT, re.MULTILINE
    ):
        module = importlib.import_module(home)
        assert [name for name in names.split() if not hasattr(module, name)] == [], before
    [block] = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    exec(block, {})


def test_every_command_it_names_exists() -> None:
    for words in re.findall(r"`sched ([a-z][^`]*)`", TEXT):
        first, *rest = words.split()
        if first == "-A" or first.startswith("-"):
            continue
        assert first in COMMANDS, words
        if first == "worker" and rest and rest[0].isalpha() and rest[0].islower():
            assert rest[0] in WORKER_COMMANDS, words


@pytest.mark.parametrize("hint", CELERYS.values(), ids=list(CELERYS))
def test_every_hint_names_commands_that_exist(hint: str) -> None:
    for first, second in re.findall(r"sched ([a-z]+)(?: ([a-z]+)\|)?", hint):
        assert first in COMMANDS, hint
        assert not second or second in WORKER_COMMANDS, hint


def test_every_flag_it_names_is_a_flag() -> None:
    [flags] = re.findall(r"Flags with a meaning: `([^`]+)`", TEXT)
    command = Sched().get_command(click.Context(Sched()), "worker")
    assert command is not None
    known = {name for param in command.params for name in param.opts}
    assert set(flags.split()) <= known


def test_every_option_that_is_called_the_same_is_one() -> None:
    [names] = re.findall(r"Options that are called the same mean the same: `([^`]+)`", TEXT)
    assert set(names.split()) - set(TASK_OPTIONS) == {"name", "bind", "base"}


def test_every_name_of_the_app_is_there() -> None:
    [names] = re.findall(r"## The app\n\n`([^`]+)`", TEXT)
    assert [name for name in names.split() if not hasattr(APP, name)] == []
    [names] = re.findall(r"`app.control` has `([^`]+)`", TEXT)
    assert [name for name in names.split() if not hasattr(Control, name)] == []
    [names] = re.findall(r"`inspect\(\)` has `([^`]+)`", TEXT)
    assert [name for name in names.split() if not hasattr(Inspect, name)] == []


def test_what_stands_nowhere_in_it_is_not_refused_by_name() -> None:
    """A method of Celery's task that people use is there: the page need not list what simply works."""
    used = "delay apply_async apply retry request update_state s si signature run name max_retries app on_failure on_success on_retry"
    assert [name for name in used.split() if not hasattr(APP.task(name="t")(lambda: None), name)] == []
    assert issubclass(APP.Task, Task)
