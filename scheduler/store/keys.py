"""
Every key on one page: its type, who writes it, who reads it, how long it lives.

All keys of a namespace share one hash tag, so that every script touches one slot of a Redis Cluster and is atomic there.

For ever (the short list; each is bounded by the number of entries, queues or live processes)

    {ns}:term              hash    number holder name counter won_ms           elect, tick, resign
    {ns}:leaders           list    history of leaders, JSON, newest last       elect, resign; 100 at most
    {ns}:registry          hash    entry → definition                          change
    {ns}:meta              hash    revision load load_by load_ms mistakes;     change, publish; a new leader
                                   history: how many runs an entry keeps
    {ns}:changes           zset    entry scored by the revision of its change  change
    {ns}:marks             hash    entry → "revision mark_ms", outlives it     arm, change
    {ns}:promoted          hash    entry → "last promoted due_ms, count"       promote
    {ns}:paused            hash    entry → Pause                               change
    {ns}:skipped           hash    entry → SkipOrders, soon past               change; gone with the fire, promote
    {ns}:last              hash    entry → "state finished_ms succeeded_ms     end (finish, cancel, reclaim, …); change
                                   failures", see scheduler/alarm.py
    {ns}:watched           hash    entry with a `watch` → since when, in ms    change
    {ns}:alerts            hash    what it is about → Alert that is open       settle_alert
    {ns}:queues            set     queues that ever held a message             enqueue, arm, change
    {ns}:queue_limits      hash    queue → "max_length overflow concurrency",  limit: beats, workers, at their start
                                   "-" for none; only queues with a limit

As long as a message lives (P5: each is in exactly one place)

    {ns}:messages          hash    id → header and payload                     enqueue, arm; gone when it ends
    {ns}:tries             hash    id → "attempt losses", only where not 1 0   retry, reclaim
    {ns}:losses            hash    id → who lost it and how, where `tries`     release, reclaim; gone with `tries`
                                   counts a loss
    {ns}:slots             hash    entry → id of the run that holds its slot   promote, trigger; freed by end
    {ns}:waiting           hash    entry → id of the newest fire that waits    promote; freed by end
    {ns}:e:E:line          zset    id of a backfill's run that waits for the   promote; freed by end
                                   slot, scored by its due time
    {ns}:lines             set     entries that have one                       promote; end
    {ns}:q:Q:delayed       zset    id scored by its moment in ms               enqueue, arm, retry, backfill
    {ns}:q:Q:ready[:P]     list    ids, oldest first; P is a priority above 0  enqueue, promote, release, reclaim
    {ns}:turn:Q TASK       list    ids whose turn under the rate limit of TASK take, give_back
                                   has not come, oldest first; they are ready
    {ns}:turns             set     "queue task" of each of these lists; soon   take
                                   after one is empty it is gone from here
    {ns}:q:Q:levels        set     the priorities above 0 in use               with ready:P
    {ns}:q:Q:wake          list    at most one token                           whoever makes work ready

As long as a process lives (removed when it ends, or by whoever reclaims it)

    {ns}:sessions          hash    session → its counter                       open, renew, reclaim
    {ns}:s:S:info          hash    what `sched workers` shows                  open, renew
    {ns}:s:S:held          hash    id → "queue taken_ms"                       take, finish, release, retry, reclaim
    {ns}:s:S:cancel        hash    id → "1" to terminate, "0" to forget        cancel; read by renew
    {ns}:s:S:orders        list    Order as JSON, oldest first; 100 at most    order; taken off by renew
    {ns}:dead_sessions     set     reclaimed, and not yet emptied              reclaim
    {ns}:beats             hash    beat → BeatInfo; trimmed after a minute     presence
    {ns}:baton             list    at most one token: the term is free         resign
    {ns}:nudge             list    at most one token: the registry has changed change

With a bound or a lifetime

    {ns}:audit             list    Note as JSON, newest last; 10,000 at most   change, and what else people ask for
    {ns}:alert_log         list    Notice as JSON, newest last; 500 at most    settle_alert, settle_line
    {ns}:outbox            zset    hook scored by when it is tried next, in    settle_alert; collect, settle_line
                                   ms; only those that have something to send
    {ns}:outbox:HOOK       list    Alert as JSON, newest last; 1,000 at most   settle_alert; gone when sent or given up
    {ns}:outbox_failures   hash    hook → failed tries in a row, while not 0   settle_line
    {ns}:pings             zset    the same for entries with a `ping_url`;     take, end; collect, settle_line
                                   1,000 at most
    {ns}:pings:ENTRY       list    Ping as JSON, newest last; 20 at most       take, end; gone when sent or given up
    {ns}:pings_failures    hash    entry → failed tries in a row, while not 0  settle_line
    {ns}:runs              list    Run, newest last; 10,000 at most            end, drop
    {ns}:e:E:runs          list    the entry's own; 20 (`history`) at most     end, drop; a week after its removal
    {ns}:e:E:counts        hash    outcome → how often; never capped           promote, arm; removed with the entry
    {ns}:dead              zset    id scored by when it died; 10,000 at most   finish, reclaim, release; gone by
                                                                               forget, trigger
    {ns}:dead_messages     hash    id → body, as long as it is in `dead`
    {ns}:dead_stories      hash    id → its run, traceback and losses, as long
    {ns}:failed            zset    id scored by the bytes kept up to its own;  finish, reclaim, release
                                   10,000 and about 64 MiB at most
    {ns}:failed_messages   hash    id → body, as long as it is in `failed`; for `sched retry`
    {ns}:waited            zset    id scored by when its waiter gives up       AsyncResult.get; trimmed by end; 60 s
    {ns}:r:ID              string  ResultRecord                                end, progress, retry; its own TTL
                                                                               (`result_expires`)
    {ns}:c:ID              string  a call that was carried out                 enqueue, trigger, backfill; 60 s, of a
                                                                               caller's own key a day
    {ns}:o:ID              hash    session → Answer to order ID; 10 min        answer
    {ns}:backfills         zset    id scored by when it is forgotten; 1,000    backfill
    {ns}:rate:TASK         string  when its next run would start, in µs, if    take; a second beyond that
                                   all were evenly spaced
    {ns}:u:KEY             string  id of the run that has this unique key;     enqueue, promote, trigger; freed by end;
                                   believed while that run is alive            `unique_for` at most
    {ns}:b:ID              string  Backfill; 30 days after its last moment     backfill
    {ns}:b:ID:runs         zset    id scored by its due time; as long          backfill

Channels, not keys: `{ns}:done:ID`, where `end` publishes when somebody waits, and `{ns}:bell:S`, where `order` and `cancel` ring for
a worker.
"""

