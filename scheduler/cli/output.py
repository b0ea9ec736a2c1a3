"""
Data on stdout: a table for people, JSON for programs.

On a terminal the table is rich's, which fits it to the width; in a pipe, and beyond `FANCY_ROWS_MAX` rows (rich takes
0.3 ms for each), it is plain aligned text with the same columns, each cell whole, so that `grep` and `awk` find it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Generic, NamedTuple, TypeVar

import msgspec

T = TypeVar("T")

FANCY_ROWS_MAX = 500
WIDE_MIN = 16
"""What a wide column keeps, in characters."""
GAP = 2


class Column(NamedTuple, Generic[T]):
    """
    One column of a table for people.

    Attributes:
        cell: What the column says of an item.
        style: A rich style for a cell's text, on terminals.
        wide: Where the terminal is narrow, this column's cells go on over several lines.
        spare: Where the terminal is narrower still, this column is left out; the last such column first.
    """

    title: str
    cell: Callable[[T], str]
    style: Callable[[str], str] | None = None
    wide: bool = False
    spare: bool = False


class Output:
    """Where data goes, in the form that was asked for."""

    def __init__(self, form: str) -> None:
        self._form = form

    def many(self, items: Sequence[T], *, data: Callable[[T], Any], columns: Sequence[Column[T]]) -> None:
        """
        Print *items*: a list of `data(item)` for programs, a table of *columns* for people.

        Only what is printed is computed.
        """
        if self._form == "table":
            self._table(items, columns)
        else:
            self.data([data(item) for item in items])

    def parts(self, parts: Iterable[Sequence[T]], *, data: Callable[[T], Any], columns: Sequence[Column[T]]) -> bool:
        """As `many`, for very many items: each part is printed when it comes. Whether there was any item."""
        printed = 0
        widths: list[int] = []
        if self._form == "json":
            sys.stdout.write("[")
        for part in parts:
            if self._form == "table":
                if not printed and len(part) < FANCY_ROWS_MAX:
                    self._table(part, columns)
                elif part:
                    _print_plain(part, columns, widths, titles=not printed)
                printed += len(part)
            else:
                for item in part:
                    text = msgspec.json.encode(data(item))
                    if self._form == "json":
                        pretty = msgspec.json.format(text, indent=2).decode().replace("\n", "\n  ")
                        sys.stdout.write(f"{',' if printed else ''}\n  {pretty}")
                    else:
                        write(text.decode())
                    printed += 1
        if self._form == "json":
            write("\n]" if printed else "]")
        return printed > 0

    def one(self, item: T, *, data: Callable[[T], Any], facts: Callable[[T], Iterable[tuple[str, str]]]) -> None:
        """Print *item*: `data(item)` for programs, a line for each of its facts for people; empty ones are left out."""
        if self._form != "table":
            self.data(data(item))
            return
        known = [(label, text) for label, text in facts(item) if text]
        width = max((len(label) for label, _ in known), default=0)
        lines = [
            f"{label if first else '':>{width}}{': ' if first else '  '}{line}"
            for label, text in known
            for first, line in _numbered(text)
        ]
        write("\n".join(lines))

    def data(self, data: Any) -> None:
        """Print *data* as JSON, or a list of it as one JSON value a line."""
        if self._form == "jsonl":
            for item in data if isinstance(data, list) else [data]:
                write(msgspec.json.encode(item).decode())
        else:
            write(msgspec.json.format(msgspec.json.encode(data), indent=2).decode())

    def gap(self) -> None:
        """An empty line between two things for people."""
        if self._form == "table":
            write("")

    def _table(self, items: Sequence[T], columns: Sequence[Column[T]]) -> None:
        if not items:
            return
        cells = [column.cell for column in columns]
        rows = [[one_line(cell(item)) for cell in cells] for item in items]
        if sys.stdout.isatty() and len(rows) <= FANCY_ROWS_MAX:
            _print_fancy(rows, columns)
        else:
            write(plain([[column.title for column in columns], *rows]))


def _print_plain(part: Sequence[T], columns: Sequence[Column[T]], widths: list[int], *, titles: bool) -> None:
    """Print *part* of a table; the columns are at least as wide as *widths*, which grow with what was printed."""
    rows = [[one_line(column.cell(item)) for column in columns] for item in part]
    if titles:
        rows.insert(0, [column.title for column in columns])
    wide = [max(map(len, cells)) for cells in zip(*rows, strict=True)]
    widths[:] = [max(pair) for pair in zip(widths or wide, wide, strict=True)]
    write(plain(rows, widths))


def one_line(text: str) -> str:
    """*text* as it may stand in a table: a task's error may have lines and control characters of its own."""
    return text if text.isprintable() else " ".join("".join(c if c.isprintable() else " " for c in text).split())


