"""A copy keeps what fits, and of the rest length and hash."""

from __future__ import annotations

from hashlib import sha256

from hypothesis import given
from hypothesis import strategies as st

from proxy.wire.copy import AnswerCopy, Room


@given(st.lists(st.binary(max_size=40), max_size=20), st.integers(0, 200))
def test_any_chunks_under_any_cap(chunks: list[bytes], cap: int) -> None:
    copy, whole = AnswerCopy(cap), b"".join(chunks)
    copy.start(200, [])
    for chunk in chunks:
        copy.feed(chunk)
    assert (copy.body, copy.length) == (whole[:cap], len(whole))
    assert copy.truncated is (len(whole) > cap)
    assert copy.sha256 == (sha256(whole).digest() if len(whole) > cap else None)


def test_an_event_stream_is_not_kept() -> None:
    copy = AnswerCopy(100)
    copy.start(200, [(b"Content-Type", b"Text/Event-Stream; charset=utf-8")])
    copy.feed(b"data: 1\n\n")
    assert (copy.event_stream, copy.body, copy.length) == (True, b"", 0)


def test_of_an_endless_one_nothing_is_known_but_that() -> None:
    copy = AnswerCopy(4)
    copy.start(200, [])
    copy.feed(b"123456")
    copy.endless = True
    assert (copy.body, copy.truncated, copy.sha256) == (b"1234", True, None)


def test_copies_that_are_taken_share_a_room() -> None:
    """Clients that read slowly would else make fig keep a whole copy for each of them."""
    room = Room(10)
    one, two = AnswerCopy(6, room), AnswerCopy(6, room)
    for copy in (one, two):
        copy.start(200, [])
        copy.feed(b"1234")
    assert room.free == 2
    one.feed(b"567890")  # four of them are beyond its cap
    assert (one.body, one.crowded, room.free) == (b"123456", False, 0)
    two.feed(b"5")
    assert (two.body, two.crowded, room.free) == (b"", True, 4)
    two.feed(b"6")
    one.feed(b"beyond the cap nothing is taken")
    assert room.free == 4
    one.leave()
    two.leave()
    assert (room.free, one.body) == (10, b"123456")
