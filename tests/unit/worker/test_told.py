"""Who hears of an execution: the hooks of its class and the receivers of signals, for each way in which it can end."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from scheduler import App, Ignore, Reject, Retry, SoftTimeLimitExceeded, Task, signals
from scheduler.config import Config
from scheduler.model import Message, Outcome
from scheduler.signals import Signal
from scheduler.wire import FLAG_EARLY, Header, Payload, encode_body
from worker.execute import Executor
from worker.frames import Released, Retried

NOW_MS = 1_000_000.0
AROUND = ("task_received", "task_prerun", "task_success", "task_retry", "task_failure", "task_postrun")


@pytest.fixture(autouse=True)
def nobody_stays_connected() -> Iterator[None]:
    """Receivers are process-wide."""
    yield
    for each in vars(signals).values():
        if isinstance(each, Signal):
            each.receivers = ()


@pytest.fixture
def told() -> list[str]:
    """What was heard, in order: every signal around a run writes its name here, and so do the hooks of `Loud`."""
    heard: list[str] = []
    Loud.heard = heard
    for name in AROUND:
        getattr(signals, name).connect(lambda name=name, **_: heard.append(name))
    signals.task_postrun.connect(lambda state, **_: heard.append(state))
    return heard


class Loud(Task):
    """A base class with every hook."""

    heard: list[str]

    def before_start(self, *_: Any, **__: Any) -> None:
        self.heard.append("before_start")

    def on_success(self, *_: Any, **__: Any) -> None:
        self.heard.append("on_success")

    def on_failure(self, exc: BaseException, *_: Any, **__: Any) -> None:
        self.heard.append(f"on_failure {exc!r}")

    def on_retry(self, exc: BaseException, *_: Any, **__: Any) -> None:
        self.heard.append(f"on_retry {exc!r}")

    def after_return(self, status: str, *_: Any, **__: Any) -> None:
        self.heard.append(f"after_return {status}")


def run(app: App, name: str = "t", *args: Any, **header: Any) -> Any:
    """Execute one message for the task *name*."""
    executor = Executor(app.tasks, Config(state_dir=Path("/nowhere")), worker="w", server_ms=lambda: NOW_MS)
    fields: dict[str, Any] = {"task": name, "queue": "q", **header}
    payload = Payload(args=msgspec.Raw(msgspec.json.encode(args)))
    return executor.run(Message("id", encode_body(Header(**fields), payload)))


def raising(app: App, error: BaseException, **options: Any) -> None:
    def t() -> None:
        raise error

    app.task(t, name="t", base=Loud, **options)


def test_a_run_that_returns(told: list[str]) -> None:
    """Celery's order: what it returned is told before that it is over."""
    app = App()

    def t(a: int) -> int:
        told.append("the call")
        return a

    app.task(t, name="t", base=Loud)

    assert run(app, "t", 7).state == "SUCCESS"
    assert told == [
        "task_received", "task_prerun", "before_start", "the call", "on_success", "task_success", "after_return SUCCESS",
        "task_postrun", "SUCCESS",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("error", "options", "ends", "expected"),
    [
        (ValueError("x"), {}, "FAILURE", ["on_failure ValueError('x')", "task_failure", "after_return FAILURE"]),
        (
            SoftTimeLimitExceeded("5s"), {}, "FAILURE",
            ["on_failure SoftTimeLimitExceeded('5s')", "task_failure", "after_return FAILURE"],
        ),
        (OSError("x"), {"retry_for": OSError}, "RETRY", ["on_retry OSError('x')", "task_retry", "after_return RETRY"]),
        (Retry(exc=KeyError("k")), {}, "RETRY", ["on_retry KeyError('k')", "task_retry", "after_return RETRY"]),
        (
            Retry(exc=KeyError("k")), {"max_retries": 0}, "FAILURE",
            ["on_failure KeyError('k')", "task_failure", "after_return FAILURE"],
        ),
        (Ignore(), {}, "IGNORED", ["after_return IGNORED"]),
        (Reject("no"), {}, "REJECTED", ["after_return REJECTED"]),
        (Reject("no", requeue=True), {}, "REJECTED", ["after_return REJECTED"]),
    ],
)  # fmt: skip
def test_a_run_that_raises(
    told: list[str], error: BaseException, options: dict[str, Any], ends: str, expected: list[str]
) -> None:
    """What opens something in `before_start` can close it in `after_return`, whatever came in between."""
    app = App()
    raising(app, error, **options)
    run(app)
    assert told == ["task_received", "task_prerun", "before_start", *expected, "task_postrun", ends]


def test_what_each_signal_carries() -> None:
    """Celery's keywords, so that receivers written for it are understood."""
    app = App()
    carried: dict[str, dict[str, Any]] = {}
    for name in AROUND:
        getattr(signals, name).connect(lambda name=name, **kwargs: carried.__setitem__(name, kwargs))
    raising(app, error := ValueError("x"))
    run(app)
    for name, kwargs in carried.items():
        assert {"signal", "sender", *getattr(signals, name).carries} == set(kwargs), name
    failure = carried["task_failure"]
    assert (failure["sender"], failure["task_id"], failure["exception"]) == (app.tasks["t"], "id", error)
    assert failure["traceback"].tb_frame.f_code.co_name == "_perform"
    info = failure["einfo"]
    assert (info.exception, info.type, info.traceback) == (error, ValueError, str(info))
    assert "in t\n" in info
    assert carried["task_received"]["request"].id == "id"


