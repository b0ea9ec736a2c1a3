"""What Celery's programs ask of their app, beside tasks and settings."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

import scheduler
from scheduler import App, Task, crontab, current_app, current_task, declare, shared_task, signature
from scheduler.errors import ConfigError, InvalidEntryError, InvalidScheduleError, InvalidTaskError
from scheduler.finding import find_app
from scheduler.loader import load
from scheduler.schedules import schedule, solar


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A working directory, a path, modules and declarations of the test's own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    before, modules = declare.set_current(None), set(sys.modules)
    yield
    declare.set_current(before)
    for name in set(sys.modules) - modules:
        if name.partition(".")[0] in ("proj", "tasks", "lib", "shop", "schedules", "django"):
            del sys.modules[name]


def write(**files: str) -> None:
    """Write ``a__b.py`` as ``a/b.py``."""
    for name, text in files.items():
        file = Path(f"{name.replace('__', '/')}.py")
        file.parent.mkdir(exist_ok=True)
        if file.parent.name:
            (file.parent / "__init__.py").touch()
        file.write_text(text, "utf-8")


def loaded(spec: str) -> Any:
    """What a worker or beat with ``-A spec`` has."""
    app = find_app(spec)
    return load(Path("schedules"), app.config, app=app)


# ── -A ──────────────────────────────────────────────────────────────────────────────────────────────────────────────

PROJ = "from scheduler import Celery\napp = Celery('proj', broker='redis://localhost:1', include=['proj.tasks'])\n"
PROJ_TASKS = "from .celery import app\n\n@app.task\ndef add(x, y):\n    return x + y\n"


@pytest.mark.parametrize("spec", ["proj", "proj.celery", "proj.celery:app", "proj.celery.app", "proj:celery.app"])
def test_an_app_is_found_as_celery_finds_it(spec: str) -> None:
    """The layout of Celery's "Next Steps": proj/celery.py, proj/tasks.py."""
    write(proj__celery=PROJ, proj__tasks=PROJ_TASKS)
    if spec == "proj:celery.app":
        Path("proj/__init__.py").write_text("from . import celery\n", "utf-8")
    assert find_app(spec).main == "proj"
    assert list(loaded(spec).tasks) == ["proj.tasks.add"]


def test_a_package_whose_celery_module_is_broken_says_so() -> None:
    write(proj__celery="1 / 0\n")
    with pytest.raises(ConfigError, match=r"-A 'proj': proj.celery cannot be imported: ZeroDivisionError"):
        find_app("proj")


# ── entries ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_entries_are_added_when_the_app_is_configured() -> None:
    """The first page of Celery's guide to periodic tasks; the receiver uses tasks that are defined below it."""
    write(
        tasks="""
from scheduler import Celery
from scheduler.schedules import crontab

app = Celery(broker="redis://localhost:1")

@app.on_after_configure.connect
def setup_periodic_tasks(sender: Celery, **kwargs):
    # Calls test('hello') every 10 seconds.
    sender.add_periodic_task(10.0, test.s('hello'), name='add every 10')
    # Calls test('world') every 30 seconds
    sender.add_periodic_task(30.0, test.s('world'), expires=10)
    # Executes every Monday morning at 7:30 a.m.
    sender.add_periodic_task(
        crontab(hour=7, minute=30, day_of_week=1),
        test.s('Happy Mondays!'),
    )

@app.task
def test(arg):
    print(arg)
"""
    )
    entries = loaded("tasks").registry.entries
    assert list(entries) == ["add every 10", "tasks.test('world')", "tasks.test('Happy Mondays!')"]
    assert bytes(entries["add every 10"].args) == b'["hello"]'
    assert entries["tasks.test('world')"].expires_after_ms == 10_000
    assert entries["add every 10"].source == "tasks.py:10"


def test_two_periodic_tasks_of_one_name_are_refused_where_celery_would_drop_the_first() -> None:
    app = App()
    f = app.task(name="f")(lambda a: a)
    assert app.add_periodic_task(10, f.s(1)) == "f(1)"
    with pytest.raises(InvalidEntryError, match=r"entry 'f\(1\)' is declared already; entries need different names"):
        app.add_periodic_task(timedelta(seconds=30), f.s(1))
    assert app.add_periodic_task(crontab(), f.s(1), name="g") == "g"


