"""A small shop that keeps taking orders, so that the other schedules have something real to look after."""

import os
import random
import sqlite3
from contextlib import closing
from pathlib import Path

from scheduler import every, schedule

# Where the samples keep their files: `var/` here, the service's own state directory under systemd.
DATA = Path(os.environ.get("STATE_DIRECTORY") or "var").absolute()
ORDERS = DATA / "orders.sqlite3"
ORDERS_MAX = 20_000

GOODS = {"tea": 4.20, "coffee": 6.90, "honey": 8.50, "salt": 1.10}


def open_orders(database: Path) -> sqlite3.Connection:
    """The orders, in a database that is made when it is missing."""
    database.parent.mkdir(parents=True, exist_ok=True)
    orders = sqlite3.connect(database, timeout=10)
    orders.execute("PRAGMA journal_mode = WAL")
    orders.execute(
        "CREATE TABLE IF NOT EXISTS orders (id INTEGER PRIMARY KEY, item TEXT NOT NULL, n INTEGER NOT NULL,"
        " eur REAL NOT NULL, at TEXT NOT NULL DEFAULT CURRENT_TIMESTAMP)"
    )
    return orders


@schedule(every("2s"))
def take_order() -> str:
    """Somebody buys something."""
    item, n = random.choice(list(GOODS)), random.randint(1, 5)
    with closing(open_orders(ORDERS)) as orders, orders:
        added = orders.execute("INSERT INTO orders (item, n, eur) VALUES (?, ?, ?)", (item, n, n * GOODS[item]))
        orders.execute("DELETE FROM orders WHERE id <= (SELECT max(id) FROM orders) - ?", (ORDERS_MAX,))
    return f"order {added.lastrowid}: {n} × {item}, {n * GOODS[item]:.2f} EUR"
