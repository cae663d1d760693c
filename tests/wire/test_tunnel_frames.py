"""Where frames begin and end: against the `websockets` package's serialiser, whatever the chunks."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Frame, Opcode

from proxy.wire.tunnel import FrameScanner


@dataclass(frozen=True)
class Sent:
    data: bytes
    close: bool


def serialised(opcode: int, size: int, fin: bool, mask: bool) -> Sent:
    """A frame as `websockets` writes it; control frames are short and whole (RFC 6455 5.5)."""
    control = opcode >= Opcode.CLOSE
    frame = Frame(Opcode(opcode), b"\x88" * (size % 126 if control else size), fin=fin or control)
    return Sent(frame.serialize(mask=mask), opcode == Opcode.CLOSE)


def odd(first: int, size: int, width: int, mask: bool) -> Sent:
    """What `websockets` refuses to write: any reserved bits and opcodes, lengths in more bytes than needed."""
    length = bytes([size | mask << 7]) if width == 0 else bytes([(126 if width == 2 else 127) | mask << 7])
    length += size.to_bytes(width, "big") if width else b""
    return Sent(bytes([first]) + length + b"\x88\x02\x03\xe9" * mask + b"\x08" * size, first & 0x0F == 8)


SIZES = st.one_of(st.integers(0, 130), st.sampled_from([125, 126, 127, 65535, 65536, 70000]))
FRAMES = st.lists(
    st.one_of(
        st.builds(serialised, st.sampled_from([int(code) for code in Opcode]), SIZES, st.booleans(), st.booleans()),
        st.builds(odd, st.integers(0, 255), st.integers(0, 125), st.sampled_from([0, 2, 8]), st.booleans()),
    ),
    max_size=8,
)
CUTS = st.lists(st.one_of(st.integers(1, 12), st.integers(1, 80000)), min_size=1, max_size=40)


def chunks(data: bytes, sizes: list[int]) -> list[bytes]:
    """`data` in parts of these sizes, over and over."""
    parts, turn = [], 0
    while data:
        size = max(sizes[turn % len(sizes)], len(data) // 2000)
        parts.append(data[:size])
        data, turn = data[size:], turn + 1
    return parts


class Oracle:
    """Knows the frames: the ends are sums of lengths."""

    def __init__(self, frames: list[Sent]) -> None:
        self.ends = {0}
        self.closed_at: int | None = None
        at = 0
        for frame in frames:
            at += len(frame.data)
            self.ends.add(at)
            if frame.close and self.closed_at is None:
                self.closed_at = at

    def agrees(self, scanner: FrameScanner, fed: int) -> bool:
        closed = self.closed_at is not None and fed >= self.closed_at
        return scanner.boundary == (fed in self.ends) and scanner.closed == closed


@given(FRAMES, CUTS)
def test_boundaries_and_close_are_found_in_any_chunking(frames: list[Sent], sizes: list[int]) -> None:
    oracle, scanner, fed = Oracle(frames), FrameScanner(), 0
    assert oracle.agrees(scanner, 0)
    for chunk in chunks(b"".join(frame.data for frame in frames), sizes):
        scanner.feed(chunk)
        fed += len(chunk)
        assert oracle.agrees(scanner, fed)


@given(FRAMES, st.integers(0, 200000), CUTS)
def test_a_cut_takes_the_frame_under_way_and_no_byte_more(frames: list[Sent], asked: int, sizes: list[int]) -> None:
    data = b"".join(frame.data for frame in frames)
    oracle, scanner = Oracle(frames), FrameScanner()
    asked = min(asked, len(data))
    scanner.feed(data[:asked])
    end = min(end for end in oracle.ends if end >= asked)
    taken, rest = b"", b""
    for chunk in chunks(data[asked:], sizes):
        if rest or scanner.boundary:
            rest += chunk
            continue
        here, beyond = scanner.cut_at_boundary(chunk)
        assert here + beyond == chunk
        taken, rest = taken + here, rest + beyond
    assert taken == data[asked:end]
    assert oracle.agrees(scanner, end)
    scanner.feed(rest)
    assert oracle.agrees(scanner, len(data))


def test_nothing_is_cut_between_two_frames() -> None:
    scanner = FrameScanner()
    scanner.feed(b"\x81\x00")
    assert scanner.cut_at_boundary(b"\x81\x01a") == (b"", b"\x81\x01a")
    assert scanner.boundary


@pytest.mark.parametrize("length", [1 << 63, (1 << 64) - 1])
def test_a_frame_of_a_forbidden_length_never_ends(length: int) -> None:
    scanner = FrameScanner()
    scanner.feed(b"\x82\x7f" + length.to_bytes(8, "big"))
    scanner.feed(b"\x88\x00" * 1000)
    assert not scanner.boundary
    assert not scanner.closed
    assert scanner.cut_at_boundary(b"\x88\x00") == (b"\x88\x00", b"")
