"""A refusal by a limit reaches its client, and no order of arrival goes around a limit."""

from __future__ import annotations

import signal
import threading
import time

from tests.support.client import RawClient
from tests.support.fig import Fig
from tests.support.origin import Connection, Origin
from tests.support.wire import OK, Serve, get, metric, post, settled, until

CONNECTIONS = "max_headers: 60,"


def _at_most(connections: int) -> tuple[str, str]:
    return (CONNECTIONS, f"{CONNECTIONS} max_connections: {connections},")


def test_413_reaches_a_client_that_keeps_sending(fig: Fig) -> None:
    for _ in range(5):
        with RawClient(fig.address) as client:
            client.send(post("/", 3_000_000_000))
            for _ in range(15):
                client.send(b"x" * 5000)
                time.sleep(0.01)
            assert client.answer().status == 413


def test_503_over_max_connections_reaches_every_client(serve: Serve, origin: Origin) -> None:
    fig = serve(_at_most(2), ("response_s: 1", "response_s: 8"))
    answer = threading.Event()

    def behave(connection: Connection) -> None:
        connection.read()
        answer.wait(8)
        connection.send(OK)

    origin.behave = behave
    busy = [RawClient(fig.address) for _ in range(2)]
    for client in busy:
        client.send(get("/"))
    assert until(lambda: len(origin.requests) == len(busy))
    for _ in range(30):
        with RawClient(fig.address) as client:
            client.send(get("/refused"))
            assert client.answer().status == 503
    answer.set()
    for client in busy:
        assert client.answer().status == 200
        client.sock.close()


def test_max_connections_holds_for_connections_that_arrive_together(serve: Serve, origin: Origin) -> None:
    fig = serve(_at_most(20), ("keepalive_s: 2", "keepalive_s: 30"), ("head_s: 1", "head_s: 30"))
    idle = [RawClient(fig.address) for _ in range(20)]
    for client in idle:
        assert client.get().status == 200
    fig.signal(signal.SIGSTOP)
    fresh = [RawClient(fig.address) for _ in range(20)]
    fig.signal(signal.SIGCONT)
    held = settled(lambda: int(metric(fig, "fig_connections")))
    for client in idle + fresh:
        client.sock.close()
    assert 0 < held <= 20


def test_a_head_that_comes_with_the_end_of_a_body_is_counted(serve: Serve, origin: Origin) -> None:
    fig = serve()
    with RawClient(fig.address) as client:
        client.send(post("/1", 5))
        assert until(lambda: len(origin.requests) == 1)
        fig.signal(signal.SIGSTOP)
        client.send(b"xxxxxGET /2 HTTP/1.1\r\nHost: h\r\nX-Big: " + b"y" * 30_000 + b"\r\n\r\n")
        fig.signal(signal.SIGCONT)
        assert client.answer().status == 200
        assert client.answer().status == 431
