"""Neither side is read faster than the other takes, also where one request ends and the next begins."""

from __future__ import annotations

import contextlib
import threading

import pytest

from tests.support.client import RawClient
from tests.support.fig import Fig
from tests.support.origin import Connection, Origin
from tests.support.wire import OK, BySize, Serve, get, post, settled, until

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


@pytest.mark.parametrize("window_bytes", [2048, None], ids=["small window", "usual window"])
def test_an_answer_behind_one_that_is_not_read_is_not_buffered(
    serve: Serve, origin: Origin, window_bytes: int | None
) -> None:
    fig = serve()
    origin.behave = script = BySize()
    for first in range(100_000, 1_000_000, 100_000) if window_bytes else range(2_400_000, 4_500_000, 200_000):
        before = fig.rss_bytes()
        with RawClient(fig.address, window_bytes=window_bytes) as client:
            client.send(get(f"/{first}") + get(f"/{BODY}"))
            settled(lambda: script.sent)
            assert fig.rss_bytes() - before < BUFFERED_BYTES, first


def test_answers_to_a_client_that_never_reads_are_not_buffered(serve: Serve, origin: Origin) -> None:
    fig = serve()
    origin.behave = BySize()
    before = fig.rss_bytes()
    with RawClient(fig.address) as client:
        client.send(get("/30000") * 3000)
        assert not until(lambda: len(origin.requests) >= 1000, 1.5)  # 30 MB; unbounded, that takes a moment
        assert origin.requests
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
            connection.send(OK)

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
