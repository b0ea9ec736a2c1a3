"""Messages that find their queues, and workers that take from some of them: real processes throughout."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from scheduler.app import App
from scheduler.errors import UnroutableError
from scheduler.exchange import Exchange, Queue
from scheduler.store.limits import Limit
from tests.integration.worker.lab import Lab
from tests.support.processes import Process, environment
from tests.support.server import ValkeyServer
from tests.support.wait import wait_until

NEWS, MEDIA = Exchange("news", type="fanout"), Exchange("media", type="topic")
DECLARED = (
    Queue("default"),
    Queue("archive", NEWS),
    Queue("site", NEWS, max_length=50),
    Queue("video", MEDIA, "video.#", concurrency=2),
    Queue("slow", MEDIA, "*.slow"),
)
WHERE = """
    @task(bind=True)
    def where(self, *args):
        facts = self.request.delivery_info
        return [facts["queue"], facts["exchange"], facts["routing_key"], self.request.hostname, self.request.root_id]
"""


@pytest.fixture
def routed(server: ValkeyServer, tmp_path: Path) -> Iterator[Lab]:
    """A lab whose settings declare queues."""
    lab = Lab(
        server.url, tmp_path, queues=DECLARED, routes={"t.routed": {"exchange": "media", "routing_key": "video.routed"}}
    )
    lab.write(WHERE)
    yield lab
    lab.close()


def app_of(lab: Lab) -> App:
    """Whoever calls: another program with the same settings, and without the tasks."""
    config = lab.config
    return App(
        "caller", broker=config.redis_url, namespace=config.namespace, queues=config.queues, routes=config.routes
    )


def test_all_copies_of_a_fanout_run_and_each_has_its_result(routed: Lab) -> None:
    """Nobody's message is lost, and whoever called can ask for each of them; they are one family."""
    routed.worker("-n", "one", "-Q", "archive")
    routed.worker("-n", "two", "-Q", "site,default")
    result = app_of(routed).send_task("t.where", exchange="news", task_id="order-7")
    [copy] = result.copies.values()
    assert result.id == "order-7"
    assert result.get(timeout=20) == ["archive", "news", "default", "one", "order-7"]
    assert result.copies["site"].get(timeout=20) == ["site", "news", "default", "two", "order-7"]
    assert routed.run(copy.id).queue == "site"


def test_a_topic_leads_to_the_queues_whose_pattern_fits(routed: Lab) -> None:
    """`*` is one word, `#` any number; a route may name an exchange too."""
    routed.worker("-n", "all")
    app = app_of(routed)
    both = app.send_task("t.where", exchange="media", routing_key="video.slow", kwargs={})
    assert {both.get(timeout=20)[0], both.copies["slow"].get(timeout=20)[0]} == {"video", "slow"}
    assert app.send_task("t.where", exchange="media", routing_key="image.slow").get(timeout=20)[0] == "slow"
    assert app.send_task("t.where", exchange="", routing_key="site").get(timeout=20)[:3] == ["site", "", "site"]
    with pytest.raises(UnroutableError, match=r"no declared queue is bound to exchange 'media' .* 'image.fast'"):
        app.send_task("t.where", exchange="media", routing_key="image.fast")
    assert routed.store.queues.names() == ["site", "slow", "video"], "the refused call left nothing"


def test_a_worker_takes_from_the_declared_queues_or_what_its_flags_leave(routed: Lab) -> None:
    """`-Q` and `-X`, as in Celery."""
    assert routed.worker("-n", "all").told.wait("worker.ready").fields["queues"] == "default,archive,site,video,slow"
    assert (
        routed.worker("-n", "few", "-X", "site,video").told.wait("worker.ready").fields["queues"]
        == "default,archive,slow"
    )
    assert (
        routed.worker("-n", "new", "-Q", "slow,new", "-X", "slow").told.wait("worker.ready").fields["queues"] == "new"
    )
    assert app_of(routed).send_task("t.where", queue="new").get(timeout=20)[3] == "new"


def test_the_limits_of_declared_queues_are_told_by_workers_and_beats(routed: Lab) -> None:
    """Scripts read them there."""
    expected = {"site": Limit(50), "video": Limit(concurrency=2)}
    routed.worker("-Q", "new")
    assert routed.store.limits.all() == expected
    routed.store.connection.call("DEL", routed.store.keys.queue_limits)
    routed.processes.append(Process("beat", config=routed.config, cwd=routed.folder))
    wait_until(lambda: routed.store.limits.all() == expected, timeout_s=20, what="the beat to tell them")


def test_where_every_queue_must_be_declared_a_worker_refuses_others(routed: Lab) -> None:
    """`create_missing_queues = false`: a slip must not make a queue that nobody looks at."""
    strict = msgspec.structs.replace(routed.config, create_missing_queues=False)
    done = subprocess.run(
        [sys.executable, "-P", "-m", "scheduler.cli", "worker", "-Q", "vidoe"],
        cwd=routed.folder, env=os.environ | environment(strict), capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert "-Q: queue 'vidoe' is not declared, and create_missing_queues is off; did you mean 'video'?" in done.stderr
