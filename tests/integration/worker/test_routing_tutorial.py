"""Celery's page "Routing Tasks": its programs run here after changing their import lines."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent

import pytest

from tests.integration.worker.lab import Lab
from tests.support.processes import Process, environment
from tests.support.server import ValkeyServer

MANUAL = """
    from scheduler import Celery, Queue

    app = Celery('feeds')
    app.conf.task_default_queue = 'default'
    app.conf.task_queues = (
        Queue('default',    routing_key='task.#'),
        Queue('feed_tasks', routing_key='feed.#'),
    )
    app.conf.task_default_exchange = 'tasks'
    app.conf.task_default_exchange_type = 'topic'
    app.conf.task_default_routing_key = 'task.default'
    app.conf.task_routes = {
        'feeds.tasks.import_feed': {
            'queue': 'feed_tasks',
            'routing_key': 'feed.import',
        },
    }

    @app.task(bind=True)
    def import_feed(self, url):
        return [url, self.request.delivery_info['queue'], self.request.hostname]

    @app.task(bind=True)
    def anything(self):
        return [self.request.delivery_info['queue'], self.request.hostname]
"""
CALLER = """
    from feeds.tasks import import_feed, anything
    print(import_feed.delay('a').get(timeout=20))
    print(import_feed.apply_async(args=['b'], queue='feed_tasks', routing_key='feed.import').get(timeout=20))
    print(anything.apply_async(routing_key='feed.other').get(timeout=20))
    print(anything.delay().get(timeout=20))
    print(import_feed.apply_async(args=['c'], queue='default').get(timeout=20))
"""
MEDIA = """
    from scheduler import Celery, Exchange, Queue, binding

    app = Celery('feeds')
    media_exchange = Exchange('media', type='direct')
    CELERY_QUEUES = (
        Queue('default', Exchange('default'), routing_key='default'),
        Queue('tasks', Exchange('tasks'), routing_key='tasks', queue_arguments={'x-max-priority': 10}),
        Queue('media', [
            binding(media_exchange, routing_key='media.video'),
            binding(media_exchange, routing_key='media.image'),
        ]),
    )
    CELERY_DEFAULT_QUEUE = 'default'
    CELERY_DEFAULT_EXCHANGE_TYPE = 'direct'
    CELERY_DEFAULT_ROUTING_KEY = 'default'

    def route_task(name, args, kwargs, options, task=None, **kw):
        if name == 'feeds.tasks.compress_video':
            return {'exchange': 'media', 'exchange_type': 'direct', 'routing_key': 'media.video'}

    CELERY_ROUTES = (route_task, {'feeds.tasks.*': {'queue': 'tasks'}})
    app.config_from_object(__name__)

    @app.task(bind=True)
    def compress_video(self):
        return [self.request.delivery_info[word] for word in ('queue', 'exchange', 'routing_key')]

    @app.task(bind=True)
    def other(self):
        return self.request.delivery_info['queue']
"""


@pytest.fixture
def feeds(server: ValkeyServer, tmp_path: Path) -> Iterator[Lab]:
    """A lab with a folder for the package `feeds`."""
    lab = Lab(server.url, tmp_path)
    (tmp_path / "feeds").mkdir()
    (tmp_path / "feeds" / "__init__.py").write_text("")
    yield lab
    lab.close()


def program(lab: Lab, text: str) -> None:
    """Write ``feeds/tasks.py``."""
    (lab.folder / "feeds" / "tasks.py").write_text(dedent(text))


def worker(lab: Lab, *flags: str) -> Process:
    """``sched -A feeds.tasks worker …``, ready."""
    process = Process("-A", "feeds.tasks", "worker", "-c", "1", *flags, config=lab.config, cwd=lab.folder)
    lab.processes.append(process)
    process.told.wait("worker.ready")
    return process


def answers(lab: Lab, text: str) -> list[str]:
    """What a program of the caller's prints."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("SCHED_")}
    done = subprocess.run(
        [sys.executable, "-c", dedent(text)], cwd=lab.folder, env=env | environment(lab.config), capture_output=True,
        text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_manual_routing_by_a_topic(feeds: Lab) -> None:
    """One server takes the feeds, the other everything else."""
    program(feeds, MANUAL)
    worker(feeds, "-Q", "feed_tasks", "--hostname=z@%h")
    worker(feeds, "-Q", "default", "--hostname=x@%h")
    host = os.uname().nodename
    assert answers(feeds, CALLER) == [
        f"['a', 'feed_tasks', 'z@{host}']",
        f"['b', 'feed_tasks', 'z@{host}']",
        f"['feed_tasks', 'z@{host}']",
        f"['default', 'x@{host}']",
        f"['c', 'default', 'x@{host}']",
    ]


def test_direct_exchanges_bindings_and_router_functions_in_old_capitals(feeds: Lab) -> None:
    """A worker without `-Q` takes from the declared queues."""
    program(feeds, MEDIA)
    ready = worker(feeds).told.wait("worker.ready")
    assert ready.fields["queues"] == "default,tasks,media"
    assert answers(
        feeds,
        """
        from feeds.tasks import app, compress_video, other
        print(compress_video.delay().get(timeout=20))
        print(other.delay().get(timeout=20), other.apply_async(priority=9, queue='media').get(timeout=20))
        print(app.send_task('feeds.tasks.compress_video', exchange='media', routing_key='media.image').get(timeout=20))
        """,
    ) == ["['media', 'media', 'media.video']", "tasks media", "['media', 'media', 'media.image']"]
