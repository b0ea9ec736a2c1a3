"""`scheduler.testing.stage`: tasks in the calling process, through a worker's own steps."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from scheduler import App, Task, crontab
from scheduler.context import current_request
from scheduler.errors import (
    ExpiredError,
    NotEncodableError,
    NotFoundError,
    RefusedError,
    Reject,
    ResultTimeoutError,
    RevokedError,
    SoftTimeLimitExceeded,
    StoreUnavailableError,
    UnknownTaskError,
)
from scheduler.loader import load
from scheduler.result import AsyncResult
from scheduler.testing import eager


@pytest.fixture
def app() -> App:
    """An App whose Redis nobody could reach."""
    return App("shop", broker="redis://localhost:1", store_timeout="100ms")


def test_a_call_runs_here_and_its_result_stays(app: App) -> None:
    """The test of a task reads as its use does; what it gave may be read when the block is over."""

    @app.task
    def add(a: int, b: int) -> int:
        return a + b

    with eager(app) as ran:
        result = add.delay(1, b=2)
        assert result.get() == 3
        assert [one.get() for one in add.apply_many([(1, 2), (3, 4)])] == [3, 7]
        assert app.send_task(add.name, (5, 6)).get(timeout=1) == 11
        assert AsyncResult(result.id).state == app.AsyncResult(result.id).state == "SUCCESS"
    assert (result.get(), result.ready(), result.successful()) == (3, True, True)
    assert [(run.task, run.state, run.attempt) for run in ran.runs] == [(add.name, "SUCCESS", 1)] * 4
    with pytest.raises(StoreUnavailableError):
        add.delay(1, 2)


def test_what_is_declared_within_the_block_is_the_apps_own_afterwards(app: App) -> None:
    """A test that declares a task in its block must not leave one behind that runs eagerly for ever."""
    with eager(app):

        @app.task
        def add(a: int, b: int) -> int:
            return a + b

        assert add.delay(1, 2).get() == 3
    with pytest.raises(StoreUnavailableError):
        add.delay(1, 2)


def test_arguments_and_results_pass_through_the_wire(app: App) -> None:
    """What JSON makes of a tuple, and what it cannot carry, is seen here and not in production."""

    @app.task
    def same(value: Any) -> Any:
        return value

    @app.task
    def odd() -> Any:
        return object()

    with eager(app):
        assert same.delay((1, 2)).get() == [1, 2]
        with pytest.raises(NotEncodableError):
            same.delay(object())
        with pytest.raises(TypeError, match="missing a required argument"):
            same.delay()
        with pytest.raises(NotEncodableError, match="its result cannot be sent as JSON: it is an object"):
            odd.delay().get()


def test_a_failure_is_that_of_a_real_run(app: App) -> None:
    """Its own class, the traceback of the worker as its cause, and the state."""

    @app.task
    def fail() -> None:
        raise ValueError("no such customer", 7)

    with eager(app) as ran:
        result = fail.delay()
        assert (result.state, result.failed()) == ("FAILURE", True)
        with pytest.raises(ValueError, match="no such customer") as caught:
            result.get()
        assert caught.value.args == ("no such customer", 7)
        assert "in fail" in str(caught.value.__cause__)
        assert isinstance(result.get(propagate=False), ValueError)
    assert ran.runs[0].error.startswith("ValueError: ")
    with eager(app, propagate=True), pytest.raises(ValueError, match="no such customer"):
        fail.delay()


def test_retries_take_their_pauses_in_no_time(app: App) -> None:
    """Backoff and limit are a worker's, the clock of the run moves on, and nobody waits."""
    seen: list[tuple[int, datetime]] = []

    @app.task(bind=True, max_retries=3, retry_for=(OSError,), retry_backoff="10s", retry_jitter=False)
    def flaky(self: Task, good: int) -> str:
        seen.append((self.request.retries, datetime.now(UTC)))
        if self.request.attempt < good:
            raise OSError("away")
        return "done"

    began = time.monotonic()
    with eager(app) as ran:
        assert flaky.delay(3).get() == "done"
        assert [(again.pause_s, again.error) for again in ran.retries] == [
            (10.0, "OSError: away"),
            (20.0, "OSError: away"),
        ]
        with pytest.raises(OSError, match="away"):
            flaky.delay(9).get()
    assert [retries for retries, _ in seen] == [0, 1, 2, 0, 1, 2, 3]
    assert [run.attempt for run in ran.runs] == [3, 4]
    assert time.monotonic() - began < 5


