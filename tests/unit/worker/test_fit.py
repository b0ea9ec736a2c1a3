"""Arguments become what the task's annotations name."""

from __future__ import annotations

import dataclasses
import enum
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Self

import msgspec
import pytest

from scheduler import App
from scheduler.errors import UndecodableMessageError
from worker.fit import fitting

if TYPE_CHECKING:
    from nowhere import Unknown  # type: ignore[import-not-found]


class Colour(enum.Enum):
    RED = "red"


@dataclasses.dataclass
class Line:
    sku: str
    n: int = 1


@dataclasses.dataclass
class Order:
    id: int
    when: datetime
    lines: list[Line]
    tags: set[str] = dataclasses.field(default_factory=set)


class Point(msgspec.Struct):
    x: int


class Model:
    """As pydantic's are used."""

    def __init__(self, x: int) -> None:
        self.x = x

    @classmethod
    def model_validate(cls, value: Any) -> Self:
        if not isinstance(value, dict) or "x" not in value:
            raise ValueError("x: Field required")
        return cls(value["x"])


def many(order: Order, line: Line | None, /, n: int, *rest: Point, colour: Colour = Colour.RED, **others: Line) -> None:
    """Every kind of parameter."""


def other(model: Model, unknown: Unknown, lines: list[Line], text: str = "") -> None:
    """One annotation is there for type checkers only."""


def plain(a: int, b: str, c: datetime, *args: int, **kwargs: object) -> None:
    """Nothing to be converted."""


def bound(self: Any, point: Point) -> None:
    """The task comes first."""


def fitted(
    fn: Any, args: list[Any], kwargs: dict[str, Any] | None = None, **options: Any
) -> tuple[list[Any], dict[str, Any]]:
    fit, kwargs = fitting(App("fit").task(fn, name="t", **options)), kwargs or {}
    assert fit is not None
    fit(args, kwargs)
    return args, kwargs


def test_every_kind_of_parameter_is_converted() -> None:
    """By position, by name, and those that take the rest."""
    when = datetime(2026, 1, 2, tzinfo=UTC)
    order = {"id": 1, "when": when, "lines": [{"sku": "a"}], "tags": {"b"}}
    args, kwargs = fitted(
        many, [order, None, "3", {"x": 1}, {"x": 2}], {"colour": "red", "extra": {"sku": "c", "n": 2}}
    )
    assert args == [Order(1, when, [Line("a")], {"b"}), None, "3", Point(1), Point(2)]
    assert kwargs == {"colour": Colour.RED, "extra": Line("c", 2)}


def test_what_is_right_already_stays_as_it_is() -> None:
    """Pickled arguments are; so is what was converted before."""
    order = Order(1, datetime(2026, 1, 2), [Line("a")])
    args, _ = fitted(many, [order, Line("b"), 3])
    assert args[0] is order
    assert args[1] == Line("b")


def test_an_annotation_that_means_nothing_here_hides_no_other() -> None:
    args, _ = fitted(other, [{"x": 1}, {"y": 2}, [{"sku": "a"}], 5])
    assert (args[0].x, args[1:]) == (1, [{"y": 2}, [Line("a")], 5])


def test_a_bound_task_is_not_its_own_argument() -> None:
    assert fitted(bound, [{"x": 1}], bind=True)[0] == [Point(1)]


def test_most_tasks_need_nothing() -> None:
    """`int` and the like are the task's business, as in Python."""
    assert fitting(App("fit").task(plain, name="t")) is None


@pytest.mark.parametrize(
    ("fn", "args", "said"),
    [
        (many, [{"id": "x"}], "task 't': argument 'order' does not fit Order: Expected `int`, got `str`"),
        (many, [5], "argument 'order' does not fit Order: Expected `object`, got `int`"),
        (other, [{}], "argument 'model' does not fit Model: x: Field required"),
    ],
)
def test_what_does_not_fit_is_named(fn: Any, args: list[Any], said: str) -> None:
    """Task, argument, class, and what is wrong with it."""
    with pytest.raises(UndecodableMessageError) as refusal:
        fitted(fn, args)
    assert said in str(refusal.value)
