"""
Entries that are made at run time: `app.entries`, `sched add`, `sched edit`, `sched remove`.

    app.entries.put("report-7", "reports.send", crontab("0 8 * * mon"), args=(7,), queue="mail")
    app.entries.edit("report-7", queue="slow")
    app.entries.remove("report-7")

They are declared and resolved by the same rules as those in files, stand on Redis beside them, and are in force within
milliseconds, without any restart. Files never change or remove them, and they never change what a file declares: two entries of one
name are refused, whoever comes second.

The definition keeps what its author said (`Entry.said`), so an edit changes just that and resolves it anew.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from datetime import datetime, timedelta, tzinfo
from enum import Enum
from typing import TYPE_CHECKING, Any

import msgspec

from scheduler.byhand import BACKFILL_LIMIT, BACKFILL_RATE_S, Asked, Span, backfill, due_times, trigger
from scheduler.calls import Call, Duration, encode_arguments, encode_keywords, moments_of
from scheduler.clock import aware, from_ms, to_ms
from scheduler.content import JSON
from scheduler.declare import calling_place, declared_entry
from scheduler.errors import InvalidEntryError, InvalidScheduleError, NotFoundError, RefusedError
from scheduler.exchange import Exchange, Queue
from scheduler.home import Home
from scheduler.model import Entry, EntryRecord, Origin, Overlap
from scheduler.nearest import nearest
from scheduler.options import ENTRY_OPTIONS, read_entry_options
from scheduler.resolve import resolve_entry
from scheduler.result import AsyncResult
from scheduler.task import Place, Task
from scheduler.timing import Schedule, schedule_from_data
from scheduler.timing.settling import Patience, Settling
from scheduler.timing.table import known_until_ms
from scheduler.who import who

if TYPE_CHECKING:
    from apscheduler.triggers.base import BaseTrigger

    from scheduler.store.backfill import Backfill

ARGUMENTS = ("args", "kwargs")
_ISO_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT")


class Entries:
    """
    The entries on Redis, for programs.

    Iterating gives every entry in force, those of files included, by name.

    Args:
        home: The settings and the way to Redis.
        tasks: Those whose code is here: what they say of their runs counts for their entries, and their arguments are checked.
            An entry may name another; then its name is all that is known of it.
    """

    def __init__(self, home: Home, tasks: Mapping[str, Task]) -> None:
        self._home = home
        self._tasks = tasks

    def put(
        self,
        name: str,
        task: Task | str,
        when: BaseTrigger,
        *,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        revision: int | None = None,
        must_be_new: bool = False,
        by: str | None = None,
        reason: str = "",
        place: str | None = None,
        **options: Any,
    ) -> EntryRecord:
        """
        Put an entry in force, in the place of what was made under its name at run time before.

        Args:
            revision: The one that this was made from (`EntryRecord.revision`): refused if somebody has changed the definition
                since. None: whatever stands there is replaced.
            must_be_new: Refuse to replace anything.
            by: Who does it, for the audit log; ``user@host`` of this process.
            reason: Why, for the audit log.
            place: Where it is made, for `sched show`; the line of the caller.
            options: Those of `scheduler.entry`.

        Raises:
            InvalidEntryError, InvalidScheduleError, NotEncodableError: As `scheduler.entry`.
            RefusedError: A file declares an entry of this name, or somebody else was faster.
            StoreUnavailableError: No answer from Redis in time; calling again is safe.
        """
        who_ = who() if by is None else by
        source = self._source(who_, place or calling_place())
        entry = self._made(name, task, when, args=args, kwargs=kwargs, options=options, source=source)

        def make(record: EntryRecord) -> Entry:
            old = record.entry
            if old is not None and must_be_new:
                raise RefusedError(f"there is an entry {name!r} already, {old.source}; `sched edit {name}` changes it")
            return entry if old is None else msgspec.structs.replace(entry, source=old.source)

        return self._home.store.registry.redefine(name, make, by=who_, reason=reason, revision=revision)

    def edit(
        self,
        name: str,
        *,
        task: Task | str | None = None,
        when: BaseTrigger | None = None,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        unset: Collection[str] = (),
        revision: int | None = None,
        by: str | None = None,
        reason: str = "",
        **options: Any,
    ) -> EntryRecord:
        """
        Change what is said here of an entry that was made at run time, and leave the rest as it is.

        Args:
            unset: Options that are to be at their defaults again; also ``args`` and ``kwargs``.
            revision, by, reason, options: As of `put`.

        Raises:
            NotFoundError: There is no such entry.
            InvalidEntryError, InvalidScheduleError, NotEncodableError, RefusedError, StoreUnavailableError: As `put`.
        """
        _check_unset(name, unset, {**options, "args": args, "kwargs": kwargs})
        # Told of what it says itself before anything is looked up.
        read_entry_options(options, what=f"entry {name!r}")

        def make(record: EntryRecord) -> Entry:
            old = record.entry
            if old is None:
                raise NotFoundError(f"there is no entry {name!r}; `sched list` shows what there is")
            said = _options_said(old)
            gone = {*unset, *_given_up(options)}
            kept = {option: value for option, value in said.items() if option not in gone}
            return self._made(
                name,
                old.task if task is None else task,
                _when_said(old) if when is None else when,
                args=() if "args" in unset else JSON.decode(old.args, what="args") if args is None else args,
                kwargs={}
                if "kwargs" in unset
                else JSON.decode(old.kwargs, what="kwargs")
                if kwargs is None
                else kwargs,
                options={**kept, **options},
                source=old.source,
            )

        registry = self._home.store.registry
        return registry.redefine(name, make, by=who() if by is None else by, reason=reason, revision=revision)

    def remove(self, name: str, *, revision: int | None = None, by: str | None = None, reason: str = "") -> EntryRecord:
        """
        Remove an entry that was made at run time. What is due goes on; what was armed ahead is withdrawn.

        Args:
            revision, by, reason: As of `put`.

        Raises:
            NotFoundError: There is no such entry.
            RefusedError: A file declares it, or somebody has changed it since *revision*.
        """

        def make(record: EntryRecord) -> None:
            if record.entry is None:
                raise NotFoundError(f"there is no entry {name!r}; `sched list` shows what there is")

        registry = self._home.store.registry
        return registry.redefine(name, make, by=who() if by is None else by, reason=reason, revision=revision)

    def trigger(
        self,
        name: str,
        *,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        countdown: Duration | None = None,
        eta: datetime | None = None,
        expires: Duration | datetime | None = None,
        queue: str | None = None,
        force: bool = False,
        key: str = "",
        by: str | None = None,
        reason: str = "",
    ) -> AsyncResult:
        """
        Run an entry now, or at a time, beside its schedule; it takes the entry's overlap slot.

        Args:
            args, kwargs: In the place of the entry's own.
            countdown, eta, expires, queue: As of `Task.apply_async`.
            force: Run it even while another run of the entry has not ended.
            key: A name for this request: whoever asks again under it within a day is given the same run, however it has ended, and
                nothing new is started.
            by, reason: Who asks for it and why, for the run and the audit log.

        Raises:
            NotFoundError: There is no such entry.
            RefusedError: Another run of it has not ended.
            NotEncodableError, OversizedMessageError, ValueError, StoreUnavailableError: As `Task.apply_async`.
        """
        entry = self._entry(name)
        call = Call(countdown=countdown, eta=eta, expires=expires, queue=queue)
        at_ms, expires_ms = moments_of(entry.task, call, self._home.server_now_ms())
        asked = Asked(
            by=who() if by is None else by,
            reason=reason,
            args=None if args is None else msgspec.Raw(encode_arguments(entry.task, args)),
            kwargs=None if kwargs is None else msgspec.Raw(encode_keywords(entry.task, kwargs)),
            queue=None if queue is None else self._home.router.checked(str(queue)),
            at_ms=at_ms,
            expires_ms=expires_ms,
            force=force,
            key=key,
            keeps_result=False,
        )
        message, _ = trigger(self._home.store, entry, asked, bytes_max=self._home.config.message_bytes_max)
        return AsyncResult(message.id, self._home)

    def backfill(
        self,
        name: str,
        start: datetime,
        end: datetime | None = None,
        *,
        overlap: str = "allow",
        rate: float = BACKFILL_RATE_S,
        limit: int = BACKFILL_LIMIT,
        outside: bool = False,
        by: str | None = None,
        reason: str = "",
    ) -> Backfill | None:
        """
        Run an entry once for each of its due times in [*start*, *end*), which are past.

        The runs are put on its queue at once, to start at *rate*; they get the due time they are for as `scheduled_for`. No due time
        is settled by them, the entry may be paused, they do not expire, and `max_runs` does not count them.

        Args:
            start, end: A naive moment is local time of this process; *end* is now, if it is not given.
            overlap: ``allow``: beside the overlap slot; ``queue``: in it, one after another, fires first; ``skip``: in it, and given
                up where it is held.
            rate: So many start in a second.
            limit: More are refused.
            outside: Also due times before the entry's `start` and after its `until`.

        Returns:
            What was started; None if each of these due times has a run of an earlier backfill that has not ended.

        Raises:
            NotFoundError: There is no such entry, or no due time.
            RefusedError: There are more than *limit*.
            ValueError: Something in it cannot be: an end that lies ahead, a rate of 0.
        """
        entry = self._entry(name)
        if overlap.upper() not in Overlap.__members__:
            raise ValueError(f"overlap {overlap!r}: expected allow, queue or skip")
        now_ms = self._home.server_now_ms()
        span = Span(
            from_ms=to_ms(aware(start)),
            to_ms=now_ms if end is None else to_ms(aware(end)),
            by=who() if by is None else by,
            reason=reason,
            overlap=Overlap[overlap.upper()],
            rate_s=rate,
            limit=limit,
            outside=outside,
        )
        dues_ms = due_times(entry, span, now_ms=now_ms)
        made, started = backfill(self._home.store, entry, span, dues_ms, bytes_max=self._home.config.message_bytes_max)
        return made if started else None

    def _entry(self, name: str) -> Entry:
        record = self.get(name)
        if record is None or record.entry is None:
            raise NotFoundError(f"there is no entry {name!r}; `sched list` shows what there is")
        return record.entry

    def get(self, name: str) -> EntryRecord | None:
        """The entry in force under *name*, be it of a file or made at run time; None if there is none."""
        return self._home.store.registry.get(name)

    def __iter__(self) -> Iterator[EntryRecord]:
        return iter(self._home.store.registry.all())

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self.get(name) is not None

    def __repr__(self) -> str:
        return "<entries on Redis>"

    # ────────────────────────────────────────────────────────────────────────────────────────────────────────────────

    def _made(
        self,
        name: str,
        task: Task | str,
        when: BaseTrigger,
        *,
        args: Sequence[Any],
        kwargs: Mapping[str, Any] | None,
        options: Mapping[str, Any],
        source: str,
    ) -> Entry:
        """The entry, complete, as a file that says the same would give it."""
        known = self._tasks.get(task, task) if isinstance(task, str) else task
        declared = declared_entry(
            name, known, when, args=args, kwargs=kwargs, options=options, place=Place.at("", 0), module=""
        )
        settling = Settling(self._home.server_now_ms(), Patience(), [])
        entry = resolve_entry(
            declared, known if isinstance(known, Task) else None, self._home.config, self._home.router,
            source=source, settling=settling,
        )  # fmt: skip
        if known_until_ms(entry.schedule) is not None:
            raise InvalidScheduleError(
                f"entry {name!r}: {declared.when.text} exists only as a Python object, which must be asked again now and then; "
                "declare it in a schedule file"
            )
        if callable(options.get("unique")):
            raise InvalidEntryError(
                f"entry {name!r}: unique: a callable cannot be kept on Redis; give a template such as '{{customer}}', or declare the "
                "entry in a schedule file"
            )
        said = {"options": {option: _plain(value) for option, value in options.items()}}
        try:
            said["when"] = declared.when.as_data()
        except InvalidScheduleError:  # it was an object; what it has answered is all there is
            said["when"] = entry.schedule
        return msgspec.structs.replace(entry, origin=Origin.HAND, said=said)

    def _source(self, by: str, place: str) -> str:
        made_at = from_ms(self._home.server_now_ms())
        return f"made by {by} on {made_at:%Y-%m-%d %H:%M} UTC ({place})"


def _check_unset(name: str, unset: Collection[str], given: Mapping[str, Any]) -> None:
    for option in unset:
        if option not in ENTRY_OPTIONS and option not in ARGUMENTS:
            raise InvalidEntryError(
                f"entry {name!r}: unset: unknown option {option!r}{nearest(option, [*ENTRY_OPTIONS, *ARGUMENTS])}"
            )
        if given.get(option) is not None:
            raise InvalidEntryError(f"entry {name!r}: {option} is both set and unset; say one of the two")


def _given_up(options: Mapping[str, Any]) -> Collection[str]:
    """What an entry said of its way that does not outlive *options*: whoever names another way means that one."""
    if options.get("queue") is not None:
        return ("exchange", "routing_key")
    if options.get("exchange") is not None or options.get("routing_key") is not None:
        return ("queue",)
    return ()


def _options_said(entry: Entry) -> dict[str, Any]:
    """
    The options that the author of *entry* gave, as `scheduler.entry` takes them.

    Raises:
        RefusedError: It was written to Redis by something else, and nobody knows.
    """
    if "options" not in entry.said:
        raise RefusedError(f"entry {entry.name!r}: what its author said was not kept; put it anew, whole")
    return {option: _revived(option, value) for option, value in entry.said.get("options", {}).items()}


def _when_said(entry: Entry) -> Schedule:
    """Its schedule as its author gave it: without a zone, if it came without one."""
    return schedule_from_data(entry.said.get("when") or entry.schedule)


def _revived(option: str, value: Any) -> Any:
    """An option from what is kept of it: a moment is text there."""
    if option == "expires" and isinstance(value, str) and _ISO_MOMENT.match(value):
        return datetime.fromisoformat(value)
    return value


def _plain(value: Any) -> Any:
    """An option's value as data; what was accepted can be said so."""
    for kind, form in _FORMS:
        if isinstance(value, kind):
            return form(value)
    return value


def _zone_name(zone: tzinfo) -> str:
    from scheduler.timing.zones import zone_name  # noqa: PLC0415

    return zone_name(zone)


_FORMS: tuple[tuple[Any, Callable[[Any], Any]], ...] = (
    (Enum, lambda choice: choice.value if isinstance(choice.value, str) else choice.name.lower()),
    (Queue | Exchange, lambda named: named.name),
    (timedelta, lambda span: span.total_seconds()),
    (datetime, lambda moment: (aware(moment) if moment.tzinfo else moment).isoformat()),
    (tzinfo, _zone_name),
    (set | frozenset, sorted),
    (Mapping, lambda mapping: {key: _plain(value) for key, value in mapping.items()}),
    (tuple | list, lambda items: [_plain(item) for item in items]),
)
