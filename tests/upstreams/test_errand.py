"""A question of fig's own to an upstream, on real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterator

import pytest

from proxy.config.model import UpstreamConfig, UpstreamTimeouts
from proxy.errors import ConnectFailed, NoHealthyEndpoint, UpstreamError, UpstreamProtocol, UpstreamReset
from proxy.upstreams.errand import Errand
from proxy.wire.timer import TimerWheel
from tests.support.fig import free_port
from tests.support.origin import Behaviour, Connection, Origin, resetting, saying
from tests.support.upstreams import make_upstream

YES = b'HTTP/1.1 200 OK\r\nContent-Length: 15\r\n\r\n{"active":true}'


@pytest.fixture
def origin() -> Iterator[Origin]:
    made = Origin()
    yield made
    made.close()


def ask(url: str, *sids: str, timeout_s: float = 5.0, token: str = "") -> list[bytes]:
    """The answers to questions one after another."""

    async def run() -> list[bytes]:
        wheel = TimerWheel()
        wheel.start(asyncio.get_running_loop())
        config = UpstreamConfig(endpoints=(url,), timeouts=UpstreamTimeouts(connect_s=1))
        upstream = make_upstream("monolith", config, wheel=wheel)
        try:
            errand = Errand(lambda: upstream, "/internal/introspect", timeout_s=timeout_s, token=token)
            return [await errand.ask(sid) for sid in sids]
        finally:
            upstream.close()
            wheel.stop()

    return asyncio.run(run())


def test_the_question_as_it_is_put(origin: Origin) -> None:
    origin.reset(saying(YES))
    assert ask(origin.url, 'a"b', token="t0k") == [b'{"active":true}']
    (request,) = origin.requests
    assert request.line == "POST /internal/introspect HTTP/1.1"
    assert request.body == b'{"sid":"a\\"b"}'
    assert request.fields == [
        ("host", f"127.0.0.1:{origin.port}"),
        ("content-type", "application/json"),
        ("accept", "application/json"),
        ("authorization", "Bearer t0k"),
        ("content-length", "14"),
    ]


def test_connections_are_kept(origin: Origin) -> None:
    origin.reset(saying(YES))
    assert ask(origin.url, "a", "b", "c") == [b'{"active":true}'] * 3
    assert len(origin.connections) == 1


def test_a_kept_connection_that_was_closed_is_replaced(origin: Origin) -> None:
    def once(connection: Connection) -> None:
        connection.read()
        connection.send(YES)
        connection.read()  # and close without an answer

    turns: list[Behaviour] = [once, saying(YES)]
    origin.reset(lambda connection: turns.pop(0)(connection))
    assert ask(origin.url, "a", "b") == [b'{"active":true}'] * 2


@pytest.mark.parametrize(
    ("said", "error"),
    [
        (b"HTTP/1.1 500 Oops\r\nContent-Length: 2\r\n\r\n{}", UpstreamProtocol),
        (b"HTTP/1.1 204 No Content\r\n\r\n", UpstreamProtocol),
        (b"HTTP/1.1 302 Found\r\nLocation: /login\r\nContent-Length: 0\r\n\r\n", UpstreamProtocol),
        (b"nonsense\r\n\r\n", UpstreamError),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + b"x" * 100_000, UpstreamProtocol),
    ],
    ids=["500", "204", "302", "no HTTP", "too long"],
)
def test_an_answer_that_is_none(origin: Origin, said: bytes, error: type[Exception]) -> None:
    origin.reset(saying(said))
    with pytest.raises(error):
        ask(origin.url, "a")


def test_one_that_resets(origin: Origin) -> None:
    origin.reset(resetting)
    with pytest.raises(UpstreamReset):
        ask(origin.url, "a")


def test_nobody_is_waited_for_longer_than_timeout_s(origin: Origin) -> None:
    def silent(connection: Connection) -> None:
        connection.read()
        connection.wait_closed(5)

    origin.reset(silent)
    began = time.monotonic()
    with contextlib.suppress(UpstreamError), pytest.raises(TimeoutError):
        ask(origin.url, "a", timeout_s=0.3)
    assert time.monotonic() - began < 3


def test_nobody_is_there() -> None:
    with pytest.raises(ConnectFailed):
        ask(f"http://127.0.0.1:{free_port()}", "a")

    async def gone() -> None:
        with pytest.raises(NoHealthyEndpoint):
            await Errand(lambda: None, "/x", timeout_s=1).ask("a")

    asyncio.run(gone())
