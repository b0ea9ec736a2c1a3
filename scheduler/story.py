"""
What became of a due time, or what will, in a sentence. Pure: it is handed what Redis knows, and the time.

    facts of one due time ─▶ tell ─┬─ it has ended, runs or was skipped: its record says so
                                   ├─ it stands somewhere (armed, waiting, ready): its message says where and until when
                                   ├─ it lies ahead: what the entry, its pause and the orders to skip say will happen
                                   └─ nothing is known of it: why that is so (not in force, or longer ago than the history goes)
"""

from __future__ import annotations

from datetime import UTC, datetime, tzinfo
from typing import NamedTuple

import msgspec

from scheduler.model import Catchup, Entry, OutcomeReason, Overlap, Pause, Place, Run, SkipOrder, Standing, State
from scheduler.timing import Schedule
from scheduler.timing.duration import format_duration
from scheduler.timing.jitter import jitter_ms
from scheduler.unique import key_shown

SECOND_MS = 1_000


class Event(NamedTuple):
    """
    Something that somebody did to the entry, from the audit log.

    Attributes:
        schedule: Of an edit that changed the schedule: the old one and the new one, as texts.
        enabled: Of an edit that enabled or disabled it: which.
    """

    at_ms: int
    verb: str
    by: str = ""
    reason: str = ""
    schedule: tuple[str, str] | None = None
    enabled: bool | None = None


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """
    What is known of one due time of the entry *name*.

    Attributes:
        id: That of its fire.
        entry: The definition in force; None once it was removed.
        mark_ms: Up to here all its due times are settled or armed.
        order: That this very fire is to be skipped.
        fired: How many fires of the entry were promoted.
        run: Its record: of the run that it became, or of the stretch in which it was skipped.
        standing: Its message, while that has not ended.
        holder: The run that holds the overlap slot; of a due time skipped for overlap, the one that held it then.
        later: Runs that repeated it or ran it again: retries by hand, backfills.
        events: What was done to the entry, newest first.
        known_since_ms: What happened before that is no longer in the history; 0: it has all.
        gap: A stretch of time without a leader, around the due time.
        leads: Whether a beat leads now.
        workers: How many workers take from its queue.
    """

    now_ms: int
    due_ms: int
    name: str
    id: str
    entry: Entry | None
    schedule: Schedule | None
    mark_ms: int
    late_limit_ms: int
    horizon_ms: int
    pause: Pause | None = None
    order: SkipOrder | None = None
    fired: int = 0
    run: Run | None = None
    standing: Standing | None = None
    holder: Run | None = None
    later: tuple[Run, ...] = ()
    events: tuple[Event, ...] = ()
    known_since_ms: int = 0
    gap: tuple[int, int] | None = None
    leads: bool = True
    workers: int = 1
    tz: tzinfo = UTC


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """
    What became of a due time.

    Attributes:
        outcome: A value of `OutcomeReason`; or ``coming`` (it lies ahead, or its fire is armed), ``waiting`` (for the overlap
            slot), ``none`` (the entry was not, or will not be, in force) or ``unknown``.
        reason: The sentence without its beginning.
        moments: When what happened, or will.
    """

    due_ms: int
    outcome: str
    reason: str
    moments: dict[str, int] = {}
    run: str = ""
    state: str = ""
    sentence: str = ""


COMING, WAITING, NONE, UNKNOWN = "coming", "waiting", "none", "unknown"


def tell(facts: Facts) -> Told:
    """What became of the due time of *facts*, or what will."""
    told = _tell(facts)
    again = "".join(f" {_repeated(run, facts)}" for run in facts.later)
    return msgspec.structs.replace(told, sentence=f"{_full(facts.due_ms, facts.tz)}: {told.reason}.{again}")


def _tell(facts: Facts) -> Told:
    run = facts.run
    if run is not None and not run.state:
        return _skipped(facts, run)
    if run is not None and (run.state != State.STARTED or facts.standing is None):
        return _ended(facts, run)
    if facts.standing is not None:
        return _stands(facts, facts.standing, run)
    return _ahead(facts) if facts.due_ms > facts.now_ms else _without_trace(facts)


