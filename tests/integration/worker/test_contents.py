"""What travels to real workers and back: values with types, serializers by consent, signatures, big results, progress."""

from __future__ import annotations

import dataclasses
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest

from scheduler.app import App
from scheduler.config import Config
from scheduler.errors import (
    ContentRefusedError,
    NotEncodableError,
    ResultTimeoutError,
    SignatureError,
    UndecodableMessageError,
)
from scheduler.result import AsyncResult, ResultSet
from scheduler.seal import is_signed
from scheduler.store.queues import NewMessage
from scheduler.wire import Header, Payload, encode_argument, encode_body, new_id
from tests.integration.worker.lab import Lab
from tests.support.processes import Process, environment
from tests.support.wait import wait_until

pytestmark = pytest.mark.redis

TASKS = """
    import dataclasses, enum
    from datetime import datetime
    from scheduler import App

    class Colour(enum.Enum):
        RED = "red"

    @dataclasses.dataclass
    class Line:
        sku: str
        n: int

    @dataclasses.dataclass
    class Order:
        id: int
        when: datetime
        lines: list[Line]
        colour: Colour = Colour.RED

    @task
    def same(value):
        return value

    @task
    def told(order: Order, *more: Line, colour: Colour | None = None, note=None):
        return [type(order).__name__, order.when, [type(line).__name__ for line in (*order.lines, *more)], str(colour), note]

    @task
    def big(n):
        return "x" * n

    @task(bind=True, max_retries=1, retry_backoff=0, retry_jitter=False)
    def again(self, value):
        if self.request.retries == 0:
            raise self.retry(args=(value + [1],))
        return value

    @task(bind=True)
    def steps(self, until):
        for n in range(1, 4):
            self.progress(n, 3, "letters")
        while not os.path.exists(until):
            time.sleep(0.005)
        return "done"
"""


@dataclasses.dataclass
class Line:
    sku: str
    n: int


@dataclasses.dataclass
class Order:
    id: int
    when: datetime
    lines: list[Line]


class Marked:
    """Unpickling it leaves a mark."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path(self.path),)


Make = Callable[..., App]


@pytest.fixture
def apps(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    """Makes apps that send to the lab, with settings of their own."""
    lab.write(TASKS)
    for name, value in environment(lab.config).items():
        monkeypatch.setenv(name, value)
    made: list[App] = []

    def make(**settings: Any) -> App:
        made.append(App("contents", **settings))
        return made[-1]

    yield make
    for app in made:
        app.close()


def with_settings(lab: Lab, **settings: Any) -> Config:
    return msgspec.structs.replace(lab.config, **settings)


def key_file(folder: Path, *keys: str) -> str:
    file = folder / f"key-{uuid.uuid4().hex[:8]}"
    file.write_text("\n".join(keys) + "\n")
    file.chmod(0o600)
    return str(file)


KEY, OTHER_KEY = "0123456789abcdef" * 2, "fedcba9876543210" * 2
VALUES = [
    datetime(2026, 1, 2, tzinfo=UTC), uuid.UUID(int=7), Decimal("1.50"), b"\xff", {1, 2}, {"__type__": "x"}, [None, "ü"],
]  # fmt: skip


def test_values_keep_their_types_there_and_back(lab: Lab, apps: Make) -> None:
    """In both serializers; and what the task's annotations name is what it gets."""
    lab.worker()
    app = apps()
    for serializer in ("json", "msgpack"):
        result = app.send_task("t.same", (VALUES,), serializer=serializer)
        assert result.get(timeout=10) == VALUES
    order = Order(1, datetime(2026, 1, 2, tzinfo=UTC), [Line("a", 1)])
    result = app.send_task("t.told", (order, Line("b", 2)), {"colour": "red", "note": {"sku": "a", "n": 1}})
    assert result.get(timeout=10) == [
        "Order", datetime(2026, 1, 2, tzinfo=UTC), ["Line", "Line"], "Colour.RED", {"sku": "a", "n": 1},
    ]  # fmt: skip
    assert app.send_task("t.again", ([{1}],), serializer="msgpack").get(timeout=10) == [{1}, 1]
    wrong = app.send_task("t.told", ({"id": "x"},))
    with pytest.raises(
        UndecodableMessageError, match=r"task 't\.told': argument 'order' does not fit Order: Expected `int`, got"
    ):
        wrong.get(timeout=10)
    assert lab.dead() == [wrong.id]
    with pytest.raises(
        NotEncodableError, match=r"task 't\.same': its args\[0\]\['when'\] cannot be sent as JSON: it is a Lab"
    ):
        app.send_task("t.same", ({"when": lab},))


