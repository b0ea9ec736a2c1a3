"""How a run ended, written down: the `Outcome` that `finish` takes, with its record and its history encoded once."""

from __future__ import annotations

import traceback
from types import TracebackType

import msgspec

from scheduler.model import Outcome, OutcomeReason, ResultRecord, Run, State
from scheduler.records import encode_record
from scheduler.result import failure_record
from scheduler.wire import FLAG_IGNORE_RESULT, Header

ERROR_CHARS_MAX = 500
TRACEBACK_CHARS_MAX = 20_000
SECOND_MS = 1000

_encode = msgspec.json.Encoder().encode
_TEXTS: dict[str, str] = {state: state.value for state in State}
"""Plain texts: an enum takes longer to encode than all the rest of a record."""
PROMOTED = OutcomeReason.PROMOTED.value
_NO_META = ResultRecord("").meta  # the default itself, or it would be written out


class Written(msgspec.Struct, frozen=True):
    """
    What a run's records say beside its header.

    Attributes:
        worker: The worker's name.
        started_ms: 0 if it never started.
    """

    id: str
    worker: str
    attempt: int
    started_ms: int
    finished_ms: int


def ended(
    header: Header,
    run: Written,
    state: str,
    *,
    result: bytes = b"null",
    form: int = 0,
    trace: str | None = None,
    error: str = "",
    dead: bool = False,
    meta: msgspec.Raw = _NO_META,
) -> Outcome:
    """
    The run of *header* ended in *state* with *result*.

    Args:
        form: How *result* is written, as `encode_record` wants it; 0: JSON.
        meta: What a run that was ignored had reported last, as JSON.
    """
    state = _TEXTS.get(state, state)
    record = b""
    if not header.flags & FLAG_IGNORE_RESULT:
        if form:
            record = encode_record(ResultRecord(state, done_ms=run.finished_ms), result, form)
        else:
            record = _encode(ResultRecord(state, msgspec.Raw(result), trace, run.finished_ms, meta))
    # By position: this is done for every run, and with names it takes twice as long.
    history = Run(
        run.id, header.entry, header.task, header.queue, state, PROMOTED if header.of_schedule else "", header.due_ms,
        0, 1, 0, "",  # no stretch of due times
        header.enqueued_ms, run.started_ms, run.finished_ms, run.worker, run.attempt, error, header.retry_of,
        header.backfill, header.by, header.reason,
    )  # fmt: skip
    ttl_ms, told = header.result_ttl_s * SECOND_MS, trace if dead else None
    return Outcome(run.id, record, ttl_ms, _encode(history), header.entry, state, dead, told, header.unique)


def failed(
    header: Header, run: Written, error: BaseException, *, trace: str | None = None, dead: bool = False
) -> Outcome:
    """The run failed for good with *error*."""
    return ended(
        header, run, State.FAILURE, result=failure_record(error), trace=trace, error=error_line(error), dead=dead
    )


def retry_record(error: BaseException, trace: str | None) -> bytes:
    """What `AsyncResult` says between two attempts."""
    return _encode(ResultRecord(State.RETRY, msgspec.Raw(failure_record(error)), trace))


def error_line(error: BaseException) -> str:
    """*error* on one line, for people: ``ValueError: …``."""
    try:
        text = str(error)
    except Exception as second:
        text = f"(its __str__ raises {type(second).__name__})"
    text = " ".join(text.split())
    line = f"{type(error).__name__}: {text}" if text else type(error).__name__
    line = line.encode("utf-8", "replace").decode()
    return line if len(line) <= ERROR_CHARS_MAX else line[: ERROR_CHARS_MAX - 1] + "…"


def trace_text(error: BaseException, ours: frozenset[str]) -> str:
    """The traceback of *error* without the frames of the files *ours* on top; its middle is cut where it is very long."""
    tb: TracebackType | None = error.__traceback__
    while tb is not None and tb.tb_frame.f_code.co_filename in ours:
        tb = tb.tb_next
    try:
        text = "".join(traceback.format_exception(type(error), error, tb))
    except Exception:
        text = error_line(error)
    text = text.encode("utf-8", "replace").decode()
    if len(text) > TRACEBACK_CHARS_MAX:
        half = TRACEBACK_CHARS_MAX // 2
        text = f"{text[:half]}\n… {len(text) - 2 * half} characters left out …\n{text[-half:]}"
    return text
