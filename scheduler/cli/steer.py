"""
`sched worker drain|resume|stop|grow|…`: orders to running workers, and what became of them.

An order is given through Redis and answered by the worker itself, within about a second. Who does not answer is named, and the order
taken back: it is not carried out when nobody expects it any more.
"""

from __future__ import annotations

import fnmatch
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import click
import msgspec

from scheduler.cli.exits import Exit
from scheduler.cli.group import Command
from scheduler.cli.invocation import Invocation, say, who
from scheduler.cli.moments import read_span_ms, show_span
from scheduler.cli.names import not_found, resolve
from scheduler.cli.output import Column
from scheduler.errors import RefusedError

if TYPE_CHECKING:
    from scheduler.store.orders import Answer, Fate, Order, Replies
    from scheduler.store.sessions import LiveWorker

ANSWER_S = 5.0
LOOK_S = 0.2
"""How often `--wait` looks."""
SHOWN_MAX = 5

F = TypeVar("F", bound=Callable[..., Any])


class Reply(msgspec.Struct, frozen=True):
    """What became of an order at one worker: its answer, or why there is none."""

    worker: LiveWorker
    answer: Answer | None
    fate: Fate | None


def _steering(command: F) -> F:
    """The options that every order takes."""
    options = (
        click.option("--all", "all_", is_flag=True, help="Every worker; leave out NAME."),
        click.option("--timeout", metavar="D", help=f"How long to wait for their answers (default {ANSWER_S:g}s)."),
        click.option("--reason", "-r", default="", metavar="TEXT", help="Why, for the others."),
    )
    for option in reversed(options):
        command = option(command)
    return click.pass_obj(command)  # type: ignore[return-value]


@click.command("drain", cls=Command)
@click.argument("names", nargs=-1, metavar="[NAME]…")
@click.option("--wait", is_flag=True, help="Until nothing runs there any more; --timeout is for all of it then.")
@_steering
def drain(
    sched: Invocation, names: tuple[str, ...], *, wait: bool, all_: bool, timeout: str | None, reason: str
) -> int:
    """Let workers take nothing more; what runs goes on, and they stay.

    NAME is the name of a worker, the beginning of just one, or a glob such as 'mail-*'. `sched worker resume` ends it.
    """
    from scheduler.store.orders import Verb, new_order  # noqa: PLC0415

    timeout_s = _timeout_s(timeout)
    found = _chosen(sched, names, all_)
    began = time.monotonic()
    replies = give(sched, new_order(Verb.DRAIN, by=who()), found, _answer_s(wait, timeout_s), reason)
    code = show(sched, replies)
    if not wait or code != Exit.OK:
        return code
    sessions = {reply.worker.session for reply in replies}
    left = _wait(
        lambda: [w for w in sched.store.sessions.workers() if w.session in sessions and w.held],
        None if timeout_s is None else began + timeout_s,
    )
    return _tell_left(left, "nothing runs there any more")


@click.command("resume", cls=Command)
@click.argument("names", nargs=-1, metavar="[NAME]…")
@_steering
def resume(sched: Invocation, names: tuple[str, ...], *, all_: bool, timeout: str | None, reason: str) -> int:
    """Let drained workers take messages again."""
    return _order(sched, "resume", names, all_=all_, timeout=timeout, reason=reason)


@click.command("stop", cls=Command)
@click.argument("names", nargs=-1, metavar="[NAME]…")
@click.option("--now", is_flag=True, help="Break off what runs; it runs again elsewhere.")
@click.option("--wait", is_flag=True, help="Until they have ended; --timeout is for all of it then.")
@_steering
def stop(
    sched: Invocation, names: tuple[str, ...], *, now: bool, wait: bool, all_: bool, timeout: str | None, reason: str
) -> int:
    """Let workers end, as SIGTERM does: they take nothing more, and what runs may end within `grace`.

    Under systemd a unit with Restart=always starts its worker again: that is how one is renewed from afar. To end it for good,
    stop the unit.
    """
    from scheduler.store.orders import Fate, Verb, new_order  # noqa: PLC0415

    timeout_s = _timeout_s(timeout)
    found = _chosen(sched, names, all_)
    began = time.monotonic()
    replies = [
        # Whoever has ended meanwhile has done what was asked for.
        msgspec.structs.replace(reply, answer=_ended(), fate=None) if reply.fate in {Fate.GONE, Fate.ENDED} else reply
        for reply in give(sched, new_order(Verb.STOP, now=now, by=who()), found, _answer_s(wait, timeout_s), reason)
    ]
    code = show(sched, replies)
    if not wait or code != Exit.OK:
        return code
    sessions = {reply.worker.session for reply in replies}
    left = _wait(
        lambda: [worker for worker in sched.store.sessions.workers() if worker.session in sessions],
        None if timeout_s is None else began + timeout_s,
    )
    return _tell_left(left, "they have ended" if len(replies) > 1 else "it has ended")


@click.command("grow", cls=Command)
@click.argument("words", nargs=-1, metavar="[NAME] [N]")
@_steering
def grow(sched: Invocation, words: tuple[str, ...], **options: Any) -> int:
    """Run N more tasks at once (default 1)."""
    return _resize(sched, "grow", words, default="1", **options)


