"""What a courier sends, in which order, and what becomes of what cannot be sent. Each turn is ours to take."""

from __future__ import annotations

import logging
import sys
import textwrap
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from scheduler.alarm import Alert, Kind
from scheduler.beat import courier as couriers
from scheduler.beat import hook_process
from scheduler.beat.courier import GIVEN_UP_MS, Courier
from scheduler.beat.hook import call_url
from scheduler.beat.hook_process import run_callable
from scheduler.beat.load import LoadRequest
from scheduler.store import Store
from scheduler.store.alerts import Notice
from scheduler.wire import new_id
from tests.support.bench import Bench
from tests.support.hookserver import HookServer
from tests.support.wait import wait_until

pytestmark = pytest.mark.redis

NOWHERE = "http://127.0.0.1:1/secret"


class Lab:
    """Alerts to be raised, and couriers that send them."""

    def __init__(self, store: Store, folder: Path) -> None:
        self.bench = Bench(store)
        self.store = store
        self.request = LoadRequest(overrides={"schedules": str(folder / "schedules")})
        self.raised = 0

    def courier(self, *hooks: str) -> Courier:
        """One beat's, whose settings name these hooks."""
        return Courier(self.store, hooks=hooks, run_callable=partial(run_callable, self.request))

    def tell(self, *hooks: str, ago_ms: int = 0, over: bool = False) -> Alert:
        """An alert for these hooks; raised *ago_ms* before now, and over at once if so wished."""
        self.raised += 1
        at_ms = self.bench.now_ms - ago_ms
        entry = f"e{self.raised}"
        alert = Alert(id=new_id(), kind=Kind.LATE, entry=entry, text=f"{entry} is late", at_ms=at_ms, by="a")
        told = self.store.alerts.settle(alert, hooks)
        assert told is not None
        if over:
            again = Alert(
                id=alert.id, kind=Kind.LATE, entry=entry, text=f"{entry} is well", at_ms=at_ms, over_ms=at_ms + 1
            )
            assert self.store.alerts.settle(again, hooks, seen=told)
        return alert

    def turn(self, courier: Courier) -> None:
        """One turn, and what it began."""
        courier.turn()
        courier.wait(20)

    def due_now(self) -> None:
        """Let the time until the next try, or the lease of whoever had it, be over."""
        for line in self.bench.call_redis("ZRANGE", self.bench.keys.outbox, 0, -1):
            self.bench.call_redis("ZADD", self.bench.keys.outbox, 1, line)

    def waits_s(self, hook: str) -> float:
        """How long until this hook is tried again."""
        score = float(self.bench.call_redis("ZSCORE", self.bench.keys.outbox, hook))
        return (score - self.bench.now_ms) / 1000

    def log(self, what: str) -> list[Notice]:
        """The newest lines of this kind first."""
        return [notice for notice in self.store.alerts.log(100) if notice.what == what]


@pytest.fixture
def lab(store: Store, tmp_path: Path) -> Lab:
    """On a namespace of its own, with a folder for callables."""
    (tmp_path / "schedules").mkdir()
    return Lab(store, tmp_path)


@pytest.fixture
def hooks() -> Iterator[HookServer]:
    """Who is told."""
    with HookServer() as hooks:
        yield hooks


# ── addresses ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_address_is_posted_json_that_a_chat_service_shows(lab: Lab, hooks: HookServer) -> None:
    """`text` is what they look for; the rest is for programs."""
    alert = lab.tell(hooks.url())
    lab.turn(lab.courier(hooks.url()))
    (call,) = hooks.calls
    assert (call.method, call.path, call.headers["Content-Type"]) == ("POST", "/hook", "application/json")
    assert call.headers["User-Agent"].startswith("steadybeat/")
    assert call.data["text"] == f"[{lab.bench.keys.namespace}] e1 is late"
    assert (call.data["kind"], call.data["state"], call.data["entry"], call.data["id"]) == (
        "late",
        "raised",
        "e1",
        alert.id,
    )
    assert call.data["raised_at"].endswith("Z")
    assert lab.store.alerts.waiting() == 0
    assert lab.log("sent")[0].text == "200 OK"


