"""What `sched add` and `sched edit` take: a schedule, arguments, and every option that an entry of a file may have."""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import click
import msgspec

from scheduler.cli.arguments import JsonList, JsonObject
from scheduler.cli.invocation import Invocation, say
from scheduler.cli.moments import read_moment, show_moment, zone
from scheduler.cli.view import EntryView, entry_data, views
from scheduler.clock import from_ms
from scheduler.content import JSON
from scheduler.errors import InvalidScheduleError, SchedError
from scheduler.model import Entry, EntryRecord
from scheduler.nearest import nearest
from scheduler.options import ENTRY_OPTIONS

if TYPE_CHECKING:
    from scheduler.entries import Entries
    from scheduler.store.audit import Note
    from scheduler.task import Task
    from scheduler.timing import Schedule

_HELP = {
    "queue": "The queue of its runs.",
    "exchange": "The exchange that leads to its queue.",
    "routing_key": "By this key, as in video.compress.",
    "priority": "0–9; a higher one is taken first.",
    "countdown": "Run that long after the due time.",
    "expires": "Do not start later than that after the due time, than this time, or than the 'next' due time.",
    "jitter": "Spread its fires at random over that long.",
    "overlap": "While a run has not ended: skip, allow, queue or replace.",
    "catchup": "Of missed fires: latest, none or all.",
    "catchup_window": "How far back --catchup all looks.",
    "start": "No fire before this time.",
    "until": "No fire after this time.",
    "max_runs": "No fire after so many.",
    "description": "What it is for.",
    "ack": "late, each or early (at most once).",
    "result_expires": "How long results are kept.",
    "max_retries": "How often a failed run is tried again.",
    "retry_backoff": "The pause before the first retry.",
    "retry_backoff_max": "The longest pause between two retries.",
    "time_limit": "A run is killed after that long.",
    "soft_time_limit": "A run is asked to stop after that long.",
    "alert_after": "Alert if there is no success that long after it was due.",
    "alert_failures": "Alert after so many failures in a row.",
    "pause_after_failures": "Pause it after so many failures in a row.",
    "ping_url": "Call this when a run starts, succeeds and fails.",
    "enabled": "Whether it fires at all.",
    "ignore_result": "Whether results are kept.",
    "unique": "One run at a time by this key, as '{customer}'; yes: by all arguments; no: no key.",
    "unique_for": "How long a key may be held at most.",
    "retry_jitter": "Whether the pause before a retry is drawn at random.",
}
_FLAGS = {
    "enabled": "enabled/--disabled",
    "ignore_result": "ignore-result/--keep-result",
    "retry_jitter": "retry-jitter/--no-retry-jitter",
}
_OTHERWISE = frozenset({"tz", "tags", "headers", *_FLAGS})
_TEXTS = frozenset({"queue", "exchange", "routing_key", "description", "overlap", "catchup", "ack", "unique"})
_MOMENTS = frozenset({"start", "until"})
_METAVARS = {
    "queue": "NAME",
    "exchange": "NAME",
    "routing_key": "KEY",
    "description": "TEXT",
    "start": "TIME",
    "until": "TIME",
    "priority": "N",
    "max_runs": "N",
    "max_retries": "N",
    "alert_failures": "N",
    "pause_after_failures": "N",
    "ping_url": "URL",
    "unique": "KEY|yes|no",
}
_WORDS = {"overlap": "skip|allow|queue|replace", "catchup": "latest|none|all", "ack": "late|each|early"}

_NUMBER = re.compile(r"\d+(\.\d+)?")
_DATE = re.compile(r"\d{4}-\d\d-\d\d")
_STEP = re.compile(r"(\d*) *(day|week|month|year)s?")


