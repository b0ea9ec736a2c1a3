"""What docs/workers.md says of pools is what the code says of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from scheduler.config import POOLS as NAMES
from scheduler.config import default_concurrency
from worker.pools import POOLS, Pool

PAGE = Path(__file__).parents[3] / "docs" / "workers.md"


def _matrix() -> dict[str, dict[str, str]]:
    """Pool → what → how, as the page says."""
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in PAGE.read_text(encoding="utf-8").splitlines()
        if line.startswith("|")
    ]
    head = next(at for at, row in enumerate(rows) if row[1:] == list(POOLS))
    facts = list(Pool.__struct_fields__[:-1])
    body = rows[head + 2 : head + 2 + len(facts)]
    assert [row[0] for row in body] == facts
    return {pool: {row[0]: row[at] for row in body} for at, pool in enumerate(POOLS, start=1)}


@pytest.mark.parametrize("pool", POOLS)
def test_the_page_says_what_the_code_says(pool: str) -> None:
    """A limit that people rely on is one that the pool keeps."""
    said = _matrix()[pool]
    assert {name: str(getattr(POOLS[pool], name)) for name in said} == said


def test_the_settings_know_the_same_pools() -> None:
    """Each can be chosen, and none besides; what it runs at once by default it can run."""
    assert tuple(POOLS) == NAMES
    for name, pool in POOLS.items():
        assert 1 <= default_concurrency(name) <= pool.concurrency_max
