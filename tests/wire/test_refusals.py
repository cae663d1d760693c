"""Malformed requests get an answer that says why, a close, and never reach an upstream."""

from __future__ import annotations

import json

import pytest

from tests.support.client import RawClient
from tests.support.origin import Origin

HOST = b"Host: proxy.test\r\n"
MALFORMED = {
    "both framings": (
        b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        400,
    ),
    "two lengths": (b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", 400),
    "signed length": (b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: +3\r\n\r\nabc", 400),
    "endless length": (b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 9223372036854775808\r\n\r\n", 400),
    "unknown coding": (b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: gzip\r\n\r\n", 501),
    "coding in 1.0": (b"POST / HTTP/1.0\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    "bare line feeds": (b"GET / HTTP/1.1\nHost: proxy.test\n\n", 400),
    "folded line": (b"GET / HTTP/1.1\r\n" + HOST + b"X: a\r\n b\r\n\r\n", 400),
    "space before colon": (b"GET / HTTP/1.1\r\nHost : proxy.test\r\n\r\n", 400),
    "NUL in a value": (b"GET / HTTP/1.1\r\n" + HOST + b"X: a\0b\r\n\r\n", 400),
    "no Host": (b"GET / HTTP/1.1\r\n\r\n", 400),
    "two Hosts": (b"GET / HTTP/1.1\r\n" + HOST + HOST + b"\r\n", 400),
    "bad Host": (b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400),
    "two Authorizations": (b"GET / HTTP/1.1\r\n" + HOST + b"Authorization: a\r\nAuthorization: b\r\n\r\n", 400),
    "HTTP/2.0 in text": (b"GET / HTTP/2.0\r\n" + HOST + b"\r\n", 400),
    "HTTP/0.9": (b"GET /\r\n\r\n", 400),
    "fragment": (b"GET /a#b HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    "target without slash": (b"GET a HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    "userinfo": (b"GET http://u:p@proxy.test/ HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    "star with GET": (b"GET * HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    "not HTTP": (b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03\r\n\r\n", 400),
    "unknown method": (b"BREW / HTTP/1.1\r\n" + HOST + b"\r\n", 501),
    "CONNECT": (b"CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n", 405),
    "TRACE": (b"TRACE / HTTP/1.1\r\n" + HOST + b"\r\n", 405),
    "many headers": (b"GET / HTTP/1.1\r\n" + HOST + b"X: y\r\n" * 100 + b"\r\n", 431),
    "large head": (b"GET / HTTP/1.1\r\n" + HOST + b"X: " + b"y" * 20000 + b"\r\n\r\n", 431),
    "endless head": (b"GET / HTTP/1.1\r\n" + HOST + b"X: " + b"y" * 40000, 431),
    "long target": (b"GET /" + b"y" * 40000, 414),
    "encoded control": (b"GET /a%00b HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    "ambiguous path": (b"GET /x/..%2fsmall/y HTTP/1.1\r\n" + HOST + b"\r\n", 400),
    "large body by length": (b"POST /small/x HTTP/1.1\r\n" + HOST + b"Content-Length: 1001\r\n\r\n", 413),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_it_is_refused_and_nothing_reaches_the_origin(client: RawClient, origin: Origin, name: str) -> None:
    data, status = MALFORMED[name]
    client.send(data)
    answer = client.answer()
    assert answer.status == status
    assert answer.value("content-type") == "application/problem+json"
    problem = json.loads(answer.body)
    assert problem["status"] == status
    assert problem["request_id"] == answer.value("x-request-id")
    assert problem["reason"]
    assert origin.requests == []


@pytest.mark.parametrize("name", sorted(set(MALFORMED) - {"encoded control", "ambiguous path"}))
def test_the_connection_is_closed_after_it(client: RawClient, name: str) -> None:
    client.send(MALFORMED[name][0])
    client.answer()
    assert client.ends(4)


def test_what_follows_a_malformed_request_is_never_read(client: RawClient, origin: Origin) -> None:
    client.send(b"GET /1 HTTP/1.1\r\nHost: a b\r\n\r\nGET /2 HTTP/1.1\r\nHost: proxy.test\r\n\r\n")
    assert client.answer().status == 400
    assert client.ends()
    assert origin.requests == []


def test_requests_before_a_malformed_one_are_answered_first(client: RawClient, origin: Origin) -> None:
    client.send(b"GET /1 HTTP/1.1\r\nHost: proxy.test\r\n\r\nGET /2 HTTP/1.1\r\n\r\n")
    assert client.answer().status == 200
    assert client.answer().status == 400
    assert client.ends()
    assert [request.target for request in origin.requests] == ["/1"]


def test_a_chunked_body_over_the_limit_is_refused_and_never_completes(client: RawClient, origin: Origin) -> None:
    client.send(b"POST /small/x HTTP/1.1\r\nHost: proxy.test\r\nTransfer-Encoding: chunked\r\n\r\n")
    for _ in range(3):
        client.send(b"1f4\r\n" + b"x" * 500 + b"\r\n")
    assert client.answer().status == 413
    assert not any(request.complete for request in origin.requests)


def test_absolute_form_takes_its_own_authority(client: RawClient, origin: Origin) -> None:
    client.send(b"GET http://other.test/x?y HTTP/1.1\r\nHost: proxy.test\r\n\r\n")
    assert client.answer().status == 200
    assert (origin.requests[0].target, origin.requests[0].values("host")) == ("/x?y", ["other.test"])


def test_options_star_goes_to_the_default_upstream(client: RawClient, origin: Origin) -> None:
    assert client.get("*", method="OPTIONS").status == 200
    assert origin.requests[0].line == "OPTIONS * HTTP/1.1"


@pytest.mark.parametrize("name", ["CONNECT", "TRACE"])
def test_a_refused_method_comes_with_those_that_are_not(client: RawClient, name: str) -> None:
    """RFC 9110 15.5.6."""
    client.send(MALFORMED[name][0])
    allow = client.answer().value("allow")
    assert allow is not None
    assert "GET" in allow.split(", ")
    assert name not in allow
