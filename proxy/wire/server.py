"""uvicorn's Server with the end that a proxy needs. Knows no HTTP: the edge does."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import uvicorn

from proxy.wire.edge import Edge, EdgeProtocol

_IDLE_GRACE_S = 1.0  # a client on a kept connection that asks again within it is answered, not cut


@dataclass(frozen=True, slots=True)
class DrainTimes:
    delay_s: float
    timeout_s: float


class QuietServer(uvicorn.Server):
    """A Server that leaves signals to the application."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class DataServer(QuietServer):
    """Accepts for the Edge. At the end: announce, keep serving for a while, let go of idle clients, wait for the rest.

    1 every response says `Connection: close`  2 accept for `delay_s`  3 close the listeners, the backlog taken in
    4 idle connections close after a moment  5 those with a request finish, for `timeout_s`  6 what is left is cut
    """

    def __init__(self, edge: Edge, drain: Callable[[], DrainTimes]) -> None:
        config = uvicorn.Config(
            app=lambda: edge,
            factory=True,
            http=EdgeProtocol,
            interface="asgi3",
            lifespan="off",
            ws="none",
            proxy_headers=False,
            server_header=False,
            date_header=False,
            log_config=None,
            access_log=False,
        )
        super().__init__(config)
        self._edge = edge
        self._drain = drain

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        times = self._drain()
        self._edge.draining = True
        await self._wait(times.delay_s, until=lambda: self.force_exit)
        await asyncio.sleep(0)  # one more turn of the loop accepts what is in the backlog
        for server in self.servers:
            server.close()
        grace_s = min(_IDLE_GRACE_S, times.timeout_s)
        await self._wait(grace_s, until=self._nobody_left)
        self._edge.close_idle()
        await self._wait(times.timeout_s - grace_s, until=self._nobody_left)
        for connection in list(self._edge.connections):
            connection.cut()
        await asyncio.sleep(0)

    def _nobody_left(self) -> bool:
        return self.force_exit or not self._edge.connections

    async def _wait(self, seconds: float, until: Callable[[], bool]) -> None:
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        while not until() and loop.time() < end:
            await asyncio.sleep(0.02)
