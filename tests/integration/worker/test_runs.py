"""What becomes of one message, in both pools."""

from __future__ import annotations

import pytest

from scheduler.app import App
from scheduler.wire import FLAG_IGNORE_RESULT
from tests.integration.worker.lab import Lab
from tests.support.wait import wait_until

POOLS = ["prefork", "solo"]


@pytest.mark.parametrize("pool", POOLS)
def test_a_value_comes_back_with_its_history(lab: Lab, pool: str) -> None:
    """Station 7 and 8: executed, finished, and nothing of it is left in flight (P5)."""
    lab.worker("--pool", pool, "-n", "w1")
    id_ = lab.send("add", 2, 3)
    assert lab.value(id_) == 5
    run = lab.run(id_)
    assert (run.task, run.state, run.worker, run.attempt) == ("t.add", "SUCCESS", "w1", 1)
    assert run.enqueued_ms - 50 <= run.started_ms <= run.finished_ms
    assert lab.is_empty()


@pytest.mark.parametrize("pool", POOLS)
def test_an_exception_is_recorded_with_a_traceback_that_starts_in_the_task(lab: Lab, pool: str) -> None:
    """People want to see their own lines, not ours."""
    lab.write("""
        @task
        def boom():
            raise ValueError("bad\\nnews")
    """)
    lab.worker("--pool", pool)
    id_ = lab.send("boom")
    record = lab.ended(id_)
    assert record.state == "FAILURE"
    assert record.traceback is not None
    assert "in boom" in record.traceback
    assert "worker/execute.py" not in record.traceback
    assert lab.run(id_).error == "ValueError: bad news"


@pytest.mark.parametrize("pool", POOLS)
def test_every_message_of_a_large_batch_runs_once(lab: Lab, pool: str) -> None:
    """P5: taken and finished in batches, none is lost, none runs twice."""
    lab.write("""
        @task
        def note(path, n):
            mark(path, str(n))
    """)
    lab.worker("--pool", pool)
    ids = lab.send_all([lab.message("note", lab.path("notes"), n) for n in range(1000)])
    wait_until(lab.is_empty, timeout_s=30, what="an empty namespace")
    assert sorted(map(int, lab.lines("notes"))) == list(range(1000))
    assert all(lab.ended(id_).state == "SUCCESS" for id_ in ids[::50])


@pytest.mark.parametrize("pool", POOLS)
def test_system_exit_and_keyboard_interrupt_fail_the_run_and_not_the_worker(lab: Lab, pool: str) -> None:
    """P12: what a task raises, whatever it is, stays in its run."""
    lab.write("""
        @task
        def leave():
            sys.exit("bye")

        @task
        def interrupt():
            raise KeyboardInterrupt
    """)
    worker = lab.worker("--pool", pool)
    assert lab.error(lab.send("leave")) == ("SystemExit", "bye")
    assert lab.error(lab.send("interrupt"))[0] == "KeyboardInterrupt"
    assert lab.value(lab.send("add", 1, 1)) == 2
    assert not worker.told.all("child.died")


def test_results_that_cannot_be_kept_are_failures_that_say_why(lab: Lab) -> None:
    """P12: not JSON, or too large."""
    lab.write("""
        @task
        def odd():
            return object()

        @task
        def huge():
            return "x" * 2_000_000
    """)
    lab.worker()
    kind, message = lab.error(lab.send("odd"))
    assert kind == "NotEncodableError"
    assert "it is an object" in message
    kind, message = lab.error(lab.send("huge"))
    assert kind == "OversizedMessageError"
    assert "result_bytes_max" in message


@pytest.mark.parametrize("pool", POOLS)
def test_bytes_that_are_no_message_become_a_dead_letter(lab: Lab, pool: str) -> None:
    """P12: they disturb nobody else, and are kept for people."""
    lab.worker("--pool", pool)
    good = lab.message("add", 1, 2)
    bad = lab.message("add", body=good.body[:-5] + b"{{{{{")
    lab.send_all([bad, good])
    assert lab.value(good.id) == 3
    assert lab.error(bad.id)[0] == "UndecodableMessageError"
    assert lab.dead() == [bad.id]


def test_an_unknown_task_waits_for_a_worker_that_knows_it(lab: Lab) -> None:
    """A rolling deploy loses no message, and the wait counts as no attempt."""
    old = lab.worker()
    id_ = lab.send("news", 4)
    old.told.wait("run.released", lambda fields: fields["id"] == id_)
    old.terminate()
    assert old.wait() == 0
    lab.write("""
        @task
        def news(n):
            return n
    """)
    lab.worker()
    assert lab.value(id_) == 4
    assert lab.run(id_).attempt == 1