# ── it has become something ─────────────────────────────────────────────────────────────────────────────────────────────


def _ended(facts: Facts, run: Run) -> Told:
    moments = _moments(due=run.due_ms, armed=run.enqueued_ms, started=run.started_ms, finished=run.finished_ms)
    outcome = run.outcome or OutcomeReason.PROMOTED
    end = _short(run.finished_ms, facts)
    if outcome == OutcomeReason.EXPIRED:
        text = f"skipped (expired): it had expired when its moment came, at {end}"
    elif outcome == OutcomeReason.UNIQUE:
        text = f"skipped (unique): it waited for the slot of its entry, and when that was free, at {end}, {run.error}"
    elif outcome == OutcomeReason.WITHDRAWN:
        text = f"skipped (withdrawn): its fire was cancelled at {end}{_whose(facts, 'cancel', run.finished_ms)}"
    elif run.state == State.EXPIRED:
        text = f"promoted, but no worker started it before it expired; that was seen at {end}"
    elif run.state == State.REVOKED and not run.started_ms:
        why = f" ({run.error})" if run.error else _whose(facts, "cancel", run.finished_ms)
        text = f"promoted, and cancelled at {end} before it started{why}"
    elif run.state == State.STARTED:
        text = f"promoted: {_run(run)} started at {_began(run, facts)} and has not ended"
    else:
        how = _ENDS.get(run.state, f"ended as {run.state}")
        took = f", after {_span(run.finished_ms - run.started_ms)}" if run.started_ms else ""
        error = f": {run.error.rstrip('.')}" if run.error else ""
        started = f" started at {_began(run, facts)} and" if run.started_ms else ""
        text = f"promoted: {_run(run)}{started} {how} at {end}{took}{error}"
    return Told(due_ms=facts.due_ms, outcome=outcome, reason=text, moments=moments, run=run.id, state=run.state)


def _skipped(facts: Facts, run: Run) -> Told:
    others = ""
    if run.count > 1:
        others = f", as were all {run.count:,} due times from {_short(run.due_ms, facts)} to {_short(run.to_ms, facts)}"
    text = f"skipped ({run.outcome}){others}: {_why_skipped(facts, run)}"
    moments = _moments(due=facts.due_ms, decided=run.finished_ms)
    return Told(due_ms=facts.due_ms, outcome=run.outcome, reason=text, moments=moments)


def _why_skipped(facts: Facts, run: Run) -> str:
    match run.outcome:
        case OutcomeReason.OVERLAP:
            return _why_overlapped(facts, run)
        case OutcomeReason.QUEUE_FULL:
            queue = "its queue" if facts.entry is None else f"queue {facts.entry.queue}"
            return f"{queue} was full (max_length)"
        case OutcomeReason.UNIQUE:
            return _why_not_unique(facts, run)
        case OutcomeReason.MISSED:
            return _why_missed(facts)
        case OutcomeReason.PAUSED:
            return _why_paused(facts)
        case OutcomeReason.MAX_RUNS:
            return f"{_all_runs(facts.entry)} used up"
        case OutcomeReason.WITHDRAWN if run.id and not run.error:
            return "somebody had ordered so"
        case OutcomeReason.WITHDRAWN if not run.error:
            return "nobody had armed it when the entry was changed" + _changed_then(facts, run.finished_ms)
        case _:
            return run.error or "no more is known"


def _why_overlapped(facts: Facts, run: Run) -> str:
    waited = f"it waited for the slot, and {run.error}; " if run.error else ""
    holder = facts.holder
    if holder is None:
        which = f"run {run.holder}" if run.holder else "another run of the entry"
        return f"{waited}{which} had not ended"
    of = f" of {_short(holder.due_ms, facts)}" if holder.due_ms else " (asked for by hand)"
    if holder.finished_ms:
        return f"{waited}{_run(holder)}{of} had not ended until {_short(holder.finished_ms, facts)}"
    return f"{waited}{_run(holder)}{of} has not ended yet"


