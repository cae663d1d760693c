"""Neither side is read faster than the other takes, also where one request ends and the next begins."""

from __future__ import annotations

import contextlib
import threading
import time

import pytest

from proxy.errors import ProxyError
from proxy.messages import Headers
from proxy.wire.body import RequestBody, Upload
from tests.support.client import RawClient
from tests.support.fig import Fig
from tests.support.origin import Connection, Origin, saying
from tests.support.wire import BySize, Serve, get, post, settled

BUFFERED_BYTES = 25_000_000  # what a process may grow by without holding the body
BODY = 190_000_000


@pytest.mark.parametrize("size", [300_000, 3_000_000, 8_000_000])
def test_an_upstream_connection_paused_at_its_last_bytes_serves_again(fig: Fig, origin: Origin, size: int) -> None:
    origin.behave = script = BySize()
    with RawClient(fig.address, window_bytes=4096) as client:
        client.send(get(f"/{size}"))
        settled(lambda: script.sent)
        assert len(client.answer().body) == size
        with RawClient(fig.address) as other:
            assert len(other.get("/2").body) == 2


def test_a_client_connection_paused_at_its_last_bytes_serves_again(fig: Fig, origin: Origin) -> None:
    origin.behave = script = BySize()
    for size in range(3_000_000, 4_500_000, 300_000):
        with RawClient(fig.address) as client:
            client.send(get(f"/{size}"))
            settled(lambda: script.sent)
            assert len(client.answer().body) == size
            assert len(client.get("/2").body) == 2


def test_an_answer_behind_one_that_is_not_read_is_not_buffered(serve: Serve, origin: Origin) -> None:
    fig = serve()
    origin.behave = script = BySize()
    for first in range(3_500_000, 4_200_000, 50_000):  # one of them ends just as fig's own buffer begins to fill
        before = fig.rss_bytes()
        with RawClient(fig.address) as client:
            client.send(get(f"/{first}") + get(f"/{BODY}"))
            settled(lambda: script.sent)
            assert fig.rss_bytes() - before < BUFFERED_BYTES, first


def test_answers_to_a_client_that_never_reads_are_not_buffered(serve: Serve, origin: Origin) -> None:
    fig = serve()
    origin.behave = saying(b"HTTP/1.1 200 OK\r\nContent-Length: 30000\r\n\r\n" + b"z" * 30_000)
    before = fig.rss_bytes()
    with (
        RawClient(fig.address, timeout_s=0.5, window_bytes=4096) as client,
        contextlib.suppress(TimeoutError, ConnectionError),
    ):
        deadline = time.monotonic() + 2
        while time.monotonic() < deadline and len(origin.requests) < 2000:
            client.sock.sendall(get("/") * 20)
            time.sleep(0.002)  # in many small parts: each is an occasion to begin the next request
    assert 0 < len(origin.requests) < 1000
    assert fig.rss_bytes() - before < BUFFERED_BYTES


@pytest.mark.parametrize("before_it", [0, 15])
def test_an_upload_to_an_origin_that_does_not_read_is_not_buffered(
    serve: Serve, origin: Origin, before_it: int
) -> None:
    fig = serve(("response_s: 1, body_s: 1", "response_s: 20, body_s: 20"))
    done = threading.Event()

    def behave(connection: Connection) -> None:
        while (request := connection.read_head()) is not None:
            if request.target == "/upload":
                done.wait(10)
                return
            done.wait(0.05)
            connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")
            return  # the upload meets a connection that is only being made

    origin.behave = behave
    before, sent = fig.rss_bytes(), 0
    with RawClient(fig.address, timeout_s=0.5) as client:
        client.send(get("/first") * before_it + post("/upload", BODY))
        with contextlib.suppress(TimeoutError):
            while sent < BODY:
                sent += client.sock.send(b"x" * min(1 << 20, BODY - sent))
        grown = fig.rss_bytes() - before
        done.set()
    assert sent < BODY
    assert grown < BUFFERED_BYTES


class _Edge:
    """A client connection that notes whether it is read."""

    paused = False

    def pause_body(self) -> None:
        self.paused = True

    def resume_body(self) -> None:
        self.paused = False

    def send_continue(self) -> None:
        raise AssertionError("nobody asked")


class _Full:
    """An upstream connection whose kernel takes nothing."""

    def open_body(self, upload: Upload) -> None:
        self.upload = upload

    def write_body(self, data: bytes) -> None:
        self.upload.pause()

    def end_body(self, trailers: Headers) -> None:
        """It forgets the upload here: nobody would resume it."""

    def abort_body(self, error: ProxyError) -> None:
        raise AssertionError(error)


def test_a_body_that_waits_whole_never_stops_the_reading_of_its_client() -> None:
    """Else fig would not hear that the client leaves."""
    edge = _Edge()
    body = RequestBody(edge)
    body.feed(b"x" * 60_000)
    body.end()
    body.pour(_Full())
    assert not edge.paused
