"""What loading schedule files leaves in the process ends with each test."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

from scheduler import declare


@pytest.fixture(autouse=True)
def _no_traces() -> Iterator[None]:
    path, finders = list(sys.path), list(sys.meta_path)
    before = declare.set_current(None)
    yield
    declare.set_current(before)
    sys.path[:], sys.meta_path[:] = path, finders
    for name in [name for name in sys.modules if name.partition(".")[0] == "schedules"]:
        del sys.modules[name]
