"""
What travels between a supervisor and its children: frames of msgpack, each behind its length.

    supervisor → child    Parcel      a batch of messages, for a child that runs one at a time, in order
                          Batch       a batch of messages, for a child that runs many at once, in any order
                          Interrupt   break these runs off
                          Sweep       some of what was not started was taken back: find it now
                          Resize      run so many at once
    child → supervisor    Hello       ready: `worker_process_init` is over
                          Report      what became of a parcel's messages
                          Tidings     what became of messages of batches
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
        session: Under whose lease they stand.
    """

    first: int
    clock_ms: float
    messages: list[Message]
    session: str = ""

    @property
    def last(self) -> int:
        """The number of the last message."""
        return self.first + len(self.messages) - 1


class Batch(msgspec.Struct, frozen=True, array_like=True, tag=1):
    """
    A batch of messages, each with its cell in shared memory (`worker.cells`).

    Attributes:
        clock_ms: Redis' clock minus the monotonic clock of this host, in ms.
        session: Under whose lease they stand.
    """

    clock_ms: float
    cells: list[int]
    messages: list[Message]
    session: str


class Interrupt(msgspec.Struct, frozen=True, array_like=True, tag=2):
    """Break off what runs under these cells."""

    cells: list[int]


class Sweep(msgspec.Struct, frozen=True, array_like=True, tag=3):
    """Some cells were withdrawn: report them, so that they can be used again."""


class Resize(msgspec.Struct, frozen=True, array_like=True, tag=4):
    """Run so many at once from now on."""

    concurrency: int


class Hello(msgspec.Struct, frozen=True, array_like=True, tag=1):
    """The child is ready."""


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


class Report(msgspec.Struct, frozen=True, array_like=True, tag=2):
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


class Tidings(msgspec.Struct, frozen=True, array_like=True, tag=3):
    """
    What became of messages.

    Attributes:
        done: The cells of those that are dealt with.
        passed: The cells of those that the child found withdrawn.
        spent: As in `Report`.
    """

    done: list[int]
    passed: list[int]
    outcomes: list[Outcome]
    retried: list[Retried]
    released: list[Released]
    spent: dict[str, tuple[int, float]]


ToMany = Batch | Interrupt | Sweep | Resize
Frame = Parcel | ToMany | Hello | Report | Tidings


def encode(value: Frame) -> bytearray:
    """*value* as a frame."""
    frame = bytearray(_LENGTH.size)
    _encoder.encode_into(value, frame, _LENGTH.size)
    _LENGTH.pack_into(frame, 0, len(frame) - _LENGTH.size)
    return frame


class Frames:
    """Cuts a stream of bytes into frames and decodes each as *kind*."""

    def __init__(self, kind: Any) -> None:
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
