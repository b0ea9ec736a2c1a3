"""
Which fires are to be armed. Pure: it is handed the registry and the time, and gives fires.

Entries that share a schedule share a group, and each due time of a group is computed once; a heap over the groups makes a tick
cost what is due, not what is declared. An entry whose mark lies behind its group (it is new, was edited, or was missed during an
outage) *lags*: its due times are settled one by one until it has caught up.

The plan runs ahead of Redis: it counts a fire as armed when it hands it out. Whoever could not arm a batch offers the same batch
again; an entry that changed meanwhile is put again, as it was read.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from itertools import count, islice
from typing import NamedTuple

from scheduler.errors import ScheduleError
from scheduler.fires import COUNT_MAX, FireMaker, Stretch, schedule_of, stretch
from scheduler.model import Catchup, EntryRecord, Fire, OutcomeReason, Skip
from scheduler.timing import Schedule

COUNT_MIN = 100
"""
Every missed stretch is counted exactly up to here, and those of a batch together up to `COUNT_MAX`: a tick must end, however long
we were away.
"""


class Planned:
    """An entry in force, and how far it is armed."""

    __slots__ = ("alive", "from_ms", "group", "lags", "maker", "mark_ms", "name", "revision")

    def __init__(self, record: EntryRecord, maker: FireMaker) -> None:
        self.name = record.name
        self.maker = maker
        self.revision = record.revision
        self.mark_ms = record.mark_ms
        start_ms = maker.entry.start_ms
        self.from_ms = record.mark_ms if start_ms is None else max(record.mark_ms, start_ms - 1)
        """Due times after this are to be armed."""
        self.group: Group | None = None
        self.lags = False
        """It stands in the heap of those that lag."""
        self.alive = True

    @property
    def state(self) -> str:
        """What Redis must hold for the next arm to pass."""
        return f"{self.revision} {self.mark_ms}"


class Group:
    """The entries that share one schedule, and the next due time that the group as a whole has not armed."""

    __slots__ = ("due_ms", "members", "schedule")

    def __init__(self, schedule: Schedule, due_ms: int | None) -> None:
        self.schedule = schedule
        self.due_ms = due_ms
        self.members: dict[str, Planned] = {}


class Batch(NamedTuple):
    """What to arm in one call; skips come before fires."""

    fires: list[Fire]
    skips: list[Skip]

    def __bool__(self) -> bool:
        return bool(self.fires or self.skips)


class Plan:
    """
    The plan of a leader.

    Args:
        namespace: Part of every fire's id.
        horizon_ms: How far ahead fires are armed.
        late_limit_ms: A fire later than this is missed, and the entry's catch-up policy decides.
    """

    def __init__(self, *, namespace: str, horizon_ms: int, late_limit_ms: int) -> None:
        self.horizon_ms = horizon_ms
        self.broken: dict[str, str] = {}
        """Entries whose definition cannot be computed here, and why."""
        self._namespace = namespace
        self._late_limit_ms = late_limit_ms
        self._planned: dict[str, Planned] = {}
        self._groups: dict[Schedule, Group] = {}
        self._due: list[tuple[int, int, Group]] = []
        self._lagging: list[tuple[int, int, Planned]] = []
        self._resumes: list[tuple[int, str, int]] = []
        self._order = count()
        self._emission: Iterator[Fire | Skip] | None = None
        self._stretches: dict[tuple[Schedule, int, int], Stretch] = {}
        self._count_left = COUNT_MAX

    def __len__(self) -> int:
        return len(self._planned)

    @property
    def queues(self) -> set[str]:
        """The queues that entries in force go to."""
        return {planned.maker.entry.queue for planned in self._planned.values()}

    def put(self, record: EntryRecord, now_ms: int) -> None:
        """Take *record* as what is in force under its name from now on."""
        self._drop(record.name)
        entry, pause = record.entry, record.pause
        if entry is None or not entry.enabled:
            return
        if pause is not None:
            if pause.until_ms is not None:
                heapq.heappush(self._resumes, (pause.until_ms, record.name, record.revision))
            return
        try:
            schedule = schedule_of(entry)
            maker = FireMaker(entry, schedule, namespace=self._namespace, late_limit_ms=self._late_limit_ms)
            planned = Planned(record, maker)
            group = self._groups.get(schedule)
            if group is None:
                group = Group(schedule, schedule.next_ms(max(record.mark_ms, now_ms)))
                self._groups[schedule] = group
                self._push(group)
            first_ms = schedule.next_ms(planned.from_ms)
        except ScheduleError as error:
            self.broken[record.name] = str(error)
            return
        planned.group = group
        group.members[record.name] = planned
        self._planned[record.name] = planned
        if first_ms is not None and (group.due_ms is None or first_ms < group.due_ms):
            self._lag(planned, first_ms)
        if group.due_ms is None and first_ms is None:
            self._drop(record.name)

    def take(self, now_ms: int, limit: int) -> Batch:
        """The next fires due within the horizon, at most *limit* with skips; an empty batch when all are armed."""
        if self._emission is None:
            self._emission = self._emit(now_ms)
            self._stretches.clear()
        self._count_left = COUNT_MAX
        items = list(islice(self._emission, limit))
        if len(items) < limit:
            self._emission = None
        return Batch(
            [item for item in items if isinstance(item, Fire)], [item for item in items if isinstance(item, Skip)]
        )

    def next_due_ms(self) -> int | None:
        """The due time that is to be armed next; it is time when it comes within the horizon. 0: a batch was cut short."""
        if self._emission is not None:
            return 0
        heads = [heap[0][0] for heap in (self._due, self._lagging) if heap]
        return min(heads, default=None)

    def resumes(self, now_ms: int) -> list[tuple[str, int]]:
        """The entries whose pause has ended by itself, and when it did."""
        ended = []
        while self._resumes and self._resumes[0][0] <= now_ms:
            until_ms, name, _ = heapq.heappop(self._resumes)
            ended.append((name, until_ms))
        return ended

    def next_resume_ms(self) -> int | None:
        """When the next pause ends by itself."""
        return self._resumes[0][0] if self._resumes else None

    def _emit(self, now_ms: int) -> Iterator[Fire | Skip]:
        arm_until_ms = now_ms + self.horizon_ms
        self._fall_behind(now_ms)
        while self._lagging and self._lagging[0][0] <= arm_until_ms:
            due_ms, _, planned = heapq.heappop(self._lagging)
            planned.lags = False
            if planned.alive:
                yield from self._catch_up(planned, due_ms, now_ms, arm_until_ms)
        while self._due and self._due[0][0] <= arm_until_ms:
            due_ms, _, group = heapq.heappop(self._due)
            if group.due_ms != due_ms:
                continue
            group.due_ms = next_ms = group.schedule.next_ms(due_ms)
            self._push(group)
            for planned in list(group.members.values()):
                if planned.alive and planned.from_ms < due_ms:
                    fire = self._fire(planned, due_ms, next_ms, now_ms)
                    if fire is not None:
                        yield fire

    def _fall_behind(self, now_ms: int) -> None:
        """
        Where a whole group was missed (we were paused, or Redis was away), its members lag: what they missed is a stretch each,
        not fire after fire.
        """
        while self._due and self._due[0][0] < now_ms - self._late_limit_ms:
            due_ms, _, group = heapq.heappop(self._due)
            if group.due_ms != due_ms:
                continue
            group.due_ms = group.schedule.next_ms(now_ms)
            self._push(group)
            for planned in group.members.values():
                if planned.from_ms < due_ms:
                    self._lag(planned, due_ms)

    def _lag(self, planned: Planned, due_ms: int) -> None:
        if not planned.lags:
            planned.lags = True
            heapq.heappush(self._lagging, (due_ms, next(self._order), planned))

    def _catch_up(self, planned: Planned, due_ms: int, now_ms: int, arm_until_ms: int) -> Iterator[Fire | Skip]:
        """What *planned* has not armed between its mark and its group; first what was missed."""
        schedule, group = planned.maker.schedule, planned.group
        yield from self._settle_missed(planned, due_ms, now_ms)
        following = schedule.next_ms(planned.from_ms)
        while following is not None and planned.alive:
            if group is not None and group.due_ms is not None and following >= group.due_ms:
                return
            if following > arm_until_ms:
                self._lag(planned, following)
                return
            due_ms, following = following, schedule.next_ms(following)
            fire = self._fire(planned, due_ms, following, now_ms)
            if fire is not None:
                yield fire

    def _settle_missed(self, planned: Planned, first_ms: int, now_ms: int) -> Iterator[Skip]:
        """
        Give up the due times that were missed and that the catch-up policy does not want.

        Missed is what is older than the late limit. Under `latest` one fire stands for all of them: a due time within the limit
        if there is one, else the newest missed.
        """
        entry, schedule = planned.maker.entry, planned.maker.schedule
        # Jitter puts a fire off by as much at most; whether it is late then, promotion sees.
        limit_ms = now_ms - self._late_limit_ms - entry.countdown_ms - entry.jitter_ms
        if first_ms >= limit_ms:
            return
        give_up_before_ms = limit_ms
        last_ms = now_ms if entry.until_ms is None else min(now_ms, entry.until_ms)
        if entry.catchup is Catchup.ALL:
            give_up_before_ms = min(limit_ms, now_ms - entry.catchup_window_ms)
        elif entry.catchup is Catchup.LATEST:
            newest_ms = schedule.previous_ms(last_ms + 1)
            if newest_ms is not None and newest_ms < limit_ms:
                give_up_before_ms = newest_ms
        missed = self._stretch(schedule, first_ms - 1, min(give_up_before_ms - 1, last_ms))
        if not missed.length:
            return
        yield Skip(planned.name, planned.state, OutcomeReason.MISSED, *missed, missed.to_ms)
        planned.mark_ms = planned.from_ms = missed.to_ms

    def _stretch(self, schedule: Schedule, after_ms: int, until_ms: int) -> Stretch:
        """As `stretch`; entries of one group share the count, and a batch counts so much at most: a tick must end."""
        key = (schedule, after_ms, until_ms)
        found = self._stretches.get(key)
        if found is None:
            found = self._stretches[key] = stretch(
                schedule, after_ms, until_ms, count_max=max(COUNT_MIN, self._count_left)
            )
            self._count_left -= found.length
        return found

    def _fire(self, planned: Planned, due_ms: int, next_ms: int | None, now_ms: int) -> Fire | None:
        entry = planned.maker.entry
        if entry.until_ms is not None and due_ms > entry.until_ms:
            self._drop(planned.name)
            return None
        if entry.until_ms is not None and next_ms is not None and next_ms > entry.until_ms:
            next_ms = None
        fire = planned.maker.fire(due_ms, next_ms, state=planned.state, now_ms=now_ms)
        planned.mark_ms = planned.from_ms = due_ms
        return fire

    def _push(self, group: Group) -> None:
        if group.due_ms is not None:
            heapq.heappush(self._due, (group.due_ms, next(self._order), group))

    def _drop(self, name: str) -> None:
        self.broken.pop(name, None)
        planned = self._planned.pop(name, None)
        if planned is None:
            return
        planned.alive = False
        group = planned.group
        if group is not None:
            del group.members[name]
            if not group.members:
                group.due_ms = None
                del self._groups[group.schedule]
