"""`Expect: 100-continue` belongs to one request and waits for that request's turn."""

from __future__ import annotations

from tests.support.client import RawClient
from tests.support.fig import Fig
from tests.support.origin import Origin
from tests.support.wire import get, post, slow

EXPECT = "Expect: 100-continue"


def test_the_expectation_of_a_pipelined_request_is_kept_until_its_turn(client: RawClient, origin: Origin) -> None:
    client.send(post("/1", 1) + b"x" + post("/2", 1, EXPECT))
    assert client.answer().status == 200
    interim = client.head()
    assert interim is not None
    assert interim.status == 100
    client.send(b"y")
    assert client.answer().status == 200
    assert [request.body for request in origin.requests] == [b"x", b"y"]


def test_body_s_does_not_run_while_fig_withholds_the_100(impatient: Fig, origin: Origin) -> None:
    origin.behave = slow(0.9)
    with RawClient(impatient.address) as client:
        client.send(get("/slow") + post("/2", 1, EXPECT))
        assert client.answer().status == 200
        interim = client.head()
        assert interim is not None
        assert interim.status == 100


def test_http_1_0_gets_no_100(client: RawClient) -> None:
    client.send(b"POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nhi")
    first = client.head()
    assert first is not None
    assert first.status == 200
