"""`@task`, `@schedule`, `entry`: names, options, and what is refused on the spot."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest

from scheduler import Task, between, crontab, declare, entry, every, schedule, task
from scheduler.config import Config
from scheduler.context import Request, pop_request, push_request
from scheduler.declare import Declarations
from scheduler.errors import (
    InvalidEntryError,
    InvalidScheduleError,
    InvalidTaskError,
    NotEncodableError,
    Retry,
)
from scheduler.home import Home
from scheduler.model import Ack, RunOptions
from scheduler.task import MaxRetriesExceededError

MODULE = __name__.removeprefix("schedules.")


@pytest.fixture(autouse=True)
def declarations() -> Iterator[Declarations]:
    """The process's own declarations, of this test only."""
    mine = Declarations(Home(Config))
    before = declare.set_current(mine)
    yield mine
    declare.set_current(before)


def test_a_task_is_still_a_function() -> None:
    """It can be called, read and documented like one."""

    @task
    def add(a: int, b: int = 2) -> int:
        "Add."
        return a + b

    assert (add(1), add(1, b=3), add.name, add.__name__, add.__doc__) == (3, 4, f"{MODULE}.add", "add", "Add.")
    assert repr(add) == f"<task {MODULE}.add>"


def test_a_bound_task_gets_itself_and_keeps_its_base(declarations: Declarations) -> None:
    """Celery's way of giving a task attributes and hooks."""

    class Counting(Task):
        def __init__(self) -> None:
            self.count = 0

    @task(bind=True, base=Counting, name="count")
    def count(self: Counting, by: int) -> int:
        self.count += by
        return self.count

    assert (count(2), count(3), declarations.tasks["count"]) == (2, 5, count)
    assert count.request.called_directly


