"""What an origin says out of the ordinary reaches the client in a clean form, or as a 502."""

from __future__ import annotations

import threading
import time
from collections import Counter

import pytest

from tests.support.client import RawClient
from tests.support.fig import Fig
from tests.support.origin import Connection, Origin, saying
from tests.support.wire import OK, get, metric, post, until


def test_a_body_of_an_interim_answer_never_reaches_the_client(client: RawClient, origin: Origin) -> None:
    origin.behave = saying(
        b"HTTP/1.1 104 X\r\nContent-Length: 5\r\n\r\nHELLOHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nz"
    )
    client.send(b"GET / HTTP/1.1\r\nHost: proxy.test\r\nConnection: close\r\n\r\n")
    answer = client.answer()
    assert client.ends()
    assert answer.status == 502 or answer.body == b"z"


@pytest.mark.parametrize(
    "lines",
    [b"A: b\nC: d", b"A: b\rC: d", b"A: b\r\n c: d", b"A: b\r\n\tc", b"Abc", b": b", b"A : b", b"A: b\x00", b"A: b\r"],
)
def test_a_malformed_header_line_is_502(client: RawClient, origin: Origin, lines: bytes) -> None:
    origin.behave = saying(b"HTTP/1.1 200 OK\r\n%b\r\nContent-Length: 1\r\n\r\nz" % lines)
    assert client.get().status == 502


@pytest.mark.parametrize("code", [b"099", b"000", b"001"])
def test_a_status_below_100_is_502(client: RawClient, origin: Origin, code: bytes) -> None:
    origin.behave = saying(b"HTTP/1.1 %b X\r\nContent-Length: 1\r\n\r\nz" % code)
    client.send(get("/"))
    head = client.head()
    assert head is not None
    assert head.status == 502


def test_a_control_byte_in_a_reason_never_reaches_the_client(client: RawClient, origin: Origin) -> None:
    origin.behave = saying(b"HTTP/1.1 200 O\x00K\r\nContent-Length: 1\r\n\r\nz")
    client.send(b"GET / HTTP/1.1\r\nHost: proxy.test\r\nConnection: close\r\n\r\n")
    while client._more():
        pass
    assert client.buffer.startswith(b"HTTP/1.1 ")
    assert b"\x00" not in client.buffer


def test_white_space_at_the_end_of_a_field_does_not_change_the_framing(client: RawClient, origin: Origin) -> None:
    origin.behave = saying(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked \r\nX-A: b \r\n\r\n2\r\nok\r\n0\r\n\r\n")
    answer = client.get()
    assert (answer.status, answer.body, answer.complete) == (200, b"ok", True)


def test_an_early_refusal_of_an_origin_that_resets_reaches_the_client(fig: Fig, origin: Origin) -> None:
    def behave(connection: Connection) -> None:
        connection.read_head()
        connection.send(b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno")
        time.sleep(0.02)  # a reset overtakes what the reader has not taken
        connection.reset()

    origin.behave = behave
    for _ in range(10):
        with RawClient(fig.address) as client:
            client.send(post("/", 3_000_000) + b"x" * 2_000_000)
            assert client.answer().status == 413


def _statuses(fig: Fig, clients: int, connections: int, requests: int) -> Counter[int]:
    """What `clients` threads get on so many connections each, with so many requests on each."""
    counts: Counter[int] = Counter()

    def run() -> None:
        for _ in range(connections):
            with RawClient(fig.address) as client:
                for number in range(requests):
                    counts[client.get().status] += 1
                    time.sleep(number % 3 * 0.001)

    threads = [threading.Thread(target=run) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return counts


def test_an_origin_that_resets_on_accept_is_502_and_holds_no_place(fig: Fig, origin: Origin) -> None:
    origin.behave = Connection.reset
    assert _statuses(fig, clients=4, connections=60, requests=1) == {502: 240}
    assert until(lambda: metric(fig, "fig_in_flight") == 0)
    endpoints = [
        endpoint for upstream in fig.call("GET", "/api/upstreams").json() for endpoint in upstream["endpoints"]
    ]
    assert endpoints
    assert [endpoint["in_use"] for endpoint in endpoints] == [0] * len(endpoints)


def test_an_origin_that_closes_after_each_answer_costs_a_get_nothing(fig: Fig, origin: Origin) -> None:
    def behave(connection: Connection) -> None:
        connection.read()
        connection.send(OK)
        time.sleep(len(origin.requests) % 4 * 0.001)  # before, while and after the next request is sent

    origin.behave = behave
    assert _statuses(fig, clients=3, connections=1, requests=200) == {200: 600}
