"""`app.entries`: entries made, edited and removed at run time, beside those of files (P12: a clash is refused, both ways)."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import msgspec
import pytest
from apscheduler.triggers.base import BaseTrigger

from scheduler import App, crontab, every
from scheduler.config import Config
from scheduler.errors import (
    InvalidEntryError,
    InvalidScheduleError,
    NotEncodableError,
    NotFoundError,
    RefusedError,
)
from scheduler.exchange import Exchange, Queue
from scheduler.model import Catchup, Entry, Origin, Overlap
from scheduler.store import Store

pytestmark = pytest.mark.redis


@pytest.fixture
def app(config: Config) -> Iterator[App]:
    """An app in the test's namespace, with one task."""
    app = App("shop", broker=config.redis_url, namespace=config.namespace)

    @app.task(name="shop.send", queue="mail", max_retries=1, expires="2h", priority=4)
    def send(to: str, n: int = 1) -> None:
        """Send a mail."""

    yield app
    app.close()


def defined(app: App, name: str = "e") -> Entry:
    """The definition in force under *name*."""
    record = app.entries.get(name)
    assert record is not None
    assert record.entry is not None
    return record.entry


def from_file(store: Store, name: str = "e") -> None:
    """An entry that a file declares."""
    entry = Entry(
        name=name, task="t.x", queue="q", schedule=every("1h").as_data(), source="schedules/reports.py:12"
    )  # fmt: skip
    store.loads.publish({name: entry}, clean=True, mistakes=(), by="beat-a")


def test_an_entry_is_resolved_as_a_file_would_give_it(app: App) -> None:
    """Its options over those of its task, the task's over the settings'."""
    app.entries.put(
        "e", "shop.send", crontab("0 9 * * *"), args=("all",), kwargs={"n": 2}, tz="Europe/Berlin", jitter="5s"
    )
    entry = defined(app)
    assert entry.schedule == crontab("0 9 * * *", tz="Europe/Berlin").as_data()
    assert (entry.queue, entry.priority, entry.expires_after_ms) == ("mail", 4, 7_200_000)
    assert (bytes(entry.args), bytes(entry.kwargs), entry.jitter_ms) == (b'["all"]', b'{"n":2}', 5_000)
    assert entry.description == "Send a mail."
    assert entry.origin is Origin.HAND
    assert entry.source.startswith("made by ")
    assert "test_entries.py:" in entry.source


def test_a_task_may_be_known_by_its_name_alone(app: App) -> None:
    """A web application adds an entry for a task that only the workers have."""
    app.entries.put("e", "billing.close", every("1h"), args=(1, 2, 3))
    assert (defined(app).task, defined(app).queue) == ("billing.close", "default")


def test_the_rules_are_those_of_files(app: App) -> None:
    """Refused before anything is sent."""
    put = app.entries.put
    with pytest.raises(InvalidEntryError, match="overlap 'sometimes': expected one of"):
        put("e", "shop.send", every("1h"), args=("x",), overlap="sometimes")
    with pytest.raises(InvalidEntryError, match="missing a required argument: 'to'"):
        put("e", "shop.send", every("1h"))
    with pytest.raises(InvalidEntryError, match="catchup 'all' needs overlap='allow'"):
        put("e", "x", every("1h"), catchup="all")
    with pytest.raises(InvalidEntryError, match="unknown option 'quue'; did you mean 'queue'"):
        put("e", "x", every("1h"), quue="y")
    with pytest.raises(InvalidScheduleError, match="is no schedule"):
        put("e", "x", "* * * * *")  # type: ignore[arg-type]
    with pytest.raises(NotEncodableError):
        put("e", "x", every("1h"), args=(object(),))
    assert list(app.entries) == []


def test_what_is_put_again_is_replaced_and_the_same_is_no_change(app: App) -> None:
    """A program puts its entries at each start."""
    for _ in range(3):
        app.entries.put("e", "x", every("1h"), queue="a", start=datetime(2026, 1, 1, tzinfo=UTC))
    assert [note.verb for note in app.store.audit.notes(n=10)] == ["add"]
    app.entries.put("e", "x", every("2h"), jitter="1s")
    assert (defined(app).queue, defined(app).jitter_ms) == ("default", 1_000)
    assert [note.verb for note in app.store.audit.notes(n=10)] == ["edit", "add"]