def test_hook_hears_what_was_raised_before_that_it_is_over(lab: Lab, hooks: HookServer) -> None:
    """In the order of the line, also after a failure: several that wait come at once."""
    hooks.answer = 500
    lab.tell(hooks.url(), over=True)
    courier = lab.courier()
    lab.turn(courier)
    hooks.answer = 200
    lab.tell(hooks.url())
    lab.due_now()
    lab.turn(courier)
    data = hooks.calls[-1].data
    assert data["kind"] == "several"
    assert [(one["entry"], one["state"]) for one in data["alerts"]] == [
        ("e1", "raised"),
        ("e1", "over"),
        ("e2", "raised"),
    ]
    assert [line.partition("] ")[2] for line in data["text"].splitlines()] == ["e1 is late", "e1 is well", "e2 is late"]
    assert lab.store.alerts.waiting() == 0


@pytest.mark.parametrize(
    ("status", "said"),
    [(500, "answered 500 Internal Server Error"), (404, "answered 404 Not Found"), (302, "redirects are not followed")],
)
def test_hook_that_refuses_is_tried_again_farther_and_farther_apart(
    lab: Lab, hooks: HookServer, status: int, said: str
) -> None:
    """And is said so once, without its secret. A redirect would hand that on to somebody else."""
    hooks.answer, hooks.headers = status, {"Location": hooks.url("/elsewhere")}
    lab.tell(hooks.url("/secret"))
    courier = lab.courier()
    for wait_s in (2, 4, 8):
        lab.turn(courier)
        assert wait_s - 1 < lab.waits_s(hooks.url("/secret")) <= wait_s
        courier.turn()
        assert lab.store.alerts.waiting() == 1
        lab.due_now()
    assert {call.path for call in hooks.calls} == {"/secret"}
    (failed,) = lab.log("failed")
    assert said in failed.text
    assert failed.to == hooks.url("/…")
    hooks.answer = 200
    lab.turn(courier)
    assert lab.store.alerts.waiting() == 0
    assert lab.bench.hash(lab.bench.keys.outbox_failures) == {}


def test_nobody_there_and_nothing_proper_said_are_failures_too(lab: Lab, caplog: pytest.LogCaptureFixture) -> None:
    """Whatever it is, it is a sentence, without the secret."""
    caplog.set_level(logging.INFO)
    assert call_url(NOWHERE).text == "no answer: Connection refused"
    assert call_url("http://nobody.invalid/secret").text.startswith("no answer: ")
    assert call_url("file:///etc/passwd")[:2] == (False, "an address begins with http:// or https://")
    lab.tell(NOWHERE)
    lab.turn(lab.courier())
    assert "http://127.0.0.1:1/…" in caplog.text
    assert "secret" not in caplog.text
    assert "secret" not in str(lab.store.alerts.log(10))


def test_address_may_hold_a_login(hooks: HookServer) -> None:
    """As web addresses do; it goes into a header."""
    assert call_url(hooks.url().replace("//", "//user:p%40ss@")).ok
    assert hooks.calls[0].headers["Authorization"] == "Basic dXNlcjpwQHNz"


def test_hook_that_hangs_holds_up_no_other(lab: Lab, hooks: HookServer) -> None:
    """Each line has a thread of its own, and waits while it is being sent."""
    hooks.answer = 0
    with HookServer() as quick:
        lab.tell(hooks.url())
        courier = lab.courier()
        courier.turn()
        hooks.wait(1)
        lab.tell(quick.url(), hooks.url())
        courier.turn()
        quick.wait(1)
        assert len(hooks.calls) == 1, "its line is out already"
    hooks.let_go()
    courier.wait(20)
    courier.turn()
    courier.wait(20)
    assert [call.data["entry"] for call in hooks.calls] == ["e1", "e2"]


