"""What is kept of a run for whoever asks: its state, its result, and a call when it is done."""

from __future__ import annotations

import time
from collections.abc import Generator, Sequence
from contextlib import closing, suppress
from typing import TYPE_CHECKING, Any

import msgspec
from redis import exceptions as failures

from scheduler.errors import RefusedError, ResultTimeoutError, StoreRefusedError, StoreUnavailableError
from scheduler.model import READY_STATES, ResultRecord, State
from scheduler.records import INFLATION_MAX, decode_record, sealed
from scheduler.store.connection import Connection
from scheduler.store.keys import Keys
from scheduler.store.progress import Progress, Report

if TYPE_CHECKING:
    from scheduler.seal import Seal

RESULT_BYTES_MAX = 1_048_576
LOOK_AGAIN_S = 1.0
"""How long a waiter sleeps before it looks for itself, unless it says otherwise: a lost connection loses the call."""
LOOK_AGAIN_S_MAX = 5.0
WAITER_GRACE_MS = 5_000
"""Who has not been heard of for so long beyond its sleep is not called any more."""
WAITED_TTL_MS = 60_000


class Results:
    """The results of a namespace."""

    def __init__(
        self, connection: Connection, keys: Keys, seal: Seal | None = None, *, bytes_max: int = RESULT_BYTES_MAX
    ) -> None:
        self._connection = connection
        self._keys = keys
        self._seal = seal
        self._bytes_max = bytes_max * INFLATION_MAX
        self._progress = Progress(connection, keys)

    def get(self, id_: str) -> ResultRecord | None:
        """The record of run *id_*, or None while there is none (or no longer). Raises as `scheduler.records.decode_record`."""
        data = self._connection.call("GET", self._keys.result(id_))
        return None if data is None else self._decoded(id_, data)

    def get_many(self, ids: Sequence[str]) -> list[ResultRecord | None]:
        """The record of each, in one round trip."""
        if not ids:
            return []
        found = self._connection.call("MGET", *map(self._keys.result, ids))
        return [None if data is None else self._decoded(id_, data) for id_, data in zip(ids, found, strict=True)]

    def _decoded(self, id_: str, data: bytes) -> ResultRecord:
        return decode_record(id_, data, seal=self._seal, bytes_max=self._bytes_max)

    def state(self, id_: str) -> str:
        """The state of run *id_*; an id that nobody knows is PENDING, as in Celery."""
        record = self.get(id_)
        return self.state_without_record(id_) if record is None else record.state

    def state_without_record(self, id_: str) -> str:
        """
        The state of run *id_*, of which nothing is kept: STARTED if a worker has it, else PENDING.

        Whoever asks pays for that: no start is written down.
        """
        sessions = self._connection.call("HKEYS", self._keys.sessions)
        held = self._connection.pipeline([("HEXISTS", self._keys.held(session.decode()), id_) for session in sessions])
        return State.STARTED if any(held) else State.PENDING

    def put_state(self, id_: str, state: str, meta: bytes, ttl_ms: int, *, session: str | None = None) -> None:
        """
        Record a state of the task's own, with *meta* (JSON), while the run lasts; soon, and not more than some times a second.

        Args:
            session: Under whose lease the caller is the run; what it says when that is lost is dropped. None: the caller
                speaks of somebody else's run, and the state is written at once.

        Raises:
            RefusedError: Of somebody else's run: it is over, or there is none.
            StoreError: Of somebody else's run: Redis did not write it.
        """
        record = msgspec.json.encode(ResultRecord(state=state, meta=msgspec.Raw(meta)))
        if self._seal is not None:
            record = sealed(id_, record, self._seal)
        if session is not None:
            self._progress.report(Report(id_, record, ttl_ms, session))
        elif not self._progress.tell(Report(id_, record, ttl_ms, "")):
            raise RefusedError(f"run {id_} is over, or there is none: its state cannot be changed any more")

    def forget(self, id_: str) -> None:
        """Remove the record of run *id_*."""
        self._connection.call("DEL", self._keys.result(id_))

    def wait(self, id_: str, timeout_s: float | None) -> ResultRecord:
        """
        The record of run *id_*, as soon as it is over. See `looks`.

        Raises:
            ResultTimeoutError: Not over within *timeout_s*.
        """
        record = None
        with closing(self.looks(id_, timeout_s)) as looks:
            for look in looks:
                record = look
        assert record is not None  # the last look is
        return record

    def looks(
        self, id_: str, timeout_s: float | None, *, look_s: float = LOOK_AGAIN_S
    ) -> Generator[ResultRecord | None, None, None]:
        """
        What is kept of run *id_*, whenever it may have changed; the last one is the record of its end.

        Woken by the scripts that end the run or report of it; looks for itself each *look_s* besides (and each 5 s at least).
        Leaves no key, no channel and no connection behind; to be closed by who does not go to the end.

        Raises:
            ResultTimeoutError: Not over within *timeout_s*.
        """
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        record = self.get(id_)
        yield record
        if record is not None and record.state in READY_STATES:
            return
        look_s = min(look_s, LOOK_AGAIN_S_MAX)
        waiter = _Waiter(self._connection, self._keys, id_)
        try:
            while True:
                waiter.stand_by()
                record = self.get(id_)
                yield record
                if record is not None and record.state in READY_STATES:
                    return
                left_s = look_s if deadline is None else min(look_s, deadline - time.monotonic())
                if left_s <= 0:
                    raise ResultTimeoutError(f"run {id_} is not over after {timeout_s:g} s; it goes on")
                waiter.sleep(left_s)
        finally:
            waiter.close()