def test_what_says_the_same_in_other_words_is_no_change(app: App) -> None:
    """It is kept for the next edit, and nobody is told."""
    before = app.entries.put("e", "x", every("1h"), jitter="30s")
    after = app.entries.edit("e", jitter=30, overlap="skip")
    assert (after.state, [note.verb for note in app.store.audit.notes(n=10)]) == (before.state, ["add"])
    assert defined(app).said["options"] == {"jitter": 30, "overlap": "skip"}


def test_an_edit_changes_what_it_says_and_nothing_else(app: App) -> None:
    """The rest is as its author said it, of whatever form."""
    app.entries.put(
        "e", "x", crontab("0 9 * * *"), args=(1,), tz=ZoneInfo("Asia/Tokyo"), overlap=Overlap.ALLOW, catchup=Catchup.ALL,
        catchup_window=timedelta(hours=2), until=datetime(2030, 1, 1), tags={"b", "a"}, headers={"k": [1]},
        expires=datetime(2029, 1, 1, tzinfo=UTC),
    )  # fmt: skip
    before = defined(app)
    app.entries.edit("e", queue="slow", reason="too many")
    assert defined(app) == msgspec.structs.replace(before, queue="slow", said=defined(app).said)
    app.entries.edit("e", when=crontab("30 9 * * *"))
    assert defined(app).schedule == crontab("30 9 * * *", tz="Asia/Tokyo").as_data()
    app.entries.edit("e", tz="Europe/Paris")
    assert defined(app).schedule == crontab("30 9 * * *", tz="Europe/Paris").as_data()
    app.entries.edit("e", unset=("args", "catchup", "catchup_window", "tags", "tz"), kwargs={"n": 3})
    entry = defined(app)
    assert (bytes(entry.args), bytes(entry.kwargs), entry.tags, entry.catchup) == (
        b"[]",
        b'{"n":3}',
        (),
        Catchup.LATEST,
    )
    assert entry.schedule == crontab("30 9 * * *", tz="UTC").as_data()
    assert entry.overlap is Overlap.ALLOW


def test_whoever_edits_the_way_of_an_entry_means_that_way(config: Config) -> None:
    """A queue said before would outweigh the exchange of an edit, and nothing would change."""
    media = Exchange("media", type="topic")
    app = App(
        "shop", broker=config.redis_url, namespace=config.namespace,
        queues=[Queue("default"), Queue("video", media, "video.*"), Queue("image", media, "image")],
    )  # fmt: skip
    app.task(name="shop.send")(lambda: None)
    entries = app.entries
    entries.put("e", "shop.send", every("1h"), queue=Queue("mail"))
    assert defined(app).queue == "mail"
    entries.edit("e", exchange=media, routing_key="video.x")
    assert defined(app).queue == "video"
    entries.edit("e", routing_key="image")
    assert (defined(app).queue, defined(app).said["options"]) == (
        "image",
        {"exchange": "media", "routing_key": "image"},
    )
    entries.edit("e", priority=3)
    assert defined(app).queue == "image"
    entries.edit("e", queue="mail")
    assert defined(app).queue == "mail"
    entries.edit("e", unset=["queue"])
    assert defined(app).queue == "default"
    with pytest.raises(InvalidEntryError, match="no declared queue is bound to exchange 'media'"):
        entries.edit("e", exchange="media", routing_key="nobody")
    app.close()


def test_an_edit_is_checked_as_a_whole(app: App) -> None:
    """What it leaves must go together with what it says."""
    app.entries.put("e", "x", every("1h"), overlap="allow", catchup="all")
    with pytest.raises(InvalidEntryError, match="catchup 'all' needs overlap='allow'"):
        app.entries.edit("e", overlap="skip")
    with pytest.raises(InvalidEntryError, match="both set and unset"):
        app.entries.edit("e", queue="a", unset=("queue",))
    with pytest.raises(InvalidEntryError, match="unknown option 'queu'; did you mean 'queue'"):
        app.entries.edit("e", unset=("queu",))
    with pytest.raises(NotFoundError):
        app.entries.edit("nobody", queue="a")


def test_files_and_hands_do_not_touch_each_others_entries(app: App, store: Store) -> None:
    """A clash is refused, and the message says where the other one is."""
    from_file(store)
    for change in (
        lambda: app.entries.put("e", "x", every("1h")),
        lambda: app.entries.edit("e", queue="a"),
        lambda: app.entries.remove("e"),
    ):
        with pytest.raises(RefusedError, match=r"declared in schedules/reports\.py:12; change it there"):
            change()
    app.entries.put("mine", "x", every("1h"))
    from_file(store, "other")
    assert {record.name for record in app.entries} == {"mine", "other"}


