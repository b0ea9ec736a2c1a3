"""What became of a due time, in words: facts in, sentence out."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest

from scheduler.clock import to_ms
from scheduler.model import Catchup, Entry, Overlap, Pause, Place, Run, SkipOrder, Standing
from scheduler.story import Event, Facts, tell
from scheduler.timing import crontab

HOURLY = crontab("0 * * * *")


def at(text: str) -> int:
    """``09:00:07.250`` of the day that all of this happens on, in ms."""
    return to_ms(datetime.fromisoformat(f"2026-11-21T{text}").replace(tzinfo=UTC))


DUE = at("09:00:00")
ID = "3f2a"


def entry(**options: Any) -> Entry:
    """An hourly entry."""
    fields: dict[str, Any] = {"overlap": Overlap.ALLOW, "task": "reports.daily", "queue": "reports"} | options
    return Entry(name="daily", schedule=HOURLY.as_data(), **fields)


def facts(*, now: str = "12:00:00", **known: Any) -> Facts:
    """What is known of 09:00, at *now*."""
    fields: dict[str, Any] = {
        "id": ID, "entry": entry(), "schedule": HOURLY, "mark_ms": at("12:00:00"), "late_limit_ms": 15_000, "horizon_ms": 15_000,
    }  # fmt: skip
    return Facts(now_ms=at(now), due_ms=DUE, name="daily", **(fields | known))


def sentence(*, now: str = "12:00:00", **known: Any) -> str:
    """What is told, without the due time."""
    told = tell(facts(now=now, **known))
    head = "2026-11-21 09:00:00 UTC: "
    assert told.sentence.startswith(head)
    return told.sentence.removeprefix(head)


def run(**fields: Any) -> Run:
    """The run of 09:00."""
    known: dict[str, Any] = {
        "state": "SUCCESS", "outcome": "promoted", "started_ms": at("09:00:00.012"), "finished_ms": at("09:00:03.012"),
        "worker": "w1", "attempt": 1, "due_ms": DUE, "enqueued_ms": at("08:59:45"),
    }  # fmt: skip
    return Run(id=ID, entry="daily", **(known | fields))


def skipped(outcome: str, **fields: Any) -> Run:
    """A record of due times that were skipped."""
    known: dict[str, Any] = {
        "outcome": outcome,
        "due_ms": DUE,
        "to_ms": DUE,
        "finished_ms": at("09:00:00.003"),
    } | fields
    return Run(id=ID, entry="daily", **known)


# ── it has become something ─────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        (
            run(),
            "promoted: run 3f2a started at 09:00:00.012 (12ms late) on worker w1 and ended well at 09:00:03.012, after 3s.",
        ),
        (
            run(state="FAILURE", error="ValueError: no such file.", attempt=3),
            "promoted: run 3f2a started at 09:00:00.012 (12ms late) on worker w1, attempt 3 and failed at 09:00:03.012, after 3s: "
            "ValueError: no such file.",
        ),
        (
            run(state="STARTED", finished_ms=0),
            "promoted: run 3f2a started at 09:00:00.012 (12ms late) on worker w1 and has not ended.",
        ),
        (
            run(state="REVOKED", started_ms=0, worker="", error="replaced by a newer run"),
            "promoted, and cancelled at 09:00:03.012 before it started (replaced by a newer run).",
        ),
        (
            run(state="EXPIRED", started_ms=0, worker=""),
            "promoted, but no worker started it before it expired; that was seen at 09:00:03.012.",
        ),
        (
            run(state="EXPIRED", outcome="expired", started_ms=0, worker=""),
            "skipped (expired): it had expired when its moment came, at 09:00:03.012.",
        ),
        (
            run(state="REVOKED", outcome="withdrawn", started_ms=0, worker="", finished_ms=at("08:59:50")),
            "skipped (withdrawn): its fire was cancelled at 08:59:50.",
        ),
    ],
    ids=["success", "failure", "running", "revoked", "expired in ready", "expired", "cancelled fire"],
)
def test_what_ended_is_told_with_its_moments(record: Run, expected: str) -> None:
    """P2: a promoted run's fate is its state; its due time has one outcome."""
    assert expected == sentence(run=record)


def test_a_run_says_its_outcome_state_and_moments_for_programs() -> None:
    """`-o json`."""
    told = tell(facts(run=run()))
    assert (told.outcome, told.state, told.run) == ("promoted", "SUCCESS", ID)
    assert told.moments == {
        "due": DUE, "armed": at("08:59:45"), "started": at("09:00:00.012"), "finished": at("09:00:03.012"),
    }  # fmt: skip


