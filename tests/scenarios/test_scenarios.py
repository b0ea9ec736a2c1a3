"""
Stories of a beat, as short texts: clock and events in, transcript out.

A story is a list of steps; what each step must bring follows it, indented. `python -m tests.scenarios.test_scenarios` writes the
transcripts anew: read the difference before you commit it. The steps:

    at 09:00[:00[.500]]                  set Redis' clock (5 January 2026, UTC)
    entry NAME "CRON" [field=value …]    declare or edit an entry; fields of `Entry`, durations in seconds (`countdown=60`)
    remove NAME · pause NAME [HH:MM] · resume NAME
    skip NAME                            order that its next fire be skipped
    lead BEAT                            BEAT wins the term, and plans from what stands on Redis
    tick BEAT                            it arms what is to be armed; a leader that was overtaken is fenced
    tick BEAT until 09:10 every 5        … again and again, as the clock goes on
    promote                              whoever helps: what is due leaves the delayed set
    lose BEAT                            its next arm is carried out, but the answer never comes
    unaware BEAT                         it does not learn of the next change in time
"""

from __future__ import annotations

import shlex
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from scheduler.beat.plan import Batch, Plan
from scheduler.errors import RefusedError
from scheduler.fires import FireMaker, schedule_of, stretch, to_skip
from scheduler.model import Catchup, Entry, EntryRecord, Fire, Overlap, Pause, SkipOrder
from scheduler.store.registry import next_to_skip_ms
from scheduler.timing import crontab
from scheduler.wire import EXPIRES_SKIPPED, decode_header

STORIES = sorted(Path(__file__).parent.glob("*.txt"))
DAY_MS = int(datetime(2026, 1, 5, tzinfo=UTC).timestamp() * 1_000)
HORIZON_MS = LATE_LIMIT_MS = 15_000
SCHEDULE_FIELDS = ("schedule", "start_ms", "until_ms", "enabled")


class Redis:
    """What the scripts do, in memory: terms, revisions, marks, armed fires. `tests/integration/store` tests the scripts."""

    def __init__(self) -> None:
        self.now_ms = DAY_MS
        self.term = 0
        self.revision = 0
        self.entries: dict[str, Entry] = {}
        self.pauses: dict[str, Pause] = {}
        self.states: dict[str, str] = {}
        self.armed: dict[str, Fire] = {}
        self.promoted_ms: dict[str, int] = {}
        self.skips: dict[str, tuple[SkipOrder, ...]] = {}

    def record(self, name: str) -> EntryRecord:
        """As a reader sees it."""
        return EntryRecord(
            name, self.entries.get(name), self.states.get(name, ""), self.pauses.get(name), self.skips.get(name, ())
        )

    def change(self, name: str, *, moves: bool, limit_ms: int = 0) -> list[str]:
        """`change.lua`: withdraw or renew what is armed ahead, move the mark."""
        lines = []
        old_mark_ms = self.record(name).mark_ms if name in self.states else 0
        for id_, fire in list(self.armed.items()):
            if fire.entry != name or fire.due_ms <= self.now_ms:
                continue
            if moves:
                del self.armed[id_]
                lines.append(f"withdrawn {name} {clock(fire.due_ms)}")
            else:
                renewed = self.maker(name).fire(fire.due_ms, None, state="", now_ms=self.now_ms)
                if any(order.due_ms == fire.due_ms for order in self.skips.get(name, ())):
                    renewed = to_skip(renewed)
                self.armed[id_] = renewed
                lines.append(f"renewed {name} {clock(fire.due_ms)}{_to_be_skipped(renewed)}")
        self.revision += 1
        floor_ms = max(min(limit_ms, self.now_ms) if limit_ms else self.now_ms, self.promoted_ms.get(name, 0))
        mark_ms = floor_ms if moves or name not in self.states else old_mark_ms
        self.states[name] = f"{self.revision} {mark_ms}"
        return lines

    def maker(self, name: str) -> FireMaker:
        """What makes the fires of an entry in force."""
        entry = self.entries[name]
        return FireMaker(entry, schedule_of(entry), namespace="n", late_limit_ms=LATE_LIMIT_MS)

    def arm(self, batch: Batch, term: int) -> tuple[list[str], list[str]]:
        """`arm.lua`: transcript lines, and stale entries."""
        if term != self.term:
            return [f"fenced: term {term} was overtaken by term {self.term}"], []
        lines, stale = [], []
        for skip in batch.skips:
            if self.states.get(skip.entry) == skip.state:
                self.states[skip.entry] = f"{skip.state.split(' ')[0]} {skip.mark_ms}"
                lines.append(
                    f"skipped {skip.entry} {skip.reason} {clock(skip.from_ms)} to {clock(skip.to_ms)}, {skip.count} of them"
                )
            else:
                stale.append(skip.entry)
        for fire in batch.fires:
            revision, mark = self.states.get(fire.entry, "0 0").split(" ")
            if self.states.get(fire.entry) == fire.state:
                self.states[fire.entry] = f"{revision} {fire.due_ms}"
                self.armed[fire.id] = fire
                late = " at " + clock(fire.at_ms) if fire.at_ms != fire.due_ms else ""
                lines.append(f"armed {fire.entry} {clock(fire.due_ms)}{late}{_to_be_skipped(fire)}")
            elif revision == fire.state.split(" ")[0] and int(mark) >= fire.due_ms:
                lines.append(f"duplicate {fire.entry} {clock(fire.due_ms)}")
            else:
                stale.append(fire.entry)
                lines.append(f"stale {fire.entry} {clock(fire.due_ms)}")
        return lines, stale

    def promote(self) -> list[str]:
        """What is due leaves; policies are tested with the scripts."""
        due = sorted((fire for fire in self.armed.values() if fire.at_ms <= self.now_ms), key=lambda fire: fire.at_ms)
        lines = []
        for fire in due:
            del self.armed[fire.id]
            if _to_be_skipped(fire):
                lines.append(f"skipped {fire.entry} withdrawn {clock(fire.due_ms)}")
                continue
            self.promoted_ms[fire.entry] = max(self.promoted_ms.get(fire.entry, 0), fire.due_ms)
            lines.append(f"promoted {fire.entry} {clock(fire.due_ms)}")
        return lines


