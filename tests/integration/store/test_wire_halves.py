"""`wire.py` and `header.lua` are two halves of one thing: they read the same from the same bytes, and refuse the same."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scheduler.errors import UndecodableMessageError
from scheduler.model import Catchup, Overlap
from scheduler.store import Store
from scheduler.store.scripts import _expand, _strip
from scheduler.wire import FLAG_FIRE, HEADER, Header, Payload, decode_header, encode_body, encode_payload

pytestmark = pytest.mark.redis

PARSE = """
--@include core header
local h = parse(ARGV[1])
if not h then return 'NOT OURS' end
local function ms(x) return string.format('%.0f', x) end
return { h.entry, h.task, h.queue, h.priority, h.flags, h.overlap, h.catchup, ms(h.due), ms(h.next_due), ms(h.expires),
    ms(h.enqueued), h.result_ttl_s, h.late_limit, h.window_s, h.max_runs, h.retry_of or '',
    h.backfill or '', h.by or '', h.reason or '', h.unique or '',
    priority_of(ARGV[1]), flags_of(ARGV[1]), ms(expires_of(ARGV[1])), without_fire_flag(ARGV[1]),
    has_mark(ARGV[1], UNIQUE) and 1 or 0 }
"""
TEXT = _strip(_expand(PARSE))
quick = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
moments = st.integers(0, 2**53 - 1)
words = st.integers(0, 2**32 - 1)
headers = st.builds(
    Header,
    entry=st.text(max_size=40),
    task=st.text(max_size=40),
    queue=st.text(max_size=40),
    priority=st.integers(0, 255),
    flags=st.integers(0, 15),
    overlap=st.sampled_from(Overlap),
    catchup=st.sampled_from(Catchup),
    due_ms=moments,
    next_due_ms=moments,
    expires_ms=moments,
    enqueued_ms=moments,
    result_ttl_s=words,
    late_limit_ms=words,
    catchup_window_s=words,
    max_runs=words,
    retry_of=st.sampled_from(("", "0123456789abcdef" * 2)),
    backfill=st.sampled_from(("", "20261121-3f2a")),
    by=st.text(max_size=20),
    reason=st.sampled_from(("", "it failed")),
    serializer=st.integers(0, 15),
    signed=st.booleans(),
    unique=st.sampled_from(("", "86400000 shop.bill:acme")) | st.text(max_size=20),
)


def lua(store: Store, body: bytes) -> Any:
    """What the scripts see in *body*."""
    return store.connection.call("EVAL", TEXT, len(store.keys.core), *store.keys.core, body)


@quick
@given(header=headers)
def test_both_read_the_same(store: Store, header: Header) -> None:
    """Every field of the header, to the millisecond."""
    body = encode_body(header, Payload())
    python, at = decode_header(body)
    assert body[at:] == encode_payload(Payload(), header.serializer)
    assert (python.serializer, python.signed) == (header.serializer, header.signed)
    found = lua(store, body)
    assert [item.decode() for item in found[:3]] == [python.entry, python.task, python.queue]
    assert found[3:7] == [python.priority, python.flags, python.overlap, python.catchup]
    assert [int(item) for item in found[7:11]] == [
        python.due_ms, python.next_due_ms, python.expires_ms, python.enqueued_ms,
    ]  # fmt: skip
    assert found[11:15] == [
        python.result_ttl_s, python.late_limit_ms, python.catchup_window_s, python.max_runs,
    ]  # fmt: skip
    assert [item.decode() for item in found[15:20]] == [
        python.retry_of, python.backfill, python.by, python.reason, python.unique,
    ]  # fmt: skip
    assert (found[20], found[21], int(found[22])) == (python.priority, python.flags, python.expires_ms)
    assert found[24] == int(python.unique != "")


@quick
@given(header=headers)
def test_taking_the_fire_flag_away_changes_nothing_else(store: Store, header: Header) -> None:
    """A retry is no fire any more."""
    body = encode_body(header, Payload())
    without = lua(store, body)[23]
    assert bytearray(without) == body[:2] + bytes([body[2] & ~FLAG_FIRE]) + body[3:]


fields = st.tuples(
    *[st.integers(0, 255)] * 6,
    *[st.sampled_from((0.0, 1.7e12, 1.7e12, 1.7e12, 2.0**53, -1.0, float("nan"), float("inf"))) | st.floats(width=64)]
    * 4,
    *[words] * 4,
    *[st.integers(0, 20)] * 3,
)


@settings(quick, max_examples=400)
@given(values=fields, tail=st.binary(min_size=30, max_size=60), version=st.sampled_from((1, 1, 1, 2)))
def test_both_refuse_the_same(store: Store, values: tuple[Any, ...], tail: bytes, version: int) -> None:
    """P12: but for names that are no UTF-8, which only Python reads as text."""
    priority, flags, overlap, catchup, codec = values[1], values[2] & 191, values[3] % 6, values[4] % 5, values[5]
    body = HEADER.pack(version, priority, flags, overlap, catchup, codec, *values[6:]) + tail
    try:
        decode_header(body)
        refused = ""
    except UndecodableMessageError as error:
        refused = str(error)
    if "codec can't decode" in refused:
        return
    assert (lua(store, body) == b"NOT OURS") == bool(refused), refused


@pytest.mark.parametrize("length", [0, 1, 59, 60, 61])
def test_both_refuse_what_is_too_short(store: Store, length: int) -> None:
    """A header of 60 bytes with empty names is the shortest message."""
    body = (encode_body(Header(task="", queue=""), Payload()))[:length]
    try:
        decode_header(body)
        ours = True
    except UndecodableMessageError:
        ours = False
    assert (lua(store, body) != b"NOT OURS") == ours == (length >= 60)
