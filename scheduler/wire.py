"""
The message on the wire: a small fixed header that the scripts read, and a payload that only Python reads.

    header  60 bytes, little-endian, see HEADER; then entry, task and queue as UTF-8;
            with FLAG_RETRY the id of the run that is repeated, with FLAG_BACKFILL the id of the backfill,
            with FLAG_HAND who asked for it and why, with UNIQUE its unique key; before each of these two bytes for
            its length
    payload JSON (`Payload`); with the serializers msgpack and pickle it is msgpack, and with pickle the arguments in it are
            pickled one by one, so that all but them can be read without
    with SIGNED 32 bytes of signature (`scheduler.seal`)

The scripts read the header with `struct.unpack`; `store/lua/header.lua` is the other half of this file.
"""

from __future__ import annotations

import hashlib
import os
import struct
from collections.abc import Collection
from typing import Any

import msgspec

from scheduler.content import JSON, MSGPACK
from scheduler.errors import ContentRefusedError, NotEncodableError, UndecodableMessageError
from scheduler.model import Ack, Catchup, Entry, Overlap, RunOptions

VERSION = 1

FLAG_FIRE = 1
"""Armed by the beat for a due time: promotion settles that due time's outcome."""
FLAG_EARLY = 2
"""`ack="early"`: at most once; taken alone, and ended as lost when its worker dies."""
FLAG_IGNORE_RESULT = 4
FLAG_RUN = 8
"""The payload says something in `run`: whoever asks for limits must read it."""
FLAG_RETRY = 16
"""`sched retry`: it repeats an ended run, whose id stands in the header."""
FLAG_BACKFILL = 32
"""`sched backfill`: it runs for a due time that was settled long ago; where it waits for its slot, it waits in line."""
FLAG_PING = 64
"""Its entry has a `ping_url`: that a run starts and ends is told there."""
FLAG_HAND = 128
"""Somebody asked for it by hand: who and why stands in the header."""

HEADER = struct.Struct("<BBBBBBddddIIIIHHH")
"""
version, priority, flags, overlap, catchup, codec · due_ms, next_due_ms, expires_ms, enqueued_ms ·
result_ttl_s, late_limit_ms, catchup_window_s, max_runs · lengths of entry, task and queue in bytes
"""

LENGTH = struct.Struct("<H")
"""In front of each text that stands behind the names."""

MOMENT_MAX = 2**53
"""Moments travel as doubles, which are whole and exact below this."""

FLAGS_AT = 2
"""Where the flags stand in a message."""

CODEC_AT = 5
"""Where the codec byte stands."""
SERIALIZER_MASK = 0x0F
"""The low bits of the codec byte are the serializer of the payload; the high ones are the marks below."""
SIGNED = 0x80
"""The body ends with its signature."""
SIGNATURE_BYTES = 32
UNIQUE = 0x20
"""At most one message of its unique key is alive; the key stands in the header."""

SERIALIZERS = {"json": 0, "msgpack": 1, "pickle": 2}
PICKLE = SERIALIZERS["pickle"]
PICKLE_PROTOCOL = 5
SERIALIZER_NAMES = {number: name for name, number in SERIALIZERS.items()}


NAMES_KNOWN_MAX = 4_096
"""Headers with so many different names are remembered; after that it begins anew."""

EXPIRES_AT = 22
"""Where the header says when the message expires."""
EXPIRES_SKIPPED = 1
"""
What stands there in a fire that somebody has ordered to be skipped: promotion settles it as withdrawn. It has expired for ever, so
that no process of any version runs it.
"""


