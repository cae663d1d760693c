"""Client connections: kept, pipelined, half-closed, abandoned, slow."""

from __future__ import annotations

import threading
import time

from tests.support.client import RawClient
from tests.support.fig import Fig
from tests.support.origin import Connection, Origin, saying

GET = b"GET /%d HTTP/1.1\r\nHost: proxy.test\r\n\r\n"


def test_both_sides_keep_their_connections(client: RawClient, origin: Origin) -> None:
    for number in range(20):
        assert client.get(f"/{number}").status == 200
    assert len(origin.connections) == 1


def test_pipelined_requests_are_answered_in_order(client: RawClient, origin: Origin) -> None:
    def behave(connection: Connection) -> None:
        while (request := connection.read()) is not None:
            time.sleep(0.05 if request.target == "/0" else 0)
            text = request.target.encode()
            connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(text), text))

    origin.behave = behave
    client.send(b"".join(GET % number for number in range(200)))
    assert [client.answer().body for _ in range(200)] == [b"/%d" % number for number in range(200)]


def test_pipelined_bodies_stay_with_their_requests(client: RawClient, origin: Origin) -> None:
    def echo(connection: Connection) -> None:
        while (request := connection.read()) is not None:
            connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(request.body), request.body))

    origin.behave = echo
    bodies = [b"a" * 10, b"b" * 70_000, b"", b"c" * 5]
    client.send(
        b"".join(b"POST / HTTP/1.1\r\nHost: proxy.test\r\nContent-Length: %d\r\n\r\n%b" % (len(b), b) for b in bodies)
    )
    assert [client.answer().body for _ in bodies] == bodies


def test_nothing_is_processed_after_connection_close(client: RawClient, origin: Origin) -> None:
    client.send(b"GET /1 HTTP/1.1\r\nHost: proxy.test\r\nConnection: close\r\n\r\n" + GET % 2)
    answer = client.answer()
    assert (answer.status, answer.value("connection")) == (200, "close")
    assert client.ends()
    assert [request.target for request in origin.requests] == ["/1"]


def test_a_client_that_half_closes_gets_its_answer(client: RawClient) -> None:
    client.send(GET % 1)
    client.half_close()
    assert client.answer().status == 200


def test_a_client_that_half_closes_gets_an_answer_that_takes_its_time(client: RawClient, origin: Origin) -> None:
    def behave(connection: Connection) -> None:
        connection.read()
        time.sleep(0.9)
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    origin.behave = behave
    client.send(GET % 1)
    client.half_close()
    assert client.answer().body == b"ok"


