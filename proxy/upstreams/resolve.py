"""Where the endpoints of an upstream are, and who tells. Knows no connection and no health.

A resolver runs beside the traffic and reports: a good answer replaces the set of endpoints, a failure changes nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from proxy.config.model import split_endpoint

Sleep = Callable[[float], Awaitable[None]]

HURRY_S = 1.0  # a resolver that is hurried asks no more often than this


@dataclass(frozen=True, slots=True, order=True)
class Address:
    """Where an endpoint is. `host` is connected to, an IP address where it was looked up; `authority` is `host:port` as
    a Host field or a Location calls it; `server_name` is whom its certificate must name."""

    host: str
    port: int
    authority: str
    server_name: str


class Found(Protocol):
    """Who is told, on the event loop."""

    def found(self, addresses: tuple[Address, ...]) -> None:
        """A good answer, also where it equals the one before: it is fresh. Sorted, each once."""

    def failed(self, reason: str) -> None:
        """No good answer. What was found before stays."""


class Resolver(Protocol):
    """`run` reports until it is cancelled and raises nothing else. `hurry`: a connect has failed, look again soon."""

    async def run(self, report: Found) -> None: ...
    def hurry(self) -> None: ...


def address_of(url: str) -> Address:
    """Of an endpoint that the configuration lists, `http(s)://HOST:PORT`. Raises ValueError for anything else."""
    host, port = split_endpoint(url)
    return Address(host, port, url.partition("://")[2], host)


def address_at(host: str, port: int, named: str = "") -> Address:
    """Of a host that was found; `named`: the name that it was found under."""
    name = named or host
    return Address(host, port, f"[{name}]:{port}" if ":" in name else f"{name}:{port}", name)


class Pause:
    """A wait that `hurry` cuts short, but not below HURRY_S."""

    def __init__(self, sleep: Sleep) -> None:
        self._sleep = sleep
        self._hurried = asyncio.Event()

    def hurry(self) -> None:
        self._hurried.set()

    async def wait(self, seconds: float) -> None:
        await self._sleep(min(seconds, HURRY_S))
        rest_s = seconds - HURRY_S
        if rest_s > 0:
            await self._either(rest_s)
        self._hurried.clear()

    async def _either(self, seconds: float) -> None:
        tasks = (asyncio.ensure_future(self._sleep(seconds)), asyncio.ensure_future(self._hurried.wait()))
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