def test_a_receiver_that_fails_is_a_mistake_with_its_line() -> None:
    """P12: the entries of that file stay as they are."""
    write(
        tasks="from scheduler import Celery\napp = Celery(broker='redis://localhost:1')\n"
        "@app.on_after_configure.connect\ndef entries(sender, **kwargs):\n    sender.add_periodic_task(10.0, missing.s())\n"
        "@app.task\ndef f(): ...\n"
    )
    found = loaded("tasks")
    [mistake] = found.mistakes
    assert str(mistake).startswith("tasks.py:5: NameError: name 'missing' is not defined")
    assert found.broken_files == {"tasks.py"}


# ── modules of tasks ────────────────────────────────────────────────────────────────────────────────────────────────


def test_tasks_are_discovered_when_somebody_works_for_the_app() -> None:
    """Not when it is imported: the packages may import the app."""
    write(
        lib__tasks="from scheduler import shared_task\n@shared_task\ndef mail(to): ...\n",
        shop__models="",
        proj__celery="from scheduler import Celery\napp = Celery('proj', broker='redis://localhost:1')\n"
        "app.autodiscover_tasks(lambda: ['lib', 'shop'])\n",
    )
    app = find_app("proj")
    assert "lib.tasks" not in sys.modules
    assert list(load(Path("schedules"), app.config, app=app).tasks) == ["lib.tasks.mail"]


def test_a_module_of_tasks_that_is_broken_is_a_mistake() -> None:
    write(
        lib__tasks="1 / 0\n",
        proj__celery="from scheduler import Celery\napp = Celery('proj', broker='redis://localhost:1')\n"
        "app.autodiscover_tasks(['lib', 'nowhere'])\n",
    )
    [mistake] = loaded("proj").mistakes
    assert "lib.tasks cannot be imported: ZeroDivisionError" in str(mistake)


def test_django_is_set_up_before_modules_of_tasks_are_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    """Their models cannot be imported earlier; and its apps are where tasks are looked for."""
    write(
        django__apps="class C:\n    name = 'lib'\nclass apps:\n    get_app_configs = staticmethod(lambda: [C])\n",
        lib__tasks="import django\nassert django.ready\nfrom scheduler import shared_task\n@shared_task\ndef mail(): ...\n",
        shop__reports="import django\nassert django.ready\n",
        proj__celery="import os\nos.environ.setdefault('DJANGO_SETTINGS_MODULE', 'proj.settings')\n"
        "from scheduler import Celery\napp = Celery('proj', broker='redis://localhost:1', include=['shop.reports'])\n"
        "app.autodiscover_tasks()\n",
    )
    Path("django/__init__.py").write_text("ready = False\ndef setup():\n    global ready\n    ready = True\n", "utf-8")
    monkeypatch.setenv("DJANGO_SETTINGS_MODULE", "proj.settings")
    found = loaded("proj")
    assert (found.mistakes, list(found.tasks)) == ((), ["lib.tasks.mail"])


def test_without_packages_django_must_be_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DJANGO_SETTINGS_MODULE", raising=False)
    with pytest.raises(ConfigError, match="DJANGO_SETTINGS_MODULE is not set"):
        App().autodiscover_tasks(force=True)


def test_shared_tasks_belong_to_the_app_that_comes_after_them() -> None:
    """A reusable library is often imported before the program makes its app."""
    made = shared_task(name="lib.mail")(lambda to: to)
    assert not current_app
    app = App("shop", broker="redis://localhost:1")
    assert app.tasks["lib.mail"] is made
    assert made.app is app
    assert current_app == app
    assert current_app.main == "shop"
    later = shared_task(name="lib.later")(lambda: None)
    assert app.tasks["lib.later"] is later
    second = App("second")
    assert current_app == app
    second.set_default()
    assert current_app == second


