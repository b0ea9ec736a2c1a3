"""`App`: a Celery program's settings, its entries, and finding it by name."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from scheduler import App, Celery, declare
from scheduler.errors import ConfigError, InvalidEntryError
from scheduler.finding import find_app


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A working directory, a path and declarations of the test's own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield
    for name in ("tutorial", "tutorial_config", "broken_app", "two_apps"):
        sys.modules.pop(name, None)


def test_a_tutorials_program_runs_after_changing_its_import(tmp_path: Path) -> None:
    """The first pages of Celery's guide, word for word but for the import."""
    (tmp_path / "tutorial_config.py").write_text(
        "import os\nfrom datetime import timedelta\n"
        "task_serializer = 'json'\nresult_serializer = 'json'\naccept_content = ['json']\n"
        "timezone = 'Europe/Oslo'\nenable_utc = True\ntask_routes = {'tutorial.add': 'low-priority'}\n"
        "result_expires = timedelta(hours=1)\nworker_prefetch_multiplier = 1\n"
    )
    (tmp_path / "tutorial.py").write_text(
        "from scheduler import Celery\n"
        "app = Celery('tutorial', broker='redis://localhost:6379/0', backend='redis://localhost:6379/1')\n"
        "app.config_from_object('tutorial_config')\n"
        "@app.task\ndef add(x, y):\n    return x + y\n"
        "app.conf.beat_schedule = {'add-every-30-seconds': {'task': 'tutorial.add', 'schedule': 30.0, 'args': (16, 16)}}\n"
        "app.conf.timezone = 'UTC'\n"
    )
    app = find_app("tutorial")
    config = app.config
    assert (config.redis_url, config.timezone, config.result_expires_ms) == (
        "redis://localhost:6379/0",
        "UTC",
        3_600_000,
    )
    assert config.routes == {"tutorial.add": "low-priority"}
    assert app.tasks["tutorial.add"](2, 3) == 5
    assert [(one.name, one.task_name, one.when.text) for one in app.declared] == [
        ("add-every-30-seconds", "tutorial.add", app.declared[0].when.text)
    ]
    assert app.declared[0].place.file.endswith("tutorial.py")
    assert Celery is App


def test_settings_may_have_celerys_old_capitals() -> None:
    """`config_from_object` for programs of many years."""
    old = ModuleType("old")
    vars(old).update(
        BROKER_URL="redis://old/3", CELERY_TIMEZONE="Europe/Oslo", CELERY_DEFAULT_QUEUE="mail", UNRELATED=5
    )
    app = App()
    app.config_from_object(old)
    assert (app.config.redis_url, app.config.timezone, app.config.default_queue) == (
        "redis://old/3",
        "Europe/Oslo",
        "mail",
    )
    app = App()
    app.config_from_object({"CELERY_BROKER_URL": "redis://dj/1", "CELERY_TASK_DEFAULT_QUEUE": "dj"}, namespace="CELERY")
    assert (app.config.redis_url, app.config.default_queue) == ("redis://dj/1", "dj")


def test_settings_that_cannot_be_met_are_told_together() -> None:
    """Better a complaint than a worker that behaves otherwise than its settings say."""
    app = App(
        broker="pyamqp://guest:hunter2@localhost//", accept_content=["yaml"],
        task_acks_late="no", timezon="UTC",
    )  # fmt: skip
    with pytest.raises(ConfigError) as caught:
        _ = app.config
    told = sorted(line.partition(":")[0].partition(" ")[0] for line in caught.value.complaints)
    assert told == ["accept_content", "redis_url", "task_acks_late", "unknown"]
    assert "hunter2" not in str(caught.value) + repr(app.conf)
    assert "unknown setting 'timezon'; did you mean 'timezone'?" in caught.value.complaints


def test_the_last_word_counts_under_any_of_a_settings_names() -> None:
    """`sched --redis-url` over an App's own `broker`."""
    app = App(broker="redis://first")
    app.conf.update({"redis_url": "redis://second"})
    assert (app.conf.broker_url, app.config.redis_url) == ("redis://second", "redis://second")
    app.conf["broker_url"] = "redis://third"
    assert app.config.redis_url == "redis://third"
    assert app.conf.horizon == 15_000
    with pytest.raises(AttributeError, match="there is no setting 'horizn'; did you mean 'horizon'"):
        _ = app.conf.horizn


def test_settings_stand_once_something_was_sent() -> None:
    """Half of a program's messages on another Redis would be a riddle."""
    app = App(broker="redis://localhost:1")
    assert app.store is app.store
    with pytest.raises(ConfigError, match="settings of an app stand once something was sent"):
        app.conf.timezone = "UTC"
    app.close()
    app.conf.timezone = "UTC"


@pytest.mark.parametrize(
    ("said", "complaint"),
    [
        ({"x": 5}, "entry 'x' of beat_schedule: expected {'task': …, 'schedule': …}"),
        ({"x": {"task": "t", "schedule": 5, "arg": ()}}, "entry 'x' of beat_schedule: arg: expected task, schedule"),
    ],
)
def test_a_bad_beat_schedule_is_told(said: Any, complaint: str) -> None:
    """Where it is set."""
    with pytest.raises(InvalidEntryError) as caught:
        App().conf.beat_schedule = said
    assert str(caught.value).startswith(complaint)


def test_beat_schedule_takes_what_celery_takes() -> None:
    """Seconds, a timedelta or a crontab, and `options`."""
    app = App()
    app.conf.beat_schedule = {
        "a": {
            "task": "t",
            "schedule": timedelta(minutes=1),
            "kwargs": {"b": 1},
            "options": {"queue": "q", "expires": 15},
        }
    }
    [one] = app.declared
    assert (bytes(one.kwargs), one.options.queue) == (b'{"b":1}', "q")


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("", "expected module or module:app"),
        ("two_apps:", "expected module or module:app"),
        ("nowhere_at_all", "there is no module 'nowhere_at_all' here"),
        ("two_apps:third", "there is no 'third' in two_apps; it has first, second"),
        ("two_apps:number", "a int is no App, as is 'number' in two_apps; it has first, second"),
        ("two_apps", "two_apps has several Apps; say which: two_apps:first, two_apps:second"),
        ("broken_app", "broken_app cannot be imported: ZeroDivisionError: division by zero"),
        ("json", "there is no App in json; it has none (app = App(…))"),
    ],
)
def test_an_app_that_cannot_be_found_is_explained(tmp_path: Path, spec: str, said: str) -> None:
    """`-A` is the first thing that people get wrong."""
    (tmp_path / "two_apps.py").write_text("from scheduler import App\nfirst, second, number = App(), App(), 5\n")
    (tmp_path / "broken_app.py").write_text("1 / 0\n")
    with pytest.raises(ConfigError) as caught:
        find_app(spec)
    assert said in str(caught.value)


def test_the_first_app_of_a_program_is_its_default() -> None:
    """A bare `AsyncResult(id)` asks its Redis; a second App changes nothing."""
    first = App(broker="redis://first")
    App(broker="redis://second")
    assert declare.current() is first.declarations
