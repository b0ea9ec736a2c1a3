"""`sched alerts`: what is wrong now, what was told about it, and whether it would reach anybody."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click
import msgspec

from scheduler.cli.exits import Exit
from scheduler.cli.group import Command
from scheduler.cli.invocation import Invocation, say, who
from scheduler.cli.moments import show_moment, show_span
from scheduler.cli.output import Column, state_style
from scheduler.clock import iso

if TYPE_CHECKING:
    from scheduler.alarm import Alert
    from scheduler.store.alerts import Notice

HISTORY_MAX = 500


class Tried(msgspec.Struct, frozen=True):
    """A hook that was told of a test: which (without its secret), and what came back."""

    hook: str
    ok: bool
    answer: str


@click.command("alerts", cls=Command)
@click.option("--history", is_flag=True, help="What was raised, over, sent and not sent, newest first.")
@click.option("--test", is_flag=True, help="Tell every hook of the settings of a test, from here.")
@click.option(
    "-n", "--number", "n", type=click.IntRange(1, HISTORY_MAX), default=50, show_default=True, help="How many lines."
)
@click.pass_obj
def alerts(sched: Invocation, history: bool, test: bool, n: int) -> int:
    """What is wrong now, and since when.

    An entry is looked after if it says alert_after=, alert_failures= or pause_after_failures=; the settings alert_hooks say who is
    told. --test exits with 1 if one of these cannot be reached.
    """
    if history and test:
        raise click.UsageError("--history and --test are two different things; give one of them")
    if test:
        return _test(sched)
    if history:
        lines = sched.store.alerts.log(n)
        if not lines:
            say("sched: nothing was ever raised here")
        sched.out.many(lines, data=notice_data, columns=_notice_columns(sched))
        return Exit.OK
    found = sched.store.alerts.open()
    if not found:
        say(f"sched: {_why_none(sched)}")
    now_ms = int(sched.store.queues.time_ms())
    sched.out.many(found, data=alert_data, columns=_alert_columns(sched, now_ms))
    if waiting := sched.store.alerts.waiting():
        notices = "1 notice waits" if waiting == 1 else f"{waiting} notices wait"
        say(f"sched: {notices} to be sent; `sched alerts --history` says what went wrong")
    if dropped := sched.store.alerts.dropped():
        say(f"sched: {dropped} had to make room for newer ones, ever: more than 1,000 waited for one hook")
    return Exit.OK


def _why_none(sched: Invocation) -> str:
    watched = len(sched.store.alerts.watched())
    if not watched:
        return "no entry is looked after; give one alert_after= or alert_failures= (docs/alerts.md)"
    looked_after = "1 entry is" if watched == 1 else f"{watched} entries are"
    return f"no alert is open; {looked_after} looked after"


def alert_data(alert: Alert) -> dict[str, Any]:
    """An open alert, for programs."""
    return {
        "kind": str(alert.kind),
        "entry": alert.entry or None,
        "raised_at": iso(alert.at_ms),
        "due": iso(alert.due_ms or None),
        "failures": alert.failures or None,
        "error": alert.error or None,
        "text": alert.text,
        "beat": alert.by or None,
        "id": alert.id,
    }


def _alert_columns(sched: Invocation, now_ms: int) -> list[Column[Alert]]:
    return [
        Column("SINCE", lambda alert: show_moment(alert.at_ms // 1000 * 1000, sched.zone)),
        Column("FOR", lambda alert: show_span(max(0, now_ms - alert.at_ms))),
        Column("KIND", lambda alert: str(alert.kind), style=state_style),
        Column("ENTRY", lambda alert: alert.entry),
        Column("TEXT", lambda alert: alert.text, wide=True),
    ]


def notice_data(notice: Notice) -> dict[str, Any]:
    """A line of the log, for programs."""
    return {
        "at": iso(notice.at_ms),
        "what": notice.what,
        "kind": notice.kind,
        "entry": notice.entry or None,
        "to": notice.to or None,
        "text": notice.text,
        "alert": notice.alert or None,
    }


def _notice_columns(sched: Invocation) -> list[Column[Notice]]:
    return [
        Column("AT", lambda notice: show_moment(notice.at_ms // 1000 * 1000, sched.zone)),
        Column("WHAT", lambda notice: notice.what, style=state_style),
        Column("KIND", lambda notice: notice.kind),
        Column("ENTRY", lambda notice: notice.entry),
        Column("TO", lambda notice: notice.to),
        Column("TEXT", lambda notice: notice.text, wide=True),
    ]


# ── --test ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def _test(sched: Invocation) -> int:
    hooks = sched.config.alert_hooks
    if not hooks:
        say('sched: nobody is told: the settings name no hook, as in alert_hooks = ["https://…", "schedules.ops:page"]')
        return Exit.FAILED
    tried = [_try(sched, hook) for hook in hooks]
    sched.out.many(tried, data=msgspec.structs.asdict, columns=_TRIED_COLUMNS)
    return Exit.OK if all(one.ok for one in tried) else Exit.FAILED


def _try(sched: Invocation, hook: str) -> Tried:
    # Only a test needs these.
    from scheduler.alarm import Alert, Kind  # noqa: PLC0415
    from scheduler.beat.courier import tell  # noqa: PLC0415
    from scheduler.beat.hook_process import run_callable  # noqa: PLC0415
    from scheduler.beat.load import LoadRequest  # noqa: PLC0415
    from scheduler.clock import now_ms  # noqa: PLC0415
    from scheduler.config import redact_address  # noqa: PLC0415
    from scheduler.wire import new_id  # noqa: PLC0415

    text = f"a test by {who()}: nothing is wrong, and alerts reach you"
    alert = Alert(id=new_id(), kind=Kind.TEST, text=text, at_ms=now_ms())
    request = LoadRequest(config_file=sched.told.get("config_file"), overrides=sched.flags, app=sched.app_spec)
    answer = tell(
        hook, [alert], namespace=sched.config.namespace,
        run_callable=lambda name, messages: run_callable(request, name, messages),
    )  # fmt: skip
    return Tried(redact_address(hook), answer.ok, answer.text)


_TRIED_COLUMNS: list[Column[Tried]] = [
    Column("HOOK", lambda one: one.hook),
    Column("TOLD", lambda one: "yes" if one.ok else "no"),
    Column("ANSWER", lambda one: one.answer, wide=True),
]
