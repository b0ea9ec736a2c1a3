"""
The logger of tasks under the name of Celery's module.

    from scheduler.utils.log import get_task_logger
"""

from __future__ import annotations

from scheduler.log import get_task_logger

__all__ = ["get_task_logger"]
