"""How much work to fetch, in milliseconds of it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from scheduler.model import Message
from scheduler.wire import Header, Payload, encode_body, new_id
from worker.prefetch import PARCEL_MESSAGES_MAX, PARCEL_S, Pace, task_of


def message(task: str, padding: int = 0) -> Message:
    body = encode_body(Header(entry="an entry", task=task, queue="q"), Payload(headers={"x": "y" * padding}))
    return Message(new_id(), body)


def test_the_task_is_read_from_the_header() -> None:
    """Without decoding the rest; bytes that are none of ours have none."""
    assert task_of(message("reports.größe").body) == "reports.größe"
    assert task_of(b"") == ""
    assert task_of(b"\xff" * 70) == ""


def test_what_is_unknown_comes_one_by_one() -> None:
    """Nobody knows yet how long it takes."""
    assert Pace().quota(1) == 1
    assert Pace().quota(4) == 4


def test_short_tasks_come_by_the_hundred_and_long_ones_alone() -> None:
    """The mean follows what was seen."""
    pace = Pace()
    pace.learn({"t": (100, 0.001)})
    assert pace.quota(1) == PARCEL_MESSAGES_MAX
    assert pace.is_quick([message("t")])
    for _ in range(40):
        pace.learn({"slow": (1, 10.0)})
    assert pace.quota(1) == 1
    assert not pace.is_quick([message("t"), message("slow")])


def test_a_long_task_fills_a_parcel() -> None:
    """What is behind it goes to another child, or back."""
    pace = Pace()
    pace.learn({"slow": (1, 10.0), "quick": (1000, 0.01)})
    slow, others = message("slow"), [message("quick") for _ in range(10)]
    parcels, rest = pace.deal([slow, *others], 1)
    assert parcels == [[slow]]
    assert rest == others
    parcels, rest = pace.deal([slow, *others], 2)
    assert parcels == [[slow], others]
    assert rest == []


def test_equal_work_is_shared_equally() -> None:
    """No child idles while another has a queue."""
    pace = Pace()
    pace.learn({"t": (1000, 0.01)})
    parcels, rest = pace.deal([message("t") for _ in range(100)], 4)
    assert rest == []
    assert all(20 <= len(parcel) <= 30 for parcel in parcels)


def test_what_is_finished_one_by_one_comes_alone() -> None:
    """`ack="each"`: at most one may repeat after a crash."""
    pace = Pace({"each"})
    pace.learn({"each": (100, 0.0001)})
    messages = [message("each") for _ in range(3)]
    parcels, rest = pace.deal(messages, 2)
    assert parcels == [[messages[0]], [messages[1]]]
    assert rest == [messages[2]]
    assert pace.quota(2) == 2


tasks = st.sampled_from(["a", "b", "slow", "each", "unknown"])


@given(names=st.lists(tasks, max_size=60), parcels=st.integers(1, 5), padding=st.integers(0, 3))
def test_dealing_loses_nothing_and_keeps_the_order(names: list[str], parcels: int, padding: int) -> None:
    """P5 in small: every message is in exactly one place."""
    pace = Pace({"each"})
    pace.learn({"a": (10, 0.0001), "b": (1, PARCEL_S / 3), "slow": (1, 5.0)})
    messages = [message(name, padding * 400_000) for name in names]
    dealt, rest = pace.deal(messages, parcels)
    assert [one for parcel in [*dealt, rest] for one in parcel] == messages
    assert len(dealt) <= parcels
    assert all(dealt)
    for parcel in dealt:
        assert len(parcel) == 1 or all(task_of(one.body) != "each" for one in parcel)
