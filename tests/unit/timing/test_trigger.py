"""APScheduler's triggers as entries' schedules: asked ahead, bounded, and the same at each load."""

# ruff: noqa: ARG005 - users' triggers as lambdas

from __future__ import annotations

import random
import signal
import threading
import time
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from apscheduler.triggers.base import BaseTrigger
from apscheduler.triggers.calendarinterval import CalendarIntervalTrigger
from apscheduler.triggers.combining import AndTrigger, OrTrigger
from apscheduler.triggers.cron import CronTrigger
from apscheduler.triggers.date import DateTrigger
from apscheduler.triggers.interval import IntervalTrigger

from scheduler.errors import InvalidScheduleError
from scheduler.timing import Schedule, crontab, every, once, schedule_from_data, settling
from scheduler.timing.settling import Patience, Settling
from scheduler.timing.table import FIRES_MAX, Table, decode_fires, renew_at_ms, renews
from scheduler.timing.trigger import as_schedule

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
NOW = datetime(2026, 11, 21, 7, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)
NEW_YORK = "America/New_York"


class Odd(BaseTrigger):
    """A user's own trigger, which answers what *answer* says."""

    def __init__(self, answer: Callable[[datetime | None, datetime], Any]) -> None:
        self._answer = answer

    def get_next_fire_time(self, previous_fire_time: datetime | None, now: datetime) -> Any:
        """As APScheduler asks it."""
        return self._answer(previous_fire_time, now)


def ms(moment: datetime) -> int:
    """*moment* in UTC milliseconds."""
    return (moment - EPOCH) // timedelta(milliseconds=1)


def settle(trigger: BaseTrigger, now: datetime = NOW, *, zone: str = "UTC") -> tuple[Schedule, list[str]]:
    """What a load at *now* makes of *trigger*, and the warnings."""
    asked = as_schedule(trigger)
    assert asked is not None
    notes: list[str] = []
    return asked.in_zone(zone).settled(Settling(ms(now), Patience(), notes, zone)), notes


def fires(trigger: BaseTrigger, n: int, start: datetime = NOW) -> list[datetime]:
    """What APScheduler itself would do: its scheduler asks for each fire after the last."""
    found: list[datetime] = []
    at = trigger.get_next_fire_time(None, start)
    while at is not None and len(found) < n:
        found.append(at.astimezone(UTC))
        at = trigger.get_next_fire_time(at, at)
    return found


@pytest.mark.parametrize(
    "trigger",
    [
        CronTrigger(hour=9, timezone="Europe/Berlin"),
        CronTrigger(day_of_week="mon-fri", hour="9-17", minute="*/20", timezone=NEW_YORK),
        CronTrigger(hour=1, minute=30, timezone=NEW_YORK),
        CronTrigger(day="last", timezone="UTC"),
        CronTrigger(second="*/5", timezone="UTC"),
        CronTrigger(hour=9, timezone="UTC", end_date="2027-01-01"),
        IntervalTrigger(hours=7, start_date="2026-01-01", timezone=NEW_YORK),
        IntervalTrigger(hours=7, start_date="2026-11-21 09:00:00.250000", timezone="UTC"),
        IntervalTrigger(hours=7, start_date="2026-01-01", end_date="2026-12-01", timezone="UTC"),
        CalendarIntervalTrigger(months=1, start_date="2026-12-01", hour=5, timezone=NEW_YORK),
        DateTrigger("2027-02-03 04:05:06", timezone=NEW_YORK),
        OrTrigger([CronTrigger(hour=9, timezone="UTC"), CronTrigger(hour=9, minute=30, timezone="UTC")]),
    ],
    ids=str,
)
def test_fires_are_those_of_apscheduler(trigger: BaseTrigger) -> None:
    """A trigger means as an entry's schedule what it means in APScheduler."""
    found, notes = settle(trigger)
    known = found.upcoming(NOW - timedelta(milliseconds=1), 150)
    assert fires(trigger, len(known)) == known
    assert len(known) == 150 or known[-1] > NOW + timedelta(days=400) or found.words() == found.text
    assert notes == []


