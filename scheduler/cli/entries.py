"""`sched list` and `sched show`: what stands in the registry on Redis. No schedule file is read."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

import click
import msgspec

from scheduler.cli.group import Command
from scheduler.cli.invocation import Invocation, say
from scheduler.cli.moments import show_moment, show_span
from scheduler.cli.names import matching, redis_glob, resolve
from scheduler.cli.output import Column, state_style
from scheduler.cli.run_view import run_columns, run_data
from scheduler.cli.view import EntryView, entry_data, pause_data, view_parts, views
from scheduler.clock import iso
from scheduler.config import redact_address
from scheduler.model import Catchup, Entry, Overlap, Run, RunOptions, SkipOrder, Watch
from scheduler.unique import held_ms_of, key_shown

if TYPE_CHECKING:
    from scheduler.store import Store

SHOWN_RUNS = 10


@click.command("list", cls=Command)
@click.argument("pattern", required=False)
@click.pass_obj
def list_entries(sched: Invocation, pattern: str | None) -> None:
    """The entries, and when each fires next.

    PATTERN is a glob such as 'mail-*', or text that the name contains.
    """
    # Ten thousand entries are a million objects, none of them garbage, in a process that is about to end.
    gc.disable()
    store = sched.store
    names = matching(pattern, store.registry.names(redis_glob(pattern)))
    now_ms = int(store.queues.time_ms())
    if not sched.out.parts(view_parts(store, names), data=entry_data, columns=_columns(sched, now_ms)):
        is_any = pattern and store.registry.is_any()
        say(
            f"sched: no entry matches {pattern!r}"
            if is_any
            else "sched: there are no entries yet; a beat publishes them"
        )


def _columns(sched: Invocation, now_ms: int) -> list[Column[EntryView]]:
    def left(view: EntryView) -> str:
        return "" if view.next_ms is None else show_span(max(0, view.next_ms - now_ms))

    return [
        Column("NAME", lambda view: view.entry.name),
        Column("SCHEDULE", _schedule_text, wide=True),
        Column("NEXT", lambda view: _next_text(view, sched)),
        Column("IN", left),
        Column("LAST", lambda view: show_moment(view.last_ms, sched.zone), spare=True),
        Column("STATE", lambda view: view.condition, style=state_style),
        Column("QUEUE", lambda view: view.entry.queue, spare=True),
    ]


def _schedule_text(view: EntryView) -> str:
    return view.text if view.zone == "UTC" else f"{view.text} {view.zone}"


def _next_text(view: EntryView, sched: Invocation) -> str:
    skipped = f" (skips {len(view.skips)})" if view.skips else ""
    return show_moment(view.next_ms, sched.zone) + skipped


class Details(msgspec.Struct, frozen=True):
    """What `sched show` knows of one entry."""

    view: EntryView
    counts: dict[str, int]
    runs: list[Run]


@click.command("show", cls=Command)
@click.argument("name")
@click.pass_obj
def show(sched: Invocation, name: str) -> None:
    """One entry: its schedule, options, counters and last runs.

    NAME may be shortened, as long as it means one entry.
    """
    store = sched.store
    details = _details(store, name)
    sched.out.one(details, data=details_data, facts=lambda details: _facts(details, sched))
    if not sched.wants_json and details.runs:
        sched.out.gap()
        sched.out.many(details.runs, data=run_data, columns=run_columns(sched.zone, entry=False))


def _details(store: Store, name: str) -> Details:
    record = store.registry.get(name)
    if record is None or record.entry is None:
        records = {record.name: record for record in store.registry.all()}
        record = records[resolve(name, records)]
    return Details(
        view=views(store)(record),
        counts=store.registry.counts(record.name),
        runs=store.history.runs(record.name, n=SHOWN_RUNS),
    )


def details_data(details: Details) -> dict[str, Any]:
    """The entry with everything about it, for programs."""
    return {
        **entry_data(details.view),
        "description": details.view.entry.description,
        "pause": pause_data(details.view.pause),
        "options": options_data(details.view.entry),
        "counters": details.counts,
        "runs": [run_data(run) for run in details.runs],
    }


def options_data(entry: Entry) -> dict[str, Any]:
    """What the entry's author chose; durations in seconds, named so."""
    return {
        "args": entry.args,
        "kwargs": entry.kwargs,
        "priority": entry.priority,
        "countdown_s": entry.countdown_ms / 1000,
        "jitter_s": entry.jitter_ms / 1000,
        "expires_after_s": None if entry.expires_after_ms is None else entry.expires_after_ms / 1000,
        "expires_at": iso(entry.expires_at_ms),
        "expires_next": entry.expires_next,
        "overlap": entry.overlap.name.lower(),
        "catchup": entry.catchup.name.lower(),
        "catchup_window_s": entry.catchup_window_ms / 1000,
        "start": iso(entry.start_ms),
        "until": iso(entry.until_ms),
        "max_runs": entry.max_runs,
        "ack": entry.ack,
        "ignore_result": entry.ignore_result,
        "result_expires_s": entry.result_expires_ms / 1000,
        **run_options_data(entry.run),
        "unique": key_shown(entry.unique) or None,
        "unique_for_s": held_ms_of(entry.unique) / 1000 if entry.unique else None,
        **watch_data(entry.watch),
        "tags": entry.tags,
        "headers": entry.headers,
        "origin": entry.origin,
    }


