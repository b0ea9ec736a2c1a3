"""Celery's "First Steps", "Next Steps" and "Periodic Tasks" with other import lines: real processes, and what they print."""

from __future__ import annotations

from typing import Any

from tests.support.wait import wait_until


def test_first_steps(program: Any) -> None:
    """An app in tasks.py, a worker with -A tasks, a shell that calls."""
    program.write(
        "tasks.py",
        """
        from scheduler import Celery

        app = Celery('tasks', broker=URL_OF_REDIS, backend='rpc://')

        @app.task
        def add(x, y):
            return x + y
        """,
    )
    program.start("-A", "tasks", "worker", "--loglevel=INFO")
    told = program.python(
        """
        from tasks import add
        result = add.delay(4, 4)
        print(result.get(timeout=10), result.ready(), result.successful(), result.state)
        bad = add.delay(4, 'x')
        print(repr(bad.get(propagate=False, timeout=10)))
        print(bad.traceback.splitlines()[-1], bad.failed())
        """
    )
    assert told.splitlines() == [
        "8 True True SUCCESS",
        "TypeError(\"unsupported operand type(s) for +: 'int' and 'str'\")",
        "TypeError: unsupported operand type(s) for +: 'int' and 'str' True",
    ]
    assert "result_backend has no meaning here: results stand on the same Redis as the messages" in program.log()
    wait_until(lambda: "task=tasks.add" in program.log(), what="its runs in the log")


def test_a_configuration_module_and_a_program_that_sends_by_itself(program: Any) -> None:
    """``celeryconfig`` in old capitals; tasks.py is also started with python, where its name is ``__main__``."""
    program.write(
        "celeryconfig.py",
        """
        from datetime import timedelta

        BROKER_URL = URL_OF_REDIS
        CELERY_RESULT_BACKEND = URL_OF_REDIS
        CELERY_TASK_SERIALIZER = 'json'
        CELERY_RESULT_SERIALIZER = 'json'
        CELERY_ACCEPT_CONTENT = ['json']
        CELERY_TASK_RESULT_EXPIRES = timedelta(hours=1)
        CELERY_TIMEZONE = 'Europe/Oslo'
        CELERY_ENABLE_UTC = True
        CELERY_IMPORTS = ('more',)
        CELERY_DEFAULT_QUEUE = 'main'
        CELERY_ROUTES = {'tasks.add': {'queue': 'low-priority'}}
        CELERY_ANNOTATIONS = {'more.*': {'priority': 3}}
        CELERYD_CONCURRENCY = 1
        CELERYD_MAX_TASKS_PER_CHILD = 100
        CELERYD_TASK_TIME_LIMIT = 300
        CELERYD_PREFETCH_MULTIPLIER = 1
        CELERYBEAT_SCHEDULE = {
            'add-every-30-seconds': {
                'task': 'tasks.add',
                'schedule': timedelta(seconds=30),
                'args': (16, 16),
                'options': {'expires': 15},
            },
        }
        """,
    )
    program.write("more.py", "from tasks import app\n\n@app.task\ndef mul(x, y):\n    return x * y\n")
    program.write(
        "tasks.py",
        """
        from scheduler import Celery

        app = Celery('tasks')
        app.config_from_object('celeryconfig')

        @app.task
        def add(x, y):
            return x + y

        if __name__ == '__main__':
            result = add.delay(2, 2)
            print(add.name, result.get(timeout=10))
        """,
    )
    program.start("-A", "tasks", "worker", "-l", "info", "-n", "worker1@%h")
    assert program.python("import runpy; runpy.run_path('tasks.py', run_name='__main__')") == "tasks.add 4\n"
    assert program.python("from tasks import app; print(app.send_task('more.mul', (4, 5)).get(timeout=10))") == "20\n"
    runs = {run["task"]: run["queue"] for run in program.data("-A", "tasks", "runs")}
    assert runs == {"tasks.add": "low-priority", "more.mul": "main"}
    told = program.log()
    assert "worker_prefetch_multiplier has no meaning here: prefetch counts milliseconds of work" in told
    assert "concurrency=1 queues=main,low-priority" in told


