"""The commands that look and steer, against a real server: shapes, exit codes, messages."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from scheduler.model import Outcome, Overlap, ResultRecord, Run
from scheduler.store import Store
from scheduler.store.sessions import Session, WorkerInfo
from scheduler.wire import decode_header, decode_payload
from tests.integration.cli.conftest import Sched, make_entry, publish

ENTRY_KEYS = {
    "name", "task", "schedule", "words", "timezone", "queue", "enabled", "paused", "next_fire", "last_fire",
    "last_state", "source",
}  # fmt: skip
RUN_KEYS = {
    "id", "entry", "task", "scheduled_for", "enqueued_at", "started_at", "finished_at", "state", "outcome", "worker",
    "attempt", "lateness_s",
}  # fmt: skip


def a_worker(store: Store, *queues: str) -> Session:
    """A worker's session, to be moved by hand."""
    return store.sessions.open(WorkerInfo(name="w1", host="h", pid=7, queues=queues, started_ms=1_700_000_000_000))


def finish(session: Session, queue: str, *, state: str = "SUCCESS", result: bytes = b"30", **record: Any) -> Run:
    """Take one message from *queue* and end it."""
    (message,) = session.take([queue], 1).messages
    header, _ = decode_header(message.body)
    run = Run(
        id=message.id, entry=header.entry, task=header.task, queue=queue, state=state, due_ms=header.due_ms,
        enqueued_ms=header.enqueued_ms, started_ms=header.enqueued_ms + 5, finished_ms=header.enqueued_ms + 25,
        worker="w1", attempt=1,
    )  # fmt: skip
    kept = ResultRecord(state=state, result=msgspec.Raw(result), done_ms=run.finished_ms, **record)
    outcome = Outcome(message.id, msgspec.json.encode(kept), 60_000, msgspec.json.encode(run), header.entry, state)
    assert session.finish([outcome]).refused == []
    return run


# ── list, show ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_list_has_the_shape_of_the_contract(sched: Sched, store: Store) -> None:
    publish(store, make_entry("daily"), make_entry("hourly", enabled=False))
    said = sched("list", "-o", "json")
    assert said.code == 0
    daily, hourly = said.data
    assert set(daily) >= ENTRY_KEYS
    assert daily["schedule"] == "30 9 * * mon-fri"
    assert daily["words"] == "At 09:30, Monday through Friday"
    assert daily["timezone"] == "Europe/Berlin"
    assert daily["next_fire"].endswith(":30:00.000Z")
    assert (daily["enabled"], daily["paused"], daily["last_fire"], daily["last_state"]) == (True, False, None, None)
    assert (hourly["enabled"], hourly["next_fire"]) == (False, None)


def test_list_needs_no_schedule_files_and_says_when_there_is_nothing(sched: Sched) -> None:
    said = sched("list")
    assert (said.code, said.out) == (0, "")
    assert "there are no entries yet" in said.err
    assert sched("list", "-o", "json").data == []


def test_an_entry_that_cannot_fire_again_has_no_next_fire(sched: Sched, store: Store) -> None:
    """Next fires are what will happen as things stand, not what the schedule alone would say."""
    now_ms = int(store.queues.time_ms())
    far = make_entry("e5", start_ms=now_ms + 400 * 86_400_000)
    publish(
        store,
        make_entry("e1", until_ms=now_ms - 1),
        make_entry("e2", enabled=False),
        make_entry("e3"),
        make_entry("e4"),
        far,
    )
    store.registry.pause("e3")
    store.registry.pause("e4", until_ms=now_ms + 30 * 86_400_000)
    entries = {entry["name"]: entry for entry in sched("list", "-o", "json").data}
    assert [entries[name]["next_fire"] for name in ("e1", "e2", "e3")] == [None, None, None]
    assert [entries[name]["paused"] for name in ("e1", "e2", "e3", "e4")] == [False, False, True, True]
    plain = sched("next", "e1", "--from", "now", "-n", "1", "-o", "json").data["fires"]
    assert plain == []
    after = sched("next", "e4", "--from", "30d", "-n", "1", "-o", "json").data["fires"]
    assert entries["e4"]["next_fire"] == after[0]
    assert entries["e5"]["next_fire"] == sched("next", "e5", "-n", "1", "-o", "json").data["fires"][0]


