"""What stands on the command line of `trigger` and `call`: JSON, moments and spans; read once, refused in one line."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, ClassVar

import click
import msgspec

from scheduler.cli.invocation import Invocation
from scheduler.cli.moments import read_moment, read_span_ms
from scheduler.clock import iso
from scheduler.content import JSON
from scheduler.errors import UndecodableMessageError


class Span(click.ParamType[int]):
    """A duration: ``30``, ``90s``, ``1h30m``; whole milliseconds inside."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """*value* in ms."""
        if isinstance(value, int):
            return value
        try:
            return read_span_ms(value, what=_name(param))
        except ValueError as error:
            raise click.UsageError(str(error), ctx) from None


class JsonList(click.ParamType[msgspec.Raw]):
    """Positional arguments as a JSON list."""

    name = "json"
    kind: ClassVar[type] = list
    example: ClassVar[str] = '[5, "x"]'

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> msgspec.Raw:
        """*value* as it will be sent."""
        if isinstance(value, msgspec.Raw):
            return value
        try:
            data = msgspec.json.decode(value)
        except (msgspec.DecodeError, UnicodeError) as error:
            raise click.UsageError(f"{_name(param)} {value!r} is not JSON: {error}", ctx) from None
        if not isinstance(data, self.kind):
            raise click.UsageError(f"{_name(param)} {value!r}: expected JSON like '{self.example}'", ctx)
        try:
            JSON.untagged(data, what=_name(param))
        except UndecodableMessageError as error:
            raise click.UsageError(str(error), ctx) from None
        return msgspec.Raw(msgspec.json.encode(data))


class JsonObject(JsonList):
    """Keyword arguments as a JSON object."""

    kind = dict
    example = '{"to": "all"}'


class Sending(msgspec.Struct, frozen=True):
    """What `trigger` and `call` were told about one message; None where nothing was said."""

    args: msgspec.Raw | None
    kwargs: msgspec.Raw | None
    countdown_ms: int | None
    eta: str | None
    expires: str | None
    queue: str | None
    wait: bool
    timeout_ms: int | None

    @property
    def waits(self) -> bool:
        """Whether to wait for the result; a timeout says so too."""
        return self.wait or self.timeout_ms is not None


class When(msgspec.Struct, frozen=True):
    """
    When a message may start, and until when.

    Attributes:
        at_ms: 0 for now.
        expires_ms: 0 for never.
    """

    at_ms: int
    expires_ms: int


def read_when(sched: Invocation, sending: Sending, *, now_ms: int) -> When:
    """
    What `--countdown`, `--eta` and `--expires` say together.

    Raises:
        click.UsageError: They contradict each other.
    """
    if sending.countdown_ms is not None and sending.eta is not None:
        raise click.UsageError("--countdown and --eta both say when; give one of them")
    at_ms = now_ms + (sending.countdown_ms or 0)
    if sending.eta is not None:
        at_ms = read_moment(sending.eta, what="--eta", tz=sched.zone, now_ms=now_ms)
    expires_ms = 0
    if sending.expires is not None:
        expires_ms = read_moment(_as_span(sending.expires), what="--expires", tz=sched.zone, now_ms=now_ms)
        if expires_ms <= max(at_ms, now_ms):
            raise click.UsageError(f"--expires {sending.expires}: {iso(expires_ms)} is not after the start of the run")
    return When(at_ms=at_ms if at_ms > now_ms else 0, expires_ms=expires_ms)


def sending_options(command: Callable[..., int]) -> Callable[..., int]:
    """The options that `trigger` and `call` share; *command* gets them as one `sending`."""

    @wraps(command)
    def gathered(*args: Any, **options: Any) -> int:
        sending = Sending(**{name: options.pop(name) for name in Sending.__struct_fields__})
        return command(*args, sending=sending, **options)

    for option in reversed(_SENDING_OPTIONS):
        gathered = option(gathered)
    return gathered


_SENDING_OPTIONS = (
    click.option("--args", "-a", type=JsonList(), metavar="JSON", help="Positional arguments: '[5, \"x\"]'."),
    click.option("--kwargs", "-k", type=JsonObject(), metavar="JSON", help='Keyword arguments: \'{"to": "all"}\'.'),
    click.option("--countdown", "countdown_ms", type=Span(), metavar="DURATION", help="Start that long from now."),
    click.option("--eta", metavar="TIME", help="Start at this time: '2026-11-21 09:00', '09:00'."),
    click.option("--expires", metavar="DURATION", help="Do not start later than that from now, or than this time."),
    click.option("--queue", metavar="NAME", help="Send it to this queue."),
    click.option("--wait", is_flag=True, help="Wait for the result; exit 1 if it failed, 5 on a timeout."),
    click.option("--timeout", "timeout_ms", type=Span(), metavar="DURATION", help="Wait no longer; implies --wait."),
)


def _as_span(text: str) -> str:
    return f"{text}s" if text.replace(".", "", 1).isdigit() else text


def _name(param: click.Parameter | None) -> str:
    return param.opts[0] if param is not None else "value"
