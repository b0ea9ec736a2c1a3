"""
Sends what is to be told: alerts to the hooks, pings to the addresses of entries.

    collect ─▶ a line each for a thread of its own ─▶ sent, in order ─▶ settle: gone · waits and is tried again · given up

A line is one hook, or one entry that is pinged: what hangs holds up its own line only. At least once: who dies while he sends is
followed by another beat, which sends it again. After an hour of trying a notice is given up, and the log of alerts says so.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import msgspec

from scheduler.alarm import Alert, Ping, ping_address, resend_ms
from scheduler.beat.hook import Answer, call_url
from scheduler.clock import iso
from scheduler.config import redact_address
from scheduler.errors import StoreError
from scheduler.log import event
from scheduler.store import Store
from scheduler.store.alerts import LEASE_MS, Notice, Parcel

SENDERS_MAX = 8
"""So many lines are sent at once."""
STUCK_S = LEASE_MS / 1000
"""A line that takes longer than its lease is somebody else's by then; its thread counts no more."""
STUCK_MAX = 32
"""With so many threads that do not come back no more are begun."""
GIVEN_UP_MS = 3_600_000
LOOK_S = 1.0
ALONE_TRIES = 5
"""Without Redis there is no line: so often a hook is tried then, 2 s, 4 s, … apart."""

log = logging.getLogger("scheduler.beat")


