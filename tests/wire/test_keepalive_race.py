"""A kept upstream connection that closes just as fig sends: who is sent once more, and who never."""

from __future__ import annotations

import asyncio
import time

import pytest

from proxy.wire.headers import Shapes
from proxy.wire.pool import EndpointPool
from proxy.wire.timer import TimerWheel
from tests.support.client import RawClient
from tests.support.origin import Connection, Origin, saying
from tests.support.wire import post

ONE = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\none"
TWO = saying(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\ntwo")


def dying(connection: Connection) -> None:
    """Answers one request; takes the next one in whole and goes without a word."""
    connection.read()
    connection.send(ONE)
    connection.read()


def answered_once(client: RawClient, origin: Origin) -> None:
    origin.behave = dying
    assert client.get("/1").body == b"one"
    origin.behave = TWO


@pytest.mark.parametrize(("method", "size"), [("PUT", 5), ("PUT", 30_000), ("DELETE", 0), ("OPTIONS", 0)])
def test_an_idempotent_request_is_sent_once_more_with_its_whole_body(
    client: RawClient, origin: Origin, method: str, size: int
) -> None:
    answered_once(client, origin)
    body = bytes(number % 251 for number in range(size))
    client.send(post("/2", size).replace(b"POST", method.encode()) + body)
    assert client.answer().body == b"two"
    assert [request.body for request in origin.requests if request.target == "/2"] == [body, body]


@pytest.mark.parametrize(("method", "size"), [("POST", 5), ("POST", 0), ("PATCH", 5), ("PUT", 100_000)])
def test_what_may_have_been_acted_on_and_cannot_be_repeated_is_502(
    client: RawClient, origin: Origin, method: str, size: int
) -> None:
    answered_once(client, origin)
    client.send(post("/2", size).replace(b"POST", method.encode()) + b"x" * size)
    assert client.answer().status == 502
    assert len([request for request in origin.requests if request.target == "/2"]) == 1


def test_a_byte_of_an_answer_ends_all_retrying(client: RawClient, origin: Origin) -> None:
    def behave(connection: Connection) -> None:
        connection.read()
        connection.send(ONE)
        connection.read()
        connection.send(b"HTTP/1.1 2")

    origin.behave = behave
    assert client.get("/1").body == b"one"
    origin.behave = TWO
    assert client.get("/2").status == 502
    assert len([request for request in origin.requests if request.target == "/2"]) == 1


def test_a_fresh_connection_that_dies_is_no_race(client: RawClient, origin: Origin) -> None:
    origin.behave = lambda connection: connection.read() and None
    assert client.get("/1").status == 502
    assert len(origin.requests) == 1


def test_a_connection_that_the_loop_still_takes_for_open_is_not_given_to_a_post() -> None:
    """Its FIN is here but unread: a GET may find out by sending, a POST has to know."""

    async def scene() -> tuple[bool, bool]:
        accepted: list[asyncio.StreamWriter] = []
        both = asyncio.Event()

        async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            accepted.append(writer)
            if len(accepted) == 2:
                both.set()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        pool = EndpointPool("127.0.0.1", port, TimerWheel(), connect_s=1, body_s=1, keepalive_s=9, shapes=Shapes())
        try:
            kept = [await pool.connect() for _ in range(2)]
            await both.wait()
            for connection in kept:
                pool.put(connection)
            for writer in accepted:
                sock = writer.get_extra_info("socket")
                sock.shutdown(2)
            time.sleep(0.05)  # noqa: ASYNC251  the loop must not hear of it
            return pool.take_idle() is not None, pool.take_idle(surely=True) is not None
        finally:
            pool.close()
            for writer in accepted:
                writer.close()
            server.close()
            await asyncio.sleep(0.05)

    assert asyncio.run(scene()) == (True, False)