def _why_not_unique(facts: Facts, run: Run) -> str:
    key = f", {key_shown(facts.entry.unique)}," if facts.entry is not None and facts.entry.unique else ""
    holder = facts.holder
    if holder is None or not holder.finished_ms:
        return f"run {run.holder} had its unique key{key} and had not ended"
    return f"run {run.holder} had its unique key{key} and ended only at {_short(holder.finished_ms, facts)}"


def _why_missed(facts: Facts) -> str:
    text = f"it was not promoted within {_span(facts.late_limit_ms)} of its time"
    if facts.gap is not None:
        text += f", as no beat led from {_short(facts.gap[0], facts)} to {_short(facts.gap[1], facts)}"
    entry = facts.entry
    if entry is None:
        return text
    policy = {
        Catchup.NONE: "catchup='none' gives up what was missed",
        Catchup.LATEST: "a newer due time stood for it (catchup='latest')",
        Catchup.ALL: f"it was older than the catchup_window, {_span(entry.catchup_window_ms)}",
    }
    return f"{text}; {policy[entry.catchup]}"


def _why_paused(facts: Facts) -> str:
    """The pause around the due time, as the audit log has it."""
    begun = next((e for e in facts.events if e.verb == "pause" and e.at_ms <= facts.due_ms), None)
    ended = next(
        (e for e in reversed(facts.events) if e.verb in {"resume", "remove"} and e.at_ms >= facts.due_ms), None
    )
    since = f" from {_short(begun.at_ms, facts)}" if begun else ""
    until = f" to {_short(ended.at_ms, facts)}" if ended else ""
    return f"the entry was paused{since}{until}{_by(begun)}"


def _changed_then(facts: Facts, at_ms: int) -> str:
    """Who changed the entry at *at_ms*."""
    event = next((e for e in facts.events if abs(e.at_ms - at_ms) <= SECOND_MS), None)
    return f" at {_short(at_ms, facts)}" + (f" ({event.verb}{_by(event)})" if event else "")


# ── it stands somewhere ─────────────────────────────────────────────────────────────────────────────────────────────────


def _stands(facts: Facts, at: Standing, run: Run | None) -> Told:
    moments = _moments(due=facts.due_ms, armed=at.armed_ms)
    if at.place is Place.DELAYED and at.is_fire:
        against = _against_fire(facts)
        if against is not None:
            return _made(facts, *against, moments)
        moments["starts"] = at.at_ms
        late = f"will run at {_short(at.at_ms, facts)}{_put_off(facts)}"
        if at.at_ms <= facts.now_ms:
            late = f"was to run at {_short(at.at_ms, facts)}, and is promoted as soon as a beat or a worker looks"
        text = f"is armed since {_short(at.armed_ms, facts)} and {late} on queue {at.queue}{_conditions(facts)}"
        return _made(facts, COMING, text, moments)
    if at.place is Place.WAITING:
        holder = f"{_run(facts.holder)} has" if facts.holder is not None else "the run before it has"
        return _made(facts, WAITING, f"waits for the overlap slot of its entry: {holder} not ended", moments)
    promoted = OutcomeReason.PROMOTED
    if at.place is Place.DELAYED:
        moments["starts"] = at.at_ms
        text = f"promoted; its next attempt starts at {_short(at.at_ms, facts)} on queue {at.queue}"
        return _made(facts, promoted, text, moments, state=State.RETRY)
    if at.place is Place.HELD:
        moments["started"] = at.at_ms
        worker = f"worker {run.worker}" if run is not None and run.worker else "a worker"
        text = f"promoted: run {facts.id} is with {worker} since {_short(at.at_ms, facts)} and has not ended"
        return _made(facts, promoted, text, moments, state=State.STARTED)
    who = {0: "no worker takes from it", 1: "1 worker takes from it"}.get(
        facts.workers, f"{facts.workers} workers take from it"
    )
    return _made(facts, promoted, f"promoted, and waits on queue {at.queue} ({who})", moments, state=State.PENDING)