def test_what_expires_during_a_retry_does_not_start_again(app: App) -> None:
    """P8, also here: the pause counts, although it takes no time."""

    @app.task(retry_for=(OSError,), retry_backoff="1h", retry_jitter=False)
    def flaky() -> None:
        raise OSError

    with eager(app):
        result = flaky.apply_async(expires="10m")
        assert result.state == "EXPIRED"
        with pytest.raises(ExpiredError):
            result.get()
        # Another run's clock is not ahead.
        assert flaky.apply_async(expires=datetime.now(UTC) + timedelta(minutes=1), countdown=5).state == "EXPIRED"


def test_hooks_request_and_states_are_as_in_a_worker(app: App) -> None:
    """What a base class does around a task is part of it."""
    told: list[str] = []

    class Telling(Task):
        def before_start(self, *_: Any) -> None:
            told.append("before")

        def on_success(self, retval: Any, *_: Any) -> None:
            told.append(f"success {retval}")

    @app.task(base=Telling, bind=True)
    def work(self: Task) -> str:
        self.update_state(state="HALF", meta={"done": 1})
        assert app.AsyncResult(self.request.id).state == "HALF"
        return f"{self.request.hostname} {self.request.headers['who']}"

    with eager(app):
        assert work.apply_async(headers={"who": "ann"}).get() == "eager ann"
    assert told == ["before", "success eager ann"]


def test_a_soft_time_limit_is_kept(app: App) -> None:
    """An alarm in the main thread; elsewhere the test is told instead of misled."""

    @app.task(soft_time_limit="50ms")
    def slow() -> str:
        try:
            time.sleep(5)
        except SoftTimeLimitExceeded:
            return "cleaned up"
        return "too late"

    caught: list[BaseException] = []

    def elsewhere() -> None:
        try:
            slow.delay()
        except RuntimeError as error:
            caught.append(error)

    with eager(app):
        assert slow.delay().get() == "cleaned up"
        thread = threading.Thread(target=elsewhere)
        thread.start()
        thread.join()
    assert "call it in the main thread" in str(caught[0])


def test_a_call_within_a_task_runs_after_it_or_when_it_is_waited_for(app: App) -> None:
    """As in a real run, where the child is another message; and its family is known."""
    order: list[str] = []

    @app.task
    def child(name: str) -> str:
        order.append(name)
        return current_request().parent_id or ""

    @app.task(bind=True)
    def parent(self: Task) -> list[str]:
        child.delay("later")
        mine = child.delay("at once").get()
        order.append("parent")
        return [mine, self.request.id]

    with eager(app):
        mine, own = parent.delay().get()
    assert mine == own
    assert order == ["later", "at once", "parent"]


def test_what_a_task_asks_for_and_nobody_waits_for_runs_after_it(app: App) -> None:
    """The other half."""
    order: list[str] = []

    @app.task
    def child() -> None:
        order.append("child")

    @app.task
    def parent() -> None:
        child.delay()
        order.append("parent")

    with eager(app):
        parent.delay()
    assert order == ["parent", "child"]