def test_options_become_typed_values() -> None:
    """Parsed once at the edge."""

    @task(
        queue="mail", priority=9, max_retries=None, retry_for=[KeyError], retry_backoff="2s", retry_jitter=False,
        time_limit="5m", soft_time_limit=timedelta(minutes=4), ack="each", ignore_result=True, result_expires="2d",
        expires=90,
    )  # fmt: skip
    def f() -> None: ...

    options = f.options
    assert (options.queue, options.priority, options.max_retries, options.retry_for) == ("mail", 9, None, (KeyError,))
    assert (options.retry_backoff_ms, options.time_limit_ms, options.soft_time_limit_ms) == (2_000, 300_000, 240_000)
    assert (options.ack, options.ignore_result, options.result_expires_ms) == (Ack.EACH, True, 172_800_000)
    assert options.expires_ms == 90_000


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"queue": "a b"}, "queue 'a b': use"),
        ({"priority": True}, "priority True: expected a whole number from 0 to 9"),
        ({"max_retries": -1}, "max_retries -1: outside 0–100000"),
        ({"retry_for": "KeyError"}, "retry_for 'KeyError': expected exception classes"),
        ({"retry_for": [int]}, "retry_for <class 'int'>: expected exception classes"),
        ({"retry_backoff": -1}, "retry_backoff -1 is negative"),
        ({"time_limit": "5 minutes"}, "time_limit '5 minutes' is not a duration"),
        ({"time_limit": 5, "soft_time_limit": 5}, "soft_time_limit 5s must be shorter than time_limit 5s"),
        ({"ack": "never"}, "ack 'never': expected one of 'late', 'each', 'early'"),
        ({"ack": "early", "retry_for": KeyError}, "ack 'early' runs at most once"),
        ({"dont_retry_for": KeyError}, "dont_retry_for names exceptions among those of retry_for"),
        ({"retry_backoff": 60, "retry_backoff_max": 5}, "retry_backoff 1m, the first pause, is longer than"),
        ({"ignore_result": 1}, "ignore_result 1: expected True or False"),
        ({"serializer": "yaml"}, "serializer 'yaml': expected 'json', 'msgpack', 'pickle'; YAML is not spoken here"),
        ({"expires": 0}, "expires 0: a run that expires at once never starts"),
        ({"rate_limit": "fast"}, "rate_limit 'fast': expected a number of starts in a second"),
        ({"unique": 3}, "unique 3: expected True"),
        ({"exchange": "a b"}, "exchange 'a b': use 1–128 letters"),
        ({"overlap": "skip"}, "overlap: belongs to an entry: give it to @schedule or entry()"),
        ({"max_retry": 3}, "unknown option 'max_retry'; did you mean 'max_retries'"),
        ({"base": dict}, "base <class 'dict'>: expected a subclass of scheduler.Task"),
        ({"bind": 1}, "bind 1: expected True or False"),
        ({"name": " x"}, "task name ' x': use printable characters, no blank at either end"),
        ({"name": "x" * 300}, "300 characters, 200 at most"),
    ],
)
def test_a_bad_option_of_a_task_is_named(options: dict[str, Any], said: str) -> None:
    """Naming option, value and what is allowed; options of later versions are refused, not ignored."""
    with pytest.raises(InvalidTaskError) as caught:
        task(**{"name": "t", **options})(lambda: None)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"overlap": "maybe"}, "overlap 'maybe': expected one of 'allow', 'skip', 'queue', 'replace'"),
        ({"catchup": "all"}, "catchup 'all' needs overlap='allow' (it is 'skip')"),
        ({"catchup_window": "2d"}, "catchup_window is how far catchup='all' looks back"),
        ({"jitter": "-5s"}, "jitter '-5s' is negative"),
        ({"countdown": 60, "jitter": 60, "expires": 120}, "expires 2m cannot be met: a run starts up to 2m after"),
        ({"max_runs": 0}, "max_runs 0: outside 1–"),
        ({"enabled": "no"}, "enabled 'no': expected True or False"),
        ({"tags": "mail"}, "tags 'mail': expected a list of words"),
        ({"headers": {1: 2}}, "headers {1: 2}: expected a mapping from names"),
        ({"description": 5}, "description '5': expected text"),
        ({"tz": "Mars"}, "tz: timezone 'Mars' is not known"),
        ({"start": "soon"}, "start 'soon': expected a datetime"),
        ({"start": datetime(2030, 1, 2), "until": datetime(2030, 1, 1)}, "is not after start 2030-01-02"),
        ({"args": "text"}, "args 'text': expected a list or tuple"),
        ({"kwargs": {1: 2}}, "kwargs {1: 2}: expected a mapping from names"),
        ({"args": (1, 2, 3)}, "too many positional arguments; give args= and kwargs= that it takes"),
        ({"retry_for": KeyError}, "retry_for: belongs to the task: give it to @task"),
        ({"serializer": "json"}, "serializer: belongs to the task: give it to @task"),
        ({"max_retries": -1}, "max_retries -1: outside 0–100000"),
        ({"retry_backoff": "2d"}, "retry_backoff '2d': outside 0s–1d"),
        ({"time_limit": 5, "soft_time_limit": "5s"}, "soft_time_limit 5s must be shorter than time_limit 5s"),
        ({"bind": True}, "bind: belongs to the task"),
        ({"unique": 3}, "unique 3: expected True"),
        ({"jiter": 5}, "unknown option 'jiter'; did you mean 'jitter'"),
    ],
)
def test_a_bad_option_of_an_entry_is_named(options: dict[str, Any], said: str) -> None:
    """The same for entries."""
    f = task(name="f")(lambda *, a=1: a)
    with pytest.raises(InvalidEntryError) as caught:
        entry("e", f, every("5s"), **options)
    assert str(caught.value).startswith("entry 'e': ")
    assert said in str(caught.value)


def test_arguments_that_json_cannot_carry_are_refused() -> None:
    """At the declaration, not at the first due time."""
    f = task(name="f")(lambda a: a)
    with pytest.raises(
        NotEncodableError, match=r"entry 'e': task 'f': its args\[0\] cannot be sent as JSON: .* plain data"
    ):
        entry("e", f, every("5s"), args=[object()])


@pytest.mark.parametrize(
    ("when", "said"),
    [
        ("30s", "'30s' is no schedule; write every('30s')"),
        ("*/5 * * * *", "write crontab('*/5 * * * *')"),
        (30, "30 is no schedule; write every(30)"),
        (None, "None is no schedule; write every('30s') or crontab("),
        (between("09:00", "17:00"), "is a window, which has no moments of its own; write every('15m') & … or"),
    ],
)
def test_what_is_no_schedule_is_answered_with_one(when: Any, said: str) -> None:
    """The remedy is to be pasted."""
    with pytest.raises(InvalidScheduleError) as caught:
        entry("e", "t", when)
    assert said in str(caught.value)


