"""Taking back what a child of many has not started, cell by cell: no message is run and given back, none is forgotten."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator

import pytest

from scheduler.model import Message
from worker.cells import STARTED, WITHDRAWN, WORDS, Cells
from worker.frames import Batch, Frames, Hello, Interrupt, Sweep, Tidings, ToMany, encode
from worker.hand import WAIT_S_MAX, WITHDRAW_AFTER_S, Killed
from worker.many import Many
from worker.shared import SETTLE_S
from worker.zygote import Born


class Stillborn:
    """Stands for the zygote: the test plays the child, on the other end of the socket."""

    sock: socket.socket

    def spawn(self, _number: int, sock: socket.socket) -> Born:
        self.sock = sock.dup()
        return Born(os.getpid(), os.open(os.devnull, os.O_RDONLY))


class Played:
    """A child with six cells, and what the test makes it do."""

    def __init__(self) -> None:
        zygote = Stillborn()
        cells = Cells(2, 6)
        self.seen = Many(1, cells, zygote)  # type: ignore[arg-type]
        self.words = cells.of(1)
        self._sock = zygote.sock
        self._frames = Frames(ToMany)
        self.say(Hello())

    def say(self, frame: Hello | Tidings) -> list[str]:
        """Send *frame*; the ids that go back because of it."""
        self._sock.sendall(encode(frame))
        return [message.id for _, back in self.seen.read() for message in back]

    def over(self, *cells: int, passed: tuple[int, ...] = ()) -> list[str]:
        """Report these as done."""
        return self.say(Tidings(list(cells), list(passed), [], [], [], {}))

    def heard(self) -> list[object]:
        """What the supervisor has sent."""
        return list(self._frames.feed(self._sock.recv(1 << 16)))

    def start(self, *cells: int) -> None:
        """Claim these."""
        for cell in cells:
            self.words[cell * WORDS + STARTED] = time.monotonic_ns()

    def close(self) -> None:
        self._sock.close()


@pytest.fixture
def child() -> Iterator[Played]:
    child = Played()
    yield child
    child.close()


MESSAGES = [Message(f"m{n}", b"") for n in range(6)]


def ids(messages: list[Message]) -> list[str]:
    return [message.id for message in messages]


def withdrawn(child: Played) -> list[str]:
    """What comes back when it is asked for now."""
    now = time.monotonic()
    child.seen.withdraw(now)
    return ids(child.seen.look(now + SETTLE_S, {}))


def test_messages_end_in_any_order_and_their_cells_are_used_again(child: Played) -> None:
    """One that takes long keeps nothing but its own cell."""
    child.seen.give(MESSAGES, 0.0, "s")
    (batch,) = child.heard()
    assert isinstance(batch, Batch)
    assert batch.messages == MESSAGES
    assert child.seen.room == 0
    child.start(*batch.cells)
    assert child.over(batch.cells[4], batch.cells[1]) == []
    assert ids(list(child.seen.held())) == ["m0", "m2", "m3", "m5"]
    child.seen.give([Message("m6", b""), Message("m7", b"")], 0.0)
    (batch,) = child.heard()
    assert isinstance(batch, Batch)
    assert sorted(batch.cells) == [1, 4]
    assert all(not child.words[cell * WORDS + STARTED] for cell in batch.cells)


def test_what_runs_stays_and_the_rest_comes_back(child: Played) -> None:
    """And it is given nothing until it has found what was withdrawn."""
    child.seen.give(MESSAGES[:4], 0.0)
    child.start(1)
    assert withdrawn(child) == ["m0", "m2", "m3"]
    assert isinstance(child.heard()[-1], Sweep)
    assert [running.message.id for running in child.seen.running()] == ["m1"]
    assert not child.seen.is_free
    assert child.over(passed=(0, 2, 3)) == []
    assert child.seen.is_free


def test_one_that_was_claimed_in_the_last_moment_stays(child: Played) -> None:
    """It was withdrawn, but the child had claimed it before it could see that: then it runs."""
    child.seen.give(MESSAGES[:2], 0.0)
    now = time.monotonic()
    child.seen.withdraw(now)
    child.start(0)
    assert ids(child.seen.look(now + SETTLE_S, {})) == ["m1"]
    assert ids(list(child.seen.held())) == ["m0"]


def test_one_that_was_claimed_and_found_withdrawn_comes_back_once(child: Played) -> None:
    """The child gives the claim up after we have looked: its report gives the message back."""
    child.seen.give(MESSAGES[:1], 0.0)
    now = time.monotonic()
    child.seen.withdraw(now)
    child.start(0)
    assert child.seen.look(now + SETTLE_S, {}) == []
    child.words[STARTED] = 0
    assert child.over(passed=(0,)) == ["m0"]
    assert child.over(passed=()) == []
    assert child.seen.is_idle


def test_one_that_is_idle_before_its_withdrawal_is_settled_is_free(child: Played) -> None:
    """All that was withdrawn had been claimed in the last moment, and is over: nothing is left to be looked at."""
    child.seen.give(MESSAGES[:2], 0.0)
    child.seen.withdraw(time.monotonic())
    child.start(0)
    assert child.over(0, passed=(1,)) == ["m1"]
    assert child.seen.is_idle
    assert child.seen.is_free


def test_what_is_not_started_in_time_is_taken_back_without_being_asked_for(child: Played) -> None:
    """100 ms behind what does not end, half a second behind what does."""
    child.seen.give(MESSAGES[:2], 0.0)
    child.start(0)
    given = time.monotonic()
    assert child.seen.look(given + WITHDRAW_AFTER_S + 0.01, {}) == []
    assert child.words[1 * WORDS + WITHDRAWN]
    assert ids(child.seen.look(given + WITHDRAW_AFTER_S + 0.02, {})) == ["m1"]
    assert child.seen.window == 2  # what it runs, and one to see whether it gets on again


def test_while_others_get_on_it_waits_for_longer(child: Played) -> None:
    """A busy machine is no reason to carry messages to and fro."""
    child.seen.give(MESSAGES[:3], 0.0)
    child.start(0, 1)
    given = time.monotonic()
    child.seen._ended_mono_s = given + WITHDRAW_AFTER_S  # one has just ended
    assert child.seen.look(given + WITHDRAW_AFTER_S + 0.01, {}) == []
    assert not child.words[2 * WORDS + WITHDRAWN]
    child.seen._ended_mono_s = given + WAIT_S_MAX
    child.seen.look(given + WAIT_S_MAX + 0.01, {})
    assert child.words[2 * WORDS + WITHDRAWN]


def test_a_dead_child_is_blamed_for_what_it_ran_alone(child: Played) -> None:
    """What it had not started goes back as if nothing had happened."""
    child.seen.give(MESSAGES[:4], 0.0)
    child.start(1, 2)
    fall = child.seen.fall()
    assert [running.message.id for running in fall.running] == ["m1", "m2"]
    assert ids(fall.unstarted) == ["m0", "m3"]
    assert fall.killed_for is None
    assert child.seen.is_idle


def test_a_run_is_interrupted_once(child: Played) -> None:
    """However often its cancel request is told; one that has not started is not."""
    child.seen.give(MESSAGES[:2], 0.0)
    child.heard()
    child.start(0)
    now = time.monotonic()
    for _ in range(3):
        child.seen.look(now, {"m0": True, "m1": False})
    child.seen.hang_up(now)
    assert child.heard() == [Interrupt([0])]


def test_a_killed_child_is_given_nothing(child: Played) -> None:
    """Nor one that was let go."""
    assert child.seen.is_free
    child.seen.is_let_go = True
    assert not child.seen.is_free
    child.seen.is_let_go = False
    child.seen.killed_for = Killed("stop")
    assert not child.seen.is_free