def test_pickle_needs_the_consent_of_both_sides(lab: Lab, apps: Make, tmp_path: Path) -> None:
    """A worker that has not named it makes a dead letter of it, unread; a reader likewise."""
    app, marks = apps(), [str(tmp_path / "worker"), str(tmp_path / "reader")]
    careful = lab.worker()
    refused = app.send_task("t.same", (Marked(marks[0]),), serializer="pickle")
    with pytest.raises(
        ContentRefusedError, match=r"is in pickle, which is not accepted here \(accept_content: json, msgpack\)"
    ):
        refused.get(timeout=10)
    assert lab.dead() == [refused.id]
    assert not Path(marks[0]).exists()
    careful.terminate()
    assert careful.wait() == 0
    lab.worker(config=with_settings(lab, accept_content=("json", "pickle"), result_serializer="pickle"))
    sent = app.send_task("t.same", (Marked(marks[0]),), serializer="pickle")
    wait_until(sent.ready)
    assert Path(marks[0]).exists(), "it has consented"
    result = app.send_task("t.same", ([1, 2],))
    with pytest.raises(ContentRefusedError, match=r"the result of run \w+ is in pickle, which is not accepted here"):
        result.get(timeout=10)
    assert apps(accept_content=["json", "pickle"]).AsyncResult(result.id).get(timeout=10) == [1, 2]
    with pytest.raises(ContentRefusedError, match="is in msgpack, which is not accepted here"):
        app.send_task("t.same", (1,), serializer="msgpack").get(timeout=10)
    forged = Header(task="t.same", queue="default", serializer=7)
    unknown = app.AsyncResult(lab.send_all([NewMessage(new_id(), encode_body(forged, Payload()), "default")])[0])
    with pytest.raises(UndecodableMessageError, match="in serializer 7, which this version does not know; upgrade it"):
        unknown.get(timeout=10)


def test_with_a_key_nothing_unsigned_is_run_or_believed(lab: Lab, apps: Make, tmp_path: Path, capfd: Any) -> None:
    """Signed calls run, and their results are read; unsigned, altered and forged ones are dead letters, unread."""
    file, mark = key_file(tmp_path, KEY), str(tmp_path / "mark")
    config = with_settings(lab, signing_key_file=file, accept_content=("json", "pickle"))
    process = lab.worker(config=config)
    app, stranger = apps(signing_key_file=file), apps(signing_key_file=key_file(tmp_path, OTHER_KEY))
    good = app.send_task("t.again", ([],))
    assert good.get(timeout=10) == [1], "the retry with other arguments was signed anew"
    unsigned = apps()
    forged = Header(task="t.same", queue="default", serializer=2)
    payload = Payload(
        args=encode_argument([Marked(mark)], 2, what="args"), kwargs=encode_argument({}, 2, what="kwargs")
    )
    sent = {
        unsigned.send_task("t.same", (1,)).id: "is not signed, and here signing_key_file demands it",
        stranger.send_task("t.same", (1,)).id: "was signed with another key, or changed since",
        lab.send_all([NewMessage(new_id(), encode_body(forged, payload), "default")])[0]: "is not signed",
        unsigned.send_task("t.nobody", (1,)).id: "is not signed",
    }
    for id_, said in sent.items():
        with pytest.raises(SignatureError, match=said):
            app.AsyncResult(id_).get(timeout=10)
    assert sorted(lab.dead()) == sorted(sent)
    assert not Path(mark).exists()
    with pytest.raises(SignatureError):
        stranger.AsyncResult(good.id).get(timeout=10)
    assert unsigned.AsyncResult(good.id).get(timeout=10) == [1], "who demands nothing reads on"
    lab.store.connection.call("SET", lab.store.keys.result(good.id), b'{"state":"SUCCESS","result":"forged"}')
    with pytest.raises(SignatureError, match="is not signed"):
        _ = app.AsyncResult(good.id).result
    process.terminate()
    assert process.wait() == 0
    out = capfd.readouterr()
    assert KEY not in out.out + out.err + repr(app.conf) + repr(app.config) + repr(app.store.seal)


def test_a_worker_without_a_key_reads_what_is_signed(lab: Lab, apps: Make, tmp_path: Path) -> None:
    """So that senders may have the key first."""
    lab.worker()
    app = apps(signing_key_file=key_file(tmp_path, KEY), task_serializer="msgpack")
    result = app.send_task("t.same", ({"a": (1, 2)},))
    body = lab.store.queues.body(result.id)
    assert body is None or is_signed(body)
    assert lab.ended(result.id).state == "SUCCESS"


def test_a_refused_message_is_sent_again_signed(lab: Lab, apps: Make, tmp_path: Path) -> None:
    """`sched retry` checks the signature of what it repeats, and signs the new run."""
    file = key_file(tmp_path, KEY)
    config = with_settings(lab, signing_key_file=file)
    lab.worker(config=config)
    app = apps(signing_key_file=file)
    failed = app.send_task("t.told", (1,))
    wait_until(failed.ready)
    again = Process("retry", failed.id, "-o", "json", config=config, cwd=lab.folder)
    lab.processes.append(again)
    assert again.wait() == 0
    wait_until(lambda: [id_ for id_ in lab.dead() if id_ != failed.id], what="the second end")
    (second,) = (id_ for id_ in lab.dead() if id_ != failed.id)
    assert "does not fit Order" in lab.run(second).error, "the signature was right"
    assert lab.run(second).retry_of == failed.id


