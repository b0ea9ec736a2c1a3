"""
The lives of a few entries, played at random: declared, edited, paused, skipped, missed, triggered, removed, run in every way in which
a run can end, under leaders that come, go and hang, by a clock that jumps. All of it real but the clock (`tests/support/stage.py`).

The model is an accountant. It knows which due times each entry had while it was in force, and after each step it takes note of
what Redis tells of them. P2: each has one outcome, and it is an outcome that its policies allow; nothing else ever fires. P1: at
most one message. Whenever a leader has come to rest, no due time that has passed is without its outcome.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from scheduler import byhand
from scheduler.errors import FencedError, LeaseLostError, NotFoundError, RefusedError
from scheduler.fires import schedule_of
from scheduler.model import Catchup, Entry, Message, Overlap, Run
from scheduler.store.queues import NewMessage
from scheduler.timing import Schedule, crontab, every
from scheduler.timing.jitter import jitter_ms
from scheduler.wire import FLAG_FIRE, Header, Payload, encode_body, new_id
from tests.support.books import Life
from tests.support.stage import HORIZON_MS, LATE_LIMIT_MS, QUEUE, Beat, Look, Place, Stage, is_promoted
from tests.support.stepped import SteppedServer

START_MS = 1_780_304_400_250  # 2026-06-01 09:00:00.250 UTC
NAMES = ("one", "two", "three")
SCHEDULES: tuple[Schedule, ...] = (
    every("5s"),
    every("20s"),
    every("1m"),
    crontab("*/7,3 * * * * *"),
    crontab("*/5 * * * *"),
)
WINDOW_MS = 120_000
PICK = st.integers(0, 2**16)
OPTIONS = st.fixed_dictionaries(
    {
        "schedule": st.sampled_from([schedule.as_data() for schedule in SCHEDULES]),
        "overlap": st.sampled_from(Overlap),
        "catchup": st.sampled_from(Catchup),
        "countdown_ms": st.sampled_from((0, 0, 3_000)),
        "jitter_ms": st.sampled_from((0, 0, 4_000)),
        "expires": st.sampled_from(("never", "never", "after", "next")),
        "max_runs": st.sampled_from((None, None, None, 3)),
        "start_in_ms": st.sampled_from((None, None, None, 20_000)),
        "until_in_ms": st.sampled_from((None, None, None, 90_000)),
    }
)

pytestmark = pytest.mark.redis


class LifeMachine(RuleBasedStateMachine):
    """Three entries, two workers, one leader at a time."""

    server: SteppedServer

    def __init__(self) -> None:
        super().__init__()
        self.stage = Stage(self.server, now_ms=START_MS)
        self.lives = {name: Life(name) for name in NAMES}
        self.leader: Beat = self.stage.lead()
        self.overtaken: list[Beat] = []
        self.held: dict[str, dict[str, Message]] = {"w": {}, "v": {}}
        self.at_ms: dict[str, int] = {}
        self.before: Look | None = None
        self.step = "start"
        self.rested = False

    def teardown(self) -> None:
        self.stage.close()

    @initialize(options=st.tuples(OPTIONS, OPTIONS, OPTIONS))
    def declare_all(self, options: tuple[dict[str, Any], ...]) -> None:
        """Each of them lives from the beginning."""
        self._enter("declare")
        for name, chosen in zip(NAMES, options, strict=True):
            self._put(self._entry(name, **chosen))

    # ── the clock ───────────────────────────────────────────────────────────────────────────────────────────────────

    @rule(by_ms=st.sampled_from((300, 2_500, 5_000, 12_000, 40_000, 200_000)))
    def time_passes(self, by_ms: int) -> None:
        """… and nobody does anything: nobody leads, or Redis is away."""
        self._enter("time_passes")
        self.stage.set(self.stage.now_ms + by_ms)

    @rule(by_ms=st.sampled_from((1_000, 5_000, 10_000, 20_000, 70_000)))
    def time_passes_and_the_leader_ticks(self, by_ms: int) -> None:
        """It comes to rest; then no due time that has passed is without its outcome."""
        self.time_passes(by_ms)
        self._check()
        self._enter("leader_ticks")
        self._tick()

    @rule(seconds=st.integers(2, 8))
    def time_passes_well(self, seconds: int) -> None:
        """The leader ticks every other second, and the one worker that there is does its work."""
        for _ in range(seconds):
            self._enter("time_passes_well")
            self.stage.set(self.stage.now_ms + 2_000)
            self._tick()
            self._check()
            self._take("w", 100)
            for message in list(self.held["w"].values()):
                self._finish("w", message, "SUCCESS")
            self._check()

    # ── beats ───────────────────────────────────────────────────────────────────────────────────────────────────────

    @rule()
    def leader_changes(self) -> None:
        """Whatever the old one had planned."""
        self._enter("leader_changes")
        self.overtaken.append(self.leader)
        self.leader = self.stage.lead()

    @precondition(lambda self: self.overtaken)
    @rule(which=PICK)
    def overtaken_leader_wakes(self, which: int) -> None:
        """P3."""
        self._enter("overtaken_leader_wakes")
        marks = self.stage.store.registry.marks()
        with pytest.raises(FencedError):
            self.overtaken[which % len(self.overtaken)].tick()
        assert self.stage.store.registry.marks() == marks

    @rule()
    def answer_is_lost(self) -> None:
        """An arm was carried out, and the leader does not know."""
        self._enter("answer_is_lost")
        with self.stage.answer_lost():
            self.leader.tick()

    @rule()
    def somebody_promotes(self) -> None:
        """A follower, or a worker."""
        self._enter("somebody_promotes")
        self.stage.promote()

    # ── changes ─────────────────────────────────────────────────────────────────────────────────────────────────────

    @rule(name=st.sampled_from(NAMES), options=OPTIONS)
    def declare(self, name: str, options: dict[str, Any]) -> None:
        """A new entry, or another in its place."""
        self._enter("declare")
        self._put(self._entry(name, **options))

    @rule(name=st.sampled_from(NAMES), options=OPTIONS)
    def edit_options(self, name: str, options: dict[str, Any]) -> None:
        """Not its schedule: what is armed stays armed."""
        life = self.lives[name]
        if life.entry is not None:
            self._enter("edit_options")
            fixed = ("schedule", "start_ms", "until_ms", "enabled")
            new = self._entry(name, **options)
            self._put(msgspec.structs.replace(new, **{field: getattr(life.entry, field) for field in fixed}))

    @rule(name=st.sampled_from(NAMES), how=st.sampled_from(("disable", "enable", "remove")))
    def take_away(self, name: str, how: str) -> None:
        """Disable it, enable it again, or remove it."""
        life = self.lives[name]
        if how == "remove":
            self._remove(name)
        elif life.entry is not None:
            self._enter("enable")
            self._put(msgspec.structs.replace(life.entry, enabled=how == "enable"))

    def _remove(self, name: str) -> None:
        """By a load that does not have it."""
        self._enter("remove")
        entries = {life.name: life.entry for life in self.lives.values() if life.entry and life.name != name}
        self.stage.store.loads.publish(entries, clean=True, mistakes=(), by="test")
        life = self.lives[name]
        life.entry = life.pause = None
        life.ordered = {due_ms for due_ms in life.ordered if due_ms <= self.stage.now_ms}

    @rule(name=st.sampled_from(NAMES), until_in_ms=st.sampled_from((None, 7_000, 30_000)))
    def pause(self, name: str, until_in_ms: int | None) -> None:
        """With or without an end."""
        life = self.lives[name]
        if life.entry is not None:
            self._enter("pause")
            until_ms = None if until_in_ms is None else self.stage.now_ms + until_in_ms
            life.pause = self.stage.store.registry.pause(name, until_ms=until_ms).pause

    @rule(name=st.sampled_from(NAMES))
    def resume(self, name: str) -> None:
        """By hand."""
        life = self.lives[name]
        if life.entry is not None:
            self._enter("resume")
            self.stage.store.registry.resume(name)
            life.pause = None

    @rule(name=st.sampled_from(NAMES))
    def skip(self, name: str) -> None:
        """The next fire only."""
        life = self.lives[name]
        if life.entry is not None:
            self._enter("skip")
            try:
                life.ordered.add(self.stage.store.registry.skip(name)[1])
            except RefusedError:
                return  # it has no next fire

    @rule(name=st.sampled_from(NAMES), force=st.booleans())
    def trigger(self, name: str, force: bool) -> None:
        """By hand: it settles no due time."""
        entry = self.lives[name].entry
        if entry is not None:
            self._enter("trigger")
            header = Header(task=entry.task, queue=QUEUE, entry=name, overlap=entry.overlap)
            message = NewMessage(new_id(), encode_body(header, Payload()), QUEUE)
            self.stage.store.queues.trigger(message, entry=name, force=force, call_id=new_id())

    @rule(
        name=st.sampled_from(NAMES),
        back_ms=st.sampled_from((60_000, 300_000)),
        overlap=st.sampled_from((Overlap.ALLOW, Overlap.SKIP, Overlap.QUEUE)),
    )
    def backfill(self, name: str, back_ms: int, overlap: Overlap) -> None:
        """Runs for due times that are past: they settle none of them."""
        entry, now_ms = self.lives[name].entry, self.stage.now_ms
        if entry is None:
            return
        self._enter("backfill")
        span = byhand.Span(from_ms=now_ms - back_ms, to_ms=now_ms, overlap=overlap, rate_s=1.0, limit=20, by="test")
        try:
            dues_ms = byhand.due_times(entry, span, now_ms=now_ms)
        except (NotFoundError, RefusedError):
            return
        else:
            byhand.backfill(self.stage.store, entry, span, dues_ms, bytes_max=1 << 20)

    # ── runs ────────────────────────────────────────────────────────────────────────────────────────────────────────

    @rule(worker=st.sampled_from(("w", "v")), n=st.integers(1, 4))
    def take(self, worker: str, n: int) -> None:
        """Some of what is ready."""
        self._enter("take")
        self._take(worker, n)

    @rule(
        worker=st.sampled_from(("w", "v")),
        which=PICK,
        how=st.sampled_from(("SUCCESS", "SUCCESS", "FAILURE", "REVOKED", "retry", "release", "lost", "die")),
        delay_ms=st.sampled_from((0, 4_000, 60_000)),
    )
    def come_to_an_end(self, worker: str, which: int, how: str, delay_ms: int) -> None:
        """One run ends, is to be tried again (it keeps its slot, trap 7), goes back, or dies with its worker."""
        self._enter("come_to_an_end")
        if how == "die":
            self._die(worker)
            return
        for message in self._one(worker, which):
            if how == "retry":
                self.stage.try_again(worker, message, delay_ms=delay_ms)
            elif how in ("release", "lost"):
                self.stage.worker(worker).release([message.id], lost=how == "lost")
            else:
                assert self.stage.finish(worker, message, how)
            del self.held[worker][message.id]

    def _die(self, worker: str) -> None:
        """With all that it holds; what it says afterwards is refused."""
        session = self.stage.worker(worker)
        self.stage.die(worker)
        self.held[worker].clear()
        with pytest.raises(LeaseLostError):
            session.renew()

    @rule(which=PICK, terminate=st.booleans())
    def cancel(self, which: int, terminate: bool) -> None:
        """One message of an entry, wherever it is."""
        if self.before is None:
            return
        # In an order that does not depend on ids, which are random where a run was asked for by hand.
        found = sorted((h.entry, h.due_ms, id_) for id_, h in self.before.headers().items() if h.of_schedule)
        if found:
            self._enter("cancel")
            name, due_ms, id_ = found[which % len(found)]
            (place,) = self.before.places[id_]
            if place.where == "waiting" or (place.where == "delayed" and self.before.headers()[id_].flags & FLAG_FIRE):
                self.lives[name].cancelled.add(due_ms)
                if due_ms > self.stage.now_ms:
                    self.lives[name].ordered.add(due_ms)
            self.stage.store.queues.cancel(id_, terminate=terminate)

    @rule()
    def purge(self) -> None:
        """What waits in the queue; armed fires stay."""
        self._enter("purge")
        self.stage.store.queues.purge(QUEUE)

    # ── what must hold ──────────────────────────────────────────────────────────────────────────────────────────────

    @invariant()
    def the_books_are_in_order(self) -> None:
        """P1, P2, P5, P8."""
        self._check()

    def _check(self) -> None:
        look = self.stage.look()
        assert {id_: places for id_, places in look.places.items() if len(places) != 1} == {}, "in two places"
        assert set(look.places) == set(look.bodies), "a body without a place, or a place without a body"
        headers = look.headers()
        for life in self.lives.values():
            life.pass_to(self.stage.now_ms)
        self._note_records(look)
        self._note_messages(look, headers)
        self._note_used_up()
        self._compare_counters()
        if self.rested:
            self._nothing_is_missing(look, headers)
            self.rested = False
        self.before = look

    def _note_records(self, look: Look) -> None:
        for run in look.runs:
            if run.entry and not run.state:
                self._allow(run)
                self.lives[run.entry].settle_stretch(run)
            elif run.of_schedule:
                self.lives[run.entry].settle(run.due_ms, run.outcome)

    def _allow(self, run: Run) -> None:
        """Whether a stretch may have that outcome."""
        life, now_ms, last_ms = self.lives[run.entry], self.stage.now_ms, run.to_ms or run.due_ms
        covered = {due_ms: paused for due_ms, paused in life.expected.items() if run.due_ms <= due_ms <= last_ms}
        if run.outcome == "paused":
            assert all(covered.values()), f"{run}: not all of it lay in a pause"
        elif run.outcome == "missed":
            assert now_ms - last_ms > LATE_LIMIT_MS, f"{run}: it was not late"
        elif run.outcome == "withdrawn":
            asked = life.ordered | life.cancelled
            assert self.step in ("declare", "enable", "remove", "pause", "resume") or set(covered) <= asked, (
                f"{run}: by nobody"
            )
        elif run.outcome == "overlap":
            assert run.holder, f"{run}: by whom?"
        else:
            assert run.outcome == "max_runs", run

    def _note_messages(self, look: Look, headers: dict[str, Header]) -> None:
        active: Counter[str] = Counter()
        # What was withdrawn may be armed again with the same id, for another moment.
        self.at_ms = {id_: at_ms for id_, at_ms in self.at_ms.items() if id_ in look.places}
        for id_, header in headers.items():
            (place,) = look.places[id_]
            life = self.lives[header.entry]
            if place.where == "delayed" and header.flags & FLAG_FIRE and header.of_schedule:
                self._check_moment(life, header, place)
                self.at_ms[id_] = place.at_ms
            if is_promoted(header, place):
                if header.due_ms not in life.outcomes:
                    has_waited = self.before is not None and Place("waiting") in self.before.places.get(id_, [])
                    moments_ms = {self.at_ms[id_]} if id_ in self.at_ms else _moments_ms(life, header)
                    self._check_promotion(life, header, moments_ms, has_waited=has_waited)
                life.settle(header.due_ms, "promoted")
            has_begun = not header.flags & FLAG_FIRE and not header.backfill
            runs_or_will = place.where in ("ready", "held") or has_begun
            if header.overlap is not Overlap.ALLOW and runs_or_will and place.where != "waiting":
                active[header.entry] += 1
                assert look.slots.get(header.entry) == id_, f"{header.entry}: runs without its slot"
        assert {name: n for name, n in active.items() if n > 1} == {}, "two runs at once"
        for name, holder in look.slots.items():
            assert holder in look.bodies, f"{name}: the slot leaks"
        for name, (due_ms, n) in self.stage.store.registry.promoted().items():
            promoted = [due for due, outcome in self.lives[name].outcomes.items() if outcome == "promoted"]
            assert (due_ms, n) == (max(promoted), len(promoted))

    def _check_moment(self, life: Life, header: Header, place: Place) -> None:
        """Of what is armed ahead, under the definition in force: jitter keeps its bounds, and the order of the fires."""
        entry = life.entry
        if entry is None or header.due_ms <= self.stage.now_ms or header.due_ms in life.ordered:
            return
        assert life.pause is None, "armed in a pause"
        off_ms = place.at_ms - header.due_ms - entry.countdown_ms
        # A fire that is to be skipped keeps nobody's place, and after the last one there is none.
        next_ms = schedule_of(entry).next_ms(header.due_ms)
        while next_ms in life.ordered:
            next_ms = schedule_of(entry).next_ms(next_ms)
        if next_ms is not None and next_ms > (entry.until_ms or next_ms):
            next_ms = None
        assert 0 <= off_ms <= entry.jitter_ms
        assert next_ms is None or off_ms < next_ms - header.due_ms
        assert header.due_ms <= self.stage.now_ms + HORIZON_MS

    def _check_promotion(self, life: Life, header: Header, moments_ms: set[int], *, has_waited: bool) -> None:
        """Never before its moment; and a late one only as its catch-up policy wants it, unless it was its slot that it waited for."""
        now_ms, at_ms = self.stage.now_ms, max(moments_ms)
        assert now_ms >= min(moments_ms), "too early"
        assert header.due_ms not in life.ordered, "it was to be skipped"
        assert not header.expires_ms or header.expires_ms > now_ms, "expired"
        if header.max_runs:
            # Those before it: one after it may have come in the same step, by an older definition without a maximum.
            before = [outcome for due_ms, outcome in life.outcomes.items() if due_ms < header.due_ms]
            promoted = sum(outcome == "promoted" for outcome in before)
            assert promoted < header.max_runs, "more often than max_runs"
        if now_ms - at_ms > header.late_limit_ms and not has_waited:
            assert header.catchup is not Catchup.NONE, "late, and none is caught up"
            if header.catchup is Catchup.LATEST:
                assert not header.next_due_ms or header.next_due_ms > now_ms, "not the latest"
            else:
                assert now_ms - at_ms <= header.catchup_window_s * 1000, "outside the window"

    def _note_used_up(self) -> None:
        """Of an entry whose runs are used up, only its own ring tells: one record that grows."""
        for life in self.lives.values():
            for run in self.stage.store.history.runs(life.name, n=20):
                if run.outcome == "max_runs":
                    covered = [due_ms for due_ms in life.expected if run.due_ms <= due_ms <= (run.to_ms or run.due_ms)]
                    assert len(covered) == run.count
                    for due_ms in covered:
                        life.settle(due_ms, "max_runs")

    def _compare_counters(self) -> None:
        for life in self.lives.values():
            told = {outcome: n for outcome, n in self.stage.store.registry.counts(life.name).items() if n}
            assert told == dict(Counter(life.outcomes.values())), life.name

    def _nothing_is_missing(self, look: Look, headers: dict[str, Header]) -> None:
        pending = {
            (header.entry, header.due_ms)
            for id_, header in headers.items()
            if header.of_schedule
            and (look.places[id_][0].at_ms > self.stage.now_ms or look.places[id_][0].where == "waiting")
        }
        for life in self.lives.values():
            missing = {
                due_ms
                for due_ms, paused in life.expected.items()
                if due_ms not in life.outcomes and (life.name, due_ms) not in pending and not (paused and life.pause)
            }
            assert not missing, f"{life.name}: {sorted(missing)} have no outcome"

    # ── inside ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def _enter(self, step: str) -> None:
        """A step begins: what came due until now belongs to what was in force until now."""
        self.step = step
        for life in self.lives.values():
            life.pass_to(self.stage.now_ms)

    def _tick(self) -> None:
        self.leader.tick()
        self.stage.promote()
        self.rested = True

    def _entry(
        self, name: str, *, expires: str, start_in_ms: int | None, until_in_ms: int | None, **options: Any
    ) -> Entry:
        now_ms = self.stage.now_ms
        if options["catchup"] is Catchup.ALL:
            options["overlap"] = Overlap.ALLOW
        if expires == "after":
            options["expires_after_ms"] = 12_000
        return Entry(
            name=name,
            task="t.x",
            queue=QUEUE,
            catchup_window_ms=WINDOW_MS,
            expires_next=expires == "next",
            start_ms=None if start_in_ms is None else now_ms + start_in_ms,
            until_ms=None if until_in_ms is None else now_ms + until_in_ms,
            **options,
        )

    def _put(self, entry: Entry) -> None:
        self.stage.store.registry.put(entry)
        life = self.lives[entry.name]
        life.entry = entry
        life.delays.add((entry.countdown_ms, entry.jitter_ms))

    def _one(self, worker: str, which: int) -> list[Message]:
        found = list(self.held[worker].values())
        return [found[which % len(found)]] if found else []

    def _take(self, worker: str, n: int) -> None:
        for message in self.stage.take(worker, n):
            self.held[worker][message.id] = message

    def _finish(self, worker: str, message: Message, state: str) -> None:
        assert self.stage.finish(worker, message, state)
        del self.held[worker][message.id]


def _moments_ms(life: Life, header: Header) -> set[int]:
    """When a fire may have been to be promoted that nobody has seen armed: under one of the definitions that its entry had."""
    if not life.delays:
        return {header.due_ms}
    return {
        header.due_ms + countdown_ms + jitter_ms(life.name, header.due_ms, longest_ms, header.next_due_ms or None)
        for countdown_ms, longest_ms in life.delays
    }


def play(server: SteppedServer, *, examples: int, steps: int) -> None:
    """Let *examples* machines make *steps* each."""
    run_state_machine_as_test(
        type("Machine", (LifeMachine,), {"server": server}),
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            print_blob=True,
            phases=(Phase.explicit, Phase.generate),
        ),
    )


@pytest.fixture
def standing() -> Iterator[SteppedServer]:
    """A server whose clock stands."""
    if missing := SteppedServer.missing():
        pytest.skip(missing)
    with SteppedServer() as server:
        yield server


def test_every_due_time_has_one_outcome_whatever_happens(standing: SteppedServer) -> None:
    """P1, P2, P3, P8: see the module's docstring."""
    play(standing, examples=40, steps=30)


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_every_due_time_has_one_outcome_in_long_lives(standing: SteppedServer) -> None:
    """The same, longer and more often."""
    play(standing, examples=2_000, steps=80)
