"""What a run gave, as people and programs see it."""

from __future__ import annotations

from typing import Any

import msgspec

from scheduler.content import JSON, MSGPACK
from scheduler.errors import UndecodableMessageError
from scheduler.model import ResultRecord
from scheduler.wire import SERIALIZER_NAMES, SERIALIZERS, encode_json

_RAISED = frozenset({"FAILURE", "RETRY"})


def result_data(record: ResultRecord | None) -> dict[str, Any]:
    """``{result, exception, traceback, meta}``: `exception` says what a failure raised, and `result` is None then."""
    if record is None:
        return {"result": None, "exception": None, "traceback": None, "meta": None}
    raised = record.state in _RAISED
    return {
        "result": None if raised else _plain(record),
        "exception": record.result if raised else None,
        "traceback": record.traceback,
        "meta": _natural(record.meta),
    }


def result_text(record: ResultRecord) -> str:
    """The return value as JSON, or the exception as ``Type: message``."""
    if record.state not in _RAISED:
        return bytes(_plain(record)).decode()
    raised = msgspec.json.decode(record.result)
    if not isinstance(raised, dict):
        return str(raised)
    name, message = str(raised.get("type", "")), str(raised.get("message", ""))
    return f"{name}: {message}" if message else name


def _plain(record: ResultRecord) -> msgspec.Raw:
    """The return value as JSON. What is pickled stays closed: nobody who only looks has asked for its code to run."""
    if not record.serializer:
        return _natural(record.result)
    name = SERIALIZER_NAMES.get(record.serializer, str(record.serializer))
    if record.serializer != SERIALIZERS["msgpack"]:
        return msgspec.Raw(msgspec.json.encode(f"({name}, {len(record.result):,} bytes)"))
    return _natural(msgspec.Raw(encode_json(MSGPACK.decode(record.result, what="the result"), what="the result")))


def _natural(data: msgspec.Raw) -> msgspec.Raw:
    """*data*, which is JSON, without tags: a date is text, a set is a list."""
    if JSON.mark not in bytes(data):
        return data
    try:
        return msgspec.Raw(msgspec.json.encode(JSON.decode(data, what="it")))
    except (UndecodableMessageError, TypeError):
        return data  # a newer version wrote it