def test_a_body_cut_short_never_arrives_complete(client: RawClient, origin: Origin) -> None:
    client.send(b"POST / HTTP/1.1\r\nHost: proxy.test\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
    time.sleep(0.1)
    client.reset()
    deadline = time.monotonic() + 3
    while not (origin.connections and origin.connections[0].eof) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert origin.connections[0].eof
    assert not any(request.complete for request in origin.requests)


def test_half_closing_in_a_body_is_400_and_never_complete(client: RawClient, origin: Origin) -> None:
    client.send(b"POST / HTTP/1.1\r\nHost: proxy.test\r\nContent-Length: 10\r\n\r\nhello")
    time.sleep(0.1)
    client.half_close()
    assert client.answer().status == 400
    assert not any(request.complete for request in origin.requests)


def test_a_client_that_leaves_releases_the_upstream_within_a_second(fig: Fig, origin: Origin) -> None:
    closed_after: list[float] = []
    arrived = threading.Event()

    def behave(connection: Connection) -> None:
        connection.read()
        arrived.set()
        started = time.monotonic()
        if connection.wait_closed(5):
            closed_after.append(time.monotonic() - started)

    origin.behave = behave
    with RawClient(fig.address) as client:
        client.send(GET % 1)
        assert arrived.wait(5)
    deadline = time.monotonic() + 3
    while not closed_after and time.monotonic() < deadline:
        time.sleep(0.01)
    assert closed_after
    assert closed_after[0] < 0.9  # response_s is 1 s: the timeout did not do it


def test_100_continue_is_sent_once_to_a_client_that_waits(client: RawClient, origin: Origin) -> None:
    client.send(b"POST / HTTP/1.1\r\nHost: proxy.test\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n")
    interim = client.head()
    assert interim is not None
    assert interim.status == 100
    client.send(b"hello")
    assert client.answer().status == 200
    assert origin.requests[0].body == b"hello"


def test_a_slow_head_is_cut_at_head_s(fig: Fig, origin: Origin) -> None:
    with RawClient(fig.address) as client:
        started = time.monotonic()
        client.send(b"GET / HTTP/1.1\r\nHost: proxy.test\r\n")
        for _ in range(40):
            client.send(b"X: y\r\n")
            time.sleep(0.05)
            if client_closed(client):
                break
        assert 0.8 < time.monotonic() - started < 2.0
    assert origin.requests == []


def client_closed(client: RawClient) -> bool:
    client.sock.setblocking(False)
    try:
        client.buffer += (data := client.sock.recv(65536))
        return not data or b"408" in client.buffer
    except BlockingIOError:
        return False
    except OSError:
        return True
    finally:
        client.sock.setblocking(True)


def test_a_silent_client_is_cut_at_head_s(fig: Fig) -> None:
    with RawClient(fig.address) as client:
        started = time.monotonic()
        assert client.ends(4)
        assert 0.8 < time.monotonic() - started < 2.0


def test_a_slow_body_is_408(client: RawClient, origin: Origin) -> None:
    client.send(b"POST / HTTP/1.1\r\nHost: proxy.test\r\nContent-Length: 1000\r\n\r\nx")
    assert client.answer().status == 408
    assert not any(request.complete for request in origin.requests)


def test_an_idle_connection_closes_after_keepalive_s(client: RawClient) -> None:
    assert client.get().status == 200
    started = time.monotonic()
    assert client.ends(5)
    assert 1.8 < time.monotonic() - started < 3.0


def test_an_event_stream_arrives_as_it_is_sent(client: RawClient, origin: Origin) -> None:
    go = threading.Event()

    def behave(connection: Connection) -> None:
        connection.read()
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        connection.send(b"9\r\ndata: 1\n\n\r\n")
        go.wait(5)
        connection.send(b"9\r\ndata: 2\n\n\r\n0\r\n\r\n")

    origin.behave = behave
    client.send(GET % 1)
    head = client.head()
    assert head is not None
    while b"data: 1" not in client.buffer:
        assert client._more()
    go.set()
    while b"data: 2" not in client.buffer:
        assert client._more()


def test_a_slow_reader_does_not_make_fig_buffer(fig: Fig, origin: Origin) -> None:
    total = 60_000_000
    sent = [0]

    def behave(connection: Connection) -> None:
        connection.read()
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % total)
        for _ in range(total // 100_000):
            connection.send(b"x" * 100_000)
            sent[0] += 100_000

    origin.behave = behave
    before = fig.rss_bytes()
    with RawClient(fig.address) as client:
        client.send(GET % 1)
        time.sleep(0.7)
        held = sent[0]
        assert held < 20_000_000  # kernel buffers of two connections, not the body
        assert fig.rss_bytes() - before < 20_000_000
        assert len(client.answer().body) == total


def test_answers_never_cross_connections(fig: Fig, origin: Origin) -> None:
    def behave(connection: Connection) -> None:
        while (request := connection.read()) is not None:
            text = request.target.encode() * 20
            connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(text), text))

    origin.behave = behave
    wrong: list[str] = []

    def run(worker: int) -> None:
        with RawClient(fig.address) as client:
            for number in range(100):
                target = f"/{worker}-{number}"
                if client.get(target).body != target.encode() * 20:
                    wrong.append(target)

    threads = [threading.Thread(target=run, args=(worker,)) for worker in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_saying_close_upstream_is_honoured(client: RawClient, origin: Origin) -> None:
    origin.behave = saying(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")
    first = client.get()
    assert first.value("connection") is None
    assert client.get().status == 200
    assert len(origin.connections) == 2