@click.command("shrink", cls=Command)
@click.argument("words", nargs=-1, metavar="[NAME] [N]")
@_steering
def shrink(sched: Invocation, words: tuple[str, ...], **options: Any) -> int:
    """Run N tasks fewer at once (default 1); what runs may end first."""
    return _resize(sched, "shrink", words, default="1", **options)


@click.command("concurrency", cls=Command)
@click.argument("words", nargs=-1, metavar="[NAME] N")
@_steering
def concurrency(sched: Invocation, words: tuple[str, ...], **options: Any) -> int:
    """Run N tasks at once."""
    return _resize(sched, "concurrency", words, default=None, **options)


@click.command("queues", cls=Command)
@click.argument("change", type=click.Choice(["add", "remove"]), metavar="add|remove")
@click.argument("words", nargs=-1, metavar="[NAME] QUEUE…")
@_steering
def queues(sched: Invocation, change: str, words: tuple[str, ...], *, all_: bool, **options: Any) -> int:
    """Take from more queues, or from fewer, until the worker ends; its own settings stay as they are.

    What it has taken already goes on.
    """
    names, rest = _split(words, all_, "QUEUE")
    from scheduler.exchange import queue_complaint  # noqa: PLC0415

    queues = tuple(queue for word in rest for queue in word.split(",") if queue)
    if not queues:
        raise click.UsageError("give a QUEUE")
    if complaints := [complaint for queue in queues if (complaint := queue_complaint(queue))]:
        raise click.UsageError("; ".join(complaints))
    return _order(sched, f"queues {change}", names, all_=all_, queues=queues, **options)


@click.command("log-level", cls=Command)
@click.argument("words", nargs=-1, metavar="[NAME] LEVEL")
@_steering
def log_level(sched: Invocation, words: tuple[str, ...], *, all_: bool, **options: Any) -> int:
    """How much workers log: debug, info, warning, error or critical; debug tells each run."""
    from scheduler.config import LOG_LEVELS  # noqa: PLC0415

    names, rest = _split(words, all_, "LEVEL")
    if _single(rest, "LEVEL").lower() not in LOG_LEVELS:
        raise click.UsageError(f"log level {rest[0]!r}: use {', '.join(LOG_LEVELS)}")
    return _order(sched, "log-level", names, all_=all_, level=rest[0].lower(), **options)


@click.command("restart-children", cls=Command)
@click.argument("names", nargs=-1, metavar="[NAME]…")
@_steering
def restart_children(sched: Invocation, names: tuple[str, ...], **options: Any) -> int:
    """Replace each child when its task is over: its memory and its connections begin anew.

    The code stays the one that the worker started with; for new code restart the worker.
    """
    return _order(sched, "restart-children", names, **options)


# ── what they share ─────────────────────────────────────────────────────────────────────────────────────────────────


def find(sched: Invocation, names: Sequence[str]) -> list[LiveWorker]:
    """
    The workers that *names* mean: each a name, the beginning of just one, or a glob.

    Raises:
        NotFoundError: One of them means nobody.
        click.UsageError: One of them is the beginning of several names.
    """
    living = sched.store.sessions.workers()
    known = {worker.info.name for worker in living}
    chosen: set[str] = set()
    for name in names:
        if set("*?[") & set(name):
            fitting = fnmatch.filter(sorted(known), name)
            chosen |= set(fitting) or not_found(name, known, what="worker")
        else:
            chosen.add(resolve(name, known, what="worker"))
    return [worker for worker in living if worker.info.name in chosen]


def give(
    sched: Invocation,
    order: Order,
    found: Sequence[LiveWorker],
    timeout_s: float,
    reason: str = "",
    *,
    noted: bool = True,
) -> list[Reply]:
    """Give *order* to the workers *found* and wait for their answers."""
    from scheduler.store.audit import Note, encode_note  # noqa: PLC0415

    names = sorted({worker.info.name for worker in found})
    what = f"worker {', '.join(names[:SHOWN_MAX])}{f' and {len(names) - SHOWN_MAX} more' if len(names) > SHOWN_MAX else ''}"
    detail = " ".join([*(f"{order.number}" for _ in range(bool(order.number))), *order.queues, order.level]).strip()
    note = Note(verb=order.verb, by=order.by, reason=reason, what=f"{what}: {detail}" if detail else what)
    orders = sched.store.orders
    given = orders.give(order, [worker.session for worker in found], note=encode_note(note) if noted else b"")
    replies: Replies = orders.wait(given, timeout_s)
    return [Reply(w, replies.answers.get(w.session), replies.missing.get(w.session)) for w in found]


def show(sched: Invocation, replies: Sequence[Reply]) -> int:
    """Print what became of an order, name those who did not answer, and give the exit code."""
    answered = [reply for reply in replies if reply.answer is not None]
    if sched.wants_json:
        sched.out.data([reply_data(reply) for reply in replies])
    elif answered:
        sched.out.many(answered, data=reply_data, columns=_COLUMNS)
    tell_missing(replies)
    if any(reply.answer is None for reply in replies):
        return Exit.TIMED_OUT
    return Exit.OK if all(reply.answer and reply.answer.done for reply in replies) else Exit.REFUSED


