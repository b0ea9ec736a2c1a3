"""What a running task may know of its run: `self.request`."""

from __future__ import annotations

from contextvars import ContextVar, Token
from datetime import datetime
from typing import Any, Self

import msgspec

from scheduler.model import RunOptions


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """
    One attempt of one run, as the task sees it. Without a run (a task that is called like a function) all is empty.

    Attributes:
        retries: How often it was retried before: `attempt` − 1.
        attempt: From 1.
        entry: The entry that fired, or None for a call.
        scheduled_for: The due time of the fire, aware, in UTC; None for a call.
        eta: The moment it was asked to start, aware, in UTC.
        hostname: The worker.
        delivery_info: ``{"queue": …, "exchange": …, "routing_key": …, "priority": …, "redelivered": …}``. Where no exchange led to
            the queue it is "", and the routing key the queue's name, as in AMQP.
        root_id: The run that the whole family descends from; its own id where nobody called it from a task.
        parent_id: The run that called this one, or None.
        options: What its entry says itself of retries and limits, or None.
        session: The session of its worker, under whose lease it runs.
        told: What the run has reported last (`update_state`), as JSON, if anything.
    """

    id: str = ""
    task: str = ""
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = msgspec.field(default_factory=dict)
    retries: int = 0
    attempt: int = 1
    entry: str | None = None
    scheduled_for: datetime | None = None
    eta: datetime | None = None
    expires: datetime | None = None
    hostname: str = ""
    delivery_info: dict[str, Any] = msgspec.field(default_factory=dict)
    root_id: str = ""
    parent_id: str | None = None
    headers: dict[str, Any] = msgspec.field(default_factory=dict)
    options: RunOptions | None = None
    session: str = ""
    told: list[bytes] = msgspec.field(default_factory=list)

    @property
    def called_directly(self) -> bool:
        """Whether the task was called like a function, without a message."""
        return not self.id


class ErrorInfo(str):
    """
    What hooks and signals get as `einfo`: the traceback as text; and, as in Celery, what it is about.

    Attributes:
        exception: What was raised.
    """

    __slots__ = ("exception",)

    exception: BaseException

    def __new__(cls, text: str, exception: BaseException) -> Self:
        made = super().__new__(cls, text)
        made.exception = exception
        return made

    @property
    def type(self) -> type[BaseException]:
        """The class of the exception."""
        return type(self.exception)

    @property
    def traceback(self) -> str:
        """The text itself."""
        return str(self)


_NONE = Request()
_current: ContextVar[Request] = ContextVar("scheduler_request", default=_NONE)


def push_request(request: Request) -> Token[Request]:
    """From now on, in this context, *request* is the run. Give what this returns to `pop_request`."""
    return _current.set(request)


def pop_request(token: Token[Request]) -> None:
    """The run is over."""
    _current.reset(token)


def current_request() -> Request:
    """The run that this code is part of; an empty one outside of any run."""
    return _current.get()
