"""Requests sent ahead: bounded, in order, and none is begun on a connection that will not answer it."""

from __future__ import annotations

import contextlib
import signal
import socket
import threading
import time

import pytest

from tests.support.client import RawClient
from tests.support.fig import Fig
from tests.support.origin import Connection, Origin
from tests.support.wire import OK, Serve, get, post, settled, until

CUT = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc"


def _cuts(connection: Connection) -> None:
    """`/cut` is answered in part, everything else in whole."""
    while (request := connection.read()) is not None:
        connection.send(CUT if request.target == "/cut" else OK)
        if request.target == "/cut":
            return


def test_heads_pipelined_before_a_half_close_are_all_answered(client: RawClient, origin: Origin) -> None:
    def behave(connection: Connection) -> None:
        while connection.read() is not None:
            time.sleep(0.1)
            connection.send(OK[:-2])

    origin.behave = behave
    client.send(b"HEAD / HTTP/1.1\r\nHost: proxy.test\r\n\r\n" * 4)
    client.half_close()
    assert [client.answer(head_only=True).status for _ in range(4)] == [200] * 4


@pytest.mark.parametrize("behind", [get("/next"), post("/next", 0)], ids=["get", "post"])
def test_what_waits_behind_a_truncated_answer_is_never_sent(
    client: RawClient, fig: Fig, origin: Origin, behind: bytes
) -> None:
    origin.behave = _cuts
    kept = [RawClient(fig.address) for _ in range(4)]
    for other in kept:  # connections that would be at hand
        other.send(get("/prime"))
    for other in kept:
        assert other.answer().status == 200
        other.sock.close()
    client.send(get("/cut") + behind + b"\x01\r\n\r\n")
    assert not client.answer().complete
    assert client.ends()
    settled(lambda: len(origin.requests))
    targets = [request.target for request in origin.requests]
    assert "/cut" in targets
    assert "/next" not in targets


def test_requests_that_come_with_the_end_of_a_body_are_not_parsed_without_bound(serve: Serve, origin: Origin) -> None:
    fig = serve()
    answer = threading.Event()

    def behave(connection: Connection) -> None:
        while connection.read() is not None:
            answer.wait(5)
            connection.send(OK)

    origin.behave = behave
    clients = [RawClient(fig.address) for _ in range(10)]
    for client in clients:
        client.send(post("/", 30_000))
    assert until(lambda: len(origin.requests) == len(clients))
    before = fig.rss_bytes()
    fig.signal(signal.SIGSTOP)
    for client in clients:
        client.sock.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            client.sock.send(b"x" * 30_000 + b"GET / HTTP/1.1\r\nHost:h\r\n\r\n" * 12_000)
    fig.signal(signal.SIGCONT)
    settled(fig.rss_bytes)
    grown = fig.rss_bytes() - before
    answer.set()
    for client in clients:
        client.sock.close()
    assert grown < 20_000_000


def test_a_flood_of_refusals_does_not_hold_up_other_clients(serve: Serve) -> None:
    fig = serve(
        ("default: origin\n", ""), ("small: {", "small: {legacy: origin, "), ("late: {", "late: {legacy: origin, ")
    )
    # A machine that stands still for a moment does so once; what fig makes others wait for is there in every flood.
    floods = (_flooded(fig) for _ in range(3))
    assert any(0 < longest_s < max(0.3, took_s / 5) for longest_s, took_s in floods)


def _flooded(fig: Fig) -> tuple[float, float]:
    """The longest wait of another client during a flood of requests that are refused, and how long that took."""
    flood = socket.create_connection(fig.address)
    refused = threading.Thread(target=_read_all, args=(flood,), daemon=True)
    last = b"GET /nothing HTTP/1.1\r\nHost: proxy.test\r\nConnection: close\r\n\r\n"
    sender = threading.Thread(target=flood.sendall, args=(get("/nothing") * 20_000 + last,), daemon=True)
    longest_s, begun = 0.0, time.monotonic()
    with RawClient(fig.address) as client:
        assert client.get("/small/x").status == 200
        refused.start()
        sender.start()
        while refused.is_alive():
            started = time.monotonic()
            assert client.get("/small/x").status == 200
            longest_s = max(longest_s, time.monotonic() - started)
    sender.join(5)
    flood.close()
    return longest_s, time.monotonic() - begun


def _read_all(sock: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while sock.recv(1 << 20):
            pass


@pytest.mark.parametrize("split", [1, 7, 50, 200, 10_000])
@pytest.mark.parametrize("connection", ["Upgrade", "Upgrade, close"])
def test_an_upgrade_with_a_body_ends_where_its_framing_says(
    fig: Fig, origin: Origin, connection: str, split: int
) -> None:
    head = f"POST /u HTTP/1.1\r\nHost: proxy.test\r\nConnection: {connection}\r\nUpgrade: foo\r\n".encode()
    length = b"Content-Length: 300\r\n\r\n" + b"b" * 300
    chunks = b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
    for framed in (length, chunks):
        data = head + framed + get("/next")
        with RawClient(fig.address) as client:
            client.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for start in range(0, len(data), split):
                client.send(data[start : start + split])
            assert client.answer().status == 200
            assert client.ends() if "close" in connection else client.answer().status == 200
    uploads = [request.body for request in origin.requests if request.target == "/u"]
    assert uploads == [b"b" * 300, b"abc"]


def test_head_and_get_take_turns_on_one_upstream_connection(client: RawClient, origin: Origin) -> None:
    def behave(connection: Connection) -> None:
        while (request := connection.read()) is not None:
            body = b"" if request.line.startswith("HEAD") else b"2\r\nok\r\n0\r\n\r\n"
            connection.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + body)

    origin.behave = behave
    for _ in range(50):
        assert client.get(method="HEAD").status == 200
        assert client.get().body == b"ok"
    assert len(origin.connections) == 1
