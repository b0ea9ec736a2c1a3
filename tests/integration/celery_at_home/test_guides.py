"""Celery's guides to tasks, routing and applications, and a shop in the manner of Django, with other import lines."""

from __future__ import annotations

from typing import Any


def test_the_guide_to_tasks(program: Any) -> None:
    """Bound tasks, retries by hand and by themselves, base classes, states of one's own, loggers."""
    program.write(
        "tasks.py",
        """
        import time
        from scheduler import Celery, Task
        from scheduler.exceptions import Ignore, MaxRetriesExceededError, SoftTimeLimitExceeded
        from scheduler.utils.log import get_task_logger

        app = Celery('tasks', broker=URL_OF_REDIS)
        logger = get_task_logger(__name__)

        @app.task(bind=True)
        def dump_context(self, x, y):
            logger.info('Executing task id %s, args: %r kwargs: %r', self.request.id, self.request.args, self.request.kwargs)
            return self.request.id, self.name, self.request.retries, self.max_retries

        @app.task(bind=True, default_retry_delay=0.05, max_retries=5)  # retry in 50 milliseconds.
        def send_twitter_status(self, oauth, tweet):
            try:
                if self.request.retries < 2:
                    raise ConnectionError(tweet)
                return self.request.retries
            except ConnectionError as exc:
                raise self.retry(exc=exc)

        class BaseTaskWithRetry(Task):
            autoretry_for = (TypeError,)
            max_retries = 2
            retry_backoff = 0.01
            retry_backoff_max = 700
            retry_jitter = False

        @app.task(bind=True, base=BaseTaskWithRetry)
        def always_wrong(self):
            return 1 + 'x'

        class DatabaseTask(Task):
            _db = None

            @property
            def db(self):
                if self._db is None:
                    self._db = {'rows': [1, 2, 3]}
                return self._db

        @app.task(base=DatabaseTask, bind=True)
        def process_rows(self):
            return len(self.db['rows'])

        class MyTask(Task):
            def on_failure(self, exc, task_id, args, kwargs, einfo):
                print('{0!r} failed: {1!r}'.format(args, exc), flush=True)

        @app.task(base=MyTask)
        def fails(x):
            raise KeyError(x)

        @app.task(bind=True)
        def upload_files(self, filenames):
            for i, file in enumerate(filenames):
                if not self.request.called_directly:
                    self.update_state(state='PROGRESS', meta={'current': i, 'total': len(filenames)})
                while i == 1 and not __import__('os').path.exists('go'):
                    time.sleep(0.01)
            return 'done'

        @app.task(bind=True)
        def ignored(self):
            self.update_state(state='CUSTOM', meta='x')
            raise Ignore()

        @app.task(soft_time_limit=0.2, time_limit=20)
        def slow():
            try:
                time.sleep(60)
            except SoftTimeLimitExceeded:
                return 'cleaned up in a hurry'

        @app.task(acks_late=True, reject_on_worker_lost=True, track_started=True, ignore_result=True, name='sum-of-two-numbers')
        def add(x, y):
            return x + y
        """,
    )
    program.start("-A", "tasks", "worker", "-l", "INFO", "-c", "2")
    told = program.python(
        """
        import time
        from tasks import *
        r = dump_context.delay(1, y=2)
        print(r.get(timeout=10) == [r.id, 'tasks.dump_context', 0, 3])
        print(send_twitter_status.delay('o', 't').get(timeout=10))
        wrong = always_wrong.delay()
        print(type(wrong.get(timeout=10, propagate=False)).__name__, wrong.state)
        print(process_rows.delay().get(timeout=10))
        print(repr(fails.delay('k').get(timeout=10, propagate=False)))
        up = upload_files.delay(['a', 'b'])
        while up.info != {'current': 1, 'total': 2}:
            time.sleep(0.01)
        print(up.state, up.info)
        open('go', 'w').close()
        print(up.get(timeout=10), slow.delay().get(timeout=10))
        print(add.name, app.tasks['sum-of-two-numbers'] is add, add(1, 2))
        """
    )
    assert told.splitlines() == [
        "True",
        "2",
        "TypeError FAILURE",
        "3",
        "KeyError('k')",
        "PROGRESS {'current': 1, 'total': 2}",
        "done cleaned up in a hurry",
        "sum-of-two-numbers True 3",
    ]
    assert "Executing task id" in program.log()
    assert "failed: KeyError('k')" in program.log()
    runs = {run["task"]: run["attempt"] for run in program.data("-A", "tasks", "runs")}
    assert (runs["tasks.always_wrong"], runs["tasks.send_twitter_status"]) == (3, 3)


