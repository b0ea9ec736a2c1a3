"""The process that loads the files: it may wait for its turn, and may not be trusted to answer."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import msgspec
import pytest

from scheduler.beat.load import Definitions, Loaded, Loading, LoadRequest
from scheduler.beat.process import Beat
from tests.support.server import ValkeyServer
from tests.support.site import Site
from tests.support.wait import wait_until

pytestmark = pytest.mark.redis


@pytest.fixture
def site(server: ValkeyServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """An installation without beats; loads of this process find its files."""
    site = Site(server.url, tmp_path, namespace=f"p{uuid4().hex[:12]}")
    monkeypatch.chdir(tmp_path)
    site.write("entry('a', noop, every('1h'))\nentry('b', noop, every('2h'))")
    yield site
    site.close()


def reply_of(loading: Loading) -> Loaded:
    """What came of it."""
    wait_until(lambda: loading.ended, timeout_s=30, what="the end of the load")
    loaded = loading.poll()
    assert loaded is not None
    return loaded


def names(definitions: Definitions) -> list[str]:
    """The entries in them."""
    return [msgspec.json.decode(definition)["name"] for definition in definitions]


def test_a_process_that_waits_reads_the_files_as_they_are_when_it_is_asked(site: Site) -> None:
    """It has imported our packages alone: what was written since counts."""
    waiting = Loading()
    site.write("entry('c', noop, every('1h'))")
    assert not waiting.ended
    loaded = reply_of(waiting.ask(LoadRequest()))
    assert loaded.reply.clean
    assert names(loaded.definitions) == ["c"]
    assert names(loaded.definitions) == ["c"], "they can be gone through again"


def test_a_process_that_died_while_it_waited_is_replaced(site: Site) -> None:
    """P12: a reload must not fail for that."""
    beat = Beat(site.config, site.store, name="b", load=LoadRequest())
    beat._spare = spare = Loading()
    os.kill(spare._process.pid, signal.SIGKILL)
    wait_until(lambda: spare.ended, what="the death of the one that waits")
    assert names(reply_of(beat._load()).definitions) == ["a", "b"]
    assert beat._spare is None


@pytest.mark.usefixtures("site")
def test_a_reply_that_is_cut_short_is_none() -> None:
    """P12: a disk that is full must not look like entries that were removed."""
    loading = Loading().ask(LoadRequest())
    wait_until(lambda: loading.ended, timeout_s=30, what="the end of the load")
    size = loading._output.seek(0, os.SEEK_END)
    loading._output.truncate(size - 10)
    loaded = loading.poll()
    assert loaded is not None
    assert "said nothing" in loaded.reply.failed
    assert not loaded.reply.clean
    assert names(loaded.definitions) == []
