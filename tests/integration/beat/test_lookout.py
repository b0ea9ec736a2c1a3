"""The threads of a beat that look and send: nothing that goes wrong in them ends them."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from scheduler.beat import lookout
from scheduler.beat.load import LoadRequest
from scheduler.beat.lookout import Lookout
from scheduler.config import Config
from scheduler.errors import StoreUnavailableError
from scheduler.store import Store
from tests.support.wait import wait_until

pytestmark = pytest.mark.redis


@pytest.fixture
def looking(config: Config, store: Store, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lookout]:
    """A lookout that has not begun, and looks a hundred times a second."""
    monkeypatch.setattr(lookout, "LOOK_S", 0.01)
    looking = Lookout(config, store, name="a", load=LoadRequest())
    yield looking
    looking.stop()


def test_mistake_of_ours_is_said_once_and_looking_goes_on(
    looking: Lookout, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """P12: a watchman that died of one odd entry would be missed only when it is needed."""
    looks: list[int] = []

    def look() -> None:
        looks.append(1)
        if len(looks) < 20:
            raise KeyError("odd")

    monkeypatch.setattr(looking._watchman, "look", look)
    with caplog.at_level(logging.ERROR):
        looking.start()
        wait_until(lambda: len(looks) > 25, what="looks after the mistake")
    assert [record.getMessage().partition(" remedy")[0] for record in caplog.records] == [
        "watchman.failed error=\"KeyError: 'odd'\""
    ]


def test_redis_that_cannot_be_asked_is_the_watchmans_to_judge(
    looking: Lookout, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At each look, so that it knows for how long; the courier only waits."""
    error = StoreUnavailableError("no answer")
    blind: list[Exception] = []

    def fail() -> None:
        raise error

    monkeypatch.setattr(looking._watchman, "look", fail)
    monkeypatch.setattr(looking._courier, "turn", fail)
    monkeypatch.setattr(looking._watchman, "blind", blind.append)
    looking.start()
    wait_until(lambda: len(blind) > 3, what="several looks")
    assert set(blind) == {error}
