"""`sched why`: what became of a due time, or what will, in a sentence. Everything is read from Redis; nothing is changed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from scheduler.cli.group import Command
from scheduler.cli.invocation import Invocation, say
from scheduler.cli.moments import read_moment, show_moment
from scheduler.cli.names import resolve
from scheduler.cli.output import write
from scheduler.clock import iso
from scheduler.errors import NotFoundError, ScheduleError
from scheduler.model import EntryRecord, OutcomeReason, Place, Run
from scheduler.story import Event, Facts, Told, tell
from scheduler.wire import fire_id

if TYPE_CHECKING:
    from scheduler.store import Store
    from scheduler.store.audit import Note
    from scheduler.timing import Schedule

NOTES_MAX = 200
REIGNS_MAX = 100


@click.command("why", cls=Command)
@click.argument("name")
@click.argument("time", required=False)
@click.pass_obj
def why(sched: Invocation, name: str, time: str | None) -> None:
    """What became of a due time of an entry, or what will.

    TIME is a due time, or any time: then the due time at or before it is told, in the future the one at or after it. A span
    such as 2h lies in the past. Without TIME: the last due time, and the next one.

    NAME may be shortened, as long as it means one entry; an entry that was removed can be asked about for a week.
    """
    store = sched.store
    asker = Asker(sched, _record(store, name))
    removed = asker.removed()
    if removed:
        say(f"sched: {removed}; what follows is what the history still has")
    if time is not None:
        asked_ms = read_moment(time, what="TIME", tz=sched.zone, now_ms=asker.now_ms, past=True)
        due_ms = asker.due_ms(asked_ms)
        if due_ms is None:
            raise NotFoundError(asker.nothing(asked_ms))
        if due_ms != asked_ms:
            which = "after" if due_ms > asked_ms else "before"
            asked = show_moment(asked_ms // 1000 * 1000, sched.zone)
            say(f"sched: {asked} is no due time of {asker.name!r}; this is of the one {which} it")
        told, following = tell(asker.facts(due_ms)), None
    else:
        last_ms, next_ms = asker.due_ms(asker.now_ms), asker.next_ms()
        stories = [tell(asker.facts(due_ms)) for due_ms in (last_ms, next_ms) if due_ms is not None]
        if not stories:
            raise NotFoundError(asker.nothing(None))
        told, following = stories[0], stories[1] if len(stories) > 1 else None
    if sched.wants_json:
        sched.out.data(told_data(told) | ({} if time is not None else {"next": following and told_data(following)}))
    else:
        write("\n".join(story.sentence for story in (told, following) if story is not None))


def told_data(told: Told) -> dict[str, Any]:
    """What became of a due time, for programs."""
    return {
        "due": iso(told.due_ms),
        "outcome": told.outcome,
        "reason": told.reason,
        "moments": {name: iso(ms) for name, ms in told.moments.items()},
        "run": told.run or None,
        "state": told.state or None,
        "sentence": told.sentence,
    }


def _record(store: Store, name: str) -> EntryRecord:
    """What stands under *name*, be it only what is left of a removed entry."""
    record = store.registry.state(name)
    if record.entry is None and not record.state:
        records = {record.name: record for record in store.registry.all()}
        return records[resolve(name, records)]
    return record


class Asker:
    """Gathers what is known of the due times of one entry."""

    def __init__(self, sched: Invocation, record: EntryRecord) -> None:
        from scheduler.fires import schedule_of  # noqa: PLC0415

        self._sched = sched
        self._store = store = sched.store
        self._record = record
        self.name = record.name
        self.now_ms = int(store.queues.time_ms())
        self._schedule: Schedule | None = None
        if record.entry is not None:
            try:
                self._schedule = schedule_of(record.entry)
            except ScheduleError as error:
                say(f"sched: entry {self.name!r}: its schedule cannot be computed here: {error}")
        self._events = tuple(_event(note) for note in store.audit.notes(self.name, n=NOTES_MAX))

    def due_ms(self, asked_ms: int) -> int | None:
        """The due time that is meant by *asked_ms*. One that the schedule no longer has is known from its record."""
        schedule = self._schedule
        if asked_ms > self.now_ms:
            return None if schedule is None else schedule.next_ms(asked_ms - 1)
        due_ms = None if schedule is None else schedule.previous_ms(asked_ms + 1)
        for run in self._store.history.ended(self.name):
            if run.of_schedule and run.due_ms <= asked_ms:
                # Within a stretch the schedule tells which; without one whoever asks must know.
                newest_ms = min(asked_ms, max(run.due_ms, run.to_ms)) if schedule is None else run.due_ms
                return newest_ms if due_ms is None else max(due_ms, newest_ms)
        return due_ms

    def removed(self) -> str:
        """That the entry was removed, when and by whom; empty while it is in force."""
        if self._record.entry is not None:
            return ""
        event = next((event for event in self._events if event.verb == "remove"), None)
        if event is None:
            return f"entry {self.name!r} was removed"
        reason = f": {event.reason}" if event.reason else ""
        return f"entry {self.name!r} was removed at {show_moment(event.at_ms // 1000 * 1000, self._sched.zone)} by {event.by}{reason}"

    def nothing(self, asked_ms: int | None) -> str:
        """That there is no due time to be told of: none at all, or none on that side of *asked_ms*."""
        if self._record.entry is None:
            oldest = None
            for oldest in self._store.history.ended(self.name):  # noqa: B007 - the last of them is the oldest
                pass
            since = (
                f"; its oldest record is of {show_moment(oldest.when_ms, self._sched.zone)}"
                if oldest is not None
                else ""
            )
            return f"nothing is known of entry {self.name!r} at that time{since or ', as none of its records is left'}"
        if asked_ms is None:
            return f"entry {self.name!r} has no due time, neither past nor to come; `sched show {self.name}`"
        return f"entry {self.name!r} has no due time {'after' if asked_ms > self.now_ms else 'before'} {iso(asked_ms)}"

    def next_ms(self) -> int | None:
        """The next due time; a start that lies ahead is minded, everything else is for the story to tell."""
        entry = self._record.entry
        if self._schedule is None or entry is None:
            return None
        return self._schedule.next_ms(max(self.now_ms, (entry.start_ms or 0) - 1))

    def facts(self, due_ms: int) -> Facts:
        """All that is known of *due_ms*."""
        store, record, config = self._store, self._record, self._sched.config
        id_ = fire_id(config.namespace, self.name, due_ms)
        standing, found = store.queues.standing(id_), store.history.of_due(self.name, due_ms)
        term = store.leadership.observe()
        queue = standing.queue if standing is not None else ""
        waits = standing is not None and standing.place is Place.READY
        return Facts(
            now_ms=self.now_ms,
            tz=self._sched.zone,
            due_ms=due_ms,
            name=self.name,
            id=id_,
            entry=record.entry,
            schedule=self._schedule,
            mark_ms=record.mark_ms,
            late_limit_ms=config.late_limit_ms,
            horizon_ms=config.horizon_ms,
            pause=record.pause,
            order=next((order for order in record.skips if order.due_ms == due_ms), None),
            fired=store.registry.promoted().get(self.name, (0, 0))[1],
            run=found.run,
            standing=standing,
            holder=self._holder(found.run, id_),
            later=found.later,
            events=self._events,
            known_since_ms=found.known_since_ms,
            gap=self._gap(due_ms) if found.run is not None and found.run.outcome == OutcomeReason.MISSED else None,
            leads=term is not None and bool(term.holder),
            workers=sum(queue in worker.info.queues for worker in store.sessions.workers()) if waits else 0,
        )

    def _holder(self, run: Run | None, id_: str) -> Run | None:
        """The run that held the slot when *run* was skipped; else the one that holds it now."""
        held = run.holder if run is not None else self._store.queues.holder(self.name)
        if not held or held == id_:
            return None
        known = self._store.history.run(held)
        if known is not None:
            return known
        body = self._store.queues.body(held)
        return Run(id=held) if body is None else Run(id=held, due_ms=_due_ms(body))

    def _gap(self, due_ms: int) -> tuple[int, int] | None:
        """The stretch without a leader after which *due_ms* was found to be missed."""
        late_ms = due_ms + self._sched.config.late_limit_ms
        for reign in self._store.leadership.history(REIGNS_MAX):
            if reign.gap_ms and reign.won_ms - reign.gap_ms <= late_ms and due_ms <= reign.won_ms:
                return reign.won_ms - reign.gap_ms, reign.won_ms
        return None


def _due_ms(body: bytes) -> int:
    from scheduler.wire import decode_header  # noqa: PLC0415

    return decode_header(body)[0].due_ms


def _event(note: Note) -> Event:
    changed = {difference.field: difference for difference in note.differences}
    schedule, enabled = changed.get("schedule"), changed.get("enabled")
    return Event(
        at_ms=note.at_ms,
        verb=note.verb,
        by=note.by,
        reason=note.reason,
        schedule=None if schedule is None else (schedule.old, schedule.new),
        enabled=None if enabled is None else enabled.new == "true",
    )
