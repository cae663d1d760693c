"""Event streams and long polls: the first byte at once, and no upstream held for a client that has left."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable

import pytest

from tests.support.client import RawClient
from tests.support.fig import Fig
from tests.support.origin import Connection, Origin, saying
from tests.support.wire import access_line, get, metric, until

EVENTS = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


class Stream:
    """An origin that sends `first`, then an event every `every_s` (0: none), until fig lets go of it."""

    def __init__(self, first: bytes, every_s: float = 0.0) -> None:
        self.first = first
        self.every_s = every_s
        self.released_at: float | None = None

    def __call__(self, connection: Connection) -> None:
        connection.read()
        connection.sock.sendall(self.first)
        connection.sock.settimeout(self.every_s or 20)
        while True:
            try:
                if not connection.sock.recv(1):
                    break
            except TimeoutError:
                connection.send(b"5\r\nevent\r\n")
            except OSError:
                break
        self.released_at = time.monotonic()


def close(client: RawClient) -> None:
    client.sock.close()


def vanish(client: RawClient) -> None:
    client.reset()


def shut(client: RawClient) -> None:
    client.sock.shutdown(socket.SHUT_RDWR)


LEAVING = [close, vanish, shut]


@pytest.mark.parametrize("leave", LEAVING)
@pytest.mark.parametrize(
    "stream",
    [Stream(EVENTS), Stream(EVENTS + b"5\r\nevent\r\n"), Stream(EVENTS, 0.05), Stream(b"")],
    ids=["head only", "one event", "many events", "long poll"],
)
def test_the_upstream_is_released_within_a_second(
    impatient: Fig, origin: Origin, stream: Stream, leave: Callable[[RawClient], None]
) -> None:
    stream.released_at = None
    origin.behave = stream
    target = f"/stream/{time.monotonic_ns()}"
    with RawClient(impatient.address) as client:
        client.send(get(target))
        if stream.first:
            assert client.head() is not None
        else:
            assert until(lambda: bool(origin.requests))
        time.sleep(0.1)
        left_at = time.monotonic()
        leave(client)
        assert until(lambda: stream.released_at is not None, 3)
    assert stream.released_at is not None
    assert stream.released_at - left_at < 1.0
    assert until(lambda: metric(impatient, "fig_in_flight") == 0)
    entry = access_line(impatient, target)
    assert (entry["status"], entry["cause"]) == (200 if stream.first else 499, "client_gone")


def test_the_first_bytes_do_not_wait_for_more(client: RawClient, origin: Origin) -> None:
    origin.behave = Stream(EVENTS)
    client.send(get("/"))
    started = time.monotonic()
    head = client.head()
    assert head is not None
    assert head.value("content-type") == "text/event-stream"
    assert time.monotonic() - started < 0.2


def test_a_stream_that_is_quiet_for_longer_than_a_half_closed_clients_span_goes_on(
    impatient: Fig, origin: Origin
) -> None:
    origin.behave = Stream(EVENTS, 0.8)
    with RawClient(impatient.address) as client:
        client.send(get("/"))
        assert client.head() is not None
        for _ in range(3):
            assert client._line() == b"5"
            assert client._line() == b"event"


def test_an_http_1_0_client_sees_that_an_answer_without_a_length_was_cut(client: RawClient, origin: Origin) -> None:
    origin.behave = saying(EVENTS + b"5\r\nevent\r\n", close=True)
    client.send(b"GET / HTTP/1.0\r\n\r\n")
    with pytest.raises(ConnectionResetError):
        while client.sock.recv(1000):
            pass
