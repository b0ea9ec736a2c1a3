"""Signatures and records: what is covered, what is not, and what is refused unread."""

from __future__ import annotations

from itertools import pairwise

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.errors import OversizedMessageError, SignatureError, UndecodableMessageError
from scheduler.model import Overlap, ResultRecord
from scheduler.records import COMPRESS_BYTES_MIN, ZLIB, compressed, decode_record, encode_record, sealed
from scheduler.seal import Seal, is_signed, unsealed
from scheduler.wire import (
    CODEC_AT,
    EXPIRES_AT,
    FLAG_FIRE,
    FLAGS_AT,
    SIGNED,
    Header,
    Payload,
    decode_header,
    decode_payload,
    encode_body,
)

OLD, NEW = b"the old key, long enough", b"the new key, long enough"
SEAL = Seal((NEW,), "ns")
HEADER = Header(
    task="t.x", queue="q", entry="e", flags=FLAG_FIRE, overlap=Overlap.SKIP, due_ms=7, by="ann", reason="why",
    expires_ms=9,
)  # fmt: skip
BODY = encode_body(HEADER, Payload(args=msgspec.Raw(b"[1,2]")))
SIGNED_BODY = SEAL.sign_message("id", BODY)


def check(body: bytes, *, id_: str = "id", seal: Seal = SEAL) -> None:
    seal.check_message(id_, body, decode_header(body)[1])


def test_a_signed_message_reads_as_before() -> None:
    """Scripts and workers without a key see the same message."""
    header, at = decode_header(SIGNED_BODY)
    assert header.signed
    assert decode_payload(SIGNED_BODY, at).args == decode_payload(BODY, at).args
    check(SIGNED_BODY)
    assert SEAL.sign_message("id", SIGNED_BODY) == SIGNED_BODY
    assert unsealed("id", SIGNED_BODY, SEAL) == BODY


def test_what_scripts_change_on_the_way_is_not_covered() -> None:
    """The flags of a fire, the slot of a forced run, the expiry of a fire to be skipped."""
    changed = bytearray(SIGNED_BODY)
    changed[FLAGS_AT] &= ~FLAG_FIRE
    changed[3] = Overlap.ALLOW
    changed[EXPIRES_AT : EXPIRES_AT + 8] = b"\0" * 8
    check(bytes(changed))


@given(at=st.integers(0, len(SIGNED_BODY) - 1), bit=st.integers(0, 7))
def test_every_other_bit_is_covered(at: int, bit: int) -> None:
    """Arguments, task, entry, queue, due time, by whom: one bit is enough."""
    changed = bytearray(SIGNED_BODY)
    changed[at] ^= 1 << bit
    free = {1, FLAGS_AT, 3, 4} | set(range(14, 54))  # priority to catchup; the moments and limits of promotion
    if at in free:
        return
    with pytest.raises((SignatureError, UndecodableMessageError)):
        check(bytes(changed))


def test_flags_cannot_move_the_payload() -> None:
    """They are not covered, and say what stands in front of it: so where it begins is."""
    changed = bytearray(SIGNED_BODY)
    changed[FLAGS_AT] &= ~128
    with pytest.raises(SignatureError):
        check(bytes(changed))


@pytest.mark.parametrize(
    ("body", "id_", "seal", "said"),
    [
        (BODY, "id", SEAL, "the message is not signed, and here signing_key_file demands it"),
        (SIGNED_BODY, "other", SEAL, "signed with another key, or changed"),
        (SIGNED_BODY, "id", Seal((NEW,), "other"), "signed with another key, or changed"),
        (SIGNED_BODY, "id", Seal((OLD,), "ns"), "signed with another key, or changed"),
        (SIGNED_BODY[:-32], "id", SEAL, "signed with another key, or changed"),
        (BODY[:CODEC_AT] + bytes((SIGNED,)) + BODY[CODEC_AT + 1 :], "id", SEAL, "signed with another key, or changed"),
    ],
)
def test_what_was_not_signed_so_is_refused(body: bytes, id_: str, seal: Seal, said: str) -> None:
    """Unsigned, under another id, for another namespace, with another key, cut short, or only saying so."""
    with pytest.raises(SignatureError, match=said) as refusal:
        check(body, id_=id_, seal=seal)
    assert "key, long enough" not in str(refusal.value) + repr(seal)


def test_a_key_is_changed_without_a_gap() -> None:
    """The new one behind the old, then in front of it, then alone: whoever is a step behind is understood."""
    steps = [Seal(keys, "ns") for keys in ((OLD,), (OLD, NEW), (NEW, OLD), (NEW,))]
    for one, two in pairwise(steps):
        check(one.sign_message("id", BODY), seal=two)
        check(two.sign_message("id", BODY), seal=one)


