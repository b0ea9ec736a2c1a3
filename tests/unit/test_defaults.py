"""What a task's options come to: the settings below what it says itself, annotations above."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from scheduler import App
from scheduler.config import Config, load_config
from scheduler.defaults import in_force
from scheduler.errors import ConfigError
from scheduler.loader import load
from scheduler.model import Ack


def settings(**said: Any) -> Config:
    """These settings, read."""
    return load_config(overrides=said, environ={}, cwd="/nonexistent")


def test_without_a_word_from_the_settings_nothing_is_made() -> None:
    """A worker of ten thousand tasks keeps one value for all that say nothing."""
    first, _ = in_force(None, "a", {}, settings())
    assert in_force(None, "b", {}, settings())[0] is first


def test_settings_are_for_tasks_that_say_nothing_themselves() -> None:
    config = settings(
        task_time_limit="5m", task_soft_time_limit=240, task_ack="each", task_ignore_result=True, task_priority=3
    )
    options, _ = in_force(None, "a", {}, config)
    assert (
        options.time_limit_ms, options.soft_time_limit_ms, options.ack, options.ignore_result, options.priority,
    ) == (300_000, 240_000, Ack.EACH, True, None)  # fmt: skip
    own, _ = in_force(None, "a", {"priority": 0, "time_limit_ms": None, "ignore_result": False}, config)
    assert (own.priority, own.time_limit_ms, own.ignore_result, own.ack) == (0, None, False, Ack.EACH)


def test_a_soft_limit_of_the_settings_gives_way_to_a_shorter_hard_one() -> None:
    config = settings(task_time_limit=300, task_soft_time_limit=240)
    assert None is in_force(None, "a", {"time_limit_ms": 60_000}, config)[0].soft_time_limit_ms
    with pytest.raises(ConfigError, match="task 'a': soft_time_limit 10m must be shorter than time_limit 5m"):
        in_force(None, "a", {"soft_time_limit_ms": 600_000}, config)
    with pytest.raises(
        ConfigError, match="task_soft_time_limit 300000 ms must be shorter than task_time_limit 60000 ms"
    ):
        settings(task_time_limit=60, task_soft_time_limit=300)


def test_annotations_weigh_more_than_the_code() -> None:
    """Whoever runs a service need not own its code; the exact name weighs more than a glob (Celery's `task_annotations`)."""

    class Urgent:
        def annotate(self, task: Any) -> dict[str, Any] | None:
            return {"priority": 9} if task.name.endswith(".urgent") else None

    app = App(
        task_annotations=[
            {"shop.pay": {"time_limit": "10m"}, "shop.*": {"time_limit": "5m", "acks_late": False}},
            Urgent(),
        ],
        redis_url="redis://localhost:1",
    )
    pay = app.task(name="shop.pay", time_limit=1, priority=2)(lambda: None)
    urgent = app.task(name="shop.urgent")(lambda: None)
    assert pay.options.time_limit_ms == 1_000
    _ = app.config
    assert (pay.options.time_limit_ms, pay.options.ack, pay.options.priority) == (600_000, Ack.EARLY, 2)
    assert (urgent.options.time_limit_ms, urgent.options.priority) == (300_000, 9)
    late = app.task(name="shop.late")(lambda: None)
    assert late.options.time_limit_ms == 300_000


def test_a_hook_may_be_annotated() -> None:
    """Celery's guide: "You can change methods too, for example the on_failure handler"."""
    seen = []

    def my_on_failure(self: Any, exc: BaseException, *_: Any) -> None:
        seen.append((self.name, exc))

    app = App(task_annotations={"*": {"on_failure": my_on_failure}}, redis_url="redis://localhost:1")
    f = app.task(name="f")(lambda: None)
    config = app.config
    f.settle(config)
    error = KeyError("x")
    f.on_failure(error, "id", (), {}, None)
    assert [("f", error)] == seen
    assert sum(kind.__dict__.get("on_failure") is my_on_failure for kind in type(f).__mro__) == 1


@pytest.mark.parametrize(
    ("annotations", "said"),
    [
        ({"*": {"time_limt": 5}}, "task_annotations: task 'f': unknown option 'time_limt'; did you mean 'time_limit'"),
        ({"f": {"priority": 11}}, "task_annotations: task 'f': priority 11: outside 0–9"),
        ({"f": 5}, "task_annotations: 'f': 5: expected options, as in {'reports.*': {'time_limit': '5m'}}"),
        ("five", "task_annotations 'five': expected task names or globs with options"),
    ],
)
def test_an_annotation_that_cannot_be_used_is_named(annotations: Any, said: str) -> None:
    app = App(task_annotations=annotations, redis_url="redis://localhost:1")
    app.task(name="f")(lambda: None)
    with pytest.raises(ConfigError) as caught:
        _ = app.config
    assert said in str(caught.value)


def test_a_rate_limit_of_the_settings_and_none_at_all() -> None:
    """Celery's `task_default_rate_limit` and `worker_disable_rate_limits`."""
    app = App(broker="redis://localhost:1", task_default_rate_limit="10/m")
    slow, own = app.task(name="a")(lambda: None), app.task(name="b", rate_limit="5/s")(lambda: None)
    _ = app.config
    assert [str(task.options.rate_limit) for task in (slow, own)] == ["10/m", "5/s"]
    app.conf.CELERY_DISABLE_RATE_LIMITS = True
    _ = app.config
    assert [task.options.rate_limit for task in (slow, own)] == [None, None]


def test_early_is_no_default_for_a_task_that_asks_to_be_repeated() -> None:
    config = settings(task_ack="early")
    assert Ack.LATE is in_force(None, "a", {"retry_for": (OSError,)}, config)[0].ack
    assert Ack.EARLY is in_force(None, "a", {}, config)[0].ack


def test_schedule_files_and_their_entries_follow_the_settings(tmp_path: Path) -> None:
    """And what of a declaration has no meaning is a warning of `sched check`."""
    (tmp_path / "schedules").mkdir()
    (tmp_path / "schedules" / "a.py").write_text(
        "from scheduler import every, schedule\n@schedule(every('1m'), send_events=True)\ndef f(): ...\n"
    )
    config = load_config(
        overrides={"task_priority": 4, "task_ignore_result": True, "task_time_limit": 9}, environ={}, cwd=tmp_path
    )
    loaded = load(tmp_path / "schedules", config)
    entry = loaded.registry.entries["a.f"]
    assert (entry.priority, entry.ignore_result) == (4, True)
    assert loaded.tasks["a.f"].options.time_limit_ms == 9_000
    [warning] = loaded.warnings
    assert "schedules/a.py:2: task 'a.f': send_events=True has no meaning here: what a worker does is on Redis" in str(
        warning
    )


def test_tasks_of_an_app_that_a_file_makes_follow_the_settings_of_the_load(tmp_path: Path) -> None:
    """Nobody named that app, so its own settings were never read."""
    (tmp_path / "schedules").mkdir()
    (tmp_path / "schedules" / "a.py").write_text(
        "from scheduler import App\napp = App()\n@app.task(name='inside')\ndef f(): ...\n"
    )
    config = load_config(overrides={"task_time_limit": 9}, environ={}, cwd=tmp_path)
    assert load(tmp_path / "schedules", config).tasks["inside"].options.time_limit_ms == 9_000