class Story:
    """Carries the steps of a story out."""

    def __init__(self) -> None:
        self.redis = Redis()
        self.beats: dict[str, tuple[int, Plan]] = {}
        self.pending: dict[str, Batch] = {}
        self.losing: set[str] = set()
        self.unaware: set[str] = set()

    def step(self, line: str) -> list[str]:
        """What *line* brings."""
        verb, *words = shlex.split(line)
        return getattr(self, f"do_{verb}")(*words)  # type: ignore[no-any-return]

    def do_at(self, text: str) -> list[str]:
        self.redis.now_ms = moment(text)
        return []

    def do_entry(self, name: str, cron: str, *words: str) -> list[str]:
        old = self.redis.entries.get(name)
        new = Entry(name=name, task="t.x", queue="q", schedule=crontab(cron).as_data(), **dict(map(field, words)))
        if old == new:
            return []
        moves = old is None or any(getattr(old, each) != getattr(new, each) for each in SCHEDULE_FIELDS)
        self.redis.entries[name] = new
        return self.tell(name, self.redis.change(name, moves=moves))

    def do_remove(self, name: str) -> list[str]:
        del self.redis.entries[name]
        return self.tell(name, self.redis.change(name, moves=True))

    def do_pause(self, name: str, until: str = "") -> list[str]:
        self.redis.pauses[name] = Pause(self.redis.now_ms, moment(until) if until else None)
        return self.tell(name, self.redis.change(name, moves=True))

    def do_skip(self, name: str) -> list[str]:
        redis = self.redis
        try:
            due_ms = next_to_skip_ms(redis.record(name), redis.now_ms, promoted_ms=redis.promoted_ms.get(name, 0))
        except RefusedError as error:
            return [str(error)]
        redis.skips[name] = (*redis.skips.get(name, ()), SkipOrder(due_ms, redis.now_ms))
        return self.tell(name, [f"to be skipped: {name} {clock(due_ms)}", *redis.change(name, moves=False)])

    def do_resume(self, name: str, until_ms: int = 0) -> list[str]:
        pause = self.redis.pauses.pop(name)
        end_ms = until_ms - 1 if until_ms else self.redis.now_ms
        paused = stretch(schedule_of(self.redis.entries[name]), pause.since_ms, min(end_ms, self.redis.now_ms))
        lines = [f"skipped {name} paused {clock(paused.from_ms)} to {clock(paused.to_ms)}, {paused.length} of them"]
        return self.tell(
            name, lines * bool(paused.length) + self.redis.change(name, moves=True, limit_ms=end_ms * bool(until_ms))
        )

    def do_lead(self, beat: str) -> list[str]:
        self.redis.term += 1
        plan = Plan(namespace="n", horizon_ms=HORIZON_MS, late_limit_ms=LATE_LIMIT_MS)
        for name in sorted(self.redis.states):
            plan.put(self.redis.record(name), self.redis.now_ms)
        self.beats[beat] = self.redis.term, plan
        self.pending.pop(beat, None)
        return [f"{beat} leads in term {self.redis.term}"]

    def do_tick(self, beat: str, *words: str) -> list[str]:
        if words:
            _, until, _, every_s = words
            lines = self.do_tick(beat)
            while self.redis.now_ms < moment(until):
                self.redis.now_ms = min(self.redis.now_ms + int(float(every_s) * 1_000), moment(until))
                lines += [f"{clock(self.redis.now_ms)} {line}" for line in self.do_tick(beat)]
            return lines
        term, plan = self.beats[beat]
        lines = []
        if term == self.redis.term:
            for name, until_ms in plan.resumes(self.redis.now_ms):
                pause = self.redis.pauses.get(name)
                if pause is not None and pause.until_ms == until_ms:
                    lines += self.do_resume(name, until_ms)
        while batch := self.pending.pop(beat, None) or plan.take(self.redis.now_ms, 250):
            told, stale = self.redis.arm(batch, term)
            if beat in self.losing:
                self.losing.discard(beat)
                self.pending[beat] = batch
                return [*lines, *told, "… and the answer is lost"]
            lines += told
            for name in stale:
                plan.put(self.redis.record(name), self.redis.now_ms)
            if told and told[0].startswith("fenced"):
                break
        return lines

    def do_promote(self) -> list[str]:
        return self.redis.promote()

    def do_lose(self, beat: str) -> list[str]:
        self.losing.add(beat)
        return []

    def do_unaware(self, beat: str) -> list[str]:
        self.unaware.add(beat)
        return []

    def tell(self, name: str, lines: list[str]) -> list[str]:
        """The leader learns of a change with its next renewal; a beat that was overtaken does not."""
        for beat, (term, plan) in self.beats.items():
            if term == self.redis.term and beat not in self.unaware:
                plan.put(self.redis.record(name), self.redis.now_ms)
        self.unaware.clear()
        return lines


