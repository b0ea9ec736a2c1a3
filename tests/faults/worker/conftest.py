"""A lab for each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.worker.lab import Lab
from tests.support.server import ValkeyServer


@pytest.fixture
def lab(server: ValkeyServer, tmp_path: Path) -> Iterator[Lab]:
    """On the server that all tests share."""
    lab = Lab(server.url, tmp_path)
    yield lab
    lab.close()


@pytest.fixture
def own_lab(own_server: ValkeyServer, tmp_path: Path) -> Iterator[Lab]:
    """On a server that the test may hurt."""
    lab = Lab(own_server.url, tmp_path)
    yield lab
    lab.close()
