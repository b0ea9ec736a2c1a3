"""
What is wrong with an entry, and when it is over. Pure: it is handed what is known, and the time.

    well ──late, failing, paused by us──▶ raised, once ──a success, a resume, nobody wants to know──▶ over, told once

A run that has failed for good (its retries are used up, or its worker died too often) is a failure. One that succeeded, or was
ignored by its own wish, is a success. One that expired or was cancelled is neither: the count of failures in a row stays.

An entry is late when a due time has seen no success, of its own run or of a later one, for as long as `alert_after` says;
whatever became of the run: it failed, was skipped, waits, or never came. Due times that somebody ordered to be skipped do not
count, nor do those from before the entry came into force, or lie in a pause.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple
from urllib.parse import urlsplit, urlunsplit
from uuid import NAMESPACE_OID, UUID, uuid5

import msgspec

from scheduler.errors import ScheduleError
from scheduler.fires import schedule_of
from scheduler.model import Entry, EntryRecord, Pause, Watch
from scheduler.timing import Schedule
from scheduler.timing.duration import format_duration
from scheduler.timing.zones import get_zone

BY_US = "steadybeat"
"""Who pauses an entry that keeps failing."""

FOREVER_MS = 2**53
RESENT_MS_MAX = 300_000
"""So long at most until an address that does not answer is tried again."""


class Kind(StrEnum):
    """What an alert is about."""

    LATE = "late"
    FAILING = "failing"
    PAUSED = "paused"
    LEADERLESS = "leaderless"
    NO_REDIS = "no_redis"
    TEST = "test"


class Alert(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """
    That something is wrong, or (`over_ms`) was.

    Attributes:
        id: Of this alert; that it is over is told under the same one.
        entry: Empty where it concerns the service.
        text: A sentence for people.
        due_ms: Of one that is late: the due time that has seen no success.
        failures: So many in a row.
        error: What its last failed run said.
        by: The beat that noticed.
        at_ms: When it was raised, by Redis' clock.
        over_ms: When it was over.
        hooks: How many hooks were told that it was raised.
    """

    id: str
    kind: str
    text: str
    entry: str = ""
    due_ms: int = 0
    failures: int = 0
    error: str = ""
    by: str = ""
    at_ms: int = 0
    over_ms: int = 0
    hooks: int = 0

    @property
    def field(self) -> str:
        """What it is about: of these, one is open at a time."""
        return alert_field(self.kind, self.entry)


class Ping(msgspec.Struct, frozen=True, omit_defaults=True):
    """That a run has started, succeeded or failed (``what``: start, success, fail), for whoever is pinged. Lua writes these."""

    what: str
    id: str
    at_ms: int
    error: str = ""


def ping_address(url: str, ping: Ping) -> str:
    """Where *ping* goes, as healthchecks has it: ``URL/start``, ``URL``, ``URL/fail``, each with ``rid``, the run as a UUID."""
    parts = urlsplit(url)
    path = parts.path if ping.what == "success" else f"{parts.path.rstrip('/')}/{ping.what}"
    try:
        run = UUID(ping.id)
    except ValueError:
        run = uuid5(NAMESPACE_OID, ping.id)
    query = f"{parts.query}&rid={run}" if parts.query else f"rid={run}"
    return urlunsplit((parts.scheme, parts.netloc, path, query, ""))


def alert_field(kind: str, entry: str = "") -> str:
    """The name under which an open alert stands on Redis."""
    return f"{kind} {entry}".rstrip()


class Health(NamedTuple):
    """
    How the runs of an entry went, as `end.lua` keeps it.

    Attributes:
        state: How its last run ended.
        ended_ms: When.
        succeeded_ms: The newest due time that has seen a success; a run by hand stands for all that was due when it was asked for.
        failures: So many have failed since the last success.
    """

    state: str = ""
    ended_ms: int = 0
    succeeded_ms: int = 0
    failures: int = 0


def read_health(data: bytes) -> Health:
    """What stands in `{ns}:last` of one entry, empty if nothing does; older versions wrote only the first two words."""
    if not data:
        return UNKNOWN
    state, *numbers = data.decode().split(" ")
    return Health(state, *map(int, numbers))


UNKNOWN = Health()
"""It never ran."""


class Watched(NamedTuple):
    """
    An entry that somebody wants to be told about.

    Attributes:
        schedule: None if this version cannot compute it: then it is never late.
        since_ms: Due times after this are looked at.
        skipped_ms: Due times that somebody has ordered to be skipped.
    """

    entry: Entry
    watch: Watch
    schedule: Schedule | None
    since_ms: int
    pause: Pause | None
    skipped_ms: Collection[int] = ()

    def is_paused(self, now_ms: int) -> bool:
        """Whether it is, at *now_ms*: a pause with an end is over by itself, though nobody has noted that yet."""
        return self.pause is not None and (self.pause.until_ms is None or self.pause.until_ms > now_ms)


def watched(record: EntryRecord, since_ms: int) -> Watched | None:
    """What is to be looked at of *record*, or None if nobody wants to know of it."""
    entry = record.entry
    if entry is None or entry.watch is None or not entry.enabled:
        return None
    try:
        schedule = schedule_of(entry) if entry.watch.alert_after_ms is not None else None
    except ScheduleError:
        schedule = None
    if record.pause is not None and record.pause.until_ms is not None:
        since_ms = max(since_ms, record.pause.until_ms - 1)
    return Watched(
        entry, entry.watch, schedule, since_ms, record.pause, frozenset(order.due_ms for order in record.skips)
    )


class Ripe(NamedTuple):
    """
    The newest due time that must have seen a success by now, 0 for none; this stays so from `from_ms` until `until_ms`.

    It does not depend on how runs went, so it need not be worked out at every look.
    """

    due_ms: int
    from_ms: int
    until_ms: int


def ripe(one: Watched, now_ms: int) -> Ripe:
    """See `Ripe`."""
    after_ms, schedule, entry = one.watch.alert_after_ms, one.schedule, one.entry
    if after_ms is None or schedule is None:
        return Ripe(0, now_ms, FOREVER_MS)
    limit_ms = now_ms - after_ms
    try:
        next_ms = schedule.next_ms(limit_ms)
        last_ms = limit_ms if entry.until_ms is None else min(limit_ms, entry.until_ms)
        due_ms = schedule.previous_ms(last_ms + 1)
        while due_ms is not None and due_ms in one.skipped_ms:
            due_ms = schedule.previous_ms(due_ms)
    except ScheduleError:
        return Ripe(0, now_ms, FOREVER_MS)
    until_ms = FOREVER_MS if next_ms is None else next_ms + after_ms
    if due_ms is None or due_ms <= one.since_ms or (entry.start_ms is not None and due_ms < entry.start_ms):
        due_ms = 0
    return Ripe(due_ms, now_ms, until_ms)


class Promoted(NamedTuple):
    """The last promoted due time of an entry, and how many were."""

    due_ms: int = 0
    times: int = 0


class Finding(NamedTuple):
    """Something that is wrong with an entry."""

    kind: Kind
    due_ms: int = 0
    failures: int = 0


def judge(one: Watched, health: Health, due: Ripe, now_ms: int, promoted: Promoted | None = None) -> list[Finding]:
    """
    What is wrong with *one* at *now_ms*. Of one that is paused, only that it was paused by us.

    Args:
        promoted: Needed only for an entry with `max_runs`: what comes after its last run is no due time any more.
    """
    if one.is_paused(now_ms):
        ours = one.pause is not None and one.pause.by == BY_US and one.watch.pause_failures is not None
        return [Finding(Kind.PAUSED, failures=health.failures)] if ours else []
    found = []
    due_ms, max_runs = due.due_ms, one.entry.max_runs
    if max_runs is not None and promoted is not None and promoted.times >= max_runs:
        due_ms = min(due_ms, promoted.due_ms)
    if due_ms > max(health.succeeded_ms, one.since_ms):
        found.append(Finding(Kind.LATE, due_ms=due_ms))
    if one.watch.alert_failures is not None and health.failures >= one.watch.alert_failures:
        found.append(Finding(Kind.FAILING, failures=health.failures))
    return found


def wants_pause(one: Watched, health: Health, now_ms: int) -> bool:
    """Whether *one* has failed so often in a row that it is to be paused."""
    limit = one.watch.pause_failures
    return limit is not None and health.failures >= limit and not one.is_paused(now_ms)


def why_over(alert: Alert, one: Watched | None, health: Health, now_ms: int) -> str:
    """Why *alert* is over, or nothing while it is not. While its entry is paused, nobody can tell: it stays as it is."""
    if one is None or not _is_wanted(alert, one.watch):
        return "nobody looks after it any more"
    if alert.kind == Kind.PAUSED:
        if one.pause is None or not one.is_paused(now_ms):
            return "it was resumed"
        return "" if one.pause.by == BY_US else f"{one.pause.by or 'somebody'} has paused it instead"
    if one.is_paused(now_ms):
        return ""
    if alert.kind == Kind.LATE:
        return "it has succeeded" if health.succeeded_ms >= alert.due_ms else ""
    limit = one.watch.alert_failures
    if limit is not None and health.failures >= limit:
        return ""
    return "it has succeeded" if health.state in ("SUCCESS", "IGNORED") else "its failures are counted anew"


def _is_wanted(alert: Alert, watch: Watch) -> bool:
    wanted = {
        Kind.LATE: watch.alert_after_ms, Kind.FAILING: watch.alert_failures, Kind.PAUSED: watch.pause_failures,
    }  # fmt: skip
    return wanted.get(Kind(alert.kind)) is not None


# ── in words ────────────────────────────────────────────────────────────────────────────────────────────────────────


def words(finding: Finding, one: Watched, health: Health, error: str) -> str:
    """*finding* in a sentence, with what its last failed run said."""
    name, said = one.entry.name, f": {error}" if error else ""
    if finding.kind is Kind.LATE:
        assert one.watch.alert_after_ms is not None
        zone = (one.schedule.zone if one.schedule else None) or "UTC"
        return (
            f"{name} is late: it was due {moment(finding.due_ms, zone)} and has not succeeded within "
            f"{format_duration(one.watch.alert_after_ms)}{_last_run(health, error, zone)}"
        )
    times = "once" if finding.failures == 1 else f"{finding.failures} times in a row"
    if finding.kind is Kind.FAILING:
        return f"{name} has failed {times}{said}"
    return f"{name} was paused, as it has failed {times}{said}; `sched resume {name}` lets it go on"


def _last_run(health: Health, error: str, zone: str) -> str:
    if not health.state:
        return "; it has not run yet"
    said = f" ({error})" if error and health.failures else ""
    return f"; its last run ended {moment(health.ended_ms, zone)} as {health.state}{said}"


def words_over(alert: Alert, why: str, now_ms: int) -> str:
    """That *alert* is over, and *why*, in a sentence."""
    about = alert.entry or "the service"
    after = format_duration(shown_span_ms(now_ms - alert.at_ms))
    return f"{about} is no longer {_STATES[Kind(alert.kind)]}, {after} after this was told: {why}"


_STATES = {
    Kind.LATE: "late",
    Kind.FAILING: "failing",
    Kind.PAUSED: "paused by its failures",
    Kind.LEADERLESS: "without a leader",
    Kind.NO_REDIS: "without Redis",
    Kind.TEST: "tested",
}


def moment(ms: int, zone: str) -> str:
    """A moment as people read it."""
    seconds, rest = divmod(ms, 1000)
    local = datetime.fromtimestamp(seconds, get_zone(zone))
    return f"{local:%a %Y-%m-%d %H:%M:%S}{f'.{rest:03d}' if rest else ''} {local:%Z}"


def shown_span_ms(ms: int) -> int:
    """A span without what nobody wants to read: whole seconds from one second on."""
    return ms // 1000 * 1000 if ms >= 1000 else max(0, ms)


def pause_reason(health: Health) -> str:
    """Why we pause an entry."""
    return "1 failure" if health.failures == 1 else f"{health.failures} failures in a row"


def resend_ms(failures: int) -> int:
    """How long to wait after so many failed tries in a row: 2 s, 4 s, 8 s, … `RESENT_MS_MAX`."""
    return min(RESENT_MS_MAX, 1000 << min(failures, 20))
