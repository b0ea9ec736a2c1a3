"""What goes in comes out: values as JSON and as msgpack, with tags where they have no word of their own."""

from __future__ import annotations

import dataclasses
import enum
import socket
from collections import OrderedDict, defaultdict
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, NamedTuple
from uuid import UUID
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.content import JSON, MSGPACK, Content
from scheduler.errors import NotEncodableError, UndecodableMessageError

BOTH = pytest.mark.parametrize("content", [JSON, MSGPACK], ids=["json", "msgpack"])
U = UUID("12345678-1234-5678-1234-567812345678")


class Colour(enum.Enum):
    RED = "red"


class Level(enum.IntEnum):
    HIGH = 3


class Point(NamedTuple):
    x: int
    when: date


@dataclasses.dataclass
class Order:
    id: int
    when: datetime
    tags: set[str]


class Line(msgspec.Struct):
    sku: UUID
    price: Decimal


def there_and_back(content: Content, value: Any) -> Any:
    return content.decode(content.encode(value, what="it"), what="it")


scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
    | st.just("__type__")
    | st.datetimes()
    | st.datetimes(timezones=st.just(UTC))
    | st.dates()
    | st.times()
    | st.timedeltas()
    | st.uuids()
    | st.decimals(allow_nan=False)
    | st.binary()
    | st.frozensets(st.integers(-5, 5) | st.text(max_size=3))
)
keys = st.text(max_size=8) | st.sampled_from(["__type__", "__value__"])
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(keys, inner, max_size=4)
        | st.fixed_dictionaries({"__type__": inner, "__value__": inner})
    ),
    max_leaves=12,
)


@BOTH
@given(value=values)
def test_what_goes_in_comes_out(content: Content, value: Any) -> None:
    """Whatever stands in whatever; mappings that look like our tags too."""
    assert there_and_back(content, value) == value


@BOTH
@pytest.mark.parametrize(
    ("value", "arrives"),
    [
        (datetime(2026, 1, 2, 3, tzinfo=ZoneInfo("Asia/Shanghai")), datetime(2026, 1, 1, 19, tzinfo=UTC)),
        ({1, 2}, {1, 2}),
        ({(1, (2, 3))}, {(1, (2, 3))}),
        (bytearray(b"\xff"), b"\xff"),
        (memoryview(b"ab"), b"ab"),
        (Colour.RED, "red"),
        (Level.HIGH, 3),
        ([Level.HIGH, Colour.RED], [3, "red"]),
        ((1, (2, 3)), [1, [2, 3]]),
        (Point(1, date(2026, 1, 2)), [1, date(2026, 1, 2)]),
        (OrderedDict(a=U), {"a": U}),
        (defaultdict(list, a=[b"x"]), {"a": [b"x"]}),
        (
            {"order": Order(1, datetime(2026, 1, 2), {"a"})},
            {"order": {"id": 1, "when": datetime(2026, 1, 2), "tags": {"a"}}},
        ),
        (Line(U, Decimal("1.50")), {"sku": U, "price": Decimal("1.50")}),
    ],
    ids=str,
)
def test_what_has_no_word_of_its_own_arrives_as_the_nearest(content: Content, value: Any, arrives: Any) -> None:
    assert there_and_back(content, value) == arrives


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (datetime(2026, 1, 2, 3, 4, 5, 6), {"__type__": "datetime", "__value__": "2026-01-02T03:04:05.000006"}),
        (datetime(2026, 1, 2, tzinfo=UTC), {"__type__": "datetime", "__value__": "2026-01-02T00:00:00+00:00"}),
        (date(2026, 1, 2), {"__type__": "date", "__value__": "2026-01-02"}),
        (time(3, 4), {"__type__": "time", "__value__": "03:04:00"}),
        (timedelta(days=1, seconds=2.5), {"__type__": "timedelta", "__value__": "P1DT2.5S"}),
        (U, {"__type__": "uuid", "__value__": str(U)}),
        (Decimal("1.50"), {"__type__": "decimal", "__value__": "1.50"}),
        (b"\xff", {"__type__": "bytes", "__value__": "/w=="}),
        ({3, 1, 2}, {"__type__": "set", "__value__": [1, 2, 3]}),
        (frozenset("a"), {"__type__": "frozenset", "__value__": ["a"]}),
        ({"__type__": "date"}, {"__type__": "dict", "__value__": {"__type__": "date"}}),
    ],
    ids=str,
)
def test_the_tags_are_these_for_ever(value: Any, written: Any) -> None:
    """Messages outlive versions: what stands here is read by every later one."""
    assert msgspec.json.decode(JSON.encode([value], what="it")) == [written]