def test_a_task_that_stays_unknown_fails_after_its_grace(lab: Lab) -> None:
    """It does not go round for ever."""
    lab.worker()
    grace_ms = lab.config.unknown_task_grace_ms
    kind, message = lab.error(lab.send("nobody", enqueued_ms=lab.now_ms() - grace_ms - 1))
    assert kind == "UnknownTaskError"
    assert "t.nobody" in message


@pytest.mark.parametrize("pool", POOLS)
def test_what_has_expired_never_starts(lab: Lab, pool: str) -> None:
    """P8."""
    lab.write("""
        @task
        def note(path):
            mark(path)
    """)
    now_ms = lab.now_ms()
    late = lab.send("note", lab.path("notes"), expires_ms=now_ms - 1)
    lab.worker("--pool", pool)
    assert lab.ended(late).state == "EXPIRED"
    assert lab.lines("notes") == []


def test_ignored_results_are_not_kept_but_the_run_is(lab: Lab) -> None:
    """`ignore_result`."""
    lab.worker()
    id_ = lab.send("add", 1, 2, flags=FLAG_IGNORE_RESULT)
    wait_until(lab.is_empty)
    assert lab.store.results.get(id_) is None
    assert lab.run(id_).state == "SUCCESS"


def test_a_run_that_its_task_ignores_is_over_for_whoever_waits(lab: Lab) -> None:
    """In Celery `get()` waits for ever. Here it gives what the run reported last, or None, and the state says why."""
    lab.write("""
        @task(bind=True)
        def ignore(self, word):
            if word:
                self.update_state(state="SKIPPED", meta={"why": word})
            raise Ignore
    """)
    lab.worker()
    app = App(broker=lab.config.redis_url, namespace=lab.config.namespace)
    first, second = lab.send("ignore", "holiday"), lab.send("ignore", "")
    assert [app.AsyncResult(id_).get(timeout=20) for id_ in (first, second)] == [{"why": "holiday"}, None]
    assert {app.AsyncResult(id_).state for id_ in (first, second)} == {"IGNORED"} == {lab.run(first).state}
    assert app.AsyncResult(first).ready()
    assert not app.AsyncResult(first).successful()
    app.close()


def test_a_rejected_message_is_kept_for_people_or_comes_again(lab: Lab) -> None:
    """`Reject`, and `Reject(requeue=True)`."""
    lab.write("""
        @task
        def refuse():
            raise Reject("not now")

        @task
        def once(path):
            if os.path.exists(path):
                return "second"
            mark(path)
            raise Reject(requeue=True)
    """)
    lab.worker()
    refused = lab.send("refuse")
    assert lab.error(refused)[0] == "Reject"
    assert lab.dead() == [refused]
    assert lab.value(lab.send("once", lab.path("once"))) == "second"


def test_the_task_knows_its_run(lab: Lab) -> None:
    """`self.request`."""
    lab.write("""
        @task(bind=True)
        def who(self, a):
            request = self.request
            return [request.id, list(request.args), request.hostname, request.attempt, request.delivery_info["queue"]]
    """)
    lab.worker("-n", "me")
    id_ = lab.send("who", 7)
    assert lab.value(id_) == [id_, [7], "me", 1, "default"]


def test_hooks_run_in_order_and_a_broken_one_changes_nothing(lab: Lab) -> None:
    """Celery's hooks with Celery's arguments."""
    lab.write("""
        from scheduler import Task

        class Noted(Task):
            def before_start(self, task_id, args, kwargs):
                mark(args[0], "before")
            def on_success(self, retval, task_id, args, kwargs):
                mark(args[0], f"success {retval}")
                raise RuntimeError("broken hook")
            def on_failure(self, exc, task_id, args, kwargs, einfo):
                mark(args[0], f"failure {exc}")
            def after_return(self, status, retval, task_id, args, kwargs, einfo):
                mark(args[0], f"after {status}")

        @task(base=Noted)
        def do(path, fail):
            if fail:
                raise ValueError("no")
            return 1
    """)
    worker = lab.worker()
    assert lab.value(lab.send("do", lab.path("good"), False)) == 1
    assert lab.lines("good") == ["before", "success 1", "after SUCCESS"]
    assert lab.error(lab.send("do", lab.path("bad"), True)) == ("ValueError", "no")
    assert lab.lines("bad") == ["before", "failure no", "after FAILURE"]
    worker.told.wait("hook.failed", lambda fields: fields["hook"] == "on_success")