def test_an_entry_that_a_newer_version_wrote_does_not_hide_the_others(sched: Sched, store: Store) -> None:
    """P12, in the middle of a rolling upgrade."""
    publish(store, make_entry("daily"), make_entry("moon", schedule={"kind": "lunar", "phase": "full"}))
    said = sched("list", "-o", "json")
    assert said.code == 0
    daily, moon = said.data
    assert daily["next_fire"] is not None
    assert (moon["next_fire"], moon["words"]) == (None, "")
    assert "lunar" in moon["schedule"]
    assert sched("show", "moon").code == 0
    assert sched("next", "moon").code == 2


def test_show_adds_options_counters_and_runs(sched: Sched, store: Store) -> None:
    publish(store, make_entry("daily", tags=("eod",), overlap=Overlap.ALLOW))
    said = sched("show", "dai", "-o", "json")
    assert said.code == 0
    assert set(said.data) >= ENTRY_KEYS | {"options", "counters", "runs", "pause"}
    assert said.data["options"]["args"] == [5, "x"]
    assert said.data["options"]["overlap"] == "allow"
    assert "allow" in sched("show", "daily").out


@pytest.mark.parametrize("command", ["show", "next"])
def test_a_name_may_be_shortened_where_nothing_is_changed(sched: Sched, store: Store, command: str) -> None:
    publish(store, make_entry("mail-birthday"), make_entry("mail-weekly"))
    assert sched(command, "mail-b").code == 0
    ambiguous = sched(command, "mail")
    assert (ambiguous.code, ambiguous.out) == (2, "")
    assert "'mail' could be mail-birthday, mail-weekly" in ambiguous.err
    unknown = sched(command, "mail-weakly")
    assert (unknown.code, unknown.out) == (3, "")
    assert "did you mean mail-weekly" in unknown.err


@pytest.mark.parametrize("command", ["trigger", "pause", "resume"])
def test_a_name_is_never_guessed_where_something_is_changed(sched: Sched, store: Store, command: str) -> None:
    publish(store, make_entry("mail-birthday"))
    said = sched(command, "mail-b")
    assert (said.code, said.out) == (3, "")
    assert said.err == "sched: there is no entry 'mail-b'; did you mean mail-birthday?\n"
    assert store.registry.all()[0].pause is None
    assert store.queues.names() == []


# ── trigger, call ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_trigger_puts_the_entrys_own_message_on_its_queue(sched: Sched, store: Store) -> None:
    publish(store, make_entry("daily", priority=3, expires_after_ms=60_000))
    said = sched("trigger", "daily", "-o", "json")
    assert said.code == 0
    assert {"id", "entry", "queue"} <= set(said.data)
    assert (said.data["entry"], said.data["queue"]) == ("daily", "reports")
    body = store.queues.body(said.data["id"])
    assert body is not None
    header, at = decode_header(body)
    assert (header.task, header.priority, header.due_ms) == ("reports.daily", 3, 0)
    assert header.expires_ms == header.enqueued_ms + 60_000
    assert bytes(decode_payload(body, at).args) == b'[5,"x"]'


def test_trigger_replaces_arguments_and_queue(sched: Sched, store: Store) -> None:
    publish(store, make_entry("daily"))
    said = sched("trigger", "daily", "--args", "[]", "--kwargs", '{"a": [1]}', "--queue", "slow", "-o", "json")
    body = store.queues.body(said.data["id"])
    assert body is not None
    header, at = decode_header(body)
    payload = decode_payload(body, at)
    assert (header.queue, bytes(payload.args), bytes(payload.kwargs)) == ("slow", b"[]", b'{"a":[1]}')
    assert store.queues.depths()["slow"].ready == 1


def test_trigger_never_moves_the_mark(sched: Sched, store: Store) -> None:
    """A run by hand consumes no due time."""
    publish(store, make_entry("daily"))
    before = store.registry.marks()
    sched("trigger", "daily")
    assert store.registry.marks() == before


