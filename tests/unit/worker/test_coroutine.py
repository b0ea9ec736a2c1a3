"""Coroutines are awaited on a loop that stays, and can be broken off with an exception that they may catch."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

import pytest

from scheduler import SoftTimeLimitExceeded
from worker.coroutine import Awaited, KeptLoops, soft_error
from worker.limits import Alarm

_said: ContextVar[str] = ContextVar("said", default="nothing")


def test_one_loop_serves_all_coroutines_of_a_thread() -> None:
    """A client that one task has connected is good for the next one."""
    loops = KeptLoops()

    async def which() -> asyncio.AbstractEventLoop:
        return asyncio.get_running_loop()

    assert loops.run(which()) is loops.run(which())


def test_what_is_set_before_is_seen_within_and_not_the_other_way_round() -> None:
    """`self.request` is a context variable; what a task sets of its own ends with it."""
    loops = KeptLoops()

    async def talk() -> str:
        before = _said.get()
        _said.set("inside")
        return before

    token = _said.set("outside")
    try:
        assert loops.run(talk()) == "outside"
        assert _said.get() == "outside"
    finally:
        _said.reset(token)


def test_what_is_no_awaitable_is_the_value() -> None:
    """A wrapper around a coroutine function may have awaited it itself."""
    assert KeptLoops().run(5) == 5


async def _sleeping() -> None:
    await asyncio.sleep(60)


async def _gathering() -> None:
    await asyncio.gather(asyncio.sleep(60), asyncio.sleep(60))


async def _grouped() -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(asyncio.sleep(60))


async def _within_a_timeout() -> None:
    async with asyncio.timeout(50):
        await asyncio.sleep(60)


async def _computing() -> None:
    while True:
        pass


@pytest.mark.parametrize("waiting", [_sleeping, _gathering, _grouped, _within_a_timeout, _computing])
def test_the_alarm_reaches_a_coroutine_wherever_it_is(waiting: Callable[[], Any]) -> None:
    """It waits on one thing or on many, or it computes: the limit is raised there, and can be caught."""
    loops = KeptLoops()

    async def task() -> str:
        try:
            await waiting()
        except SoftTimeLimitExceeded as error:
            await asyncio.sleep(0)  # it may go on awaiting
            return f"cleaned up after: {error}"
        return "never"

    with Alarm(loops)(20):
        assert loops.run(task()) == "cleaned up after: soft time limit of 20ms exceeded"
    left = [each for each in asyncio.all_tasks(loops.run(_loop())) if not each.done()]
    assert left == []


def test_the_error_is_known_by_the_name_that_users_import() -> None:
    """`retry_for=(SoftTimeLimitExceeded,)`, tracebacks and results know one class."""
    error = soft_error("x")
    assert isinstance(error, SoftTimeLimitExceeded)
    assert f"{type(error).__module__}.{type(error).__name__}" == "scheduler.errors.SoftTimeLimitExceeded"


def test_one_that_swallows_the_interruption_goes_on() -> None:
    """It was told; it is no longer being cancelled, so timeouts of its own work as ever."""

    async def stubborn(awaited_: list[Awaited]) -> str:
        asyncio.get_running_loop().call_soon(awaited_[0].interrupt, soft_error("x"))
        with contextlib.suppress(SoftTimeLimitExceeded):
            await asyncio.sleep(60)
        try:
            async with asyncio.timeout(0.01):
                await asyncio.sleep(60)
        except TimeoutError:
            return "my own timeout"
        return "never"

    async def main() -> str:
        box: list[Awaited] = []
        box.append(Awaited(stubborn(box)))
        return str(await box[0])

    assert asyncio.run(main()) == "my own timeout"


async def _loop() -> asyncio.AbstractEventLoop:
    return asyncio.get_running_loop()
