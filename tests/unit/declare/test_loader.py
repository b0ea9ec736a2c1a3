"""The folder of schedule files: what becomes of it, and how its mistakes are told."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent

import msgspec
import pytest

from scheduler.app import App
from scheduler.config import Config
from scheduler.errors import ConfigError
from scheduler.exchange import Exchange, Queue
from scheduler.loader import Loaded, load
from scheduler.model import Catchup, Origin, Overlap

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write files given as ``name=text``, ``__`` standing for a slash; returns the folder."""

    def files(**texts: str) -> Path:
        for name, text in texts.items():
            file = tmp_path / "schedules" / f"{name.replace('__', '/')}.py"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(dedent(text))
        return tmp_path / "schedules"

    return files


def told(loaded: Loaded) -> list[str]:
    """The mistakes as people read them."""
    return [str(mistake) for mistake in loaded.mistakes]


def test_the_contracts_example_becomes_entries(write: Write) -> None:
    """The way of one fire begins here: everything left unsaid has its value."""
    folder = write(
        reports="""
            from scheduler import crontab, entry, every, schedule, task

            @schedule(crontab("10 9 * * 1-5", tz="Asia/Shanghai"), queue="reports", expires="1h", args=(5, 6))
            def multiply(a, b):
                "Multiply."
                return a * b

            @task(queue="mail", max_retries=3, time_limit="5m")
            def send_mail(to): ...

            entry("birthday-mails", send_mail, every("30s"), kwargs={"to": "all"}, jitter="5s", overlap="queue",
                  catchup="none", start="2026-01-01T09:00", tags=["mail"], headers={"a": 1}, max_runs=7, priority=3)
        """
    )
    loaded = load(folder, Config(timezone="Europe/Berlin"))
    assert told(loaded) == []
    first, second = loaded.registry.entries["reports.multiply"], loaded.registry.entries["birthday-mails"]
    assert (
        first.task, first.queue, first.expires_after_ms, bytes(first.args), first.description, first.source,
    ) == ("reports.multiply", "reports", 3_600_000, b"[5,6]", "Multiply.", "schedules/reports.py:4")  # fmt: skip
    assert first.schedule["tz"] == "Asia/Shanghai"
    assert second.schedule["tz"] == "Europe/Berlin"
    assert (
        second.queue, second.jitter_ms, second.overlap, second.catchup, second.priority, second.max_runs,
        second.tags, second.headers, second.origin,
    ) == ("mail", 5_000, Overlap.QUEUE, Catchup.NONE, 3, 7, ("mail",), {"a": 1}, Origin.FILE)  # fmt: skip
    assert second.start_ms == 1_767_254_400_000, "a naive start is local to the entry's zone"
    assert {"reports.multiply", "reports.send_mail"} == set(loaded.tasks)
    assert loaded.tasks["reports.multiply"](5, 6) == 30


def test_files_may_be_called_as_they_like_and_import_each_other(write: Write) -> None:
    """`calendar`, `worker` and `scheduler` are names of files in every other crontab."""
    folder = write(
        calendar="""
            import calendar as python_calendar
            from schedules.finance.eod import close
            from scheduler import entry, every
            assert python_calendar.MONDAY == 0
            entry("again", close, every("1h"))
        """,
        worker="from scheduler import task\n@task\ndef work(): ...",
        scheduler="from scheduler import task\n@task\ndef plan(): ...",
        finance__eod='from scheduler import crontab, schedule\n@schedule(crontab("H 4 * * *"))\ndef close(): ...',
    )
    loaded = load(folder, Config())
    assert told(loaded) == []
    assert {"worker.work", "scheduler.plan", "finance.eod.close"} == set(loaded.tasks)
    assert {"again", "finance.eod.close"} == set(loaded.registry.entries)
    assert not list(folder.rglob("__pycache__")), "loading writes nothing into the user's folder"