def test_a_task_that_never_ends_is_named(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not a test that hangs."""
    monkeypatch.setattr("scheduler.testing.stage.ATTEMPTS_MAX", 100)

    @app.task
    def again() -> None:
        again.delay()

    @app.task
    def rejected() -> None:
        raise Reject("later", requeue=True)

    for task in (again, rejected):
        with eager(app), pytest.raises(RuntimeError, match=rf"{task.name}' call itself, or retry for ever"):
            task.delay()


def test_what_cannot_end_does_not_hang(app: App) -> None:
    """A wait without an end is an error at once."""

    @app.task(ignore_result=True)
    def quiet() -> None: ...

    @app.task(bind=True)
    def knot(self: Task) -> Any:
        return app.AsyncResult(self.request.id).get()

    with eager(app):
        with pytest.raises(ResultTimeoutError):
            quiet.delay().get()
        with pytest.raises(ResultTimeoutError):
            app.AsyncResult("nobody").get()
        with pytest.raises(ResultTimeoutError):
            knot.delay().get()


def test_a_task_that_is_not_here_is_named(app: App) -> None:
    """In production another worker may have it; in a test it is a slip, or an App that was not given."""

    @app.task
    def invoice() -> None: ...

    with eager(app), pytest.raises(UnknownTaskError, match=r"no task '.*invoic' .*did you mean '.*invoice'"):
        app.send_task(invoice.name[:-1])


def test_an_id_may_be_chosen_and_a_waiting_run_revoked(app: App) -> None:
    """As on Redis: an id of a run that has not ended is refused."""
    states: list[str] = []

    @app.task
    def child() -> None: ...

    @app.task(bind=True)
    def parent(self: Task) -> None:
        result = child.apply_async(task_id="one")
        with pytest.raises(RefusedError, match="run one"):
            child.apply_async(task_id="one")
        result.revoke()
        states.append(result.state)

    with eager(app):
        parent.delay().get()
        with pytest.raises(RevokedError):
            app.AsyncResult("one").get()
        assert child.apply_async(task_id="one").state == "SUCCESS"
    assert states == ["REVOKED"]


def test_an_entry_is_fired_with_its_arguments_and_its_due_time(app: App) -> None:
    """What a scheduled run sees is tested with the schedule's own words."""

    @app.task(bind=True)
    def report(self: Task, kind: str, lines: int = 1) -> list[Any]:
        request = self.request
        return [kind, lines, request.entry, request.scheduled_for and request.scheduled_for.isoformat()]

    app.entry(
        "weekly", report, crontab("0 9 * * mon", tz="Europe/Berlin"), args=["sales"], kwargs={"lines": 3}, expires="1h"
    )
    with eager(app) as ran:
        assert ran.fire("weekly", "2026-01-05 09:00").get() == ["sales", 3, "weekly", "2026-01-05T08:00:00+00:00"]
        assert ran.fire("weekly").get()[2] == "weekly"
        with pytest.raises(NotFoundError, match="no entry 'weakly'; did you mean 'weekly'"):
            ran.fire("weakly")
    assert ran.runs[0].entry == "weekly"


def test_tasks_of_schedule_files_need_no_app(tmp_path: Path) -> None:
    """Whoever imports `schedules.reports` has its tasks."""
    folder = tmp_path / "schedules"
    folder.mkdir()
    (folder / "night.py").write_text(
        "from scheduler import crontab, schedule\n\n@schedule(crontab('0 3 * * *'), args=[2])\ndef double(n): return 2 * n\n"
    )
    from scheduler.config import Config  # noqa: PLC0415

    loaded = load(folder, Config())
    with eager() as ran:
        assert loaded.tasks["night.double"].delay(4).get() == 8
        assert ran.fire("night.double").get() == 4


def test_what_is_signed_compressed_or_packed_in_production_runs_here(tmp_path: Path) -> None:
    """The settings of production do for tests: nothing leaves the process."""
    key = tmp_path / "key"
    key.write_text("0123456789abcdef\n")
    app = App(
        "packed", signing_key_file=str(key), task_serializer="msgpack", result_serializer="msgpack",
        result_compression="zlib",
    )  # fmt: skip

    @app.task
    def big(value: Any) -> Any:
        return [value] * 5_000

    with eager(app):
        assert big.delay({1}).get() == [{1}] * 5_000
