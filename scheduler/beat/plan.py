"""
Which fires are to be armed. Pure: it is handed the registry and the time, and gives fires.

Entries that share a schedule share a group, and each due time of a group is computed once; a heap over the groups makes a tick
cost what is due, not what is declared. An entry whose mark lies behind its group (it is new, was edited, or was missed during an
outage) *lags*: its due times are settled one by one until it has caught up.

A million entries are kept, so little is kept of each: what they share (schedule, recipe) is shared, the rest stays encoded, and what
is needed to make a fire is put together when the fire is due.

The plan runs ahead of Redis: it counts a fire as armed when it hands it out. Whoever could not arm a batch offers the same batch
again; an entry that changed meanwhile is put again, as it was read.
"""

from __future__ import annotations

import heapq
import struct
from collections.abc import Iterator
from itertools import count, islice
from operator import attrgetter
from typing import Any, NamedTuple

import msgspec

from scheduler.errors import ScheduleError
from scheduler.fires import COUNT_MAX, NO_ARGS, NO_KWARGS, Recipe, Stretch, next_kept_ms, stretch, to_skip
from scheduler.model import Ack, Catchup, EntryRecord, Fire, OutcomeReason, Overlap, Pause, Skip
from scheduler.store.reading import StoredEntry, decode_skips, stored
from scheduler.timing import Schedule, schedule_from_data
from scheduler.wire import decode_entry

COUNT_MIN = 100
"""
Every missed stretch is counted exactly up to here, and those of a batch together up to `COUNT_MAX`: a tick must end, however long
we were away.
"""


SHARED_MAX = 200_000
"""So many distinct schedules are remembered by their text while the registry is read."""
RECIPES_MAX = 10_000