def test_every_mistake_of_every_file_is_told_at_once(write: Write) -> None:
    """P12: with file, line and remedy; one run shows all that is to be mended."""
    folder = write(
        a="""
            from scheduler import crontab, entry, every, schedule, task

            @schedule(crontab("61 * * * *"))
            def bad_minute(): ...

            @schedule(every("30s"), queu="x", overlap="no")
            def bad_options(): ...

            entry("uses-it", bad_options, every("5s"))
            entry("zone", "a.good", every("5s"), args=[1], tz="Europe/Berln")

            @task
            def good(a): ...

            entry("needs-a", good, every("5s"))
            entry("object", good, every("5s"), args=[object()])
            entry("missing", "a.god", every("5s"))
            entry("late", good, every("5s"), args=[1], expires=5, countdown=5)
            entry("text", good, "*/5 * * * *", args=[1])
            entry("all", good, every("5s"), args=[1], catchup="all")
            entry("once", good, every("5s"), args=[1])
            entry("once", good, every("5s"), args=[1])
        """,
        b="import nosuch_module_of_mine",
        c="def f(:\n    pass",
        d="import sys\nsys.exit(3)",
        e="from schedules.b import x",
        f="from scheduler import chord",
        g='import json\njson.loads("{")',
        h='from scheduler import entry, every\nentry("once", "a.good", every("5s"), args=[1])',
    )
    loaded = load(folder, Config())
    lines = told(loaded)
    expected = [
        "schedules/a.py:4: crontab '61 * * * *': minute 61 is outside 0–59",
        "schedules/a.py:7: entry 'a.bad_options': unknown option 'queu'; did you mean 'queue' or 'unique'?",
        "schedules/a.py:7: entry 'a.bad_options': overlap 'no': expected one of 'allow', 'skip', 'queue', 'replace'",
        "schedules/a.py:11: entry 'zone': tz: timezone 'Europe/Berln' is not known; the nearest known names are Europe/Berl",
        "schedules/a.py:16: entry 'needs-a': task 'a.good': good(a): missing a required argument: 'a'; give args=",
        "schedules/a.py:17: entry 'object': task 'a.good': its args[0] cannot be sent as JSON: ",
        "schedules/a.py:18: entry 'missing': there is no task 'a.god'; name a task that a file declares: did you mean 'a.good'?",
        "schedules/a.py:19: entry 'late': expires 5s cannot be met: a run starts up to 5s after the due time",
        "schedules/a.py:20: entry 'text': '*/5 * * * *' is no schedule; write crontab('*/5 * * * *')",
        "schedules/a.py:21: entry 'all': catchup 'all' needs overlap='allow' (it is 'skip')",
        "schedules/a.py:23: entry 'once' is declared already, at schedules/a.py:22; entries need different names",
        "schedules/b.py:1: there is no module 'nosuch_module_of_mine'; correct the name, or install it where",
        "schedules/c.py:1: syntax error: invalid syntax: def f(:; correct the line",
        "schedules/d.py:2: it exits when it is imported; put what runs it as a program under `if __name__",
        "schedules/e.py:1: it imports a file that is broken: schedules/b.py has a mistake of its own; mend that one first",
        "schedules/f.py:1: this version of scheduler has no 'chord'",
        "schedules/g.py:2: JSONDecodeError: Expecting property name",
        "schedules/h.py:2: entry 'once' is declared already, at schedules/a.py:22; entries need different names",
    ]  # fmt: skip
    assert len(expected) == len(lines), "\n".join(lines)
    for start, line in zip(expected, lines, strict=True):
        assert line.startswith(start)
    assert {f"schedules/{name}.py" for name in "abcdefgh"} == loaded.broken_files
    assert dict(loaded.registry.entries) == {}
    assert {"a.good"} == set(loaded.tasks), "a file that declares an entry badly still lends its tasks"


def test_a_broken_file_keeps_its_entries_out_and_others_in(write: Write) -> None:
    """P12: a mistake stays small. What the file declared last is kept by whoever publishes (`broken_files`)."""
    good = 'from scheduler import every, schedule\n@schedule(every("5s"))\ndef f(): ...\n'
    folder = write(good=good, bad=good + "1 / 0\n")
    loaded = load(folder, Config())
    assert told(loaded) == ["schedules/bad.py:4: ZeroDivisionError: division by zero; a file must import without failing; "
            "let a task do what may fail"]  # fmt: skip
    assert {"good.f"} == set(loaded.registry.entries) == set(loaded.tasks)
    assert {"schedules/bad.py"} == loaded.broken_files
    assert loaded.complete


def test_nothing_runs_on_after_an_error_that_is_not_about_a_declaration(write: Write, tmp_path: Path) -> None:
    """A guard that raises must guard: only declarations are passed over."""
    folder = write(a=f'raise RuntimeError("not on this host")\nopen({str(tmp_path / "harm")!r}, "w")\n')
    assert len(load(folder, Config()).mistakes) == 1
    assert not (tmp_path / "harm").exists()


