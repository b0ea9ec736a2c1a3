"""
What is kept of a run, as bytes.

Mostly a `ResultRecord` as JSON: it begins with ``{``. Where the result is in another serializer, or compressed, or the record is
signed, it stands in a frame:

    1 · what (serializer in the low bits, marks in the high ones) · length of the record in 4 bytes · the record as JSON ·
    the result, if it is not in the record · 32 bytes of signature, if it is signed

Scripts end runs too (expired, cancelled, lost) and have no key: what they write is not signed, says nothing but that, and is believed.
"""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING

import msgspec

from scheduler.errors import OversizedMessageError, SignatureError, UndecodableMessageError
from scheduler.model import ResultRecord, State
from scheduler.wire import SERIALIZER_MASK, SIGNATURE_BYTES, SIGNED

if TYPE_CHECKING:
    from scheduler.seal import Seal

ZLIB = 0x40
"""The result is compressed."""
APART = 0x20
"""The result stands behind the record."""
COMPRESS_BYTES_MIN = 4_096
"""Smaller results are not worth it."""
INFLATION_MAX = 64
"""A result is at most so many times as large as `result_bytes_max` says that it may be on Redis."""

_HEAD = struct.Struct("<BBI")
_FRAMED = 1
_OF_SCRIPTS = frozenset({State.EXPIRED, State.REVOKED})
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(ResultRecord).decode


def encode_record(record: ResultRecord, result: bytes, form: int) -> bytes:
    """*record* with a *result* that is not plain JSON; *form*: its serializer, with ZLIB if it is compressed."""
    head = _encode(record)
    return _HEAD.pack(_FRAMED, form | APART, len(head)) + head + result


def sealed(id_: str, data: bytes, seal: Seal) -> bytes:
    """The record *data* of run *id_* with its signature; empty data is no record and stays so."""
    if not data:
        return data
    if data[0] == _FRAMED:
        return seal.sign_record(id_, bytes((_FRAMED, data[1] | SIGNED)) + data[2:])
    return seal.sign_record(id_, _HEAD.pack(_FRAMED, SIGNED, len(data)) + data)


def decode_record(id_: str, data: bytes, *, seal: Seal | None, bytes_max: int) -> ResultRecord:
    """
    The record of run *id_*. Its result is still in its serializer; compressed it is no longer.

    Args:
        seal: Who must have signed it; None: anybody.
        bytes_max: How large the result may be.

    Raises:
        SignatureError: It is not signed, or not with our key. Nothing of it was looked at.
        UndecodableMessageError: It is no record of ours.
        OversizedMessageError: It is larger than it may be.
    """
    what = f"what is kept of run {id_}"
    if data[:1] != bytes((_FRAMED,)):
        record = _decoded(data, what)
        if seal is not None and not _is_of_scripts(record):
            raise SignatureError(f"{what} is not signed, and here signing_key_file demands it")
        return record
    if len(data) < _HEAD.size:
        raise UndecodableMessageError(f"{what} is cut short")
    _, form, length = _HEAD.unpack_from(data)
    if seal is not None:
        if form < SIGNED:
            raise SignatureError(f"{what} is not signed, and here signing_key_file demands it")
        seal.check_record(id_, data)
    end = len(data) - (SIGNATURE_BYTES if form & SIGNED else 0)
    start = _HEAD.size + length
    if end < start:
        raise UndecodableMessageError(f"{what} is cut short")
    record = _decoded(data[_HEAD.size : start], what)
    if not form & APART:
        return record
    result = data[start:end]
    if form & ZLIB:
        result = _inflated(result, bytes_max, what)
    return msgspec.structs.replace(record, result=msgspec.Raw(result), serializer=form & SERIALIZER_MASK)


def compressed(result: bytes) -> bytes:
    """*result*, compressed."""
    return zlib.compress(result)


def _inflated(data: bytes, bytes_max: int, what: str) -> bytes:
    """Never more than *bytes_max*, whatever the data says of itself."""
    inflater = zlib.decompressobj()
    try:
        found = inflater.decompress(data, bytes_max)
    except zlib.error as error:
        raise UndecodableMessageError(f"{what} cannot be decompressed: {error}") from None
    if inflater.unconsumed_tail:
        raise OversizedMessageError(f"{what} has more than {bytes_max} bytes once decompressed (result_bytes_max)")
    if not inflater.eof:
        raise UndecodableMessageError(f"{what} is cut short")
    return found


def _decoded(data: bytes, what: str) -> ResultRecord:
    try:
        return _decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise UndecodableMessageError(f"{what} is no record of ours: {error}") from None


def _is_of_scripts(record: ResultRecord) -> bool:
    """Whether it says no more than scripts do, which have no key: that the run expired, was cancelled, or is lost."""
    if record.state in _OF_SCRIPTS:
        return bytes(record.result) == b"null" == bytes(record.meta) and record.traceback is None
    if record.state != State.FAILURE or record.traceback is not None:
        return False
    try:
        failure = msgspec.json.decode(record.result, type=_Lost)
    except msgspec.DecodeError:
        return False
    return (failure.type, failure.module) == ("LostError", "scheduler")


class _Lost(msgspec.Struct):
    type: str
    module: str = ""