def entry_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that `add` and `edit` share; *command* gets them as keywords."""
    for option in reversed(list(_options())):
        command = option(command)
    return command


def _options() -> Iterator[Callable[..., Any]]:
    yield click.option("--crontab", "crontab_", metavar="EXPR", help="When: a crontab expression, '0 9 * * mon-fri'.")
    yield click.option(
        "--every", "every_", metavar="PERIOD", help="When: '30s', '1h30m'; '2 weeks', 'day' by the wall clock."
    )
    yield click.option("--at", metavar="HH:MM", help="With --every 'day' and the like: at this time of day.")
    yield click.option(
        "--rrule", "rrule_", metavar="RULE", help="When: 'FREQ=MONTHLY;BYDAY=-1FR', as calendars write it."
    )
    yield click.option("--once", "once_", metavar="TIME", help="When: once, '2026-12-24 18:00'.")
    yield click.option("--tz", "tz", metavar="ZONE", help="Its zone; the times of this command are read in it too.")
    yield click.option("--args", "-a", type=JsonList(), metavar="JSON", help="Positional arguments: '[5, \"x\"]'.")
    yield click.option(
        "--kwargs", "-k", type=JsonObject(), metavar="JSON", help='Keyword arguments: \'{"to": "all"}\'.'
    )
    yield click.option("--tag", "tags", multiple=True, metavar="WORD", help="A tag; give it several times for several.")
    yield click.option("--headers", type=JsonObject(), metavar="JSON", help="Headers of its messages.")
    for name, flag in _FLAGS.items():
        yield click.option(f"--{flag}", name, default=None, help=_HELP.get(name))
    for name in ENTRY_OPTIONS:
        if name not in _OTHERWISE:
            metavar = _METAVARS.get(name) or _WORDS.get(name) or "DURATION"
            text = _HELP.get(name) or f"As {name}= in a schedule file."
            yield click.option(f"--{name.replace('_', '-')}", name, metavar=metavar, help=text)
    yield click.option("--reason", "-r", default="", metavar="TEXT", help="Why, for the audit log.")


class Said:
    """
    What the options of one call say.

    Args:
        tz: The zone in which times are read, unless one is given with them.

    Attributes:
        when: The schedule; None where none was given.
        args, kwargs: None where nothing was said.
        options: Those of `scheduler.entry` that were given.
    """

    def __init__(self, sched: Invocation, given: Mapping[str, Any], *, tz: str | None = None) -> None:
        tz = given.get("tz") or tz
        self._tz = zone(tz) if tz else sched.zone
        self._sched = sched
        self.when = self._when(given)
        self.args = None if given.get("args") is None else JSON.decode(given["args"], what="--args")
        self.kwargs = None if given.get("kwargs") is None else JSON.decode(given["kwargs"], what="--kwargs")
        self.options = {
            name: self._value(name, given[name])
            for name in ENTRY_OPTIONS
            if given.get(name) is not None and given.get(name) != ()
        }

    @property
    def is_empty(self) -> bool:
        """Whether nothing was said."""
        return self.when is None and self.args is None and self.kwargs is None and not self.options

    def _when(self, given: Mapping[str, Any]) -> Schedule | None:
        rules = {
            name: given[f"{name}_"] for name in ("crontab", "every", "rrule", "once") if given[f"{name}_"] is not None
        }
        if len(rules) > 1:
            raise click.UsageError(f"--{' and --'.join(rules)} both say when; give one of them")
        if given["at"] is not None and "every" not in rules:
            raise click.UsageError("--at goes with --every 'day' and the like; a crontab expression has its own times")
        if not rules:
            return None
        ((name, text),) = rules.items()
        if name == "crontab":
            from scheduler.timing import crontab  # noqa: PLC0415 - an edit mostly leaves the schedule

            schedule: Schedule = crontab(text)
        elif name == "every":
            schedule = _every(text, given["at"])
        elif name == "rrule":
            from scheduler.timing import rrule  # noqa: PLC0415

            schedule = rrule(text)
        else:
            from scheduler.timing import once  # noqa: PLC0415

            schedule = once(from_ms(self._moment_ms(text, "--once")))
        for warning in schedule.warnings():
            say(f"sched: {warning}")
        return schedule

    def _value(self, name: str, value: Any) -> Any:
        """What was said of the option *name*, as `scheduler.entry` takes it."""
        if name == "headers":
            return msgspec.json.decode(value)
        if name == "unique":
            return {"yes": True, "no": False}.get(value, value)
        if name in _MOMENTS:
            return from_ms(self._moment_ms(value, f"--{name}"))
        if not isinstance(value, str) or name in _TEXTS:
            return value
        if _NUMBER.fullmatch(value):
            return float(value) if "." in value else int(value)
        if name == "expires" and _DATE.match(value):
            return from_ms(self._moment_ms(value, "--expires"))
        return value

    def _moment_ms(self, text: str, what: str) -> int:
        return read_moment(text, what=what, tz=self._tz, now_ms=int(self._sched.store.queues.time_ms()))


def _every(text: str, at: str | None) -> Schedule:
    from scheduler.timing import every  # noqa: PLC0415

    step = _STEP.fullmatch(text.strip())
    if step is None:
        if at is not None:
            raise click.UsageError(
                f"--every {text!r} is so much elapsed time, without a time of day; --at goes with 'day', '2 weeks' …"
            )
        return every(float(text) if _NUMBER.fullmatch(text) else text)
    count = int(step[1] or 1)
    steps: dict[str, Any] = {f"{step[2]}s": count}
    return every(**steps) if at is None else every(at=at, **steps)


def read_unset(names: tuple[str, ...]) -> tuple[str, ...]:
    """
    The options that `--unset` names, as they are called in files.

    Raises:
        click.UsageError: There is no such option.
    """
    known = [*ENTRY_OPTIONS, "args", "kwargs"]
    found = []
    for name in names:
        option = {"tag": "tags", "disabled": "enabled"}.get(name.lstrip("-"), name.lstrip("-").replace("-", "_"))
        if option not in known:
            raise click.UsageError(f"--unset {name}: there is no such option{nearest(option, known)}")
        found.append(option)
    return tuple(found)


def zone_of(entry: Entry) -> str | None:
    """The zone in which *entry* fires, and in which its own times are meant."""
    from scheduler.timing import schedule_from_data  # noqa: PLC0415

    try:
        return schedule_from_data(entry.schedule).zone
    except InvalidScheduleError:
        return None


def entries_of(sched: Invocation, task: str | None) -> Entries:
    """
    What makes and edits entries, knowing the tasks that can be found from here: those of the App, else of the schedule files.

    Says so if *task* is not among them: it is added by its name then, and its arguments are not checked.
    """
    from scheduler.entries import Entries  # noqa: PLC0415

    tasks = _tasks(sched)
    if task is not None and tasks and task not in tasks:
        say(
            f"sched: no file here has a task {task!r}{nearest(task, tasks)}; it is taken by its name, a worker must have it"
        )
    return Entries(sched.home, tasks)


def _tasks(sched: Invocation) -> Mapping[str, Task]:
    if sched.app is not None:
        return sched.app.tasks
    if not sched.config.schedules.is_dir():
        return {}
    # What the files print must not stand in our output.
    with contextlib.redirect_stdout(sys.stderr):
        try:
            return sched.load().tasks
        except SchedError as error:
            say(f"sched: the schedule files cannot be read ({error}); what their tasks say is left out")
            return {}


def show_entry(sched: Invocation, record: EntryRecord, note: Note | None) -> None:
    """Print the entry as it is now, and what was changed of it."""

    def data(view: EntryView) -> dict[str, Any]:
        differences = [] if note is None else [msgspec.structs.asdict(difference) for difference in note.differences]
        return {**entry_data(view), "differences": differences}

    def facts(view: EntryView) -> Iterator[tuple[str, str]]:
        yield "name", view.entry.name
        yield "task", view.entry.task
        yield "schedule", view.text if view.zone == "UTC" else f"{view.text} {view.zone}"
        yield "in words", view.words
        yield "queue", view.entry.queue
        if note is not None:
            for difference in note.differences:
                yield "changed", f"{difference.field}: {difference.old} → {difference.new}"
        yield "next fire", show_moment(view.next_ms, sched.zone) or _why_none(view)
        yield "revision", str(view.revision)

    sched.out.one(views(sched.store)(record), data=data, facts=facts)


def _why_none(view: EntryView) -> str:
    if not view.entry.enabled:
        return "none: it is disabled"
    return "none until it is resumed" if view.pause else "none: its schedule has no more"