def test_a_reload_sees_changed_and_unchanged_files_freshly(write: Write) -> None:
    """An operator edits a helper that other files import; all of them must see it."""
    folder = write(
        helper="N = 1",
        user='from schedules.helper import N\nfrom scheduler import every, schedule\n'
        '@schedule(every("5s"), args=[N])\ndef f(n): return n\n',
    )  # fmt: skip
    first = load(folder, Config())
    write(helper="N = 22")
    second = load(folder, Config())
    assert tuple(bytes(one.registry.entries["user.f"].args) for one in (first, second)) == (b"[1]", b"[22]")
    assert first.tasks["user.f"](1) == 1, "the old load stays usable"
    write(helper="N = ")
    assert {"schedules/helper.py", "schedules/user.py"} == load(folder, Config()).broken_files


def test_tasks_of_modules_outside_the_folder_survive_a_reload(write: Write) -> None:
    """Python imports them once; what they declared belongs to every later load too."""
    folder = write(use='import helpers_outside\nfrom scheduler import entry, every\n'
                       'entry("x", "helpers_outside.job", every("5s"))\n')  # fmt: skip
    (folder.parent / "helpers_outside.py").write_text("from scheduler import task\n@task\ndef job(): ...\n")
    assert told(load(folder, Config())) == []
    assert told(load(folder, Config())) == []


@pytest.mark.parametrize("name", ["scheduler", "worker"])
def test_a_module_next_to_the_folder_that_has_our_name_is_explained(write: Write, name: str) -> None:
    """It would shadow ours in one process, and be shadowed in the next."""
    folder = write(a="")
    (folder.parent / f"{name}.py").write_text("")
    assert [
        f"{name}.py: {name}.py has the name of a package of Steadybeat: `import {name}` never means yours; "
        f"rename it, to my_{name} perhaps"
    ] == told(load(folder, Config()))


def test_importing_ones_own_worker_without_its_package_is_explained(write: Write) -> None:
    """`import worker` gives our package, however surely the author meant the file beside."""
    folder = write(worker="def f(): ...", a="import worker", b="from scheduler import helper", scheduler="helper = 1")
    assert [line if n == 0 else line[:62] for n, line in enumerate(told(load(folder, Config())))] == [
        "schedules/a.py:1: `worker` is a package of Steadybeat, and this imports that one; "
        "yours is `schedules.worker`: write `from schedules import worker`",
        "schedules/b.py:1: cannot import name 'helper' from 'scheduler'",
    ]


