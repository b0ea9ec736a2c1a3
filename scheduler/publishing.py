"""
What is told of a call before and after its message is put on its queue: `before_task_publish`, `after_task_publish`.

Both come from the process that calls, and only where a task is called: fires are armed by the beat, which runs nobody's code.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from scheduler.clock import from_ms
from scheduler.errors import SchedError
from scheduler.log import event
from scheduler.options import read_headers
from scheduler.signals import after_task_publish, before_task_publish
from scheduler.wire import decode_arguments, decode_header, decode_payload

if TYPE_CHECKING:
    from scheduler.store.queues import NewMessage

_logger = logging.getLogger("scheduler.signals")
_OURS = frozenset({"id", "task", "root_id", "parent_id", "retries", "eta", "expires"})
"""What stands in `headers` beside the caller's own, as in Celery's messages."""


class About(NamedTuple):
    """A message, as receivers get it. Moments in ms, 0 for none."""

    id: str
    task: str
    args: Sequence[Any]
    kwargs: Mapping[str, Any]
    headers: Mapping[str, Any]
    queue: str
    priority: int
    at_ms: int = 0
    expires_ms: int = 0
    root_id: str = ""
    parent_id: str = ""


def announced(about: About) -> dict[str, Any]:
    """
    The headers that the message is to have, once every receiver of `before_task_publish` has had its say.

    Raises:
        ValueError: A receiver has put something there that cannot travel.
    """
    named = _named(about)
    before_task_publish.send(sender=about.task, **named)
    try:
        own = {name: value for name, value in named["headers"].items() if name not in _OURS}
        return dict(read_headers(own))
    except (ValueError, SchedError) as error:
        raise ValueError(
            f"task {about.task!r}: a receiver of before_task_publish has changed the headers: {error}"
        ) from None


def published(messages: Iterable[NewMessage]) -> None:
    """These are on their queues: tell the receivers of `after_task_publish`."""
    if not after_task_publish.receivers:
        return
    for message in messages:
        try:
            header, at = decode_header(message.body)
            payload = decode_payload(message.body, at)
            args, kwargs = decode_arguments(message.body, payload)
        except SchedError as error:
            event(_logger, "publish.untold", level=logging.WARNING, id=message.id, error=str(error))
            continue  # it is sent: nothing of this may reach the caller
        about = About(
            id=message.id,
            task=header.task,
            args=args,
            kwargs=kwargs,
            headers=payload.headers,
            queue=header.queue,
            priority=header.priority,
            at_ms=message.at_ms,
            expires_ms=header.expires_ms,
            root_id=payload.root_id,
            parent_id=payload.parent_id,
        )
        after_task_publish.send(sender=header.task, **_named(about))


def _named(about: About) -> dict[str, Any]:
    """The keywords of both signals."""
    headers = {
        **about.headers,
        "id": about.id,
        "task": about.task,
        "root_id": about.root_id or about.id,
        "parent_id": about.parent_id or None,
        "retries": 0,
        "eta": from_ms(about.at_ms).isoformat() if about.at_ms else None,
        "expires": from_ms(about.expires_ms).isoformat() if about.expires_ms else None,
    }
    return {
        "body": (list(about.args), dict(about.kwargs), {}),
        "exchange": "",
        "routing_key": about.queue,
        "headers": headers,
        "properties": {"correlation_id": about.id, "priority": about.priority},
        "declare": [],
        "retry_policy": None,
    }
