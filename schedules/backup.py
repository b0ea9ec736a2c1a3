"""Back up a SQLite database while it is in use: a consistent copy, checked, and only then under its name."""

import os
import sqlite3
import tempfile
import time
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

from scheduler import crontab, schedule
from schedules.shop import DATA, ORDERS, take_order

DAY_S = 86_400


# For real, every night: crontab("30 2 * * *", tz="Europe/Berlin"). Here every ten seconds (the first of six fields).
@schedule(crontab("*/10 * * * * *", tz="Europe/Berlin"), time_limit="10m")
def backup_orders() -> str:
    """Back up the shop's orders; keep the last 30 copies, none older than 90 days."""
    if not ORDERS.exists():
        take_order()  # a task is still a function
    copy = backup(ORDERS, DATA / "backups")
    gone = retire(DATA / "backups", ORDERS.stem, keep=30, age_days_max=90)
    return f"{copy.name}, {copy.stat().st_size // 1024} KiB" + (f"; {len(gone)} old ones removed" if gone else "")


def backup(database: Path, folder: Path) -> Path:
    """
    Copy *database* into *folder*, and return the copy.

    A copy that fails its check never gets a name that somebody might restore from.
    """
    if not database.exists():
        raise FileNotFoundError(f"{database}: there is no database to back up")
    folder.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=".partial-", dir=folder)
    os.close(handle)
    partial = Path(name)
    try:
        with closing(sqlite3.connect(database, timeout=10)) as source, closing(sqlite3.connect(partial)) as target:
            source.backup(target)
            target.execute("PRAGMA journal_mode = DELETE")  # one file, complete in itself
            verdict = [row[0] for row in target.execute("PRAGMA integrity_check(3)")]
        if verdict != ["ok"]:
            raise RuntimeError(f"{database} is damaged: {'; '.join(verdict)}")
        sync(partial)
        copy = folder / f"{database.stem}-{datetime.now(UTC):%Y%m%dT%H%M%SZ}.sqlite3"
        partial.rename(copy)
        sync(folder)
        return copy
    finally:
        partial.unlink(missing_ok=True)


def retire(folder: Path, stem: str, *, keep: int, age_days_max: float) -> list[Path]:
    """Remove all but the newest *keep* copies, and those that are too old; the newest always stays."""
    newest_first = sorted(folder.glob(f"{stem}-*.sqlite3"), reverse=True)
    oldest_s = time.time() - age_days_max * DAY_S
    old = [copy for n, copy in enumerate(newest_first) if n > 0 and (n >= keep or copy.stat().st_mtime < oldest_s)]
    # What a killed worker left half-done.
    old += [partial for partial in folder.glob(".partial-*") if partial.stat().st_mtime < time.time() - DAY_S]
    for path in old:
        path.unlink(missing_ok=True)
    return old


def sync(path: Path) -> None:
    """Let *path* reach the disk before we go on."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