def test_what_repeated_it_is_told_too() -> None:
    """`sched retry` and `sched backfill` are no second outcome, and yet people want to know."""
    later = (
        run(state="SUCCESS", retry_of=ID, finished_ms=at("10:00:00")),
        run(state="STARTED", backfill="b1", finished_ms=0),
    )
    text = sentence(run=run(state="FAILURE"), later=later)
    assert "failed at 09:00:03.012, after 3s. It was repeated as run 3f2a, which ended well at 10:00:00." in text
    assert text.endswith("Backfill b1 ran it as run 3f2a, which has not ended.")


HOLDER = Run(id="77aa", state="SUCCESS", due_ms=at("08:00:00"), finished_ms=at("09:12:00"))


@pytest.mark.parametrize(
    ("record", "known", "expected"),
    [
        (
            skipped("overlap", holder="77aa"),
            {"holder": HOLDER},
            "skipped (overlap): run 77aa of 08:00:00 had not ended until 09:12:00.",
        ),
        (
            skipped("overlap", holder="77aa"),
            {"holder": Run(id="77aa", state="STARTED")},
            "skipped (overlap): run 77aa (asked for by hand) has not ended yet.",
        ),
        (skipped("overlap", holder="77aa"), {}, "skipped (overlap): run 77aa had not ended."),
        (
            skipped("overlap", holder="77aa", error="a newer one took its place"),
            {"holder": HOLDER},
            "skipped (overlap): it waited for the slot, and a newer one took its place; "
            "run 77aa of 08:00:00 had not ended until 09:12:00.",
        ),
        (
            skipped("missed", due_ms=at("07:00:00"), to_ms=at("10:00:00"), count=4),
            {"gap": (at("06:59:00"), at("11:30:00"))},
            "skipped (missed), as were all 4 due times from 07:00:00 to 10:00:00: it was not promoted within 15s of its time, as no "
            "beat led from 06:59:00 to 11:30:00; a newer due time stood for it (catchup='latest').",
        ),
        (
            skipped("missed"),
            {"entry": entry(catchup=Catchup.NONE)},
            "skipped (missed): it was not promoted within 15s of its time; catchup='none' gives up what was missed.",
        ),
        (
            skipped("paused"),
            {"events": (Event(at("10:30:00"), "resume", "eva"), Event(at("08:30:00"), "pause", "adam", "holiday"))},
            "skipped (paused): the entry was paused from 08:30:00 to 10:30:00 by adam: holiday.",
        ),
        (skipped("max_runs"), {"entry": entry(max_runs=5)}, "skipped (max_runs): its 5 runs are used up."),
        (
            skipped("withdrawn", error="skipped by eva: holiday"),
            {},
            "skipped (withdrawn): skipped by eva: holiday.",
        ),
        (skipped("withdrawn"), {}, "skipped (withdrawn): somebody had ordered so."),
        (
            msgspec.structs.replace(skipped("withdrawn", finished_ms=at("11:00:00")), id=""),
            {"events": (Event(at("11:00:00"), "edit", "eva", "too often"),)},
            "skipped (withdrawn): nobody had armed it when the entry was changed at 11:00:00 (edit by eva: too often).",
        ),
        (skipped("error", error="its arguments are lost"), {}, "skipped (error): its arguments are lost."),
    ],
    ids=lambda value: value.outcome if isinstance(value, Run) else None,
)
def test_what_was_skipped_is_told_with_its_reason(record: Run, known: dict[str, Any], expected: str) -> None:
    """P2: every reason there is, each with what is known about it."""
    assert expected == sentence(run=record, **known)


# ── it stands somewhere ─────────────────────────────────────────────────────────────────────────────────────────────────

ARMED = Standing(Place.DELAYED, "reports", at_ms=at("09:00:07"), armed_ms=at("08:59:45"))


