"""`sched alerts`, and what other commands say of what is wrong."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from scheduler.alarm import Alert, Kind
from scheduler.model import Watch
from scheduler.store import Store
from tests.integration.cli.conftest import Sched, make_entry, publish
from tests.support.hookserver import HookServer

NOWHERE = "http://127.0.0.1:1/secret"
WATCH = Watch(alert_after_ms=7_200_000, alert_failures=3, pause_failures=5, ping_url="https://hc-ping.com/secret")


@pytest.fixture
def hooks() -> Iterator[HookServer]:
    """Who is told."""
    with HookServer() as hooks:
        yield hooks


def wrong(store: Store, *hooks: str) -> Alert:
    """Something is."""
    at_ms = int(store.queues.time_ms()) - 90_000
    alert = Alert(
        id="a1", kind=Kind.FAILING, entry="eod", text="eod has failed 3 times", failures=3, error="x", at_ms=at_ms
    )
    assert store.alerts.settle(alert, hooks)
    return alert


def test_what_is_wrong_is_shown_with_since_when(sched: Sched, store: Store) -> None:
    """For people and for programs."""
    wrong(store, NOWHERE)
    said = sched("alerts")
    assert said.code == 0
    assert "1m 30s" in said.out
    assert "eod has failed 3 times" in said.out
    assert "1 notice waits to be sent" in said.err
    assert "make room" not in said.err
    store.connection.call("HSET", store.keys.meta, "alerts_dropped", 3)
    assert "3 had to make room for newer ones" in sched("alerts").err
    (alert,) = sched("alerts", "-o", "json").data
    assert (alert["kind"], alert["entry"], alert["failures"], alert["due"]) == ("failing", "eod", 3, None)
    assert alert["raised_at"].endswith("Z")


def test_nothing_wrong_says_whether_anybody_looks(sched: Sched, store: Store) -> None:
    """No alert means little where no entry asks for any."""
    said = sched("alerts")
    assert (said.code, said.out) == (0, "")
    assert "no entry is looked after; give one alert_after=" in said.err
    publish(store, make_entry("eod", watch=WATCH))
    assert "no alert is open; 1 entry is looked after" in sched("alerts").err
    assert sched("alerts", "-o", "json").data == []


def test_history_tells_what_was_raised_and_what_became_of_it(sched: Sched, store: Store) -> None:
    """Newest first, hooks without their secrets."""
    assert "nothing was ever raised here" in sched("alerts", "--history").err
    wrong(store, NOWHERE)
    lines = sched("alerts", "--history", "-o", "json").data
    assert [(line["what"], line["kind"], line["entry"], line["alert"]) for line in lines] == [
        ("raised", "failing", "eod", "a1")
    ]
    assert "raised" in sched("alerts", "--history", "-n", "1").out
    assert sched("alerts", "--history", "--test").code == 2


def test_a_test_says_of_each_hook_whether_it_was_told(
    sched: Sched, hooks: HookServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And fails if one was not: for the script that sets a host up. It needs no Redis."""
    monkeypatch.setenv("SCHED_REDIS_URL", "redis://127.0.0.1:1")
    assert sched("alerts", "--test").code == 1
    monkeypatch.setenv("SCHED_ALERT_HOOKS", hooks.url("/secret"))
    said = sched("alerts", "--test")
    assert said.code == 0
    assert "200 OK" in said.out
    (call,) = hooks.calls
    assert (call.path, call.data["kind"]) == ("/secret", "test")
    monkeypatch.setenv("SCHED_ALERT_HOOKS", f"{hooks.url('/secret')},{NOWHERE}")
    said = sched("alerts", "--test", "-o", "json")
    assert said.code == 1
    assert [(one["ok"], one["answer"]) for one in said.data] == [
        (True, "200 OK"),
        (False, "no answer: Connection refused"),
    ]
    assert "secret" not in said.out


def test_status_tells_what_is_wrong(sched: Sched, store: Store) -> None:
    """It is what people look at first."""
    wrong(store)
    assert "eod has failed 3 times" in sched("status").out
    (alert,) = sched("status", "-o", "json").data["alerts"]
    assert alert == {"kind": "failing", "entry": "eod", "text": "eod has failed 3 times"}


def test_show_says_how_an_entry_is_looked_after(sched: Sched, store: Store) -> None:
    """Whoever is called at night wants to know why; the address of a ping is a secret."""
    publish(store, make_entry("eod", watch=WATCH, expires_next=True), make_entry("plain"))
    out = sched("show", "eod").out
    for line in (
        "expires: when the next is due", "alert: without a success 2h after it was due", "alert: after 3 failures in a row",
        "pause: after 5 failures in a row", "pings: https://hc-ping.com/…",
    ):  # fmt: skip
        assert line in out
    options = sched("show", "eod", "-o", "json").data["options"]
    assert {name: options[name] for name in ("alert_after_s", "alert_failures", "pause_after_failures", "expires_next")} == {
        "alert_after_s": 7200.0, "alert_failures": 3, "pause_after_failures": 5, "expires_next": True,
    }  # fmt: skip
    assert options["ping_url"] == "https://hc-ping.com/…"
    assert "alert" not in sched("show", "plain").out
