"""Answers with broken bytes, through fig: the client gets what a strict reader makes of them, a 502, or a cut
connection, and never a byte of one answer in another."""

from __future__ import annotations

import socket
import threading
import zlib
from collections import Counter
from dataclasses import dataclass, field

import pytest
from hypothesis import strategies as st

from tests.support.client import RawClient
from tests.support.fig import Fig
from tests.support.mutate import fuzz, mutated, split
from tests.support.origin import Connection, Origin
from tests.support.strict import Cursor, Incomplete, Message, Violation, read_answer, read_answer_body, read_answer_head
from tests.support.wire import LogTail, Serve, metric, until

HASTY = (
    ("head_s: 1, body_s: 1, write_s: 2, keepalive_s: 2", "head_s: 2, body_s: 2, write_s: 2, keepalive_s: 2"),
    ("response_s: 1, body_s: 1", "response_s: 0.5, body_s: 0.5"),
)
HANG_S = 5.0
METHODS = (b"GET", b"GET", b"GET", b"HEAD", b"POST")
# Lines that fig takes away, writes itself, or rewrites where they name an endpoint.
CHANGED = frozenset(
    b"connection keep-alive proxy-connection proxy-authenticate proxy-authorization te trailer transfer-encoding"
    b" upgrade http2-settings proxy content-length date x-request-id location content-location set-cookie".split()
)


@dataclass
class Meant:
    """What a strict reader makes of an upstream's bytes. `body` may be part of one, None where its end is a matter of
    where reading stopped; `fault` says why there is no more."""

    answer: Message | None
    body: bytes | None
    fault: str | None

    @classmethod
    def by(cls, said: bytes, *, head_only: bool, closes: bool) -> Meant:
        try:
            answer = read_answer(Cursor(said, tolerant=True), head_only=head_only, ended=closes)
        except Violation as error:
            return cls(None, None, str(error))
        except Incomplete as error:
            return cls(None, error.body, "incomplete")
        return cls(answer, answer.body, None)


def _body_before_fault(parts: list[bytes]) -> bytes:
    """The chunks before the broken one."""
    said = b"".join(parts)
    for end in range(len(said), 0, -1):
        try:
            read_answer(Cursor(said[:end], tolerant=True), head_only=False, ended=False)
        except Violation:
            continue
        except Incomplete as error:
            return error.body
    return b""


@dataclass
class Scripted:
    """Says `parts` to a request for `/broken`, and the target to every other one."""

    parts: list[bytes] = field(default_factory=list)
    closes: bool = False
    said: threading.Event = field(default_factory=threading.Event)

    def __call__(self, connection: Connection) -> None:
        connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # all is with fig once it is `said`
        while (request := connection.read()) is not None:
            if request.target == "/broken":
                for part in self.parts:
                    connection.send(part)
                closes = self.closes
                self.said.set()
                if closes:
                    return
            else:
                text = request.target.encode()
                connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(text), text))


