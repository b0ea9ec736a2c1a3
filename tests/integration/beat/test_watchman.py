"""What a beat's watchman finds, raises and lets be over; each look is ours to take."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from scheduler.alarm import BY_US, Alert, Kind
from scheduler.beat import watchman
from scheduler.beat.watchman import Watchman
from scheduler.errors import StoreUnavailableError
from scheduler.model import Watch
from scheduler.store import Store
from scheduler.store.alerts import JudgedBy
from tests.support.bench import HOUR_MS, Bench
from tests.support.wait import wait_until

pytestmark = pytest.mark.redis

SECOND = Watch(alert_after_ms=1_000)
FAILURES = Watch(alert_failures=2, pause_failures=4)


class Lab:
    """An entry that is due each second, sessions that run it, and beats that look."""

    def __init__(self, store: Store) -> None:
        self.bench = Bench(store)
        self.store = store
        self.alone: list[Alert] = []
        self.session = self.bench.open()

    def watchman(self, name: str = "a", *, outage_ms: int = 0, hooks: tuple[str, ...] = ()) -> Watchman:
        """One beat's, that has seen for long enough to call something late."""
        made = Watchman(
            self.store, name=name, hooks=hooks, outage_ms=outage_ms, raised=lambda: None, tell_alone=self.alone.append
        )
        made.look()
        made._seeing_since_ms -= 10 * HOUR_MS
        return made

    def put(self, name: str = "e", **options: Any) -> None:
        """An entry that has been in force for long."""
        self.bench.put(name, "1s", **options)
        self.bench.call_redis("HSET", self.bench.keys.watched, name, self.bench.now_ms - HOUR_MS)

    def run(self, state: str = "SUCCESS", *, times: int = 1, due_ms: int = 0, name: str = "e") -> None:
        """Runs of the entry that end so."""
        for _ in range(times):
            id_ = self.bench.call(entry=name, due_ms=due_ms)
            self.bench.take(self.session)
            error = "ValueError: no data" if state == "FAILURE" else ""
            self.bench.finish(self.session, id_, state=state, entry=name, error=error)

    def open(self) -> list[tuple[str, str]]:
        """What is wrong: which entry, and how."""
        return [(alert.entry, str(alert.kind)) for alert in self.store.alerts.open()]

    def log(self) -> list[tuple[str, str]]:
        """What was told, the oldest first."""
        return [(notice.what, str(notice.kind)) for notice in reversed(self.store.alerts.log(100))]


@pytest.fixture
def lab(store: Store) -> Lab:
    """On a namespace of its own."""
    return Lab(store)


def test_late_entry_is_raised_once_however_many_beats_look(lab: Lab) -> None:
    """P1, for alerts: compare-and-set decides, and a beat that was slower knows at its next look."""
    lab.put(watch=SECOND)
    beats = [lab.watchman(name, hooks=("https://example.com/x",)) for name in "abc"]
    for beat in (*beats, *beats):
        beat.look()
    assert lab.open() == [("e", "late")]
    assert lab.log() == [("raised", "late")]
    assert lab.store.alerts.waiting() == 1


def test_beat_whose_settings_name_no_hook_does_not_keep_an_alert_from_those_that_do(lab: Lab) -> None:
    """Settings that differ between hosts, or hooks that were added after it was raised."""
    lab.put(watch=SECOND)
    lab.watchman("a").look()
    assert lab.store.alerts.waiting() == 0
    with_hooks = [lab.watchman(name, hooks=("https://example.com/x",)) for name in "bc"]
    for beat in (*with_hooks, *with_hooks):
        beat.look()
    assert lab.store.alerts.waiting() == 1
    assert lab.log() == [("raised", "late")]
    lab.run(due_ms=lab.bench.now_ms)
    with_hooks[0].look()
    assert lab.open() == []
    assert lab.log() == [("raised", "late"), ("over", "late")]


def test_success_ends_it_once_and_the_next_time_is_another_alert(lab: Lab) -> None:
    """One for an entry until it recovers, and one that it has."""
    lab.put(watch=SECOND)
    beats = [lab.watchman(name) for name in "ab"]
    for beat in beats:
        beat.look()
    lab.run(due_ms=lab.bench.now_ms)
    for beat in beats:
        beat.look()
    assert lab.open() == []
    wait_until(lambda: (beats[0].look(), lab.open())[1], what="another due time to be late")
    lab.run(due_ms=lab.bench.now_ms)
    beats[1].look()
    raised = [notice.alert for notice in lab.store.alerts.log(100) if notice.what == "raised"]
    assert len(set(raised)) == len(raised) == 2
    assert lab.log() == [("raised", "late"), ("over", "late")] * 2


