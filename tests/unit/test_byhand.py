"""Runs that people ask for: which due times a backfill means, and what its messages say."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from scheduler.byhand import RATE_S_MAX, Asked, Span, backfill_runs, complaint_about, due_times, triggered
from scheduler.clock import to_ms
from scheduler.errors import NotFoundError, RefusedError
from scheduler.model import UNREADABLE, Entry, Overlap
from scheduler.store.backfill import Backfill
from scheduler.timing import crontab, every
from scheduler.wire import FLAG_BACKFILL, FLAG_FIRE, FLAG_HAND, decode_header, decode_payload, fire_id

DAY_MS = 86_400_000


def at(text: str) -> int:
    """``21 09:00`` of November 2026, in ms."""
    return to_ms(datetime.strptime(f"2026-11-{text}", "%Y-%m-%d %H:%M").replace(tzinfo=UTC))


NOW_MS = at("21 12:00")
DAILY = Entry(name="daily", task="t.x", queue="q", schedule=crontab("0 9 * * *").as_data(), overlap=Overlap.SKIP)


def span(begin: str = "11 00:00", end: str = "21 00:00", **options: Any) -> Span:
    """Ten days in November."""
    return Span(from_ms=at(begin), to_ms=at(end), by="eva@host", **options)


def dues(entry: Entry = DAILY, **options: Any) -> list[int]:
    """The due times that are meant."""
    return due_times(entry, span(**options), now_ms=NOW_MS)


def replaced(**changes: Any) -> Entry:
    """Another daily one."""
    fields: dict[str, Any] = {"name": "daily", "task": "t.x", "queue": "q", "schedule": DAILY.schedule}
    return Entry(**(fields | changes))


def test_the_first_moment_is_inside_and_the_last_is_not() -> None:
    """[from, to): two spans that meet share no due time."""
    assert dues() == [at(f"{day} 09:00") for day in range(11, 21)]
    assert dues(begin="11 09:00", end="12 09:00") == [at("11 09:00")]
    assert dues(begin="12 09:00", end="13 09:00") == [at("12 09:00")]


def test_the_schedule_is_the_one_that_is_in_force_now() -> None:
    """In its zone, with its daylight saving."""
    berlin = replaced(schedule=crontab("30 2 * * *", tz="Europe/Berlin").as_data())
    october = Span(
        from_ms=to_ms(datetime(2026, 10, 24, tzinfo=UTC)), to_ms=to_ms(datetime(2026, 10, 27, tzinfo=UTC)), by="eva"
    )
    assert len(due_times(berlin, october, now_ms=NOW_MS)) == 3


def test_start_and_until_are_minded_unless_said() -> None:
    """An entry had no due time before it started."""
    entry = replaced(start_ms=at("15 00:00"), until_ms=at("17 12:00"))
    assert dues(entry) == [at(f"{day} 09:00") for day in (15, 16, 17)]
    assert len(dues(entry, outside=True)) == 10
    with pytest.raises(NotFoundError, match="lie outside its start and until"):
        dues(replaced(start_ms=at("20 12:00")))


def test_more_than_the_limit_are_refused_with_their_number() -> None:
    """Nobody starts ten thousand runs by a slip; and counting them takes no time."""
    assert len(dues(limit=10)) == 10
    with pytest.raises(RefusedError, match=r"has 10 due times .* at most 9 unless"):
        dues(limit=9)
    secondly = replaced(schedule=every("1s").as_data())
    with pytest.raises(RefusedError, match="10,000 or more due times"):
        dues(secondly, begin="01 00:00")
    assert len(dues(secondly, begin="20 21:00", limit=20_000)) == 10_800


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"begin": "21 00:00", "end": "11 00:00"}, "it ends before it begins"),
        ({"begin": "11 00:00", "end": "11 00:00"}, "it ends before it begins"),
        ({"end": "21 13:00"}, "lies ahead"),
        ({"rate_s": 0.0}, "rate 0"),
        ({"rate_s": RATE_S_MAX + 1}, "at most 1000 in a second"),
        ({"limit": 0}, "limit 0"),
        ({"overlap": Overlap.REPLACE}, "expected allow, queue or skip"),
        ({"reason": "r" * 1_001}, "at most 1000 are kept"),
    ],
)
def test_what_cannot_be_is_refused(options: dict[str, Any], complaint: str) -> None:
    """P12: before anything is written."""
    with pytest.raises(ValueError, match=complaint):
        dues(**options)


def test_an_entry_without_due_times_there_is_said_to_have_none() -> None:
    """Neither is one that a newer version wrote run by guess."""
    with pytest.raises(NotFoundError, match="has no due time from 2026-11-11T10:00"):
        dues(begin="11 10:00", end="11 11:00")
    with pytest.raises(RefusedError, match="newer version"):
        dues(Entry(name="moon", task="", queue="", schedule={"kind": UNREADABLE}))


def test_the_runs_of_a_backfill_have_ids_of_their_own() -> None:
    """Never those of fires: a due time and its backfill are two messages; but the same whoever asks, so that none is doubled."""
    asked = Backfill(
        id="b1", entry="daily", queue="q", from_ms=at("11 00:00"), to_ms=at("13 00:00"), count=2, overlap=Overlap.QUEUE,
        rate_s=2.0, asked_ms=NOW_MS, starts_ms=NOW_MS, ends_ms=NOW_MS + 500, by="eva", reason="lost",
    )  # fmt: skip
    due_ms = [at("11 09:00"), at("12 09:00")]
    runs = backfill_runs(DAILY, asked, due_ms, namespace="n")
    assert [(run.due_ms, run.at_ms - NOW_MS) for run in runs] == [(due_ms[0], 0), (due_ms[1], 500)]
    assert not {run.id for run in runs} & {fire_id("n", "daily", ms) for ms in due_ms}
    assert [run.id for run in backfill_runs(DAILY, asked, due_ms, namespace="n")] == [run.id for run in runs]
    header, payload_at = decode_header(runs[1].body)
    assert (header.due_ms, header.backfill, header.by, header.reason) == (due_ms[1], "b1", "eva", "lost")
    assert (header.overlap, header.expires_ms, header.max_runs) == (Overlap.QUEUE, 0, 0)
    assert header.flags == FLAG_BACKFILL | FLAG_HAND
    assert not header.flags & FLAG_FIRE
    assert not header.of_schedule
    assert decode_payload(runs[1].body, payload_at).eta_ms == NOW_MS + 500


def test_a_key_stands_for_one_message_of_its_entry() -> None:
    """Another entry, another namespace, another key: another run."""

    def id_of(key: str, *, namespace: str = "n", name: str = "daily") -> str:
        return triggered(replaced(name=name), Asked(by="eva", key=key), namespace=namespace, now_ms=NOW_MS).id

    assert id_of("k") == id_of("k")
    assert len({id_of("k"), id_of("l"), id_of("k", namespace="m"), id_of("k", name="nightly"), id_of("1")}) == 5
    due = at("11 09:00")
    assert id_of(str(due)) != fire_id("n", "daily", due)
    assert complaint_about(Asked(by="eva", key="k" * 257)) is not None
    assert complaint_about(Asked(by="eva", key="deploy 7", reason="why not")) is None
