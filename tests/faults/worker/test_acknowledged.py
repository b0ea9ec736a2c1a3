"""What a killed worker repeats, by how its tasks are acknowledged. Call by call: tests/integration/store/test_ack_points.py."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from scheduler.wire import FLAG_EARLY
from tests.integration.worker.lab import Lab
from tests.support.wait import wait_until

RUNS = 60
KILLS = 4

TASKS = """
    @task(ack="each")
    def each(path, n, long_s):
        mark(path, str(n))
        time.sleep(long_s)

    @task(ack="early")
    def early(path, n, long_s):
        mark(path, str(n))
        time.sleep(long_s)
"""


def run_and_kill(lab: Lab, ack: str, pool: str, long_s: float) -> Counter[int]:
    """How often each of `RUNS` messages ran, while workers with one slot are killed `KILLS` times in the middle of them."""
    lab.write(TASKS)
    chance = random.Random(7)
    flags = FLAG_EARLY if ack == "early" else 0
    ids = lab.send_all([lab.message(ack, lab.path("ran"), n, long_s, flags=flags) for n in range(RUNS)])
    for kill in range(KILLS):
        worker = lab.worker("--pool", pool)
        lab.wait_lines("ran", (kill + 1) * RUNS // (KILLS + 2) + chance.randrange(4))
        worker.kill()
    lab.worker("--pool", pool)
    wait_until(lab.is_empty, timeout_s=60, what="an empty namespace")
    states = Counter(lab.ended(id_).state for id_ in ids)
    assert states["SUCCESS"] + states["FAILURE"] == RUNS
    assert ack == "early" or not states["FAILURE"]
    return Counter(map(int, lab.lines("ran")))


@pytest.mark.long
@pytest.mark.parametrize("long_s", [0.0, 0.02])
@pytest.mark.parametrize("pool", ["prefork", "solo"])
def test_each_kill_repeats_one_message_at_most(lab: Lab, pool: str, long_s: float) -> None:
    """`ack="each"`: finished before the next one runs, also when tasks are short and batches would be large."""
    ran = run_and_kill(lab, "each", pool, long_s)
    assert set(ran) == set(range(RUNS)), "none is lost"
    assert sum(ran.values()) - RUNS <= KILLS


@pytest.mark.long
@pytest.mark.parametrize("long_s", [0.0, 0.02])
@pytest.mark.parametrize("pool", ["prefork", "solo"])
def test_no_kill_repeats_what_was_acknowledged_early(lab: Lab, pool: str, long_s: float) -> None:
    """At most once, whatever dies when."""
    ran = run_and_kill(lab, "early", pool, long_s)
    assert max(ran.values()) == 1
