"""The options by which an entry is looked after, and `expires="next"`."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from scheduler.errors import InvalidEntryError
from scheduler.fires import FireMaker, schedule_of
from scheduler.model import Catchup, Entry, Watch
from scheduler.options import Expires, expires_next_complaint, read_entry_options
from scheduler.timing import every
from scheduler.wire import decode_header

HOUR_MS = 3_600_000
DUE_MS = 1_800_000_000_000


def read(**options: Any) -> Watch | None:
    """What these options say of looking after an entry."""
    return read_entry_options(options, what="entry 'e'").watch


def test_options_become_one_watch() -> None:
    """Parsed once at the edge; an entry that says nothing has none, and nobody looks after it."""
    assert read() is None
    assert read(alert_after=None, ping_url=None) is None
    assert read(
        alert_after="2h", alert_failures=3, pause_after_failures=5, ping_url="https://hc-ping.com/abc"
    ) == Watch(alert_after_ms=2 * HOUR_MS, alert_failures=3, pause_failures=5, ping_url="https://hc-ping.com/abc")


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"alert_after": "soon"}, "alert_after 'soon'"),
        ({"alert_after": 0}, "alert_after 0: outside 1s–"),
        ({"alert_after": "5m", "countdown": "4m", "jitter": "2m"}, "alert_after 5m cannot be met: a run starts up to 6m after"),
        ({"alert_failures": 0}, "alert_failures 0: outside 1–"),
        ({"pause_after_failures": True}, "pause_after_failures True: expected a whole number"),
        ({"ping_url": "file:///etc/passwd"}, "ping_url 'file:///…': an address begins with http:// or https://"),
        ({"ping_url": "https://"}, "its host is missing"),
        ({"ping_url": 5}, "ping_url '5': expected an address"),
        ({"alert_afer": "5m"}, "did you mean 'alert_after'"),
    ],
)  # fmt: skip
def test_what_cannot_be_met_is_refused(options: dict[str, Any], complaint: str) -> None:
    """P12: where it is declared, saying what and why."""
    with pytest.raises(InvalidEntryError) as error:
        read(**options)
    assert complaint in str(error.value)


def test_a_complaint_keeps_the_secret_of_an_address() -> None:
    """Whoever knows a ping URL can call it, and complaints go to logs."""
    with pytest.raises(InvalidEntryError) as error:
        read(ping_url="https://user:pw@hc-ping.com/secret token?key=secret")
    assert "https://hc-ping.com/…" in str(error.value)
    assert not any(word in str(error.value) for word in ("secret", "pw"))


def expiry_ms(next_due_ms: int | None, **options: Any) -> int:
    """When the fire of DUE_MS expires."""
    entry = Entry(name="e", task="t", queue="q", schedule=every("1h").as_data(), expires_next=True, **options)
    maker = FireMaker(entry, schedule_of(entry), namespace="ns", late_limit_ms=15_000)
    fire = maker.fire(DUE_MS, next_due_ms, state="", now_ms=DUE_MS)
    header, _ = decode_header(fire.body)
    assert not header.expires_ms or header.expires_ms > fire.at_ms, "it can be met"
    return header.expires_ms


def test_a_run_expires_when_its_successor_is_to_start() -> None:
    """A countdown longer than the period would otherwise end every run before it starts."""
    assert expiry_ms(DUE_MS + HOUR_MS) == DUE_MS + HOUR_MS
    assert expiry_ms(DUE_MS + HOUR_MS, countdown_ms=3 * HOUR_MS) == DUE_MS + 4 * HOUR_MS
    for jitter_ms in (HOUR_MS // 2, HOUR_MS, 5 * HOUR_MS):
        assert expiry_ms(DUE_MS + HOUR_MS, jitter_ms=jitter_ms) == DUE_MS + HOUR_MS


def test_the_last_run_of_a_schedule_does_not_expire() -> None:
    """Nothing comes after it that it could stand in the way of."""
    assert expiry_ms(None) == 0
    assert expiry_ms(DUE_MS + HOUR_MS, until_ms=DUE_MS + HOUR_MS) == DUE_MS + HOUR_MS
    assert expiry_ms(DUE_MS + HOUR_MS, until_ms=DUE_MS + HOUR_MS - 1) == 0


def test_next_is_one_of_three_forms_of_expires() -> None:
    """The word is read; what contradicts it is refused."""
    assert read_entry_options({"expires": "next"}, what="e").expires == Expires(at_next=True)
    assert read_entry_options({"expires": timedelta(hours=1)}, what="e").expires == Expires(after_ms=HOUR_MS)
    at = datetime(2027, 1, 1, tzinfo=UTC)
    assert read_entry_options({"expires": at}, what="e").expires == Expires(at=at)
    complaint = expires_next_complaint(Expires(at_next=True), Catchup.ALL)
    assert complaint is not None
    assert "catchup='latest'" in complaint
    assert expires_next_complaint(Expires(at_next=True), Catchup.LATEST) is None