def test_what_a_beat_was_sending_when_it_died_is_sent_by_another(lab: Lab, hooks: HookServer) -> None:
    """At least once: after the lease; until then it is nobody else's."""
    lab.tell(hooks.url())
    (parcel,) = lab.store.alerts.collect().parcels
    assert lab.store.alerts.collect().parcels == []
    taken_ms = lab.bench.now_ms
    lab.due_now()
    wait_until(lambda: lab.bench.now_ms > taken_ms, what="another millisecond")
    (again,) = lab.store.alerts.collect().parcels
    assert again.items == parcel.items
    assert not lab.store.alerts.sent(parcel, parcel.items, again_ms=None), "it was late, and settles nothing"
    assert lab.store.alerts.waiting() == 1
    lab.due_now()
    lab.turn(lab.courier())
    assert len(hooks.calls) == 1
    assert lab.store.alerts.waiting() == 0


def test_what_cannot_be_sent_for_an_hour_is_given_up_and_said(lab: Lab, hooks: HookServer) -> None:
    """A bound on everything; what is younger stays."""
    lab.tell(NOWHERE, ago_ms=GIVEN_UP_MS + 1)
    lab.tell(NOWHERE)
    lab.turn(lab.courier())
    assert lab.store.alerts.waiting() == 1
    (dropped,) = lab.log("dropped")
    assert dropped.text == "1 given up after an hour: no answer: Connection refused"


def test_line_of_a_hook_is_bounded(lab: Lab) -> None:
    """The oldest go, and are counted."""
    alert = Alert(id="1", kind=Kind.LATE, text="x", at_ms=1)
    for i in range(1_003):
        lab.store.alerts.settle(Alert(id=str(i), kind=Kind.LATE, entry=str(i), text="x", at_ms=1), (NOWHERE,))
    assert alert.field == "late"
    assert lab.store.alerts.waiting() == 1_000
    assert int(lab.bench.call_redis("HGET", lab.bench.keys.meta, "alerts_dropped")) == 3


