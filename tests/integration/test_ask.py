"""Asking for runs and for what became of them: a real server, a real worker, a process without task code."""

from __future__ import annotations

import builtins
import multiprocessing
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from textwrap import dedent
from typing import Any
from uuid import uuid4

import msgspec
import pytest

from scheduler import errors
from scheduler.app import App
from scheduler.config import Config
from scheduler.context import Request, pop_request, push_request
from scheduler.model import State
from scheduler.result import RemoteTraceback
from scheduler.wire import FLAG_IGNORE_RESULT, Header, Payload, decode_header, decode_payload
from tests.support.processes import Process
from tests.support.server import ValkeyServer
from tests.support.wait import wait_until

JOBS = """
    import os, time
    from scheduler import task, Ignore

    class ShopError(Exception):
        def __init__(self, order, *, why):
            super().__init__(order)
            self.why = why

    @task
    def add(a, b=1): return a + b

    @task
    def fail(kind): raise {"key": KeyError("k"), "shop": ShopError(7, why="x"), "exit": SystemExit(3)}[kind]

    @task(bind=True, max_retries=2)
    def insist(self):
        if self.request.retries < 2:
            raise self.retry(exc=ValueError("not yet"), countdown=0.01)
        return [self.request.attempt, self.request.retries]

    @task(bind=True, max_retries=1)
    def give_up(self):
        raise self.retry(exc=ValueError("never"), countdown=0.01)

    @task(bind=True)
    def facts(self):
        r = self.request
        return {"id": r.id, "args": list(r.args), "headers": r.headers, "entry": r.entry, "root": r.root_id,
                "parent": r.parent_id, "queue": r.delivery_info["queue"], "for": r.scheduled_for and 1}

    @task(bind=True)
    def family(self):
        return [self.request.id, facts.delay().id]

    @task(bind=True)
    def progress(self, path):
        self.update_state(state="HALFWAY", meta={"done": 50})
        while not os.path.exists(path):
            time.sleep(0.01)
        return "done"
"""


@pytest.fixture(scope="module")
def shared(server: ValkeyServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Config]:
    """Settings under which a real worker runs `JOBS`."""
    folder = tmp_path_factory.mktemp("ask")
    (folder / "schedules").mkdir()
    (folder / "schedules" / "jobs.py").write_text(dedent(JOBS))
    config = Config(redis_url=server.url, namespace=f"ask{uuid4().hex[:8]}", schedules=folder / "schedules")
    command = (sys.executable, "-P", "-m", "scheduler.cli")
    worker = Process("worker", "-c", "2", "-Q", "default,other", config=config, cwd=folder, command=command)
    worker.told.wait("worker.ready")
    yield config
    worker.kill()


def app_for(config: Config, **settings: Any) -> App:
    """An App on the test's Redis, as another process would make it."""
    return App("ask", broker=config.redis_url, namespace=config.namespace, **settings)


@pytest.fixture
def far(shared: Config) -> Iterator[App]:
    """Somebody who has no task code, on the same Redis as the worker."""
    app = app_for(shared)
    yield app
    app.close()


@pytest.fixture
def app(config: Config) -> Iterator[App]:
    """An App in a namespace without a worker."""
    app = app_for(config)
    yield app
    app.close()


def add(a: int, b: int = 1) -> int:
    return a + b


# ── with a worker ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_process_without_task_code_asks_by_name(far: App) -> None:
    """The web application of the README."""
    result = far.send_task("jobs.add", (2,), {"b": 3})
    assert result.get(timeout=10) == 5
    assert (result.state, result.status) == (State.SUCCESS, State.SUCCESS)
    assert (result.ready(), result.successful(), result.failed()) == (True, True, False)
    assert (result.result, result.info, result.traceback) == (5, 5, None)
    assert far.AsyncResult(result.id) == result


def test_a_failure_comes_back_as_its_own_exception(far: App) -> None:
    """With the traceback of the worker as its cause, so that the log shows both."""
    result = far.send_task("jobs.fail", ["key"])
    with pytest.raises(KeyError, match="k") as caught:
        result.get(timeout=10)
    assert isinstance(caught.value.__cause__, RemoteTraceback)
    assert "in fail" in str(caught.value.__cause__)
    assert result.failed()
    assert isinstance(result.get(propagate=False), KeyError)
    assert "KeyError" in (result.traceback or "")