def test_a_file_that_declares_a_name_made_by_hand_is_told_in_the_status(app: App, store: Store) -> None:
    """As a mistake of its load: its place, and what to do."""
    app.entries.put("e", "x", every("1h"), by="ada@h")
    from_file(store)
    [mistake] = store.loads.info().mistakes
    assert mistake.startswith("schedules/reports.py:12: entry 'e' ")
    assert "ada@h" in mistake
    assert "sched remove e" in mistake
    app.entries.remove("e")
    from_file(store)
    assert store.loads.info().mistakes == ()
    assert defined(app).origin is Origin.FILE


def test_the_second_of_two_editors_is_told(app: App) -> None:
    """Who was faster, when, and what they did; then nothing is written."""
    first = app.entries.put("e", "x", every("1h"), by="ada@h")
    app.entries.edit("e", queue="fast", by="bob@h", reason="urgent", revision=first.revision)
    with pytest.raises(RefusedError, match=r"bob@h .*queue: default → fast.*urgent") as caught:
        app.entries.edit("e", queue="slow", by="ada@h", revision=first.revision)
    assert "sched show e" in str(caught.value)
    assert defined(app).queue == "fast"
    with pytest.raises(RefusedError):
        app.entries.remove("e", revision=first.revision)
    with pytest.raises(RefusedError, match="has never had revision 999"):
        app.entries.remove("e", revision=999)


def test_what_is_no_edit_disturbs_no_editor(app: App, store: Store) -> None:
    """Fires that are armed, a pause, a skip: the definition is the one that was seen."""
    first = app.entries.put("e", "x", every("1h"))
    store.registry.skip("e")
    store.registry.pause("e")
    store.registry.resume("e")
    state = store.registry.state("e")
    store.connection.call("HSET", store.keys.marks, "e", f"{state.revision} {state.mark_ms + 5}")
    app.entries.edit("e", queue="a", revision=first.revision)
    assert defined(app).queue == "a"


def test_an_editor_who_was_overtaken_in_the_very_moment_is_told(app: App, store: Store) -> None:
    """The script refuses what was made from an older state, and so is the second attempt: it is not merged blindly."""
    app.entries.put("e", "x", every("1h"))
    apply, meanwhile = app.store.changer.apply, [True]

    def disturbed(*args: object, **options: object) -> object:
        if meanwhile:
            meanwhile.clear()
            app.entries.edit("e", queue="theirs", by="bob@h")
        return apply(*args, **options)  # type: ignore[arg-type]

    app.store.changer.apply = disturbed  # type: ignore[method-assign, assignment]
    with pytest.raises(RefusedError, match="bob@h"):
        app.entries.edit("e", queue="mine")
    assert defined(app).queue == "theirs"


def test_a_removed_entry_fires_no_more_and_can_come_again(app: App) -> None:
    app.entries.put("e", "x", every("1h"))
    app.entries.remove("e", reason="over")
    assert app.entries.get("e") is None
    assert "e" not in app.entries
    with pytest.raises(NotFoundError):
        app.entries.remove("e")
    app.entries.put("e", "x", every("1h"), must_be_new=True)
    with pytest.raises(RefusedError, match="already, made by"):
        app.entries.put("e", "x", every("1h"), must_be_new=True)


def test_a_trigger_that_must_be_asked_again_needs_its_file(app: App) -> None:
    """Nobody could ask it: it would stop silently when its answers are used up."""

    class Odd(BaseTrigger):  # type: ignore[misc]
        def get_next_fire_time(self, previous: datetime | None, now: datetime) -> datetime:
            return max(now, previous or now) + timedelta(hours=5)

    with pytest.raises(InvalidScheduleError, match="declare it in a schedule file"):
        app.entries.put("e", "x", Odd())


def test_an_entry_whose_author_is_not_known_is_not_guessed_at(app: App, store: Store) -> None:
    """An edit would take all that it does not say back to the defaults."""
    store.registry.put(Entry(name="e", task="x", queue="q", schedule=every("1h").as_data(), origin=Origin.HAND))
    with pytest.raises(RefusedError, match="put it anew, whole"):
        app.entries.edit("e", jitter="1s")
    app.entries.put("e", "x", every("1h"), queue="q")
    app.entries.edit("e", jitter="1s")
    assert defined(app).queue == "q"
