"""What an entry says itself of retries and limits, on its way into a message and out of it again."""

from __future__ import annotations

import msgspec
import pytest

from scheduler.fires import FireMaker, schedule_of
from scheduler.model import Entry, RunOptions
from scheduler.options import TaskOptions
from scheduler.timing import every
from scheduler.wire import (
    FLAG_FIRE,
    FLAG_RUN,
    Header,
    Payload,
    decode_entry,
    decode_header,
    decode_payload,
    encode_body,
    encode_entry,
    run_options,
)

SAID = RunOptions(max_retries=None, time_limit_ms=1_500, retry_jitter=False)


def an_entry(run: RunOptions | None) -> Entry:
    return Entry(name="e", task="t", schedule=every("5s").as_data(), queue="q", run=run)


def body_of(entry: Entry) -> bytes:
    maker = FireMaker(entry, schedule_of(entry), namespace="n", late_limit_ms=15_000)
    return maker.fire(10_000, 15_000, state="1 0", now_ms=1).body


def test_what_an_entry_says_reaches_the_message() -> None:
    """None (without limit) and what was not said stay two things, over JSON too."""
    entry = an_entry(SAID)
    assert decode_entry(encode_entry(entry)) == entry
    body = body_of(entry)
    header, at = decode_header(body)
    assert header.flags == FLAG_FIRE | FLAG_RUN
    assert decode_payload(body, at).run == SAID
    assert run_options(body) == SAID
    assert b'"max_retries":null' in body
    assert b"soft_time_limit" not in body


def test_an_entry_that_says_nothing_makes_the_messages_it_always_made() -> None:
    """They are not a byte longer, and nobody looks into them for limits."""
    plain = an_entry(None)
    assert b"run" not in encode_entry(plain)
    body = body_of(plain)
    header, at = decode_header(body)
    assert (header.flags, body[at:]) == (FLAG_FIRE, b'{"args":[],"kwargs":{}}')
    assert run_options(body) is None


@pytest.mark.parametrize("body", [b"", b"\x01\x00\x08", b"\x01\x00\x08" + bytes(80), b"\x07" * 100])
def test_bytes_that_are_no_message_say_nothing(body: bytes) -> None:
    """A child asks before it has read the message."""
    assert run_options(body) is None


def test_a_payload_that_is_broken_says_nothing() -> None:
    """It fails when it is read, with its own message."""
    body = encode_body(Header(task="t", queue="q", flags=FLAG_RUN), Payload(run=SAID))
    assert run_options(body) == SAID
    assert run_options(body[:-3]) is None


def test_the_entrys_word_weighs_more_than_the_tasks() -> None:
    """Field by field."""
    of_task = TaskOptions(max_retries=7, time_limit_ms=60_000, soft_time_limit_ms=50_000, queue="q")
    merged = of_task.merged(RunOptions(time_limit_ms=None, max_retries=0))
    assert merged == msgspec.structs.replace(of_task, time_limit_ms=None, max_retries=0)
    assert of_task.merged(None) is of_task