def test_trigger_is_refused_while_a_run_has_not_ended_and_names_it(sched: Sched, store: Store) -> None:
    publish(store, make_entry("daily"))
    first = sched("trigger", "daily", "-o", "json").data["id"]
    said = sched("trigger", "daily")
    assert (said.code, said.out) == (4, "")
    assert f"run {first} has not ended" in said.err
    assert sched("trigger", "daily", "--force").code == 0


def test_trigger_later_waits_on_redis(sched: Sched, store: Store) -> None:
    publish(store, make_entry("daily"))
    said = sched("trigger", "daily", "--countdown", "1h", "-o", "json")
    assert "eta" in said.data
    assert store.queues.depths()["reports"].delayed == 1


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--countdown", "1h", "--eta", "09:00"], "give one of them"),
        (["--eta", "soon"], "--eta 'soon' is not a moment"),
        (["--eta", "2h", "--expires", "1h"], "is not after the start of the run"),
        (["--queue", "a b"], "queue 'a b'"),
        (["--args", f'["{"x" * 300_000}"]'], "message_bytes_max"),
    ],
)
@pytest.mark.parametrize("command", ["trigger", "call"])
def test_what_cannot_be_sent_is_refused_before_anything_is(
    sched: Sched, store: Store, command: str, options: list[str], complaint: str
) -> None:
    publish(store, make_entry("daily"))
    said = sched(command, "daily", *options)
    assert (said.code, said.out) == (2, "")
    assert complaint in said.err
    assert said.err.count("\n") == 1
    assert store.queues.names() == []


