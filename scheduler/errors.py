"""
Every error that Steadybeat raises, as one tree.

    SchedError
    ├─ ConfigError                   a setting is missing, unknown, or contradicts another
    ├─ ScheduleError                 the user's files
    │  ├─ InvalidScheduleError       a rule (crontab, every, …) that cannot be read; also a ValueError
    │  ├─ InvalidDurationError       a duration that cannot be read; also a ValueError
    │  ├─ UnknownZoneError           a timezone nobody knows; also an InvalidScheduleError
    │  ├─ InvalidEntryError          an entry's options contradict each other or are out of range
    │  ├─ InvalidTaskError           a task's options are out of range, or its name is taken
    │  └─ BrokenFileError            a schedule file that cannot be imported
    ├─ FencedError                   a newer term has written; stop leading at once
    ├─ LeaseLostError                the session was reclaimed; what it held is somebody else's now
    ├─ MessageError                  a message that cannot be run
    │  ├─ UndecodableMessageError    its bytes are not a message of ours
    │  │  ├─ ContentRefusedError     … but in a serializer that this side has not consented to
    │  │  └─ SignatureError          … but not signed, or by nobody whose key is known here
    │  ├─ UnknownTaskError           no task of that name is registered here
    │  ├─ UnroutableError            no queue that it could go to; also a ValueError
    │  ├─ NotEncodableError          arguments or a result that the serializer cannot carry; also a TypeError
    │  └─ OversizedMessageError      more bytes than `message_bytes_max`; also a ValueError
    ├─ StoreError                    Redis
    │  ├─ StoreUnavailableError      no answer in time; says whether calling again is safe
    │  └─ StoreRefusedError          Redis answers, and will not do it: password, eviction policy, out of memory
    ├─ ResultError                   what `AsyncResult.get()` raises
    │  ├─ ResultTimeoutError         not ready in time; also a TimeoutError
    │  ├─ ExpiredError               the message expired before it could start
    │  ├─ RevokedError               the run was cancelled
    │  ├─ WouldBlockError            a task waits for another one; also a RuntimeError
    │  └─ TaskFailedError            the task failed with an exception this process cannot rebuild
    ├─ TimeLimitExceeded             the task ran longer than its `time_limit`, and was ended; also a TimeoutError
    ├─ NotFoundError                 no entry, run, queue or worker of that name
    └─ RefusedError                  a command that must not be carried out now (overlap, a clash of names, …)
       └─ QueueFullError             a queue with a bound (`max_length`) that takes no more

What a task may raise to steer its own run (`Retry`, `Ignore`, `Reject`, `SoftTimeLimitExceeded`) is not an error of
ours and stands apart, under `TaskSignal`.

An error means "you cannot go on as you were". A lost election, a duplicate fire and an empty queue are answers, so they
are return values. Each error says what, where, what now; its facts are attributes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


class SchedError(Exception):
    """The root of everything Steadybeat raises."""


class ConfigError(SchedError):
    """
    Settings that cannot be used, all complaints at once.

    Attributes:
        complaints: One line each, naming the setting, its value and what is allowed.
    """

    def __init__(self, complaints: str | Sequence[str]) -> None:
        self.complaints: tuple[str, ...] = (complaints,) if isinstance(complaints, str) else tuple(complaints)
        super().__init__("\n".join(self.complaints))


class ScheduleError(SchedError):
    """Something in the user's schedule files is wrong."""


class InvalidScheduleError(ScheduleError, ValueError):
    """A rule that cannot be read. The message names the field, the value and the allowed range."""


class InvalidDurationError(ScheduleError, ValueError):
    """A duration that cannot be read."""


class UnknownZoneError(InvalidScheduleError):
    """A timezone nobody knows. The message names the nearest known ones."""


class InvalidEntryError(ScheduleError, ValueError):
    """An entry's options contradict each other or are out of range."""


class InvalidTaskError(ScheduleError, ValueError):
    """A task's options are out of range, or its name is taken."""


class BrokenFileError(ScheduleError):
    """A schedule file that cannot be imported."""


class FencedError(SchedError):
    """
    A newer term has written, and this call wrote nothing.

    Attributes:
        term: The number of our term.
        by: The number of the term that overtook it, 0 where Redis knows no term at all.
    """

    def __init__(self, term: int, by: int) -> None:
        self.term = term
        self.by = by
        super().__init__(f"term {term} was overtaken by term {by}; this beat follows from now on")


class LeaseLostError(SchedError):
    """
    The session was reclaimed: what it held runs elsewhere, and this call wrote nothing.

    Attributes:
        session: The session's id.
    """

    def __init__(self, session: str) -> None:
        self.session = session
        super().__init__(f"session {session} was reclaimed; what it held runs elsewhere, its outcomes are dropped")


class MessageError(SchedError):
    """A message that cannot be run."""


class UndecodableMessageError(MessageError):
    """The bytes are not a message of ours."""


