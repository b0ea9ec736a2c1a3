"""What a run gave, as `sched` shows it."""

from __future__ import annotations

import pickle
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import msgspec
import pytest

from scheduler.cli.run_result import result_data, result_text
from scheduler.content import JSON, MSGPACK
from scheduler.model import ResultRecord

VALUE = {"when": datetime(2026, 1, 2, tzinfo=UTC), "id": UUID(int=7), "tags": {"a"}, "data": b"\xff", "n": [1, None]}
SHOWN: Any = {"when": "2026-01-02T00:00:00Z", "id": str(UUID(int=7)), "tags": ["a"], "data": "/w==", "n": [1, None]}


@pytest.mark.parametrize(
    ("data", "serializer"), [(JSON.encode(VALUE, what=""), 0), (MSGPACK.encode(VALUE, what=""), 1)]
)
def test_values_are_shown_as_plain_json(data: bytes, serializer: int) -> None:
    """For `jq` and for eyes: tags are for tasks."""
    record = ResultRecord("SUCCESS", msgspec.Raw(data), serializer=serializer)
    assert msgspec.json.decode(msgspec.json.encode(result_data(record)))["result"] == SHOWN
    assert msgspec.json.decode(result_text(record)) == SHOWN


def test_what_is_pickled_stays_closed() -> None:
    """Who only looks has not asked for anybody's code to run."""
    record = ResultRecord("SUCCESS", msgspec.Raw(pickle.dumps(VALUE)), serializer=2)
    assert result_text(record).startswith('"(pickle, ')


def test_what_a_newer_version_wrote_is_shown_as_it_is() -> None:
    data = b'{"__type__":"polygon","__value__":[1]}'
    assert result_text(ResultRecord("SUCCESS", msgspec.Raw(data))).encode() == data
