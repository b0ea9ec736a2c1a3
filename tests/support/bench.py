"""A workbench for the store: makes messages, entries, fires and outcomes, and looks at everything that stands on Redis."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec

from scheduler.fires import FireMaker, schedule_of
from scheduler.model import Entry, EntryRecord, Fire, Outcome, Overlap, Pause, ResultRecord, Run, Skip
from scheduler.store import Store
from scheduler.store.backfill import Backfill, BackfillRun
from scheduler.store.leadership import Armed
from scheduler.store.queues import NewMessage
from scheduler.store.sessions import Session, WorkerInfo
from scheduler.timing import every
from scheduler.wire import Header, Payload, encode_body, new_id

HOUR_MS = 3_600_000
LATE_LIMIT_MS = 15_000


class Term(NamedTuple):
    """A term that was won."""

    number: int
    holder: str


class Bench:
    """What a test does with *store*, in one line each. All moments are relative to Redis' time."""

    def __init__(self, store: Store, *, queue: str = "q") -> None:
        self.store = store
        self.queue = queue
        self.keys = store.keys

    @property
    def now_ms(self) -> int:
        """Redis' time."""
        return int(self.store.queues.time_ms())

    # ── calls ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def message(
        self, *, in_ms: int = 0, priority: int = 0, id_: str = "", payload: Payload | None = None, **header: Any
    ) -> NewMessage:
        """A call, ready now or (*in_ms*) delayed; *header*: fields of `Header`."""
        fields: dict[str, Any] = {"task": "t.x", "queue": self.queue, "enqueued_ms": self.now_ms} | header
        body = encode_body(Header(priority=priority, **fields), payload or Payload())
        return NewMessage(
            id_ or new_id(), body, fields["queue"], self.now_ms + in_ms if in_ms else 0, priority,
            bool(fields.get("unique")),
        )  # fmt: skip

    def call(self, **options: Any) -> str:
        """Enqueue one call; its id."""
        message = self.message(**options)
        assert self.store.queues.enqueue([message], call_id=new_id()) == [True]
        return message.id

    def calls(self, n: int, **options: Any) -> list[str]:
        """Enqueue *n* calls, a thousand in one go at most; their ids."""
        messages = [self.message(**options) for _ in range(n)]
        for start in range(0, n, 1_000):
            self.store.queues.enqueue(messages[start : start + 1_000], call_id=new_id())
        return [message.id for message in messages]

    def backfill(self, n: int = 1, *, name: str = "e", in_ms: int = 0, id_: str = "b1") -> list[str]:
        """Start a backfill of *name* with *n* runs, in its slot one after another; the ids of those that were started."""
        now_ms = self.now_ms
        asked = Backfill(
            id=id_, entry=name, queue=self.queue, from_ms=1, to_ms=n + 1, count=n, overlap=Overlap.QUEUE, rate_s=1.0,
            asked_ms=now_ms, starts_ms=now_ms + in_ms, ends_ms=now_ms + in_ms,
        )  # fmt: skip
        runs = [
            BackfillRun(
                new_id(),
                self.message(entry=name, overlap=Overlap.QUEUE, due_ms=1 + i, backfill=id_).body,
                1 + i,
                now_ms + in_ms,
            )
            for i in range(n)
        ]
        self.store.backfills.start(asked, runs)
        return [run.id for run in runs]

    # ── entries, terms, fires ───────────────────────────────────────────────────────────────────────────────────────

    def entry(self, name: str = "e", period: str = "1h", **options: Any) -> Entry:
        """A definition, not yet on Redis."""
        fields: dict[str, Any] = {"task": "t.x", "queue": self.queue, "schedule": every(period).as_data()} | options
        return Entry(name=name, **fields)

    def put(self, name: str = "e", period: str = "1h", **options: Any) -> EntryRecord:
        """Put an entry in force."""
        return self.store.registry.put(self.entry(name, period, **options))

    def win(self, holder: str = "") -> Term:
        """Win the term, from whomever."""
        holder = holder or new_id()
        won = self.store.leadership.elect(
            holder, "beat", stood_still=self.store.leadership.observe(), known=0, reason="test"
        )
        assert won.won
        return Term(won.number, holder)

    def fire(
        self,
        name: str = "e",
        *,
        in_ms: int = 0,
        next_in_ms: int | None = None,
        late_limit_ms: int = LATE_LIMIT_MS,
        now_ms: int = 0,
    ) -> Fire:
        """A fire of *name* due in *in_ms* (negative: in the past), from what stands on Redis."""
        record = self.store.registry.state(name)
        assert record.entry is not None
        now_ms = now_ms or self.now_ms
        maker = FireMaker(
            record.entry, schedule_of(record.entry), namespace=self.keys.namespace, late_limit_ms=late_limit_ms
        )
        next_ms = None if next_in_ms is None else now_ms + next_in_ms
        return maker.fire(now_ms + in_ms, next_ms, state=record.state, now_ms=now_ms)

    def arm(self, term: Term, fires: Sequence[Fire], skips: Sequence[Skip] = ()) -> Armed:
        """Arm in the name of *term*."""
        return self.store.leadership.arm(fires, skips, number=term.number, holder=term.holder)

    def move_mark(self, name: str, ago_ms: int) -> None:
        """Set the mark of *name* to *ago_ms* before now, as after an outage that long."""
        self.set_mark(name, self.now_ms - ago_ms)

    def set_mark(self, name: str, mark_ms: int) -> None:
        """Set the mark of *name* to that moment."""
        revision = self.store.registry.state(name).revision
        self.call_redis("HSET", self.keys.marks, name, f"{revision} {mark_ms}")

    def fired(self, term: Term, name: str = "e", *, in_ms: int = -5, now_ms: int = 0, **options: Any) -> Fire:
        """A fire of *name* that was armed for a moment just past."""
        now_ms = now_ms or self.now_ms
        if self.store.registry.state(name).mark_ms >= now_ms + in_ms:
            self.set_mark(name, now_ms + in_ms - 1)
        fire = self.fire(name, in_ms=in_ms, now_ms=now_ms, **options)
        assert self.arm(term, [fire]).armed == 1
        return fire

    def promote(self, *queues: str) -> int:
        """Promote what is due; how many messages left their delayed sets."""
        return self.store.queues.promote(queues or (self.queue,)).moved

    # ── workers ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def open(self, name: str = "w") -> Session:
        """A worker's session."""
        return self.store.sessions.open(WorkerInfo(name=name, queues=(self.queue,)))

    def take(self, session: Session, n: int = 10, *queues: str) -> list[str]:
        """The ids that *session* gets."""
        return [message.id for message in session.take(queues or (self.queue,), n).messages]

    def outcome(
        self, id_: str, *, state: str = "SUCCESS", entry: str = "", dead: bool = False, unique: str = "", **run: Any
    ) -> Outcome:
        """How a run ended."""
        result = msgspec.json.encode(ResultRecord(state=state, result=msgspec.Raw(b"1"), done_ms=1))
        written = msgspec.json.encode(Run(id=id_, entry=entry, state=state, **run))
        return Outcome(id_, result, 60_000, written, entry, state, dead, unique=unique)

    def finish(self, session: Session, id_: str, **options: Any) -> None:
        """End a run that *session* holds."""
        assert session.finish([self.outcome(id_, **options)]).refused == []

    # ── looking ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def call_redis(self, *command: Any) -> Any:
        """One plain command."""
        return self.store.connection.call(*command)

    def hash(self, key: str) -> dict[str, str]:
        """A hash as text."""
        flat = [item.decode(errors="replace") for item in self.call_redis("HGETALL", key)]
        return dict(zip(flat[::2], flat[1::2], strict=True))

    def all_keys(self) -> list[str]:
        """Every key of the namespace."""
        return sorted(key.decode() for key in self.call_redis("KEYS", f"{self.keys.prefix}*"))

    def live(self) -> set[str]:
        """The ids that have a body."""
        return {id_.decode() for id_ in self.call_redis("HKEYS", self.keys.messages)}

    def places(self) -> Counter[str]:
        """How many places each id stands in: delayed, ready, waiting, in line, held."""
        found: list[bytes] = list(self.call_redis("HVALS", self.keys.waiting))
        for key in self.all_keys():
            kind = self.call_redis("TYPE", key)
            if key.endswith((":delayed", ":line")):
                found += self.call_redis("ZRANGE", key, 0, -1)
            elif (":ready" in key or "turn:" in key) and kind == b"list":
                found += self.call_redis("LRANGE", key, 0, -1)
            elif key.endswith(":held"):
                found += self.call_redis("HKEYS", key)
        return Counter(id_.decode() for id_ in found)

    def check_places(self) -> None:
        """P5: every live message is in exactly one place, and nothing else has one; slots belong to live runs."""
        places, live = self.places(), self.live()
        assert {id_: n for id_, n in places.items() if n > 1} == {}, "in more than one place"
        assert set(places) == live, "bodies and places differ"
        assert set(self.hash(self.keys.slots).values()) <= live, "a slot leaks"

    def dump(self) -> dict[str, Any]:
        """Everything in the namespace but what lives only for a time."""
        readers = {b"string": ("GET",), b"hash": ("HGETALL",), b"list": ("LRANGE", 0, -1), b"set": ("SMEMBERS",)}
        dump: dict[str, Any] = {}
        for key in self.all_keys():
            kind = self.call_redis("TYPE", key)
            verb, *rest = readers.get(kind, ("ZRANGE", 0, -1, "WITHSCORES"))
            value = self.call_redis(verb, key, *rest)
            if kind == b"hash":
                value = dict(zip(value[::2], value[1::2], strict=True))
            dump[key] = set(value) if kind == b"set" else value
        return dump


def paused_since(record: EntryRecord) -> int:
    """When the pause of *record* began."""
    assert isinstance(record.pause, Pause)
    return record.pause.since_ms


OVERLAPS = tuple(Overlap)
