"""
APScheduler's triggers as schedules.

A trigger is an object that answers one question: when next? Only a process that has the object can ask it, and the leader has
not. So it is asked when the files are loaded, and its answers travel as a `Table` (ADR 0004). An interval and a date are
mere arithmetic, and become schedules of ours, which need no table.
"""

from __future__ import annotations

import copy
import re
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple

from apscheduler.triggers.base import BaseTrigger
from apscheduler.triggers.calendarinterval import CalendarIntervalTrigger
from apscheduler.triggers.combining import AndTrigger, BaseCombiningTrigger, OrTrigger
from apscheduler.triggers.cron import CronTrigger
from apscheduler.triggers.date import DateTrigger
from apscheduler.triggers.interval import IntervalTrigger
from tzlocal import get_localzone_name

from scheduler.clock import now_ms as clock_now_ms
from scheduler.errors import InvalidScheduleError
from scheduler.timing.base import EPOCH, MILLISECOND, UTC_S_MIN, Schedule
from scheduler.timing.duration import format_duration
from scheduler.timing.every import every
from scheduler.timing.once import once
from scheduler.timing.settling import Settling
from scheduler.timing.table import DAY_MS, FIRES_MAX, TEXT_CHARS_MAX, Table, encode_fires
from scheduler.timing.wording import shown
from scheduler.timing.zones import zone_name, zone_table

AHEAD_MS: Final = 400 * DAY_MS
"""So far ahead a trigger is asked, and one fire farther."""
BACK_MS_MAX: Final = 7 * DAY_MS
"""So far back: what was missed while no beat lived is found in the table."""
PAST_SHARE: Final = 4
"""And by this part of what is known ahead at most."""
BACK_FIRES_MAX: Final = FIRES_MAX // 4
AHEAD_FIRES_MAX: Final = FIRES_MAX - BACK_FIRES_MAX
ALIKE_FIRES: Final = 50
"""So many fires are asked for twice, from two starts, to see whether the answers depend on the start."""

STALE_COUNT_MAX: Final = 100_000
"""A trigger may ignore from when on it is asked, and begin at its own start."""
STILL_COUNT_MAX: Final = 100
STILL_MS_MAX: Final = 3 * 3_600_000
"""At a change of clocks APScheduler's own triggers answer an instant twice, or one shortly before the last."""

DECLARING_MS_MAX: Final = 120_000
"""An interval that began so shortly before it was declared was given no start by its author, and has taken the present."""

_ADDRESS: Final = re.compile(r" (?:object )?at 0x[0-9a-fA-F]+")
_START_DATE: Final = re.compile(r"start_date='[^']*', ")


def as_schedule(value: object) -> Schedule | None:
    """Return *value* as a schedule: ours as they are, APScheduler's triggers wrapped. None for anything else."""
    if isinstance(value, Schedule):
        return value
    return TriggerSchedule(value, declared_ms=clock_now_ms()) if isinstance(value, BaseTrigger) else None


