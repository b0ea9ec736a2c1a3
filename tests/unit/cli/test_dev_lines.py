"""What `sched dev` prints of what its children say."""

from __future__ import annotations

from typing import Any

import pytest

from scheduler.cli.dev_lines import Lines, span


def said(event: str, level: str = "INFO", **fields: Any) -> dict[str, Any]:
    return {"time": 1_800_000_000.0, "level": level, "pid": 7, "event": event, "fields": fields}


def texts(lines: Lines, *objects: dict[str, Any]) -> list[str]:
    """Badge and text, blanks squeezed."""
    return [" ".join(str(line).split()[1:]) for told in objects for line in lines.of(told)]


def test_a_fire_is_shown_once_whoever_tells_of_it_first() -> None:
    """Beat and worker both promote; one due time is one line."""
    fired = said("fire.promoted", "DEBUG", entry="shop.take_order", id="a", queue="default", late_ms=2)
    started = said("run.started", "DEBUG", entry="shop.take_order", id="a", task="shop.take_order")
    assert texts(Lines(), fired, started) == ["fire shop.take_order → default"]
    assert texts(Lines(), started, fired) == ["fire shop.take_order"]


def test_a_result_tells_how_late_and_how_long() -> None:
    """The two figures that an operator looks for."""
    done = said("run.finished", entry="e", id="a", state="SUCCESS", lateness_s=0.0021, duration_s=1.237, attempt=1)
    assert texts(Lines(), done) == ["fire e", "ok e 2 ms late 1.24 s"]


def test_a_failure_is_loud_and_ends_with_its_error_line() -> None:
    """Of a traceback, the last line is what one reads first."""
    error = 'Traceback (most recent call last):\n  File "x.py", line 1\nDiskTooFullError: /: 97 % used'
    done = said("run.finished", entry=None, task="disk.check_disk", id="a", state="FAILURE", error=error, attempt=3)
    (line,) = Lines().of(done)

    assert line.loud
    assert "red" in line.style
    assert " ".join(line.text.split()) == "disk.check_disk attempt 3 DiskTooFullError: /: 97 % used"


def test_a_call_is_no_fire() -> None:
    """`sched call` and `.delay()` have a result and no due time."""
    assert texts(Lines(), said("run.started", "DEBUG", id="b", task="mail.send")) == []


@pytest.mark.parametrize(
    ("told", "shown"),
    [
        (said("term.won", term=3, name="dev"), "leader dev leads, term 3"),
        (said("fire.skipped", entry="e", reason="overlap", count=4), "skipped e overlap × 4"),
        (said("registry.published", load=1, added=5, changed=0, removed=0, kept=0), "loaded schedule files loaded: 5 added"),
        (said("registry.published", load=2, added=0, changed=0), "loaded schedule files loaded: nothing new"),
        (said("store.lost", "WARNING", error="no answer"), "redis does not answer; waiting for it: no answer"),
        (said("store.back"), "redis is back"),
    ],
)  # fmt: skip
def test_what_people_want_to_know_has_a_line(told: dict[str, Any], shown: str) -> None:
    """One event, one line, in words."""
    assert texts(Lines(), told) == [shown]


def test_a_broken_file_shows_its_mistake_whole() -> None:
    """P12: file, line and remedy, as `sched check` words them."""
    mistake = "schedules/a.py:3: entry 'x': crontab '61 * * * *': minute 61 is outside 0–59"
    (line,) = Lines().of(said("file.broken", "ERROR", mistake=mistake))

    assert line.loud
    assert line.text == mistake


def test_events_of_no_interest_are_silent_and_grave_ones_are_not() -> None:
    """A new kind of warning is shown without anybody having taught us its name."""
    assert texts(Lines(), said("fire.armed", "DEBUG", entry="e")) == []
    assert texts(Lines(), said("beat.ready", name="dev")) == []
    assert texts(Lines(), said("marks.reread", "WARNING", reason="a lost suffix")) == [
        "warning marks.reread reason=a lost suffix"
    ]
    assert texts(Lines(), said("store.refused", "ERROR", error="wrong password")) == [
        "error store.refused error=wrong password"
    ]


def test_what_a_task_logs_is_shown() -> None:
    """With the error line of its exception."""
    told = {"time": 1.0, "level": "WARNING", "message": "slow disk", "error": "OSError: [Errno 5]"}
    assert texts(Lines(), told) == ["warning slow disk OSError: [Errno 5]"]
    assert texts(Lines(), {"time": 1.0, "level": "INFO", "message": "hello"}) == ["log hello"]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0004, "0 ms"), (0.0021, "2 ms"), (0.9, "900 ms"), (1.237, "1.24 s"), (125, "2 min 5 s")],
)
def test_spans_are_short(seconds: float, text: str) -> None:
    """Two or three digits tell enough."""
    assert span(seconds) == text
