"""A workbench in the test's namespace."""

from __future__ import annotations

import pytest

from scheduler.store import Store
from tests.support.bench import Bench


@pytest.fixture
def bench(store: Store) -> Bench:
    """What tests of the store do, in one line each."""
    return Bench(store)
