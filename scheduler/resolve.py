"""
From what an author declared to what travels: a `Declared` and the settings give an `Entry`. Pure.

Here everything that was left unsaid finds its value: the zone, the queue, and what the entry inherits from its task.
"""

from __future__ import annotations

from datetime import datetime
from functools import lru_cache
from typing import Any, NamedTuple

import msgspec
from msgspec.structs import replace

from scheduler.clock import aware, to_ms
from scheduler.config import Config
from scheduler.content import JSON
from scheduler.declare import Declared
from scheduler.defaults import in_force
from scheduler.errors import InvalidEntryError, UnroutableError
from scheduler.model import Entry, Origin
from scheduler.options import TaskOptions
from scheduler.routes import Said
from scheduler.routing import Destination, Router, said_by
from scheduler.task import Task
from scheduler.timing import Schedule
from scheduler.timing.settling import Settling
from scheduler.timing.zones import get_zone
from scheduler.unique import UniqueRule, rule_complaint, unique_text

FRAME_BYTES = 1_024
"""What a message holds beside its arguments, at most."""


class Whens:
    """
    What the schedules of one load come to; entries that were given the same object share that.

    By the object, not by what it means: two that mean the same may be written differently. And of entries that differ in
    nothing but name, arguments and place, the first is the model of all others.
    """

    def __init__(self) -> None:
        self._found: dict[tuple[int, str], _When] = {}
        self.models: dict[tuple[int, int, int], Model] = {}

    def data(self, when: Schedule, zone: str, name: str, settling: Settling) -> tuple[dict[str, Any], bool]:
        """
        *when* in *zone*, settled for an entry of this name, as data that nobody changes; and whether the name has a say in it.

        Raises:
            InvalidScheduleError: It cannot be settled for an entry of this name.
        """
        key = (id(when), zone)
        found = self._found.get(key)
        if found is None:
            own = settling._replace(notes=[])
            schedule = when.in_zone(zone).settled(own)
            notes = (*own.notes, *schedule.warnings())
            found = self._found[key] = _When(when, schedule, schedule.as_data(), notes)
        settling.notes.extend(found.notes)
        named = found.schedule.for_entry(name)
        return (found.data, False) if named is found.schedule else (named.as_data(), True)


class _When(NamedTuple):
    """A schedule as it was given, which is kept so that no other takes its place in memory; and what it comes to."""

    given: Schedule
    schedule: Schedule
    data: dict[str, Any]
    notes: tuple[str, ...]


class Model(NamedTuple):
    """An entry that others are like; and, so that no others take their places in memory, what it was made of."""

    entry: Entry
    notes: tuple[str, ...]
    declared: Declared
    task: Task