def test_without_redis_every_hook_is_tried_a_few_times(
    lab: Lab, hooks: HookServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That Redis is away cannot wait in it."""
    monkeypatch.setattr(couriers, "resend_ms", lambda _: 1)
    hooks.answer = 500
    courier = lab.courier(hooks.url(), NOWHERE)
    courier.tell_alone(Alert(id="1", kind=Kind.NO_REDIS, text="x", at_ms=1))
    courier.wait(20)
    assert len(hooks.calls) == 5


# ── callables ───────────────────────────────────────────────────────────────────────────────────────────────────────


def ops(folder: Path, text: str) -> None:
    """Write ``schedules/ops.py``, which can note what it was given."""
    head = (
        f"import json, os, sys, time\nFILE = {str(folder / 'noted')!r}\ndef note(x): open(FILE, 'a').write(x + '\\n')\n"
    )
    (folder / "schedules" / "ops.py").write_text(head + textwrap.dedent(text), encoding="utf-8")


def noted(folder: Path) -> list[str]:
    """What it noted."""
    file = folder / "noted"
    return file.read_text(encoding="utf-8").splitlines() if file.exists() else []


def test_callable_is_called_with_each_alert_in_another_process(lab: Lab, tmp_path: Path) -> None:
    """The same message that an address gets; what it prints is not its answer."""
    ops(
        tmp_path,
        "def page(alert):\n    print('noise')\n    note(f\"{os.getppid()} {alert['entry']} {alert['state']}\")",
    )
    lab.tell("schedules.ops:page", over=True)
    lab.turn(lab.courier("schedules.ops:page"))
    pid = str(Path("/proc/self").resolve().name)
    assert noted(tmp_path) == [f"{pid} e1 raised", f"{pid} e1 over"]
    assert lab.store.alerts.waiting() == 0


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("def page(alert): raise KeyError('phone')", "KeyError: 'phone'"),
        ("def page(alert): os._exit(3)", "its process ended with code 3 and said nothing"),
        ("def page(alert): sys.exit('no phone')", "SystemExit: no phone"),
        ("def page(alert): os.kill(os.getpid(), 11)", "its process ended with code -11 and said nothing"),
        ("page = 5", "schedules.ops:page is not callable"),
        ("def call(alert): ...", "schedules.ops has no page"),
        ("import nothing_like_it", "schedules.ops cannot be imported"),
        ("def page(alert) return", "schedules.ops cannot be imported"),
    ],
)
def test_callable_that_fails_is_tried_again_and_says_why(lab: Lab, tmp_path: Path, text: str, said: str) -> None:
    """P12: nothing that it does reaches the beat."""
    ops(tmp_path, text)
    lab.tell("schedules.ops:page")
    lab.turn(lab.courier("schedules.ops:page"))
    assert lab.store.alerts.waiting() == 1
    (failed,) = lab.log("failed")
    assert said in failed.text


def test_callable_that_hangs_is_killed_with_all_it_has_started(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No process is left behind."""
    monkeypatch.setattr(hook_process, "CALLABLE_S_MAX", 1.0)
    ops(
        tmp_path,
        """
        import subprocess
        def page(alert):
            note(str(subprocess.Popen(["sleep", "60"]).pid))
            time.sleep(60)
        """,
    )
    lab.tell("schedules.ops:page")
    lab.turn(lab.courier("schedules.ops:page"))
    (failed,) = lab.log("failed")
    assert "it did not return within 1 s, and was killed" in failed.text
    (pid,) = noted(tmp_path)
    wait_until(lambda: _is_over(pid), what="what it has started to end")


def _is_over(pid: str) -> bool:
    try:
        return "State:\tZ" in Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    except FileNotFoundError:
        return True


def test_callable_that_fails_in_the_middle_is_not_called_again_for_what_it_took(lab: Lab, tmp_path: Path) -> None:
    """Each alert is a call that wakes somebody."""
    ops(
        tmp_path,
        """
        def page(alert):
            if alert["entry"] == "e2" and not os.path.exists(FILE + ".up"):
                raise OSError("no phone")
            note(alert["entry"])
        """,
    )
    for _ in range(3):
        lab.tell("schedules.ops:page")
    courier = lab.courier("schedules.ops:page")
    lab.turn(courier)
    assert (noted(tmp_path), lab.store.alerts.waiting()) == (["e1"], 2)
    (tmp_path / "noted.up").touch()
    lab.due_now()
    lab.turn(courier)
    assert noted(tmp_path) == ["e1", "e2", "e3"]


def test_slow_callable_takes_turns_within_its_time(lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that it is never killed in the middle of what it has begun."""
    request = hook_process.HookRequest(lab.request, "schedules.ops:page", [{"entry": "e1"}, {"entry": "e2"}])
    ops(tmp_path, "def page(alert): note(alert['entry'])")
    monkeypatch.setattr(hook_process, "CALLABLE_TURN_S", 0.0)
    monkeypatch.setattr("sys.path", [*sys.path])
    monkeypatch.setattr("sys.meta_path", [*sys.meta_path])
    taken: list[int] = []
    reply = hook_process.call_here(request, lambda: taken.append(1))
    for name in [name for name in sys.modules if name == "schedules" or name.startswith("schedules.")]:
        monkeypatch.delitem(sys.modules, name)
    assert (reply.ok, taken, noted(tmp_path)) == (True, [1], ["e1"])


def test_what_nobody_can_read_does_not_hold_up_a_line(lab: Lab, hooks: HookServer) -> None:
    """P12."""
    lab.tell(hooks.url())
    lab.bench.call_redis("LPUSH", lab.bench.keys.outbox_line(hooks.url()), b"{not ours", b'{"id":7}')
    lab.turn(lab.courier())
    assert [call.data["entry"] for call in hooks.calls] == ["e1"]
    assert lab.store.alerts.waiting() == 0


def test_callable_that_the_settings_do_not_name_is_not_run(lab: Lab, tmp_path: Path) -> None:
    """Whoever can write to Redis must not choose what a beat runs."""
    ops(tmp_path, "def page(alert): note('ran')")
    lab.tell("schedules.ops:page", "os:system")
    courier = lab.courier("schedules.ops:other")
    lab.turn(courier)
    assert noted(tmp_path) == []
    assert {failed.text.partition(";")[0] for failed in lab.log("failed")} == {"this beat's settings do not name it"}