class Header(msgspec.Struct, frozen=True, gc=False):
    """What scripts know of a message. Moments in ms, 0 for none. Name the fields: only `decode_header` counts on their order."""

    task: str
    queue: str
    entry: str = ""
    priority: int = 0
    flags: int = 0
    overlap: Overlap = Overlap.ALLOW
    catchup: Catchup = Catchup.NONE
    serializer: int = 0
    due_ms: int = 0
    next_due_ms: int = 0
    """The entry's due time after this one: a late fire with a newer one behind it is the older one's to give way."""
    expires_ms: int = 0
    enqueued_ms: int = 0
    result_ttl_s: int = 86_400
    late_limit_ms: int = 0
    catchup_window_s: int = 0
    max_runs: int = 0
    retry_of: str = ""
    """Goes with `FLAG_RETRY`."""
    backfill: str = ""
    """Goes with `FLAG_BACKFILL`."""
    by: str = ""
    """Goes with `FLAG_HAND`, as does `reason`."""
    reason: str = ""
    signed: bool = False
    unique: str = ""
    """Goes with `UNIQUE`: how long the key may be held, in ms, a blank, and the key; see `scheduler.unique`."""

    @property
    def of_schedule(self) -> bool:
        """Whether it is the run of a due time of its entry: no call, no repetition, no backfill."""
        return bool(self.entry and self.due_ms and not self.retry_of and not self.backfill)


class Payload(msgspec.Struct, frozen=True, omit_defaults=True, rename={"root_id": "root", "parent_id": "parent"}):
    """What the task gets. Arguments stay encoded until the child decodes them."""

    args: msgspec.Raw = msgspec.Raw(b"[]")
    kwargs: msgspec.Raw = msgspec.Raw(b"{}")
    eta_ms: int | None = None
    root_id: str = ""
    parent_id: str = ""
    headers: dict[str, Any] = {}
    run: RunOptions | None = None
    """Goes with `FLAG_RUN`: what the entry says itself of retries and limits."""
    way: tuple[str, str] | None = None
    """The exchange and routing key that led to its queue, where a call went that way."""


def encode_header(header: Header) -> bytes:
    """The header with its names, as the scripts read it."""
    entry, task, queue = header.entry.encode(), header.task.encode(), header.queue.encode()
    return (
        HEADER.pack(
            VERSION,
            header.priority,
            (header.flags & ~_TOLD) | _told_flags(header),
            header.overlap,
            header.catchup,
            header.serializer | (SIGNED if header.signed else 0) | (UNIQUE if header.unique else 0),
            header.due_ms,
            header.next_due_ms,
            header.expires_ms,
            header.enqueued_ms,
            header.result_ttl_s,
            header.late_limit_ms,
            header.catchup_window_s,
            header.max_runs,
            len(entry),
            len(task),
            len(queue),
        )
        + entry
        + task
        + queue
        + (_with_length(header.retry_of) if header.retry_of else b"")
        + (_with_length(header.backfill) if header.backfill else b"")
        + (_with_length(header.by) + _with_length(header.reason) if header.by or header.reason else b"")
        + (_with_length(header.unique) if header.unique else b"")
    )


def _told_flags(header: Header) -> int:
    """The flags that say what else stands in the header."""
    return (
        (FLAG_RETRY if header.retry_of else 0)
        | (FLAG_BACKFILL if header.backfill else 0)
        | (FLAG_HAND if header.by or header.reason else 0)
    )


def _text_at(body: bytes, at: int) -> tuple[str, int]:
    """The text at *at* that says its length, and what comes after it."""
    (length,) = LENGTH.unpack_from(body, at)
    at += LENGTH.size
    if len(body) < at + length:
        raise ValueError("its names are cut short")
    return body[at : at + length].decode(), at + length


def _with_length(text: str) -> bytes:
    data = text.encode()
    return LENGTH.pack(len(data)) + data


def flags_of(entry: Entry) -> int:
    """The flags that every message of *entry* has."""
    flags = FLAG_EARLY if entry.ack is Ack.EARLY else 0
    if entry.ignore_result:
        flags |= FLAG_IGNORE_RESULT
    if entry.watch is not None and entry.watch.ping_url:
        flags |= FLAG_PING
    return flags if entry.run is None else flags | FLAG_RUN


def encode_body(header: Header, payload: Payload) -> bytes:
    """The whole message."""
    return encode_header(header) + encode_payload(payload, header.serializer)