@pytest.mark.parametrize(("kind", "named"), [("shop", "schedules.jobs.ShopError: 7"), ("exit", "SystemExit: 3")])
def test_what_cannot_be_rebuilt_is_told_by_name(far: App, kind: str, named: str) -> None:
    """A class that this process has not imported is never imported because a record says so; SystemExit would end us."""
    with pytest.raises(errors.TaskFailedError) as caught:
        far.send_task("jobs.fail", [kind]).get(timeout=10)
    assert str(caught.value) == named
    assert "in fail" in (caught.value.traceback or "")


def test_a_bound_task_retries_and_gives_up(far: App) -> None:
    """`self.retry`: as often as `max_retries` says, then the exception itself."""
    assert far.send_task("jobs.insist").get(timeout=10) == [3, 2]
    with pytest.raises(ValueError, match="never"):
        far.send_task("jobs.give_up").get(timeout=10)


def test_a_task_knows_its_run(far: App) -> None:
    """`self.request`, and what ties the runs of a family together."""
    facts = far.send_task("jobs.facts", headers={"trace": "abc"}, queue="other", task_id="order-7").get(timeout=10)
    assert facts == {
        "id": "order-7", "args": [], "headers": {"trace": "abc"}, "entry": None, "root": "order-7", "parent": None,
        "queue": "other", "for": None,
    }  # fmt: skip
    parent, child = far.send_task("jobs.family").get(timeout=10)
    facts = far.AsyncResult(child).get(timeout=10)
    assert (facts["root"], facts["parent"]) == (parent, parent)


def test_a_task_reports_its_progress(far: App, tmp_path: Path) -> None:
    """`update_state` is seen while it runs, and gives way to the result."""
    result = far.send_task("jobs.progress", [str(tmp_path / "go")])
    wait_until(lambda: result.state == "HALFWAY", what="the task's own state")
    assert (result.info, result.ready()) == ({"done": 50}, False)
    (tmp_path / "go").touch()
    assert result.get(timeout=10) == "done"


def test_many_calls_come_back_in_their_order(far: App) -> None:
    """`apply_many`, in any of its forms."""
    far.task(add, name="jobs.add")
    results = far.tasks["jobs.add"].apply_many([(1,), [2, 2], {"args": (3,), "kwargs": {"b": 3}, "countdown": 0.01}])
    assert [result.get(timeout=10) for result in results] == [2, 4, 6]


def test_what_expires_before_it_starts_never_runs(far: App) -> None:
    """P8: and whoever waits for it is told."""
    result = far.send_task("jobs.add", (1,), expires=datetime.now(UTC) - timedelta(seconds=1))
    with pytest.raises(errors.ExpiredError, match=f"run {result.id} expired"):
        result.get(timeout=10)
    assert (result.state, result.ready()) == (State.EXPIRED, True)


# ── without one: what is on Redis ───────────────────────────────────────────────────────────────────────────────────


def test_an_unanswered_call_times_out_and_can_be_revoked(app: App) -> None:
    """`get` never waits longer than asked; a revoked run never starts, and says so."""
    result = app.send_task("jobs.add", (1,))
    began = time.monotonic()
    with pytest.raises(TimeoutError, match=r"is not over after 0\.05 s"):
        result.get(timeout="50ms")
    assert time.monotonic() - began < 2
    assert (result.state, result.result) == (State.PENDING, None)
    result.revoke()
    with pytest.raises(errors.RevokedError, match="was cancelled"):
        result.get(timeout=1)
    result.forget()
    assert result.state == State.PENDING