def test_call_sends_a_task_that_nobody_here_knows(sched: Sched, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCHED_ROUTES", '{"reports.*": "slow"}')
    said = sched("call", "reports.multiply", "-a", "[5, 6]", "-o", "json")
    assert said.code == 0
    assert (said.data["entry"], said.data["queue"]) == (None, "slow")
    body = store.queues.body(said.data["id"])
    assert body is not None
    header, at = decode_header(body)
    assert (header.task, bytes(decode_payload(body, at).args)) == ("reports.multiply", b"[5,6]")


def test_wait_ends_with_the_run_and_its_exit_code_is_the_runs(sched: Sched, store: Store) -> None:
    """`sched trigger --wait && …` continues only after success."""
    import threading  # noqa: PLC0415

    publish(store, make_entry("daily", ignore_result=True))
    session = a_worker(store, "reports")
    failure = b'{"type":"ValueError","module":"builtins","message":"no","args":["no"]}'
    endings: list[dict[str, Any]] = [
        {"state": "SUCCESS", "result": b"30"},
        {"state": "FAILURE", "result": failure, "traceback": "Traceback …"},
    ]
    said = []
    for ending in endings:
        ready = threading.Event()

        def work(ending: dict[str, Any] = ending, ready: threading.Event = ready) -> None:
            from tests.support.wait import wait_until  # noqa: PLC0415

            ready.set()
            depth = wait_until(lambda: store.queues.depths().get("reports"), what="the message")
            assert depth is not None
            wait_until(lambda: store.queues.depths()["reports"].ready, what="the message")
            finish(session, "reports", **ending)

        thread = threading.Thread(target=work)
        thread.start()
        said.append(sched("trigger", "daily", "--wait", "--timeout", "20s", "-o", "json"))
        thread.join()
    success, failed = said
    assert success.code == 0
    assert {"id", "entry", "queue", "state", "result", "traceback"} <= set(success.data)
    assert (success.data["state"], success.data["result"], success.data["traceback"]) == ("SUCCESS", 30, None)
    assert failed.code == 1
    assert (failed.data["state"], failed.data["result"]) == ("FAILURE", None)
    assert failed.data["exception"]["type"] == "ValueError"
    assert failed.data["traceback"] == "Traceback …"


def test_a_wait_that_takes_too_long_is_exit_5_and_the_run_goes_on(sched: Sched, store: Store) -> None:
    said = sched("call", "nobody.knows", "--wait", "--timeout", "0.05", "-o", "json")
    assert said.code == 5
    assert "it goes on" in said.err
    assert store.queues.body(said.data["id"]) is not None


# ── pause, resume ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_pause_and_resume_give_the_entry(sched: Sched, store: Store) -> None:
    publish(store, make_entry("daily"))
    paused = sched("pause", "daily", "--reason", "migration", "--until", "2h", "-o", "json")
    assert paused.code == 0
    assert set(paused.data) >= ENTRY_KEYS
    assert paused.data["paused"] is True
    assert paused.data["pause"]["reason"] == "migration"
    assert "@" in paused.data["pause"]["by"]
    assert paused.data["pause"]["until"].endswith("Z")
    assert "migration" in sched("show", "daily").out
    resumed = sched("resume", "daily", "-o", "json")
    assert (resumed.code, resumed.data["paused"], resumed.data["pause"]) == (0, False, None)


def test_a_pause_until_yesterday_is_refused(sched: Sched, store: Store) -> None:
    publish(store, make_entry("daily"))
    said = sched("pause", "daily", "--until", "2020-01-01")
    assert said.code == 2
    assert "is past already" in said.err


# ── runs, result, cancel ────────────────────────────────────────────────────────────────────────────────────────────


def test_runs_have_the_shape_of_the_contract(sched: Sched, store: Store) -> None:
    publish(store, make_entry("daily"), make_entry("other", queue="other"))
    session = a_worker(store, "reports")
    sched("trigger", "daily")
    sched("trigger", "other")
    run = finish(session, "reports")
    (found,) = sched("runs", "-o", "json").data
    assert set(found) >= RUN_KEYS
    assert (found["id"], found["entry"], found["state"], found["worker"]) == (run.id, "daily", "SUCCESS", "w1")
    assert (found["scheduled_for"], found["lateness_s"], found["attempt"]) == (None, None, 1)
    assert found["finished_at"].endswith("Z")
    assert sched("runs", "dail", "-o", "json").data == [found]
    assert sched("runs", "other", "-o", "json").data == []
    assert sched("runs", "--state", "failure", "-o", "json").data == []
    assert sched("runs", "nope").code == 3
    assert run.id in sched("runs").out


def test_result_tells_a_run_through_its_whole_life(sched: Sched, store: Store) -> None:
    id_ = sched("call", "a.b", "--queue", "q", "-o", "json").data["id"]
    assert sched("result", id_, "-o", "json").data["state"] == "PENDING"
    finish(a_worker(store, "q"), "q", result=b'{"rows":3}')
    said = sched("result", id_, "-o", "json")
    assert set(said.data) >= RUN_KEYS | {"result", "traceback"}
    assert (said.data["state"], said.data["result"]) == ("SUCCESS", {"rows": 3})
    assert '{"rows":3}' in sched("result", id_).out
    assert sched("result", "nobody").code == 3


def test_cancel_ends_what_waits_asks_for_what_runs_and_refuses_what_is_over(sched: Sched, store: Store) -> None:
    id_ = sched("call", "a.b", "--queue", "q", "-o", "json").data["id"]
    said = sched("cancel", id_, "-o", "json")
    assert (said.code, said.data["state"], said.data["cancel"]) == (0, "REVOKED", "revoked")
    again = sched("cancel", id_)
    assert (again.code, again.out) == (4, "")
    assert "over already" in again.err
    held = sched("call", "a.b", "--queue", "q", "-o", "json").data["id"]
    session = a_worker(store, "q")
    session.take(["q"], 1)
    asked = sched("cancel", held, "--terminate", "-o", "json")
    assert (asked.code, asked.data["cancel"], asked.data["state"]) == (0, "requested", "STARTED")
    assert session.renew().cancels == {held: True}
    assert sched("cancel", "nobody").code == 3


# ── status, leader, workers, queues, purge, reload ──────────────────────────────────────────────────────────────────


def test_status_without_a_leader_is_exit_1(sched: Sched, store: Store) -> None:
    said = sched("status", "-o", "json")
    assert said.code == 1
    assert set(said.data) >= {"leader", "beats", "workers", "queues", "clock_skew_s"}
    assert (said.data["leader"], said.data["beats"], said.data["workers"], said.data["queues"]) == (None, [], [], {})
    assert "no leader" in said.err
    assert sched("status").code == 1
    assert sched("leader").code == 1
    assert sched("leader", "--step-down").code == 4


def test_status_with_a_leader(sched: Sched, store: Store) -> None:
    won = store.leadership.elect("life-1", "beat-a", stood_still=None, known=0, reason="first")
    store.leadership.renew(won.number, "life-1", tick_age_ms=40)
    a_worker(store, "q")
    sched("call", "a.b", "--queue", "q")
    said = sched("status", "-o", "json")
    assert said.code == 0
    leader = said.data["leader"]
    assert (leader["name"], leader["term"]) == ("beat-a", 1)
    assert 0 < leader["lease_left_s"] <= 5
    assert 0.04 <= leader["last_tick_age_s"] < 5
    assert said.data["queues"]["q"] == {"ready": 1, "delayed": 0, "in_flight": 0}
    assert said.data["workers"][0]["name"] == "w1"
    assert abs(said.data["clock_skew_s"]) < 1
    assert "beat-a, term 1" in sched("status").out


def test_status_shows_the_mistakes_of_the_newest_load(sched: Sched, store: Store) -> None:
    """P12: a broken file is seen for as long as it is broken."""
    mistake = "schedules/x.py:3: entry 'x': crontab '61 * * * *': minute 61 is outside 0–59"
    store.loads.publish({}, clean=False, mistakes=[mistake], by="beat-a")
    assert mistake in sched("status").out
    assert sched("status", "-o", "json").data["load"]["mistakes"] == [mistake]
    store.loads.publish({}, clean=True, mistakes=[], by="beat-a")
    assert sched("status", "-o", "json").data["load"]["mistakes"] == []


def test_leader_history_and_stepping_down(sched: Sched, store: Store) -> None:
    won = store.leadership.elect("life-1", "beat-a", stood_still=None, known=0, reason="first")
    (term,) = sched("leader", "--history", "-o", "json").data
    assert set(term) >= {"term", "name", "holder", "won_at", "reason", "gap_s", "caught_up"}
    assert sched("leader", "-o", "json").data["term"] == 1
    said = sched("leader", "--step-down")
    assert said.code == 0
    assert "asked to step down" in said.err
    assert store.leadership.renew(won.number, "life-1", tick_age_ms=0).step_down


def test_workers_and_queues(sched: Sched, store: Store) -> None:
    assert sched("workers", "-o", "json").data == []
    session = a_worker(store, "q", "slow")
    sched("call", "a.b", "--queue", "q")
    session.take(["q"], 1)
    (worker,) = sched("workers", "-o", "json").data
    assert (worker["name"], worker["queues"], worker["held"]) == ("w1", ["q", "slow"], 1)
    (queue,) = sched("queues", "-o", "json").data
    assert queue.items() >= {"name": "q", "ready": 0, "delayed": 0, "in_flight": 1}.items()


def test_purge_ends_what_waits_only_when_it_is_meant(sched: Sched, store: Store) -> None:
    sched("call", "a.b", "--queue", "q")
    unasked = sched("purge", "q")
    assert (unasked.code, unasked.out) == (2, "")
    assert "--yes" in unasked.err
    assert store.queues.depths()["q"].ready == 1
    assert sched("purge", "q", "--yes", "-o", "json").data == {"queue": "q", "purged": 1}
    assert store.queues.depths()["q"].ready == 0
    assert sched("purge", "nope", "--yes").code == 3


def test_reload_reaches_the_beats(sched: Sched, store: Store) -> None:
    before = store.loads.reload_requests()
    said = sched("reload", "-o", "json")
    assert said.code == 0
    assert store.loads.reload_requests() == before + 1


def test_jsonl_is_one_value_a_line(sched: Sched, store: Store) -> None:
    publish(store, make_entry("a"), make_entry("b"))
    lines = sched("list", "-o", "jsonl").out.splitlines()
    assert [msgspec.json.decode(line)["name"] for line in lines] == ["a", "b"]


def test_people_see_times_in_their_zone_and_programs_in_utc(sched: Sched, store: Store) -> None:
    publish(store, make_entry("daily", schedule={"kind": "crontab", "expr": "0 9 * * *", "tz": "Asia/Tokyo"}))
    assert " 09:00:00 JST" in sched("list", "--tz", "Asia/Tokyo").out
    assert sched("--tz", "Asia/Tokyo", "list", "-o", "json").data[0]["next_fire"].endswith("T00:00:00.000Z")