def test_an_armed_fire_says_when_it_runs_and_what_may_keep_it_from_that() -> None:
    """Overlap, expiry and jitter, before they strike."""
    known = {
        "standing": ARMED,
        "entry": entry(overlap=Overlap.SKIP, expires_after_ms=600_000, countdown_ms=7_000),
        "holder": Run(id="77aa", state="STARTED", due_ms=at("08:00:00")),
    }
    assert sentence(now="08:59:50", **known) == (
        "is armed since 08:59:45 and will run at 09:00:07 (7s of countdown) on queue reports; "
        "it is skipped if run 77aa of 08:00:00 has not ended by then; it expires at 09:10:00."
    )
    late = sentence(now="09:00:08", standing=ARMED)
    assert late == (
        "is armed since 08:59:45 and was to run at 09:00:07, and is promoted as soon as a beat or a worker looks on queue reports."
    )
    assert tell(facts(now="08:59:50", **known)).moments == {
        "due": DUE,
        "armed": at("08:59:45"),
        "starts": at("09:00:07"),
    }
    assert tell(facts(now="08:59:50", **known)).run == ID


@pytest.mark.parametrize(
    ("standing", "known", "expected"),
    [
        (
            Standing(Place.WAITING, "reports"),
            {"holder": Run(id="77aa", state="STARTED")},
            "waits for the overlap slot of its entry: run 77aa has not ended.",
        ),
        (
            Standing(Place.READY, "reports"),
            {"workers": 0},
            "promoted, and waits on queue reports (no worker takes from it).",
        ),
        (
            Standing(Place.READY, "reports"),
            {"workers": 2},
            "promoted, and waits on queue reports (2 workers take from it).",
        ),
        (
            Standing(Place.DELAYED, "reports", at_ms=at("12:01:00"), is_fire=False),
            {},
            "promoted; its next attempt starts at 12:01:00 on queue reports.",
        ),
        (
            Standing(Place.HELD, "reports", at_ms=at("09:00:01")),
            {"run": run(state="STARTED", finished_ms=0)},
            "promoted: run 3f2a is with worker w1 since 09:00:01 and has not ended.",
        ),
        (
            ARMED,
            {"order": SkipOrder(DUE, at("08:00:00"), "eva", "holiday")},
            "will be skipped (withdrawn): ordered at 08:00:00 by eva: holiday.",
        ),
        (ARMED, {"entry": entry(max_runs=1), "fired": 1}, "will be skipped (max_runs): its one run is used up."),
    ],
    ids=["waiting", "no worker", "ready", "retry", "held", "ordered to be skipped", "armed for nothing"],
)
def test_what_has_not_ended_is_told_with_its_place(standing: Standing, known: dict[str, Any], expected: str) -> None:
    """P5: a message is in exactly one place, and people can be told which."""
    assert expected == sentence(standing=standing, **known)


# ── it lies ahead ───────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("known", "expected", "outcome"),
    [
        ({}, "will be armed at 08:59:45 and will run at 09:00:00 on queue reports.", "coming"),
        (
            {"entry": entry(overlap=Overlap.SKIP, countdown_ms=60_000)},
            "will be armed at 08:59:45 and will run at 09:01:00 (1m of countdown) on queue reports; "
            "it is skipped if the run before it has not ended by then.",
            "coming",
        ),
        (
            {"entry": entry(overlap=Overlap.QUEUE)},
            "will be armed at 08:59:45 and will run at 09:00:00 on queue reports; "
            "it waits if the run before it has not ended by then.",
            "coming",
        ),
        (
            {"entry": entry(overlap=Overlap.REPLACE)},
            "will be armed at 08:59:45 and will run at 09:00:00 on queue reports; "
            "the run before it is cancelled if it has not ended by then.",
            "coming",
        ),
        (
            {"leads": False},
            "will be armed at 08:59:45 and will run at 09:00:00 on queue reports; as no beat leads now, one must be started before.",
            "coming",
        ),
        (
            {"pause": Pause(at("07:00:00"), None, "holiday", "eva")},
            "will be skipped (paused): the entry is paused until it is resumed by eva: holiday.",
            "paused",
        ),
        (
            {"pause": Pause(at("07:00:00"), at("09:00:00"))},
            "will be armed at 08:59:45 and will run at 09:00:00 on queue reports.",
            "coming",
        ),
        (
            {"pause": Pause(at("07:00:00"), at("09:00:01"))},
            "will be skipped (paused): the entry is paused until 09:00:01.",
            "paused",
        ),
        (
            {"order": SkipOrder(DUE, at("07:00:00"), "eva", "holiday")},
            "will be skipped (withdrawn): ordered at 07:00:00 by eva: holiday.",
            "withdrawn",
        ),
        (
            {"entry": entry(max_runs=3), "fired": 3},
            "will be skipped (max_runs): its 3 runs are used up.",
            "max_runs",
        ),
        ({"entry": entry(until_ms=at("08:30:00"))}, "will not run: the entry ends at 08:30:00 (until).", "none"),
        ({"entry": entry(start_ms=at("09:30:00"))}, "will not run: the entry starts at 09:30:00.", "none"),
        (
            {"entry": entry(enabled=False), "events": (Event(at("07:00:00"), "edit", "eva", enabled=False),)},
            "will not run: the entry is disabled since 07:00:00 by eva.",
            "none",
        ),
        (
            {"entry": None, "events": (Event(at("07:00:00"), "remove", "eva", "retired"),)},
            "nothing will run: the entry was removed at 07:00:00 by eva: retired.",
            "none",
        ),
    ],
)
def test_what_lies_ahead_is_told_as_things_stand(known: dict[str, Any], expected: str, outcome: str) -> None:
    """Whatever keeps a due time from running is named before it does."""
    assert expected == sentence(now="08:00:00", mark_ms=at("08:00:00"), **known)
    assert outcome == tell(facts(now="08:00:00", mark_ms=at("08:00:00"), **known)).outcome