from __future__ import annotations

from scheduler.config import NAMESPACE_PATTERN
from scheduler.errors import ConfigError


class Keys:
    """The keys of one namespace, as bytes-ready text."""

    def __init__(self, namespace: str) -> None:
        if not NAMESPACE_PATTERN.fullmatch(namespace):
            raise ConfigError(f"namespace {namespace!r}: use 1–64 letters, digits, '_', '.', ':' or '-'")
        self.namespace = namespace
        self.prefix = prefix = "{" + namespace + "}:"
        self.term = prefix + "term"
        self.leaders = prefix + "leaders"
        self.registry = prefix + "registry"
        self.meta = prefix + "meta"
        self.changes = prefix + "changes"
        self.marks = prefix + "marks"
        self.promoted = prefix + "promoted"
        self.paused = prefix + "paused"
        self.skipped = prefix + "skipped"
        self.audit = prefix + "audit"
        self.last = prefix + "last"
        self.watched = prefix + "watched"
        self.alerts = prefix + "alerts"
        self.alert_log = prefix + "alert_log"
        self.outbox = prefix + "outbox"
        self.outbox_failures = prefix + "outbox_failures"
        self.pings = prefix + "pings"
        self.pings_failures = prefix + "pings_failures"
        self.queues = prefix + "queues"
        self.queue_limits = prefix + "queue_limits"
        self.messages = prefix + "messages"
        self.tries = prefix + "tries"
        self.slots = prefix + "slots"
        self.waiting = prefix + "waiting"
        self.turns = prefix + "turns"
        self.sessions = prefix + "sessions"
        self.dead_sessions = prefix + "dead_sessions"
        self.beats = prefix + "beats"
        self.baton = prefix + "baton"
        self.nudge = prefix + "nudge"
        self.runs = prefix + "runs"
        self.dead = prefix + "dead"
        self.dead_messages = prefix + "dead_messages"
        self.dead_stories = prefix + "dead_stories"
        self.failed_messages = prefix + "failed_messages"
        self.waited = prefix + "waited"
        self.backfills = prefix + "backfills"
        self.core = (
            self.messages, self.tries, self.sessions, self.slots, self.waiting, self.promoted,
            self.last, self.runs, self.waited, self.dead, self.dead_messages, self.queues,
        )  # fmt: skip
        """The keys that every script of the data plane gets first, in this order; `core.lua` names them."""

    def delayed(self, queue: str) -> str:
        """The delayed set of *queue*."""
        return f"{self.prefix}q:{queue}:delayed"

    def ready(self, queue: str, priority: int = 0) -> str:
        """The ready list of *queue* at *priority*."""
        return f"{self.prefix}q:{queue}:ready:{priority}" if priority else f"{self.prefix}q:{queue}:ready"

    def turn(self, queue: str, task: str) -> str:
        """Those of *task* in *queue* whose turn has not come."""
        return f"{self.prefix}turn:{queue} {task}"

    def levels(self, queue: str) -> str:
        """The priorities above 0 that *queue* has seen."""
        return f"{self.prefix}q:{queue}:levels"

    def wake(self, queue: str) -> str:
        """The wake token of *queue*."""
        return f"{self.prefix}q:{queue}:wake"

    def session_info(self, session: str) -> str:
        """What is known of *session*."""
        return f"{self.prefix}s:{session}:info"

    def held(self, session: str) -> str:
        """The messages under the lease of *session*."""
        return f"{self.prefix}s:{session}:held"

    def cancels(self, session: str) -> str:
        """The cancel requests for what *session* holds."""
        return f"{self.prefix}s:{session}:cancel"

    def orders(self, session: str) -> str:
        """The orders that *session* has not read."""
        return f"{self.prefix}s:{session}:orders"

    def answers(self, order: str) -> str:
        """What became of *order*, by session."""
        return f"{self.prefix}o:{order}"

    def bell(self, session: str) -> str:
        """The channel that brings the next renewal of *session* forward."""
        return f"{self.prefix}bell:{session}"

    def entry_runs(self, entry: str) -> str:
        """The last runs of *entry*."""
        return f"{self.prefix}e:{entry}:runs"

    def entry_counts(self, entry: str) -> str:
        """The outcome counters of *entry*."""
        return f"{self.prefix}e:{entry}:counts"

    def outbox_line(self, hook: str) -> str:
        """What is to be sent to *hook*."""
        return f"{self.outbox}:{hook}"

    def line(self, entry: str) -> str:
        """The runs of backfills that wait for the slot of *entry*."""
        return f"{self.prefix}e:{entry}:line"

    def unique(self, text: str) -> str:
        """Who has a unique key: *text* is what a message's header has of it."""
        return f"{self.prefix}u:{text.partition(' ')[2]}"

    def backfill(self, id_: str) -> str:
        """What is known of backfill *id_*."""
        return f"{self.prefix}b:{id_}"

    def backfill_runs(self, id_: str) -> str:
        """The runs of backfill *id_*."""
        return f"{self.prefix}b:{id_}:runs"

    def result(self, id_: str) -> str:
        """The result of run *id_*."""
        return f"{self.prefix}r:{id_}"

    def call(self, call_id: str) -> str:
        """That call *call_id* was carried out."""
        return f"{self.prefix}c:{call_id}"

    def done_channel(self, id_: str) -> str:
        """Where the end of run *id_* is published."""
        return f"{self.prefix}done:{id_}"