def run_options_data(run: RunOptions | None) -> dict[str, Any]:
    """What the entry itself says of retries and limits; what is not there is as its task says. None: without limit."""
    if run is None:
        return {}
    data = {
        "max_retries": run.max_retries,
        "retry_backoff_s": _seconds(run.retry_backoff_ms),
        "retry_backoff_max_s": _seconds(run.retry_backoff_max_ms),
        "retry_jitter": run.retry_jitter,
        "time_limit_s": _seconds(run.time_limit_ms),
        "soft_time_limit_s": _seconds(run.soft_time_limit_ms),
    }
    return {name: value for name, value in data.items() if value is not msgspec.UNSET}


def watch_data(watch: Watch | None) -> dict[str, Any]:
    """When somebody is told about the entry; of the address that is pinged, only what is no secret."""
    watch = watch or Watch()
    return {
        "alert_after_s": _seconds(watch.alert_after_ms),
        "alert_failures": watch.alert_failures,
        "pause_after_failures": watch.pause_failures,
        "ping_url": redact_address(watch.ping_url) or None,
    }


def _seconds(span_ms: int | msgspec.UnsetType | None) -> float | msgspec.UnsetType | None:
    return span_ms / 1000 if isinstance(span_ms, int) else span_ms


def _facts(details: Details, sched: Invocation) -> Iterator[tuple[str, str]]:
    view, tz = details.view, sched.zone
    entry = view.entry
    yield "name", entry.name
    yield "description", entry.description
    yield "task", entry.task
    yield "schedule", _schedule_text(view)
    yield "in words", view.words
    yield "queue", entry.queue
    yield "next fire", show_moment(view.next_ms, tz) or _why_none(view)
    yield "skips", "\n".join(_skip_text(order, sched) for order in view.skips)
    yield "last fire", show_moment(view.last_ms, tz)
    yield "last end", f"{view.last_state} {show_moment(view.last_end_ms, tz)}" if view.last_state else ""
    yield "paused", _pause_text(view, sched)
    yield "args", _raw(entry.args, b"[]")
    yield "kwargs", _raw(entry.kwargs, b"{}")
    yield from ((label, text) for label, text in _chosen(entry, sched))
    yield "source", entry.source or "made by hand"
    yield "revision", str(view.revision)
    yield "outcomes", ", ".join(f"{outcome} {count}" for outcome, count in sorted(details.counts.items()))


