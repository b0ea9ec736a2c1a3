"""`self.request`, made when it is first asked for: most tasks never look."""

from __future__ import annotations

from typing import Any, cast

from scheduler.clock import from_ms
from scheduler.context import Request
from scheduler.model import Message
from scheduler.wire import Header, Payload


class LazyRequest:
    """
    Stands for a `Request` until one of its attributes is read.

    Building the real one takes longer than running a short task.
    """

    __slots__ = ("_args", "_header", "_kwargs", "_message", "_payload", "_real", "_session", "_worker")

    def __init__(  # noqa: PLR0917 - made for every run
        self,
        message: Message,
        header: Header,
        payload: Payload,
        args: list[Any],
        kwargs: dict[str, Any],
        worker: str,
        session: str,
    ) -> None:
        self._message, self._header, self._payload = message, header, payload
        self._args, self._kwargs, self._worker, self._session = args, kwargs, worker, session
        self._real: Request | None = None

    def __getattr__(self, name: str) -> Any:
        if self._real is None:
            self._real = self._build()
        return getattr(self._real, name)

    def __repr__(self) -> str:
        return repr(self._real or self._build())

    def as_request(self) -> Request:
        """This object, for whoever wants the type."""
        return cast(Request, self)

    def _build(self) -> Request:
        message, header, payload = self._message, self._header, self._payload
        exchange, routing_key = payload.way or ("", header.queue)
        due_at = from_ms(header.due_ms) if header.due_ms else None
        return Request(
            id=message.id,
            task=header.task,
            args=tuple(self._args),
            kwargs=self._kwargs,
            retries=message.attempt - 1,
            attempt=message.attempt,
            entry=header.entry or None,
            scheduled_for=due_at,
            eta=from_ms(payload.eta_ms) if payload.eta_ms else due_at,
            expires=from_ms(header.expires_ms) if header.expires_ms else None,
            hostname=self._worker,
            delivery_info={
                "queue": header.queue,
                "exchange": exchange,
                "routing_key": routing_key,
                "priority": header.priority,
                "redelivered": message.losses > 0,
            },
            root_id=payload.root_id or message.id,
            parent_id=payload.parent_id or None,
            headers=payload.headers,
            options=payload.run,
            session=self._session,
        )
