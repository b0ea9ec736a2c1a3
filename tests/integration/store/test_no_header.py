"""Bytes that are no message of ours stand in a queue: no script fails over them, or nobody could take from it any more."""

from __future__ import annotations

import random

import pytest

from scheduler.exchange import Queue
from scheduler.wire import HEADER, new_id
from tests.support.bench import Bench

pytestmark = pytest.mark.redis

CUT_SHORT = [bytes([1, 3, flags, 0, 0, marks]) + bytes(48) + bytes(tail) for flags in range(256)
             for marks, tail in ((0, (0,) * 6), (0xE0, (255,) * 6))]  # fmt: skip
"""A header whose bits promise names and texts that do not follow."""


def rubbish() -> list[bytes]:
    """The same each time."""
    chance = random.Random(4)
    random_ones = [b"\x01" + chance.randbytes(chance.randrange(2 * HEADER.size)) for _ in range(300)]
    return [*CUT_SHORT, *random_ones, b"", b"\x01" + b"\xff" * 90]


@pytest.mark.parametrize("limited", [False, True])
@pytest.mark.parametrize("at_ms", [0, 1], ids=["ready", "delayed"])
def test_what_has_no_header_keeps_nobody_from_working(bench: Bench, at_ms: int, limited: bool) -> None:
    """P5, P12: it goes to a worker, which buries it with its reason; what stands behind it runs."""
    if limited:
        bench.store.limits.tell([Queue("q", max_length=9_000, concurrency=9_000)])
    messages = [bench.message(priority=3)._replace(body=body, at_ms=at_ms) for body in rubbish()]
    for at in range(0, len(messages), 100):
        bench.store.queues.enqueue(messages[at : at + 100], call_id=new_id())
    behind = bench.calls(3)
    session = bench.open()
    taken: list[str] = []
    while True:
        batch = session.take(("q",), 100)
        taken += [message.id for message in batch.messages]
        if not batch.messages and not batch.more:
            break
    assert set(behind) <= set(taken)
    assert len(taken) > len(messages) / 2, "the others had expired, as far as can be read"
    session.close()
    bench.check_places()
