"""A client that leaves is told as such in every phase, and nothing of it stays."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

import pytest

from tests.support.client import RawClient
from tests.support.fig import Fig
from tests.support.origin import Connection, Origin, deaf_port
from tests.support.wire import Serve, access_line, get, metric, post, settled, until


@pytest.fixture
def full_port() -> Iterator[int]:
    with deaf_port() as port:
        yield port


def _leave(fig: Fig, client: RawClient) -> None:
    client.sock.close()
    assert until(lambda: metric(fig, "fig_in_flight") == 0, 1.5)


def test_leaving_while_fig_connects_is_499(serve: Serve, origin: Origin, full_port: int) -> None:
    fig = serve(
        (f'origin: {{endpoints: ["{origin.url}"]', f'origin: {{endpoints: ["http://127.0.0.1:{full_port}"]'),
        ("connect_s: 1", "connect_s: 5"),
    )
    client = RawClient(fig.address)
    client.send(get("/aborted/connect"))
    assert until(lambda: metric(fig, "fig_in_flight") == 1)
    _leave(fig, client)
    entry = access_line(fig, "/aborted/connect")
    assert (entry["status"], entry["cause"]) == (499, "client_gone")


@pytest.mark.parametrize("size", [3, 99_999_990], ids=["download", "paused"])
def test_leaving_in_an_answer_keeps_its_status_and_names_the_client(serve: Serve, origin: Origin, size: int) -> None:
    fig = serve(("response_s: 1, body_s: 1", "response_s: 5, body_s: 5"))
    done = threading.Event()
    sent = [0]

    def behave(connection: Connection) -> None:
        connection.read_head()
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n")
        while sent[0] < size:
            sent[0] += connection.sock.send(b"x" * min(size - sent[0], 1 << 18))
        done.wait(6)

    origin.behave = behave
    client = RawClient(fig.address)
    client.send(get(f"/aborted/{size}"))
    assert client.head() is not None
    settled(lambda: sent[0])
    _leave(fig, client)
    done.set()
    entry = access_line(fig, f"/aborted/{size}")
    assert (entry["status"], entry["cause"]) == (200, "client_gone")


def test_a_reset_is_heard_while_the_upstream_holds_the_upload_up(impatient: Fig, origin: Origin) -> None:
    done = threading.Event()

    def behave(connection: Connection) -> None:
        connection.read_head()
        done.wait(10)

    origin.behave = behave
    with RawClient(impatient.address) as client:
        client.send(post("/held", 50_000_000))
        client.sock.setblocking(False)
        sent = [0]

        def push() -> int:
            with contextlib.suppress(BlockingIOError):
                sent[0] += client.sock.send(b"x" * 262144)
            return sent[0]

        settled(push, quiet_s=0.5)
        assert metric(impatient, "fig_in_flight") == 1
        client.reset()
        assert until(lambda: metric(impatient, "fig_in_flight") == 0, 1.5)
    done.set()
    assert (access_line(impatient, "/held")["status"], access_line(impatient, "/held")["cause"]) == (499, "client_gone")
