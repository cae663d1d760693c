"""Memory that idle keep-alive connections take: each has had one answer and waits. Knows no proxy."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

from bench import cpu
from bench.load import get_small_requests
from bench.openloop import Connection

_WARM_UP = 200
_SETTLE_S = 1.0
_AT_ONCE = 8


@dataclass(frozen=True, slots=True)
class Idle:
    """Growth of the process tree's resident memory, in bytes, over `connections` held at once."""

    connections: int
    grown_bytes: int


def measure(port: int, pid: int, connections: int, timeout_s: float) -> Idle:
    """Give it a fresh process: one that has held them before does not grow again. Raises RuntimeError."""
    return asyncio.run(_measure(port, pid, connections, timeout_s))


async def _measure(port: int, pid: int, connections: int, timeout_s: float) -> Idle:
    deadline = time.monotonic() + timeout_s
    warm = await _hold(port, _WARM_UP, deadline)
    for one in warm:
        one.transport.abort()
    await asyncio.sleep(_SETTLE_S)
    before = cpu.rss_bytes(pid)
    held = await _hold(port, connections, deadline)
    await asyncio.sleep(_SETTLE_S)
    grown = cpu.rss_bytes(pid) - before
    lost = sum(one.transport.is_closing() for one in held)
    for one in held:
        one.transport.abort()
    if lost:
        raise RuntimeError(f"{lost} of {connections} idle connections were closed by the proxy")
    return Idle(connections, grown)


async def _hold(port: int, count: int, deadline: float) -> list[Connection]:
    requests = get_small_requests()
    held: list[Connection] = []
    for start in range(0, count, _AT_ONCE):
        if time.monotonic() > deadline:
            raise RuntimeError(f"only {start} of {count} idle connections in time")
        group = range(start, min(start + _AT_ONCE, count))
        held += await asyncio.gather(*(_ask_once(port, requests[number % len(requests)]) for number in group))
    return held


async def _ask_once(port: int, request: bytes) -> Connection:
    loop = asyncio.get_running_loop()
    answered: asyncio.Future[bool] = loop.create_future()
    connection = Connection(lambda _, ok: answered.set_result(ok))
    await loop.create_connection(lambda: connection, "127.0.0.1", port)
    connection.send(request)
    if not await asyncio.wait_for(answered, 10):
        raise RuntimeError("a request before the idle time was not answered with 200")
    return connection
