"""
What is wrong now, and what is to be sent about it.

Redis holds the truth: the alerts that are open, and a line of notices for each hook and for each entry that is pinged. Every beat
raises, sends and settles; compare-and-set decides whose word counts.

    raised ──▶ in the line of each hook ──collect──▶ being sent ──┬─▶ gone
                        ▲                                         ├─▶ failed: waits, longer each time; given up after an hour
                        └──── the beat that had it has died ──────┘
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from scheduler.alarm import Alert, Promoted
from scheduler.model import Run
from scheduler.store.connection import Argument, Connection
from scheduler.store.keys import Keys

LEASE_MS = 60_000
"""A line that was given out and not settled is given out again after that long: longer than sending may take."""
LINES_MAX = 4
"""So many lines of a kind are given out at once."""
TOGETHER_MAX = 10
"""So many notices of a line are given out at once."""
SCAN_CHUNK = 500


class Notice(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """
    A line of the log of alerts.

    Attributes:
        what: ``raised over sent failed dropped``.
        alert: Whose id it has; empty of a ping.
        kind: Of the alert; ``ping``.
        to: The hook, or the address that was pinged, without what is secret in it.
        text: A sentence for people: of the alert, or what went wrong.
    """

    what: str
    at_ms: int
    kind: str
    alert: str = ""
    entry: str = ""
    to: str = ""
    text: str = ""


class News(NamedTuple):
    """
    What a look starts from.

    Attributes:
        revision: The registry's.
        changes: How often an alert was raised or over, ever.
        silent_ms: How long ago the leader's last sign of life was; None if there never was a leader.
        leader: Its name; empty if it resigned.
    """

    now_ms: int
    revision: int
    changes: int
    silent_ms: int | None
    leader: str
    term: int


class JudgedBy(NamedTuple):
    """
    What an alert was judged by, as it was read; None where it played no part. Nothing is raised if that has changed.

    Attributes:
        last: See `Alerts.lasts`.
        pause: As it stands on Redis, empty for none.
        term: The number of the term.
    """

    last: bytes | None = None
    pause: bytes | None = None
    term: int | None = None


class Parcel(NamedTuple):
    """
    A line that was given out.

    Attributes:
        pings: Whether `name` is an entry that is pinged; else it is a hook.
        lease: Until when it is ours; `settle` names it again.
        failures: How often in a row sending it failed.
        items: What is to be sent, oldest first.
    """

    pings: bool
    name: str
    lease: bytes
    failures: int
    items: tuple[bytes, ...]


class Collected(NamedTuple):
    """What was given out, and when there is more: `next_ms` is None if nothing waits."""

    now_ms: int
    next_ms: int | None
    parcels: list[Parcel]


class Alerts:
    """The alerts of a namespace."""

    def __init__(self, connection: Connection, keys: Keys) -> None:
        self._connection = connection
        self._keys = keys

    # ── looking ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def news(self) -> News:
        """What may have changed since the last look."""
        keys = self._keys
        time_, meta, term = self._connection.pipeline(
            [
                ("TIME",),
                ("HMGET", keys.meta, "revision", "alerts"),
                ("HMGET", keys.term, "number", "holder", "name", "renewed_ms"),
            ]
        )
        now_ms = int(time_[0]) * 1000 + int(time_[1]) // 1000
        number, holder, name, renewed_ms = term
        return News(
            now_ms=now_ms,
            revision=int(meta[0] or 0),
            changes=int(meta[1] or 0),
            silent_ms=None if number is None else max(0, now_ms - int(renewed_ms)),
            leader=name.decode() if holder else "",
            term=int(number or 0),
        )

    def watched(self) -> list[str]:
        """The entries that are looked after (and perhaps some more)."""
        names: dict[str, None] = {}
        cursor = b"0"
        while True:
            cursor, flat = self._connection.call("HSCAN", self._keys.watched, cursor, "COUNT", SCAN_CHUNK)
            names |= dict.fromkeys(name.decode() for name in flat[::2])
            if cursor == b"0":
                return list(names)

    def changed(self, revision: int) -> tuple[int, list[str]]:
        """The next entries that changed after *revision*, and up to which revision these are all."""
        newest, found = self._connection.pipeline(
            [
                ("HGET", self._keys.meta, "revision"),
                ("ZRANGE", self._keys.changes, f"({revision}", "+inf", "BYSCORE", "LIMIT", 0, SCAN_CHUNK, "WITHSCORES"),
            ]
        )
        upto = int(float(found[-1])) if len(found) == 2 * SCAN_CHUNK else int(newest or 0)
        return upto, [name.decode() for name in found[::2]]

    def since(self, names: Sequence[str]) -> dict[str, int]:
        """Those of *names* that are looked after, and since when."""
        if not names:
            return {}
        found = self._connection.call("HMGET", self._keys.watched, *names)
        return {name: int(since) for name, since in zip(names, found, strict=True) if since is not None}

    def lasts(self, names: Sequence[str]) -> list[bytes]:
        """How the runs of each of *names* went, as it stands on Redis (`read_health` reads it); empty for one that never ran."""
        if not names:
            return []
        return [last or b"" for last in self._connection.call("HMGET", self._keys.last, *names)]

    def promoted(self, name: str) -> Promoted:
        """How often *name* was promoted."""
        found = self._connection.call("HGET", self._keys.promoted, name)
        return Promoted(*map(int, found.split(b" "))) if found else Promoted()

    def last_error(self, entry: str) -> str:
        """What the newest failed run of *entry* said."""
        for data in reversed(self._connection.call("LRANGE", self._keys.entry_runs(entry), -5, -1)):
            run = _decode_run(data)
            if run.state == "FAILURE":
                return run.error
        return ""

    def open(self) -> list[Alert]:
        """What is wrong now, the oldest first."""
        found = self._connection.call("HVALS", self._keys.alerts)
        return sorted(map(_decode_alert, found), key=lambda alert: (alert.at_ms, alert.field))

    def log(self, n: int) -> list[Notice]:
        """The newest *n* lines of the log, newest first."""
        found = self._connection.call("LRANGE", self._keys.alert_log, -n, -1)
        return [_decode_notice(data) for data in reversed(found)]

    def waiting(self) -> int:
        """How many notices wait to be sent to hooks."""
        lines = self._connection.call("ZRANGE", self._keys.outbox, 0, -1)
        return sum(self._connection.pipeline([("LLEN", self._keys.outbox_line(line.decode())) for line in lines]))

    def dropped(self) -> int:
        """How many notices had to make room in the line of a hook, ever."""
        return int(self._connection.call("HGET", self._keys.meta, "alerts_dropped") or 0)

    # ── raising ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def settle(
        self, alert: Alert, hooks: Sequence[str], *, seen: Alert | None = None, judged_by: JudgedBy | None = None
    ) -> Alert | None:
        """
        Raise *alert*, or (it has `over_ms`) say that it is over; or tell hooks of one that was raised where nobody was told.

        Args:
            seen: What stood there when it was judged, to be compared: nothing, or the alert as it was raised.

        Returns:
            The alert as it was told; None if another beat was faster, or what it was judged by has changed: look again.
        """
        keys = self._keys
        over = alert.over_ms > 0
        if not over:
            alert = msgspec.structs.replace(alert, hooks=len(hooks))
        data, notice = _encode(alert), b""
        if over or seen is None:
            notice = _encode(
                Notice(
                    what="over" if over else "raised", at_ms=alert.over_ms or alert.at_ms, kind=alert.kind,
                    alert=alert.id, entry=alert.entry, text=alert.text,
                )
            )  # fmt: skip
        args: list[Argument] = [
            alert.field, b"" if seen is None else _encode(seen), b"" if over else data, data, notice, len(hooks), *hooks,
        ]  # fmt: skip
        hashes = []
        last, pause, term = judged_by or JudgedBy()
        for key, field, held in (
            (keys.last, alert.entry, last), (keys.paused, alert.entry, pause), (keys.term, "number", term),
        ):  # fmt: skip
            if held is not None:
                hashes.append(key)
                args += (field, held)
        reply = self._connection.run(
            "settle_alert", (keys.alerts, keys.outbox, keys.alert_log, keys.meta, *hashes), args
        )
        return alert if reply == b"OK" else None

    # ── sending ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def collect(self, lines_max: int = LINES_MAX) -> Collected:
        """Take what is to be sent now; it is ours for `LEASE_MS`."""
        keys = self._keys
        now_ms, next_ms, *lines = self._connection.run(
            "collect",
            (keys.outbox, keys.outbox_failures, keys.pings, keys.pings_failures),
            (lines_max, TOGETHER_MAX, LEASE_MS),
        )
        parcels = [
            Parcel(kind == b"pings", name.decode(), lease, failures, tuple(items))
            for kind, name, lease, failures, items in lines
        ]
        return Collected(now_ms, None if next_ms < 0 else next_ms, parcels)

    def sent(
        self, parcel: Parcel, gone: Sequence[bytes], *, again_ms: int | None, notice: Notice | None = None
    ) -> bool:
        """
        Say what became of *parcel*.

        Args:
            gone: Those of its items that were sent, or are given up.
            again_ms: After that long the rest is tried again; None: it went out.

        Returns:
            False if it was no longer ours: somebody else sends it (again).
        """
        keys = self._keys
        set_, failures = (keys.pings, keys.pings_failures) if parcel.pings else (keys.outbox, keys.outbox_failures)
        reply = self._connection.run(
            "settle_line",
            (set_, failures, keys.alert_log),
            (
                parcel.name, parcel.lease, "" if again_ms is None else again_ms,
                b"" if notice is None else _encode(notice), *gone,
            ),
        )  # fmt: skip
        return bool(reply == b"OK")


_encode = msgspec.json.Encoder().encode
_decode_alert = msgspec.json.Decoder(Alert).decode
_decode_notice = msgspec.json.Decoder(Notice).decode
_decode_run = msgspec.json.Decoder(Run).decode