def test_schedules_stack_with_names(declarations: Declarations) -> None:
    """The inner one makes the task; its run options are the task's, the outer one's are its entry's alone."""

    @schedule(every("1h"), name="hourly", queue="slow", time_limit="10m", max_retries=None)
    @schedule(crontab("0 9 * * *"), queue="reports", max_retries=7, time_limit="1m")
    def report() -> None: ...

    assert set(declarations.entries) == {report.name, "hourly"}
    assert (report.options.queue, report.options.max_retries, report.options.time_limit_ms) == ("reports", 7, 60_000)
    hourly = declarations.entries["hourly"].options
    assert (hourly.queue, hourly.run) == ("slow", RunOptions(max_retries=None, time_limit_ms=600_000))
    assert declarations.entries[report.name].options.run is None
    merged = report.options.merged(hourly.run)
    assert (merged.max_retries, merged.time_limit_ms, merged.retry_backoff_ms) == (None, 600_000, 1_000)
    with pytest.raises(InvalidEntryError, match=r"a second @schedule of one task needs a name="):
        schedule(every("2h"))(report)
    with pytest.raises(InvalidEntryError, match="retry_for: belongs to the task"):
        schedule(every("2h"), name="x", retry_for=KeyError)(report)


@pytest.mark.parametrize(
    ("of_task", "of_entry", "said"),
    [
        (
            {"soft_time_limit": "5m"}, {"time_limit": "1m"},
            "soft_time_limit 5m of the task must be shorter than time_limit 1m of the entry; "
            "give the entry a soft_time_limit of its own (None: none)",
        ),
        (
            {"time_limit": "1m"}, {"soft_time_limit": "1m"},
            "soft_time_limit 1m of the entry must be shorter than time_limit 1m of the task; "
            "give the entry a time_limit of its own (None: none)",
        ),
    ],
)  # fmt: skip
def test_the_limits_of_an_entry_go_together_with_its_tasks(
    declarations: Declarations, of_task: dict[str, Any], of_entry: dict[str, Any], said: str
) -> None:
    """A soft limit that comes after the hard one would never be heard."""
    f = task(name="f", **of_task)(lambda: None)
    with pytest.raises(InvalidEntryError) as caught:
        entry("e", f, every("5s"), **of_entry)
    assert str(caught.value) == f"entry 'e': {said}"
    own: dict[str, Any] = {"soft_time_limit": None, "time_limit": None} | of_entry
    entry("e", f, every("5s"), **own)
    assert "e" in declarations.entries


def test_an_entry_that_runs_at_most_once_needs_a_task_that_is_not_repeated() -> None:
    """`ack="early"` said by the entry meets the `retry_for` of its task: the two promises cannot both be kept."""

    @task(name="t", retry_for=OSError)
    def fetch() -> None: ...

    with pytest.raises(InvalidEntryError, match="ack 'early' runs at most once, and its task has retry_for"):
        entry("e", fetch, every(60), ack="early")


def test_all_complaints_of_one_declaration_come_together(declarations: Declarations) -> None:
    """And a function whose entry is wrong declares nothing."""
    with pytest.raises(InvalidTaskError) as caught:
        schedule(every("1h"), name="e", queu="x", priority=12, overlap="no", time_limit=0)(named)
    assert [line.partition(": ")[2].partition(":")[0] for line in str(caught.value).splitlines()] == [
        "unknown option 'queu'; did you mean 'queue' or 'unique'?",
        "priority 12",
        "overlap 'no'",
        "time_limit 0",
    ]
    assert not declarations.tasks
    assert not declarations.entries


def named() -> None:
    """A function with a name."""


def test_a_name_that_is_taken_is_told_with_its_place() -> None:
    """Both places, so that nobody has to search."""
    task(name="t")(named)
    with pytest.raises(InvalidTaskError, match=r"task 't' is declared already, at .*test_declare\.py:\d+; give one of"):
        task(name="t")(named)
    entry("e", "t", every("5s"))
    with pytest.raises(InvalidEntryError, match=r"entry 'e' is declared already, at .*test_declare\.py:\d+; entries"):
        entry("e", "t", every("5s"))


