"""What `sched dev` prints: one line for each event that a person wants to see, and none for the others. Pure."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, NamedTuple

Facts = Mapping[str, Any]

_IDS_MAX = 10_000
_NAME_WIDTH = 26


class Line(NamedTuple):
    """
    One line on the screen: ``14:03:10  ok      shop.take_order             2 ms late    14 ms``.

    Attributes:
        time_s: When it happened, Unix time.
        badge: The word in the second column.
        style: Rich's style of the badge, and of the whole line where *loud*.
        loud: Something a person must not miss.
    """

    time_s: float
    badge: str
    style: str
    text: str
    loud: bool = False

    @classmethod
    def now(cls, badge: str, style: str, text: str, *, loud: bool = False) -> Line:
        """A line about this moment."""
        return cls(time.time(), badge, style, text, loud)

    @property
    def parts(self) -> tuple[str, str, str]:
        """Moment, badge and text, each as wide as its column."""
        return f"{datetime.fromtimestamp(self.time_s):%H:%M:%S}  ", f"{self.badge:<9}", self.text

    def __str__(self) -> str:
        return "".join(self.parts)


class Lines:
    """Turns what the pipe says into lines, and remembers which fires were shown: beat and worker may both tell of one."""

    def __init__(self) -> None:
        self._shown: OrderedDict[str, None] = OrderedDict()

    def of(self, said: Facts) -> list[Line]:
        """
        The lines for one object from the pipe of events (`scheduler.events`).

        Args:
            said: Has `time` and `level`; then `event` and `fields`, or `message`.
        """
        time_s, name = float(said["time"]), said.get("event")
        fields: Facts = said.get("fields") or {}
        if name in ("fire.promoted", "run.started"):
            line = self._fire(time_s, fields)
            return [line] if line else []
        if name in ("run.finished", "run.retried"):
            first = self._fire(time_s, fields)
            return ([first] if first else []) + [_run(time_s, fields, retried=name == "run.retried")]
        if name in _EVENTS:
            badge, style, text = _EVENTS[name]
            return [Line(time_s, badge, style, text(fields), loud="red" in style)]
        return _other(time_s, said, fields)

    def _fire(self, time_s: float, fields: Facts) -> Line | None:
        """A fire, the first time that we hear of it; None for a call, which no schedule fired."""
        entry, id_ = fields.get("entry"), str(fields.get("id"))
        if not entry or id_ in self._shown:
            return None
        self._shown[id_] = None
        if len(self._shown) > _IDS_MAX:
            self._shown.popitem(last=False)
        queue = f" → {fields['queue']}" if fields.get("queue") else ""
        return Line(time_s, "fire", "cyan", f"{entry:<{_NAME_WIDTH}}{queue}")


def span(seconds: float) -> str:
    """A short span for people: ``3 ms``, ``1.24 s``, ``2 min 5 s``."""
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 120:
        return f"{seconds:.2f} s"
    return f"{seconds // 60:.0f} min {seconds % 60:.0f} s"


def _run(time_s: float, fields: Facts, *, retried: bool) -> Line:
    state = "RETRY" if retried else str(fields.get("state") or "")
    badge, style = _STATES.get(state, (state.lower() or "done", "yellow"))
    parts = [f"{fields.get('entry') or fields.get('task') or fields.get('id'):<{_NAME_WIDTH}}"]
    if (late_s := fields.get("lateness_s")) is not None:
        parts.append(f"{span(max(0.0, float(late_s))):>8} late")
    if (took_s := fields.get("duration_s")) is not None:
        parts.append(f"{span(float(took_s)):>8}")
    if int(fields.get("attempt") or 1) > 1:
        parts.append(f"attempt {fields['attempt']}")
    if retried and fields.get("delay_s") is not None:
        parts.append(f"again in {span(float(fields['delay_s']))}")
    if fields.get("error"):
        parts.append(str(fields["error"]).strip().splitlines()[-1])
    return Line(time_s, badge, style, "  ".join(parts), loud=state == "FAILURE")


def _other(time_s: float, said: Facts, fields: Facts) -> list[Line]:
    """A warning or an error of any name, and what tasks and libraries logged; the rest is for `sched beat` and its log."""
    level, name = said.get("level"), said.get("event")
    grave = level in ("WARNING", "ERROR", "CRITICAL")
    if name and not grave:
        return []
    facts = " ".join(f"{key}={value}" for key, value in fields.items() if value is not None)
    text = " ".join(part for part in (name, facts or said.get("message"), said.get("error")) if part)
    if level in ("ERROR", "CRITICAL"):
        return [Line(time_s, "error", "bold red", text, loud=True)]
    return [Line(time_s, "warning", "yellow", text) if grave else Line(time_s, "log", "dim", text)]


def _term_won(fields: Facts) -> str:
    return f"{fields.get('name', '?')} leads, term {fields.get('term', fields.get('number', '?'))}"


def _term_ended(why: str) -> Callable[[Facts], str]:
    def text(fields: Facts) -> str:
        reason = f": {fields['reason']}" if fields.get("reason") else ""
        return f"term {fields.get('term', '?')} {why}{reason}"

    return text


def _worker_ready(fields: Facts) -> str:
    queues = fields.get("queues") or ""
    queues = ", ".join(queues) if isinstance(queues, list) else str(queues).strip("()[]").replace("'", "").rstrip(",")
    children = fields.get("concurrency")
    return f"{fields.get('name', 'the worker')} is ready" + (
        f": {children} children on {queues}" if children and queues else ""
    )


def _published(fields: Facts) -> str:
    counts = {what: _count(fields.get(what)) for what in ("added", "changed", "removed", "kept")}
    told = ", ".join(f"{count} {what}" for what, count in counts.items() if count)
    return f"schedule files loaded: {told or 'nothing new'}"


def _count(value: Any) -> int:
    """How many: given as a number, or as the names themselves."""
    if isinstance(value, int):
        return value
    if isinstance(value, str):
        return int(value) if value.isdigit() else len([name for name in value.strip("()[]").split(",") if name.strip()])
    return len(value) if value else 0


def _broken(fields: Facts) -> str:
    return str(fields.get("mistake") or fields.get("error") or " ".join(f"{k}={v}" for k, v in fields.items()))


def _skipped(fields: Facts) -> str:
    count = int(fields.get("count") or 1)
    return f"{fields.get('entry', '?'):<{_NAME_WIDTH}} {fields.get('reason', '')}" + (
        f" × {count}" if count > 1 else ""
    )


def _child_died(fields: Facts) -> str:
    how = fields.get("how") or "nobody knows how"
    again = f"{fields['task']} will run again" if fields.get("task") else "it ran nothing"
    return f"a child died ({how}) and is replaced; {again}"


def _text(text: str) -> Callable[[Facts], str]:
    def fixed(fields: Facts) -> str:
        return text + (f": {fields['error']}" if fields.get("error") else "")

    return fixed


_STATES = {
    "SUCCESS": ("ok", "green"),
    "FAILURE": ("FAILED", "bold red"),
    "RETRY": ("retry", "yellow"),
    "EXPIRED": ("expired", "yellow"),
    "REVOKED": ("revoked", "yellow"),
    "IGNORED": ("ignored", "dim"),
}

_EVENTS: dict[str, tuple[str, str, Callable[[Facts], str]]] = {
    "term.won": ("leader", "bold magenta", _term_won),
    "term.lost": ("leader", "yellow", _term_ended("was lost")),
    "term.resigned": ("leader", "magenta", _term_ended("ended")),
    "worker.ready": ("worker", "blue", _worker_ready),
    "registry.published": ("loaded", "blue", _published),
    "file.broken": ("broken", "bold red", _broken),
    "entry.broken": ("broken", "bold red", lambda fields: f"entry {fields.get('entry')!r}: {fields.get('error')}"),
    "fire.skipped": ("skipped", "yellow", _skipped),
    "child.died": ("worker", "bold red", _child_died),
    "session.lost": ("worker", "yellow", _text("its session was taken over; what it ran runs elsewhere")),
    "store.lost": ("redis", "bold red", _text("does not answer; waiting for it")),
    "store.back": ("redis", "green", _text("is back")),
}