def test_a_trigger_means_the_same_in_users_hands() -> None:
    """In a test of a user's own, before any load, it computes by asking."""
    schedule = as_schedule(CronTrigger(hour=9, timezone="Europe/Berlin"))
    assert schedule is not None
    assert datetime(2026, 11, 21, 8, tzinfo=UTC) == schedule.next(NOW)
    assert datetime(2026, 11, 20, 8, tzinfo=UTC) == schedule.previous(NOW)
    assert datetime(2026, 11, 22, 8, tzinfo=UTC) == schedule.next(datetime(2026, 11, 21, 8, tzinfo=UTC))
    assert schedule.zone == "Europe/Berlin"
    with pytest.raises(InvalidScheduleError, match=r"cron\[hour='9'\]: an APScheduler trigger is an object"):
        schedule.as_data()


def test_only_triggers_become_schedules() -> None:
    """Ours stay as they are."""
    ours = crontab("0 9 * * *")
    assert ours is as_schedule(ours)
    assert as_schedule("0 9 * * *") is None


def test_both_of_two_goes_on_after_its_first_fire() -> None:
    """APScheduler's own AndTrigger hangs there as soon as its parts disagree; its scheduler with it."""
    nine_or_noon, afternoon = CronTrigger(hour="9,12", timezone="UTC"), CronTrigger(hour="12-20", timezone="UTC")
    noon, _ = settle(OrTrigger([AndTrigger([nine_or_noon, afternoon])]))
    assert [NOW.replace(hour=12, day=day) for day in (21, 22, 23)] == noon.upcoming(NOW, 3)


def test_tables_are_bounded() -> None:
    """No trigger makes a registry large: a year and some fires, or 10,000 of them."""
    daily, _ = settle(CronTrigger(hour=9, timezone="UTC"))
    secondly, _ = settle(CronTrigger(second="*", timezone="UTC"))
    wild, _ = settle(
        Odd(lambda previous, now: now + timedelta(seconds=(now.toordinal() * 7919 + now.second * 31) % 97 + 1))
    )
    assert 400 <= len(decode_fires(daily.as_data()["fires"])) <= 410
    assert 500 <= len(decode_fires(secondly.as_data()["fires"])) <= FIRES_MAX
    assert all(len(str(found.as_data())) < 17_000 for found in (daily, secondly, wild))


def test_a_table_is_not_half_used_up_from_the_beginning() -> None:
    """However little a slow or irregular trigger says in its time: else it would be asked without end."""
    patience = Patience()
    patience.spent_s = 1_000
    for trigger in (
        CronTrigger(second="*", timezone="UTC"),
        Odd(lambda previous, now: now + timedelta(seconds=1 + now.second % 7 * now.minute)),
        Odd(lambda previous, now: (time.sleep(0.002), now + HOUR)[1]),
    ):
        asked = as_schedule(trigger)
        assert asked is not None
        data = asked.in_zone("UTC").settled(Settling(ms(NOW), patience, [])).as_data()
        renew_ms = renew_at_ms(data)
        assert renew_ms is not None
        assert data["from_ms"] <= ms(NOW)
        assert renew_ms - ms(NOW) >= (data["until_ms"] - ms(NOW)) // 4


def test_the_past_of_a_trigger_that_ends_is_whole() -> None:
    """Nobody will ask it again, so there is no middle to keep free."""
    found, _ = settle(CronTrigger(hour=9, timezone="UTC", end_date="2026-11-22"))
    assert [NOW.replace(hour=9, day=14), NOW.replace(hour=9, day=21)] == [
        found.next(NOW - timedelta(days=8)),
        found.next(NOW),
    ]
    assert found.previous(NOW) == NOW.replace(hour=9, day=20)


