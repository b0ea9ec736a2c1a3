"""
What travels comes out as it went in: values to bytes and back, as far as JSON or msgpack can say it.

Numbers, text, lists and mappings are written as they are. What JSON has no word for is written as a mapping with two keys, as
Celery does it:

    {"__type__": "datetime", "__value__": "2026-11-21T10:00:00+01:00"}

    datetime date time   ISO 8601; a zone travels as its offset
    timedelta            ISO 8601: "P1DT2.5S"
    uuid decimal         text
    bytes                base64; msgpack has a word of its own for them
    set frozenset        a list; in JSON in the order of the items' bytes, so that equal sets are equal bytes
    dict                 a mapping that has a key "__type__" of its own, and is to be taken literally

An enum travels as its value. Dataclasses, attrs classes, msgspec structs and pydantic models travel as mappings, tuples as lists,
subclasses of plain types as these types. The table is fixed: what was written by any version can be read by every later one.

Nearly all data is plain, so it is written first and looked at afterwards: whether tags were needed is asked level by level, at
the speed of C.
"""

from __future__ import annotations

import base64
import binascii
import dataclasses
from collections.abc import Callable, Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal, InvalidOperation
from enum import Enum
from gc import get_referents
from typing import Any
from uuid import UUID

import msgspec

from scheduler.errors import NotEncodableError, UndecodableMessageError

TYPE, VALUE = "__type__", "__value__"
DEPTH_MAX = 200
"""Data with tags is nested no deeper."""

PATH_CHARS_MAX = 100

SCALARS = frozenset({str, int, float, bool, type(None)})
"""What every serializer has a word for."""
_CONTAINERS = frozenset({list, tuple, dict})
_REMEDY = "pass plain data (numbers, text, lists, mappings, dates, UUIDs, Decimals, bytes, sets, dataclasses)"


