"""The report sample: right sums, over more than one page, written whole."""

from __future__ import annotations

import csv
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest

from schedules import report, shop


def test_it_adds_up_every_page(tmp_path: Path) -> None:
    """An order at the edge of a page is counted once."""
    database = tmp_path / "orders.sqlite3"
    with closing(shop.open_orders(database)) as orders, orders:
        many = [("tea", 4.0)] * report.PAGE_ROWS + [("honey", 8.5)] * (report.PAGE_ROWS + 1)
        orders.executemany("INSERT INTO orders (item, n, eur) VALUES (?, 1, ?)", many)

    assert report.total(database) == {"tea": 4.0 * report.PAGE_ROWS, "honey": 8.5 * (report.PAGE_ROWS + 1)}


def test_it_writes_the_best_first_and_nothing_half_done(tmp_path: Path) -> None:
    """Whoever picks up the file finds all of it."""
    sales = Counter({"salt": 1.1, "tea": 20.0})
    path = report.write(sales, tmp_path / "reports")

    with path.open(newline="") as file:
        assert list(csv.reader(file)) == [["item", "eur"], ["tea", "20.00"], ["salt", "1.10"]]
    assert [path] == list((tmp_path / "reports").iterdir())


def test_before_the_first_order_the_report_is_empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first report may come before the first order."""
    monkeypatch.setattr(report, "ORDERS", tmp_path / "orders.sqlite3")
    monkeypatch.setattr(report, "DATA", tmp_path)

    assert report.sales_report().endswith(": 0.00 EUR")


def test_the_shop_takes_orders_and_forgets_the_oldest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sample that runs for months must not fill the disk."""
    monkeypatch.setattr(shop, "ORDERS", tmp_path / "orders.sqlite3")
    monkeypatch.setattr(shop, "ORDERS_MAX", 3)
    said = [shop.take_order() for _ in range(5)]

    assert said[-1].startswith("order 5: ")
    with closing(shop.open_orders(shop.ORDERS)) as orders:
        assert orders.execute("SELECT id FROM orders").fetchall() == [(3,), (4,), (5,)]
