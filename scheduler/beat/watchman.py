"""
Looks after the entries that somebody wants to be told about, and after the service itself. Every beat has one, followers too: a
leader that is dead or hangs is just what must be noticed.

    look ─▶ what changed? ─▶ how did runs go? ─▶ judge ─▶ raise / over, by compare-and-set ─▶ the courier sends it

It keeps what the entries say, follows the registry by its revision, and asks at each look only how their runs went: a look costs
what is watched, not what is declared. Nothing here is needed to fire; a watchman that fails costs an alert, never a fire.

After a time without sight (this beat has just started, Redis was away, its clock has jumped) nothing is called late at once: what
was missed is only now being made up for. That Redis is away cannot be told through Redis: then each beat tells by itself.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from scheduler.alarm import (
    BY_US,
    Alert,
    Finding,
    Kind,
    Ripe,
    Watched,
    alert_field,
    judge,
    pause_reason,
    read_health,
    ripe,
    shown_span_ms,
    wants_pause,
    watched,
    why_over,
    words,
    words_over,
)
from scheduler.log import event
from scheduler.store import Store
from scheduler.store.alerts import JudgedBy, News
from scheduler.timing.duration import format_duration
from scheduler.wire import new_id

CHUNK = 500
"""So many entries are asked for at once."""
ENTRIES_MAX = 5_000
"""So many entries are judged at a look; more take turns."""
BLIND_S = 30.0
"""Sight that is lost for less long counts as never lost."""
PATIENCE_MS_MAX = 300_000
"""After a time without sight nothing is called late for `alert_after`, and for this at most."""

log = logging.getLogger("scheduler.beat")


class _Kept(NamedTuple):
    """
    An entry that is looked after.

    Attributes:
        pause: As it stands on Redis.
        due: Which due time must have seen a success.
        well: How its runs had gone when it was found to be well. As long as that is so and `due` holds, it still is.
    """

    one: Watched
    pause: bytes
    due: Ripe
    well: bytes | None = None


class Watchman:
    """
    Looks after the entries for one beat. Used by one thread.

    Args:
        name: The beat's.
        hooks: Who is told.
        outage_ms: How long there may be no leader, or no Redis. 0: for ever.
        raised: Called when there is something to send.
        tell_alone: Sends an alert without Redis.
    """

    def __init__(
        self,
        store: Store,
        *,
        name: str,
        hooks: Sequence[str],
        outage_ms: int,
        raised: Callable[[], None],
        tell_alone: Callable[[Alert], None],
    ) -> None:
        self._store = store
        self._alerts = store.alerts
        self._name = name
        self._hooks = tuple(hooks)
        self._outage_ms = outage_ms
        self._raised = raised
        self._tell_alone = tell_alone
        self._kept: dict[str, _Kept] = {}
        self._foreign: set[str] = set()
        self._turns: list[str] = []
        self._open: dict[str, Alert] = {}
        self._revision = -1
        self._changes = -1
        self._seeing_since_ms = 0
        self._seen_ms = 0
        self._seen_mono_s = 0.0
        self._blind_since_mono_s: float | None = time.monotonic()
        self._alone: Alert | None = None

    def look(self) -> None:
        """One look. Raises `StoreError`: then call `blind`."""
        news = self._alerts.news()
        self._see(news)
        self._follow(news)
        if news.changes != self._changes:
            self._open = {alert.field: alert for alert in self._alerts.open()}
            self._changes = news.changes
            self._tell_unheard()
        self._judge_service(news)
        names = self._next_names()
        for start in range(0, len(names), CHUNK):
            self._judge_entries(names[start : start + CHUNK], news.now_ms)

    def blind(self, error: Exception) -> None:
        """Redis could not be asked, because of *error*. If that lasts, it is told without it, once."""
        now_mono_s = time.monotonic()
        if self._blind_since_mono_s is None:
            self._blind_since_mono_s = now_mono_s
        away_ms = int((now_mono_s - self._blind_since_mono_s) * 1000)
        if not self._outage_ms or away_ms < self._outage_ms or self._alone is not None:
            return
        text = (
            f"beat {self._name} has not been able to work with Redis for {format_duration(shown_span_ms(away_ms))}: {error}. "
            "What stands on Redis waits; what is due meanwhile is late, or missed"
        )
        at_ms = int(self._seen_ms + (now_mono_s - self._seen_mono_s) * 1000) if self._seen_ms else 0
        self._alone = Alert(
            id=new_id(), kind=Kind.NO_REDIS, text=text, by=self._name, at_ms=at_ms or int(time.time() * 1000)
        )
        event(log, "alert.raised", level=logging.WARNING, kind=Kind.NO_REDIS, text=text)
        self._tell_alone(self._alone)

    def _see(self, news: News) -> None:
        """Redis answers. Since when do we see, without a gap that would excuse what is late?"""
        now_mono_s = time.monotonic()
        passed_ms = news.now_ms - self._seen_ms - (now_mono_s - self._seen_mono_s) * 1000
        gap_s = now_mono_s - self._seen_mono_s
        if not self._seen_ms or gap_s > BLIND_S or abs(passed_ms) > BLIND_S * 1000:
            self._seeing_since_ms = news.now_ms
        self._seen_ms, self._seen_mono_s = news.now_ms, now_mono_s
        self._blind_since_mono_s = None
        if self._alone is not None:
            alert, self._alone = self._alone, None
            over = _over(alert, "it answers again", news.now_ms)
            event(log, "alert.over", kind=alert.kind, text=over.text)
            self._tell_alone(over)
            if self._alerts.settle(alert, ()):  # for the log
                self._alerts.settle(over, (), seen=alert)

    # ── what is to be looked at ─────────────────────────────────────────────────────────────────────────────────────

    def _follow(self, news: News) -> None:
        if self._revision < 0 or news.revision < self._revision:
            # The first look, or Redis has lost what we knew.
            self._kept.clear()
            self._turns.clear()
            self._foreign.clear()
            revision, self._revision, self._changes = news.revision, -1, -1
            names = self._alerts.watched()
            for start in range(0, len(names), CHUNK):
                self._read(names[start : start + CHUNK])
            self._revision = revision
        while self._revision < news.revision:
            revision, names = self._alerts.changed(self._revision)
            self._read(names)
            self._revision = revision

    def _read(self, names: Sequence[str]) -> None:
        since = self._alerts.since(names)
        found = {entry.name: entry for entry in self._store.registry.stored(list(since))}
        for name in names:
            entry = found.get(name)
            record = None if entry is None else entry.record()
            one = None if record is None else watched(record, since[name])
            # One that only a newer version can read is for its beats to look after; it has not gone.
            if record is not None and record.entry is not None and not record.entry.is_readable:
                self._foreign.add(name)
            else:
                self._foreign.discard(name)
            if entry is None or one is None:
                self._kept.pop(name, None)
            else:
                self._kept[name] = _Kept(one, entry.pause or b"", _UNRIPE)

    def _next_names(self) -> list[str]:
        """Whose turn it is; those with an open alert always."""
        if len(self._kept) <= ENTRIES_MAX:
            return list({*self._kept, *(alert.entry for alert in self._open.values() if alert.entry)})
        if not self._turns:
            self._turns = list(self._kept)
        turn, self._turns = self._turns[:ENTRIES_MAX], self._turns[ENTRIES_MAX:]
        return list({*turn, *(alert.entry for alert in self._open.values() if alert.entry)})

    # ── judging ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def _judge_entries(self, names: Sequence[str], now_ms: int) -> None:
        for name, last in zip(names, self._alerts.lasts(names), strict=True):
            kept = self._kept.get(name)
            # Most are well, and nothing has happened since: this is all that they cost.
            if kept is not None and kept.well == last and kept.due.from_ms <= now_ms < kept.due.until_ms:
                continue
            if name not in self._foreign:
                self._judge(name, kept, last, now_ms)

    def _judge(self, name: str, kept: _Kept | None, last: bytes, now_ms: int) -> None:
        health = read_health(last)
        is_open = False
        for kind in _OF_ENTRIES:
            alert = self._open.get(alert_field(kind, name))
            if alert is None:
                continue
            is_open = True
            if why := why_over(alert, None if kept is None else kept.one, health, now_ms):
                self._say_over(alert, why, now_ms)
        if kept is None:
            return
        one, due = kept.one, kept.due
        if not due.from_ms <= now_ms < due.until_ms:
            due = ripe(one, now_ms)
        promoted = self._alerts.promoted(name) if one.entry.max_runs is not None else None
        findings = judge(one, health, due, now_ms, promoted)
        is_well = not (findings or is_open or one.pause or promoted)
        self._kept[name] = kept._replace(due=due, well=last if is_well else None)
        for finding in findings:
            if alert_field(finding.kind, name) in self._open:
                continue
            if finding.kind is Kind.LATE and now_ms < self._patient_until_ms(one):
                continue
            self._raise(finding, kept, last, now_ms)
        if wants_pause(one, health, now_ms):
            self._pause(name)

    def _patient_until_ms(self, one: Watched) -> int:
        assert one.watch.alert_after_ms is not None
        return self._seeing_since_ms + min(one.watch.alert_after_ms, PATIENCE_MS_MAX)

    def _tell_unheard(self) -> None:
        """Tell our hooks of what a beat has raised whose settings name none: it would reach nobody."""
        unheard = [alert for alert in self._open.values() if not alert.hooks] if self._hooks else []
        for alert in unheard:
            if self._alerts.settle(alert, self._hooks, seen=alert):
                self._raised()
            self._changes = -1

    def _judge_service(self, news: News) -> None:
        if not self._outage_ms:
            return
        seen_ms = news.now_ms - self._seeing_since_ms
        silent_ms = seen_ms if news.silent_ms is None else min(news.silent_ms, seen_ms)
        alert = self._open.get(alert_field(Kind.LEADERLESS))
        if alert is None and silent_ms > self._outage_ms:
            last = f"; the last one was {news.leader}, term {news.term}" if news.leader else ""
            text = (
                f"no beat has led for {format_duration(shown_span_ms(silent_ms))}{last}. What is armed fires, nothing more is armed: "
                "see `sched status`"
            )
            alert = Alert(id=new_id(), kind=Kind.LEADERLESS, text=text, by=self._name, at_ms=news.now_ms)
            # Before the first term there is nothing that could be compared.
            self._settle(alert, None, JudgedBy(term=news.term) if news.term else JudgedBy())
        elif alert is not None and news.leader and (news.silent_ms or 0) < self._outage_ms:
            self._say_over(alert, f"{news.leader} leads, term {news.term}", news.now_ms)

    # ── what follows ────────────────────────────────────────────────────────────────────────────────────────────────

    def _raise(self, finding: Finding, kept: _Kept, last: bytes, now_ms: int) -> None:
        name, health = kept.one.entry.name, read_health(last)
        error = self._alerts.last_error(name) if health.failures else ""
        alert = Alert(
            id=new_id(), kind=finding.kind, entry=name, text=words(finding, kept.one, health, error),
            due_ms=finding.due_ms, failures=finding.failures, error=error, by=self._name, at_ms=now_ms,
        )  # fmt: skip
        self._settle(alert, None, JudgedBy(last=last, pause=kept.pause))

    def _say_over(self, alert: Alert, why: str, now_ms: int) -> None:
        self._settle(_over(alert, why, now_ms), alert, JudgedBy())

    def _settle(self, alert: Alert, seen: Alert | None, judged_by: JudgedBy) -> None:
        """Raise *alert*, or say that it is over; another beat may have been faster, then it is known at the next look."""
        told = self._alerts.settle(alert, self._hooks, seen=seen, judged_by=judged_by)
        if told is None:
            self._changes = -1
            return
        if seen is None:
            self._open[alert.field] = told
            event(
                log, "alert.raised", level=logging.WARNING, kind=alert.kind, entry=alert.entry or None, text=alert.text
            )
        else:
            self._open.pop(alert.field, None)
            event(log, "alert.over", kind=alert.kind, entry=alert.entry or None, text=alert.text)
        self._raised()

    def _pause(self, name: str) -> None:
        """Pause an entry that keeps failing: only as it stands now, so that nobody's resume is undone."""
        record = self._store.registry.state(name)
        health = read_health(self._alerts.lasts([name])[0])
        one = watched(record, 0)
        if one is None or not wants_pause(one, health, self._seen_ms):
            return
        reason = pause_reason(health)
        if self._store.registry.pause_as_it_stands(record, reason=reason, by=BY_US):
            event(log, "entry.paused", level=logging.WARNING, entry=name, reason=reason)


def _over(alert: Alert, why: str, now_ms: int) -> Alert:
    """*alert*, over."""
    return Alert(
        id=alert.id, kind=alert.kind, entry=alert.entry, text=words_over(alert, why, now_ms), due_ms=alert.due_ms,
        by=alert.by, at_ms=alert.at_ms, over_ms=max(now_ms, 1),
    )  # fmt: skip


_UNRIPE = Ripe(0, 0, 0)
_OF_ENTRIES = (Kind.LATE, Kind.FAILING, Kind.PAUSED)
