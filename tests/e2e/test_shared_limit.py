"""Two proxies on one Redis, a real server: together they let through what one limit allows. Nobody else feels it."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.fig import Fig
from tests.support.load import Background, NamedOrigin
from tests.support.redis_server import RedisServer
from tests.support.wire import metric

REQUESTS, WINDOW_S, BURST = 60, 1.0, 20
FOR_S = 3.0
CONFIG = """
version: 1
server: {listen: "{data}", trusted_proxies: [127.0.0.0/8]}
admin: {listen: "{admin}"}
store: "memory:"
telemetry: {access_log: "off"}
rate_limits: {store: "REDIS", timeout_s: 3, on_error: deny}
upstreams:
  old: {endpoints: ["OLD"]}
default: old
seams:
  api:
    routes: [{path: /api/**}]
    rate_limit: [{name: shared, requests: 60, window_s: 1, burst: 20, by: client_ip}]
"""


@dataclass(frozen=True)
class Answered:
    """When, on the monotonic clock, and what RateLimit said of what is left."""

    sent: float
    received: float
    status: int
    remaining: int


class Client:
    """Asks again and again, from the address that it says it has, `pause_s` apart."""

    def __init__(self, port: int, address: str, pause_s: float = 0.0) -> None:
        self.port = port
        self.pause_s = pause_s
        self.answers: list[Answered] = []
        self._head = f"GET /api/x HTTP/1.1\r\nHost: shop.test\r\nX-Forwarded-For: {address}\r\n\r\n".encode()

    async def run(self, until: float) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            while (sent := time.monotonic()) < until:
                writer.write(self._head)
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
                await reader.readexactly(int(head.partition("content-length: ")[2].partition("\r\n")[0]))
                remaining = int(head.partition('"shared";r=')[2].partition(";")[0])
                self.answers.append(Answered(sent, time.monotonic(), int(head.split(" ")[1]), remaining))
                await asyncio.sleep(self.pause_s)
        finally:
            writer.close()


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path)
    yield server
    server.kill()


@pytest.fixture
def figs(redis: RedisServer, sides: tuple[NamedOrigin, NamedOrigin], tmp_path: Path) -> Iterator[list[Fig]]:
    text = CONFIG.replace("REDIS", redis.url).replace("OLD", sides[0].url)
    started: list[Fig] = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        started.append(Fig(tmp_path / name, text).start())
    yield started
    for fig in started:
        fig.stop()
        assert "Traceback" not in fig.errors(), fig.errors()


async def _all(clients: list[Client], seconds: float) -> None:
    ends = time.monotonic() + seconds
    await asyncio.gather(*(client.run(ends) for client in clients))


def _most(seconds: float) -> int:
    return BURST + int(seconds * REQUESTS / WINDOW_S)


def test_two_proxies_let_through_what_one_limit_allows(figs: list[Fig], background: Background) -> None:
    greedy = [Client(fig.port, "198.51.100.1") for fig in figs for _ in range(3)]
    modest = [Client(fig.port, "198.51.100.2", pause_s=0.25) for fig in figs]
    background.run(_all([*greedy, *modest], FOR_S))

    answers = [answer for client in greedy for answer in client.answers]
    assert set(Counter(answer.status for answer in answers)) == {200, 429}
    passed = sorted((answer for answer in answers if answer.status == 200), key=lambda one: one.received)
    for fig in figs:
        own = [one for client in greedy if client.port == fig.port for one in client.answers if one.status == 200]
        assert len(own) > BURST / 2, "both took part"

    # Never more, in any stretch of time: each passed between its being sent and its being answered.
    for first in range(len(passed)):
        began = passed[first].sent
        for many, one in enumerate(passed[first:], start=1):
            began = min(began, one.sent)
            assert many <= _most(one.received - began)
    # Not fewer than that minus 2: at the last refusal the limit had nothing left to give.
    last = max(answer.sent for answer in answers if answer.status == 429)
    began = min(answer.received for answer in passed)
    assert len(passed) >= _most(last - began) - 2

    others = [answer for client in modest for answer in client.answers]
    assert {answer.status for answer in others} == {200}
    assert min(answer.remaining for answer in others) >= BURST - 2 * len(modest)
    assert sum(metric(fig, "fig_rate_limit_store_up") for fig in figs) == len(figs)
