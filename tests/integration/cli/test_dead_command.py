"""`sched dead`: seeing what was given up, putting it back, and letting it go."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from scheduler.model import Overlap
from scheduler.store import Store
from scheduler.store.queues import NewMessage
from scheduler.store.sessions import Session, WorkerInfo
from scheduler.wire import Header, Payload, decode_header, decode_payload, encode_body
from tests.integration.cli.conftest import Sched, make_entry
from tests.integration.cli.test_retry_failed import end, publish

pytestmark = pytest.mark.redis


@pytest.fixture
def session(store: Store) -> Session:
    """A worker called w1."""
    return store.sessions.open(WorkerInfo(name="w1"))


def bury(sched: Sched, session: Session, task: str = "a.b", **options: str) -> str:
    """Call *task* and reject its message; the id."""
    flags = [part for name, value in options.items() for part in (f"--{name}", value)]
    assert sched("call", task, "--queue", "q", *flags).code == 0
    return end(session, "q", dead=True)


def test_the_story_of_a_poison_message(sched: Sched, store: Store, session: Session) -> None:
    """Who died with it, when and how; what it was to do; where it would go back to."""
    body = encode_body(
        Header(task="shop.pay", queue="q", priority=3, enqueued_ms=1_700_000_000_000),
        Payload(args=msgspec.Raw(b"[7]"), kwargs=msgspec.Raw(b'{"to":"x"}'), headers={"tenant": "acme"}),
    )
    store.queues.enqueue([NewMessage("poison", body, "q", priority=3)], call_id="c")
    for _ in range(5):
        session.take(["q"], 1)
        session.release(["poison"], lost=True, how="it was killed by SIGSEGV")
    listed = sched("dead", "-o", "json").data
    assert listed == sched("dead", "list", "-o", "json").data
    (row,) = listed
    assert (row["id"], row["task"], row["queue"], row["attempt"], row["worker"]) == ("poison", "shop.pay", "q", 1, "w1")
    assert row["error"] == "its worker died 5 times while it ran (the last time: w1: it was killed by SIGSEGV)"
    assert [loss["how"] for loss in row["losses"]] == ["it was killed by SIGSEGV"] * 5
    shown = sched("dead", "show", "poison", "-o", "json").data
    assert (shown["args"], shown["kwargs"], shown["headers"]) == ([7], {"to": "x"}, {"tenant": "acme"})
    assert (shown["back_to"], shown["priority"], shown["readable"], shown["bytes"]) == ("q", 3, True, len(body))
    text = sched("dead", "show", "poison").out
    assert "lost by: " in text
    assert text.count("w1: it was killed by SIGSEGV\n") == 5
    assert "back to: queue q, priority 3: sched dead requeue poison" in text
    assert "shop.pay" in sched("dead").out


def test_a_letter_is_put_back_as_a_new_run(sched: Sched, store: Store, session: Session) -> None:
    """P9: the old run keeps its result and its id; the new one names it, and nothing is counted against it yet."""
    old = bury(sched, session, args="[1, 2]")
    before = sched("result", old, "-o", "json").data
    said = sched("dead", "requeue", old, "--reason", "fixed in 1.2", "-o", "json")
    (done,) = said.data
    assert (said.code, done["id"], done["task"], done["error"]) == (0, old, "a.b", "")
    assert sched("result", old, "-o", "json").data == before
    assert sched("result", done["run"], "-o", "json").data["retry_of"] == old
    body = store.queues.body(done["run"])
    assert body is not None
    assert bytes(decode_payload(body, decode_header(body)[1]).args) == b"[1,2]"
    (message,) = session.take(["q"], 1).messages
    assert (message.id, message.attempt, message.losses) == (done["run"], 1, 0)
    assert store.dead.count() == 0
    note = sched("audit", "-o", "json").data[0]
    assert (note["verb"], note["reason"], note["counts"]) == ("requeue", "fixed in 1.2", {"requeued": 1})
    again = sched("dead", "requeue", old)
    assert (again.code, again.err) == (3, "")
    assert f"there is no dead letter '{old}'" in again.out


def test_all_of_a_task_are_put_back_oldest_first_and_noted_once(sched: Sched, store: Store, session: Session) -> None:
    """After a fix, in the order in which they had come; and one line in the audit log, not thousands."""
    mine = [bury(sched, session, "a.b", args=f"[{n}]") for n in range(3)]
    other = bury(sched, session, "c.d")
    assert sched("dead", "requeue", "--task", "a.b").code == 2, "nobody is here to be asked"
    done = sched("dead", "requeue", "--task", "a.b", "--yes", "-o", "json").data
    assert [each["id"] for each in done] == mine
    taken = session.take(["q"], 10).messages
    assert [bytes(decode_payload(m.body, decode_header(m.body)[1]).args) for m in taken] == [b"[0]", b"[1]", b"[2]"]
    assert [each["id"] for each in sched("dead", "-o", "json").data] == [other]
    notes = [note for note in sched("audit", "-o", "json").data if note["verb"] == "requeue"]
    assert [(note["what"], note["counts"]) for note in notes] == [("dead letters of task a.b", {"requeued": 3})]


def test_what_cannot_be_put_back_stays(sched: Sched, store: Store, session: Session) -> None:
    """Exit 4, and each line says why; the others are put back."""
    store.queues.enqueue([NewMessage("junk", b"\x07" + b"\xff\x1b[31m" * 30, "q")], call_id="c")
    session.take(["q"], 1)
    session.release(["junk"])
    fine = bury(sched, session)
    said = sched("dead", "requeue", "--all", "-y", "-o", "json")
    assert said.code == 4
    assert "sched: 1 put back, 1 stay dead letters" in said.err
    refused = {each["id"]: each["error"] for each in said.data if each["run"] is None}
    assert set(refused) == {"junk"}
    assert "would fail again" in refused["junk"]
    assert [each["id"] for each in sched("dead", "-o", "json").data] == ["junk"] != [fine]
    text = sched("dead", "show", "junk").out
    assert "back to: nowhere: it would die again; `sched dead purge junk` removes it" in text
    assert "\x1b" not in text
    assert sched("dead", "show", "junk", "-o", "json").data["readable"] is False


def test_the_slot_of_the_entry_is_respected(sched: Sched, store: Store, session: Session) -> None:
    """Two runs of it never run at once by a requeue, unless forced."""
    publish(store, make_entry("daily", queue="q", overlap=Overlap.SKIP))
    assert sched("trigger", "daily").code == 0
    old = end(session, "q", dead=True)
    assert sched("trigger", "daily").code == 0
    said = sched("dead", "requeue", old)
    assert said.code == 4
    assert "has not ended" in said.out
    assert store.dead.count() == 1
    assert sched("dead", "requeue", old, "--force").code == 0
    assert store.dead.count() == 0


def test_letters_are_purged_by_id_by_age_and_all(sched: Sched, store: Store, session: Session) -> None:
    """Whoever purges is asked, unless it says which; exit 3 for what is not there, and then nothing is gone."""
    first, second, third = (bury(sched, session) for _ in range(3))
    assert sched("dead", "purge", first, "nobody").code == 3
    assert store.dead.count() == 3
    assert sched("dead", "purge", first, "-o", "json").data == {"purged": 1}
    assert sched("dead", "purge", "--older-than", "1h", "-y", "-o", "json").data == {"purged": 0}
    assert sched("dead", "purge", "--all").code == 2
    store.connection.call("ZADD", store.keys.dead, 1_000, second)
    assert sched("dead", "purge", "--older-than", "1h", "-y", "-r", "old", "-o", "json").data == {"purged": 1}
    assert [each["id"] for each in sched("dead", "-o", "json").data] == [third]
    assert sched("dead", "purge", "--all", "-y", "-o", "json").data == {"purged": 1}
    verbs = [(note["verb"], note["counts"]) for note in sched("audit", "-o", "json").data if note["verb"] == "purge"]
    assert verbs == [("purge", {"purged": 1})] * 3


@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        (("requeue",), 2, "say which: the ids, or all of them"),
        (("requeue", "x", "--all"), 2, "are two ways to say which"),
        (("purge",), 2, "say which: the ids, or all of them"),
        (("show", "x"), 3, "there is no dead letter 'x' (`sched dead list` shows them"),
        (("list",), 0, "no dead letter"),
        (("bury",), 2, "there is no command 'bury'"),
        (("--task", "x", "purge", "--all"), 2, "--task is for `sched dead` itself, not for 'purge'"),
    ],
)
def test_what_is_said_to_whoever_asks_wrongly(sched: Sched, args: Any, code: int, said: str) -> None:
    """One line that says what to do."""
    answer = sched("dead", *args)
    assert answer.code == code
    assert said in answer.err


def test_lists_are_narrowed(sched: Sched, store: Store, session: Session) -> None:
    """By task, queue, entry, time and number."""
    first, second = bury(sched, session, "a.b"), bury(sched, session, "c.d")
    assert [each["id"] for each in sched("dead", "--task", "a.b", "-o", "json").data] == [first]
    assert [each["id"] for each in sched("dead", "list", "--queue", "q", "-n", "1", "-o", "json").data] == [second]
    assert sched("dead", "--queue", "other", "-o", "json").data == []
    assert sched("dead", "--entry", "daily", "-o", "json").data == []
    store.connection.call("ZADD", store.keys.dead, 1_000, first)
    assert [each["id"] for each in sched("dead", "--since", "1h", "-o", "json").data] == [second]
    assert "1 older ones are not shown" in sched("dead", "-n", "1").err