def test_a_fire_years_away_is_in_the_table() -> None:
    """A leap day's entry has a next fire to show."""
    found, _ = settle(CronTrigger(month=2, day=29, timezone="UTC"))
    assert datetime(2028, 2, 29, tzinfo=UTC) == found.next(NOW)


def test_the_table_reaches_back() -> None:
    """P2: what was missed while no beat lived is found by the leader that comes."""
    found, _ = settle(CronTrigger(hour=9, timezone="UTC"))
    assert [NOW.replace(hour=9, day=20), NOW.replace(hour=9, day=14)] == [
        found.previous(NOW),
        found.next(NOW - timedelta(days=7)),
    ]


def test_a_trigger_that_ends_is_known_for_ever() -> None:
    """Nobody needs to ask it again."""
    found, _ = settle(CronTrigger(hour=9, timezone="UTC", end_date="2026-12-01"))
    assert renew_at_ms(found.as_data()) is None
    assert found.next(datetime(2026, 12, 1, tzinfo=UTC)) is None


@pytest.mark.parametrize("later", [timedelta(seconds=1), timedelta(days=3), timedelta(days=200)])
@pytest.mark.parametrize(
    "trigger",
    [
        CronTrigger(day_of_week="mon-fri", hour="9-17", minute="*/20", timezone=NEW_YORK),
        CalendarIntervalTrigger(weeks=2, start_date="2026-01-01", timezone=NEW_YORK),
        OrTrigger([CronTrigger(hour=9, timezone="UTC"), CronTrigger(hour=9, minute=30, timezone="UTC")]),
        Odd(lambda previous, now: (now + HOUR).replace(minute=0, second=0, microsecond=0)),
    ],
    ids=str,
)
def test_a_later_load_renews_the_table(trigger: BaseTrigger, later: timedelta) -> None:
    """A restart is no edit: marks stay, and what is armed."""
    old, new = settle(trigger)[0], settle(trigger, NOW + later)[0]
    assert old != new
    assert renews(old.as_data(), new.as_data())


# ── what differs from load to load ──────────────────────────────────────────────────────────────────────────────────


def test_an_interval_without_a_start_is_reset_by_no_restart() -> None:
    """APScheduler counts it from the start of each process; a beat that restarts often would never fire it."""
    now = datetime.now(UTC)
    found, notes = settle(IntervalTrigger(hours=6), now)
    assert every("6h", tz="UTC") == found.in_zone("UTC") or found.as_data()["anchor"] is None
    assert len(notes) == 1
    assert "was given no start_date" in notes[0]
    assert "every('6h')" in notes[0]
    # A simulation of another day sees the same.
    assert found == settle(IntervalTrigger(hours=6), NOW + timedelta(days=99))[0]
    ended, _ = settle(IntervalTrigger(hours=6, end_date="2099-01-01"), now)
    assert ended.next(now) == found.next(now)


def test_an_interval_with_a_start_is_arithmetic() -> None:
    """No table, nothing to renew: ten seconds are ten seconds for ever."""
    found, notes = settle(IntervalTrigger(seconds=10, start_date="2026-01-01 00:00:03", timezone="UTC"))
    assert every("10s", anchor="2026-01-01T00:00:03Z").in_zone("UTC") == found
    assert notes == []


def test_a_date_is_once() -> None:
    """A moment that lies a little back at the first load is under the entry's catch-up policy, as with `once`."""
    found, notes = settle(DateTrigger("2027-01-01 09:00:00", timezone=NEW_YORK))
    assert once("2027-01-01T14:00:00Z", tz=NEW_YORK) == found
    assert notes == []


def test_calendar_interval_that_begins_anew_each_day_is_refused() -> None:
    """Without a start it begins on the day of the load, so that a fortnight would never pass. Each day is each day."""
    with pytest.raises(InvalidScheduleError, match=r"begins today, as if .* no start_date"):
        settle(CalendarIntervalTrigger(weeks=2), datetime.now(UTC))
    found, notes = settle(CalendarIntervalTrigger(days=1, hour=5, timezone="UTC"), datetime.now(UTC))
    today = date.today()
    assert datetime(today.year, today.month, today.day, 5, tzinfo=UTC) in found.upcoming(
        datetime.now(UTC) - timedelta(days=2), 4
    )
    assert notes == []


