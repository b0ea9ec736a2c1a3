"""Fail loudly before the disk is full: a failed run is red in `sched runs`, and its error line says what to do."""

import shutil

from scheduler import every, schedule


class DiskTooFullError(RuntimeError):
    """A file system is fuller than it may be."""


# For real: every("5m"). `latest` is the default for what was missed: one check after an outage, not hundreds.
@schedule(every("10s"), kwargs={"path": "/", "percent_max": 95})
def check_disk(path: str, percent_max: float) -> str:
    """Compare the file system that holds *path* with its limit."""
    used_percent, free_bytes = measure(path)
    facts = f"{used_percent:.1f} % used, {free_bytes / 2**30:.1f} GiB free"
    if used_percent > percent_max:
        raise DiskTooFullError(f"{path}: {facts}; the limit is {percent_max:g} %: make room, or raise the limit")
    return facts


def measure(path: str) -> tuple[float, int]:
    """Percent in use and bytes free, as `df` counts them: what only root may use is not free."""
    disk = shutil.disk_usage(path)
    return 100 * disk.used / (disk.used + disk.free), disk.free
