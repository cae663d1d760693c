"""`Expect: 100-continue` goes end to end (RFC 9110 10.1.1): the upstream decides, or a second passes, or bytes come."""

from __future__ import annotations

import threading
import time

from tests.support.client import RawClient
from tests.support.fig import Fig
from tests.support.origin import Connection, Origin
from tests.support.wire import OK, access_line, get, post, slow, until

EXPECT = "Expect: 100-continue"


def patient(connection: Connection) -> None:
    """Reads every request to its end, never says 100."""
    while connection.read() is not None:
        connection.send(OK)


def test_the_upstreams_100_reaches_the_client_and_only_then_comes_the_body(client: RawClient, origin: Origin) -> None:
    leave = threading.Event()

    def behave(connection: Connection) -> None:
        request = connection.read_head()
        assert request is not None
        leave.wait(5)
        connection.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        connection.read_body(request)
        connection.send(OK)

    origin.behave = behave
    client.send(post("/", 5, EXPECT))
    assert until(lambda: bool(origin.requests))
    assert origin.requests[0].value("expect") == "100-continue"
    leave.set()
    started = time.monotonic()
    interim = client.head()
    assert interim is not None
    assert interim.status == 100
    assert time.monotonic() - started < 0.5  # not the second that fig waits on its own
    client.send(b"hello")
    assert client.answer().status == 200
    assert origin.requests[0].body == b"hello"


def test_a_final_answer_instead_of_100_is_passed_and_no_body_byte_is_asked_for(
    client: RawClient, origin: Origin
) -> None:
    def behave(connection: Connection) -> None:
        connection.read_head()
        connection.send(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\n\r\nno")
        connection.wait_closed()

    origin.behave = behave
    client.send(post("/", 5, EXPECT))
    first = client.head()
    assert first is not None
    assert (first.status, first.value("connection")) == (401, "close")
    assert origin.requests[0].body == b""


def test_an_upstream_that_never_says_100_gets_the_body_after_a_second(client: RawClient, origin: Origin) -> None:
    origin.behave = patient
    started = time.monotonic()
    client.send(post("/", 5, EXPECT))
    interim = client.head()
    assert interim is not None
    assert interim.status == 100
    assert 0.9 <= time.monotonic() - started < 1.6
    client.send(b"hello")
    assert client.answer().status == 200
    assert origin.requests[0].body == b"hello"


def test_a_body_that_comes_unasked_goes_on_at_once_and_no_100_follows(client: RawClient, origin: Origin) -> None:
    origin.behave = patient
    started = time.monotonic()
    client.send(post("/", 5, EXPECT) + b"hello")
    first = client.head()
    assert first is not None
    assert first.status == 200
    assert time.monotonic() - started < 0.8


def test_a_late_100_of_the_upstream_is_not_said_twice(client: RawClient, origin: Origin) -> None:
    def behave(connection: Connection) -> None:
        request = connection.read_head()
        assert request is not None
        connection.read_body(request)
        connection.send(b"HTTP/1.1 100 Continue\r\n\r\n" + OK)

    origin.behave = behave
    client.send(post("/", 5, EXPECT))
    assert [head.status for head in [client.head()] if head] == [100]
    client.send(b"hello")
    final = client.head()
    assert final is not None
    assert final.status == 200


def test_the_expectation_of_a_pipelined_request_is_kept_until_its_turn(client: RawClient, origin: Origin) -> None:
    client.send(post("/1", 1) + b"x" + post("/2", 1, EXPECT))
    assert client.answer().status == 200
    interim = client.head()
    assert interim is not None
    assert interim.status == 100
    client.send(b"y")
    assert client.answer().status == 200
    assert [request.body for request in origin.requests] == [b"x", b"y"]


def test_body_s_does_not_run_while_the_client_waits_for_leave(impatient: Fig, origin: Origin) -> None:
    origin.behave = slow(0.9)
    with RawClient(impatient.address) as client:
        client.send(get("/slow") + post("/2", 1, EXPECT))
        assert client.answer().status == 200
        interim = client.head()
        assert interim is not None
        assert interim.status == 100


def test_a_client_that_never_sends_what_it_was_asked_for_is_408(impatient: Fig, origin: Origin) -> None:
    origin.behave = patient
    with RawClient(impatient.address) as client:
        client.send(post("/never", 5, EXPECT))
        assert client.answer().status == 408
        assert client.ends()
    assert access_line(impatient, "/never")["cause"] == "body_timeout"
    assert not origin.requests[0].complete


def test_http_1_0_gets_no_100(client: RawClient, origin: Origin) -> None:
    client.send(b"POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nhi")
    first = client.head()
    assert first is not None
    assert first.status == 200
    assert origin.requests[0].value("expect") is None


def test_leave_to_a_client_that_went_meanwhile_frees_the_upstream(fig: Fig, origin: Origin) -> None:
    closed = threading.Event()

    def behave(connection: Connection) -> None:
        connection.read_head()
        if connection.wait_closed(5):
            closed.set()

    origin.behave = behave
    with RawClient(fig.address) as client:
        client.send(post("/", 5, EXPECT))
        assert until(lambda: bool(origin.requests))
        client.reset()
    assert closed.wait(1)
    assert not origin.requests[0].complete