def test_a_folder_that_cannot_be_read_takes_nothing_for_removed(tmp_path: Path) -> None:
    """P12: an unmounted volume must not empty the registry."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("")
    for name, said in (
        ("nowhere", "there is no such folder"),
        ("empty", "no schedule file"),
        ("file", "it is no folder"),
    ):
        loaded = load(tmp_path / name, Config())
        assert not loaded.complete
        assert f"{tmp_path / name}: {said}" == str(loaded.mistakes[0]).partition(";")[0].partition(" (")[0]


def test_names_that_python_cannot_import_are_told(write: Write) -> None:
    """`my-job.py` would silently never run."""
    folder = write(**{"my-job": "", "a": "", "a__b": "", ".hidden": "1/0", ".git__x": "1/0"})
    assert told(load(folder, Config())) == [
        "schedules/a/b.py: a/ and a.py have one name; rename one of them",
        "schedules/my-job.py: 'my-job' cannot be the name of a module; rename it, to 'my_job' perhaps",
    ]


def test_statements_mean_what_they_mean_in_a_file(write: Write) -> None:
    """Files run statement by statement, which must not show."""
    folder = write(
        a='''
            """The docstring."""
            from __future__ import annotations
            "a stray text"
            from dataclasses import dataclass
            n: int = 3
            @dataclass
            class Pair:
                left: NoSuchName
            if __name__ == "__main__":
                1 / 0
            from scheduler import task
            @task
            def facts():
                return (__doc__, n, __annotations__, Pair.__annotations__, __name__, __file__.rpartition("/")[2])
        '''
    )
    loaded = load(folder, Config())
    assert told(loaded) == []
    facts = loaded.tasks["a.facts"]()
    assert facts == ("The docstring.", 3, {"n": "int"}, {"left": "NoSuchName"}, "schedules.a", "a.py")


def test_routes_choose_the_queue_where_nobody_named_one(write: Write) -> None:
    """entry > task > routes > default queue."""
    folder = write(
        a="""
            from scheduler import entry, every, schedule, task
            @schedule(every("5s"))
            def plain(): ...
            @task(queue="own")
            def named(): ...
            @task
            def exact(): ...
            entry("named", named, every("5s"))
            entry("entrys", named, every("5s"), queue="entrys")
            entry("exact", exact, every("5s"))
        """,
        b='from scheduler import every, schedule\n@schedule(every("5s"))\ndef other(): ...\n',
    )
    config = Config(routes=[{"a.*": {"queue": "glob"}, "a.exact": "exact"}, lambda *_, **__: None])
    entries = load(folder, config).registry.entries
    assert {name: entry.queue for name, entry in entries.items()} == {
        "a.plain": "glob",
        "named": "own",
        "entrys": "entrys",
        "exact": "exact",
        "b.other": "default",
    }


MEDIA = Exchange("media", type="topic")
DECLARED = (Queue("default"), Queue("video", MEDIA, "video.*"), Queue("audit", MEDIA, "*.secret"))


def test_an_entry_may_go_by_an_exchange_that_leads_to_one_queue(write: Write) -> None:
    """Its own, its task's, or that of a route; what stands on Redis names the queue."""
    folder = write(
        a="""
        from scheduler import entry, every, schedule, task

        @schedule(every("5s"), exchange="media", routing_key="video.make", name="own")
        @task(exchange="media", routing_key="video.task")
        def f(): ...

        entry("tasks", f, every("5s"))
        entry("named", f, every("5s"), queue="default")

        @schedule(every("5s"))
        def routed(): ...
        """
    )
    loaded = load(
        folder, Config(queues=DECLARED, routes={"a.routed": {"exchange": "media", "routing_key": "x.secret"}})
    )
    assert told(loaded) == []
    assert {entry.name: entry.queue for entry in loaded.registry.entries.values()} == {
        "own": "video", "tasks": "video", "named": "default", "a.routed": "audit",
    }  # fmt: skip


def test_routes_may_be_a_callable_of_the_folder(write: Write) -> None:
    """Settings are text; the code of a service lies there."""
    folder = write(
        ways="def route(name, args, kwargs, options, task=None, **kw):\n    return 'big' if task.fn.__doc__ else None\n",
        a="""
        from scheduler import every, schedule

        @schedule(every("5s"))
        def f():
            "Large."

        @schedule(every("5s"))
        def g(): ...
        """,
    )
    loaded = load(folder, Config(routes="schedules.ways:route"))
    assert [entry.queue for entry in loaded.registry.entries.values()] == ["big", "default"]
    with pytest.raises(ConfigError, match=r"routes 'schedules.ways:rout': cannot be imported as module:function"):
        load(folder, Config(routes="schedules.ways:rout"))


def test_an_entry_whose_exchange_leads_to_several_queues_is_refused(write: Write) -> None:
    """P1, P2: a fire is one message with one outcome and one overlap slot."""
    folder = write(
        a="""
        from scheduler import every, schedule

        @schedule(every("5s"), exchange="media", routing_key="video.secret")
        def f(): ...

        @schedule(every("5s"), exchange="media", routing_key="nobody")
        def g(): ...
        """
    )
    several, none = told(load(folder, Config(queues=DECLARED)))
    assert several == (
        "schedules/a.py:4: entry 'a.f': exchange 'media' leads to several queues (video, audit), and each fire of an entry is one "
        "message; declare an entry for each of them (queue=), or let its task send to the exchange"
    )
    assert none.startswith(
        "schedules/a.py:7: entry 'a.g': task 'a.g': no declared queue is bound to exchange 'media' (topic) for routing_key 'nobody', "
        "and the message would be lost. Bound are: default to 'default' (direct) by 'default'; video to"
    )


def test_a_task_whose_queue_no_worker_takes_from_is_warned_of(write: Write) -> None:
    """The default queue is among them, where queues are declared and it is not: Celery's users learn it when nothing runs."""
    folder = write(
        a="""
        from scheduler import task

        @task
        def f(): ...

        @task(queue="mail")
        def g(): ...

        @task(exchange="media")
        def by_its_calls(): ...
        """
    )
    [warning] = load(folder, Config(queues=(Queue("mail"),))).warnings
    assert str(warning) == (
        "schedules/a.py:4: task 'a.f': queue 'default' is not among the setting queues (mail): a worker takes from it only if -Q "
        "says so"
    )
    assert load(folder, Config()).warnings == ()


