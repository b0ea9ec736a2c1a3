"""
The values that travel, in the order they are born.

    Entry  → Fire → Message → Outcome → Run

An `Entry` is what a user declared, as data; the beat turns it into `Fire`s; a fire (or a call) that stands on Redis is a
`Message`; a worker turns it into an `Outcome`; what people read afterwards is a `Run`. All are frozen. Moments are
whole milliseconds since the Unix epoch on Redis' clock (`…_ms`); 0 stands for "none" where a field is not optional.
"""

from __future__ import annotations

from enum import IntEnum, StrEnum
from typing import Any

import msgspec


class Overlap(IntEnum):
    """What happens to a fire whose entry still has a run that has not ended. The numbers are on the wire."""

    ALLOW = 0
    SKIP = 1
    QUEUE = 2
    REPLACE = 3


class Catchup(IntEnum):
    """What happens to fires that were missed. The numbers are on the wire."""

    NONE = 0
    LATEST = 1
    ALL = 2


class Ack(StrEnum):
    """When a message counts as done: finished in batches, finished one by one, or before it starts (at most once)."""

    LATE = "late"
    EACH = "each"
    EARLY = "early"


class State(StrEnum):
    """What `AsyncResult.state` says; tasks may add their own."""

    PENDING = "PENDING"
    STARTED = "STARTED"
    SUCCESS = "SUCCESS"
    FAILURE = "FAILURE"
    RETRY = "RETRY"
    REVOKED = "REVOKED"
    EXPIRED = "EXPIRED"
    IGNORED = "IGNORED"


READY_STATES = frozenset({State.SUCCESS, State.FAILURE, State.REVOKED, State.EXPIRED, State.IGNORED})
"""The states after which nothing more happens to a run."""


class OutcomeReason(StrEnum):
    """The one outcome of a due time (P2)."""

    PROMOTED = "promoted"
    OVERLAP = "overlap"
    PAUSED = "paused"
    MISSED = "missed"
    EXPIRED = "expired"
    UNIQUE = "unique"
    QUEUE_FULL = "queue_full"
    MAX_RUNS = "max_runs"
    WITHDRAWN = "withdrawn"
    ERROR = "error"


class Origin(StrEnum):
    """Who declared an entry: a schedule file, or somebody at run time."""

    FILE = "file"
    HAND = "hand"