def test_equal_sets_are_equal_bytes() -> None:
    """The order of a set's items differs from process to process; definitions of entries are compared as bytes."""
    assert JSON.encode(set("abcdef"), what="it") == JSON.encode(set("fedcba"), what="it")
    assert b'["a","b","c","d","e","f"]' in JSON.encode(set("fedcba"), what="it")


def test_plain_data_is_written_as_it_always_was() -> None:
    value = [1, 2.5, "ü", None, True, {"a": [{"b": [1, [2]]}], "1": {}}]
    assert msgspec.json.encode(value) == JSON.encode(value, what="it")


@pytest.mark.parametrize(
    ("value", "where"),
    [
        ([1, {"when": socket.socket}], r"its args\[1\]\['when'\] cannot be sent as JSON: it is the class socket; pass"),
        ([1, {"when": object()}], r"its args\[1\]\['when'\] cannot be sent as JSON: it is an object; pass"),
        ([Order(1, object(), set())], r"its args\[0\]\.when cannot be sent as JSON: it is an object"),  # type: ignore[arg-type]
        ([{(1, 2): 3}], r"its args\[0\] cannot be sent as JSON: a key of it is a tuple"),
        ([{1, object()}], "it is an object"),
        ([1j], "it is a complex"),
    ],
    ids=str,
)
def test_what_cannot_be_sent_is_named_by_its_path(value: Any, where: str) -> None:
    """P12: one clear error, where it is sent from."""
    with pytest.raises(NotEncodableError, match=where):
        JSON.encode(value, what="task 't.x': its args")


@BOTH
def test_what_holds_itself_is_refused(content: Content) -> None:
    value: list[Any] = []
    value.append(value)
    with pytest.raises(NotEncodableError, match="nested deeper than 200 levels, or holds itself") as refusal:
        content.encode(value, what="args")
    assert len(str(refusal.value)) < 400


@pytest.mark.parametrize(
    ("written", "complaint"),
    [
        (
            '[{"__type__":"polygon","__value__":1}]',
            r"args\[0\]: a value of type 'polygon', which this version does not know",
        ),
        ('{"a":{"__type__":"datetime","__value__":"soon"}}', r"args\['a'\]: 'soon' is no datetime"),
        ('{"__type__":"uuid","__value__":5}', "args: '5' is no uuid"),
        ('{"__type__":"set","__value__":[{}]}', "is no set"),
        ('{"__type__":"set","__value__":"abc"}', "is no set"),
        ('{"__type__":"dict","__value__":[1]}', "is no dict"),
        ('{"__type__":"decimal","__value__":"x"}', "'x' is no decimal"),
        ('{"__type__":"bytes","__value__":"x"}', "'x' is no bytes"),
        ('{"__type__":[],"__value__":"x"}', "does not know"),
        ('{"__type__"', "args cannot be read as JSON"),
        ("[" * 900 + '{"__type__":"set","__value__":[1]}' + "]" * 900, "args is nested too deep"),
    ],
)
def test_what_cannot_be_read_is_named(written: str, complaint: str) -> None:
    """A message from a newer version, or from nobody we know, is one clear error."""
    with pytest.raises(UndecodableMessageError, match=complaint):
        JSON.decode(written.encode(), what="args")


def test_a_mapping_of_somebody_elses_is_left_alone() -> None:
    """Only exactly our two keys are a tag: others write JSON too."""
    for text in ('{"__type__":"date"}', '{"__type__":"date","__value__":"2026-01-01","more":1}'):
        assert JSON.decode(text.encode(), what="it") == msgspec.json.decode(text)
