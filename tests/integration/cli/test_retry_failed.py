"""`sched retry`: what has failed runs again, as a new run that names the old one (trap 14)."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent
from typing import Any

import msgspec
import pytest

from scheduler.config import Config
from scheduler.fires import FireMaker, schedule_of
from scheduler.model import Entry, Outcome, Overlap, Run, State
from scheduler.store import Store
from scheduler.store.queues import NewMessage
from scheduler.store.sessions import Session, WorkerInfo
from scheduler.wire import FLAG_EARLY, FLAG_FIRE, FLAG_HAND, FLAG_RETRY, Header, Payload, decode_header, encode_body
from tests.integration.cli.conftest import Sched, make_entry, publish
from tests.support.processes import Process
from tests.support.wait import wait_until

FAILED_BYTES_MAX = 64 * 1024 * 1024


def a_worker(store: Store) -> Session:
    """A worker's session, to be moved by hand."""
    return store.sessions.open(WorkerInfo(name="w1", queues=("q",)))


def a_fire(entry: Entry, due_ms: int) -> NewMessage:
    """The fire of *entry* at *due_ms*, as its promotion leaves it."""
    fire = FireMaker(entry, schedule_of(entry), namespace="n", late_limit_ms=15_000).fire(
        due_ms, due_ms + 1, state="1 0", now_ms=due_ms - 10_000
    )
    return NewMessage(fire.id, fire.body, fire.queue)


def end(session: Session, queue: str, *, state: str = State.FAILURE, dead: bool = False) -> str:
    """Take one message and end its run; its id."""
    (message,) = session.take([queue], 1).messages
    header, _ = decode_header(message.body)
    run = Run(
        id=message.id, entry=header.entry, task=header.task, queue=queue, state=state, due_ms=header.due_ms,
        enqueued_ms=header.enqueued_ms, finished_ms=header.enqueued_ms + 9, retry_of=header.retry_of,
    )  # fmt: skip
    outcome = Outcome(message.id, b"", 60_000, msgspec.json.encode(run), header.entry, state, dead)
    assert session.finish([outcome]).refused == []
    return message.id


def test_a_failed_call_runs_again_with_its_arguments(sched: Sched, store: Store) -> None:
    """A new id, linked to the old one, which stays as it was."""
    sched("call", "a.b", "--queue", "q", "-a", "[5]", "-k", '{"x": "ü"}')
    session = a_worker(store)
    old = end(session, "q")
    before = sched("result", old, "-o", "json").data
    said = sched("retry", old, "-o", "json")
    assert said.code == 0
    new = said.data["id"]
    assert new != old
    assert (said.data["retry_of"], said.data["state"], said.data["task"]) == (old, "PENDING", "a.b")
    (message,) = session.take(["q"], 1).messages
    assert message.id == new
    header, at = decode_header(message.body)
    assert message.body[at:] == '{"args":[5],"kwargs":{"x":"ü"}}'.encode()
    assert (header.flags, header.retry_of, message.attempt) == (FLAG_RETRY | FLAG_HAND, old, 1)
    assert sched("result", new, "-o", "json").data["retry_of"] == old, "while it runs, too"
    session.release([new])
    end(session, "q")
    assert sched("result", new, "-o", "json").data["retry_of"] == old
    assert old in sched("result", new).out
    assert [run["retry_of"] for run in sched("runs", "-o", "json").data] == [old, None]
    assert sched("result", old, "-o", "json").data == before
    assert sched("retry", new, "-o", "json").data["retry_of"] == new, "and so may the new one"


def test_a_failed_fire_keeps_its_due_time_and_takes_its_entrys_slot(sched: Sched, store: Store) -> None:
    """A report is made for the day that it failed for; and never beside another run of its entry."""
    entry = make_entry("daily", queue="q", overlap=Overlap.SKIP, expires_after_ms=3_600_000, max_runs=1)
    publish(store, entry)
    due_ms = int(store.queues.time_ms()) - 86_400_000
    store.queues.enqueue([a_fire(entry, due_ms)], call_id="c1")
    session = a_worker(store)
    assert session.take(["q"], 1).messages == [], "what has expired never starts"
    fresh = msgspec.structs.replace(entry, expires_after_ms=2 * 86_400_000)
    store.queues.enqueue([a_fire(fresh, due_ms + 1)], call_id="c2")
    old = end(session, "q")
    before_ms = int(store.queues.time_ms())
    new = sched("retry", old, "-o", "json").data["id"]
    again = sched("retry", old)
    assert (again.code, again.out) == (4, "")
    assert f"run {new} has not ended" in again.err
    assert sched("retry", old, "--force").code == 0
    (message, _) = session.take(["q"], 2).messages
    header, _ = decode_header(message.body)
    assert (message.id, header.due_ms, header.entry, header.flags & FLAG_FIRE) == (new, due_ms + 1, "daily", 0)
    assert before_ms + 2 * 86_400_000 <= header.expires_ms + 1 <= before_ms + 2 * 86_400_000 + 10_000
    found = sched("result", new, "-o", "json").data
    assert (found["outcome"], found["lateness_s"]) == (None, None), "its due time had its outcome"
    assert found["scheduled_for"] is not None