class _Waiter:
    """A subscription to the end of one run; announced in `waited`, so that nobody publishes what nobody hears."""

    def __init__(self, connection: Connection, keys: Keys, id_: str) -> None:
        self._source = connection
        self._keys = keys
        self._id = id_
        self._subscription: Any = None
        self._announced_mono_s = 0.0

    def stand_by(self) -> None:
        """Be subscribed and announced; to be followed by a look, as the run may have ended before."""
        now = time.monotonic()
        if self._subscription is not None and now < self._announced_mono_s + LOOK_AGAIN_S:
            return
        if self._subscription is None:
            self._subscribe()
        self._announced_mono_s = now
        seconds, micros = self._source.call("TIME")
        until_ms = int(seconds) * 1000 + int(micros) // 1000 + int(LOOK_AGAIN_S_MAX * 1000) + WAITER_GRACE_MS
        waited = self._keys.waited
        with suppress(StoreRefusedError):  # Redis is full: nobody will call us, but we look for ourselves
            self._source.pipeline([("ZADD", waited, until_ms, self._id), ("PEXPIRE", waited, WAITED_TTL_MS)])

    def _subscribe(self) -> None:
        self._subscription = self._source.dedicated()
        try:
            self._subscription.send_command("SUBSCRIBE", self._keys.done_channel(self._id))
            self._subscription.read_response()
        except (failures.RedisError, OSError) as error:
            self._drop()
            raise StoreUnavailableError(f"no answer from Redis at {self._source.where}: {error}") from None

    def sleep(self, seconds: float) -> None:
        """Until the run has ended or reported something, or *seconds* have passed."""
        try:
            if self._subscription.can_read(timeout=seconds):
                self._subscription.read_response()
        except (failures.RedisError, OSError):
            self._drop()

    def close(self) -> None:
        """Leave nothing behind; what a lost connection leaves in `waited` is trimmed by the next end."""
        self._drop()
        try:
            self._source.call("ZREM", self._keys.waited, self._id, timeout_s=1.0)
        except StoreUnavailableError:
            return

    def _drop(self) -> None:
        if self._subscription is not None:
            self._subscription.disconnect()
            self._subscription = None
