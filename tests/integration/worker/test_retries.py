"""Attempts."""

from __future__ import annotations

import pytest

from tests.integration.worker.lab import Lab
from tests.support.wait import wait_until


@pytest.mark.parametrize("pool", ["prefork", "solo"])
def test_a_task_is_retried_until_it_succeeds(lab: Lab, pool: str) -> None:
    """`retry_for`, with the state RETRY between the attempts."""
    lab.write("""
        @task(bind=True, retry_for=(OSError,), retry_backoff="50ms", retry_jitter=False)
        def flaky(self):
            if self.request.attempt < 3:
                raise OSError("not yet")
            return self.request.retries
    """)
    worker = lab.worker("--pool", pool)
    id_ = lab.send("flaky")
    assert lab.value(id_) == 2
    assert [event.fields["attempt"] for event in worker.told.all("run.retried")] == [2, 3]
    assert lab.run(id_).attempt == 3


def test_used_up_retries_end_with_the_original_exception(lab: Lab) -> None:
    """And each attempt was made."""
    lab.write("""
        @task(max_retries=2, retry_for=(OSError,), retry_backoff="10ms")
        def never(path):
            mark(path)
            raise OSError("still down")
    """)
    lab.worker()
    id_ = lab.send("never", lab.path("tries"))
    wait_until(lab.is_empty)
    assert lab.error(id_) == ("OSError", "still down")
    assert len(lab.lines("tries")) == 3


def test_retry_with_other_arguments_and_a_countdown(lab: Lab) -> None:
    """`self.retry(args=…, countdown=…)`."""
    lab.write("""
        @task(bind=True)
        def shrink(self, n):
            if n:
                raise self.retry(args=(n - 1,), countdown="20ms")
            return self.request.attempt
    """)
    lab.worker()
    id_ = lab.send("shrink", 2)
    wait_until(lab.is_empty)
    assert lab.value(id_) == 3


def test_between_attempts_the_state_is_retry(lab: Lab) -> None:
    """And the result tells why."""
    lab.write("""
        @task(bind=True)
        def later(self):
            raise self.retry(exc=ValueError("try later"), countdown="1h")
    """)
    lab.worker()
    id_ = lab.send("later")
    wait_until(lambda: lab.store.results.state(id_) == "RETRY", what="RETRY")
    assert lab.store.queues.depths(["default"])["default"].delayed == 1


def test_the_next_attempt_may_wait_elsewhere(lab: Lab) -> None:
    """`self.retry(queue=…, priority=…)`: to a slower line after the first failure; that queue may be new."""
    lab.write("""
        @task(bind=True)
        def moves(self):
            info = self.request.delivery_info
            if self.request.attempt == 1:
                raise self.retry(countdown=0, queue="slow", priority=7)
            return [info["queue"], info["priority"]]
    """)
    lab.worker("-Q", "default,slow")
    assert lab.value(lab.send("moves")) == ["slow", 7]
    assert "slow" in lab.store.queues.names()


def test_a_retry_that_cannot_be_meant_fails_the_run(lab: Lab) -> None:
    """With what is wrong; not with a message that nobody takes."""
    lab.write("""
        @task(bind=True)
        def lost(self):
            raise self.retry(countdown=0, queue="no such")
    """)
    lab.worker()
    kind, text = lab.error(lab.send("lost"))
    assert (kind, text.startswith("task 't.lost': retry: queue 'no such'")) == ("ValueError", True)
