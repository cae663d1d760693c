"""Trace context and request ids: what is continued, what starts anew."""

from __future__ import annotations

import random
import re
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.telemetry.trace import child, request_id, valid

TRACE_ID = b"0af7651916cd43dd8448eb211c80319c"
SPAN_ID = b"b7ad6b7169203331"
PARENT = b"00-" + TRACE_ID + b"-" + SPAN_ID + b"-01"
SENT = re.compile(rb"00-[0-9a-f]{32}-[0-9a-f]{16}-0[01]")
NOW_MS = 1_700_000_000_123


class AllZeros:
    def getrandbits(self, k: int, /) -> int:
        return 0


@pytest.mark.parametrize(
    "header",
    [
        PARENT,
        PARENT[:-2] + b"00",
        PARENT[:-2] + b"ff",
        b"01" + PARENT[2:],
        b"cc" + PARENT[2:] + b"-what.the-future=brings",
        b"cc" + PARENT[2:] + b"-",
    ],
)
def test_a_valid_parent_keeps_its_trace_under_a_new_parent_id(header: bytes) -> None:
    assert valid(header)
    sent, trace_id = child(header, random.Random(1))
    assert trace_id == TRACE_ID.decode()
    assert SENT.fullmatch(sent)
    assert sent[3:35] == TRACE_ID
    assert sent[36:52] != SPAN_ID


@pytest.mark.parametrize(
    "header",
    [
        b"",
        b"00",
        PARENT.upper(),
        PARENT[:-1],
        PARENT + b"0",
        PARENT + b"-extra",
        PARENT + b"\n",
        b" " + PARENT,
        b"ff" + PARENT[2:],
        b"cc" + PARENT[2:] + b".later",
        PARENT + b", " + PARENT,
        b"cc" + PARENT[2:] + b", " + PARENT,
        PARENT.replace(b"-", b"_"),
        PARENT.replace(TRACE_ID, b"0" * 32),
        PARENT.replace(SPAN_ID, b"0" * 16),
        PARENT[:-2] + b"0x",
        PARENT.replace(b"0af7", b"\xc3\xa9f7"),
    ],
)
def test_an_invalid_parent_starts_a_new_sampled_trace(header: bytes) -> None:
    assert not valid(header)
    sent, trace_id = child(header, random.Random(1))
    assert (sent, trace_id) == child(None, random.Random(1))
    assert sent[3:35] == trace_id.encode() != TRACE_ID
    assert sent.endswith(b"-01")


@pytest.mark.parametrize(("flags", "sent"), [(b"00", b"00"), (b"01", b"01"), (b"fe", b"00"), (b"ff", b"01")])
def test_the_sampled_flag_is_kept_and_no_other(flags: bytes, sent: bytes) -> None:
    assert child(PARENT[:-2] + flags, random.Random(1))[0][-2:] == sent


def test_ids_are_never_all_zero() -> None:
    assert valid(child(None, AllZeros())[0])
    assert valid(child(PARENT, AllZeros())[0])


@given(st.none() | st.binary(max_size=80) | st.from_regex(SENT, fullmatch=True), st.integers())
def test_what_is_sent_is_always_valid(header: bytes | None, seed: int) -> None:
    sent, trace_id = child(header, random.Random(seed))
    assert SENT.fullmatch(sent)
    assert valid(sent)
    assert sent[3:35].decode() == trace_id


@pytest.mark.parametrize("candidate", [b"abcdefgh", b"A.b_c-9" * 18, b"x" * 128])
def test_a_trusted_peer_names_the_request(candidate: bytes) -> None:
    assert request_id(candidate, True, NOW_MS, random.Random(1)) == candidate


@pytest.mark.parametrize(
    ("candidate", "trusted"),
    [
        (b"abcdefgh", False),
        (None, True),
        (b"", True),
        (b"seven77", True),
        (b"x" * 129, True),
        (b"abcdefgh\n", True),
        (b"abcd efgh", True),
        (b"abcdefgh, abcdefgh", True),
        (b"abcdefg\xc3\xa9", True),
    ],
)
def test_any_other_request_gets_a_new_id(candidate: bytes | None, trusted: bool) -> None:
    made = request_id(candidate, trusted, NOW_MS, random.Random(1))
    assert made == request_id(None, False, NOW_MS, random.Random(1)) != candidate


@given(st.integers(0, 2**48 - 1), st.integers())
def test_a_new_id_is_a_uuid_version_7_of_its_millisecond(now_ms: int, seed: int) -> None:
    text = request_id(None, False, now_ms, random.Random(seed)).decode()
    made = uuid.UUID(text)
    assert str(made) == text
    assert (made.version, made.variant) == (7, uuid.RFC_4122)
    assert made.int >> 80 == now_ms


def test_new_ids_of_one_millisecond_differ() -> None:
    rng = random.Random(1)
    assert len({request_id(None, False, NOW_MS, rng) for _ in range(1000)}) == 1000


def test_all_74_random_bits_are_used() -> None:
    class AllOnes:
        def getrandbits(self, k: int, /) -> int:
            return 2**k - 1

    made = request_id(None, False, 0, AllOnes()).decode()
    assert made == "00000000-0000-7fff-bfff-ffffffffffff"
