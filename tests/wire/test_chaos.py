"""Eight careless clients and an origin that breaks off anywhere: no answer crosses over, and nothing is left behind."""

from __future__ import annotations

import contextlib
import random
import threading
import time
from dataclasses import dataclass, field

import pytest

from tests.support.client import RawClient
from tests.support.fig import Fig
from tests.support.origin import Connection, Origin
from tests.support.wire import Serve, metric, quiet, until

SECONDS = 25.0
HASTY = (
    ("head_s: 1, body_s: 1, write_s: 2, keepalive_s: 2", "head_s: 0.4, body_s: 0.4, write_s: 0.5, keepalive_s: 0.5"),
    ("response_s: 1, body_s: 1", "response_s: 0.5, body_s: 0.5"),
)


def _answer(rng: random.Random, target: bytes, head_only: bool) -> tuple[bytes, bool]:
    """An answer whose body begins with the target and a bar, and whether the connection can be kept after it."""
    body = target + b"|" + b"z" * rng.choice([0, 10, 1000, 70_000, 400_000])
    framings = (
        (b"Content-Length: %d\r\n\r\n" % len(body), body, True),
        (b"Transfer-Encoding: chunked\r\n\r\n", b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body), True),
        (b"\r\n", body, False),
    )
    head, framed, keeps = rng.choice(framings)
    return b"HTTP/1.1 200 OK\r\n" + head + (b"" if head_only else framed), keeps


def _careless(connection: Connection) -> None:
    rng = random.Random()
    while (request := connection.read_head()) is not None:
        if rng.random() < 0.1:
            return
        if rng.random() < 0.6:
            connection.read_body(request)
        answer, keeps = _answer(rng, request.target.encode(), request.line.startswith("HEAD"))
        if rng.random() < 0.1:
            connection.send(answer[: rng.randrange(len(answer))])
            time.sleep(rng.choice([0, 0, 0.8]))
            if rng.random() < 0.5:
                connection.reset()
            return
        connection.send(answer + (b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nEVIL" if rng.random() < 0.03 else b""))
        has_body = request.value("content-length") or request.value("transfer-encoding")
        if not keeps or (has_body and not request.complete):
            return


def _request(rng: random.Random, method: bytes, target: bytes) -> bytes:
    lines, framed = b"", b""
    if method == b"POST":
        body = b"q" * rng.choice([1, 5, 5000, 200_000])
        lines, framed = b"Content-Length: %d\r\n" % len(body), body
        if rng.random() < 0.5:
            lines, framed = b"Transfer-Encoding: chunked\r\n", b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
    for line in (b"Expect: 100-continue\r\n", b"Connection: close\r\n", b"Upgrade: foo\r\n", b"Bad Header: x\r\n"):
        lines += line if rng.random() < 0.04 else b""
    return method + b" " + target + b" HTTP/1.1\r\nHost: proxy.test\r\n" + lines + b"\r\n" + framed


@dataclass
class Careless:
    """One client: each connection carries some pipelined requests, and one in five breaks off."""

    fig: Fig
    number: int
    answered: int = 0
    wrong: list[tuple[bytes, int, bytes]] = field(default_factory=list)

    def run(self) -> None:
        rng = random.Random(self.number)
        deadline = time.monotonic() + SECONDS
        turn = 0
        while time.monotonic() < deadline:
            turn += 1
            window = 4096 if rng.random() < 0.2 else None
            with RawClient(self.fig.address, 3, window) as client, contextlib.suppress(AssertionError, OSError):
                self._connection(client, rng, turn)

    def _connection(self, client: RawClient, rng: random.Random, turn: int) -> None:
        targets = [b"/t%d-%d-%d" % (self.number, turn, index) for index in range(rng.choice([1, 1, 2, 3, 20]))]
        asked = [(rng.choice([b"GET", b"GET", b"HEAD", b"POST"]), target) for target in targets]
        data = b"".join(_request(rng, method, target) for method, target in asked)
        if rng.random() < 0.2:
            client.send(data[: rng.randrange(len(data))])
            time.sleep(rng.random() * 0.7)
            client.reset()
            return
        client.send(data)
        if rng.random() < 0.1:
            client.half_close()
        for method, target in asked:
            self._check(client, method, target)

    def _check(self, client: RawClient, method: bytes, target: bytes) -> None:
        answer = client.answer(head_only=method == b"HEAD")
        self.answered += 1
        expected = target + b"|"
        crossed = answer.status == 200 and method != b"HEAD" and not expected.startswith(answer.body[: len(expected)])
        if crossed or answer.status == 500:
            self.wrong.append((target, answer.status, answer.body[:60]))


@pytest.mark.soak
def test_chaos_crosses_no_answers_and_leaves_nothing_behind(serve: Serve, origin: Origin) -> None:
    fig = serve(*HASTY)
    origin.behave = _careless
    clients = [Careless(fig, number) for number in range(8)]
    threads = [threading.Thread(target=client.run) for client in clients]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [client.wrong for client in clients] == [[]] * len(clients)
    assert all(client.answered > 20 for client in clients)
    assert until(lambda: quiet(fig), 5), (metric(fig, "fig_in_flight"), metric(fig, "fig_connections"))
    places = [end["in_use"] for upstream in fig.call("GET", "/api/upstreams").json() for end in upstream["endpoints"]]
    assert places == [0] * len(places)
