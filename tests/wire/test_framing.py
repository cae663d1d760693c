"""Both messages are framed anew, and nothing of the old framing gets through."""

from __future__ import annotations

import pytest

from tests.support.client import RawClient
from tests.support.origin import Connection, Origin, saying


def test_a_length_body_arrives_with_one_length(client: RawClient, origin: Origin) -> None:
    client.send(b"POST / HTTP/1.1\r\nHost: proxy.test\r\nContent-Length: 5\r\n\r\nhello")
    assert client.answer().status == 200
    assert origin.requests[0].body == b"hello"
    assert origin.requests[0].values("content-length") == ["5"]
    assert origin.requests[0].values("transfer-encoding") == []


def test_a_chunked_body_arrives_chunked_without_extensions(client: RawClient, origin: Origin) -> None:
    client.send(
        b"POST / HTTP/1.1\r\nHost: proxy.test\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"3;name=value\r\nabc\r\n2\r\nde\r\n0\r\nX-Trailer: smuggled\r\n\r\n"
    )
    assert client.answer().status == 200
    request = origin.requests[0]
    assert (request.body, request.complete) == (b"abcde", True)
    assert request.values("transfer-encoding") == ["chunked"]
    assert request.values("content-length") == []
    assert b"smuggled" not in request.head


def test_an_empty_put_keeps_its_zero_length(client: RawClient, origin: Origin) -> None:
    client.send(b"PUT / HTTP/1.1\r\nHost: proxy.test\r\nContent-Length: 0\r\n\r\n")
    assert client.answer().status == 200
    assert origin.requests[0].values("content-length") == ["0"]


def test_a_chunked_answer_reaches_the_client_chunked(client: RawClient, origin: Origin) -> None:
    origin.behave = saying(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;x=y\r\nhello\r\n0\r\nX-T: 1\r\n\r\n"
    )
    answer = client.get()
    assert (answer.body, answer.complete) == (b"hello", True)
    assert answer.values("transfer-encoding") == ["chunked"]
    assert answer.value("x-t") is None


def test_an_answer_until_close_reaches_the_client_chunked(client: RawClient, origin: Origin) -> None:
    origin.behave = saying(b"HTTP/1.1 200 OK\r\n\r\nuntil close", close=True)
    answer = client.get()
    assert (answer.body, answer.complete) == (b"until close", True)
    assert answer.values("transfer-encoding") == ["chunked"]
    assert client.get("/again").body == b"until close"


def test_head_keeps_the_length_and_has_no_body(client: RawClient, origin: Origin) -> None:
    origin.behave = saying(b"HTTP/1.1 200 OK\r\nContent-Length: 1234\r\n\r\n")
    answer = client.get(method="HEAD")
    assert answer.value("content-length") == "1234"
    assert client.get(method="HEAD").status == 200
    assert len(origin.connections) == 1


def test_a_body_after_head_never_answers_the_next_request(client: RawClient, origin: Origin) -> None:
    def behave(connection: Connection) -> None:
        request = connection.read()
        assert request is not None
        if request.line.startswith("HEAD"):
            connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nEVIL")
            connection.read()
        else:
            connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood")

    origin.behave = behave
    assert client.get(method="HEAD").status == 200
    assert client.get("/next").body == b"good"


@pytest.mark.parametrize("status", [204, 304])
def test_a_bodyless_status_ends_at_its_head(client: RawClient, origin: Origin, status: int) -> None:
    origin.behave = saying(
        b"HTTP/1.1 %d X\r\nETag: e\r\n\r\n" % status, b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\ntwo"
    )
    answer = client.get()
    assert (answer.status, answer.body) == (status, b"")
    assert answer.value("transfer-encoding") is None
    assert client.get("/2").body == b"two"


def test_no_length_goes_out_with_204(client: RawClient, origin: Origin) -> None:
    origin.behave = saying(b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n")
    assert client.get().value("content-length") is None


def test_a_304_keeps_the_length_of_what_it_stands_for(client: RawClient, origin: Origin) -> None:
    origin.behave = saying(b"HTTP/1.1 304 Not Modified\r\nContent-Length: 99\r\n\r\n")
    assert client.get().value("content-length") == "99"
    assert client.get("/again").status == 304


def test_http_1_0_gets_no_chunks_and_a_close(client: RawClient, origin: Origin) -> None:
    origin.behave = saying(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n")
    client.send(b"GET / HTTP/1.0\r\nHost: proxy.test\r\n\r\n")
    answer = client.answer()
    assert (answer.body, answer.value("transfer-encoding")) == (b"hello", None)
    assert client.ends()


def test_http_1_0_keeps_alive_when_it_asks_to(client: RawClient, origin: Origin) -> None:
    for _ in range(2):
        client.send(b"GET / HTTP/1.0\r\nHost: proxy.test\r\nConnection: keep-alive\r\n\r\n")
        answer = client.answer()
        assert (answer.body, answer.value("connection")) == (b"ok", "keep-alive")
    assert all(request.line.endswith("HTTP/1.1") for request in origin.requests)


def test_an_upgrade_that_is_not_taken_goes_on_as_http(client: RawClient, origin: Origin) -> None:
    client.send(
        b"POST /1 HTTP/1.1\r\nHost: proxy.test\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
        b"HTTP2-Settings: AAMAAABkAAQAAP__\r\nContent-Length: 5\r\n\r\nhello"
        b"GET /2 HTTP/1.1\r\nHost: proxy.test\r\n\r\n"
    )
    assert client.answer().status == 200
    assert client.answer().status == 200
    assert [(request.target, request.body) for request in origin.requests] == [("/1", b"hello"), ("/2", b"")]
    assert origin.requests[0].values("upgrade") == []


def test_an_answer_loses_what_concerned_its_own_connection(client: RawClient, origin: Origin) -> None:
    origin.behave = saying(
        b"HTTP/1.1 200 OK\r\nConnection: X-Hop, keep-alive\r\nX-Hop: 1\r\nKeep-Alive: timeout=9\r\nX-Keep: caf\xe9 \r\n"
        b"Set-Cookie: a=1, b\r\nSet-Cookie: c=2\r\nX-Request-Id: theirs\r\nX-Fig-Side: spoofed\r\n"
        b"Content-Length: 2\r\n\r\nok"
    )
    answer = client.get()
    assert answer.value("x-keep") == "caf\xe9"
    assert answer.values("set-cookie") == ["a=1, b", "c=2"]
    assert [answer.value(name) for name in ("x-hop", "keep-alive", "connection", "x-fig-side")] == [None] * 4
    assert answer.values("x-request-id") != ["theirs"]
    assert len(answer.values("x-request-id")) == len(answer.values("date")) == 1


def test_a_date_of_the_upstream_stays_alone(client: RawClient, origin: Origin) -> None:
    origin.behave = saying(b"HTTP/1.1 200 OK\r\nDate: then\r\nServer: old/1\r\nContent-Length: 0\r\n\r\n")
    answer = client.get()
    assert (answer.values("date"), answer.values("server")) == (["then"], ["old/1"])


@pytest.mark.parametrize("size", [1, 4096, 65536, 3_000_000])
def test_bodies_of_any_size_arrive_whole_both_ways(client: RawClient, origin: Origin, size: int) -> None:
    def echo(connection: Connection) -> None:
        while (request := connection.read()) is not None:
            connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(request.body), request.body))

    origin.behave = echo
    body = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    client.send(b"POST / HTTP/1.1\r\nHost: proxy.test\r\nContent-Length: %d\r\n\r\n" % size)
    client.send(body)
    assert client.answer().body == body