def plain(rows: Sequence[Sequence[str]], widths_min: Sequence[int] = ()) -> str:
    """*rows* as aligned lines, two blanks between columns, empty cells as ``-``."""
    filled = [[cell or "-" for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*filled, strict=True)]
    widths = [max(pair) for pair in zip(widths, widths_min or widths, strict=True)]
    widths[-1] = 0
    form = "  ".join(f"{{:<{width}}}" if width else "{}" for width in widths)
    return "\n".join(form.format(*row) for row in filled)


def write(text: str) -> None:
    """One line, or several, to stdout."""
    sys.stdout.write(text + "\n")


def state_style(text: str) -> str:
    """The colour of a state: what failed stands out, what is well does not."""
    return _STATE_STYLES.get(text.partition(" ")[0], "")


_STATE_STYLES = {
    "SUCCESS": "green",
    "FAILURE": "bold red",
    "RETRY": "yellow",
    "STARTED": "cyan",
    "PENDING": "dim",
    "REVOKED": "magenta",
    "EXPIRED": "magenta",
    "paused": "yellow",
    "disabled": "dim",
    "mistake": "bold red",
    "warning": "yellow",
    "leader": "green",
}


def _print_fancy(rows: Sequence[Sequence[str]], columns: Sequence[Column[T]]) -> None:
    from rich.console import Console  # noqa: PLC0415 - slow, and needed on terminals only
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    console = Console(highlight=False)
    widths = [max(len(column.title), *(len(row[at]) for row in rows)) for at, column in enumerate(columns)]
    chosen = fitting(columns, widths, console.width)
    if not chosen:
        write(plain([[column.title for column in columns], *rows]))
        return
    table = Table(box=None, pad_edge=False, padding=(0, GAP, 0, 0), header_style="bold")
    for at in chosen:
        column = columns[at]
        floor = min(widths[at], WIDE_MIN) if column.wide else widths[at]
        table.add_column(column.title, no_wrap=not column.wide, overflow="fold", min_width=floor)
    for row in rows:
        table.add_row(*(Text(row[at] or "-", style=_style(columns[at], row[at])) for at in chosen))
    console.print(table)


def fitting(columns: Sequence[Column[T]], widths: Sequence[int], width: int) -> list[int]:
    """
    Which of *columns*, whose cells are *widths* wide, to show on a terminal of *width*: spare ones go, last first.

    None at all if that is not enough: then better whole cells on lines that wrap than cut ones.
    """
    floors = [min(w, WIDE_MIN) if column.wide else w for column, w in zip(columns, widths, strict=True)]
    chosen = list(range(len(columns)))
    spare = [at for at in chosen if columns[at].spare]
    while sum(floors[at] + GAP for at in chosen) - GAP > width:
        if not spare:
            return []
        chosen.remove(spare.pop())
    return chosen


def _style(column: Column[T], cell: str) -> str:
    return column.style(cell) if column.style else ""


def _numbered(text: str) -> Iterable[tuple[bool, str]]:
    return ((index == 0, line) for index, line in enumerate(text.splitlines()))
