"""
What travels between a supervisor and its children: frames of msgpack, each behind its length.

    supervisor → child    Parcel    a batch of messages
    child → supervisor    Report    what became of them
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

import msgspec

from scheduler.model import Message, Outcome

_LENGTH = struct.Struct("<I")
_encoder = msgspec.msgpack.Encoder()


class Parcel(msgspec.Struct, frozen=True, array_like=True):
    """
    A batch of messages, numbered from *first* on.

    Attributes:
        clock_ms: Redis' clock minus the monotonic clock of this host, in ms.
    """

    first: int
    clock_ms: float
    messages: list[Message]

    @property
    def last(self) -> int:
        """The number of the last message."""
        return self.first + len(self.messages) - 1


class Retried(msgspec.Struct, frozen=True, array_like=True):
    """An attempt that is followed by another; what `Session.retry` wants."""

    id: str
    body: bytes
    delay_ms: int
    attempt: int
    result: bytes
    ttl_ms: int
    task: str
    error: str


class Released(msgspec.Struct, frozen=True, array_like=True):
    """A message that goes back after a while, not counted as an attempt."""

    id: str
    delay_ms: int
    reason: str


class Report(msgspec.Struct, frozen=True, array_like=True):
    """
    What became of messages.

    Attributes:
        done: The number of the last message that is dealt with.
        unstarted: The first number that the child found withdrawn, or 0.
        spent: Task → (how many, seconds altogether), since the last report.
    """

    done: int
    unstarted: int
    outcomes: list[Outcome]
    retried: list[Retried]
    released: list[Released]
    spent: dict[str, tuple[int, float]]


def encode(value: Parcel | Report) -> bytearray:
    """*value* as a frame."""
    frame = bytearray(_LENGTH.size)
    _encoder.encode_into(value, frame, _LENGTH.size)
    _LENGTH.pack_into(frame, 0, len(frame) - _LENGTH.size)
    return frame


class Frames:
    """Cuts a stream of bytes into frames and decodes each as *kind*."""

    def __init__(self, kind: type[Any]) -> None:
        self._decode = msgspec.msgpack.Decoder(kind).decode
        self._bytes = bytearray()

    def feed(self, data: bytes) -> Iterator[Any]:
        """The values that are complete now."""
        self._bytes += data
        at, end = 0, len(self._bytes)
        with memoryview(self._bytes) as view:
            found = []
            while end - at >= _LENGTH.size:
                (length,) = _LENGTH.unpack_from(view, at)
                if end - at - _LENGTH.size < length:
                    break
                at += _LENGTH.size
                found.append(self._decode(view[at : at + length]))
                at += length
        del self._bytes[:at]
        return iter(found)