def test_jitter_is_left_out_of_the_table() -> None:
    """It is random; the entry's own is the same whoever asks, and keeps the due time."""
    trigger = CronTrigger(hour=9, timezone="UTC", jitter=600)
    found, notes = settle(trigger)
    assert settle(CronTrigger(hour=9, timezone="UTC"))[0] == found
    assert "its jitter of 600 s is random" in notes[0]
    assert "jitter='600s'" in notes[0]
    assert trigger.jitter == 600


def test_jitter_of_a_whole_schedule_is_parted_from_it() -> None:
    """Nobody who comes from APScheduler has all entries at once on the first day."""
    schedule = as_schedule(CronTrigger(hour=9, timezone="UTC", jitter=1.5))
    assert schedule is not None
    plain, jitter_ms = schedule.parted()
    assert jitter_ms == 1_500
    assert plain.parted() == (plain, 0)
    assert crontab("0 9 * * *").parted() == (crontab("0 9 * * *"), 0)


def test_nested_parts_are_steadied_too() -> None:
    """Jitter and missing starts hide inside combinations, and so do schedules of ours, which lack a zone."""
    trigger = OrTrigger([IntervalTrigger(hours=6), CronTrigger(minute=5, jitter=60), crontab("30 9 * * *")], jitter=5)
    _, notes = settle(trigger, zone=NEW_YORK)
    for note, told in zip(notes, ("jitter of 5 s", "no start_date", "jitter of 60 s"), strict=True):
        assert told in note
    both, _ = settle(AndTrigger([crontab("30 9 * * *"), CronTrigger(minute=30, timezone=NEW_YORK)]), zone=NEW_YORK)
    assert datetime(2026, 11, 21, 14, 30, tzinfo=UTC) == both.next(NOW)


def test_the_zone_of_the_host_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """A trigger without timezone= takes it, so that it fires at another hour in a container than on a laptop."""
    monkeypatch.setattr("scheduler.timing.trigger.get_localzone_name", lambda: "Europe/Berlin")
    trigger = CronTrigger(hour=9, timezone="Europe/Berlin")
    assert settle(trigger, zone="Europe/Berlin")[1] == []
    assert settle(trigger, zone="Arctic/Longyearbyen")[1] == []
    assert settle(CronTrigger(hour=9, timezone=NEW_YORK), zone="Asia/Tokyo")[1] == []
    (note,) = settle(trigger, zone="Asia/Tokyo")[1]
    assert "computes in Europe/Berlin, the zone of this host, and the entry's would be Asia/Tokyo" in note
    assert "timezone='Asia/Tokyo', or the entry tz='Europe/Berlin'" in note


@pytest.mark.parametrize(("weekdays", "is_told"), [("1-5", True), ("mon-fri", False), ("*", False), (None, False)])
def test_weekdays_by_number_are_told(weekdays: str | None, is_told: bool) -> None:
    """Whoever moves a crontab to APScheduler gets Tuesday to Saturday."""
    _, notes = settle(CronTrigger(hour=9, day_of_week=weekdays, timezone="UTC"))
    assert is_told == any("counts weekdays from 0 for Monday" in note for note in notes)


def test_answers_that_depend_on_when_they_are_asked_are_told() -> None:
    """Nothing can make a random trigger steady; its author is to know."""
    _, notes = settle(Odd(lambda previous, now: now + HOUR * (1 + random.random())))
    assert ["answers differently when it is asked at another moment" in note for note in notes] == [True]


