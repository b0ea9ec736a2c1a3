"""
Random operations on the real store, beside a small model of what it must hold.

The model knows which messages were accepted, which fires were armed and who leads. After each step it asks Redis where everything
is: every message that has not ended is in exactly one place with its body (P5), every one that has ended stands exactly once in
the history (P9), no fire was armed twice (P1), and what an overtaken term or a reclaimed session tried has changed nothing (P3).
"""

from __future__ import annotations

from collections import Counter
from typing import Any, NamedTuple
from uuid import uuid4

import msgspec
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from scheduler.config import Config
from scheduler.errors import FencedError, LeaseLostError
from scheduler.exchange import Queue
from scheduler.fires import FireMaker, schedule_of
from scheduler.model import Catchup, Entry, Outcome, Overlap, ResultRecord, Run, Skip
from scheduler.rate import Rate
from scheduler.store import Store, open_store
from scheduler.store.backfill import Backfill, BackfillRun
from scheduler.store.queues import CancelReply, NewMessage, Unique
from scheduler.store.sessions import Session, Way, WorkerInfo
from scheduler.timing import every
from scheduler.wire import Header, Payload, decode_header, encode_body, new_id
from tests.support.server import ValkeyServer

QUEUES = ("a", "b")
ENTRIES = {
    "skip": Overlap.SKIP,
    "allow": Overlap.ALLOW,
    "queue": Overlap.QUEUE,
    "replace": Overlap.REPLACE,
}
UNIQUE = "3600000 t.x:acme"
"""The unique key that some calls and the fires of one entry share."""
SLOW = {"t.slow": Rate(1, 3_600)}
LATE_LIMIT_MS = 60_000
HOUR_MS = 3_600_000
PICK = st.integers(0, 2**16)
"""Chooses among what there is: ids are random, so nothing that hypothesis draws may depend on them."""
RESULT = msgspec.json.encode(ResultRecord(state="SUCCESS"))

pytestmark = pytest.mark.redis


class Seen(NamedTuple):
    """What stands on Redis: every id with a body, every place that names an id, and what else promises are about."""

    bodies: set[str]
    places: list[str]
    unique: str
    waiting: dict[str, str]
    lines: dict[str, list[str]]
    slots: dict[str, str]
    counters: dict[str, int]
    runs: list[dict[str, Any]]


def _texts(flat: list[bytes]) -> dict[str, str]:
    return {name.decode(): value.decode() for name, value in zip(flat[::2], flat[1::2], strict=True)}


def _pieces(flat: list[bytes], kind: bytes) -> list[Any]:
    return list(zip(flat[::2], flat[1::2], strict=True)) if kind == b"hash" else flat