class Content:
    """
    One way to write values.

    Args:
        name: Of the serializer, for messages.
        encode, decode: Of plain data.
        tag: What stands in the bytes of every value with a tag (and of some without).
        natives: Further types that need no tag.
    """

    def __init__(
        self,
        name: str,
        encode: Callable[[Any], bytes],
        decode: Callable[[Any], Any],
        *,
        tag: bytes,
        natives: frozenset[type] = frozenset(),
    ) -> None:
        self.name = name
        self.mark = tag
        self._encode = encode
        self._decode = decode
        self._scalars = SCALARS | natives
        self._plain = self._scalars | _CONTAINERS

    def encode(self, value: Any, *, what: str) -> bytes:
        """
        *value* as bytes.

        Raises:
            NotEncodableError: It cannot be written; the message begins with *what* and says which part of it, and why.
        """
        try:
            data = self._encode(value)
            if type(value) in self._scalars or (self.is_plain((value,)) and self.mark not in data):
                return data
        except (TypeError, ValueError, RecursionError, OverflowError):
            pass  # the long way says what it is
        return self.encode_tagged(value, what=what)

    def encode_tagged(self, value: Any, *, what: str) -> bytes:
        """The same for a *value* that is known not to be plain."""
        try:
            return self._encode(self._tagged(value, 0))
        except _UnfitError as error:
            raise NotEncodableError(
                f"{what}{_short(error.path)} cannot be sent as {self.name}: {error}; {_REMEDY}"
            ) from None
        except (TypeError, ValueError, RecursionError, OverflowError) as error:
            raise NotEncodableError(f"{what} cannot be sent as {self.name}: {error}; {_REMEDY}") from None

    def is_plain(self, values: Any) -> bool:
        """
        Whether *values* hold nothing that needs a tag, but for a mapping that looks like one.

        To be asked only of what could be encoded: that has no cycles.
        """
        scalars, plain = self._scalars, self._plain
        while not scalars.issuperset(map(type, values)):
            if not plain.issuperset(map(type, values)):
                return False
            values = get_referents(*values)  # the items of lists, keys and values of mappings: the level below
        return True

    def decode(self, data: Any, *, what: str) -> Any:
        """
        The value that *data* (bytes, or what has a buffer) stands for.

        Raises:
            UndecodableMessageError: It cannot be read; the message begins with *what*.
        """
        try:
            value = self._decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise UndecodableMessageError(f"{what} cannot be read as {self.name}: {error}") from None
        return self.untagged(value, what=what) if self.mark in bytes(data) else value

    def untagged(self, value: Any, *, what: str) -> Any:
        """
        *value* as it was before it was written.

        Raises:
            UndecodableMessageError: A tag that nobody here knows, or one whose value cannot be read.
        """
        try:
            return _untagged(value)
        except _UnfitError as error:
            raise UndecodableMessageError(f"{what}{_short(error.path)}: {error}") from None
        except RecursionError:
            raise UndecodableMessageError(f"{what} is nested too deep to be read") from None

    def _tagged(self, value: Any, depth: int) -> Any:
        kind = type(value)
        if kind in self._scalars:
            return value
        if depth > DEPTH_MAX:
            raise _UnfitError(f"it is nested deeper than {DEPTH_MAX} levels, or holds itself")
        if isinstance(value, Mapping):
            for key in value:
                if not isinstance(key, _KEYS):
                    raise _UnfitError(f"a key of it is {_a(type(key))}")
            inner = {key: self._under(item, key, depth) for key, item in value.items()}
            return {TYPE: "dict", VALUE: inner} if TYPE in inner else inner
        if isinstance(value, list | tuple):
            return [self._under(item, at, depth) for at, item in enumerate(value)]
        if isinstance(value, Enum):
            return self._tagged(value.value, depth + 1)
        if isinstance(value, set | frozenset):
            items = sorted((self._tagged(item, depth + 1) for item in value), key=self._encode)
            return {TYPE: "frozenset" if isinstance(value, frozenset) else "set", VALUE: items}
        for known, name, write in _WRITERS:
            if isinstance(value, known):
                return write(value) if known in self._scalars or not name else {TYPE: name, VALUE: write(value)}
        return self._object(value, depth)

    def _object(self, value: Any, depth: int) -> Any:
        """What has fields, as a mapping of them."""
        if isinstance(value, msgspec.Raw):
            return value
        if isinstance(value, msgspec.Struct):
            return self._tagged(msgspec.to_builtins(value, builtin_types=_LEFT_ALONE), depth)
        if isinstance(value, type):
            raise _UnfitError(f"it is the class {value.__qualname__}")
        if dataclasses.is_dataclass(value):
            names = [field.name for field in dataclasses.fields(value)]
        elif hasattr(value, "__attrs_attrs__"):
            names = [attribute.name for attribute in value.__attrs_attrs__]
        elif callable(dump := getattr(value, "model_dump", None)):  # pydantic's
            return self._tagged(dump(), depth + 1)
        else:
            raise _UnfitError(f"it is {_a(type(value))}")
        return {name: self._under(getattr(value, name), name, depth, ".") for name in names}

    def _under(self, value: Any, key: object, depth: int, kind: str = "[") -> Any:
        """*value*, which stands under *key*, which is part of the path in complaints."""
        if type(value) in self._scalars:
            return value
        try:
            return self._tagged(value, depth + 1)
        except _UnfitError as error:
            error.path = f"{_step(key, kind)}{error.path}"
            raise


class _UnfitError(Exception):
    """What cannot be written, or read, and where it stands."""

    path = ""


def _step(key: object, kind: str = "[") -> str:
    return f".{key}" if kind == "." else f"[{key!r}]"


def _a(kind: type) -> str:
    """``a socket``, ``an Order``."""
    name = kind.__qualname__
    return f"{'an' if name[:1].lower() in 'aeiou' else 'a'} {name}"


