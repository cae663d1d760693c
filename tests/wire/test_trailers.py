"""Trailers go on where they may, and never among the headers (RFC 9110 6.5.1)."""

from __future__ import annotations

import pytest

from tests.support.client import RawClient
from tests.support.fig import Fig
from tests.support.origin import Connection, Origin, saying

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n"
SUM = b"X-Sum: 1\r\nX-Sum: 2\r\n\r\n"
REFUSED = (
    b"Content-Length: 9",
    b"Transfer-Encoding: chunked",
    b"Set-Cookie: a=b",
    b"Cache-Control: no-store",
    b"X-Fig-Side: legacy",
    b"X_Sum: 1",
    b"WWW-Authenticate: Basic",
    b"Location: /",
    b"Content-Type: text/html",
)


def asking(client: RawClient, *, te: bool = True, version: str = "1.1") -> None:
    line = "TE: trailers\r\nConnection: TE\r\n" if te else ""
    client.send(f"GET / HTTP/{version}\r\nHost: proxy.test\r\n{line}\r\n".encode())


def test_a_client_that_takes_trailers_gets_them(client: RawClient, origin: Origin) -> None:
    origin.behave = saying(CHUNKED + SUM)
    asking(client)
    answer = client.answer()
    assert (answer.body, answer.trailers) == (b"hello", ["X-Sum: 1", "X-Sum: 2"])
    assert answer.value("x-sum") is None
    assert (origin.requests[0].value("te"), origin.requests[0].value("connection")) == ("trailers", "TE")


def test_trailers_that_come_apart_from_the_head_are_passed_too(client: RawClient, origin: Origin) -> None:
    def behave(connection: Connection) -> None:
        connection.read()
        for part in (CHUNKED[:47], CHUNKED[47:56], CHUNKED[56:] + SUM[:5], SUM[5:]):
            connection.send(part)
            connection.sock.settimeout(0.05)
            connection.recv()

    origin.behave = behave
    asking(client)
    answer = client.answer()
    assert (answer.body, answer.trailers) == (b"hello", ["X-Sum: 1", "X-Sum: 2"])


def test_a_client_that_does_not_ask_gets_none(client: RawClient, origin: Origin) -> None:
    origin.behave = saying(CHUNKED + SUM)
    asking(client, te=False)
    answer = client.answer()
    assert (answer.body, answer.trailers) == (b"hello", [])
    assert origin.requests[0].value("te") is None


def test_an_http_1_0_client_gets_none(client: RawClient, origin: Origin) -> None:
    origin.behave = saying(CHUNKED + SUM)
    asking(client, version="1.0")
    assert client.answer().body == b"hello"
    assert client.ends()


def test_the_connection_is_used_again_with_and_without_trailers(client: RawClient, origin: Origin) -> None:
    origin.behave = saying(CHUNKED + SUM)
    for te in (True, False, True, True, False):
        asking(client, te=te)
        assert client.answer().trailers == (["X-Sum: 1", "X-Sum: 2"] if te else [])
    assert len(origin.connections) == 1


@pytest.mark.parametrize("line", REFUSED, ids=lambda line: line.partition(b":")[0].decode())
def test_fields_that_must_not_trail_stay_behind(client: RawClient, origin: Origin, line: bytes) -> None:
    origin.behave = saying(CHUNKED + line + b"\r\n\r\n")
    asking(client)
    answer = client.answer()
    assert (answer.complete, answer.trailers) == (True, [])


def test_what_connection_names_does_not_trail_either(client: RawClient, origin: Origin) -> None:
    """RFC 9110 7.6.1: header and trailer fields, both ways."""

    def behave(connection: Connection) -> None:
        request = connection.read_head()
        assert request is not None
        while not connection.buffer.endswith(b"\r\n\r\n"):
            connection.buffer += connection.recv()
        request.body = connection.buffer
        connection.send(CHUNKED.replace(b"200 OK", b"200 OK\r\nConnection: x-hop") + b"X-Hop: 1\r\n" + SUM)

    origin.behave = behave
    client.send(b"POST / HTTP/1.1\r\nHost: h\r\nConnection: X-Hop, TE\r\nTE: trailers\r\n")
    client.send(b"Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nX-Hop: 1\r\nX-Sum: 1\r\n\r\n")
    assert client.answer().trailers == ["X-Sum: 1", "X-Sum: 2"]
    assert origin.requests[0].body == b"1\r\nx\r\n0\r\nX-Sum: 1\r\n\r\n"


def trailing(connection: Connection) -> None:
    """Takes a chunked body byte by byte up to its very end, trailers included."""
    request = connection.read_head()
    assert request is not None
    while not connection.buffer.endswith(b"\r\n\r\n"):
        connection.buffer += connection.recv()
    request.body = connection.buffer
    connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")


@pytest.mark.parametrize(
    ("sent", "passed"),
    [
        (b"X-Sum: 1\r\n", b"X-Sum: 1\r\n"),
        (b"Authorization: Bearer x\r\nX-Sum: 1\r\nX-Forwarded-For: 6.6.6.6\r\n", b"X-Sum: 1\r\n"),
        (b"Cookie: a=b\r\nHost: evil\r\nX-Fig-Force: legacy\r\nX_User: 1\r\nTraceparent: x\r\n", b""),
        (b"", b""),
    ],
)
def test_trailers_of_a_request_go_on_unless_they_could_pass_for_more(
    client: RawClient, origin: Origin, sent: bytes, passed: bytes
) -> None:
    origin.behave = trailing
    client.send(b"POST / HTTP/1.1\r\nHost: proxy.test\r\nTransfer-Encoding: chunked\r\n\r\n")
    client.send(b"5\r\nhello\r\n0\r\n" + sent + b"\r\n")
    assert client.answer().status == 200
    assert origin.requests[0].body == b"5\r\nhello\r\n0\r\n" + passed + b"\r\n"


@pytest.mark.parametrize("begun", [b"0\r\nX-Sum: ", b"1;"], ids=["trailer", "chunk extension"])
def test_a_line_without_end_behind_a_body_is_refused(client: RawClient, origin: Origin, begun: bytes) -> None:
    client.send(b"POST / HTTP/1.1\r\nHost: proxy.test\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n" + begun)
    client.send(b"a" * 50_000)
    assert client.answer().status == 431
    assert not any(request.complete for request in origin.requests)


def test_a_trailer_of_an_upstream_without_end_cuts_the_answer(impatient: Fig, origin: Origin) -> None:
    taken = 0

    def behave(connection: Connection) -> None:
        nonlocal taken
        connection.read()
        connection.send(CHUNKED + b"X-Sum: ")
        while taken < 50_000_000:
            taken += connection.sock.send(b"a" * 65536)

    origin.behave = behave
    with RawClient(impatient.address) as client:
        asking(client)
        assert not client.answer().complete
    assert taken < 20_000_000  # what the kernel holds
