"""
Signatures: who may put messages and results on Redis.

With a key, whatever travels ends with an HMAC-SHA256, made by the store when it writes and looked at by whoever is about to read.
The first key signs, every key is accepted: so a key is changed by adding the new one behind the old everywhere, then in front of it,
then taking the old one away.

    message   namespace, id, version, serializer and its marks, where the payload begins, due time, the names (entry, task,
              queue), what is told behind them (the run that is repeated, the backfill, by whom and why, the unique key), the payload
    result    namespace, id, and the whole record: state, value, traceback, moment

Not covered is what scripts change on the way (flags, overlap, expiry) and what only they look at (priority,
the limits of promotion, how long the result is kept). So whoever can write to Redis, and has no key, cannot make anybody run
anything else, nor forge a result; they can still run again what was signed (a replay, under its own id), reorder, delay, expire or
delete it, put an old result of the same id back, and end runs as expired, cancelled or lost: the scripts that do so have no key.
"""

from __future__ import annotations

import hmac
import struct

from scheduler.errors import SignatureError, UndecodableMessageError
from scheduler.wire import CODEC_AT, HEADER, SIGNATURE_BYTES, SIGNED, decode_header

_DUE = slice(6, 14)
_LENGTHS = slice(HEADER.size - 6, HEADER.size)
_NUMBERS = struct.Struct("<BBI")
_LENGTH = struct.Struct("<I")
_MESSAGE, _RECORD = b"steadybeat message\n", b"steadybeat result\n"
_REMEDY = "every process of this namespace needs the same signing_key_file"


class Seal:
    """
    Signs and verifies in one namespace. It shows no key.

    Args:
        keys: The first one signs.
    """

    __slots__ = ("_keys", "_message", "_record")

    def __init__(self, keys: tuple[bytes, ...], namespace: str) -> None:
        assert keys
        self._keys = keys
        space = _with_length(namespace.encode())
        self._message, self._record = _MESSAGE + space, _RECORD + space

    def sign_message(self, id_: str, body: bytes) -> bytes:
        """
        *body* with its signature; one that is signed already stays as it is.

        Raises:
            UndecodableMessageError: It is no message of ours.
        """
        if is_signed(body):
            return body
        _, at = decode_header(body)
        signed = body[:CODEC_AT] + bytes((body[CODEC_AT] | SIGNED,)) + body[CODEC_AT + 1 :]
        return signed + self._sign(self._of_message(id_, signed, at, len(signed)))

    def check_message(self, id_: str, body: bytes, at: int) -> None:
        """
        Make sure that *body*, whose payload begins at *at*, was signed as the message *id_* by somebody who has one of our keys.

        Raises:
            SignatureError: It was not.
        """
        if not is_signed(body):
            raise SignatureError(f"the message is not signed, and here signing_key_file demands it; {_REMEDY}")
        end = len(body) - SIGNATURE_BYTES
        if end < at or not self._fits(self._of_message(id_, body, at, end), body[end:]):
            raise SignatureError(f"the message was signed with another key, or changed since; {_REMEDY}")

    def sign_record(self, id_: str, data: bytes) -> bytes:
        """The record of a result (see `scheduler.records`) with what it says about run *id_* signed."""
        return data + self._sign(self._of_record(id_, data))

    def check_record(self, id_: str, data: bytes) -> None:
        """
        Make sure that *data*, a record with its signature, was signed as that of run *id_*.

        Raises:
            SignatureError: It was not.
        """
        end = len(data) - SIGNATURE_BYTES
        if end < 0 or not self._fits(self._of_record(id_, data[:end]), data[end:]):
            raise SignatureError(f"the result of run {id_} was signed with another key, or changed since; {_REMEDY}")

    def _of_message(self, id_: str, body: bytes, at: int, end: int) -> bytes:
        numbers = _NUMBERS.pack(body[0], body[CODEC_AT] & ~SIGNED, at)
        parts = (
            self._message,
            _with_length(id_.encode()),
            numbers,
            body[_DUE],
            body[_LENGTHS],
            body[HEADER.size : end],
        )
        return b"".join(parts)

    def _of_record(self, id_: str, data: bytes) -> bytes:
        return b"".join((self._record, _with_length(id_.encode()), data))

    def _sign(self, data: bytes) -> bytes:
        return hmac.digest(self._keys[0], data, "sha256")

    def _fits(self, data: bytes, signature: bytes) -> bool:
        return any(hmac.compare_digest(hmac.digest(key, data, "sha256"), signature) for key in self._keys)

    def __repr__(self) -> str:
        return f"<Seal of {len(self._keys)} keys>"


def is_signed(body: bytes) -> bool:
    """Whether *body* says that it ends with a signature."""
    return len(body) >= HEADER.size and body[CODEC_AT] >= SIGNED


def unsealed(id_: str, body: bytes, seal: Seal | None) -> bytes:
    """
    *body*, that of run *id_*, without its signature, to be sent again under another id.

    Raises:
        SignatureError: It was signed and this process has no key, or not that one; or it had to be.
        UndecodableMessageError: It is no message of ours.
    """
    _, at = decode_header(body)
    if seal is not None:
        seal.check_message(id_, body, at)
    elif is_signed(body):
        raise SignatureError(f"run {id_} was signed, and without signing_key_file it cannot be signed again")
    if not is_signed(body):
        return body
    plain = body[:CODEC_AT] + bytes((body[CODEC_AT] & ~SIGNED,)) + body[CODEC_AT + 1 : -SIGNATURE_BYTES]
    if len(plain) < at:
        raise UndecodableMessageError("the message is shorter than its signature")
    return plain


def _with_length(data: bytes) -> bytes:
    return _LENGTH.pack(len(data)) + data