def test_a_trigger_that_is_over_has_no_fires() -> None:
    """As any entry whose time is over, it stays where it is."""
    found, _ = settle(CronTrigger(hour=9, timezone="UTC", end_date="2020-01-01"))
    assert found.next(NOW) is None
    assert found == schedule_from_data(found.as_data())


# ── P12: what a trigger may do wrong ────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (lambda previous, now: now.replace(tzinfo=None), "which is naive; expected an aware datetime"),
        (lambda previous, now: "soon", "answers 'soon'; expected an aware datetime or None"),
        (lambda previous, now: now, "does not go on: asked for the fire after"),
        (lambda previous, now: now - 4 * HOUR if previous else now, "does not go on"),
        (lambda previous, now: 1 / 0, "fails: ZeroDivisionError: division by zero"),
        (lambda previous, now: datetime(1, 1, 1, tzinfo=UTC), "does not go on"),
        (
            lambda previous, now: (previous or EPOCH) + timedelta(seconds=1),
            "with more than 100,000 fires that are over",
        ),
        (lambda previous, now: date(2026, 1, 1), "a value of type date"),
    ],
)
def test_a_trigger_that_answers_wrongly_is_a_mistake_of_its_entry(answer: Any, told: str) -> None:
    """One clear error, and the other entries go on."""
    with pytest.raises(InvalidScheduleError, match=told) as caught:
        settle(Odd(answer))
    assert str(caught.value).startswith("Odd ")


@pytest.mark.parametrize(
    "trigger",
    [
        AndTrigger(
            [
                IntervalTrigger(seconds=2, start_date="2026-01-01", timezone="UTC"),
                CronTrigger(hour=9, second=3, timezone="UTC"),
            ]
        ),
        Odd(lambda previous, now: time.sleep(60)),
    ],
    ids=["loops", "sleeps"],
)
def test_a_trigger_that_hangs_is_a_mistake_of_its_entry(trigger: BaseTrigger, monkeypatch: pytest.MonkeyPatch) -> None:
    """APScheduler's own AndTrigger may look for ever for a moment that its parts share."""
    monkeypatch.setattr(settling, "ANSWER_S_MAX", 0.2)
    began = time.monotonic()
    with pytest.raises(InvalidScheduleError, match=r"did not answer within 0\.2 s"):
        settle(trigger)
    assert time.monotonic() - began < 10


def test_a_trigger_that_swallows_everything_is_interrupted_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bare `except:` in a loop catches one alarm, and not all of them."""

    def answer(previous: datetime | None, now: datetime) -> datetime:
        for _ in range(2):
            try:
                time.sleep(60)
            except BaseException:
                continue
        time.sleep(60)
        return now

    monkeypatch.setattr(settling, "ANSWER_S_MAX", 0.1)
    with pytest.raises(InvalidScheduleError, match="did not answer"):
        settle(Odd(answer))


def test_alarms_of_others_come_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """A user's module may have set one; it is put off for as long as we ask, and its handler is back."""
    monkeypatch.setattr(settling, "ANSWER_S_MAX", 0.1)
    rung = threading.Event()
    handler_before = signal.signal(signal.SIGALRM, lambda *_: rung.set())
    timer_before = signal.setitimer(signal.ITIMER_REAL, 0.3)
    try:
        settle(Odd(lambda previous, now: None))
        with pytest.raises(InvalidScheduleError):
            settle(Odd(lambda previous, now: time.sleep(60)))
        assert not rung.is_set()
        while not rung.is_set():
            signal.pause()
    finally:
        signal.signal(signal.SIGALRM, handler_before)
        signal.setitimer(signal.ITIMER_REAL, *timer_before)


def test_rules_of_one_load_share_their_time() -> None:
    """A thousand slow triggers must not outlast the load as a whole; each still says what comes next."""
    patience = Patience()
    patience.spent_s = settling.LOAD_S + 1
    asked = as_schedule(Odd(lambda previous, now: (time.sleep(0.005), now + HOUR)[1]))
    assert asked is not None
    began = time.monotonic()
    found = asked.in_zone("UTC").settled(Settling(ms(NOW), patience, []))
    assert time.monotonic() - began < 5
    assert found.next(NOW) == NOW + HOUR


