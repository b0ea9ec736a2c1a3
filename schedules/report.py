"""A slow report: on a queue of its own, so that nothing quick waits behind it, and dropped when it comes too late."""

import csv
import time
from collections import Counter
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

from scheduler import every, schedule
from schedules.shop import DATA, ORDERS, open_orders

PAGE_ROWS = 50


# For real, on weekdays at nine: crontab("0 9 * * mon-fri", tz="Europe/Berlin"), expires="2h".
@schedule(every("15s"), queue="reports", expires="14s", time_limit="2m")
def sales_report() -> str:
    """Who sold how much? Reads in small pages with a rest after each, so that the shop does not notice."""
    sales = total(ORDERS, rest_s=0.1)
    path = write(sales, DATA / "reports")
    return f"{path.name}: {sum(sales.values()):.2f} EUR"


def total(database: Path, *, rest_s: float = 0.0) -> Counter[str]:
    """The turnover of each item."""
    sales: Counter[str] = Counter()
    with closing(open_orders(database)) as orders:
        last = 0
        while rows := orders.execute(
            "SELECT id, item, eur FROM orders WHERE id > ? ORDER BY id LIMIT ?", (last, PAGE_ROWS)
        ).fetchall():
            for _, item, eur in rows:
                sales[item] += eur
            last = rows[-1][0]
            time.sleep(rest_s)
    return sales


def write(sales: Counter[str], folder: Path) -> Path:
    """One line for each item, best first; a reader sees the whole file or none."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"sales-{datetime.now(UTC):%Y%m%dT%H%M%SZ}.csv"
    partial = path.with_suffix(".partial")
    with partial.open("w", newline="") as file:
        lines = csv.writer(file)
        lines.writerow(("item", "eur"))
        lines.writerows((item, f"{eur:.2f}") for item, eur in sales.most_common())
    return partial.rename(path)