def _chosen(entry: Entry, sched: Invocation) -> Iterable[tuple[str, str]]:
    """The options that are not at their defaults, and the two that everybody asks about."""
    yield "overlap", entry.overlap.name.lower() + (" (default)" if entry.overlap is Overlap.SKIP else "")
    yield "catch-up", entry.catchup.name.lower() + (" (default)" if entry.catchup is Catchup.LATEST else "")
    yield "priority", str(entry.priority or "")
    yield "countdown", show_span(entry.countdown_ms) if entry.countdown_ms else ""
    yield "jitter", show_span(entry.jitter_ms) if entry.jitter_ms else ""
    yield "expires", f"{show_span(entry.expires_after_ms)} after the due time" if entry.expires_after_ms else ""
    yield "expires at", show_moment(entry.expires_at_ms, sched.zone)
    yield "expires", "when the next is due" if entry.expires_next else ""
    yield "start", show_moment(entry.start_ms, sched.zone)
    yield "until", show_moment(entry.until_ms, sched.zone)
    yield "max runs", str(entry.max_runs or "")
    yield from _chosen_of_runs(entry.run or RunOptions())
    yield (
        "unique",
        f"{key_shown(entry.unique)}, for {show_span(held_ms_of(entry.unique))} at most" if entry.unique else "",
    )
    yield from _chosen_of_watch(entry.watch or Watch())
    yield "tags", ", ".join(entry.tags)


def _chosen_of_runs(run: RunOptions) -> Iterable[tuple[str, str]]:
    """What the entry says itself rather than its task."""
    yield "max retries", _or_none(run.max_retries, str, none="without limit")
    yield "retry backoff", _or_none(run.retry_backoff_ms, show_span, none="")
    yield "longest backoff", _or_none(run.retry_backoff_max_ms, show_span, none="")
    yield "retry jitter", _or_none(run.retry_jitter, lambda jitter: "yes" if jitter else "no", none="")
    yield "time limit", _or_none(run.time_limit_ms, show_span, none="none")
    yield "soft time limit", _or_none(run.soft_time_limit_ms, show_span, none="none")


def _chosen_of_watch(watch: Watch) -> Iterable[tuple[str, str]]:
    """When somebody is told about it."""
    yield (
        "alert",
        f"without a success {show_span(watch.alert_after_ms)} after it was due" if watch.alert_after_ms else "",
    )
    yield "alert", f"after {_failures(watch.alert_failures)} in a row" if watch.alert_failures else ""
    yield "pause", f"after {_failures(watch.pause_failures)} in a row" if watch.pause_failures else ""
    yield "pings", redact_address(watch.ping_url)


def _failures(n: int) -> str:
    return "1 failure" if n == 1 else f"{n} failures"


def _or_none(value: Any, text: Callable[[Any], str], *, none: str) -> str:
    """*value* for people; empty where it was not said, *none* for None."""
    return "" if value is msgspec.UNSET else none if value is None else text(value)


def _why_none(view: EntryView) -> str:
    if not view.entry.enabled:
        return "none: it is disabled"
    if view.schedule is None:
        return "unknown: this version cannot read its schedule"
    return "none until it is resumed" if view.pause else "none: its schedule, until or max_runs is used up"


def _pause_text(view: EntryView, sched: Invocation) -> str:
    pause = view.pause
    if pause is None:
        return ""
    until = f", until {show_moment(pause.until_ms, sched.zone)}" if pause.until_ms else ""
    by = f" by {pause.by}" if pause.by else ""
    reason = f": {pause.reason}" if pause.reason else ""
    return f"since {show_moment(pause.since_ms, sched.zone)}{until}{by}{reason}"


def _skip_text(order: SkipOrder, sched: Invocation) -> str:
    by = f", by {order.by}" if order.by else ""
    reason = f": {order.reason}" if order.reason else ""
    return f"{show_moment(order.due_ms, sched.zone)}{by}{reason}"


def _raw(raw: msgspec.Raw, default: bytes) -> str:
    text = bytes(raw)
    return "" if text == default else text.decode()