class Fuzzed:
    """One fig, one client connection after another, and the scripted origin."""

    def __init__(self, fig: Fig, origin: Origin) -> None:
        self.fig = fig
        self.script = Scripted()
        self.outcomes: Counter[str] = Counter()
        self._next = 0
        self._log = LogTail(fig)
        origin.behave = self.script

    def check(self, data: bytes, places: list[int], method: bytes) -> None:
        head_only = method == b"HEAD"
        meant = Meant.by(data, head_only=head_only, closes=False)
        # Where more would have to come fig's timer ends the exchange: right, but slow, so most of these close.
        closes = meant.fault == "incomplete" and zlib.crc32(data) % 256 != 0
        if closes:
            meant = Meant.by(data, head_only=head_only, closes=True)
        self.script.parts, self.script.closes = split(data, places), closes
        self.script.said.clear()
        try:
            self._check(method, meant)
        except AssertionError as error:
            said = f"{method.decode()}, closes={closes}: {self.script.parts!r}"
            raise AssertionError(f"{error}\nmeant: {meant}\nsaid to {said}") from error

    def _check(self, method: bytes, meant: Meant) -> None:
        with RawClient(self.fig.address, HANG_S) as client:
            body = b"Content-Length: 2\r\n\r\nhi" if method == b"POST" else b"\r\n"
            client.send(method + b" /broken HTTP/1.1\r\nHost: proxy.test\r\nConnection: TE\r\nTE: trailers\r\n" + body)
            kept = self._judge(client, method == b"HEAD", meant)
            self.script.said.wait(HANG_S)
            self._next += 1
            if kept:
                self._ask_another(client, b"/next%d" % self._next)
        with RawClient(self.fig.address, HANG_S) as client:
            self._ask_another(client, b"/other%d" % self._next)
        self._log.check()

    def _judge(self, client: RawClient, head_only: bool, meant: Meant) -> bool:
        """The first answer against what it should be. Whether the connection is kept."""
        answer, body = self._read(client, head_only)
        if answer is None or body is not None:
            self.outcomes["cut"] += 1
            cut = body or b""
            whole = meant.body if meant.body is not None else _body_before_fault(self.script.parts)
            assert whole.startswith(cut), f"bytes that the upstream never said: {cut!r}"
            return False
        own = answer.values(b"content-type") == [b"application/problem+json"] and answer.status in (502, 504)
        self.outcomes["own" if own else "passed"] += 1
        if not own:
            assert meant.answer is not None, f"{answer} out of an answer with a fault"
            assert (answer.status, answer.body) == (meant.answer.status, meant.body), answer
            assert _lines(answer) == _lines(meant.answer), answer
            assert all(line in meant.answer.trailers for line in answer.trailers), answer
        return b"close" not in answer.values(b"connection")

    def _read(self, client: RawClient, head_only: bool) -> tuple[Message | None, bytes | None]:
        """A whole answer and None; or a head (None where there was not even one) and the part of a body that came."""
        while True:
            cursor = Cursor(client.buffer)
            answer = None
            try:
                answer = read_answer_head(cursor)
                while answer.status < 200:
                    answer = read_answer_head(cursor)
                answer = read_answer_body(cursor, answer, head_only=head_only, ended=client.closed)
            except Violation as error:
                raise AssertionError(f"{error} in what fig sent: {client.buffer!r}") from error
            except Incomplete as error:
                if client.closed:
                    return answer, error.body
                client._more()
                continue
            assert not answer.until_close, client.buffer
            client.buffer = cursor.rest
            assert not cursor.rest, f"bytes behind the answer: {cursor.rest!r}"
            return answer, None

    def _ask_another(self, client: RawClient, target: bytes) -> None:
        client.send(b"GET %b HTTP/1.1\r\nHost: proxy.test\r\n\r\n" % target)
        answer, rest = self._read(client, False)
        assert answer is not None, f"no answer to {target!r}"
        assert rest is None, f"a cut answer to {target!r}"
        assert (answer.status, answer.body) == (200, target), f"{answer} to {target!r}"


def _lines(answer: Message) -> list[tuple[bytes, bytes]]:
    """The end-to-end lines of a head, but those that fig may change."""
    named = {token.strip(b" \t").lower() for value in answer.values(b"connection") for token in value.split(b",")}
    return [line for line in answer.fields if line[0] not in CHANGED | named and not line[0].startswith(b"x-fig-")]


def _run(serve: Serve, origin: Origin, seconds: float, first_seed: int) -> None:
    fuzzed = Fuzzed(fig := serve(*HASTY), origin)
    examples = fuzz(
        fuzzed.check,
        seconds,
        first_seed,
        data=mutated("answers"),
        places=st.lists(st.integers(0, 1 << 12), max_size=3),
        method=st.sampled_from(METHODS),
    )
    print(f"{examples} answers: {dict(fuzzed.outcomes)}")
    assert fuzzed.outcomes["passed"] > examples // 10
    assert fuzzed.outcomes["own"] > examples // 10
    assert until(lambda: metric(fig, "fig_in_flight") == 0), "requests are left in flight"


def test_a_broken_answer_stays_with_its_request(serve: Serve, origin: Origin) -> None:
    _run(serve, origin, 6, 0)


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_a_broken_answer_stays_with_its_request_for_minutes(serve: Serve, origin: Origin) -> None:
    _run(serve, origin, 300, 1_000_000)
