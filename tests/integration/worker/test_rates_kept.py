"""Limits as workers keep them: the rate of a task over two workers, one run of a key at a time, through retries."""

from __future__ import annotations

import msgspec
import pytest

from scheduler.rate import Rate
from tests.integration.worker.lab import Lab
from tests.support.wait import wait_until

pytestmark = pytest.mark.redis


def test_two_workers_keep_to_the_rate_of_a_task(lab: Lab) -> None:
    """In no stretch of time more of them start than the limit allows, on Redis' clock; other tasks do not wait."""
    lab.write("""
        @task(rate_limit="20/s")
        def limited(): pass
    """)
    lab.worker("-n", "w1")
    lab.worker("-n", "w2")
    sent_ms = lab.now_ms()
    ids = lab.send_all([lab.message("limited") for _ in range(30)])
    assert lab.value(lab.send("add", 1, 2)) == 3
    wait_until(lab.is_empty, timeout_s=30, what="all of them have run")
    starts = sorted(lab.run(id_).started_ms for id_ in ids)
    rate = Rate(20)
    burst = 1 + rate.early_us // rate.interval_us
    # A start is noted after its turn, on the worker's idea of Redis' clock: three intervals for its error, any delay is allowed.
    for n, start in enumerate(starts, 1):
        assert start - sent_ms >= (n - burst - 3) * rate.interval_us / 1000, (n, start - sent_ms)


@pytest.mark.parametrize("pool", ["prefork", "solo"])
def test_a_unique_run_keeps_its_key_through_its_retries_and_frees_it_at_its_end(lab: Lab, pool: str) -> None:
    """… and so does one that fails."""
    lab.write("""
        @task(bind=True, max_retries=1)
        def insist(self, fails, again, until):
            if self.request.retries == 0:
                raise self.retry(exc=ValueError("not yet"), countdown=0.1)
            mark(again)
            while not os.path.exists(until):
                time.sleep(0.005)
            if fails:
                raise ValueError("never")
    """)
    lab.worker("--pool", pool)
    key = lab.store.keys.unique("60000 t.insist:k")
    for fails in (False, True):
        again, until = lab.path(f"again-{fails}"), lab.path(f"until-{fails}")
        message = lab.message("insist", fails, again, until, unique="60000 t.insist:k")._replace(unique=True)
        lab.send_all([message])
        lab.wait_lines(f"again-{fails}", 1)
        assert lab.store.connection.call("GET", key) == message.id.encode()
        lab.let_go(f"until-{fails}")
        assert lab.ended(message.id).state == ("FAILURE" if fails else "SUCCESS")
        assert lab.store.connection.call("EXISTS", key) == 0


@pytest.mark.parametrize(("order", "first"), [("fair", "ab"), ("strict", "bb")])
def test_the_settings_say_whose_turn_it_is(lab: Lab, order: str, first: str) -> None:
    """`queue_order`; in the order of -Q, or each queue its share."""
    lab.write("""
        @task
        def note(path, text):
            mark(path, text)
            time.sleep(0.02)
    """)
    for queue in "ab":
        lab.send_all([lab.message("note", lab.path("notes"), queue, queue=queue) for _ in range(4)])
    lab.worker("--pool", "solo", "-Q", "b,a", config=msgspec.structs.replace(lab.config, queue_order=order))
    assert "".join(sorted(lab.wait_lines("notes", 8)[:2])) == first
