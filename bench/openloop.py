"""Requests at a fixed rate, sent when their time has come and not when the last answer did. Knows no proxy.

Every latency counts from the scheduled moment, so waiting for a free connection counts too (no coordinated omission).
"""

from __future__ import annotations

import asyncio
import gc
import selectors
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from math import ceil
from typing import cast

from bench.origin import content_length

_DRAIN_S = 2.0


@dataclass(frozen=True, slots=True)
class Pace:
    """Evenly spaced requests over at most `connections` connections."""

    rate_per_s: float
    seconds: float
    connections: int


@dataclass(frozen=True, slots=True)
class Latencies:
    """One per scheduled request, sorted, in seconds; an unanswered one has the age it had at the end."""

    seconds: tuple[float, ...]
    unanswered: int

    def percentile(self, percent: float) -> float:
        """Nearest rank."""
        return self.seconds[max(0, ceil(len(self.seconds) * percent / 100) - 1)]


class Connection(asyncio.Protocol):
    """One request at a time. `on_answer(connection, ok)`: ok is status 200, complete; a lost connection is not ok."""

    def __init__(self, on_answer: Callable[[Connection, bool], None]) -> None:
        self._on_answer = on_answer
        self._received = bytearray()
        self._busy = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def send(self, request: bytes) -> None:
        self._busy = True
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._received += data
        end = self._received.find(b"\r\n\r\n")
        if end < 0:
            return
        head = bytes(self._received[:end])
        if len(self._received) >= end + 4 + content_length(head):
            self._received.clear()
            self._busy = False
            self._on_answer(self, head[9:12] == b"200")

    def connection_lost(self, exc: Exception | None) -> None:
        if self._busy:
            self._busy = False
            self._on_answer(self, False)


class OpenLoop:
    """`requests` are sent in turn; what is unanswered `drain_s` after the last was due stays so."""

    def __init__(self, requests: Sequence[bytes], pace: Pace, drain_s: float) -> None:
        self._requests = requests
        self._gap_s = 1 / pace.rate_per_s
        self._total = int(pace.rate_per_s * pace.seconds)
        self._connections = pace.connections
        self._drain_s = drain_s
        self._free: deque[Connection] = deque()
        self._waiting: deque[int] = deque()
        self._sent: dict[Connection, int] = {}
        self._ends: dict[int, float] = {}
        self._scheduled = 0
        self._handled = 0

    async def run(self, port: int) -> Latencies:
        """Ends a bounded time after the last scheduled request, answered or not."""
        self._loop = asyncio.get_running_loop()
        self._done = asyncio.Event()
        await self._open(port)
        self._start = self._loop.time() + 0.01
        self._loop.call_at(self._start, self._tick)
        try:
            async with asyncio.timeout_at(self._start + self._total * self._gap_s + self._drain_s):
                await self._done.wait()
        except TimeoutError:
            pass
        return self._close()

    async def _open(self, port: int) -> None:
        make = partial(Connection, self._answered)
        self._opened = [
            (await self._loop.create_connection(make, "127.0.0.1", port))[1] for _ in range(self._connections)
        ]
        self._free.extend(self._opened)

    def _tick(self) -> None:
        now = self._loop.time()
        while self._scheduled < self._total and self._due(self._scheduled) <= now:
            self._waiting.append(self._scheduled)
            self._scheduled += 1
        self._dispatch()
        if self._scheduled < self._total:
            self._loop.call_at(self._due(self._scheduled), self._tick)

    def _due(self, number: int) -> float:
        return self._start + number * self._gap_s

    def _dispatch(self) -> None:
        while self._waiting and self._free:
            connection = self._free.popleft()
            if connection.transport.is_closing():
                continue
            number = self._waiting.popleft()
            self._sent[connection] = number
            connection.send(self._requests[number % len(self._requests)])

    def _answered(self, connection: Connection, ok: bool) -> None:
        number = self._sent.pop(connection)
        self._handled += 1
        if ok:
            self._ends[number] = self._loop.time()
            self._free.append(connection)
        self._dispatch()
        if self._handled == self._total:
            self._done.set()

    def _close(self) -> Latencies:
        now = self._loop.time()
        self._waiting.clear()
        for connection in self._opened:
            connection.transport.abort()
        seconds = sorted(self._ends.get(number, now) - self._due(number) for number in range(self._total))
        return Latencies(tuple(seconds), self._total - len(self._ends))


def measure(port: int, requests: Sequence[bytes], pace: Pace, drain_s: float = _DRAIN_S) -> Latencies:
    """Blocks for `pace.seconds`, and up to `drain_s` more.

    On select(2): asyncio rounds the timeouts of epoll up to milliseconds, which is the gap between two requests.
    """

    def loop() -> asyncio.AbstractEventLoop:
        return asyncio.SelectorEventLoop(selectors.SelectSelector())

    one = OpenLoop(requests, pace, drain_s)
    gc.collect()
    gc.disable()
    try:
        with asyncio.Runner(loop_factory=loop) as runner:
            return runner.run(one.run(port))
    finally:
        gc.enable()