class StoreMachine(RuleBasedStateMachine):
    """One namespace, any number of workers, two beats that take the term from each other."""

    server: ValkeyServer
    sessions = Bundle("sessions")

    def __init__(self) -> None:
        super().__init__()
        config = Config(redis_url=self.server.url, namespace=f"m{uuid4().hex[:12]}", late_limit_ms=LATE_LIMIT_MS)
        self.store: Store = open_store(config)
        self.keys = self.store.keys
        self.born: dict[str, None] = {}
        self.calls: list[tuple[list[NewMessage], str]] = []
        self.armed: set[tuple[str, int]] = set()
        self.fires: dict[str, tuple[str, int]] = {}
        self.rearmed: set[str] = set()
        self.live: dict[Session, set[str]] = {}
        self.lost: list[Session] = []
        self.asked: set[str] = set()
        self.terms: list[tuple[int, str]] = []
        self.counters: dict[str, int] = {}
        for name in ENTRIES:
            self._put(name, every("1h"))
        self.store.limits.tell([Queue("b", concurrency=2)])
        self._elect()

    def teardown(self) -> None:
        self.store.close()

    # ── asking ──────────────────────────────────────────────────────────────────────────────────────────────────────

    @rule(
        queue=st.sampled_from(QUEUES),
        n=st.integers(1, 3),
        priority=st.sampled_from((0, 0, 5, 9)),
        delay_ms=st.sampled_from((None, None, -5_000, HOUR_MS)),
        expired=st.booleans(),
        task=st.sampled_from(("t.x", "t.slow")),
    )
    def enqueue(self, *, queue: str, n: int, priority: int, delay_ms: int | None, expired: bool, task: str) -> None:
        now_ms = int(self.store.queues.time_ms())
        at_ms = 0 if delay_ms is None else now_ms + delay_ms
        messages = []
        for _ in range(n):
            header = Header(task=task, queue=queue, priority=priority, expires_ms=now_ms - 1 if expired else 0)
            messages.append(NewMessage(new_id(), encode_body(header, Payload()), queue, at_ms, priority))
        call_id = new_id()
        assert self.store.queues.enqueue(messages, call_id=call_id) == [True] * n
        self.born |= {message.id: None for message in messages}
        self.calls.append((messages, call_id))

    @rule(queue=st.sampled_from(QUEUES), delay_ms=st.sampled_from((0, 0, HOUR_MS)))
    def enqueue_unique(self, queue: str, delay_ms: int) -> None:
        """Accepted exactly if nobody alive has the key; else it is told who has it."""
        holder = self._look().unique
        header = Header(task="t.x", queue=queue, unique=UNIQUE)
        at_ms = int(self.store.queues.time_ms()) + delay_ms if delay_ms else 0
        message = NewMessage(new_id(), encode_body(header, Payload()), queue, at_ms, unique=True)
        call_id = new_id()
        answer = self.store.queues.enqueue([message], call_id=call_id)
        assert answer == [not holder]
        assert answer.refusals == ({0: Unique(holder)} if holder else {})
        if not holder:
            self.born[message.id] = None
        self.calls.append(([message], call_id))

    @rule(which=PICK)
    def repeat_a_call(self, which: int) -> None:
        """As after a lost reply: nothing is added."""
        if self.calls:
            messages, call_id = self.calls[which % len(self.calls)]
            before = self._dump()
            self.store.queues.enqueue(messages, call_id=call_id)
            assert self._dump() == before

    @rule(which=PICK)
    def enqueue_a_live_id(self, which: int) -> None:
        for id_ in self._one(self._bodies(), which):
            body = encode_body(Header(task="other", queue="a"), Payload())
            assert self.store.queues.enqueue([NewMessage(id_, body, "a")], call_id=new_id()) == [False]

    @rule(name=st.sampled_from(sorted(ENTRIES)), force=st.booleans(), later=st.booleans())
    def trigger(self, name: str, force: bool, later: bool) -> None:
        at_ms = int(self.store.queues.time_ms()) + HOUR_MS if later else 0
        header = Header(task="t.x", queue="a", entry=name, overlap=ENTRIES[name])
        message = NewMessage(new_id(), encode_body(header, Payload()), "a", at_ms)
        if self.store.queues.trigger(message, entry=name, force=force, call_id=new_id()).ok:
            self.born[message.id] = None

    @rule(
        name=st.sampled_from(sorted(ENTRIES)),
        n=st.integers(1, 3),
        overlap=st.sampled_from((Overlap.QUEUE, Overlap.QUEUE, Overlap.SKIP, Overlap.ALLOW)),
        later=st.booleans(),
    )
    def backfill(self, name: str, n: int, overlap: Overlap, later: bool) -> None:
        now_ms = int(self.store.queues.time_ms())
        at_ms = now_ms + HOUR_MS if later else now_ms
        asked = Backfill(
            id=new_id(), entry=name, queue="a", from_ms=1, to_ms=n + 1, count=n, overlap=overlap, rate_s=1.0, asked_ms=now_ms,
            starts_ms=at_ms, ends_ms=at_ms,
        )  # fmt: skip
        header = Header(task="t.x", queue="a", entry=name, overlap=overlap, due_ms=1, backfill=asked.id)
        runs = [BackfillRun(new_id(), encode_body(header, Payload()), due_ms, at_ms) for due_ms in range(1, n + 1)]
        assert self.store.backfills.start(asked, runs) == n
        self.born |= {run.id: None for run in runs}
        assert self.store.backfills.start(asked, runs) == 0, "they live"

    @rule(which=PICK, terminate=st.booleans())
    def cancel(self, which: int, terminate: bool) -> None:
        for id_ in self._one(set(self.born), which):
            held = {held for ids in self.live.values() for held in ids}
            reply = self.store.queues.cancel(id_, terminate=terminate)
            if id_ in held:
                assert reply is CancelReply.REQUESTED
                self.asked.add(id_)
            else:
                assert reply in (CancelReply.REVOKED, CancelReply.ENDED, CancelReply.UNKNOWN)

    @rule(queue=st.sampled_from(QUEUES))
    def purge(self, queue: str) -> None:
        self.store.queues.purge(queue)
        assert self.store.queues.depths([queue])[queue].ready == 0 or self._slots_pass(queue)

    # ── the beat ────────────────────────────────────────────────────────────────────────────────────────────────────

    @rule()
    def _elect(self) -> None:
        holder = new_id()
        term = self.store.leadership.observe()
        known = self.terms[-1][0] if self.terms else 0
        won = self.store.leadership.elect(holder, "beat", stood_still=term, known=known, reason="test")
        assert won.won
        assert won.number > known
        self.terms.append((won.number, holder))

    @rule(
        name=st.sampled_from(sorted(ENTRIES)),
        when=st.sampled_from(("due", "due", "ahead", "missed")),
        stale=st.booleans(),
        overtaken=st.booleans(),
        newer_missed=st.booleans(),
    )
    def arm(self, name: str, when: str, stale: bool, overtaken: bool, newer_missed: bool) -> None:
        record = self.store.registry.state(name)
        if record.entry is None or record.pause is not None:
            return
        now_ms = int(self.store.queues.time_ms())
        wanted = {"due": now_ms, "ahead": now_ms, "missed": now_ms - 2 * LATE_LIMIT_MS}[when]
        due_ms = max(record.mark_ms + 1, wanted)
        if when == "ahead" or due_ms > now_ms:  # on the schedule, so that whoever changes the entry finds it
            due_ms = schedule_of(record.entry).next_ms(max(now_ms, record.mark_ms)) or 0
        maker = FireMaker(
            record.entry, schedule_of(record.entry), namespace=self.keys.namespace, late_limit_ms=LATE_LIMIT_MS
        )
        next_ms = due_ms + 1 if newer_missed else due_ms + HOUR_MS
        state = "1 1" if stale else record.state
        fire = maker.fire(due_ms, next_ms, state=state, now_ms=now_ms)
        number, holder = self.terms[0] if overtaken else self.terms[-1]
        if len(self.terms) > 1 and overtaken:
            before = self._dump()
            with pytest.raises(FencedError):
                self.store.leadership.arm([fire], [], number=number, holder=holder)
            assert self._dump() == before, "an overtaken term wrote something"
            return
        answer = self.store.leadership.arm([fire], [], number=self.terms[-1][0], holder=self.terms[-1][1])
        if stale:
            assert answer.armed == 0
            return
        assert answer.armed == 1
        assert (name, due_ms) not in self.armed, "armed twice"
        self.armed.add((name, due_ms))
        if fire.id in self.born:  # it was withdrawn, or cancelled before its time, and its schedule has it again
            self.rearmed.add(fire.id)
        self.born[fire.id] = None
        self.fires[fire.id] = (name, due_ms)
        again = self.store.leadership.arm([fire], [], number=self.terms[-1][0], holder=self.terms[-1][1])
        assert (again.armed, again.stale) == (0, []), "a repeated arm is a duplicate, and no reason to read again"
        if when == "due":
            self.promote()

    @rule(name=st.sampled_from(sorted(ENTRIES)))
    def skip_a_stretch(self, name: str) -> None:
        record = self.store.registry.state(name)
        if record.entry is not None and record.pause is None:
            mark_ms = record.mark_ms
            skip = Skip(name, record.state, "missed", mark_ms + 1, mark_ms + 5, 5, mark_ms + 5)
            self.store.leadership.arm([], [skip], number=self.terms[-1][0], holder=self.terms[-1][1])
            assert self.store.registry.state(name).mark_ms == mark_ms + 5

    @rule()
    def promote(self) -> None:
        self.store.queues.promote(QUEUES, tell=True)

    @rule(
        name=st.sampled_from(sorted(ENTRIES)),
        what=st.sampled_from(("pause", "resume", "args", "schedule", "remove", "put")),
    )
    def change(self, name: str, what: str) -> None:
        record = self.store.registry.state(name)
        if record.entry is None:
            self._put(name, every("1h"))
        elif what == "pause":
            self.store.registry.pause(name)
        elif what == "resume":
            self.store.registry.resume(name)
        elif what == "args":
            entry = msgspec.structs.replace(record.entry, args=msgspec.Raw(b"[%d]" % len(self.born)))
            self.store.registry.put(entry)
            assert self.store.registry.state(name).mark_ms == record.mark_ms, "a change of arguments keeps the mark"
        elif what == "remove":
            self.store.loads.publish(
                {n: self._entry(n, every("1h")) for n in ENTRIES if n != name}, clean=True, mistakes=(), by="test"
            )
            assert self.store.registry.get(name) is None
        else:
            self._put(name, every("2h" if what == "schedule" else "1h"))
        if record.entry is not None and what != "args":
            # Withdrawn, so it may be armed again.
            now_ms = self.store.queues.time_ms()
            gone = {id_ for id_, fire in self.fires.items() if fire[0] == name and fire[1] > now_ms}
            now_entry = self.store.registry.state(name).entry
            ended = what == "resume" and record.pause is not None
            if what == "pause" or ended or now_entry is None or now_entry.schedule != record.entry.schedule:
                assert not gone & self._bodies(), "what was armed ahead is withdrawn"
            self.armed -= {self.fires[id_] for id_ in gone - self._bodies()}

    # ── workers ─────────────────────────────────────────────────────────────────────────────────────────────────────

    @rule(target=sessions, limits=st.booleans())
    def open(self, limits: bool) -> Session:
        """Some know that a task has a rate limit, some (of another version) do not."""
        session = self.store.sessions.open(WorkerInfo(name="w"), way=Way(rates=SLOW if limits else {}))
        self.live[session] = set()
        return session

    @rule(session=sessions, n=st.integers(1, 5))
    def take(self, session: Session, n: int) -> None:
        if self._fenced(session, lambda: session.take(QUEUES, n)):
            return
        taken = session.take(QUEUES, n)
        assert len(taken.messages) <= n
        self.live[session] |= {message.id for message in taken.messages}
        alone = [message for message in taken.messages if message.losses]
        assert not alone or len(taken.messages) == 1, "what was lost before comes alone"

    @rule(session=sessions, which=PICK, dead=st.booleans(), take=st.integers(0, 3))
    def finish(self, session: Session, which: int, dead: bool, take: int) -> None:
        if self._fenced(session, lambda: session.finish([])):
            return
        mine = self._some(self.live[session], which)
        theirs = self._one(self._bodies() - self.live[session], which)
        outcomes = [self._outcome(id_, dead) for id_ in (*mine, *theirs)]
        finished = session.finish(outcomes, take=take, queues=QUEUES)
        assert finished.refused == theirs, "only the holder's outcome is written"
        self.live[session] -= set(mine)
        if finished.taken:
            self.live[session] |= {message.id for message in finished.taken.messages}
        assert session.finish(outcomes[: len(mine)]).refused == mine, "written once"

    @rule(session=sessions, which=PICK, delay_ms=st.sampled_from((0, HOUR_MS)))
    def retry(self, session: Session, which: int, delay_ms: int) -> None:
        if self._fenced(session, session.renew) or not self.live[session]:
            return
        [id_] = self._one(self.live[session], which)
        body = self.store.queues.body(id_)
        assert body is not None
        again = session.retry(id_, body, delay_ms=delay_ms, attempt=2, result=b"", ttl_ms=1_000)
        assert again == (id_ not in self.asked), "unless somebody has asked to cancel it, however long ago"
        assert not session.retry(id_, body, delay_ms=delay_ms, attempt=2, result=b"", ttl_ms=1_000)
        self.live[session].discard(id_)

    @rule(session=sessions, which=PICK, lost=st.booleans(), delay_ms=st.sampled_from((0, 0, HOUR_MS)))
    def release(self, session: Session, which: int, lost: bool, delay_ms: int) -> None:
        if self._fenced(session, lambda: session.release([])) or not self.live[session]:
            return
        ids = self._some(self.live[session], which)
        assert session.release(ids, lost=lost, delay_ms=0 if lost else delay_ms) == len(ids)
        self.live[session] -= set(ids)

    @rule(session=sessions, which=PICK)
    def reconcile(self, session: Session, which: int) -> None:
        """Known: some of what it holds, and something that is not its own."""
        if self._fenced(session, lambda: session.reconcile([])):
            return
        mine = self.live[session]
        known = self._some(mine, which)
        # A session cannot know of a fire whose time has not come.
        now_ms = self.store.queues.time_ms()
        ahead = {id_ for id_, (_, due_ms) in self.fires.items() if due_ms > now_ms}
        stranger = self._one(self._bodies() - mine - ahead, which)
        answer = session.reconcile([*known, *stranger, "nobody-knows-it"])
        assert set(answer.released) == set(mine) - set(known)
        assert "nobody-knows-it" in answer.abandoned
        assert set(answer.adopted) <= set(stranger)
        self.live[session] = {*known, *answer.adopted}

    @rule(session=sessions, wrong=st.booleans())
    def reclaim(self, session: Session, wrong: bool) -> None:
        if session not in self.live:
            return
        counter = self.store.sessions.observe()[session.id]
        if wrong:
            assert self.store.sessions.reclaim(session.id, counter - 1) is None, "compare-and-set"
            return
        assert self.store.sessions.reclaim(session.id, counter) == len(self.live.pop(session))
        self.lost.append(session)

    @rule(session=sessions)
    def close(self, session: Session) -> None:
        if session in self.live:
            session.close()
            del self.live[session]
            self.lost.append(session)

    # ── what must hold ──────────────────────────────────────────────────────────────────────────────────────────────

    @invariant()
    def all_promises_are_kept(self) -> None:
        """Everything is read at once: most of the time would go into looking."""
        seen = self._look()
        self.every_message_is_in_exactly_one_place(seen)
        self.every_message_ends_once(seen)
        self.a_unique_key_belongs_to_a_live_run(seen)
        self.a_slot_belongs_to_a_live_run_or_will_be_found_free(seen)
        self.counters_only_grow(seen)

    def every_message_is_in_exactly_one_place(self, seen: Seen) -> None:
        """P5."""
        places, bodies = Counter(seen.places), seen.bodies
        assert {id_: n for id_, n in places.items() if n != 1} == {}, "in more than one place"
        assert set(places) - bodies == set(), "a place without a body"
        assert bodies - set(places) == set(), "a body without a place"
        held = {id_ for ids in self.live.values() for id_ in ids}
        assert held <= bodies

    def every_message_ends_once(self, seen: Seen) -> None:
        """P9, and P2 for fires: what was accepted is alive, withdrawn, or stands once in the history."""
        runs = Counter(run["id"] for run in seen.runs if run.get("id") and run["id"] not in self.rearmed)
        assert {id_: n for id_, n in runs.items() if n != 1} == {}, "ended more than once"
        assert set(runs) & seen.bodies == set(), "ended and alive"

    def a_unique_key_belongs_to_a_live_run(self, seen: Seen) -> None:
        """Every ending frees it."""
        assert not seen.unique or seen.unique in seen.bodies, "the unique key leaks"

    def a_slot_belongs_to_a_live_run_or_will_be_found_free(self, seen: Seen) -> None:
        """Every ending frees it."""
        for entry, holder in seen.waiting.items():
            assert holder in seen.bodies, f"{entry}: what waits for the slot is gone"
        for entry, holder in seen.slots.items():
            assert holder in seen.bodies, f"{entry}: the slot leaks"
        for entry, line in seen.lines.items():
            assert not line or entry in seen.slots, f"{entry}: nobody will ever pass the slot to its line"

    def counters_only_grow(self, seen: Seen) -> None:
        """What an observer relies on."""
        for session, counter in seen.counters.items():
            assert counter >= self.counters.get(session, counter)
            self.counters[session] = counter

    def _one(self, ids: set[str], which: int) -> list[str]:
        """One of *ids*, in the order of their birth; none if there is none."""
        known = [id_ for id_ in self.born if id_ in ids]
        return [known[which % len(known)]] if known else []

    def _some(self, ids: set[str], which: int) -> list[str]:
        """Some of *ids*, as the bits of *which* say."""
        known = [id_ for id_ in self.born if id_ in ids]
        return [id_ for bit, id_ in enumerate(known) if which >> (bit % 16) & 1]

    # ── looking ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def _fenced(self, session: Session, call: Any) -> bool:
        """Whether the session is over; then *call* must be refused and must change nothing."""
        if session in self.live:
            return False
        before = self._dump()
        with pytest.raises(LeaseLostError):
            call()
        assert self._dump() == before, "a session that is over wrote something"
        return True

    def _entry(self, name: str, schedule: Any) -> Entry:
        overlap = ENTRIES[name]
        catchup = Catchup.ALL if overlap is Overlap.ALLOW else Catchup.LATEST
        return Entry(
            name=name, task="t.x", schedule=schedule.as_data(), queue="a", overlap=overlap, catchup=catchup,
            unique=UNIQUE if name == "queue" else "",
        )  # fmt: skip

    def _put(self, name: str, schedule: Any) -> None:
        self.store.registry.put(self._entry(name, schedule))

    def _outcome(self, id_: str, dead: bool) -> Outcome:
        body = self.store.queues.body(id_)
        header = decode_header(body)[0] if body else Header(task="", queue="")
        run = msgspec.json.encode(Run(id=id_, entry=header.entry, state="SUCCESS"))
        return Outcome(id_, RESULT, 60_000, run, header.entry, "SUCCESS", dead, unique=header.unique)

    def _call(self, *command: Any) -> Any:
        return self.store.connection.call(*command)

    def _bodies(self) -> set[str]:
        return {id_.decode() for id_ in self._call("HKEYS", self.keys.messages)}

    def _look(self) -> Seen:
        keys = self.keys
        places: list[tuple[str | int, ...]] = [("ZRANGE", keys.delayed(queue), 0, -1) for queue in QUEUES]
        places += [("LRANGE", keys.ready(queue, level), 0, -1) for queue in QUEUES for level in range(10)]
        places += [("LRANGE", keys.turn(queue, "t.slow"), 0, -1) for queue in QUEUES]
        places += [("HKEYS", keys.held(session.id)) for session in (*self.live, *self.lost)]
        bodies, unique, waiting, slots, counters, runs, *found = self.store.connection.pipeline(
            [
                ("HKEYS", keys.messages),
                ("GET", keys.unique(UNIQUE)),
                *(("HGETALL", key) for key in (keys.waiting, keys.slots, keys.sessions)),
                ("LRANGE", keys.runs, 0, -1),
                *(("ZRANGE", keys.line(entry), 0, -1) for entry in ENTRIES),
                *places,
            ]
        )
        waits = _texts(waiting)
        lines = dict(zip(ENTRIES, found, strict=False))
        return Seen(
            bodies={id_.decode() for id_ in bodies},
            places=[*(id_.decode() for ids in found for id_ in ids), *waits.values()],
            unique=(unique or b"").decode(),
            waiting=waits,
            lines={entry: [id_.decode() for id_ in line] for entry, line in lines.items()},
            slots=_texts(slots),
            counters={session: int(counter) for session, counter in _texts(counters).items()},
            runs=[msgspec.json.decode(run) for run in runs],
        )

    def _slots_pass(self, queue: str) -> bool:
        """Whether something may have become ready while the queue was purged: the end of a run passes its slot on."""
        return queue == "a"

    def _dump(self) -> dict[str, Any]:
        """Everything in the namespace but what only lives for some time."""
        readers = {b"string": ("GET",), b"hash": ("HGETALL",), b"list": ("LRANGE", 0, -1), b"set": ("SMEMBERS",)}
        keys = sorted(self._call("KEYS", f"{self.keys.prefix}*".replace("{", "\\{")))
        kinds = self.store.connection.pipeline([("TYPE", key) for key in keys])
        reading = [readers.get(kind, ("ZRANGE", 0, -1, "WITHSCORES")) for kind in kinds]
        values = self.store.connection.pipeline(
            [(verb, key, *rest) for key, (verb, *rest) in zip(keys, reading, strict=True)]
        )
        unordered = (b"hash", b"set")
        return {
            key: Counter(_pieces(value, kind)) if kind in unordered else value
            for key, kind, value in zip(keys, kinds, values, strict=True)
        }


def test_the_store_keeps_its_promises_under_random_operations(server: ValkeyServer) -> None:
    """P1, P3, P5, P9: see the module's docstring."""
    machine = type("Machine", (StoreMachine,), {"server": server})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=250,
            stateful_step_count=50,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            print_blob=True,
            phases=(Phase.explicit, Phase.generate),
        ),
    )
