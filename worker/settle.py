"""
What has to be told to Redis about messages that we hold: kept until it was told, however long Redis is away.

Every call may be repeated: what is no longer held is refused there, and nothing is written twice (P9).
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence

from scheduler.log import event
from scheduler.model import Outcome
from scheduler.store.sessions import Finished, Flight, Session, Taken
from worker.events import Teller
from worker.frames import Released, Retried

BATCH_MAX = 500
BATCH_BYTES_MAX = 4 << 20

_logger = logging.getLogger("worker")


class GivenBack(tuple[str, ...]):
    """Ids that go back to the head of their queues at once."""

    __slots__ = ()


class Lost(tuple[str, ...]):
    """Ids whose child died with them, and how it died."""

    how: str = ""


class Settlement:
    """What is to be told, oldest first."""

    def __init__(self, teller: Teller) -> None:
        self._teller = teller
        self._outcomes: deque[Outcome] = deque()
        self._others: deque[GivenBack | Lost | Retried | Released] = deque()
        self._flight: tuple[Flight, list[Outcome], float] | None = None

    def __bool__(self) -> bool:
        return bool(self._outcomes or self._others)

    def ids(self) -> Iterator[str]:
        """Every message that this is about: we hold them until Redis knows."""
        yield from (outcome.id for outcome in self._outcomes)
        for other in self._others:
            if isinstance(other, tuple):
                yield from other
            else:
                yield other.id

    def ended(self, outcomes: Iterable[Outcome]) -> None:
        """These runs have ended."""
        self._outcomes.extend(outcomes)

    def back(self, ids: Sequence[str], *, lost: bool = False, how: str = "") -> None:
        """
        These were not started; or, *lost*, their child died with them. The last go first: each goes before all others.

        Args:
            how: It died, for people.
        """
        for at in reversed(range(0, len(ids), BATCH_MAX)):
            some = (Lost if lost else GivenBack)(ids[at : at + BATCH_MAX])
            if isinstance(some, Lost):
                some.how = how
            self._others.append(some)

    def later(self, others: Iterable[Retried | Released]) -> None:
        """These run again after a while."""
        self._others.extend(others)

    def forget(self, ids: Iterable[str] | None = None) -> int:
        """Drop what concerns *ids* (None: everything), because they are no longer ours; how many outcomes went."""
        before = len(self._outcomes)
        if self._flight is not None:
            self._flight[0].drop()
            self._flight = None
        if ids is None:
            self._outcomes.clear()
            self._others.clear()
        else:
            gone = set(ids)
            self._outcomes = deque(outcome for outcome in self._outcomes if outcome.id not in gone)
        return before - len(self._outcomes)

    def tell(
        self,
        session: Session,
        *,
        take: Callable[[], int] = lambda: 0,
        queues: Sequence[str] = (),
    ) -> tuple[Taken, float] | None:
        """
        Tell everything. The last round trip brings the next batch.

        Args:
            take: How many messages to take in that round trip; asked when it is sent.

        Returns:
            What was taken and when it was asked for; None if none were asked for, or nothing had to be told.

        Raises:
            StoreError: What was not told yet is still here.
            LeaseLostError: None of it is ours any more.
        """
        assert self._flight is None, "land() comes first"
        while self._others:
            other = self._others[0]
            if isinstance(other, Retried):
                if session.retry(
                    other.id, other.body, delay_ms=other.delay_ms, attempt=other.attempt, result=other.result,
                    ttl_ms=other.ttl_ms,
                ):  # fmt: skip
                    self._teller.retried(other)
            elif isinstance(other, Released):
                session.release([other.id], delay_ms=other.delay_ms)
                self._teller.released(other)
            else:
                how = other.how if isinstance(other, Lost) else ""
                session.release(list(other), lost=isinstance(other, Lost), how=how)
            self._others.popleft()
        while self._outcomes:
            batch = self._next_batch()
            asked = take() if len(batch) == len(self._outcomes) else 0
            sent_mono_s = time.monotonic()
            finished = session.finish(batch, take=asked, queues=queues if asked else ())
            self._told(batch, finished)
            if finished.taken is not None:
                return finished.taken, sent_mono_s
        return None

    @property
    def is_under_way(self) -> bool:
        """Whether `tell_ahead` was sent and its answer not read. Until then nothing else may be asked of the session."""
        return self._flight is not None

    def tell_ahead(self, session: Session, *, take: int, queues: Sequence[str]) -> bool:
        """
        Begin to tell everything and to take the next batch, and go on without the answer: `land` has it.

        What is told stays here until then, so it is told again if the answer never comes. False, and nothing is sent, if one call
        cannot tell everything.
        """
        batch = self._next_batch()
        if self._others or len(batch) < len(self._outcomes):
            return False
        sent_mono_s = time.monotonic()
        self._flight = (session.send_finish(batch, take=take, queues=queues), batch, sent_mono_s)
        return True

    def land(self) -> tuple[Taken, float] | None:
        """Read the answer to `tell_ahead`; None if none is under way. Returns and raises as `tell` does."""
        if self._flight is None:
            return None
        (flight, batch, sent_mono_s), self._flight = self._flight, None
        finished = flight.land()
        self._told(batch, finished)
        return None if finished.taken is None else (finished.taken, sent_mono_s)

    def _told(self, batch: list[Outcome], finished: Finished) -> None:
        """The oldest outcomes, *batch*, are told."""
        for _ in batch:
            self._outcomes.popleft()
        if finished.refused:
            refused = set(finished.refused)
            batch = [outcome for outcome in batch if outcome.id not in refused]
            event(_logger, "outcome.refused", level=logging.WARNING, count=len(refused), first=finished.refused[0])
        self._teller.finished(batch)

    def _next_batch(self) -> list[Outcome]:
        batch: list[Outcome] = []
        size = 0
        for outcome in self._outcomes:
            size += len(outcome.result)
            if batch and (len(batch) >= BATCH_MAX or size > BATCH_BYTES_MAX):
                break
            batch.append(outcome)
        return batch
