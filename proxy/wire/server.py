"""uvicorn's Server with the end that a proxy needs. Knows no HTTP: the edge does."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import uvicorn

from proxy.wire.edge import Edge, EdgeProtocol
from proxy.wire.secure_edge import SecureEdgeProtocol

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
    4 idle connections and tunnels close after a moment  5 those with a request finish, for `timeout_s`
    6 what is left is cut
    """

    def __init__(self, edge: Edge, drain: Callable[[], DrainTimes], leave: Callable[[], None]) -> None:
        self._protocol = EdgeProtocol if edge.tls is None else SecureEdgeProtocol
        config = uvicorn.Config(
            app=lambda: edge,
            factory=True,
            http=self._protocol,
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
        self._leave = leave
        self._hurried = asyncio.Event()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        times = self._drain()
        self._edge.draining = True
        await self._wait(times.delay_s)
        await self._close_listeners(sockets or [])
        grace_s = min(_IDLE_GRACE_S, times.timeout_s)
        await self._wait(grace_s, self._edge.deserted)
        self._edge.close_idle()
        self._leave()
        await self._wait(times.timeout_s - grace_s, self._edge.deserted)
        for connection in list(self._edge.connections):
            connection.cut()
        await asyncio.sleep(0)

    async def _close_listeners(self, sockets: list[socket.socket]) -> None:
        """Take what the kernel has completed, then close at once: closing a listener resets its backlog."""
        accepted: list[socket.socket] = []
        for listener in sockets:
            listener.setblocking(False)
            with contextlib.suppress(OSError):
                while True:
                    accepted.append(listener.accept()[0])
        for server in self.servers:
            server.close()
        loop = asyncio.get_running_loop()
        for connection in accepted:
            connection.setblocking(False)
            with contextlib.suppress(OSError):
                await loop.connect_accepted_socket(
                    lambda: self._protocol(self.config, self.server_state, {}, loop), connection
                )

    def hurry(self) -> None:
        """End now: the second signal."""
        self.force_exit = True
        self._hurried.set()

    async def _wait(self, seconds: float, end: asyncio.Event | None = None) -> None:
        """Until the time is over, `end` is set, or somebody is in a hurry."""
        waits = [asyncio.ensure_future(event.wait()) for event in (self._hurried, end) if event is not None]
        await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()
