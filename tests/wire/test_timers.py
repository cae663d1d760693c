"""Each phase of a client connection has its own timer, and no event of another phase stops or starts it."""

from __future__ import annotations

import threading
import time

import pytest

from tests.support.client import RawClient
from tests.support.fig import Fig
from tests.support.origin import Connection, Origin
from tests.support.wire import BySize, Serve, get, metric, post, quiet, settled, slow, until

BIG = 50_000_000  # more than all kernel buffers on the way
UNSENT_TAIL = range(2_500_000, 4_600_000, 50_000)  # whichever of them ends in fig's own buffer


@pytest.mark.parametrize("size", [300_000, 3_000_000])
def test_keepalive_s_runs_after_an_answer_that_ended_while_writing_was_paused(
    impatient: Fig, origin: Origin, size: int
) -> None:
    origin.behave = script = BySize()
    with RawClient(impatient.address, window_bytes=4096) as client:
        client.send(get(f"/{size}"))
        settled(lambda: script.sent)
        assert len(client.answer().body) == size
        assert client.ends(3)


@pytest.mark.parametrize("more", [get("/2"), b"\x00bad\r\n\r\n"], ids=["request", "malformed"])
def test_write_s_runs_on_when_more_requests_arrive(impatient: Fig, origin: Origin, more: bytes) -> None:
    origin.behave = script = BySize()
    with RawClient(impatient.address, window_bytes=4096) as client:
        client.send(get(f"/{BIG}"))
        settled(lambda: script.sent)
        client.send(more)
        assert until(lambda: metric(impatient, "fig_in_flight") == 0, 3)


def test_head_s_cuts_half_a_head_that_came_while_writing_was_paused(impatient: Fig, origin: Origin) -> None:
    origin.behave = script = BySize()
    with RawClient(impatient.address, window_bytes=4096) as client:
        client.send(get("/3000000") + b"GET /half HTTP/1.1\r\n")
        settled(lambda: script.sent)
        assert len(client.answer().body) == 3_000_000
        client.sock.settimeout(3)
        answer = client.head()
        assert answer is None or answer.status == 408


def test_head_s_times_half_a_head_that_came_with_the_request_before(serve: Serve, origin: Origin) -> None:
    fig = serve(("head_s: 1", "head_s: 0.5"), ("keepalive_s: 2", "keepalive_s: 75"))
    with RawClient(fig.address, timeout_s=4) as client:
        client.send(get("/1") + b"GET /2 HTTP/1.1\r\nHo")
        assert client.answer().status == 200
        answer = client.head()
        assert answer is None or answer.status == 408


def test_a_connection_with_unsent_bytes_is_dropped_at_write_s(impatient: Fig, origin: Origin) -> None:
    origin.behave = script = BySize()
    clients = [RawClient(impatient.address) for _ in UNSENT_TAIL]
    for client, size in zip(clients, UNSENT_TAIL, strict=True):
        client.send(get(f"/{size}"))
    settled(lambda: script.sent)
    assert until(lambda: quiet(impatient), 5)
    for client in clients:
        client.sock.close()


@pytest.mark.parametrize("count", [16, 17])
def test_body_s_waits_while_fig_itself_reads_no_more(impatient: Fig, origin: Origin, count: int) -> None:
    origin.behave = slow(0.9)
    with RawClient(impatient.address) as client:
        client.send(get("/slow") + get("/q") * (count - 2) + post("/body", 20_000) + b"y" * 20_000)
        assert [client.answer().status for _ in range(count)] == [200] * count


@pytest.mark.parametrize("count", [16, 18])
def test_head_s_waits_while_fig_itself_reads_no_more(impatient: Fig, origin: Origin, count: int) -> None:
    origin.behave = slow(0.9)
    with RawClient(impatient.address) as client:
        client.send(get("/slow"))
        assert until(lambda: len(origin.requests) == 1)
        for part in (get("/q") * (count - 2) + b"GET /b HTTP/1.1\r\nHost: h\r\nX-A: ", b"y" * 9000, b"y\r\n\r\n"):
            client.send(part)
            time.sleep(0.03)  # parts of their own for the reader
        assert [client.answer().status for _ in range(count)] == [200] * count


def test_a_stray_line_end_after_a_request_is_no_late_head(impatient: Fig, origin: Origin) -> None:
    origin.behave = slow(0.9)
    with RawClient(impatient.address) as client:
        client.send(post("/slow", 1) + b"x")
        assert until(lambda: len(origin.requests) == 1)
        client.send(b"\r\n")
        assert client.answer().status == 200
        assert client.ends(3), client.buffer


def test_an_answer_that_stalls_after_its_upload_is_cut(client: RawClient, origin: Origin) -> None:
    done = threading.Event()

    def behave(connection: Connection) -> None:
        connection.read_head()
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhello")
        taken = len(connection.buffer)
        while taken < 20_000_000 and not connection.eof:
            taken += len(connection.recv())
        done.wait(8)

    origin.behave = behave
    started = time.monotonic()
    client.send(post("/", 20_000_000) + b"x" * 20_000_000)
    client.sock.settimeout(5)
    answer = client.answer()
    done.set()
    assert (answer.body, answer.complete) == (b"hello", False)
    assert time.monotonic() - started < 4


def test_an_answer_is_not_cut_while_its_upload_moves(client: RawClient, origin: Origin) -> None:
    def behave(connection: Connection) -> None:
        request = connection.read_head()
        assert request is not None
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n")
        connection.read_body(request)
        connection.send(b"done")

    origin.behave = behave
    client.send(post("/", 30_000))
    for _ in range(15):
        client.send(b"x" * 2000)
        time.sleep(0.1)  # longer than body_s in all, never body_s without a byte
    answer = client.answer()
    assert (answer.body, answer.complete) == (b"done", True)


@pytest.mark.soak
def test_a_slow_reader_gets_the_whole_of_an_early_answer(fig: Fig, origin: Origin) -> None:
    size = 6_000_000
    done = threading.Event()

    def behave(connection: Connection) -> None:
        connection.read_head()
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + b"y" * size)
        done.wait(10)

    origin.behave = behave
    with RawClient(fig.address, window_bytes=65536) as client:
        client.send(post("/", 3_000_000))
        assert client.head() is not None
        while len(client.buffer) < size and client._more():
            time.sleep(0.06)
        done.set()
        assert len(client.buffer) == size
