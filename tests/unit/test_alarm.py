"""What is wrong, and when it is over: decided from what is known and the time alone."""

from __future__ import annotations

from typing import Any

import pytest

from scheduler.alarm import (
    BY_US,
    Alert,
    Finding,
    Health,
    Kind,
    Promoted,
    Watched,
    judge,
    resend_ms,
    ripe,
    wants_pause,
    watched,
    why_over,
    words,
)
from scheduler.model import Entry, EntryRecord, Pause, SkipOrder, Watch
from scheduler.timing import crontab

H = 3_600_000
DAY = 24 * H
DUE = 1_795_251_600_000
"""Sat 2026-11-21 09:00 UTC; the entry is due at nine each day."""
NEVER_RAN = Health()


def one(*, since_ms: int = 0, pause: Pause | None = None, skips: tuple[SkipOrder, ...] = (), **options: Any) -> Watched:
    """The entry, told about after two hours, three failures, and paused after five unless *options* say otherwise."""
    fields: dict[str, Any] = {
        "name": "eod", "task": "t", "queue": "q", "schedule": crontab("0 9 * * *").as_data(),
        "watch": Watch(alert_after_ms=2 * H, alert_failures=3, pause_failures=5),
    }  # fmt: skip
    found = watched(EntryRecord("eod", Entry(**(fields | options)), "1 0", pause, skips), since_ms)
    assert found is not None
    return found


def kinds(entry: Watched, health: Health, now_ms: int, promoted: Promoted | None = None) -> list[str]:
    """What is wrong."""
    return [str(finding.kind) for finding in judge(entry, health, ripe(entry, now_ms), now_ms, promoted)]


def done(due_ms: int) -> Health:
    """It succeeded for this due time."""
    return Health("SUCCESS", due_ms + 1, due_ms, 0)


# ── late ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_entry_is_late_from_the_very_millisecond_its_patience_ends() -> None:
    """Not before, and until something succeeds."""
    assert kinds(one(), done(DUE - DAY), DUE + 2 * H - 1) == []
    assert kinds(one(), done(DUE - DAY), DUE + 2 * H) == ["late"]
    assert kinds(one(), done(DUE), DUE + 2 * H) == []
    assert kinds(one(), NEVER_RAN, DUE + 2 * H) == ["late"]


def test_success_of_a_later_due_time_or_by_hand_will_do() -> None:
    """Whoever ran it by hand meanwhile has put it right: that stands for what was due before it was asked for."""
    assert kinds(one(), done(DUE + 60_000), DUE + 3 * H) == []
    assert kinds(one(), done(DUE + DAY), DUE + 3 * H) == []


def test_what_was_due_before_the_entry_came_into_force_is_not_looked_at() -> None:
    """A new entry, a new schedule, a resumed one: nothing old is told."""
    assert kinds(one(since_ms=DUE), NEVER_RAN, DUE + 5 * H) == []
    assert kinds(one(since_ms=DUE - 1), NEVER_RAN, DUE + 5 * H) == ["late"]


def test_only_due_times_between_start_and_until_count() -> None:
    """Both ends included, as they fire."""
    assert kinds(one(start_ms=DUE + 1), NEVER_RAN, DUE + 5 * H) == []
    assert kinds(one(start_ms=DUE), NEVER_RAN, DUE + 5 * H) == ["late"]
    assert kinds(one(until_ms=DUE - 1), done(DUE - DAY), DUE + 5 * H) == []
    assert kinds(one(until_ms=DUE), done(DUE - DAY), DUE + 5 * H) == ["late"]


def test_due_time_that_was_ordered_to_be_skipped_does_not_count() -> None:
    """Nobody wants to be told what he has ordered; the one before it still counts."""
    order = SkipOrder(DUE, DUE - H, "ann", "holiday")
    assert kinds(one(skips=(order,)), done(DUE - DAY), DUE + 5 * H) == []
    assert kinds(one(skips=(order,)), done(DUE - 2 * DAY), DUE + 5 * H) == ["late"]


def test_after_its_last_run_an_entry_is_not_late() -> None:
    """`max_runs` is used up: what comes after it is no due time any more."""
    entry = one(max_runs=2)
    assert kinds(entry, done(DUE - DAY), DUE + 5 * H, Promoted(DUE - DAY, 1)) == ["late"]
    assert kinds(entry, done(DUE - DAY), DUE + 5 * H, Promoted(DUE - DAY, 2)) == []
    assert kinds(entry, done(DUE - 2 * DAY), DUE + 5 * H, Promoted(DUE - DAY, 2)) == ["late"]


def test_paused_entry_is_not_late_and_one_whose_pause_ran_out_is_from_then_on() -> None:
    """Though nobody, for want of a leader, has noted its end."""
    until = Pause(DUE - DAY, DUE)
    assert kinds(one(pause=Pause(DUE - DAY)), NEVER_RAN, DUE + 5 * H) == []
    assert kinds(one(pause=until), NEVER_RAN, DUE + 5 * H) == ["late"]
    assert kinds(one(pause=Pause(DUE - DAY, DUE + 1)), NEVER_RAN, DUE + 5 * H) == []


@pytest.mark.parametrize("options", [{"enabled": False}, {"watch": None}])
def test_nobody_looks_after_an_entry_that_is_off_or_wants_none(options: dict[str, Any]) -> None:
    """It fires not at all, or as it likes."""
    with pytest.raises(AssertionError):
        one(**options)