class Courier:
    """
    Sends for one beat.

    Args:
        hooks: What the settings name: only these callables are run, whatever stands on Redis.
        more: Called when a line was sent: it may have more.
        run_callable: Runs a callable with these messages, in a process of its own.
    """

    def __init__(
        self,
        store: Store,
        *,
        hooks: Sequence[str],
        run_callable: Callable[[str, Sequence[Mapping[str, Any]]], Answer],
        more: Callable[[], None] = lambda: None,
    ) -> None:
        self._more = more
        self._store = store
        self._alerts = store.alerts
        self._namespace = store.keys.namespace
        self._hooks = tuple(hooks)
        self._run_callable = run_callable
        self._sending: list[tuple[threading.Thread, float]] = []

    def turn(self) -> float:
        """Begin to send what is to be sent now; seconds until there may be more. Raises `StoreError`."""
        free = self._free()
        if free <= 0:
            return LOOK_S
        collected = self._alerts.collect(min(free, SENDERS_MAX) // 2 or 1)
        for parcel in collected.parcels:
            self._begin(self._deliver, parcel, collected.now_ms)
        if collected.next_ms is None:
            return LOOK_S
        return min(LOOK_S, max(0.05, (collected.next_ms - collected.now_ms) / 1000))

    def tell_alone(self, alert: Alert) -> None:
        """Send *alert* to every hook, without Redis."""
        for hook in self._hooks:
            self._begin(self._deliver_alone, hook, alert)

    def wait(self, seconds_max: float) -> None:
        """Until what is being sent has been, *seconds_max* at most."""
        deadline = time.monotonic() + seconds_max
        for thread, _ in self._sending:
            thread.join(max(0.0, deadline - time.monotonic()))

    def _free(self) -> int:
        now_mono_s = time.monotonic()
        self._sending = [(thread, since) for thread, since in self._sending if thread.is_alive()]
        busy = sum(now_mono_s - since < STUCK_S for _, since in self._sending)
        return 0 if len(self._sending) >= STUCK_MAX else SENDERS_MAX - busy

    def _begin(self, work: Callable[..., None], *args: Any) -> None:
        # Not of a pool: what does not come back must not keep others from working, nor the beat from ending.
        thread = threading.Thread(target=work, args=args, name="sender", daemon=True)
        self._sending.append((thread, time.monotonic()))
        thread.start()

    def _deliver(self, parcel: Parcel, now_ms: int) -> None:
        try:
            if parcel.pings:
                self._deliver_pings(parcel, now_ms)
            else:
                self._deliver_alerts(parcel, now_ms)
            self._more()
        except StoreError as error:
            # It stays ours until the lease is over, and is sent again then.
            event(log, "hook.unsettled", level=logging.WARNING, to=redact_address(parcel.name), error=str(error))

    def _deliver_alerts(self, parcel: Parcel, now_ms: int) -> None:
        found = [(item, _alert_of(item)) for item in parcel.items]
        read = [(item, alert) for item, alert in found if alert is not None]
        gone = [item for item, alert in found if alert is None]  # nobody can tell what it means
        if not read:
            self._alerts.sent(parcel, gone, again_ms=None)
            return
        answer = self.send(parcel.name, [alert for _, alert in read])
        done = answer.done if answer.done is not None else len(read) if answer.ok else 0
        gone += [item for item, _ in read[:done]]
        to, newest = redact_address(parcel.name), read[max(0, done - 1)][1]
        noted = partial(Notice, kind=newest.kind, alert=newest.id, entry=newest.entry, to=to, at_ms=now_ms)
        if answer.ok:
            event(log, "hook.told", to=to, count=done, answer=answer.text)
            text = answer.text if done == 1 else f"{done} at once: {answer.text}"
            self._alerts.sent(parcel, gone, again_ms=None, notice=noted(what="sent", text=text))
            return
        stale = [item for item, alert in read[done:] if now_ms - (alert.over_ms or alert.at_ms) > GIVEN_UP_MS]
        failures = 0 if done else parcel.failures
        event(
            log, "hook.given_up" if stale else "hook.failed", level=logging.ERROR if stale else logging.WARNING, to=to,
            tries=failures + 1, error=answer.text,
        )  # fmt: skip
        notice = None
        if stale:
            notice = noted(what="dropped", text=f"{len(stale)} given up after an hour: {answer.text}")
        elif not failures:
            notice = noted(what="failed", text=f"{answer.text}; it is tried again")
        self._alerts.sent(parcel, [*gone, *stale], again_ms=resend_ms(failures + 1), notice=notice)

    def _deliver_pings(self, parcel: Parcel, now_ms: int) -> None:
        record = self._store.registry.get(parcel.name)
        watch = None if record is None or record.entry is None else record.entry.watch
        if watch is None or not watch.ping_url:
            # Nobody is to be told any more.
            self._alerts.sent(parcel, parcel.items, again_ms=None)
            return
        gone: list[bytes] = []
        for item in parcel.items:
            ping = _decode_ping(item)
            body = ping.error.encode() if ping.what == "fail" else None
            answer = call_url(ping_address(watch.ping_url, ping), body, content="text/plain; charset=utf-8")
            if not answer.ok:
                break
            gone.append(item)
        else:
            self._alerts.sent(parcel, gone, again_ms=None)
            return
        to = redact_address(watch.ping_url)
        stale = [item for item in parcel.items[len(gone) :] if now_ms - _decode_ping(item).at_ms > GIVEN_UP_MS]
        failures = 0 if gone else parcel.failures
        event(
            log, "ping.failed", level=logging.WARNING, entry=parcel.name, to=to, tries=failures + 1, error=answer.text
        )
        noted = partial(Notice, kind="ping", entry=parcel.name, to=to, at_ms=now_ms)
        notice = None
        if stale:
            notice = noted(what="dropped", text=f"{len(stale)} given up after an hour: {answer.text}")
        elif not failures:
            notice = noted(what="failed", text=f"{answer.text}; it is tried again")
        self._alerts.sent(parcel, [*gone, *stale], again_ms=resend_ms(failures + 1), notice=notice)

    def _deliver_alone(self, hook: str, alert: Alert) -> None:
        for failures in range(1, ALONE_TRIES + 1):
            answer = self.send(hook, [alert])
            if answer.ok:
                event(log, "hook.told", to=redact_address(hook), count=1, answer=answer.text)
                return
            level = logging.ERROR if failures == ALONE_TRIES else logging.WARNING
            event(log, "hook.failed", level=level, to=redact_address(hook), tries=failures, error=answer.text)
            time.sleep(resend_ms(failures) / 1000)

    def send(self, hook: str, alerts: Sequence[Alert]) -> Answer:
        """Tell *hook* of *alerts*, in one go."""
        if "/" not in hook and hook not in self._hooks:
            return Answer(False, "this beat's settings do not name it")
        return tell(hook, alerts, namespace=self._namespace, run_callable=self._run_callable)


def tell(
    hook: str,
    alerts: Sequence[Alert],
    *,
    namespace: str,
    run_callable: Callable[[str, Sequence[Mapping[str, Any]]], Answer],
) -> Answer:
    """Tell *hook* of *alerts*: an address in one call, a callable one by one."""
    messages = [message(alert, namespace) for alert in alerts]
    if "/" in hook:
        return call_url(hook, msgspec.json.encode(together(messages)))
    return run_callable(hook, messages)


def message(alert: Alert, namespace: str) -> dict[str, Any]:
    """What a hook gets of *alert*; `text` alone is what chat services show."""
    return {
        "text": f"[{namespace}] {alert.text}",
        "state": "over" if alert.over_ms else "raised",
        "kind": str(alert.kind),
        "entry": alert.entry or None,
        "due": iso(alert.due_ms or None),
        "failures": alert.failures or None,
        "error": alert.error or None,
        "raised_at": iso(alert.at_ms or None),
        "over_at": iso(alert.over_ms or None),
        "beat": alert.by or None,
        "namespace": namespace,
        "id": alert.id,
    }


def together(messages: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """One message, or several as one: their texts are lines of its text."""
    if len(messages) == 1:
        return messages[0]
    text = "\n".join(str(one["text"]) for one in messages)
    return {"text": text, "kind": "several", "namespace": messages[0]["namespace"], "alerts": list(messages)}


def _alert_of(item: bytes) -> Alert | None:
    try:
        return _decode_alert(item)
    except msgspec.DecodeError:
        return None


_decode_alert = msgspec.json.Decoder(Alert).decode
_decode_ping = msgspec.json.Decoder(Ping).decode
