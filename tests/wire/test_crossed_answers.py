"""Mixed requests, clients that break off and an origin that talks garbage now and then: every answer says which request
it belongs to, and none reaches another one."""

from __future__ import annotations

import contextlib
import random
import threading
import zlib
from collections import Counter
from dataclasses import dataclass, field

import pytest

from tests.support.client import Answer, RawClient
from tests.support.fig import Fig
from tests.support.origin import Connection, Origin, Request
from tests.support.tally import pool
from tests.support.wire import LogTail, Serve, quiet, until

CLIENTS = 8
SIZES = (1, 1, 10, 100, 1000, 1000, 10_000, 65_536)
METHODS = ("GET", "GET", "HEAD", "POST")
PATIENT = (("head_s: 1, body_s: 1, write_s: 2, keepalive_s: 2", "head_s: 9, body_s: 9, write_s: 9, keepalive_s: 9"),)
_EVIL = b"HTTP/1.1 200 OK\r\nX-Id: nobody\r\nContent-Length: 4\r\n\r\nEVIL"


def _number(target: str, what: str) -> int:
    return zlib.crc32(f"{what} {target}".encode())


def _filled(target: str, what: str) -> bytes:
    """Bytes that say whose they are, as many as the target decides."""
    size = SIZES[_number(target, what) % len(SIZES)]
    word = f"{what} {target}|".encode()
    return (word * (size // len(word) + 1))[:size]


# --- the origin ------------------------------------------------------------------------------------------------------


def _answer(request: Request) -> bytes:
    """By length or in chunks. It names the request, and the sum of the body that came with it."""
    target = request.target
    body = _filled(target, "answer")
    head = f"HTTP/1.1 200 OK\r\nX-Id: {target}\r\nX-Sum: {zlib.crc32(request.body)}\r\n".encode()
    if _number(target, "chunked") % 2:
        head += b"Content-Length: %d\r\n\r\n" % len(body)
    else:
        head += b"Transfer-Encoding: chunked\r\n\r\n"
        body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
    return head if request.line.startswith("HEAD ") else head + body


def _garbage(answer: bytes, number: int) -> bytes:
    """A second answer behind it, half of it, noise behind it, or noise instead."""
    noise = random.Random(number).randbytes(200)
    return (answer + _EVIL, answer[: len(answer) // 2], answer + noise, noise)[number % 4]


def _respond(connection: Connection) -> None:
    while (request := connection.read()) is not None:
        answer, number = _answer(request), _number(request.target, "garbage")
        if number % 100:
            connection.send(answer)
        else:
            connection.send(_garbage(answer, number // 100))
            return


# --- the clients -----------------------------------------------------------------------------------------------------


@dataclass
class Client:
    """Sends `requests` requests over many connections, some of them ahead of their answers."""

    fig: Fig
    number: int
    requests: int
    counts: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)

    def run(self) -> None:
        rng = random.Random(self.number)
        while self.counts["sent"] < self.requests:
            with RawClient(self.fig.address) as client, contextlib.suppress(OSError):
                while self.counts["sent"] < self.requests and self._batch(client, rng):
                    pass

    def _batch(self, client: RawClient, rng: random.Random) -> bool:
        """Some requests in a row and their answers. Whether the connection goes on."""
        asked = [self._ask(rng) for _ in range(rng.choice((1, 1, 1, 4, 8)))]
        data = b"".join(_request(method, target) for method, target in asked)
        if rng.random() < 0.01 * len(asked):
            client.send(data[: rng.randrange(len(data))])
            self.counts["aborted"] += 1
            client.reset()
            return False
        client.send(data)
        return all(self._read(client, method, target) for method, target in asked)

    def _ask(self, rng: random.Random) -> tuple[str, str]:
        self.counts["sent"] += 1
        return rng.choice(METHODS), f"/{self.number}/{self.counts['sent']}"

    def _read(self, client: RawClient, method: str, target: str) -> bool:
        try:
            answer = client.answer(head_only=method == "HEAD")
        except AssertionError:
            self.counts["cut"] += 1
            return False
        self.counts[str(answer.status) if answer.complete else "cut"] += 1
        if not _belongs(answer, method, target):
            self.wrong.append(f"{method} {target}: {answer.status} {answer.fields} {answer.body[:80]!r}")
        return answer.complete and answer.value("connection") != "close"


def _request(method: str, target: str) -> bytes:
    head = f"{method} {target} HTTP/1.1\r\nHost: proxy.test\r\n".encode()
    if method != "POST":
        return head + b"\r\n"
    body = _filled(target, "request")
    if _number(target, "request chunked") % 2:
        return head + b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
    return head + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)


def _belongs(answer: Answer, method: str, target: str) -> bool:
    if answer.status == 502:
        return answer.value("x-id") is None
    if (answer.status, answer.value("x-id")) != (200, target):
        return False
    uploaded = _filled(target, "request") if method == "POST" else b""
    body = _filled(target, "answer") if method != "HEAD" else b""
    whole = answer.body == body if answer.complete else body.startswith(answer.body)
    return whole and answer.value("x-sum") == str(zlib.crc32(uploaded))


def _run(fig: Fig, origin: Origin, requests: int) -> None:
    origin.behave = _respond
    log = LogTail(fig)
    clients = [Client(fig, number, requests // CLIENTS) for number in range(CLIENTS)]
    threads = [threading.Thread(target=client.run) for client in clients]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    counts = sum((client.counts for client in clients), Counter())
    print(dict(counts))
    assert [line for client in clients for line in client.wrong] == []
    assert counts["sent"] >= requests // CLIENTS * CLIENTS
    assert counts["200"] > requests * 0.8
    assert counts["aborted"] > requests // 200
    assert counts["502"] + counts["cut"] > requests // 500
    assert until(lambda: quiet(fig), 12)
    assert pool(fig, "origin")[0] == 0
    log.check()


def test_no_answer_reaches_another_request(serve: Serve, origin: Origin) -> None:
    _run(serve(*PATIENT), origin, 4000)


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_no_answer_of_100_000_reaches_another_request(serve: Serve, origin: Origin) -> None:
    _run(serve(*PATIENT), origin, 100_000)