def test_nobody_runs_outside_of_a_run() -> None:
    assert not current_task
    with pytest.raises(AttributeError, match="current_task: no task is running here"):
        _ = current_task.request


# ── classes of tasks ────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_class_may_be_the_task() -> None:
    """Celery's class-based tasks: `app.register_task(AddTask())`."""
    app = App("shop")

    class AddTask(Task):
        name = "add"
        max_retries = 7

        def run(self, x: int, y: int) -> int:  # type: ignore[override]
            return x + y

    add = app.register_task(AddTask())
    assert (add.name, add.options.max_retries, add.run(2, 3), add(2, 3)) == ("add", 7, 5, 5)
    add.check_arguments((1, 2), {})
    with pytest.raises(TypeError):
        add.check_arguments((1,), {})
    with pytest.raises(InvalidTaskError, match="expected an instance of a subclass of Task with a method run"):
        app.register_task(Task())


def test_an_app_may_have_a_class_for_all_its_tasks() -> None:
    class Loud(scheduler.Task):
        priority = 3

    app = App(task_cls=Loud)
    assert isinstance(app.task(name="f")(lambda: None), Loud)
    app.Task = scheduler.Task
    assert not isinstance(app.task(name="g")(lambda: None), Loud)

    class Own(app.Task):  # type: ignore[name-defined,misc]
        pass

    assert isinstance(app.task(name="h", base=Own)(lambda: None), Own)


def test_a_task_answers_for_its_options() -> None:
    """`self.max_retries`, `self.time_limit`, `self.app`, as programs read them."""
    app = App()
    f = app.task(name="f", max_retries=5, time_limit="2m", bind=True)(lambda self: (self.max_retries, self.time_limit))
    assert f() == (5, 120.0)
    assert (f.app, f.ignore_result) == (app, False)
    with pytest.raises(AttributeError, match="no attribute 'max_retry'"):
        _ = f.max_retry


# ── signatures ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_signature_is_a_call_to_come() -> None:
    app = App()
    add = app.task(name="tasks.add")(lambda x, y=0, debug=False: (x, y, debug))
    partial = add.s(2, debug=True)
    assert (repr(partial), partial.task) == ("tasks.add(2, debug=True)", "tasks.add")
    assert (partial.args, partial.kwargs) == ((2,), {"debug": True})
    assert partial(4) == (4, 2, True)
    assert add.si(2).clone((9,)).args == (2,)
    assert add.signature((2, 2), countdown=10).options == {"countdown": 10}
    assert add.s(2, 2).set(priority=3) == signature("tasks.add", (2, 2), priority=3)
    assert partial.options == {}
    assert app.signature("tasks.add", args=(1, 1))() == (1, 1, False)
    with pytest.raises(TypeError, match="chains"):
        _ = add.s(1) | add.s(2)


# ── modules ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_schedules_have_celerys_names() -> None:
    assert schedule(run_every=timedelta(minutes=5)) == scheduler.every("5m")
    assert schedule(30, relative=True) == scheduler.every(30)
    assert solar("sunset", -37.81753, 144.96715) == scheduler.sun("sunset", latitude=-37.81753, longitude=144.96715)
    assert solar("dawn_nautical", 1, 2) == scheduler.sun("dawn", latitude=1, longitude=2, depression="nautical")
    with pytest.raises(InvalidScheduleError, match="solar: event 'sunst'; did you mean 'sunset'"):
        solar("sunst", 1, 2)


def test_exceptions_have_celerys_names() -> None:
    from scheduler import exceptions  # noqa: PLC0415
    from scheduler.errors import TimeLimitExceeded  # noqa: PLC0415

    assert exceptions.TimeLimitExceeded is TimeLimitExceeded
    assert all(issubclass(getattr(exceptions, name), Exception) for name in exceptions.__all__)