class TriggerSchedule(Schedule):
    """
    A trigger that has not been asked yet. Users hand over the trigger itself.

    It computes by asking, so only where the object is; two are equal if they wrap the same object. It remembers when it was
    declared, since a trigger that was given no start has taken that moment.
    """

    __slots__ = ("_declared_ms", "trigger")

    STEP_COST = 50

    trigger: BaseTrigger
    _declared_ms: int

    def __init__(self, trigger: BaseTrigger, *, declared_ms: int, tz: str | None = None) -> None:
        super().__init__(text=_text(trigger), zone=tz or _zone(trigger), meaning=("trigger", id(trigger)))
        self._set("trigger", trigger)
        self._set("_declared_ms", declared_ms)

    def next_ms(self, after_ms: int) -> int | None:
        return next(iter(_Asking(self.text, self.trigger, after_ms + 1)), None)

    def previous_ms(self, before_ms: int) -> int | None:
        """Return the last fire strictly before *before_ms*, of those within the 400 days before it."""
        for span_ms in (DAY_MS // 24, DAY_MS, 40 * DAY_MS, AHEAD_MS):
            found_ms = None
            for fire_ms in _Asking(self.text, self.trigger, before_ms - span_ms):
                if fire_ms >= before_ms:
                    break
                found_ms = fire_ms
            if found_ms is not None:
                return found_ms
        return None

    def in_zone(self, name: str) -> Schedule:
        if self.zone is not None:
            return self
        return TriggerSchedule(self.trigger, declared_ms=self._declared_ms, tz=zone_name(name))

    def words(self) -> str:
        return self.text

    def as_data(self) -> dict[str, Any]:
        raise InvalidScheduleError(
            f"{self.text}: an APScheduler trigger is an object and cannot travel; only a load of schedule files asks it "
            "for its coming fires, so declare the entry in a schedule file"
        )

    def parted(self) -> tuple[Schedule, int]:
        jitter_s = _jitter_s(self.trigger)
        if not jitter_s:
            return self, 0
        plain = TriggerSchedule(_without_jitter(self.trigger), declared_ms=self._declared_ms, tz=self.zone)
        return plain, round(jitter_s * 1000)

    def settled(self, settling: Settling) -> Schedule:
        """
        Ask the trigger, and return its answers.

        1. Jitter, which is random, is left out, and an interval without a start counts from the epoch, as `every` does.
        2. A plain interval, and a single date, is a schedule of ours.
        3. The trigger is asked from now on, then once more from some time ago.
        4. If it says the same of the coming fires both times, its past belongs to them.

        Raises:
            InvalidScheduleError: It hangs, fails, goes back, or answers something else than aware datetimes.
        """
        if note := self._zone_note(settling.timezone):
            settling.notes.append(note)
        if not _says_what_it_is(self.trigger):
            return self._asked(settling)
        question = (repr(self.trigger), self.zone)
        known = settling.patience.answers.get(question)
        if known is None:
            notes_before = len(settling.notes)
            found = self._asked(settling)
            settling.patience.answers[question] = (found, tuple(settling.notes[notes_before:]))
            return found
        settling.notes.extend(known[1])
        return known[0]

    def _zone_note(self, wanted: str | None) -> str:
        """A warning where the trigger has taken the zone of this host, as one that was given none does."""
        if wanted is None or type(self.trigger) is IntervalTrigger:
            return ""
        try:
            host = get_localzone_name()
        except Exception:
            return ""  # It tells no zone, so no trigger has it.
        if self.zone != host or _is_same_clock(host, wanted):
            return ""
        return (
            f"{self.text} computes in {host}, the zone of this host, and the entry's would be {wanted}; give the trigger "
            f"timezone={wanted!r}, or the entry tz={host!r}"
        )

    def _asked(self, settling: Settling) -> Schedule:
        with settling.asking(self.text):
            trigger = _steadied(self.text, self.trigger, self.zone or "UTC", settling, self._declared_ms)
            if type(trigger) is IntervalTrigger and trigger.end_date is None:
                return self._interval(trigger)
            if type(trigger) is DateTrigger:
                return once(trigger.run_date).in_zone(self.zone or "UTC")
            ahead = _Asking(self.text, trigger, settling.now_ms)
            coming_ms = ahead.take(settling.now_ms + AHEAD_MS, AHEAD_FIRES_MAX, settling.patience.ask_s)
            past = _past(self.text, trigger, settling, coming_ms, is_over=ahead.is_over)
        if not past.is_alike:
            settling.notes.append(
                f"{self.text} answers differently when it is asked at another moment, so each load of the files moves its fires"
            )
        past_ms, from_ms = past.fires_ms, past.from_ms
        fires, count = encode_fires(past_ms + coming_ms)
        if count // PAST_SHARE < len(past_ms) and count < len(past_ms) + len(coming_ms):
            # Too irregular for the text to hold them all, and what comes matters more than what was.
            past_ms = past_ms[len(past_ms) - count // PAST_SHARE :]
            from_ms = past_ms[0] - 1 if past_ms else settling.now_ms
            fires, count = encode_fires(past_ms + coming_ms)
        known_ms = (past_ms + coming_ms)[:count]
        is_all = ahead.is_over and len(known_ms) == len(past_ms) + len(coming_ms)
        return Table(
            text=self.text,
            fires=fires,
            from_ms=from_ms,
            until_ms=None if is_all else known_ms[-1],
            tz=self.zone,
        )

    def _interval(self, trigger: Any) -> Schedule:
        try:
            anchor = None if trigger.start_date == EPOCH else trigger.start_date
            found = every(trigger.interval, anchor=anchor)
        except InvalidScheduleError as error:
            raise InvalidScheduleError(f"{self.text}: {error}") from None
        return found.in_zone(self.zone or "UTC")

    def __repr__(self) -> str:
        return f"<schedule of the APScheduler trigger {self.text}>"


class _Asking:
    """
    The answers of a trigger from *from_ms* on, one after the other, as UTC milliseconds that grow.

    Attributes:
        is_over: The trigger has said that there are no more.
    """

    __slots__ = ("_from_ms", "_text", "_trigger", "is_over")

    def __init__(self, text: str, trigger: BaseTrigger, from_ms: int) -> None:
        self._text = text
        self._trigger = trigger
        self._from_ms = max(from_ms, UTC_S_MIN * 1000)
        self.is_over = False

    def take(self, until_ms: int, count_max: int, seconds_max: float) -> list[int]:
        """Return the fires up to *until_ms* and one more; fewer if they are too many, or take too long. At least one."""
        deadline_mono_s = time.monotonic() + seconds_max
        found_ms: list[int] = []
        for fire_ms in self:
            found_ms.append(fire_ms)
            if fire_ms > until_ms or len(found_ms) >= count_max or time.monotonic() > deadline_mono_s:
                break
        return found_ms

    def __iter__(self) -> Iterator[int]:
        previous: datetime | None = None
        last_ms: int | None = None
        stale = still = 0
        now = EPOCH + timedelta(milliseconds=self._from_ms)
        while True:
            answer = self._ask(previous, now)
            if answer is None:
                self.is_over = True
                return
            fire_ms = self._ms(answer)
            if last_ms is not None and fire_ms <= last_ms:
                still += 1
                if still > STILL_COUNT_MAX or last_ms - fire_ms > STILL_MS_MAX:
                    raise InvalidScheduleError(
                        f"{self._text} does not go on: asked for the fire after {previous}, it answers {answer}"
                    )
            elif fire_ms < self._from_ms:
                stale += 1
                if stale > STALE_COUNT_MAX:
                    raise InvalidScheduleError(
                        f"{self._text} answers with more than {STALE_COUNT_MAX:,} fires that are over; "
                        "give it a later start"
                    )
                last_ms = fire_ms
            else:
                yield fire_ms
                still, last_ms = 0, fire_ms
            previous = now = answer

    def _ask(self, previous: datetime | None, now: datetime) -> Any:
        try:
            return self._trigger.get_next_fire_time(previous, now)  # type: ignore[no-untyped-call]
        except Exception as error:
            raise InvalidScheduleError(f"{self._text} fails: {type(error).__name__}: {_line(str(error))}") from error

    def _ms(self, answer: object) -> int:
        if not isinstance(answer, datetime):
            raise InvalidScheduleError(f"{self._text} answers {shown(answer)}; expected an aware datetime or None")
        try:
            if answer.utcoffset() is not None:
                return (answer.astimezone(UTC) - EPOCH) // MILLISECOND
        except Exception as error:
            raise InvalidScheduleError(f"{self._text} answers {answer.replace(tzinfo=None)}: {error}") from error
        raise InvalidScheduleError(f"{self._text} answers {answer}, which is naive; expected an aware datetime")


class _Past(NamedTuple):
    """Fires before now, from where on they are known, and whether what follows them is what the trigger says now."""

    fires_ms: list[int]
    from_ms: int
    is_alike: bool


def _past(text: str, trigger: BaseTrigger, settling: Settling, coming_ms: Sequence[int], *, is_over: bool) -> _Past:
    now_ms = settling.now_ms
    span_ms = BACK_MS_MAX
    if coming_ms and not is_over:
        # A table is renewed when it is half used up, and must not be so from the beginning.
        span_ms = min(span_ms, (coming_ms[-1] - now_ms) // PAST_SHARE)
    deadline_mono_s = time.monotonic() + settling.patience.ask_s
    found_ms: list[int] = []
    again = 0
    # Asked at the very moment of a fire, some answer with it and some with the next one.
    coming_from_ms = coming_ms[0] if coming_ms else now_ms
    for fire_ms in _Asking(text, trigger, now_ms - span_ms):
        if fire_ms < coming_from_ms:
            found_ms.append(fire_ms)
            if len(found_ms) > BACK_FIRES_MAX or time.monotonic() > deadline_mono_s:
                return _Past([], now_ms, is_alike=True)
        elif again == min(ALIKE_FIRES, len(coming_ms)) or fire_ms != coming_ms[again]:
            break
        else:
            again += 1
    return _Past(found_ms, now_ms - span_ms, is_alike=again == min(ALIKE_FIRES, len(coming_ms)))


# ── making a trigger say the same at each load ──────────────────────────────────────────────────────────────────────


def _steadied(text: str, trigger: Any, zone: str, settling: Settling, declared_ms: int) -> BaseTrigger:
    """Return *trigger*, declared at *declared_ms*, without what differs from load to load, as far as that is known of it."""
    if isinstance(trigger, Schedule):
        inner: BaseTrigger = trigger.in_zone(zone).settled(settling)
        return inner
    if jitter_s := _jitter_s(trigger):
        settling.notes.append(
            f"{text}: its jitter of {jitter_s:g} s is random and left out here; give the entry jitter={f'{jitter_s:g}s'!r}, "
            "which is the same for a due time whoever asks"
        )
        trigger = _without_jitter(trigger)
    if _is_plain_combination(trigger):
        return _combined(trigger, [_steadied(text, part, zone, settling, declared_ms) for part in trigger.triggers])
    if type(trigger) is IntervalTrigger and _began_when_declared(trigger, declared_ms):
        settling.notes.append(
            f"{text} was given no start_date, so APScheduler would count from the start of each process; "
            f"it counts from 1970-01-01T00:00Z instead, as every({_period(trigger)!r}) does"
        )
        trigger = copy.copy(trigger)
        trigger.start_date = EPOCH
    if type(trigger) is CronTrigger and any(char.isdigit() for char in _weekdays(trigger)):
        settling.notes.append(
            f"{text}: APScheduler counts weekdays from 0 for Monday, and a crontab from 0 for Sunday; write names, such as mon-fri"
        )
    if type(trigger) is CalendarIntervalTrigger:
        trigger = _dated(text, trigger, declared_ms)
    steady: BaseTrigger = trigger
    return steady


def _says_what_it_is(trigger: Any) -> bool:
    """Whether the text of *trigger* holds all that it computes with, so that two with one text are alike."""
    if _is_plain_combination(trigger):
        return all(_says_what_it_is(part) for part in trigger.triggers)
    return type(trigger) in (CalendarIntervalTrigger, CronTrigger, DateTrigger, IntervalTrigger)


def _is_plain_combination(trigger: BaseTrigger) -> bool:
    """Whether *trigger* is one of APScheduler's own combinations, which copying would take apart."""
    return type(trigger) in (AndTrigger, OrTrigger)


def _combined(like: BaseTrigger, parts: list[BaseTrigger]) -> BaseTrigger:
    kind: Any = OrTrigger if type(like) is OrTrigger else _Both
    made: BaseTrigger = kind(parts)
    return made


class _Both(AndTrigger):
    """
    An `AndTrigger` that goes on after its first fire.

    Told the previous fire, a `CronTrigger` (3.11) never answers with more than the one after it, however far another part is:
    the two look at each other for ever. Told the moment alone, they meet.
    """

    __slots__ = ()

    def get_next_fire_time(self, previous_fire_time: datetime | None, now: datetime) -> Any:
        if previous_fire_time is not None:
            now = previous_fire_time.astimezone(UTC) + timedelta(microseconds=1)
        return super().get_next_fire_time(None, now)  # type: ignore[no-untyped-call]


def _began_when_declared(trigger: Any, declared_ms: int) -> bool:
    """Whether *trigger* begins one interval after it was made, to the microsecond: as if no start had been given."""
    began_ms = (trigger.start_date - trigger.interval - EPOCH) // MILLISECOND
    return bool(trigger.start_date.microsecond) and -1000 <= declared_ms - began_ms <= DECLARING_MS_MAX


def _weekdays(trigger: Any) -> str:
    """Return the weekdays of a `CronTrigger` as they were written; empty if they were not."""
    (field,) = (field for field in trigger.fields if field.name == "day_of_week")
    return "" if field.is_default else str(field)


def _period(trigger: Any) -> str:
    return format_duration(round(trigger.interval_length * 1000))


def _dated(text: str, trigger: Any, declared_ms: int) -> Any:
    """
    Return a calendar interval that does not begin anew each day.

    Raises:
        InvalidScheduleError: It begins today, as one without a start does; tomorrow it would begin tomorrow.
    """
    now = EPOCH + timedelta(milliseconds=declared_ms)
    if trigger.start_date != now.astimezone(trigger.timezone).date() and trigger.start_date != now.astimezone().date():
        return trigger
    days, months = trigger.days + 7 * trigger.weeks, trigger.months + 12 * trigger.years
    if months == 0 and days == 1:
        trigger = copy.copy(trigger)
        trigger.start_date -= BACK_MS_MAX // DAY_MS * timedelta(days=1)
        return trigger
    raise InvalidScheduleError(
        f"{text} begins today, as if it had been given no start_date; then each load would begin anew. Give a start_date "
        "that is not today, such as one interval earlier, or use every(weeks=…), every(months=…)"
    )


def _jitter_s(trigger: BaseTrigger) -> float:
    jitter_s = getattr(trigger, "jitter", None)
    if isinstance(jitter_s, bool) or not isinstance(jitter_s, int | float):
        return 0.0
    return max(0.0, jitter_s)


def _without_jitter(trigger: Any) -> BaseTrigger:
    if _is_plain_combination(trigger):
        return _combined(trigger, trigger.triggers)
    plain = copy.copy(trigger)
    plain.jitter = None
    found: BaseTrigger = plain
    return found


# ── for people ──────────────────────────────────────────────────────────────────────────────────────────────────────


def _text(trigger: BaseTrigger) -> str:
    """Return how *trigger* calls itself, the same in each process; its class where it calls itself nothing."""
    kind = type(trigger)
    if kind.__str__ is object.__str__ and kind.__repr__ is object.__repr__:
        return kind.__name__[:TEXT_CHARS_MAX]
    try:
        # A start that was not given is the day of the load.
        text = _START_DATE.sub("", _ADDRESS.sub("", _line(str(trigger))))
    except Exception:
        text = ""
    return text[:TEXT_CHARS_MAX] or kind.__name__[:TEXT_CHARS_MAX]


def _line(text: str) -> str:
    return " ".join("".join(char if char.isprintable() else " " for char in text[:1000]).split())


def _is_same_clock(one: str, other: str) -> bool:
    """Whether two zones are one, under two names perhaps."""
    return (
        zone_table(one).starts_s == zone_table(other).starts_s
        and zone_table(one).offsets_s == zone_table(other).offsets_s
    )


def _zone(trigger: Any) -> str | None:
    """Return the zone in which *trigger* computes, or None if it does not tell, or its parts disagree."""
    if isinstance(trigger, Schedule):
        return trigger.zone
    if isinstance(trigger, BaseCombiningTrigger):
        zones = {_zone(part) for part in trigger.triggers}
        return zones.pop() if len(zones) == 1 else None
    zone = getattr(trigger, "timezone", None)
    if zone is None:
        zone = getattr(getattr(trigger, "run_date", None), "tzinfo", None)
    try:
        return None if zone is None else zone_name(zone)
    except InvalidScheduleError:
        return None