def test_a_run_of_an_entry_that_is_gone_is_repeated_as_a_call(sched: Sched, store: Store) -> None:
    """What was removed leaves no slot and no history behind."""
    entry = make_entry("daily", queue="q")
    publish(store, entry)
    sched("trigger", "daily")
    old = end(a_worker(store), "q")
    publish(store)
    said = sched("retry", old, "-o", "json")
    assert (said.code, said.data["entry"], said.data["task"], said.data["retry_of"]) == (0, None, "reports.daily", old)
    assert store.connection.call("HLEN", store.keys.slots) == 0


def test_a_dead_letter_runs_again(sched: Sched, store: Store) -> None:
    """Those are kept for exactly that; and no longer than until then."""
    sched("call", "a.b", "--queue", "q")
    session = a_worker(store)
    old = end(session, "q", dead=True)
    assert sched("retry", old, "-o", "json").data["retry_of"] == old
    assert store.dead.count() == 0


def test_a_dead_letter_that_is_no_message_is_refused(sched: Sched, store: Store) -> None:
    """It would fail again."""
    store.queues.enqueue([NewMessage("x1", b"\x07nonsense", "q")], call_id="c")
    session = a_worker(store)
    (message,) = session.take(["q"], 1).messages
    run = Run(id=message.id, state=State.FAILURE, finished_ms=5)
    session.finish([Outcome(message.id, b"", 60_000, msgspec.json.encode(run), "", State.FAILURE, True)])
    said = sched("retry", "x1")
    assert (said.code, said.out) == (4, "")
    assert "run x1 would fail again" in said.err


def test_what_was_lost_early_may_be_repeated_by_hand(sched: Sched, store: Store) -> None:
    """At most once is a promise of ours, not a ban for people."""
    body = encode_body(Header(task="a.b", queue="q", flags=FLAG_EARLY), Payload())
    store.queues.enqueue([NewMessage("x1", body, "q")], call_id="c")
    session = a_worker(store)
    session.take(["q"], 1)
    session.release(["x1"], lost=True)
    assert sched("result", "x1", "-o", "json").data["state"] == "FAILURE"
    new = sched("retry", "x1", "-o", "json").data["id"]
    assert decode_header(store.queues.body(new) or b"")[0].flags == FLAG_EARLY | FLAG_RETRY | FLAG_HAND
    session.take(["q"], 1)
    session.release([new], lost=True)
    assert sched("result", new, "-o", "json").data["retry_of"] == "x1", "a script that ends it names the old one too"


@pytest.mark.parametrize("how", ["success", "cancelled", "waits", "runs", "unknown", "forgotten"])
def test_what_cannot_be_repeated_is_refused_with_what_can_be_done(sched: Sched, store: Store, how: str) -> None:
    """Exit 4, or 3 for what nobody knows; one line."""
    publish(store, make_entry("daily", queue="q"))
    id_ = sched("call", "a.b", "--queue", "q", "-o", "json").data["id"]
    session = a_worker(store)
    expected: tuple[int, Any] = (4, "")
    if how == "success":
        end(session, "q", state=State.SUCCESS)
        sched("trigger", "daily")
        id_ = end(session, "q", state=State.SUCCESS)
        expected = (4, "ended as SUCCESS, and only failed runs can be repeated; `sched trigger daily` runs its entry")
    elif how == "cancelled":
        sched("cancel", id_)
        expected = (4, "ended as REVOKED, and only failed runs can be repeated; `sched call a.b --args")
    elif how == "waits":
        expected = (4, f"has not ended (PENDING); wait for it, or cancel it (`sched cancel {id_}`)")
    elif how == "runs":
        session.take(["q"], 1)
        expected = (4, "has not ended (STARTED)")
    elif how == "unknown":
        id_, expected = "nobody", (3, "there is no run 'nobody'")
    else:
        end(session, "q")
        store.connection.call("DEL", store.keys.failed_messages)
        expected = (4, "failed, but its message is no longer kept: only the last ones are, 10,000 or 64 MiB")
    said = sched("retry", id_)
    assert (said.code, said.out) == (expected[0], "")
    assert expected[1] in said.err
    assert said.err.count("\n") == 1