def test_a_receiver_sees_the_run_it_is_called_for() -> None:
    """`current_request` holds around it, and the request is complete."""
    app, seen = App(), []
    raising(app, OSError("x"), retry_for=OSError)
    signals.task_retry.connect(lambda request, reason, **_: seen.append((request.id, request.task, reason.exc)))
    assert isinstance(run(app), Retried)
    ((id_, task, exc),) = seen
    assert (id_, task, str(exc)) == ("id", "t", "x")


def test_a_hook_that_raises_changes_nothing_and_is_told(caplog: pytest.LogCaptureFixture) -> None:
    """P12: the run has succeeded; the mistake is logged with its traceback, and told to whoever listens."""

    class Broken(Task):
        def on_success(self, *_: Any, **__: Any) -> None:
            raise KeyError("metrics")

    app, told = App(), []
    signals.task_internal_error.connect(lambda exception, task_id, **_: told.append((task_id, repr(exception))))

    def t() -> None: ...

    app.task(t, name="t", base=Broken)

    with caplog.at_level(logging.ERROR, "worker.execute"):
        assert run(app).state == "SUCCESS"
    assert told == [("id", "KeyError('metrics')")]
    assert "hook.failed task=t hook=on_success" in caplog.text
    assert "in on_success" in caplog.text


def test_before_start_is_a_part_of_the_attempt() -> None:
    """What it raises fails the run, before the function is called."""

    class Guarded(Task):
        def before_start(self, *_: Any, **__: Any) -> None:
            raise PermissionError("not today")

    app, called = App(), []

    def t() -> None:
        called.append(1)

    app.task(t, name="t", base=Guarded)

    assert run(app).state == "FAILURE"
    assert called == []


def test_what_never_starts_is_told_too() -> None:
    """Expired, unreadable, unknown: each has its signal, where this process is the one that sees it."""
    app = App()
    heard: list[tuple[Any, ...]] = []

    def t() -> None: ...

    app.task(t, name="t")

    signals.task_revoked.connect(lambda sender, expired, request, **_: heard.append((sender, expired, request.id)))
    signals.task_unknown.connect(lambda name, id, exc, **_: heard.append((name, id, type(exc).__name__)))
    signals.task_rejected.connect(lambda message, exc, **_: heard.append((message.id, type(exc).__name__)))
    run(app, expires_ms=int(NOW_MS))
    run(app, "nobody")
    executor = Executor(app.tasks, Config(state_dir=Path("/nowhere")), worker="w", server_ms=lambda: NOW_MS)
    executor.run(Message("bad", b"\x00\x01"))
    assert heard == [
        (app.tasks["t"], True, "id"), ("nobody", "id", "UnknownTaskError"), ("bad", "UndecodableMessageError"),
    ]  # fmt: skip


def test_a_rejected_message_says_where(told: list[str]) -> None:
    """`raise Reject(…) from error` in an `except`: the traceback stands with the dead letter."""
    app = App()
    raising(app, Reject("no such account"))
    became = run(app)
    assert isinstance(became, Outcome)
    assert became.dead
    assert "in t\n" in (became.trace or "")
    raising(App(), Reject("later", requeue=True))
    assert told


def test_a_rejected_message_that_is_to_come_back_is_released() -> None:
    """Not counted as an attempt, and not at once, which would be a spin."""
    app = App()
    raising(app, Reject("later", requeue=True))
    Loud.heard = []
    became = run(app)
    assert isinstance(became, Released)
    assert (became.delay_ms, became.reason) == (1_000, "rejected by its task: later")


def test_a_run_that_was_acknowledged_early_is_not_repeated_for_retry_for() -> None:
    """
    An entry made by hand can say `ack="early"` of a task with `retry_for`: at most once weighs more. `self.retry` is the task's
    own word.
    """
    app = App()
    Loud.heard = []
    raising(app, OSError("x"), retry_for=OSError)
    assert isinstance(run(app), Retried)
    assert run(app, flags=FLAG_EARLY).state == "FAILURE"
    app = App()
    raising(app, Retry())
    assert isinstance(run(app, flags=FLAG_EARLY), Retried)


def test_a_task_may_put_something_around_every_call() -> None:
    """`__call__` of a base class: a span, a transaction, a lock."""

    class Spanned(Task):
        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            return ["open", super().__call__(*args, **kwargs), "close"]

    app = App()

    def t(self: Task, a: int) -> tuple[str, int]:
        return self.request.id, a

    app.task(t, name="t", base=Spanned, bind=True)

    outcome = run(app, "t", 7)
    assert msgspec.json.decode(msgspec.json.decode(outcome.result, type=dict[str, msgspec.Raw])["result"]) == [
        "open", ["id", 7], "close",
    ]  # fmt: skip
