"""
When entries fire: pure calendar arithmetic, which reads no clock.

A rule and a moment give the next moment. Work is done in UTC milliseconds; local time appears only as a number of
seconds that a zone's table turns into instants (`wall`, `zone_table`).
"""

from scheduler.timing.base import Schedule
from scheduler.timing.between import between
from scheduler.timing.calendar import holidays
from scheduler.timing.crontab import crontab
from scheduler.timing.data import schedule_from_data, window_from_data
from scheduler.timing.every import every
from scheduler.timing.once import once
from scheduler.timing.rrule import rrule
from scheduler.timing.sun import sun
from scheduler.timing.window import Window

__all__ = [
    "Schedule",
    "Window",
    "between",
    "crontab",
    "every",
    "holidays",
    "once",
    "rrule",
    "schedule_from_data",
    "sun",
    "window_from_data",
]
