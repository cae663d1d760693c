"""uvicorn's Server with the beginning and the end that a proxy needs. Knows no HTTP: the edge does."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice

import uvicorn

from proxy.wire.acceptor import Acceptor
from proxy.wire.edge import Edge, EdgeProtocol
from proxy.wire.secure_edge import SecureEdgeProtocol

_UNBOUNDED = 1 << 30
_SURPLUS = 16  # connections beyond the limit: taken to be told 503, or to take the place of an idle one
_LOOKED_AT = 512  # of the longest idle connections, where descriptors are short
_REST_S = 0.5
_IDLE_GRACE_S = 1.0  # a client on a kept connection that asks again within it is answered, not cut


@dataclass(frozen=True, slots=True)
class DrainTimes:
    delay_s: float
    timeout_s: float


class QuietServer(uvicorn.Server):
    """A Server that leaves signals to the application and accepts by an Acceptor of our own.

    `refused(error)` is told when the system had no connection to give.
    """

    acceptor: Acceptor

    def __init__(self, config: uvicorn.Config, refused: Callable[[OSError], None]) -> None:
        super().__init__(config)
        self._refused = refused

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """`sockets` is the one listener."""
        assert sockets is not None
        await self.lifespan.startup()
        loop = asyncio.get_running_loop()
        self.servers = []
        self.acceptor = Acceptor(
            sockets[0],
            lambda: self.config.http_protocol_class(  # type: ignore[call-arg]
                config=self.config, server_state=self.server_state, app_state=self.lifespan.state, _loop=loop
            ),
            loop=loop,
            room=self._room,
            failed=self._refused,
        )
        self.acceptor.start()
        self.started = True

    def _room(self) -> int:
        return _UNBOUNDED

    def leave(self) -> None:
        """Another process accepts here now: let go of the listener and of the connections that ask nothing."""
        self.acceptor.close()
        for connection in list(self.server_state.connections):
            connection.shutdown()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self.acceptor.stop()
        await super().shutdown(sockets)


class DataServer(QuietServer):
    """Accepts for the Edge. At the end: announce, keep serving for a while, let go of idle clients, wait for the rest.

    1 every response says `Connection: close`  2 accept for `delay_s`  3 close the listener, the backlog taken in unless
    it is `kept` for another process  4 idle connections close after a moment, tunnels are asked to by `part`
    5 those with a request finish, for `timeout_s`  6 what is left is cut
    """

    def __init__(
        self,
        edge: Edge,
        drain: Callable[[], DrainTimes],
        part: Callable[[], None],
        refused: Callable[[OSError], None],
        *,
        kept: bool = False,
        descriptors: int | None = None,
    ) -> None:
        config = uvicorn.Config(
            app=lambda: edge,
            factory=True,
            http=EdgeProtocol if edge.tls is None else SecureEdgeProtocol,
            interface="asgi3",
            lifespan="off",
            ws="none",
            proxy_headers=False,
            server_header=False,
            date_header=False,
            log_config=None,
            access_log=False,
        )
        super().__init__(config, refused)
        self._edge = edge
        self._drain = drain
        self._part = part
        self._kept = kept
        self._descriptors = descriptors
        self._resting: dict[EdgeProtocol, tuple[float | None, float]] = {}
        self._left = False
        self._hurried = asyncio.Event()

    def _room(self) -> int:
        """By the limit, where the edge makes room or says 503; and by the descriptors, of which a connection with a
        request may take one more, to an upstream. Where those run out, what has rested for a while is let go.
        """
        edge = self._edge
        room = edge.limits.max_connections + _SURPLUS - len(self.server_state.connections)
        if self._descriptors is None:
            return room
        free = self._descriptors - 2 * len(edge.connections) + len(edge.idle)
        if free < 2:
            self._let_go_of_resting()
        return min(room, free // 2)

    def _let_go_of_resting(self) -> None:
        """A client that asks again and again is idle, too, at the moment of a look: its deadline tells them apart."""
        now = time.monotonic()
        resting: dict[EdgeProtocol, tuple[float | None, float]] = {}
        for connection in islice(self._edge.idle, _LOOKED_AT):
            deadline, since = self._resting.get(connection, (None, now))
            resting[connection] = (connection.deadline, since if deadline == connection.deadline else now)
        self._resting = resting
        tired = [connection for connection, (_, since) in resting.items() if now - since >= _REST_S]
        for connection in tired[:_SURPLUS]:
            connection.close()

    def leave(self) -> None:
        """Another process accepts here now: drain without delay, and without the backlog."""
        self._left = True
        self._edge.draining = True
        self.acceptor.close()
        self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        times = self._drain()
        self._edge.draining = True
        if not self._left:
            await self._wait(times.delay_s)
            if not self._kept:  # closing a listener resets what waits in it
                self.acceptor.take_all()
            self.acceptor.close()
        await self.acceptor.settle()
        grace_s = min(_IDLE_GRACE_S, times.timeout_s)
        await self._wait(grace_s, self._edge.deserted)
        self._edge.close_idle()
        self._part()
        await self._wait(times.timeout_s - grace_s, self._edge.deserted)
        for connection in list(self._edge.connections):
            connection.cut()
        await asyncio.sleep(0)

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
