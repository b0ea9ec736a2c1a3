"""`sched trigger` and `app.entries.trigger`: who asked, why, and once."""

from __future__ import annotations

import pytest

from scheduler.app import App
from scheduler.config import Config
from scheduler.errors import NotFoundError, RefusedError
from scheduler.model import Overlap
from scheduler.store import Store
from scheduler.store.sessions import WorkerInfo
from scheduler.who import who
from tests.integration.cli.conftest import Sched, make_entry, publish
from tests.support.bench import Bench


@pytest.fixture
def bench(store: Store) -> Bench:
    """The workbench on the test's namespace, with an entry."""
    publish(store, make_entry("daily"))
    return Bench(store, queue="reports")


def end(bench: Bench, id_: str) -> None:
    """A worker runs it."""
    session = bench.store.sessions.open(WorkerInfo(name="w1", queues=("reports",)))
    assert bench.take(session) == [id_]
    bench.finish(session, id_, entry="daily")


def test_a_reason_stands_with_the_run_and_in_the_audit_log(sched: Sched, bench: Bench) -> None:
    """Whoever finds a run at an odd hour can ask whom to ask."""
    id_ = sched("trigger", "daily", "--reason", "the figures were wrong", "-o", "json").data["id"]
    run = sched("result", id_, "-o", "json").data
    assert (run["by"], run["reason"], run["scheduled_for"]) == (who(), "the figures were wrong", None)
    session = bench.open("w1")
    bench.take(session)
    (line,) = sched("runs", "daily", "-o", "json").data
    assert (line["by"], line["reason"], line["outcome"]) == (who(), "the figures were wrong", None)
    assert "the figures were wrong" in sched("runs", "daily").out
    (note, *_) = bench.store.audit.notes("daily", n=5)
    assert (note.verb, note.by, note.reason, note.what) == ("trigger", who(), "the figures were wrong", f"run {id_}")
    bench.store.queues.cancel(id_)
    session.renew()


def test_a_key_gives_the_same_run_again(sched: Sched, bench: Bench) -> None:
    """A deploy script that is run twice; exit code 0 both times, and people are told."""
    first = sched("trigger", "daily", "--key", "deploy 7", "-o", "json")
    again = sched("trigger", "daily", "--key", "deploy 7", "-o", "json")
    assert (first.code, again.code) == (0, 0)
    assert (again.data["id"], again.data["repeated"]) == (first.data["id"], True)
    assert "repeated" not in first.data
    assert "was asked for with key 'deploy 7' before; nothing new was started" in again.err
    end(bench, first.data["id"])
    ended = sched("trigger", "daily", "--key", "deploy 7", "--wait", "--timeout", "5", "-o", "json")
    assert (ended.code, ended.data["state"], ended.data["id"]) == (0, "SUCCESS", first.data["id"])
    assert bench.live() == set()
    bench.store.results.forget(first.data["id"])
    gone = sched("trigger", "daily", "--key", "deploy 7", "--wait")
    assert gone.code == 3
    assert "its result is no longer kept" in gone.err
    assert sched("trigger", "daily", "--key", "deploy 8", "-o", "json").data["id"] != first.data["id"]
    assert len(bench.store.audit.notes("daily", n=50)) == 3, "one for the load, one for each run"


@pytest.mark.parametrize(
    ("args", "complaint"),
    [(("--key", "a\nb"), "key"), (("--key", "k" * 300), "key"), (("--reason", "r" * 1_001), "at most 1000 are kept")],
)
def test_words_that_cannot_be_kept_are_refused(
    sched: Sched, bench: Bench, args: tuple[str, ...], complaint: str
) -> None:
    """P12: before anything is started."""
    said = sched("trigger", "daily", *args)
    assert (said.code, bench.live()) == (2, set())
    assert complaint in said.err


def test_a_program_asks_as_people_do(bench: Bench, config: Config) -> None:
    """`app.entries.trigger`: the entry's arguments or others, its slot, a key."""
    app = App(broker=config.redis_url, namespace=config.namespace)
    result = app.entries.trigger("daily", key="k", reason="by a program", by="billing")
    assert app.entries.trigger("daily", key="k").id == result.id
    with pytest.raises(RefusedError, match=f"run {result.id} has not ended"):
        app.entries.trigger("daily")
    beside = app.entries.trigger("daily", args=(1,), force=True, countdown=3600)
    assert bench.live() == {result.id, beside.id}
    run = bench.store.queues.standing(beside.id)
    assert run is not None
    assert run.place == "delayed"
    with pytest.raises(NotFoundError, match="no entry 'nightly'"):
        app.entries.trigger("nightly")
    with pytest.raises(ValueError, match="cannot be met"):
        app.entries.trigger("daily", force=True, countdown=60, expires=5)


def test_a_retry_is_noted_too(sched: Sched, bench: Bench) -> None:
    """It is another run that somebody asked for."""
    publish(bench.store, make_entry("daily", overlap=Overlap.ALLOW))
    id_ = sched("trigger", "daily", "-o", "json").data["id"]
    session = bench.open()
    bench.take(session)
    bench.finish(session, id_, entry="daily", state="FAILURE")
    new = sched("retry", id_, "-o", "json").data["id"]
    assert sched("result", new, "-o", "json").data["by"] == who()
    (note, *_) = bench.store.audit.notes("daily", n=5)
    assert (note.verb, note.what) == ("retry", f"run {new} repeats {id_}")
