"""An upstream that answers before it has read the whole request body: the client gets that answer."""

from __future__ import annotations

import contextlib
import threading
import time

import pytest

from tests.support.client import RawClient
from tests.support.fig import Fig
from tests.support.origin import Connection, Origin
from tests.support.wire import Serve, access_line, metric, post, quiet, until

REFUSAL = b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 4\r\nConnection: close\r\n\r\nhuge"
SIZE = 50_000_000


def upload(client: RawClient) -> None:
    """As much as goes: the answer may end it."""
    client.send(post("/", SIZE) + b"x" * SIZE)


@pytest.mark.parametrize("end", ["close", "reset later", "stay"])
def test_a_refusal_in_the_middle_of_an_upload_reaches_the_client(
    fig: Fig, client: RawClient, origin: Origin, end: str
) -> None:
    done = threading.Event()

    def behave(connection: Connection) -> None:
        connection.read_head()
        connection.send(REFUSAL)
        if end == "stay":
            done.wait(5)
        elif end == "reset later":
            time.sleep(0.05)
            connection.reset()

    origin.behave = behave
    for _ in range(5):
        with RawClient(fig.address) as one:
            sender = threading.Thread(target=upload, args=(one,))
            sender.start()
            answer = one.answer()
            assert (answer.status, answer.body) == (413, b"huge")
            sender.join(10)
            assert not sender.is_alive()
    done.set()
    assert until(lambda: metric(fig, "fig_in_flight") == 0)
    assert not any(request.complete for request in origin.requests)


def test_an_answer_that_streams_while_the_body_still_comes_is_relayed_both_ways(
    client: RawClient, origin: Origin
) -> None:
    def behave(connection: Connection) -> None:
        connection.read_head()
        connection.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(3):
            data = connection.recv()
            connection.send(b"%x\r\n%b\r\n" % (len(data), data))
        connection.send(b"0\r\n\r\n")
        connection.wait_closed()

    origin.behave = behave
    client.send(post("/", 3))
    head = client.head()
    assert head is not None
    assert head.status == 200
    for letter in (b"a", b"b", b"c"):
        client.send(letter)
        while b"1\r\n" + letter not in client.buffer:
            client.buffer += client.sock.recv(100)


def test_the_connection_is_closed_after_an_early_answer(client: RawClient, origin: Origin) -> None:
    def behave(connection: Connection) -> None:
        connection.read_head()
        connection.send(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno")
        connection.wait_closed()

    origin.behave = behave
    client.send(post("/", 1000) + b"x")
    answer = client.answer()
    assert (answer.status, answer.value("connection")) == (403, "close")
    assert client.ends()
    assert len(origin.requests) == 1


def test_an_early_answer_that_stalls_is_cut_though_the_client_keeps_its_body_back(
    fig: Fig, client: RawClient, origin: Origin
) -> None:
    def behave(connection: Connection) -> None:
        connection.read_head()
        connection.send(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 100\r\n\r\nhello")
        connection.wait_closed(10)

    origin.behave = behave
    client.sock.settimeout(4)
    client.send(post("/early/stall", 5, "Expect: 100-continue"))
    answer = client.answer()
    assert (answer.status, answer.body, answer.complete) == (401, b"hello", False)
    assert access_line(fig, "/early/stall")["cause"] == "body_timeout"


def test_a_refusal_behind_which_the_whole_body_arrived_reaches_the_client(fig: Fig, origin: Origin) -> None:
    def behave(connection: Connection) -> None:
        connection.read_head()
        connection.send(REFUSAL)

    origin.behave = behave
    for _ in range(30):
        with RawClient(fig.address) as client:
            client.send(post("/", 2_000_000) + b"x" * 2_000_000)
            assert client.answer().status == 413


def test_a_pause_in_reading_an_early_answer_costs_no_byte_and_no_connection(serve: Serve, origin: Origin) -> None:
    fig = serve(("write_s: 2", "write_s: 4"))

    def behave(connection: Connection) -> None:
        request = connection.read_head()
        assert request is not None
        size = int(request.target[1:])
        connection.send(b"HTTP/1.1 403 Forbidden\r\nContent-Length: %d\r\n\r\n" % size + b"y" * size)
        connection.wait_closed(10)

    origin.behave = behave
    sizes = range(2_600_000, 4_600_000, 50_000)  # whichever of them ends in fig's own buffer
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(RawClient(fig.address)) for _ in sizes]
        for client, size in zip(clients, sizes, strict=True):
            client.send(post(f"/{size}", 1000))
            assert client.head() is not None
        time.sleep(2.5)  # longer than fig waits for a client that has its answer
        for client, size in zip(clients, sizes, strict=True):
            while len(client.buffer) < size and client._more():
                pass
            assert len(client.buffer) == size
        assert until(lambda: quiet(fig), 8)