def encode_payload(payload: Payload, serializer: int = 0) -> bytes:
    """What the task gets, as bytes; its arguments are in *serializer* already (`encode_argument`)."""
    return _payload_encoder.encode(payload) if serializer == 0 else _packed_encoder.encode(payload)


def decode_header(body: bytes) -> tuple[Header, int]:
    """
    The header of *body*, and where its payload starts.

    Raises:
        UndecodableMessageError: These are not the bytes of a message of ours.
    """
    try:
        (
            version, priority, flags, overlap, catchup, codec, due, next_due, expires, enqueued,
            result_ttl_s, late_limit_ms, catchup_window_s, max_runs, entry_n, task_n, queue_n,
        ) = HEADER.unpack_from(body)  # fmt: skip
        if version != VERSION:
            raise UndecodableMessageError(
                f"message version {version}, this worker reads version {VERSION}: upgrade the older side"
            )
        if not (
            0 <= due < MOMENT_MAX
            and 0 <= next_due < MOMENT_MAX
            and 0 <= expires < MOMENT_MAX
            and 0 <= enqueued < MOMENT_MAX
        ):
            raise ValueError("a moment outside all time")
        at = HEADER.size + entry_n + task_n + queue_n
        # Tasks, queues and entries are few, and their names come with each message: all three are looked up at once.
        named = body[_LENGTHS_AT:at]
        names = _known_names.get(named)
        if names is None:
            names = _read_names(body, entry_n, task_n, queue_n)
            if len(_known_names) >= NAMES_KNOWN_MAX:
                _known_names.clear()
            _known_names[named] = names
        entry, task, queue = names
        retry_of = backfill = by = reason = unique = ""
        if flags & _TOLD:
            if flags & FLAG_RETRY:
                retry_of, at = _text_at(body, at)
            if flags & FLAG_BACKFILL:
                backfill, at = _text_at(body, at)
            if flags & FLAG_HAND:
                by, at = _text_at(body, at)
                reason, at = _text_at(body, at)
        if codec & UNIQUE:
            unique, at = _text_at(body, at)
        # By position: with names it takes six times as long.
        header = Header(
            task, queue, entry, priority, flags, _OVERLAPS[overlap], _CATCHUPS[catchup], codec & SERIALIZER_MASK,
            int(due), int(next_due), int(expires), int(enqueued), result_ttl_s, late_limit_ms, catchup_window_s, max_runs,
            retry_of, backfill, by, reason, codec >= SIGNED, unique,
        )  # fmt: skip
    except (struct.error, UnicodeDecodeError, ValueError, IndexError) as error:
        raise UndecodableMessageError(f"{len(body)} bytes that are not a message of ours: {error}") from None
    return header, at


def _read_names(body: bytes, entry_n: int, task_n: int, queue_n: int) -> tuple[str, str, str]:
    task_at = HEADER.size + entry_n
    queue_at = task_at + task_n
    if len(body) < queue_at + queue_n:
        raise ValueError("its names are cut short")
    return (
        body[HEADER.size : task_at].decode(),
        body[task_at:queue_at].decode(),
        body[queue_at : queue_at + queue_n].decode(),
    )


def decode_payload(body: bytes, at: int) -> Payload:
    """
    The payload of *body*, which starts at byte *at*.

    Raises:
        UndecodableMessageError: It is not JSON of our shape.
    """
    codec = body[CODEC_AT] if at else 0
    try:
        if not codec & _CODED:
            return _payload_decoder.decode(memoryview(body)[at:])
        decoder = _packed_decoder if codec & SERIALIZER_MASK else _payload_decoder
        return decoder.decode(memoryview(body)[at : payload_end(body)])
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise UndecodableMessageError(f"the payload is not a message of ours: {error}") from None


def payload_end(body: bytes) -> int:
    """Where the payload of *body* ends."""
    return len(body) - (SIGNATURE_BYTES if body[CODEC_AT] >= SIGNED else 0)


