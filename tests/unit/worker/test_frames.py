"""What travels between supervisor and children."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from scheduler.model import Message, Outcome
from worker.frames import Frames, Parcel, Report, Retried, encode


@given(cuts=st.lists(st.integers(1, 300), max_size=40))
def test_frames_survive_any_cut_of_the_stream(cuts: list[int]) -> None:
    """A socket gives bytes in whatever pieces it likes."""
    reports = [
        Report(3, 0, [Outcome("a", b"{}", 1, b"{}")], [], [], {"t": (1, 0.5)}),
        Report(4, 4, [], [Retried("b", b"body", 1, 2, b"", 3, "t", "E")], [], {}),
    ]
    stream = b"".join(bytes(encode(report)) for report in reports)
    frames, at = Frames(Report), 0
    found: list[Report] = []
    for cut in [*cuts, len(stream)]:
        found += frames.feed(stream[at : at + cut])
        at += cut
    found += frames.feed(stream[at:])
    assert found == reports


def test_a_parcel_knows_its_last_number() -> None:
    """Messages are numbered from the first."""
    parcel = Parcel(5, 0.0, [Message("a", b"x"), Message("b", b"y")])
    assert parcel.last == 6
    assert list(Frames(Parcel).feed(bytes(encode(parcel)))) == [parcel]
