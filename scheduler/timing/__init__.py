"""
When entries fire: pure calendar arithmetic, which reads no clock.

A rule and a moment give the next moment. Work is done in UTC milliseconds; local time appears only as a number of
seconds that a zone's table turns into instants (`wall`, `zone_table`).
"""

from scheduler.timing.base import Schedule
from scheduler.timing.crontab import crontab
from scheduler.timing.data import schedule_from_data
from scheduler.timing.every import every

__all__ = ["Schedule", "crontab", "every", "schedule_from_data"]