def test_next_steps(program: Any) -> None:
    """A package: proj/celery.py, proj/tasks.py; signatures; steering through app.control."""
    program.write(
        "proj/celery.py",
        """
        from scheduler import Celery

        app = Celery('proj',
                     broker=URL_OF_REDIS,
                     backend='rpc://',
                     include=['proj.tasks'])

        # Optional configuration, see the application user guide.
        app.conf.update(
            result_expires=3600,
        )

        if __name__ == '__main__':
            app.start()
        """,
    )
    program.write(
        "proj/tasks.py",
        """
        from .celery import app


        @app.task
        def add(x, y):
            return x + y


        @app.task
        def mul(x, y):
            return x * y


        @app.task
        def xsum(numbers):
            return sum(numbers)
        """,
    )
    worker = program.start(
        "-A", "proj", "worker", "-l", "INFO", "-n", "worker1@%h", "-Q", "default,lopri", "-c", "2", "--without-gossip"
    )
    assert "sched: --without-gossip has no meaning here" in program.log()
    told = program.python(
        """
        from proj.tasks import add, mul, xsum
        from proj.celery import app

        print(add.delay(2, 2).get(timeout=10), add.apply_async((2, 2), queue='lopri', countdown=0.1).get(timeout=10), add(2, 2))
        from datetime import datetime, timedelta
        print(add.apply_async(
            (2, 2), eta=datetime.now() + timedelta(milliseconds=100), expires=60, headers={'a': 1}, priority=3, serializer='json',
            compression='zlib', retry=True,
            retry_policy={'max_retries': 3, 'interval_start': 0, 'interval_step': 0.2, 'interval_max': 0.2},
        ).get(timeout=10))
        try:
            add.delay(2)
        except TypeError as error:
            print(error)
        s2 = add.s(2)
        print(s2.delay(8).get(timeout=10), add.signature((2, 2), countdown=0.1).delay().get(timeout=10))
        print(xsum.delay([1, 2, 3]).get(timeout=10), app.AsyncResult('this-id-does-not-exist').state)

        inspect = app.control.inspect()
        [(name, tasks)] = inspect.registered().items()
        print(name.partition('@')[0], tasks)
        print([queue['name'] for queue in inspect.active_queues()[name]], inspect.active()[name], inspect.scheduled()[name])
        print(app.control.ping(), inspect.stats()[name]['pool']['max-concurrency'])
        print(app.control.add_consumer('extra', reply=True, timeout=10))
        later = add.apply_async((1, 1), countdown=3600)
        later.revoke()
        print(later.state)
        print(app.control.shutdown(destination=[name], reply=True, timeout=10)[0][name]['ok'].partition(',')[0])
        """
    ).splitlines()
    assert told.pop(1) == "4"
    host = told[6].partition("'")[2].partition("'")[0]
    assert told[:6] == [
        "4 4 4",
        "task 'proj.tasks.add': add(x, y): missing a required argument: 'y'",
        "10 4",
        "6 PENDING",
        "worker1 ['proj.tasks.add', 'proj.tasks.mul', 'proj.tasks.xsum']",
        "['default', 'lopri'] [] []",
    ]
    assert told[6] == f"[{{'{host}': {{'ok': 'pong'}}}}] 2"
    assert "'ok'" in told[7]
    assert told[8] == "REVOKED"
    assert worker.wait(20) == 0
    assert program.sched("-A", "proj", "inspect", "active", code=3)


def test_periodic_tasks(program: Any) -> None:
    """The guide's first program; a beat beside the worker; entries as `sched list` shows them."""
    program.write(
        "tasks.py",
        """
        from scheduler import Celery
        from scheduler.schedules import crontab

        app = Celery(broker=URL_OF_REDIS)

        @app.on_after_configure.connect
        def setup_periodic_tasks(sender: Celery, **kwargs):
            # Calls test('hello') every 10 seconds.
            sender.add_periodic_task(10.0, test.s('hello'), name='add every 10')

            # Calls test('hello') every 30 seconds.
            # It uses the same signature of previous task, an explicit name is
            # defined to avoid this task replacing the previous one defined.
            sender.add_periodic_task(30.0, test.s('hello'), name='add every 30')

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

        @app.task
        def add(x, y):
            z = x + y
            print(z)

        app.conf.beat_schedule = {
            'add-every-monday-morning': {
                'task': 'tasks.add',
                'schedule': crontab(hour=7, minute=30, day_of_week=1),
                'args': (16, 16),
            },
        }
        app.conf.timezone = 'Australia/Melbourne'
        """,
    )
    program.start("-A", "tasks", "worker", "-B", "-l", "INFO", "-s", "/var/run/celery/celerybeat-schedule", "-c", "1",
                  ready="registry.read")  # fmt: skip
    entries = {entry["name"]: entry for entry in program.data("-A", "tasks", "list")}
    assert set(entries) == {
        "add every 10", "add every 30", "tasks.test('world')", "tasks.test('Happy Mondays!')", "add-every-monday-morning",
    }  # fmt: skip
    assert entries["add-every-monday-morning"]["timezone"] == "Australia/Melbourne"
    # One that does not fire by itself meanwhile.
    assert (
        program.data("-A", "tasks", "trigger", "tasks.test('Happy Mondays!')", "--timeout", "20s")["state"] == "SUCCESS"
    )
    wait_until(lambda: "Happy Mondays!" in program.log(), what="what the task printed")
    assert "--schedule has no meaning here: what has fired is remembered on Redis" in program.log()
