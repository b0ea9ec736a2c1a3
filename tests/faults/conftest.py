"""A site for each fault test: a folder with schedule files, a namespace on a server of its own, and beats that can be hurt."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from tests.support.server import ValkeyServer
from tests.support.site import Site


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything here is a fault test."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker("faults")


@pytest.fixture
def site(server: ValkeyServer, tmp_path: Path) -> Iterator[Site]:
    """On the server that all tests share."""
    site = Site(server.url, tmp_path, namespace=f"f{uuid4().hex[:12]}")
    yield site
    site.close()


@pytest.fixture
def own_site(own_server: ValkeyServer, tmp_path: Path) -> Iterator[Site]:
    """On a server that the test may hurt."""
    site = Site(own_server.url, tmp_path, namespace=f"f{uuid4().hex[:12]}")
    yield site
    site.close()
