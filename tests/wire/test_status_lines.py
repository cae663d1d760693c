"""Only HTTP/1 answers are taken from an upstream, and only framings that its version knows."""

from __future__ import annotations

import pytest

from tests.support.client import RawClient
from tests.support.fig import Fig
from tests.support.origin import Origin, saying
from tests.support.tally import pool
from tests.support.wire import until

CHUNKS = b"Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"
LENGTH = b"Content-Length: 2\r\n\r\nok"


@pytest.mark.parametrize("version", ["HTTP/2.0", "HTTP/0.9", "RTSP/1.0", "ICE/1.0", "HTTP/1.2"])
def test_other_protocols_are_502(client: RawClient, origin: Origin, version: str) -> None:
    origin.behave = saying(f"{version} 200 OK\r\n".encode() + LENGTH)
    assert client.get().status == 502


def test_another_protocol_behind_an_interim_answer_is_502(client: RawClient, origin: Origin) -> None:
    origin.behave = saying(b"HTTP/1.1 103 Early Hints\r\n\r\nRTSP/1.0 200 OK\r\n" + LENGTH)
    assert client.get().status == 502


@pytest.mark.parametrize("connection", [b"", b"Connection: keep-alive\r\n"])
def test_chunks_in_http_1_0_are_502(client: RawClient, fig: Fig, origin: Origin, connection: bytes) -> None:
    """RFC 9112 6.1: its framing is faulty, whatever it says."""
    origin.behave = saying(b"HTTP/1.0 200 OK\r\n" + connection + CHUNKS)
    assert client.get().status == 502
    assert until(lambda: pool(fig, "origin") == (0, 0))


def test_lengths_in_http_1_0_are_taken(client: RawClient, origin: Origin) -> None:
    origin.behave = saying(b"HTTP/1.0 200 OK\r\n" + LENGTH, close=True)
    assert client.get().body == b"ok"
