"""`ping_url`: that runs start, succeed and fail is told to whoever watches over an entry from outside, as healthchecks has it."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from urllib.parse import parse_qs, urlsplit
from uuid import UUID, uuid4

import pytest

from scheduler.alarm import BY_US, Ping, ping_address
from scheduler.beat.courier import Courier
from scheduler.beat.hook_process import run_callable
from scheduler.beat.load import LoadRequest
from scheduler.model import Watch
from scheduler.store import Store
from scheduler.store.sessions import Session
from scheduler.wire import FLAG_BACKFILL, FLAG_PING
from tests.support.bench import Bench
from tests.support.hookserver import Call, HookServer
from tests.support.processes import Process
from tests.support.server import ValkeyServer
from tests.support.site import QUICK, Site
from tests.support.wait import wait_until

pytestmark = pytest.mark.redis

RUN = "0123456789abcdef0123456789abcdef"
RID = "01234567-89ab-cdef-0123-456789abcdef"


@pytest.fixture
def hooks() -> Iterator[HookServer]:
    """Who is pinged."""
    with HookServer() as hooks:
        yield hooks


@pytest.fixture
def bench(store: Store) -> Bench:
    """A workbench."""
    return Bench(store)


@pytest.fixture
def session(bench: Bench, hooks: HookServer) -> Session:
    """A worker, and an entry `e` that is pinged."""
    bench.put("e", watch=Watch(ping_url=hooks.url("/ping/abc")))
    return bench.open()


def begin(bench: Bench, session: Session, *, flags: int = FLAG_PING, id_: str = "", **header: str) -> str:
    """Take a run of the entry."""
    id_ = bench.call(entry="e", flags=flags, id_=id_, **header)
    assert bench.take(session) == [id_]
    return id_


def deliver(bench: Bench) -> None:
    """A courier's turn."""
    courier = Courier(bench.store, hooks=(), run_callable=partial(run_callable, LoadRequest()))
    courier.turn()
    courier.wait(20)


def told(calls: list[Call]) -> list[tuple[str, str, str]]:
    """Which verb, where, and with what text."""
    return [(call.method, urlsplit(call.path).path, call.body.decode()) for call in calls]


@pytest.mark.parametrize(
    ("url", "what", "address"),
    [
        ("https://hc-ping.com/abc", "start", f"https://hc-ping.com/abc/start?rid={RID}"),
        ("https://hc-ping.com/abc", "success", f"https://hc-ping.com/abc?rid={RID}"),
        ("https://hc-ping.com/abc/", "fail", f"https://hc-ping.com/abc/fail?rid={RID}"),
        ("http://u:p@host:8080/key/slug?create=1", "start", f"http://u:p@host:8080/key/slug/start?create=1&rid={RID}"),
    ],
)
def test_address_says_what_happened_and_to_which_run(url: str, what: str, address: str) -> None:
    """As healthchecks.io documents it."""
    assert ping_address(url, Ping(what, RUN, 1)) == address


def test_id_that_is_no_uuid_gets_one_of_its_own() -> None:
    """A caller may choose the ids of runs."""
    (rid,) = parse_qs(urlsplit(ping_address("https://x/y", Ping("start", "eod-2026", 1))).query)["rid"]
    assert UUID(rid)
    assert rid in ping_address("https://x/y", Ping("fail", "eod-2026", 2))


@pytest.mark.parametrize(
    ("state", "end"),
    [
        ("SUCCESS", [("GET", "/ping/abc", "")]),
        ("IGNORED", [("GET", "/ping/abc", "")]),
        ("FAILURE", [("POST", "/ping/abc/fail", "ValueError: no data")]),
        ("REVOKED", []),
        ("EXPIRED", []),
    ],
)
def test_start_is_told_before_the_end(
    bench: Bench, session: Session, hooks: HookServer, state: str, end: list[tuple[str, str, str]]
) -> None:
    """What was cancelled or has expired says nothing either way."""
    id_ = begin(bench, session)
    bench.finish(session, id_, state=state, entry="e", error="ValueError: no data" if state == "FAILURE" else "")
    deliver(bench)
    assert told(hooks.calls) == [("GET", "/ping/abc/start", ""), *end]
    assert {parse_qs(urlsplit(call.path).query)["rid"][0].replace("-", "") for call in hooks.calls} == {id_}


def test_run_that_is_retried_is_one_run(bench: Bench, session: Session, hooks: HookServer) -> None:
    """It starts once, and has failed only when no attempt is left."""
    id_ = begin(bench, session)
    body = bench.store.queues.body(id_)
    assert body
    session.retry(id_, body, delay_ms=0, attempt=2)
    assert bench.take(session) == [id_]
    session.release([id_], lost=True)
    assert bench.take(session) == [id_]
    bench.finish(session, id_, state="FAILURE", entry="e", error="x")
    deliver(bench)
    assert [path for _, path, _ in told(hooks.calls)] == ["/ping/abc/start", "/ping/abc/fail"]