# ── it lies ahead ───────────────────────────────────────────────────────────────────────────────────────────────────────


def _ahead(facts: Facts) -> Told:
    moments = _moments(due=facts.due_ms)
    against = _against(facts)
    if against is not None:
        return _made(facts, *against, moments)
    entry = facts.entry
    assert entry is not None, facts.name
    starts_ms = facts.due_ms + entry.countdown_ms + _jitter_ms(facts)
    moments["starts"] = starts_ms
    arms_ms = facts.due_ms - facts.horizon_ms
    armed = f"will be armed at {_short(arms_ms, facts)} and"
    if arms_ms <= facts.now_ms:
        armed = "is about to be armed and"
    else:
        moments["armed"] = arms_ms
    nobody = "" if facts.leads else "; as no beat leads now, one must be started before"
    text = f"{armed} will run at {_short(starts_ms, facts)}{_put_off(facts)} on queue {entry.queue}{_conditions(facts)}{nobody}"
    return _made(facts, COMING, text, moments)


def _against(facts: Facts) -> tuple[str, str] | None:
    """What keeps a due time that lies ahead from running, as things stand: its outcome, and why."""
    none = _not_in_force(facts)
    if none is not None:
        return NONE, none
    entry, pause = facts.entry, facts.pause
    assert entry is not None, facts.name
    if pause is not None and (pause.until_ms is None or facts.due_ms < pause.until_ms):
        until = f"until {_short(pause.until_ms, facts)}" if pause.until_ms else "until it is resumed"
        return (
            OutcomeReason.PAUSED,
            f"will be skipped (paused): the entry is paused {until}{_said(pause.by, pause.reason)}",
        )
    return _against_fire(facts)


def _against_fire(facts: Facts) -> tuple[str, str] | None:
    """What keeps a fire from running even if it is armed."""
    entry = facts.entry
    if facts.order is not None:
        return OutcomeReason.WITHDRAWN, _ordered(facts, facts.order)
    if entry is not None and entry.max_runs is not None and facts.fired >= entry.max_runs:
        return OutcomeReason.MAX_RUNS, f"will be skipped (max_runs): {_all_runs(entry)} used up"
    return None


def _not_in_force(facts: Facts) -> str | None:
    """Why the due time is none of the entry's, as its definition says; None if it is."""
    entry = facts.entry
    if entry is None:
        removed = next((e for e in facts.events if e.verb == "remove"), None)
        return "nothing will run: the entry was removed" + (
            f" at {_short(removed.at_ms, facts)}{_by(removed)}" if removed else ""
        )
    ahead = facts.due_ms > facts.now_ms
    if entry.start_ms is not None and facts.due_ms < entry.start_ms:
        return f"{'will not run' if ahead else 'did not run'}: the entry starts at {_short(entry.start_ms, facts)}"
    if entry.until_ms is not None and facts.due_ms > entry.until_ms:
        return (
            f"{'will not run' if ahead else 'did not run'}: the entry ends at {_short(entry.until_ms, facts)} (until)"
        )
    if not entry.enabled:
        event = next((e for e in facts.events if e.enabled is False), None)
        since = f" since {_short(event.at_ms, facts)}{_by(event)}" if event else ""
        return f"{'will not run' if ahead else 'did not run'}: the entry is disabled{since}"
    return None


def _conditions(facts: Facts) -> str:
    """What may still keep it from running, as a clause."""
    entry, parts = facts.entry, []
    if entry is None:
        return ""
    holder = facts.holder
    before = (
        "the run before it"
        if holder is None
        else _run(holder) + (f" of {_short(holder.due_ms, facts)}" if holder.due_ms else "")
    )
    if entry.overlap is Overlap.SKIP:
        parts.append(f"it is skipped if {before} has not ended by then")
    elif entry.overlap is Overlap.QUEUE:
        parts.append(f"it waits if {before} has not ended by then")
    elif entry.overlap is Overlap.REPLACE:
        parts.append(f"{before} is cancelled if it has not ended by then")
    if entry.expires_after_ms is not None:
        parts.append(f"it expires at {_short(facts.due_ms + entry.expires_after_ms, facts)}")
    return f"; {'; '.join(parts)}" if parts else ""