class ContentRefusedError(UndecodableMessageError):
    """A message or a result in a serializer that this side does not accept (`accept_content`). Nothing of it was decoded."""


class SignatureError(UndecodableMessageError):
    """A message or a result that is not signed, or was signed with another key. Nothing of it was decoded."""


class UnknownTaskError(MessageError):
    """No task of that name is registered in this process."""


class UnroutableError(MessageError, ValueError):
    """No queue is bound that the message could go to, or the one that is named is not declared and must be. Nothing was sent."""


class NotEncodableError(MessageError, TypeError):
    """Arguments or a result that the serializer cannot carry."""


class OversizedMessageError(MessageError, ValueError):
    """A message or a result of more bytes than `message_bytes_max`."""


class StoreError(SchedError):
    """Redis did not do what was asked."""


class StoreUnavailableError(StoreError):
    """
    No answer from Redis within the deadline.

    What was asked may have happened or not. Every call of the store may be repeated safely.
    """


class StoreRefusedError(StoreError):
    """Redis answers and will not do it: wrong password, evicting `maxmemory-policy`, out of memory, too old."""


class ResultError(SchedError):
    """`AsyncResult.get()` has no result to give."""


class ResultTimeoutError(ResultError, TimeoutError):
    """The result was not ready in time. The task goes on."""


class ExpiredError(ResultError):
    """The message expired before a worker could start it."""


class RevokedError(ResultError):
    """The run was cancelled."""


class WouldBlockError(ResultError, RuntimeError):
    """A task waits for another one, and might wait for ever: all places of the worker can be taken by those who wait."""


class TaskFailedError(ResultError):
    """
    The task failed with an exception that this process cannot rebuild.

    Attributes:
        type_name: The exception's class, as `module.Class`.
        traceback: The traceback in the worker, as text.
    """

    def __init__(self, type_name: str, message: str, traceback: str | None = None) -> None:
        self.type_name = type_name
        self.traceback = traceback
        super().__init__(f"{type_name}: {message}" if message else type_name)


class TimeLimitExceeded(SchedError, TimeoutError):  # noqa: N818 - Celery's name
    """The task ran longer than its `time_limit`, and was ended: a process was killed, or a coroutine cancelled."""


class NotFoundError(SchedError):
    """No entry, run, queue or worker of that name."""


class RefusedError(SchedError):
    """A command that must not be carried out now."""


class QueueFullError(RefusedError):
    """
    A queue with a bound takes no more.

    Attributes:
        queue: Its name.
        length: How many messages wait there.
        length_max: How many may.
        sent: The ids of those messages of the same call that were accepted.
        refused: … and of those that were not.
    """

    def __init__(
        self, queue: str, length: int, length_max: int, *, sent: Sequence[str] = (), refused: Sequence[str] = ()
    ) -> None:
        self.queue = queue
        self.length = length
        self.length_max = length_max
        self.sent = tuple(sent)
        self.refused = tuple(refused)
        many = f"; {len(self.sent):,} of these runs were sent, {len(self.refused):,} were not" if self.sent else ""
        super().__init__(
            f"queue {queue!r} is full: {length:,} messages wait there, and its max_length is {length_max:,}{many}; "
            "send again later, start more workers for it, or raise its max_length"
        )


class TaskSignal(Exception):  # noqa: N818 - Celery's names, and not errors
    """The root of what a task may raise to steer its own run."""


class Retry(TaskSignal):
    """
    Run this task again later; `self.retry()` raises it.

    Attributes:
        exc: The exception that led here, if any.
        countdown_s: Seconds until the next attempt, or None for the task's own backoff.
    """

    def __init__(
        self,
        message: str = "",
        *,
        exc: BaseException | None = None,
        countdown_s: float | None = None,
        args: Sequence[Any] | None = None,
        kwargs: dict[str, Any] | None = None,
        max_retries: int | None = None,
        queue: str | None = None,
        priority: int | None = None,
    ) -> None:
        self.exc = exc
        self.countdown_s = countdown_s
        self.new_args = args
        self.new_kwargs = kwargs
        self.max_retries = max_retries
        self.new_queue = queue
        self.new_priority = priority
        super().__init__(message or (f"retry after {exc!r}" if exc is not None else "retry"))

    @property
    def changes(self) -> bool:
        """Whether the next attempt is to differ from this one."""
        return any(new is not None for new in (self.new_args, self.new_kwargs, self.new_queue, self.new_priority))


class Ignore(TaskSignal):
    """End this run without a result."""


class Reject(TaskSignal):
    """Give this message up: a dead letter, or with ``requeue=True`` back to its queue."""

    def __init__(self, reason: str = "", *, requeue: bool = False) -> None:
        self.requeue = requeue
        super().__init__(reason)


class SoftTimeLimitExceeded(TaskSignal):
    """The task ran longer than its `soft_time_limit`; it may still clean up."""