def test_run_that_is_lost_for_good_has_failed(bench: Bench, session: Session, hooks: HookServer) -> None:
    """Though no worker was left to say so."""
    id_ = begin(bench, session)
    for _ in range(5):
        session.release([id_], lost=True)
        bench.take(session)
    deliver(bench)
    assert told(hooks.calls)[-1] == ("POST", "/ping/abc/fail", "its worker died 5 times while it ran")


def test_backfill_and_runs_without_the_flag_ping_nobody(bench: Bench, session: Session, hooks: HookServer) -> None:
    """A due time of last year says nothing of today."""
    for flags, header in ((0, {}), (FLAG_PING | FLAG_BACKFILL, {"backfill": "b1"})):
        id_ = begin(bench, session, flags=flags, **header)
        bench.finish(session, id_, entry="e")
    assert bench.call_redis("EXISTS", bench.keys.pings) == 0


def test_pings_that_cannot_be_sent_are_bounded_and_the_newest_are_kept(
    bench: Bench, session: Session, hooks: HookServer
) -> None:
    """Twenty of an entry, and a thousand entries; then they come in order."""
    hooks.answer = 503
    for _ in range(15):
        bench.finish(session, begin(bench, session), entry="e")
    deliver(bench)
    (line,) = (key for key in bench.all_keys() if ":pings:e" in key)
    assert bench.call_redis("LLEN", line) == 20
    assert "answered 503" in bench.store.alerts.log(1)[0].text
    hooks.answer = 200
    hooks.calls.clear()
    for _ in range(2):
        bench.call_redis("ZADD", bench.keys.pings, 1, "e")
        deliver(bench)
    assert [path for _, path, _ in told(hooks.calls)] == ["/ping/abc/start", "/ping/abc"] * 10
    assert bench.call_redis("EXISTS", line, bench.keys.pings, bench.keys.pings_failures) == 0


def test_thousand_and_first_entry_takes_the_place_of_the_oldest(bench: Bench, session: Session) -> None:
    """A dead address, or a burst, must not fill Redis."""
    bench.call_redis("ZADD", bench.keys.pings, *(part for i in range(1_000) for part in (i + 1, f"x{i}")))
    bench.call_redis("RPUSH", f"{bench.keys.pings}:x0", "old")
    begin(bench, session)
    assert bench.call_redis("ZCARD", bench.keys.pings) == 1_000
    assert bench.call_redis("ZSCORE", bench.keys.pings, "x0") is None
    assert bench.call_redis("EXISTS", f"{bench.keys.pings}:x0") == 0


def test_entry_that_is_no_longer_pinged_is_forgotten(bench: Bench, session: Session, hooks: HookServer) -> None:
    """Removed, or its `ping_url` was."""
    begin(bench, session)
    bench.put("e")
    deliver(bench)
    assert hooks.calls == []
    assert bench.call_redis("EXISTS", bench.keys.pings) == 0


def test_beat_and_worker_tell_what_files_ask_for(server: ValkeyServer, tmp_path: Path, hooks: HookServer) -> None:
    """From the options to the calls, through real processes: pings, an alert by a callable, and the pause."""
    settings = QUICK | {"alert_hooks": ("schedules.tasks:page",)}
    site = Site(server.url, tmp_path, namespace=f"h{uuid4().hex[:12]}", **settings)
    site.write(
        f"""
        def page(alert):
            with open({str(tmp_path / "paged")!r}, "a") as file:
                file.write(alert["kind"] + "\\n")

        @schedule(every("1s"), max_runs=1, ping_url={hooks.url("/ping/good")!r})
        def good(): ...

        @schedule(every("1s"), max_retries=0, ping_url={hooks.url("/ping/bad")!r}, alert_failures=1, pause_after_failures=1)
        def bad(): raise ValueError("no data")
        """
    )
    try:
        site.processes.append(Process("worker", "-c", "1", config=site.config, cwd=tmp_path))
        site.beat("a")
        hooks.wait(1, lambda call: call.path.startswith("/ping/good?"))
        hooks.wait(1, lambda call: call.path.startswith("/ping/bad/fail"))
        calls = told(hooks.calls)
        assert [call for call in calls if "good" in call[1]] == [
            ("GET", "/ping/good/start", ""),
            ("GET", "/ping/good", ""),
        ]
        assert [call for call in calls if "bad" in call[1]][:2] == [
            ("GET", "/ping/bad/start", ""),
            ("POST", "/ping/bad/fail", "ValueError: no data"),
        ]
        paged = tmp_path / "paged"
        wait_until(
            lambda: paged.exists() and "paused" in paged.read_text(), timeout_s=15, what="the callable to be told"
        )
        record = site.store.registry.get("tasks.bad")
        assert record is not None
        assert record.pause is not None
        assert record.pause.by == BY_US
    finally:
        site.close()