def _put_off(facts: Facts) -> str:
    entry = facts.entry
    if entry is None:
        return ""
    parts = []
    if entry.countdown_ms:
        parts.append(f"{_span(entry.countdown_ms)} of countdown")
    if entry.jitter_ms:
        parts.append(f"{_span(_jitter_ms(facts))} of jitter")
    return f" ({', '.join(parts)})" if parts else ""


def _jitter_ms(facts: Facts) -> int:
    entry, schedule = facts.entry, facts.schedule
    if entry is None or not entry.jitter_ms:
        return 0
    return jitter_ms(facts.name, facts.due_ms, entry.jitter_ms, schedule.next_ms(facts.due_ms) if schedule else None)


def _ordered(facts: Facts, order: SkipOrder) -> str:
    return f"will be skipped (withdrawn): ordered at {_short(order.at_ms, facts)}{_said(order.by, order.reason)}"


# ── nothing is known of it ──────────────────────────────────────────────────────────────────────────────────────────────


def _without_trace(facts: Facts) -> Told:
    """A due time that is past, and of which there is neither a record nor a message."""
    moments = _moments(due=facts.due_ms)
    if facts.due_ms > facts.mark_ms:
        return _not_yet(facts, moments)
    changed = _changed_since(facts)
    if changed is not None:
        return _made(facts, NONE, changed, moments)
    none = _not_in_force(facts)
    if none is not None and facts.entry is not None:
        return _made(facts, NONE, none, moments)
    if facts.due_ms < facts.known_since_ms:
        since = _short(facts.known_since_ms, facts)
        text = f"it is settled, but how is no longer in the history, which goes back to {since} (the counters of the entry have it)"
        return _made(facts, UNKNOWN, text, moments)
    return _made(facts, NONE, "nothing ran: the entry was not in force then, as far as is known", moments)


def _not_yet(facts: Facts, moments: dict[str, int]) -> Told:
    """A due time that is past and that nobody has armed."""
    pause = facts.pause
    if facts.entry is not None and pause is not None and pause.since_ms <= facts.due_ms:
        text = f"skipped (paused): the entry is paused since {_short(pause.since_ms, facts)}{_said(pause.by, pause.reason)}"
        return _made(facts, OutcomeReason.PAUSED, text, moments)
    none = _not_in_force(facts)
    if none is not None:
        return _made(facts, NONE, none, moments)
    why = "a beat that leads is about to settle it" if facts.leads else "no beat leads; start one"
    entry = facts.entry
    assert entry is not None, facts.name
    policy = {
        Catchup.NONE: f"later than {_span(facts.late_limit_ms)} it is skipped (catchup='none')",
        Catchup.LATEST: "it runs then, unless a newer due time has come (catchup='latest')",
        Catchup.ALL: f"it runs then, within {_span(entry.catchup_window_ms)} (catchup='all')",
    }
    return _made(facts, COMING, f"nobody has armed it yet: {why}; {policy[entry.catchup]}", moments)


def _changed_since(facts: Facts) -> str | None:
    """That the entry was another one at its due time, if the audit log says so."""
    after = [event for event in facts.events if event.at_ms >= facts.due_ms]
    for event in reversed(after):
        at = f"at {_short(event.at_ms, facts)}{_by(event)}"
        if event.verb == "add":
            return f"nothing ran: the entry was added later, {at}"
        if event.schedule is not None:
            return f"nothing ran: {at} the schedule was changed from {event.schedule[0]!r} to {event.schedule[1]!r}"
        if event.enabled is True:
            return f"nothing ran: the entry was disabled until it was enabled {at}"
    return None