def test_an_eta_without_a_zone_is_local_time(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    """`datetime.now() + …` is always right, wherever the process runs; Celery takes it for UTC."""
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    try:
        task = app.task(add, name="jobs.add")
        moment = datetime(2030, 7, 1, 12, 0)
        result = task.apply_async((1,), eta=moment, expires=moment + timedelta(hours=1))
        header, payload = message(app, result.id)
        assert payload.eta_ms == 1_909_152_000_000 == header.expires_ms - 3_600_000
        [(_, score)] = delayed(app)
        assert score == 1_909_152_000_000
    finally:
        monkeypatch.undo()
        time.tzset()


def test_a_countdown_starts_from_redis_clock(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    """P10: a host whose calendar is a year ahead delays nothing."""
    task = app.task(add, name="jobs.add")
    task.delay(1)  # from here on Redis' clock is known, and carried on by our monotonic one
    real = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: real() + 365 * 86_400 * 10**9)
    before_ms = app.store.queues.time_ms()
    result = task.apply_async((1,), countdown="1m", expires=90)
    header, payload = message(app, result.id)
    assert payload.eta_ms is not None
    assert before_ms + 60_000 <= payload.eta_ms <= app.store.queues.time_ms() + 60_100, "late by a round trip at most"
    assert header.expires_ms - header.enqueued_ms == 90_000


def test_a_plain_call_is_the_same_message_as_any_other(app: App) -> None:
    """The short way of encoding and the long one give the same bytes."""
    task = app.task(
        lambda *_, **__: None, name="jobs.any", queue="q", priority=4, ack="early", ignore_result=True,
        result_expires="1h", expires="5m",
    )  # fmt: skip
    short = task.delay(1, "ü", x=None)
    [bulk] = task.apply_many([(1, "ü")])
    long = task.apply_async((1, "ü"), {"x": None}, headers={})
    one, other = (app.store.queues.body(result.id) or b"" for result in (short, long))
    assert differing(one, other) <= set(range(22, 38)), "only the moments may differ"
    header, at = decode_header(app.store.queues.body(bulk.id) or b"")
    assert (header.queue, header.priority, header.result_ttl_s) == ("q", 4, 3600)
    assert header.expires_ms - header.enqueued_ms == 300_000
    assert header.flags & FLAG_IGNORE_RESULT
    assert bytes(decode_payload(app.store.queues.body(bulk.id) or b"", at).args) == '[1,"ü"]'.encode()


def differing(one: bytes, other: bytes) -> set[int]:
    """Where two messages of one length differ."""
    assert len(one) == len(other)
    return {at for at in range(len(one)) if one[at] != other[at]}


def test_a_queue_is_chosen_by_call_then_task_then_routes(app: App) -> None:
    """The contract's order, in the asking process."""
    routed = app_for(app.config, routes={"jobs.*": "glob"})
    plain = routed.task(add, name="jobs.add")
    named = routed.task(add, name="jobs.named", queue="own")
    queues = [
        message(routed, result.id)[0].queue
        for result in (plain.delay(1), named.delay(1), named.apply_async((1,), queue="call"), routed.send_task("x.y"))
    ]
    assert queues == ["glob", "own", "call", "default"]
    routed.close()


def test_a_task_id_that_is_alive_is_refused(app: App) -> None:
    """A form that is sent twice must not run twice."""
    task = app.task(add, name="jobs.add")
    task.apply_async((1,), task_id="order-7")
    with pytest.raises(errors.RefusedError, match=r"run order-7: this task_id belongs to a run that has not ended"):
        task.apply_async((1,), task_id="order-7")
    with pytest.raises(errors.RefusedError):
        task.apply_many([{"args": (1,), "task_id": "order-7"}, (1,)])
    assert app.store.queues.depths()["default"].ready == 2, "the others were sent"


def test_nothing_is_sent_when_anything_is_wrong_with_it(app: App) -> None:
    """P12: a wrong argument gets one clear error, and disturbs nothing."""
    task = app.task(add, name="jobs.add")
    wrong: list[tuple[type[Exception], str, dict[str, object]]] = [
        (TypeError, r"task 'jobs.add': add\(a: 'int', b: 'int' = 1\) -> 'int': missing a required argument: 'a'", {}),
        (TypeError, r"its args\[0\] cannot be sent as JSON", {"args": [object()]}),
        (TypeError, "args 'text': expected a list or tuple", {"args": "text"}),
        (TypeError, "link: this version does not chain", {"args": [1], "link": "x"}),
        (
            ValueError,
            "no declared queue is bound to exchange 'x', and the message would be lost. Bound are: ",
            {"args": [1], "exchange": "x"},
        ),
        (TypeError, "colour: no such keyword", {"args": [1], "colour": "red"}),
        (ValueError, "the message has 300", {"args": ["x" * 300_000]}),
        (ValueError, "countdown and eta both say", {"args": [1], "countdown": 1, "eta": datetime.now(UTC)}),
        (ValueError, "eta 5: expected a datetime", {"args": [1], "eta": 5}),
        (ValueError, "countdown 'soon' is not a duration", {"args": [1], "countdown": "soon"}),
        (ValueError, "expires 5 cannot be met", {"args": [1], "countdown": 10, "expires": 5}),
        (ValueError, "priority 10: expected a whole number from 0 to 9", {"args": [1], "priority": 10}),
        (ValueError, "queue 'a b': use", {"args": [1], "queue": "a b"}),
        (ValueError, "task_id 'a b': use", {"args": [1], "task_id": "a b"}),
        (ValueError, "serializer 'yaml': expected 'json', 'msgpack', 'pickle'", {"args": [1], "serializer": "yaml"}),
        (ValueError, "headers 5: expected a mapping", {"args": [1], "headers": 5}),
        (ValueError, "retry_policy: tries: expected max_retries", {"args": [1], "retry_policy": {"tries": 5}}),
    ]
    for kind, said, keywords in wrong:
        with pytest.raises(kind, match=said):
            task.apply_async(**keywords)
    with pytest.raises(TypeError, match="missing a required argument"):
        task.apply_many([(1,), ()])
    assert app.store.queues.depths() == {}


def test_a_lost_redis_is_told_and_outlasted_if_asked(own_server: ValkeyServer, own_config: Config) -> None:
    """`retry_policy` goes on where the store has given up; without one the caller gets the error."""
    app = app_for(own_config, store_timeout="200ms")
    task = app.task(add, name="jobs.add")
    task.delay(1)
    own_server.stop()
    with pytest.raises(errors.StoreUnavailableError):
        task.delay(1)
    own_server.start()
    task.apply_async((1,), retry_policy={"max_retries": 20, "interval_start": 0.1})
    assert app.store.queues.depths()["default"].ready == 2
    app.close()


def ask_in_a_fork(task: object, pipe: object) -> None:
    """What a forked web worker does."""
    pipe.send(task.delay(2).id)  # type: ignore[attr-defined]


def test_a_fork_asks_on_a_connection_of_its_own(app: App) -> None:
    """Web servers fork after the application was imported and has asked."""
    task = app.task(add, name="jobs.add")
    task.delay(1)
    ours, theirs = multiprocessing.Pipe()
    child = multiprocessing.get_context("fork").Process(target=ask_in_a_fork, args=(task, theirs))
    child.start()
    assert ours.poll(10)
    child.join(10)
    assert app.store.queues.body(ours.recv()) is not None
    task.delay(3)
    assert app.store.queues.depths()["default"].ready == 3


def test_a_run_that_asks_hands_on_its_root(app: App) -> None:
    """`root_id` and `parent_id`, also over the short way."""
    task = app.task(add, name="jobs.add")
    task.delay(1)
    token = push_request(Request(id="child", root_id="root"))
    try:
        payload = message(app, task.delay(1).id)[1]
        assert (payload.root_id, payload.parent_id) == ("root", "child")
        payload = message(app, task.apply_many([(1,)])[0].id)[1]
        assert (payload.root_id, payload.parent_id) == ("root", "child")
    finally:
        pop_request(token)


def test_a_record_cannot_make_us_import_or_run_anything(app: App) -> None:
    """Whoever can write to Redis must not thereby choose what code runs here."""
    for module, name in (("antigravity", "Error"), ("os", "system"), ("builtins", "exec"), ("builtins", "SystemExit")):
        failure = {"type": name, "module": module, "message": "m", "args": ["true"]}
        record = {"state": "FAILURE", "result": failure}
        app.store.connection.call("SET", app.store.keys.result("x"), msgspec.json.encode(record))
        with pytest.raises(errors.TaskFailedError):
            app.AsyncResult("x").get(timeout=1)
    assert "antigravity" not in sys.modules
    assert builtins.SystemExit is SystemExit


def message(app: App, id_: str) -> tuple[Header, Payload]:
    """Header and payload of a message that waits."""
    body = app.store.queues.body(id_)
    assert body is not None
    header, at = decode_header(body)
    return header, decode_payload(body, at)


def delayed(app: App) -> list[tuple[bytes, float]]:
    """What is in the delayed set of the default queue."""
    found = app.store.connection.call("ZRANGE", app.store.keys.delayed("default"), 0, -1, "WITHSCORES")
    return [(found[at], float(found[at + 1])) for at in range(0, len(found), 2)]