def test_entry_that_is_new_or_edited_is_seen_at_the_next_look(lab: Lab) -> None:
    """It follows the registry by its revision, and forgets what nobody wants to know of."""
    beat = lab.watchman()
    lab.put("new", watch=FAILURES)
    lab.run("FAILURE", times=2, name="new")
    beat.look()
    assert lab.open() == [("new", "failing")]
    lab.bench.put("new", "1s", watch=None)
    beat.look()
    assert lab.open() == []


def test_failures_in_a_row_are_told_with_what_the_last_one_said(lab: Lab) -> None:
    """A pager shows one sentence: it has to say it."""
    lab.put(watch=FAILURES)
    beat = lab.watchman()
    lab.run("FAILURE")
    beat.look()
    assert lab.open() == []
    lab.run("FAILURE")
    beat.look()
    (alert,) = lab.store.alerts.open()
    assert alert.text == "e has failed 2 times in a row: ValueError: no data"
    assert (alert.failures, alert.error, alert.by) == (2, "ValueError: no data", "a")
    lab.run("SUCCESS")
    beat.look()
    assert lab.log() == [("raised", "failing"), ("over", "failing")]


def test_entry_that_keeps_failing_is_paused_once_and_resuming_begins_anew(lab: Lab) -> None:
    """Several beats come to the same conclusion; one pauses it, one tells of it, and nobody undoes a resume."""
    lab.put(watch=FAILURES)
    beats = [lab.watchman(name) for name in "ab"]
    lab.run("FAILURE", times=4)
    for beat in (*beats, *beats):
        beat.look()
    record = lab.store.registry.get("e")
    assert record is not None
    assert record.pause is not None
    assert (record.pause.by, record.pause.reason) == (BY_US, "4 failures in a row")
    assert lab.open() == [("e", "failing"), ("e", "paused")]
    lab.store.registry.resume("e", by="ann")
    for beat in (*beats, *beats):
        beat.look()
    assert lab.open() == []
    assert lab.store.registry.state("e").pause is None
    assert [line for line in lab.log() if line[1] == "paused"] == [("raised", "paused"), ("over", "paused")]
    lab.run("FAILURE", times=4)
    beats[0].look()
    assert lab.store.registry.state("e").pause is not None


def test_pause_that_somebody_made_is_left_alone_and_holds_an_alert_open(lab: Lab) -> None:
    """He knows; whether it is well again, nobody can tell until it runs."""
    lab.put(watch=FAILURES)
    beat = lab.watchman()
    lab.run("FAILURE", times=2)
    beat.look()
    lab.store.registry.pause("e", by="ann", reason="looking into it")
    lab.run("FAILURE", times=5)
    beat.look()
    pause = lab.store.registry.state("e").pause
    assert pause is not None
    assert (pause.by, pause.reason) == ("ann", "looking into it")
    assert lab.open() == [("e", "failing")]


@pytest.mark.parametrize("change", ["remove", "disable"])
def test_alert_of_an_entry_that_is_gone_is_over(lab: Lab, change: str) -> None:
    """Nothing stays open for ever."""
    lab.put(watch=FAILURES)
    beat = lab.watchman()
    lab.run("FAILURE", times=2)
    beat.look()
    assert lab.open() == [("e", "failing")]
    if change == "remove":
        lab.store.loads.publish({}, clean=True, mistakes=(), by="t")
    else:
        lab.bench.put("e", "1s", watch=FAILURES, enabled=False)
    beat.look()
    assert lab.open() == []
    assert "nobody looks after it any more" in lab.store.alerts.log(1)[0].text


def test_beat_that_has_just_begun_to_see_calls_nothing_late_at_once(lab: Lab) -> None:
    """After an outage of everything what was missed is only now being made up for: no storm of alerts that are over soon."""
    lab.put(watch=SECOND)
    fresh = Watchman(
        lab.store, name="a", hooks=(), outage_ms=0, raised=lambda: None, tell_alone=lab.alone.append
    )  # fmt: skip
    began_ms = lab.bench.now_ms
    fresh.look()
    assert lab.open() == []
    wait_until(lambda: (fresh.look(), lab.open())[1], what="patience to end")
    assert lab.bench.now_ms - began_ms >= 1_000