def test_big_results_are_compressed_or_refused(lab: Lab, apps: Make) -> None:
    """By option; the refusal says what can be done."""
    lab.worker(config=with_settings(lab, result_bytes_max=20_000, result_compression="zlib"))
    app = apps(result_bytes_max=20_000)
    result = app.send_task("t.big", (1_000_000,))
    assert len(result.get(timeout=10)) == 1_000_000
    assert lab.store.connection.call("STRLEN", lab.store.keys.result(result.id)) < 20_000
    with pytest.raises(Exception, match=r"its result has 2000002 bytes, more than result_bytes_max \(20000\)"):
        app.send_task("t.big", (2_000_000,)).get(timeout=10)


def test_a_run_says_how_far_it_is(lab: Lab, apps: Make, tmp_path: Path) -> None:
    """The last word of a run is seen, and `get(on_message=…)` hears of it."""
    lab.worker()
    result: AsyncResult = apps().send_task("t.steps", (str(tmp_path / "go"),))
    wait_until(lambda: result.info == {"current": 3, "total": 3, "note": "letters"}, what="the last step")
    assert (result.state, result.ready()) == ("PROGRESS", False)
    (tmp_path / "go").touch()
    assert result.get(timeout=10) == "done"
    assert result.state == "SUCCESS"


def test_what_celerys_users_ask_of_a_result(lab: Lab, apps: Make, tmp_path: Path) -> None:
    """Its attributes, as far as what is kept allows, and the keywords of `get`."""
    app = apps()
    until = str(tmp_path / "go")
    result: AsyncResult = app.send_task("t.steps", (until,), queue="default")
    assert (result.task_id, result.name, result.queue, result.worker, result.retries) == (
        result.id, "t.steps", "default", None, 0,
    )  # fmt: skip
    assert (result.args, result.kwargs, result.parent, result.date_done) == ([until], {}, None, None)
    lab.worker("-n", "wren")
    told: list[dict[str, Any]] = []
    intervals: list[int] = []

    def note_interval() -> None:
        intervals.append(1)
        if told and told[-1]["result"] == {"current": 3, "total": 3, "note": "letters"}:
            (tmp_path / "go").touch()

    value = result.get(
        10, True, 0.02, callback=lambda id_, value: (id_, value), on_message=told.append, on_interval=note_interval,
        disable_sync_subtasks=True, no_ack=True, follow_parents=True,
    )  # fmt: skip
    assert value == (result.id, "done")
    assert intervals
    assert [message["status"] for message in told][-1] == "SUCCESS"
    assert {message["task_id"] for message in told} == {result.id}
    assert (result.worker, result.name, result.retries) == ("wren", "t.steps", 0)
    assert result.date_done is not None
    assert abs(result.date_done.timestamp() * 1000 - lab.now_ms()) < 60_000
    assert (result.args, result.kwargs) == (None, None), "its message is gone"
    again = app.send_task("t.again", ([],))
    assert again.get(timeout=10) == [1]
    assert again.retries == 1
    with pytest.raises(TypeError, match="get: there is no keyword 'colour'"):
        result.get(colour=1)
    nobody = app.AsyncResult("nobody")
    assert (nobody.name, nobody.queue, nobody.worker, nobody.retries, nobody.args) == (None, None, None, 0, None)
    result.forget()
    assert result.state == "PENDING"


def test_several_runs_are_asked_at_once(lab: Lab, apps: Make) -> None:
    """One round trip for all, one timeout for all."""
    app = apps()
    runs = ResultSet([app.send_task("t.same", (n,)) for n in range(3)])
    assert (len(runs), runs.ready(), runs.completed_count()) == (3, False, 0)
    with pytest.raises(ResultTimeoutError):
        runs.get(timeout=0.1)
    lab.worker()
    assert runs.get(timeout=10) == [0, 1, 2]
    assert (runs.ready(), runs.successful(), runs.failed(), runs.completed_count()) == (True, True, False, 3)
    mixed = ResultSet([*runs, app.send_task("t.told", (1,))])
    with pytest.raises(UndecodableMessageError):
        mixed.get(timeout=10)
    assert isinstance(mixed.get(timeout=10, propagate=False)[3], UndecodableMessageError)
    assert (mixed.ready(), mixed.successful(), mixed.failed(), mixed.completed_count("ready")) == (True, False, True, 4)
    mixed.forget()
    assert [run.state for run in mixed] == ["PENDING"] * 4
    assert ResultSet([]).get() == []