def resolve_entry(
    declared: Declared,
    task: Task | None,
    config: Config,
    router: Router,
    *,
    source: str,
    settling: Settling,
    whens: Whens | None = None,
) -> Entry:
    """
    The entry for *declared*, whose task is *task*, complete.

    Args:
        task: None where its code is not here: then what it would say of its runs is at the defaults.
        source: ``schedules/reports.py:12``.
        settling: What asks a schedule that exists only as an object; warnings are left in its notes.
        whens: Shared by all entries of a load.

    Raises:
        InvalidEntryError: It cannot be met, or is too large to be sent.
        InvalidScheduleError: The schedule cannot be settled for an entry of this name.
        ConfigError: A route answers something that is no queue.
    """
    whens = whens or Whens()
    options = declared.options
    headers = len(msgspec.json.encode(options.headers)) if options.headers else 0
    size = len(declared.args) + len(declared.kwargs) + headers + FRAME_BYTES
    if size > config.message_bytes_max:
        raise InvalidEntryError(
            f"its arguments make a message of {size} bytes, message_bytes_max allows {config.message_bytes_max}; "
            "pass a reference instead of the data"
        )
    key = (id(options), id(task), id(declared.when))
    model = whens.models.get(key)
    if model is not None:
        settling.notes.extend(model.notes)
        made = replace(model.entry, name=declared.name, args=declared.args, kwargs=declared.kwargs, source=source)
        return replace(made, unique=_unique(declared, model.task, model.task.options)) if made.unique else made
    of_task = task.options if task is not None else in_force(None, declared.task_name, {}, config)[0]
    zone = options.tz or declared.when.zone or config.timezone
    start_ms, until_ms = _moment_ms(options.start, zone), _moment_ms(options.until, zone)
    if start_ms is not None and until_ms is not None and until_ms <= start_ms:
        raise InvalidEntryError(f"until {options.until} is not after start {options.start} (timezone {zone})")
    schedule, is_own = whens.data(declared.when, zone, declared.name, settling)
    expires = of_task.expires if options.expires is None else options.expires
    destination = _destination(declared, task, router)
    entry = Entry(
        name=declared.name,
        task=declared.task_name,
        schedule=schedule,
        queue=destination.queues[0],
        args=declared.args,
        kwargs=declared.kwargs,
        priority=config.task_priority if destination.priority is None else destination.priority,
        countdown_ms=options.countdown_ms,
        jitter_ms=options.jitter_ms,
        expires_after_ms=None if expires is None else expires.after_ms,
        expires_at_ms=None if expires is None else _moment_ms(expires.at, zone),
        expires_next=expires is not None and expires.at_next,
        overlap=options.overlap,
        catchup=options.catchup,
        catchup_window_ms=options.catchup_window_ms,
        start_ms=start_ms,
        until_ms=until_ms,
        max_runs=options.max_runs,
        enabled=options.enabled,
        ack=options.ack or of_task.ack,
        ignore_result=of_task.ignore_result if options.ignore_result is None else options.ignore_result,
        result_expires_ms=options.result_expires_ms or of_task.result_expires_ms or config.result_expires_ms,
        run=options.run,
        unique=_unique(declared, task, of_task),
        watch=options.watch,
        tags=options.tags,
        description=options.description or _first_line(task.fn.__doc__ if task is not None else None),
        headers=dict(options.headers),
        source=source,
        origin=Origin.FILE,
    )
    if task is not None and not is_own and not router.asks_callables:
        whens.models[key] = Model(entry, tuple(settling.notes), declared, task)
    return entry


def _unique(declared: Declared, task: Task | None, of_task: TaskOptions) -> str:
    """The unique key of its runs, empty if they have none; the same for all of them, as their arguments are."""
    options = declared.options
    rule = of_task.unique if options.unique is None else options.unique
    if not isinstance(rule, UniqueRule):
        return ""
    parameters = None if task is None else task.parameters
    if complaint := rule_complaint(rule, parameters):
        raise InvalidEntryError(complaint)
    args, kwargs = JSON.decode(declared.args, what="args"), JSON.decode(declared.kwargs, what="kwargs")
    held_ms = options.unique_for_ms or of_task.unique_for_ms
    try:
        return unique_text(rule, declared.task_name, parameters, args, kwargs, held_ms=held_ms)
    except ValueError as error:
        raise InvalidEntryError(str(error)) from None


def _destination(declared: Declared, task: Task | None, router: Router) -> Destination:
    """
    Where the fires of *declared* go: to one queue, as a fire is one message (P1), with one outcome (P2) and one overlap slot.

    Raises:
        InvalidEntryError: To none, or to several.
    """
    options = declared.options
    said = (
        Said(options.queue, options.exchange, options.routing_key, options.priority),
        said_by(None if task is None else task.options),
    )
    looks = router.asks_callables
    try:
        found = router.destination(
            declared.task_name,
            said,
            args=JSON.decode(declared.args, what="args") if looks else (),
            kwargs=JSON.decode(declared.kwargs, what="kwargs") if looks else None,
            made=task,
        )
    except UnroutableError as error:
        raise InvalidEntryError(str(error)) from None
    if len(found.queues) > 1:
        raise InvalidEntryError(
            f"exchange {found.exchange!r} leads to several queues ({', '.join(found.queues)}), and each fire of an entry is one "
            "message; declare an entry for each of them (queue=), or let its task send to the exchange"
        )
    return found


def _moment_ms(moment: datetime | None, zone: str) -> int | None:
    """*moment* in ms; a naive one is local to *zone*."""
    if moment is None:
        return None
    return to_ms(aware(moment) if moment.tzinfo is not None else moment.replace(tzinfo=get_zone(zone)))


@lru_cache(maxsize=1024)
def _first_line(text: str | None) -> str:
    """What a function's docstring says first: people look for it in `sched show`."""
    lines = (text or "").strip().splitlines()
    return lines[0].strip()[:200] if lines else ""
