"""Keep a folder from growing for ever: remove what is too old, then the oldest until the rest fits."""

import time
from pathlib import Path

from scheduler import entry, every, task
from schedules.shop import DATA


@task(time_limit="5m")
def prune(folder: str, age_s_max: float, bytes_max: int) -> str:
    """
    Remove files under *folder* that are older than *age_s_max*, then the oldest until it holds at most *bytes_max*.

    Links are left alone, and so is what lies behind them.
    """
    root = Path(folder)
    if not root.is_dir():
        return f"{folder} is not there yet"
    oldest_first = sorted((file for file in map(measure, root.rglob("*")) if file), key=lambda file: file[0])
    held, removed, oldest_s = sum(size for _, size, _ in oldest_first), 0, time.time() - age_s_max
    for modified_s, size, path in oldest_first:
        if modified_s >= oldest_s and held <= bytes_max:
            break
        path.unlink(missing_ok=True)
        held, removed = held - size, removed + 1
    return f"{removed} removed, {len(oldest_first) - removed} kept ({held / 1024:.1f} KiB)"


def measure(path: Path) -> tuple[float, int, Path] | None:
    """When *path* was written and its bytes, or None for what is no plain file or has just gone."""
    try:
        if path.is_symlink() or not path.is_file():
            return None
        facts = path.stat()
    except FileNotFoundError:
        return None
    return facts.st_mtime, facts.st_size, path


# One task, as many entries as there are folders. For real: every("1h"), a month, some gigabytes.
entry(
    "prune-reports",
    prune,
    every("20s"),
    kwargs={"folder": str(DATA / "reports"), "age_s_max": 300, "bytes_max": 100_000},
)