def check_content(serializer: int, accepted: Collection[str], *, what: str) -> None:
    """
    Make sure that *what*, which is in *serializer*, may be read here. To be asked before anything of it is decoded.

    Raises:
        ContentRefusedError: This side does not accept it.
        UndecodableMessageError: Nobody here knows that serializer.
    """
    name = SERIALIZER_NAMES.get(serializer)
    if name is None:
        raise UndecodableMessageError(
            f"{what} is in serializer {serializer}, which this version does not know; upgrade it"
        )
    if name not in accepted:
        raise ContentRefusedError(
            f"{what} is in {name}, which is not accepted here (accept_content: {', '.join(accepted) or 'nothing'}); "
            f"send it in another serializer, or name {name!r} in accept_content"
            + (" if everybody who can write to this Redis is trusted: pickle runs code" if name == "pickle" else "")
        )


def decode_arguments(body: bytes, payload: Payload) -> tuple[list[Any], dict[str, Any]]:
    """
    What the task of *body* is called with; *payload* is its payload.

    Raises:
        UndecodableMessageError: They are not a list and a mapping, or hold a value that cannot be read.
    """
    if payload.args is _NO_PAYLOAD.args and payload.kwargs is _NO_PAYLOAD.kwargs:
        return [], {}  # it says nothing of them, as for most entries
    codec = body[CODEC_AT] & SERIALIZER_MASK
    if codec:
        args, kwargs = (
            _decoded_argument(data, codec, what) for data, what in ((payload.args, "args"), (payload.kwargs, "kwargs"))
        )
    else:
        try:
            args, kwargs = _args_decode(payload.args), _kwargs_decode(payload.kwargs)
        except msgspec.DecodeError as error:
            raise UndecodableMessageError(f"the arguments are not a list and a mapping: {error}") from None
        if JSON.mark not in body:
            return args, kwargs
        args, kwargs = JSON.untagged(args, what="args"), JSON.untagged(kwargs, what="kwargs")
    if not isinstance(args, list | tuple) or not isinstance(kwargs, dict):
        raise UndecodableMessageError(
            f"the arguments are not a list and a mapping, but {type(args).__name__} and {type(kwargs).__name__}"
        )
    return list(args), kwargs


def encode_argument(value: Any, serializer: int, *, what: str) -> msgspec.Raw:
    """
    All positional arguments, or all of those by name, for a `Payload` in *serializer*.

    Raises:
        NotEncodableError: It cannot carry them.
    """
    data = encode_value(value, serializer, what=what)
    return msgspec.Raw(msgspec.msgpack.encode(data) if serializer == PICKLE else data)


def encode_value(value: Any, serializer: int, *, what: str) -> bytes:
    """
    *value* in *serializer*.

    Raises:
        NotEncodableError: It cannot carry it; the message begins with *what*.
    """
    if serializer != PICKLE:
        return (MSGPACK if serializer == SERIALIZERS["msgpack"] else JSON).encode(value, what=what)
    import pickle  # noqa: PLC0415 - hardly anybody wants it

    try:
        return pickle.dumps(value, protocol=PICKLE_PROTOCOL)
    except Exception as error:
        raise NotEncodableError(f"{what} cannot be pickled: {error}") from None


def decode_value(data: Any, serializer: int, *, what: str) -> Any:
    """
    What *data* stands for in *serializer*; see `check_content` before.

    Raises:
        UndecodableMessageError: It cannot be read; the message begins with *what*.
    """
    if serializer != PICKLE:
        return (MSGPACK if serializer == SERIALIZERS["msgpack"] else JSON).decode(data, what=what)
    import pickle  # noqa: PLC0415

    try:
        return pickle.loads(bytes(data))  # both sides have consented, by name
    except Exception as error:
        raise UndecodableMessageError(f"{what} cannot be unpickled: {type(error).__name__}: {error}") from None


def _decoded_argument(data: msgspec.Raw, serializer: int, what: str) -> Any:
    if serializer != PICKLE:
        return decode_value(data, serializer, what=what)
    try:
        pickled = msgspec.msgpack.decode(data, type=bytes)
    except msgspec.DecodeError as error:
        raise UndecodableMessageError(f"{what} cannot be read: {error}") from None
    return decode_value(pickled, serializer, what=what)