def _to_be_skipped(fire: Fire) -> str:
    return " to be skipped" if decode_header(fire.body)[0].expires_ms == EXPIRES_SKIPPED else ""


def clock(ms: int) -> str:
    """A moment of the day, as people write it."""
    at = datetime.fromtimestamp(ms / 1_000, UTC)
    text = at.strftime("%H:%M:%S") + (f".{ms % 1_000:03}" if ms % 1_000 else "")
    days = (ms - DAY_MS) // 86_400_000
    return f"{text}{days:+}d" if days else text


def moment(text: str) -> int:
    """`09:00`, `09:00:30.500`, `+1d09:00`."""
    days, _, of_day = text.rpartition("d")
    hours, minutes, *seconds = of_day.split(":")
    return (
        DAY_MS
        + int(days or 0) * 86_400_000
        + int((int(hours) * 3_600 + int(minutes) * 60 + float(seconds[0] if seconds else 0)) * 1_000)
    )


def field(word: str) -> tuple[str, Any]:
    """`countdown=60` as a field of `Entry`."""
    name, _, value = word.partition("=")
    if name == "catchup":
        return name, Catchup[value.upper()]
    if name == "overlap":
        return name, Overlap[value.upper()]
    if name in ("until", "start"):
        return f"{name}_ms", moment(value)
    if name in ("countdown", "jitter", "catchup_window"):
        return f"{name}_ms", int(float(value) * 1_000)
    return name, value


def perform(text: str) -> str:
    """The transcript of a story: its steps, each with what it brings."""
    story, lines = Story(), []
    for line in text.splitlines():
        if line.startswith("    "):
            continue
        lines.append(line)
        if line.strip() and not line.startswith("#"):
            lines += [f"    {told}" for told in story.step(line)]
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize("path", STORIES, ids=lambda path: path.stem)
def test_story(path: Path) -> None:
    """Its first lines say what it shows."""
    text = path.read_text(encoding="utf-8")
    assert text == perform(text)


if __name__ == "__main__":
    for story in STORIES:
        story.write_text(perform(story.read_text(encoding="utf-8")), encoding="utf-8")
    sys.stdout.write(f"{len(STORIES)} stories\n")
