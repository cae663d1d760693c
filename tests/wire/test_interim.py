"""1xx answers before the final one: relayed to HTTP/1.1 clients, to nobody else (RFC 9110 15.2)."""

from __future__ import annotations

import time

import pytest

from tests.support.client import Answer, RawClient
from tests.support.origin import Connection, Origin, saying
from tests.support.wire import OK, get

HINTS = b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\nLink: </b.js>; rel=preload\r\n\r\n"


def heads(client: RawClient, count: int) -> list[Answer]:
    found = [client.head() for _ in range(count)]
    assert None not in found
    return [head for head in found if head is not None]


def test_103_comes_before_the_final_answer_is_there(client: RawClient, origin: Origin) -> None:
    def behave(connection: Connection) -> None:
        connection.read()
        connection.send(HINTS)
        time.sleep(0.3)
        connection.send(OK)

    origin.behave = behave
    started = time.monotonic()
    client.send(get("/"))
    (hints,) = heads(client, 1)
    assert time.monotonic() - started < 0.25
    assert hints.status == 103
    assert hints.values("link") == ["</a.css>; rel=preload", "</b.js>; rel=preload"]
    assert client.answer().body == b"ok"


def test_hop_by_hop_and_framing_fields_of_an_interim_answer_stay_behind(client: RawClient, origin: Origin) -> None:
    interim = b"HTTP/1.1 103 Early Hints\r\nConnection: x-hop\r\nX-Hop: 1\r\nX-Fig-Side: x\r\nLink: <a>\r\n\r\n"
    origin.behave = saying(interim + OK)
    client.send(get("/"))
    hints, final = heads(client, 2)
    assert hints.fields == [("link", "<a>")]
    assert (final.status, final.value("content-length")) == (200, "2")


def test_one_read_may_hold_several_and_the_final_one(client: RawClient, origin: Origin) -> None:
    origin.behave = saying(b"HTTP/1.1 102 Processing\r\n\r\n" + HINTS + OK)
    client.send(get("/"))
    assert [head.status for head in heads(client, 3)] == [102, 103, 200]


def test_an_http_1_0_client_hears_only_the_final_one(client: RawClient, origin: Origin) -> None:
    origin.behave = saying(HINTS + OK)
    client.send(b"GET / HTTP/1.0\r\nHost: proxy.test\r\n\r\n")
    assert heads(client, 1)[0].status == 200


def test_a_100_that_nobody_waits_for_is_dropped(client: RawClient, origin: Origin) -> None:
    origin.behave = saying(b"HTTP/1.1 100 Continue\r\n\r\n" + OK)
    client.send(get("/"))
    assert heads(client, 1)[0].status == 200


@pytest.mark.parametrize(
    "said",
    [HINTS * 21 + OK, b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", HINTS],
    ids=["too many", "101 unasked", "nothing after it"],
)
def test_what_never_becomes_a_final_answer_is_502(client: RawClient, origin: Origin, said: bytes) -> None:
    origin.behave = saying(said, close=True)
    client.send(get("/"))
    assert client.answer().status == 502


def test_a_length_after_an_interim_answer_still_shows_truncation(client: RawClient, origin: Origin) -> None:
    origin.behave = saying(HINTS + b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf", close=True)
    client.send(get("/"))
    assert not client.answer().complete


def test_the_connections_go_on_after_interim_answers(client: RawClient, origin: Origin) -> None:
    origin.behave = saying(HINTS + OK, OK)
    assert [client.get().body for _ in range(3)] == [b"ok"] * 3
    assert len(origin.connections) == 1
