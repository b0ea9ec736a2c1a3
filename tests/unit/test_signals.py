"""Signals: who is called, in which order, and that nobody's mistake is anybody else's (P12)."""

from __future__ import annotations

import gc
import logging
from typing import Any

import pytest

from scheduler.signals import Signal


def test_receivers_are_called_in_the_order_in_which_they_were_connected() -> None:
    """Both forms of the decorator work, and each receiver learns who sends and what."""
    signal, heard = Signal("task_prerun", "task_id"), []

    @signal.connect
    def first(**kwargs: Any) -> str:
        heard.append(("first", kwargs))
        return "one"

    @signal.connect()
    def second(sender: object = None, task_id: str = "", **kwargs: Any) -> None:
        heard.append(("second", {"sender": sender, "task_id": task_id}))

    answers = signal.send(sender="shop.pay", task_id="7")

    assert [(first, "one"), (second, None)] == answers
    assert [
        ("first", {"signal": signal, "sender": "shop.pay", "task_id": "7"}),
        ("second", {"sender": "shop.pay", "task_id": "7"}),
    ] == heard


def test_a_receiver_that_raises_changes_nothing_for_the_others(caplog: pytest.LogCaptureFixture) -> None:
    """P12: it is logged with its traceback; `sys.exit()` in one ends no worker."""
    signal = Signal("task_prerun")

    @signal.connect
    def broken(**kwargs: Any) -> None:
        raise ValueError("no tracer")

    @signal.connect
    def leaving(**kwargs: Any) -> None:
        raise SystemExit(3)

    signal.connect(fine := lambda **_: "fine")

    with caplog.at_level(logging.ERROR, "scheduler.signals"):
        answers = signal.send()

    assert [ValueError, SystemExit, str] == [type(answer) for _, answer in answers]
    assert (fine, "fine") == answers[-1]
    assert "receiver.failed signal=task_prerun" in caplog.records[0].message
    assert "error='ValueError: no tracer'" in caplog.records[0].message
    assert caplog.records[0].exc_info is not None


def test_a_strict_send_passes_the_first_exception_on() -> None:
    """So a child whose database cannot be opened is not put to work."""
    signal = Signal("worker_process_init")

    @signal.connect
    def broken(**kwargs: Any) -> None:
        raise ConnectionError("no database")

    with pytest.raises(ConnectionError, match="no database"):
        signal.send_strictly()


def test_a_sender_is_told_by_its_task_or_by_its_name() -> None:
    """Some signals carry the task as their sender, others its name; whoever connects need not know which."""

    class Task:
        name = "shop.pay"

    signal, heard = Signal("task_prerun"), []
    signal.connect(lambda **_: heard.append("by name"), sender="shop.pay")
    signal.connect(lambda **_: heard.append("by task"), sender=Task())
    signal.connect(lambda **_: heard.append("of another"), sender="shop.refund")

    signal.send(sender=Task())
    assert heard == ["by name", "by task"]
    assert signal.has_listeners("shop.refund")
    assert not signal.has_listeners("shop.ship")


def test_a_function_defined_inside_another_stays_connected() -> None:
    """With Celery's default (weak) it would be collected, and nobody would say so."""
    signal, heard = Signal("task_prerun"), []

    def set_up() -> None:
        @signal.connect
        def inner(**kwargs: Any) -> None:
            heard.append("inner")

    set_up()
    gc.collect()
    signal.send()
    assert heard == ["inner"]


def test_a_weak_receiver_goes_with_its_owner() -> None:
    """Asked for, it is as in Celery, bound methods included."""
    signal, heard = Signal("task_prerun"), []

    class Owner:
        def hear(self, **_: Any) -> None:
            heard.append("heard")

    owner = Owner()
    signal.connect(owner.hear, weak=True)
    signal.send()
    del owner
    gc.collect()
    signal.send()
    assert heard == ["heard"]
    assert not signal.has_listeners()


def test_connecting_twice_is_connecting_once() -> None:
    """A module may be imported under two names: then its functions differ, and `dispatch_uid` tells that they do not."""
    signal, heard = Signal("task_prerun"), []

    def hear(**kwargs: Any) -> None:
        heard.append("heard")

    signal.connect(hear)
    signal.connect(hear)
    signal.connect(lambda **_: heard.append("by id"), dispatch_uid="mine")
    signal.connect(lambda **_: heard.append("by id"), dispatch_uid="mine")
    signal.send()
    assert heard == ["heard", "by id"]

    assert signal.disconnect(hear)
    assert not signal.disconnect(hear)
    assert signal.disconnect(dispatch_uid="mine")
    assert not signal.receivers


@pytest.mark.parametrize(
    ("receiver", "complaint"),
    [
        (lambda: None, r"\*\*kwargs"),
        ("tasks.hear", "expected a function"),
    ],
)
def test_what_cannot_be_called_is_refused_when_it_is_connected(receiver: Any, complaint: str) -> None:
    """Not at the first run, in a log that nobody reads."""
    with pytest.raises(ValueError, match=complaint):
        Signal("task_prerun").connect(receiver)


def test_a_coroutine_function_is_refused() -> None:
    """It would never be awaited."""

    async def hear(**kwargs: Any) -> None: ...

    with pytest.raises(ValueError, match="never be awaited"):
        Signal("task_prerun").connect(hear)


def test_connecting_what_nobody_sends_is_told(caplog: pytest.LogCaptureFixture) -> None:
    """A program written for Celery keeps running, and its author learns what will not be heard."""
    signal = Signal("beat_init", never="a beat runs nobody's code")
    with caplog.at_level(logging.WARNING, "scheduler.signals"):
        signal.connect(lambda **_: None)
    assert "signal.unsent signal=beat_init" in caplog.text
    assert "a beat runs nobody's code" in caplog.text