def test_nothing_is_raised_by_what_has_changed_since_it_was_read(lab: Lab) -> None:
    """A success, or a pause, that came between reading and raising."""
    lab.put(watch=FAILURES)
    lab.run("FAILURE", times=2)
    alerts = lab.store.alerts
    (last,) = alerts.lasts(["e"])
    alert = Alert(id="1", kind=Kind.FAILING, entry="e", text="x", at_ms=1)
    assert not alerts.settle(alert, (), judged_by=JudgedBy(last=b"SUCCESS 1 1 0", pause=b""))
    assert not alerts.settle(alert, (), judged_by=JudgedBy(last=last, pause=b"{}"))
    assert not alerts.settle(alert, (), judged_by=JudgedBy(term=7))
    assert lab.open() == []
    assert alerts.settle(alert, (), judged_by=JudgedBy(last=last, pause=b""))
    assert not alerts.settle(alert, (), judged_by=JudgedBy(last=last, pause=b""))


def test_service_without_a_leader_is_told_and_when_it_has_one_again(lab: Lab) -> None:
    """By its followers; before the first leader there ever was, too."""
    beat = lab.watchman(outage_ms=500)
    beat.look()
    assert lab.open() == [("", "leaderless")]
    lab.bench.win()
    beat.look()
    assert lab.open() == []
    wait_until(lambda: (beat.look(), lab.open())[1], what="the silence to be long enough")
    lab.bench.win("b")
    beat.look()
    assert lab.log() == [("raised", "leaderless"), ("over", "leaderless")] * 2


def test_redis_that_stays_away_is_told_alone_and_once(lab: Lab) -> None:
    """A short absence is nobody's business; what cannot be asked cannot be raised either."""
    error = StoreUnavailableError("no answer from Redis at redis://localhost")
    beat = lab.watchman(outage_ms=100)
    beat.blind(error)
    assert lab.alone == []
    wait_until(lambda: (beat.blind(error), lab.alone)[1], what="the outage to be long enough")
    beat.blind(error)
    (told,) = lab.alone
    assert (told.kind, told.by) == ("no_redis", "a")
    assert "beat a has not been able to work with Redis" in told.text
    beat.look()
    assert [alert.over_ms > 0 for alert in lab.alone] == [False, True]
    assert lab.log()[:2] == [("raised", "no_redis"), ("over", "no_redis")]


def test_redis_that_was_emptied_is_followed_anew(lab: Lab) -> None:
    """P11: what we knew of it is no longer true."""
    lab.put(watch=FAILURES)
    beat = lab.watchman()
    for key in lab.bench.all_keys():
        lab.bench.call_redis("DEL", key)
    beat.look()
    lab.session = lab.bench.open()
    lab.put("other", watch=FAILURES)
    lab.run("FAILURE", times=2, name="other")
    beat.look()
    assert lab.open() == [("other", "failing")]


def test_entry_that_only_a_newer_version_can_read_is_left_to_its_beats(lab: Lab) -> None:
    """In the middle of a rolling upgrade: else the two would raise it and call it over in turns."""
    lab.put(watch=FAILURES)
    lab.run("FAILURE", times=2)
    lab.watchman().look()
    lab.bench.call_redis("HSET", lab.bench.keys.registry, "e", b'{"name":"e","schedule":7,"watch":{}}')
    older = lab.watchman("b")
    older.look()
    assert lab.open() == [("e", "failing")]
    lab.put(watch=FAILURES)
    lab.run("SUCCESS")
    older.look()
    assert lab.open() == []


def test_more_entries_than_a_look_takes_are_judged_in_turn(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """A look has a bound; none is forgotten."""
    monkeypatch.setattr(watchman, "CHUNK", 3)
    monkeypatch.setattr(watchman, "ENTRIES_MAX", 4)
    names = [f"e{i:02}" for i in range(10)]
    for name in names:
        lab.put(name, watch=FAILURES)
        lab.run("FAILURE", times=2, name=name)
    beat = lab.watchman()
    look_three_times: Callable[[], list[None]] = lambda: [beat.look() for _ in range(3)]  # noqa: E731
    look_three_times()
    assert sorted(entry for entry, _ in lab.open()) == names
