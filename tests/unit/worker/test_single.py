"""Taking back what a child has not started, through shared memory: no message is run and given back, none is forgotten."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

import pytest

from scheduler.model import Message
from worker.frames import Frames, Hello, Parcel, Report, encode
from worker.hand import Killed
from worker.shared import CLAIMED, LIMIT, STARTED, UNLIMITED, Slots
from worker.single import Single
from worker.zygote import Born


class Stillborn:
    """Stands for the zygote: the test plays the child, on the other end of the socket."""

    sock: socket.socket

    def spawn(self, _number: int, sock: socket.socket) -> Born:
        self.sock = sock.dup()
        return Born(os.getpid(), os.open(os.devnull, os.O_RDONLY))


@pytest.fixture
def slots() -> Slots:
    return Slots(1)


@pytest.fixture
def zygote() -> Stillborn:
    return Stillborn()


@pytest.fixture
def child(slots: Slots, zygote: Stillborn) -> Iterator[Single]:
    child = Single(0, slots, zygote, lambda _: True)  # type: ignore[arg-type]
    zygote.sock.sendall(encode(Hello()))
    assert list(child.read()) == []
    assert child.is_ready
    yield child
    zygote.sock.close()


MESSAGES = [Message(f"m{n}", b"") for n in range(1, 7)]


def report(zygote: Stillborn, done: int, unstarted: int = 0) -> None:
    zygote.sock.sendall(encode(Report(done, unstarted, [], [], [], {})))


def held(child: Single) -> list[str]:
    return [message.id for message in child.held()]


def test_a_free_child_gets_two_parcels_and_no_more(child: Single, zygote: Stillborn) -> None:
    """One runs and one waits in its pipe."""
    child.give(MESSAGES[:2], 0.0)
    assert child.is_free
    child.give(MESSAGES[2:4], 0.0)
    assert not child.is_free
    assert [p.first for p in Frames(Parcel).feed(zygote.sock.recv(9999))] == [1, 3]
    report(zygote, 1)
    list(child.read())
    assert held(child) == ["m2", "m3", "m4"]
    report(zygote, 4)
    list(child.read())
    assert child.is_idle


def test_what_runs_stays_and_the_rest_comes_back(child: Single, slots: Slots, zygote: Stillborn) -> None:
    """And the child is given nothing until it has passed over what was withdrawn."""
    child.give(MESSAGES[:3], 0.0)
    child.give(MESSAGES[3:], 0.0)
    slots.words[CLAIMED], slots.words[STARTED] = 1, 10**9
    child.withdraw(0.0)
    assert slots.words[LIMIT] == 1
    assert [message.id for message in child.settle()] == ["m2", "m3", "m4", "m5", "m6"]
    assert held(child) == ["m1"]
    running = child.running_now()
    assert running is not None
    assert running.message.id == "m1"
    report(zygote, 3, unstarted=2)
    assert [back for _, back in child.read()] == [[]]
    assert not child.is_free, "the second parcel is still in its pipe"
    report(zygote, 6, unstarted=4)
    list(child.read())
    assert child.is_free
    assert slots.words[LIMIT] == UNLIMITED


def test_a_message_claimed_in_the_last_moment_is_the_childs(child: Single, slots: Slots, zygote: Stillborn) -> None:
    """It read the old limit: it runs, so it is not given back."""
    child.give(MESSAGES[:3], 0.0)
    slots.words[CLAIMED], slots.words[STARTED] = 1, 10**9
    child.withdraw(0.0)
    slots.words[CLAIMED] = 2
    assert [message.id for message in child.settle()] == ["m3"]
    assert held(child) == ["m1", "m2"]


def test_a_message_claimed_and_put_back_is_returned_by_the_report(
    child: Single, slots: Slots, zygote: Stillborn
) -> None:
    """It read the new limit after it had claimed: nobody ran it, so it goes back when the child says so."""
    child.give(MESSAGES[:3], 0.0)
    slots.words[CLAIMED], slots.words[STARTED] = 1, 10**9
    child.withdraw(0.0)
    slots.words[CLAIMED] = 2
    assert [message.id for message in child.settle()] == ["m3"]
    slots.words[CLAIMED] = 1
    report(zygote, 3, unstarted=2)
    assert [[message.id for message in back] for _, back in child.read()] == [["m2"]]
    assert child.is_free


def test_a_dead_child_is_blamed_for_what_it_ran_alone(child: Single, slots: Slots, zygote: Stillborn) -> None:
    """Trap 12: its neighbours are not."""
    child.give(MESSAGES[:4], 0.0)
    report(zygote, 1)
    list(child.read())
    slots.words[CLAIMED], slots.words[STARTED] = 3, 10**9
    fall = child.fall()
    assert [each.message.id for each in fall.running] == ["m3"]
    assert [message.id for message in fall.unstarted] == ["m2", "m4"]
    assert fall.killed_for is None


def test_between_two_messages_nobody_is_blamed(child: Single, slots: Slots) -> None:
    """STARTED is 0 there."""
    child.give(MESSAGES[:2], 0.0)
    slots.words[CLAIMED], slots.words[STARTED] = 1, 0
    fall = child.fall()
    assert fall.running == []
    assert [message.id for message in fall.unstarted] == ["m1", "m2"]


def test_the_reason_of_a_kill_is_kept(child: Single) -> None:
    """The first one counts."""
    child.killed_for = Killed("time_limit", "m1")
    child.kill(Killed("stop"))
    assert child.killed_for == Killed("time_limit", "m1")


def test_one_that_is_idle_before_its_withdrawal_is_settled_is_free(
    child: Single, slots: Slots, zygote: Stillborn
) -> None:
    """Its long task ended in the same moment: it has passed over the rest, and nobody looks at an idle child."""
    child.give(MESSAGES[:3], 0.0)
    slots.words[CLAIMED] = 1
    child.withdraw(0.0)
    report(zygote, done=3, unstarted=2)
    assert [message.id for _, back in child.read() for message in back] == ["m2", "m3"]
    assert child.is_idle
    assert child.is_free
    assert slots.words[LIMIT] == UNLIMITED