def _short(path: str) -> str:
    return path if len(path) <= PATH_CHARS_MAX else f"{path[:PATH_CHARS_MAX]}…"


def _untagged(value: Any) -> Any:
    if type(value) is list:
        return [_untagged_under(item, at) for at, item in enumerate(value)]
    if type(value) is not dict:
        return value
    if len(value) == 2 and TYPE in value and VALUE in value:
        return _read(value[TYPE], value[VALUE])
    return {key: _untagged_under(item, key) for key, item in value.items()}


def _untagged_under(value: Any, key: object) -> Any:
    if type(value) is not list and type(value) is not dict:
        return value
    try:
        return _untagged(value)
    except _UnfitError as error:
        error.path = f"{_step(key)}{error.path}"
        raise


def _read(name: Any, value: Any) -> Any:
    reader = _READERS.get(name) if isinstance(name, str) else None
    if reader is None:
        raise _UnfitError(f"a value of type {name!r}, which this version does not know; upgrade it")
    try:
        return reader(value)
    except (ValueError, TypeError, AttributeError, InvalidOperation, binascii.Error, msgspec.ValidationError):
        raise _UnfitError(f"{str(value)[:60]!r} is no {name}") from None


def _timedelta_text(value: timedelta) -> str:
    return str(msgspec.to_builtins(timedelta(days=value.days, seconds=value.seconds, microseconds=value.microseconds)))


def _literally(value: Any) -> dict[Any, Any]:
    if not isinstance(value, dict):
        raise TypeError
    return {key: _untagged_under(item, key) for key, item in value.items()}


def _items(value: Any) -> Any:
    """The items of a set: what was a tuple there came as a list."""
    if not isinstance(value, list):
        raise TypeError
    return map(_hashable, map(_untagged, value))


def _hashable(value: Any) -> Any:
    return tuple(map(_hashable, value)) if isinstance(value, list) else value


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


_WRITERS: tuple[tuple[Any, str, Callable[[Any], Any]], ...] = (
    # A datetime is a date, and a bool an int: the first that fits.
    (str, "", str.__str__),
    (int, "", int),
    (float, "", float),
    (datetime, "datetime", datetime.isoformat),
    (date, "date", date.isoformat),
    (time, "time", time.isoformat),
    (timedelta, "timedelta", _timedelta_text),
    (UUID, "uuid", str),
    (Decimal, "decimal", str),
    (bytes, "bytes", lambda value: base64.b64encode(value).decode()),
    (bytearray | memoryview, "bytes", lambda value: base64.b64encode(bytes(value)).decode()),
)
"""What it is, its tag ("" for none), and how it is written."""

_READERS: Mapping[str, Callable[[Any], Any]] = {
    "datetime": lambda value: datetime.fromisoformat(_text(value)),
    "date": lambda value: date.fromisoformat(_text(value)),
    "time": lambda value: time.fromisoformat(_text(value)),
    "timedelta": lambda value: msgspec.convert(_text(value), timedelta),
    "uuid": lambda value: UUID(_text(value)),
    "decimal": lambda value: Decimal(_text(value)),
    "bytes": lambda value: base64.b64decode(_text(value), validate=True),
    "set": lambda value: set(_items(value)),
    "frozenset": lambda value: frozenset(_items(value)),
    "dict": _literally,
}

_KEYS = (str, int, float, datetime, date, time, timedelta, UUID, Decimal, Enum)
"""They become text, as JSON wants it."""
_LEFT_ALONE = (datetime, date, time, timedelta, UUID, Decimal, bytes, bytearray)

JSON = Content("JSON", msgspec.json.Encoder().encode, msgspec.json.Decoder().decode, tag=msgspec.json.encode(TYPE))
MSGPACK = Content(
    "msgpack",
    msgspec.msgpack.Encoder().encode,
    msgspec.msgpack.Decoder().decode,
    tag=msgspec.msgpack.encode(TYPE),
    natives=frozenset({bytes}),
)
