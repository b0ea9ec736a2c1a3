"""
The pools, and what each of them can do: the table of docs/workers.md.

What is said here is said to people. Where a pool cannot keep a limit, its worker says so when it starts.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec


class Can(StrEnum):
    """How far a pool can do something."""

    YES = "yes"
    NO = "no"
    PYTHON = "between two instructions of Python"
    AWAIT = "where a coroutine awaits"


class Pool(msgspec.Struct, frozen=True, kw_only=True):
    """
    One pool.

    Attributes:
        soft_limit: Whether `soft_time_limit` is kept.
        hard_limit: Whether `time_limit` is kept.
        terminate: Whether a run can be broken off from outside (`sched cancel --terminate`).
        memory_limit: Whether `max_memory_per_child` is kept.
        recycling: Whether `max_tasks_per_child` is kept.
        isolation: What a crash in a task (in C, out of memory) takes with it.
        coroutines: How `async def` tasks run.
        lease: Whether a long task keeps its message (P6).
        concurrency_max: For -c.
    """

    soft_limit: Can
    hard_limit: Can
    terminate: Can
    memory_limit: Can
    recycling: Can
    isolation: str
    coroutines: str
    lease: Can
    concurrency_max: int


POOLS: dict[str, Pool] = {
    "prefork": Pool(
        soft_limit=Can.PYTHON,
        hard_limit=Can.YES,
        terminate=Can.YES,
        memory_limit=Can.YES,
        recycling=Can.YES,
        isolation="one run",
        coroutines="one at a time in each child",
        lease=Can.YES,
        concurrency_max=400,
    ),
    "threads": Pool(
        soft_limit=Can.PYTHON,
        hard_limit=Can.NO,
        terminate=Can.PYTHON,
        memory_limit=Can.YES,
        recycling=Can.YES,
        isolation="all runs of the worker",
        coroutines="one at a time in each thread",
        lease=Can.YES,
        concurrency_max=500,
    ),
    "async": Pool(
        soft_limit=Can.AWAIT,
        hard_limit=Can.AWAIT,
        terminate=Can.AWAIT,
        memory_limit=Can.YES,
        recycling=Can.YES,
        isolation="all runs of the worker",
        coroutines="thousands at a time",
        lease=Can.YES,
        concurrency_max=10_000,
    ),
    "solo": Pool(
        soft_limit=Can.PYTHON,
        hard_limit=Can.NO,
        terminate=Can.NO,
        memory_limit=Can.NO,
        recycling=Can.NO,
        isolation="the worker",
        coroutines="one at a time",
        lease=Can.NO,
        concurrency_max=1,
    ),
}
