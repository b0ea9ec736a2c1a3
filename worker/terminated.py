"""What is raised in a run that is broken off from outside."""

from __future__ import annotations


class Terminated(BaseException):
    """The run was cancelled while it ran, and is broken off (`sched cancel --terminate`)."""