def run_options(body: bytes) -> RunOptions | None:
    """What the message *body* says itself of retries and limits; None where it says nothing, or cannot be read."""
    if len(body) < HEADER.size or not body[FLAGS_AT] & FLAG_RUN:
        return None
    try:
        _, at = decode_header(body)
        decoder = _packed_run_decoder if body[CODEC_AT] & SERIALIZER_MASK else _run_decoder
        return decoder.decode(memoryview(body)[at : payload_end(body)]).run
    except (UndecodableMessageError, msgspec.DecodeError, UnicodeDecodeError):
        return None


class _OnlyRun(msgspec.Struct):
    """A `Payload` of which the rest is passed over."""

    run: RunOptions | None = None


def encode_json(value: Any, *, what: str) -> bytes:
    """
    *value* as JSON, with tags where JSON has no word for it (`scheduler.content`).

    Raises:
        NotEncodableError: JSON cannot carry it; the message says what and why.
    """
    return JSON.encode(value, what=what)


def encode_entry(entry: Entry) -> bytes:
    """The definition as canonical bytes: equal bytes are equal entries."""
    return _entry_encoder.encode(entry)


def decode_entry(data: bytes) -> Entry:
    """The definition from its bytes."""
    return _entry_decoder.decode(data)


def fire_id(namespace: str, entry: str, due_ms: int) -> str:
    """
    The id of the message for *entry* at *due_ms*: the same on every beat.

    uuid5 over the length-delimited parts, so that no two entries can meet in one id.
    """
    space, name = namespace.encode(), entry.encode()
    return _digest(b"%d:%b%d:%b%d" % (len(space), space, len(name), name, due_ms))


def _digest(parts: bytes) -> str:
    digest = bytearray(hashlib.sha1(_FIRE_SPACE + parts, usedforsecurity=False).digest()[:16])
    digest[6] = digest[6] & 0x0F | 0x50
    digest[8] = digest[8] & 0x3F | 0x80
    return digest.hex()


def keyed_id(namespace: str, entry: str, kind: str, key: str) -> str:
    """
    The id of a message that somebody asks for under a name of their own: the same whenever it is asked for.

    Args:
        kind: Of the key; it begins with a letter, so that it never meets a due time.
    """
    space, name = namespace.encode(), entry.encode()
    parts = b"%d:%b%d:%b%b:%b" % (len(space), space, len(name), name, kind.encode(), key.encode())
    return _digest(parts)


def new_id() -> str:
    """A fresh random id, 128 bits in hexadecimal; it never starts with a hyphen, so it is safe on a command line."""
    return os.urandom(16).hex()


_LENGTHS_AT = HEADER.size - 6
_known_names: dict[bytes, tuple[str, str, str]] = {}
"""The lengths of the names and the names, as they stand in messages → entry, task and queue."""
_TOLD = FLAG_RETRY | FLAG_BACKFILL | FLAG_HAND
_FIRE_SPACE = bytes.fromhex("6ba7b8149dad11d180b400c04fd430c8")
_NO_PAYLOAD = Payload()
_payload_encoder = msgspec.json.Encoder()
_payload_decoder = msgspec.json.Decoder(Payload)
_args_decode = msgspec.json.Decoder(list[Any]).decode
_kwargs_decode = msgspec.json.Decoder(dict[str, Any]).decode
_run_decoder = msgspec.json.Decoder(_OnlyRun)
_packed_encoder = msgspec.msgpack.Encoder()
_packed_decoder = msgspec.msgpack.Decoder(Payload)
_packed_run_decoder = msgspec.msgpack.Decoder(_OnlyRun)
_CODED = SIGNED | SERIALIZER_MASK
_entry_encoder = msgspec.json.Encoder(order="sorted")
_entry_decoder = msgspec.json.Decoder(Entry)
# By their numbers on the wire: looked up for each message, where calling the enum costs four times as much.
_OVERLAPS = tuple(Overlap)
_CATCHUPS = tuple(Catchup)