def test_schedule_that_cannot_be_computed_here_costs_this_alert_only() -> None:
    """P12: an entry of a newer version; its failures are counted all the same."""
    entry = one(schedule={"kind": "lunar"})
    assert kinds(entry, Health("FAILURE", 1, 0, 3), DUE + 5 * H) == ["failing"]


def test_what_is_ripe_is_worked_out_once_for_each_due_time() -> None:
    """The answer says how long it holds; at its end it is another one."""
    entry = one()
    due = ripe(entry, DUE + 2 * H)
    assert (due.due_ms, due.from_ms, due.until_ms) == (DUE, DUE + 2 * H, DUE + DAY + 2 * H)
    assert ripe(entry, due.until_ms - 1).due_ms == DUE
    assert ripe(entry, due.until_ms).due_ms == DUE + DAY


# ── failing ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_failures_in_a_row_are_told_from_the_limit_on() -> None:
    """And pause the entry at theirs."""
    for failures, found, pauses in ((2, [], False), (3, ["failing"], False), (5, ["failing"], True)):
        health = Health("FAILURE", DUE, DUE, failures)
        assert kinds(one(), health, DUE + 1) == found
        assert wants_pause(one(), health, DUE + 1) == pauses


def test_of_an_entry_that_we_have_paused_only_that_is_told() -> None:
    """Not once more that it fails, nor what somebody has paused himself; and it is not paused twice."""
    health = Health("FAILURE", DUE, DUE, 7)
    assert kinds(one(pause=Pause(DUE, by=BY_US)), health, DUE + 9 * H) == ["paused"]
    assert kinds(one(pause=Pause(DUE, by="ann@host")), health, DUE + 9 * H) == []
    assert not wants_pause(one(pause=Pause(DUE, by="ann@host")), health, DUE)


# ── over ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def alert(kind: Kind) -> Alert:
    """An open alert about DUE."""
    return Alert(id="1", kind=kind, entry="eod", text="…", due_ms=DUE if kind is Kind.LATE else 0, at_ms=DUE)


def over(kind: Kind, entry: Watched | None, health: Health) -> str:
    """Why an alert of this kind is over."""
    return why_over(alert(kind), entry, health, DUE + DAY)


def test_alert_is_over_by_a_success() -> None:
    """Of the due time it is about, or of a later one."""
    assert over(Kind.LATE, one(), done(DUE - DAY)) == ""
    assert over(Kind.LATE, one(), done(DUE)) == "it has succeeded"
    assert over(Kind.FAILING, one(), Health("FAILURE", DUE, 0, 4)) == ""
    assert over(Kind.FAILING, one(), Health("REVOKED", DUE, 0, 4)) == ""
    assert over(Kind.FAILING, one(), done(DUE)) == "it has succeeded"


def test_alert_stays_while_its_entry_is_paused() -> None:
    """Nobody can tell whether it is well again."""
    paused = one(pause=Pause(DUE, by="ann"))
    assert [over(kind, paused, done(DUE)) for kind in (Kind.LATE, Kind.FAILING)] == ["", ""]


def test_that_we_paused_an_entry_is_over_when_somebody_takes_it_in_hand() -> None:
    """He resumes it, or pauses it himself."""
    assert over(Kind.PAUSED, one(pause=Pause(DUE, by=BY_US)), NEVER_RAN) == ""
    assert over(Kind.PAUSED, one(), NEVER_RAN) == "it was resumed"
    assert over(Kind.PAUSED, one(pause=Pause(DUE, by="ann")), NEVER_RAN) == "ann has paused it instead"


def test_alert_is_over_when_nobody_wants_to_know_any_more() -> None:
    """The entry is gone, or no longer says that it wants to be looked after so."""
    assert over(Kind.LATE, None, NEVER_RAN) == "nobody looks after it any more"
    assert over(Kind.LATE, one(watch=Watch(alert_failures=3)), NEVER_RAN) == "nobody looks after it any more"


# ── in words ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_sentences_say_what_is_wrong_since_when_and_what_the_run_said() -> None:
    """They are all that a pager shows."""
    late = Finding(Kind.LATE, due_ms=DUE)
    assert words(late, one(), NEVER_RAN, "") == (
        "eod is late: it was due Sat 2026-11-21 09:00:00 UTC and has not succeeded within 2h; it has not run yet"
    )
    assert words(late, one(), Health("FAILURE", DUE + 90_000, 0, 1), "ValueError: no data").endswith(
        "; its last run ended Sat 2026-11-21 09:01:30 UTC as FAILURE (ValueError: no data)"
    )
    failing = Finding(Kind.FAILING, failures=3)
    assert words(failing, one(), NEVER_RAN, "KeyError: 'x'") == "eod has failed 3 times in a row: KeyError: 'x'"
    assert words(Finding(Kind.PAUSED, failures=5), one(), NEVER_RAN, "KeyError: 'x'") == (
        "eod was paused, as it has failed 5 times in a row: KeyError: 'x'; `sched resume eod` lets it go on"
    )


def test_tries_are_farther_and_farther_apart_within_a_bound() -> None:
    """A hook that is down is not hammered, and not forgotten."""
    assert [resend_ms(n) for n in (1, 2, 3, 50, 10_000)] == [2_000, 4_000, 8_000, 300_000, 300_000]
