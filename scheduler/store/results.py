"""What is kept of a run for whoever asks: its state, its result, and a call when it is done."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import Any

import msgspec
from redis import exceptions as failures

from scheduler.errors import ResultTimeoutError, StoreRefusedError, StoreUnavailableError
from scheduler.model import READY_STATES, ResultRecord, State
from scheduler.store.connection import Connection
from scheduler.store.keys import Keys

LOOK_AGAIN_S = 1.0
"""How long a waiter sleeps at most before it looks for itself: a lost connection loses the call."""
WAITER_GRACE_MS = 5_000
WAITED_TTL_MS = 60_000


class Results:
    """The results of a namespace."""

    def __init__(self, connection: Connection, keys: Keys) -> None:
        self._connection = connection
        self._keys = keys

    def get(self, id_: str) -> ResultRecord | None:
        """The record of run *id_*, or None while there is none (or no longer)."""
        data = self._connection.call("GET", self._keys.result(id_))
        return None if data is None else _decode(data)

    def state(self, id_: str) -> str:
        """The state of run *id_*; an id that nobody knows is PENDING, as in Celery."""
        record = self.get(id_)
        if record is not None:
            return record.state
        sessions = self._connection.call("HKEYS", self._keys.sessions)
        held = self._connection.pipeline([("HEXISTS", self._keys.held(session.decode()), id_) for session in sessions])
        return State.STARTED if any(held) else State.PENDING

    def put_state(self, id_: str, state: str, meta: bytes, ttl_ms: int) -> None:
        """Record a state of the task's own, with *meta* (JSON), while it runs."""
        record = ResultRecord(state=state, meta=msgspec.Raw(meta))
        self._connection.call("SET", self._keys.result(id_), msgspec.json.encode(record), "PX", ttl_ms)

    def forget(self, id_: str) -> None:
        """Remove the record of run *id_*."""
        self._connection.call("DEL", self._keys.result(id_))

    def wait(self, id_: str, timeout_s: float | None) -> ResultRecord:
        """
        The record of run *id_*, as soon as it is over.

        Woken by the script that ends the run; looks for itself once a second besides. Leaves no key and no channel behind.

        Raises:
            ResultTimeoutError: Not over within *timeout_s*.
        """
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        record = self._done(id_)
        if record is not None:
            return record
        waiter = _Waiter(self._connection, self._keys, id_)
        try:
            while True:
                waiter.stand_by()
                record = self._done(id_)
                if record is not None:
                    return record
                left_s = LOOK_AGAIN_S if deadline is None else min(LOOK_AGAIN_S, deadline - time.monotonic())
                if left_s <= 0:
                    raise ResultTimeoutError(f"run {id_} is not over after {timeout_s:g} s; it goes on")
                waiter.sleep(left_s)
        finally:
            waiter.close()

    def _done(self, id_: str) -> ResultRecord | None:
        record = self.get(id_)
        return record if record is not None and record.state in READY_STATES else None


class _Waiter:
    """A subscription to the end of one run; announced in `waited`, so that nobody publishes what nobody hears."""

    def __init__(self, connection: Connection, keys: Keys, id_: str) -> None:
        self._source = connection
        self._keys = keys
        self._id = id_
        self._subscription: Any = None

    def stand_by(self) -> None:
        """Be subscribed and announced; to be followed by a look, as the run may have ended before."""
        if self._subscription is None:
            self._subscribe()
        seconds, micros = self._source.call("TIME")
        until_ms = int(seconds) * 1000 + int(micros) // 1000 + int(LOOK_AGAIN_S * 2000) + WAITER_GRACE_MS
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
        """Until the run has ended, or *seconds* have passed."""
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


_decode = msgspec.json.Decoder(ResultRecord).decode