def test_where_every_queue_must_be_declared_the_files_are_told_of_others(write: Write) -> None:
    """`create_missing_queues = false`: a slip is found before anything is sent."""
    folder = write(
        a="""
        from scheduler import entry, every, task

        @task(queue="vidoe")
        def f(): ...

        @task
        def g(): ...

        entry("e", g, every("5s"), queue="audti")
        """
    )
    of_task, of_entry = told(load(folder, Config(queues=DECLARED, create_missing_queues=False)))
    assert of_task.startswith(
        "schedules/a.py:4: task 'a.f': queue 'vidoe' is not declared, and create_missing_queues is off; did you mean"
    )
    assert of_entry.startswith("schedules/a.py:10: entry 'e': queue 'audti' is not declared")


def test_a_route_that_fails_is_a_mistake_of_its_entries(write: Write) -> None:
    """P12: it must not take the load with it."""

    def route(name: str, args: object, kwargs: object, options: object, task: object = None) -> str:
        raise KeyError(name) if name == "a.f" else ValueError

    folder = write(a='from scheduler import every, schedule\n@schedule(every("5s"))\ndef f(): ...\n')
    [line] = told(load(folder, Config(routes=route)))
    assert (
        line == "schedules/a.py:2: entry 'a.f': routes: route for task 'a.f' raised KeyError: 'a.f'; mend the callable"
    )
    [line] = told(load(folder, Config(routes=lambda *_, **__: "no queue")))
    assert "routes: <lambda> for task 'a.f': queue 'no queue': use 1–128" in line.replace(
        "test_a_route_that_fails_is_a_mistake_of_its_entries.<locals>.", ""
    )


def test_an_app_lends_its_tasks_and_entries(write: Write) -> None:
    """`-A module:app` beside a folder of schedule files; and an App that a file holds."""
    app = App("shop")
    app.task(lambda x: x, name="shop.add")
    app.conf.beat_schedule = {"every-30": {"task": "shop.add", "schedule": 30.0, "args": (16,)}}
    folder = write(
        a="""
            from scheduler import App, every
            mine = App("mine")
            @mine.schedule(every("5s"))
            def f(): ...
        """
    )
    loaded = load(folder, Config(), app=app)
    assert told(loaded) == []
    assert {name: e.task for name, e in loaded.registry.entries.items()} == {"every-30": "shop.add", "a.f": "a.f"}
    assert {"shop.add", "a.f"} == set(loaded.tasks)
    assert load(folder.parent / "nowhere", Config(), app=app).complete, "an app needs no folder"


def test_an_entry_too_large_to_send_is_told(write: Write) -> None:
    """Better here than at its first due time."""
    folder = write(
        a='from scheduler import every, schedule\n@schedule(every("5s"), args=["x" * 5000])\ndef f(x): ...\n'
    )
    [line] = told(load(folder, msgspec.structs.replace(Config(), message_bytes_max=4096)))
    assert "entry 'a.f': its arguments make a message of" in line


def test_a_web_application_imports_a_schedule_file_by_itself(write: Write) -> None:
    """`from schedules.reports import multiply` works where no loader ever ran, and twice (`importlib.reload`)."""
    folder = write(
        reports='from scheduler import every, schedule\n@schedule(every("5s"))\ndef multiply(a=2, b=3): return a * b\n'
    )
    program = (
        "import importlib, schedules.reports as r; importlib.reload(r); "
        "print(r.multiply(4), r.multiply.name, type(r.multiply).__name__)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=folder.parent, capture_output=True, text=True, check=False, timeout=30
    )
    assert (done.stdout, done.stderr) == ("12 reports.multiply Task\n", "")


def test_importing_the_package_costs_next_to_nothing() -> None:
    """`sched --help` and every user's file begin with it; and `task` stays the decorator beside `scheduler.task`."""
    program = (
        "import sys, scheduler; heavy = [m for m in sys.modules if m.partition('.')[0] in "
        "('redis', 'msgspec', 'apscheduler', 'click') or m.startswith('scheduler.')]; print(heavy); "
        "import scheduler.task; from scheduler.task import Task; from scheduler import task; "
        "print(callable(task), task.__module__, set(scheduler.__all__) <= set(dir(scheduler)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=30)
    assert (done.stdout, done.stderr) == ("[]\nTrue scheduler.declare True\n", "")
