"""`sched` in this process, on a namespace of its own."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec
import pytest

from scheduler.cli.main import main
from scheduler.config import Config
from scheduler.model import Entry
from scheduler.store import Store
from scheduler.timing import crontab


class Said(NamedTuple):
    """What a call of `sched` gave."""

    code: int
    out: str
    err: str

    @property
    def data(self) -> Any:
        """Its JSON."""
        return json.loads(self.out)


Sched = Callable[..., Said]


@pytest.fixture
def sched(config: Config, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Sched:
    """Calls `sched` on the test's namespace."""
    monkeypatch.setenv("SCHED_REDIS_URL", config.redis_url)
    monkeypatch.setenv("SCHED_NAMESPACE", config.namespace)

    def call(*args: str) -> Said:
        capsys.readouterr()
        code = main(list(args))
        out, err = capsys.readouterr()
        return Said(code, out, err)

    return call


def make_entry(name: str, **options: Any) -> Entry:
    """A daily entry in Berlin."""
    fields: dict[str, Any] = {
        "name": name,
        "task": "reports.daily",
        "schedule": crontab("30 9 * * mon-fri", tz="Europe/Berlin").as_data(),
        "queue": "reports",
        "args": msgspec.Raw(b'[5,"x"]'),
        "source": "schedules/reports.py:12",
    }
    return Entry(**{**fields, **options})


def publish(store: Store, *entries: Entry) -> None:
    """Make these the entries of the namespace, as a beat does."""
    by_name = {entry.name: entry for entry in entries}
    store.loads.publish(by_name, clean=True, mistakes=[], by="beat-a")
