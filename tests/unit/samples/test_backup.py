"""The backup sample: what it leaves behind can be restored, or it says why not and leaves nothing."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from contextlib import closing
from pathlib import Path

import pytest

from schedules import backup as sample
from schedules import shop

DAY_S = 86_400


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "orders.sqlite3"
    with closing(shop.open_orders(path)) as orders, orders:
        orders.executemany("INSERT INTO orders (item, n, eur) VALUES ('tea', 1, ?)", [(n,) for n in range(500)])
    return path


def rows(database: Path) -> int:
    with closing(sqlite3.connect(database)) as connection:
        count = connection.execute("SELECT count(*) FROM orders").fetchone()[0]
    assert isinstance(count, int)
    return count


def make_copies(folder: Path, ages_days: list[float]) -> list[Path]:
    """Copies of these ages, the names in the order of time as `backup` gives them."""
    folder.mkdir(exist_ok=True)
    copies = []
    for age_days in ages_days:
        then_s = time.time() - age_days * DAY_S
        copy = folder / f"orders-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime(then_s))}.sqlite3"
        copy.touch()
        os.utime(copy, (then_s, then_s))
        copies.append(copy)
    return copies


def test_a_copy_is_complete_and_one_file(database: Path, tmp_path: Path) -> None:
    """Whoever restores it needs no journal beside it."""
    copy = sample.backup(database, tmp_path / "backups")

    assert rows(copy) == 500
    assert os.listdir(tmp_path / "backups") == [copy.name]
    with closing(sqlite3.connect(copy)) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("delete",)


def test_a_copy_is_consistent_while_somebody_writes(database: Path, tmp_path: Path) -> None:
    """Each transaction is in it whole or not at all, though orders come in pairs all the time."""
    stop = threading.Event()

    def sell_pairs() -> None:
        with closing(shop.open_orders(database)) as orders:
            while not stop.is_set():
                with orders:
                    orders.execute("INSERT INTO orders (item, n, eur) VALUES ('tea', 1, 1)")
                    orders.execute("INSERT INTO orders (item, n, eur) VALUES ('honey', 1, 1)")

    seller = threading.Thread(target=sell_pairs)
    seller.start()
    try:
        copies = [rows(sample.backup(database, tmp_path / "backups" / str(n))) for n in range(5)]
    finally:
        stop.set()
        seller.join()

    assert [n % 2 for n in copies] == [0] * 5
    assert copies[-1] > 500


def test_a_database_that_is_not_there_fails_and_is_not_made(tmp_path: Path) -> None:
    """SQLite would make an empty one, and we would back that up for weeks."""
    with pytest.raises(FileNotFoundError, match="no database to back up"):
        sample.backup(tmp_path / "missing.sqlite3", tmp_path / "backups")
    assert not (tmp_path / "missing.sqlite3").exists()


def test_a_damaged_database_fails_and_leaves_no_copy(database: Path, tmp_path: Path) -> None:
    """A bad copy must never push a good one out."""
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    with database.open("r+b") as file:
        file.seek(4096)  # the second page: the root of the table
        file.write(b"\xff" * 2048)

    with pytest.raises(RuntimeError, match="is damaged"):
        sample.backup(database, tmp_path / "backups")
    assert os.listdir(tmp_path / "backups") == []


def test_what_is_no_database_fails_and_leaves_no_copy(tmp_path: Path) -> None:
    """The failing path of SQLite itself."""
    (tmp_path / "notes.txt").write_text("not a database, but long enough to look at " * 100)
    with pytest.raises(sqlite3.DatabaseError):
        sample.backup(tmp_path / "notes.txt", tmp_path / "backups")
    assert os.listdir(tmp_path / "backups") == []


def test_the_newest_copies_stay(tmp_path: Path) -> None:
    """Retention by count."""
    copies = make_copies(tmp_path / "backups", [4, 3, 2, 1, 0])
    gone = sample.retire(tmp_path / "backups", "orders", keep=2, age_days_max=90)

    assert sorted(gone) == copies[:3]
    assert sorted((tmp_path / "backups").iterdir()) == copies[3:]


def test_old_copies_go_but_never_the_last_one(tmp_path: Path) -> None:
    """Retention by age: a backup that has failed for months must not delete the last good copy."""
    copies = make_copies(tmp_path / "backups", [400, 300, 200])
    sample.retire(tmp_path / "backups", "orders", keep=30, age_days_max=90)

    assert list((tmp_path / "backups").iterdir()) == copies[-1:]


def test_what_a_killed_worker_left_is_cleared_away_and_strangers_stay(tmp_path: Path) -> None:
    """Half-done copies of yesterday; nothing of other names, and not the one that is being made now."""
    folder = tmp_path / "backups"
    make_copies(folder, [0])
    for name, age_days in ((".partial-old", 2.0), (".partial-now", 0.0), ("customers-20200101T000000Z.sqlite3", 900.0)):
        (folder / name).touch()
        os.utime(folder / name, (time.time() - age_days * DAY_S,) * 2)

    assert sample.retire(folder, "orders", keep=1, age_days_max=1) == [folder / ".partial-old"]


def test_the_task_backs_up_the_shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The way a worker runs it, in a fresh folder: there is something to back up from the first second."""
    monkeypatch.setattr(shop, "ORDERS", tmp_path / "orders.sqlite3")
    monkeypatch.setattr(sample, "ORDERS", tmp_path / "orders.sqlite3")
    monkeypatch.setattr(sample, "DATA", tmp_path)

    said = sample.backup_orders()

    (copy,) = (tmp_path / "backups").iterdir()
    assert said.startswith(copy.name)
    assert rows(copy) == 1