class RunOptions(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """
    How the runs of an entry are repeated and limited, where it says so itself; this overrides what its task says.

    Each field means what it means in `scheduler.options.TaskOptions`; UNSET: not said.
    """

    max_retries: int | msgspec.UnsetType | None = msgspec.UNSET
    retry_backoff_ms: int | msgspec.UnsetType = msgspec.UNSET
    retry_backoff_max_ms: int | msgspec.UnsetType = msgspec.UNSET
    retry_jitter: bool | msgspec.UnsetType = msgspec.UNSET
    time_limit_ms: int | msgspec.UnsetType | None = msgspec.UNSET
    soft_time_limit_ms: int | msgspec.UnsetType | None = msgspec.UNSET


class Watch(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """
    When somebody is to be told about an entry.

    Attributes:
        alert_after_ms: Tell if a due time has seen no success so long after it.
        alert_failures: Tell after so many failures in a row.
        pause_failures: Pause it after so many failures in a row.
        ping_url: Called when a run starts, succeeds and fails, as healthchecks does it.
    """

    alert_after_ms: int | None = None
    alert_failures: int | None = None
    pause_failures: int | None = None
    ping_url: str = ""


class Entry(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=False, kw_only=True):
    """
    What a user declared, complete and as data: the leader plans from it without any task code.

    Everything that depends on the task (its queue by the routes, `ignore_result`, …) was resolved when the entry was loaded.
    Two definitions are the same if their encoded bytes are (`scheduler.wire.encode_entry`).
    """

    name: str
    task: str
    schedule: dict[str, Any]
    """`Schedule.as_data()`; `scheduler.timing.schedule_from_data` inverts it. Its zone is already resolved."""
    queue: str
    args: msgspec.Raw = msgspec.Raw(b"[]")
    kwargs: msgspec.Raw = msgspec.Raw(b"{}")
    priority: int = 0
    """0–9; a higher one is taken first."""
    countdown_ms: int = 0
    jitter_ms: int = 0
    expires_after_ms: int | None = None
    """After the due time."""
    expires_at_ms: int | None = None
    """The other form of `expires`: a moment."""
    expires_next: bool = False
    """The third form: when the due time after it comes."""
    overlap: Overlap = Overlap.SKIP
    catchup: Catchup = Catchup.LATEST
    catchup_window_ms: int = 86_400_000
    start_ms: int | None = None
    until_ms: int | None = None
    max_runs: int | None = None
    enabled: bool = True
    ack: Ack = Ack.LATE
    ignore_result: bool = False
    result_expires_ms: int = 86_400_000
    run: RunOptions | None = None
    """None: in all of this as the task says."""
    unique: str = ""
    """The unique key of its runs, after how long it may be held at most; see `scheduler.unique`. Empty: none."""
    watch: Watch | None = None
    """None: nobody is told."""
    tags: tuple[str, ...] = ()
    description: str = ""
    headers: dict[str, Any] = {}
    source: str = ""
    """`schedules/reports.py:12`, relative to the folder that holds `schedules`; of one made by hand, who made it, how and when."""
    origin: Origin = Origin.FILE
    said: dict[str, Any] = {}
    """Of an entry made by hand: what its author said, as `scheduler.entries` reads it; an edit changes that and resolves it anew."""

    @property
    def is_readable(self) -> bool:
        """Whether this version understands all of it. If not, a newer one wrote it: it is shown, never armed, kept as it is."""
        return self.schedule.get("kind") != UNREADABLE


UNREADABLE = "unreadable"
"""The kind of the schedule of an entry that could not be decoded."""


class Pause(msgspec.Struct, frozen=True, omit_defaults=True):
    """That an entry is paused: since when, until when, by whom and why; and with which others, where many were paused at once."""

    since_ms: int
    until_ms: int | None = None
    reason: str = ""
    by: str = ""
    group: str = ""


class SkipOrder(msgspec.Struct, frozen=True, array_like=True):
    """That one fire of an entry is to be skipped: which, and by whom, when and why that was ordered."""

    due_ms: int
    at_ms: int
    by: str = ""
    reason: str = ""


class EntryRecord(msgspec.Struct, frozen=True):
    """
    An entry as it stands on Redis.

    Attributes:
        entry: The definition, or None once it was removed (only its mark is left).
        state: Revision and mark as Redis holds them, ``"<revision> <mark_ms>"``: what `arm` compares.
        pause: Set while it is paused.
        skips: The fires that somebody has ordered to be skipped, earliest first; some may be past.
    """

    name: str
    entry: Entry | None
    state: str
    pause: Pause | None = None
    skips: tuple[SkipOrder, ...] = ()

    @property
    def revision(self) -> int:
        """The registry's revision at this entry's last change."""
        return int(self.state.split(" ")[0])

    @property
    def mark_ms(self) -> int:
        """The last due time armed."""
        return int(self.state.split(" ")[1])


class Fire(msgspec.Struct, frozen=True):
    """
    One entry at one due time, ready to be armed.

    Attributes:
        state: The entry's ``"<revision> <mark_ms>"`` as the planner knew it.
        due_ms: The due time; becomes the mark.
        at_ms: When it is to be promoted: due + jitter + countdown.
        id: uuid5 over namespace, entry and due time, see `scheduler.wire.fire_id`.
        body: The encoded message.
    """

    entry: str
    state: str
    due_ms: int
    at_ms: int
    id: str
    body: bytes
    queue: str


class Skip(msgspec.Struct, frozen=True):
    """
    A stretch of due times that will not be fired, with its reason (one record, however long).

    Attributes:
        mark_ms: What the entry's mark becomes; at least `to_ms`.
        count: How many due times it covers; at least that many where counting was cut short.
        note: What else is to be known about them.
    """

    entry: str
    state: str
    reason: str
    from_ms: int
    to_ms: int
    count: int
    mark_ms: int
    note: str = ""


class Message(msgspec.Struct, frozen=True, gc=False):
    """
    A message as a worker took it.

    Attributes:
        body: Header and payload, see `scheduler.wire`.
        attempt: From 1; grows with each retry.
        losses: How many sessions or children died with it.
    """

    id: str
    body: bytes
    attempt: int = 1
    losses: int = 0


class Place(StrEnum):
    """Where a message that has not ended stands."""

    DELAYED = "delayed"
    WAITING = "waiting"
    READY = "ready"
    HELD = "held"


class Standing(msgspec.Struct, frozen=True):
    """
    A message that has not ended.

    Attributes:
        at_ms: Of a delayed one its moment, of one that is held when it was taken; else 0.
        is_fire: Its due time is not settled yet.
        armed_ms: When it was armed, or asked for.
    """

    place: Place
    queue: str
    at_ms: int = 0
    is_fire: bool = True
    armed_ms: int = 0


class Outcome(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """
    How a run ended, ready to be written.

    Attributes:
        result: The encoded `ResultRecord`, or empty to keep none.
        ttl_ms: How long the result is kept.
        run: The encoded `Run`.
        entry: The entry's name, or empty for calls.
        state: The final state, for `sched list`.
        dead: Also kept as a dead letter, with its body.
        trace: … and with this traceback.
        unique: The unique key of its message, as the header says it.
    """

    id: str
    result: bytes
    ttl_ms: int
    run: bytes
    entry: str = ""
    state: str = ""
    dead: bool = False
    trace: str | None = None
    unique: str = ""


class ResultRecord(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """
    What is kept of a run for `AsyncResult`.

    Attributes:
        result: The encoded return value; for a failure ``{"type", "module", "message", "args"}``.
        serializer: What the return value is encoded in (`scheduler.wire.SERIALIZERS`).
    """

    state: str
    result: msgspec.Raw = msgspec.Raw(b"null")
    traceback: str | None = None
    done_ms: int = 0
    meta: msgspec.Raw = msgspec.Raw(b"null")
    serializer: int = 0


class Run(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """
    One message's whole story, as people read it; also, with `count`, a stretch of due times that were skipped.

    Lua writes these too (`history.lua`): keep the names in step.
    """

    id: str = ""
    entry: str = ""
    task: str = ""
    queue: str = ""
    state: str = ""
    outcome: str = ""
    due_ms: int = 0
    to_ms: int = 0
    """Of a skipped stretch: its last due time."""
    count: int = 1
    next_ms: int = 0
    """Of a skipped stretch: the due time after its last one, 0 where nobody knew it. Only what follows there joins the record."""
    holder: str = ""
    """Of due times skipped for overlap: the run that held the slot; of those that were not unique: the run that has the key."""
    enqueued_ms: int = 0
    started_ms: int = 0
    finished_ms: int = 0
    worker: str = ""
    attempt: int = 0
    error: str = ""
    retry_of: str = ""
    """`sched retry`: the failed run that this one repeats."""
    backfill: str = ""
    """`sched backfill`: the backfill that asked for it. Its due time was settled without it."""
    by: str = ""
    """Who asked for it by hand."""
    reason: str = ""
    """… and why."""

    @property
    def of_schedule(self) -> bool:
        """Whether its due time is one that it settles: it is no call, no repetition, no backfill."""
        return bool(self.due_ms and not self.retry_of and not self.backfill)

    @property
    def when_ms(self) -> int:
        """Where it stands in time: its due time, or when it began, else when it was asked for."""
        return self.due_ms if self.of_schedule else self.started_ms or self.enqueued_ms or self.finished_ms