def test_no_trigger_is_asked_twice_in_a_load() -> None:
    """A thousand entries at nine o'clock cost one question; one that does not say what it is is asked each time."""
    notes: list[str] = []
    load = Settling(ms(NOW), Patience(), notes)
    asked: list[datetime] = []

    def answer(previous: datetime | None, now: datetime) -> datetime:
        asked.append(now)
        return (now + HOUR).replace(minute=0, second=0, microsecond=0)

    def found(trigger: BaseTrigger) -> Schedule:
        schedule = as_schedule(trigger)
        assert schedule is not None
        return schedule.in_zone("UTC").settled(load)

    nine = [CronTrigger(hour=9, timezone="UTC", jitter=5) for _ in range(2)]
    assert found(nine[0]) is found(nine[1])
    assert len(notes) == 2
    assert found(CronTrigger(hour=9, timezone=NEW_YORK)) != found(nine[0])
    found(Odd(answer))
    count = len(asked)
    found(Odd(answer))
    assert 2 * count == len(asked)


def test_gaps_where_apscheduler_repeats_itself_are_no_mistake() -> None:
    """In Dublin's spring its CronTrigger answers 01:00Z twice, as 01:00 and as 02:00 IST."""
    trigger = CronTrigger(hour="1-3", minute="*/20", timezone="Europe/Dublin")
    found, _ = settle(trigger, datetime(2026, 3, 28, tzinfo=UTC))
    at = found.upcoming(datetime(2026, 3, 29, 0, 50, tzinfo=UTC), 3)
    assert [datetime(2026, 3, 29, 1, minute, tzinfo=UTC) for minute in (0, 20, 40)] == at


# ── how it is called ────────────────────────────────────────────────────────────────────────────────────────────────


class Endless(Odd):
    """Its text is of any length, and breaks lines."""

    def __str__(self) -> str:
        return "very\n\x1blong " * 10_000


class Unprintable(Odd):
    """Its text fails."""

    def __str__(self) -> str:
        raise RuntimeError


@pytest.mark.parametrize(
    ("trigger", "text"),
    [
        (CronTrigger(day_of_week="mon", hour=9, timezone="UTC"), "cron[day_of_week='mon', hour='9']"),
        (Odd(lambda previous, now: None), "Odd"),
        (Unprintable(lambda previous, now: None), "Unprintable"),
        (AndTrigger([Odd(lambda previous, now: None)]), "and[<test_trigger.Odd>]"),
        (
            CalendarIntervalTrigger(days=1, timezone="UTC"),
            "CalendarIntervalTrigger(days=1, time='00:00:00+00:00', timezone='datetime.timezone.utc')",
        ),
    ],
    ids=lambda value: type(value).__name__,
)
def test_text_is_the_same_in_each_process(trigger: BaseTrigger, text: str) -> None:
    """It says whether two tables are of one rule; an address or the day of the load would tell them apart."""
    found = as_schedule(trigger)
    assert found is not None
    assert text == found.text.replace(__name__, "test_trigger")


def test_text_is_one_short_line() -> None:
    """Whatever a class says of itself."""
    found = as_schedule(Endless(lambda previous, now: None))
    assert found is not None
    assert len(found.text) <= 200
    assert found.text.isprintable()


def test_words_tell_how_far_it_was_asked() -> None:
    """`sched show` has to say that somebody must ask again."""
    assert (
        settle(CronTrigger(hour=9, timezone="UTC"))[0].words() == "cron[hour='9'], asked ahead until 2027-12-26 09:00Z"
    )


def test_a_table_is_what_settling_gives() -> None:
    """And no trigger is left in it."""
    assert isinstance(settle(CronTrigger(hour=9, timezone="UTC"))[0], Table)