def test_the_guide_to_routing(program: Any) -> None:
    """Queues bound to a topic exchange, routes by glob and regular expression, `-Q` of one worker."""
    program.write(
        "feeds/tasks.py",
        """
        import re
        from scheduler import Celery, Exchange, Queue

        app = Celery('feeds', broker=URL_OF_REDIS)
        app.conf.task_default_queue = 'default'
        app.conf.task_queues = (
            Queue('default',    routing_key='task.#'),
            Queue('feed_tasks', routing_key='feed.#'),
            Queue('image_tasks', exchange=Exchange('mediatasks', type='direct'), routing_key='image.compress'),
        )
        app.conf.task_default_exchange = 'tasks'
        app.conf.task_default_exchange_type = 'topic'
        app.conf.task_default_routing_key = 'task.default'
        app.conf.task_routes = ([
            ('feeds.tasks.import_feed', {'queue': 'feed_tasks', 'routing_key': 'feed.import'}),
            (re.compile(r'(video|image)\\..*'), {'exchange': 'mediatasks', 'routing_key': 'image.compress'}),
        ],)

        @app.task(bind=True)
        def import_feed(self, url):
            return self.request.delivery_info['queue']

        @app.task(bind=True, name='image.compress')
        def compress(self):
            return self.request.delivery_info['queue']

        @app.task(bind=True)
        def other(self):
            return self.request.delivery_info['queue']
        """,
    )
    program.start(
        "-A", "feeds.tasks", "worker", "-l", "INFO", "--queues=feed_tasks,image_tasks", "--hostname=z@%h", log="z.log"
    )
    program.start("-A", "feeds.tasks", "worker", "-l", "INFO", "-Q", "default", "--hostname=x@%h", log="x.log")
    told = program.python(
        """
        from feeds.tasks import app, import_feed, compress, other
        print(import_feed.delay('http://cnn.com/rss').get(timeout=10), compress.delay().get(timeout=10))
        print(other.delay().get(timeout=10), other.apply_async(routing_key='feed.other').get(timeout=10))
        print(import_feed.apply_async(args=['x'], queue='feed_tasks', routing_key='feed.import').get(timeout=10))
        """
    )
    assert told.splitlines() == ["feed_tasks image_tasks", "default feed_tasks", "feed_tasks"]
    by = {
        (run["task"], run["queue"], run["worker"].partition("@")[0])
        for run in program.data("-A", "feeds.tasks", "runs")
    }
    assert ("feeds.tasks.other", "default", "x") in by
    assert ("feeds.tasks.other", "feed_tasks", "z") in by


def test_a_shop_in_the_manner_of_django(program: Any) -> None:
    """Settings with a prefix, `shared_task` in reusable packages, discovery, eager tests."""
    program.write(
        "shop/settings.py",
        """
        SECRET_KEY = 'x'
        INSTALLED_APPS = ['cart', 'mail']
        CELERY_BROKER_URL = URL_OF_REDIS
        CELERY_RESULT_BACKEND = 'django-db'
        CELERY_CACHE_BACKEND = 'django-cache'
        CELERY_TASK_TIME_LIMIT = 30 * 60
        CELERY_TASK_DEFAULT_QUEUE = 'shop'
        CELERY_BEAT_SCHEDULER = 'django_celery_beat.schedulers:DatabaseScheduler'
        CELERY_WORKER_HIJACK_ROOT_LOGGER = True
        """,
    )
    program.write(
        "shop/celery.py",
        """
        from scheduler import Celery
        from shop import settings

        app = Celery('shop')
        # - namespace='CELERY' means all celery-related configuration keys
        #   should have a `CELERY_` prefix.
        app.config_from_object('shop.settings', namespace='CELERY')
        app.autodiscover_tasks(lambda: settings.INSTALLED_APPS)

        @app.task(bind=True, ignore_result=True)
        def debug_task(self):
            print(f'Request: {self.request!r}')
        """,
    )
    program.write("cart/models.py", "")
    program.write(
        "mail/tasks.py",
        """
        from scheduler import current_app, shared_task

        @shared_task
        def send(to):
            return f'sent to {to} by {current_app.main}'
        """,
    )
    program.write("shop/__init__.py", "from .celery import app as celery_app\n\n__all__ = ('celery_app',)\n")
    program.start("-A", "shop", "worker", "-l", "info", "-c", "1")
    assert program.python("import shop; from mail.tasks import send; print(send.delay('ann').get(timeout=10))") == (
        "sent to ann by shop\n"
    )
    log = program.log()
    for name in ("result_backend", "cache_backend", "beat_scheduler"):
        assert f"{name} has no meaning here" in log
    [entry] = [line for line in program.sched("-A", "shop", "check").splitlines() if "beat_scheduler" in line]
    assert entry.startswith("-A shop: warning: ")
    eager = "import shop; shop.celery_app.conf.task_always_eager = True\nfrom mail.tasks import send\nprint(send.delay('bob').get())"
    assert program.python(eager) == "sent to bob by shop\n"