def test_an_entrys_zone_and_its_schedules_must_agree() -> None:
    """Two answers to one question."""
    with pytest.raises(InvalidEntryError, match="tz 'Europe/Berlin' contradicts the schedule's own tz 'Asia/Tokyo'"):
        entry("e", "t", crontab("0 9 * * *", tz="Asia/Tokyo"), tz="Europe/Berlin")


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (lambda: None, "which has no name; give name="),
        (staticmethod(named), "expected a function"),
        (int, "expected a function"),
        (5, "expected a function"),
    ],
)
def test_what_cannot_be_a_task_is_refused(wrong: Any, said: str) -> None:
    """At the decorator."""
    with pytest.raises(InvalidTaskError, match=said):
        task(wrong)


def test_a_generator_is_refused() -> None:
    """Calling it runs nothing, and nobody would ask it for values. A coroutine is awaited by its worker."""

    def values() -> Any:
        yield 1

    async def values_later() -> Any:
        yield 1

    async def one() -> int:
        return 1

    for wrong in (values, values_later):
        with pytest.raises(InvalidTaskError, match="is a generator: nobody would ask it for values; return a list"):
            task(wrong)
    assert task(one).fn is one


# ── retry and state, without a worker ───────────────────────────────────────────────────────────────────────────────


def in_run(retries: int, action: Callable[[], Any]) -> Any:
    """What *action* does in a run that was retried so often."""
    token = push_request(Request(id="r1", retries=retries, attempt=retries + 1))
    try:
        return action()
    finally:
        pop_request(token)


def test_retry_raises_until_the_retries_are_used_up() -> None:
    """As in Celery: then the exception itself, or one that says so."""
    f = task(name="f", max_retries=2)(lambda: None)
    with pytest.raises(Retry) as caught:
        in_run(1, lambda: f.retry(exc=KeyError("k"), countdown="2s", kwargs={"a": 1}))
    assert (caught.value.countdown_s, caught.value.new_args, caught.value.new_kwargs) == (2.0, None, {"a": 1})
    assert isinstance(caught.value.__cause__, KeyError)
    with pytest.raises(KeyError):
        in_run(2, lambda: f.retry(exc=KeyError("k")))
    with pytest.raises(MaxRetriesExceededError, match=r"task 'f', run r1: 2 retries are used up \(max_retries 2\)"):
        in_run(2, f.retry)
    with pytest.raises(Retry):
        in_run(2, lambda: f.retry(max_retries=3))
    assert isinstance(in_run(0, lambda: f.retry(throw=False)), Retry)


def test_retry_counts_as_its_entry_says() -> None:
    """The entry's word weighs more than the task's, for `self.retry` too."""
    f = task(name="f", max_retries=2)(lambda: None)
    for max_retries, retries in ((0, 0), (5, 5)):
        request = Request(id="r1", retries=retries, options=RunOptions(max_retries=max_retries))
        token = push_request(request)
        try:
            with pytest.raises(MaxRetriesExceededError, match=rf"max_retries {max_retries}\)"):
                f.retry()
        finally:
            pop_request(token)
    token = push_request(Request(id="r1", retries=99, options=RunOptions(max_retries=None)))
    try:
        assert isinstance(f.retry(throw=False), Retry)
    finally:
        pop_request(token)


def test_retry_without_a_message_gives_the_caller_what_went_wrong() -> None:
    """A task that is called like a function fails like one."""
    f = task(name="f")(lambda: None)
    with pytest.raises(KeyError):
        f.retry(exc=KeyError("k"))
    with pytest.raises(Retry):
        f.retry()


@pytest.mark.parametrize(
    ("state", "said"), [("SUCCESS", "is recorded when the run ends"), ("", "state '': expected text")]
)
def test_a_tasks_own_state_is_no_final_one(state: str, said: str) -> None:
    """Nobody must believe a run over that is not."""
    f = task(name="f")(lambda: None)
    with pytest.raises(ValueError, match=said):
        in_run(0, lambda: f.update_state(state=state))
    with pytest.raises(ValueError, match="there is no run"):
        f.update_state(state="HALF")


def test_the_main_modules_tasks_are_named_after_the_app_or_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """`python tasks.py` and `-A tasks` must mean the same task."""
    monkeypatch.setattr(named, "__module__", "__main__")
    monkeypatch.setattr(sys.modules["__main__"], "__file__", "/srv/shop.py", raising=False)
    assert Declarations(Home(Config), main="tasks").task(named).name == "tasks.named"
    assert Declarations(Home(Config)).task(named).name == "shop.named"