# ── here and now ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_always_eager_runs_calls_at_once_and_asks_no_redis() -> None:
    """Celery's `task_always_eager`, for development and old test suites."""
    app = App("shop", broker="redis://localhost:1", task_always_eager=True)

    @app.task(name="add", bind=True, autoretry_for=(ValueError,), retry_backoff=True, max_retries=2)
    def add(self: Any, x: int, y: int) -> int:
        if y < 0 and self.request.retries < 2:
            raise ValueError(y)
        return x + y

    @app.task(name="twice")
    def twice(x: int) -> None:
        ran.append(add.delay(x, x).get())

    ran: list[int] = []
    assert add.delay(2, 3).get() == 5
    result = add.apply_async((2, -1), countdown=3600)
    assert (result.state, result.get(timeout=1)) == ("SUCCESS", 1)
    twice.delay(4)
    assert ran == [8]
    assert app.send_task("add", (1, 1)).get() == 2
    failed = add.delay("x", 1)
    assert failed.state == "FAILURE"
    with pytest.raises(TypeError):
        failed.get()


def test_an_eager_failure_is_raised_at_once_if_asked_for() -> None:
    app = App(broker="redis://localhost:1", task_always_eager=True, CELERY_EAGER_PROPAGATES_EXCEPTIONS=True)
    f = app.task(name="f")(lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        f.delay()


def test_eager_runs_are_not_remembered_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """A development server may run for months."""
    monkeypatch.setattr("scheduler.testing.stage.REMEMBERED", 3)
    app = App(broker="redis://localhost:1", task_always_eager=True)
    f = app.task(name="f")(lambda a: a)
    results = [f.delay(n) for n in range(10)]
    assert [result.state for result in results] == ["PENDING"] * 7 + ["SUCCESS"] * 3
    assert len(app.store._stage.runs) == 3  # type: ignore[attr-defined]


def test_apply_runs_one_task_here() -> None:
    """Whatever it calls goes to Redis as ever, so only it is run."""
    app = App(broker="redis://localhost:1")

    @app.task(name="div", bind=True)
    def div(self: Any, x: int, y: int) -> tuple[float, str, bool]:
        return x / y, self.request.hostname, bool(current_task)

    assert div.apply((1, 2)).get() == [0.5, "eager", True]
    assert div.s(1).apply((4,)).get()[0] == 4.0
    assert div.apply((1, 0)).failed()
    with pytest.raises(ZeroDivisionError):
        div.apply((1, 0), throw=True)
    with pytest.raises(TypeError, match="missing a required argument"):
        div.apply((1,))


class Arg:
    """A stand-in for a model of pydantic: its protocol is all that counts."""

    def __init__(self, value: int) -> None:
        self.value = value

    @classmethod
    def model_validate(cls, data: Any) -> Arg:
        return cls(int(data["value"]))

    def model_dump(self) -> dict[str, Any]:
        return {"value": self.value}


def test_models_are_made_of_mappings_before_the_function_is_called() -> None:
    """Celery's guide, "Argument validation with Pydantic": the option says what is so anyway."""
    app = App(broker="redis://localhost:1")

    @app.task(name="x", pydantic=True)
    def x(arg: Arg) -> Arg:
        return Arg(arg.value + 1)

    assert x.notes == ()
    assert x.apply(({"value": "1"},)).get() == {"value": 2}
    assert x.apply(({"value": "one"},)).failed()


def test_an_app_that_names_no_broker_heeds_celerys_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is how containers are told; our own variable weighs more, and what the program says most."""
    monkeypatch.delenv("SCHED_REDIS_URL", raising=False)
    monkeypatch.setenv("CELERY_BROKER_URL", "redis://from-variable:1/2")
    assert App().config.redis_url == "redis://from-variable:1/2"
    assert App(broker="redis://said:1").config.redis_url == "redis://said:1"
    monkeypatch.setenv("SCHED_REDIS_URL", "redis://ours:1")
    assert App().config.redis_url == "redis://ours:1"


def test_defaults_give_way_to_what_was_set() -> None:
    app = App(broker="redis://localhost:1", task_default_queue="a")
    app.add_defaults({"CELERY_DEFAULT_QUEUE": "b", "timezone": "Europe/Oslo"})
    assert (app.config.default_queue, app.config.timezone) == ("a", "Europe/Oslo")
    assert "CELERY_DEFAULT_QUEUE" in app.conf
    assert "result_expires" not in app.conf