class PlannedEntry(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """
    What a plan looks at in an `Entry`; decoding this costs a third of decoding the whole. The defaults are those of `Entry`.

    What follows `schedule` makes the recipe: all that the message of a fire depends on, except name and arguments.
    """

    name: str
    enabled: bool = True
    args: msgspec.Raw = msgspec.Raw(NO_ARGS)
    kwargs: msgspec.Raw = msgspec.Raw(NO_KWARGS)
    schedule: msgspec.Raw
    task: str
    queue: str
    priority: int = 0
    countdown_ms: int = 0
    jitter_ms: int = 0
    expires_after_ms: int | None = None
    expires_at_ms: int | None = None
    expires_next: bool = False
    overlap: Overlap = Overlap.SKIP
    catchup: Catchup = Catchup.LATEST
    catchup_window_ms: int = 86_400_000
    start_ms: int | None = None
    until_ms: int | None = None
    max_runs: int | None = None
    ack: Ack = Ack.LATE
    ignore_result: bool = False
    result_expires_ms: int = 86_400_000
    run: msgspec.Raw = msgspec.Raw(b"null")
    headers: msgspec.Raw = msgspec.Raw(b"{}")
    unique: str = ""
    watch: msgspec.Raw = msgspec.Raw(b"null")


_OF_ONE = ("name", "enabled", "args", "kwargs", "schedule")
_ENCODED = ("run", "headers", "watch")
_shared = attrgetter(*(name for name in PlannedEntry.__struct_fields__ if name not in {*_OF_ONE, *_ENCODED}))


class Planned(msgspec.Struct, gc=False, eq=False):
    """
    An entry in force, and how far it is armed.

    The garbage collector does not look at these: nothing that they refer to refers back to them.
    """

    name: str
    schedule: Schedule
    recipe: Recipe
    args: bytes
    kwargs: bytes
    revision: int
    mark_ms: int
    from_ms: int
    """Due times after this are to be armed."""
    lags: bool = False
    """It stands in the heap of those that lag."""
    alive: bool = True

    @property
    def state(self) -> str:
        """What Redis must hold for the next arm to pass."""
        return f"{self.revision} {self.mark_ms}"


class Group:
    """
    The entries that share one schedule, and the next due time that the group as a whole has not armed.

    Attributes:
        last_ms: The due time before that one: who has armed it has caught up with the group.
        members: In the order in which they came; those that are not alive any more go when they are the larger part.
    """

    __slots__ = ("due_ms", "last_ms", "living", "members", "schedule")

    def __init__(self, schedule: Schedule, after_ms: int) -> None:
        self.schedule = schedule
        self.due_ms = schedule.next_ms(after_ms)
        self.last_ms = None if self.due_ms is None else schedule.previous_ms(self.due_ms)
        self.members: list[Planned] = []
        self.living = 0

    def add(self, planned: Planned) -> None:
        """Take *planned* in."""
        self.living += 1
        self.members.append(planned)

    def remove_one(self) -> None:
        """Note that one of the members is not alive any more."""
        self.living -= 1
        if len(self.members) > 2 * self.living + 8:
            self.members = [member for member in self.members if member.alive]

    def advance(self, after_ms: int) -> None:
        """Go on to the first due time after *after_ms*."""
        self.last_ms, self.due_ms = self.due_ms, self.schedule.next_ms(after_ms)
        if self.last_ms != after_ms and self.due_ms is not None:
            self.last_ms = self.schedule.previous_ms(self.due_ms)

    def first_missing_ms(self, planned: Planned) -> int | None:
        """The first due time that *planned* has not armed and the group has left behind, None if there is none."""
        if self.due_ms is not None and (self.last_ms is None or planned.from_ms >= self.last_ms):
            return None
        first_ms = self.schedule.next_ms(planned.from_ms)
        return None if first_ms is None or (self.due_ms is not None and first_ms >= self.due_ms) else first_ms


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
        self.behind: list[str] = []
        """Entries that are to be read again before they can be armed, since their due times passed us by. Taken by who reads."""
        self._namespace = namespace
        self._late_limit_ms = late_limit_ms
        self._planned: dict[str, Planned] = {}
        self._schedules: dict[bytes, Schedule] = {}
        self._recipes: dict[Any, Recipe] = {}
        self._groups: dict[Schedule, Group] = {}
        self._due: list[tuple[int, int, Group]] = []
        self._lagging: list[tuple[int, int, Planned]] = []
        self._resumes: list[tuple[int, str, int]] = []
        self._skipped_ms: dict[str, frozenset[int]] = {}
        """Of the few entries of which fires are to be skipped: these."""
        self._order = count()
        self._trusting = True
        self._emission: Iterator[Fire | Skip] | None = None
        self._stretches: dict[tuple[Schedule, int, int], Stretch] = {}
        self._count_left = COUNT_MAX

    def __len__(self) -> int:
        return len(self._planned)

    def put(self, record: EntryRecord, now_ms: int) -> None:
        """Take *record* as what is in force under its name from now on."""
        self.put_stored(stored(record), now_ms)

    def put_stored(self, found: StoredEntry, now_ms: int) -> None:
        """The same, as it stands on Redis. What we know already is only looked at for what it has not armed."""
        known = self._planned.get(found.name)
        if known is not None and self._trusting and _is_as_known(found, known) and found.name not in self._skipped_ms:
            first_ms = self._groups[known.schedule].first_missing_ms(known)
            if first_ms is not None:
                self._lag(known, first_ms)
            return
        self._drop(found.name)
        if found.definition is None:
            return
        revision, mark_ms = (int(part) for part in found.state.split(" "))
        try:
            entry = _decode_planned(found.definition)
            if not entry.enabled:
                return
            if found.pause is not None:
                until_ms = _decode_pause(found.pause).until_ms
                if until_ms is not None:
                    heapq.heappush(self._resumes, (until_ms, found.name, revision))
                return
            from_ms = mark_ms if entry.start_ms is None else max(mark_ms, entry.start_ms - 1)
            schedule = self._schedule(entry)
            planned = Planned(
                found.name, schedule, self._recipe(entry, found.definition), _own(entry.args, NO_ARGS),
                _own(entry.kwargs, NO_KWARGS), revision, mark_ms, from_ms,
            )  # fmt: skip
            group = self._groups.get(schedule)
            if group is None:
                group = Group(schedule, max(mark_ms, now_ms))
            else:
                planned.schedule = group.schedule
            first_ms = group.first_missing_ms(planned)
        except ScheduleError as error:
            self.broken[found.name] = str(error)
            return
        except msgspec.MsgspecError as error:
            self.broken[found.name] = f"a newer version of Steadybeat wrote it, and this one cannot read it: {error}"
            return
        if group.due_ms is None and first_ms is None:
            return  # its schedule is over
        if not group.living:
            self._groups[schedule] = group
            self._push(group)
        group.add(planned)
        self._planned[found.name] = planned
        if found.skips is not None:
            self._skipped_ms[found.name] = frozenset(order.due_ms for order in decode_skips(found.skips))
        if first_ms is not None:
            self._lag(planned, first_ms)

    def settled(self) -> None:
        """The registry has been read: what only helped to read it may go."""
        self._schedules.clear()
        self._trusting = True

    def distrust(self) -> None:
        """Redis has gone back, and may give a revision that we know to something else: until `settled`, nothing counts as known."""
        self._trusting = False

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

    def pass_by(self, now_ms: int) -> None:
        """
        Let the due times up to *now_ms* pass, which somebody else arms: for a beat that stands by.

        When it leads, it reads the whole registry again. Until it has read an entry, its mark is an old one, so that an arm
        by it is refused and the entry is read at once.
        """
        for _, _, planned in self._lagging:
            planned.lags = False
        self._lagging.clear()
        self._resumes.clear()
        while self._due and self._due[0][0] <= now_ms:
            due_ms, _, group = heapq.heappop(self._due)
            if group.due_ms == due_ms:
                group.advance(now_ms)
                self._push(group)

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
            previous_ms = group.last_ms
            group.advance(due_ms)
            next_ms = group.due_ms
            self._push(group)
            members = group.members
            for nth in range(len(members)):
                planned = members[nth]
                if planned.alive and planned.from_ms < due_ms:
                    if previous_ms is not None and planned.from_ms < previous_ms and self._misses(planned, due_ms):
                        continue
                    fire = self._fire(planned, due_ms, next_ms, now_ms)
                    if fire is not None:
                        yield fire

    def _misses(self, planned: Planned, due_ms: int) -> bool:
        """Whether *planned* has not armed something before *due_ms*, as far as we know; then that comes first."""
        first_ms = planned.schedule.next_ms(planned.from_ms)
        if first_ms is None or first_ms >= due_ms:
            return False
        if not planned.lags:
            # Its due times have passed us by: whether somebody has armed them, its mark tells.
            self.behind.append(planned.name)
        return True

    def _fall_behind(self, now_ms: int) -> None:
        """
        Where a whole group was missed (we were paused, or Redis was away), its members lag: what they missed is a stretch each,
        not fire after fire.
        """
        while self._due and self._due[0][0] < now_ms - self._late_limit_ms:
            due_ms, _, group = heapq.heappop(self._due)
            if group.due_ms != due_ms:
                continue
            group.advance(now_ms)
            self._push(group)
            for planned in group.members:
                if not planned.alive:
                    continue
                # One that starts later than the group's due time may have missed what the group leaps over.
                first_ms = due_ms if planned.from_ms < due_ms else group.first_missing_ms(planned)
                if first_ms is not None:
                    self._lag(planned, first_ms)

    def _lag(self, planned: Planned, due_ms: int) -> None:
        if not planned.lags:
            planned.lags = True
            heapq.heappush(self._lagging, (due_ms, next(self._order), planned))

    def _catch_up(self, planned: Planned, due_ms: int, now_ms: int, arm_until_ms: int) -> Iterator[Fire | Skip]:
        """What *planned* has not armed between its mark and its group; first what was missed."""
        schedule, group = planned.schedule, self._groups[planned.schedule]
        yield from self._settle_missed(planned, schedule, due_ms, now_ms)
        following = schedule.next_ms(planned.from_ms)
        while following is not None and planned.alive:
            if group.due_ms is not None and following >= group.due_ms:
                return
            if following > arm_until_ms:
                self._lag(planned, following)
                return
            due_ms, following = following, schedule.next_ms(following)
            fire = self._fire(planned, due_ms, following, now_ms)
            if fire is not None:
                yield fire

    def _settle_missed(self, planned: Planned, schedule: Schedule, first_ms: int, now_ms: int) -> Iterator[Skip]:
        """
        Give up the due times that were missed and that the catch-up policy does not want.

        Missed is what is older than the late limit. Under `latest` one fire stands for all of them: a due time within the limit
        if there is one, else the newest missed.
        """
        entry = planned.recipe
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
            while newest_ms is not None and newest_ms in self._skipped_ms.get(planned.name, ()):
                newest_ms = schedule.previous_ms(newest_ms)
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

    def _fire(self, planned: Planned, due_ms: int, next_ms: int | None, now_ms: int) -> Fire | Skip | None:
        recipe, skipped_ms = planned.recipe, self._skipped_ms.get(planned.name, ())
        if next_ms in skipped_ms:
            next_ms = next_kept_ms(planned.schedule, due_ms, skipped_ms)
        if recipe.until_ms is not None and due_ms > recipe.until_ms:
            self._drop(planned.name)
            return None
        if recipe.until_ms is not None and next_ms is not None and next_ms > recipe.until_ms:
            next_ms = None
        fire: Fire | Skip
        try:
            fire = recipe.fire(
                planned.name, planned.args, planned.kwargs, due_ms, next_ms, state=planned.state, now_ms=now_ms
            )
        except (struct.error, OverflowError) as error:
            # One entry that no message can carry must not keep the others from being armed.
            note = f"no message can carry it: {error}"
            fire = Skip(planned.name, planned.state, OutcomeReason.ERROR, due_ms, due_ms, 1, due_ms, note)
        planned.mark_ms = planned.from_ms = due_ms
        return to_skip(fire) if isinstance(fire, Fire) and due_ms in skipped_ms else fire

    def _push(self, group: Group) -> None:
        if group.due_ms is not None:
            heapq.heappush(self._due, (group.due_ms, next(self._order), group))

    def _drop(self, name: str) -> None:
        self.broken.pop(name, None)
        self._skipped_ms.pop(name, None)
        planned = self._planned.pop(name, None)
        if planned is None:
            return
        planned.alive = False
        group = self._groups[planned.schedule]
        group.remove_one()
        if not group.living:
            group.due_ms = None
            del self._groups[planned.schedule]

    def _schedule(self, entry: PlannedEntry) -> Schedule:
        """Its schedule; read once for all entries that have the same."""
        data = bytes(entry.schedule)
        schedule = self._schedules.get(data)
        if schedule is None:
            schedule = schedule_from_data(msgspec.json.decode(data))
            if len(self._schedules) < SHARED_MAX:
                self._schedules[data] = schedule
        return schedule.for_entry(entry.name)

    def _recipe(self, entry: PlannedEntry, definition: bytes) -> Recipe:
        """What its fires are made by; one for all entries that differ in nothing else."""
        # Of its watch, a message says only whether there is somebody to be pinged.
        key = (_shared(entry), bytes(entry.run), bytes(entry.headers), b'"ping_url"' in bytes(entry.watch))
        recipe = self._recipes.get(key)
        if recipe is None:
            recipe = Recipe(decode_entry(definition), namespace=self._namespace, late_limit_ms=self._late_limit_ms)
            if len(self._recipes) >= RECIPES_MAX:
                self._recipes.clear()
            self._recipes[key] = recipe
        return recipe


def _is_as_known(found: StoredEntry, known: Planned) -> bool:
    """Whether *found* says of an entry in force what is *known*; the revision grows with all that matters here."""
    is_plain = found.definition is not None and found.pause is None and found.skips is None
    return is_plain and found.state == known.state


def _own(data: msgspec.Raw, usual: bytes) -> bytes:
    """A copy of *data*, which is a part of something larger."""
    own = bytes(data)
    return usual if own == usual else own


_decode_planned = msgspec.json.Decoder(PlannedEntry).decode
_decode_pause = msgspec.json.Decoder(Pause).decode