def reply_data(reply: Reply) -> dict[str, Any]:
    """For programs: ``missing`` says why there is no answer."""
    answer, info = reply.answer, reply.worker.info
    return {
        "name": info.name,
        "host": info.host,
        "pid": info.pid,
        "session": reply.worker.session,
        "done": bool(answer and answer.done),
        "text": answer.text if answer else None,
        "running": answer.running if answer else None,
        "missing": str(reply.fate) if reply.fate else None,
        "seen_ago_s": reply.worker.silent_ms / 1000,
    }


def tell_missing(replies: Sequence[Reply]) -> None:
    """Who did not answer, since when nothing was heard of them, and what that means."""
    for reply in replies:
        if reply.fate is None:
            continue
        info = reply.worker.info
        solo = "; in solo a running task keeps it from answering" if info.pool == "solo" else ""
        say(
            f"sched: worker {info.name!r} ({info.host}:{info.pid}) has not answered; last heard of "
            f"{show_span(reply.worker.silent_ms)} before; {_FATES[reply.fate]}{solo}"
        )


def _order(
    sched: Invocation, verb: str, names: Sequence[str], *, all_: bool, timeout: str | None, reason: str, **fields: Any
) -> int:
    from scheduler.store.orders import Verb, new_order  # noqa: PLC0415

    timeout_s = _timeout_s(timeout)
    found = _chosen(sched, names, all_)
    return show(sched, give(sched, new_order(Verb(verb), by=who(), **fields), found, timeout_s or ANSWER_S, reason))


def _resize(
    sched: Invocation, verb: str, words: tuple[str, ...], *, default: str | None, all_: bool, **options: Any
) -> int:
    names, rest = _split(words, all_, "N")
    text = _single(rest or ([default] if default else []), "N")
    if not text.isdecimal() or not 1 <= int(text) <= 10_000:
        raise click.UsageError(f"{text!r} for N: give a whole number above 0")
    return _order(sched, verb, names, all_=all_, number=int(text), **options)


def _chosen(sched: Invocation, names: Sequence[str], all_: bool) -> list[LiveWorker]:
    if bool(names) == all_:
        raise click.UsageError("give the NAME of a worker, or --all")
    found = sched.store.sessions.workers() if all_ else find(sched, names)
    if not found:
        raise RefusedError("no worker lives")
    return found


def _split(words: Sequence[str], all_: bool, what: str) -> tuple[list[str], list[str]]:
    """The name that *words* begin with, and the rest; with --all there is no name."""
    if all_:
        return [], list(words)
    if not words:
        raise click.UsageError(f"give the NAME of a worker (or --all) and {what}")
    return [words[0]], list(words[1:])


def _single(rest: Sequence[str], what: str) -> str:
    if len(rest) != 1:
        raise click.UsageError(f"give {what}" if not rest else f"give one {what}, not {' '.join(rest)}")
    return rest[0]


def _timeout_s(text: str | None) -> float | None:
    return None if text is None else read_span_ms(text, what="--timeout") / 1000


def _answer_s(wait: bool, timeout_s: float | None) -> float:
    """How long to wait for answers: with --wait the time limit is for more than them."""
    if timeout_s is None:
        return ANSWER_S
    return min(ANSWER_S, timeout_s) if wait else timeout_s


def _wait(left: Callable[[], list[LiveWorker]], until_mono_s: float | None) -> list[LiveWorker]:
    """Wait until *left* finds nobody any more, or the time is over; whom it found last."""
    while True:
        found = left()
        if not found or (until_mono_s is not None and time.monotonic() >= until_mono_s):
            return found
        time.sleep(LOOK_S)


def _tell_left(left: Sequence[LiveWorker], done: str) -> int:
    if not left:
        say(f"sched: {done}")
        return Exit.OK
    for worker in left:
        slots = worker.state.slots if worker.state else ()
        tasks = f": {', '.join(f'{slot.task} ({slot.id})' for slot in slots[:SHOWN_MAX])}" if slots else ""
        held = f"{len(worker.held)} message{'' if len(worker.held) == 1 else 's'}"
        say(f"sched: worker {worker.info.name!r} still holds {held}{tasks}")
    return Exit.TIMED_OUT


def _ended() -> Answer:
    from scheduler.store.orders import Answer  # noqa: PLC0415

    return Answer(done=True, text="it had ended")


_COLUMNS: list[Column[Reply]] = [
    Column("WORKER", lambda reply: reply.worker.info.name),
    Column("ANSWER", lambda reply: reply.answer.text if reply.answer else "", wide=True),
]
_FATES = {
    "gone": "it had ended before",
    "full": "it has not read the last hundred orders: it hangs",
    "withdrawn": "the order was taken back, and nothing was done",
    "taken": "it has read the order, and `sched workers` will show what it made of it",
    "ended": "it has ended meanwhile",
}