def test_an_id_that_was_used_again_is_judged_by_its_newest_run(sched: Sched, store: Store) -> None:
    """Callers may choose ids."""
    session = a_worker(store)
    body = encode_body(Header(task="a.b", queue="q"), Payload())
    for turn, state in enumerate((State.FAILURE, State.SUCCESS)):
        store.queues.enqueue([NewMessage("mine", body, "q")], call_id=f"c{turn}")
        end(session, "q", state=state)
    assert "ended as SUCCESS" in sched("retry", "mine").err


def test_what_is_kept_of_failed_runs_is_bounded(store: Store) -> None:
    """By number and by bytes, the newest ones stay; runs that end well leave nothing."""
    session = a_worker(store)
    kept = store.keys.failed_messages
    big = 5 * 1024 * 1024
    for i in range(20):
        body = encode_body(Header(task="a.b", queue="q"), Payload(args=msgspec.Raw(b'["' + b"x" * big + b'"]')))
        store.queues.enqueue([NewMessage(f"b{i}", body, "q")], call_id=f"b{i}")
        end(session, "q")
    sizes = [len(body) for body in store.connection.call("HVALS", kept)]
    assert FAILED_BYTES_MAX - big < sum(sizes) <= FAILED_BYTES_MAX + big
    assert store.queues.failed_body("b19") is not None
    assert store.queues.failed_body("b0") is None
    small = encode_body(Header(task="a.b", queue="q"), Payload())
    run = msgspec.json.encode(Run(state=State.FAILURE))
    for batch in range(11):
        ids = [f"s{batch}-{i}" for i in range(1_000)]
        store.queues.enqueue([NewMessage(id_, small, "q") for id_ in ids], call_id=f"s{batch}")
        held: list[str] = []
        while len(held) < len(ids):
            held += [message.id for message in session.take(["q"], 1_000).messages]
        session.finish([Outcome(id_, b"", 60_000, run, "", State.FAILURE) for id_ in held[:500]])
        session.finish([Outcome(id_, b"", 60_000, run, "", State.FAILURE) for id_ in held[500:]])
    assert store.connection.call("HLEN", kept) == 10_000
    assert store.queues.failed_body("s0-999") is None
    assert store.queues.failed_body("s1-0") == small
    store.queues.enqueue([NewMessage("fine", small, "q")], call_id="fine")
    end(session, "q", state=State.SUCCESS)
    assert store.queues.failed_body("fine") is None


@pytest.fixture
def worker(config: Config, tmp_path: Path) -> Iterator[Process]:
    """A real worker, whose task fails until a file is there."""
    (tmp_path / "schedules").mkdir()
    (tmp_path / "schedules" / "jobs.py").write_text(
        dedent(f"""
            import os
            from scheduler import task

            @task(bind=True)
            def need(self, what):
                if not os.path.exists({str(tmp_path / "there")!r}):
                    raise FileNotFoundError(what)
                return [what, self.request.retries]
        """)
    )
    config = msgspec.structs.replace(config, schedules=tmp_path / "schedules", state_dir=tmp_path)
    worker = Process("worker", "-c", "1", config=config, cwd=tmp_path)
    worker.told.wait("worker.ready")
    yield worker
    worker.kill()


def test_a_real_failure_is_mended_and_repeated(sched: Sched, store: Store, worker: Process, tmp_path: Path) -> None:
    """What people do on a Monday morning."""
    failed = sched("call", "jobs.need", "-a", '["bread"]', "--wait", "-o", "json")
    assert failed.code == 1
    (tmp_path / "there").touch()
    new = sched("retry", failed.data["id"], "-o", "json").data["id"]
    assert msgspec.json.decode(store.results.wait(new, 10).result) == ["bread", 0]
    run = wait_until(lambda: store.history.run(new))
    assert run is not None
    assert (run.state, run.retry_of, run.attempt) == ("SUCCESS", failed.data["id"], 1)
    worker.signal(signal.SIGTERM)
    assert worker.wait() == 0