# ── words ───────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _repeated(run: Run, facts: Facts) -> str:
    state = "has not ended" if run.state == State.STARTED else _ENDS.get(run.state, f"ended as {run.state}")
    end = f" at {_short(run.finished_ms, facts)}" if run.finished_ms else ""
    what = f"Backfill {run.backfill} ran it" if run.backfill else "It was repeated"
    return f"{what} as run {run.id}, which {state}{end}."


def _made(facts: Facts, outcome: str, text: str, moments: dict[str, int], state: str = "") -> Told:
    run = facts.id if facts.standing is not None else ""
    return Told(due_ms=facts.due_ms, outcome=outcome, reason=text, moments=moments, run=run, state=state)


_ENDS: dict[str, str] = {
    State.SUCCESS: "ended well",
    State.FAILURE: "failed",
    State.REVOKED: "was cancelled",
    State.IGNORED: "was given up by its task (Ignore)",
}


def _moments(**moments_ms: int) -> dict[str, int]:
    return {name: ms for name, ms in moments_ms.items() if ms}


def _all_runs(entry: Entry | None) -> str:
    n = entry.max_runs if entry is not None else None
    return "its max_runs are" if n is None else "its one run is" if n == 1 else f"its {n:,} runs are"


def _run(run: Run) -> str:
    return f"run {run.id}"


def _began(run: Run, facts: Facts) -> str:
    entry, late_ms = facts.entry, run.started_ms - run.due_ms
    is_put_off = entry is not None and bool(entry.jitter_ms or entry.countdown_ms)
    late = f" ({_span(late_ms)} {'after its due time' if is_put_off else 'late'})" if late_ms > 0 else ""
    worker = f" on worker {run.worker}" if run.worker else ""
    attempt = f", attempt {run.attempt}" if run.attempt > 1 else ""
    return f"{_short(run.started_ms, facts)}{late}{worker}{attempt}"


def _whose(facts: Facts, verb: str, at_ms: int) -> str:
    return _by(next((e for e in facts.events if e.verb == verb and abs(e.at_ms - at_ms) <= SECOND_MS), None))


def _by(event: Event | None) -> str:
    return "" if event is None else _said(event.by, event.reason)


def _said(by: str, reason: str) -> str:
    return (f" by {by}" if by else "") + (f": {reason.rstrip('.')}" if reason else "")


def _span(ms: int) -> str:
    """A length of time in words that are short: ``12ms``, ``1.226s``, ``1h30m``."""
    if ms < SECOND_MS:
        return f"{ms}ms"
    return f"{ms / SECOND_MS:g}s" if ms < 60 * SECOND_MS else format_duration(ms // SECOND_MS * SECOND_MS)


def _full(ms: int, tz: tzinfo) -> str:
    seconds, rest = divmod(ms, SECOND_MS)
    moment = datetime.fromtimestamp(seconds, tz)
    return f"{moment:%Y-%m-%d %H:%M:%S}{_fraction(rest)} {_zone(moment)}"


def _short(ms: int, facts: Facts) -> str:
    """*ms* without its day and zone where they are those of the due time."""
    seconds, rest = divmod(ms, SECOND_MS)
    moment = datetime.fromtimestamp(seconds, facts.tz)
    due = datetime.fromtimestamp(facts.due_ms / SECOND_MS, facts.tz)
    if moment.date() == due.date() and moment.utcoffset() == due.utcoffset():
        return f"{moment:%H:%M:%S}{_fraction(rest)}"
    return _full(ms, facts.tz)


def _fraction(rest_ms: int) -> str:
    return f".{rest_ms:03d}" if rest_ms else ""


def _zone(moment: datetime) -> str:
    name = moment.tzname() or ""
    return f"UTC{name}" if name[:1] in {"+", "-"} else name


def due_times_near(schedule: Schedule, asked_ms: int, now_ms: int) -> int | None:
    """The due time that somebody means who asks for *asked_ms*: the one at or before it; in the future, at or after it."""
    if asked_ms > now_ms:
        return schedule.next_ms(asked_ms - 1)
    return schedule.previous_ms(asked_ms + 1)