def test_what_was_signed_is_not_sent_again_by_who_has_no_key() -> None:
    """`sched retry` gives it a new id: it would be refused."""
    with pytest.raises(
        SignatureError, match="run id was signed, and without signing_key_file it cannot be signed again"
    ):
        unsealed("id", SIGNED_BODY, None)
    with pytest.raises(SignatureError, match="not signed"):
        unsealed("id", BODY, SEAL)
    assert unsealed("id", BODY, None) == BODY
    assert not is_signed(BODY)


# ── records ─────────────────────────────────────────────────────────────────────────────────────────────────────────

PLAIN = msgspec.json.encode(ResultRecord("SUCCESS", msgspec.Raw(b"[1]"), None, 5))
PACKED = encode_record(ResultRecord("SUCCESS", done_ms=5), b"\x91\x01", 1)


def read(data: bytes, *, id_: str = "id", seal: Seal | None = None, bytes_max: int = 1_000_000) -> ResultRecord:
    return decode_record(id_, data, seal=seal, bytes_max=bytes_max)


@pytest.mark.parametrize(("data", "result", "serializer"), [(PLAIN, b"[1]", 0), (PACKED, b"\x91\x01", 1)])
def test_records_come_out_as_they_went_in(data: bytes, result: bytes, serializer: int) -> None:
    for found in (read(data), read(sealed("id", data, SEAL), seal=SEAL), read(sealed("id", data, SEAL))):
        assert (found.state, bytes(found.result), found.serializer, found.done_ms) == ("SUCCESS", result, serializer, 5)
    assert sealed("id", b"", SEAL) == b"", "no record is none"


@given(at=st.integers(0, len(sealed("id", PLAIN, SEAL)) - 1), bit=st.integers(0, 7))
def test_every_bit_of_a_record_is_covered(at: int, bit: int) -> None:
    changed = bytearray(sealed("id", PLAIN, SEAL))
    changed[at] ^= 1 << bit
    with pytest.raises((SignatureError, UndecodableMessageError)):
        read(bytes(changed), seal=SEAL)


@pytest.mark.parametrize("data", [PLAIN, PACKED, sealed("id", PLAIN, Seal((OLD,), "ns")), sealed("other", PLAIN, SEAL)])
def test_records_that_were_not_signed_so_are_refused(data: bytes) -> None:
    """A forged result is never seen as one."""
    with pytest.raises(SignatureError):
        read(data, seal=SEAL)


LOST = b'{"state":"FAILURE","done_ms":5,"result":{"type":"LostError","module":"scheduler","message":"m","args":["m"]}}'


@pytest.mark.parametrize("data", [b'{"state":"EXPIRED","done_ms":5}', b'{"state":"REVOKED"}', LOST])
def test_what_scripts_write_is_believed(data: bytes) -> None:
    """They have no key, and say no more than that a run is over."""
    assert read(data, seal=SEAL) == read(data)


@pytest.mark.parametrize(
    "data",
    [
        b'{"state":"REVOKED","result":[1]}',
        b'{"state":"EXPIRED","meta":[1]}',
        b'{"state":"FAILURE","result":{"type":"ValueError","message":"m","args":["m"]}}',
        b'{"state":"FAILURE","result":[1]}',
        b'{"state":"PROGRESS","meta":1}',
    ],
)
def test_nothing_else_is_believed(data: bytes) -> None:
    with pytest.raises(SignatureError):
        read(data, seal=SEAL)


def test_a_compressed_result_is_bounded_when_it_grows() -> None:
    """A bomb of a few bytes does not fill the reader's memory."""
    bomb = encode_record(ResultRecord("SUCCESS"), compressed(b'"' + b"x" * 5_000_000 + b'"'), ZLIB)
    assert len(bomb) < 10_000
    with pytest.raises(OversizedMessageError, match="more than 1000000 bytes once decompressed"):
        read(bomb)
    assert len(read(bomb, bytes_max=6_000_000).result) == 5_000_002
    assert len(compressed(b"x" * COMPRESS_BYTES_MIN)) < COMPRESS_BYTES_MIN


@pytest.mark.parametrize(
    "data",
    [b"", b"\x01", b"\x01\x00\xff\xff\xff\xff", PACKED[:8], b"\x02", b"x",
     encode_record(ResultRecord("SUCCESS"), b"no zlib", ZLIB), encode_record(ResultRecord("SUCCESS"), compressed(b"abc")[:-2], ZLIB)],
)  # fmt: skip
def test_what_is_no_record_is_named(data: bytes) -> None:
    with pytest.raises(UndecodableMessageError, match="what is kept of run id"):
        read(data)
