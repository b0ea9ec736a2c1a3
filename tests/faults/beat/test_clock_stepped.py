"""Redis' clock is set forward or back while beats work (P10, traps 3 and 5)."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from scheduler.store.queues import NewMessage
from scheduler.wire import Header, Payload, encode_body, new_id
from tests.support.probe import Probe
from tests.support.site import Site
from tests.support.stepped import SteppedServer
from tests.support.wait import wait_until

ENTRIES = {"second": 1_000, "fast": 200}
FILE = """
    entry("second", noop, every("1s"), overlap="allow")
    entry("fast", noop, every("200ms"), overlap="allow")
"""


@pytest.fixture
def redis() -> Iterator[SteppedServer]:
    """The server whose clock is stepped."""
    if missing := SteppedServer.missing():
        pytest.skip(missing)
    with SteppedServer() as redis:
        yield redis


@pytest.fixture
def stepped(redis: SteppedServer, tmp_path: Path) -> Iterator[Site]:
    """A site on it."""
    site = Site(redis.url, tmp_path, namespace="stepped")
    site.write(FILE)
    yield site
    site.close()


def test_step_forward_is_taken_at_face_value_and_ends_no_term(stepped: Site, redis: SteppedServer) -> None:
    """P10, P2: ten seconds are gone; what was due in them comes at once, and no lease is judged by that clock."""
    site = stepped
    with Probe(site.config.redis_url, site.config.namespace) as probe:
        site.led("a", "b")
        site.wait_for_clock(site.now_ms() + site.config.horizon_ms)
        before, from_ms = site.term(), int(site.now_ms())
        redis.step_to(+10)
        wait_until(lambda: site.now_ms() > from_ms + 10_000, what="the step")
        to_ms = int(site.now_ms()) + 2_000
        site.wait_for_clock(to_ms + 1_000)
        account = probe.account(ENTRIES, from_ms, to_ms)
        after = site.term()
        on_time = [seen.late_ms for seen in probe.between(to_ms - 500, to_ms)]
    assert account.lost == []
    assert account.twice == []
    assert max(on_time) < 150
    assert before is not None
    assert after is not None
    assert (after.number, after.holder) == (before.number, before.holder)


def test_stretch_repeated_after_a_step_back_does_not_fire_again(stepped: Site, redis: SteppedServer) -> None:
    """P10, P1, trap 3: not by itself, and not after an edit that would move the mark back."""
    site = stepped
    with Probe(site.config.redis_url, site.config.namespace) as probe:
        leader = site.led("a", "b")
        site.wait_for_clock(site.now_ms() + site.config.horizon_ms)
        before, stepped_ms = site.term(), int(site.now_ms())
        redis.step_to(-5)
        wait_until(lambda: site.now_ms() < stepped_ms - 4_000, what="the step")
        revision = site.store.registry.revision()
        site.write(FILE.replace('overlap="allow"', 'overlap="allow", start="2020-01-01T00:00:00Z"'))
        leader.signal(signal.SIGHUP)
        wait_until(lambda: site.store.registry.revision() > revision, timeout_s=5, what="the edit")
        assert site.now_ms() < stepped_ms - 1_000, "the edit came too late to show anything"
        site.wait_for_clock(stepped_ms + 2_500)
        account = probe.account(ENTRIES, stepped_ms - 5_000, stepped_ms + 2_000)
        on_time = [seen.late_ms for seen in probe.between(stepped_ms + 1_000, stepped_ms + 2_000)]
        after = site.term()
    assert account.twice == []
    assert [due for due in account.lost if due[1] > stepped_ms + site.config.horizon_ms] == []
    assert max(on_time) < 150
    assert before is not None
    assert after is not None
    assert (after.number, after.holder) == (before.number, before.holder)


def test_call_made_after_a_step_back_is_on_time(stepped: Site, redis: SteppedServer) -> None:
    """P10: the leader does not sleep on by the clock that was."""
    site = stepped
    site.write('entry("hourly", noop, every("1h"))')
    with Probe(site.config.redis_url, site.config.namespace) as probe:
        leader = site.led("a")
        assert leader.running
        stepped_ms = site.now_ms()
        redis.step_to(-10)
        wait_until(lambda: site.now_ms() < stepped_ms - 9_000, what="the step")
        at_ms = int(site.now_ms()) + 1_500
        body = encode_body(Header(task="noop", queue="default", due_ms=at_ms), Payload())
        site.store.queues.enqueue([NewMessage(new_id(), body, "default", at_ms)], call_id=new_id())
        (seen,) = wait_until(lambda: probe.seen, timeout_s=5, what="the call")
    assert seen.due_ms == at_ms
    assert -1 < seen.late_ms < 1_200
