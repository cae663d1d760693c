"""Requests with broken bytes, through fig: strict bytes reach the origin, all servers read them alike, and no request
is answered twice, not at all, or by another one's answer."""

from __future__ import annotations

import contextlib
import socket
import zlib

import pytest
from hypothesis import strategies as st

from tests.support.client import RawClient
from tests.support.fig import Fig
from tests.support.mutate import fuzz, mutated, split
from tests.support.origin import Origin
from tests.support.readers import READERS
from tests.support.recorder import Recorder, Taken
from tests.support.strict import (
    Cursor,
    Incomplete,
    Message,
    Violation,
    read_answer_body,
    read_answer_head,
    read_request,
)
from tests.support.wire import LogTail, Serve, metric, until

HASTY = (
    ("head_s: 1, body_s: 1, write_s: 2, keepalive_s: 2", "head_s: 0.4, body_s: 0.4, write_s: 1, keepalive_s: 0.4"),
)
HANG_S = 5.0  # far beyond every timeout of that fig


class Fuzzed:
    """One fig and the recording origin behind it."""

    def __init__(self, fig: Fig, origin: Origin) -> None:
        self.fig = fig
        self.recorder = Recorder()
        origin.behave = self.recorder
        self._log = LogTail(fig)

    def check(self, data: bytes, places: list[int]) -> None:
        half_close = zlib.crc32(data) % 256 != 0  # else fig's own timers end the connection, which takes longer
        try:
            self._check(split(data, places), half_close)
        except (AssertionError, Violation) as error:
            raise AssertionError(f"{error}\nsent, half_close={half_close}: {split(data, places)!r}") from error

    def _check(self, parts: list[bytes], half_close: bool) -> None:
        first = len(self.recorder.requests)
        got = self._exchange(parts, half_close)
        taken = self.recorder.take()
        for part in taken:
            check_read_alike(part)
        finals = self._read_answers(got, b"".join(parts), first)
        arrived = len(self.recorder.requests) - first
        assert arrived <= finals, f"{arrived} requests at the origin, {finals} answers: {got!r}"
        self._log.check()

    def _exchange(self, parts: list[bytes], half_close: bool) -> bytes:
        """What the client is told until fig closes. AssertionError when it does not."""
        with RawClient(self.fig.address, HANG_S) as client:
            client.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for part in parts:
                client.send(part)
            if half_close:
                with contextlib.suppress(OSError):  # fig has closed already
                    client.half_close()
            try:
                while client._more():
                    pass
            except TimeoutError:
                raise AssertionError(f"fig neither answers nor closes in {HANG_S} s, after {client.buffer!r}") from None
            return client.buffer

    def _read_answers(self, got: bytes, sent: bytes, first: int) -> int:
        """How many final answers, each in strict form and with the body of the request that it belongs to."""
        cursor, finals, last = Cursor(got), 0, first - 1
        while cursor.rest:
            assert finals <= sent.count(b"\r\n\r\n"), f"an answer without a request: {got!r}"
            try:
                answer = read_answer_head(cursor)
                newer = answer.status < 200 or answer.values(b"transfer-encoding")
                assert not newer or b"HTTP/1.1" in sent, f"HTTP/1.0 knows no such answer: {got!r}"
                if answer.status < 200:
                    continue
                number = int(next(iter(answer.values(b"x-origin-request")), b"-1"))
                head_only = self._is_head(answer, number, cursor, sent)
                read_answer_body(cursor, answer, head_only=head_only, ended=True)
            except Incomplete:
                return finals  # cut, and visibly so
            assert answer.status != 500, got
            if number >= 0:
                assert number > last, f"answer {number} after {last}"
                assert head_only or answer.body == Recorder.body_of(number), f"the body of another answer: {got!r}"
                last = number
            finals += 1
            if b"close" in answer.values(b"connection"):
                assert not cursor.rest, f"bytes after the last answer: {got!r}"
            assert not answer.until_close or b"close" in answer.values(b"connection"), got
        return finals

    def _is_head(self, answer: Message, number: int, cursor: Cursor, sent: bytes) -> bool:
        if number >= 0:
            return self.recorder.requests[number].line[0] == b"HEAD"
        return b"HEAD " in sent and not cursor.rest.startswith(b"{")  # fig's own errors are JSON objects


def check_read_alike(taken: Taken) -> None:
    """The strict reader and every server's own parser find the same requests."""
    assert taken.wrong is None, f"{taken.wrong} in what fig sent: {taken.raw!r}"
    cursor, strict = Cursor(taken.raw), []
    while cursor.rest:
        try:
            request = read_request(cursor)
        except Incomplete:
            break
        strict.append((*request.line, request.body))
    for name, read in READERS.items():
        try:
            found = read(taken.raw)
        except Exception as error:
            raise AssertionError(f"{name} refuses ({error!r}) what fig sent: {taken.raw!r}") from error
        assert found == strict, f"{name} reads {found}, not {strict}, in what fig sent: {taken.raw!r}"


def _run(serve: Serve, origin: Origin, seconds: float, first_seed: int) -> None:
    fuzzed = Fuzzed(fig := serve(*HASTY), origin)
    examples = fuzz(
        fuzzed.check,
        seconds,
        first_seed,
        data=mutated("requests"),
        places=st.lists(st.integers(0, 1 << 12), max_size=3),
    )
    arrived = len(fuzzed.recorder.requests)
    print(f"{examples} connections, {arrived} requests at the origin")
    assert arrived > examples // 10
    assert until(lambda: metric(fig, "fig_in_flight") == 0), "requests are left in flight"
    places = [end["in_use"] for upstream in fig.call("GET", "/api/upstreams").json() for end in upstream["endpoints"]]
    assert places == [0] * len(places)


def test_broken_requests_have_one_reading(serve: Serve, origin: Origin) -> None:
    _run(serve, origin, 6, 0)


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_broken_requests_have_one_reading_for_minutes(serve: Serve, origin: Origin) -> None:
    _run(serve, origin, 300, 1_000_000)