def test_jitter_is_told_before_it_is_drawn() -> None:
    """It is a hash, so nobody need wait for it."""
    jittered = entry(jitter_ms=60_000)
    told = tell(facts(now="08:00:00", mark_ms=at("08:00:00"), entry=jittered))
    put_off_ms = told.moments["starts"] - DUE
    assert 0 < put_off_ms < 60_000
    assert "of jitter) on queue reports" in told.sentence


def test_within_the_horizon_it_is_about_to_be_armed() -> None:
    """The planner gathers for a moment."""
    text = sentence(now="08:59:50", mark_ms=at("08:00:00"))
    assert text == "is about to be armed and will run at 09:00:00 on queue reports."


# ── nothing is known of it ──────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("known", "expected", "outcome"),
    [
        (
            {"events": (Event(at("10:00:00"), "add", "beat-a"),)},
            "nothing ran: the entry was added later, at 10:00:00 by beat-a.",
            "none",
        ),
        (
            {"events": (Event(at("10:00:00"), "edit", "eva", schedule=("30 9 * * *", "0 * * * *")),)},
            "nothing ran: at 10:00:00 by eva the schedule was changed from '30 9 * * *' to '0 * * * *'.",
            "none",
        ),
        (
            {"events": (Event(at("10:00:00"), "edit", "eva", enabled=True),)},
            "nothing ran: the entry was disabled until it was enabled at 10:00:00 by eva.",
            "none",
        ),
        ({"entry": entry(start_ms=at("09:30:00"))}, "did not run: the entry starts at 09:30:00.", "none"),
        ({"entry": entry(until_ms=at("08:30:00"))}, "did not run: the entry ends at 08:30:00 (until).", "none"),
        ({"entry": entry(enabled=False)}, "did not run: the entry is disabled.", "none"),
        (
            {"known_since_ms": at("11:00:00")},
            "it is settled, but how is no longer in the history, which goes back to 11:00:00 (the counters of the entry have it).",
            "unknown",
        ),
        ({}, "nothing ran: the entry was not in force then, as far as is known.", "none"),
        (
            {"mark_ms": at("08:00:00"), "leads": False},
            "nobody has armed it yet: no beat leads; start one; it runs then, unless a newer due time has come (catchup='latest').",
            "coming",
        ),
        (
            {"mark_ms": at("08:00:00"), "entry": entry(catchup=Catchup.NONE)},
            "nobody has armed it yet: a beat that leads is about to settle it; later than 15s it is skipped (catchup='none').",
            "coming",
        ),
        (
            {"mark_ms": at("08:00:00"), "pause": Pause(at("08:30:00"), None, "holiday", "eva")},
            "skipped (paused): the entry is paused since 08:30:00 by eva: holiday.",
            "paused",
        ),
    ],
)
def test_where_nothing_is_known_the_reason_is_told(known: dict[str, Any], expected: str, outcome: str) -> None:
    """P2 speaks of an entry in force: a due time of another time has no outcome, and that is said."""
    assert expected == sentence(**known)
    assert outcome == tell(facts(**known)).outcome


def test_moments_of_another_day_or_offset_are_told_in_full() -> None:
    """A run that ended the next morning did not end before it began."""
    late = run(finished_ms=at("09:00:03") + 86_400_000)
    assert "ended well at 2026-11-22 09:00:03 UTC" in sentence(run=late)
    berlin = tell(facts(run=late, tz=ZoneInfo("Europe/Berlin")))
    assert berlin.sentence.startswith("2026-11-21 10:00:00 CET: promoted")
