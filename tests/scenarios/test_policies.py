"""
Stories of whole runs, as short texts: the real scripts and the real planner, by a clock that stands between two steps.

Here the transcript is read from Redis: what differs from the step before. Beside the stories of a beat alone
(`test_scenarios.py`) these tell what the policies make of fires once they are due. `python -m tests.scenarios.test_policies`
writes the transcripts anew: read the difference before you commit it. The steps:

    at 09:00[:00[.500]] · at +1d09:00    set Redis' clock (from 5 January 2026, UTC); nobody does anything
    entry NAME "CRON" [field=value …]    declare or edit an entry; fields of `Entry`, durations in seconds (`countdown=60`),
                                         `every=10s` in place of an expression
    remove NAME · resume NAME            pause NAME [HH:MM] · skip NAME
    lead BEAT · tick BEAT                as in the stories of a beat; `tick BEAT until 09:10 every 5`
    play BEAT until 09:10 every 5 W      the same, and worker W takes what is ready and ends it at once
    promote                              whoever helps
    trigger NAME [force]                 by hand
    cancel NAME DUE                      a fire, by its due time
    take W · renew W · die W             what a worker does; `renew` tells what it is asked to stop
    finish W NAME [STATE] · retry W NAME SECONDS · expect NAME      … and what the counters of an entry say
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from scheduler.errors import FencedError
from scheduler.model import Entry, Message, Run
from scheduler.store.queues import NewMessage
from scheduler.timing import crontab, every
from scheduler.wire import FLAG_FIRE, Header, Payload, encode_body, fire_id, new_id
from tests.scenarios.test_scenarios import DAY_MS, clock, field, moment
from tests.support.stage import QUEUE, Beat, Look, Place, Stage
from tests.support.stepped import SteppedServer

STORIES = sorted((Path(__file__).parent / "policies").glob("*.txt"))
pytestmark = pytest.mark.redis


class Story:
    """Carries the steps of a story out."""

    def __init__(self, server: SteppedServer) -> None:
        self.stage = Stage(server, now_ms=DAY_MS)
        self.beats: dict[str, Beat] = {}
        self.held: dict[str, list[Message]] = {}
        self.before = self.stage.look()

    def step(self, line: str) -> list[str]:
        """What *line* brings."""
        verb, *words = shlex.split(line)
        act: Callable[..., list[str] | None] = getattr(self, f"do_{verb}")
        said = act(*words) or []
        return [*said, *self.news()]

    # ── steps ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def do_at(self, text: str) -> None:
        self.stage.set(moment(text))

    def do_entry(self, name: str, *words: str) -> None:
        when = [word for word in words if "=" not in word]
        fields = dict(word.split("=", 1) for word in words if "=" in word)
        schedule = every(fields.pop("every")) if "every" in fields else crontab(*when)
        options = dict(option(key, value) for key, value in fields.items())
        self.stage.store.registry.put(Entry(name=name, task="t.x", queue=QUEUE, schedule=schedule.as_data(), **options))

    def do_remove(self, name: str) -> None:
        entries = {record.name: record.entry for record in self.stage.store.registry.all() if record.entry}
        del entries[name]
        self.stage.store.loads.publish(entries, clean=True, mistakes=(), by="test")

    def do_pause(self, name: str, until: str = "") -> None:
        self.stage.store.registry.pause(name, until_ms=moment(until) if until else None)

    def do_resume(self, name: str) -> None:
        self.stage.store.registry.resume(name)

    def do_skip(self, name: str) -> list[str]:
        return [f"{name} {clock(self.stage.store.registry.skip(name)[1])} is to be skipped"]

    def do_lead(self, beat: str) -> list[str]:
        self.beats[beat] = self.stage.lead(beat)
        return [f"{beat} leads in term {self.beats[beat].number}"]

    def do_tick(self, beat: str, *words: str) -> list[str]:
        if words:
            return self.over_time(words, lambda: self.do_tick(beat))
        try:
            self.beats[beat].tick()
        except FencedError:
            return ["fenced"]
        return []

    def do_play(self, beat: str, *words: str) -> list[str]:
        *words_, worker = words

        def turn() -> list[str]:
            said = [*self.do_tick(beat), *self.news()]
            self.do_take(worker)
            for message in list(self.held[worker]):
                self.stage.finish(worker, message)
            self.held[worker].clear()
            return said

        return self.over_time(tuple(words_), turn)

    def over_time(self, words: tuple[str, ...], turn: Callable[[], list[str]]) -> list[str]:
        """*turn* now, and again and again as *words* (``until 09:10 every 5``) say."""
        _, until, _, every_s = words
        lines = [*turn(), *self.news()]
        while self.stage.now_ms < moment(until):
            self.stage.set(min(self.stage.now_ms + int(float(every_s) * 1_000), moment(until)))
            lines += [f"{clock(self.stage.now_ms)} {line}" for line in (*turn(), *self.news())]
        return lines

    def do_promote(self) -> None:
        self.stage.promote()

    def do_trigger(self, name: str, *words: str) -> list[str]:
        record = self.stage.store.registry.get(name)
        assert record is not None
        assert record.entry is not None
        header = Header(task="t.x", queue=QUEUE, entry=name, overlap=record.entry.overlap)
        message = NewMessage(new_id(), encode_body(header, Payload()), QUEUE)
        reply = self.stage.store.queues.trigger(message, entry=name, force="force" in words, call_id=new_id())
        return [] if reply.ok else ["refused: the slot is held"]

    def do_cancel(self, name: str, due: str) -> list[str]:
        id_ = fire_id(self.stage.store.keys.namespace, name, moment(due))
        return [str(self.stage.store.queues.cancel(id_))]

    def do_take(self, worker: str) -> None:
        self.held.setdefault(worker, []).extend(self.stage.take(worker))

    def do_finish(self, worker: str, name: str, state: str = "SUCCESS") -> None:
        self.stage.finish(worker, self.pop(worker, name), state)

    def do_retry(self, worker: str, name: str, seconds: str) -> None:
        self.stage.try_again(worker, self.pop(worker, name), delay_ms=int(float(seconds) * 1_000))

    def do_renew(self, worker: str) -> list[str]:
        cancels = self.stage.worker(worker).renew().cancels
        labels = self.labels(self.before)
        return [f"{worker} is asked to {'stop' if now else 'give up'} {labels[id_]}" for id_, now in cancels.items()]

    def do_die(self, worker: str) -> None:
        self.stage.die(worker)
        self.held.pop(worker, None)

    def do_expect(self, name: str) -> list[str]:
        counts = self.stage.store.registry.counts(name)
        return [", ".join(f"{outcome} {n}" for outcome, n in sorted(counts.items()) if n) or "nothing"]

    def pop(self, worker: str, name: str) -> Message:
        """The oldest run of *name* that *worker* holds."""
        labels = self.labels(self.before)
        found = next(message for message in self.held[worker] if labels[message.id].split()[0] == name)
        self.held[worker].remove(found)
        return found

    # ── what it brought ─────────────────────────────────────────────────────────────────────────────────────────────

    def news(self) -> list[str]:
        """What differs from the last look, as lines."""
        look = self.stage.look()
        labels = self.labels(self.before) | self.labels(look)
        # Entries in order; which of two comes first in the same millisecond depends on ids, and so on the namespace.
        lines = [self.of_record(run, labels) for run in sorted(look.runs, key=lambda run: run.entry)]
        told = {run.id for run in look.runs}
        ids = [*look.bodies, *(id_ for id_ in self.before.bodies if id_ not in look.bodies)]
        for id_ in sorted(ids, key=lambda id_: (self.order(id_, look), labels[id_])):
            if (line := self.of_message(id_, labels[id_], look)) and not (id_ in told and id_ not in look.bodies):
                lines.append(line)
        self.before = look
        return lines

    def of_record(self, run: Run, labels: dict[str, str]) -> str:
        """A line of history."""
        if run.state:
            label = labels.get(run.id) or f"{run.entry} {clock(run.due_ms)}"
            why = f" ({run.error})" if run.error else ""
            beyond = f", {run.outcome}" if run.outcome not in ("", "promoted") else ""
            return f"ended {label} {run.state}{beyond}{why}"
        if run.count == 1:
            return f"skipped {run.entry} {run.outcome} {clock(run.due_ms)}"
        return f"skipped {run.entry} {run.outcome} {clock(run.due_ms)} to {clock(run.to_ms)}, {run.count} of them"

    def of_message(self, id_: str, label: str, look: Look) -> str:
        """What has become of a message."""
        old, new = self.place(id_, self.before), self.place(id_, look)
        if new is None:
            return self.of_withdrawn(id_, label)
        body = look.bodies[id_]
        if old == new and self.before.bodies.get(id_) == body:
            return ""
        header = look.headers()[id_]
        if new.where == "delayed":
            at = f" at {clock(new.at_ms)}" if new.at_ms != header.due_ms else ""
            if not header.flags & FLAG_FIRE:
                return f"again {label}{at}"
            return f"{'renewed' if old else 'armed'} {label}{at}"
        if new.where == "held":
            worker = next(name for name, session in self.stage.sessions.items() if session.id == new.session)
            return f"{worker} runs {label}"
        if new.where == "waiting":
            return f"waits {label}"
        if old and (old.where == "held" or not header.flags & FLAG_FIRE):
            return f"ready {label} once more"
        return f"promoted {label}" if header.due_ms else f"ready {label}"

    def of_withdrawn(self, id_: str, label: str) -> str:
        """A fire that has gone: of an entry whose runs are used up only its own history tells, by one record that grows."""
        header = self.before.headers()[id_]
        newest = self.stage.store.history.runs(header.entry, n=1)
        used_up = newest and newest[0].outcome == "max_runs" and newest[0].due_ms <= header.due_ms <= newest[0].to_ms
        return f"skipped {header.entry} max_runs {clock(header.due_ms)}" if used_up else f"withdrawn {label}"

    def order(self, id_: str, look: Look) -> tuple[str, int]:
        """Fires of one entry by their due time."""
        header = (look if id_ in look.bodies else self.before).headers()[id_]
        return header.entry, header.due_ms

    @staticmethod
    def labels(look: Look) -> dict[str, str]:
        """id → how a message is called."""
        return {
            id_: f"{header.entry} {clock(header.due_ms)}" if header.due_ms else f"{header.entry} by hand"
            for id_, header in look.headers().items()
        }

    @staticmethod
    def place(id_: str, look: Look) -> Place | None:
        """Where a message is: in one place, or gone (P5)."""
        places = look.places.get(id_, [])
        assert len(places) == (id_ in look.bodies), f"{id_}: {places}"
        return places[0] if places else None


def option(name: str, value: str) -> tuple[str, Any]:
    """`countdown=60` as a field of `Entry`."""
    if name == "expires_after":
        return "expires_after_ms", int(float(value) * 1_000)
    if name == "max_runs":
        return name, int(value)
    if name == "enabled" or value == "true":
        return name, value == "true"
    return field(f"{name}={value}")


def perform(text: str, server: SteppedServer) -> str:
    """The transcript of a story: its steps, each with what it brings."""
    story, lines = Story(server), []
    for line in text.splitlines():
        if line.startswith("    "):
            continue
        lines.append(line)
        if line.strip() and not line.startswith("#"):
            lines += [f"    {told}" for told in story.step(line)]
    story.stage.close()
    return "\n".join(lines) + "\n"


@pytest.fixture(scope="module")
def standing() -> Iterator[SteppedServer]:
    """A server whose clock stands."""
    if missing := SteppedServer.missing():
        pytest.skip(missing)
    with SteppedServer() as server:
        yield server


@pytest.mark.parametrize("path", STORIES, ids=lambda path: path.stem)
def test_story_of_policies(path: Path, standing: SteppedServer) -> None:
    """Its first lines say what it shows."""
    text = path.read_text(encoding="utf-8")
    assert text == perform(text, standing)


if __name__ == "__main__":
    with SteppedServer() as a_server:
        for story_path in STORIES:
            story_path.write_text(perform(story_path.read_text(encoding="utf-8"), a_server), encoding="utf-8")
    sys.stdout.write(f"{len(STORIES)} stories\n")
