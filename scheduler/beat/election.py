"""How a beat comes to lead: it stands when the term is free, or when its holder has stood still for the whole lease."""

from __future__ import annotations

import time
from typing import NamedTuple

from scheduler.store import Store
from scheduler.store.leadership import TermRecord
from scheduler.store.presence import BeatInfo
from scheduler.watch import Watch


class Won(NamedTuple):
    """A term that was just won. `attempt_mono_s`: our monotonic clock before the request; trust is measured from there."""

    number: int
    counter: int
    gap_ms: int
    attempt_mono_s: float


class Candidate:
    """
    One process life that may lead.

    Args:
        holder: Unique for each process life; two beats may have the same *name*.
        lease_s: How long a leader's counter must stand still.
    """

    def __init__(self, store: Store, *, holder: str, name: str, lease_s: float) -> None:
        self._store = store
        self._holder = holder
        self._name = name
        self._known = 0
        self._watch: Watch[int, int] = Watch(lease_s)
        self._resting_until_mono_s = 0.0

    def rest(self, seconds: float) -> None:
        """Let others stand first: we were asked to step down, or could not do the work."""
        self._resting_until_mono_s = time.monotonic() + seconds

    def try_to_win(self) -> Won | None:
        """Look at the term once, and stand if it is to be had."""
        term = self._store.leadership.observe()
        now_mono_s = time.monotonic()
        if term is None:
            stood_still, reason = None, "first"
        else:
            self._known = max(self._known, term.number)
            still = self._watch.look({term.number: term.counter} if term.holder else {}, now_mono_s)
            if term.holder and not still and term.holder != self._holder:
                return None
            stood_still = term if still else None
            reason = "the leader stood still" if still else "the leader resigned"
        if now_mono_s < self._resting_until_mono_s:
            return None
        return self._stand(stood_still, reason)

    def forget(self) -> None:
        """We could not look: what was seen standing still before does not count."""
        self._watch.forget()

    def _stand(self, stood_still: TermRecord | None, reason: str) -> Won | None:
        attempt_mono_s = time.monotonic()
        answer = self._store.leadership.elect(
            self._holder, self._name, stood_still=stood_still, known=self._known, reason=reason
        )
        self._known = max(self._known, answer.number)
        if not answer.won:
            return None
        self._watch.forget()
        return Won(answer.number, answer.counter, answer.gap_ms, attempt_mono_s)


def newer_beats(own: BeatInfo, beats: list[BeatInfo]) -> list[BeatInfo]:
    """The live beats whose timezone data or version is newer than ours: with one of them alive, we do not stand."""
    return [
        beat
        for beat in beats
        if beat.id != own.id and (beat.tzdata > own.tzdata or _version(beat.version) > _version(own.version))
    ]


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(".") if part.isdigit())
