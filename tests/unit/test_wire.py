"""The wire format: what goes in comes out, and what is not ours is refused."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.errors import NotEncodableError, UndecodableMessageError
from scheduler.model import Ack, Catchup, Entry, Overlap
from scheduler.timing import every
from scheduler.wire import (
    FLAG_EARLY,
    FLAG_IGNORE_RESULT,
    HEADER,
    MOMENT_MAX,
    Header,
    Payload,
    decode_arguments,
    decode_entry,
    decode_header,
    decode_payload,
    encode_argument,
    encode_body,
    encode_entry,
    encode_header,
    encode_json,
    fire_id,
    flags_of,
    new_id,
)

names = st.text(max_size=80)
moments = st.integers(0, MOMENT_MAX - 1)
words = st.integers(0, 2**32 - 1)
headers = st.builds(
    Header,
    entry=names,
    task=names,
    queue=names,
    priority=st.integers(0, 255),
    flags=st.integers(0, 15),
    overlap=st.sampled_from(Overlap),
    catchup=st.sampled_from(Catchup),
    serializer=st.integers(0, 2),
    due_ms=moments,
    next_due_ms=moments,
    expires_ms=moments,
    enqueued_ms=moments,
    result_ttl_s=words,
    late_limit_ms=words,
    catchup_window_s=words,
    max_runs=words,
)
documents = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(headers, st.lists(documents, max_size=3), st.dictionaries(st.text(), documents, max_size=3))
def test_a_message_comes_out_as_it_went_in(header: Header, args: list[object], kwargs: dict[str, object]) -> None:
    """Whole milliseconds are exact as doubles, and names are any text."""
    payload = Payload(*(encode_argument(value, header.serializer, what="it") for value in (args, kwargs)))
    body = encode_body(header, payload)
    decoded, at = decode_header(body)
    assert header == decoded
    assert at == len(encode_header(header))
    found = decode_payload(body, at)
    assert (args, kwargs) == decode_arguments(body, found)


@given(headers, st.tuples(*[st.text(max_size=300)] * 4))
def test_what_people_said_of_a_run_comes_along(header: Header, told: tuple[str, str, str, str]) -> None:
    """`sched retry`, `backfill`, `trigger`: flags say what is there."""
    said = dict(zip(("retry_of", "backfill", "by", "reason"), told, strict=True))
    decoded, at = decode_header(encode_body(msgspec.structs.replace(header, **said), Payload()))
    assert told == (decoded.retry_of, decoded.backfill, decoded.by, decoded.reason)
    assert header == msgspec.structs.replace(decoded, **dict.fromkeys(said, ""), flags=header.flags)
    assert at > 0


@given(st.binary(max_size=200))
def test_bytes_are_decoded_or_refused(body: bytes) -> None:
    """P12: one kind of error, whatever comes."""
    try:
        _, at = decode_header(body)
        decode_payload(body, at)
    except UndecodableMessageError:
        return


@given(headers, st.data())
def test_a_message_that_was_cut_short_is_refused(header: Header, data: st.DataObject) -> None:
    """Anywhere: in its header, its names, its payload."""
    body = encode_body(header, Payload())
    short = body[: data.draw(st.integers(0, len(body) - 1))]
    with pytest.raises(UndecodableMessageError):
        decode_payload(short, decode_header(short)[1])


@pytest.mark.parametrize("moment", [float("nan"), float("inf"), float("-inf"), -1.0, 2.0**53])
@pytest.mark.parametrize("field", range(4))
def test_a_moment_outside_all_time_is_refused(moment: float, field: int) -> None:
    """P12: no JSON carries it, and the scripts refuse it too."""
    moments = [0.0] * 4
    moments[field] = moment
    body = HEADER.pack(1, 0, 0, 0, 0, 0, *moments, 1, 0, 0, 0, 0, 0, 0) + b"{}"
    with pytest.raises(UndecodableMessageError):
        decode_header(body)


def test_another_version_is_named() -> None:
    """The remedy is to upgrade."""
    body = b"\x02" + encode_body(Header(task="t", queue="q"), Payload())[1:]
    with pytest.raises(UndecodableMessageError, match=r"version 2.*upgrade"):
        decode_header(body)


def test_a_payload_of_another_shape_is_refused() -> None:
    """P12."""
    for payload in (b"", b"[]", b"\xff", b'{"eta_ms": "soon"}'):
        with pytest.raises(UndecodableMessageError):
            decode_payload(payload, 0)


def test_the_id_of_a_fire_is_the_same_on_every_beat() -> None:
    """P1: a guard behind the mark. A published value: it must not change between versions."""
    assert fire_id("sched", "daily", 1_700_000_000_000) == fire_id("sched", "daily", 1_700_000_000_000)
    assert fire_id("sched", "daily", 1_700_000_000_000) == EXPECTED_ID


@given(st.lists(st.tuples(names, names, st.integers(0, 10**14)), unique=True, max_size=20))
def test_no_two_fires_meet_in_one_id(fires: list[tuple[str, str, int]]) -> None:
    """Its parts are delimited by their lengths."""
    assert len({fire_id(*fire) for fire in fires}) == len(fires)


def test_new_ids_are_safe_on_a_command_line() -> None:
    """32 hexadecimal digits, never twice."""
    ids = {new_id() for _ in range(1_000)}
    assert len(ids) == 1_000
    assert all(len(id_) == 32 and set(id_) <= set("0123456789abcdef") for id_ in ids)


def test_what_json_cannot_carry_is_named() -> None:
    """P12: where it is sent from, not in a worker."""
    with pytest.raises(NotEncodableError, match="argument 'x' cannot be sent as JSON"):
        encode_json(object(), what="argument 'x'")
    deep: list[object] = []
    deep.append(deep)
    with pytest.raises(NotEncodableError):
        encode_json(deep, what="args")


def test_equal_definitions_have_equal_bytes() -> None:
    """Arguments are compared as encoded data; the order of mappings does not matter."""

    def entry(headers: dict[str, object]) -> Entry:
        return Entry(name="e", task="t", queue="q", schedule=every("1h").as_data(), headers=headers)

    one, other = encode_entry(entry({"a": 1, "b": 2})), encode_entry(entry({"b": 2, "a": 1}))
    assert one == other
    assert decode_entry(one) == entry({"a": 1, "b": 2})
    assert encode_entry(entry({"a": 1})) != one


def test_an_entrys_flags_say_what_its_options_say() -> None:
    """What the scripts must know of every message."""
    entry = Entry(name="e", task="t", queue="q", schedule={})
    assert flags_of(entry) == 0
    assert (
        flags_of(msgspec.structs.replace(entry, ack=Ack.EARLY, ignore_result=True)) == FLAG_EARLY | FLAG_IGNORE_RESULT
    )


EXPECTED_ID = "5b96f18797f45264974faffced6adfad"
